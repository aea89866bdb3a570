//! Secrets where they do not belong: in files, and on the command lines of processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The files below a folder in which one of these words stands: `file: word`.
#[must_use]
pub fn leaks_below(folder: &Path, words: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(leaks_below(&path, words)),
            Ok(kind) if kind.is_file() => {
                let bytes = fs::read(&path).unwrap_or_default();
                let inside = words.iter().filter(|word| contains(&bytes, word));
                found.extend(inside.map(|word| format!("{}: {word}", path.display())));
            }
            Ok(_) | Err(_) => {}
        }
    }
    found
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

/// Looks at the command line of every process of the machine, again and again, until it is dropped.
pub struct Watch {
    found: Arc<Mutex<BTreeSet<String>>>,
    stop: Arc<AtomicBool>,
    looking: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look for these words.
    #[must_use]
    pub fn over_processes(words: Vec<String>) -> Self {
        let (found, stop) = (Arc::<Mutex<BTreeSet<String>>>::default(), Arc::new(AtomicBool::new(false)));
        let (seen, stopped) = (Arc::clone(&found), Arc::clone(&stop));
        let looking = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let telling = command_lines().filter(|line| words.iter().any(|word| line.contains(word)));
                seen.lock().expect("what was found").extend(telling);
                std::thread::yield_now();
            }
        });
        Self { found, stop, looking: Some(looking) }
    }

    /// The command lines that had such a word.
    ///
    /// # Panics
    /// When the watch itself panicked.
    #[must_use]
    pub fn found(&self) -> BTreeSet<String> {
        self.found.lock().expect("what was found").clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(looking) = self.looking.take() {
            let _ = looking.join();
        }
    }
}

fn command_lines() -> impl Iterator<Item = String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::Daemon;
    use crate::until::{PATIENCE, until};

    #[test]
    fn a_word_is_found_in_a_file_of_any_depth() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("deep")).expect("a folder");
        crate::certificate::put(&folder.path().join("deep/log"), "the password is hunter2.");
        let words = |word: &str| [word.to_owned()];
        assert_eq!(leaks_below(folder.path(), &words("hunter2")).len(), 1);
        assert!(leaks_below(folder.path(), &words("hunter3")).is_empty());
    }

    #[tokio::test]
    async fn a_word_on_a_command_line_is_seen() {
        // Put together here, so that it stands on no command line of this test's own.
        let word = ["fox", "glove", "-1"].concat();
        let watch = Watch::over_processes(vec![word.clone()]);
        let _telling = Daemon::start("sh", &["-c", "sleep 600; :", &word], &[]);
        until(PATIENCE, "the word to be seen", || async { !watch.found().is_empty() }).await;
    }
}
