//! What the proxy counts, for Prometheus.
//!
//! Invariant: labels come from the configuration only, never from clients, so their number is bounded; and the
//! gateway holds handles that were looked up once, so a request costs a few atomic additions. Each [`Metrics`] has a registry
//! of its own. Counters are written where things happen; gauges are set by whoever answers a scrape.

mod cache;
mod exemplar;
mod limits;
mod mirror;
#[cfg(test)]
mod monitoring;
pub mod openmetrics;
mod raw;
mod spans;

use std::sync::Arc;

use prometheus::core::Metric as _;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use switcher_config::wire::{BakeResult, ByKind, CanaryResult, Health, Kind};
use switcher_config::{AppName, Generation, PerSlot, Share, Slot};

use crate::certificates::CertificateMetrics;
use crate::hygiene::Violation;
use crate::traces::TraceId;

use exemplar::{AllExemplars, Exemplars};

pub use cache::{CacheMetrics, CacheResult};
pub use limits::{Limit, LimitMetrics};
pub use mirror::{Fallback, MirrorMetrics};
pub use raw::{RawEnd, RawMetrics};
pub use spans::{SpanMetrics, SpanOutcome};

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const HEALTHS: [(Health, &str); 3] =
    [(Health::Unknown, "unknown"), (Health::Healthy, "healthy"), (Health::Unhealthy, "unhealthy")];
/// Upper bounds of the duration histogram, in seconds.
pub const BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Every family.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    retries: IntCounterVec,
    balance: BalanceFamilies,
    standby: mirror::StandbyFamilies,
    raw: raw::RawFamilies,
    drain_finished: IntCounterVec,
    drain_cut: IntCounterVec,
    switches: IntCounterVec,
    bake: BakeFamilies,
    canary: CanaryFamilies,
    in_flight: IntGaugeVec,
    health: IntGaugeVec,
    active: IntGaugeVec,
    generation: IntGaugeVec,
    held: IntGaugeVec,
    unrouted: Classes,
    access_log_dropped: IntCounter,
    unasked: IntCounter,
    malformed: Malformed,
    tls: TlsMetrics,
    limits: LimitMetrics,
    exemplars: AllExemplars,
    /// What is counted of spans.
    pub spans: SpanMetrics,
    /// What is counted of the response cache.
    pub cache: CacheMetrics,
    /// What is counted of certificates.
    pub certificates: CertificateMetrics,
}

/// One application's handles.
#[derive(Debug, Clone)]
pub struct AppMetrics {
    /// What is counted for each slot.
    pub slots: PerSlot<SlotMetrics>,
    switches: PerSlot<IntCounter>,
    bakes: [IntCounter; 4],
    bake_rollbacks: IntCounter,
    canaries: [IntCounter; 5],
}

/// One slot's handles.
#[derive(Debug, Clone)]
pub struct SlotMetrics {
    requests: Classes,
    duration: prometheus::Histogram,
    exemplars: Arc<Exemplars>,
    retries: IntCounter,
    retries_refused: IntCounter,
    ejections: IntCounter,
    breaker_opened: IntCounter,
    breaker_refused: IntCounter,
    /// The line for room.
    pub queue: QueueMetrics,
    finished: ByKind<IntCounter>,
    cut: ByKind<IntCounter>,
}

/// A counter for each class of status.
#[derive(Debug, Clone)]
struct Classes([IntCounter; 5]);

impl Classes {
    /// Those of requests for no application.
    fn unrouted(registry: &Registry) -> prometheus::Result<Self> {
        let options =
            Opts::new("switcher_unrouted_requests_total", "Requests for no application, by status class.");
        let family = IntCounterVec::new(options, &["class"])?;
        registry.register(Box::new(family.clone()))?;
        Ok(Self(CLASSES.map(|class| family.with_label_values(&[class]))))
    }

    fn count(&self, status: u16) {
        // A status outside the five classes is nobody's success.
        let class = usize::from(status / 100).checked_sub(1).unwrap_or(4).min(4);
        self.0[class].inc();
    }
}

/// A counter for each rule of request hygiene, in the order of [`Violation::ALL`].
#[derive(Debug, Clone)]
struct Malformed(Vec<IntCounter>);

