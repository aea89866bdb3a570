//! `runtime: docker`: the slots hold containers, named and labelled so that everybody finds them again.
//!
//! The engine is the only memory: names say which container it is, labels say whose, and nothing is written down
//! beside them. A container keeps the address it was given for as long as it lives.

mod plan;

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures::future::try_join_all;
use jiff::Timestamp;
use switcher_config::settings::DeploySettings;
use switcher_config::{PerSlot, Slot, UpstreamAddress};

use self::plan::{Place, grouped};
use super::judge::{answer, readiness, sentence};
use super::{
    EVIDENCE_LINES, Evidence, Readiness, Replica, ReplicaEvidence, Running, Runtime, RuntimeError, Start,
    StopHow,
};
use crate::container::{Container, ContainerSpec, ContainerState, Tenant, label};
use crate::deployment::DeploymentId;
use crate::docker::network::{AddressRefusal, Network, address_for, address_refusal};
use crate::docker::{DockerError, DockerErrorKind, Engine};

/// How often a start is tried whose pinned address somebody else takes in the same moment.
const TRIES: u32 = 3;

/// The slots of one application in one environment, on one engine.
#[derive(Debug)]
pub struct DockerRuntime {
    engine: Engine,
    place: Place,
    settings: DeploySettings,
}

impl DockerRuntime {
    /// The slots of `owner`. Of the settings it takes the grace period for what is stopped, and the
    /// limits named in failures; what is started comes with settings of its own.
    #[must_use]
    pub const fn new(engine: Engine, owner: Tenant, settings: DeploySettings) -> Self {
        Self { engine, place: Place { owner }, settings }
    }

    /// Every container in a slot.
    async fn found(&self, slot: Slot) -> Result<Vec<Container>, RuntimeError> {
        let labels = self.place.labels();
        let mut wanted: Vec<(&str, &str)> =
            labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        wanted.push((label::SLOT, slot.as_str()));
        Ok(self.engine.list(&wanted).await?)
    }

    /// Makes and starts one replica. Its address is pinned where the network allows it.
    async fn up(
        &self,
        mut spec: ContainerSpec,
        slot: Slot,
        replica: u16,
        network: &mut Network,
    ) -> Result<(), RuntimeError> {
        let mut refused = BTreeSet::new();
        for last in (0..TRIES).rev() {
            spec.address = None;
            if let Some(subnet) = network.subnet.filter(|_| network.pinnable) {
                let mut taken = self.engine.taken_addresses(network, &spec.name).await?;
                taken.extend(&refused);
                spec.address = address_for(subnet, slot, replica, &taken);
            }
            let Err(error) = self.made_and_started(&spec).await else { return Ok(()) };
            match address_refusal(&error).filter(|_| last > 0) {
                Some(AddressRefusal::NotPinnable) => network.pinnable = false,
                Some(AddressRefusal::Taken) => refused.extend(spec.address),
                None => return Err(self.why_not(&spec.name, error).await),
            }
            self.engine.remove(&spec.name).await?;
        }
        Ok(())
    }

    async fn made_and_started(&self, spec: &ContainerSpec) -> Result<(), DockerError> {
        self.engine.create(spec).await?;
        self.engine.start(&spec.name).await
    }

    /// Tells a version that cannot be started (its program is missing) from an engine that cannot start it.
    async fn why_not(&self, name: &str, error: DockerError) -> RuntimeError {
        if error.kind() == DockerErrorKind::Refused
            && let Ok(Some(found)) = self.engine.inspect(name).await
            && let ContainerState::Exited(_) = found.state
        {
            return RuntimeError::Ended(sentence(&found, self.settings.limits.memory));
        }
        error.into()
    }

    /// Where a container is dialled: its address in its network, at its port, both as they were when it was made.
    fn address(container: &Container) -> Option<UpstreamAddress> {
        let address = container.addresses.get(container.labels.get(plan::NETWORK)?)?;
        let port = container.labels.get(plan::PORT)?.parse().ok()?;
        match container.state {
            ContainerState::Running { .. } => Some(UpstreamAddress::from_socket((*address, port).into())),
            ContainerState::Created
            | ContainerState::Restarting { .. }
            | ContainerState::Exited(_)
            | ContainerState::Other(_) => None,
        }
    }

