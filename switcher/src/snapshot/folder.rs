//! The folder of an application's snapshots: `<id>.dump`, and beside it `<id>.json`, which describes it.
//!
//! A dump is written as `<id>.dump.partial` under a lock that ends with its writer, and gets its name last: a dump
//! with its name is whole. What a killed writer left behind is known by its free lock.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use switcher_config::durable::{self, Durability};

use super::error::SnapshotError;
use super::{Snapshot, SnapshotId};

/// Where the snapshots of one application in one environment are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(PathBuf);

/// A snapshot with what its file looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The snapshot.
    #[serde(flatten)]
    pub snapshot: Snapshot,
    /// What its file looks like at a glance; `verify` looks closer.
    pub condition: Condition,
}

/// What a snapshot's file looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// As long as it was written.
    Good,
    /// Of another length.
    Cut,
    /// Not there.
    Missing,
}

impl Folder {
    /// This folder; it is made when the first snapshot is taken.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file of a snapshot's dump.
    #[must_use]
    pub fn dump(&self, id: &SnapshotId) -> PathBuf {
        self.0.join(format!("{id}.dump"))
    }

    fn description(&self, id: &SnapshotId) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }

    /// Every snapshot, newest first. What is still being written is none.
    ///
    /// # Errors
    /// When the folder, or a description in it, cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, SnapshotError> {
        let mut found = Vec::new();
        for name in self.names()? {
            let id = name.strip_suffix(".json").and_then(|id| id.parse::<SnapshotId>().ok());
            if let Some(id) = id
                && !self.partial(&id).exists()
                && let Some(listed) = self.listed(&id)?
            {
                found.push(listed);
            }
        }
        found.sort_by(|a, b| b.snapshot.id.cmp(&a.snapshot.id));
        Ok(found)
    }

    /// One snapshot.
    ///
    /// # Errors
    /// When there is none of that name, or its description cannot be read.
    pub fn find(&self, id: &SnapshotId) -> Result<Listed, SnapshotError> {
        self.listed(id)?.ok_or_else(|| SnapshotError::Unknown(id.clone()))
    }

    /// Removes a snapshot; one that is gone already is removed.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn remove(&self, id: &SnapshotId) -> Result<(), SnapshotError> {
        // The description goes last: until then the list shows what is left.
        for path in [self.dump(id), self.description(id)] {
            gone(&path)?;
        }
        Ok(())
    }

    /// Removes what killed writers left behind; answers how many.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn sweep(&self) -> Result<usize, SnapshotError> {
        let mut swept = 0;
        for name in self.names()? {
            let Some(id) = name.strip_suffix(".dump.partial").and_then(|id| id.parse::<SnapshotId>().ok())
            else {
                continue;
            };
            let path = self.partial(&id);
            // Whoever still writes holds the lock.
            if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
                gone(&self.description(&id))?;
                gone(&path)?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// Begins a dump.
    pub(super) fn begin(&self, id: &SnapshotId) -> Result<Partial, SnapshotError> {
        let path = self.partial(id);
        let failed = |source| SnapshotError::Folder { path: path.clone(), source };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|source| SnapshotError::Folder { path: self.0.clone(), source })?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        file.try_lock().map_err(|error| failed(error.into()))?;
        Ok(Partial { folder: self.clone(), id: id.clone(), path: path.clone(), _lock: file, done: false })
    }

    fn partial(&self, id: &SnapshotId) -> PathBuf {
        self.0.join(format!("{id}.dump.partial"))
    }

    fn listed(&self, id: &SnapshotId) -> Result<Option<Listed>, SnapshotError> {
        let path = self.description(id);
        let failed = |source| SnapshotError::Folder { path: path.clone(), source };
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let snapshot: Snapshot = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
        let condition = match fs::metadata(self.dump(id)) {
            Ok(found) if found.len() == snapshot.size_bytes => Condition::Good,
            Ok(_) => Condition::Cut,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Condition::Missing,
            Err(error) => return Err(failed(error)),
        };
        Ok(Some(Listed { snapshot, condition }))
    }

    /// The names in the folder; none while there is no folder.
    fn names(&self) -> Result<Vec<String>, SnapshotError> {
        let failed = |source| SnapshotError::Folder { path: self.0.clone(), source };
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(failed)?.file_name().into_string().ok());
        }
        Ok(names)
    }
}

