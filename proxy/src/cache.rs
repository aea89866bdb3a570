//! The response cache: what applications declare cacheable, held in memory for whoever asks next (RFC 9111).
//!
//! Pingora's cache drives it (looking up, one request in the place of many, revalidation, ranges); here are what it stands on: the
//! `store` with one bound of bytes for all applications together, so that memory is planned for once; `storage`, the store as
//! Pingora asks for it; and `verdict`, what may be held. Invariant: an answer belongs to the epoch it was given in. Whoever is
//! served by another epoch never sees it, and it goes when its epoch does.

mod storage;
mod store;
mod verdict;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pingora_cache::key::hash_key;
use pingora_cache::lock::CacheLock;
use pingora_cache::predictor::Predictor;
use pingora_cache::{CacheKey, CacheOptionOverrides, HttpCache};
use switcher_config::settings::Cache as Settings;

use store::Store;

pub use verdict::{age, of as verdict, varies};

/// How long a request waits for the answer to another one for the same before it asks by itself, and how long that other one is
/// waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many targets are remembered whose answers cannot be held, in each of the parts of that memory: they do not wait for
/// each other.
const REMEMBERED: usize = 1024;

/// Everything that is held.
pub struct Cache {
    store: Mutex<Store>,
    max_object: AtomicU64,
    cannot: Predictor<16>,
    turns: Box<CacheLock>,
}

impl Cache {
    /// An empty one. It stays until the process ends, as Pingora wants it.
    #[must_use]
    pub fn start(settings: &Settings) -> &'static Self {
        Box::leak(Box::new(Self {
            store: Mutex::new(Store::new(settings.size.0)),
            max_object: AtomicU64::new(settings.max_object.0),
            cannot: Predictor::new(REMEMBERED, None),
            turns: CacheLock::new_boxed(PATIENCE),
        }))
    }

    /// Changes the bounds. What is too much goes at once.
    pub fn set(&self, settings: &Settings) {
        self.max_object.store(settings.max_object.0, Ordering::Relaxed);
        self.store.lock().limit(settings.size.0);
    }

    /// How many bytes are held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.store.lock().used()
    }

    fn max_object(&self) -> u64 {
        self.max_object.load(Ordering::Relaxed)
    }

    /// Serves a request from what is held, and holds what it is answered.
    pub fn serve(&'static self, request: &mut HttpCache) {
        let mut patience = CacheOptionOverrides::default();
        patience.wait_timeout = Some(PATIENCE);
        request.enable(self, None, Some(&self.cannot), Some(&*self.turns), Some(patience));
        request.set_max_file_size_bytes(usize::try_from(self.max_object()).unwrap_or(usize::MAX));
    }

    /// The part of an epoch, which is emptied when this is dropped.
    pub fn part(&'static self, epoch: u64) -> Part {
        self.store.lock().open(epoch);
        Part { cache: self, epoch }
    }

    /// Forgets what is held for a target.
    pub fn forget(&self, key: &CacheKey) {
        use pingora_cache::key::CacheHashKey as _;
        self.store.lock().remove(epoch_of(key), &key.primary_bin());
    }
}

/// The part of one epoch.
pub struct Part {
    cache: &'static Cache,
    epoch: u64,
}

impl Drop for Part {
    fn drop(&mut self) {
        let entries = self.cache.store.lock().close(self.epoch);
        // To give much memory back takes its time, and whoever switches does not wait for it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(entries));
        }
    }
}

/// By what an answer is found: the epoch, and the whole address that was asked for.
#[must_use]
pub fn key(epoch: u64, secure: bool, authority: &str, target: &str) -> CacheKey {
    let epoch = epoch.to_be_bytes();
    let mut whole = Vec::with_capacity(authority.len() + target.len() + 18);
    whole.extend_from_slice(&epoch);
    whole.push(u8::from(secure));
    whole.extend_from_slice(&(authority.len() as u64).to_be_bytes());
    whole.extend(authority.bytes().map(|b| b.to_ascii_lowercase()));
    whole.extend_from_slice(target.as_bytes());
    let mut key = CacheKey::new(epoch, "");
    key.set_primary_bin_override(hash_key(&whole));
    key
}

/// The epoch in a key.
fn epoch_of(key: &CacheKey) -> u64 {
    key.primary_key().try_into().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use pingora_cache::key::CacheHashKey as _;

    use super::*;

    #[test]
    fn a_key_says_epoch_scheme_host_and_target_apart() {
        let hash = |epoch, secure, host, target| key(epoch, secure, host, target).primary_bin();
        let one = hash(1, true, "a.test", "/b?c");
        assert_eq!(one, hash(1, true, "A.Test", "/b?c"));
        for other in [
            hash(2, true, "a.test", "/b?c"),
            hash(1, false, "a.test", "/b?c"),
            hash(1, true, "a.test/", "b?c"),
            hash(1, true, "a.test", "/B?c"),
            hash(1, true, "a.test", "/b"),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(epoch_of(&key(7, true, "a.test", "/")), 7);
    }
}
