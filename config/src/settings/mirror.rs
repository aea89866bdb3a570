//! The settings of what the slot that is not live is good for: copies of live requests, and assets that the live slot no
//! longer has, or not yet.

use regex::Regex;

use crate::{Bytes, PathPrefix, Share, Span};

/// Copies of requests to the standby slot, whose answers are compared with the real ones and thrown away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Which share of the requests is copied.
    pub share: Share,
    /// Those of which methods. Default GET and HEAD.
    pub methods: Vec<SafeMethod>,
    /// How many copies there are at once at most; a request that finds no place is not copied. Default 16.
    pub in_flight: u32,
    /// How long a copy may take from its connection to the end of its answer. Default 10s.
    pub timeout: Span,
    /// How much of the body of an answer is read. Default 1MiB.
    pub body: Bytes,
}

/// A method that asks for nothing to be changed (RFC 9110 section 9.2.1), so that it may be asked twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SafeMethod {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// OPTIONS.
    Options,
}

impl SafeMethod {
    /// As a request says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
        }
    }
}

/// Which requests that a slot answers 404 are asked of the other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetFallback {
    /// Those of these paths and all below.
    pub paths: Vec<PathPrefix>,
    /// Those whose path fits. Default, where `paths` are left out too: names with a hash in them.
    pub pattern: Option<AssetPattern>,
    /// How long the other slot may be silent, before its answer and within it. Default 5s.
    pub timeout: Span,
}

impl AssetFallback {
    /// Whether a path is one of an asset.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        self.paths.iter().any(|prefix| prefix.matches(path))
            || self.pattern.as_ref().is_some_and(|pattern| pattern.0.is_match(path))
    }
}

/// Who began on a release stays there for a while after a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseAffinity {
    /// The cookie that names the release. Default `switcher_release`.
    pub cookie: String,
    /// How long after a switch a visitor stays.
    pub window: Span,
}

/// A regular expression that paths are held against.
#[derive(Debug, Clone)]
pub struct AssetPattern(pub(crate) Regex);

impl AssetPattern {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for AssetPattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for AssetPattern {}
