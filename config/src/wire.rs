//! The admin API's types, version 1: what the proxy and the command line say to each other.

mod bake;
mod canary;
mod certificate;
mod fence;
mod mirror;
mod progress;
mod top;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::request::{Method, RequestHeaders};
use crate::weight::UpstreamForm;
use crate::{
    AppName, BakeLimits, CanaryKey, Factor, Generation, NamedValue, PerSlot, Share, Slot, Span,
    UpstreamAddress, Weight, WeightedAddress,
};

pub use bake::{Bake, BakeFigures, BakeOutcome, BakeResult};
pub use canary::{
    Canary, CanaryAbortRequest, CanaryChanged, CanaryOutcome, CanaryPlan, CanaryRequest, CanaryResult,
    CanarySteps, CanaryThen,
};
pub use certificate::{
    CertificateEvent, CertificateHappening, CertificateSource, CertificateStatus, CheckKind, CheckRequest,
    Checked, Finding, Imported, ImportedCertificate, RenewRequest, Renewal, RenewalOutcome, Renewed,
    RevocationReason, RevokeRequest, Revoked, Verdict,
};
pub use fence::{Claim, Fence};
pub use mirror::{MirrorAnswer, MirrorDifference, MirrorOutcome, Mirrored};
pub use progress::{Progress, StepState};
pub use top::{Traffic, TrafficRow};

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Every application, by name.
    pub apps: BTreeMap<AppName, AppStatus>,
    /// Every certificate that is served.
    pub certificates: Vec<CertificateStatus>,
    /// The proxy's version.
    pub version: String,
    /// When this process began to serve.
    #[schema(value_type = String)]
    pub started_at: Timestamp,
    /// Its process id.
    pub pid: u32,
}

/// One application's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppStatus {
    /// The live slot.
    pub active: Slot,
    /// The generation of the last mutation.
    pub generation: Generation,
    /// Whether requests are let through.
    pub mode: Mode,
    /// Requests held in the pause queue now.
    pub held: u32,
    /// Both slots.
    pub slots: PerSlot<SlotStatus>,
    /// Drains under way, oldest first.
    pub draining: Vec<DrainingStatus>,
    /// The newest lease that was shown: an older one changes nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// The last switch that was to be judged on live traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<Bake>,
    /// The canary that goes on, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// Who stays on the release before, where the configuration has `release_affinity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_affinity: Option<AffinityStatus>,
}

/// Who stays on the release before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AffinityStatus {
    /// Until when its visitors may; none when nobody may now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub stays_until: Option<Timestamp>,
}

/// Whether an application's requests are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Served.
    Open,
    /// Held in a bounded queue.
    Paused,
    /// Answered 503 with the maintenance page.
    Stopped,
}

/// Health of an upstream, or of a slot as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not probed often enough to say. Not healthy.
    Unknown,
    /// Passed its last `rise` probes.
    Healthy,
    /// Failed its last `fall` probes, or refused a connection.
    Unhealthy,
}

/// One slot's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SlotStatus {
    /// Healthy when every upstream is; unhealthy when one is; else unknown.
    pub health: Health,
    /// Why the slot is not healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The release that was registered with the slot.
    pub release: Option<String>,
    /// Its upstreams.
    pub upstreams: Vec<UpstreamStatus>,
    /// What is inside now, by kind, drains included.
    pub in_flight: ByKind<u64>,
}

/// One upstream's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UpstreamStatus {
    /// Its address as configured or registered.
    pub address: UpstreamAddress,
    /// Its share of the requests beside the others of its slot; 0 means none.
    #[serde(default = "Weight::one", skip_serializing_if = "Weight::is_one")]
    pub weight: Weight,
    /// Set while it is left out because it answered badly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejected: Option<Ejection>,
    /// Readiness.
    pub health: Health,
    /// Liveness, where a separate check is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Health>,
    /// The newest probe.
    pub last_check: Option<ProbeRecord>,
    /// The last ten probes, newest first.
    pub checks: Vec<ProbeRecord>,
}

