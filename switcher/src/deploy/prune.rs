//! What no rollback needs any more. Pure; `switcher prune` removes it.
//!
//! Invariants: nothing of the live slot, of a release that waits to be promoted, of an operation under way, or of a
//! deployment that a rollback is promised to; and no image that is not in the history.

mod images;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use switcher_config::settings::Retain;
use switcher_config::{PerSlot, Slot};

use super::order::Order;
use super::record::find;
use crate::container::{Container, ContainerState, label};
use crate::deployment::DeploymentId;
use crate::runtime::Running;
use crate::snapshot::{Keep, Listed, SnapshotId, what_to_prune as old_snapshots};
use crate::state::DeploymentFolder;
use crate::state::record::{DeploymentRecord, State, Status};

pub use images::{OnEngine, on_engine, recorded};

/// What is seen.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// What is remembered.
    pub state: &'a State,
    /// The whole history, newest first.
    pub history: &'a [DeploymentRecord],
    /// The live slot, by the proxy's word.
    pub active: Slot,
    /// Whether the proxy has addresses of the standby slot.
    pub standby_dialled: bool,
    /// Whether a part of the clients is served by the standby slot.
    pub canary: bool,
    /// What is in the slots.
    pub inside: &'a PerSlot<Option<Running>>,
    /// The one-off containers of this application: migrations and dumps.
    pub one_offs: &'a [Container],
    /// The images of the history that lie on the engine.
    pub images: &'a [OnEngine],
    /// The snapshots.
    pub snapshots: &'a [Listed],
    /// The folders of deployments: journal and log.
    pub folders: &'a [DeploymentFolder],
    /// The operation that was cut short, if there is one.
    pub open: Option<&'a Order>,
}

/// What is to be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds<'a> {
    /// How many images and snapshots, and logs how long.
    pub retain: &'a Retain,
    /// How long snapshots stay; none leaves them all.
    pub snapshots: Option<Duration>,
    /// Now.
    pub now: Timestamp,
}

/// Something that may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Removal {
    /// The standby slot is past its time: the proxy forgets it, and it is stopped. It is not removed.
    Standby {
        /// The slot.
        slot: Slot,
        /// Whose it is.
        deployment: DeploymentId,
        /// Its version.
        version: String,
        /// Until when it was to be kept running.
        warm_until: Timestamp,
    },
    /// A one-off container that has ended and that nobody took away.
    OneOff {
        /// Its name.
        container: String,
        /// What it was for: `migrate` or `snapshot`.
        role: String,
    },
    /// An image.
    Image {
        /// As the engine calls it.
        image: String,
        /// The version that it was deployed as last.
        version: String,
        /// The engine's id of it.
        id: String,
        /// Unpacked, in bytes; layers that it shares with others stay.
        bytes: u64,
    },
    /// A snapshot of the database.
    Snapshot {
        /// Its id.
        snapshot: SnapshotId,
        /// When it was taken.
        created_at: Timestamp,
        /// Its length.
        bytes: u64,
    },
    /// The journal and the log of a deployment.
    Logs {
        /// Which.
        deployment: DeploymentId,
        /// Their length.
        bytes: u64,
    },
}

impl Removal {
    /// What its removal gives back, in bytes, as far as that is known before.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        match self {
            Self::Standby { .. } | Self::OneOff { .. } => 0,
            Self::Image { bytes, .. } | Self::Snapshot { bytes, .. } | Self::Logs { bytes, .. } => *bytes,
        }
    }
}

/// What may go, in the order in which it is to go.
#[must_use]
pub fn what_to_prune(seen: &Seen<'_>, bounds: Bounds<'_>) -> Vec<Removal> {
    let kept = Kept::of(seen, usize::from(bounds.retain.images));
    let mut removals = Vec::new();
    removals.extend(standby(seen, bounds.now));
    removals.extend(one_offs(seen));
    removals.extend(images(seen, &kept));
    removals.extend(snapshots(seen, &kept, bounds));
    removals.extend(logs(seen, &kept, bounds));
    removals
}

/// What stays, whatever its age.
#[derive(Debug, Default)]
struct Kept<'a> {
    /// Live, before, in a slot, or being worked on.
    in_use: BTreeSet<DeploymentId>,
    /// Those, and the newest that were live.
    deployments: BTreeSet<DeploymentId>,
    /// Their images.
    images: BTreeSet<&'a str>,
    /// The snapshots taken for them.
    snapshots: BTreeSet<SnapshotId>,
}

impl<'a> Kept<'a> {
    fn of(seen: &Seen<'a>, newest: usize) -> Self {
        let mut kept = Self::default();
        let state = seen.state;
        let records = state.current_deployment.iter().chain(&state.previous_deployment);
        kept.in_use.extend(records.map(|record| record.id.clone()));
        for running in [&seen.inside.blue, &seen.inside.green].into_iter().flatten() {
            kept.in_use.insert(running.deployment.clone());
            kept.images.insert(&running.image);
        }
        if let Some(order) = seen.open {
            kept.in_use.insert(order.id.clone());
            kept.in_use.extend(order.waiting.clone());
            kept.images.extend(order.release.image.as_ref().map(|image| image.pinned.as_str()));
        }
        kept.deployments.clone_from(&kept.in_use);
        let known = known(seen);
        let used = known.iter().filter(|record| kept.in_use.contains(&record.id));
        kept.images.extend(used.map(|record| record.image.as_str()));
        kept.add_newest(&known, newest);
        kept.images.remove("");
        let named = known.iter().filter(|record| kept.deployments.contains(&record.id));
        kept.snapshots.extend(named.filter_map(|record| record.snapshot.as_ref()?.parse().ok()));
        let taken = seen.snapshots.iter().map(|listed| &listed.snapshot);
        let ours =
            taken.filter(|taken| taken.deployment.as_ref().is_some_and(|id| kept.deployments.contains(id)));
        kept.snapshots.extend(ours.map(|taken| taken.id.clone()));
        kept
    }

