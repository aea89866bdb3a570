//! The ordinary cases as sentences, and the clocks and authorities that are not ordinary.

use std::time::Duration;

use switcher_config::Span;

use super::*;
use crate::lineage::{Issuer, KeyType, Lineage};
use crate::record::Ari;

pub(super) const MINUTE: i64 = 60;
pub(super) const HOUR: i64 = 3_600;
pub(super) const A_DAY: i64 = 86_400;

/// What is served, as the authority calls it.
pub(super) const SERVED: &str = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";

/// Seconds after the certificate's first moment.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
}

pub(super) fn valid_for(seconds: i64) -> Validity {
    Validity { not_before: at(0), not_after: at(seconds) }
}

pub(super) fn record() -> Record {
    let lineage = Lineage::new(["shop.example.com".to_owned()], KeyType::Ecdsa, Issuer::Acme);
    Record::new(&lineage.expect("a name"))
}

/// As the configuration has it by default, without ARI.
pub(super) fn policy() -> Policy {
    Policy { retry: Retry { first: Span::seconds(60), max: Span::seconds(12 * 3_600) }, ari: false }
}

fn with_window(start: i64, end: i64) -> Record {
    let ari = answered(SERVED, (at(start), at(end)), None, Some(Duration::from_secs(86_400)), at(0));
    Record { ari: Some(ari), ..record() }
}

fn after_failures(failures: u32, last: Timestamp) -> Record {
    let mut record = record();
    for _ in 0..failures {
        record.attempts.begin(last);
        record.attempts.fail(last, "the authority is down".to_owned(), None);
    }
    record
}

fn next(have: Option<Validity>, record: &Record, policy: &Policy, now: Timestamp) -> Action {
    next_action(have, Some(SERVED), record, policy, 7, now)
}

#[track_caller]
fn waits_for_order(action: Action, from: i64, to: i64, why: Due) {
    let Action::Wait { until, then } = action else { panic!("{action:?} does not wait") };
    assert!(at(from) <= until && until <= at(to), "{until} is not between {} and {}", at(from), at(to));
    assert_eq!(then, Then::Order(why));
}

#[test]
fn nothing_served_is_ordered_at_once() {
    assert_eq!(next(None, &record(), &policy(), at(0)), Action::Order(Due::Missing));
}

#[test]
fn ordinary_lifetimes_are_renewed_at_two_thirds_and_short_ones_at_half_less_a_twentieth() {
    let cases = [
        ("90 days", 90 * A_DAY, 60 * A_DAY),
        ("47 days", 47 * A_DAY, 47 * A_DAY * 2 / 3),
        ("10 days", 10 * A_DAY, 10 * A_DAY * 2 / 3),
        ("6 days", 6 * A_DAY, 3 * A_DAY),
        ("60 seconds", 60, 30),
        ("2 seconds", 2, 1),
    ];
    for (name, lifetime, age) in cases {
        let have = valid_for(lifetime);
        let earliest = at(age).as_nanosecond() - i128::from(lifetime) * 1_000_000_000 / 20 - 1;
        for seed in 0..100 {
            let due = renew_at(have, None, &record(), seed);
            assert!(earliest <= due.as_nanosecond() && due <= at(age), "{name}: {due}");
            let action = next_action(Some(have), None, &record(), &policy(), seed, at(0));
            assert_eq!(action, Action::Wait { until: due, then: Then::Order(Due::Age) }, "{name}");
            let action = next_action(Some(have), None, &record(), &policy(), seed, due);
            assert_eq!(action, Action::Order(Due::Age), "{name}");
        }
    }
}

#[test]
fn a_fleet_does_not_renew_in_the_same_moment() {
    let of = |seed| renew_at(valid_for(90 * A_DAY), None, &record(), seed);
    let early = (0..1_000).filter(|seed| of(*seed) < at(60 * A_DAY - 90 * A_DAY / 40)).count();
    assert!((400..600).contains(&early), "{early} of 1000 lie in the earlier half");
}

#[test]
fn the_last_tenth_is_an_emergency_whatever_the_authority_wishes() {
    let have = Some(valid_for(90 * A_DAY));
    let late = with_window(89 * A_DAY, 90 * A_DAY);
    waits_for_order(next(have, &late, &policy(), at(0)), 81 * A_DAY, 81 * A_DAY, Due::Emergency);
    assert_eq!(next(have, &late, &policy(), at(81 * A_DAY)), Action::Order(Due::Emergency));
    assert_eq!(next(have, &record(), &policy(), at(400 * A_DAY)), Action::Order(Due::Emergency));
}

