//! `pg_dump` and `pg_restore`: which ones, and how they are run, on this machine or in a one-off container.
//!
//! The version is settled before anything is dumped: `pg_dump` refuses a newer server, and an older server refuses
//! what a much newer `pg_dump` writes, so the server's own major version is preferred. Called by `take` and `restore`.

use std::fmt;
use std::io::{self, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::error::SnapshotError;
use super::sink::Text;
use crate::container::{ContainerSpec, Ended, Output, RunEnd, SecretFile};
use crate::database::{DatabaseUrl, Libpq, plain};
use crate::docker::{DockerError, Engine};

/// Whose programs are used.
#[derive(Debug, Clone)]
pub enum Tools {
    /// This machine's.
    Local(LocalTools),
    /// An image's.
    Container(Box<ContainerTools>),
}

/// The programs of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTools {
    folders: Vec<PathBuf>,
}

/// The programs of an image, each run in a container of its own.
#[derive(Debug, Clone)]
pub struct ContainerTools {
    /// Who runs it.
    pub engine: Arc<dyn OneOff>,
    /// The container: name, image, labels, network, hosts. What it runs is filled in.
    pub spec: ContainerSpec,
    /// Whether the engine sees this machine's files, which restoring needs.
    pub local: bool,
}

/// Runs a container to its end and removes it.
#[async_trait(?Send)]
pub trait OneOff: fmt::Debug + Send + Sync {
    /// Runs it; what it writes goes to `output` as it comes. It is killed when it runs longer than `limit`.
    ///
    /// # Errors
    /// When the engine cannot run it, or `output` refuses.
    async fn run(
        &self,
        spec: &ContainerSpec,
        limit: Duration,
        output: &mut dyn Output,
    ) -> Result<RunEnd, DockerError>;
}

#[async_trait(?Send)]
impl OneOff for Engine {
    async fn run(
        &self,
        spec: &ContainerSpec,
        limit: Duration,
        output: &mut dyn Output,
    ) -> Result<RunEnd, DockerError> {
        Self::run(self, spec, limit, output).await
    }
}

/// Programs of a version that fits.
#[derive(Debug)]
pub(super) struct Client<'a> {
    tools: &'a Tools,
    /// The folder of the programs; none in a container.
    folder: Option<PathBuf>,
    /// `pg_dump 15.14`.
    pub(super) version: String,
}

/// What is run.
pub(super) struct Job<'a> {
    /// `pg_dump` or `pg_restore`.
    pub(super) program: &'static str,
    /// Its arguments; never a secret.
    pub(super) args: Vec<String>,
    /// The database it connects to.
    pub(super) url: Option<&'a DatabaseUrl>,
    /// The dump it reads.
    pub(super) archive: Option<Archive<'a>>,
}

/// A dump that a program reads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Archive<'a> {
    /// As many bytes of its beginning as hold the table of contents.
    Head(&'a Path, u64),
    /// All of it.
    Whole(&'a Path),
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// With exit code 0.
    Well,
    /// Otherwise, as a few words.
    Badly(String),
    /// It was stopped.
    TimedOut,
}

/// Where a dump is put in a container.
const IN_CONTAINER: &str = "/snapshot.dump";
/// How long asking for a version may take; an image may have to be unpacked first.
const VERSION: Duration = Duration::from_mins(1);

impl LocalTools {
    /// Wherever PostgreSQL's packages put them, then `$PATH`.
    #[must_use]
    pub fn system() -> Self {
        let mut folders = Vec::new();
        // Debian's own `pg_dump` in /usr/bin is a script that chooses one of these.
        for (parent, prefix) in [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")] {
            let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
            let named = entries.filter(|entry| {
                let name = entry.file_name();
                name.to_str()
                    .and_then(|name| name.strip_prefix(prefix))
                    .is_some_and(|n| n.parse::<u32>().is_ok())
            });
            folders.extend(named.map(|entry| entry.path().join("bin")));
        }
        folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
        Self::of(folders)
    }

    /// In these folders, the first of equal versions wins.
    #[must_use]
    pub fn of(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }

    /// The `pg_dump` that a server of this major version would be dumped with, such as `pg_dump 15.14`.
    ///
    /// # Errors
    /// When there is none, or every one is older than the server.
    pub async fn fitting(&self, major: u32) -> Result<String, SnapshotError> {
        let found = self.installed().await;
        choose(&found, major).map(|(_, version)| version.clone()).ok_or_else(|| absent(&found, major))
    }

    /// Every `pg_dump` there is, with its version.
    async fn installed(&self) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        for folder in &self.folders {
            let program = folder.join("pg_dump");
            if program.is_file() {
                let mut command = std::process::Command::new(&program);
                plain(&mut command);
                let answer = Command::from(command).arg("--version").kill_on_drop(true).output();
                if let Ok(Ok(output)) = timeout(VERSION, answer).await {
                    let text = String::from_utf8_lossy(&output.stdout).into_owned();
                    found.extend(version(&text).map(|version| (folder.clone(), version)));
                }
            }
        }
        found
    }
}

