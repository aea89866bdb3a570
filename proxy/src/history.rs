//! What the last quarter of an hour was like: figures by slot, switches, and the last events. For the dashboard.
//!
//! Invariant: it is bounded, whatever the number of applications and of events; it reads counters that are kept anyway, so
//! a request costs nothing more; and it lives in memory only, so it begins with the process. [`run`] is the only writer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use switcher_config::wire::{Event, Progress, StepState};
use switcher_config::{AppName, PerSlot, Slot};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

use crate::control::Control;
use crate::metrics::{Answered, BUCKETS};
use crate::view::View;

/// From one point to the next.
pub const STEP: Duration = Duration::from_secs(5);

/// How many points are kept: the last quarter of an hour.
pub const POINTS: usize = 180;

/// Of how many applications points are kept: those that had requests first.
const APPS: usize = 1000;

/// How many events are kept.
const EVENTS: usize = 100;

/// How many steps of one deployment are kept.
const STEPS: usize = 64;

/// How many switches of one application are kept.
const SWITCHES: usize = 32;

/// What one slot did from one point to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    /// Requests that ended.
    pub requests: u32,
    /// Those that were answered with a status of 500 or more.
    pub errors: u32,
    /// The time in seconds that one in a hundred exceeded, as well as the histogram tells; none without requests.
    pub p99: Option<f32>,
}

/// The points of one application, oldest first, and its switches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// At most [`POINTS`]; the last one is of [`Seen::at`].
    pub points: VecDeque<PerSlot<Point>>,
    /// When which slot became live, oldest first.
    pub switches: VecDeque<(Timestamp, Slot)>,
}

/// One step of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When it began.
    pub began: Timestamp,
    /// When it last told of itself.
    pub at: Timestamp,
    /// What it is, and how it stands.
    pub progress: Progress,
}

/// The steps of the newest deployment of an application, in order; of one deployment and never empty.
pub type Steps = Vec<Step>;

/// An event that is remembered.
#[derive(Debug, Clone)]
pub struct Noted {
    /// Counts up from 1: no other event has it.
    pub number: u64,
    /// What happened.
    pub event: Arc<Event>,
}

#[derive(Debug, Default)]
struct Recorded {
    at: Timestamp,
    series: BTreeMap<AppName, Series>,
    before: BTreeMap<AppName, PerSlot<Answered>>,
    deployments: BTreeMap<AppName, Steps>,
    events: VecDeque<Noted>,
    noted: u64,
}

/// What is remembered.
#[derive(Debug, Default)]
pub struct History(Mutex<Recorded>);

/// What was seen of some applications.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// When the last points were taken.
    pub at: Timestamp,
    /// The points of each application that had requests lately, and of each that switched.
    pub series: BTreeMap<AppName, Series>,
    /// How far the newest deployment of each application got, as far as its deployer told.
    pub deployments: BTreeMap<AppName, Steps>,
    /// The last events, newest first.
    pub events: Vec<Noted>,
}

