//! Every change to the disk passes through here.
//!
//! So that a test can stop the process, as it were, before any of them: see `Fuse`.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use switcher_config::durable::{self, Durability};

use super::error::FolderError;

/// Nobody else may enter.
pub(super) const FOLDER_MODE: u32 = 0o700;
/// Nobody else may read.
pub(super) const FILE_MODE: u32 = 0o600;

/// The one who changes the disk.
#[derive(Debug, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) fuse: super::tests::Fuse,
}

impl Disk {
    /// Replaces a file, atomically and durably.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
        #[cfg(test)]
        self.fuse.burn_while_writing(path, bytes).map_err(at(path, "write"))?;
        Ok(durable::replace(path, bytes, FILE_MODE, Durability::Synced)?)
    }

    /// Removes a file for good. It need not be there.
    pub(super) fn remove(&self, path: &Path) -> Result<(), FolderError> {
        #[cfg(test)]
        self.fuse.burn().map_err(at(path, "remove"))?;
        match fs::remove_file(path) {
            Ok(()) => sync_parent(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(at(path, "remove")(error)),
        }
    }

    /// Moves a file to a name that nothing has.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), FolderError> {
        #[cfg(test)]
        self.fuse.burn().map_err(at(from, "move"))?;
        fs::rename(from, to).map_err(at(from, "move"))?;
        sync_parent(to)?;
        sync_parent(from)
    }

    /// Creates a folder that only we may enter. It may be there.
    pub(super) fn create_folder(&self, path: &Path) -> Result<(), FolderError> {
        #[cfg(test)]
        self.fuse.burn().map_err(at(path, "create the folder"))?;
        match DirBuilder::new().mode(FOLDER_MODE).create(path) {
            Ok(()) => sync_parent(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(error) => Err(at(path, "create the folder")(error)),
        }
    }

    /// Takes the rights of others away. Returns whether there were any.
    pub(super) fn tighten(&self, path: &Path, mode: u32) -> Result<bool, FolderError> {
        let metadata = fs::symlink_metadata(path).map_err(at(path, "look at"))?;
        if metadata.is_symlink() || metadata.permissions().mode() & 0o077 == 0 {
            return Ok(false);
        }
        #[cfg(test)]
        self.fuse.burn().map_err(at(path, "change the mode of"))?;
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(at(path, "change the mode of"))?;
        Ok(true)
    }
}

fn sync_parent(path: &Path) -> Result<(), FolderError> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(at(parent, "sync the folder"))
}

/// Says what was being done to what, for `map_err`.
pub(super) fn at(path: &Path, step: &'static str) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Disk { path, step, source }
}
