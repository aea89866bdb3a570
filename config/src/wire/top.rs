//! What is asked for just now, by slot and path.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AppName, Slot};

/// What ended since the one before it; the events of `GET /v1/top`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// When it was taken.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// How long it was counted, in seconds.
    pub seconds: f64,
    /// By application and slot, the busiest first.
    pub slots: Vec<TrafficRow>,
    /// By application, slot and the beginning of the path, the busiest first.
    pub paths: Vec<TrafficRow>,
    /// Requests for more paths than are told apart.
    pub beyond: u64,
}

/// What ended of one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TrafficRow {
    /// The application; none where there was none for the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// The slot; none for what the proxy answered by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// The first two segments of the path, `*` for those that look like a number or an identifier; none for the whole slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Requests that ended.
    pub requests: u64,
    /// Those with a status of 500 or more.
    pub errors: u64,
    /// The time in milliseconds that every second one exceeded; to the first byte for what streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// The time in milliseconds that one in a hundred exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// Body bytes to clients.
    pub bytes_out: u64,
}
