//! Pages from files: what is served in the place of answers, by their status.

use std::path::PathBuf;

/// A file that is served in the place of answers with certain statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPage {
    /// The lowest status.
    pub low: u16,
    /// The highest status.
    pub high: u16,
    /// The file. Relative to the configuration file's folder, and in [`super::Settings::for_proxy`] no longer.
    pub file: PathBuf,
}

impl ErrorPage {
    /// Whether it is served for this status.
    #[must_use]
    pub const fn is_for(&self, status: u16) -> bool {
        self.low <= status && status <= self.high
    }
}

/// Whose answers are replaced by error pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorPagesFor {
    /// The proxy's own alone.
    Proxy,
    /// An upstream's as well.
    All,
}
