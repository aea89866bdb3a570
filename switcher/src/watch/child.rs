//! A command of this program run as a process of its own: `deploy`, `repair`, `prune`.
//!
//! What it writes goes where the watch's own words go, with no pipe in between, so that it lives on when the watch alone
//! is killed. A service manager that kills the whole service, as systemd does with `KillMode=mixed` once the time to stop
//! is over or the watch has crashed, kills it too; then the next start brings it to its end. A signal to the watch is
//! passed on, and the command is waited for; so is a second one, and then nobody waits.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use switcher_config::AppName;
use tokio::process::{Child, Command};

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

    /// Runs a command for an application to its end: its exit code; none when a signal ended it, or when it was left alone
    /// after a second signal to the watch. `quiet` hides what it writes.
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
                terminate(&child);
                match interrupt.unless_twice(child.wait()).await {
                    Ok(status) => status?,
                    Err(Interrupted) => {
                        terminate(&child);
                        return Ok(None);
                    }
                }
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

/// Asks a command to end. One that has just ended needs no word.
fn terminate(child: &Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    /// Waits until a file holds this many lines.
    async fn lines(file: &Path, count: usize) {
        let come = async {
            while std::fs::read_to_string(file).unwrap_or_default().lines().count() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), come).await.expect("the command writes");
    }

    #[tokio::test]
    async fn a_second_signal_is_passed_on_and_a_command_that_is_deaf_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let (heard, end) = (folder.path().join("heard"), folder.path().join("end"));
        // It hears everything, and ends only when the test says so.
        let script = format!(
            "trap 'echo TERM >> {0}' TERM; echo ready >> {0}; until [ -e {1} ]; do sleep 0.02; done; echo over >> {0}",
            heard.display(),
            end.display()
        );
        let options = vec![OsString::from("-c"), OsString::from(script)];
        let children = Children { program: PathBuf::from("/bin/sh"), options };
        let (tell, mut interrupt) = Interrupt::counted();
        let app: AppName = "shop".parse().expect("a name");
        let run = tokio::spawn(async move { children.run(&app, &[], true, &mut interrupt).await });
        lines(&heard, 1).await;
        tell.send_replace(1);
        lines(&heard, 2).await;
        assert!(!run.is_finished(), "after one signal it is waited for");
        tell.send_replace(2);
        let left = tokio::time::timeout(Duration::from_secs(30), run).await.expect("nobody waits");
        assert_eq!(left.expect("no panic").expect("it was started"), None);
        lines(&heard, 3).await;
        std::fs::File::create(&end).expect("a file");
        lines(&heard, 4).await;
    }
}