impl Malformed {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let options = Opts::new(
            "switcher_malformed_requests_total",
            "Requests that were refused because they are malformed or ambiguous, by the rule that they break.",
        );
        let family = IntCounterVec::new(options, &["rule"])?;
        registry.register(Box::new(family.clone()))?;
        Ok(Self(Violation::ALL.iter().map(|v| family.with_label_values(&[v.rule()])).collect()))
    }
}

impl Metrics {
    /// All families, in a registry of their own.
    ///
    /// # Errors
    /// Never with the names below; the library asks for it.
    pub fn new(version: &str) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name, help, labels: &[&str]| {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone())).map(|()| family)
        };
        let gauge = |name, help, labels: &[&str]| {
            let family = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone())).map(|()| family)
        };
        let (slot, kind) = (["app", "slot"], ["app", "slot", "kind"]);
        gauge("switcher_build_info", "Always 1; the version is a label.", &["version"])?
            .with_label_values(&[version])
            .set(1);
        Ok(Self {
            requests: counter(
                "switcher_requests_total",
                "Answered requests, by status class.",
                &["app", "slot", "class"],
            )?,
            durations: histogram(&registry)?,
            retries: counter("switcher_retries_total", "Requests tried on one more upstream.", &slot)?,
            balance: BalanceFamilies::new(&registry)?,
            standby: mirror::StandbyFamilies::new(&registry)?,
            raw: raw::RawFamilies::new(&registry)?,
            drain_finished: counter(
                "switcher_drain_finished_total",
                "Exchanges that finished by themselves in a drain.",
                &kind,
            )?,
            drain_cut: counter(
                "switcher_drain_cut_total",
                "Exchanges that were closed at the deadline of a drain.",
                &kind,
            )?,
            switches: counter(
                "switcher_switches_total",
                "Switches, by the slot that became live.",
                &["app", "to"],
            )?,
            bake: BakeFamilies::new(&registry)?,
            canary: CanaryFamilies::new(&registry)?,
            in_flight: gauge("switcher_in_flight", "Exchanges inside, drains included.", &kind)?,
            health: gauge("switcher_health", "1 for the state a slot is in.", &["app", "slot", "state"])?,
            active: gauge("switcher_active", "1 for the live slot.", &slot)?,
            generation: gauge("switcher_generation", "The generation of the last mutation.", &["app"])?,
            held: gauge("switcher_held", "Requests held while the application is paused.", &["app"])?,
            unrouted: Classes::unrouted(&registry)?,
            access_log_dropped: dropped(&registry)?,
            unasked: unasked(&registry)?,
            malformed: Malformed::new(&registry)?,
            tls: TlsMetrics::new(&registry)?,
            limits: LimitMetrics::new(&registry)?,
            exemplars: AllExemplars::default(),
            spans: SpanMetrics::new(&registry)?,
            cache: CacheMetrics::new(&registry)?,
            certificates: CertificateMetrics::new(&registry)?,
            registry,
        })
    }

    /// The handles of an application, every series at zero. The same series again when it is known already.
    #[must_use]
    pub fn app(&self, app: &AppName) -> AppMetrics {
        let app = app.as_str();
        AppMetrics {
            slots: PerSlot::from_fn(|slot| self.slot(app, slot)),
            switches: PerSlot::from_fn(|slot| self.switches.with_label_values(&[app, slot.as_str()])),
            bakes: BakeResult::ALL.map(|result| self.bake.results.with_label_values(&[app, result.as_str()])),
            bake_rollbacks: self.bake.rollbacks.with_label_values(&[app]),
            canaries: CanaryResult::ALL
                .map(|result| self.canary.results.with_label_values(&[app, result.as_str()])),
        }
    }

    fn slot(&self, app: &str, slot: Slot) -> SlotMetrics {
        let exemplars = self.exemplars.of_slot(app, slot);
        let slot = slot.as_str();
        let by_kind = |family: &IntCounterVec| {
            ByKind::from_fn(|kind| family.with_label_values(&[app, slot, kind.as_str()]))
        };
        SlotMetrics {
            requests: Classes(CLASSES.map(|class| self.requests.with_label_values(&[app, slot, class]))),
            duration: self.durations.with_label_values(&[app, slot]),
            exemplars,
            retries: self.retries.with_label_values(&[app, slot]),
            retries_refused: self.balance.retries_refused.with_label_values(&[app, slot]),
            ejections: self.balance.ejections.with_label_values(&[app, slot]),
            breaker_opened: self.balance.breaker_opened.with_label_values(&[app, slot]),
            breaker_refused: self.balance.breaker_refused.with_label_values(&[app, slot]),
            queue: QueueMetrics {
                waiting: self.balance.waiting.with_label_values(&[app, slot]),
                refused: self.balance.refused.with_label_values(&[app, slot]),
            },
            finished: by_kind(&self.drain_finished),
            cut: by_kind(&self.drain_cut),
        }
    }

    /// Takes an application out that is no longer configured.
    pub fn forget(&self, app: &AppName) {
        let app = app.as_str();
        // A series that was never made is not there to remove.
        let _ = (self.generation.remove_label_values(&[app]), self.held.remove_label_values(&[app]));
        let _ =
            (self.bake.rollbacks.remove_label_values(&[app]), self.bake.running.remove_label_values(&[app]));
        self.standby.forget(app);
        self.raw.forget(app);
        self.exemplars.forget(app);
        for result in BakeResult::ALL {
            let _ = self.bake.results.remove_label_values(&[app, result.as_str()]);
        }
        let _ = self.canary.share.remove_label_values(&[app]);
        for result in CanaryResult::ALL {
            let _ = self.canary.results.remove_label_values(&[app, result.as_str()]);
        }
        for slot in Slot::ALL.map(Slot::as_str) {
            let pair = [app, slot];
            let _ = self.durations.remove_label_values(&pair);
            let _ = (self.retries.remove_label_values(&pair), self.switches.remove_label_values(&pair));
            let _ = self.active.remove_label_values(&pair);
            self.balance.forget(&pair);
            for class in CLASSES {
                let _ = self.requests.remove_label_values(&[app, slot, class]);
            }
            for (_, state) in HEALTHS {
                let _ = self.health.remove_label_values(&[app, slot, state]);
            }
            for kind in Kind::ALL.map(Kind::as_str) {
                let series = [app, slot, kind];
                let _ = self.drain_finished.remove_label_values(&series);
                let _ = (
                    self.drain_cut.remove_label_values(&series),
                    self.in_flight.remove_label_values(&series),
                );
            }
        }
    }

    /// What is counted of an application's copies.
    #[must_use]
    pub fn mirror(&self, app: &AppName) -> MirrorMetrics {
        self.standby.mirror(app)
    }

    /// An asset was asked of the other slot.
    pub fn fell_back(&self, app: &AppName, outcome: Fallback) {
        self.standby.fell_back(app, outcome);
    }

    /// What is counted of an application's raw connections in a slot.
    #[must_use]
    pub fn raw(&self, app: &AppName, slot: Slot) -> RawMetrics {
        self.raw.of(app, slot)
    }

    /// A raw connection was closed before it had a slot.
    pub fn raw_refused(&self, app: &AppName) {
        self.raw.refused(app);
    }

    /// What the TLS front counts.
    #[must_use]
    pub fn tls(&self) -> &TlsMetrics {
        &self.tls
    }

    /// How often limits acted.
    #[must_use]
    pub fn limits(&self) -> &LimitMetrics {
        &self.limits
    }

    /// A request for no application was answered.
    pub fn unrouted(&self, status: u16) {
        self.unrouted.count(status);
    }

    /// A request did not pass because nobody said in time whether it may.
    pub fn unasked(&self) {
        self.unasked.inc();
    }

    /// A request was refused because it breaks a rule of request hygiene.
    pub fn malformed(&self, violation: Violation) {
        self.malformed.0[violation as usize].inc();
        if let Some(limit) = Limit::of(violation) {
            self.limits.acted(limit);
        }
    }

    /// For a scrape: which slot is live, at which generation, and how many requests are held.
    pub fn set_app(&self, app: &AppName, active: Slot, generation: Generation, held: u32) {
        let app = app.as_str();
        for slot in Slot::ALL {
            self.active.with_label_values(&[app, slot.as_str()]).set(i64::from(slot == active));
        }
        let generation = i64::try_from(generation.get()).unwrap_or(i64::MAX);
        self.generation.with_label_values(&[app]).set(generation);
        self.held.with_label_values(&[app]).set(held.into());
    }

    /// For a scrape: whether a switch is judged on live traffic.
    pub fn set_bake(&self, app: &AppName, running: bool) {
        self.bake.running.with_label_values(&[app.as_str()]).set(running.into());
    }

    /// For a scrape: the share of a canary; none while none goes on.
    pub fn set_canary(&self, app: &AppName, share: Option<Share>) {
        self.canary.share.with_label_values(&[app.as_str()]).set(share.unwrap_or_default().fraction());
    }

    /// For a scrape: a slot's health, and what is inside it.
    pub fn set_slot(&self, app: &AppName, slot: Slot, health: Health, in_flight: &ByKind<u64>) {
        let (app, slot) = (app.as_str(), slot.as_str());
        for (state, name) in HEALTHS {
            self.health.with_label_values(&[app, slot, name]).set(i64::from(state == health));
        }
        for kind in Kind::ALL {
            let inside = i64::try_from(*in_flight.get(kind)).unwrap_or(i64::MAX);
            self.in_flight.with_label_values(&[app, slot, kind.as_str()]).set(inside);
        }
    }

    /// For a scrape: how many lines the access log lost so far.
    pub fn set_access_log_dropped(&self, dropped: u64) {
        self.access_log_dropped.inc_by(dropped.saturating_sub(self.access_log_dropped.get()));
    }

    /// Everything in Prometheus's text format.
    ///
    /// # Errors
    /// When a family is inconsistent, which the typed handles rule out; the library asks for it.
    pub fn encode(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// Everything in OpenMetrics text, with exemplars where requests are traced.
    #[must_use]
    pub fn encode_openmetrics(&self) -> String {
        openmetrics::encode(&self.registry.gather(), &self.exemplars)
    }
}

