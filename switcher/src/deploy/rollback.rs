//! Where a rollback goes, and by which way: at once to a warm slot, or by starting an earlier release again. Pure.

use switcher_config::{PerSlot, Slot};

use super::record::find;
use crate::deployment::DeploymentId;
use crate::state::record::{DeploymentRecord, State, Status};

/// What is seen when somebody asks for a rollback.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// What is remembered.
    pub state: &'a State,
    /// The whole history, newest first.
    pub history: &'a [DeploymentRecord],
    /// The live slot.
    pub active: Slot,
    /// The deployments that run and are registered with the proxy, by slot.
    pub warm: PerSlot<Option<DeploymentId>>,
    /// The schema's version now, where it can be read.
    pub schema: Option<String>,
}

/// What becomes of the wish.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// Traffic moves to what waits in the standby slot.
    Warm(Box<DeploymentRecord>),
    /// That release is started again.
    Cold(Box<DeploymentRecord>),
    /// It is live already.
    Live(Box<DeploymentRecord>),
    /// Nothing was ever deployed.
    NothingDeployed,
    /// There is nothing before the deployment that is live.
    NothingBefore,
    /// There is no deployment of that id.
    Unknown,
    /// The deployment of that id never was live.
    NeverLive(Box<DeploymentRecord>),
    /// A migration since then does not suit that release.
    Incompatible {
        /// Where it would have gone.
        target: Box<DeploymentRecord>,
        /// The deployment whose migrations stand in the way.
        by: Box<DeploymentRecord>,
    },
}

/// Chooses; `force` goes back over an incompatible migration.
#[must_use]
pub fn choose(seen: &Seen<'_>, to: Option<&DeploymentId>, force: bool) -> Choice {
    let target = match wanted(seen, to) {
        Ok(target) => target,
        Err(answer) => return answer,
    };
    if let Some(by) = in_the_way(seen, &target).filter(|_| !force) {
        return Choice::Incompatible { target: Box::new(target), by: Box::new(by.clone()) };
    }
    let standby = seen.warm.get(seen.active.other()).as_ref();
    let boxed = Box::new(target);
    if standby == Some(&boxed.id) { Choice::Warm(boxed) } else { Choice::Cold(boxed) }
}

/// The record that is meant, or the answer without one.
fn wanted(seen: &Seen<'_>, to: Option<&DeploymentId>) -> Result<DeploymentRecord, Choice> {
    let current = seen.state.current_deployment.as_ref();
    let Some(id) = to else {
        let Some(_) = current else { return Err(Choice::NothingDeployed) };
        return seen.state.previous_deployment.clone().ok_or(Choice::NothingBefore);
    };
    let known = find(seen.state, id).or_else(|| seen.history.iter().find(|record| record.id == *id));
    let record = known.cloned().ok_or(Choice::Unknown)?;
    if current.is_some_and(|current| current.id == *id) {
        return Err(Choice::Live(Box::new(record)));
    }
    match record.status {
        Status::Failed | Status::Deploying => Err(Choice::NeverLive(Box::new(record))),
        Status::Active | Status::RolledBack | Status::Superseded => Ok(record),
    }
}

