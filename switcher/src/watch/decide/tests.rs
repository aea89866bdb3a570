//! What is done about a digest, told as stories over a clock that the tests set.

use proptest::prelude::*;
use switcher_config::Slot;

use super::*;
use crate::deployment::DeploymentId;
use crate::state::record::FailureRecord;

const REPOSITORY: &str = "ghcr.io/acme/shop";
const MINUTE: i64 = 60;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("a time")
}

fn ground(second: i64, history: &[DeploymentRecord]) -> Ground<'_> {
    Ground {
        now: at(second),
        interval: Duration::from_secs(300),
        jitter: Share::percent(10),
        chance: 0.5,
        asked: false,
        repository: REPOSITORY,
        live: history.iter().find(|record| record.status == Status::Active).map(|it| it.image.as_str()),
        history,
    }
}

fn digest(name: &str) -> String {
    format!("sha256:{name}")
}

fn found(name: &str) -> Found {
    Found::Digest(digest(name))
}

fn record(name: &str, second: i64, status: Status, code: Option<Code>) -> DeploymentRecord {
    let id = DeploymentId::new(at(second));
    let mut record =
        DeploymentRecord::begun(id, name.to_owned(), Slot::Blue, "ops@host".to_owned(), at(second));
    record.image = format!("{REPOSITORY}@{}", digest(name));
    record.status = status;
    record.failure = code.map(|code| FailureRecord {
        code: code.as_str().to_owned(),
        phase: "starting".to_owned(),
        message: "it does not run".to_owned(),
        evidence: Vec::new(),
    });
    record
}

fn memory() -> Memory {
    Memory::new("shop", "ghcr.io/acme/shop:production")
}

/// Deploys a digest, which ends with this code.
fn tried(memory: &mut Memory, name: &str, second: i64, exit: Option<i32>) -> Outcome {
    begin(memory, &digest(name), at(second));
    ended(memory, exit, false, at(second))
}

#[test]
fn a_good_digest_is_deployed_once_until_the_tag_moves() {
    let mut memory = memory();
    assert_eq!(looked(&mut memory, &found("a"), ground(0, &[])), Step::Deploy(digest("a")));
    assert_eq!(tried(&mut memory, "a", 1, Some(0)), Outcome::Deployed);
    for second in [2, 300, 100_000] {
        let asked = Ground { asked: true, ..ground(second, &[]) };
        assert_eq!(looked(&mut memory, &found("a"), asked), Step::Rest, "also when a webhook says so");
    }
    assert_eq!(looked(&mut memory, &found("b"), ground(200_000, &[])), Step::Deploy(digest("b")));
    assert_eq!(tried(&mut memory, "b", 200_001, Some(0)), Outcome::Deployed);
    // Whoever moves the tag back means it.
    let history = [record("a", 1, Status::Superseded, None)];
    assert_eq!(looked(&mut memory, &found("a"), ground(300_000, &history)), Step::Deploy(digest("a")));
}

#[test]
fn a_bad_digest_is_tried_once_and_left_and_other_trouble_is_tried_again() {
    for exit in [1, 4, 5] {
        let mut memory = memory();
        assert_eq!(tried(&mut memory, "a", 0, Some(exit)), Outcome::Left { exit });
        let asked = Ground { asked: true, ..ground(9_999, &[]) };
        assert_eq!(looked(&mut memory, &found("a"), asked), Step::Rest, "{exit}");
        assert_eq!(looked(&mut memory, &found("b"), ground(9_999, &[])), Step::Deploy(digest("b")));
    }
    for exit in [Some(3), Some(6), Some(130), None, Some(7), Some(10)] {
        let mut memory = memory();
        tried(&mut memory, "a", 0, exit);
        assert_eq!(memory.next_look, Some(at(10)), "{exit:?}");
        assert_eq!(looked(&mut memory, &found("a"), ground(5, &[])), Step::Rest, "{exit:?}");
        assert_eq!(memory.next_look, Some(at(10)), "a look meanwhile puts nothing off");
        assert_eq!(looked(&mut memory, &found("a"), ground(10, &[])), Step::Deploy(digest("a")), "{exit:?}");
        let asked = Ground { asked: true, ..ground(5, &[]) };
        assert_eq!(looked(&mut memory, &found("a"), asked), Step::Deploy(digest("a")), "who asks waits not");
    }
}

#[test]
fn the_waits_double_up_to_an_hour_and_begin_anew_with_a_new_digest() {
    let mut memory = memory();
    let mut waits = Vec::new();
    for _ in 0..12 {
        tried(&mut memory, "a", 0, Some(6));
        let again = memory.attempt.as_ref().and_then(|attempt| attempt.again_at).expect("it is tried again");
        waits.push(again.as_second() - at(0).as_second());
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]);
    tried(&mut memory, "b", 0, Some(6));
    assert_eq!(memory.next_look, Some(at(10)));
}

