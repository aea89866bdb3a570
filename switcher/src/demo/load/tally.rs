//! What happened to every exchange of the load, counted by kind of client and kind of fault.
//!
//! Invariant: an exchange ends in exactly one of `ok`, `reconnects` or one fault, of exactly one of the
//! two tallies (ordinary, or broken by a kill that the demo did itself). Answers from the wrong slot
//! have no excuse and always count as ordinary.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// How many failures are kept as sentences; all are counted.
const KEPT_FAILURES: usize = 10;

/// A kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Small GETs on kept-alive HTTP/1.1 connections.
    KeepAlive,
    /// Small POSTs on kept-alive HTTP/1.1 connections.
    Posts,
    /// Several requests at once on one HTTP/2 connection.
    Http2,
    /// Requests the app takes its time for.
    Slow,
    /// Downloads of a known length, spread over time.
    Downloads,
    /// Uploads of unknown length, spread over time.
    Uploads,
    /// Server-sent events.
    Streams,
    /// WebSockets.
    Websockets,
}

impl Lane {
    /// Every lane, in the order of display.
    pub const ALL: [Self; 8] = [
        Self::KeepAlive,
        Self::Posts,
        Self::Http2,
        Self::Slow,
        Self::Downloads,
        Self::Uploads,
        Self::Streams,
        Self::Websockets,
    ];

    /// The name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive GET",
            Self::Posts => "keep-alive POST",
            Self::Http2 => "HTTP/2",
            Self::Slow => "slow requests",
            Self::Downloads => "downloads",
            Self::Uploads => "uploads",
            Self::Streams => "event streams",
            Self::Websockets => "WebSockets",
        }
    }
}

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A connection refused, reset, or closed before the answer or without the protocol's goodbye.
    Connection,
    /// No answer, or no progress, in time.
    Timeout,
    /// A body that broke off, has another length than declared, or other bytes than it should.
    Truncated,
    /// A 5xx, or any other status that was not asked for.
    BadStatus,
    /// An answer from a version that no longer (or never) may answer.
    WrongSlot,
    /// A stream or WebSocket ended by the other side before its drain deadline.
    CutEarly,
}

impl Fault {
    /// Every fault, in the order of display.
    pub const ALL: [Self; 6] =
        [Self::Connection, Self::Timeout, Self::Truncated, Self::BadStatus, Self::WrongSlot, Self::CutEarly];

    /// The name for people, in the plural.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Connection => "connection errors",
            Self::Timeout => "timeouts",
            Self::Truncated => "truncated or corrupt bodies",
            Self::BadStatus => "5xx and other bad answers",
            Self::WrongSlot => "answers from the wrong slot",
            Self::CutEarly => "cut before their deadline",
        }
    }
}

/// One failed exchange: which fault, and what happened as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The fault it counts as.
    pub fault: Fault,
    /// What happened.
    pub what: String,
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(fault: Fault, what: impl fmt::Display) -> Self {
        Self { fault, what: what.to_string() }
    }
}

/// The counts of one lane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LaneTally {
    /// Exchanges that went as they should. Events and echoes count one each.
    pub ok: u64,
    /// Streams and WebSockets closed at their drain deadline, as they should be, and opened again.
    pub reconnects: u64,
    /// Failures; absent means none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub faults: BTreeMap<Fault, u64>,
}

/// All counts, with the first failures in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// The counts of each lane that did anything.
    pub lanes: BTreeMap<Lane, LaneTally>,
    /// The first few failures.
    pub failures: Vec<String>,
}

impl Tally {
    /// How many exchanges went as they should.
    #[must_use]
    pub fn ok(&self) -> u64 {
        self.lanes.values().map(|lane| lane.ok).sum()
    }

    /// How many streams and WebSockets were closed at their deadline and opened again.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        self.lanes.values().map(|lane| lane.reconnects).sum()
    }

    /// How often `fault` happened.
    #[must_use]
    pub fn count(&self, fault: Fault) -> u64 {
        self.lanes.values().filter_map(|lane| lane.faults.get(&fault)).sum()
    }

    /// How many exchanges failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        Fault::ALL.into_iter().map(|fault| self.count(fault)).sum()
    }

    /// Lanes in which nothing at all succeeded: a clean tally of no work proves nothing.
    #[must_use]
    pub fn idle_lanes(&self) -> Vec<Lane> {
        Lane::ALL.into_iter().filter(|lane| self.lanes.get(lane).is_none_or(|tally| tally.ok == 0)).collect()
    }

    /// The totals as one JSON object, for scripts.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "ok": self.ok(),
            "failed": self.failed(),
            "connection_errors": self.count(Fault::Connection),
            "timeouts": self.count(Fault::Timeout),
            "truncated": self.count(Fault::Truncated),
            "bad_status": self.count(Fault::BadStatus),
            "wrong_slot": self.count(Fault::WrongSlot),
            "cut_early": self.count(Fault::CutEarly),
            "reconnects": self.reconnects(),
            "lanes": self.lanes,
            "failures": self.failures,
        })
    }

    fn lane(&mut self, lane: Lane) -> &mut LaneTally {
        self.lanes.entry(lane).or_default()
    }

    fn fail(&mut self, lane: Lane, failure: &Failure, at_seconds: f64) {
        *self.lane(lane).faults.entry(failure.fault).or_default() += 1;
        if self.failures.len() < KEPT_FAILURES {
            self.failures.push(format!("{at_seconds:.2}s {}: {}", lane.title(), failure.what));
        }
    }
}

