//! A real PostgreSQL for one test: a cluster of its own, with passwords, on the loopback address and, beside an
//! engine, at the address at which containers reach this machine.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::certificate::put;
use crate::daemon::{Daemon, program};
use crate::engine::Engine;
use crate::part::can;
use crate::port::Port;
use crate::until::{PATIENCE, until};

/// The application's role, which owns the database of the same name.
pub const ROLE: &str = "app";
/// A running server.
pub struct Postgres {
    port: Port,
    /// Where containers reach it.
    host: Option<String>,
    programs: PathBuf,
    folder: TempDir,
    server: Option<Daemon>,
}

impl Postgres {
    /// Why this machine cannot run one, if it cannot.
    #[must_use]
    pub fn lacks() -> Option<String> {
        if programs().is_none() {
            return Some("postgresql is not installed; run `./setup --tests`".to_owned());
        }
        // The server refuses to run as root.
        let other = !is_root() || (can("id postgres") && program("setpriv").is_some());
        (!other).then(|| "postgresql needs the user postgres and the program setpriv".to_owned())
    }

    /// Starts one that only this machine reaches.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start() -> Self {
        Self::start_at(None).await
    }

    /// Starts one that the containers of an engine reach as well.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn beside(engine: &Engine) -> Self {
        Self::start_at(Some(engine.host())).await
    }

    async fn start_at(host: Option<String>) -> Self {
        let folder = tempfile::Builder::new().prefix("switcher-pg-").tempdir().expect("a folder");
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("a mode");
        let programs = programs().expect("postgresql is installed");
        let mut postgres = Self { port: Port::reserve(), host, programs, folder, server: None };
        postgres.make_cluster();
        postgres.restart().await;
        let password = postgres.password();
        postgres.query_in("postgres", &format!("CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{password}'"));
        postgres.query_in("postgres", &format!("CREATE DATABASE {ROLE} OWNER {ROLE}"));
        postgres
    }

    fn make_cluster(&self) {
        if is_root() {
            let id = |flag: &str| {
                let output = Command::new("id").args([flag, "postgres"]).output().expect("id runs");
                String::from_utf8_lossy(&output.stdout).trim().parse().ok()
            };
            chown(self.folder.path(), id("-u"), id("-g")).expect("an owner");
        }
        let data = self.data();
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "--no-locale", "-E", "UTF8"]);
        let output = initdb.arg("--no-sync").output().expect("initdb runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // The application in its container sends its password as it is; others prove that they know it.
        let rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost all all 10.0.0.0/8 password\n";
        put(&data.join("pg_hba.conf"), rules);
    }

    /// Kills the server with SIGKILL, as a crash does.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        drop(self.server.take().expect("a running server"));
    }

    /// Starts it again after it was killed; it recovers what was committed.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn restart(&mut self) {
        let deadline = std::time::Instant::now() + PATIENCE;
        // The processes of a killed server take a moment to notice, and keep its memory until then.
        while !self.try_launch().await {
            assert!(std::time::Instant::now() < deadline, "postgres does not come up; its words are above");
        }
    }

    async fn try_launch(&mut self) -> bool {
        let folder = self.folder.path();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        let addresses = ["127.0.0.1"].into_iter().chain(self.host.as_deref()).collect::<Vec<_>>().join(",");
        for setting in [
            format!("port={}", self.port.address().port()),
            format!("unix_socket_directories={}", folder.display()),
            format!("listen_addresses={addresses}"),
            // What is tested is the end of a process, not of the machine.
            "fsync=off".to_owned(),
            "full_page_writes=off".to_owned(),
            "shared_buffers=16MB".to_owned(),
        ] {
            command.arg("-c").arg(setting);
        }
        let mut server = Daemon::spawn("postgres", command);
        let mut ended = false;
        until(PATIENCE, "postgres to answer", || {
            ended = server.has_ended();
            let done = ended || self.psql("postgres", "SELECT 1").status.success();
            async move { done }
        })
        .await;
        if ended {
            eprintln!("--- postgres ended\n{}", server.output().text());
        }
        self.server = (!ended).then_some(server);
        !ended
    }

    /// A program of the server's version, run as the server's user.
    fn command(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        if !is_root() {
            return Command::new(path);
        }
        let mut command = Command::new(program("setpriv").expect("setpriv"));
        // A test that is killed takes its server along.
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--pdeathsig", "QUIT"]);
        command.arg(path).current_dir("/");
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn psql(&self, database: &str, sql: &str) -> Output {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", sql, "-h"]);
        psql.arg(self.folder.path()).args(["-p", &self.port.address().port().to_string()]);
        psql.stdin(Stdio::null()).output().expect("psql runs")
    }

    /// Runs a statement in the application's database, as the administrator; its rows, columns parted by `|`.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn query(&self, sql: &str) -> Vec<String> {
        self.query_in(ROLE, sql)
    }

    /// Runs a statement in any database, as the administrator.
    ///
    /// # Panics
    /// When it fails.
    pub fn query_in(&self, database: &str, sql: &str) -> Vec<String> {
        let output = self.psql(database, sql);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// The role's password, which no other server has: a test that finds it where no secret belongs has found its own
    /// fault and not another test's.
    #[must_use]
    pub fn password(&self) -> String {
        format!("s3cret-Pa55word-{}", self.port.address().port())
    }

    /// The URL of the application's database, on this machine.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{ROLE}:{}@{}/{ROLE}", self.password(), self.port.address())
    }

    /// The URL of the application's database, in a container.
    ///
    /// # Panics
    /// When it was not started beside an engine.
    #[must_use]
    pub fn url_from_containers(&self) -> String {
        let host = self.host.as_deref().expect("a server beside an engine");
        format!("postgres://{ROLE}:{}@{host}:{}/{ROLE}", self.password(), self.port.address().port())
    }

    /// The folder of `pg_dump` and the like, of the server's own version.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // An immediate stop, in which the server gives its shared memory back.
        if let Some(server) = &mut self.server {
            server.signal(Signal::QUIT);
            let begun = std::time::Instant::now();
            while !server.has_ended() && begun.elapsed() < PATIENCE {
                std::thread::yield_now();
            }
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The folder of the newest version that Debian has installed.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest =
        versions.map(|entry| entry.path()).filter(|path| version(path).is_some()).max_by_key(version)?;
    Some(newest.join("bin")).filter(|bin| bin.join("postgres").is_file() && bin.join("psql").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip_or_fail;

    #[tokio::test]
    async fn what_was_committed_outlives_a_crash() {
        if let Some(why) = Postgres::lacks() {
            return skip_or_fail(&why);
        }
        let mut postgres = Postgres::start().await;
        let _ = postgres.query("CREATE TABLE kept AS SELECT 7 AS number");
        postgres.kill();
        assert!(!postgres.psql(ROLE, "SELECT 1").status.success(), "it is killed");
        postgres.restart().await;
        assert_eq!(postgres.query("SELECT number, 'a' FROM kept"), ["7|a"]);
    }

    #[tokio::test]
    async fn the_urls_password_is_asked_for() {
        if let Some(why) = Postgres::lacks() {
            return skip_or_fail(&why);
        }
        let postgres = Postgres::start().await;
        let ask = |url: String| {
            let mut psql = Command::new(postgres.programs().join("psql"));
            psql.args(["-qAtX", "-c", "SELECT current_user", &url]).output().expect("psql runs")
        };
        assert_eq!(ask(postgres.url()).stdout, b"app\n");
        assert!(!ask(postgres.url().replace(&postgres.password(), "wrong")).status.success());
    }
}