#[test]
fn what_the_history_knows_is_not_tried_again_at_the_first_start() {
    for (status, code, outcome) in [
        (Status::Active, None, Some(Outcome::Deployed)),
        (Status::Superseded, None, None),
        (Status::RolledBack, None, Some(Outcome::Deployed)),
        (Status::RolledBack, Some(Code::BakeWorse), Some(Outcome::Left { exit: 4 })),
        (Status::Failed, Some(Code::MigrationFailed), Some(Outcome::Left { exit: 5 })),
        (Status::Failed, Some(Code::InterruptedDeploy), None),
        (Status::Failed, Some(Code::ImageUnavailable), None),
        (Status::Deploying, None, None),
    ] {
        let history = [record("other", 5, Status::Failed, None), record("a", 1, status, code)];
        let mut memory = memory();
        let step = looked(&mut memory, &found("a"), ground(10, &history));
        let expected = outcome.map_or_else(|| Step::Deploy(digest("a")), Step::Settled);
        assert_eq!(step, expected, "{status:?} {code:?}");
    }
    // The same digest in another repository is another image.
    let mut elsewhere = record("a", 1, Status::Active, None);
    elsewhere.image = elsewhere.image.replace("shop", "blog");
    let step = looked(&mut memory(), &found("a"), ground(10, &[elsewhere]));
    assert_eq!(step, Step::Deploy(digest("a")));
}

#[test]
fn a_tag_that_is_moved_back_is_deployed_again_whatever_the_history_says_of_the_digest() {
    // A digest that is not live; what the history says of it; whether it is left when something else was tried last.
    for (status, code, left) in [
        (Status::Superseded, None, false),
        (Status::Active, None, false),
        (Status::Failed, Some(Code::StartFailed), false),
        (Status::RolledBack, Some(Code::BakeWorse), false),
        (Status::RolledBack, None, true),
    ] {
        for (second, left) in [(1, false), (30, left)] {
            let mut memory = memory();
            tried(&mut memory, "a", 0, Some(0));
            tried(&mut memory, "b", 20, Some(0));
            let history = [record("b", 21, Status::Active, None), record("a", second, status, code)];
            let step = looked(&mut memory, &found("a"), ground(40, &history));
            let expected = if left { Step::Settled(Outcome::Deployed) } else { Step::Deploy(digest("a")) };
            assert_eq!(step, expected, "{status:?} {code:?} at {second}");
        }
    }
    let mut memory = memory();
    tried(&mut memory, "b", 20, Some(0));
    let history = [record("a", 1, Status::Active, None)];
    let step = looked(&mut memory, &found("a"), ground(40, &history));
    assert_eq!(step, Step::Settled(Outcome::Deployed), "it is live");
}

#[test]
fn a_deployment_that_left_its_version_live_is_good_whatever_its_exit_code() {
    for exit in [Some(0), Some(4), Some(7), None] {
        let mut memory = memory();
        begin(&mut memory, &digest("a"), at(0));
        assert_eq!(ended(&mut memory, exit, true, at(1)), Outcome::Deployed, "{exit:?}");
        assert_eq!(looked(&mut memory, &found("a"), ground(2, &[])), Step::Rest, "{exit:?}");
    }
}

#[test]
fn moments_further_ahead_than_any_wait_count_as_now() {
    let hour = 60 * MINUTE;
    // The interval is five minutes here, and then ten hours.
    for (interval, ahead, kept) in [
        (300, -1, [true; 4]),
        (300, hour, [true; 4]),
        (300, hour + 1, [false; 4]),
        (36_000, 11 * hour, [false, true, false, false]),
        (36_000, 21 * hour, [false; 4]),
    ] {
        let moment = Some(at(ahead));
        let mut memory = Memory {
            not_before: moment,
            next_look: moment,
            prune_again_at: moment,
            pruned_at: moment,
            ..memory()
        };
        settle(&mut memory, Duration::from_secs(interval), at(0));
        let Memory { not_before, next_look, prune_again_at, pruned_at, .. } = &memory;
        let found = [not_before, next_look, prune_again_at, pruned_at].map(|it| *it == moment);
        assert_eq!(found, kept, "{interval} {ahead}");
        assert!(kept[3] || prune_at(&memory, None, at(0)) == at(0), "{interval} {ahead}");
    }
}

#[test]
fn a_watch_that_was_killed_learns_from_the_history_how_it_ended() {
    for (status, code, expected) in [
        (Status::Active, None, Step::Settled(Outcome::Deployed)),
        (Status::Failed, Some(Code::StartFailed), Step::Settled(Outcome::Left { exit: 4 })),
        (Status::Failed, Some(Code::InterruptedDeploy), Step::Deploy(digest("a"))),
    ] {
        let mut memory = memory();
        begin(&mut memory, &digest("a"), at(10));
        let history = [record("a", 11, status, code)];
        assert_eq!(looked(&mut memory, &found("a"), ground(20, &history)), expected, "{status:?}");
        // What happened to the digest long before it was tried now says nothing.
        begin(&mut memory, &digest("b"), at(100));
        let history = [record("b", 11, Status::Superseded, None)];
        assert_eq!(looked(&mut memory, &found("b"), ground(120, &history)), Step::Deploy(digest("b")));
    }
}