/// How often nobody said whether a request may pass.
fn unasked(registry: &Registry) -> prometheus::Result<IntCounter> {
    let help = "Requests that did not pass because whoever `forward_auth` asks did not answer in time.";
    let counter = IntCounter::new("switcher_forward_auth_failures_total", help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

/// What came of bakes, how often traffic went back by itself, and whether one is under way.
#[derive(Debug, Clone)]
struct BakeFamilies {
    results: IntCounterVec,
    rollbacks: IntCounterVec,
    running: IntGaugeVec,
}

impl BakeFamilies {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let results = Opts::new(
            "switcher_bake_results_total",
            "Switches that were judged on live traffic, by what came of it.",
        );
        let rollbacks = Opts::new(
            "switcher_bake_rollbacks_total",
            "Times that traffic went back by itself after a switch.",
        );
        let results = IntCounterVec::new(results, &["app", "result"])?;
        let rollbacks = IntCounterVec::new(rollbacks, &["app"])?;
        registry.register(Box::new(results.clone()))?;
        registry.register(Box::new(rollbacks.clone()))?;
        let running = Opts::new("switcher_bake_running", "1 while a switch is judged on live traffic.");
        let running = IntGaugeVec::new(running, &["app"])?;
        registry.register(Box::new(running.clone()))?;
        Ok(Self { results, rollbacks, running })
    }
}

/// How large canaries are, and how they ended.
#[derive(Debug, Clone)]
struct CanaryFamilies {
    share: GaugeVec,
    results: IntCounterVec,
}

impl CanaryFamilies {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let share = Opts::new(
            "switcher_canary_share_ratio",
            "The share of the clients that a canary in the standby slot gets; 0 while none goes on.",
        );
        let results = Opts::new("switcher_canaries_total", "Canaries that ended, by how.");
        let share = GaugeVec::new(share, &["app"])?;
        let results = IntCounterVec::new(results, &["app", "result"])?;
        registry.register(Box::new(share.clone()))?;
        registry.register(Box::new(results.clone()))?;
        Ok(Self { share, results })
    }
}

