//! The epochs that previews are in: the open one of the standby slot, and those before it that are not empty yet; and those
//! of visitors who stay on the release before ([`crate::affinity`]).
//!
//! A switch leaves them alone: what previewed a slot that becomes live goes on, and is drained when the addresses of
//! its slot are replaced. Owned by `control`, part of the view. Handles only, so that an epoch that was left can end.

use std::sync::Arc;

use switcher_config::Slot;

use crate::drain::Drain;
use crate::epoch::EpochHandle;
use crate::ledger::Ledger;

/// The epochs that previews are in, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Previews(Vec<Preview>);

#[derive(Debug, Clone)]
struct Preview {
    epoch: EpochHandle,
    draining: bool,
}

impl Preview {
    fn leave(&mut self) -> Arc<Drain> {
        self.draining = true;
        self.epoch.ledger.retire();
        Arc::new(Drain::new(self.epoch.clone()))
    }
}

impl Previews {
    /// Previews enter this epoch from now on. Those that have ended are forgotten.
    pub fn open(&mut self, epoch: EpochHandle) {
        self.0.retain(|preview| !preview.epoch.gone.is_over());
        self.0.push(Preview { epoch, draining: false });
    }

    /// Begins to drain everything that previews a slot. The caller runs the drains.
    #[must_use]
    pub fn leave(&mut self, slot: Slot) -> Vec<Arc<Drain>> {
        let left = self.0.iter_mut().filter(|preview| preview.epoch.slot == slot && !preview.draining);
        left.map(Preview::leave).collect()
    }

    /// Begins to drain the one with this ledger. The caller runs the drain.
    #[must_use]
    pub fn leave_one(&mut self, ledger: &Arc<Ledger>) -> Vec<Arc<Drain>> {
        let left = self.0.iter_mut().filter(|one| Arc::ptr_eq(&one.epoch.ledger, ledger) && !one.draining);
        left.map(Preview::leave).collect()
    }

    /// Every ledger with its slot.
    pub fn ledgers(&self) -> impl Iterator<Item = (Slot, &Arc<Ledger>)> {
        self.0.iter().map(|preview| (preview.epoch.slot, &preview.epoch.ledger))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::begin;

    #[test]
    fn only_what_previews_the_slot_is_drained_and_only_once() {
        let mut previews = Previews::default();
        let (blue, handle) = begin(Slot::Blue);
        previews.open(handle);
        let (green, handle) = begin(Slot::Green);
        previews.open(handle);
        let left = previews.leave(Slot::Blue);
        assert_eq!(left.iter().map(|drain| drain.epoch().slot).collect::<Vec<_>>(), [Slot::Blue]);
        assert!(previews.leave(Slot::Blue).is_empty(), "it drains already");
        assert_eq!(previews.ledgers().count(), 2, "it is not empty yet");
        drop(blue);
        let (_again, handle) = begin(Slot::Blue);
        previews.open(handle);
        assert_eq!(previews.ledgers().map(|(slot, _)| slot).collect::<Vec<_>>(), [Slot::Green, Slot::Blue]);
        drop(green);
    }
}
