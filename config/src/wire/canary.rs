//! The canary: a part of an application's clients on the slot that is not live, and what came of it.

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{BakeFigures, Fence};
use crate::{BakeLimits, CanaryKey, CanaryRules, Generation, NamedValue, Share, Slot, Span};

/// `POST /v1/apps/{app}/canary`: begins one, or changes the one that goes on. What is left out stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryRequest {
    /// The slot that gets a part of the clients; the live one is refused.
    pub slot: Slot,
    /// The share of the clients. It ends automatic steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// What clients are told apart by. Changed in the middle, it picks others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<CanaryKey>,
    /// Requests with one of these headers are always there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<NamedValue>>,
    /// Requests with one of these cookies are always there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookies: Option<Vec<NamedValue>>,
    /// Clients of these networks are always there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub clients: Option<Vec<IpNet>>,
    /// Shares that follow each other by themselves, in the place of `share`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<CanarySteps>,
    /// What it is judged by. Default: that of a bake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<BakeLimits>,
    /// Although the slot is not healthy.
    #[serde(default)]
    pub force: bool,
    /// The generation the caller has seen; another one is answered 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_generation: Option<Generation>,
    /// The lease it is done under; an older one than the proxy has seen is answered 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
}

impl CanaryRequest {
    /// A request that leaves everything as it is.
    #[must_use]
    pub const fn of(slot: Slot) -> Self {
        Self {
            slot,
            share: None,
            by: None,
            headers: None,
            cookies: None,
            clients: None,
            steps: None,
            limits: None,
            force: false,
            expected_generation: None,
            fence: None,
        }
    }
}

/// Shares that follow each other by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanarySteps {
    /// The shares, each larger than the one before.
    pub shares: Vec<Share>,
    /// How long each one is judged.
    pub every: Span,
    /// What follows the last one.
    #[serde(default)]
    pub then: CanaryThen,
}

/// What follows the last step of a canary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CanaryThen {
    /// It stays at the last share.
    #[default]
    Hold,
    /// The slot becomes live.
    Promote,
    /// It stays at the last share, and is judged to the end of that as well: whoever leads it says what follows.
    Ask,
}

/// `POST /v1/apps/{app}/canary/abort`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryAbortRequest {
    /// The generation the caller has seen; another one is answered 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_generation: Option<Generation>,
    /// One drain time for every kind, instead of the configured ones: `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Span>,
    /// The lease it is done under; an older one than the proxy has seen is answered 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
}

/// The answer to a change of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CanaryChanged {
    /// The generation after it.
    pub generation: Generation,
    /// The canary after it.
    pub canary: Canary,
    /// The generation whose drain is that of the canary, once it was aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_generation: Option<Generation>,
}

/// A canary: how it stands, or what came of the last one. Kept until the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Canary {
    /// The slot that gets a part of the clients.
    pub slot: Slot,
    /// The release in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The generation that it began with; its drain is found by it.
    pub generation: Generation,
    /// Who goes there.
    #[serde(flatten)]
    pub rules: CanaryRules,
    /// When it began.
    #[schema(value_type = String)]
    pub began_at: Timestamp,
    /// Since when it has the share that it has.
    #[schema(value_type = String)]
    pub share_since: Timestamp,
    /// What it is judged by.
    pub limits: BakeLimits,
    /// The live slot, since then or since the proxy was started again.
    pub baseline: BakeFigures,
    /// The canary's slot, in the same time.
    pub seen: BakeFigures,
    /// The steps that are left to it; none when it is led by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<CanaryPlan>,
    /// What came of it; none while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<CanaryOutcome>,
}

/// What is left of a canary's steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CanaryPlan {
    /// The shares that follow the one it has.
    pub left: Vec<Share>,
    /// How long each one is judged.
    pub every: Span,
    /// What follows the last one.
    pub then: CanaryThen,
    /// Why the step goes on although its time is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// Whether the last share was judged for its whole time and nothing follows by itself: with `ask` alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub passed: bool,
}

impl CanaryPlan {
    /// Whether something follows, so that the end of a step is judged.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        match self.then {
            CanaryThen::Promote | CanaryThen::Ask => true,
            CanaryThen::Hold => !self.left.is_empty(),
        }
    }
}

/// What came of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CanaryOutcome {
    /// When it ended.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// How.
    pub result: CanaryResult,
    /// Why, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// How a canary ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CanaryResult {
    /// Its slot became live.
    Promoted,
    /// Somebody ended it.
    Aborted,
    /// It was worse than the live slot, and ended by itself.
    Worse,
    /// No upstream of its slot was healthy, and it ended by itself.
    Unhealthy,
    /// Its slot was changed by the configuration.
    Superseded,
}

impl CanaryResult {
    /// Every result, in the order of display.
    pub const ALL: [Self; 5] =
        [Self::Promoted, Self::Aborted, Self::Worse, Self::Unhealthy, Self::Superseded];

    /// The word in JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::Aborted => "aborted",
            Self::Worse => "worse",
            Self::Unhealthy => "unhealthy",
            Self::Superseded => "superseded",
        }
    }
}