    /// The newest releases that were live, beside those in use. One that was deployed twice counts once.
    fn add_newest(&mut self, known: &[&'a DeploymentRecord], newest: usize) {
        let live = |status| matches!(status, Status::Active | Status::RolledBack | Status::Superseded);
        let mut added = 0;
        for record in known.iter().filter(|record| live(record.status)) {
            if added == newest {
                return;
            }
            let image = record.image.as_str();
            if !self.deployments.contains(&record.id) && (image.is_empty() || self.images.insert(image)) {
                self.deployments.insert(record.id.clone());
                added += 1;
            }
        }
    }
}

/// Every deployment as it was recorded last, the one that was live last first.
fn known<'a>(seen: &Seen<'a>) -> Vec<&'a DeploymentRecord> {
    let mut ids = BTreeSet::new();
    let state = seen.state;
    let records = state.current_deployment.iter().chain(&state.previous_deployment);
    let records = records.chain(&state.deployment_history).chain(seen.history);
    let mut known: Vec<&DeploymentRecord> = records.filter(|record| ids.insert(&record.id)).collect();
    known.sort_by(|one, other| (other.deployed_at, &other.id).cmp(&(one.deployed_at, &one.id)));
    known
}

/// The standby slot, when it holds a deployment that was live and whose time is over.
fn standby(seen: &Seen<'_>, now: Timestamp) -> Option<Removal> {
    let slot = seen.active.other();
    let inside = seen.inside.get(slot).as_ref()?;
    let is_current = seen.state.current_deployment.as_ref().is_some_and(|c| c.id == inside.deployment);
    // What the state calls live is not stopped because the proxy says otherwise: that is for `repair`.
    if is_current || seen.canary || seen.open.is_some() {
        return None;
    }
    let ended = |state: &ContainerState| matches!(state, ContainerState::Exited(_) | ContainerState::Created);
    if inside.replicas.iter().all(|replica| ended(&replica.state)) && !seen.standby_dialled {
        return None;
    }
    let record = find(seen.state, &inside.deployment)
        .or_else(|| seen.history.iter().find(|record| record.id == inside.deployment))?;
    match record.status {
        Status::Deploying | Status::Failed => None,
        Status::Active | Status::RolledBack | Status::Superseded => {
            let warm_until = record.warm_until.filter(|until| *until <= now)?;
            Some(Removal::Standby {
                slot,
                deployment: inside.deployment.clone(),
                version: inside.version.clone(),
                warm_until,
            })
        }
    }
}

/// The one-off containers that have ended and that no operation goes on with.
fn one_offs(seen: &Seen<'_>) -> Vec<Removal> {
    let role = |container: &Container| container.labels.get(label::ROLE).cloned().unwrap_or_default();
    let ours = |container: &&Container| matches!(role(container).as_str(), "migrate" | "snapshot");
    let ended = |container: &&Container| matches!(container.state, ContainerState::Exited(_));
    let needed = |container: &&Container| match (seen.open, container.deployment()) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(order), Some(deployment)) => order.id == deployment,
    };
    let found = seen.one_offs.iter().filter(ours).filter(ended).filter(|one_off| !needed(one_off));
    found.map(|found| Removal::OneOff { container: found.name.clone(), role: role(found) }).collect()
}

/// The images of releases that are not kept. One that a kept release knows by another name stays.
fn images(seen: &Seen<'_>, kept: &Kept<'_>) -> Vec<Removal> {
    let stays = |image: &&OnEngine| kept.images.contains(image.recorded.as_str());
    let staying: BTreeSet<&str> = seen.images.iter().filter(stays).map(|image| image.id.as_str()).collect();
    let gone = |image: &&OnEngine| !stays(image) && !staying.contains(image.id.as_str());
    let gone: Vec<&OnEngine> = seen.images.iter().filter(gone).collect();
    // An image with several names goes with the last of them.
    let last = |at: usize| gone[at + 1..].iter().all(|later| later.id != gone[at].id);
    let removal = |(at, image): (usize, &&OnEngine)| Removal::Image {
        image: image.name.clone(),
        version: image.version.clone(),
        id: image.id.clone(),
        bytes: if last(at) { image.bytes } else { 0 },
    };
    gone.iter().enumerate().map(removal).collect()
}

fn snapshots(seen: &Seen<'_>, kept: &Kept<'_>, bounds: Bounds<'_>) -> Vec<Removal> {
    let Some(age) = bounds.snapshots else { return Vec::new() };
    let keep = Keep { age, count: usize::from(bounds.retain.snapshots) };
    let old = old_snapshots(seen.snapshots, keep, &kept.snapshots, bounds.now);
    old.into_iter()
        .map(|snapshot| Removal::Snapshot {
            snapshot: snapshot.id.clone(),
            created_at: snapshot.created_at,
            bytes: snapshot.size_bytes,
        })
        .collect()
}

/// The folders of deployments that began long ago and are not in use.
fn logs(seen: &Seen<'_>, kept: &Kept<'_>, bounds: Bounds<'_>) -> Vec<Removal> {
    let age = |id: &DeploymentId| Duration::try_from(bounds.now.duration_since(id.began_at()));
    let old = |folder: &&DeploymentFolder| {
        !kept.in_use.contains(&folder.id) && age(&folder.id).is_ok_and(|age| age >= bounds.retain.logs.0)
    };
    let gone = seen.folders.iter().filter(old);
    gone.map(|folder| Removal::Logs { deployment: folder.id.clone(), bytes: folder.bytes }).collect()
}

#[cfg(test)]
mod tests;