impl Tools {
    /// The programs to use with a server, or a dump, of this major version.
    pub(super) async fn client(&self, major: u32) -> Result<Client<'_>, SnapshotError> {
        match self {
            Self::Local(tools) => {
                let found = tools.installed().await;
                let (folder, version) = choose(&found, major).ok_or_else(|| absent(&found, major))?;
                Ok(Client { tools: self, folder: Some(folder.clone()), version: version.clone() })
            }
            Self::Container(container) => {
                let mut text = Text::default();
                let job =
                    Job { program: "pg_dump", args: vec!["--version".to_owned()], url: None, archive: None };
                let end = container.run(job, VERSION, &mut text).await?;
                let version = version(&String::from_utf8_lossy(&text.out));
                let image = &container.spec.image;
                let Some(version) = version.filter(|_| end == End::Well) else {
                    let why = text.words.sentence();
                    return Err(SnapshotError::Tool(format!(
                        "the image {image} (`snapshot.image`) has no pg_dump that answers: {why}"
                    )));
                };
                if self::major(&version) < Some(major) {
                    return Err(SnapshotError::Tool(format!(
                        "{version} of the image {image} (`snapshot.image`) is older than PostgreSQL {major} of the database; \
                         name an image of version {major}"
                    )));
                }
                Ok(Client { tools: self, folder: None, version })
            }
        }
    }
}

impl Client<'_> {
    /// Runs a program to its end.
    pub(super) async fn run(
        &self,
        job: Job<'_>,
        limit: Duration,
        output: &mut dyn Output,
    ) -> Result<End, SnapshotError> {
        match (self.tools, &self.folder) {
            (Tools::Container(container), _) => container.run(job, limit, output).await,
            (Tools::Local(_), folder) => {
                let folder = folder.clone().unwrap_or_default();
                local(&folder, job, limit, output).await
            }
        }
    }
}

impl ContainerTools {
    async fn run(
        &self,
        job: Job<'_>,
        limit: Duration,
        output: &mut dyn Output,
    ) -> Result<End, SnapshotError> {
        let mut spec = self.spec.clone();
        let mut command = job.args;
        if let Some(url) = job.url {
            let (variables, files) = Libpq::new(url).container()?;
            spec.env.extend(variables);
            spec.files.extend(files);
        }
        match job.archive {
            None => {}
            Some(Archive::Head(path, length)) => {
                let content = head(path, length)
                    .map_err(|source| SnapshotError::Folder { path: path.to_owned(), source })?;
                spec.files.push(SecretFile { path: IN_CONTAINER.to_owned(), content });
                command.push(IN_CONTAINER.to_owned());
            }
            Some(Archive::Whole(path)) => {
                spec.volumes.push(format!("{}:{IN_CONTAINER}:ro", path.display()));
                command.push(IN_CONTAINER.to_owned());
            }
        }
        spec.env.insert("LC_ALL".to_owned(), "C".to_owned());
        spec.entrypoint = Some(vec![job.program.to_owned()]);
        spec.command = Some(command);
        Ok(match self.engine.run(&spec, limit, output).await? {
            RunEnd::Ended(Ended { code: 0, .. }) => End::Well,
            RunEnd::Ended(Ended { out_of_memory: true, .. }) => {
                End::Badly(format!("{} was killed for memory", job.program))
            }
            RunEnd::Ended(Ended { code, .. }) => End::Badly(format!("{} ended with {code}", job.program)),
            RunEnd::TimedOut => End::TimedOut,
        })
    }
}

