//! The judge, by tables and properties.

use proptest::prelude::*;
use switcher_config::wire::BakeFigures;
use switcher_config::{BakeLimits, Span};

use super::{Evidence, Verdict, judge};

fn figures(requests: u64, errors: u64, p99_millis: u64) -> BakeFigures {
    let p99_micros = (requests > 0).then_some(p99_millis * 1000);
    BakeFigures { requests, errors, connect_errors: 0, timed: requests, p99_micros, seconds: 60 }
}

fn judged(baseline: &BakeFigures, seen: &BakeFigures, over: bool) -> Verdict {
    judge(&Evidence { limits: &BakeLimits::default(), baseline, seen, over, illness: None })
}

fn is_worse(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Worse { .. })
}

#[test]
fn the_figures_stand_in_the_reasons() {
    let before = figures(1000, 0, 40);
    let limits = BakeLimits { max_p99: Some(Span::millis(90)), ..BakeLimits::default() };
    let seen = BakeFigures { connect_errors: 6, ..figures(200, 20, 100) };
    let evidence = Evidence {
        limits: &limits,
        baseline: &before,
        seen: &seen,
        over: true,
        illness: Some("127.0.0.1:1: it answered 503"),
    };
    let Verdict::Worse { reasons } = judge(&evidence) else { panic!("it is worse") };
    assert_eq!(
        reasons,
        [
            "no upstream passes its probes: 127.0.0.1:1: it answered 503",
            "20 of 200 requests failed: 10.0%, and 1.0% is allowed",
            "6 of 200 requests met an upstream that took no connection: 3.0%, and 1.0% is allowed",
            "the p99 is 100ms, and 90ms is allowed",
            "the p99 is 100ms, and it was 40ms before: 2 times as much is allowed",
        ]
    );
}

#[test]
fn a_handful_of_failures_decides_at_once_when_nothing_else_comes() {
    let before = figures(1000, 0, 5);
    assert_eq!(judged(&before, &figures(4, 4, 5), false), Verdict::Going);
    assert!(is_worse(&judged(&before, &figures(5, 5, 5), false)));
    assert_eq!(judged(&before, &figures(500, 5, 5), false), Verdict::Going);
    assert!(is_worse(&judged(&before, &figures(500, 15, 5), false)));
}

#[test]
fn at_the_end_the_plain_share_counts() {
    let before = figures(1000, 0, 5);
    assert_eq!(judged(&before, &figures(100, 2, 5), false), Verdict::Going);
    assert!(is_worse(&judged(&before, &figures(100, 2, 5), true)));
    assert!(!is_worse(&judged(&before, &figures(100, 1, 5), true)));
}

#[test]
fn a_service_that_failed_before_may_go_on_so_and_not_much_more() {
    let before = figures(2000, 100, 5);
    assert!(!is_worse(&judged(&before, &figures(2000, 110, 5), true)));
    let Verdict::Worse { reasons } = judged(&before, &figures(2000, 240, 5), true) else {
        panic!("it is worse")
    };
    assert_eq!(reasons, ["240 of 2000 requests failed: 12.0%, and 7.5% is allowed, because 5.0% did before"]);
    let unknown = figures(50, 25, 5);
    assert!(is_worse(&judged(&unknown, &figures(2000, 110, 5), true)), "50 requests prove no habit");
}

#[test]
fn the_latency_is_judged_at_the_end_above_a_floor_and_with_enough_on_both_sides() {
    for (before, seen, over, worse) in [
        (figures(1000, 0, 1), figures(1000, 0, 9), true, false),
        (figures(1000, 0, 1), figures(1000, 0, 11), true, true),
        (figures(1000, 0, 50), figures(1000, 0, 99), true, false),
        (figures(1000, 0, 50), figures(1000, 0, 101), true, true),
        (figures(1000, 0, 50), figures(1000, 0, 101), false, false),
        (figures(99, 0, 50), figures(1000, 0, 101), true, false),
        (figures(1000, 0, 50), figures(99, 0, 101), true, false),
    ] {
        assert_eq!(is_worse(&judged(&before, &seen, over)), worse, "{before:?} {seen:?} {over}");
    }
}

#[test]
fn what_could_not_be_compared_is_said_of_a_version_that_passed() {
    let Verdict::Passed { notes } = judged(&figures(7, 0, 5), &figures(100, 0, 500), true) else {
        panic!("it passed")
    };
    assert_eq!(notes, ["the p99 was not compared: the slot before answered 7 requests lately"]);
    assert_eq!(judged(&figures(100, 0, 5), &figures(100, 0, 5), true), Verdict::Passed { notes: Vec::new() });
}

#[test]
fn too_little_traffic_is_no_failure() {
    let Verdict::Inconclusive { reasons } = judged(&figures(1000, 0, 5), &BakeFigures::default(), true)
    else {
        panic!("nobody can tell")
    };
    assert_eq!(reasons, ["0 requests came within 1m, and 100 are needed to judge"]);
}

prop_compose! {
    fn some_figures(most: u64)(
        requests in 0..most,
        errors in 0.0..=1.0_f64,
        connects in 0.0..=1.0_f64,
        p99 in 0_u64..10_000_000,
    ) -> BakeFigures {
        let part = |share: f64| ((requests as f64 * share) as u64).min(requests);
        BakeFigures {
            requests,
            errors: part(errors),
            connect_errors: part(connects),
            timed: requests,
            p99_micros: (requests > 0).then_some(p99),
            seconds: 60,
        }
    }
}

proptest! {
    #[test]
    fn a_version_that_does_what_the_one_before_did_is_never_worse(
        known in some_figures(5000), times in 1_u64..4, over: bool,
    ) {
        prop_assume!(known.requests >= 100);
        let seen = BakeFigures {
            requests: known.requests * times,
            errors: known.errors * times,
            connect_errors: known.connect_errors * times,
            timed: known.timed * times,
            ..known.clone()
        };
        prop_assert!(!is_worse(&judged(&known, &seen, over)));
    }

    #[test]
    fn without_requests_nothing_is_ever_worse(before in some_figures(5000), over: bool) {
        let verdict = judged(&before, &BakeFigures::default(), over);
        prop_assert!(matches!(verdict, Verdict::Going | Verdict::Inconclusive { .. }), "{verdict:?}");
    }

    #[test]
    fn it_ends_exactly_when_the_time_is_over_or_it_is_worse(
        before in some_figures(5000), seen in some_figures(5000), over: bool,
    ) {
        match judged(&before, &seen, over) {
            Verdict::Going => prop_assert!(!over),
            Verdict::Passed { .. } => prop_assert!(over && seen.requests >= 100),
            Verdict::Inconclusive { .. } => prop_assert!(over && seen.requests < 100),
            Verdict::Worse { reasons } => prop_assert!(!reasons.is_empty()),
        }
    }

    #[test]
    fn more_failures_never_make_it_better(
        before in some_figures(5000), seen in some_figures(5000), more in 0_u64..100, over: bool,
    ) {
        let failing = BakeFigures { errors: (seen.errors + more).min(seen.requests), ..seen.clone() };
        if is_worse(&judged(&before, &seen, over)) {
            prop_assert!(is_worse(&judged(&before, &failing, over)));
        }
    }

    #[test]
    fn a_version_that_answers_nothing_right_is_worse_with_the_fifth_request(requests in 5_u64..5000) {
        prop_assert!(is_worse(&judged(&figures(1000, 10, 5), &figures(requests, requests, 5), false)));
    }
}