/// Why an upstream that answers badly gets no requests for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ejection {
    /// When it gets requests again.
    #[schema(value_type = String)]
    pub until: Timestamp,
    /// What it did.
    pub reason: String,
}

/// What one probe found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProbeRecord {
    /// When it began.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// Whether it counts as a success.
    pub ok: bool,
    /// `ready` or `live`.
    pub check: String,
    /// The HTTP status, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The first bytes of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// How long it took, in milliseconds.
    pub latency_ms: f64,
    /// What went wrong, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The kind of an exchange: it decides how long a drain waits for it and how it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An ordinary request or download.
    Requests,
    /// A request whose body is long or of unknown length.
    Uploads,
    /// Server-sent events, gRPC and other endless answers.
    Streams,
    /// A WebSocket.
    Websockets,
    /// A connection of an application of raw TCP.
    Connections,
}

impl Kind {
    /// Every kind, in the order of display.
    pub const ALL: [Self; 5] =
        [Self::Requests, Self::Uploads, Self::Streams, Self::Websockets, Self::Connections];

    /// The name in JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Uploads => "uploads",
            Self::Streams => "streams",
            Self::Websockets => "websockets",
            Self::Connections => "connections",
        }
    }
}

/// One value for each kind of exchange.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ByKind<T> {
    /// Ordinary requests and downloads.
    pub requests: T,
    /// Uploads.
    pub uploads: T,
    /// Streams.
    pub streams: T,
    /// WebSockets.
    pub websockets: T,
    /// Connections of applications of raw TCP. Those who speak an older version know none.
    #[serde(default)]
    pub connections: T,
}

impl<T> ByKind<T> {
    /// Builds every value from its kind.
    pub fn from_fn(mut make: impl FnMut(Kind) -> T) -> Self {
        Self {
            requests: make(Kind::Requests),
            uploads: make(Kind::Uploads),
            streams: make(Kind::Streams),
            websockets: make(Kind::Websockets),
            connections: make(Kind::Connections),
        }
    }

    /// The value of `kind`.
    pub const fn get(&self, kind: Kind) -> &T {
        match kind {
            Kind::Requests => &self.requests,
            Kind::Uploads => &self.uploads,
            Kind::Streams => &self.streams,
            Kind::Websockets => &self.websockets,
            Kind::Connections => &self.connections,
        }
    }

    /// The value of `kind`, to change.
    pub const fn get_mut(&mut self, kind: Kind) -> &mut T {
        match kind {
            Kind::Requests => &mut self.requests,
            Kind::Uploads => &mut self.uploads,
            Kind::Streams => &mut self.streams,
            Kind::Websockets => &mut self.websockets,
            Kind::Connections => &mut self.connections,
        }
    }
}

impl ByKind<u64> {
    /// The sum over all kinds.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.requests + self.uploads + self.streams + self.websockets + self.connections
    }
}

/// A drain under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrainingStatus {
    /// The slot that is being left.
    pub slot: Slot,
    /// The generation that is being left.
    pub generation: Generation,
    /// When it was left.
    #[schema(value_type = String)]
    pub since: Timestamp,
    /// What is still inside, by kind.
    pub in_flight: ByKind<u64>,
}

/// One exchange in flight, or one that was cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Exchange {
    /// Its kind.
    pub kind: Kind,
    /// Method and path, without the query.
    pub route: String,
    /// The request id.
    pub request_id: String,
    /// Seconds since it began.
    pub age_seconds: f64,
}

/// `GET /v1/apps/{app}/slots/{slot}/in-flight`: what is inside a slot, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InFlight {
    /// The slot.
    pub slot: Slot,
    /// Whether the slot is live; if so, this is ordinary traffic and no drain.
    pub live: bool,
    /// Every exchange inside, oldest first.
    pub exchanges: Vec<Exchange>,
}