/// What balancing counts, for each slot.
#[derive(Debug, Clone)]
struct BalanceFamilies {
    retries_refused: IntCounterVec,
    ejections: IntCounterVec,
    breaker_opened: IntCounterVec,
    breaker_refused: IntCounterVec,
    waiting: IntGaugeVec,
    refused: IntCounterVec,
}

impl BalanceFamilies {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let slot = ["app", "slot"];
        let counter = |name, help| {
            let family = IntCounterVec::new(Opts::new(name, help), &slot)?;
            registry.register(Box::new(family.clone())).map(|()| family)
        };
        let waiting =
            IntGaugeVec::new(Opts::new("switcher_queue_waiting", "Requests that wait for room."), &slot)?;
        registry.register(Box::new(waiting.clone()))?;
        Ok(Self {
            retries_refused: counter(
                "switcher_retries_refused_total",
                "Requests not tried again because the budget of retries was spent.",
            )?,
            ejections: counter(
                "switcher_upstream_ejections_total",
                "Times that an upstream was left out because it answered badly.",
            )?,
            breaker_opened: counter(
                "switcher_breaker_opened_total",
                "Times that a slot was left alone because it mostly failed.",
            )?,
            breaker_refused: counter(
                "switcher_breaker_refused_total",
                "Requests that were answered 503 meanwhile.",
            )?,
            waiting,
            refused: counter(
                "switcher_queue_refused_total",
                "Requests that found no room: the queue was full, or they waited for too long.",
            )?,
        })
    }

    fn forget(&self, slot: &[&str]) {
        // A series that was never made is not there to remove.
        let _ = (self.retries_refused.remove_label_values(slot), self.ejections.remove_label_values(slot));
        let _ = (self.waiting.remove_label_values(slot), self.refused.remove_label_values(slot));
        let _ = self.breaker_opened.remove_label_values(slot);
        let _ = self.breaker_refused.remove_label_values(slot);
    }
}

