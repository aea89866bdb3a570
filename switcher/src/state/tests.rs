//! The store, the lease and the journal, on a real folder.

mod processes;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;
use switcher_config::{Slot, Span};
use tempfile::TempDir;

use super::record::{DeploymentRecord, HealthStatus, State, Status};
use super::*;
use crate::deployment::DeploymentId;

const LENGTH: Span = Span::seconds(120);

fn open(folder: &Path) -> Store {
    let app = "shop".parse().expect("a name");
    Store::open(folder, "production", &app, true).expect("a store").allow_temporary(true)
}

fn home() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    (folder, store)
}

fn owner(name: &str) -> Owner {
    Owner::here("deploy", Some(name))
}

fn taken(store: &Store) -> Lease {
    store.try_acquire(&owner("ada"), 0, LENGTH).expect("the lease")
}

fn force(store: &Store) {
    let holder = store.read().expect("read").lock.lock_id;
    let released = store.release(holder.as_deref()).expect("released");
    assert!(!matches!(released, Release::Held(_)));
}

fn record(second: i64) -> DeploymentRecord {
    let at = Timestamp::from_second(1_800_000_000 + second).expect("a time");
    DeploymentRecord {
        image: format!("ghcr.io/acme/shop@sha256:{}", "a".repeat(64)),
        git_commit: "c0ffee".to_owned(),
        health_status: HealthStatus::Healthy,
        status: Status::Active,
        migrations_run: 3,
        platform: "linux/amd64".to_owned(),
        generation: Some(7),
        seconds: Some(12.5),
        ..DeploymentRecord::begun(
            DeploymentId::new(at),
            format!("v1.{second}"),
            Slot::Blue,
            "ada@build".to_owned(),
            at,
        )
    }
}

