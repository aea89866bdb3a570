//! Whole lives of a certificate with a made-up authority and a made-up clock: what holds for every one of them.

use std::time::Duration;

use proptest::prelude::*;
use switcher_config::Span;
use switcher_config::settings::Directory;

use super::moment::SECOND;
use super::tests::{A_DAY, HOUR, SERVED, at, policy, record, valid_for};
use super::*;
use crate::ledger::{Entry, Ledger, Limits, What};
use crate::record::{Ari, Attempts};

/// A lineage and its clock.
struct World {
    have: Option<Validity>,
    record: Record,
    policy: Policy,
    seed: u64,
    now: Timestamp,
}

impl World {
    fn new(have: Option<Validity>, seed: u64) -> Self {
        Self { have, record: record(), policy: policy(), seed, now: at(0) }
    }

    fn next(&self) -> Action {
        next_action(self.have, Some(SERVED), &self.record, &self.policy, self.seed, self.now)
    }

    /// Lives on until then; `attempt` is what becomes of an order, `answer` of a question. The moments of the
    /// orders come back.
    fn live(
        &mut self,
        until: Timestamp,
        mut attempt: impl FnMut(&mut Self),
        mut answer: impl FnMut(&Self) -> Ari,
    ) -> Vec<Timestamp> {
        let mut orders = Vec::new();
        for _ in 0..300_000 {
            if self.now >= until {
                return orders;
            }
            match self.next() {
                Action::Order(_) => {
                    orders.push(self.now);
                    attempt(self);
                }
                Action::AskAri => self.record.ari = Some(answer(self)),
                Action::Wait { until, .. } => {
                    assert!(until > self.now, "a wait goes forward");
                    self.now = until;
                }
            }
        }
        panic!("no progress: {:?} at {} with {:?}", self.next(), self.now, self.record);
    }

    fn fail(&mut self) {
        self.record.attempts.begin(self.now);
        self.now = later(self.now, SECOND);
        self.record.attempts.fail(self.now, "no".to_owned(), None);
    }
}

fn silent(world: &World) -> Ari {
    unanswered(SERVED, &world.record, world.now)
}

/// The most orders within any 24 hours.
fn most_in_a_day(orders: &[Timestamp]) -> usize {
    let within =
        |from: &Timestamp| orders.iter().filter(|at| *at >= from && **at < later(*from, DAY)).count();
    orders.iter().map(within).max().unwrap_or(0)
}

fn any_moment() -> impl Strategy<Value = Timestamp> {
    let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    prop_oneof![
        4 => (-200 * A_DAY..200 * A_DAY).prop_map(at),
        1 => (first..=last).prop_map(|second| Timestamp::from_second(second).expect("in range")),
        1 => Just(Timestamp::MIN),
        1 => Just(Timestamp::MAX),
    ]
}

fn any_count() -> impl Strategy<Value = u32> {
    prop_oneof![0..4_u32, 0..60_u32, Just(u32::MAX)]
}

prop_compose! {
    fn any_attempts()(
        failures in any_count(),
        failed_at in proptest::option::of(any_moment()),
        not_before in proptest::option::of(any_moment()),
        interrupted in any_count(),
    ) -> Attempts {
        Attempts { failures, failed_at, problem: None, not_before, interrupted }
    }
}

prop_compose! {
    fn any_ari()(
        ours in any::<bool>(),
        start in any_moment(),
        end in any_moment(),
        ask_again_at in any_moment(),
    ) -> Ari {
        let certificate = if ours { SERVED } else { "another" }.to_owned();
        Ari { certificate, start, end, explanation: None, ask_again_at }
    }
}

prop_compose! {
    fn any_policy()(first in any_span(), max in any_span(), ari in any::<bool>()) -> Policy {
        Policy { retry: Retry { first, max }, ari }
    }
}

fn any_span() -> impl Strategy<Value = Span> {
    prop_oneof![
        (0..100_000_u64).prop_map(Span::seconds),
        Just(Span(Duration::MAX)),
        Just(Span(Duration::ZERO))
    ]
}

/// From seconds to years.
fn any_lifetime() -> impl Strategy<Value = i64> {
    prop_oneof![1..600_i64, 600..10 * A_DAY, 10 * A_DAY..400 * A_DAY]
}

