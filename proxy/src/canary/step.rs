//! What comes next for a canary. Pure.
//!
//! It is judged as a bake is, against what the live slot does in the same time: stretch by stretch, so that a slot which gets
//! worse after hours is noticed as soon as one that was worse from the start; and over the whole time of its share, so that
//! few requests add up. A step is over when its time is, and enough came to tell.
//!
//! A bake is looked at once at its end, a canary for hours. So of failures only what is beyond chance counts until a step
//! ends, and the slowest hundredth is looked at when [`STRETCH`] times as many requests came as a judgement needs. And what
//! fails on both sides is the fault of neither: as both begin to be counted at the same moment, failures wait until the
//! live slot is known well enough to be told apart from.

use switcher_config::wire::{BakeFigures, CanaryPlan, CanaryResult, CanaryThen};
use switcher_config::{BakeLimits, Share};

use crate::bake::judge::{Evidence, HANDFUL, Verdict, judge};

/// How many times as many requests as a judgement needs end a stretch.
pub const STRETCH: u32 = 5;

/// What both sides did in some time.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The live slot.
    pub live: &'a BakeFigures,
    /// The canary's.
    pub canary: &'a BakeFigures,
    /// Whether the time is over.
    pub over: bool,
}

/// What there is to decide by.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The limits.
    pub limits: &'a BakeLimits,
    /// Since the share is what it is; over when the step's time is.
    pub share: Seen<'a>,
    /// In the stretch that goes on; over when it is as long as the limits say, and enough requests came.
    pub lately: Seen<'a>,
    /// Why no upstream of the canary's slot is healthy; none while one is.
    pub illness: Option<&'a str>,
    /// Why the slot is not wholly healthy, so that no more clients go there; none when it is.
    pub unwell: Option<&'a str>,
    /// The steps, where it has some.
    pub steps: Option<&'a CanaryPlan>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It goes on as it is.
    Stay,
    /// The step's time is over, and it goes on because too few requests came.
    Wait(String),
    /// It gets the next share.
    Raise(Share),
    /// Its slot becomes live.
    Promote,
    /// The last step went well, and whoever leads it says what follows.
    Passed,
    /// It ends.
    End(CanaryResult, Vec<String>),
}

/// Decides.
#[must_use]
pub fn next(standing: &Standing<'_>) -> Next {
    if let Some(why) = standing.illness {
        let reason = format!("no upstream passes its probes: {why}");
        return Next::End(CanaryResult::Unhealthy, vec![reason]);
    }
    let stepping = standing.steps.is_some_and(CanaryPlan::goes_on);
    let of_share = verdict(standing, Seen { over: standing.share.over && stepping, ..standing.share });
    let failing = verdict(standing, Seen { over: false, ..standing.lately });
    let calm = BakeFigures { errors: 0, connect_errors: 0, ..standing.lately.canary.clone() };
    let slow = verdict(standing, Seen { canary: &calm, ..standing.lately });
    for verdict in [failing, slow, of_share.clone()] {
        if let Verdict::Worse { reasons } = verdict {
            return Next::End(CanaryResult::Worse, reasons);
        }
    }
    match (of_share, standing.steps) {
        (Verdict::Passed { .. }, Some(steps)) if steps.goes_on() && standing.unwell.is_some() => {
            let why = standing.unwell.unwrap_or_default();
            Next::Wait(format!("its slot is not healthy: {why}"))
        }
        (Verdict::Passed { .. }, Some(steps)) => match (steps.left.first(), steps.then) {
            (Some(share), _) => Next::Raise(*share),
            (None, CanaryThen::Promote) => Next::Promote,
            (None, CanaryThen::Ask) => Next::Passed,
            (None, CanaryThen::Hold) => Next::Stay,
        },
        (Verdict::Inconclusive { .. }, Some(_)) => Next::Wait(format!(
            "{} of the {} requests came that are needed to judge",
            standing.share.canary.requests, standing.limits.min_requests
        )),
        (Verdict::Going | Verdict::Worse { .. }, _)
        | (Verdict::Passed { .. } | Verdict::Inconclusive { .. }, None) => Next::Stay,
    }
}

