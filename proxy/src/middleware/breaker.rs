//! The circuit breaker: an application that mostly fails is left alone for a while, and then tried again with one request.
//!
//! [`State`] is pure: it is told of requests and answers, each with the moment, and says who may pass. A [`Breaker`] keeps
//! the state of one place for the newest epoch of each slot, so that a switch begins with a closed one, and a canary's
//! failures are not the live slot's; what is told of an epoch before it counts for nothing.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use switcher_config::settings::Breaker as Settings;
use switcher_config::{PerSlot, Slot};

use crate::tick::{Tick, millis};

/// In how many parts a window is counted.
const PARTS: u64 = 10;

/// When to come back while somebody else tries.
const TRIED: Duration = Duration::from_secs(1);

/// What was counted in the parts of a window: the part, the answers, the failures among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Window([(u64, u32, u32); PARTS as usize]);

impl Window {
    fn count(&mut self, part: u64, failed: bool) {
        // The remainder is below the length.
        let cell = &mut self.0[(part % PARTS) as usize];
        if cell.0 != part {
            *cell = (part, 0, 0);
        }
        cell.1 = cell.1.saturating_add(1);
        cell.2 = cell.2.saturating_add(failed.into());
    }

    /// Answers and failures of the window that ends with this part.
    fn sum(&self, part: u64) -> (u64, u64) {
        let fresh = self.0.iter().filter(|cell| part.checked_sub(cell.0).is_some_and(|age| age < PARTS));
        fresh.fold((0, 0), |(all, failed), cell| (all + u64::from(cell.1), failed + u64::from(cell.2)))
    }
}

/// Whether requests pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// They do, and are counted.
    Closed(Counts),
    /// None does, until this moment.
    Open(Tick),
    /// One has passed to try, and its answer is waited for.
    Trying,
}

/// What a closed one has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts(Window);

/// Whether one request passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// It does, like any other.
    Counted,
    /// It does, to try.
    Trial,
    /// It does not; this is when to come back.
    No(Duration),
}

/// How a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Went {
    /// It was answered.
    Well,
    /// It was answered 500 or above, or not at all.
    Badly,
    /// Its client left, or it was closed by the proxy: that says nothing.
    Unsaid,
}

impl Default for State {
    fn default() -> Self {
        Self::Closed(Counts::default())
    }
}

impl State {
    /// A request comes.
    fn ask(self, now: Tick) -> (Self, Pass) {
        match self {
            Self::Closed(_) => (self, Pass::Counted),
            Self::Open(until) if now < until => (self, Pass::No(Duration::from_millis(until.since(now)))),
            Self::Open(_) => (Self::Trying, Pass::Trial),
            Self::Trying => (self, Pass::No(TRIED)),
        }
    }

    /// It has gone so. What began while it was closed says nothing later.
    fn went(self, pass: Pass, went: Went, now: Tick, settings: &Settings) -> Self {
        match (self, pass, went) {
            (Self::Closed(_), Pass::Counted, Went::Unsaid) => self,
            (Self::Closed(Counts(mut window)), Pass::Counted, Went::Well | Went::Badly) => {
                let part = now.0 / (millis(settings.window.0) / PARTS).max(1);
                window.count(part, went == Went::Badly);
                let (all, failed) = window.sum(part);
                #[allow(clippy::cast_precision_loss, reason = "counts of a window")]
                let too_many = failed as f64 >= all as f64 * settings.errors.fraction();
                if went == Went::Badly && all >= u64::from(settings.requests) && too_many {
                    Self::Open(now.after(settings.open.0))
                } else {
                    Self::Closed(Counts(window))
                }
            }
            (Self::Trying, Pass::Trial, Went::Well) => Self::default(),
            (Self::Trying, Pass::Trial, Went::Badly) => Self::Open(now.after(settings.open.0)),
            // The next one tries.
            (Self::Trying, Pass::Trial, Went::Unsaid) => Self::Open(now),
            (Self::Closed(_), Pass::Trial | Pass::No(_), _)
            | (Self::Open(_), _, _)
            | (Self::Trying, Pass::Counted | Pass::No(_), _) => self,
        }
    }
}

/// What an answer has turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// Nobody passes for so long.
    Open(Duration),
    /// Everybody does.
    Closed,
}