/// The newest deployment since the target whose migrations its code cannot run on. None when the schema is what it was
/// when the target was deployed: somebody migrated down, or restored the database.
pub fn in_the_way<'a>(seen: &'a Seen<'_>, target: &DeploymentRecord) -> Option<&'a DeploymentRecord> {
    if seen.schema.is_some() && seen.schema == target.schema_after {
        return None;
    }
    let current = seen.state.current_deployment.iter();
    // What a migration that was cut short did is not known, and neither is what an unknown tool did.
    let unchanged = |record: &DeploymentRecord| {
        record.schema_after.is_some() && record.schema_before == record.schema_after
    };
    let stands = |record: &&DeploymentRecord| {
        record.id > target.id && record.migrated && !record.compatible && !unchanged(record)
    };
    current.chain(&seen.state.deployment_history).chain(seen.history).find(stands)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::state::record::{HealthStatus, LockRecord, SCHEMA};

    fn id(n: u64) -> DeploymentId {
        format!("dep_{}", ulid::Ulid::from_parts(n, 1)).parse().expect("an id")
    }

    fn record(n: u64, status: Status) -> DeploymentRecord {
        DeploymentRecord {
            health_status: HealthStatus::Healthy,
            status,
            ..DeploymentRecord::begun(
                id(n),
                format!("v{n}"),
                Slot::Blue,
                "op@host".into(),
                Timestamp::UNIX_EPOCH,
            )
        }
    }

    fn state(current: Option<DeploymentRecord>, previous: Option<DeploymentRecord>) -> State {
        State {
            schema: SCHEMA,
            environment: "production".into(),
            app: "shop".into(),
            current_deployment: current,
            previous_deployment: previous,
            deployment_history: Vec::new(),
            lock: LockRecord::default(),
        }
    }

    fn seen<'a>(state: &'a State, history: &'a [DeploymentRecord], green: Option<u64>) -> Seen<'a> {
        Seen {
            state,
            history,
            active: Slot::Blue,
            warm: PerSlot { blue: None, green: green.map(id) },
            schema: None,
        }
    }

    #[test]
    fn every_wish_has_its_own_answer() {
        let history = [record(4, Status::Failed), record(1, Status::Superseded)];
        let both = state(Some(record(3, Status::Active)), Some(record(2, Status::Superseded)));
        let name = |choice: Choice| match choice {
            Choice::Warm(r) => format!("warm {}", r.version),
            Choice::Cold(r) => format!("cold {}", r.version),
            Choice::Live(r) => format!("live {}", r.version),
            Choice::NeverLive(r) => format!("never live {}", r.version),
            Choice::NothingDeployed => "nothing deployed".into(),
            Choice::NothingBefore => "nothing before".into(),
            Choice::Unknown => "unknown".into(),
            Choice::Incompatible { by, .. } => format!("incompatible by {}", by.version),
        };
        let ask = |state: &State, green, to: Option<u64>| {
            name(choose(&seen(state, &history, green), to.map(id).as_ref(), false))
        };
        assert_eq!(ask(&both, Some(2), None), "warm v2");
        assert_eq!(ask(&both, None, None), "cold v2");
        assert_eq!(ask(&both, Some(9), None), "cold v2");
        assert_eq!(ask(&both, Some(2), Some(1)), "cold v1");
        assert_eq!(ask(&both, Some(2), Some(3)), "live v3");
        assert_eq!(ask(&both, Some(2), Some(4)), "never live v4");
        assert_eq!(ask(&both, Some(2), Some(7)), "unknown");
        assert_eq!(ask(&state(None, None), None, None), "nothing deployed");
        assert_eq!(ask(&state(Some(record(1, Status::Active)), None), None, None), "nothing before");
    }

    #[test]
    fn an_incompatible_migration_is_only_crossed_by_force() {
        let mut newest = record(3, Status::Active);
        (newest.compatible, newest.migrated) = (false, true);
        let before = DeploymentRecord { schema_after: Some("4".into()), ..record(2, Status::Superseded) };
        let remembered = |newest: &DeploymentRecord| state(Some(newest.clone()), Some(before.clone()));
        let state = remembered(&newest);
        let mut seen = seen(&state, &[], Some(2));
        assert!(matches!(choose(&seen, None, false), Choice::Incompatible { by, .. } if by.version == "v3"));
        assert!(matches!(choose(&seen, None, true), Choice::Warm(_)));
        // Migrated down, or restored.
        seen.schema = Some("4".into());
        assert!(matches!(choose(&seen, None, false), Choice::Warm(_)));
        seen.schema = Some("5".into());
        assert!(matches!(choose(&seen, None, false), Choice::Incompatible { .. }));
        // Nothing was due, as both versions of the schema say.
        (newest.schema_before, newest.schema_after) = (Some("4".into()), Some("4".into()));
        let state = remembered(&newest);
        assert!(matches!(choose(&self::seen(&state, &[], Some(2)), None, false), Choice::Warm(_)));
        // None was begun.
        (newest.migrated, newest.schema_before) = (false, None);
        let state = remembered(&newest);
        assert!(matches!(choose(&self::seen(&state, &[], Some(2)), None, false), Choice::Warm(_)));
    }

    #[test]
    fn a_migration_that_failed_or_was_cut_stands_in_the_way_as_well() {
        let mut failed = record(3, Status::Failed);
        (failed.compatible, failed.migrated) = (false, true);
        let history = [failed];
        let state = state(Some(record(4, Status::Active)), Some(record(2, Status::Superseded)));
        let seen = seen(&state, &history, Some(2));
        assert!(matches!(choose(&seen, None, false), Choice::Incompatible { by, .. } if by.version == "v3"));
    }
}