/// One slot's line for room.
#[derive(Debug, Clone)]
pub struct QueueMetrics {
    waiting: IntGauge,
    refused: IntCounter,
}

impl QueueMetrics {
    /// A request begins to wait.
    pub fn enter(&self) {
        self.waiting.inc();
    }

    /// It waits no longer.
    pub fn leave(&self) {
        self.waiting.dec();
    }

    /// It is refused.
    pub fn refuse(&self) {
        self.refused.inc();
    }
}

impl AppMetrics {
    /// A switch made `to` live.
    pub fn switched(&self, to: Slot) {
        self.switches.get(to).inc();
    }

    /// A switch was judged, and traffic went back or not.
    pub fn baked(&self, result: BakeResult, back: bool) {
        self.bakes[result as usize].inc();
        if back {
            self.bake_rollbacks.inc();
        }
    }
}

impl AppMetrics {
    /// A canary ended.
    pub fn canary_ended(&self, result: CanaryResult) {
        self.canaries[result as usize].inc();
    }
}

/// What a slot has answered since the process began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answered {
    /// Requests.
    pub requests: u64,
    /// Those that were answered with a status of 500 or more.
    pub errors: u64,
    /// How many took at most as long as each of [`BUCKETS`] says.
    pub within: [u64; BUCKETS.len()],
}

impl SlotMetrics {
    /// How many requests were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.requests.0.iter().map(IntCounter::get).sum()
    }

    /// What was answered so far.
    #[must_use]
    pub fn so_far(&self) -> Answered {
        let metric = self.duration.metric();
        let mut within = [0; BUCKETS.len()];
        for (count, bucket) in within.iter_mut().zip(metric.get_histogram().get_bucket()) {
            *count = bucket.cumulative_count();
        }
        Answered { requests: self.answered(), errors: self.requests.0[4].get(), within }
    }

    /// A request was answered with `status` after `seconds`.
    pub fn observe(&self, status: u16, seconds: f64) {
        self.requests.count(status);
        self.duration.observe(seconds);
    }

    /// A request that took so long belongs to this trace.
    pub fn exemplify(&self, trace: TraceId, seconds: f64) {
        self.exemplars.note(trace, seconds);
    }

    /// The slot mostly fails and is left alone for a while.
    pub fn breaker_opened(&self) {
        self.breaker_opened.inc();
    }

    /// A request was refused meanwhile.
    pub fn breaker_refused(&self) {
        self.breaker_refused.inc();
    }

    /// A request is tried on one more upstream.
    pub fn retried(&self) {
        self.retries.inc();
    }

    /// A request is not tried again because the budget is spent.
    pub fn retry_refused(&self) {
        self.retries_refused.inc();
    }

    /// An upstream is left out because it answers badly.
    pub fn ejected(&self) {
        self.ejections.inc();
    }

    /// A drain is over: so many exchanges of a kind finished by themselves, so many were closed at their deadline.
    pub fn drained(&self, kind: Kind, finished: u64, cut: u64) {
        self.finished.get(kind).inc_by(finished);
        self.cut.get(kind).inc_by(cut);
    }
}

