//! One application as requests see it: a single pointer to what is live now.
//!
//! The pointer holds both epochs, the mode and the settings together, so that a request reads all of
//! them in one atomic load and never sees half of a change. Only `control` stores it.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use switcher_config::settings::AppSettings;
use switcher_config::wire::Health;
use switcher_config::{AppName, Slot};
use tokio::sync::watch;

use crate::affinity::Affinity;
use crate::canary::choice::{Asked, CanarySide, Side};
use crate::epoch::{Epoch, Lease};
use crate::health::Dialer;
use crate::hold::HoldQueue;
use crate::metrics::AppMetrics;
use crate::middleware::Chains;
use crate::mirror::Mirror;
use crate::preview::Guard;
use crate::sticky::Mark;
use crate::upstream::Upstream;

/// One application.
pub struct App {
    /// Its name.
    pub name: Arc<AppName>,
    /// The queue of requests that wait while it is paused.
    pub hold: HoldQueue,
    /// Its counters.
    pub metrics: AppMetrics,
    /// Copies of its requests, once there was one to be made.
    pub mirror: OnceLock<Arc<Mirror>>,
    live: ArcSwap<Live>,
    changed: watch::Sender<()>,
}

/// What is live now.
#[derive(Clone)]
pub struct Live {
    /// Whether requests are let through.
    pub gate: Gate,
    /// The settings in force.
    pub settings: Arc<AppSettings>,
    /// The epoch that new requests enter.
    pub epoch: Arc<Epoch>,
    /// The epoch that previews enter: that of the other slot.
    pub standby: Arc<Epoch>,
    /// Who of the new requests goes to the other slot; without one nobody does.
    pub canary: Option<Arc<CanarySide>>,
    /// Who stays in the release that they began in; without one nobody does.
    pub affinity: Option<Arc<Affinity>>,
    /// Who previews; without one nobody does.
    pub guard: Option<Arc<Guard>>,
    /// What is done with requests; none when nothing is.
    pub chains: Option<Arc<Chains>>,
}

/// Whether requests are let through, with what a refusal needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// They are.
    Open,
    /// They wait in the queue, each for at most this long.
    Paused(std::time::Duration),
    /// They are answered with the maintenance page and this message.
    Stopped(Option<Arc<str>>),
    /// The application is gone from the configuration.
    Gone,
}

/// What [`App::enter`] gives.
pub enum Entry {
    /// The request may go on, with its lease and the settings that go with it.
    Open(Lease, Arc<AppSettings>),
    /// The request waits, for at most this long.
    Paused(std::time::Duration),
    /// The request is answered with the maintenance page.
    Stopped(Option<Arc<str>>),
    /// The application is gone from the configuration.
    Gone,
}

impl App {
    /// An application that serves `live` from the first request on.
    #[must_use]
    pub fn new(name: Arc<AppName>, live: Live, metrics: AppMetrics) -> Self {
        let (changed, _) = watch::channel(());
        let (hold, mirror) = (HoldQueue::default(), OnceLock::new());
        Self { name, hold, metrics, mirror, live: ArcSwap::from_pointee(live), changed }
    }

    /// Takes a lease on the live epoch, or on the canary's where the client is on that side, or says why not. Choosing and
    /// counting are one act: a switch either precedes the load, or finds the reference taken here and waits for it.
    #[must_use]
    pub fn enter(&self, asked: Asked<'_>) -> Entry {
        let live = self.live.load();
        match &live.gate {
            Gate::Open => {
                let kept = live
                    .affinity
                    .as_ref()
                    .and_then(|affinity| affinity.keeps(asked.headers, live.canary.as_deref()));
                let epoch = match (kept, &live.canary) {
                    (Some(kept), _) => kept,
                    (None, None) => &live.epoch,
                    (None, Some(canary)) => match canary.choice.side(asked) {
                        Side::Live => &live.epoch,
                        Side::Canary => &canary.epoch,
                    },
                };
                Entry::Open(Lease::new(Arc::clone(epoch)), Arc::clone(&live.settings))
            }
            Gate::Paused(max) => Entry::Paused(*max),
            Gate::Stopped(message) => Entry::Stopped(message.clone()),
            Gate::Gone => Entry::Gone,
        }
    }

