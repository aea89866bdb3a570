//! What everybody but `control` may see of the routing: one immutable value, replaced whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use switcher_config::settings::Settings;
use switcher_config::wire::{self, ByKind, Mode};
use switcher_config::{AppName, Generation, PerSlot, Slot};

use crate::affinity;
use crate::app::App;
use crate::canary::epochs::Canaries;
use crate::drain::Drain;
use crate::epoch::{EpochHandle, Trust};
use crate::ledger::{Exchange, Ledger};
use crate::routing::{AppRouting, Routing, SavedGate};
use crate::standby::Previews;
use crate::watched::{Watched, slot_health};

/// Every application at one moment.
pub struct View {
    /// The applications that are served.
    pub apps: BTreeMap<AppName, Arc<AppView>>,
    /// What is remembered of applications that the configuration no longer names.
    pub asleep: BTreeMap<AppName, AppRouting>,
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// Drains of applications that are gone from the configuration.
    pub orphans: Vec<Arc<Drain>>,
}

/// One application at one moment.
#[derive(Clone)]
pub struct AppView {
    /// The application as requests see it.
    pub app: Arc<App>,
    /// What is on disk.
    pub routing: AppRouting,
    /// The probed upstreams of both slots.
    pub slots: PerSlot<Vec<Arc<Watched>>>,
    /// The live epoch.
    pub live: EpochHandle,
    /// How its upstreams are verified.
    pub trust: Trust,
    /// Drains under way and the last ones that ended, oldest first.
    pub drains: Vec<Arc<Drain>>,
    /// What previews are in. They belong to no switch, so they are on no receipt.
    pub previews: Previews,
    /// What canaries are in.
    pub canaries: Canaries,
}

impl View {
    /// The routing as the file holds it.
    #[must_use]
    pub fn routing(&self) -> Routing {
        let served = self.apps.iter().map(|(name, app)| (name.clone(), app.routing.clone()));
        Routing { apps: self.asleep.clone().into_iter().chain(served).collect() }
    }

    /// The applications whose turn it is: all of them, unless they are so many that to look at all each time would cost
    /// a proxy that does nothing. Then each has its turn once in so many.
    pub fn turn(&self, turn: usize, of: usize) -> impl Iterator<Item = (&AppName, &Arc<AppView>)> {
        let apps = self.apps.len();
        self.apps.iter().enumerate().filter(move |(at, _)| has_turn(*at, apps, turn, of)).map(|(_, app)| app)
    }

    /// Every ledger in which something may be in flight.
    pub fn ledgers(&self) -> impl Iterator<Item = &Arc<Ledger>> {
        let live = self.apps.values().map(|app| &app.live.ledger);
        let draining = self.drains().map(|drain| &drain.epoch().ledger);
        let previews = self.apps.values().flat_map(|app| app.previews.ledgers().map(|(_, ledger)| ledger));
        let canaries = self.apps.values().flat_map(|app| app.canaries.ledgers().map(|(_, ledger)| ledger));
        live.chain(draining).chain(previews).chain(canaries)
    }

    /// Every drain under way.
    pub fn drains(&self) -> impl Iterator<Item = &Arc<Drain>> {
        let of_apps = self.apps.values().flat_map(|app| app.drains.iter());
        of_apps.chain(&self.orphans).filter(|drain| !drain.is_over())
    }
}

/// So many applications are looked at each time.
const ALL: usize = 1000;

const fn has_turn(at: usize, apps: usize, turn: usize, of: usize) -> bool {
    apps <= ALL || at % of == turn % of
}

impl AppView {
    /// Whether requests are let through.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        match self.routing.gate {
            SavedGate::Open => Mode::Open,
            SavedGate::Paused { .. } => Mode::Paused,
            SavedGate::Stopped { .. } => Mode::Stopped,
        }
    }

    /// The drain of a generation, if it is remembered.
    #[must_use]
    pub fn drain(&self, generation: Generation) -> Option<&Arc<Drain>> {
        self.drains.iter().rev().find(|drain| drain.epoch().generation == generation)
    }

    /// The ledgers of one slot: the live epoch's if it is live, those of its drains, of its previews, and of its canaries.
    fn ledgers_of(&self, slot: Slot) -> impl Iterator<Item = &Arc<Ledger>> {
        let live = (self.live.slot == slot).then_some(&self.live.ledger);
        let draining = self.drains.iter().filter(move |d| d.epoch().slot == slot && !d.is_over());
        let previews = self.previews.ledgers().filter(move |(of, _)| *of == slot).map(|(_, ledger)| ledger);
        let canaries = self.canaries.ledgers().filter(move |(of, _)| *of == slot).map(|(_, ledger)| ledger);
        live.into_iter().chain(draining.map(|d| &d.epoch().ledger)).chain(previews).chain(canaries)
    }

    /// Everything inside a slot, oldest first.
    #[must_use]
    pub fn in_flight(&self, slot: Slot) -> wire::InFlight {
        let mut exchanges: Vec<wire::Exchange> = self
            .ledgers_of(slot)
            .flat_map(|ledger| ledger.exchanges())
            .map(|exchange: Arc<Exchange>| exchange.to_wire())
            .collect();
        exchanges.sort_by(|a, b| b.age_seconds.total_cmp(&a.age_seconds));
        wire::InFlight { slot, live: slot == self.routing.active, exchanges }
    }

    /// How many are inside a slot, by kind.
    #[must_use]
    pub fn in_flight_by_kind(&self, slot: Slot) -> ByKind<u64> {
        let mut sum = ByKind::default();
        for counts in self.ledgers_of(slot).map(|ledger| ledger.in_flight()) {
            for kind in wire::Kind::ALL {
                *sum.get_mut(kind) += counts.get(kind);
            }
        }
        sum
    }

    /// The application as the admin API shows it.
    #[must_use]
    pub fn status(&self) -> wire::AppStatus {
        wire::AppStatus {
            active: self.routing.active,
            generation: self.routing.generation,
            mode: self.mode(),
            held: self.app.hold.len(),
            slots: PerSlot::from_fn(|slot| self.slot_status(slot)),
            draining: self.drains.iter().filter(|d| !d.is_over()).map(|d| d.status()).collect(),
            fence: self.routing.fence.clone(),
            bake: self.bake(),
            canary: self.canary(),
            release_affinity: affinity::status(self),
        }
    }

    fn slot_status(&self, slot: Slot) -> wire::SlotStatus {
        let watched = self.slots.get(slot);
        let (health, reason) = slot_health(watched);
        wire::SlotStatus {
            health,
            reason,
            release: self.routing.slots.get(slot).release.clone(),
            upstreams: watched.iter().map(|w| w.upstream().status()).collect(),
            in_flight: self.in_flight_by_kind(slot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_have_a_turn_each_time_and_each_of_many_once_in_so_many() {
        let turns =
            |apps, of| (0..apps).map(move |at| (0..of).filter(|turn| has_turn(at, apps, *turn, of)).count());
        assert!(turns(ALL, 4).all(|turns| turns == 4));
        assert!(turns(ALL + 1, 4).all(|turns| turns == 1));
    }
}