/// Where every client of a load reports. Shared by all of them.
#[derive(Debug)]
pub struct Recorder {
    started: Instant,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    ordinary: Tally,
    killed: Tally,
    outages: Vec<Outage>,
}

/// A time in which the demo itself had the proxy killed.
#[derive(Debug)]
struct Outage {
    from: Instant,
    until: Option<Instant>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { started: Instant::now(), books: Mutex::default() }
    }
}

impl Recorder {
    /// An exchange, event or echo that went as it should.
    pub fn ok(&self, lane: Lane) {
        self.books().ordinary.lane(lane).ok += 1;
    }

    /// A stream or WebSocket that was closed at its drain deadline.
    pub fn reconnected(&self, lane: Lane) {
        self.books().ordinary.lane(lane).reconnects += 1;
    }

    /// An exchange, begun at `begun`, that failed now.
    pub fn failed(&self, lane: Lane, begun: Instant, failure: &Failure) {
        let at_seconds = self.started.elapsed().as_secs_f64();
        let mut books = self.books();
        let excused = failure.fault != Fault::WrongSlot
            && books.outages.iter().any(|outage| outage.until.is_none_or(|until| begun <= until));
        let tally = if excused { &mut books.killed } else { &mut books.ordinary };
        tally.fail(lane, failure, at_seconds);
    }

    /// The proxy is about to be killed: what breaks from now on is counted apart.
    pub fn outage_begins(&self) {
        self.books().outages.push(Outage { from: Instant::now(), until: None });
    }

    /// The proxy is back: exchanges that begin from now on have no excuse any more.
    pub fn outage_ends(&self) {
        let now = Instant::now();
        self.books().outages.iter_mut().filter(|outage| outage.until.is_none()).for_each(|outage| {
            outage.until = Some(now.max(outage.from));
        });
    }

    /// The counts so far: ordinary, and broken by a kill.
    #[must_use]
    pub fn snapshot(&self) -> (Tally, Tally) {
        let books = self.books();
        (books.ordinary.clone(), books.killed.clone())
    }

    /// Counts stay usable after a panic of one client: every update is a single step.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut() -> Failure {
        Failure::new(Fault::Connection, "cut")
    }

    #[test]
    fn every_failure_is_counted_and_the_first_are_told() {
        let recorder = Recorder::default();
        for _ in 0..25 {
            recorder.failed(Lane::Slow, Instant::now(), &cut());
        }
        let (tally, killed) = recorder.snapshot();
        assert_eq!((tally.count(Fault::Connection), tally.failed(), killed.failed()), (25, 25, 0));
        assert_eq!(tally.failures.len(), KEPT_FAILURES);
        assert!(tally.failures[0].ends_with("s slow requests: cut"), "{:?}", tally.failures[0]);
    }

    #[test]
    fn only_what_overlaps_the_outage_is_excused_and_never_a_wrong_slot() {
        let recorder = Recorder::default();
        let before = Instant::now();
        recorder.failed(Lane::Posts, before, &cut());
        recorder.outage_begins();
        recorder.failed(Lane::Posts, before, &cut());
        recorder.failed(Lane::Posts, Instant::now(), &cut());
        recorder.failed(Lane::Posts, before, &Failure::new(Fault::WrongSlot, "v1 answered"));
        let during = Instant::now();
        recorder.outage_ends();
        recorder.failed(Lane::Posts, during, &cut());
        let after = Instant::now() + std::time::Duration::from_millis(1);
        recorder.failed(Lane::Posts, after, &cut());
        let (tally, killed) = recorder.snapshot();
        assert_eq!(killed.count(Fault::Connection), 3);
        assert_eq!((tally.count(Fault::Connection), tally.count(Fault::WrongSlot)), (2, 1));
    }

    #[test]
    fn lanes_without_a_success_are_named() {
        let recorder = Recorder::default();
        Lane::ALL.into_iter().filter(|lane| *lane != Lane::Uploads).for_each(|lane| recorder.ok(lane));
        recorder.failed(Lane::Uploads, Instant::now(), &cut());
        assert_eq!(recorder.snapshot().0.idle_lanes(), [Lane::Uploads]);
    }
}
