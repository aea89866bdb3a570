//! What a deployment leaves in `state.json` and in the history. Pure.
//!
//! Recording twice gives the same state, since a command may die between the two files.

use jiff::{SignedDuration, Timestamp};

use super::machine::{Cause, Facts, Machine, Phase};
use super::order::{Purpose, Stage};
use crate::deployment::DeploymentId;
use crate::state::record::{DeploymentRecord, FailureRecord, HealthStatus, State, Status};

/// How many deployments `state.json` shows; the history has all.
pub const SHOWN: usize = 20;

/// The state after a deployment, and the line for the history.
#[must_use]
pub fn record(mut state: State, machine: &Machine, now: Timestamp) -> (State, DeploymentRecord) {
    let line = line(machine, &state, now);
    if line.status == Status::Active {
        let same = |record: &DeploymentRecord| record.id == line.id;
        if !state.current_deployment.as_ref().is_some_and(same) {
            state.previous_deployment =
                state.current_deployment.take().map(|before| left(before, machine, now));
        }
        state.current_deployment = Some(line.clone());
    }
    if let (Some(generation), Some(current)) = (machine.facts.went_back, &mut state.current_deployment) {
        // What was live before is live again, by another generation.
        let counted = current.generation == Some(generation.get());
        current.rollback_count += u64::from(!counted);
        current.generation = Some(generation.get());
        let current = current.clone();
        remember(&mut state.deployment_history, Some(current));
    }
    let before = state.previous_deployment.clone();
    remember(&mut state.deployment_history, before);
    remember(&mut state.deployment_history, Some(line.clone()));
    (state, line)
}

/// The record of the deployment that traffic was moved to, or that failed.
fn line(machine: &Machine, state: &State, now: Timestamp) -> DeploymentRecord {
    let (order, facts) = (&machine.order, &machine.facts);
    let image = order.release.image.as_ref();
    let (version, by) = (order.release.version.clone(), order.by.clone());
    let fresh = || DeploymentRecord {
        image: image.map(|image| image.pinned.clone()).unwrap_or_default(),
        git_commit: order.release.git_commit.clone().unwrap_or_default(),
        platform: image.map(|image| image.platform.clone()).unwrap_or_default(),
        compatible: order.compatible,
        ..DeploymentRecord::begun(order.id.clone(), version, order.slot, by, now)
    };
    // A promotion and a rollback move traffic to a deployment that is known already.
    let known = match order.purpose {
        Purpose::Promote | Purpose::Rollback => waiting(state, machine),
        Purpose::Deploy | Purpose::Prepare | Purpose::Redeploy => None,
    };
    let mut line = known.unwrap_or_else(fresh);
    line.active_slot = order.slot;
    line.health_status = facts.health.unwrap_or(line.health_status);
    line.migrated |= machine.has_begun(Stage::Migrate);
    line.migrations_run = line.migrations_run.max(facts.migrations_run);
    line.schema_before = facts.schema_before.clone().or(line.schema_before);
    line.schema_after = facts.schema_after.clone().or(line.schema_after);
    line.snapshot = facts.snapshot.clone().or(line.snapshot);
    line.warnings.clone_from(&facts.warnings);
    line.verified.clone_from(&facts.verified);
    line.seconds = Some(seconds(now, order.began_at));
    line.warm_until = None;
    match (&machine.phase, &facts.switched) {
        (Phase::Undoing { at, cause, .. } | Phase::Failed { at, cause }, _) => {
            fail(&mut line, facts, *at, cause);
        }
        (Phase::Working { .. } | Phase::Done, Some(moved)) => {
            line.status = Status::Active;
            line.deployed_at = moved.switched_at;
            line.generation = Some(moved.generation.get());
            line.failure = None;
            line.rollback_count = rollbacks(state, &line, order.purpose, moved.generation.get());
        }
        (Phase::Working { .. } | Phase::Done, None) => line.status = Status::Deploying,
    }
    line
}

