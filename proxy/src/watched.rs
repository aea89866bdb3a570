//! Upstreams together with the tasks that probe them.

use std::sync::Arc;

use switcher_config::settings::{AppSettings, Balance, Health, SentProxyProtocol, UpstreamTls};
use switcher_config::wire::{self, Event};
use switcher_config::{AppName, Slot, Weight, WeightedAddress};
use tokio::sync::broadcast;

use crate::health::{self, Dialer, Prober};
use crate::sticky::Marks;
use crate::upstream::Upstream;

/// An upstream that is probed as long as this is held.
#[derive(Debug)]
pub struct Watched {
    upstream: Arc<Upstream>,
    settings: (Health, UpstreamTls, SentProxyProtocol),
    _prober: Prober,
}

impl Watched {
    /// The upstream.
    #[must_use]
    pub const fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }
}

/// Begins to watch upstreams.
#[derive(Debug)]
pub struct Watcher {
    events: broadcast::Sender<Event>,
    marks: Marks,
}

impl Watcher {
    /// A watcher that publishes changes of health on `events`, and lets cookies name upstreams by `marks`.
    #[must_use]
    pub const fn new(events: broadcast::Sender<Event>, marks: Marks) -> Self {
        Self { events, marks }
    }

    /// What makes the marks in cookies.
    #[must_use]
    pub const fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The upstreams of a slot, probed from now on, with the weights they have now. Those among `known` keep their
    /// history, and their very probes when nothing about them changed.
    #[must_use]
    pub fn watch(
        &self,
        app: &AppName,
        slot: Slot,
        addresses: &[WeightedAddress],
        settings: &AppSettings,
        known: &[Arc<Watched>],
    ) -> Vec<Arc<Watched>> {
        let introduces = settings.upstream_proxy_protocol;
        let wanted = (settings.health.clone(), settings.upstream_tls.clone(), introduces);
        let dialer = Arc::new(Dialer::new(settings.upstream_tls.clone()).introducing(introduces));
        let checks = Arc::new(settings.health.clone());
        let configured = settings.slots.get(slot).as_deref().unwrap_or_default();
        let weigh = |wanted: &WeightedAddress, upstream: &Upstream| {
            let of_configuration =
                || configured.iter().find(|c| c.address == wanted.address).and_then(|c| c.weight);
            upstream.set_weight(wanted.weight.or_else(of_configuration).unwrap_or(Weight::ONE));
            if matches!(settings.balance, Balance::Sticky(_)) {
                upstream.set_mark(|| self.marks.mark(app, slot, upstream.address()));
            }
        };
        let watch = |target: &WeightedAddress| {
            let address = &target.address;
            let before = known.iter().find(|w| **w.upstream.address() == *address);
            if let Some(same) = before.filter(|w| w.settings == wanted) {
                weigh(target, &same.upstream);
                return Arc::clone(same);
            }
            let upstream = match before {
                Some(watched) => Arc::clone(&watched.upstream),
                None => Arc::new(Upstream::new(app.clone(), slot, address.clone(), self.events.clone())),
            };
            weigh(target, &upstream);
            let prober = Prober::start(Arc::clone(&upstream), Arc::clone(&checks), Arc::clone(&dialer));
            Arc::new(Watched { upstream, settings: wanted.clone(), _prober: prober })
        };
        addresses.iter().map(watch).collect()
    }
}

/// The health of a slot as a whole, and why it is not healthy.
#[must_use]
pub fn slot_health(watched: &[Arc<Watched>]) -> (wire::Health, Option<String>) {
    let upstreams: Vec<_> = watched.iter().map(|w| Arc::clone(&w.upstream)).collect();
    health::slot_health(&upstreams)
}