#[test]
fn the_authoritys_window_goes_before_the_age_in_both_directions() {
    let have = Some(valid_for(90 * A_DAY));
    let earlier = with_window(10 * A_DAY, 11 * A_DAY);
    waits_for_order(next(have, &earlier, &policy(), at(0)), 10 * A_DAY, 11 * A_DAY, Due::Window);
    let later = with_window(70 * A_DAY, 71 * A_DAY);
    waits_for_order(next(have, &later, &policy(), at(61 * A_DAY)), 70 * A_DAY, 71 * A_DAY, Due::Window);
    let past = with_window(-HOUR, -HOUR / 2);
    assert_eq!(next(have, &past, &policy(), at(MINUTE)), Action::Order(Due::Window));
}

#[test]
fn a_moment_is_picked_evenly_from_the_window() {
    let record = with_window(10 * A_DAY, 20 * A_DAY);
    let of = |seed| renew_at(valid_for(90 * A_DAY), Some(SERVED), &record, seed);
    for tenth in 10..20 {
        let inside = |moment: Timestamp| at(tenth * A_DAY) <= moment && moment < at((tenth + 1) * A_DAY);
        let count = (0..2_000).filter(|seed| inside(of(*seed))).count();
        assert!((140..260).contains(&count), "{count} of 2000 on day {tenth}");
    }
}

#[test]
fn a_window_that_cannot_be_meant_is_ignored() {
    let have = Some(valid_for(90 * A_DAY));
    let of_another = Record {
        ari: with_window(0, 1).ari.map(|ari| Ari { certificate: "another".to_owned(), ..ari }),
        ..record()
    };
    let cases = [
        ("of another certificate", of_another),
        ("ends before it begins", with_window(11 * A_DAY, 10 * A_DAY)),
        ("ends as it begins", with_window(10 * A_DAY, 10 * A_DAY)),
        ("begins when all is over", with_window(90 * A_DAY, 91 * A_DAY)),
        ("lies years before the certificate", with_window(-800 * A_DAY, -799 * A_DAY)),
    ];
    for (name, record) in cases {
        let action = next(have, &record, &policy(), at(0));
        let by_age = Then::Order(Due::Age);
        assert!(matches!(action, Action::Wait { then, .. } if then == by_age), "{name}: {action:?}");
    }
}

#[test]
fn the_authority_is_asked_after_issuance_and_again_when_it_said() {
    let (have, policy) = (Some(valid_for(90 * A_DAY)), Policy { ari: true, ..policy() });
    assert_eq!(next(have, &record(), &policy, at(0)), Action::AskAri, "right after issuance");
    let asked = with_window(59 * A_DAY, 60 * A_DAY);
    let action = next(have, &asked, &policy, at(0));
    assert_eq!(action, Action::Wait { until: at(A_DAY), then: Then::AskAri });
    assert_eq!(next(have, &asked, &policy, at(A_DAY)), Action::AskAri);
    let anonymous = next_action(have, None, &record(), &policy, 7, at(0));
    assert!(matches!(anonymous, Action::Wait { then: Then::Order(Due::Age), .. }), "{anonymous:?}");
}

#[test]
fn ordering_goes_before_asking_and_nobody_is_asked_in_an_emergency() {
    let (have, policy) = (Some(valid_for(90 * A_DAY)), Policy { ari: true, ..policy() });
    assert_eq!(next(have, &record(), &policy, at(60 * A_DAY)), Action::Order(Due::Age));
    let failed = after_failures(9, at(60 * A_DAY));
    assert_eq!(next(have, &failed, &policy, at(60 * A_DAY)), Action::AskAri, "while it waits after failures");
    for day in [81, 89, 90, 100] {
        let failed = after_failures(9, at(day * A_DAY));
        let action = next(have, &failed, &policy, at(day * A_DAY));
        assert!(matches!(action, Action::Wait { then: Then::Order(_), .. }), "on day {day}: {action:?}");
    }
}

#[test]
fn the_authority_is_asked_once_a_minute_at_most_and_once_a_day_at_least() {
    let ask_again_at = |seconds| {
        let pause = Some(Duration::from_secs(seconds));
        answered(SERVED, (at(0), at(1)), None, pause, at(0)).ask_again_at
    };
    assert_eq!(ask_again_at(0), at(MINUTE));
    assert_eq!(ask_again_at(21_600), at(6 * HOUR));
    assert_eq!(ask_again_at(u64::MAX), at(A_DAY));
    let silent = answered(SERVED, (at(0), at(1)), None, None, at(0));
    assert_eq!(silent.ask_again_at, at(6 * HOUR));
}