/// It failed, or was live for a while until the proxy took traffic back.
fn fail(line: &mut DeploymentRecord, facts: &Facts, at: Stage, cause: &Cause) {
    let was_live = facts.went_back.is_some();
    line.status = if was_live { Status::RolledBack } else { Status::Failed };
    if was_live {
        line.generation = facts.switched.as_ref().map(|moved| moved.generation.get());
        line.health_status = HealthStatus::Degraded;
    }
    line.failure = Some(FailureRecord {
        code: cause.code.clone(),
        phase: at.as_str().to_owned(),
        message: cause.message.clone(),
        evidence: if was_live || at == Stage::Canary { cause.evidence.clone() } else { Vec::new() },
    });
}

/// A rollback is counted once, however often it is recorded.
fn rollbacks(state: &State, line: &DeploymentRecord, purpose: Purpose, generation: u64) -> u64 {
    let counted = state
        .current_deployment
        .as_ref()
        .is_some_and(|current| current.id == line.id && current.generation == Some(generation));
    line.rollback_count + u64::from(purpose.goes_back() && !counted)
}

/// The known record of the release that waits in the slot, with a failed attempt of its own id left out.
fn waiting(state: &State, machine: &Machine) -> Option<DeploymentRecord> {
    let failed = matches!(machine.phase, Phase::Undoing { .. } | Phase::Failed { .. });
    let order = &machine.order;
    let found = state
        .current_deployment
        .iter()
        .chain(&state.previous_deployment)
        .chain(&state.deployment_history)
        .find(|record| Some(&record.id) == order.waiting.as_ref());
    found.filter(|_| !failed).cloned()
}

/// The record of the deployment that traffic has left.
fn left(before: DeploymentRecord, machine: &Machine, now: Timestamp) -> DeploymentRecord {
    let status = if machine.order.purpose.goes_back() { Status::RolledBack } else { Status::Superseded };
    let keep = SignedDuration::try_from(machine.order.keep_previous.0).unwrap_or(SignedDuration::MAX);
    DeploymentRecord { status, warm_until: now.checked_add(keep).ok(), ..before }
}

/// Puts a record in front, in the place of an older one of the same id.
fn remember(history: &mut Vec<DeploymentRecord>, record: Option<DeploymentRecord>) {
    let Some(record) = record else { return };
    let place = history.iter().position(|known: &DeploymentRecord| known.id == record.id);
    match place {
        Some(place) => history[place] = record,
        None => history.insert(0, record),
    }
    history.truncate(SHOWN);
}

fn seconds(now: Timestamp, began: Timestamp) -> f64 {
    now.duration_since(began).as_secs_f64().max(0.0)
}

/// The record of an id, wherever the state has it.
#[must_use]
pub fn find<'a>(state: &'a State, id: &DeploymentId) -> Option<&'a DeploymentRecord> {
    state
        .current_deployment
        .iter()
        .chain(&state.previous_deployment)
        .chain(&state.deployment_history)
        .find(|record| record.id == *id)
}

#[cfg(test)]
mod tests {
    use switcher_config::{Generation, Slot, Span};

    use super::*;
    use crate::deploy::machine::{Event, Fact, Moved, step};
    use crate::deploy::order::Order;
    use crate::deployment::Release;
    use crate::state::record::{LockRecord, SCHEMA};

    fn empty() -> State {
        State {
            schema: SCHEMA,
            environment: "production".into(),
            app: "shop".into(),
            current_deployment: None,
            previous_deployment: None,
            deployment_history: Vec::new(),
            lock: LockRecord::default(),
        }
    }

    fn id(n: u64) -> DeploymentId {
        format!("dep_{}", ulid::Ulid::from_parts(n, 1)).parse().expect("an id")
    }

    fn machine(n: u64, purpose: Purpose, waiting: Option<DeploymentId>) -> Machine {
        Machine::new(Order {
            id: id(n),
            purpose,
            waiting,
            app: "shop".parse().expect("a name"),
            environment: "production".into(),
            release: Release { version: format!("v{n}"), image: None, git_commit: None },
            slot: if n.is_multiple_of(2) { Slot::Blue } else { Slot::Green },
            seen: Generation::FIRST,
            began_at: Timestamp::UNIX_EPOCH,
            by: "op@host".into(),
            keep_previous: Span::seconds(60),
            compatible: true,
            patience: None,
            drain: None,
            force: false,
            canary: None,
            bake: None,
            stages: vec![Stage::Promote, Stage::Record],
        })
    }