/// `POST /v1/apps/{app}/promote`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromoteRequest {
    /// The slot to make live.
    pub slot: Slot,
    /// The generation the caller has seen; another one is answered 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_generation: Option<Generation>,
    /// Switch although the slot is not healthy.
    #[serde(default)]
    pub force: bool,
    /// One drain time for every kind, instead of the configured ones: `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Span>,
    /// The lease it is done under; an older one than the proxy has seen is answered 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// How it is judged on live traffic; when it is worse, traffic goes back by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<BakeLimits>,
    /// Nobody stays on the slot that is left, whatever `release_affinity` says: it is left because it is bad.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_once: bool,
}

impl PromoteRequest {
    /// A request that makes a slot live, and wishes nothing else.
    #[must_use]
    pub const fn of(slot: Slot) -> Self {
        Self {
            slot,
            expected_generation: None,
            force: false,
            drain: None,
            fence: None,
            bake: None,
            at_once: false,
        }
    }
}

/// What a switch did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Switched {
    /// The generation this switch made.
    pub generation: Generation,
    /// The slot that was left.
    pub from: Slot,
    /// The slot that is live now.
    pub to: Slot,
    /// The generation that drains now.
    pub drained_generation: Generation,
    /// When it happened.
    #[schema(value_type = String)]
    pub switched_at: Timestamp,
    /// How long the swap in memory took, in microseconds.
    pub switch_micros: f64,
}

/// `GET /v1/apps/{app}/drains/{generation}`: the drain's side of the receipt. Kept for the last 32 drains of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrainReceipt {
    /// The slot that was left.
    pub slot: Slot,
    /// The generation that was left.
    pub generation: Generation,
    /// Whether everything is out.
    pub drained: bool,
    /// Seconds from the switch to the last one out, or until now.
    pub seconds: f64,
    /// What was inside at the switch and finished by itself, by kind.
    pub finished: ByKind<u64>,
    /// What was closed at its deadline, by kind.
    pub cut: ByKind<Vec<Exchange>>,
    /// What is still inside.
    pub in_flight: ByKind<u64>,
}

/// `promote --json`: the whole receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// The application.
    pub app: AppName,
    /// The slot that was left.
    pub from: Slot,
    /// The slot that is live now.
    pub to: Slot,
    /// The generation this switch made.
    pub generation: Generation,
    /// When it happened.
    #[schema(value_type = String)]
    pub switched_at: Timestamp,
    /// How long the swap in memory took, in microseconds.
    pub switch_micros: f64,
    /// How the old slot emptied; absent with `--detach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainReceipt>,
}

/// `PUT /v1/apps/{app}/slots/{slot}`: registers the addresses of a slot.
///
/// The live slot's are taken only with `moved`, for then the release stays and just its addresses are new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// The upstreams; an empty list takes the slot's addresses away.
    #[schema(value_type = Vec<UpstreamForm>)]
    pub upstreams: Vec<WeightedAddress>,
    /// The release they run.
    #[serde(default)]
    pub release: Option<String>,
    /// The generation the caller has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_generation: Option<Generation>,
    /// The release that is registered there already has changed its addresses: allowed for the live slot too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moved: bool,
    /// The lease it is done under; an older one than the proxy has seen is answered 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
}

/// `POST /v1/apps/{app}/pause`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// The longest pause; then requests are answered 503 until `resume`. Default: the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Span>,
}

/// `POST /v1/apps/{app}/stop`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// A sentence for the maintenance page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// `POST /v1/apps/{app}/preview`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    /// How long the pass holds, in seconds: up to 30 days. Default: an hour.
    #[serde(default = "PreviewRequest::an_hour")]
    pub seconds: u64,
}

impl PreviewRequest {
    const fn an_hour() -> u64 {
        3600
    }
}

