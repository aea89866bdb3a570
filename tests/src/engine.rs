//! A real Docker Engine for one test: a dockerd of its own with its own folder, socket, networks and containers.
//!
//! It changes nothing else on the machine: no default bridge, no firewall rule, no masquerading. Containers are
//! reached by their own address and reach this machine at [`Engine::host`], and nothing beyond it. Everything goes
//! when the value is dropped; what a killed test left is removed by the next one that takes its place.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::daemon::{Daemon, lacking, program};
use crate::http1::{Answer, Http1, request};
use crate::part::can;
use crate::until::{PATIENCE, until, within};

use self::place::Place;

mod leftovers;
mod place;

/// How long a call to the engine may take: pulls and stops are among them.
const CALL: Duration = Duration::from_secs(60);

/// A running engine.
pub struct Engine {
    options: Options,
    driver: Option<&'static str>,
    daemon: Option<Daemon>,
    place: Place,
}

/// How an engine is to be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    live_restore: bool,
    arguments: Vec<String>,
}

impl Options {
    /// Containers go on while the daemon is gone.
    #[must_use]
    pub const fn live_restore(mut self) -> Self {
        self.live_restore = true;
        self
    }

    /// One more argument of dockerd's command line.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(self) -> Engine {
        let place = Place::take();
        let mut engine = Engine { options: self, driver: None, daemon: None, place };
        if !engine.try_launch().await {
            // Not every file system can be the lower one of an overlay.
            engine.driver = Some("vfs");
            assert!(engine.try_launch().await, "dockerd does not come up; its words are above");
        }
        engine
    }
}

impl Engine {
    /// Why this machine cannot run one, if it cannot.
    #[must_use]
    pub fn lacks() -> Option<String> {
        if !can("test \"$(id -u)\" = 0") {
            return Some("a private Docker Engine needs root".to_owned());
        }
        lacking(&["dockerd", "containerd", "runc", "ip", "setpriv"])
    }

    /// One that is as it comes.
    #[must_use]
    pub fn options() -> Options {
        Options::default()
    }