async fn local(
    folder: &Path,
    job: Job<'_>,
    limit: Duration,
    output: &mut dyn Output,
) -> Result<End, SnapshotError> {
    let mut command = std::process::Command::new(folder.join(job.program));
    match job.url {
        Some(url) => Libpq::new(url).prepare(&mut command)?,
        None => plain(&mut command),
    }
    command.args(job.args);
    if let Some(Archive::Head(path, _) | Archive::Whole(path)) = job.archive {
        command.arg(path);
    }
    // Ctrl-C on the terminal is for us: whether the dump is left is our decision.
    command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = |error| SnapshotError::Tool(format!("{} does not start: {error}", job.program));
    let mut child = Command::from(command).kill_on_drop(true).spawn().map_err(start)?;
    let end = match timeout(limit, attended(&mut child, output)).await {
        Ok(Ok(status)) if status.success() => End::Well,
        Ok(Ok(status)) => End::Badly(format!("{} {}", job.program, ended(status))),
        Ok(Err(error)) => End::Badly(format!("{}: its output is not taken: {error}", job.program)),
        Err(_) => End::TimedOut,
    };
    // Nothing to kill when it ended by itself.
    let _ = child.kill().await;
    Ok(end)
}

/// Takes what a program writes until it has ended.
async fn attended(child: &mut Child, output: &mut dyn Output) -> io::Result<ExitStatus> {
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (vec![0; 64 * 1024], vec![0; 8 * 1024]);
    while stdout.is_some() || stderr.is_some() {
        tokio::select! {
            read = read(&mut stdout, &mut out) => match read? {
                0 => stdout = None,
                n => output.stdout(&out[..n]).await?,
            },
            read = read(&mut stderr, &mut err) => match read? {
                0 => stderr = None,
                n => output.stderr(&err[..n]).await?,
            },
        }
    }
    child.wait().await
}

/// Reads from a stream that is open; never ends on one that is not.
async fn read<R: tokio::io::AsyncRead + Unpin>(
    stream: &mut Option<R>,
    buffer: &mut [u8],
) -> io::Result<usize> {
    match stream {
        Some(stream) => stream.read(buffer).await,
        None => std::future::pending().await,
    }
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended badly".to_owned(),
    }
}

fn head(path: &Path, length: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(length).read_to_end(&mut content)?;
    Ok(content)
}

/// `pg_dump (PostgreSQL) 15.14 (Debian …)` as `pg_dump 15.14`.
fn version(text: &str) -> Option<String> {
    let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let version = format!("pg_dump {number}");
    major(&version).map(|_| version)
}

/// The major version in `pg_dump 15.14`; also of `17beta1`.
pub(super) fn major(version: &str) -> Option<u32> {
    let number = version.rsplit(' ').next()?;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok()
}

/// The one of this very major version, else the next newer one. Pure.
fn choose(found: &[(PathBuf, String)], wanted: u32) -> Option<&(PathBuf, String)> {
    let fits = |version: &str| major(version).filter(|major| *major >= wanted);
    found.iter().filter(|(_, version)| fits(version).is_some()).min_by_key(|(_, version)| fits(version))
}

fn absent(found: &[(PathBuf, String)], wanted: u32) -> SnapshotError {
    let install = format!(
        "install the client of version {wanted} (on Debian: `apt install postgresql-client-{wanted}`), or name an image \
         with it, such as `snapshot: {{image: \"postgres:{wanted}\"}}`"
    );
    SnapshotError::Tool(match found.iter().max_by_key(|(_, version)| major(version)) {
        None => format!("there is no pg_dump on this machine; {install}"),
        Some((folder, newest)) => format!(
            "{newest} in {} is the newest on this machine, and older than PostgreSQL {wanted} of the database; {install}",
            folder.display()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_packages_write_them() {
        for (text, shown, number) in [
            ("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some("pg_dump 15.18"), Some(15)),
            ("pg_dump (PostgreSQL) 17beta1", Some("pg_dump 17beta1"), Some(17)),
            ("no such thing", None, None),
        ] {
            let version = version(text);
            assert_eq!(version.as_deref(), shown);
            assert_eq!(version.as_deref().and_then(major), number);
        }
    }

    #[test]
    fn the_servers_own_version_is_preferred_and_an_older_one_never_taken() {
        let found: Vec<(PathBuf, String)> =
            [17, 14, 15, 16].map(|n| (format!("/{n}").into(), format!("pg_dump {n}.1"))).to_vec();
        let chosen = |wanted| choose(&found, wanted).map(|(folder, _)| folder.display().to_string());
        assert_eq!(chosen(15).as_deref(), Some("/15"));
        assert_eq!(chosen(13).as_deref(), Some("/14"), "the next newer one");
        assert_eq!(chosen(18), None);
        let error = absent(&found, 18).to_string();
        assert!(
            error.contains("pg_dump 17.1 in /17 is the newest") && error.contains("postgresql-client-18"),
            "{error}"
        );
    }
}