#[test]
fn no_answer_keeps_the_last_window_and_is_no_window_by_itself() {
    let have = Some(valid_for(90 * A_DAY));
    let asked = with_window(10 * A_DAY, 11 * A_DAY);
    let kept = unanswered(SERVED, &asked, at(A_DAY));
    assert_eq!((kept.start, kept.end), (at(10 * A_DAY), at(11 * A_DAY)));
    assert_eq!(kept.ask_again_at, at(A_DAY + 6 * HOUR));
    let none = Record { ari: Some(unanswered(SERVED, &record(), at(0))), ..record() };
    let policy = Policy { ari: true, ..policy() };
    assert_eq!(
        next(have, &none, &policy, at(0)),
        Action::Wait { until: at(6 * HOUR), then: Then::AskAri },
        "it is not asked again at once"
    );
    assert_eq!(next(have, &none, &policy, at(60 * A_DAY)), Action::Order(Due::Age));
}

#[test]
fn each_failure_waits_three_times_longer_up_to_the_longest_wait() {
    let minutes = [1, 3, 9, 27, 81, 243];
    for (failures, minutes) in (1..).zip(minutes) {
        let wait = minutes * MINUTE;
        let action = next(None, &after_failures(failures, at(0)), &policy(), at(0));
        waits_for_order(action, wait * 9 / 10, wait * 11 / 10, Due::Missing);
    }
    for failures in [8, 100, u32::MAX] {
        let mut record = after_failures(1, at(0));
        record.attempts.failures = failures;
        waits_for_order(next(None, &record, &policy(), at(0)), 9 * HOUR, 12 * HOUR, Due::Missing);
    }
}

#[test]
fn chance_never_makes_a_further_failure_wait_less() {
    let retry = Retry { first: Span::seconds(60), max: Span::seconds(70) };
    for seed in 0..100 {
        let wait = |failures| {
            let record = after_failures(failures, at(0));
            retry_at(&record, &Policy { retry, ari: false }, None, seed, at(0)).expect("it waits")
        };
        assert!(wait(1) <= wait(2) && wait(2) <= at(70), "{} and {}", wait(1), wait(2));
    }
}

#[test]
fn what_the_authority_asks_for_counts_when_it_is_later() {
    let mut record = after_failures(1, at(0));
    record.attempts.not_before = Some(at(5 * HOUR));
    waits_for_order(next(None, &record, &policy(), at(0)), 5 * HOUR, 5 * HOUR, Due::Missing);
    record.attempts.not_before = Some(at(1));
    waits_for_order(next(None, &record, &policy(), at(0)), 54, 66, Due::Missing);
}

#[test]
fn a_ledger_without_room_postpones_and_is_no_failure() {
    let mut record = record();
    record.attempts.postpone(at(0), "no room".to_owned(), at(3 * HOUR));
    waits_for_order(next(None, &record, &policy(), at(0)), 3 * HOUR, 3 * HOUR, Due::Missing);
    assert_eq!(next(None, &record, &policy(), at(3 * HOUR)), Action::Order(Due::Missing));
    assert_eq!(record.attempts.failures, 0);
}

#[test]
fn in_an_emergency_waits_are_short_but_the_authoritys_wish_to_be_left_alone_holds() {
    let (have, day) = (Some(valid_for(6 * A_DAY)), 5 * A_DAY + A_DAY / 2);
    let mut record = after_failures(20, at(day));
    let fiftieth = 6 * A_DAY / 50;
    let action = next(have, &record, &policy(), at(day));
    waits_for_order(action, day + fiftieth * 9 / 10, day + fiftieth * 11 / 10, Due::Emergency);
    record.attempts.not_before = Some(at(day + 8 * HOUR));
    waits_for_order(next(have, &record, &policy(), at(day)), day + 8 * HOUR, day + 8 * HOUR, Due::Emergency);
}

#[test]
fn a_long_wait_ends_when_the_emergency_begins() {
    let before = 6 * A_DAY * 9 / 10 - 4 * HOUR;
    let record = after_failures(20, at(before));
    let action = next(Some(valid_for(6 * A_DAY)), &record, &policy(), at(before));
    waits_for_order(action, before + 4 * HOUR, before + 4 * HOUR, Due::Emergency);
}

