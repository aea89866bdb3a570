//! Runs a hook: a command on this machine around a deployment.
//!
//! It has a process group of its own, so that Ctrl-C reaches the deployer alone and what a hook started ends with it
//! when it takes too long. It sees the process's environment and `SWITCHER_*`; secrets of the application it does not
//! get. Everything it prints is redacted. Called by the deployer's runner and by the static runtime.

mod command;
mod output;

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use switcher_config::settings;
use tokio::process::Child;

use crate::deployment::Words;
use crate::log::{DeploymentLog, Level};
use crate::phrase;
use crate::redact::Redactor;
use output::{Said, Tail};

/// From SIGTERM to SIGKILL for a hook that took too long.
const GRACE: Duration = Duration::from_secs(5);

/// How many lines of its output an error shows.
pub const SHOWN_LINES: usize = 20;

/// A hook that is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// What the configuration calls it: `pre_deploy`, `start`, …
    pub name: &'a str,
    /// The command.
    pub hook: &'a settings::Hook,
    /// What the deployment is about.
    pub words: &'a Words,
    /// Why the deployment failed, for `on_failure`.
    pub failure: Option<&'a str>,
    /// The folder of the configuration file: where it runs.
    pub folder: &'a Path,
    /// Hides what it prints.
    pub redactor: &'a Redactor,
    /// Where its output goes.
    pub log: &'a DeploymentLog,
}

/// How a hook ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookEnd {
    /// With an exit code other than 0.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Nobody knows.
    Unknown,
}

impl std::fmt::Display for HookEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::Unknown => f.write_str("ended, and nobody knows how"),
        }
    }
}

/// A hook that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// Its command is empty.
    #[error("the hook {hook} names no program")]
    Empty {
        /// Its name.
        hook: String,
    },
    /// A word holds what a shell would act upon.
    #[error(
        "the hook {hook} would give the shell a {{{word}}} with signs that a shell acts upon; \
         write \"${variable}\" in it instead"
    )]
    UnsafeWord {
        /// Its name.
        hook: String,
        /// The word.
        word: String,
        /// The variable that holds the same.
        variable: &'static str,
    },
    /// It could not be started.
    #[error("the hook {hook} cannot be started: {program}: {source}")]
    Start {
        /// Its name.
        hook: String,
        /// The program.
        program: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// It failed.
    #[error("the hook {hook} {end}{}", shown(.tail))]
    Failed {
        /// Its name.
        hook: String,
        /// How it ended.
        end: HookEnd,
        /// The last lines that it printed, redacted.
        tail: Vec<String>,
    },
    /// It took too long and was ended, with everything that it had started.
    #[error("the hook {hook} took longer than {} and was ended{}", phrase::duration(.limit.as_secs_f64()), shown(.tail))]
    TimedOut {
        /// Its name.
        hook: String,
        /// How long it might have taken.
        limit: Duration,
        /// The last lines that it printed, redacted.
        tail: Vec<String>,
    },
}

fn shown(tail: &[String]) -> String {
    match tail {
        [] => "; it printed nothing".to_owned(),
        lines => format!("; it printed last:\n    {}", lines.join("\n    ")),
    }
}

/// Runs a hook to its end. `said` gets each line that it prints, redacted, as progress. When this future is dropped, the
/// hook and everything that it started get SIGTERM.
///
/// # Errors
/// When it cannot be started, fails or takes longer than it may.
pub async fn run(call: Call<'_>, said: &mut (dyn FnMut(&str) + Send)) -> Result<(), HookError> {
    let mut command = command::of(&call)?;
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let hook = || call.name.to_owned();
    let mut child = command.spawn().map_err(|source| HookError::Start { hook: hook(), program, source })?;
    let group = Group::of(&child);
    let (mut tail, mut output) = (Tail::default(), Said::of(&mut child, call.redactor));
    let mut on_line = |stream: &'static str, line: &str| {
        call.log.write(Level::Info, "hook", line, &[("hook", json!(call.name)), ("stream", json!(stream))]);
        tail.push(line);
        said(line);
    };
    let limit = call.hook.timeout.0;
    let ended = tokio::time::timeout(limit, output.until_ended(&mut child, &mut on_line)).await;
    let in_time = ended.is_ok();
    let status = match ended {
        Ok(status) => status,
        Err(_) => {
            group.signal(rustix::process::Signal::TERM);
            let graceful = tokio::time::timeout(GRACE, output.until_ended(&mut child, &mut on_line)).await;
            // Also when the hook itself has ended: what it started may not have.
            group.signal(rustix::process::Signal::KILL);
            match graceful {
                Ok(status) => status,
                Err(_) => child.wait().await,
            }
        }
    };
    group.over();
    output.rest(&mut on_line).await;
    if output.is_held() {
        let text = "the hook left something running that still holds its output, which is read no more; \
                    let it write into a file, or start it by a service manager";
        call.log.write(Level::Warn, "hook", text, &[("hook", json!(call.name))]);
        said(&format!("{}: {text}", call.name));
    }
    conclude(&call, in_time, status, tail)
}

fn conclude(
    call: &Call<'_>,
    in_time: bool,
    status: std::io::Result<std::process::ExitStatus>,
    tail: Tail,
) -> Result<(), HookError> {
    use std::os::unix::process::ExitStatusExt as _;
    let (hook, tail) = (call.name.to_owned(), tail.into_lines());
    if !in_time {
        return Err(HookError::TimedOut { hook, limit: call.hook.timeout.0, tail });
    }
    let end = match status {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => HookEnd::Code(code),
            (None, Some(signal)) => HookEnd::Signal(signal),
            (None, None) => HookEnd::Unknown,
        },
        Err(_) => HookEnd::Unknown,
    };
    Err(HookError::Failed { hook, end, tail })
}

/// The process group of a hook. Dropped before the hook is over, it ends the group.
struct Group(std::cell::Cell<Option<rustix::process::Pid>>);

impl Group {
    fn of(child: &Child) -> Self {
        let leader =
            child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        Self(std::cell::Cell::new(leader))
    }

    /// Signals every process of the group. One that is gone needs no signal.
    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(group) = self.0.get() {
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    /// The hook has ended by itself: what it left running on purpose may stay.
    fn over(&self) {
        self.0.set(None);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
    }
}

#[cfg(test)]
mod tests;