impl History {
    /// What is remembered of these applications, and the last events.
    #[must_use]
    pub fn seen<'a>(&self, apps: impl IntoIterator<Item = &'a AppName, IntoIter: Clone>) -> Seen {
        let (recorded, apps) = (self.0.lock(), apps.into_iter());
        let steps = |app: &AppName| Some((app.clone(), recorded.deployments.get(app)?.clone()));
        let deployments = apps.clone().filter_map(steps).collect();
        let series = apps.filter_map(|app| Some((app.clone(), recorded.series.get(app)?.clone())));
        Seen {
            at: recorded.at,
            series: series.collect(),
            deployments,
            events: recorded.events.iter().rev().cloned().collect(),
        }
    }

    fn note(&self, event: Event) {
        let mut recorded = self.0.lock();
        // A deployment has many steps: they are shown with the application, and do not push out everything else.
        if let Event::Progress { at, app, progress } = event {
            step(recorded.deployments.entry(app).or_default(), at, progress);
            return;
        }
        if let Event::Switched { at, app, switched } = &event {
            let room = recorded.series.len() < APPS;
            if room || recorded.series.contains_key(app) {
                let switches = &mut recorded.series.entry(app.clone()).or_default().switches;
                push(switches, (*at, switched.to), SWITCHES);
            }
        }
        recorded.noted += 1;
        let noted = Noted { number: recorded.noted, event: Arc::new(event) };
        push(&mut recorded.events, noted, EVENTS);
    }

    fn take(&self, view: &View, now: Timestamp) {
        let mut recorded = self.0.lock();
        recorded.at = now;
        let gone = |app: &AppName| !view.apps.contains_key(app);
        recorded.before.retain(|app, _| !gone(app));
        recorded.series.retain(|app, _| !gone(app));
        recorded.deployments.retain(|app, _| !gone(app));
        let mut added = BTreeSet::new();
        for (name, app) in &view.apps {
            let metrics = &app.app.metrics.slots;
            let before = recorded.before.get(name);
            let answered = |slot: Slot| before.map_or(0, |b: &PerSlot<Answered>| b.get(slot).requests);
            if Slot::ALL.into_iter().all(|slot| metrics.get(slot).answered() == answered(slot)) {
                continue;
            }
            let so_far = metrics.map(|_, slot| slot.so_far());
            let point = so_far.map(|slot, now| point(before.map(|b| b.get(slot)), now));
            recorded.before.insert(name.clone(), so_far);
            if recorded.series.len() < APPS || recorded.series.contains_key(name) {
                push(&mut recorded.series.entry(name.clone()).or_default().points, point, POINTS);
                added.insert(name);
            }
        }
        for (name, series) in &mut recorded.series {
            if !added.contains(name) {
                push(&mut series.points, PerSlot::from_fn(|_| Point::default()), POINTS);
            }
        }
        recorded.series.retain(|_, series| !series.is_quiet(now));
    }
}

impl Series {
    /// Whether nothing was asked and nothing switched for so long that there is nothing to show.
    fn is_quiet(&self, now: Timestamp) -> bool {
        let idle = |point: &PerSlot<Point>| point.iter().all(|(_, point)| point.requests == 0);
        self.points.len() == POINTS && self.points.iter().all(idle) && self.lately(now).next().is_none()
    }

    /// The switches of the time that the points are of.
    pub fn lately(&self, now: Timestamp) -> impl Iterator<Item = &(Timestamp, Slot)> {
        let window = STEP.as_secs_f64() * POINTS as f64;
        self.switches.iter().filter(move |(at, _)| now.duration_since(*at).as_secs_f64() < window)
    }
}

/// Adds what was told to the steps: a step that goes on is the last one of its name, and another deployment begins anew.
fn step(steps: &mut Steps, at: Timestamp, progress: Progress) {
    if steps.last().is_some_and(|last| last.progress.deployment != progress.deployment) {
        steps.clear();
    }
    let goes_on =
        |last: &&mut Step| last.progress.step == progress.step && last.progress.state == StepState::Running;
    if let Some(last) = steps.last_mut().filter(goes_on) {
        last.at = at;
        last.progress = progress;
    } else if steps.len() < STEPS {
        steps.push(Step { began: at, at, progress });
    }
}

fn push<T>(ring: &mut VecDeque<T>, new: T, most: usize) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(new);
}

/// What happened between two readings of the same counters. They begin again when an application was away.
fn point(before: Option<&Answered>, now: &Answered) -> Point {
    let none = Answered::default();
    let before = before.filter(|before| before.requests <= now.requests).unwrap_or(&none);
    let since = |now: u64, before: u64| u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
    let requests = since(now.requests, before.requests);
    let within = std::array::from_fn(|n| now.within[n].saturating_sub(before.within[n]));
    Point { requests, errors: since(now.errors, before.errors), p99: p99(requests, within) }
}

/// The time that one in a hundred of `requests` exceeded: within its bucket, times are taken to be spread evenly.
fn p99(requests: u32, within: [u64; BUCKETS.len()]) -> Option<f32> {
    let rank = f64::from(requests) * 0.99;
    let at = within.iter().position(|count| *count as f64 >= rank);
    let (low, below) = match at {
        Some(0) => (0.0, 0),
        Some(at) => (BUCKETS[at - 1], within[at - 1]),
        None => return (requests > 0).then_some(BUCKETS[BUCKETS.len() - 1] as f32),
    };
    let at = at.filter(|_| requests > 0)?;
    let share = (rank - below as f64) / ((within[at] - below).max(1)) as f64;
    Some((low + (BUCKETS[at] - low) * share.clamp(0.0, 1.0)) as f32)
}

