//! Files and folders put in place: made when they are missing, never changed when they are there.
//!
//! A file appears whole or not at all. So a run that was cut short is simply run again.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use switcher_config::durable::{Durability, replace};

use super::diff::unified;

/// A file or folder that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where.
    pub path: PathBuf,
    /// What is to stand in it.
    pub content: Content,
    /// Its permission bits.
    pub mode: u32,
}

/// What is wanted at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A folder.
    Folder,
    /// A file with this text.
    Text(String),
    /// A copy of this file.
    Copy(PathBuf),
}

/// How it is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Whether nothing is written.
    pub dry: bool,
    /// Whether differences are told.
    pub diff: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Outcome {
    /// It was missing, and was made.
    Made,
    /// It is missing, and would be made.
    ToDo,
    /// It is there as it would be written.
    AsItIs,
    /// It is there and stays, though it differs.
    Kept {
        /// Where it differs; none where nobody asked.
        #[serde(skip_serializing_if = "Option::is_none")]
        diff: Option<String>,
    },
    /// It is there, stays, and holds another program.
    Another,
}

/// A path with what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// The path.
    pub path: PathBuf,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Why something could not be put in place.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be made: {why}", path.display())]
pub struct Unplaced {
    /// The path.
    pub path: PathBuf,
    /// What the system said.
    pub why: String,
    /// Whether there is no room.
    pub full: bool,
}

fn failed(path: &Path, error: &io::Error) -> Unplaced {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    Unplaced { path: path.to_owned(), why: error.to_string(), full }
}

impl Wanted {
    /// Makes it, unless it is there or nothing is to be written.
    ///
    /// # Errors
    /// When it cannot be looked at or made.
    pub fn put(&self, look: Look) -> Result<Placed, Unplaced> {
        let outcome = match self.found(look)? {
            Some(outcome) => outcome,
            None if look.dry => Outcome::ToDo,
            None => {
                self.make()?;
                Outcome::Made
            }
        };
        Ok(Placed { path: self.path.clone(), outcome })
    }

    /// What is there already; none when nothing is.
    fn found(&self, look: Look) -> Result<Option<Outcome>, Unplaced> {
        let there = match fs::metadata(&self.path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match fs::symlink_metadata(&self.path) {
                    Ok(_) => {
                        Err(failed(&self.path, &io::Error::other("a link that leads nowhere has its name")))
                    }
                    Err(_) => Ok(None),
                };
            }
            Err(error) => return Err(failed(&self.path, &error)),
        };
        let odd = |why: &str| Unplaced { path: self.path.clone(), why: why.to_owned(), full: false };
        match &self.content {
            Content::Folder if there.is_dir() => Ok(Some(Outcome::AsItIs)),
            Content::Folder => Err(odd("a file has its name; move it away")),
            Content::Text(_) | Content::Copy(_) if !there.is_file() => {
                Err(odd("something else than a file has its name; move it away"))
            }
            Content::Text(text) => {
                let bytes = fs::read(&self.path).map_err(|error| failed(&self.path, &error))?;
                if bytes == text.as_bytes() {
                    return Ok(Some(Outcome::AsItIs));
                }
                let name = self.path.display().to_string();
                let diff = look.diff.then(|| unified(&name, &String::from_utf8_lossy(&bytes), text));
                Ok(Some(Outcome::Kept { diff }))
            }
            // A program of another version is somebody's choice.
            Content::Copy(from) => Ok(Some(match same(from, &self.path) {
                true => Outcome::AsItIs,
                false => Outcome::Another,
            })),
        }
    }

    fn make(&self) -> Result<(), Unplaced> {
        let folder = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        let fail = |error: &io::Error| failed(&self.path, error);
        DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(|error| fail(&error))?;
        let bytes = match &self.content {
            Content::Folder => {
                return DirBuilder::new().mode(self.mode).create(&self.path).map_err(|error| fail(&error));
            }
            Content::Text(text) => text.clone().into_bytes(),
            Content::Copy(from) => fs::read(from).map_err(|error| failed(from, &error))?,
        };
        replace(&self.path, &bytes, self.mode, Durability::Synced).map_err(|error| fail(&error.source))
    }
}

/// Whether two files hold the same bytes; one that cannot be read is another.
fn same(a: &Path, b: &Path) -> bool {
    let size = |path: &Path| fs::metadata(path).map(|there| there.len()).ok();
    size(a) == size(b) && matches!((fs::read(a), fs::read(b)), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const DIFF: Look = Look { dry: false, diff: true };

    fn text(path: PathBuf, text: &str) -> Wanted {
        Wanted { path, content: Content::Text(text.to_owned()), mode: 0o640 }
    }

    #[test]
    fn what_is_missing_is_made_once_and_never_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("etc/switcher/switcher.yaml");
        assert_eq!(
            text(path.clone(), "a\n").put(Look { dry: true, diff: false }).expect("a look").outcome,
            Outcome::ToDo
        );
        assert!(!path.exists());
        assert_eq!(text(path.clone(), "a\n").put(DIFF).expect("made").outcome, Outcome::Made);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);
        let before = fs::metadata(&path).and_then(|there| there.modified()).expect("a time");
        assert_eq!(text(path.clone(), "a\n").put(DIFF).expect("there").outcome, Outcome::AsItIs);
        let Outcome::Kept { diff: Some(diff) } = text(path.clone(), "b\n").put(DIFF).expect("there").outcome
        else {
            panic!("another text is kept");
        };
        assert!(diff.contains("-a\n+b\n"), "{diff}");
        assert_eq!(fs::read_to_string(&path).expect("there"), "a\n");
        assert_eq!(fs::metadata(&path).and_then(|there| there.modified()).expect("a time"), before);
    }

    #[test]
    fn what_stands_in_the_way_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        text(path.clone(), "").put(DIFF).expect("made");
        let error = text(path.join("below"), "x").put(DIFF).expect_err("a file is no folder");
        assert!(error.to_string().contains("file/below"), "{error}");
        let folder_there = Wanted { path, content: Content::Folder, mode: 0o700 };
        assert!(folder_there.put(DIFF).is_err());
    }

    #[test]
    fn a_full_disk_is_told_as_such_and_a_link_is_not_replaced() {
        assert!(failed(Path::new("x"), &io::Error::from(io::ErrorKind::StorageFull)).full);
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join("link");
        symlink("/nonexistent/file", &link).expect("a link");
        let error = text(link.clone(), "x").put(DIFF).expect_err("it leads nowhere");
        assert!(!error.full && error.to_string().contains("leads nowhere"), "{error}");
        assert!(fs::symlink_metadata(&link).is_ok_and(|there| there.is_symlink()));
    }
}