/// How a TLS handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// With a connection.
    Ok,
    /// An authority looked at a challenge.
    Challenge,
    /// There was no certificate for what the client asked for.
    Refused,
    /// The two sides did not agree, or the connection broke.
    Failed,
    /// The time was over.
    Timeout,
    /// The time was over before it had its turn.
    Limited,
}

impl Handshake {
    const ALL: [(Self, &str); 6] = [
        (Self::Ok, "ok"),
        (Self::Challenge, "challenge"),
        (Self::Refused, "refused"),
        (Self::Failed, "failed"),
        (Self::Timeout, "timeout"),
        (Self::Limited, "limited"),
    ];
}

/// What is counted of TLS handshakes, over all listeners.
#[derive(Debug, Clone)]
pub struct TlsMetrics {
    /// In the order of [`Handshake::ALL`].
    handshakes: [IntCounter; 6],
    full: IntCounter,
    resumed: IntCounter,
    in_flight: IntGauge,
}

/// A handshake under way; counted as such until dropped.
#[must_use]
pub struct UnderWay<'a>(&'a IntGauge);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl TlsMetrics {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name, help, label: &str| {
            let family = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(family.clone())).map(|()| family)
        };
        let handshakes =
            counter("switcher_tls_handshakes_total", "TLS handshakes, by how they ended.", "result")?;
        let sessions =
            counter("switcher_tls_sessions_total", "TLS sessions, begun anew or resumed.", "kind")?;
        let in_flight = IntGauge::new("switcher_tls_handshakes_in_flight", "TLS handshakes under way.")?;
        registry.register(Box::new(in_flight.clone()))?;
        Ok(Self {
            handshakes: Handshake::ALL.map(|(_, name)| handshakes.with_label_values(&[name])),
            full: sessions.with_label_values(&["full"]),
            resumed: sessions.with_label_values(&["resumed"]),
            in_flight,
        })
    }

    /// A handshake has begun.
    pub fn under_way(&self) -> UnderWay<'_> {
        self.in_flight.inc();
        UnderWay(&self.in_flight)
    }

    /// A handshake has ended.
    pub fn count(&self, how: Handshake) {
        for (counter, (ending, _)) in self.handshakes.iter().zip(Handshake::ALL) {
            if ending == how {
                counter.inc();
            }
        }
    }

    /// A session has begun, or was resumed.
    pub fn session(&self, resumed: bool) {
        if resumed { self.resumed.inc() } else { self.full.inc() }
    }
}

fn histogram(registry: &Registry) -> prometheus::Result<HistogramVec> {
    let options =
        HistogramOpts::new("switcher_request_duration_seconds", "From the arrival of a request to its end.")
            .buckets(BUCKETS.to_vec());
    let family = HistogramVec::new(options, &["app", "slot"])?;
    registry.register(Box::new(family.clone())).map(|()| family)
}

