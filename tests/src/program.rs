//! Where the two real programs are, and whether they are those of the sources.
//!
//! A program older than one of its sources would make every result a lie, so it is refused.

use std::fs;
use std::path::{Path, PathBuf};

const BUILD: &str = "cargo build -p switcher-proxy -p switcher";

/// The path of a built program: beside the test executable, or in the folder that `$SWITCHER_BIN` names.
///
/// # Panics
/// When it is missing or stale; the message says what to run.
#[must_use]
pub fn find(name: &str) -> PathBuf {
    let path = folder().join(name);
    assert!(path.exists(), "{} is not built; run `{BUILD}`", path.display());
    if let Some(newer) = newer_source(&path) {
        panic!("{} is older than {}; run `{BUILD}`", path.display(), newer.display());
    }
    path
}

fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("SWITCHER_BIN") {
        return folder.into();
    }
    let test = std::env::current_exe().expect("the test's own path");
    let deps = test.parent().expect("its folder");
    deps.parent().expect("the folder of programs").to_owned()
}

/// A source that changed after the program was built, by the list that cargo leaves beside it.
fn newer_source(program: &Path) -> Option<PathBuf> {
    let list = fs::read_to_string(program.with_extension("d")).ok()?;
    let built = fs::metadata(program).and_then(|m| m.modified()).ok()?;
    let sources = list.split_once(": ").map(|(_, sources)| sources.to_owned())?;
    sources
        .split_whitespace()
        .map(PathBuf::from)
        .find(|source| fs::metadata(source).and_then(|m| m.modified()).is_ok_and(|changed| changed > built))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_program_older_than_a_source_is_stale() {
        let folder = tempfile::tempdir().expect("a folder");
        let [program, source, list] = ["tool", "main.rs", "tool.d"].map(|n| folder.path().join(n));
        for path in [&program, &source] {
            fs::File::create(path).expect("a file");
        }
        crate::certificate::put(&list, &format!("{}: {}\n", program.display(), source.display()));
        let set =
            |path: &Path, at| fs::File::options().write(true).open(path).and_then(|f| f.set_modified(at));
        let now = SystemTime::now();
        set(&program, now).expect("a time");
        set(&source, now - Duration::from_secs(9)).expect("a time");
        assert_eq!(newer_source(&program), None);
        set(&source, now + Duration::from_secs(9)).expect("a time");
        assert_eq!(newer_source(&program), Some(source));
    }
}
