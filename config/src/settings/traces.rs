//! The settings of traces.

use std::path::PathBuf;

use crate::{Share, UpstreamAddress};

/// Spans of requests, sent to a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// Where the collector is.
    pub address: UpstreamAddress,
    /// The path that `/v1/traces` is added to.
    pub target: String,
    /// Which share of the requests is traced whose caller has not decided. Default 100%.
    pub sample: Share,
    /// What the proxy calls itself. Default `switcher`.
    pub service: String,
    /// The file with the token that the collector wants. Relative to the configuration file's folder, and in
    /// [`Settings::for_proxy`](super::Settings::for_proxy) no longer. Default none.
    pub token_file: Option<PathBuf>,
}
