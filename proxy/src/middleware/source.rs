//! Whose requests are counted together.

use std::hash::{BuildHasher as _, RandomState};

use http::HeaderMap;
use switcher_config::settings::HashBy;

use crate::edge::crowd::network;
use crate::forwarded::Client;
use crate::sticky;

/// What of a request tells who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r> {
    /// Who.
    pub client: &'r Client,
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// Its path.
    pub path: &'r str,
}

/// Keys of what is counted: numbers that nobody can aim at, since each process hashes in a way of its own.
#[derive(Debug)]
pub(super) struct Keys {
    by: HashBy,
    hasher: RandomState,
}

impl Keys {
    pub(super) fn new(by: HashBy) -> Self {
        Self { by, hasher: RandomState::new() }
    }

    /// The key of a request; none when it does not have what is counted by.
    pub(super) fn of(&self, asked: Asked<'_>) -> Option<u64> {
        Some(match &self.by {
            HashBy::Client => self.hasher.hash_one(network(asked.client.ip)),
            HashBy::Header(name) => self.hasher.hash_one(asked.headers.get(name.as_str())?.as_bytes()),
            HashBy::Cookie(name) => self.hasher.hash_one(sticky::cookie(asked.headers, name)?),
            HashBy::Path => self.hasher.hash_one(asked.path),
        })
    }
}
