//! What does not fit between Docker, proxy and state when nobody is at work, and what mends it. Pure.
//!
//! Traffic decides: what the proxy serves is never taken away, and what is recorded follows it. The one exception is a
//! proxy that lost its memory: then what is recorded and still runs is put back.

use serde::Serialize;
use switcher_config::wire::AppStatus;
use switcher_config::{PerSlot, Slot, UpstreamAddress};

use crate::container::ContainerState;
use crate::deployment::DeploymentId;
use crate::runtime::Running;
use crate::state::record::{DeploymentRecord, State, Status};

/// What is seen.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// The proxy's word.
    pub proxy: &'a AppStatus,
    /// What is in the slots.
    pub inside: &'a PerSlot<Option<Running>>,
    /// What is remembered.
    pub state: &'a State,
    /// The whole history, newest first.
    pub history: &'a [DeploymentRecord],
    /// How many containers a slot is to have; none where slots are no containers.
    pub replicas: Option<u16>,
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is seen, as a sentence.
    pub what: String,
    /// What mends it.
    pub remedy: Remedy,
}

/// What mends a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "remedy", rename_all = "snake_case")]
pub enum Remedy {
    /// The deployment in the live slot becomes the current one in state and history.
    Adopt {
        /// The deployment.
        deployment: DeploymentId,
        /// The slot.
        slot: Slot,
    },
    /// The slot's containers are started again.
    Start {
        /// The slot.
        slot: Slot,
        /// Whose they are.
        deployment: DeploymentId,
    },
    /// The proxy learns where the containers of the live slot listen now.
    Readdress {
        /// The slot.
        slot: Slot,
        /// Where.
        upstreams: Vec<UpstreamAddress>,
        /// The version.
        version: String,
    },
    /// The proxy has forgotten what it served: it learns of it, and traffic goes there again.
    Restore {
        /// The slot.
        slot: Slot,
        /// Where.
        upstreams: Vec<UpstreamAddress>,
        /// The version.
        version: String,
    },
    /// A one-off container that a killed command left is waited for where it is a migration, and removed.
    Clear {
        /// Its name.
        container: String,
        /// Whether it is a migration at work.
        wait: bool,
    },
    /// The proxy learns of what runs in the standby slot.
    Register {
        /// The slot.
        slot: Slot,
        /// Where.
        upstreams: Vec<UpstreamAddress>,
        /// The version.
        version: String,
    },
    /// The proxy forgets addresses of the standby slot behind which nothing of ours runs.
    Withdraw {
        /// The slot.
        slot: Slot,
    },
    /// Nothing that is safe: a person has to decide.
    Person,
}

/// Everything that does not fit, the most urgent first.
#[must_use]
pub fn diagnose(seen: &Seen<'_>) -> Vec<Finding> {
    let active = seen.proxy.active;
    if let Some(finding) = forgotten(seen, active) {
        // Everything else would be judged by what it has forgotten.
        return vec![finding];
    }
    let mut findings = Vec::new();
    findings.extend(live(seen, active));
    findings.extend(remembered(seen, active));
    findings.extend(standby(seen, active.other()));
    findings
}

/// A proxy that has lost its memory: it serves nothing, or is at a generation before the one that is recorded, and
/// calls another slot live than the state does.
fn forgotten(seen: &Seen<'_>, active: Slot) -> Option<Finding> {
    let current = seen.state.current_deployment.as_ref()?;
    let slot = current.active_slot;
    let behind = current.generation.is_some_and(|known| seen.proxy.generation.get() < known);
    if slot == active || !(behind || addresses(seen, active).is_empty()) {
        return None;
    }
    let what = format!(
        "{active} is live for the proxy, which has forgotten what it served: {} is recorded as live in {slot}",
        current.version
    );
    let there = seen.inside.get(slot).as_ref().filter(|inside| inside.deployment == current.id);
    let remedy = match there.and_then(listening) {
        Some(upstreams) => Remedy::Restore { slot, upstreams, version: current.version.clone() },
        None => Remedy::Person,
    };
    Some(Finding { what, remedy })
}

