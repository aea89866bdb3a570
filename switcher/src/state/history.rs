//! Every deployment that ever was, in `history.jsonl`. A line added later says what became of an earlier one.

use std::collections::BTreeMap;

use super::error::StateError;
use super::folder::Folder;
use super::lines;
use super::record::{DeploymentRecord, Status};
use crate::deployment::DeploymentId;

/// Adds a line, unless the newest says the same: a crash may make a deployment record its end twice.
pub(super) fn append(folder: &Folder, record: &DeploymentRecord) -> Result<(), StateError> {
    let path = folder.history();
    match lines::last::<DeploymentRecord>(&path)? {
        Some(newest) if same(&newest, record) => Ok(()),
        Some(_) | None => lines::append(&path, record),
    }
}

/// Whether two lines tell the same. The second end of a deployment took longer.
fn same(one: &DeploymentRecord, other: &DeploymentRecord) -> bool {
    DeploymentRecord { seconds: None, ..one.clone() } == DeploymentRecord { seconds: None, ..other.clone() }
}

/// Newest first, each as it was recorded last.
pub(super) fn read(folder: &Folder) -> Result<Vec<DeploymentRecord>, StateError> {
    Ok(newest_first(lines::read(&folder.history())?.unwrap_or_default()))
}

/// Pure. Ids sort by time. A line that makes a deployment live says nothing of the one before, which the line itself
/// has superseded, or rolled back when it is the second one of a deployment that was live before: one at most is active.
fn newest_first(lines: Vec<DeploymentRecord>) -> Vec<DeploymentRecord> {
    let mut went_live: Vec<DeploymentId> = Vec::new();
    let mut latest: BTreeMap<DeploymentId, DeploymentRecord> = BTreeMap::new();
    for record in lines {
        if record.status == Status::Active && went_live.last() != Some(&record.id) {
            went_live.push(record.id.clone());
        }
        latest.insert(record.id.clone(), record);
    }
    let is_active = |id: &DeploymentId| latest.get(id).is_some_and(|record| record.status == Status::Active);
    went_live.retain(is_active);
    let live = went_live.last().cloned();
    for (place, id) in went_live.iter().enumerate() {
        let after = went_live.get(place + 1);
        let back = after.is_some_and(|after| went_live[..place].contains(after));
        if let Some(record) = latest.get_mut(id).filter(|record| live.as_ref() != Some(&record.id)) {
            record.status = if back { Status::RolledBack } else { Status::Superseded };
        }
    }
    latest.into_values().rev().collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use switcher_config::Slot;

    use super::*;

    fn line(n: u64, status: Status) -> DeploymentRecord {
        let id = format!("dep_{}", ulid::Ulid::from_parts(n, 1)).parse().expect("an id");
        let by = "ops@host".to_owned();
        let begun = DeploymentRecord::begun(id, n.to_string(), Slot::Blue, by, Timestamp::UNIX_EPOCH);
        DeploymentRecord { status, ..begun }
    }

    #[test]
    fn one_deployment_at_most_is_active_however_often_traffic_moved() {
        use Status::{Active, Failed, RolledBack, Superseded};
        for (lines, expected) in [
            (vec![], vec![]),
            (vec![(1, Active)], vec![Active]),
            (vec![(1, Active), (1, Active)], vec![Active]),
            (vec![(1, Active), (2, Active), (3, Active)], vec![Active, Superseded, Superseded]),
            (vec![(1, Active), (2, Active), (3, Failed)], vec![Failed, Active, Superseded]),
            (vec![(1, Active), (2, Active), (1, Active)], vec![RolledBack, Active]),
            (vec![(1, Active), (2, Active), (1, Active), (2, Active)], vec![Active, RolledBack]),
            (vec![(1, Active), (2, Active), (1, Active), (3, Active)], vec![Active, RolledBack, Superseded]),
            (vec![(1, Active), (2, RolledBack)], vec![RolledBack, Active]),
            (vec![(1, Active), (2, Active), (2, RolledBack)], vec![RolledBack, Active]),
        ] {
            let told = lines.iter().map(|(n, status)| line(*n, *status)).collect();
            let found: Vec<Status> = newest_first(told).iter().map(|record| record.status).collect();
            assert_eq!(found, expected, "{lines:?}");
        }
    }
}
