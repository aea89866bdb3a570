//! An ephemeral real proxy: a process of its own, in a folder of its own, on ports of its own.
//!
//! It is killed when dropped. What it wrote is shown when the test fails. Every signal goes to its own pid.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use switcher_config::wire::Health;
use switcher_config::{Generation, Slot};
use tempfile::TempDir;

use crate::admin::Admin;
use crate::certificate::put;
use crate::output::Output;
use crate::port::Port;
use crate::program;
use crate::setup::{Place, Setup};
use crate::until::{PATIENCE, until, until_some};

/// A proxy process, its folder and what it wrote.
pub struct Proxy {
    child: Child,
    predecessor: Option<Child>,
    readers: Vec<std::thread::JoinHandle<()>>,
    stdout: Output,
    stderr: Output,
    setup: Setup,
    config: PathBuf,
    environment: Vec<(String, String)>,
    ports: Ports,
    folder: TempDir,
}

struct Ports {
    http: Arc<Port>,
    https: Arc<Port>,
    status: Port,
}

impl Ports {
    fn place<'a>(&'a self, folder: &'a Path) -> Place<'a> {
        Place { folder, http: &self.http, https: &self.https, status: &self.status }
    }
}

/// How a process ended.
#[derive(Debug, Clone)]
pub struct Exit {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Proxy {
    /// Starts a proxy and does not wait for anything: for starts that fail.
    ///
    /// # Panics
    /// When the program is not built.
    #[must_use]
    pub fn spawn(setup: Setup) -> Self {
        Self::spawn_within(setup, &[])
    }

    /// Starts a proxy through another command (`unshare`, `setpriv`, `sh -c`), which gets the proxy's own
    /// command line as its last arguments and must become the proxy by `exec`.
    ///
    /// # Panics
    /// When the program is not built.
    #[must_use]
    pub fn spawn_within(setup: Setup, wrapper: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("switcher-e2e-").tempdir().expect("a folder");
        Self::spawn_in(folder, setup, wrapper)
    }

    /// Starts a proxy through another command, in a folder that the test has prepared.
    ///
    /// # Panics
    /// When the program is not built.
    #[must_use]
    pub fn spawn_in(folder: TempDir, setup: Setup, wrapper: &[&str]) -> Self {
        let [http, https] =
            setup.listeners.clone().unwrap_or_else(|| [(); 2].map(|()| Arc::new(Port::reserve())));
        let ports = Ports { http, https, status: Port::reserve() };
        let place = ports.place(folder.path());
        let environment = setup.variables(&place);
        let config = setup.file().map_or_else(|| folder.path().join("switcher.yaml"), Path::to_owned);
        if setup.file().is_none() {
            put(&config, &setup.text(&place));
        }
        let (stdout, stderr) = (Output::default(), Output::default());
        let start =
            Start { wrapper, config: &config, arguments: &setup.arguments, environment: &environment };
        let (child, readers) = start.launch(&stdout, &stderr);
        Self { child, predecessor: None, readers, stdout, stderr, setup, config, environment, ports, folder }
    }

    /// Its plain listener.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.ports.http.address()
    }

    /// Its TLS listener.
    #[must_use]
    pub fn https(&self) -> SocketAddr {
        self.ports.https.address()
    }

    /// Its read-only status listener.
    #[must_use]
    pub const fn status(&self) -> SocketAddr {
        self.ports.status.address()
    }

