//! Everything that can go wrong with a snapshot: a sentence, and the stable code that it goes by.
//!
//! The words of PostgreSQL's programs are shown as they were written, with the password hidden.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::SnapshotId;
use crate::code::Code;
use crate::database::{DatabaseError, Unwritable};
use crate::docker::DockerError;
use crate::phrase;

/// Why a snapshot was not taken, read, restored or swapped in.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The database could not be asked.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The connection cannot be handed to PostgreSQL's programs.
    #[error(transparent)]
    Connection(#[from] Unwritable),
    /// The engine that runs the one-off container.
    #[error(transparent)]
    Engine(#[from] DockerError),
    /// There is no fitting `pg_dump` or `pg_restore`.
    #[error("{0}")]
    Tool(String),
    /// `pg_dump` ended with an error.
    #[error("the dump of {database} failed: {why}")]
    Dump {
        /// `shop@db.example.com`.
        database: String,
        /// How it ended, and what it wrote last.
        why: String,
    },
    /// The disk is full.
    #[error("{0}")]
    Room(Room),
    /// The dump or the restore did not end in time.
    #[error("the {what} of {database} did not end within {}; it was stopped", phrase::duration(after.as_secs_f64()))]
    TimedOut {
        /// `dump` or `restore`.
        what: &'static str,
        /// `shop@db.example.com`.
        database: String,
        /// How long it was given.
        after: Duration,
    },
    /// The dump is not what it was, or never was what it should be.
    #[error("the snapshot {id} is damaged: {why}")]
    Damaged {
        /// Which.
        id: SnapshotId,
        /// How.
        why: String,
    },
    /// There is no such snapshot.
    #[error("there is no snapshot {0}")]
    Unknown(SnapshotId),
    /// The folder of the snapshots.
    #[error("{} cannot be used: {source}", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing was restored; what was made on the way is gone.
    #[error("the snapshot was not restored into {database}: {why}")]
    Restore {
        /// The fresh database.
        database: String,
        /// Why.
        why: String,
    },
    /// The names were not exchanged: neither of them.
    #[error("{live} is the database it was; the restored one is {restored}: {why}")]
    Swap {
        /// The live database.
        live: String,
        /// The restored one.
        restored: String,
        /// Why.
        why: String,
    },
}

/// A disk that ran full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// The folder.
    pub folder: PathBuf,
    /// What had been written, and was removed again.
    pub written: u64,
    /// What the database takes on its server: a dump is compressed, so it needs at most about that much.
    pub database: u64,
}

impl std::fmt::Display for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { folder, written, database } = self;
        let missing = database.saturating_sub(*written).max(1 << 20);
        write!(
            f,
            "there is no room for the snapshot in {}: the disk was full after {}, and up to {} more is needed (the database \
             takes {} on its server); what had been written was removed",
            folder.display(),
            bytes(*written),
            bytes(missing),
            bytes(*database)
        )
    }
}

/// `512 B`, `3.4 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut shift = 0;
    while n >> shift >= 1024 && unit + 1 < UNITS.len() {
        unit += 1;
        shift += 10;
    }
    if unit == 0 {
        return format!("{n} B");
    }
    let tenths = ((n >> (shift - 10)) * 10 + 512) / 1024;
    if tenths < 100 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", tenths / 10, UNITS[unit])
    }
}

impl SnapshotError {
    /// The stable code; it decides the exit code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Database(error) => error.code(),
            Self::Connection(_) => Code::SnapshotConnection,
            Self::Engine(error) => error.kind().code(),
            Self::Dump { .. } => Code::SnapshotFailed,
            Self::Tool(_) => Code::SnapshotTool,
            Self::Room(_) => Code::SnapshotRoom,
            Self::TimedOut { .. } => Code::SnapshotTimeout,
            Self::Damaged { .. } => Code::SnapshotDamaged,
            Self::Unknown(_) => Code::SnapshotUnknown,
            Self::Folder { .. } => Code::SnapshotFolder,
            Self::Restore { .. } => Code::SnapshotRestore,
            Self::Swap { .. } => Code::SnapshotSwap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_shown_with_their_unit() {
        for (n, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (3_565_158, "3.4 MiB"),
            (12 << 30, "12 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(bytes(n), shown);
        }
    }

    #[test]
    fn a_full_disk_says_how_much_room_is_missing() {
        let room = Room { folder: "/var/lib/x".into(), written: 1 << 30, database: 5 << 30 };
        let text = room.to_string();
        assert!(text.contains("after 1.0 GiB, and up to 4.0 GiB more is needed"), "{text}");
    }
}