fn put(path: &Path, text: &str) {
    fs::File::create(path).expect("a file").write_all(text.as_bytes()).expect("written");
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

#[test]
fn reading_what_was_never_written_finds_nothing_and_makes_nothing() {
    let (folder, store) = home();
    assert_eq!(store.read().expect("read"), State::new("production", &"shop".parse().expect("a name")));
    assert_eq!(store.history().expect("read"), []);
    assert_eq!(store.journal::<Value>().expect("read"), None);
    assert_eq!(fs::read_dir(folder.path()).expect("a listing").count(), 0);
}

#[test]
fn the_lease_names_its_owner_and_keeps_everybody_else_out() {
    let (_folder, store) = home();
    let lease = taken(&store);
    let lock = json(&store.folder().join("state.json"))["lock"].clone();
    assert_eq!(lock["locked"], true);
    assert_eq!(lock["lock_id"], lease.lock_id());
    assert_eq!(lock["pid"], std::process::id());
    assert_eq!(lock["fence"], 1);
    assert_eq!(lock["operation"], "deploy");
    assert!(lock["locked_by"].as_str().expect("text").starts_with("ada@"));
    let refused = open(store.folder().parent().expect("a folder")).try_acquire(&owner("bob"), 9, LENGTH);
    let AcquireError::Held(holder) = refused.expect_err("held") else { panic!("not held") };
    assert_eq!(holder.lock_id.as_deref(), Some(lease.lock_id()));
    lease.release().expect("released");
    let after = store.read().expect("read").lock;
    assert_eq!(after, record::LockRecord::free(1));
    assert_eq!(fs::read_dir(store.folder().join("leases")).expect("a listing").count(), 0);
}

#[test]
fn every_holding_has_a_higher_number_also_above_the_proxy_s() {
    let (_folder, store) = home();
    let numbers = [0, 0, 40, 0]
        .map(|floor| store.try_acquire(&owner("ada"), floor, LENGTH).expect("the lease").number());
    assert_eq!(numbers, [1, 2, 41, 42]);
    let lease = taken(&store);
    assert_eq!(lease.raise(60).expect("raised"), 61);
    assert_eq!(store.read().expect("read").lock.fence, 61);
}

#[test]
fn a_lease_that_is_dropped_is_free() {
    let (_folder, store) = home();
    drop(taken(&store));
    assert!(!store.read().expect("read").lock.locked);
    drop(taken(&store));
}

#[test]
fn a_lease_is_never_longer_than_half_an_hour() {
    let (_folder, store) = home();
    let _lease = store.try_acquire(&owner("ada"), 0, Span::seconds(86_400)).expect("the lease");
    let lock = store.read().expect("read").lock;
    let length = lock.lock_expires_at.expect("an end").duration_since(lock.locked_at.expect("a time"));
    assert_eq!(length, LONGEST);
}

#[test]
fn nobody_else_can_look_into_the_folder() {
    let (_folder, store) = home();
    let lease = taken(&store);
    lease.journal().append(&1).expect("appended");
    lease.record(&record(1)).expect("recorded");
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    for name in ["", "leases"] {
        assert_eq!(mode(&store.folder().join(name)), 0o700, "{name}");
    }
    for name in ["state.json", "state.json.last-good", "journal.jsonl", "history.jsonl", ".guard"] {
        assert_eq!(mode(&store.folder().join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&store.folder().join("leases").join(lease.lock_id())), 0o600);
}

#[test]
fn a_change_is_on_disk_and_leaves_the_lease_and_the_place_alone() {
    let (_folder, store) = home();
    let lease = taken(&store);
    let record = record(1);
    lease
        .update(|state| {
            state.current_deployment = Some(record.clone());
            state.remember(&record);
            state.app = "blog".to_owned();
            state.lock = record::LockRecord::free(0);
            state.lock.deployment_id = Some(record.id.clone());
        })
        .expect("updated");
    let state = store.read().expect("read");
    assert_eq!(state.current_deployment, Some(record.clone()));
    assert_eq!(state.deployment_history, std::slice::from_ref(&record));
    assert_eq!(state.app, "shop");
    assert_eq!(state.lock.lock_id.as_deref(), Some(lease.lock_id()));
    assert_eq!(state.lock.deployment_id, Some(record.id));
}

#[test]
fn a_damaged_file_is_refused_with_its_good_copy_and_never_taken_for_an_empty_one() {
    let (folder, store) = home();
    drop(taken(&store));
    let file = store.folder().join("state.json");
    let good = fs::read_to_string(&file).expect("text");
    let with = |text: &str, by: &str| good.replace(text, by);
    for (damage, why) in [
        (String::new(), "EOF"),
        (good[..good.len() / 2].to_owned(), "EOF"),
        (with("\"fence\": 1", "\"fence\": \"1\""), "/lock/fence"),
        (with("\"schema\": 1,", "\"schema\": 1, \"mine\": true,"), "mine"),
        (with("\"environment\"", "\"enviroment\""), "\"environment\" is a required"),
    ] {
        put(&file, &damage);
        let error = open(folder.path()).read().expect_err(why);
        let StateError::Damaged { why: told, last_good, .. } = &error else { panic!("{error}") };
        assert!(told.contains(why), "{told}");
        assert_eq!(last_good.as_deref(), Some(store.folder().join("state.json.last-good").as_path()));
        let refused = store.try_acquire(&owner("ada"), 0, LENGTH).expect_err("refused");
        assert!(matches!(refused, AcquireError::State(StateError::Damaged { .. })), "{refused}");
        assert_eq!(fs::read_to_string(&file).expect("text"), damage, "it is left as it is");
    }
    fs::copy(store.folder().join("state.json.last-good"), &file).expect("the way out");
    assert_eq!(taken(&store).number(), 2);
}

#[test]
fn a_file_that_is_gone_newer_or_about_something_else_is_refused() {
    let (folder, store) = home();
    drop(taken(&store));
    let file = store.folder().join("state.json");
    let good = fs::read_to_string(&file).expect("text");
    fs::remove_file(&file).expect("removed");
    assert!(matches!(open(folder.path()).read(), Err(StateError::Gone { .. })));
    put(&file, &good.replace("\"schema\": 1", "\"schema\": 2"));
    assert!(matches!(open(folder.path()).read(), Err(StateError::Newer { schema: 2, .. })));
    put(&file, &good.replace("\"production\"", "\"staging\""));
    assert!(matches!(open(folder.path()).read(), Err(StateError::Foreign { .. })));
}

#[test]
fn a_second_application_gets_a_folder_of_its_own_and_moves_nobody() {
    let (folder, shop) = home();
    drop(taken(&shop));
    let blog = "blog".parse().expect("a name");
    let second =
        Store::open(folder.path(), "production", &blog, false).expect("a store").allow_temporary(true);
    assert_eq!(second.folder(), shop.folder().join("apps/blog"));
    let both = (taken(&shop), taken(&second));
    assert_eq!((both.0.number(), both.1.number()), (2, 1));
    let again = Store::open(folder.path(), "production", &blog, true).expect("a store");
    assert_eq!(again.folder(), second.folder(), "also when it is the only one left");
    assert_eq!(open(folder.path()).folder(), shop.folder());
    let elsewhere = Store::open(folder.path(), "../production", &blog, true);
    assert!(matches!(elsewhere, Err(StateError::Environment(_))));
}

#[test]
fn a_temporary_folder_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).allow_temporary(false);
    let refused = store.try_acquire(&owner("ada"), 0, LENGTH).expect_err("refused");
    assert!(matches!(refused, AcquireError::State(StateError::Temporary { .. })), "{refused}");
    assert!(store.release(Some("lock_1")).is_err());
    assert_eq!(fs::read_dir(folder.path()).expect("a listing").count(), 0);
}

