//! The epochs of canaries: the one that clients enter now, and those of canaries whose slot has become live.
//!
//! A switch leaves the latter alone, for their requests are in the slot that becomes live; they are drained, with a receipt
//! of their own, when that slot is left. Owned by `control`, part of the view. Handles only, so that an epoch can end.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use switcher_config::Slot;
use switcher_config::wire::BakeFigures;

use crate::bake::tally::{Counts, Tally};
use crate::epoch::EpochHandle;
use crate::ledger::Ledger;

/// The epochs of canaries.
#[derive(Debug, Clone, Default)]
pub struct Canaries {
    open: Option<Open>,
    kept: Vec<EpochHandle>,
}

/// The epoch that clients enter now.
#[derive(Debug, Clone)]
pub struct Open {
    /// The epoch.
    pub epoch: EpochHandle,
    /// Since it has the share that it has, in this process.
    pub since: Window,
    /// How long it had that share before this process began.
    pub before: Duration,
}

/// A stretch of time in which both sides are counted.
#[derive(Debug, Clone)]
pub struct Window {
    /// When it began.
    pub began: Instant,
    live: Mark,
    canary: Mark,
}

/// What an epoch had counted at some moment.
#[derive(Debug, Clone)]
struct Mark {
    tally: Arc<OnceLock<Tally>>,
    counts: Counts,
}

impl Mark {
    fn now(epoch: &EpochHandle) -> Self {
        let counts = epoch.tally.get().map(Tally::counts).unwrap_or_default();
        Self { tally: Arc::clone(&epoch.tally), counts }
    }

    /// What an epoch answered since then. One that came later has its own beginning.
    fn figures(&self, epoch: &EpochHandle, age: Duration, now: Instant) -> BakeFigures {
        let same = Arc::ptr_eq(&self.tally, &epoch.tally);
        let earlier = if same { self.counts.clone() } else { Counts::default() };
        let tally = epoch.tally.get();
        tally.map(|tally| tally.since(&earlier, &epoch.ledger, age, now)).unwrap_or_default()
    }
}

impl Window {
    /// One that begins now.
    #[must_use]
    pub fn new(live: &EpochHandle, canary: &EpochHandle, now: Instant) -> Self {
        Self { began: now, live: Mark::now(live), canary: Mark::now(canary) }
    }

    /// What the live slot and the canary did in it.
    #[must_use]
    pub fn figures(
        &self,
        live: &EpochHandle,
        canary: &EpochHandle,
        now: Instant,
    ) -> (BakeFigures, BakeFigures) {
        let age = now.saturating_duration_since(self.began);
        (self.live.figures(live, age, now), self.canary.figures(canary, age, now))
    }
}

impl Canaries {
    /// Clients enter this epoch from now on. Those that have ended are forgotten.
    pub fn open(&mut self, open: Open) {
        self.kept.retain(|epoch| !epoch.gone.is_over());
        self.open = Some(open);
    }

    /// The epoch that clients enter now, if there is one.
    #[must_use]
    pub const fn now(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// Nobody enters it any more; the caller drains it.
    #[must_use]
    pub fn close(&mut self) -> Option<EpochHandle> {
        self.open.take().map(|open| open.epoch)
    }

    /// Nobody enters it any more, and who is inside stays: its slot becomes live.
    pub fn keep(&mut self) {
        self.kept.extend(self.open.take().map(|open| open.epoch));
    }

    /// Those that were kept in a slot that is being left; the caller drains them.
    #[must_use]
    pub fn left(&mut self, slot: Slot) -> Vec<EpochHandle> {
        let (left, kept) = std::mem::take(&mut self.kept).into_iter().partition(|epoch| epoch.slot == slot);
        self.kept = kept;
        left
    }

    /// All of them, for an application that is gone; the caller drains them.
    #[must_use]
    pub fn all(&mut self) -> Vec<EpochHandle> {
        self.keep();
        std::mem::take(&mut self.kept)
    }

    /// Every ledger with its slot.
    pub fn ledgers(&self) -> impl Iterator<Item = (Slot, &Arc<Ledger>)> {
        let open = self.open.as_ref().map(|open| &open.epoch);
        open.into_iter().chain(&self.kept).map(|epoch| (epoch.slot, &epoch.ledger))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bake::tally::Ended;
    use crate::testing::begin;

    fn answers(epoch: &EpochHandle, count: usize) {
        epoch.count();
        let tally = epoch.tally.get().expect("it counts");
        for _ in 0..count {
            tally.count(Ended { failed: false, connect_failed: false, took: None });
        }
    }

    #[test]
    fn what_became_live_is_drained_when_its_slot_is_left_and_once() {
        let (_epoch, green) = begin(Slot::Green);
        let (_live, blue) = begin(Slot::Blue);
        let mut canaries = Canaries::default();
        let since = Window::new(&blue, &green, Instant::now());
        canaries.open(Open { epoch: green, since, before: Duration::ZERO });
        assert_eq!(canaries.ledgers().count(), 1);
        canaries.keep();
        assert!(canaries.now().is_none());
        assert_eq!(canaries.ledgers().count(), 1, "it is not empty yet");
        assert!(canaries.left(Slot::Blue).is_empty());
        assert_eq!(canaries.left(Slot::Green).len(), 1);
        assert!(canaries.left(Slot::Green).is_empty());
    }

    #[test]
    fn a_window_counts_both_sides_from_its_beginning_and_a_later_epoch_from_its_own() {
        let (_live, blue) = begin(Slot::Blue);
        let (_epoch, green) = begin(Slot::Green);
        answers(&blue, 100);
        answers(&green, 10);
        let window = Window::new(&blue, &green, Instant::now());
        answers(&blue, 7);
        answers(&green, 1);
        let (live, canary) = window.figures(&blue, &green, Instant::now());
        assert_eq!((live.requests, canary.requests), (7, 1));
        let (_moved, moved) = begin(Slot::Blue);
        answers(&moved, 3);
        assert_eq!(window.figures(&moved, &green, Instant::now()).0.requests, 3);
    }
}
