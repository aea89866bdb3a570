//! What is held: answers by epoch and by what was asked for, within one bound of bytes for all of them together.
//!
//! A pure structure: whoever holds it brings the lock. What was used the longest time ago goes first, whoever's it is; with an
//! epoch goes everything that it holds. What is still being received counts as well, so the bound holds at every moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use lru::LruCache;
use pingora::http::ResponseHeader;

/// What was asked for, hashed.
pub(super) type Key = [u8; 16];

/// The most answers that are held for one target, of those that differ by headers of the request. The oldest goes first.
const VARIANTS: usize = 32;

/// What an answer takes beside its own bytes, and each of its headers does in Pingora's two maps of them with the room that
/// they keep free: rather too much than too little.
const OVERHEAD: u64 = 1024;
const PER_HEADER: u64 = 384;

/// An answer that is held.
#[derive(Debug)]
pub(super) struct Object {
    /// By which headers of the request it was chosen, hashed.
    pub(super) variance: Option<Key>,
    /// Its head, as the application sent it.
    pub(super) head: ResponseHeader,
    /// Its body.
    pub(super) body: Bytes,
    /// Until when it is fresh.
    pub(super) fresh_until: SystemTime,
    /// When the application sent it, or said that it is still the same.
    pub(super) updated: SystemTime,
    /// For how many seconds after that it may stand in for an error.
    pub(super) stale_if_error: u32,
}

impl Object {
    /// How much memory it takes.
    fn size(&self) -> u64 {
        let headers: usize =
            self.head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        (self.body.len() + headers) as u64 + self.head.headers.len() as u64 * PER_HEADER + OVERHEAD
    }
}

/// The answers for one target.
#[derive(Debug)]
struct Entry {
    /// When the first of them came: as one they are as old as it.
    since: SystemTime,
    used: u64,
    size: u64,
    variants: Vec<Arc<Object>>,
}

/// Everything that is held.
#[derive(Debug)]
pub(super) struct Store {
    limit: u64,
    used: u64,
    clock: u64,
    epochs: HashMap<u64, LruCache<Key, Entry>>,
}

impl Store {
    /// One that holds nothing, and at the most so many bytes.
    #[must_use]
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, used: 0, clock: 0, epochs: HashMap::new() }
    }

    /// How many bytes are held or being received.
    #[must_use]
    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    /// Changes the bound; what is too much goes at once.
    pub(super) fn limit(&mut self, limit: u64) {
        self.limit = limit;
        while self.used > self.limit && self.evict() {}
    }

    /// An epoch begins.
    pub(super) fn open(&mut self, epoch: u64) {
        self.epochs.entry(epoch).or_insert_with(LruCache::unbounded);
    }

    /// An epoch has ended. What it held is handed out, for whoever has time to drop it.
    pub(super) fn close(&mut self, epoch: u64) -> impl Send + 'static + use<> {
        let entries = self.epochs.remove(&epoch);
        let size: u64 = entries.iter().flatten().map(|(_, entry)| entry.size).sum();
        self.used -= size;
        entries
    }

    /// The answer of this variance, or any where none is known yet; and since when the target is held.
    pub(super) fn get(
        &mut self,
        epoch: u64,
        key: &Key,
        variance: Option<Key>,
    ) -> Option<(Arc<Object>, SystemTime)> {
        self.clock += 1;
        let entry = self.epochs.get_mut(&epoch)?.get_mut(key)?;
        entry.used = self.clock;
        let wanted = |object: &&Arc<Object>| variance.is_none() || object.variance == variance;
        let object = entry.variants.iter().find(wanted)?;
        Some((Arc::clone(object), entry.since))
    }

    /// Makes room for bytes that are being received; false when there is none to be had.
    pub(super) fn reserve(&mut self, bytes: u64) -> bool {
        while self.used.saturating_add(bytes) > self.limit {
            if bytes > self.limit || !self.evict() {
                return false;
            }
        }
        self.used += bytes;
        true
    }

    /// Bytes that were being received are not kept.
    pub(super) const fn release(&mut self, bytes: u64) {
        self.used -= bytes;
    }

    /// Takes in an answer, in the place of the one that it follows. An epoch that has ended takes nothing in.
    pub(super) fn put(&mut self, epoch: u64, key: Key, object: Object) {
        let size = object.size();
        if !self.epochs.contains_key(&epoch) || !self.reserve(size) {
            return;
        }
        self.clock += 1;
        let clock = self.clock;
        let Some(entries) = self.epochs.get_mut(&epoch) else { return };
        // Making room may have taken the entry itself away.
        let entry = entries.get_or_insert_mut(key, || Entry {
            since: object.updated,
            used: 0,
            size: 0,
            variants: Vec::new(),
        });
        let before = entry.size;
        // Who says now that other headers choose does not mean the answers before.
        if entry.variants.first().is_some_and(|first| !chosen_alike(first, &object)) {
            entry.variants.clear();
        }
        entry.variants.retain(|known| known.variance != object.variance);
        if entry.variants.len() >= VARIANTS {
            entry.variants.remove(0);
        }
        entry.variants.push(Arc::new(object));
        entry.size = entry.variants.iter().map(|object| object.size()).sum();
        entry.used = clock;
        // The new one was counted when there was made room for it.
        self.used = self.used + entry.size - before - size;
    }

    /// Forgets all answers for a target.
    pub(super) fn remove(&mut self, epoch: u64, key: &Key) {
        if let Some(entry) = self.epochs.get_mut(&epoch).and_then(|entries| entries.pop(key)) {
            self.used -= entry.size;
        }
    }

    /// Drops what was used the longest time ago; false when nothing is held.
    fn evict(&mut self) -> bool {
        let oldest = |entries: &LruCache<Key, Entry>| entries.peek_lru().map(|(_, entry)| entry.used);
        let victim = self.epochs.values_mut().filter(|entries| !entries.is_empty()).min_by_key(|e| oldest(e));
        let Some((_, entry)) = victim.and_then(LruCache::pop_lru) else { return false };
        self.used -= entry.size;
        true
    }
}