/// The breaker of one place.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    /// Of the newest epoch of each slot that was heard of.
    now: Mutex<PerSlot<(u64, State)>>,
}

impl Breaker {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, now: Mutex::default() }
    }

    /// Whether a request of this epoch of a slot, which is told from others by the number of its pool, may pass.
    ///
    /// # Errors
    /// With when to come back, when it may not.
    pub fn enter(self: &Arc<Self>, slot: Slot, epoch: u64, now: Tick) -> Result<Watch, Duration> {
        let mut slots = self.now.lock();
        let kept = slots.get_mut(slot);
        if epoch > kept.0 {
            *kept = (epoch, State::default());
        }
        // Those of an epoch that was left are let through: it drains.
        let pass = if epoch == kept.0 {
            let (next, pass) = kept.1.ask(now);
            kept.1 = next;
            pass
        } else {
            Pass::Counted
        };
        match pass {
            Pass::No(wait) => Err(wait),
            Pass::Counted | Pass::Trial => {
                Ok(Watch { breaker: Arc::clone(self), slot, epoch, pass, said: false })
            }
        }
    }
}

/// A request that passed; how it went is told once. Dropped untold, it says nothing.
#[derive(Debug)]
pub struct Watch {
    breaker: Arc<Breaker>,
    slot: Slot,
    epoch: u64,
    pass: Pass,
    said: bool,
}

