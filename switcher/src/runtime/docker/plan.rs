//! Which container a replica is: its name, its labels, all that the engine is asked for. And back: what a slot's
//! containers are together. Pure.

use std::collections::BTreeMap;

use switcher_config::Slot;

use crate::container::{Container, ContainerSpec, Tenant, label};
use crate::deployment::DeploymentId;
use crate::environment::Resolved;
use crate::runtime::{RuntimeError, Start};

/// The label with the network a container is dialled in: the configuration may name another one by now.
pub(super) const NETWORK: &str = "switcher.network";
/// The label with the port it is dialled at.
pub(super) const PORT: &str = "switcher.port";

/// What [`label::ROLE`] says of containers in slots.
const ROLE: &str = "app";

/// The environment that is not part of names.
const PRODUCTION: &str = "production";

/// Whose slots they are.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) owner: Tenant,
}

impl Place {
    /// The labels that every container in a slot of ours carries.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        self.owner.labels(ROLE)
    }

    /// `shop-blue-1`; `shop-staging-blue-1` outside production.
    pub(super) fn name(&self, slot: Slot, replica: u16) -> String {
        let Tenant { app, environment, .. } = &self.owner;
        if environment == PRODUCTION {
            format!("{app}-{slot}-{replica}")
        } else {
            format!("{app}-{environment}-{slot}-{replica}")
        }
    }

    /// What the engine is asked for.
    pub(super) fn spec(
        &self,
        start: &Start<'_>,
        replica: u16,
        resolved: &Resolved,
    ) -> Result<ContainerSpec, RuntimeError> {
        let Start { slot, deployment, release, settings, .. } = start;
        let image = release
            .image
            .as_ref()
            .ok_or_else(|| RuntimeError::NoImage { version: release.version.clone() })?;
        let mut labels = settings.labels.clone();
        labels.extend(self.labels());
        let own = [
            (label::SLOT, slot.to_string()),
            (label::DEPLOYMENT, deployment.to_string()),
            (label::VERSION, release.version.clone()),
            (label::REPLICA, replica.to_string()),
            (NETWORK, settings.network.clone()),
            (PORT, settings.port.to_string()),
        ];
        labels.extend(own.map(|(name, value)| (name.to_owned(), value)));
        Ok(ContainerSpec {
            name: self.name(*slot, replica),
            image: image.pinned.clone(),
            platform: Some(image.platform.clone()).filter(|platform| !platform.is_empty()),
            labels,
            env: resolved.variables.clone(),
            entrypoint: settings.entrypoint.clone(),
            command: settings.command.clone(),
            user: settings.user.clone(),
            network: settings.network.clone(),
            address: None,
            volumes: settings.volumes.clone(),
            limits: settings.limits.clone(),
            extra_hosts: settings.extra_hosts.clone(),
            stop_timeout: settings.stop_timeout.0,
            healthcheck: settings.healthcheck.clone(),
            restart: true,
            files: resolved.secrets.clone(),
        })
    }
}

/// The containers of one deployment in a slot.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) deployment: DeploymentId,
    pub(super) version: String,
    pub(super) image: String,
    /// By replica's number.
    pub(super) replicas: Vec<Container>,
    /// Names of containers that belong to other deployments.
    pub(super) remains: Vec<String>,
}

/// What is in a slot: the newest deployment's containers. There are others only where a command was killed.
pub(super) fn grouped(found: Vec<Container>) -> Option<Group> {
    let deployment = found.iter().filter_map(Container::deployment).max()?;
    let (mut replicas, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|container| container.deployment().as_ref() == Some(&deployment));
    replicas.sort_by_key(number);
    let first = replicas.first()?;
    Some(Group {
        version: first.labels.get(label::VERSION).cloned().unwrap_or_default(),
        image: first.image.clone(),
        deployment,
        remains: others.into_iter().map(|container| container.name).collect(),
        replicas,
    })
}

fn number(container: &Container) -> u16 {
    container.labels.get(label::REPLICA).and_then(|text| text.parse().ok()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::container::ContainerState;

    const OLD: &str = "dep_01JBQR2K3M4N5P6Q7R8S9T0VWX";
    const NEW: &str = "dep_01JBQR2K3M4N5P6Q7R8S9T0VWY";

    fn container(name: &str, deployment: &str, replica: u16) -> Container {
        let labels = [
            (label::DEPLOYMENT, deployment.to_owned()),
            (label::VERSION, "v1".to_owned()),
            (label::REPLICA, replica.to_string()),
        ];
        Container {
            id: name.to_owned(),
            name: name.to_owned(),
            labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
            image: "shop@sha256:1".to_owned(),
            state: ContainerState::Created,
            health: None,
            addresses: BTreeMap::new(),
            restarts: 0,
        }
    }

    #[test]
    fn names_carry_the_environment_unless_it_is_production() {
        let place = |environment: &str| {
            let (app, proxy) = ("shop".parse().expect("a name"), "/run/switcher/admin.sock".into());
            Place { owner: Tenant { app, environment: environment.to_owned(), proxy } }
        };
        assert_eq!(place("production").name(Slot::Blue, 1), "shop-blue-1");
        assert_eq!(place("staging").name(Slot::Green, 2), "shop-staging-green-2");
    }

    #[test]
    fn the_newest_deployment_has_the_slot_and_others_are_remains() {
        let found = vec![
            container("b", NEW, 2),
            container("z", OLD, 1),
            container("a", NEW, 10),
            container("c", NEW, 1),
        ];
        let group = grouped(found).expect("a group");
        assert_eq!(group.deployment.as_str(), NEW);
        let names: Vec<_> = group.replicas.iter().map(|replica| replica.name.as_str()).collect();
        assert_eq!((names, group.remains), (vec!["c", "b", "a"], vec!["z".to_owned()]));
    }

    #[test]
    fn an_empty_slot_is_nobodys() {
        assert_eq!(grouped(Vec::new()), None);
    }
}
