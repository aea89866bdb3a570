//! Whether a lease may be taken. Pure.

use jiff::{SignedDuration, Timestamp};

use super::record::LockRecord;

/// The longest a lease holds after its owner's last sign of life.
pub const LONGEST: SignedDuration = SignedDuration::from_mins(30);

/// What is said of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody holds it.
    Free,
    /// Its owner is dead, so it is free at once.
    Dead(LockRecord),
    /// Its owner gave no sign of life in time, so it is free.
    Expired(LockRecord),
    /// Somebody holds it.
    Held(LockRecord),
}

/// Judges. `owner_alive` is what the owner's own lock says, where it can be trusted: none on another machine.
///
/// A lease without an expiry, which only a hand could write, holds for [`LONGEST`] after it was taken.
#[must_use]
pub fn judge(lock: &LockRecord, owner_alive: Option<bool>, now: Timestamp) -> Verdict {
    if !lock.locked {
        return Verdict::Free;
    }
    if owner_alive == Some(false) {
        return Verdict::Dead(lock.clone());
    }
    let longest = |at: Timestamp| at.checked_add(LONGEST).unwrap_or(Timestamp::MAX);
    match lock.lock_expires_at.or_else(|| lock.locked_at.map(longest)) {
        Some(expires) if now < expires => Verdict::Held(lock.clone()),
        Some(_) | None => Verdict::Expired(lock.clone()),
    }
}

/// Where a lease's owner runs, as far as it matters for asking its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The machine's name.
    pub hostname: String,
    /// The running kernel: containers of one machine share it, and a file's lock is one for all of them.
    pub boot_id: Option<String>,
}

/// Whether the lock on a lease's file can be trusted here: on the kernel that the owner ran on, or on a machine of
/// its name, which was started again since. Pure.
#[must_use]
pub fn conclusive(here: &Host, hostname: Option<&str>, boot_id: Option<&str>) -> bool {
    let same = |ours: Option<&str>, theirs: Option<&str>| ours.is_some() && ours == theirs;
    same(here.boot_id.as_deref(), boot_id) || same(Some(&here.hostname), hostname)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn lock(taken: Option<i64>, expires: Option<i64>) -> LockRecord {
        LockRecord {
            locked: true,
            locked_at: taken.map(at),
            lock_expires_at: expires.map(at),
            ..LockRecord::free(7)
        }
    }

    #[test]
    fn a_lease_holds_while_its_owner_lives_and_has_time() {
        type Made = fn(LockRecord) -> Verdict;
        for (lock, alive, now, expected) in [
            (lock(Some(0), Some(120)), Some(true), 119, Verdict::Held as Made),
            (lock(Some(0), Some(120)), None, 119, Verdict::Held),
            (lock(Some(0), Some(120)), Some(false), 1, Verdict::Dead),
            (lock(Some(0), Some(120)), Some(true), 120, Verdict::Expired),
            (lock(Some(0), Some(120)), None, 121, Verdict::Expired),
            (lock(Some(0), Some(120)), Some(false), 121, Verdict::Dead),
            (lock(Some(0), None), None, 1799, Verdict::Held),
            (lock(Some(0), None), None, 1800, Verdict::Expired),
            (lock(None, None), None, 0, Verdict::Expired),
        ] {
            assert_eq!(judge(&lock, alive, at(now)), expected(lock.clone()), "{alive:?} at {now}: {lock:?}");
        }
        assert_eq!(judge(&LockRecord::free(7), None, at(0)), Verdict::Free);
    }

    #[test]
    fn the_lock_of_a_file_counts_on_its_own_kernel_or_its_own_machine() {
        let here = Host { hostname: "web".to_owned(), boot_id: Some("b1".to_owned()) };
        for (hostname, boot_id, expected) in [
            (Some("web"), Some("b1"), true),
            (Some("a-container"), Some("b1"), true),
            (Some("web"), Some("before-the-restart"), true),
            (Some("web"), None, true),
            (Some("db"), Some("b2"), false),
            (None, None, false),
        ] {
            assert_eq!(conclusive(&here, hostname, boot_id), expected, "{hostname:?} {boot_id:?}");
        }
        let nameless = Host { boot_id: None, ..here };
        assert!(!conclusive(&nameless, Some("db"), None), "two machines that do not know their kernels");
    }

    fn locks() -> impl Strategy<Value = LockRecord> {
        let second = || prop::option::of(0_i64..10_000);
        (any::<bool>(), second(), second())
            .prop_map(|(locked, taken, expires)| LockRecord { locked, ..lock(taken, expires) })
    }

    proptest! {
        #[test]
        fn time_frees_every_lease_and_takes_none_back(
            lock in locks(), alive in prop::option::of(any::<bool>()), now in 0_i64..10_000, later in 0_i64..10_000
        ) {
            let held = |verdict: &Verdict| matches!(verdict, Verdict::Held(_));
            let (first, then) = (judge(&lock, alive, at(now)), judge(&lock, alive, at(now + later)));
            prop_assert!(held(&first) || !held(&then), "held only later: {first:?}, then {then:?}");
            prop_assert!(!held(&judge(&lock, alive, at(20_000))));
            prop_assert!(!held(&judge(&lock, Some(false), at(now))), "the dead hold nothing");
        }
    }
}
