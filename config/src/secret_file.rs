//! A small file that holds one secret: a key, a token, or an address that nobody else is to know.
//!
//! Invariant: only its owner can use it, and no message holds what is in it. What is judged is the file that was opened.
//! The proxy reads tokens of previews by it, the command line keys and addresses of notifications and the webhook's.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The longest file, in bytes.
const LONGEST: u64 = 64 << 10;

/// Whose a file may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This user's or root's: nobody else can have written it.
    UsOrRoot,
    /// Anybody's: a file that is mounted into a container keeps the owner that it has outside.
    Anybody,
}

/// The text without blanks around it.
///
/// # Errors
/// A sentence that names the file and the way out.
pub fn read(path: &Path, owner: Owner) -> Result<String, String> {
    let told = |why: &str| format!("{}: {why}", path.display());
    // A pipe must not hold anything up.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| told(&error.to_string()))?;
    let metadata = file.metadata().map_err(|error| told(&error.to_string()))?;
    if let Some(why) = objection(path, &metadata, owner) {
        return Err(told(&why));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| told(&error.to_string()))?;
    if bytes.len() as u64 > LONGEST {
        return Err(told("it is too long for a secret"));
    }
    let text = String::from_utf8(bytes).map_err(|_| told("it is not UTF-8"))?;
    let text = text.trim();
    if text.is_empty() { Err(told("it is empty")) } else { Ok(text.to_owned()) }
}

fn objection(path: &Path, metadata: &Metadata, wanted: Owner) -> Option<String> {
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    let ours = || owner == 0 || owner == rustix::process::geteuid().as_raw();
    if !metadata.is_file() {
        Some("it is no file".to_owned())
    } else if wanted == Owner::UsOrRoot && !ours() {
        Some(format!("it belongs to user {owner}; `chown` it to the one who reads it"))
    } else if mode & 0o077 != 0 {
        Some(format!("others can use it, its mode is {mode:04o}; run `chmod 600 {}`", path.display()))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::{Durability, replace};

    #[test]
    fn only_a_file_of_one_secret_that_nobody_else_can_read_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, text: &str, mode: u32| {
            let path = folder.path().join(name);
            replace(&path, text.as_bytes(), mode, Durability::Unsynced).expect("a written file");
            path
        };
        assert_eq!(read(&put("good", " hunter2\n", 0o600), Owner::UsOrRoot).as_deref(), Ok("hunter2"));
        for (path, why) in [
            (put("open", "hunter2", 0o640), "its mode is 0640"),
            (put("empty", "\n", 0o600), "it is empty"),
            (put("long", &"x".repeat(70_000), 0o600), "too long"),
            (folder.path().to_owned(), "it is no file"),
            (folder.path().join("none"), "No such file"),
        ] {
            let told = read(&path, Owner::Anybody).expect_err("refused");
            assert!(told.contains(why) && !told.contains("hunter2"), "{told}");
        }
    }
}
