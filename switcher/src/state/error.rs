//! What can go wrong with the deployer's memory.
//!
//! Nothing here is ever answered by starting empty: each names the file and leaves it as it is.

use std::io;
use std::path::{Path, PathBuf};

use switcher_config::durable::ReplaceError;

use super::record::LockRecord;

/// What stands in the way of reading or writing it.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file is not what was written.
    #[error("{} is damaged: {why}", file.display())]
    Damaged {
        /// Which.
        file: PathBuf,
        /// Where and how.
        why: String,
        /// A copy beside it that is good.
        last_good: Option<PathBuf>,
    },
    /// The file is gone, though it was there: its copy still is.
    #[error("{} is gone, though it was written before", file.display())]
    Gone {
        /// Which.
        file: PathBuf,
        /// The copy beside it.
        last_good: PathBuf,
    },
    /// A newer `switcher` wrote it.
    #[error("{} has layout {schema}, which this version of switcher does not know", file.display())]
    Newer {
        /// Which.
        file: PathBuf,
        /// Its layout.
        schema: u64,
    },
    /// It is about something else than its place says.
    #[error("{} is about {found}, but this is the place of {wanted}", file.display())]
    Foreign {
        /// Which.
        file: PathBuf,
        /// `shop in production`.
        found: String,
        /// Likewise.
        wanted: String,
    },
    /// A line in the middle of a file of lines is not what was written.
    #[error("line {line} of {} is damaged: {why}", file.display())]
    DamagedLine {
        /// Which file.
        file: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The system refused something.
    #[error("cannot {step} {}: {source}", path.display())]
    Io {
        /// What was being done: `read`, `sync the folder`, …
        step: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Another process has not let go of the guard for a long time; it is stopped, or its disk hangs.
    #[error("another process has kept {} busy for {seconds} s", guard.display())]
    Busy {
        /// The guard.
        guard: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// The folder is one that the system empties.
    #[error("the state folder {} is temporary: the system may empty it, and with it the lease, the history and the way back", folder.display())]
    Temporary {
        /// Which.
        folder: PathBuf,
    },
    /// Somebody else could change what is remembered, and with it what the deployer does.
    #[error("the state folder cannot be trusted: {} {why}", folder.display())]
    Untrusted {
        /// Which folder: it, one in it, or one above it.
        folder: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The environment's name cannot name a folder.
    #[error("the environment {0:?} cannot name a folder; use letters, digits, `-`, `_` and `.`")]
    Environment(String),
}

impl StateError {
    /// What the system refused.
    pub(super) fn io(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { step, path, source }
    }
}

impl From<ReplaceError> for StateError {
    fn from(error: ReplaceError) -> Self {
        Self::Io { step: error.step, path: error.path, source: error.source }
    }
}

/// Why the lease was not had.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// Somebody else holds it.
    #[error("the lease is held: {}", .0.sentence())]
    Held(Box<LockRecord>),
    /// It could not be found out, or not be written down.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Why something was not done under the lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// It is not ours any more: it ran out, or was released by force. What the file says now.
    #[error("the lease was lost{}", taken_by(.0))]
    Lost(Box<LockRecord>),
    /// It is ours, but reading or writing failed.
    #[error(transparent)]
    State(#[from] StateError),
}

fn taken_by(now: &LockRecord) -> String {
    if now.locked { format!("; it is held now: {}", now.sentence()) } else { String::new() }
}
