//! Copies of live requests, sent to the standby slot to see whether it answers as the live one does.
//!
//! Invariant: the real request waits for nothing here. Whether it is copied is a few atomic operations, a copy is a task of
//! its own on a thread of lower priority, it holds no lease and no epoch, there are never more of them than the settings say,
//! and each reads a bounded part of its answer in a bounded time and throws it away. The gateway offers requests and tells how
//! they were answered; the admin API shows what came of it.

mod copy;
mod thread;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;
use http::uri::PathAndQuery;
use jiff::Timestamp;
use parking_lot::Mutex;
use switcher_config::settings::Mirror as Settings;
use switcher_config::wire::{MirrorAnswer, MirrorDifference, MirrorOutcome, Mirrored};
use switcher_config::{Share, Slot};
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::health::Dialer;
use crate::metrics::MirrorMetrics;
use crate::request_id::RequestId;
use crate::traces::{Copied, CopyEnd};
use crate::upstream::Upstream;

/// How many differences are remembered.
const REMEMBERED: usize = 20;

/// How much of a path is remembered with a difference, in characters.
const SHOWN: usize = 200;

/// The first byte of a copy is late when it took twice as long as the real one's and so much longer.
const LATE: Duration = Duration::from_millis(50);

/// The copies of one application's requests.
pub struct Mirror {
    asked: AtomicU64,
    turn: AtomicUsize,
    inside: AtomicU32,
    last: Mutex<VecDeque<MirrorDifference>>,
    metrics: MirrorMetrics,
}

/// One of the places for copies. Given back by being dropped.
struct Place(Arc<Mirror>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a copy asks for: what the live upstream was asked for.
pub struct Request {
    /// The method, a safe one.
    pub method: http::Method,
    /// Path and query.
    pub target: PathAndQuery,
    /// The host asked for.
    pub authority: String,
    /// The headers, without those of the connection.
    pub headers: HeaderMap,
    /// The request's id.
    pub id: RequestId,
    /// Its path, as the client wrote it.
    pub path: String,
    /// Its part in a trace, if the request belongs to one.
    pub span: Option<Copied>,
}

/// An answer, as far as it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The bytes of its body.
    pub bytes: u64,
    /// Whether all of it came.
    pub whole: bool,
    /// From the connection to the head of the answer.
    pub first_byte: Duration,
    /// From the connection to its end.
    pub took: Duration,
}

/// How a copy ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// With an answer; not a whole one when it is larger than what is read.
    Answered(Answer),
    /// Without one, or in the middle of it.
    Failed(String),
    /// Its time was over.
    TimedOut,
    /// Its slot is not the standby any more.
    Stopped,
}

impl Ended {
    /// What its span says of it.
    const fn of_span(&self) -> CopyEnd<'_> {
        match self {
            Self::Answered(answer) => CopyEnd::Answered(answer.status),
            Self::Failed(_) => CopyEnd::Failed("failed"),
            Self::TimedOut => CopyEnd::Failed("timeout"),
            Self::Stopped => CopyEnd::Failed("stopped"),
        }
    }
}

impl Answer {
    /// Whether an answer of so many bytes is a larger one, however it goes on.
    const fn is_exceeded_by(&self, bytes: u64) -> bool {
        self.whole && bytes > self.bytes
    }
}

/// The real answer, as soon as it is known.
enum Real {
    /// It is told when it is over.
    Awaited(oneshot::Receiver<Answer>),
    /// It is over.
    Known(Answer),
    /// It is not told.
    Unknown,
}

impl Real {
    /// What is known of it without waiting.
    fn now(&mut self) -> Option<&Answer> {
        if let Self::Awaited(told) = self {
            match told.try_recv() {
                Ok(answer) => *self = Self::Known(answer),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Closed) => *self = Self::Unknown,
            }
        }
        match self {
            Self::Known(answer) => Some(answer),
            Self::Awaited(_) | Self::Unknown => None,
        }
    }

    /// What is known of it in time.
    async fn until(self, deadline: Instant) -> Option<Answer> {
        match self {
            Self::Awaited(told) => timeout_at(deadline, told).await.ok().and_then(Result::ok),
            Self::Known(answer) => Some(answer),
            Self::Unknown => None,
        }
    }
}

/// A copy under way, for whoever knows how the real request is answered. Dropped untold, nothing is compared.
pub struct Told(oneshot::Sender<Answer>);

impl Told {
    /// This is how the real request was answered.
    pub fn tell(self, answer: Answer) {
        // A copy that is over already wants to know nothing.
        let _ = self.0.send(answer);
    }
}

impl Mirror {
    /// No copies yet.
    #[must_use]
    pub fn new(metrics: MirrorMetrics) -> Self {
        Self {
            asked: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            inside: AtomicU32::new(0),
            last: Mutex::default(),
            metrics,
        }
    }

    /// Whether the next request is one of the share that is copied.
    pub fn draws(&self, share: Share) -> bool {
        is_drawn(self.asked.fetch_add(1, Ordering::Relaxed), share)
    }

