//! Other people's servers, and ours, as child processes of a bench: each in a folder of its own, ended by its own pid.
//!
//! Used by every bench that sets this proxy beside nginx, `HAProxy`, Caddy and Traefik. A server that is not installed is no
//! error: it is skipped, and the report says why.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use switcher::demo::trouble::Trouble;
use tempfile::TempDir;

pub mod caddy;
pub mod config;
mod pypi;
pub mod traefik;

/// How many bytes of what a server said are repeated when it does not start.
const LAST_WORDS: usize = 800;

/// A running server. It ends when dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    folder: TempDir,
    end: Signal,
}

/// An installed program, also where only root's path leads: Debian keeps servers there.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A folder for a server's files.
///
/// # Errors
/// When the system refuses.
pub fn folder() -> Result<TempDir, Trouble> {
    tempfile::Builder::new().prefix("switcher-bench-").tempdir().map_err(Trouble::system("make a folder"))
}

impl Peer {
    /// Starts a command line in `folder`, which is removed with it. `end` is the signal that ends it: KILL for a
    /// process that stands alone, TERM for one that has workers to take along.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(folder: TempDir, line: &[String], end: Signal) -> Result<Self, Trouble> {
        let log = File::create(folder.path().join("said")).map_err(Trouble::system("make a log"))?;
        let (program, arguments) = line.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
        let mut command = Command::new(program);
        // The configuration alone decides: no setting of the user's own environment reaches a server.
        std::env::vars_os()
            .map(|(name, _)| name)
            .filter(|name| name == "RUST_LOG" || name.to_string_lossy().starts_with("SWITCHER_"))
            .for_each(|name| {
                command.env_remove(name);
            });
        let child = command
            .args(arguments)
            // One core each: what Go would find out only from its affinity mask.
            .env("GOMAXPROCS", "1")
            .env("HOME", folder.path())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(Trouble::system("share a log"))?)
            .stderr(log)
            .spawn()
            .map_err(Trouble::system(format!("start {program}")))?;
        Ok(Self { child, folder, end })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// The end of what it said, for error messages.
    #[must_use]
    pub fn last_words(&self) -> String {
        let said = std::fs::read(self.folder().join("said")).unwrap_or_default();
        String::from_utf8_lossy(&said[said.len().saturating_sub(LAST_WORDS)..]).trim().to_owned()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), Trouble> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let sent = pid.map_or(Err(rustix::io::Errno::SRCH), |pid| kill_process(pid, signal));
        sent.map_err(|error| Trouble::system("send a signal")(error.into()))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A process that is not waited for keeps its number, so the signal can meet nobody else.
        if self.signal(self.end).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_ends_with_its_value_and_takes_its_folder_along() {
        let line = ["sh", "-c", "echo here >&2; exec sleep 60"].map(str::to_owned);
        let peer = Peer::start(folder().expect("a folder"), &line, Signal::KILL).expect("started");
        let (pid, files) = (peer.pid(), peer.folder().to_owned());
        drop(peer);
        assert!(!Path::new(&format!("/proc/{pid}")).exists() && !files.exists());
    }

    #[test]
    fn a_program_of_nobody_is_not_found() {
        assert!(find("sh").is_some() && find("switcher-of-nobody").is_none());
    }
}
