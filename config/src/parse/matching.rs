//! The section of matching turned into settings, and back.

use crate::keys::MatchKeys;
use crate::settings::Matching;
use crate::values::{MethodName, Pattern, WantedHeaders, WantedParameters};

impl From<MatchKeys> for Matching {
    fn from(keys: MatchKeys) -> Self {
        Self {
            methods: keys.methods.into_iter().map(|method| method.0).collect(),
            headers: keys.headers.0,
            query: keys.query.0,
            clients: keys.clients,
            host_pattern: keys.host_pattern.map(|pattern| pattern.0),
            path_pattern: keys.path_pattern.map(|pattern| pattern.0),
        }
    }
}

impl From<Matching> for MatchKeys {
    fn from(matching: Matching) -> Self {
        Self {
            methods: matching.methods.into_iter().map(MethodName).collect(),
            headers: WantedHeaders(matching.headers),
            query: WantedParameters(matching.query),
            clients: matching.clients,
            host_pattern: matching.host_pattern.map(Pattern),
            path_pattern: matching.path_pattern.map(Pattern),
        }
    }
}