    fn moved(machine: Machine) -> Machine {
        let from = machine.order.slot.other();
        let fact = Fact::Moved(Moved {
            from,
            generation: Generation::FIRST.next(),
            drained_generation: Generation::FIRST,
            switched_at: Timestamp::UNIX_EPOCH,
            switch_micros: None,
        });
        step(machine, Event::Performed { fact: Some(fact) })
    }

    fn now() -> Timestamp {
        Timestamp::from_second(100).expect("a time")
    }

    #[test]
    fn the_deployment_before_is_kept_with_its_deadline() {
        let (one, _) = record(empty(), &moved(machine(1, Purpose::Deploy, None)), now());
        let (two, line) = record(one, &moved(machine(2, Purpose::Deploy, None)), now());
        assert_eq!((line.status, line.version.as_str(), line.seconds), (Status::Active, "v2", Some(100.0)));
        let before = two.previous_deployment.clone().expect("a deployment before");
        assert_eq!((before.version.as_str(), before.status), ("v1", Status::Superseded));
        assert_eq!(before.warm_until, Timestamp::from_second(160).ok());
        let versions: Vec<_> =
            two.deployment_history.iter().map(|r| (r.version.as_str(), r.status)).collect();
        assert_eq!(versions, [("v2", Status::Active), ("v1", Status::Superseded)]);
        let again = record(two.clone(), &moved(machine(2, Purpose::Deploy, None)), now()).0;
        assert_eq!(again, two, "recording twice changes nothing");
    }

    #[test]
    fn a_rollback_swaps_the_two_and_is_counted_once() {
        let (one, _) = record(empty(), &moved(machine(1, Purpose::Deploy, None)), now());
        let (two, _) = record(one, &moved(machine(2, Purpose::Deploy, None)), now());
        let back = moved(machine(3, Purpose::Rollback, Some(id(1))));
        let (state, line) = record(two, &back, now());
        assert_eq!((line.id.clone(), line.rollback_count), (id(1), 1));
        assert_eq!(state.current_deployment.as_ref().map(|r| &r.id), Some(&id(1)));
        assert_eq!(state.previous_deployment.as_ref().map(|r| r.status), Some(Status::RolledBack));
        let (again, _) = record(state.clone(), &back, now());
        assert_eq!(again, state);
    }

    #[test]
    fn a_version_that_the_proxy_took_back_is_rolled_back_with_its_evidence_and_counted_once() {
        let (one, _) = record(empty(), &moved(machine(1, Purpose::Deploy, None)), now());
        let order = Order {
            stages: vec![Stage::Promote, Stage::Bake, Stage::Record],
            ..machine(2, Purpose::Deploy, None).order
        };
        let cause = Cause {
            code: "E-BAKE-01".into(),
            message: "v2 was worse".into(),
            evidence: vec!["green: 10 requests, 10 failed".into()],
        };
        let generation = Generation::FIRST.next().next();
        let back = Event::Performed { fact: Some(Fact::WentBack { generation, cause }) };
        let machine = step(moved(Machine::new(order)), back);
        let (state, line) = record(one, &machine, now());
        assert_eq!(line.status, Status::RolledBack);
        let failure = line.failure.expect("a reason");
        assert_eq!((failure.phase.as_str(), failure.evidence.len()), ("bake", 1));
        let current = state.current_deployment.clone().expect("something is live");
        assert_eq!(
            (current.version.as_str(), current.generation, current.rollback_count),
            ("v1", Some(3), 1)
        );
        assert_eq!(record(state.clone(), &machine, now()).0, state);
    }

    #[test]
    fn a_failure_leaves_what_is_live_alone() {
        let (one, _) = record(empty(), &moved(machine(1, Purpose::Deploy, None)), now());
        let cause = Cause {
            code: "E-PULL-01".into(),
            message: "there is no such image".into(),
            evidence: Vec::new(),
        };
        let failed = step(machine(2, Purpose::Deploy, None), Event::Failed { cause });
        let (state, line) = record(one.clone(), &failed, now());
        assert_eq!(state.current_deployment, one.current_deployment);
        assert_eq!(line.status, Status::Failed);
        assert_eq!(line.failure.map(|f| f.phase).as_deref(), Some("promote"));
        assert_eq!(state.deployment_history.len(), 2);
    }
}
