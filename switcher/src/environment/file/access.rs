//! Who may read an env file: nobody but its owner, and its owner is this user or root.
//!
//! What is judged is the file that was opened, so nothing can be put in its place in between.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use switcher_config::Problem;

use super::super::problem::problem;
use super::LONGEST;
use crate::context::quoted;

/// Reads a file that only its owner can read. A symbolic link is followed, and what it leads to is judged.
pub(in super::super) fn read(path: &Path) -> Result<String, Box<Problem>> {
    let shown = path.display().to_string();
    let wrong = |message: String, hint: String| Box::new(problem(&shown, None, "", message, hint));
    let unreadable = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            let hint = "make it, with mode 0600, or take its name out of the configuration";
            return wrong("there is no such file".to_owned(), hint.to_owned());
        }
        wrong(format!("it cannot be read: {error}"), "see who may read it: `ls -l` of that file".to_owned())
    };
    // A pipe must not hold the deployment up.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut file = File::options().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if let Some((message, hint)) = objection(path, &metadata, rustix::process::geteuid().as_raw()) {
        return Err(wrong(message, hint));
    }
    let bytes = contents(&mut file).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST {
        return Err(wrong("it is longer than 1MiB".to_owned(), "is it the file that was meant?".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let hint = "save the file as UTF-8, or write the value in base64";
        Box::new(problem(&shown, Some(line), "", "this line is not UTF-8", hint))
    })
}

fn contents(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Why a file may not be used: what is wrong and the way out.
fn objection(path: &Path, metadata: &Metadata, us: u32) -> Option<(String, String)> {
    let mode = metadata.mode() & 0o7777;
    let owner = metadata.uid();
    let name = quoted(path.as_os_str());
    if !metadata.is_file() {
        Some(("it is no file".to_owned(), "name a file of NAME=value lines".to_owned()))
    } else if owner != us && owner != 0 {
        let message = format!("it belongs to user {owner}, who could change what is deployed");
        Some((message, format!("sudo chown {us} {name}")))
    } else if mode & 0o077 != 0 {
        let message =
            format!("its mode is {mode:04o}: others than its owner may use it, and it holds secrets");
        Some((message, format!("chmod 600 {name}")))
    } else {
        None
    }
}
