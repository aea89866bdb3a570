//! The bake: how a switch is judged on live traffic, and what came of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{BakeLimits, Generation, Slot};

/// `GET /v1/apps/{app}/bake`: the last switch that was to be judged. Kept until the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bake {
    /// The generation of the switch.
    pub generation: Generation,
    /// The slot that was left, and that traffic goes back to.
    pub from: Slot,
    /// The slot that is judged.
    pub to: Slot,
    /// The release in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// When it began.
    #[schema(value_type = String)]
    pub began_at: Timestamp,
    /// When it ends at the latest.
    #[schema(value_type = String)]
    pub ends_at: Timestamp,
    /// What it is judged by.
    pub limits: BakeLimits,
    /// The slot before, in its last minutes.
    pub baseline: BakeFigures,
    /// The slot that is judged, since the switch or since the proxy was started again.
    pub seen: BakeFigures,
    /// What came of it; none while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<BakeOutcome>,
}

/// What a slot did in some time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BakeFigures {
    /// Requests that ended, or that have waited long for their answer.
    pub requests: u64,
    /// How many of them failed: a status of 500 or more, no answer, or one that broke off.
    pub errors: u64,
    /// How many of them met an upstream that took no connection.
    pub connect_errors: u64,
    /// How many of them count for the latency: no uploads, streams and WebSockets.
    pub timed: u64,
    /// The time to the head of the answer that one in a hundred exceeded, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_micros: Option<u64>,
    /// The length of the time, in seconds.
    pub seconds: u64,
}

/// What came of a bake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BakeOutcome {
    /// When it ended.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The verdict.
    pub result: BakeResult,
    /// Why, a sentence each.
    pub reasons: Vec<String>,
    /// The generation that took traffic back; none when it stayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<Generation>,
    /// Why traffic could not go back although it should have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stays: Option<String>,
}

/// The verdict of a bake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BakeResult {
    /// It is no worse than the version before.
    Passed,
    /// It is worse.
    Worse,
    /// Too few requests came to tell.
    Inconclusive,
    /// Somebody changed what is live meanwhile.
    Superseded,
}

impl BakeResult {
    /// Every result, in the order of display.
    pub const ALL: [Self; 4] = [Self::Passed, Self::Worse, Self::Inconclusive, Self::Superseded];

    /// The word in JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Worse => "worse",
            Self::Inconclusive => "inconclusive",
            Self::Superseded => "superseded",
        }
    }
}
