//! What one epoch has answered, counted as it happens.
//!
//! A request costs a few atomic additions, and nothing where no bake is configured, for then there is no tally. A ring of
//! earlier states tells what happened in the last minutes; its size is fixed, and only the bake's own task touches it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use switcher_config::wire::{BakeFigures, Kind};

use super::histogram::{BUCKETS, Histogram, bucket};
use crate::ledger::{Cause, Ledger, Stage};

/// From one remembered state to the next.
const STEP: Duration = Duration::from_secs(30);

/// How many states are remembered: the last five minutes.
const STATES: usize = 10;

/// How long a request waits for its answer before it counts although it has not ended.
const LONG: Duration = Duration::from_secs(1);

/// How one request ended, as far as a bake is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// It failed by its upstream's fault.
    pub failed: bool,
    /// An upstream took no connection.
    pub connect_failed: bool,
    /// From its lease to the head of the answer, or to its end without one; none where that is not the upstream's doing.
    pub took: Option<Duration>,
}

/// The counters of one epoch.
#[derive(Debug)]
pub struct Tally {
    requests: AtomicU64,
    errors: AtomicU64,
    connect_errors: AtomicU64,
    latency: [AtomicU64; BUCKETS],
    states: Mutex<VecDeque<(Instant, Counts)>>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    requests: u64,
    errors: u64,
    connect_errors: u64,
    latency: Histogram,
}

impl Tally {
    /// Counters that begin now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            requests: AtomicU64::default(),
            errors: AtomicU64::default(),
            connect_errors: AtomicU64::default(),
            latency: std::array::from_fn(|_| AtomicU64::default()),
            states: Mutex::new(VecDeque::from([(now, Counts::default())])),
        }
    }

    /// One request has ended.
    pub fn count(&self, ended: Ended) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if ended.failed {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        if ended.connect_failed {
            self.connect_errors.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(took) = ended.took {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            self.latency[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counters as they are now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            requests: read(&self.requests),
            errors: read(&self.errors),
            connect_errors: read(&self.connect_errors),
            latency: Histogram::from_fn(|bucket| read(&self.latency[bucket])),
        }
    }

    /// Remembers the state of now, if it is time to; the oldest is forgotten.
    pub fn remember(&self, now: Instant) {
        let mut states = self.states.lock();
        if states.back().is_some_and(|(at, _)| now.saturating_duration_since(*at) < STEP) {
            return;
        }
        states.push_back((now, self.counts()));
        if states.len() > STATES {
            states.pop_front();
        }
    }

    /// What happened in the last minutes.
    #[must_use]
    pub fn lately(&self, now: Instant) -> BakeFigures {
        let states = self.states.lock();
        let (since, earlier) = states.front().cloned().unwrap_or((now, Counts::default()));
        figures(&self.counts().since(&earlier), now.saturating_duration_since(since))
    }

    /// What happened since the epoch began `age` ago, together with what waits for an answer too long already: a
    /// version that answers nothing at all ends no request either.
    #[must_use]
    pub fn so_far(&self, ledger: &Ledger, age: Duration, now: Instant) -> BakeFigures {
        self.since(&Counts::default(), ledger, age, now)
    }

    /// The same since it counted `earlier`, which was `age` ago.
    #[must_use]
    pub fn since(&self, earlier: &Counts, ledger: &Ledger, age: Duration, now: Instant) -> BakeFigures {
        let mut counts = self.counts().since(earlier);
        if !ledger.is_empty() {
            for exchange in ledger.exchanges().iter().filter(|e| e.kind() == Kind::Requests) {
                let (stage, waited) = exchange.stalled(now);
                if matches!(stage, Stage::Opening | Stage::Waiting) && waited >= LONG {
                    counts.requests += 1;
                    counts.latency.add(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
                }
            }
        }
        figures(&counts, age)
    }
}

impl Counts {
    /// What came after `earlier`.
    fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            connect_errors: self.connect_errors.saturating_sub(earlier.connect_errors),
            latency: self.latency.since(&earlier.latency),
        }
    }
}

fn figures(counts: &Counts, time: Duration) -> BakeFigures {
    BakeFigures {
        requests: counts.requests,
        errors: counts.errors,
        connect_errors: counts.connect_errors,
        timed: counts.latency.total(),
        p99_micros: counts.latency.p99(),
        seconds: time.as_secs(),
    }
}

/// Whether a request failed by its upstream's fault: not when the client left, nor when the proxy closed it for a drain.
#[must_use]
pub const fn failed(status: u16, upstream_broke: bool, cause: Option<Cause>) -> bool {
    match cause {
        Some(Cause::Drain | Cause::Shutdown | Cause::SlowRequest) => false,
        Some(Cause::ResponseTimeout | Cause::IdleTimeout) => true,
        None => status >= 500 || upstream_broke,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(failed: bool, millis: u64) -> Ended {
        Ended { failed, connect_failed: false, took: Some(Duration::from_millis(millis)) }
    }

    #[test]
    fn the_last_minutes_are_remembered_and_no_more() {
        let began = Instant::now();
        let tally = Tally::new(began);
        for minute in 0..20_u32 {
            for _ in 0..60 {
                tally.count(ended(minute < 10, 3));
            }
            tally.remember(began + STEP * 2 * (minute + 1));
        }
        let now = began + STEP * 2 * 20;
        let lately = tally.lately(now);
        assert_eq!((lately.requests, lately.errors, lately.seconds), (540, 0, 540), "nine steps of a minute");
        assert_eq!(tally.so_far(&Ledger::default(), now - began, now).requests, 1200);
        assert_eq!(tally.states.lock().len(), STATES);
    }

    #[test]
    fn who_is_to_blame_decides_what_is_an_error() {
        for (status, broke, cause, expected) in [
            (200, false, None, false),
            (404, false, None, false),
            (499, false, None, false),
            (500, false, None, true),
            (502, true, None, true),
            (200, true, None, true),
            (503, false, Some(Cause::Drain), false),
            (503, false, Some(Cause::Shutdown), false),
            (408, false, Some(Cause::SlowRequest), false),
            (504, false, Some(Cause::ResponseTimeout), true),
            (200, false, Some(Cause::IdleTimeout), true),
        ] {
            assert_eq!(failed(status, broke, cause), expected, "{status} {broke} {cause:?}");
        }
    }
}
