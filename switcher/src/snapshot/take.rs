//! Taking a snapshot, and looking whether one is still what it was.
//!
//! The order is the promise: version settled, dump streamed and hashed, synced, its table of contents read back, then
//! named. Whatever fails on the way, nothing of it stays.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::archive;
use super::error::{Room, SnapshotError};
use super::folder::{Condition, Folder, Partial};
use super::program::{Archive, Client, End, Job, Tools, major};
use super::sink::{Sink, Text, hex};
use super::{Snapshot, SnapshotId, Snapshotter};
use crate::database::{DatabaseError, Session};
use crate::deployment::DeploymentId;

/// A table of contents is rarely longer; it stands at the beginning of a dump.
const HEAD: u64 = 16 << 20;
/// It is never longer.
const LONGEST_HEAD: u64 = 256 << 20;

/// What is asked of a server before its database is dumped.
struct Server {
    /// `15.14`.
    version: String,
    major: u32,
    /// What the database takes on its disk.
    size: u64,
}

/// Dumps the database. `on` hears how many bytes there are so far.
///
/// # Errors
/// When there is no whole dump afterwards; then there is nothing of it.
pub async fn take(
    with: &Snapshotter,
    deployment: Option<&DeploymentId>,
    now: Timestamp,
    on: &mut (dyn FnMut(u64) + Send),
) -> Result<Snapshot, SnapshotError> {
    let server = Server::of(with).await?;
    let client = with.tools.client(server.major).await?;
    with.folder.sweep()?;
    let id = SnapshotId::new(now);
    let partial = with.folder.begin(&id)?;
    let (size_bytes, sha256) = dump(with, &client, &server, &partial, on).await?;
    let tables = contents(&client, &id, partial.path(), size_bytes, with.timeout).await?;
    let snapshot = Snapshot {
        id,
        deployment: deployment.cloned(),
        database: with.url.label(),
        tool: client.version.clone(),
        server: server.version.clone(),
        size_bytes,
        sha256,
        created_at: now,
        tables,
    };
    partial.commit(&snapshot).map_err(|error| full(with, &server, size_bytes, error))?;
    Ok(snapshot)
}

/// Reads a snapshot from end to end: length, checksum, and whether `pg_restore` understands it.
///
/// # Errors
/// When it is not there or not what it was.
pub async fn verify(
    folder: &Folder,
    tools: &Tools,
    limit: Duration,
    id: &SnapshotId,
) -> Result<Snapshot, SnapshotError> {
    let listed = folder.find(id)?;
    let damaged = |why: String| Err(SnapshotError::Damaged { id: id.clone(), why });
    let (snapshot, path) = (listed.snapshot, folder.dump(id));
    match listed.condition {
        Condition::Good => {}
        Condition::Cut => {
            return damaged(format!("{} is not {} bytes long", path.display(), snapshot.size_bytes));
        }
        Condition::Missing => return damaged(format!("{} is not there", path.display())),
    }
    let failed = |source| SnapshotError::Folder { path: path.clone(), source };
    let file = path.clone();
    let sha256 = tokio::task::spawn_blocking(move || checksum(&file))
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(failed)?;
    if sha256 != snapshot.sha256 {
        return damaged(format!("{} does not have the checksum it was written with", path.display()));
    }
    let client = tools.client(major(&snapshot.tool).unwrap_or_default()).await?;
    contents(&client, id, &path, snapshot.size_bytes, limit).await?;
    if let Tools::Local(_) = tools {
        readable(&client, id, &path, limit).await?;
    }
    Ok(snapshot)
}

impl Server {
    async fn of(with: &Snapshotter) -> Result<Self, DatabaseError> {
        let session = Session::read(&with.url).await?;
        let asked = session
            .rows(
                "SELECT pg_catalog.current_setting('server_version'), \
                 pg_catalog.current_setting('server_version_num')::int / 10000, \
                 pg_catalog.pg_database_size(pg_catalog.current_database())",
            )
            .await;
        session.close().await;
        let rows = asked?;
        let cell = |at: usize| rows.first().and_then(|row| row.get(at)).unwrap_or_default();
        // `15.14 (Debian 15.14-0+deb12u1)`
        let version = cell(0).split(' ').next().unwrap_or_default().to_owned();
        Ok(Self {
            version,
            major: cell(1).parse().unwrap_or_default(),
            size: cell(2).parse().unwrap_or_default(),
        })
    }
}

