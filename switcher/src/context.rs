//! What every command works with: the global options, the surroundings, the streams, the admin client.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::OnceLock;

use switcher_config::AppName;
use switcher_config::wire::{AppStatus, Status};

use crate::admin::{Admin, AdminError};
use crate::cli::Global;
use crate::code::Code;
use crate::configuration;
use crate::console::Console;
use crate::diagnosis;
use crate::docker;
use crate::failure::{Failure, Live};
use crate::host::Remote;
use crate::progress::Reporter;

/// What the process finds around itself; read once, in `main`.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `NO_COLOR` is set and not empty (no-color.org).
    pub no_color: bool,
    /// `TERM` is `dumb`.
    pub dumb_terminal: bool,
    /// `SWITCHER_ADMIN`.
    pub admin: Option<PathBuf>,
    /// `DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// Docker's configuration folder: `DOCKER_CONFIG`, else `.docker` in the home folder.
    pub docker_config: Option<PathBuf>,
    /// The certificates for an engine behind TCP: `DOCKER_CERT_PATH`, else, with `DOCKER_TLS_VERIFY`, Docker's
    /// configuration folder.
    pub docker_certificates: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`: a folder of this user alone, in memory.
    pub runtime_dir: Option<PathBuf>,
}

impl Surroundings {
    /// Reads the environment of this process.
    #[must_use]
    pub fn from_process() -> Self {
        let filled = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let folder = |name: &str| filled(name).map(PathBuf::from);
        let docker_config = docker::credentials_folder(folder("DOCKER_CONFIG"), folder("HOME"));
        let verify = filled("DOCKER_TLS_VERIFY").and(docker_config.clone());
        Self {
            no_color: filled("NO_COLOR").is_some(),
            dumb_terminal: filled("TERM").is_some_and(|term| term == "dumb"),
            admin: folder("SWITCHER_ADMIN"),
            docker_host: filled("DOCKER_HOST").map(|text| text.to_string_lossy().into_owned()),
            docker_certificates: folder("DOCKER_CERT_PATH").or(verify),
            docker_config,
            runtime_dir: folder("XDG_RUNTIME_DIR"),
        }
    }
}

/// What every command works with.
#[derive(Debug)]
pub struct Context {
    /// The global options as typed.
    pub global: Global,
    /// The surroundings.
    pub surroundings: Surroundings,
    /// Standard output.
    pub console: Console,
    /// Progress on standard error.
    pub reporter: Reporter,
    /// The server behind `ssh`, once it was reached.
    pub(crate) remote: OnceLock<Remote>,
    /// The command line as typed, to be repeated in hints.
    typed: String,
}

impl Context {
    /// Looks at the streams and keeps the command line.
    #[must_use]
    pub fn new(global: Global, args: &[OsString], surroundings: Surroundings) -> Self {
        let console = Console::new(global.json, &surroundings);
        let progress = global.progress.resolve(global.json, surroundings.dumb_terminal);
        let typed = args.iter().skip(1).map(|arg| quoted(arg)).collect::<Vec<_>>().join(" ");
        Self {
            global,
            surroundings,
            console,
            reporter: Reporter::new(progress),
            remote: OnceLock::new(),
            typed: format!("switcher {typed}"),
        }
    }

    /// A command to suggest, reaching the same proxy and application as this one.
    #[must_use]
    pub fn command(&self, rest: &str) -> String {
        let mut command = "switcher".to_owned();
        let global = &self.global;
        let options = [
            ("--config", global.config.as_ref().map(|path| quoted(path.as_os_str()))),
            ("--environment", global.environment.as_deref().map(|name| quoted(OsStr::new(name)))),
            ("--host", global.host.as_deref().map(|host| quoted(OsStr::new(host)))),
            ("--admin", global.admin.as_ref().map(|path| quoted(path.as_os_str()))),
            ("--app", global.app.as_ref().map(ToString::to_string)),
        ];
        for (option, value) in options {
            if let Some(value) = value {
                command.push_str(&format!(" {option} {value}"));
            }
        }
        format!("{command} {rest}")
    }

    /// This very command once more.
    #[must_use]
    pub fn again(&self) -> &str {
        &self.typed
    }

    /// The client for the proxy that the options, the environment or the configuration name.
    ///
    /// # Errors
    /// When none names a socket and the configuration cannot be used, or when the server of `--host` has no proxy.
    pub fn admin(&self) -> Result<Admin, Failure> {
        if let Some(socket) = self.remote_admin() {
            return socket.map(Admin::new);
        }
        let socket = match self.named_admin() {
            Some(socket) => socket,
            // Traffic can be moved although the file is being edited: the socket is enough.
            None => {
                let next = format!("{} --admin /run/switcher/admin.sock", self.again());
                configuration::admin_socket(self, &next)?
            }
        };
        Ok(Admin::new(socket))
    }

    /// The admin socket that the options or the environment name.
    pub(crate) fn named_admin(&self) -> Option<PathBuf> {
        self.global.admin.clone().or_else(|| self.surroundings.admin.clone())
    }

    /// Asks for the status.
    ///
    /// # Errors
    /// When the proxy cannot be reached or is not understood.
    pub async fn status(&self, admin: &Admin) -> Result<Status, Failure> {
        admin.status().await.map_err(|error| self.diagnose(admin, error, None, Live::No))
    }

    /// The application that is meant, with its status.
    ///
    /// # Errors
    /// When there is no such application, or several and none was named.
    pub async fn app(&self, admin: &Admin) -> Result<(AppName, AppStatus), Failure> {
        let mut status = self.status(admin).await?;
        let name = self.chosen(&status)?;
        match status.apps.remove(&name) {
            Some(app) => Ok((name, app)),
            None => Err(self.unknown_app(&name, &status)),
        }
    }

    /// The name of the application that is meant; pure.
    pub(crate) fn chosen(&self, status: &Status) -> Result<AppName, Failure> {
        let names: Vec<&AppName> = status.apps.keys().collect();
        match (&self.global.app, names.as_slice()) {
            (Some(app), _) if status.apps.contains_key(app) => Ok(app.clone()),
            (_, []) => Err(Failure::new(
                Code::AppNone,
                "the proxy serves no application: the `apps` section of its configuration is empty",
                Live::Unchanged,
                self.command("config show"),
            )),
            (Some(app), _) => Err(self.unknown_app(app, status)),
            (None, [only]) => Ok((*only).clone()),
            (None, [first, ..]) => Err(Failure::new(
                Code::AppAmbiguous,
                format!("the proxy serves {}; name the one you mean with --app", served(status)),
                Live::Unchanged,
                format!("{} --app {first}", self.again()),
            )),
        }
    }

    fn unknown_app(&self, app: &AppName, status: &Status) -> Failure {
        Failure::new(
            Code::AppUnknown,
            format!("there is no application \"{app}\"; the proxy serves {}", served(status)),
            Live::Unchanged,
            "switcher status",
        )
    }

    /// Turns what the admin client met into what people read.
    #[must_use]
    pub fn diagnose(&self, admin: &Admin, error: AdminError, app: Option<&AppName>, live: Live) -> Failure {
        diagnosis::failure(self, admin, error, app, live)
    }
}

/// `blog (blue is live), news (green is live) and shop (blue is live)`.
fn served(status: &Status) -> String {
    let apps: Vec<String> =
        status.apps.iter().map(|(name, app)| format!("{name} ({} is live)", app.active)).collect();
    match apps.as_slice() {
        [] => "none".to_owned(),
        [only] => only.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// An argument as a shell takes it back.
pub(crate) fn quoted(arg: &OsStr) -> String {
    let text = arg.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_when_a_shell_would_change_them() {
        for (arg, shown) in
            [("green", "green"), ("/run/a b", "'/run/a b'"), ("", "''"), ("it's", r"'it'\''s'"), ("*", "'*'")]
        {
            assert_eq!(quoted(OsStr::new(arg)), shown);
        }
    }
}
