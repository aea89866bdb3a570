//! A program of the user's own that sets the records.
//!
//! It sees nothing of the proxy's environment but `PATH`, must end within a minute, and is killed with its children
//! when it does not, or when nobody waits for it any more. What it says on its standard error is the reason told.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the rest of what it says is waited for, once it has ended: children may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How much of the end of what it says is kept, in bytes.
const TAIL: usize = 2048;

/// What the program is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Set,
    Remove,
}

impl Action {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Remove => "remove",
        }
    }
}

/// Why it did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It does not start.
    #[error("cannot be started: {0}; check its path and that it may be executed")]
    Start(#[source] io::Error),
    /// It took too long.
    #[error("did not end within {} s and was killed with its children{}", .patience.as_secs(), said(.words))]
    Timeout {
        /// How long it had.
        patience: Duration,
        /// The end of what it said.
        words: String,
    },
    /// It said no.
    #[error("failed ({status}){}", said(.words))]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        words: String,
    },
}

fn said(words: &str) -> String {
    if words.is_empty() { ", saying nothing on its standard error".to_owned() } else { format!(": {words}") }
}

/// Runs `program arguments… set|remove RECORD VALUE`.
pub(super) async fn run(
    command: &[String],
    action: Action,
    record: &str,
    value: &str,
) -> Result<(), ExecError> {
    run_within(command, action, record, value, PATIENCE).await
}

async fn run_within(
    command: &[String],
    action: Action,
    record: &str,
    value: &str,
    patience: Duration,
) -> Result<(), ExecError> {
    let mut child = start(command, action, record, value).map_err(ExecError::Start)?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let mut words = Words::default();
    let mut stderr = child.stderr.take();
    let ended = timeout(patience, async {
        tokio::select! {
            biased;
            status = child.wait() => status,
            () = words.listen(stderr.as_mut()) => child.wait().await,
        }
    })
    .await;
    if ended.is_ok() {
        group.0 = None;
    }
    match ended {
        Err(_) => Err(ExecError::Timeout { patience, words: words.text() }),
        Ok(Err(error)) => Err(ExecError::Start(error)),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => {
            // An error says only that a child still holds the pipe.
            let _ = timeout(LAST_WORDS, words.listen(stderr.as_mut())).await;
            Err(ExecError::Failed { status, words: words.text() })
        }
    }
}

fn start(command: &[String], action: Action, record: &str, value: &str) -> io::Result<Child> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "`acme.dns.exec` is empty"));
    };
    let mut command = Command::new(program);
    command.args(arguments).args([action.word(), record, value]);
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
        .env("SWITCHER_DNS_ACTION", action.word())
        .env("SWITCHER_DNS_NAME", record)
        .env("SWITCHER_DNS_VALUE", value)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// The program and its children, as long as it runs. Killed when dropped: at the timeout, and when nobody waits
/// any more.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // An error says that nobody is left.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// The end of what a program says.
#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    /// Listens until there is no more.
    async fn listen(&mut self, from: Option<&mut (impl AsyncRead + Unpin)>) {
        let Some(from) = from else { return };
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            self.0.extend_from_slice(&buffer[..length]);
            let surplus = self.0.len().saturating_sub(TAIL);
            self.0.drain(..surplus);
        }
    }

    /// On one line.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script, "hook"].map(ToOwned::to_owned).to_vec()
    }

    #[tokio::test]
    async fn the_program_is_told_what_to_do_and_sees_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("out");
        let script = format!("{{ echo \"$@\"; env | cut -d= -f1 | sort; }} > {}", out.display());
        run(&shell(&script), Action::Set, "_acme-challenge.a.example", "value-1").await.expect("set");
        let text = std::fs::read_to_string(out).expect("written");
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("set _acme-challenge.a.example value-1"));
        // The shell itself adds PWD, and OLDPWD or _ on some systems.
        let own: Vec<&str> = lines.filter(|name| !["PWD", "OLDPWD", "_", "SHLVL"].contains(name)).collect();
        assert_eq!(own, ["PATH", "SWITCHER_DNS_ACTION", "SWITCHER_DNS_NAME", "SWITCHER_DNS_VALUE"]);
    }

    #[tokio::test]
    async fn a_failure_is_told_in_the_programs_own_words() {
        let noise = "i=0; while [ $i -lt 3000 ]; do echo noise >&2; i=$((i+1)); done;";
        let script = format!("{noise} echo 'no such zone' >&2; exit 3");
        let error = run(&shell(&script), Action::Remove, "r", "v").await.expect_err("a failure").to_string();
        assert!(error.starts_with("failed (exit status: 3): "), "{error}");
        assert!(error.ends_with("no such zone") && error.len() < TAIL * 2, "{error}");
        let error = run(&shell("exit 1"), Action::Set, "r", "v").await.expect_err("a failure").to_string();
        assert_eq!(error, "failed (exit status: 1), saying nothing on its standard error");
        let missing = ["/no/such/hook".to_owned()];
        let error = run(&missing, Action::Set, "r", "v").await.expect_err("nothing there").to_string();
        assert!(error.starts_with("cannot be started: No such file"), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("child");
        let script = format!("sleep 1000 & echo $! > {}; echo 'waiting' >&2; wait", file.display());
        let patience = Duration::from_secs(1);
        let error = run_within(&shell(&script), Action::Set, "r", "v", patience).await.expect_err("no end");
        assert_eq!(error.to_string(), "did not end within 1 s and was killed with its children: waiting");
        let child = std::fs::read_to_string(file).expect("the child's id");
        let stat = format!("/proc/{}/stat", child.trim());
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        // Gone, or a zombie where nobody collects orphans.
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(std::time::Instant::now() < deadline, "the child lives on");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_program_is_killed_when_nobody_waits_for_it_any_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pid");
        let command = shell(&format!("echo $$ > {}; exec sleep 1000", file.display()));
        let task = tokio::spawn(async move { run(&command, Action::Set, "r", "v").await });
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let pid = loop {
            match std::fs::read_to_string(&file) {
                Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
                Ok(_) | Err(_) => assert!(std::time::Instant::now() < deadline, "it never started"),
            }
            tokio::task::yield_now().await;
        };
        task.abort();
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
        let stat = format!("/proc/{pid}/stat");
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(std::time::Instant::now() < deadline, "it lives on");
            tokio::task::yield_now().await;
        }
    }
}
