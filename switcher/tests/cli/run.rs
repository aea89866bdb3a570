//! Runs the program and keeps what it said.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// What one run left behind.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program, in an empty environment and an empty folder, so that nothing of this machine is seen.
pub(crate) fn command(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switcher"));
    command.args(args.split_whitespace()).env_clear().current_dir("/proc/self").stdin(Stdio::null());
    command
}

/// Runs it against a socket.
pub(crate) fn switcher(socket: &Path, args: &str) -> Run {
    finish(command(args).env("SWITCHER_ADMIN", socket).output().expect("a run"), socket)
}

/// Starts it against a socket, to be looked at while it runs.
pub(crate) fn start(socket: &Path, args: &str) -> Child {
    let mut command = command(args);
    command
        .env("SWITCHER_ADMIN", socket)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a start")
}

/// Reads what is left of a run.
pub(crate) fn finish(output: Output, socket: &Path) -> Run {
    let text = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).expect("UTF-8");
        text.replace(&socket.display().to_string(), "/run/switcher/admin.sock")
    };
    Run { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

impl Run {
    /// Exit code, standard output and standard error as one text, for snapshots.
    pub(crate) fn all(&self) -> String {
        format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.out, self.err)
    }

    /// Standard output as the one JSON object it must be.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.all()))
    }

    /// The last line of standard error as a JSON object.
    pub(crate) fn error(&self) -> Value {
        assert_eq!(self.out, "", "a failure leaves standard output empty");
        let last = self.err.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {}", self.all()))
    }
}
