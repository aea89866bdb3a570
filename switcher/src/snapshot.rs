//! Snapshots of an application's database: taken before migrations, listed, verified, pruned and restored.
//!
//! A snapshot that is listed as good is whole: `pg_dump` ended well, every byte is on the disk, and its checksum is
//! known. A live database is never written to; only `swap` renames it. Called by the deployer and by
//! `switcher snapshot`.

mod archive;
mod error;
mod folder;
mod program;
mod prune;
mod restore;
mod sink;
mod swap;
mod take;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::database::DatabaseUrl;
use crate::deployment::DeploymentId;

pub use error::SnapshotError;
pub(crate) use error::bytes;
pub use folder::{Condition, Folder, Listed};
pub use program::{ContainerTools, LocalTools, OneOff, Tools};
pub use prune::{Keep, what_to_prune};
pub use restore::{Restored, restore};
pub use swap::{Swapped, swap};
pub use take::{take, verify};

/// What it takes to dump a database and to restore it.
#[derive(Debug, Clone)]
pub struct Snapshotter {
    /// Where snapshots are kept: `<state>/<environment>/<app>/snapshots`.
    pub folder: Folder,
    /// The database.
    pub url: DatabaseUrl,
    /// Whose `pg_dump` and `pg_restore`.
    pub tools: Tools,
    /// How long a dump or a restore may take.
    pub timeout: Duration,
}

/// A snapshot, as the file beside its dump describes it. The dump itself is PostgreSQL's custom format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// The deployment that it was taken for; none when a person asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentId>,
    /// The database, without its password: `shop@db.example.com`.
    pub database: String,
    /// What dumped it: `pg_dump 15.14`.
    pub tool: String,
    /// The server's version: `15.14`.
    pub server: String,
    /// The dump's length in bytes.
    pub size_bytes: u64,
    /// The dump's SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// When it was begun.
    pub created_at: Timestamp,
    /// How many tables it holds.
    pub tables: u64,
}

/// The name of a snapshot: `snap_` and a ULID, so that ids sort by time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotId(String);

impl SnapshotId {
    /// A new one; `now` is its time.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        Self(format!("snap_{}", Ulid::from_parts(millis, Ulid::generate().random())))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A text that is no id of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no id of a snapshot; `switcher snapshot list` shows them, such as snap_01JBQR2K3M4N5P6Q7R8S9T0VWX"
)]
pub struct InvalidSnapshotId(pub String);

impl FromStr for SnapshotId {
    type Err = InvalidSnapshotId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSnapshotId(text.to_owned());
        let ulid = text.strip_prefix("snap_").ok_or_else(invalid)?;
        ulid.parse::<Ulid>().map_err(|_| invalid())?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for SnapshotId {
    type Error = InvalidSnapshotId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SnapshotId> for String {
    fn from(id: SnapshotId) -> Self {
        id.0
    }
}
