//! One upstream of one slot: where it is, and whether it may get traffic.
//!
//! An upstream outlives switches; every epoch of its slot shares it. Invariant: [`Upstream::usable`] and
//! [`Upstream::socket`] take no lock, so the gateway may ask for each request. Written by the prober, and by the
//! gateway through [`Upstream::suspect`]; read by the control plane.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use parking_lot::Mutex;
use switcher_config::settings::Outliers;
use switcher_config::wire::{Ejection, Event, Health, ProbeRecord, UpstreamStatus};
use switcher_config::{AppName, Slot, UpstreamAddress, Weight};
use tokio::sync::{Notify, broadcast};

use crate::health::observe::{Observed, Outcome, observe};
use crate::outlier::Record;
use crate::sticky::Mark;
use crate::tick::Tick;

/// How many probes are remembered.
const REMEMBERED: usize = 10;

/// One upstream of one slot.
pub struct Upstream {
    app: AppName,
    slot: Slot,
    address: Arc<UpstreamAddress>,
    socket: ArcSwapOption<SocketAddr>,
    usable: AtomicBool,
    weight: AtomicU8,
    /// When it came to be, or became healthy last: from then on its share grows, where the settings want that.
    risen: AtomicU64,
    mark: OnceLock<Mark>,
    /// How many times in a row it answered badly, where anybody counts.
    failing: AtomicU32,
    /// Until when it is left out for that.
    out_until: AtomicU64,
    outlier: Mutex<(Record, Option<Ejection>)>,
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
    wake: Notify,
}

/// Which of the two checks a probe makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckName {
    /// Whether the upstream may get traffic.
    Ready,
    /// Whether it is alive at all.
    Live,
}

impl CheckName {
    /// The name in [`ProbeRecord::check`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Live => "live",
        }
    }
}

/// Taken before a probe begins; a pass that began before the last suspicion does not lift it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

struct State {
    ready: Observed,
    live: Option<Observed>,
    /// The newest failure, until the upstream is healthy.
    reason: Option<String>,
    suspicions: u64,
    /// Newest first.
    checks: VecDeque<ProbeRecord>,
}

impl State {
    fn health(&self) -> Health {
        let live = self.live.map_or(Health::Healthy, Observed::health);
        match (self.ready.health(), live) {
            (Health::Unhealthy, _) | (_, Health::Unhealthy) => Health::Unhealthy,
            (Health::Healthy, Health::Healthy) => Health::Healthy,
            (Health::Unknown, Health::Unknown | Health::Healthy) | (Health::Healthy, Health::Unknown) => {
                Health::Unknown
            }
        }
    }

    fn reason(&self) -> Option<String> {
        let unsaid = match self.health() {
            Health::Healthy => return None,
            Health::Unknown if self.checks.is_empty() => "not probed yet",
            Health::Unknown => "not probed often enough to say",
            Health::Unhealthy => "its probes failed",
        };
        Some(self.reason.clone().unwrap_or_else(|| unsaid.to_owned()))
    }
}

impl Upstream {
    /// An upstream that was never probed. Changes of its health are published on `events`.
    #[must_use]
    pub fn new(app: AppName, slot: Slot, address: UpstreamAddress, events: broadcast::Sender<Event>) -> Self {
        let state = State {
            ready: Observed::NOTHING,
            live: None,
            reason: None,
            suspicions: 0,
            checks: VecDeque::new(),
        };
        Self {
            app,
            slot,
            socket: ArcSwapOption::new(address.socket_address().map(Arc::new)),
            address: Arc::new(address),
            usable: AtomicBool::new(true),
            weight: AtomicU8::new(Weight::ONE.get()),
            risen: AtomicU64::new(Tick::now().0),
            mark: OnceLock::new(),
            failing: AtomicU32::new(0),
            out_until: AtomicU64::new(0),
            outlier: Mutex::default(),
            state: Mutex::new(state),
            events,
            wake: Notify::new(),
        }
    }

    /// Its address as configured or registered.
    #[must_use]
    pub const fn address(&self) -> &Arc<UpstreamAddress> {
        &self.address
    }

