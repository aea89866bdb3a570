//! The data folder: made when missing, owned by one proxy at a time.
//!
//! Two processes that each believe to own the routing state would undo each other's switches, so the
//! folder is locked for as long as the process lives. A new process that takes over gets the lock
//! together with the listening sockets.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::listen::Inherited;

/// The name under which the lock is handed over.
const LOCK: &str = "lock";

/// What durable replacement calls its temporary files.
const TEMPORARY: &str = ".switcher-";

/// The data folder could not be used.
#[derive(Debug, thiserror::Error)]
pub enum UnusableFolder {
    /// The operating system refused.
    #[error("the data folder {} cannot be used: {source}. Create it for this user, or choose another with `proxy.data_dir`", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Another process owns it.
    #[error("the data folder {} belongs to another running switcher-proxy. Stop that one, give this one a `proxy.data_dir` of its own, or take over with --upgrade", .0.display())]
    Taken(PathBuf),
}

/// The lock on the data folder. Held as long as the process lives.
#[derive(Debug)]
pub struct FolderLock(File);

impl FolderLock {
    /// Makes the folder where it is missing, and locks it, or takes the lock that was handed over.
    ///
    /// # Errors
    /// When it cannot be written to, or belongs to another process.
    pub fn take(folder: &Path, inherited: &mut Inherited) -> Result<Self, UnusableFolder> {
        let unusable = |source| UnusableFolder::Io { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(unusable)?;
        let lock = match inherited.remove(LOCK) {
            Some(fd) => File::from(fd),
            None => locked(folder)?,
        };
        sweep(folder).map_err(unusable)?;
        // That a file can be made is better known now than at the first promote.
        tempfile::tempfile_in(folder).map_err(unusable)?;
        Ok(Self(lock))
    }

    /// A duplicate with its name, to hand over.
    ///
    /// # Errors
    /// When no descriptors are left.
    pub fn to_hand_over(&self) -> io::Result<(String, OwnedFd)> {
        Ok((LOCK.to_owned(), self.0.try_clone()?.into()))
    }
}

fn locked(folder: &Path) -> Result<File, UnusableFolder> {
    let unusable = |source| UnusableFolder::Io { path: folder.to_owned(), source };
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    let file = options.open(folder.join("proxy.lock")).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(UnusableFolder::Taken(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Takes away what a killed process left half-written. Nobody else writes here while the lock is held.
fn sweep(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut nothing = Inherited::new();
        let owner = FolderLock::take(folder.path(), &mut nothing).expect("free");
        let refused = FolderLock::take(folder.path(), &mut nothing).expect_err("taken");
        assert!(refused.to_string().contains("belongs to another running switcher-proxy"), "{refused}");
        let mut handed = Inherited::from([owner.to_hand_over().expect("a duplicate")]);
        let heir = FolderLock::take(folder.path(), &mut handed).expect("handed over");
        drop(owner);
        assert!(FolderLock::take(folder.path(), &mut nothing).is_err(), "the heir holds it on");
        drop(heir);
        assert!(FolderLock::take(folder.path(), &mut nothing).is_ok());
    }

    #[test]
    fn what_a_killed_process_left_is_taken_away() {
        let folder = tempfile::tempdir().expect("a folder");
        File::create(folder.path().join(".switcher-abc")).expect("a leftover");
        let _lock = FolderLock::take(folder.path(), &mut Inherited::new()).expect("free");
        assert!(!folder.path().join(".switcher-abc").exists());
    }
}