#[test]
fn what_the_system_refuses_names_the_step_and_the_place() {
    let store = open(Path::new("/proc/nowhere/deployments"));
    let error = store.try_acquire(&owner("ada"), 0, LENGTH).expect_err("refused").to_string();
    assert!(error.starts_with("cannot create the folder /proc/nowhere: "), "{error}");
}

#[test]
fn only_force_takes_a_lease_from_the_living() {
    let (_folder, store) = home();
    assert_eq!(store.release(None).expect("asked"), Release::Free);
    let lease = taken(&store);
    assert!(matches!(store.release(None).expect("asked"), Release::Held(_)));
    assert!(!lease.is_lost());
    let another = store.release(Some("lock_00000000000000000000000000")).expect("asked");
    assert!(matches!(another, Release::Held(_)), "force is for the holding that was looked at");
    let Release::Released { verdict, number, .. } = store.release(Some(lease.lock_id())).expect("released")
    else {
        panic!("not released")
    };
    assert!(matches!(verdict, Verdict::Held(holder) if holder.lock_id.as_deref() == Some(lease.lock_id())));
    assert_eq!(number, 2, "above the old owner's");
    assert_eq!(taken(&store).number(), 3);
}

#[test]
fn an_owner_that_lost_its_lease_writes_nothing_and_takes_nothing_back() {
    let (_folder, store) = home();
    let stale = taken(&store);
    force(&store);
    let fresh = store.try_acquire(&owner("bob"), 0, LENGTH).expect("the lease");
    fresh.journal().append(&"fresh").expect("appended");
    let before = store.read().expect("read");
    let lost = |outcome: Result<(), LeaseError>| {
        let Err(LeaseError::Lost(now)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(now.lock_id.as_deref(), Some(fresh.lock_id()));
    };
    let journal = stale.journal();
    lost(stale.update(|state| state.environment = "mine".to_owned()));
    assert!(stale.is_lost());
    lost(journal.append(&"stale"));
    lost(journal.archive(&record(1).id));
    lost(stale.record(&record(1)));
    lost(stale.release());
    assert_eq!(store.read().expect("read"), before);
    assert_eq!(store.journal::<String>().expect("read"), Some(vec!["fresh".to_owned()]));
    assert_eq!(store.history().expect("read"), []);
    fresh.update(|_| {}).expect("still held");
}

#[tokio::test]
async fn the_heartbeat_renews_the_lease_and_notices_its_loss() {
    let (_folder, store) = home();
    let lease = store.try_acquire(&owner("ada"), 0, Span::seconds(1)).expect("the lease");
    let first = store.read().expect("read").lock.lock_expires_at;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while store.read().expect("read").lock.lock_expires_at == first {
        assert!(tokio::time::Instant::now() < deadline, "no sign of life");
        tokio::task::yield_now().await;
    }
    assert!(!lease.is_lost());
    force(&store);
    let now = tokio::time::timeout(Duration::from_secs(20), lease.until_lost()).await.expect("noticed");
    assert!(!now.locked);
}

#[tokio::test]
async fn a_heartbeat_that_cannot_write_gives_the_lease_up_when_its_time_is_over() {
    let (folder, store) = home();
    let lease = store.try_acquire(&owner("ada"), 0, Span::seconds(1)).expect("the lease");
    fs::rename(store.folder(), folder.path().join("away")).expect("taken away");
    tokio::time::timeout(Duration::from_secs(20), lease.until_lost()).await.expect("noticed");
    assert!(matches!(lease.update(|_| {}), Err(LeaseError::Lost(_))));
}

#[tokio::test]
async fn who_waits_gets_the_lease_when_it_is_given_back() {
    let (_folder, store) = home();
    let mut held = Some(taken(&store));
    let mut told = Vec::new();
    let lease = store
        .acquire(&owner("bob"), 0, LENGTH, Some(Span::seconds(60)), &mut |holder| {
            told.push(holder.locked_by.clone().unwrap_or_default());
            drop(held.take());
        })
        .await
        .expect("the lease");
    assert_eq!(lease.number(), 2);
    assert_eq!(lease.previous(), None, "it was given back");
    assert!(told.len() == 1 && told[0].starts_with("ada@"), "{told:?}");
    let refused = store.acquire(&owner("eve"), 0, LENGTH, Some(Span::millis(1)), &mut |_| {}).await;
    assert!(matches!(refused, Err(AcquireError::Held(_))));
}

#[test]
fn the_journal_goes_to_its_deployment_and_never_over_another() {
    let (_folder, store) = home();
    let lease = taken(&store);
    let (journal, id) = (lease.journal(), record(1).id);
    let home = store.deployment_folder(&id);
    for (line, name) in [("first", "journal.jsonl"), ("taken up again", "journal.2.jsonl")] {
        assert_eq!(journal.read::<String>().expect("read"), None);
        journal.append(&line).expect("appended");
        assert_eq!(store.journal::<String>().expect("read"), Some(vec![line.to_owned()]));
        journal.archive(&id).expect("archived");
        journal.archive(&id).expect("archived already");
        assert_eq!(fs::read_to_string(home.join(name)).expect("text"), format!("\"{line}\"\n"));
    }
    assert_eq!(fs::read_dir(home).expect("a listing").count(), 2);
}

#[test]
fn the_history_is_newest_first_and_the_last_word_on_each_counts() {
    let (_folder, store) = home();
    let lease = taken(&store);
    let (first, second) = (record(1), record(2));
    for line in [&first, &second] {
        lease.record(line).expect("recorded");
        let again = DeploymentRecord { seconds: Some(99.0), ..line.clone() };
        lease.record(&again).expect("recorded once");
    }
    let back = DeploymentRecord { status: Status::RolledBack, ..second };
    lease.record(&back).expect("recorded");
    assert_eq!(store.history().expect("read"), [back, first]);
    let text = fs::read_to_string(store.folder().join("history.jsonl")).expect("text");
    assert_eq!(text.lines().count(), 3);
}

#[test]
fn the_audit_log_is_written_with_and_without_the_lease() {
    let (_folder, store) = home();
    let line = |outcome: &str| AuditRecord::new(&owner("ada"), outcome, Timestamp::UNIX_EPOCH);
    store.audit(&line("done")).expect("written");
    taken(&store).audit(&line("E-HEALTH-01")).expect("written");
    assert_eq!(store.audited().expect("read"), [line("done"), line("E-HEALTH-01")]);
}

#[test]
fn only_the_newest_deployments_are_kept_in_the_state_itself() {
    let mut state = State::new("production", &"shop".parse().expect("a name"));
    for second in 0..30 {
        state.remember(&record(second));
    }
    assert_eq!(state.deployment_history.len(), record::REMEMBERED);
    assert_eq!(state.deployment_history[0].version, "v1.29");
    let mut known = state.deployment_history[3].clone();
    known.status = Status::Failed;
    state.remember(&known);
    assert_eq!(state.deployment_history[3], known, "it keeps its place");
}

/// What somebody does to the lease.
#[derive(Debug, Clone, Copy)]
enum Act {
    Take(usize),
    GiveBack(usize),
    Write(usize),
    Force,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let who = || 0_usize..3;
    let act = prop_oneof![
        4 => who().prop_map(Act::Take),
        2 => who().prop_map(Act::GiveBack),
        4 => who().prop_map(Act::Write),
        1 => Just(Act::Force),
    ];
    prop::collection::vec(act, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn of_all_owners_one_at_most_can_write_and_its_number_is_the_highest(acts in acts()) {
        let (_folder, store) = home();
        let mut leases: [Option<Lease>; 3] = [None, None, None];
        // The one whose lease is good, as a reader of the rules would say, and the highest number so far.
        let (mut good, mut highest) = (None, 0);
        for act in acts {
            match act {
                Act::Take(who) => {
                    let taken = store.try_acquire(&owner("ada"), 0, LENGTH);
                    prop_assert_eq!(taken.is_ok(), good.is_none());
                    if let Ok(lease) = taken {
                        prop_assert!(lease.number() > highest);
                        highest = lease.number();
                        good = Some(who);
                        leases[who] = Some(lease);
                    }
                }
                Act::GiveBack(who) => {
                    drop(leases[who].take());
                    good = good.filter(|holder| *holder != who);
                }
                Act::Write(who) => if let Some(lease) = &leases[who] {
                    prop_assert_eq!(lease.update(|_| {}).is_ok(), good == Some(who));
                },
                Act::Force => {
                    force(&store);
                    good = None;
                }
            }
            prop_assert_eq!(store.read().expect("whole").lock.locked, good.is_some());
        }
    }
}
