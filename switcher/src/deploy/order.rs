//! What is wanted of a deployment, and the stages that lead there. Pure; fixed when the deployment begins.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use switcher_config::settings::{DeploySettings, Workers};
use switcher_config::{AppName, BakeLimits, Generation, Slot, Span};

use super::canary::CanaryOrder;
use crate::deployment::{DeploymentId, Release};

/// Everything that is decided before the first effect; the first line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The deployment.
    pub id: DeploymentId,
    /// What for.
    pub purpose: Purpose,
    /// The application.
    pub app: AppName,
    /// The environment.
    pub environment: String,
    /// The deployment that waits in the slot already (promote and rollback).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<DeploymentId>,
    /// What is to run.
    pub release: Release,
    /// The slot it is to run in: the standby.
    pub slot: Slot,
    /// The proxy's generation when it was decided.
    pub seen: Generation,
    /// When the command began.
    pub began_at: Timestamp,
    /// Who wants it: `user@host`.
    pub by: String,
    /// How long the slot that is left is kept running.
    pub keep_previous: Span,
    /// Whether the version that is live now can run on the new schema.
    pub compatible: bool,
    /// How long the slot may take to become healthy; none takes `deploy.ready_timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<Span>,
    /// One drain time for every kind of request, instead of the configured ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Span>,
    /// Switch although the slot is not healthy (`rollback --force`).
    #[serde(default)]
    pub force: bool,
    /// Which part of the clients it gets before the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryOrder>,
    /// How it is judged on live traffic after the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<BakeLimits>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
}

impl Order {
    /// The same with a canary right before everything that belongs to the switch.
    #[must_use]
    pub fn by_canary(mut self, canary: CanaryOrder) -> Self {
        let switches = |stage: &Stage| {
            matches!(stage, Stage::PrePromote | Stage::Deactivate | Stage::Activate | Stage::Promote)
        };
        let place = self.stages.iter().position(switches).unwrap_or(self.stages.len());
        self.stages.insert(place, Stage::Canary);
        self.canary = Some(canary);
        self
    }
}

/// What a deployment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A release goes into the standby slot, and traffic moves there.
    Deploy,
    /// A release goes into the standby slot and waits there (`--no-promote`).
    Prepare,
    /// Traffic moves to the release that waits in the standby slot.
    Promote,
    /// Traffic moves back to the release before, which is still warm in the standby slot.
    Rollback,
    /// An earlier release goes into the standby slot again, and traffic moves there.
    Redeploy,
}

impl Purpose {
    /// Whether traffic goes back to something that was live before.
    #[must_use]
    pub const fn goes_back(self) -> bool {
        match self {
            Self::Rollback | Self::Redeploy => true,
            Self::Deploy | Self::Prepare | Self::Promote => false,
        }
    }

    /// The word for people and for the lease.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deploy | Self::Prepare => "deploy",
            Self::Promote => "promote",
            Self::Rollback | Self::Redeploy => "rollback",
        }
    }
}

/// One stage of a deployment; each has one effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The hook `pre_deploy`.
    PreDeploy,
    /// The image comes to the engine.
    Pull,
    /// The schema's version is read; a dirty one is refused.
    Inspect,
    /// The database is dumped.
    Snapshot,
    /// The new image's migrations run.
    Migrate,
    /// What was in the standby slot is withdrawn from the proxy, drained and removed.
    Vacate,
    /// The release starts in the standby slot.
    Start,
    /// The proxy learns the slot's addresses and begins to probe them.
    Register,
    /// The slot becomes healthy, for Docker and for the proxy.
    Probe,
    /// The new version answers the requests of `deploy.smoke` well, through the proxy's own listener.
    Smoke,
    /// A part of the clients after the other is sent to the new version, and the proxy judges it.
    Canary,
    /// The hook `pre_promote`.
    PrePromote,
    /// The old slot's workers stop (`workers: stop_old_first`, or after the drain).
    Deactivate,
    /// The new slot's workers start.
    Activate,
    /// Traffic moves.
    Promote,
    /// The public address answers with the new version.
    Verify,
    /// The old slot empties.
    Drain,
    /// The proxy judges the release on live traffic, and goes back by itself when it is worse.
    Bake,
    /// The old slot's workers stop, after traffic has moved (`workers: overlap`).
    Retire,
    /// The hook `post_promote`.
    PostPromote,
    /// The hook `post_rollback`.
    PostRollback,
    /// State and history are written.
    Record,
}

