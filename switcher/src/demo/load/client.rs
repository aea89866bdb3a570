//! What every client of the load shares: the front door, the referee, the books and the stop signal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use tokio::sync::watch;
use tokio::time::sleep;

use super::expectation::{Begun, Era, Expectation};
use super::link::{Link, Protocol, Target};
use super::tally::{Failure, Fault, Lane, Recorder};
use crate::demo::app::VERSION_HEADER;

/// How long a client waits between two exchanges: bounds the load.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a client waits after a failure, so that an outage is not a busy loop.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// A stream or WebSocket that is open.
#[derive(Debug)]
pub(super) struct Open {
    /// The switch it belongs to.
    pub(super) era: Era,
    /// The version that serves it.
    pub(super) version: String,
    /// When its answer came.
    pub(super) since: Instant,
}

/// One client's share of the load.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) target: Arc<Target>,
    pub(super) protocol: Protocol,
    pub(super) expectation: Arc<Expectation>,
    pub(super) recorder: Arc<Recorder>,
    /// How long a stream or WebSocket may go on after its slot was left.
    pub(super) drain: Duration,
    pub(super) stop: watch::Receiver<bool>,
}

impl Client {
    pub(super) fn link(&self) -> Link {
        Link::new(Arc::clone(&self.target), self.protocol)
    }

    pub(super) fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Resolves once the load stops.
    pub(super) async fn until_stopped(&self) {
        // An error means that the load itself is gone, which is a stop too.
        let _ = self.stop.clone().wait_for(|stopped| *stopped).await;
    }

    pub(super) async fn pause(&self) {
        sleep(PAUSE).await;
    }

    pub(super) async fn failed(&self, lane: Lane, begun: Instant, failure: &Failure) {
        self.recorder.failed(lane, begun, failure);
        sleep(PAUSE_AFTER_FAILURE).await;
    }

    /// The version that an answer names; empty when the app did not answer.
    pub(super) fn version(headers: &HeaderMap) -> &str {
        headers.get(VERSION_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Judges the head of an answer. Who answered is judged first: a wrong slot is the worse fault.
    pub(super) fn judge(
        &self,
        begun: Begun,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Era, Failure> {
        let version = Self::version(headers);
        let bad_status = || Failure::new(Fault::BadStatus, format!("answered {status} by {version:?}"));
        if version.is_empty() {
            return Err(bad_status());
        }
        let wrong_slot = |what| Failure::new(Fault::WrongSlot, what);
        let era = self.expectation.judge(begun, version).map_err(wrong_slot)?;
        match status {
            StatusCode::OK | StatusCode::SWITCHING_PROTOCOLS => Ok(era),
            _ => Err(bad_status()),
        }
    }

    /// Judges the head of an answer that stays open.
    pub(super) fn open(
        &self,
        begun: Begun,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Open, Failure> {
        let era = self.judge(begun, status, headers)?;
        Ok(Open { era, version: Self::version(headers).to_owned(), since: Instant::now() })
    }

    /// How the end of a stream counts when the protocol's goodbye was said (`clean`) or not.
    pub(super) fn ended(&self, open: &Open, clean: bool, how: &str) -> Result<(), Failure> {
        let in_time = self.expectation.may_be_cut(open.era, self.drain, Instant::now());
        let how = format!("{how} (to {}, open for {:.2}s)", open.version, open.since.elapsed().as_secs_f64());
        match (in_time, clean) {
            (true, true) => Ok(()),
            (true, false) => Err(Failure::new(Fault::Connection, format!("at its drain deadline: {how}"))),
            (false, _) => Err(Failure::new(Fault::CutEarly, how)),
        }
    }
}
