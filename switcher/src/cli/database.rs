//! What can be typed after `switcher snapshot` and `switcher migrate`.

use clap::{Args, Subcommand};

use super::LockArgs;
use crate::snapshot::SnapshotId;

/// What can be done with snapshots of the database.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Dump the database now
    Create {
        /// The lease
        #[command(flatten)]
        lock: LockArgs,
    },
    /// Show the snapshots there are, newest first
    List,
    /// Read a snapshot from end to end: its length, its checksum, whether PostgreSQL understands it
    Verify {
        /// Its id, such as snap_01JBQR2K3M4N5P6Q7R8S9T0VWX [default: all]
        id: Option<SnapshotId>,
    },
    /// Restore a snapshot into a fresh database, beside the live one
    Restore(RestoreArgs),
    /// Remove the snapshots that are older than `snapshot.keep` and not among the newest `retain.snapshots`
    Prune {
        /// Say what would be removed
        #[arg(long)]
        dry_run: bool,
        /// The lease
        #[command(flatten)]
        lock: LockArgs,
    },
}

/// What `snapshot restore` takes.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The snapshot's id, such as snap_01JBQR2K3M4N5P6Q7R8S9T0VWX
    pub id: SnapshotId,
    /// The name of the fresh database [default: made of the live one's and the time]
    #[arg(long, value_name = "NAME")]
    pub into: Option<String>,
    /// Then put it in the live one's place, which stays under another name
    #[arg(long)]
    pub swap: bool,
    /// The live database's name, so that nobody is asked to type it
    #[arg(long, value_name = "NAME", requires = "swap")]
    pub yes_replace: Option<String>,
    /// The lease, for --swap
    #[command(flatten)]
    pub lock: LockArgs,
}

/// What can be done about migrations.
#[derive(Debug, Clone, Subcommand)]
pub enum MigrateCommand {
    /// Show how far the schema is migrated, by which tool, and whether a migration got stuck
    Status,
    /// Run the migrations of the version that is live, once more
    Up {
        /// How the lease is waited for
        #[command(flatten)]
        lock: LockArgs,
    },
    /// Go back to an earlier schema, with the command `migrate.down` of the newest image
    Down {
        /// The schema's version to go to
        #[arg(long, value_name = "VERSION")]
        to: String,
        /// How the lease is waited for
        #[command(flatten)]
        lock: LockArgs,
    },
}