/// `POST /v1/apps/{app}/smoke`: requests to the standby slot through the proxy's own listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SmokeRequest {
    /// The slot that is meant; the live one is answered 409.
    pub slot: Slot,
    /// What is asked, one after the other: at most 100.
    pub asks: Vec<SmokeAsk>,
}

/// One request of a smoke test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SmokeAsk {
    /// Path and query.
    pub path: String,
    /// How it is asked; without a body.
    #[serde(default, skip_serializing_if = "Method::is_get")]
    pub method: Method,
    /// Headers sent along, such as credentials of the application.
    #[serde(default, skip_serializing_if = "RequestHeaders::is_empty")]
    pub headers: RequestHeaders,
    /// How long the whole answer may take, up to a minute: `10s`.
    pub timeout: Span,
}

/// What was answered, in the order of the questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Smoked {
    /// The generation after the last answer.
    pub generation: Generation,
    /// The answers.
    pub answers: Vec<SmokeAnswer>,
}

/// One answer to a smoke test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SmokeAnswer {
    /// Its status; none when there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The beginning of the body, up to 64 KiB.
    pub body: String,
    /// How long it took, in milliseconds.
    pub latency_ms: f64,
    /// Why there was no answer, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A pass to the slot that is not live.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Previewed {
    /// The link for people: it sets the cookie. It holds the pass.
    pub url: String,
    /// The pass, as the cookie carries it. Whoever has it is let in.
    pub pass: String,
    /// When it ends.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
    /// The slot that is previewed now.
    pub slot: Slot,
    /// The release in that slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
}

/// Never shows the pass.
impl std::fmt::Debug for Previewed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Previewed")
            .field("expires_at", &self.expires_at)
            .field("slot", &self.slot)
            .field("release", &self.release)
            .finish_non_exhaustive()
    }
}

/// The answer to every other mutation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// The generation after it.
    pub generation: Generation,
    /// Whether requests are let through now.
    pub mode: Mode,
}

/// `POST /v1/reload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// What changed, a sentence each; empty when nothing did.
    pub changes: Vec<String>,
    /// What only a restart or an upgrade can change, a sentence each.
    pub needs_restart: Vec<String>,
}

/// Every refusal of the admin API. The HTTP status says the class, `reason` the case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// The stable case.
    pub reason: RefusalReason,
    /// A sentence for people: what was refused, why, and what is live now.
    pub message: String,
    /// The slot that is live now, where an application was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Slot>,
    /// The generation now, where an application was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
}

/// The case of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// 404: no such application.
    UnknownApp,
    /// 404: no drain of that generation is remembered.
    UnknownDrain,
    /// 404: no switch has been judged on live traffic.
    UnknownBake,
    /// 404: no canary goes on.
    UnknownCanary,
    /// 400: the request cannot be understood.
    BadRequest,
    /// 409: the generation is not the expected one.
    GenerationMoved,
    /// 409: the live slot's addresses are not registered over.
    SlotIsLive,
    /// 409: the addresses of a slot are not registered over while a canary goes on in it.
    CanaryGoesOn,
    /// 409: the lease is older than one that was shown, so its owner has lost it.
    StaleFence,
    /// 409: somebody whose lease is kept in another place is at work.
    LeaseHeld,
    /// 412: the slot is not healthy.
    Unhealthy,
    /// 412: the slot is live already.
    AlreadyActive,
    /// 412: the slot has no upstreams.
    NoUpstreams,
    /// 412: the application has no `preview` section.
    PreviewOff,
    /// 422: the configuration file is bad; nothing was changed.
    BadConfiguration,
    /// 507: the state could not be saved; nothing was changed.
    NotSaved,
    /// 503: the process is handing over or shutting down.
    ShuttingDown,
    /// 403: mutations are not accepted here.
    ReadOnly,
    /// 404: no certificate of ours is served for that name.
    UnknownCertificate,
    /// 429: as many watch what is asked for as may.
    TooManyWatchers,
    /// 502: the authority refused, or could not be asked; what was served is served on.
    CertificateFailed,
}

