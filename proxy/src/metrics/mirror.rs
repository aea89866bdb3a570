//! What is counted of the slot that is not live: copies of requests, and assets that were found there.
//!
//! The series of an application begin with its first copy or its first asset: most applications have neither.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};
use switcher_config::AppName;
use switcher_config::wire::MirrorOutcome;

use super::BUCKETS;

const SIDES: [&str; 2] = ["live", "standby"];

/// What came of asking the other slot for an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// It has it.
    Found,
    /// It has it neither.
    Missing,
    /// It gave no answer, or a bad one.
    Failed,
}

impl Fallback {
    const ALL: [(Self, &str); 3] =
        [(Self::Found, "found"), (Self::Missing, "missing"), (Self::Failed, "failed")];
}

/// The families.
#[derive(Debug, Clone)]
pub(super) struct StandbyFamilies {
    requests: IntCounterVec,
    first_byte: HistogramVec,
    fallbacks: IntCounterVec,
}

/// What is counted of one application's copies.
#[derive(Debug, Clone)]
pub struct MirrorMetrics {
    /// In the order of [`MirrorOutcome::ALL`].
    outcomes: [IntCounter; MirrorOutcome::ALL.len()],
    live: Histogram,
    copy: Histogram,
}

impl StandbyFamilies {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name, help| {
            let family = IntCounterVec::new(Opts::new(name, help), &["app", "outcome"])?;
            registry.register(Box::new(family.clone())).map(|()| family)
        };
        let options = HistogramOpts::new(
            "switcher_mirror_first_byte_seconds",
            "From the connection to the head of the answer, of requests whose two answers were compared.",
        );
        let first_byte = HistogramVec::new(options.buckets(BUCKETS.to_vec()), &["app", "side"])?;
        registry.register(Box::new(first_byte.clone()))?;
        Ok(Self {
            requests: counter(
                "switcher_mirror_requests_total",
                "Requests that were to be copied to the standby slot, by what came of it.",
            )?,
            first_byte,
            fallbacks: counter(
                "switcher_asset_fallbacks_total",
                "Requests answered 404 that were asked of the other slot, by what that had.",
            )?,
        })
    }

    pub(super) fn mirror(&self, app: &AppName) -> MirrorMetrics {
        let app = app.as_str();
        let [live, copy] = SIDES.map(|side| self.first_byte.with_label_values(&[app, side]));
        MirrorMetrics {
            outcomes: MirrorOutcome::ALL.map(|o| self.requests.with_label_values(&[app, o.as_str()])),
            live,
            copy,
        }
    }

    pub(super) fn fell_back(&self, app: &AppName, outcome: Fallback) {
        for (known, name) in Fallback::ALL {
            self.fallbacks.with_label_values(&[app.as_str(), name]).inc_by((known == outcome).into());
        }
    }

    pub(super) fn forget(&self, app: &str) {
        // A series that was never made is not there to remove.
        for outcome in MirrorOutcome::ALL {
            let _ = self.requests.remove_label_values(&[app, outcome.as_str()]);
        }
        for side in SIDES {
            let _ = self.first_byte.remove_label_values(&[app, side]);
        }
        for (_, outcome) in Fallback::ALL {
            let _ = self.fallbacks.remove_label_values(&[app, outcome]);
        }
    }
}

impl MirrorMetrics {
    /// This came of a copy.
    pub fn count(&self, outcome: MirrorOutcome) {
        self.outcomes[outcome as usize].inc();
    }

    /// How often this came of a copy.
    #[must_use]
    pub fn counted(&self, outcome: MirrorOutcome) -> u64 {
        self.outcomes[outcome as usize].get()
    }

    /// The two answers began after so many seconds.
    pub fn compared(&self, live: f64, copy: f64) {
        self.live.observe(live);
        self.copy.observe(copy);
    }
}