/// The live slot: its containers run, all of them, and the proxy dials them where they are.
fn live(seen: &Seen<'_>, slot: Slot) -> Vec<Finding> {
    let served = addresses(seen, slot);
    let current = seen.state.current_deployment.as_ref().filter(|current| current.active_slot == slot);
    let Some(inside) = seen.inside.get(slot) else { return empty(seen, slot, current, &served) };
    if let Some(replica) = inside.replicas.iter().find(|r| !matches!(r.state, ContainerState::Running { .. }))
    {
        let what = format!("{slot} is live, and its container {} does not run", replica.container);
        let remedy = Remedy::Start { slot, deployment: inside.deployment.clone() };
        return vec![Finding { what, remedy }];
    }
    let ours = current.is_some_and(|current| current.id == inside.deployment);
    if let Some(wanted) = seen.replicas.filter(|wanted| ours && inside.replicas.len() < usize::from(*wanted))
    {
        let what = format!("{slot} is live with {} of {wanted} containers", inside.replicas.len());
        return vec![Finding { what, remedy: Remedy::Start { slot, deployment: inside.deployment.clone() } }];
    }
    match listening(inside) {
        None if !served.is_empty() => vec![Finding {
            what: format!("{slot} is live, and where {} listens in it is not known", inside.version),
            remedy: Remedy::Person,
        }],
        Some(upstreams) if !same(&upstreams, &served) && (ours || !served.is_empty()) => vec![Finding {
            what: format!(
                "{slot} is live, and the proxy dials {}, but {} listens at {}",
                list(&served),
                inside.version,
                list(&upstreams)
            ),
            remedy: Remedy::Readdress { slot, upstreams, version: inside.version.clone() },
        }],
        Some(_) | None => Vec::new(),
    }
}

/// The live slot holds nothing of ours: what is recorded there is started again, where it was a container.
fn empty(
    seen: &Seen<'_>,
    slot: Slot,
    current: Option<&DeploymentRecord>,
    served: &[UpstreamAddress],
) -> Vec<Finding> {
    let what = format!("{slot} is live, and none of our containers is in it");
    match current.filter(|current| !current.image.is_empty()) {
        Some(current) => {
            vec![Finding { what, remedy: Remedy::Start { slot, deployment: current.id.clone() } }]
        }
        None if seen.state.current_deployment.is_some() && !served.is_empty() => {
            vec![Finding { what, remedy: Remedy::Person }]
        }
        None => Vec::new(),
    }
}

/// The state names what is live.
fn remembered(seen: &Seen<'_>, active: Slot) -> Option<Finding> {
    let inside = seen.inside.get(active).as_ref()?;
    let current = seen.state.current_deployment.as_ref();
    if current.is_some_and(|current| current.id == inside.deployment && current.active_slot == active) {
        return None;
    }
    let known = seen.history.iter().any(|record| record.id == inside.deployment);
    let recorded = current.map_or_else(|| "nothing".to_owned(), |current| current.version.clone());
    let what = format!(
        "{active} is live with {} ({}), and the state says {recorded}",
        inside.version, inside.deployment
    );
    let remedy = if known {
        Remedy::Adopt { deployment: inside.deployment.clone(), slot: active }
    } else {
        Remedy::Person
    };
    Some(Finding { what, remedy })
}

/// The standby slot: the proxy knows what runs in it and nothing else.
fn standby(seen: &Seen<'_>, slot: Slot) -> Option<Finding> {
    let registered = addresses(seen, slot);
    match seen.inside.get(slot) {
        None if registered.is_empty() || seen.state.current_deployment.is_none() => None,
        None => Some(Finding {
            what: format!(
                "the proxy probes {} in {slot}, and none of our containers is there",
                list(&registered)
            ),
            remedy: Remedy::Withdraw { slot },
        }),
        Some(inside) => {
            let served = seen
                .history
                .iter()
                .any(|record| record.id == inside.deployment && !matches!(record.status, Status::Failed));
            match listening(inside) {
                Some(upstreams) if served && !same(&upstreams, &registered) => Some(Finding {
                    what: format!("{} runs in {slot}, and the proxy does not know it", inside.version),
                    remedy: Remedy::Register { slot, upstreams, version: inside.version.clone() },
                }),
                None if !registered.is_empty() => Some(Finding {
                    what: format!(
                        "the proxy probes {} in {slot}, and {} does not run",
                        list(&registered),
                        inside.version
                    ),
                    remedy: Remedy::Withdraw { slot },
                }),
                Some(_) | None => None,
            }
        }
    }
}

fn addresses(seen: &Seen<'_>, slot: Slot) -> Vec<UpstreamAddress> {
    seen.proxy.slots.get(slot).upstreams.iter().map(|upstream| upstream.address.clone()).collect()
}

/// Where a release listens; none unless every replica runs and there is one.
fn listening(inside: &Running) -> Option<Vec<UpstreamAddress>> {
    inside.addresses().filter(|addresses| !addresses.is_empty())
}

/// Whether two lists name the same addresses; their order means nothing.
fn same(one: &[UpstreamAddress], other: &[UpstreamAddress]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}

fn list(addresses: &[UpstreamAddress]) -> String {
    if addresses.is_empty() {
        return "nothing".to_owned();
    }
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
