//! The epoch and the lease: who is served by which side of a switch, and when a side is empty.
//!
//! An epoch is one stretch of one slot being live, or being previewed as the standby. A request takes its [`Lease`] before it touches an
//! upstream and keeps it to its very end; the lease is the `Arc` of the epoch, so choosing the slot and
//! being counted are one atomic act. When the last lease of an epoch is dropped, on success, error,
//! client abort or panic alike, the epoch is dropped, and with it the sender that [`Gone`] waits for.
//!
//! Only [`App::enter`](crate::app::App::enter) and its kin make leases. Status and drains hold the ledger and
//! [`Gone`], never the epoch itself, or it would not end.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use switcher_config::settings::{Outliers, SentProxyProtocol, UpstreamTls};
use switcher_config::{Generation, Slot};
use tokio::sync::watch;

use crate::bake::tally::Tally;
use crate::balance::{hash, room, turns};
use crate::budget::Budget;
use crate::cache::Part;
use crate::health::Dialer;
use crate::ledger::{Exchange, Ledger, NewExchange};
use crate::metrics::SlotMetrics;
use crate::tick::Tick;
use crate::upstream::Upstream;

/// How the upstreams of an application are verified, for both of those who dial them.
#[derive(Clone)]
pub struct Trust {
    /// The settings behind it.
    pub settings: UpstreamTls,
    /// Whether upstreams are told whom a connection is made for.
    pub introduces: SentProxyProtocol,
    /// The file of trusted roots as it was read, to notice that it changed.
    pub pem: Option<Arc<[u8]>>,
    /// Trusted roots as Pingora takes them; none means the system's.
    pub roots: Option<Arc<pingora::protocols::tls::CaType>>,
    /// Dials for WebSockets, which have connections of their own.
    pub dialer: Arc<Dialer>,
}

impl Trust {
    /// Whether connections made with the one would have been made with the other.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.settings == other.settings && self.introduces == other.introduces && self.pem == other.pem
    }
}

/// One upstream as one epoch sees it.
#[derive(Debug)]
pub struct EpochUpstream {
    /// The upstream itself, with its health; it outlives epochs.
    pub upstream: Arc<Upstream>,
    /// Requests of this epoch that are with it now.
    pub in_flight: AtomicUsize,
    /// Where it stands on the line.
    pub(crate) place: turns::Place,
    /// What it draws with.
    pub(crate) hash: u64,
}

/// One stretch of one slot being live.
pub struct Epoch {
    /// The generation of the switch that began it.
    pub generation: Generation,
    /// The slot.
    pub slot: Slot,
    /// The release registered with the slot, as a header value.
    pub release: Option<http::HeaderValue>,
    /// Where its requests go.
    pub upstreams: Box<[EpochUpstream]>,
    /// Unique in this process: upstream connections are pooled by it, so none crosses a switch.
    pub pool: u64,
    /// Everything inside.
    pub ledger: Arc<Ledger>,
    /// The slot's counters.
    pub metrics: SlotMetrics,
    /// How its upstreams are verified.
    pub trust: Trust,
    /// What it answered, once somebody wants to judge by it.
    pub tally: Arc<OnceLock<Tally>>,
    /// Whose turn it is.
    pub(crate) line: turns::Line,
    /// Who waits for room.
    pub(crate) room: room::Line,
    /// How many retries it can afford.
    pub budget: Budget,
    /// What the response cache holds of its answers, once it does: that goes with it.
    pub held: OnceLock<Part>,
    /// Held while it is decided whether one more upstream can be spared.
    ejecting: Mutex<()>,
    myself: Weak<Self>,
    _alive: watch::Sender<Never>,
}

/// A value that is never sent: the channel only ends.
type Never = Option<Infallible>;

/// What an epoch is made of.
pub struct NewEpoch {
    /// The generation of the switch that begins it.
    pub generation: Generation,
    /// The slot.
    pub slot: Slot,
    /// The release registered with the slot.
    pub release: Option<String>,
    /// Where its requests go.
    pub upstreams: Vec<Arc<Upstream>>,
    /// The slot's counters.
    pub metrics: SlotMetrics,
    /// How its upstreams are verified.
    pub trust: Trust,
}

