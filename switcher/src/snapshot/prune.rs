//! Which snapshots may go. Pure; `switcher snapshot prune` and the deployer remove them.
//!
//! One that is young, among the newest, or still needed by a release that can be rolled back to stays.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::folder::{Condition, Listed};
use super::{Snapshot, SnapshotId};

/// What is kept: whatever meets either bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Younger than this.
    pub age: Duration,
    /// The newest so many good ones.
    pub count: usize,
}

/// The snapshots that may go, oldest first. A damaged one does not count among the newest, and goes with its age.
#[must_use]
pub fn what_to_prune<'a>(
    snapshots: &'a [Listed],
    keep: Keep,
    protected: &BTreeSet<SnapshotId>,
    now: Timestamp,
) -> Vec<&'a Snapshot> {
    let mut newest: Vec<&Listed> = snapshots.iter().collect();
    newest.sort_by_key(|listed| std::cmp::Reverse(listed.snapshot.created_at));
    let mut good = 0;
    let mut old = Vec::new();
    for listed in newest {
        let among_newest = listed.condition == Condition::Good && good < keep.count;
        good += usize::from(listed.condition == Condition::Good);
        let age = Duration::try_from(now.duration_since(listed.snapshot.created_at)).unwrap_or_default();
        if !among_newest && age >= keep.age && !protected.contains(&listed.snapshot.id) {
            old.push(&listed.snapshot);
        }
    }
    old.reverse();
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn listed(days_ago: u64, condition: Condition) -> Listed {
        let created_at = now() - jiff::SignedDuration::from_secs((days_ago * DAY).cast_signed());
        let snapshot = Snapshot {
            id: SnapshotId::new(created_at),
            deployment: None,
            database: "shop@db".to_owned(),
            tool: "pg_dump 15.1".to_owned(),
            server: "15.1".to_owned(),
            size_bytes: 1,
            sha256: String::new(),
            created_at,
            tables: 1,
        };
        Listed { snapshot, condition }
    }

    fn now() -> Timestamp {
        "2026-11-21T14:00:00Z".parse().expect("a moment")
    }

    fn pruned(list: &[Listed], age_days: u64, count: usize, protected: &[usize]) -> Vec<usize> {
        let keep = Keep { age: Duration::from_secs(age_days * DAY), count };
        let protected = protected.iter().map(|at| list[*at].snapshot.id.clone()).collect();
        let at = |gone: &&Snapshot| list.iter().position(|listed| listed.snapshot.id == gone.id);
        what_to_prune(list, keep, &protected, now()).iter().filter_map(at).collect()
    }

    #[test]
    fn what_is_old_and_not_among_the_newest_goes_oldest_first() {
        let list: Vec<Listed> = (0..6).map(|day| listed(day * 3, Condition::Good)).collect();
        assert_eq!(pruned(&list, 7, 2, &[]), [5, 4, 3]);
        assert_eq!(pruned(&list, 7, 5, &[]), [5], "the newest five stay whatever their age");
        assert_eq!(pruned(&list, 99, 0, &[]), [0; 0], "the young stay whatever their number");
        assert_eq!(pruned(&list, 0, 0, &[]), [5, 4, 3, 2, 1, 0]);
        assert_eq!(pruned(&list, 0, 0, &[4, 1]), [5, 3, 2, 0], "what is protected stays");
    }

    #[test]
    fn a_damaged_one_takes_no_place_of_a_good_one() {
        let list = [
            listed(10, Condition::Cut),
            listed(11, Condition::Missing),
            listed(12, Condition::Good),
            listed(13, Condition::Good),
        ];
        assert_eq!(pruned(&list, 7, 1, &[]), [3, 1, 0]);
    }

    #[test]
    fn a_clock_that_went_back_keeps_what_seems_to_come_from_the_future() {
        let mut future = listed(0, Condition::Good);
        future.snapshot.created_at = now() + jiff::SignedDuration::from_hours(48);
        assert_eq!(pruned(&[future], 7, 0, &[]), [0; 0]);
    }
}
