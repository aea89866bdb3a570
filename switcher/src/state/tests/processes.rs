//! Owners that are killed, stopped and out of disk: real processes.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use switcher_config::Span;
use tempfile::TempDir;

use super::{LENGTH, home, open, owner, record, taken};
use crate::state::{AcquireError, Lease, LeaseError, Store, Verdict};

/// Where a victim works, and what it does there.
const VICTIM: &str = "SWITCHER_TEST_VICTIM";
const PART: &str = "SWITCHER_TEST_PART";

/// A process that plays a part, and what it says.
struct Victim {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Victim {
    fn play(part: &str, folder: &Path) -> Self {
        Self::under(Command::new(std::env::current_exe().expect("this program")), part, folder)
    }

    fn under(mut program: Command, part: &str, folder: &Path) -> Self {
        let mut child = program
            .args(["--exact", "state::tests::processes::the_victim", "--ignored", "--nocapture"])
            .env(VICTIM, folder)
            .env(PART, part)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a victim");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, lines }
    }

    /// Reads on until it says something that begins so.
    fn says(&mut self, word: &str) -> String {
        let said = self.lines.by_ref().map_while(Result::ok).find(|line| line.starts_with(word));
        said.unwrap_or_else(|| panic!("it ended without saying {word:?}"))
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("a signal");
    }

    fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("dead");
    }
}

#[test]
#[ignore = "is run by the tests below, in a process of its own"]
fn the_victim() {
    let Some(folder) = std::env::var_os(VICTIM) else { return };
    let store = open(Path::new(&folder));
    match std::env::var(PART).expect("a part").as_str() {
        "hold" => hold(&store, Span::seconds(1800)),
        "hold briefly" => hold(&store, Span::seconds(1)),
        "hold with a child" => hold_with_a_child(&store),
        "count" => count(&store),
        "write for ever" => write_for_ever(&store),
        "write without room" => write_without_room(&store),
        part => panic!("nobody plays {part:?}"),
    }
}

/// Holds the lease until it is told to go on, then writes.
fn hold(store: &Store, length: Span) {
    let lease = store.try_acquire(&owner("ada"), 0, length).expect("the lease");
    println!("\nholding {}", lease.lock_id());
    std::io::stdin().read_line(&mut String::new()).expect("a word");
    tell("update", &lease.update(|state| state.current_deployment = Some(record(1))));
    tell("journal", &lease.journal().append(&"stale"));
    tell("release", &lease.release());
}

fn tell(what: &str, outcome: &Result<(), LeaseError>) {
    let word = match outcome {
        Ok(()) => "done",
        Err(LeaseError::Lost(_)) => "lost",
        Err(LeaseError::State(error)) => panic!("{error}"),
    };
    println!("\n{what} {word}");
}

fn hold_with_a_child(store: &Store) {
    let lease = store.try_acquire(&owner("ada"), 0, LENGTH).expect("the lease");
    let mut child = Command::new("sleep").arg("600").spawn().expect("a child");
    println!("\nchild {}", child.id());
    child.wait().expect("it ended");
    drop(lease);
}

/// Adds to a number that lies outside of what is checked, once for every lease it gets.
fn count(store: &Store) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for _ in 0..3 {
        let lease = runtime
            .block_on(store.acquire(&owner("ada"), 0, LENGTH, Some(Span::seconds(120)), &mut |_| {}))
            .expect("the lease");
        let lines = lease.journal().read::<u64>().expect("read").unwrap_or_default();
        lease.journal().append(&lease.number()).expect("appended");
        let mut count = 0;
        lease
            .update(|state| {
                count = state.deployment_history.len();
                state.deployment_history.push(record(1));
            })
            .expect("updated");
        assert_eq!(lines.len(), count, "somebody was between the two");
        lease.release().expect("released");
    }
}

fn write_for_ever(store: &Store) {
    let lease = store.try_acquire(&owner("ada"), 0, LENGTH).expect("the lease");
    let journal = lease.journal();
    for n in journal.read::<u64>().expect("read").unwrap_or_default().len() as u64.. {
        journal.append(&n).expect("appended");
        lease.update(|state| state.remember(&record(i64::try_from(n).expect("small")))).expect("updated");
        println!("\nwrote {n}");
    }
}

/// Every file of this process is full at the first byte.
fn write_without_room(store: &Store) {
    let AcquireError::State(error) = store.try_acquire(&owner("ada"), 0, LENGTH).expect_err("no room") else {
        panic!("held")
    };
    println!("\nrefused {error}");
}

/// A folder whose lease is held by a process.
fn held_by(part: &str, word: &str) -> (TempDir, Store, Victim, String) {
    let (folder, store) = home();
    let mut victim = Victim::play(part, folder.path());
    let said = victim.says(word);
    (folder, store, victim, said)
}

fn refused(store: &Store) {
    assert!(matches!(store.try_acquire(&owner("bob"), 0, LENGTH), Err(AcquireError::Held(_))));
}

