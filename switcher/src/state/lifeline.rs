//! The sign of life that no process can forget to take back: a lock on a file, which the kernel frees with its owner.
//!
//! `leases/<lock id>` is locked exclusively while the owner of that lease lives, and holds the id of the kernel it
//! runs on. Whoever wonders asks for a shared lock, so that two who wonder do not take each other for the owner.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ulid::Ulid;

use super::error::StateError;
use super::folder::lock_file;
use super::judge::{Host, conclusive};
use super::record::LockRecord;

/// Locked while this lives.
#[derive(Debug)]
pub(super) struct Lifeline {
    path: PathBuf,
    file: File,
    /// Whether the file goes with it. It stays where the lease could not be given back, for others to see that its
    /// owner is gone.
    pub(super) finished: bool,
}

impl Lifeline {
    /// Begins one under a new name: the lease's id.
    pub(super) fn begin(leases: &Path, here: &Host) -> Result<(String, Self), StateError> {
        let lock_id = format!("lock_{}", Ulid::generate());
        let path = leases.join(&lock_id);
        let mut line = Self { file: lock_file(&path)?, path, finished: true };
        line.file.lock().map_err(StateError::io("lock", &line.path))?;
        let boot_id = here.boot_id.as_deref().unwrap_or_default();
        line.file.write_all(boot_id.as_bytes()).map_err(StateError::io("write", &line.path))?;
        Ok((lock_id, line))
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        if self.finished {
            // A file that stays behind is swept by the next owner.
            let _ = std::fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
    }
}

/// Whether a lease's owner lives; none where its lock says nothing.
pub(super) fn owner_alive(leases: &Path, lock: &LockRecord, here: &Host) -> Option<bool> {
    let path = leases.join(lock.lock_id.as_ref()?);
    let boot_id = std::fs::read_to_string(&path).ok()?;
    let boot_id = Some(boot_id.as_str()).filter(|id| !id.is_empty());
    if !conclusive(here, lock.hostname.as_deref(), boot_id) {
        return None;
    }
    is_locked(&path)
}

fn is_locked(path: &Path) -> Option<bool> {
    match File::open(path).ok()?.try_lock_shared() {
        Ok(()) => Some(false),
        Err(TryLockError::WouldBlock) => Some(true),
        Err(TryLockError::Error(_)) => None,
    }
}

/// Removes what dead owners left behind. Best effort: it is in nobody's way.
pub(super) fn sweep(leases: &Path, current: &str) {
    let Ok(entries) = std::fs::read_dir(leases) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name() != OsStr::new(current)) {
        if is_locked(&entry.path()) == Some(false) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