fn dropped(registry: &Registry) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::new("switcher_access_log_dropped_total", "Lines that the access log lost.")?;
    registry.register(Box::new(counter.clone())).map(|()| counter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> AppName {
        "shop".parse().unwrap()
    }

    /// Whether the text has exactly this line.
    fn has(metrics: &Metrics, line: &str) -> bool {
        metrics.encode().unwrap().lines().any(|found| found == line)
    }

    #[test]
    fn every_family_is_there_before_anything_happens() {
        let metrics = Metrics::new("0.1.0").unwrap();
        let _handles = (metrics.app(&shop()), metrics.mirror(&shop()));
        metrics.fell_back(&shop(), Fallback::Found);
        metrics.set_app(&shop(), Slot::Blue, Generation::FIRST, 0);
        for slot in Slot::ALL {
            metrics.set_slot(&shop(), slot, Health::Unknown, &ByKind::default());
        }
        let text = metrics.encode().unwrap();
        insta::assert_snapshot!(
            text.lines().filter(|line| !line.contains("_bucket{")).collect::<Vec<_>>().join("\n")
        );
    }

    #[test]
    fn what_happens_is_counted_where_it_happened() {
        let metrics = Metrics::new("0.1.0").unwrap();
        let shop_metrics = metrics.app(&shop());
        for status in [101, 200, 204, 308, 404, 499, 502, 999, 0] {
            shop_metrics.slots.green.observe(status, 0.002);
        }
        shop_metrics.slots.green.retried();
        shop_metrics.slots.blue.drained(Kind::Websockets, 0, 1);
        shop_metrics.slots.blue.drained(Kind::Uploads, 1, 0);
        shop_metrics.switched(Slot::Green);
        metrics.unrouted(404);
        metrics.malformed(Violation::HostMissing);
        for (class, count) in [("1xx", 1), ("2xx", 2), ("3xx", 1), ("4xx", 2), ("5xx", 3)] {
            let line =
                format!(r#"switcher_requests_total{{app="shop",class="{class}",slot="green"}} {count}"#);
            assert!(has(&metrics, &line), "{line}\n{}", metrics.encode().unwrap());
        }
        for line in [
            r#"switcher_requests_total{app="shop",class="2xx",slot="blue"} 0"#,
            r#"switcher_request_duration_seconds_count{app="shop",slot="green"} 9"#,
            r#"switcher_request_duration_seconds_bucket{app="shop",slot="green",le="0.001"} 0"#,
            r#"switcher_request_duration_seconds_bucket{app="shop",slot="green",le="0.0025"} 9"#,
            r#"switcher_retries_total{app="shop",slot="green"} 1"#,
            r#"switcher_drain_cut_total{app="shop",kind="websockets",slot="blue"} 1"#,
            r#"switcher_drain_finished_total{app="shop",kind="uploads",slot="blue"} 1"#,
            r#"switcher_switches_total{app="shop",to="green"} 1"#,
            r#"switcher_unrouted_requests_total{class="4xx"} 1"#,
            r#"switcher_malformed_requests_total{rule="host_missing"} 1"#,
            r#"switcher_malformed_requests_total{rule="host_form"} 0"#,
        ] {
            assert!(has(&metrics, line), "{line}");
        }
    }

    #[test]
    fn gauges_are_what_the_last_scrape_set() {
        let metrics = Metrics::new("0.1.0").unwrap();
        let inside = ByKind { streams: 3, ..ByKind::default() };
        metrics.set_slot(&shop(), Slot::Blue, Health::Healthy, &inside);
        metrics.set_slot(&shop(), Slot::Blue, Health::Unhealthy, &inside);
        metrics.set_app(&shop(), Slot::Green, Generation::FIRST.next(), 7);
        metrics.set_access_log_dropped(5);
        metrics.set_access_log_dropped(5);
        for line in [
            r#"switcher_health{app="shop",slot="blue",state="healthy"} 0"#,
            r#"switcher_health{app="shop",slot="blue",state="unhealthy"} 1"#,
            r#"switcher_in_flight{app="shop",kind="streams",slot="blue"} 3"#,
            r#"switcher_active{app="shop",slot="blue"} 0"#,
            r#"switcher_active{app="shop",slot="green"} 1"#,
            r#"switcher_generation{app="shop"} 2"#,
            r#"switcher_held{app="shop"} 7"#,
            "switcher_access_log_dropped_total 5",
        ] {
            assert!(has(&metrics, line), "{line}");
        }
    }

    #[test]
    fn a_forgotten_application_leaves_nothing_behind() {
        let metrics = Metrics::new("0.1.0").unwrap();
        metrics.app(&shop()).slots.blue.observe(200, 0.1);
        metrics.mirror(&shop()).compared(0.1, 0.2);
        metrics.fell_back(&shop(), Fallback::Missing);
        metrics.set_app(&shop(), Slot::Blue, Generation::FIRST, 0);
        metrics.set_slot(&shop(), Slot::Green, Health::Healthy, &ByKind::default());
        assert!(metrics.encode().unwrap().contains("\"shop\""));
        metrics.forget(&shop());
        assert!(!metrics.encode().unwrap().contains("\"shop\""));
    }

    #[test]
    fn two_proxies_in_one_process_count_apart() {
        let [one, two] = [Metrics::new("0.1.0").unwrap(), Metrics::new("0.1.0").unwrap()];
        one.app(&shop()).switched(Slot::Blue);
        let _handles = two.app(&shop());
        assert!(has(&one, r#"switcher_switches_total{app="shop",to="blue"} 1"#));
        assert!(has(&two, r#"switcher_switches_total{app="shop",to="blue"} 0"#));
    }
}
