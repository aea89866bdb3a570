//! The settings of balancing: which upstream of a slot a request goes to, when it waits, when it is tried again.

use crate::{Share, Span};

/// How the next upstream of a slot is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Balance {
    /// One after the other, each as often as its weight says (`round_robin`).
    RoundRobin,
    /// The one with the fewest requests in flight for its weight (`least_in_flight`).
    LeastInFlight,
    /// The same one for the same value (`{hash: client}`).
    Hash(HashBy),
    /// The one that a cookie of this name remembers (`{sticky: NAME}`).
    Sticky(String),
}

/// What a request is hashed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashBy {
    /// The client's address.
    Client,
    /// The value of a header.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
    /// The path, without the query.
    Path,
}

/// What waits for room when every upstream has `max_in_flight` requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// How many requests wait at most, in each slot. Default 1000.
    pub requests: u32,
    /// How long one waits at most. Default 10s.
    pub max: Span,
}

/// When an upstream that answers badly is left out for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outliers {
    /// How many failures in a row. Default 5.
    pub failures: u32,
    /// Within how long they must happen. Default 10s.
    pub window: Span,
    /// For how long it is left out the first time; twice as long each further time, up to ten times. Default 30s.
    pub ejection: Span,
    /// The largest share of a slot's upstreams that may be out. Default 50%.
    pub share: Share,
}

/// When a request is tried on another upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// How often a request is tried in all. Default 3.
    pub attempts: u16,
    /// The largest share of retries among the requests of the last ten seconds. Default 20%.
    pub budget: Share,
    /// After which failures. Default: when no connection was taken.
    pub on: Vec<RetryOn>,
}

/// A failure after which a request may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// The upstream took no connection, so it has seen nothing (`connect`).
    Connect,
    /// The connection broke before an answer (`reset`); idempotent requests alone.
    Reset,
    /// The answer was a 502; idempotent requests alone.
    BadGateway,
    /// The answer was a 503; idempotent requests alone.
    Unavailable,
    /// The answer was a 504; idempotent requests alone.
    GatewayTimeout,
}