fn verdict(standing: &Standing<'_>, seen: Seen<'_>) -> Verdict {
    let without_failures;
    let canary = if !seen.over && may_be_both(standing.limits, seen) {
        without_failures = BakeFigures { errors: 0, connect_errors: 0, ..seen.canary.clone() };
        &without_failures
    } else {
        seen.canary
    };
    judge(&Evidence {
        limits: standing.limits,
        baseline: seen.live,
        seen: canary,
        over: seen.over,
        illness: None,
    })
}

/// Whether the live slot, of which too little came to judge by, may be failing as well: hardly anything came of it yet,
/// or at least half of that failed. Where nobody is served by it, the canary is known when it would be enough to judge.
fn may_be_both(limits: &BakeLimits, seen: Seen<'_>) -> bool {
    let least = u64::from(limits.min_requests);
    let Seen { live, canary, .. } = seen;
    if live.requests >= least {
        false
    } else if live.requests < HANDFUL {
        canary.requests < least
    } else {
        live.errors.max(live.connect_errors) * 2 >= live.requests
    }
}

#[cfg(test)]
mod tests {
    use switcher_config::Span;

    use super::*;

    fn figures(requests: u64, errors: u64) -> BakeFigures {
        BakeFigures { requests, errors, timed: requests, p99_micros: Some(1000), ..BakeFigures::default() }
    }

    fn plan(left: &[&str], then: CanaryThen) -> CanaryPlan {
        let left = left.iter().map(|share| share.parse().expect("a share")).collect();
        CanaryPlan { left, every: Span::seconds(60), then, waits: None, passed: false }
    }

    struct Case {
        canary: BakeFigures,
        live: BakeFigures,
        over: bool,
        illness: Option<&'static str>,
        unwell: Option<&'static str>,
        steps: Option<CanaryPlan>,
    }

    impl Case {
        fn next(&self) -> Next {
            let seen = Seen { live: &self.live, canary: &self.canary, over: self.over };
            let limits = BakeLimits::default();
            let lately = Seen { over: false, ..seen };
            let steps = self.steps.as_ref();
            let (illness, unwell) = (self.illness, self.unwell);
            next(&Standing { limits: &limits, share: seen, lately, illness, unwell, steps })
        }
    }

    fn well() -> Case {
        let steps = Some(plan(&["25%", "50%"], CanaryThen::Promote));
        let (canary, live) = (figures(200, 0), figures(2000, 0));
        Case { canary, live, over: true, illness: None, unwell: None, steps }
    }

    #[test]
    fn a_step_that_went_well_is_followed_by_the_next_and_the_last_by_what_was_wished() {
        assert_eq!(well().next(), Next::Raise("25%".parse().expect("a share")));
        assert_eq!(Case { over: false, ..well() }.next(), Next::Stay);
        for (then, next) in [
            (CanaryThen::Promote, Next::Promote),
            (CanaryThen::Hold, Next::Stay),
            (CanaryThen::Ask, Next::Passed),
        ] {
            assert_eq!(Case { steps: Some(plan(&[], then)), ..well() }.next(), next);
        }
        assert_eq!(Case { steps: None, ..well() }.next(), Next::Stay, "led by hand");
    }

    #[test]
    fn too_few_requests_let_a_step_wait_and_say_so() {
        let why = "99 of the 100 requests came that are needed to judge".to_owned();
        assert_eq!(Case { canary: figures(99, 0), ..well() }.next(), Next::Wait(why));
        assert_eq!(Case { canary: figures(99, 0), steps: None, ..well() }.next(), Next::Stay);
    }

