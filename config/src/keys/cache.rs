//! The keys of `proxy.cache`.

use crate::Bytes;
use crate::section::section;
use crate::settings::Cache;

section! {
    /// How much the response cache holds, over all applications whose middleware says `cache: on`.
    CacheKeys {
        /// How much memory it takes at the most; what was used the longest time ago goes first.
        size: Bytes = Bytes(64 << 20);
        /// The longest body that is held.
        max_object: Bytes = Bytes(1 << 20);
    }
}

impl From<CacheKeys> for Cache {
    fn from(CacheKeys { size, max_object }: CacheKeys) -> Self {
        Self { size, max_object }
    }
}

impl From<Cache> for CacheKeys {
    fn from(Cache { size, max_object }: Cache) -> Self {
        Self { size, max_object }
    }
}
