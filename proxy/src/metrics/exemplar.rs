//! Exemplars: of each bucket of a slot's durations the trace of a recent request.
//!
//! Invariant: one a bucket is kept, and only requests that are traced bring any. Read by whoever answers a scrape.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use switcher_config::Slot;

use super::BUCKETS;
use crate::traces::TraceId;

/// A request that stands for those of its bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exemplar {
    pub(super) trace: TraceId,
    pub(super) seconds: f64,
    pub(super) at: Timestamp,
}

/// The last one of each bucket of a slot; that without a bound is the last.
#[derive(Debug, Default)]
pub(super) struct Exemplars([Mutex<Option<Exemplar>>; BUCKETS.len() + 1]);

impl Exemplars {
    pub(super) fn note(&self, trace: TraceId, seconds: f64) {
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        *self.0[bucket].lock() = Some(Exemplar { trace, seconds, at: Timestamp::now() });
    }

    pub(super) fn of_bucket(&self, bucket: usize) -> Option<Exemplar> {
        self.0.get(bucket).and_then(|kept| *kept.lock())
    }
}

type BySlot = BTreeMap<(String, Slot), Arc<Exemplars>>;

/// Those of all slots.
#[derive(Debug, Default, Clone)]
pub(super) struct AllExemplars(Arc<Mutex<BySlot>>);

impl AllExemplars {
    pub(super) fn of_slot(&self, app: &str, slot: Slot) -> Arc<Exemplars> {
        Arc::clone(self.0.lock().entry((app.to_owned(), slot)).or_default())
    }

    /// Those of a slot that is known.
    pub(super) fn find(&self, app: &str, slot: &str) -> Option<Arc<Exemplars>> {
        let slot = Slot::ALL.into_iter().find(|known| known.as_str() == slot)?;
        self.0.lock().get(&(app.to_owned(), slot)).cloned()
    }

    pub(super) fn forget(&self, app: &str) {
        self.0.lock().retain(|(known, _), _| known != app);
    }
}