    /// A lease whatever the gate says: for the operator's bypass.
    #[must_use]
    pub fn enter_regardless(&self) -> (Lease, Arc<AppSettings>) {
        let live = self.live.load();
        (Lease::new(Arc::clone(&live.epoch)), Arc::clone(&live.settings))
    }

    /// A lease on the standby slot, whatever the gate says, for who previews it; `None` when the application is gone.
    #[must_use]
    pub fn enter_standby(&self) -> Option<(Lease, Arc<AppSettings>)> {
        let live = self.live.load();
        let there = live.gate != Gate::Gone;
        there.then(|| (Lease::new(Arc::clone(&live.standby)), Arc::clone(&live.settings)))
    }

    /// A lease on a slot, live or standby, whatever the gate says, for a request that was admitted before; `None` when
    /// the application is gone.
    #[must_use]
    pub fn enter_slot(&self, slot: Slot) -> Option<Lease> {
        let live = self.live.load();
        let epoch = if live.epoch.slot == slot { &live.epoch } else { &live.standby };
        (live.gate != Gate::Gone).then(|| Lease::new(Arc::clone(epoch)))
    }

    /// A healthy upstream of the standby slot, the next one at each turn, and who dials it. Whoever has them holds no
    /// epoch.
    #[must_use]
    pub fn standby_upstream(&self, turn: usize) -> Option<(Arc<Upstream>, Arc<Dialer>)> {
        let live = self.live.load();
        let upstreams = live.standby.upstreams.iter().map(|one| &one.upstream);
        let able = upstreams.filter(|one| one.weight() > 0 && one.health() == Health::Healthy);
        let count = able.clone().count();
        let chosen = able.clone().nth(turn.checked_rem(count)?)?;
        Some((Arc::clone(chosen), Arc::clone(&live.standby.trust.dialer)))
    }

    /// What names the release that an epoch serves to who came at `arrived`, where visitors come back to theirs.
    #[must_use]
    pub fn release_mark(&self, epoch: &Epoch, arrived: Instant) -> Option<Mark> {
        let live = self.live.load();
        live.affinity.as_ref()?.mark_of(epoch, &live, arrived)
    }

    /// The slot that new requests enter, unless they are a canary's.
    #[must_use]
    pub fn live_slot(&self) -> Slot {
        self.live.load().epoch.slot
    }

    /// Whether an upstream is one of the standby slot now.
    #[must_use]
    pub fn is_standby(&self, upstream: &Arc<Upstream>) -> bool {
        let live = self.live.load();
        live.gate != Gate::Gone
            && live.standby.upstreams.iter().any(|one| Arc::ptr_eq(&one.upstream, upstream))
    }

    /// Who previews the standby slot.
    #[must_use]
    pub fn guard(&self) -> Option<Arc<Guard>> {
        self.live.load().guard.clone()
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<AppSettings> {
        Arc::clone(&self.live.load().settings)
    }

    /// What is done with requests now, and the settings that go with it.
    #[must_use]
    pub fn rules(&self) -> (Arc<AppSettings>, Option<Arc<Chains>>) {
        let live = self.live.load();
        (Arc::clone(&live.settings), live.chains.clone())
    }

    /// Notified at every change of what is live.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Replaces what is live. For `control` alone, after the new state is on disk. Returns the old:
    /// while it is held its epoch can not end.
    #[must_use]
    pub(crate) fn replace(&self, live: Live) -> Arc<Live> {
        let old = self.live.swap(Arc::new(live));
        self.changed.send_replace(());
        old
    }

    /// What is live, to change and [`App::replace`]. For `control` alone; drop it soon.
    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }
}
