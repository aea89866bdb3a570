//! `mirror`, `asset_fallback` and `release_affinity` turned into settings, and back.

use crate::keys::{AssetFallbackKeys, MirrorKeys, ReleaseAffinityKeys};
use crate::settings::{AssetFallback, Mirror, ReleaseAffinity};
use crate::values::{AssetName, BakeSpan, CookieName, Limit, Positive};

impl From<MirrorKeys> for Mirror {
    fn from(MirrorKeys { share, methods, in_flight, timeout, body }: MirrorKeys) -> Self {
        Self { share, methods, in_flight: in_flight.0, timeout: timeout.0, body }
    }
}

impl From<Mirror> for MirrorKeys {
    fn from(Mirror { share, methods, in_flight, timeout, body }: Mirror) -> Self {
        Self { share, methods, in_flight: Limit(in_flight), timeout: Positive(timeout), body }
    }
}

impl From<AssetFallbackKeys> for AssetFallback {
    fn from(AssetFallbackKeys { paths, pattern, timeout }: AssetFallbackKeys) -> Self {
        let pattern = match pattern {
            None if paths.is_empty() => AssetName::hashed(),
            given => given.map(|name| name.0),
        };
        Self { paths, pattern, timeout: timeout.0 }
    }
}

impl From<AssetFallback> for AssetFallbackKeys {
    fn from(AssetFallback { paths, pattern, timeout }: AssetFallback) -> Self {
        Self { paths, pattern: pattern.map(AssetName), timeout: Positive(timeout) }
    }
}

impl From<ReleaseAffinityKeys> for ReleaseAffinity {
    fn from(keys: ReleaseAffinityKeys) -> Self {
        Self { cookie: keys.cookie.0, window: keys.r#for.0 }
    }
}

impl From<ReleaseAffinity> for ReleaseAffinityKeys {
    fn from(affinity: ReleaseAffinity) -> Self {
        Self { cookie: CookieName(affinity.cookie), r#for: BakeSpan(affinity.window) }
    }
}
