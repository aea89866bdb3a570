//! Our containers on the engine: one version a slot, and none that belongs nowhere. Pure.

use std::collections::BTreeMap;

use switcher_config::{AppName, Slot};

use super::{Finding, counted};
use crate::container::{Container, ContainerState, label};

/// Judges the containers of one environment. `apps` are the applications that the configuration deploys.
#[must_use]
pub fn check(containers: &[Container], apps: &[AppName]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut slots: BTreeMap<(&str, Slot), Vec<&Container>> = BTreeMap::new();
    let mut homeless = Vec::new();
    for container in containers {
        let app = container.labels.get(label::APP).map(String::as_str).unwrap_or_default();
        let known = apps.iter().any(|name| name.as_str() == app);
        let role = container.labels.get(label::ROLE).map(String::as_str);
        match (role, container.slot()) {
            (Some("app"), Some(slot)) if known => slots.entry((app, slot)).or_default().push(container),
            // A migration or a dump that runs is somebody's work.
            (Some("migrate" | "snapshot"), None) if known && !ended(container) => {}
            (_, _) => homeless.push(container.name.as_str()),
        }
    }
    for ((app, slot), inside) in &slots {
        findings.extend(mixed(app, *slot, inside));
    }
    if !homeless.is_empty() {
        let names = homeless.join(" ");
        let says = format!("containers of ours belong to no slot: {names}");
        findings.push(Finding::warning(
            "containers",
            says,
            format!("`switcher prune`, or `docker rm -f {names}`"),
        ));
    }
    if findings.is_empty() {
        let count = slots.values().map(Vec::len).sum();
        let says =
            format!("{} in {}, one version each", counted(count, "container"), counted(slots.len(), "slot"));
        findings.push(Finding::ok("containers", says));
    }
    findings
}

/// Two deployments in one slot: the newest has it, the others are left behind.
fn mixed(app: &str, slot: Slot, inside: &[&Container]) -> Option<Finding> {
    let newest = inside.iter().filter_map(|container| container.deployment()).max();
    let (stay, others): (Vec<&&Container>, Vec<_>) =
        inside.iter().partition(|container| container.deployment() == newest);
    if others.is_empty() {
        return None;
    }
    let words = |list: &[&&Container]| {
        let word = |container: &&&Container| {
            let version = container.labels.get(label::VERSION).map(String::as_str).unwrap_or_default();
            format!("{} runs {version}", container.name)
        };
        list.iter().map(word).collect::<Vec<_>>().join(", ")
    };
    let says =
        format!("two versions are in {slot} of {app}: {}, and beside it {}", words(&stay), words(&others));
    let names = others.iter().map(|container| container.name.as_str()).collect::<Vec<_>>().join(" ");
    Some(Finding::failed("containers", says, format!("`docker rm -f {names}` leaves the newer one")))
}

const fn ended(container: &Container) -> bool {
    matches!(container.state, ContainerState::Exited(_) | ContainerState::Created)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    const OLD: &str = "dep_01JBQR2K3M4N5P6Q7R8S9T0VWX";
    const NEW: &str = "dep_01JBQR2K3M4N5P6Q7R8S9T0VWY";

    fn container(name: &str, labels: &[(&str, &str)]) -> Container {
        Container {
            id: name.to_owned(),
            name: name.to_owned(),
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            image: "shop@sha256:1".to_owned(),
            state: ContainerState::Created,
            health: None,
            addresses: BTreeMap::new(),
            restarts: 0,
        }
    }

    fn inside(name: &str, deployment: &str, version: &str) -> Container {
        container(
            name,
            &[
                (label::APP, "shop"),
                (label::ROLE, "app"),
                (label::SLOT, "blue"),
                (label::DEPLOYMENT, deployment),
                (label::VERSION, version),
            ],
        )
    }

    #[test]
    fn two_versions_in_a_slot_and_containers_of_nobody_are_named() {
        let apps = ["shop".parse().expect("a name")];
        let one = inside("shop-blue-1", NEW, "v2");
        assert_eq!(check(std::slice::from_ref(&one), &apps)[0].verdict, Verdict::Ok);
        let found = check(&[one, inside("old", OLD, "v1")], &apps);
        assert_eq!(found[0].verdict, Verdict::Failed);
        assert!(found[0].says.contains("shop-blue-1 runs v2, and beside it old runs v1"), "{found:?}");
        assert_eq!(found[0].remedy.as_deref(), Some("`docker rm -f old` leaves the newer one"));
        let ended = container("shop-migrate", &[(label::APP, "shop"), (label::ROLE, "migrate")]);
        let blog =
            container("blog-blue-1", &[(label::APP, "blog"), (label::ROLE, "app"), (label::SLOT, "blue")]);
        let found = check(&[ended, blog], &apps);
        assert_eq!((found.len(), found[0].verdict), (1, Verdict::Warning));
        assert!(found[0].says.contains("shop-migrate blog-blue-1"), "{found:?}");
    }
}