    /// Sends a copy of a request on its way, if there is a place for it and somebody to answer it.
    pub fn send(
        self: &Arc<Self>,
        app: &Arc<App>,
        settings: &Settings,
        request: impl FnOnce() -> Option<Request>,
    ) -> Option<Told> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let Some((upstream, dialer)) = app.standby_upstream(turn) else {
            self.metrics.count(MirrorOutcome::Unavailable);
            return None;
        };
        let Some(place) = self.enter(settings.in_flight) else {
            self.metrics.count(MirrorOutcome::Skipped);
            return None;
        };
        let (tell, told) = oneshot::channel();
        let (request, app) = (request()?, Arc::clone(app));
        let (deadline, most) = (Instant::now() + settings.timeout.0, settings.body.0);
        thread::spawn(Flight { place, request, app, upstream, dialer, deadline, most, told }.run());
        Some(Told(tell))
    }

    fn enter(self: &Arc<Self>, most: u32) -> Option<Place> {
        let next = |inside| (inside < most).then_some(inside + 1);
        self.inside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        Some(Place(Arc::clone(self)))
    }

    fn note(&self, difference: MirrorDifference) {
        let mut last = self.last.lock();
        last.truncate(REMEMBERED - 1);
        last.push_front(difference);
    }

    /// What came of it, for the admin API.
    #[must_use]
    pub fn to_wire(&self, slot: Slot, share: Option<Share>) -> Mirrored {
        Mirrored {
            slot,
            share,
            in_flight: self.inside.load(Ordering::Relaxed),
            outcomes: MirrorOutcome::ALL.into_iter().map(|o| (o, self.metrics.counted(o))).collect(),
            differences: self.last.lock().iter().cloned().collect(),
        }
    }
}

/// Whether the request before which there were `n` is one of the share: those are, at which the share of all requests so
/// far reaches the next whole number. So one in ten of a thousand are a hundred.
fn is_drawn(n: u64, share: Share) -> bool {
    const WHOLE: u64 = 10_000;
    let (n, share) = (n % WHOLE, u64::from(share.basis_points()));
    (n + 1) * share / WHOLE > n * share / WHOLE
}

/// A copy under way.
struct Flight {
    place: Place,
    request: Request,
    app: Arc<App>,
    upstream: Arc<Upstream>,
    dialer: Arc<Dialer>,
    deadline: Instant,
    most: u64,
    told: oneshot::Receiver<Answer>,
}

impl Flight {
    async fn run(self) {
        let Self { place, request, app, upstream, dialer, deadline, most, told } = self;
        let Place(mirror) = &place;
        let mut real = Real::Awaited(told);
        let asked = copy::ask(&dialer, &upstream, &request, most, &mut real);
        let ended = tokio::select! {
            biased;
            () = left(&app, &upstream) => Ended::Stopped,
            asked = timeout_at(deadline, asked) => match asked {
                Ok(Ok(answer)) => Ended::Answered(answer),
                Ok(Err(why)) => Ended::Failed(why),
                Err(_) => Ended::TimedOut,
            },
        };
        if let Some(span) = &request.span {
            span.over(&request.method, upstream.address(), upstream.slot(), ended.of_span());
        }
        let real = match ended {
            Ended::Stopped => None,
            Ended::Answered(_) | Ended::Failed(_) | Ended::TimedOut => real.until(deadline).await,
        };
        let outcome = judge(real.as_ref(), &ended);
        mirror.metrics.count(outcome);
        if let (Some(real), Ended::Answered(copy)) = (&real, &ended) {
            mirror.metrics.compared(real.first_byte.as_secs_f64(), copy.first_byte.as_secs_f64());
        }
        if outcome.is_difference() {
            mirror.note(difference(&request, upstream.slot(), outcome, real, ended));
        }
    }
}

/// Resolves when an upstream is not one of the standby slot any more.
async fn left(app: &App, upstream: &Arc<Upstream>) {
    // Subscribed before the first look, so that no change is missed.
    let mut changes = app.changes();
    while app.is_standby(upstream) && changes.changed().await.is_ok() {}
}

/// What came of a copy.
fn judge(real: Option<&Answer>, copy: &Ended) -> MirrorOutcome {
    let copy = match copy {
        Ended::Answered(answer) => answer,
        Ended::Failed(_) => return MirrorOutcome::Failed,
        Ended::TimedOut => return MirrorOutcome::Timeout,
        Ended::Stopped => return MirrorOutcome::Stopped,
    };
    let Some(real) = real else { return MirrorOutcome::Uncompared };
    if real.status != copy.status {
        MirrorOutcome::Status
    } else if real.is_exceeded_by(copy.bytes) {
        MirrorOutcome::Size
    } else if !copy.whole {
        MirrorOutcome::TooLarge
    } else if !real.whole {
        MirrorOutcome::Uncompared
    } else if real.bytes != copy.bytes {
        MirrorOutcome::Size
    } else if copy.first_byte > (real.first_byte * 2).max(real.first_byte + LATE) {
        MirrorOutcome::Slower
    } else {
        MirrorOutcome::Same
    }
}