    /// The slot it belongs to.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// Where to connect to now. A name has no socket address until it was resolved once; then it keeps the last good one.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        self.socket.load().as_deref().copied()
    }

    /// Takes over what its name resolves to now.
    ///
    /// The present address stays while the name still has it, so that one of several does not flap.
    pub fn resolved(&self, addresses: &[SocketAddr]) -> Option<SocketAddr> {
        let present = self.socket().filter(|present| addresses.contains(present));
        let chosen = present.or_else(|| addresses.first().copied())?;
        if present.is_none() {
            self.socket.store(Some(Arc::new(chosen)));
        }
        Some(chosen)
    }

    /// Whether it may get traffic: healthy, or not known to be anything else. One atomic load.
    ///
    /// When no upstream of a slot is usable, trying one beats refusing: the verdict may be older than the recovery.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.usable.load(Ordering::Relaxed)
    }

    /// How many requests it gets beside the others of its slot; 0 means none. One atomic load.
    #[must_use]
    pub fn weight(&self) -> u8 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Gives it a weight. For [`crate::watched`] alone.
    pub fn set_weight(&self, weight: Weight) {
        self.weight.store(weight.get(), Ordering::Relaxed);
    }

    /// Since when it may be thought well.
    #[must_use]
    pub fn risen(&self) -> Tick {
        Tick(self.risen.load(Ordering::Relaxed).max(self.out_until.load(Ordering::Relaxed)))
    }

    /// From now on its share grows.
    pub(crate) fn rise(&self, now: Tick) {
        self.risen.store(now.0, Ordering::Relaxed);
    }

    /// Whether it is left out because it answered badly. One atomic load.
    #[must_use]
    pub fn is_out(&self, now: Tick) -> bool {
        now.0 < self.out_until.load(Ordering::Relaxed)
    }

    /// It answered well. One atomic load, unless it had not before.
    pub fn answered(&self) {
        if self.failing.load(Ordering::Relaxed) > 0 {
            let mut outlier = self.outlier.lock();
            outlier.0 = outlier.0.answered();
            self.failing.store(0, Ordering::Relaxed);
        }
    }

    /// It answered badly, or broke an answer off. True when it ought to be left out.
    pub fn failed(&self, now: Tick, limits: &Outliers) -> bool {
        let mut outlier = self.outlier.lock();
        let (record, too_often) = outlier.0.failed(now, limits);
        outlier.0 = record;
        self.failing.store(record.failures, Ordering::Relaxed);
        too_often && !self.is_out(now)
    }

    /// Leaves it out for a while, and tells. False when it is out already.
    pub fn eject(&self, why: &str, now: Tick, limits: &Outliers) -> bool {
        let mut outlier = self.outlier.lock();
        if self.is_out(now) {
            return false;
        }
        let reason = format!("{} failures in a row, the last: {why}", outlier.0.failures);
        let (record, lasts) = outlier.0.ejected(now, limits);
        let at = Timestamp::now();
        let until = at.checked_add(lasts).unwrap_or(Timestamp::MAX);
        let ejection = Ejection { until, reason };
        *outlier = (record, Some(ejection.clone()));
        self.failing.store(0, Ordering::Relaxed);
        self.out_until.store(record.until.0, Ordering::Relaxed);
        let (app, slot, upstream) = (self.app.clone(), self.slot, (*self.address).clone());
        // Nobody listening is fine.
        let _ = self.events.send(Event::Ejected { at, app, slot, upstream, ejection });
        true
    }

    /// Why and until when it is left out, if it is.
    fn ejection(&self) -> Option<Ejection> {
        self.outlier.lock().1.clone().filter(|_| self.is_out(Tick::now()))
    }

    /// By what a cookie names it; `None` where none does.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        self.mark.get().copied()
    }

    /// Lets a cookie name it. For [`crate::watched`] alone.
    pub fn set_mark(&self, mark: impl FnOnce() -> Mark) {
        self.mark.get_or_init(mark);
    }

    /// A connection of real traffic failed: it gets no traffic until a probe, made at once, has passed.
    pub fn suspect(&self, why: &str) {
        // While it is out already there is nothing to learn, however many requests fail.
        if !self.usable() {
            return;
        }
        let mut state = self.state.lock();
        let before = state.health();
        state.ready = state.ready.suspected();
        state.suspicions += 1;
        state.reason = Some(format!("a request could not connect: {why}"));
        self.settle(&state, before);
        drop(state);
        self.wake.notify_one();
    }

    /// Readiness and liveness together.
    #[must_use]
    pub fn health(&self) -> Health {
        self.state.lock().health()
    }

    /// Why it is not healthy.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.state.lock().reason()
    }

    /// Its state, with the last ten probes.
    #[must_use]
    pub fn status(&self) -> UpstreamStatus {
        let state = self.state.lock();
        UpstreamStatus {
            address: (*self.address).clone(),
            weight: Weight::try_from(u16::from(self.weight())).unwrap_or(Weight::ONE),
            ejected: self.ejection(),
            health: state.ready.health(),
            live: state.live.map(Observed::health),
            last_check: state.checks.front().cloned(),
            checks: state.checks.iter().cloned().collect(),
        }
    }

    /// Begins or ends the liveness check, as the settings have one.
    pub fn watch_liveness(&self, watched: bool) {
        let mut state = self.state.lock();
        let before = state.health();
        state.live = watched.then(|| state.live.unwrap_or(Observed::NOTHING));
        self.settle(&state, before);
    }

    /// To be taken before a probe begins.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket(self.state.lock().suspicions)
    }

    /// Takes in what a probe found.
    pub fn record(&self, check: CheckName, ticket: Ticket, record: ProbeRecord, rise: u16, fall: u16) {
        let outcome = if record.ok { Outcome::Passed } else { Outcome::Failed };
        let mut state = self.state.lock();
        let before = state.health();
        if let Some(error) = &record.error {
            state.reason = Some(format!("{} check: {error}", check.as_str()));
        }
        let stale = record.ok && ticket.0 != state.suspicions;
        match (check, state.live) {
            (CheckName::Ready, _) if stale => {}
            (CheckName::Ready, _) => state.ready = observe(&state.ready, &outcome, rise, fall),
            (CheckName::Live, Some(live)) => state.live = Some(observe(&live, &outcome, rise, fall)),
            (CheckName::Live, None) => {}
        }
        state.checks.truncate(REMEMBERED - 1);
        state.checks.push_front(record);
        if state.health() == Health::Healthy && outcome == Outcome::Passed {
            state.reason = None;
        }
        self.settle(&state, before);
    }

    /// Waits until a probe is wanted at once.
    pub async fn suspected(&self) {
        self.wake.notified().await;
    }

    /// After every change, under the lock, so that events come in the order of the changes.
    fn settle(&self, state: &State, before: Health) {
        let health = state.health();
        self.usable.store(health != Health::Unhealthy, Ordering::Relaxed);
        if health == Health::Healthy && before != Health::Healthy {
            self.rise(Tick::now());
        }
        if health != before {
            // Nobody listening is fine.
            let _ = self.events.send(Event::Health {
                at: Timestamp::now(),
                app: self.app.clone(),
                slot: self.slot,
                upstream: (*self.address).clone(),
                health,
                reason: state.reason(),
            });
        }
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upstream({}/{} {} {:?})", self.app, self.slot, self.address, self.health())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::slot_health;

    fn upstream(address: &str) -> (Arc<Upstream>, broadcast::Receiver<Event>) {
        let (events, heard) = broadcast::channel(64);
        let app = "shop".parse().unwrap();
        (Arc::new(Upstream::new(app, Slot::Green, address.parse().unwrap(), events)), heard)
    }

    fn found(error: Option<&str>) -> ProbeRecord {
        ProbeRecord {
            at: Timestamp::UNIX_EPOCH,
            ok: error.is_none(),
            check: "ready".into(),
            status: None,
            body: None,
            latency_ms: 1.0,
            error: error.map(Into::into),
        }
    }

    fn probe(upstream: &Upstream, check: CheckName, error: Option<&str>) {
        upstream.record(check, upstream.ticket(), found(error), 2, 3);
    }

    #[test]
    fn an_upstream_gets_traffic_until_it_is_known_to_be_bad() {
        let (upstream, mut heard) = upstream("127.0.0.1:1");
        assert!(upstream.usable() && upstream.health() == Health::Unknown);
        for _ in 0..3 {
            assert!(upstream.usable());
            probe(&upstream, CheckName::Ready, Some("connection refused"));
        }
        assert!(!upstream.usable());
        assert_eq!(upstream.reason().unwrap(), "ready check: connection refused");
        let Event::Health { health, reason, slot, .. } = heard.try_recv().unwrap() else { panic!("health") };
        assert_eq!((health, slot), (Health::Unhealthy, Slot::Green));
        assert_eq!(reason.unwrap(), "ready check: connection refused");
        assert!(heard.try_recv().is_err(), "one event for one change");
    }

    #[test]
    fn a_suspicion_is_told_at_once_and_lifted_by_a_later_probe_only() {
        let (upstream, mut heard) = upstream("127.0.0.1:1");
        probe(&upstream, CheckName::Ready, None);
        probe(&upstream, CheckName::Ready, None);
        assert_eq!(upstream.health(), Health::Healthy);
        assert_eq!(upstream.reason(), None);
        let before = upstream.ticket();
        upstream.suspect("connection refused");
        upstream.suspect("connection refused");
        assert!(!upstream.usable());
        assert_eq!(upstream.reason().unwrap(), "a request could not connect: connection refused");
        upstream.record(CheckName::Ready, before, found(None), 2, 3);
        assert!(!upstream.usable(), "that probe began before the suspicion");
        probe(&upstream, CheckName::Ready, None);
        assert!(upstream.usable() && upstream.health() == Health::Healthy);
        let told: Vec<Health> = std::iter::from_fn(|| heard.try_recv().ok())
            .map(|event| if let Event::Health { health, .. } = event { health } else { panic!("health") })
            .collect();
        assert_eq!(told, [Health::Healthy, Health::Unhealthy, Health::Healthy]);
    }

    #[test]
    fn readiness_and_liveness_both_count() {
        let (upstream, _heard) = upstream("127.0.0.1:1");
        upstream.watch_liveness(true);
        probe(&upstream, CheckName::Ready, None);
        probe(&upstream, CheckName::Ready, None);
        assert_eq!(upstream.health(), Health::Unknown, "not known to live yet");
        probe(&upstream, CheckName::Live, None);
        probe(&upstream, CheckName::Live, None);
        assert_eq!(upstream.health(), Health::Healthy);
        for _ in 0..3 {
            probe(&upstream, CheckName::Live, Some("no answer within 2s"));
        }
        assert!(!upstream.usable());
        probe(&upstream, CheckName::Ready, None);
        assert_eq!(upstream.reason().unwrap(), "live check: no answer within 2s");
        assert_eq!(upstream.status().live, Some(Health::Unhealthy));
        assert_eq!(upstream.status().health, Health::Healthy);
        upstream.watch_liveness(false);
        assert!(upstream.usable() && upstream.status().live.is_none());
    }

    #[test]
    fn the_last_ten_probes_are_kept_newest_first() {
        let (upstream, _heard) = upstream("127.0.0.1:1");
        for n in 0..12 {
            probe(&upstream, CheckName::Ready, Some(&n.to_string()));
        }
        let status = upstream.status();
        let errors: Vec<_> = status.checks.iter().map(|check| check.error.clone().unwrap()).collect();
        assert_eq!(errors, ["11", "10", "9", "8", "7", "6", "5", "4", "3", "2"]);
        assert_eq!(status.last_check, status.checks.first().cloned());
    }

    #[test]
    fn a_name_keeps_its_address_while_it_resolves_to_it() {
        let (upstream, _heard) = upstream("app:80");
        let [one, two]: [SocketAddr; 2] = ["10.0.0.1:80".parse().unwrap(), "10.0.0.2:80".parse().unwrap()];
        assert_eq!(upstream.socket(), None);
        assert_eq!(upstream.resolved(&[one, two]), Some(one));
        assert_eq!(upstream.resolved(&[two, one]), Some(one));
        assert_eq!(upstream.resolved(&[]), None);
        assert_eq!(upstream.socket(), Some(one), "the last good address stays");
        assert_eq!(upstream.resolved(&[two]), Some(two));
        assert_eq!(upstream.socket(), Some(two));
    }

    #[test]
    fn a_slot_is_as_healthy_as_its_worst_upstream() {
        assert_eq!(slot_health(&[]), (Health::Unknown, Some("no addresses are registered".into())));
        let (one, _a) = upstream("127.0.0.1:1");
        let (two, _b) = upstream("127.0.0.1:2");
        let slot = [one, two];
        assert_eq!(slot_health(&slot), (Health::Unknown, Some("127.0.0.1:1: not probed yet".into())));
        for upstream in &slot {
            probe(upstream, CheckName::Ready, None);
            probe(upstream, CheckName::Ready, None);
        }
        assert_eq!(slot_health(&slot), (Health::Healthy, None));
        slot[1].suspect("connection refused");
        let reason = "127.0.0.1:2: a request could not connect: connection refused";
        assert_eq!(slot_health(&slot), (Health::Unhealthy, Some(reason.into())));
    }
}