    /// Where a replica that was just started is dialled; an error when it has ended already.
    async fn dialled(&self, name: &str, network: &Network) -> Result<UpstreamAddress, RuntimeError> {
        let no_address =
            || RuntimeError::NoAddress { container: name.to_owned(), network: network.name.clone() };
        let found = self.engine.inspect(name).await?.ok_or_else(no_address)?;
        if let ContainerState::Running { .. } = found.state {
            return Self::address(&found).ok_or_else(no_address);
        }
        Err(RuntimeError::Ended(sentence(&found, self.settings.limits.memory)))
    }

    async fn evidence_of(&self, container: &Container) -> ReplicaEvidence {
        let logs = match self.engine.logs(&container.id, EVIDENCE_LINES).await {
            Ok(lines) => lines,
            Err(error) => vec![format!("(its log cannot be read: {error})")],
        };
        ReplicaEvidence {
            container: container.name.clone(),
            state: sentence(container, self.settings.limits.memory),
            health: container.health.iter().flat_map(|health| health.log.iter().map(answer)).collect(),
            logs,
        }
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn start(&self, start: &Start<'_>) -> Result<Vec<UpstreamAddress>, RuntimeError> {
        let slot = start.slot;
        let found = self.found(slot).await?;
        if let Some(other) = found.iter().find(|found| found.deployment().as_ref() != Some(start.deployment))
        {
            let deployment = other.deployment().map_or_else(|| other.name.clone(), |id| id.to_string());
            return Err(RuntimeError::Occupied { slot, deployment });
        }
        let mut network = self.engine.ensure_network(&start.settings.network).await?;
        let mut addresses = Vec::new();
        for (number, resolved) in (1..).zip(start.replicas) {
            let spec = self.place.spec(start, number, resolved)?;
            let name = spec.name.clone();
            let there = found.iter().find(|found| found.name == name);
            if there.is_some() {
                // A stop that was begun took this away from it.
                self.engine.restart_by_itself(&name, true).await?;
            }
            if !there.is_some_and(runs) {
                self.up(spec, slot, number, &mut network).await?;
            }
            addresses.push(self.dialled(&name, &network).await?);
        }
        Ok(addresses)
    }

    async fn running(&self) -> Result<PerSlot<Option<Running>>, RuntimeError> {
        Ok(PerSlot {
            blue: grouped(self.found(Slot::Blue).await?).map(described),
            green: grouped(self.found(Slot::Green).await?).map(described),
        })
    }

    async fn ready(&self, slot: Slot, deployment: &DeploymentId) -> Result<Readiness, RuntimeError> {
        let mut found = self.found(slot).await?;
        found.retain(|container| container.deployment().as_ref() == Some(deployment));
        if found.is_empty() {
            return Ok(Readiness::Failed(format!("nothing of {deployment} is in {slot}")));
        }
        Ok(readiness(&found, self.settings.limits.memory, Timestamp::now()))
    }

    async fn stop(&self, slot: Slot, how: StopHow) -> Result<(), RuntimeError> {
        let found = self.found(slot).await?;
        let grace = self.settings.stop_timeout.0;
        try_join_all(found.iter().map(|container| self.engine.stop(&container.name, grace))).await?;
        if how == StopHow::Remove {
            try_join_all(found.iter().map(|container| self.engine.remove(&container.name))).await?;
        }
        Ok(())
    }

    async fn evidence(&self, slot: Slot) -> Evidence {
        let found = match self.found(slot).await {
            Ok(found) => grouped(found).map(|group| group.replicas).unwrap_or_default(),
            Err(error) => {
                let container = slot.to_string();
                let state = format!("what runs in {slot} cannot be seen: {error}");
                return Evidence {
                    replicas: vec![ReplicaEvidence {
                        container,
                        state,
                        health: Vec::new(),
                        logs: Vec::new(),
                    }],
                };
            }
        };
        let mut replicas = Vec::new();
        for container in &found {
            replicas.push(self.evidence_of(container).await);
        }
        Evidence { replicas }
    }
}

/// Whether a container is up, or the engine is about to bring it up.
const fn runs(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running { .. } | ContainerState::Restarting { .. })
}

/// What is in a slot, in the words of every runtime.
fn described(group: plan::Group) -> Running {
    let replica = |container: &Container| Replica {
        container: container.name.clone(),
        address: DockerRuntime::address(container),
        state: container.state.clone(),
        health: container.health.clone(),
        restarts: container.restarts,
    };
    Running {
        deployment: group.deployment,
        version: group.version,
        image: group.image,
        replicas: group.replicas.iter().map(replica).collect(),
        remains: group.remains,
    }
}