    /// Its admin API.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::at(&self.socket())
    }

    /// The path of its admin socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path("admin.sock")
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its state file.
    #[must_use]
    pub fn routing(&self) -> PathBuf {
        self.path("data/routing.json")
    }

    /// A path in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The configuration it was started with.
    #[must_use]
    pub fn setup(&self) -> Setup {
        self.setup.clone()
    }

    /// Everything it wrote to standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Resident memory now, in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// How many file descriptors it has open.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a running process").count()
    }

    /// The ports of the clients whose connections to a listener it holds: those of which somebody still has a
    /// descriptor, whatever the clients have seen of their end.
    ///
    /// # Panics
    /// When the process is gone, or the system shows its connections otherwise than Linux does.
    #[must_use]
    pub fn clients(&self, listener: SocketAddr) -> HashSet<u16> {
        let table =
            std::fs::read_to_string(format!("/proc/{}/net/tcp", self.pid())).expect("its connections");
        let port = |address: &str| {
            let (_, port) = address.split_once(':').expect("an address and a port");
            u16::from_str_radix(port, 16).expect("a port")
        };
        let mut clients = HashSet::new();
        for line in table.lines().skip(1) {
            // Local and remote address, the state (0A listens), and as the tenth the inode: 0 once nobody has it open.
            let fields: Vec<&str> = line.split_whitespace().collect();
            let held = fields[9] != "0" && fields[3] != "0A";
            if held && port(fields[1]) == listener.port() {
                clients.insert(port(fields[2]));
            }
        }
        clients
    }

    /// The most resident memory it ever had, in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// How much less than others its threads of a name are worth to the scheduler.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn niceness(&self, thread: &str) -> Vec<i32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("a running process");
        let stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
        let of = |stat: String| {
            let (before, after) = stat.rsplit_once(')')?;
            // The nineteenth field (proc_pid_stat(5)); the name in brackets is the second.
            let nice = after.split_whitespace().nth(16)?.parse().ok()?;
            before.split_once('(').filter(|(_, name)| *name == thread).map(|_| nice)
        };
        stats.filter_map(of).collect()
    }

    fn memory(&self, what: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running process");
        let line = status.lines().find_map(|l| l.strip_prefix(what)).expect("a figure");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") * 1024
    }

    /// Waits until it says that it is ready.
    ///
    /// # Panics
    /// When it exits instead, or takes too long.
    pub async fn wait_ready(&mut self) {
        self.wait_for("/ready").await;
    }

    /// Waits until it answers, ready or not.
    ///
    /// # Panics
    /// When it exits instead, or takes too long.
    pub async fn wait_up(&mut self) {
        self.wait_for("/health").await;
    }

    async fn wait_for(&mut self, path: &str) {
        let admin = self.admin();
        until_some(PATIENCE, &format!("the proxy to answer 200 to {path}"), || {
            let gone = self.child.try_wait().expect("its state");
            assert!(
                gone.is_none(),
                "the proxy ended instead of getting ready: {gone:?}\n{}",
                self.stderr.text()
            );
            let admin = admin.clone();
            async move {
                let ready = admin.try_call("GET", path, "").await;
                ready.is_ok_and(|answer| answer.status == 200).then_some(())
            }
        })
        .await;
    }

    /// Waits until every slot of `shop` that has addresses is healthy.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn wait_healthy(&self) {
        until(PATIENCE, "every slot to be healthy", || async {
            let shop = self.admin().shop().await;
            Slot::ALL
                .map(|s| shop.slots.get(s))
                .iter()
                .all(|s| s.upstreams.is_empty() || s.health == Health::Healthy)
        })
        .await;
    }

    /// Waits until a slot of `shop` has this health.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn wait_health(&self, slot: Slot, health: Health) {
        until(PATIENCE, &format!("{slot} to be {health:?}"), || async {
            self.admin().shop().await.slots.get(slot).health == health
        })
        .await;
    }

    /// The generation of `shop` now.
    pub async fn generation(&self) -> Generation {
        self.admin().shop().await.generation
    }

    /// The access log's record of a request, once it is written.
    ///
    /// # Panics
    /// When none comes.
    pub async fn record(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        until_some(PATIENCE, &format!("the access log record of {what}"), || async {
            self.stdout.objects().into_iter().find(|o| is_it(o))
        })
        .await
    }

    /// The access log's record of the request for a path, once it is written.
    ///
    /// # Panics
    /// When none comes.
    pub async fn record_of(&self, path: &str) -> Value {
        self.record(path, |o| o["path"].as_str().is_some_and(|p| p.split('?').next() == Some(path))).await
    }

    /// Everything it wrote to standard output, the access log among it.
    #[must_use]
    pub const fn stdout(&self) -> &Output {
        &self.stdout
    }

    /// Sends a signal to the process.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// Waits for the end of the process.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn exit(&mut self) -> Exit {
        let status = ended(&mut self.child, "the proxy to end").await;
        for reader in self.readers.drain(..) {
            reader.join().expect("its output");
        }
        Exit { code: status.code(), stdout: self.stdout.text(), stderr: self.stderr.text() }
    }

    /// Whether the process still runs.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// Kills the process with SIGKILL and waits until it is gone.
    ///
    /// # Panics
    /// When it can not be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// Starts it again in the same folder on the same ports, after it has ended; does not wait.
    ///
    /// # Panics
    /// When the program is not built, or still runs: nobody would end that one then.
    pub fn respawn(&mut self, arguments: &[&str]) {
        assert!(!self.is_running(), "it still runs: let it end first");
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let (child, readers) = self.launch(&arguments);
        self.child = child;
        self.readers.extend(readers);
    }

    /// Starts it again in the same folder on the same ports, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn restart(&mut self) {
        self.respawn(&[]);
        self.wait_ready().await;
    }

    /// Hands over to a new process: starts it with `--upgrade`, sends SIGQUIT to the old one, and waits until
    /// the new one speaks on the admin socket. The old one may still drain. Returns how long that took from
    /// the signal on, to report it.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn upgrade(&mut self) -> Duration {
        let old = self.pid();
        let said = || self.stderr.text().matches("send it SIGQUIT").count();
        let before = said();
        let (child, readers) = self.launch(&["--upgrade".to_owned()]);
        let predecessor = std::mem::replace(&mut self.child, child);
        self.readers.extend(readers);
        until(PATIENCE, "the new process to wait for the hand-over", || async { said() > before }).await;
        send(&predecessor, Signal::QUIT);
        let asked = Instant::now();
        self.predecessor = Some(predecessor);
        let admin = self.admin();
        until(PATIENCE, "the new process to answer", || async {
            let status = admin.try_call("GET", "/v1/status", "").await;
            status.is_ok_and(|s| s.status == 200 && s.json()["pid"] != old)
        })
        .await;
        asked.elapsed()
    }

    /// Waits until the process that handed over has ended.
    ///
    /// # Panics
    /// When it takes too long, or nothing was handed over.
    pub async fn predecessor_exit(&mut self) -> Option<i32> {
        let mut predecessor = self.predecessor.take().expect("a predecessor");
        ended(&mut predecessor, "the old process to end").await.code()
    }

    /// Writes a new configuration, on the same ports and folder. The proxy is not told.
    pub fn configure(&mut self, setup: Setup) {
        let place = self.ports.place(self.folder.path());
        if setup.file().is_none() {
            put(self.config(), &setup.text(&place));
        }
        self.environment = setup.variables(&place);
        self.setup = setup;
    }

    /// What the command line needs in its environment to see the same configuration.
    #[must_use]
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    fn launch(&self, arguments: &[String]) -> (Child, Vec<std::thread::JoinHandle<()>>) {
        let (config, environment) = (self.config(), self.environment());
        Start { wrapper: &[], config, arguments, environment }.launch(&self.stdout, &self.stderr)
    }

    /// Opens the folder to every user: for proxies that run as somebody else.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn open_to_all(folder: &Path) {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).expect("permissions");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for child in std::iter::once(&mut self.child).chain(self.predecessor.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for reader in self.readers.drain(..) {
                let _ = reader.join();
            }
            eprintln!("--- the proxy's standard error\n{}", self.stderr.text());
            eprintln!("--- the proxy's standard output\n{}", self.stdout.text());
        }
    }
}

/// How a process is started.
struct Start<'a> {
    wrapper: &'a [&'a str],
    config: &'a Path,
    arguments: &'a [String],
    environment: &'a [(String, String)],
}

impl Start<'_> {
    fn launch(&self, stdout: &Output, stderr: &Output) -> (Child, Vec<std::thread::JoinHandle<()>>) {
        let program = program::find("switcher-proxy");
        let mut command = match self.wrapper.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        for variable in ["SWITCHER_CONFIG", "SWITCHER_ENVIRONMENT", "RUST_LOG", "NOTIFY_SOCKET"] {
            command.env_remove(variable);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.arg("--config").arg(self.config).args(self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the proxy starts");
        let readers = vec![
            stdout.follow(child.stdout.take().expect("its output")),
            stderr.follow(child.stderr.take().expect("its errors")),
        ];
        (child, readers)
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, signal).expect("a signal");
}

async fn ended(child: &mut Child, what: &str) -> ExitStatus {
    until_some(PATIENCE, what, || {
        let state = child.try_wait().expect("its state");
        async move { state }
    })
    .await
}