fn difference(
    request: &Request,
    slot: Slot,
    outcome: MirrorOutcome,
    real: Option<Answer>,
    copy: Ended,
) -> MirrorDifference {
    let (copy, error) = match copy {
        Ended::Answered(answer) => (Some(answer), None),
        Ended::Failed(why) => (None, Some(why)),
        Ended::TimedOut => (None, Some("its answer did not end in time".to_owned())),
        Ended::Stopped => (None, None),
    };
    let path: String = request.path.chars().take(SHOWN).collect();
    MirrorDifference {
        at: Timestamp::now(),
        request_id: request.id.to_string(),
        route: format!("{} {path}", request.method),
        outcome,
        slot,
        live: real.as_ref().map(shown),
        copy: copy.as_ref().map(shown),
        error,
    }
}

fn shown(answer: &Answer) -> MirrorAnswer {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    MirrorAnswer {
        status: answer.status,
        bytes: answer.bytes,
        first_byte_micros: micros(answer.first_byte),
        total_micros: micros(answer.took),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    const ANSWER: Answer = Answer {
        status: 200,
        bytes: 7,
        whole: true,
        first_byte: Duration::from_millis(20),
        took: Duration::from_millis(30),
    };

    fn mirror() -> Arc<Mirror> {
        let metrics = Metrics::new("test").expect("metrics");
        Arc::new(Mirror::new(metrics.mirror(&"shop".parse().expect("a name"))))
    }

    #[test]
    fn a_share_is_met_exactly_and_evenly() {
        for (share, of, wanted) in
            [("10%", 1000, 100), ("0.5%", 1000, 5), ("33%", 100, 33), ("0%", 5000, 0), ("100%", 77, 77)]
        {
            let share: Share = share.parse().expect("a share");
            let mirror = mirror();
            assert_eq!((0..of).filter(|_| mirror.draws(share)).count(), wanted, "{share} of {of}");
        }
        let tenth: Share = "10%".parse().expect("a share");
        for from in 0..50_u64 {
            assert_eq!((from..from + 10).filter(|n| is_drawn(*n, tenth)).count(), 1, "from {from}");
        }
    }

    #[test]
    fn there_are_never_more_copies_than_places() {
        let mirror = mirror();
        let held: Vec<_> = (0..3).map(|_| mirror.enter(2)).collect();
        assert_eq!(held.iter().flatten().count(), 2);
        assert_eq!(mirror.to_wire(Slot::Green, None).in_flight, 2);
        drop(held);
        assert!(mirror.enter(1).is_some() && mirror.enter(0).is_none());
    }

    #[test]
    fn two_answers_are_the_same_or_differ_in_one_word() {
        let ms = Duration::from_millis;
        let end = Ended::Answered;
        for (real, copy, wanted) in [
            (Some(ANSWER), end(ANSWER), MirrorOutcome::Same),
            (Some(ANSWER), end(Answer { status: 500, bytes: 9, ..ANSWER }), MirrorOutcome::Status),
            (Some(ANSWER), end(Answer { bytes: 8, ..ANSWER }), MirrorOutcome::Size),
            (Some(ANSWER), end(Answer { first_byte: ms(71), ..ANSWER }), MirrorOutcome::Slower),
            (Some(ANSWER), end(Answer { first_byte: ms(70), ..ANSWER }), MirrorOutcome::Same),
            (Some(ANSWER), end(Answer { whole: false, ..ANSWER }), MirrorOutcome::TooLarge),
            (Some(ANSWER), end(Answer { whole: false, bytes: 8, ..ANSWER }), MirrorOutcome::Size),
            (Some(Answer { whole: false, ..ANSWER }), end(ANSWER), MirrorOutcome::Uncompared),
            (None, end(ANSWER), MirrorOutcome::Uncompared),
            (Some(ANSWER), Ended::Failed("refused".into()), MirrorOutcome::Failed),
            (Some(ANSWER), Ended::TimedOut, MirrorOutcome::Timeout),
            (None, Ended::Stopped, MirrorOutcome::Stopped),
        ] {
            assert_eq!(judge(real.as_ref(), &copy), wanted, "{real:?} {copy:?}");
        }
        let slow = Answer { first_byte: ms(200), ..ANSWER };
        assert_eq!(
            judge(Some(&slow), &end(Answer { first_byte: ms(399), ..slow })),
            MirrorOutcome::Same,
            "not twice as long"
        );
    }

    #[test]
    fn the_last_differences_are_kept_newest_first_and_their_paths_bounded() {
        let mirror = mirror();
        for n in 0..2 * REMEMBERED {
            let request = Request {
                method: http::Method::GET,
                target: PathAndQuery::from_static("/?secret"),
                authority: String::new(),
                headers: HeaderMap::new(),
                id: RequestId::generate(),
                path: format!("/{n}{}", "x".repeat(5000)),
                span: None,
            };
            let outcome = MirrorOutcome::Status;
            mirror.note(difference(&request, Slot::Green, outcome, Some(ANSWER), Ended::Answered(ANSWER)));
        }
        let last = mirror.to_wire(Slot::Green, None).differences;
        assert_eq!(last.len(), REMEMBERED);
        assert!(last[0].route.starts_with("GET /39x") && last[0].route.len() < 250, "{}", last[0].route);
    }
}