fn any_validity() -> impl Strategy<Value = Validity> {
    (any_moment(), any_moment()).prop_map(|(not_before, not_after)| Validity { not_before, not_after })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn there_is_an_answer_to_everything_and_a_wait_ends_with_what_it_said(
        have in proptest::option::of(any_validity()),
        attempts in any_attempts(),
        ari in proptest::option::of(any_ari()),
        policy in any_policy(),
        seed in any::<u64>(),
        now in any_moment(),
    ) {
        let record = Record { attempts, ari, ..record() };
        let ask = |now| next_action(have, Some(SERVED), &record, &policy, seed, now);
        let _: Option<Timestamp> = have.map(|have| renew_at(have, Some(SERVED), &record, seed));
        if let Action::Wait { until, then } = ask(now) {
            prop_assert!(until > now);
            let found = ask(until);
            let kept = match then {
                Then::Order(why) => found == Action::Order(why),
                Then::AskAri => matches!(found, Action::AskAri),
            };
            prop_assert!(kept || !steady(&record, &policy, now), "{then:?} became {found:?}");
        }
    }

    #[test]
    fn nothing_waits_beyond_the_end_when_nothing_failed(
        lifetime in any_lifetime(),
        ari in proptest::option::of(any_ari()),
        offer in any::<bool>(),
        seed in any::<u64>(),
        age in -1.0..2.0_f64,
    ) {
        let have = valid_for(lifetime);
        let now = later(at(0), (age * lifetime as f64 * 1e9) as i128);
        let record = Record { ari, ..record() };
        let policy = Policy { ari: offer, ..policy() };
        if let Action::Wait { until, .. } = next_action(Some(have), Some(SERVED), &record, &policy, seed, now) {
            prop_assert!(until <= have.emergency_at() && until < have.not_after, "{until}");
        }
    }

    #[test]
    fn a_life_without_failures_ends_with_an_order_before_the_end(
        lifetime in any_lifetime(),
        answers in proptest::collection::vec((any_moment(), any_moment()), 1..20),
        pause in 0..100_000_u64,
        seed in any::<u64>(),
    ) {
        let mut world = World::new(Some(valid_for(lifetime)), seed);
        world.policy.ari = true;
        let mut answers = answers.into_iter().cycle();
        // Each question costs a wait; nothing else does but the last one.
        let most = 2 * (lifetime / i64::try_from(pause.clamp(60, 86_400)).expect("small")) + 4;
        for _ in 0..most {
            match world.next() {
                Action::Order(_) => break,
                Action::Wait { until, .. } => world.now = until,
                Action::AskAri => {
                    let window = answers.next().expect("endless");
                    let pause = Some(Duration::from_secs(pause));
                    world.record.ari = Some(answered(SERVED, window, None, pause, world.now));
                }
            }
        }
        prop_assert!(matches!(world.next(), Action::Order(_)), "{:?} after {most} steps", world.next());
        prop_assert!(world.now < valid_for(lifetime).not_after);
    }

    #[test]
    fn another_failure_never_waits_less(
        have in proptest::option::of(any_validity()),
        attempts in any_attempts(),
        policy in any_policy(),
        seed in any::<u64>(),
    ) {
        let now = attempts.failed_at.unwrap_or(at(0));
        let wait = |failures| {
            let attempts = Attempts { failures, ..attempts.clone() };
            retry_at(&Record { attempts, ..record() }, &policy, have, seed, now)
        };
        prop_assert!(wait(attempts.failures) <= wait(attempts.failures.saturating_add(1)));
    }

    #[test]
    fn no_clock_and_no_authority_blocks_for_longer_than_a_week_and_two_waits(
        have in proptest::option::of(any_validity()),
        attempts in any_attempts(),
        seed in any::<u64>(),
        now in -10 * A_DAY..10 * A_DAY,
    ) {
        let record = Record { attempts, ..record() };
        if let Some(until) = retry_at(&record, &policy(), have, seed, at(now)) {
            prop_assert!(until <= at(now + 8 * A_DAY), "{until}");
        }
    }

    #[test]
    fn an_authority_that_always_fails_is_left_in_peace(
        lifetime in prop_oneof![Just(None), (6 * A_DAY..400 * A_DAY).prop_map(Some)],
        seed in any::<u64>(),
    ) {
        let have = lifetime.map(valid_for);
        let end = lifetime.unwrap_or(0);
        let orders = World::new(have, seed).live(at(end + 60 * A_DAY), World::fail, silent);
        prop_assert!(most_in_a_day(&orders) <= 13, "{} in a day", most_in_a_day(&orders));
        let later_on: Vec<Timestamp> = orders.into_iter().filter(|order| *order > at(end + 30 * A_DAY)).collect();
        prop_assert!(most_in_a_day(&later_on) <= 3, "{} in a day after a month", most_in_a_day(&later_on));
    }

    #[test]
    fn a_private_authority_that_always_fails_costs_little_too(lifetime in 1..6 * A_DAY, seed in any::<u64>()) {
        let orders = World::new(Some(valid_for(lifetime)), seed).live(at(10 * A_DAY), World::fail, silent);
        prop_assert!(most_in_a_day(&orders) <= 120, "{} in a day", most_in_a_day(&orders));
    }

    #[test]
    fn the_last_tenth_sees_more_attempts_and_not_fewer(lifetime in 600..400 * A_DAY, seed in any::<u64>()) {
        let have = valid_for(lifetime);
        let orders = World::new(Some(have), seed).live(have.not_after, World::fail, silent);
        let last = orders.iter().filter(|order| **order >= have.emergency_at()).count();
        prop_assert!(last >= 4, "{last} attempts in the last tenth");
    }
}