impl Watch {
    /// Tells how it went, and learns what turned by it.
    pub fn tell(&mut self, went: Went, now: Tick) -> Option<Turned> {
        if std::mem::replace(&mut self.said, true) {
            return None;
        }
        let mut slots = self.breaker.now.lock();
        let kept = slots.get_mut(self.slot);
        if kept.0 != self.epoch {
            return None;
        }
        let before = kept.1;
        kept.1 = before.went(self.pass, went, now, &self.breaker.settings);
        match (before, kept.1) {
            (State::Closed(_) | State::Trying, State::Open(until)) if until > now => {
                Some(Turned::Open(Duration::from_millis(until.since(now))))
            }
            (State::Trying, State::Closed(_)) => Some(Turned::Closed),
            (State::Closed(_) | State::Open(_) | State::Trying, _) => None,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.tell(Went::Unsaid, Tick::now());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use switcher_config::{Share, Span};

    use super::*;

    const SETTINGS: Settings = Settings {
        errors: Share::percent(50),
        requests: 4,
        window: Span::seconds(10),
        open: Span::seconds(5),
    };

    /// The state after requests that were each answered at once.
    fn after(state: State, answers: &[(u64, Went)]) -> State {
        answers.iter().fold(state, |state, (at, went)| {
            let (state, pass) = state.ask(Tick(*at));
            state.went(pass, *went, Tick(*at), &SETTINGS)
        })
    }

    #[test]
    fn it_opens_when_enough_of_enough_requests_fail_within_the_window() {
        use Went::{Badly, Unsaid, Well};
        let opens = |answers: &[(u64, Went)]| matches!(after(State::default(), answers), State::Open(_));
        assert!(opens(&[(0, Badly), (1, Badly), (2, Badly), (3, Badly)]));
        assert!(!opens(&[(0, Badly), (1, Badly), (2, Badly)]), "too few");
        assert!(opens(&[(0, Well), (1, Well), (2, Badly), (3, Badly)]), "half of them");
        assert!(!opens(&[(0, Well), (1, Well), (2, Well), (3, Badly), (4, Badly)]), "less than half");
        assert!(!opens(&[(0, Badly), (1, Badly), (2, Badly), (11_000, Badly)]), "too long ago");
        assert!(!opens(&[(0, Badly), (1, Badly), (2, Badly), (3, Unsaid)]), "nothing was said");
    }

    #[test]
    fn one_request_tries_and_what_it_meets_decides() {
        let open = State::Open(Tick(5000));
        assert_eq!(open.ask(Tick(4000)), (open, Pass::No(Duration::from_secs(1))));
        let (trying, pass) = open.ask(Tick(5000));
        assert_eq!((trying, pass), (State::Trying, Pass::Trial));
        assert_eq!(trying.ask(Tick(5001)).1, Pass::No(TRIED), "one is enough");
        let went = |went| trying.went(Pass::Trial, went, Tick(6000), &SETTINGS);
        assert_eq!(went(Went::Well), State::default());
        assert_eq!(went(Went::Badly), State::Open(Tick(11_000)));
        assert_eq!(went(Went::Unsaid).ask(Tick(6000)).1, Pass::Trial, "the next one tries");
        assert_eq!(trying.went(Pass::Counted, Went::Well, Tick(6000), &SETTINGS), trying, "it began before");
    }

    #[test]
    fn an_epoch_begins_with_a_closed_one_and_what_went_before_says_nothing() {
        let breaker = Arc::new(Breaker::new(SETTINGS));
        let mut straggler = breaker.enter(Slot::Blue, 1, Tick(0)).expect("closed");
        let told = (0..4).filter_map(|n| {
            breaker.enter(Slot::Blue, 1, Tick(n)).expect("closed").tell(Went::Badly, Tick(n))
        });
        assert_eq!(told.collect::<Vec<_>>(), [Turned::Open(Duration::from_secs(5))], "told once");
        assert!(breaker.enter(Slot::Blue, 1, Tick(10)).is_err());
        let watches: Vec<_> =
            (0..4).map(|n| breaker.enter(Slot::Blue, 2, Tick(10 + n)).expect("a new epoch")).collect();
        straggler.tell(Went::Badly, Tick(20));
        assert!(breaker.enter(Slot::Blue, 1, Tick(20)).is_ok(), "what is left of the old one drains");
        drop(watches);
        assert!(breaker.enter(Slot::Blue, 2, Tick(30)).is_ok());
        let other = (0..4).map(|n| breaker.enter(Slot::Green, 9, Tick(n)).expect("of the other slot"));
        let turned = other.filter_map(|mut watch| watch.tell(Went::Badly, Tick(30))).count();
        assert_eq!(turned, 1, "a canary that fails is left alone");
        assert!(
            breaker.enter(Slot::Green, 9, Tick(31)).is_err()
                && breaker.enter(Slot::Blue, 2, Tick(31)).is_ok()
        );
    }

    #[test]
    fn a_trial_that_is_dropped_makes_room_for_the_next() {
        let breaker = Arc::new(Breaker::new(SETTINGS));
        breaker.now.lock().blue = (1, State::Open(Tick(0)));
        let now = Tick::now();
        let trial = breaker.enter(Slot::Blue, 1, now).expect("a trial");
        assert!(breaker.enter(Slot::Blue, 1, now).is_err());
        drop(trial);
        assert!(breaker.enter(Slot::Blue, 1, Tick::now().after(Duration::from_millis(1))).is_ok());
    }

    proptest! {
        /// Whatever happens, it is never shut for longer than it says, and while it is open nobody passes.
        #[test]
        fn it_is_never_shut_for_ever(steps in prop::collection::vec((0_u64..3000, 0_u8..3, any::<bool>()), 1..200)) {
            let (mut state, mut now, mut waiting) = (State::default(), 0, Vec::new());
            for (wait, went, answer) in steps {
                now += wait;
                let (next, pass) = state.ask(Tick(now));
                if let (State::Open(until), Pass::Counted | Pass::Trial) = (state, pass) {
                    prop_assert!(now >= until.0);
                }
                if let State::Open(until) = next {
                    prop_assert!(until.0 <= now + 5000);
                }
                state = next;
                if !matches!(pass, Pass::No(_)) {
                    waiting.push(pass);
                }
                let trials = waiting.iter().filter(|pass| **pass == Pass::Trial).count();
                prop_assert!(trials <= 1, "one tries at a time");
                prop_assert_eq!(trials == 1, state == State::Trying);
                if answer && let Some(pass) = waiting.pop() {
                    let went = [Went::Well, Went::Badly, Went::Unsaid][usize::from(went)];
                    state = state.went(pass, went, Tick(now), &SETTINGS);
                }
            }
            for pass in waiting {
                state = state.went(pass, Went::Well, Tick(now), &SETTINGS);
            }
            prop_assert!(!matches!(state.ask(Tick(now + 5000)).1, Pass::No(_)));
        }
    }
}
