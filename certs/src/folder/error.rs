//! What can go wrong with the folder, as sentences for the operator.

use std::fmt;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use switcher_config::durable::ReplaceError;

use crate::pair::PairError;

/// Something that the folder could not do. Every message names the thing and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The disk refused.
    #[error("cannot {step} {}: {source}; {}", path.display(), remedy(source))]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What was being done: `write`, `sync`, `create the folder`, …
        step: &'static str,
        /// What the system answered.
        source: io::Error,
    },
    /// A file's content could not be used, or the file could not be read.
    #[error("{0}")]
    Damaged(Damaged),
    /// A certificate that is not worth keeping. Nothing was written.
    #[error("the new certificate for {names} is not saved: {why}")]
    Refused {
        /// The names of the lineage.
        names: String,
        /// Why not.
        why: Refusal,
    },
    /// A record without names belongs to no lineage.
    #[error("a record without names cannot be saved; give it the names of its certificate")]
    Nameless,
    /// A value that has no JSON form.
    #[error("cannot write {} as JSON: {source}; report this as a defect", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What the library said.
        source: serde_json::Error,
    },
}

impl FolderError {
    /// Whether the disk or the quota is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Disk { source, .. } if is_full(source.kind()))
    }
}

impl From<ReplaceError> for FolderError {
    fn from(error: ReplaceError) -> Self {
        let ReplaceError { path, step, source, replaced: _ } = error;
        Self::Disk { path, step, source }
    }
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn remedy(error: &io::Error) -> &'static str {
    let kind = error.kind();
    if is_full(kind) {
        "free some space there"
    } else if kind == io::ErrorKind::ReadOnlyFilesystem {
        "mount it writable, or set `proxy.data_dir` to a place that is"
    } else if kind == io::ErrorKind::PermissionDenied {
        "let the user that runs switcher-proxy read and write there"
    } else if matches!(kind, io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) {
        "a file stands where a folder belongs: move it away, or set `proxy.data_dir` to another place"
    } else {
        "check the disk, or set `proxy.data_dir` to another place"
    }
}

/// Why a certificate is not worth keeping.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No chain, a damaged one, or a key that does not belong to it.
    #[error(transparent)]
    Unusable(#[from] PairError),
    /// A name of the lineage is missing in it.
    #[error("it is not valid for {name}; order it again with every name")]
    NotCovered {
        /// The missing name.
        name: String,
    },
    /// It is of no use any more.
    #[error("it expired at {at}; check this machine's clock, then order it again")]
    Expired {
        /// When it expired.
        at: Timestamp,
    },
    /// Its key is of another kind than the lineage's, so clients that need that kind would be lost.
    #[error("its key is not of the kind that was asked for; order it again with a new key")]
    WrongKey,
}

/// A file that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Where it was.
    pub file: PathBuf,
    /// Where it is now; none when it was left in place.
    pub set_aside: Option<PathBuf>,
    /// What is wrong, as a sentence that names the file.
    pub why: String,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.set_aside {
            Some(to) => write!(f, "{}; it was moved to {}", self.why, to.display()),
            None => write!(f, "{}; it was left where it is", self.why),
        }
    }
}
