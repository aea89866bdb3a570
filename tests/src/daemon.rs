//! A program of the machine's that a test starts as its own child: killed by its pid when dropped, and what it
//! wrote is shown when the test fails.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::output::Output;

/// A running program.
pub struct Daemon {
    name: &'static str,
    child: Child,
    output: Output,
    readers: Vec<JoinHandle<()>>,
}

/// Where a program of the machine's is, also where only root looks for it.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Says which of these programs this machine lacks, for [`crate::skip_or_fail`].
#[must_use]
pub fn lacking(names: &[&str]) -> Option<String> {
    let lacking: Vec<&str> = names.iter().copied().filter(|name| program(name).is_none()).collect();
    (!lacking.is_empty()).then(|| format!("{} is not installed; run `./setup --tests`", lacking.join(", ")))
}

impl Daemon {
    /// Starts a program that stays in the foreground.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &'static str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let path = program(name).unwrap_or_else(|| panic!("{name} is not installed"));
        let mut command = Command::new(path);
        command.args(arguments).envs(environment.iter().copied());
        Self::spawn(name, command)
    }

    /// Starts a command of the test's own making, under a name for messages.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(name: &'static str, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        let output = Output::default();
        let readers = vec![
            output.follow(child.stdout.take().expect("its output")),
            output.follow(child.stderr.take().expect("its errors")),
        ];
        Self { name, child, output, readers }
    }

    /// Everything it wrote.
    #[must_use]
    pub const fn output(&self) -> &Output {
        &self.output
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        let running = self.child.try_wait().is_ok_and(|ended| ended.is_none());
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).filter(|_| running) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|ended| ended.is_some())
    }

    /// That it still runs.
    ///
    /// # Panics
    /// When it ended; the message shows what it wrote.
    pub fn insist(&mut self) {
        let ended = self.child.try_wait().expect("its state");
        assert!(ended.is_none(), "{} ended ({ended:?}): {}", self.name, self.output.text());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for reader in self.readers.drain(..) {
                let _ = reader.join();
            }
            let lines = self.output.lines();
            let last = lines.len().saturating_sub(80);
            eprintln!("--- the last lines of {}\n{}", self.name, lines[last..].join("\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::until::{PATIENCE, until};

    #[tokio::test]
    async fn a_program_ends_with_its_value_and_its_words_are_kept() {
        let mut daemon = Daemon::start("sh", &["-c", "echo up; exec sleep 600"], &[]);
        until(PATIENCE, "its word", || async { daemon.output().text() == "up" }).await;
        daemon.insist();
        let folder = PathBuf::from(format!("/proc/{}", daemon.child.id()));
        assert!(folder.exists());
        drop(daemon);
        assert!(!folder.exists());
    }

    #[test]
    fn a_program_that_nobody_has_is_named() {
        assert_eq!(lacking(&["sh"]), None);
        assert!(lacking(&["sh", "a-tool-that-nobody-has"]).is_some_and(|why| why.starts_with("a-tool")));
    }
}
