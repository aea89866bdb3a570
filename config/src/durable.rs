//! Durable file replacement: the one way in which either program overwrites a file that matters.
//!
//! A reader sees the old bytes or the new bytes, never a mixture, also after a crash or a power cut:
//! the new bytes go to a temporary file in the same folder, are synced, take the old name in one
//! rename, and the folder is synced so that the rename itself survives.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A file that could not be replaced. The old content is still in place.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}: {source}", path.display())]
pub struct ReplaceError {
    /// The file or folder the failing step was about.
    pub path: PathBuf,
    /// What was being done: `write`, `sync`, `rename to`, …
    pub step: &'static str,
    /// What the system answered.
    pub source: io::Error,
}

impl ReplaceError {
    /// Whether the disk or the quota is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// What happens to the content that is being replaced.
#[derive(Debug, Clone, Copy)]
pub enum Previous<'a> {
    /// It is dropped.
    Discard,
    /// It lives on under this name, in the same folder.
    KeepAs(&'a Path),
}

/// Replaces `path` by `bytes`, durably and atomically, with the given permission bits.
///
/// # Errors
/// When any step fails; up to the rename the old content is untouched, and after a failed sync of the
/// folder either content may be found after a power cut.
pub fn replace(path: &Path, bytes: &[u8], mode: u32, previous: Previous<'_>) -> Result<(), ReplaceError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let at = |path: &Path, step: &'static str| {
        let path = path.to_owned();
        move |source: io::Error| ReplaceError { path, step, source }
    };
    let mut temporary = tempfile::Builder::new()
        .prefix(".switcher-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)
        .map_err(at(folder, "create a temporary file in"))?;
    temporary.write_all(bytes).map_err(at(path, "write"))?;
    temporary.as_file().sync_all().map_err(at(path, "sync"))?;
    if let Previous::KeepAs(copy) = previous {
        keep(path, copy).map_err(at(copy, "keep the last good copy as"))?;
    }
    temporary.persist(path).map_err(|e| ReplaceError {
        path: path.to_owned(),
        step: "rename to",
        source: e.error,
    })?;
    File::open(folder).and_then(|f| f.sync_all()).map_err(at(folder, "sync the folder"))
}

/// Links the current content under a second name, which a later rename of the first does not touch.
/// The link is made beside and renamed, so `copy` is never missing.
fn keep(path: &Path, copy: &Path) -> io::Result<()> {
    let mut staging = copy.as_os_str().to_owned();
    staging.push(".new");
    let staging = PathBuf::from(staging);
    match fs::remove_file(&staging) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    match fs::hard_link(path, &staging) {
        Ok(()) => fs::rename(&staging, copy),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_content_takes_the_name_and_the_old_is_kept_where_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, copy) = (folder.path().join("state"), folder.path().join("state.last-good"));
        for (round, content) in ["one", "two", "three"].iter().enumerate() {
            replace(&path, content.as_bytes(), 0o600, Previous::KeepAs(&copy)).expect("replaced");
            assert_eq!(fs::read_to_string(&path).expect("state"), *content);
            assert_eq!(copy.exists(), round > 0);
        }
        assert_eq!(fs::read_to_string(&copy).expect("the copy"), "two");
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(folder.path()).expect("a listing").count(),
            2,
            "no temporary file stays behind"
        );
    }

    #[test]
    fn a_failure_leaves_the_old_content_and_names_the_folder() {
        let missing = Path::new("/nonexistent-folder/state");
        let error = replace(missing, b"x", 0o600, Previous::Discard).expect_err("the folder is missing");
        assert_eq!(error.path, Path::new("/nonexistent-folder"));
        assert!(error.to_string().starts_with("cannot create a temporary file in /nonexistent-folder: "));
    }
}