    /// One that is as it comes, started.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start() -> Self {
        Self::options().start().await
    }

    /// What `$DOCKER_HOST` is for it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.place.folder().join("s")
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.place.folder().join("data")
    }

    /// The address at which containers reach what listens on this machine; `host-gateway` means it as well.
    #[must_use]
    pub fn host(&self) -> String {
        self.place.host()
    }

    /// Kills the daemon with SIGKILL. Without live restore its containers are stopped when it starts again.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        drop(self.daemon.take().expect("a running daemon"));
    }

    /// Ends the daemon as a service manager does, and waits until it has stopped its containers.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn stop(&mut self) {
        let mut daemon = self.daemon.take().expect("a running daemon");
        daemon.signal(Signal::TERM);
        until(PATIENCE, "dockerd to end", || {
            let ended = daemon.has_ended();
            async move { ended }
        })
        .await;
    }

    /// Starts the daemon again after it was killed or stopped, with everything it had.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn restart(&mut self) {
        assert!(self.try_launch().await, "dockerd does not come up again; its words are above");
    }

    async fn try_launch(&mut self) -> bool {
        for file in ["pid", "x/containerd/containerd.pid"] {
            leftovers::forget_dead(&self.place.folder().join(file));
        }
        let mut daemon = Daemon::spawn("dockerd", self.command());
        let socket = self.socket();
        let up = async {
            loop {
                if daemon.has_ended() {
                    return false;
                }
                if try_call(&socket, "GET", "/_ping", "").await.is_ok_and(|answer| answer.status == 200) {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let up = within(PATIENCE, "dockerd to answer", up).await;
        if !up {
            eprintln!("--- dockerd ended\n{}", daemon.output().text());
        }
        self.daemon = Some(daemon);
        up
    }

    fn command(&self) -> Command {
        let folder = self.place.folder();
        // Ends with the test's thread, so that a test that is killed takes its engine along.
        let mut command = Command::new(program("setpriv").expect("setpriv"));
        command.args(["--pdeathsig", "TERM"]).arg(program("dockerd").expect("dockerd"));
        let at = |option: &str, name: &str| format!("--{option}={}", folder.join(name).display());
        command.args([at("data-root", "data"), at("exec-root", "x"), at("pidfile", "pid")]);
        command.arg(format!("--host={}", self.url()));
        command.args(["--group=root", "--log-level=warn", "--shutdown-timeout=5"]);
        command.args(["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]);
        command.arg(format!("--default-address-pool=base={},size=24", self.place.pool()));
        command.arg(format!("--host-gateway-ip={}", self.host()));
        if self.options.live_restore {
            command.arg("--live-restore");
        }
        if let Some(driver) = self.driver {
            command.arg(format!("--storage-driver={driver}"));
        }
        command.args(&self.options.arguments);
        command
    }

    /// One exchange with the engine's API.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let socket = self.socket();
        let answer = within(CALL, "the engine to answer", try_call(&socket, method, path, body)).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// One exchange that must succeed; its answer as JSON, null where there is none.
    ///
    /// # Panics
    /// When the engine refuses.
    pub async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.call(method, path, &body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text());
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    /// Every container, running or not.
    pub async fn containers(&self) -> Vec<Value> {
        list(self.ask("GET", "/containers/json?all=1", &Value::Null).await)
    }

    /// The names of all containers that run, sorted.
    pub async fn running(&self) -> Vec<String> {
        let running = self.containers().await.into_iter().filter(|c| c["State"] == "running");
        let mut names: Vec<String> = running.map(|container| name(&container)).collect();
        names.sort();
        names
    }

    /// What the engine knows of a container.
    ///
    /// # Panics
    /// When there is none of that name.
    pub async fn inspect(&self, container: &str) -> Value {
        self.ask("GET", &format!("/containers/{container}/json"), &Value::Null).await
    }

    /// What a container wrote, both streams.
    ///
    /// # Panics
    /// When there is none of that name.
    pub async fn logs(&self, container: &str) -> String {
        let path = format!("/containers/{container}/logs?stdout=1&stderr=1");
        demultiplexed(&self.call("GET", &path, "").await.body)
    }

    /// The digests that images are known by here (`name@sha256:…`), sorted.
    pub async fn digests(&self) -> Vec<String> {
        let images = list(self.ask("GET", "/images/json", &Value::Null).await);
        let digests = images.iter().flat_map(|image| list(image["RepoDigests"].clone()));
        let mut digests: Vec<String> = digests.filter_map(|d| d.as_str().map(str::to_owned)).collect();
        digests.sort();
        digests
    }

    /// Pulls an image, as a user would.
    ///
    /// # Panics
    /// When that fails.
    pub async fn pull(&self, image: &str) {
        let answer = self.call("POST", &format!("/images/create?fromImage={image}"), "").await.text();
        assert!(!answer.contains("errorDetail"), "{image}: {answer}");
    }

    /// Makes a container and starts it; its id.
    ///
    /// # Panics
    /// When the engine refuses.
    pub async fn run(&self, name: &str, spec: &Value) -> String {
        let made = self.ask("POST", &format!("/containers/create?name={name}"), spec).await;
        let id = made["Id"].as_str().expect("an id").to_owned();
        self.ask("POST", &format!("/containers/{id}/start"), &Value::Null).await;
        id
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The engine's own removal also ends the containers' shims in good order.
        if self.daemon.is_some() {
            leftovers::remove_containers(&self.socket());
        }
        drop(self.daemon.take());
        // The place clears away the rest.
    }
}

async fn try_call(socket: &Path, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
    let headers = [("Host", "docker"), ("Content-Type", "application/json"), ("Connection", "close")];
    let mut connection = Http1::over(UnixStream::connect(socket).await?);
    connection.try_exchange(&request(method, path, &headers, body.as_bytes())).await
}

/// A container's name without the leading slash, from a list or from an inspection.
#[must_use]
pub fn name(container: &Value) -> String {
    let name = container["Names"][0].as_str().or_else(|| container["Name"].as_str());
    name.unwrap_or_default().trim_start_matches('/').to_owned()
}

fn list(value: Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// The text of a log stream: frames of a kind, three zeros, a length of four bytes, and so many bytes.
fn demultiplexed(mut bytes: &[u8]) -> String {
    let mut text = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let length = usize::try_from(length).unwrap_or(0).min(rest.len());
        text.extend_from_slice(&rest[..length]);
        bytes = &rest[length..];
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests;