#[test]
fn a_rollback_by_a_person_brings_no_digest_back() {
    let mut memory = memory();
    tried(&mut memory, "a", 0, Some(0));
    let history = [record("a", 0, Status::RolledBack, None)];
    assert_eq!(looked(&mut memory, &found("a"), ground(300, &history)), Step::Rest);
    // Nor one that a person deployed and took back between two looks.
    let history = [record("b", 400, Status::RolledBack, None)];
    assert_eq!(looked(&mut memory, &found("b"), ground(600, &history)), Step::Settled(Outcome::Deployed));
}

#[test]
fn a_registry_that_is_down_is_asked_again_and_said_once() {
    let mut memory = memory();
    let down = Found::Nothing("it is down".to_owned());
    let mut told = Vec::new();
    for second in 0..8 {
        let step = looked(&mut memory, &down, ground(second, &[]));
        let wait = memory.next_look.map(|next| next.as_second() - at(second).as_second());
        told.push((step, wait.unwrap_or_default()));
    }
    let waits: Vec<i64> = told.iter().map(|(_, wait)| *wait).collect();
    assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300], "soon, and then at the interval");
    let news: Vec<bool> = told.iter().map(|(step, _)| *step == Step::Trouble(true)).collect();
    assert_eq!(news, [true, false, false, false, false, false, false, false]);
    looked(&mut memory, &found("a"), ground(9, &[]));
    assert_eq!(memory.trouble, None);
    assert_eq!(looked(&mut memory, &down, ground(10, &[])), Step::Trouble(true), "it is news again");
}

#[test]
fn a_registry_that_wants_fewer_requests_is_left_alone_whoever_asks() {
    let mut memory = memory();
    let limited = |wait| Found::Limited { message: "too many".to_owned(), wait };
    looked(&mut memory, &limited(Some(Duration::from_secs(900))), ground(0, &[]));
    assert_eq!((memory.next_look, memory.not_before), (Some(at(900)), Some(at(900))));
    looked(&mut memory, &limited(Some(Duration::from_secs(99_999))), ground(0, &[]));
    assert_eq!(memory.not_before, Some(at(3600)), "an hour is the most");
    looked(&mut memory, &found("a"), ground(3600, &[]));
    assert_eq!(memory.not_before, None);
}

#[test]
fn prune_runs_once_a_day_and_when_the_warm_slots_time_is_over() {
    let mut memory = memory();
    assert_eq!(prune_at(&memory, None, at(5)), at(5), "at the first start");
    pruned(&mut memory, true, at(5));
    assert_eq!(prune_at(&memory, None, at(6)), at(5 + 86_400));
    assert_eq!(prune_at(&memory, Some(at(30 * MINUTE)), at(6)), at(30 * MINUTE));
    pruned(&mut memory, false, at(30 * MINUTE));
    assert_eq!(prune_at(&memory, Some(at(30 * MINUTE)), at(31 * MINUTE)), at(40 * MINUTE), "it failed");
    pruned(&mut memory, true, at(40 * MINUTE));
    assert_eq!(prune_at(&memory, Some(at(30 * MINUTE)), at(41 * MINUTE)), at(40 * MINUTE + 86_400));
}

#[test]
fn trouble_of_prune_is_told_once_until_it_changes() {
    let (down, elsewhere, killed) = (Some(Some(6)), Some(Some(3)), Some(None));
    for (before, now, said) in [
        (None, None, None),
        (None, down, Some("failed (exit code 6)")),
        (down, down, None),
        (down, elsewhere, Some("failed (exit code 3)")),
        (elsewhere, killed, Some("was cut short")),
        (killed, killed, None),
        (killed, None, Some("ends well again")),
    ] {
        let words = prune_words(before, now);
        assert_eq!(words.is_some(), said.is_some(), "{before:?} {now:?}: {words:?}");
        assert!(words.unwrap_or_default().contains(said.unwrap_or_default()), "{before:?} {now:?}");
    }
}

proptest! {
    /// However pushes, exit codes and hooks come, a digest that ended is not deployed again before the tag has moved.
    #[test]
    fn nothing_that_ended_is_deployed_again_without_a_change(
        story in prop::collection::vec((0_u8..3, prop::option::of(prop::sample::select(vec![0, 1, 3, 4, 5, 6, 7, 10, 130])), any::<bool>()), 1..40),
    ) {
        let mut memory = memory();
        let mut over: Option<u8> = None;
        for (step, (name, exit, asked)) in (0_i64..).zip(story) {
            if over.is_some_and(|over| over != name) {
                over = None;
            }
            let ground = Ground { asked, chance: 1.0, ..ground(step * MINUTE, &[]) };
            if let Step::Deploy(digest) = looked(&mut memory, &found(&name.to_string()), ground) {
                prop_assert_eq!(over, None);
                begin(&mut memory, &digest, ground.now);
                match ended(&mut memory, exit, false, ground.now) {
                    Outcome::Deployed | Outcome::Left { .. } => over = Some(name),
                    Outcome::Trying | Outcome::Later { .. } | Outcome::Person { .. } => {}
                }
            }
            let next = memory.next_look.expect("there is always a next look");
            prop_assert!(next > ground.now && next.duration_since(ground.now) <= SignedDuration::from_hours(1));
        }
    }
}
