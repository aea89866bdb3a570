//! A command of this program run as a process of its own: `deploy`, `repair`, `prune`.
//!
//! What it writes goes where the watch's own words go, with no pipe in between, so that it lives on when the watch is
//! killed. A signal to the watch is passed on once, and the command is waited for.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use switcher_config::AppName;
use tokio::process::Command;

use crate::context::Context;
use crate::interrupt::{Interrupt, Interrupted};

/// What the service manager told the watch, which is nobody else's.
const NOT_INHERITED: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Runs commands.
#[derive(Debug, Clone)]
pub(crate) struct Children {
    program: PathBuf,
    options: Vec<OsString>,
}

impl Children {
    /// Commands with the options that the watch itself was given.
    ///
    /// # Errors
    /// When this program cannot tell where it is.
    pub(crate) fn of(ctx: &Context) -> io::Result<Self> {
        let global = &ctx.global;
        let given = [
            ("--config", global.config.as_ref().map(|path| path.clone().into_os_string())),
            ("--environment", global.environment.as_ref().map(OsString::from)),
            ("--host", global.host.as_ref().map(OsString::from)),
            ("--admin", global.admin.as_ref().map(|path| path.clone().into_os_string())),
        ];
        let mut options: Vec<OsString> = Vec::new();
        for (name, value) in given {
            if let Some(value) = value {
                options.extend([OsString::from(name), value]);
            }
        }
        let progress =
            if global.json { ["--json", "--progress=json"].as_slice() } else { &["--progress=plain"] };
        options.extend(progress.iter().map(OsString::from));
        Ok(Self { program: std::env::current_exe()?, options })
    }

    /// Runs a command for an application to its end: its exit code; none when a signal ended it. `quiet` hides what it
    /// writes.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn run(
        &self,
        app: &AppName,
        words: &[&str],
        quiet: bool,
        interrupt: &mut Interrupt,
    ) -> io::Result<Option<i32>> {
        let mut child = self.command(app, words, quiet)?.spawn()?;
        let status = match interrupt.unless(child.wait()).await {
            Ok(status) => status?,
            Err(Interrupted) => {
                let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
                if let Some(pid) = pid {
                    // One that has just ended needs no word.
                    let _ = kill_process(pid, Signal::TERM);
                }
                child.wait().await?
            }
        };
        Ok(status.code())
    }

    fn command(&self, app: &AppName, words: &[&str], quiet: bool) -> io::Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(&self.options).arg("--app").arg(app.as_str()).args(words);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        // Ctrl-C reaches every process of a terminal's group, and twice means "leave at once".
        command.process_group(0).stdin(Stdio::null());
        if quiet {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        } else {
            // Standard output is for the watch's own result.
            command.stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?));
        }
        Ok(command)
    }
}
