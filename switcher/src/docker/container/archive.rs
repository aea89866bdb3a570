//! Files put into a container before it starts, as the tar archive that the engine takes.
//!
//! The archive lives in memory and goes straight to the engine: nothing of it is in the engine's description of the
//! container, nothing on our disk. Called by `docker::container`.

use std::collections::BTreeSet;
use std::io;

use tar::{Builder, EntryType, Header};

use crate::container::SecretFile;

/// Readable by whichever user the image runs as; the container is the border.
const FILE_MODE: u32 = 0o444;
const FOLDER_MODE: u32 = 0o755;

/// Every folder above the files, outermost first, such as `/run` and `/run/secrets`.
pub(super) fn folders(files: &[SecretFile]) -> BTreeSet<String> {
    files.iter().flat_map(|file| ancestors(&file.path)).collect()
}

fn ancestors(path: &str) -> impl Iterator<Item = String> {
    path.match_indices('/').map(|(at, _)| &path[..at]).filter(|folder| !folder.is_empty()).map(str::to_owned)
}

/// The archive, to be unpacked at `/`: the folders in `missing`, then the files; all of them root's.
///
/// Folders that are there already must not be named: unpacking would change their mode, and a link that stands for
/// a folder would be replaced by one.
pub(super) fn archive(files: &[SecretFile], missing: &BTreeSet<String>) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for folder in missing {
        let path = format!("{}/", folder.trim_start_matches('/'));
        append(&mut archive, &path, EntryType::Directory, FOLDER_MODE, &[])?;
    }
    for file in files {
        let path = file.path.trim_start_matches('/');
        append(&mut archive, path, EntryType::Regular, FILE_MODE, &file.content)?;
    }
    archive.into_inner()
}

fn append(
    archive: &mut Builder<Vec<u8>>,
    path: &str,
    kind: EntryType,
    mode: u32,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, path, bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn file(path: &str) -> SecretFile {
        SecretFile { path: path.to_owned(), content: b"s3cret".to_vec() }
    }

    #[test]
    fn folders_are_named_outermost_first() {
        let found = folders(&[file("/run/secrets/b"), file("/run/secrets/a"), file("/top")]);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["/run", "/run/secrets"]);
    }

    #[test]
    fn files_are_roots_and_for_reading_only() {
        let bytes = archive(&[file("/run/secrets/a")], &BTreeSet::from(["/run/secrets".to_owned()]));
        let bytes = bytes.expect("an archive");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let found: Vec<_> = archive
            .entries()
            .expect("entries")
            .map(|entry| {
                let mut entry = entry.expect("an entry");
                let mut content = String::new();
                entry.read_to_string(&mut content).expect("content");
                let header = entry.header();
                let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                (path, header.mode().expect("a mode"), header.uid().expect("an owner"), content)
            })
            .collect();
        assert_eq!(
            found,
            [
                ("run/secrets/".to_owned(), 0o755, 0, String::new()),
                ("run/secrets/a".to_owned(), 0o444, 0, "s3cret".to_owned())
            ]
        );
    }
}
