//! The keys of balancing: the queue for room, outliers, retries.

use crate::section::section;
use crate::settings::RetryOn;
use crate::values::{Count, Limit, Positive};
use crate::{Share, Span};

section! {
    /// Bounds of the queue for requests that no upstream has room for.
    QueueKeys {
        /// How many requests wait at most, in each slot; `0` refuses at once.
        requests: u32 = 1000;
        /// How long one waits at most; then it is answered 503.
        max: Positive = Positive(Span::seconds(10));
    }
}

section! {
    /// When an upstream that answers badly is left out for a while.
    OutlierKeys {
        /// How many answers of 500 and above, or broken ones, in a row.
        failures: Limit = Limit(5);
        /// Within how long they must happen.
        window: Positive = Positive(Span::seconds(10));
        /// For how long it is left out the first time; twice as long each further time, up to ten times.
        ejection: Positive = Positive(Span::seconds(30));
        /// The largest share of a slot's upstreams that may be out, by this or by their health.
        share: Share = Share::percent(50);
    }
}

section! {
    /// When a request is tried on another upstream.
    RetriesKeys {
        /// How often a request is tried in all.
        attempts: Count = Count(3);
        /// The largest share of retries among the requests of the last ten seconds; three a second are always allowed.
        budget: Share = Share::percent(20);
        /// After what: `connect` (nothing was sent), and for idempotent requests `reset` (it broke before an answer), `502`, `503` and `504`.
        on: Vec<RetryOn> = vec![RetryOn::Connect];
    }
}
