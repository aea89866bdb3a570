//! `runtime: static`: the slots hold processes that hooks start and stop, at addresses that the configuration names.
//!
//! Nobody but us knows which version runs where, so it is written down: before the hook, that it is being started,
//! and after it, that it runs. A command that was killed in between runs the hook again; hooks are to be idempotent,
//! as `systemctl start` is.

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use switcher_config::durable::{Durability, replace};
use switcher_config::settings::Hooks;
use switcher_config::{AppName, PerSlot, Slot, UpstreamAddress};

use super::{
    Evidence, HookRunner, Readiness, Replica, ReplicaEvidence, Running, Runtime, RuntimeError, Start, StopHow,
};
use crate::container::{ContainerState, Ended};
use crate::deployment::{DeploymentId, Words};

/// The slots of one application in one environment, run by its hooks.
pub struct StaticRuntime {
    app: AppName,
    environment: String,
    slots: PerSlot<Option<Vec<UpstreamAddress>>>,
    hooks: Hooks,
    runner: Box<dyn HookRunner>,
    folder: PathBuf,
}

/// What is remembered of a slot, in `static-<slot>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    deployment: DeploymentId,
    version: String,
    #[serde(default)]
    git_commit: String,
    state: Progress,
    at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Progress {
    /// The hook `start` was called; nobody saw it succeed.
    Starting,
    /// It succeeded.
    Running,
    /// The hook `stop` succeeded, and the version may be started again.
    Stopped,
}

impl StaticRuntime {
    /// The slots at the addresses of `slots`; what runs in them is remembered in `folder`, which must be there.
    #[must_use]
    pub fn new(
        app: AppName,
        environment: String,
        slots: PerSlot<Option<Vec<UpstreamAddress>>>,
        hooks: Hooks,
        runner: Box<dyn HookRunner>,
        folder: PathBuf,
    ) -> Self {
        Self { app, environment, slots, hooks, runner, folder }
    }

    fn addresses(&self, slot: Slot) -> Result<&[UpstreamAddress], RuntimeError> {
        let addresses = self.slots.get(slot).as_deref().filter(|addresses| !addresses.is_empty());
        addresses.ok_or(RuntimeError::NoSlotAddresses { slot })
    }

    fn path(&self, slot: Slot) -> PathBuf {
        self.folder.join(format!("static-{slot}.json"))
    }

    fn recall(&self, slot: Slot) -> Result<Option<Memory>, RuntimeError> {
        let path = self.path(slot);
        let unreadable = |why: String| RuntimeError::Unreadable { slot, path: path.clone(), why };
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| unreadable(format!("is damaged: {error}"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(format!("cannot be read: {error}"))),
        }
    }

    fn remember(&self, slot: Slot, memory: &Memory) -> Result<(), RuntimeError> {
        let path = self.path(slot);
        let bytes = serde_json::to_vec_pretty(memory).map_err(|error| RuntimeError::Unreadable {
            slot,
            path: path.clone(),
            why: error.to_string(),
        })?;
        Ok(replace(&path, &bytes, 0o600, Durability::Synced)?)
    }

    fn forget(&self, slot: Slot) -> Result<(), RuntimeError> {
        let path = self.path(slot);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(RuntimeError::Unreadable { slot, path, why: format!("cannot be removed: {error}") })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn words(&self, slot: Slot, memory: &Memory) -> Words {
        Words {
            app: self.app.clone(),
            environment: self.environment.clone(),
            slot,
            version: memory.version.clone(),
            git_commit: memory.git_commit.clone(),
            deployment: memory.deployment.clone(),
            image: String::new(),
            replica: 0,
        }
    }
}

#[async_trait]
impl Runtime for StaticRuntime {
    async fn start(&self, start: &Start<'_>) -> Result<Vec<UpstreamAddress>, RuntimeError> {
        let slot = start.slot;
        let addresses = self.addresses(slot)?.to_vec();
        if let Some(there) = self.recall(slot)? {
            if there.deployment != *start.deployment {
                return Err(RuntimeError::Occupied { slot, deployment: there.deployment.to_string() });
            }
            if there.state == Progress::Running {
                return Ok(addresses);
            }
        }
        let mut memory = Memory {
            deployment: start.deployment.clone(),
            version: start.release.version.clone(),
            git_commit: start.release.git_commit.clone().unwrap_or_default(),
            state: Progress::Starting,
            at: Timestamp::now(),
        };
        self.remember(slot, &memory)?;
        if let Some(hook) = &self.hooks.start {
            self.runner.run("start", hook, &self.words(slot, &memory)).await?;
        }
        memory.state = Progress::Running;
        self.remember(slot, &memory)?;
        Ok(addresses)
    }

    async fn running(&self) -> Result<PerSlot<Option<Running>>, RuntimeError> {
        Ok(PerSlot { blue: self.in_slot(Slot::Blue)?, green: self.in_slot(Slot::Green)? })
    }

    async fn ready(&self, slot: Slot, deployment: &DeploymentId) -> Result<Readiness, RuntimeError> {
        Ok(match self.recall(slot)?.filter(|there| there.deployment == *deployment) {
            Some(there) => match there.state {
                Progress::Running => Readiness::Ready,
                Progress::Starting => {
                    Readiness::Failed(format!("nobody saw the hook `start` of {slot} succeed"))
                }
                Progress::Stopped => Readiness::Failed(format!("{deployment} is stopped in {slot}")),
            },
            None => Readiness::Failed(format!("nothing of {deployment} is in {slot}")),
        })
    }

    async fn stop(&self, slot: Slot, how: StopHow) -> Result<(), RuntimeError> {
        let Some(mut memory) = self.recall(slot)? else { return Ok(()) };
        if memory.state != Progress::Stopped
            && let Some(hook) = &self.hooks.stop
        {
            self.runner.run("stop", hook, &self.words(slot, &memory)).await?;
            memory.state = Progress::Stopped;
        }
        match how {
            StopHow::Keep => self.remember(slot, &memory),
            StopHow::Remove => self.forget(slot),
        }
    }

    async fn evidence(&self, slot: Slot) -> Evidence {
        let state = match self.recall(slot) {
            Ok(Some(there)) => match there.state {
                Progress::Starting => format!("nobody saw the hook `start` of {} succeed", there.version),
                Progress::Running => {
                    format!("the hook `start` of {} succeeded; its own log says more", there.version)
                }
                Progress::Stopped => format!("{} is stopped", there.version),
            },
            Ok(None) => "nothing was started".to_owned(),
            Err(error) => error.to_string(),
        };
        let container = slot.to_string();
        Evidence {
            replicas: vec![ReplicaEvidence { container, state, health: Vec::new(), logs: Vec::new() }],
        }
    }
}

impl StaticRuntime {
    fn in_slot(&self, slot: Slot) -> Result<Option<Running>, RuntimeError> {
        let Some(there) = self.recall(slot)? else { return Ok(None) };
        let state = match there.state {
            Progress::Starting => ContainerState::Created,
            Progress::Running => ContainerState::Running { since: there.at },
            Progress::Stopped => ContainerState::Exited(Ended { code: 0, out_of_memory: false, error: None }),
        };
        let runs = there.state == Progress::Running;
        let replicas = self.slots.get(slot).iter().flatten().map(|address| Replica {
            container: slot.to_string(),
            address: runs.then(|| address.clone()),
            state: state.clone(),
            health: None,
            restarts: 0,
        });
        Ok(Some(Running {
            replicas: replicas.collect(),
            deployment: there.deployment,
            version: there.version,
            image: String::new(),
            remains: Vec::new(),
        }))
    }
}

#[cfg(test)]
mod tests;
