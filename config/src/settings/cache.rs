//! The settings of the response cache.

use crate::Bytes;

/// How much the response cache holds, over all applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// How much memory it takes at the most. Default 64MiB.
    pub size: Bytes,
    /// The longest body that is held. Default 1MiB.
    pub max_object: Bytes,
}

/// Answers that their application declares cacheable are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cached;

impl Default for Cache {
    fn default() -> Self {
        crate::keys::CacheKeys::default().into()
    }
}