#[test]
fn a_killed_owner_frees_the_lease_at_once() {
    let (_folder, store, victim, said) = held_by("hold", "holding ");
    refused(&store);
    victim.kill();
    let lock = store.read().expect("read").lock;
    assert!(lock.locked, "it had no time to give it back");
    assert!(matches!(store.verdict(&lock, jiff::Timestamp::now()), Verdict::Dead(_)));
    let lease = taken(&store);
    let previous = lease.previous().expect("an owner before").lock_id.clone();
    assert_eq!(said.strip_prefix("holding ").map(str::to_owned), previous);
    assert_eq!(lease.number(), 2);
    let leases = std::fs::read_dir(store.folder().join("leases")).expect("a listing");
    assert_eq!(leases.count(), 1, "what the dead one left behind is swept");
}

#[test]
fn on_another_machine_only_time_frees_the_lease_of_a_killed_owner() {
    let (_folder, store, victim, said) = held_by("hold", "holding ");
    victim.kill();
    // As if its file had come over the network: neither this kernel nor this machine's name.
    let lifeline = store.folder().join("leases").join(said.trim_start_matches("holding "));
    super::put(&lifeline, "another-kernel");
    let file = store.folder().join("state.json");
    let host = store.read().expect("read").lock.hostname.expect("a name");
    let text = std::fs::read_to_string(&file).expect("text");
    super::put(&file, &text.replace(&format!("\"hostname\": \"{host}\""), "\"hostname\": \"elsewhere\""));
    refused(&store);
    let lock = store.read().expect("read").lock;
    let end = lock.lock_expires_at.expect("an end");
    assert!(matches!(store.verdict(&lock, end), Verdict::Expired(_)));
}

#[test]
fn a_child_of_a_killed_owner_does_not_keep_the_lease() {
    let (_folder, store, victim, said) = held_by("hold with a child", "child ");
    refused(&store);
    victim.kill();
    let child: i32 = said.trim_start_matches("child ").parse().expect("a pid");
    let child = Pid::from_raw(child).expect("a pid");
    rustix::process::test_kill_process(child).expect("it lives on");
    assert!(taken(&store).previous().is_some());
    kill_process(child, Signal::KILL).expect("killed");
}

#[tokio::test]
async fn a_stopped_owner_that_wakes_up_late_changes_nothing() {
    let (_folder, store, mut victim, _) = held_by("hold briefly", "holding ");
    victim.signal(Signal::STOP);
    let taken = store.acquire(&owner("bob"), 0, LENGTH, Some(Span::seconds(60)), &mut |_| {}).await;
    let lease: Lease = taken.expect("its time is over");
    assert!(lease.previous().is_some());
    lease.journal().append(&"fresh").expect("appended");
    let before = store.read().expect("read");
    victim.signal(Signal::CONT);
    drop(victim.child.stdin.take());
    for what in ["update", "journal", "release"] {
        assert_eq!(victim.says(what), format!("{what} lost"));
    }
    victim.child.wait().expect("it ended");
    assert_eq!(store.read().expect("read"), before);
    assert_eq!(store.journal::<String>().expect("read"), Some(vec!["fresh".to_owned()]));
}

#[test]
fn of_many_who_want_the_lease_one_at_a_time_has_it() {
    let (folder, store) = home();
    let mut victims: Vec<Victim> = (0..4).map(|_| Victim::play("count", folder.path())).collect();
    for victim in &mut victims {
        assert!(victim.child.wait().expect("it ended").success());
    }
    let numbers = store.journal::<u64>().expect("read").expect("lines");
    assert_eq!(numbers, (1..=12).collect::<Vec<u64>>(), "every holding had the next number");
    assert_eq!(store.read().expect("read").deployment_history.len(), 12);
}

#[test]
fn an_owner_killed_in_the_middle_of_its_writing_loses_nothing_it_was_told_is_there() {
    let (folder, store) = home();
    for kill in 0..8_u64 {
        let mut victim = Victim::play("write for ever", folder.path());
        let mut told = 0;
        for _ in 0..=kill {
            told = victim.says("wrote ").trim_start_matches("wrote ").parse().expect("a number");
        }
        victim.kill();
        let lines = store.journal::<u64>().expect("whole").expect("lines");
        assert_eq!(lines, (0..lines.len() as u64).collect::<Vec<u64>>(), "kill {kill}");
        assert!(lines.len() as u64 > told, "kill {kill}: {told}");
        let state = store.read().expect("whole");
        assert!(state.deployment_history.iter().any(|known| known.version == format!("v1.{told}")));
    }
}

#[test]
fn a_full_disk_is_an_error_and_leaves_what_was_there() {
    let (folder, store) = home();
    taken(&store).update(|state| state.remember(&record(1))).expect("updated");
    let before = store.read().expect("read");
    let mut shell = Command::new("sh");
    // Ignored, the signal of the limit becomes an error of the write.
    shell.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""]);
    shell.arg(std::env::current_exe().expect("this program"));
    let mut victim = Victim::under(shell, "write without room", folder.path());
    let said = victim.says("refused ");
    assert!(said.starts_with("refused cannot write "), "{said}");
    victim.child.wait().expect("it ended");
    assert_eq!(store.read().expect("read"), before);
    assert_eq!(taken(&store).number(), 2);
}
