//! Durable file replacement: the one way in which either program overwrites a file that matters.
//!
//! A reader sees the old bytes or the new bytes, never a mixture, also after a crash or a power cut:
//! the new bytes go to a temporary file in the same folder, are synced, take the old name in one
//! rename, and the folder is synced so that the rename itself survives.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A file that could not be replaced. The old content is still in place, unless `replaced` says otherwise.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}: {source}", path.display())]
pub struct ReplaceError {
    /// The file or folder the failing step was about.
    pub path: PathBuf,
    /// What was being done: `write`, `sync`, `rename to`, …
    pub step: &'static str,
    /// What the system answered.
    pub source: io::Error,
    /// Whether the new content is in place all the same, though a power cut could take it back.
    pub replaced: bool,
}

impl ReplaceError {
    /// Whether the disk or the quota is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// What a replacement has to survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power cut, from the moment it is done.
    Synced,
    /// The end of the process. Much cheaper.
    Unsynced,
}

/// Replaces `path` by `bytes`, atomically, with the given permission bits.
///
/// # Errors
/// When any step fails. Up to the rename the old content is untouched.
pub fn replace(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> Result<(), ReplaceError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let at = |path: &Path, step: &'static str, replaced: bool| {
        let path = path.to_owned();
        move |source: io::Error| ReplaceError { path, step, source, replaced }
    };
    let temporary = tempfile::Builder::new()
        .prefix(".switcher-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)
        .map_err(at(folder, "create a temporary file in", false))?;
    temporary.as_file().write_all(bytes).map_err(at(path, "write", false))?;
    if durability == Durability::Synced {
        temporary.as_file().sync_all().map_err(at(path, "sync", false))?;
    }
    temporary.persist(path).map_err(|e| at(path, "rename to", false)(e.error))?;
    if durability == Durability::Synced {
        File::open(folder).and_then(|f| f.sync_all()).map_err(at(folder, "sync the folder", true))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_new_content_takes_the_name_and_leaves_nothing_else_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        for (content, durability) in [("one", Durability::Synced), ("two", Durability::Unsynced)] {
            replace(&path, content.as_bytes(), 0o600, durability).expect("replaced");
            assert_eq!(fs::read_to_string(&path).expect("state"), content);
        }
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(folder.path()).expect("a listing").count(),
            1,
            "no temporary file stays behind"
        );
    }

    #[test]
    fn a_failure_leaves_the_old_content_and_names_the_folder() {
        let missing = Path::new("/nonexistent-folder/state");
        let error = replace(missing, b"x", 0o600, Durability::Synced).expect_err("the folder is missing");
        assert_eq!(error.path, Path::new("/nonexistent-folder"));
        assert!(error.to_string().starts_with("cannot create a temporary file in /nonexistent-folder: "));
    }
}
