//! Every deployment that ever was, in `history.jsonl`. A line added later says what became of an earlier one.

use std::collections::BTreeMap;

use super::error::StateError;
use super::folder::Folder;
use super::lines;
use super::record::DeploymentRecord;
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

/// Pure. Ids sort by time.
fn newest_first(lines: Vec<DeploymentRecord>) -> Vec<DeploymentRecord> {
    let latest: BTreeMap<DeploymentId, DeploymentRecord> =
        lines.into_iter().map(|record| (record.id.clone(), record)).collect();
    latest.into_values().rev().collect()
}