impl Stage {
    /// The word in journals, logs and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreDeploy => "pre_deploy",
            Self::Pull => "pull",
            Self::Inspect => "inspect",
            Self::Snapshot => "snapshot",
            Self::Migrate => "migrate",
            Self::Vacate => "vacate",
            Self::Start => "start",
            Self::Register => "register",
            Self::Probe => "probe",
            Self::Smoke => "smoke",
            Self::Canary => "canary",
            Self::PrePromote => "pre_promote",
            Self::Deactivate => "deactivate",
            Self::Activate => "activate",
            Self::Promote => "promote",
            Self::Verify => "verify",
            Self::Drain => "drain",
            Self::Bake => "bake",
            Self::Retire => "retire",
            Self::PostPromote => "post_promote",
            Self::PostRollback => "post_rollback",
            Self::Record => "record",
        }
    }
}

/// What the command line chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Choices {
    /// `--skip-migrations`.
    pub skip_migrations: bool,
    /// `--skip-snapshot`.
    pub skip_snapshot: bool,
    /// `--skip-smoke`.
    pub skip_smoke: bool,
    /// The image is on the engine already (`--load`), or there is none.
    pub no_pull: bool,
    /// `--skip-canary`, or nothing is live to be compared with.
    pub skip_canary: bool,
    /// `--skip-bake`.
    pub skip_bake: bool,
    /// `--skip-verify`.
    pub skip_verify: bool,
}

impl Choices {
    /// Which part of the clients a purpose begins with. Whoever promotes by hand means all of them.
    #[must_use]
    pub fn canary(self, purpose: Purpose, settings: &DeploySettings) -> Option<CanaryOrder> {
        let led = purpose == Purpose::Deploy && !self.skip_canary;
        settings.canary.as_ref().filter(|_| led).map(CanaryOrder::from)
    }

    /// How a purpose is judged on live traffic. What was live before is known already.
    #[must_use]
    pub fn bake(self, purpose: Purpose, settings: &DeploySettings) -> Option<BakeLimits> {
        let judged = matches!(purpose, Purpose::Deploy | Purpose::Promote) && !self.skip_bake;
        settings.bake.clone().filter(|_| judged)
    }
}

/// The stages that a purpose takes with these settings, in order.
#[must_use]
pub fn stages(purpose: Purpose, settings: &DeploySettings, choices: Choices) -> Vec<Stage> {
    let hooks = &settings.hooks;
    let mut stages = Vec::new();
    let mut add = |wanted: bool, stage: Stage| {
        if wanted {
            stages.push(stage);
        }
    };
    let starts = matches!(purpose, Purpose::Deploy | Purpose::Prepare | Purpose::Redeploy);
    // An older release neither migrates nor snapshots: its migrations are behind the schema.
    let migrates = matches!(purpose, Purpose::Deploy | Purpose::Prepare)
        && settings.migrate.is_some()
        && !choices.skip_migrations;
    let snapshots = matches!(purpose, Purpose::Deploy | Purpose::Prepare)
        && settings.snapshot.is_some()
        && !choices.skip_snapshot;
    add(starts && hooks.pre_deploy.is_some(), Stage::PreDeploy);
    add(starts && !choices.no_pull, Stage::Pull);
    add(migrates, Stage::Inspect);
    add(snapshots, Stage::Snapshot);
    add(migrates, Stage::Migrate);
    add(starts, Stage::Vacate);
    add(starts, Stage::Start);
    add(starts, Stage::Register);
    add(starts || purpose == Purpose::Promote, Stage::Probe);
    // What was live before has been tried by its users.
    add(!settings.smoke.is_empty() && !choices.skip_smoke && !purpose.goes_back(), Stage::Smoke);
    add(choices.canary(purpose, settings).is_some(), Stage::Canary);
    if purpose != Purpose::Prepare {
        let stops_first = settings.workers == Workers::StopOldFirst;
        add(hooks.pre_promote.is_some() && !purpose.goes_back(), Stage::PrePromote);
        add(hooks.deactivate.is_some() && stops_first, Stage::Deactivate);
        add(hooks.activate.is_some(), Stage::Activate);
        add(true, Stage::Promote);
        // Before the drain, which may take minutes: whoever asks the public address is served wrongly meanwhile.
        add(settings.verify.is_some() && !choices.skip_verify, Stage::Verify);
        add(true, Stage::Drain);
        // Before the old workers stop: traffic may still go back to them.
        add(choices.bake(purpose, settings).is_some(), Stage::Bake);
        add(hooks.deactivate.is_some() && !stops_first, Stage::Retire);
        add(hooks.post_promote.is_some() && !purpose.goes_back(), Stage::PostPromote);
        add(hooks.post_rollback.is_some() && purpose.goes_back(), Stage::PostRollback);
    }
    add(true, Stage::Record);
    stages
}