/// Whether two answers for one target say that the same headers choose between them.
fn chosen_alike(one: &Object, other: &Object) -> bool {
    let vary =
        |object: &Object| object.head.headers.get_all(http::header::VARY).iter().cloned().collect::<Vec<_>>();
    vary(one) == vary(other)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn object(bytes: usize, variance: Option<u8>, vary: &str) -> Object {
        let mut head = ResponseHeader::build(200, None).expect("a head");
        if !vary.is_empty() {
            head.insert_header("vary", vary).expect("a header");
        }
        Object {
            variance: variance.map(|v| [v; 16]),
            head,
            body: vec![0; bytes].into(),
            fresh_until: SystemTime::UNIX_EPOCH + Duration::from_secs(60),
            updated: SystemTime::UNIX_EPOCH,
            stale_if_error: 0,
        }
    }

    fn has(store: &mut Store, epoch: u64, key: u8) -> bool {
        store.get(epoch, &[key; 16], None).is_some()
    }

    #[test]
    fn what_was_used_the_longest_time_ago_goes_first_whoever_it_is_of() {
        let mut store = Store::new(3 * (1000 + OVERHEAD));
        store.open(1);
        store.open(2);
        store.put(1, [1; 16], object(1000, None, ""));
        store.put(2, [2; 16], object(1000, None, ""));
        store.put(1, [3; 16], object(1000, None, ""));
        assert!(has(&mut store, 1, 1));
        store.put(2, [4; 16], object(1000, None, ""));
        assert!(!has(&mut store, 2, 2), "it was the oldest");
        assert!(has(&mut store, 1, 1) && has(&mut store, 1, 3) && has(&mut store, 2, 4));
        assert_eq!(store.used(), 3 * (1000 + OVERHEAD));
        store.limit(1000 + OVERHEAD);
        assert!(store.used() <= 1000 + OVERHEAD);
        store.put(1, [5; 16], object(2000, None, ""));
        assert!(!has(&mut store, 1, 5), "it is larger than all that may be held");
    }

    #[test]
    fn with_an_epoch_goes_what_it_held_and_nothing_comes_after() {
        let mut store = Store::new(1 << 20);
        store.open(1);
        store.open(2);
        store.put(1, [1; 16], object(10, None, ""));
        store.put(2, [1; 16], object(20, None, ""));
        drop(store.close(1));
        store.put(1, [1; 16], object(10, None, ""));
        assert!(!has(&mut store, 1, 1) && has(&mut store, 2, 1));
        drop(store.close(2));
        assert_eq!(store.used(), 0);
    }

    #[test]
    fn answers_that_differ_by_headers_stand_beside_each_other() {
        let mut store = Store::new(1 << 20);
        store.open(1);
        store.put(1, [1; 16], object(1, Some(1), "a"));
        store.put(1, [1; 16], object(2, Some(2), "a"));
        let length = |store: &mut Store, variance: u8| {
            store.get(1, &[1; 16], Some([variance; 16])).map(|(object, _)| object.body.len())
        };
        assert_eq!(
            (length(&mut store, 1), length(&mut store, 2), length(&mut store, 3)),
            (Some(1), Some(2), None)
        );
        store.put(1, [1; 16], object(3, Some(2), "a"));
        assert_eq!((length(&mut store, 1), length(&mut store, 2)), (Some(1), Some(3)));
        store.put(1, [1; 16], object(4, Some(9), "b"));
        assert_eq!(
            (length(&mut store, 1), length(&mut store, 9)),
            (None, Some(4)),
            "another header chooses now"
        );
        for variance in 0..100 {
            store.put(1, [1; 16], object(1, Some(variance), "b"));
        }
        assert!(store.used() < 33 * (OVERHEAD + PER_HEADER + 100));
        store.remove(1, &[1; 16]);
        assert_eq!(store.used(), 0);
    }

    proptest! {
        #[test]
        fn the_bound_holds_at_every_moment(
            steps in proptest::collection::vec((0_u8..6, 1_u64..4, 0_u8..8, 0_usize..3000), 1..200),
        ) {
            let mut store = Store::new(10_000);
            let mut receiving = Vec::new();
            for (step, epoch, key, bytes) in steps {
                match step {
                    0 => store.open(epoch),
                    1 => drop(store.close(epoch)),
                    2 => store.put(epoch, [key; 16], object(bytes, Some(key % 3), "a")),
                    3 => store.remove(epoch, &[key; 16]),
                    4 => if store.reserve(bytes as u64) { receiving.push(bytes as u64) },
                    _ => if let Some(bytes) = receiving.pop() { store.release(bytes) },
                }
                prop_assert!(store.used() <= 10_000);
                let held: u64 = store.epochs.values().flat_map(|e| e.iter()).map(|(_, e)| e.size).sum();
                prop_assert_eq!(store.used(), held + receiving.iter().sum::<u64>());
            }
        }
    }
}