/// One server-sent event of `GET /v1/events`; the SSE event name is the same as `event`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Traffic moved.
    Switched {
        /// When.
        #[schema(value_type = String)]
        at: Timestamp,
        /// The application.
        app: AppName,
        /// What the switch did.
        #[serde(flatten)]
        switched: Switched,
    },
    /// The last one is out of a slot that was left.
    Drained {
        /// When.
        #[schema(value_type = String)]
        at: Timestamp,
        /// The application.
        app: AppName,
        /// How it went.
        #[serde(flatten)]
        receipt: DrainReceipt,
    },
    /// A switch is judged on live traffic from now on, or what came of it is known.
    Bake {
        /// When.
        #[schema(value_type = String)]
        at: Timestamp,
        /// The application.
        app: AppName,
        /// How it stands.
        #[serde(flatten)]
        bake: Bake,
    },
    /// A canary began, has another share, waits, or has ended.
    Canary {
        /// When.
        #[schema(value_type = String)]
        at: Timestamp,
        /// The application.
        app: AppName,
        /// How it stands.
        #[serde(flatten)]
        canary: Canary,
    },
    /// An upstream's health changed.
    Health {
        /// When.
        #[schema(value_type = String)]
        at: Timestamp,
        /// The application.
        app: AppName,
        /// Its slot.
        slot: Slot,
        /// The upstream.
        upstream: UpstreamAddress,
        /// What it is now.
        health: Health,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// An upstream answers badly and gets no requests for a while.
    Ejected {
        /// When.
        #[schema(value_type = String)]
        at: Timestamp,
        /// The application.
        app: AppName,
        /// Its slot.
        slot: Slot,
        /// The upstream.
        upstream: UpstreamAddress,
        /// Until when, and why.
        #[serde(flatten)]
        ejection: Ejection,
    },
    /// A circuit breaker of an application opened, or closed again.
    Breaker {
        /// When.
        #[schema(value_type = String)]
        at: Timestamp,
        /// The application.
        app: AppName,
        /// Its slot.
        slot: Slot,
        /// When one request tries again; none when it has closed.
        #[schema(value_type = Option<String>)]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Something happened to a certificate.
    Certificate {
        /// When.
        #[schema(value_type = String)]
        at: Timestamp,
        /// What, for which names.
        #[serde(flatten)]
        happened: CertificateEvent,
    },
    /// An application was paused, resumed or stopped.
    Mode {
        /// When.
        #[schema(value_type = String)]
        at: Timestamp,
        /// The application.
        app: AppName,
        /// What it is now.
        mode: Mode,
    },
    /// A step of a deployment began or ended, as its deployer tells it.
    Progress {
        /// When.
        #[schema(value_type = String)]
        at: Timestamp,
        /// The application.
        app: AppName,
        /// Which step, and how it stands.
        #[serde(flatten)]
        progress: Progress,
    },
    /// The configuration was read again.
    Reloaded {
        /// When.
        #[schema(value_type = String)]
        at: Timestamp,
        /// What changed.
        #[serde(flatten)]
        reloaded: Reloaded,
    },
}

/// Types that travel as text: the OpenAPI document shows them as strings.
macro_rules! schema_of_text {
    ($($type:ty: $name:literal, $example:literal;)*) => {$(
        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .examples([serde_json::Value::from($example)])
                    .into()
            }
        }
        impl ToSchema for $type {
            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
        }
    )*};
}

schema_of_text! {
    AppName: "AppName", "shop";
    UpstreamAddress: "UpstreamAddress", "127.0.0.1:8001";
    Span: "Span", "1m30s";
    Share: "Share", "1%";
    Factor: "Factor", "2";
    CanaryKey: "CanaryKey", "client";
    NamedValue: "NamedValue", "X-Beta=1";
}
