//! The journal of the operation under way: the intent before an effect, its outcome after it, a line each.
//!
//! Durable when `append` returns, and written only under the lease. Closed by moving it to its deployment.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{LeaseError, StateError};
use super::folder::Folder;
use super::lease::Holding;
use super::lines;
use crate::deployment::DeploymentId;

/// The journal, for the holder of the lease.
#[derive(Debug, Clone)]
pub struct JournalFile {
    holding: Arc<Holding>,
}

impl JournalFile {
    pub(super) const fn new(holding: Arc<Holding>) -> Self {
        Self { holding }
    }

    /// Appends one line, durably.
    ///
    /// # Errors
    /// When the lease is lost, or when the line cannot be written: then it is not there.
    pub fn append<T: Serialize>(&self, line: &T) -> Result<(), LeaseError> {
        self.holding.guarded(|folder| lines::append(&folder.journal(), line))
    }

    /// Every line; none when no operation is under way.
    ///
    /// # Errors
    /// When a line is damaged, or the file cannot be read.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Option<Vec<T>>, StateError> {
        lines::read(&self.holding.folder().journal())
    }

    /// Closes it: it becomes the journal of a deployment. Harmless when it was closed already.
    ///
    /// # Errors
    /// When the lease is lost, or when it cannot be moved: then it is open still.
    pub fn archive(&self, id: &DeploymentId) -> Result<(), LeaseError> {
        self.holding.guarded(|folder| archive(folder, id))
    }
}

fn archive(folder: &Folder, id: &DeploymentId) -> Result<(), StateError> {
    let open = folder.journal();
    if !open.exists() {
        return Ok(());
    }
    let home = folder.make_deployment(id)?;
    let closed = unused(home);
    std::fs::rename(&open, &closed).map_err(StateError::io("rename to", &closed))?;
    lines::sync_folder(&closed)?;
    lines::sync_folder(&open)
}

/// `journal.jsonl`, or a name with a number where a deployment was taken up again after its end.
fn unused(home: PathBuf) -> PathBuf {
    let first = home.join("journal.jsonl");
    if !first.exists() {
        return first;
    }
    let mut number = 2;
    while home.join(format!("journal.{number}.jsonl")).exists() {
        number += 1;
    }
    home.join(format!("journal.{number}.jsonl"))
}
