//! The files of a source, and those that they include: read, never changed, and never without bounds.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The largest file that is read, in bytes.
pub const MAX_FILE: usize = 1 << 20;

/// The most files that one pattern may name.
const MAX_MATCHES: usize = 1000;

/// Where files are read from: relative names are looked for in a folder. Beside it lie the variables of the environment.
#[derive(Debug, Clone)]
pub struct Shelf {
    folder: PathBuf,
    environment: BTreeMap<String, String>,
}

impl Shelf {
    /// The files as they are seen from a folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), environment: BTreeMap::new() }
    }

    /// The same files, read by a program that has these variables.
    #[must_use]
    pub fn with(self, environment: BTreeMap<String, String>) -> Self {
        Self { environment, ..self }
    }

    /// The variables of the environment.
    #[must_use]
    pub const fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// Where a name leads to.
    #[must_use]
    pub fn place(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// Where a name leads to, by whatever links; as it is written where nothing is there.
    #[must_use]
    pub fn real(&self, path: &Path) -> PathBuf {
        let place = self.place(path);
        std::fs::canonicalize(&place).unwrap_or(place)
    }

    /// The text of a file; else what is wrong with it.
    ///
    /// # Errors
    /// When it cannot be read, is too large or no text.
    pub fn text(&self, path: &Path) -> Result<String, String> {
        let bytes = contents(&self.place(path))?;
        String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
    }

    /// The files that a pattern names, in order: `*` and `?` stand for any letters of one name.
    #[must_use]
    pub fn matching(&self, pattern: &Path) -> Vec<PathBuf> {
        let mut found = vec![PathBuf::new()];
        for part in pattern.components() {
            let name = part.as_os_str().to_string_lossy();
            if !name.contains(['*', '?']) {
                found.iter_mut().for_each(|path| path.push(part));
                continue;
            }
            found = found.iter().flat_map(|folder| self.entries(folder, &name)).take(MAX_MATCHES).collect();
        }
        found.retain(|path| self.place(path).is_file());
        found.sort();
        found
    }

    fn entries(&self, folder: &Path, pattern: &str) -> Vec<PathBuf> {
        let Ok(listing) = std::fs::read_dir(self.place(folder)) else { return Vec::new() };
        let names = listing.flatten().map(|entry| entry.file_name());
        let fit = names.filter(|name| {
            let name = name.to_string_lossy();
            fits(pattern.as_bytes(), name.as_bytes()) && (!name.starts_with('.') || pattern.starts_with('.'))
        });
        fit.map(|name| folder.join(name)).collect()
    }
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            fits(rest, name) || name.split_first().is_some_and(|(_, behind)| fits(pattern, behind))
        }
        (Some((b'?', rest)), Some((_, behind))) => fits(rest, behind),
        (Some((one, rest)), Some((other, behind))) => one == other && fits(rest, behind),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The bytes of a file; of nothing that never ends or has to be waited for. Else what is wrong with it.
///
/// # Errors
/// When it cannot be read, or is too large.
pub fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let unread = |error: io::Error| format!("cannot be read: {error}");
    // To open a pipe would wait for somebody who writes into it.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(unread)?;
    if !file.metadata().map_err(unread)?.is_file() {
        return Err("is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() > MAX_FILE { Err("is larger than 1MiB".to_owned()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use switcher_config::durable::{Durability, replace};

    use super::*;

    #[test]
    fn a_pattern_names_files_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.conf", "a.conf", "c.txt", ".d.conf"] {
            replace(&folder.path().join(name), b"x", 0o600, Durability::Unsynced).expect("a file");
        }
        let shelf = Shelf::at(folder.path());
        assert_eq!(shelf.matching(Path::new("*.conf")), [Path::new("a.conf"), Path::new("b.conf")]);
        assert_eq!(shelf.matching(Path::new("?.txt")), [Path::new("c.txt")]);
        assert!(shelf.matching(Path::new("no/*")).is_empty() && shelf.matching(Path::new("no")).is_empty());
        assert!(shelf.text(Path::new("no")).is_err_and(|why| why.contains("cannot be read")));
    }
}