/// Remembers for ever.
pub async fn run(history: Arc<History>, control: Arc<Control>, mut events: Receiver<Event>) {
    let mut ticks = interval(STEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => history.take(&control.view(), Timestamp::now()),
            event = events.recv() => match event {
                Ok(event) => history.note(event),
                // Those that were missed are gone; what came after them follows.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switcher_config::wire::Mode;

    fn answered(requests: u64, errors: u64, fast: u64) -> Answered {
        let mut within = [requests; BUCKETS.len()];
        within[..3].fill(fast);
        Answered { requests, errors, within }
    }

    #[test]
    fn a_point_is_what_happened_since_the_one_before() {
        let first = point(None, &answered(10, 1, 10));
        assert_eq!((first.requests, first.errors), (10, 1));
        let next = point(Some(&answered(10, 1, 10)), &answered(110, 4, 10));
        assert_eq!((next.requests, next.errors), (100, 3));
        let p99 = next.p99.expect("one");
        assert!((0.005..=0.01).contains(&p99), "{p99}");
        assert_eq!(point(Some(&answered(10, 1, 10)), &answered(10, 1, 10)), Point::default());
        assert_eq!(point(Some(&answered(10, 1, 10)), &answered(3, 0, 3)).requests, 3, "counted anew");
    }

    #[test]
    fn the_p99_lies_in_the_bucket_of_its_rank_and_beyond_the_last_one_is_the_last_bound() {
        assert_eq!(p99(0, [0; BUCKETS.len()]), None);
        assert_eq!(p99(5, [0; BUCKETS.len()]), Some(60.0));
        let first = p99(100, [100; BUCKETS.len()]).expect("one");
        assert!(first > 0.0 && first <= 0.001, "{first}");
    }

    #[test]
    fn no_more_events_are_kept_than_are_shown_and_the_newest_comes_first() {
        let history = History::default();
        let app: AppName = "shop".parse().expect("a name");
        for _ in 0..EVENTS + 7 {
            history.note(Event::Mode { at: Timestamp::UNIX_EPOCH, app: app.clone(), mode: Mode::Open });
        }
        let numbers: Vec<u64> = history.seen([]).events.iter().map(|noted| noted.number).collect();
        assert_eq!((numbers.len(), numbers[0], numbers[EVENTS - 1]), (EVENTS, 107, 8));
    }

    #[test]
    fn the_steps_are_those_of_the_newest_deployment() {
        let history = History::default();
        let app: AppName = "shop".parse().expect("a name");
        let told = |deployment: &str, step: &str, state| Event::Progress {
            at: Timestamp::UNIX_EPOCH,
            app: app.clone(),
            progress: Progress {
                deployment: deployment.to_owned(),
                slot: Slot::Green,
                step: step.to_owned(),
                state,
                message: String::new(),
            },
        };
        let steps = || {
            let seen = history.seen([&app]);
            let steps = seen.deployments[&app].iter();
            steps.map(|step| (step.progress.step.clone(), step.progress.state)).collect::<Vec<_>>()
        };
        history.note(told("one", "pull", StepState::Running));
        history.note(told("one", "pull", StepState::Done));
        history.note(told("one", "start", StepState::Running));
        assert_eq!(steps(), [("pull".into(), StepState::Done), ("start".into(), StepState::Running)]);
        history.note(told("two", "pull", StepState::Failed));
        assert_eq!(steps(), [("pull".into(), StepState::Failed)]);
        for n in 0..2 * STEPS {
            history.note(told("two", &n.to_string(), StepState::Done));
        }
        assert_eq!((steps().len(), history.seen([]).events.len()), (STEPS, 0));
    }

    #[test]
    fn what_was_quiet_for_the_whole_time_is_forgotten_unless_it_switched() {
        let (now, idle) = (Timestamp::now(), PerSlot::from_fn(|_| Point::default()));
        let mut series = Series { points: VecDeque::from(vec![idle; POINTS]), switches: VecDeque::new() };
        assert!(series.is_quiet(now));
        series.switches.push_back((now, Slot::Green));
        assert!(!series.is_quiet(now));
        series.switches.clear();
        series.points[7].blue.requests = 1;
        assert!(!series.is_quiet(now));
    }
}