proptest! {
    // Each case is a whole day in steps of a second.
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restart_loop_is_slowed_down(seed in any::<u64>(), failures in 0..5_u32) {
        prop_assert!(restart_loop(seed, failures, |attempts, now| attempts.begin(now)) <= 10);
    }
}

/// Whether nothing but time decides: no time in the record comes from a clock that was set back.
fn steady(record: &Record, policy: &Policy, now: Timestamp) -> bool {
    let ahead = |moment: Option<Timestamp>| moment.is_some_and(|moment| moment > now);
    let attempts = &record.attempts;
    let believable = attempts.not_before.is_none_or(|until| until <= later(now, DAY));
    !ahead(attempts.failed_at)
        && believable
        && (!policy.ari || !ahead(record.ari.as_ref().map(|a| a.ask_again_at)))
}

/// A process that is killed during every attempt and comes back each second, for a day; `note` is what it
/// manages to save before. The orders it makes.
fn restart_loop(seed: u64, failures: u32, note: impl Fn(&mut Attempts, Timestamp)) -> usize {
    let mut world = World::new(None, seed);
    for _ in 0..failures {
        world.record.attempts.fail(world.now, "no".to_owned(), None);
    }
    let mut orders = 0;
    while world.now < at(A_DAY) {
        world.now = later(world.now, SECOND);
        if matches!(world.next(), Action::Order(_)) {
            orders += 1;
            note(&mut world.record.attempts, world.now);
        }
    }
    orders
}

#[test]
fn without_the_note_before_an_attempt_a_restart_loop_would_order_each_second() {
    assert_eq!(restart_loop(1, 0, |_, _| {}), 86_400);
}

#[test]
fn without_the_note_of_a_failure_an_authority_would_not_be_left_in_peace() {
    let forgetful = |world: &mut World| world.now = later(world.now, SECOND);
    let orders = World::new(None, 1).live(at(HOUR / 3), forgetful, silent);
    assert!(most_in_a_day(&orders) > 1_000, "{}", most_in_a_day(&orders));
}

/// Every new certificate is said to be due since an hour.
fn at_once(world: &World) -> Ari {
    answered(SERVED, (later(world.now, -3600 * SECOND), world.now), None, None, world.now)
}

#[test]
fn an_authority_that_wants_every_new_certificate_renewed_at_once_is_stopped_by_the_ledger() {
    let (ca, limits) = (Directory::LetsEncrypt.url(), Limits::of(&Directory::LetsEncrypt));
    let (mut ledger, mut issued) = (Ledger::default(), Vec::new());
    let mut world = World::new(Some(valid_for(90 * A_DAY)), 3);
    world.policy.ari = true;
    let obey = |world: &mut World| {
        let names = world.record.names.clone();
        if let Err(full) = ledger.room(ca, &limits, &names, true, world.now) {
            return world.record.attempts.postpone(world.now, full.to_string(), full.until);
        }
        world.record.attempts.begin(world.now);
        world.now = later(world.now, SECOND);
        let what = What::Issued { replaces: true };
        ledger.note(Entry { ca: ca.to_owned(), at: world.now, names, what });
        world.record.attempts.succeed();
        world.record.ari = None;
        issued.push(world.now);
        let not_after = later(world.now, 90 * DAY);
        world.have = Some(Validity { not_before: world.now, not_after });
    };
    world.live(at(5 * A_DAY), obey, at_once);
    assert_eq!(most_in_a_day(&issued), 10);
}
