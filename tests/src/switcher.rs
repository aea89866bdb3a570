//! The real command line, run as a user runs it.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::program;
use crate::proxy::Proxy;
use crate::until::within;

/// How long one command may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The command line with the options every call gets.
#[derive(Debug, Clone)]
pub struct Switcher {
    config: Option<PathBuf>,
    folder: Option<PathBuf>,
    environment: Vec<(String, String)>,
}

/// What a command came to.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// Its result.
    pub stdout: String,
    /// Progress, hints and errors.
    pub stderr: String,
}

impl Switcher {
    /// The command line of a proxy's configuration.
    #[must_use]
    pub fn of(proxy: &Proxy) -> Self {
        let environment = proxy.environment().to_vec();
        Self { config: Some(proxy.config().to_owned()), folder: None, environment }
    }

    /// The command line without any configuration, run in a folder.
    #[must_use]
    pub fn bare(folder: &std::path::Path) -> Self {
        Self { config: None, folder: Some(folder.to_owned()), environment: Vec::new() }
    }

    /// The same command line with one more variable in its environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The command, not yet running: for tests that watch it work or interrupt it.
    pub fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(program::find("switcher"));
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        for variable in ["SWITCHER_CONFIG", "SWITCHER_ENVIRONMENT", "SWITCHER_ADMIN", "NO_COLOR", "CI"] {
            command.env_remove(variable);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not come to an end.
    pub async fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Ran {
        let output =
            within(LIMIT, "a command to end", self.command(arguments).output()).await.expect("it runs");
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs it to its end, which must be a success.
    ///
    /// # Panics
    /// When it exits with anything but 0.
    pub async fn succeed(&self, arguments: &[impl AsRef<OsStr>]) -> Ran {
        let ran = self.run(arguments).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    }
}

impl Ran {
    /// The result as JSON.
    ///
    /// # Panics
    /// When standard output is not exactly one JSON value.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// Whether standard error says each of these.
    ///
    /// # Panics
    /// When it does not.
    pub fn says(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.stderr.contains(part), "standard error lacks {part:?}: {self:?}");
        }
    }
}
