//! What is said of containers, in our own words: what to make, what was found, what a one-off run gave.
//!
//! `docker` turns these into the engine's; nobody else knows the engine's types.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use switcher_config::settings::{ContainerLimits, HealthcheckChoice};
use switcher_config::{AppName, Slot};

use crate::deployment::DeploymentId;

/// The labels that every container of ours carries.
pub mod label {
    /// The application.
    pub const APP: &str = "switcher.app";
    /// The environment.
    pub const ENVIRONMENT: &str = "switcher.environment";
    /// The slot: `blue` or `green`. Only with the role `app`.
    pub const SLOT: &str = "switcher.slot";
    /// The deployment that made it.
    pub const DEPLOYMENT: &str = "switcher.deployment";
    /// The version it runs.
    pub const VERSION: &str = "switcher.version";
    /// Its number within the slot, from 1. Only with the role `app`.
    pub const REPLICA: &str = "switcher.replica";
    /// What it is for: `app`, `migrate` or `snapshot`.
    pub const ROLE: &str = "switcher.role";
    /// The admin socket of the proxy that it serves behind.
    pub const PROXY: &str = "switcher.proxy";
}

/// Whose a container is. Two projects on one engine may call an application the same; each has a proxy of its own, and
/// neither sees the containers of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// The application.
    pub app: AppName,
    /// The environment.
    pub environment: String,
    /// The admin socket of the proxy.
    pub proxy: PathBuf,
}

impl Tenant {
    /// The labels that every container of this owner with this role carries.
    #[must_use]
    pub fn labels(&self, role: &str) -> BTreeMap<String, String> {
        let labels = [
            (label::APP, self.app.to_string()),
            (label::ENVIRONMENT, self.environment.clone()),
            (label::PROXY, self.proxy.display().to_string()),
            (label::ROLE, role.to_owned()),
        ];
        labels.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

/// A container to be made.
#[derive(Clone)]
pub struct ContainerSpec {
    /// Its name: deterministic, so that a second try meets the first one's container.
    pub name: String,
    /// What the engine is given: `name@sha256:…` or a local id.
    pub image: String,
    /// `os/arch[/variant]`; none leaves it to the engine.
    pub platform: Option<String>,
    /// Labels, ours included.
    pub labels: BTreeMap<String, String>,
    /// Its environment, resolved. Secret.
    pub env: BTreeMap<String, String>,
    /// Instead of the image's entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Instead of the image's command.
    pub command: Option<Vec<String>>,
    /// The user it runs as.
    pub user: Option<String>,
    /// The network it joins.
    pub network: String,
    /// A fixed address in it, so that a restart of the machine moves nobody.
    pub address: Option<IpAddr>,
    /// `source:/path[:ro]`.
    pub volumes: Vec<String>,
    /// Bounds.
    pub limits: ContainerLimits,
    /// `name:address`.
    pub extra_hosts: Vec<String>,
    /// From SIGTERM to SIGKILL.
    pub stop_timeout: Duration,
    /// Docker's own check.
    pub healthcheck: HealthcheckChoice,
    /// Whether the engine starts it again when it ends by itself, and after a restart of the engine, until we stop it.
    pub restart: bool,
    /// Files put into it before it starts, such as secrets. Never mounted, never in the engine's description.
    pub files: Vec<SecretFile>,
}

/// A file put into a container before it starts.
#[derive(Clone)]
pub struct SecretFile {
    /// Where, such as `/run/secrets/database_url`.
    pub path: String,
    /// What.
    pub content: Vec<u8>,
}

/// Names the container and nothing that may be secret.
impl fmt::Debug for ContainerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerSpec")
            .field("name", &self.name)
            .field("image", &self.image)
            .finish_non_exhaustive()
    }
}

/// A container as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The engine's id.
    pub id: String,
    /// Its name, without the leading slash.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The image it was made from, as it was named then.
    pub image: String,
    /// What it does.
    pub state: ContainerState,
    /// What Docker's own check says; none without one.
    pub health: Option<DockerHealth>,
    /// Its address in each network.
    pub addresses: BTreeMap<String, IpAddr>,
    /// How often the engine started it again.
    pub restarts: u32,
}

impl Container {
    /// The slot it runs in, for one of ours.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        self.labels.get(label::SLOT)?.parse().ok()
    }

    /// The deployment that made it, for one of ours.
    #[must_use]
    pub fn deployment(&self) -> Option<DeploymentId> {
        self.labels.get(label::DEPLOYMENT)?.parse().ok()
    }
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Running.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// The engine is starting it again after it ended.
    Restarting {
        /// How it ended last.
        end: Ended,
    },
    /// It ended.
    Exited(Ended),
    /// Neither: paused, dead, being removed.
    Other(String),
}

/// How a process in a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code.
    pub code: i64,
    /// Whether the kernel killed it for memory.
    pub out_of_memory: bool,
    /// What the engine says of it, where it says something.
    pub error: Option<String>,
}

/// What Docker's own check says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerHealth {
    /// Its verdict.
    pub status: DockerHealthStatus,
    /// The last answers, newest last: exit code and output.
    pub log: Vec<(i64, String)>,
}

/// The verdict of Docker's own check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DockerHealthStatus {
    /// Within its start period, or not asked yet.
    Starting,
    /// Healthy.
    Healthy,
    /// Unhealthy.
    Unhealthy,
}

/// Takes what a one-off run writes, as it comes.
#[async_trait]
pub trait Output: Send {
    /// Bytes of standard output.
    async fn stdout(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Bytes of standard error.
    async fn stderr(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// How a one-off run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// By itself.
    Ended(Ended),
    /// It took too long and was killed.
    TimedOut,
}