impl Epoch {
    /// Begins an epoch, with the handles that others may hold on it.
    #[must_use]
    pub fn begin(new: NewEpoch) -> (Arc<Self>, EpochHandle) {
        static POOLS: AtomicU64 = AtomicU64::new(1);
        let (alive, gone) = watch::channel(None);
        let ledger = Arc::new(Ledger::default());
        let tally = Arc::<OnceLock<Tally>>::default();
        let handle = EpochHandle {
            slot: new.slot,
            generation: new.generation,
            ledger: Arc::clone(&ledger),
            tally: Arc::clone(&tally),
            gone: Gone(gone),
        };
        let upstreams = new.upstreams.into_iter().map(|upstream| EpochUpstream {
            hash: hash::of(upstream.address().to_string().as_bytes()),
            upstream,
            in_flight: AtomicUsize::new(0),
            place: turns::Place::default(),
        });
        let epoch = Arc::new_cyclic(|myself| Self {
            generation: new.generation,
            slot: new.slot,
            release: new.release.and_then(|r| http::HeaderValue::try_from(r).ok()),
            upstreams: upstreams.collect(),
            pool: POOLS.fetch_add(1, Ordering::Relaxed),
            ledger,
            metrics: new.metrics,
            trust: new.trust,
            tally,
            line: turns::Line::default(),
            room: room::Line::default(),
            budget: Budget::default(),
            held: OnceLock::new(),
            ejecting: Mutex::default(),
            myself: Weak::clone(myself),
            _alive: alive,
        });
        (epoch, handle)
    }

    /// Itself, for whoever looks at it later without keeping it alive.
    pub(crate) fn myself(&self) -> Weak<Self> {
        Weak::clone(&self.myself)
    }

    /// A request is done with an upstream: its place is free, for whoever waits the longest.
    pub fn leave(&self, index: usize) {
        let Some(one) = self.upstreams.get(index) else { return };
        one.in_flight.fetch_sub(1, Ordering::SeqCst);
        if !self.room.is_empty() {
            room::hand_out(self);
        }
    }

    /// Takes in how an upstream answered. One that fails too often is put out, unless too many are out already, by
    /// this or by their health.
    pub fn judge(&self, index: usize, failure: Option<&str>, limits: &Outliers, now: Tick) {
        let Some(one) = self.upstreams.get(index) else { return };
        let Some(why) = failure else { return one.upstream.answered() };
        if !one.upstream.failed(now, limits) {
            return;
        }
        let _one_at_a_time = self.ejecting.lock();
        let counted = || self.upstreams.iter().filter(|one| one.upstream.weight() > 0);
        let out = |one: &&EpochUpstream| !one.upstream.usable() || one.upstream.is_out(now);
        let (all, out) = (counted().count(), counted().filter(out).count());
        #[allow(clippy::cast_precision_loss, reason = "a count of upstreams")]
        let spared = (out + 1) as f64 <= all as f64 * limits.share.fraction();
        if spared && one.upstream.eject(why, now, limits) {
            self.metrics.ejected();
        }
    }
}

impl EpochUpstream {
    /// Takes a place unless there are `max` requests already.
    pub(crate) fn enter_below(&self, max: usize) -> bool {
        let next = |inside| (inside < max).then_some(inside + 1);
        self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok()
    }
}

/// What may be held of an epoch without keeping it alive.
#[derive(Debug, Clone)]
pub struct EpochHandle {
    /// The slot.
    pub slot: Slot,
    /// The generation that began it.
    pub generation: Generation,
    /// Everything inside.
    pub ledger: Arc<Ledger>,
    /// What it answered, once somebody wants to judge by it.
    pub tally: Arc<OnceLock<Tally>>,
    /// Its end.
    pub gone: Gone,
}

impl EpochHandle {
    /// From now on what it answers is counted.
    pub fn count(&self) {
        self.tally.get_or_init(|| Tally::new(Instant::now()));
    }
}

/// Resolves when an epoch has ended: it was left and every lease has been dropped.
#[derive(Debug, Clone)]
pub struct Gone(watch::Receiver<Never>);

impl Gone {
    /// Whether the end has come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.has_changed().is_err()
    }

    /// Waits for the end.
    pub async fn wait(&mut self) {
        // Nothing is ever sent, so the only thing to happen is the end of the channel.
        while self.0.changed().await.is_ok() {}
    }
}

/// A request's share in an epoch. While it is held the epoch is not drained.
pub struct Lease(Arc<Epoch>);

impl Lease {
    /// For [`App::enter`](crate::app::App::enter) alone.
    pub(crate) const fn new(epoch: Arc<Epoch>) -> Self {
        Self(epoch)
    }

    /// Enters the request into the epoch's ledger; the pass takes it out again when dropped.
    #[must_use]
    pub fn admit(self, new: NewExchange) -> Pass {
        let exchange = self.0.ledger.enter(new);
        Pass { exchange, lease: self }
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> &Epoch {
        &self.0
    }
}

/// A lease together with its line in the ledger. Fields drop in order: the line goes first, so a
/// drained epoch has an empty ledger.
pub struct Pass {
    exchange: Arc<Exchange>,
    lease: Lease,
}

impl Pass {
    /// The line in the ledger.
    #[must_use]
    pub const fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> &Epoch {
        self.lease.epoch()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.lease.epoch().ledger.leave(&self.exchange);
    }
}
