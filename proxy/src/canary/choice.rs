//! On which side a client is. Pure.
//!
//! Each client has a place among all places, by a hash of what it is told from others by; the share holds the first of
//! them. So a client stays where it is as long as the share does, and a share that grows only ever adds clients. The hash is
//! mixed with a number that is new for each canary: nobody can aim at a side, and it is not always the same clients who
//! try what is new.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use switcher_config::{CanaryKey, CanaryRules};

use crate::balance::hash;
use crate::edge::crowd::network;
use crate::epoch::Epoch;
use crate::routing::SavedCanary;
use crate::sticky;

/// What of a request tells who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r> {
    /// Its client.
    pub client: IpAddr,
    /// Its headers.
    pub headers: &'r HeaderMap,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// To the live slot.
    Live,
    /// To the canary's.
    Canary,
}

/// Who is on the canary's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    salt: u64,
    rules: CanaryRules,
}

impl Choice {
    /// The choice by saved rules.
    #[must_use]
    pub fn of(canary: &SavedCanary) -> Self {
        Self { salt: canary.salt, rules: canary.shown.rules.clone() }
    }

    /// The side of a request.
    #[must_use]
    pub fn side(&self, asked: Asked<'_>) -> Side {
        let picked = || self.place(asked).is_some_and(|place| self.rules.share.holds(place));
        if self.always(asked) || picked() { Side::Canary } else { Side::Live }
    }

    /// Whether a rule sends it there whatever the share is.
    fn always(&self, asked: Asked<'_>) -> bool {
        let rules = &self.rules;
        let has_header = |name: &str, value: &str| {
            asked.headers.get_all(name).iter().any(|sent| sent.as_bytes() == value.as_bytes())
        };
        let has_cookie = |name: &str, value: &str| {
            sticky::cookie(asked.headers, name).is_some_and(|sent| sent == value.as_bytes())
        };
        rules.headers.iter().any(|wanted| has_header(wanted.name(), wanted.value()))
            || rules.cookies.iter().any(|wanted| has_cookie(wanted.name(), wanted.value()))
            || rules.clients.iter().any(|network| network.contains(&asked.client))
    }

    /// The place of a client; none when the request has nothing to tell it by.
    fn place(&self, asked: Asked<'_>) -> Option<u64> {
        let value = match &self.rules.by {
            CanaryKey::Client => match network(asked.client) {
                IpAddr::V4(ip) => hash::of(&ip.octets()),
                IpAddr::V6(ip) => hash::of(&ip.octets()),
            },
            CanaryKey::Header(name) => hash::of(asked.headers.get(name)?.as_bytes()),
            CanaryKey::Cookie(name) => hash::of(sticky::cookie(asked.headers, name)?),
        };
        Some(hash::mixed(value ^ self.salt))
    }
}

/// The canary as requests meet it.
pub struct CanarySide {
    /// The epoch of those who go there.
    pub epoch: Arc<Epoch>,
    /// Who does.
    pub choice: Choice,
}

#[cfg(test)]
mod tests;