#[test]
fn the_first_attempt_that_was_cut_off_goes_on_at_once_and_the_second_counts() {
    let mut record = record();
    record.attempts.begin(at(0));
    assert_eq!(next(None, &record, &policy(), at(1)), Action::Order(Due::Missing));
    record.attempts.begin(at(1));
    waits_for_order(next(None, &record, &policy(), at(2)), 1 + 54, 1 + 66, Due::Missing);
    record.attempts.begin(at(100));
    waits_for_order(next(None, &record, &policy(), at(101)), 100 + 162, 100 + 198, Due::Missing);
}

#[test]
fn a_restart_amid_failures_goes_on_at_once_too_but_the_failures_still_count_afterwards() {
    let mut record = after_failures(3, at(0));
    record.attempts.begin(at(HOUR));
    assert_eq!(next(None, &record, &policy(), at(HOUR + 1)), Action::Order(Due::Missing));
    record.attempts.begin(at(HOUR + 1));
    let action = next(None, &record, &policy(), at(HOUR + 2));
    waits_for_order(action, HOUR + 1 + 27 * 54, HOUR + 1 + 27 * 66, Due::Missing);
}

#[test]
fn success_forgets_every_failure() {
    let mut record = after_failures(9, at(0));
    record.attempts.succeed();
    assert_eq!(next(None, &record, &policy(), at(0)), Action::Order(Due::Missing));
}

#[test]
fn a_failure_without_a_time_does_not_hold_the_next_attempt_back() {
    let mut record = after_failures(5, at(0));
    record.attempts.failed_at = None;
    assert_eq!(next(None, &record, &policy(), at(0)), Action::Order(Due::Missing));
}

#[test]
fn times_from_a_clock_that_was_years_ahead_block_nothing() {
    let (years, have) = (5 * 365 * A_DAY, Some(valid_for(90 * A_DAY)));
    let mut record = after_failures(5, at(years));
    record.attempts.not_before = Some(at(years + HOUR));
    record.ari = Some(answered(SERVED, (at(59 * A_DAY), at(60 * A_DAY)), None, None, at(years)));
    let policy = Policy { ari: true, ..policy() };
    assert_eq!(next(None, &record, &policy, at(0)), Action::Order(Due::Missing));
    assert_eq!(next(have, &record, &policy, at(0)), Action::AskAri);
    assert_eq!(next(have, &record, &policy, at(60 * A_DAY)), Action::Order(Due::Window));
}

#[test]
fn a_retry_after_of_years_is_believed_for_a_week() {
    let mut record = after_failures(1, at(0));
    record.attempts.not_before = Some(at(2_000 * A_DAY));
    waits_for_order(next(None, &record, &policy(), at(0)), 7 * A_DAY, 7 * A_DAY, Due::Missing);
}

#[test]
fn a_clock_before_the_certificate_waits_for_the_same_moment() {
    let have = Some(valid_for(90 * A_DAY));
    let due = renew_at(valid_for(90 * A_DAY), None, &record(), 7);
    let action = next_action(have, None, &record(), &policy(), 7, at(-3 * A_DAY));
    assert_eq!(action, Action::Wait { until: due, then: Then::Order(Due::Age) });
}

#[test]
fn a_certificate_that_ends_before_it_begins_is_replaced_at_once() {
    let have = Validity { not_before: at(A_DAY), not_after: at(A_DAY) };
    assert_eq!(next(Some(have), &record(), &policy(), at(0)), Action::Order(Due::Emergency));
    let failed = after_failures(4, at(0));
    waits_for_order(next(Some(have), &failed, &policy(), at(0)), 24 * MINUTE, 30 * MINUTE, Due::Emergency);
    assert_eq!(renew_at(have, Some(SERVED), &record(), 7), at(A_DAY));
}

#[test]
fn a_configured_wait_of_zero_is_no_busy_loop() {
    let retry = Retry { first: Span::seconds(0), max: Span::seconds(0) };
    let action = next(None, &after_failures(3, at(0)), &Policy { retry, ari: false }, at(0));
    let Action::Wait { until, .. } = action else { panic!("{action:?} does not wait") };
    assert!(until >= later(at(0), 90_000_000), "{until}");
}

#[test]
fn a_window_that_is_always_over_makes_no_storm_of_orders() {
    let issued = Record { first_issued_at: Some(at(-60)), issued_at: Some(at(0)), ..with_window(-20, -10) };
    let have = Some(valid_for(90 * A_DAY));
    waits_for_order(next(have, &issued, &policy(), at(0)), 1, HOUR, Due::Window);
    assert_eq!(next(have, &issued, &policy(), at(HOUR)), Action::Order(Due::Window));
    let first = Record { first_issued_at: Some(at(0)), ..issued };
    assert_eq!(next(have, &first, &policy(), at(0)), Action::Order(Due::Window), "the first may go at once");
}