/// Streams the dump; answers its length and checksum once it is on the disk.
async fn dump(
    with: &Snapshotter,
    client: &Client<'_>,
    server: &Server,
    partial: &Partial,
    on: &mut (dyn FnMut(u64) + Send),
) -> Result<(u64, String), SnapshotError> {
    let mut sink = Sink::new(partial.file()?, on);
    let args = ["--format=custom", "--no-password"].map(str::to_owned).to_vec();
    let job = Job { program: "pg_dump", args, url: Some(&with.url), archive: None };
    let end = client.run(job, with.timeout, &mut sink).await;
    let written = sink.written;
    let at = |source| SnapshotError::Folder { path: partial.path().to_owned(), source };
    if let Some(source) = sink.failed.take() {
        return Err(full(with, server, written, at(source)));
    }
    let why = match end? {
        End::Well if written > 0 => {
            let sha256 = sink.finish().await.map_err(|source| full(with, server, written, at(source)))?;
            return Ok((written, sha256));
        }
        End::Well => "pg_dump wrote nothing".to_owned(),
        End::Badly(how) => match with.url.redact(&sink.words.sentence()) {
            words if words.is_empty() => how,
            words => format!("{how}: {words}"),
        },
        End::TimedOut => {
            return Err(SnapshotError::TimedOut {
                what: "dump",
                database: with.url.label(),
                after: with.timeout,
            });
        }
    };
    Err(SnapshotError::Dump { database: with.url.label(), why })
}

/// A full disk in words that say what is missing; any other error as it is.
fn full(with: &Snapshotter, server: &Server, written: u64, error: SnapshotError) -> SnapshotError {
    let kind = if let SnapshotError::Folder { source, .. } = &error { source.kind() } else { return error };
    if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        let folder = with.folder.path().to_owned();
        return SnapshotError::Room(Room { folder, written, database: server.size });
    }
    error
}

/// Reads the table of contents back; answers how many tables there are.
async fn contents(
    client: &Client<'_>,
    id: &SnapshotId,
    path: &Path,
    size: u64,
    limit: Duration,
) -> Result<u64, SnapshotError> {
    let mut length = HEAD;
    loop {
        let mut text = Text::default();
        let args = vec!["--list".to_owned()];
        let archive = Some(Archive::Head(path, length));
        let job = Job { program: "pg_restore", args, url: None, archive };
        let end = client.run(job, limit, &mut text).await?;
        if end == End::Well {
            return Ok(archive::tables(&String::from_utf8_lossy(&text.out)));
        }
        // A longer table of contents: more of the dump, and no more than there is.
        if length >= size.min(LONGEST_HEAD) {
            return Err(unreadable(id, &end, &text));
        }
        length = LONGEST_HEAD;
    }
}

/// Reads all data of a dump without putting it anywhere: what was cut short or damaged inside is seen.
async fn readable(
    client: &Client<'_>,
    id: &SnapshotId,
    path: &Path,
    limit: Duration,
) -> Result<(), SnapshotError> {
    let mut text = Text::default();
    let args = vec!["--file=/dev/null".to_owned()];
    let job = Job { program: "pg_restore", args, url: None, archive: Some(Archive::Whole(path)) };
    match client.run(job, limit, &mut text).await? {
        End::Well => Ok(()),
        end @ (End::Badly(_) | End::TimedOut) => Err(unreadable(id, &end, &text)),
    }
}

fn unreadable(id: &SnapshotId, end: &End, text: &Text) -> SnapshotError {
    let why = match end {
        End::Well => "pg_restore understands it".to_owned(),
        End::Badly(how) => format!("{how}: {}", text.words.sentence()),
        End::TimedOut => "pg_restore did not read it in time".to_owned(),
    };
    SnapshotError::Damaged { id: id.clone(), why }
}

fn checksum(path: &PathBuf) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(hex(&hash.finalize()))
}
