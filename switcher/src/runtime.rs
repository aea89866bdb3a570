//! What runs in the slots, whoever runs it: containers (`docker`) or hooks (`fixed`).
//!
//! One small interface: start a release in a slot, say what runs, whether it is ready, why it is not, and stop it.
//! Nothing here knows of traffic. Every act is idempotent, because a command that was killed is repeated; a slot that
//! belongs to another deployment is never touched by `start`. Called by the deployer.

mod docker;
mod fixed;
mod judge;

use std::time::Duration;

use async_trait::async_trait;
use switcher_config::durable::ReplaceError;
use switcher_config::settings::{DeploySettings, Hook};
use switcher_config::{PerSlot, Slot, UpstreamAddress};

use crate::container::{ContainerState, DockerHealth};
use crate::deployment::{DeploymentId, Release, Words};
use crate::docker::DockerError;
use crate::environment::Resolved;

pub use docker::DockerRuntime;
pub use fixed::StaticRuntime;

/// Runs what the slots hold.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Starts every replica of a release in a slot; where they are dialled, by replica. Those of the same deployment
    /// that run already stay as they are.
    async fn start(&self, start: &Start<'_>) -> Result<Vec<UpstreamAddress>, RuntimeError>;

    /// What is in each slot, running or not.
    async fn running(&self) -> Result<PerSlot<Option<Running>>, RuntimeError>;

    /// Whether a deployment is up in a slot, as far as its runtime can see; the proxy's own probes come after.
    async fn ready(&self, slot: Slot, deployment: &DeploymentId) -> Result<Readiness, RuntimeError>;

    /// Stops what runs in a slot, each with its grace period. An empty slot is no error.
    async fn stop(&self, slot: Slot, how: StopHow) -> Result<(), RuntimeError>;

    /// What the slot's replicas have to say for themselves. It may hold secrets: redact it.
    async fn evidence(&self, slot: Slot) -> Evidence;
}

/// What to start.
#[derive(Debug)]
pub struct Start<'a> {
    /// Where.
    pub slot: Slot,
    /// For whom.
    pub deployment: &'a DeploymentId,
    /// What.
    pub release: &'a Release,
    /// What each replica gets, from replica 1. There are as many replicas as there are entries.
    pub replicas: &'a [Resolved],
    /// How.
    pub settings: &'a DeploySettings,
}

/// Whether what was stopped is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopHow {
    /// It could be started again as it is.
    Keep,
    /// Nothing is left of it.
    Remove,
}

/// What is in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Whose it is.
    pub deployment: DeploymentId,
    /// The version it runs.
    pub version: String,
    /// The image, pinned; empty without containers.
    pub image: String,
    /// Its replicas, by number.
    pub replicas: Vec<Replica>,
    /// What lies in the slot beside it and belongs to an older deployment: the remains of a command that was killed.
    pub remains: Vec<String>,
}

impl Running {
    /// Where it is dialled, when every replica runs.
    #[must_use]
    pub fn addresses(&self) -> Option<Vec<UpstreamAddress>> {
        self.replicas.iter().map(|replica| replica.address.clone()).collect()
    }
}

/// One replica of what is in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// The container's name; without containers the slot's.
    pub container: String,
    /// Where it is dialled; none while it does not run.
    pub address: Option<UpstreamAddress>,
    /// What it does.
    pub state: ContainerState,
    /// What Docker's own check says; none without one.
    pub health: Option<DockerHealth>,
    /// How often the engine started it again.
    pub restarts: u32,
}

/// Whether a slot is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It is.
    Ready,
    /// Not yet, and why.
    Waiting(String),
    /// It will not be, and why: waiting on would help nobody.
    Failed(String),
}

/// What the replicas of a slot have to say for themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// By replica.
    pub replicas: Vec<ReplicaEvidence>,
}

/// What one replica has to say for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaEvidence {
    /// The container's name; without containers the slot's.
    pub container: String,
    /// A sentence: what it does or how it ended.
    pub state: String,
    /// The last answers of Docker's own check, newest last.
    pub health: Vec<String>,
    /// The last lines it wrote.
    pub logs: Vec<String>,
}

/// Runs the hooks of `runtime: static`. Whoever implements it redacts what the hook writes.
#[async_trait]
pub trait HookRunner: Send + Sync {
    /// Runs the hook called `name` (`start` or `stop`) to its end.
    async fn run(&self, name: &'static str, hook: &Hook, words: &Words) -> Result<(), HookFailed>;
}

/// A hook that failed: a sentence with its last words, redacted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HookFailed(pub String);

/// What went wrong with what runs in the slots.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The slot has to be vacated first.
    #[error(
        "{slot} still holds {deployment}, so nothing else may be started in it; `switcher repair` clears it"
    )]
    Occupied {
        /// The slot.
        slot: Slot,
        /// What is in it.
        deployment: String,
    },
    /// A container without an image.
    #[error("{version} names no image, and `runtime: docker` runs containers; deploy an image")]
    NoImage {
        /// The version that was to be started.
        version: String,
    },
    /// It was started and ended at once: a sentence that says how.
    #[error("{0}")]
    Ended(String),
    /// A container that runs and cannot be dialled.
    #[error(
        "{container} has no address of its own in the network {network}; name a bridge network under `deploy.network`"
    )]
    NoAddress {
        /// The container.
        container: String,
        /// The network.
        network: String,
    },
    /// `runtime: static` without addresses.
    #[error("{slot} has no addresses, and `runtime: static` makes none; write them under `slots`")]
    NoSlotAddresses {
        /// The slot.
        slot: Slot,
    },
    /// A hook.
    #[error(transparent)]
    Hook(#[from] HookFailed),
    /// What runs in a slot could not be remembered.
    #[error(transparent)]
    NotRemembered(#[from] ReplaceError),
    /// What was remembered of a slot cannot be read.
    #[error("what runs in {slot} is not known: {} {why}; mend or remove the file", path.display())]
    Unreadable {
        /// The slot.
        slot: Slot,
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// How many of a replica's last lines are evidence.
const EVIDENCE_LINES: usize = 50;

/// How long a replica must run after a crash to be taken for recovered.
const SETTLED: Duration = Duration::from_secs(10);