fn gone(path: &Path) -> Result<(), SnapshotError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SnapshotError::Folder { path: path.to_owned(), source: error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A dump that is being written. Unless it is committed, it is removed.
#[derive(Debug)]
pub(super) struct Partial {
    folder: Folder,
    id: SnapshotId,
    path: PathBuf,
    /// Held until the dump has its name.
    _lock: File,
    done: bool,
}

impl Partial {
    /// The file as it is now.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, to be written.
    pub(super) fn file(&self) -> Result<File, SnapshotError> {
        self._lock.try_clone().map_err(|source| SnapshotError::Folder { path: self.path.clone(), source })
    }

    /// Describes the dump and gives it its name: from here on it is a snapshot, also after a power cut. Everything
    /// in it must have been synced before.
    pub(super) fn commit(mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let folder = |path: &Path| {
            let path = path.to_owned();
            move |source| SnapshotError::Folder { path, source }
        };
        let mut text = serde_json::to_vec_pretty(snapshot).map_err(|e| folder(&self.path)(e.into()))?;
        text.push(b'\n');
        let description = self.folder.description(&self.id);
        durable::replace(&description, &text, 0o600, Durability::Synced)
            .map_err(|error| SnapshotError::Folder { path: error.path, source: error.source })?;
        let named = self.folder.dump(&self.id);
        fs::rename(&self.path, &named).map_err(folder(&named))?;
        self.done = true;
        let path = self.folder.path();
        File::open(path).and_then(|folder| folder.sync_all()).map_err(folder(path))?;
        fs::set_permissions(&named, Permissions::from_mode(0o400)).map_err(folder(&named))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.done {
            // What cannot be removed now is swept before the next dump.
            let _ = gone(&self.folder.description(&self.id));
            let _ = gone(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use jiff::Timestamp;

    use super::*;

    fn snapshot(id: &SnapshotId, size: u64) -> Snapshot {
        Snapshot {
            id: id.clone(),
            deployment: None,
            database: "shop@db".to_owned(),
            tool: "pg_dump 15.1".to_owned(),
            server: "15.1".to_owned(),
            size_bytes: size,
            sha256: String::new(),
            created_at: Timestamp::UNIX_EPOCH,
            tables: 1,
        }
    }

    fn taken(folder: &Folder, bytes: &[u8]) -> SnapshotId {
        let id = SnapshotId::new(Timestamp::UNIX_EPOCH);
        let partial = folder.begin(&id).expect("begun");
        partial.file().expect("a file").write_all(bytes).expect("written");
        partial.commit(&snapshot(&id, bytes.len() as u64)).expect("committed");
        id
    }

    #[test]
    fn a_dump_is_no_snapshot_before_it_is_committed() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(home.path().join("snapshots"));
        assert_eq!(folder.list().expect("a list"), []);
        let id = SnapshotId::new(Timestamp::UNIX_EPOCH);
        let partial = folder.begin(&id).expect("begun");
        assert_eq!(folder.list().expect("a list"), []);
        assert_eq!(folder.sweep().expect("swept"), 0, "its writer lives");
        drop(partial);
        assert!(folder.names().expect("names").is_empty(), "nothing stays behind");

        let id = taken(&folder, b"dump");
        let list = folder.list().expect("a list");
        assert_eq!((&list[0].snapshot.id, list[0].condition), (&id, Condition::Good));
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&folder.dump(&id))), (0o700, 0o400));
    }

    #[test]
    fn what_a_killed_writer_left_is_swept_at_every_point_of_its_work() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(home.path().to_owned());
        let good = taken(&folder, b"dump");
        let dead = SnapshotId::new(Timestamp::UNIX_EPOCH);
        File::create(folder.partial(&dead)).expect("half a dump");
        fs::copy(folder.description(&good), folder.description(&dead)).expect("its description");
        assert_eq!(folder.list().expect("a list").len(), 1, "half a dump is not listed");
        assert_eq!(folder.sweep().expect("swept"), 1);
        assert_eq!(folder.names().expect("names").len(), 2, "the good one stays");
    }

    #[test]
    fn a_dump_that_was_cut_short_or_taken_away_is_not_good() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = Folder::new(home.path().to_owned());
        let id = taken(&folder, b"dump");
        fs::set_permissions(folder.dump(&id), Permissions::from_mode(0o600)).expect("writable");
        OpenOptions::new().write(true).open(folder.dump(&id)).and_then(|f| f.set_len(3)).expect("cut");
        assert_eq!(folder.find(&id).expect("listed").condition, Condition::Cut);
        fs::remove_file(folder.dump(&id)).expect("removed");
        assert_eq!(folder.find(&id).expect("listed").condition, Condition::Missing);
        folder.remove(&id).expect("removed");
        assert!(matches!(folder.find(&id), Err(SnapshotError::Unknown(_))));
    }
}
