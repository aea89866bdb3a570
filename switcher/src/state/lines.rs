//! Files of lines, a JSON object each: the journal, the history and the audit log.
//!
//! A line is there when its newline is. What a crash left behind the last newline was never acknowledged: it is
//! not read, and the next line takes its place. Anything else that cannot be read is damage, and is named.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::StateError;

/// Appends a line durably. A failure leaves the lines before as they were.
pub(super) fn append(path: &Path, value: &impl Serialize) -> Result<(), StateError> {
    let mut line =
        serde_json::to_vec(value).map_err(io::Error::from).map_err(StateError::io("write", path))?;
    line.push(b'\n');
    let new = !path.exists();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path).map_err(StateError::io("open", path))?;
    let end = whole(&mut file).map_err(StateError::io("read", path))?;
    write_at(&mut file, end, &line).map_err(|error| {
        // Half a line would not be read either; without it the file is what it was.
        let _ = file.set_len(end);
        StateError::io("write", path)(error)
    })?;
    if new { sync_folder(path) } else { Ok(()) }
}

fn write_at(file: &mut File, end: u64, line: &[u8]) -> io::Result<()> {
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    file.write_all(line)?;
    file.sync_data()
}

/// Where the last whole line ends.
fn whole(file: &mut File) -> io::Result<u64> {
    let mut position = file.seek(SeekFrom::End(0))?;
    let mut block = [0_u8; 4096];
    while position > 0 {
        let start = position.saturating_sub(block.len() as u64);
        let part = &mut block[..usize::try_from(position - start).unwrap_or_default()];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(newline) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        position = start;
    }
    Ok(0)
}

/// The last whole line, where it can be read: damage is for [`read`] to name.
pub(super) fn last<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    let bytes = bytes(path)?.unwrap_or_default();
    let last = bytes[..end(&bytes)].rsplit(|byte| *byte == b'\n').next();
    Ok(last.and_then(|line| serde_json::from_slice(line).ok()))
}

/// Every whole line; none when there is no file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<Vec<T>>, StateError> {
    let Some(bytes) = bytes(path)? else { return Ok(None) };
    parse(&bytes).map(Some).map_err(|(line, why)| StateError::DamagedLine {
        file: path.to_owned(),
        line,
        why,
    })
}

fn bytes(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StateError::io("read", path)(error)),
    }
}

/// Where the newline of the last whole line stands.
fn end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0)
}

/// Pure: every whole line, or the number of the first that is damaged, from 1.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>, (usize, String)> {
    bytes[..end(bytes)]
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(index, line)| serde_json::from_slice(line).map_err(|error| (index + 1, error.to_string())))
        .collect()
}

/// Makes a name in a folder survive a power cut.
pub(super) fn sync_folder(path: &Path) -> Result<(), StateError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(StateError::io("sync the folder", folder))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    fn put(path: &Path, text: &str) {
        File::create(path).expect("a file").write_all(text.as_bytes()).expect("written");
    }

    #[test]
    fn lines_are_read_in_the_order_in_which_they_were_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines.jsonl");
        assert_eq!(read::<u32>(&path).expect("read"), None);
        for n in 0..3 {
            append(&path, &n).expect("appended");
        }
        assert_eq!(read::<u32>(&path).expect("read"), Some(vec![0, 1, 2]));
        assert_eq!(std::fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_torn_last_line_is_not_read_and_the_next_one_takes_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines.jsonl");
        for torn in ["1\n2\n{\"a\":", "1\n2\n3", "1\n2\n\0\0\0\0"] {
            put(&path, torn);
            assert_eq!(read::<u32>(&path).expect("read"), Some(vec![1, 2]), "{torn:?}");
            append(&path, &4).expect("appended");
            assert_eq!(read::<u32>(&path).expect("read"), Some(vec![1, 2, 4]), "{torn:?}");
        }
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_named_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines.jsonl");
        put(&path, "1\ntwo\n3\n");
        let error = read::<u32>(&path).expect_err("damage").to_string();
        assert!(error.starts_with(&format!("line 2 of {} is damaged: ", path.display())), "{error}");
        append(&path, &4).expect("appended");
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "1\ntwo\n3\n4\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn whatever_a_crash_leaves_of_the_last_line_the_others_stay(
            lines in prop::collection::vec("[a-z]{0,3000}", 0..6), cut in 0_usize..4000
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("lines.jsonl");
            for line in &lines {
                append(&path, line).expect("appended");
            }
            let whole = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            append(&path, &"x".repeat(4000)).expect("appended");
            let file = OpenOptions::new().write(true).open(&path).expect("open");
            file.set_len(whole + cut as u64).expect("cut");
            prop_assert_eq!(read::<String>(&path).expect("read"), Some(lines.clone()));
            append(&path, &"next").expect("appended");
            let next = lines.into_iter().chain(["next".to_owned()]).collect::<Vec<_>>();
            prop_assert_eq!(read::<String>(&path).expect("read"), Some(next));
        }
    }
}