    #[test]
    fn whoever_leads_it_is_told_nothing_before_the_last_step_is_over_and_judged() {
        let led = |case: Case| Case { steps: Some(plan(&[], CanaryThen::Ask)), ..case };
        assert_eq!(led(Case { over: false, ..well() }).next(), Next::Stay);
        assert!(matches!(led(Case { canary: figures(99, 0), ..well() }).next(), Next::Wait(_)));
        assert!(matches!(led(Case { unwell: Some("503"), ..well() }).next(), Next::Wait(_)));
        let slow = BakeFigures { p99_micros: Some(90_000), ..figures(200, 0) };
        let slow = led(Case { canary: slow, ..well() }).next();
        assert!(matches!(slow, Next::End(CanaryResult::Worse, _)), "judged at its end: {slow:?}");
    }

    #[test]
    fn a_slot_with_an_ill_upstream_keeps_its_clients_and_gets_no_more() {
        let unwell = Case { unwell: Some("503"), ..well() };
        assert_eq!(unwell.next(), Next::Wait("its slot is not healthy: 503".to_owned()));
        assert_eq!(Case { over: false, ..unwell }.next(), Next::Stay);
    }

    #[test]
    fn what_fails_more_than_the_live_slot_ends_at_once_and_what_fails_as_often_does_not() {
        for over in [false, true] {
            let worse = Case { canary: figures(200, 40), over, ..well() }.next();
            assert!(matches!(worse, Next::End(CanaryResult::Worse, _)), "{worse:?}");
            let alike = Case { canary: figures(200, 40), live: figures(2000, 400), over, ..well() }.next();
            assert!(!matches!(alike, Next::End(..)), "the database is down for both: {alike:?}");
        }
    }

    #[test]
    fn what_may_fail_on_both_sides_is_waited_for_until_the_live_slot_is_known() {
        let early = |canary, live| Case { canary, live, over: false, ..well() }.next();
        for (canary, live) in [
            (figures(9, 9), figures(0, 0)),
            (figures(9, 9), figures(4, 0)),
            (figures(99, 99), figures(0, 0)),
            (figures(99, 99), figures(9, 9)),
            (figures(500, 500), figures(99, 60)),
        ] {
            assert_eq!(early(canary.clone(), live.clone()), Next::Stay, "{canary:?} {live:?}");
        }
        for (canary, live) in [
            (figures(9, 9), figures(5, 0)),
            (figures(9, 9), figures(99, 0)),
            (figures(100, 100), figures(0, 0)),
            (figures(100, 100), figures(4, 4)),
        ] {
            let next = early(canary.clone(), live.clone());
            assert!(matches!(next, Next::End(CanaryResult::Worse, _)), "{canary:?} {live:?}: {next:?}");
        }
    }

    #[test]
    fn a_slot_without_a_healthy_upstream_ends_whatever_came() {
        let Next::End(CanaryResult::Unhealthy, why) = Case { illness: Some("503"), ..well() }.next() else {
            panic!("it goes on")
        };
        assert_eq!(why, ["no upstream passes its probes: 503"]);
    }

    #[test]
    fn a_failure_now_and_then_does_not_end_a_canary_that_is_looked_at_for_hours() {
        let (live, canary) = (figures(5000, 25), figures(500, 6));
        let limits = BakeLimits::default();
        let share = Seen { live: &live, canary: &canary, over: false };
        let lately = Seen { over: true, ..share };
        let standing = Standing { limits: &limits, share, lately, illness: None, unwell: None, steps: None };
        assert_eq!(next(&standing), Next::Stay, "1.2% of few is chance");
    }

    #[test]
    fn latency_is_judged_at_the_end_of_the_stretch_also_without_steps() {
        let (slow, live) = (BakeFigures { p99_micros: Some(90_000), ..figures(500, 0) }, figures(5000, 0));
        let limits = BakeLimits::default();
        let standing = |over| {
            let share = Seen { live: &live, canary: &slow, over: false };
            let lately = Seen { over, ..share };
            next(&Standing { limits: &limits, share, lately, illness: None, unwell: None, steps: None })
        };
        assert_eq!(standing(false), Next::Stay);
        assert!(matches!(standing(true), Next::End(CanaryResult::Worse, _)));
    }
}
