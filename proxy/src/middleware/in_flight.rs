//! How much one may ask for at once.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use switcher_config::settings::InFlight;

use super::source::{Asked, Keys};

/// Requests at once, by key.
#[derive(Debug)]
pub(super) struct Limiter {
    most: u32,
    /// None counts everybody together.
    keys: Option<Keys>,
    counts: Mutex<HashMap<u64, u32>>,
}

/// One request's place. Given back by being dropped.
#[derive(Debug)]
pub struct Permit {
    limiter: Arc<Limiter>,
    key: u64,
}

impl Limiter {
    pub(super) fn new(limit: &InFlight) -> Self {
        Self { most: limit.requests, keys: limit.by.clone().map(Keys::new), counts: Mutex::default() }
    }

    /// A place, if there is one. Requests that have nothing to be counted by are counted together.
    pub(super) fn enter(self: &Arc<Self>, asked: Asked<'_>) -> Option<Permit> {
        let key = self.keys.as_ref().and_then(|keys| keys.of(asked)).unwrap_or_default();
        let mut counts = self.counts.lock();
        let count = counts.entry(key).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Permit { limiter: Arc::clone(self), key })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.limiter.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use switcher_config::settings::HashBy;

    use super::*;
    use crate::forwarded::Client;

    fn limiter(by: Option<HashBy>) -> Arc<Limiter> {
        Arc::new(Limiter::new(&InFlight { requests: 2, by }))
    }

    fn enter(limiter: &Arc<Limiter>, ip: &str) -> Option<Permit> {
        let client = Client { ip: ip.parse().expect("an address"), trusted: false };
        limiter.enter(Asked { client: &client, headers: &HeaderMap::new(), path: "/" })
    }

    #[test]
    fn each_has_its_places_and_what_is_given_back_is_forgotten() {
        let limiter = limiter(Some(HashBy::Client));
        let held: Vec<_> = (0..2).map(|_| enter(&limiter, "192.0.2.1")).collect();
        assert!(held.iter().all(Option::is_some) && enter(&limiter, "192.0.2.1").is_none());
        assert!(enter(&limiter, "192.0.2.2").is_some());
        drop(held);
        assert!(enter(&limiter, "192.0.2.1").is_some());
        assert!(limiter.counts.lock().is_empty());
    }

    #[test]
    fn without_a_key_all_are_counted_together() {
        let limiter = limiter(None);
        let _held = (enter(&limiter, "192.0.2.1"), enter(&limiter, "192.0.2.2"));
        assert!(enter(&limiter, "192.0.2.3").is_none());
    }
}
