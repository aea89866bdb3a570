//! The folder of one application: its files by name, made with the rights they need, and the guard.
//!
//! ```text
//! state.json            what is live, the newest deployments, the lease
//! state.json.last-good  the same, as it was written last apart from the lease's expiry
//! journal.jsonl         the operation under way
//! history.jsonl         every deployment
//! audit.jsonl           who ran which command
//! deployments/<id>/     a deployment's own journal and log
//! leases/<lock id>      locked by the lease's owner for as long as it lives
//! .guard                locked for the moment of a change
//! watch.json            what `switcher watch` remembers
//! .watch                locked by the one that watches
//! ```

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::StateError;
use super::lines;
use crate::deployment::DeploymentId;

/// How long another process may be in the middle of a change, which takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the guard is tried.
const EVERY: Duration = Duration::from_millis(3);

/// The folder of one application in one environment.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) const fn at(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    pub(super) fn last_good(&self) -> PathBuf {
        self.root.join("state.json.last-good")
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.root.join("journal.jsonl")
    }

    pub(super) fn history(&self) -> PathBuf {
        self.root.join("history.jsonl")
    }

    pub(super) fn audit(&self) -> PathBuf {
        self.root.join("audit.jsonl")
    }

    pub(super) fn deployments(&self) -> PathBuf {
        self.root.join("deployments")
    }

    pub(super) fn deployment(&self, id: &DeploymentId) -> PathBuf {
        self.deployments().join(id.as_str())
    }

    pub(super) fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    /// Makes it, for nobody else to look into. What lies above it gets the usual rights.
    pub(super) fn make(&self, state_dir: &Path) -> Result<(), StateError> {
        if let Some(above) = state_dir.parent() {
            std::fs::create_dir_all(above).map_err(StateError::io("create the folder", above))?;
        }
        private(&self.root)?;
        private(&self.leases())
    }

    /// Makes a deployment's folder.
    pub(super) fn make_deployment(&self, id: &DeploymentId) -> Result<PathBuf, StateError> {
        let folder = self.deployment(id);
        private(&folder)?;
        lines::sync_folder(&folder)?;
        Ok(folder)
    }

    /// Waits until no other process is in the middle of a change; none begins one while the guard lives.
    pub(super) fn guard(&self) -> Result<Guard, StateError> {
        let path = self.root.join(".guard");
        let file = lock_file(&path)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Guard { _file: file }),
                Err(TryLockError::Error(error)) => return Err(StateError::io("lock", &path)(error)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(StateError::Busy { guard: path, seconds: PATIENCE.as_secs() });
                }
                Err(TryLockError::WouldBlock) => std::thread::park_timeout(EVERY),
            }
        }
    }
}

/// The right to change what lies in the folder; gone with its process.
#[derive(Debug)]
pub(super) struct Guard {
    _file: File,
}

/// A file that is only there to be locked. Closed in programs that are started.
pub(super) fn lock_file(path: &Path) -> Result<File, StateError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(StateError::io("open", path))
}

fn private(folder: &Path) -> Result<(), StateError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(StateError::io("create the folder", folder))
}
