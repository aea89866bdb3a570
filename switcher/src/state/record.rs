//! `state.json` as the contract has it: readable by the scripts that users already have.
//!
//! Only `switcher` writes it. A field that is not known here makes the file unreadable, so that an older
//! `switcher` refuses the file of a newer one instead of forgetting half of it; scripts read, and add nothing.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switcher_config::{AppName, Slot};

use crate::deployment::DeploymentId;

/// The version of the layout.
pub const SCHEMA: u32 = 1;

/// The whole file: one application in one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = [
    "schema", "environment", "app", "current_deployment", "previous_deployment", "deployment_history", "lock"
]))]
pub struct State {
    /// The version of the layout.
    #[schemars(extend("const" = 1))]
    pub schema: u32,
    /// The environment.
    pub environment: String,
    /// The application.
    pub app: String,
    /// What is live; `null` before the first deployment.
    pub current_deployment: Option<DeploymentRecord>,
    /// What was live before.
    pub previous_deployment: Option<DeploymentRecord>,
    /// The newest deployments, newest first; all of them are in `history.jsonl`.
    pub deployment_history: Vec<DeploymentRecord>,
    /// The lease.
    pub lock: LockRecord,
}

/// How many deployments `state.json` itself remembers.
pub const REMEMBERED: usize = 20;

impl State {
    /// What is remembered before the first deployment: nothing.
    #[must_use]
    pub fn new(environment: &str, app: &AppName) -> Self {
        Self {
            schema: SCHEMA,
            environment: environment.to_owned(),
            app: app.to_string(),
            current_deployment: None,
            previous_deployment: None,
            deployment_history: Vec::new(),
            lock: LockRecord::default(),
        }
    }

    /// Makes a deployment the current one; what was current before becomes the previous one.
    pub fn supersede(&mut self, record: &DeploymentRecord) {
        let before = self.current_deployment.take().filter(|before| before.id != record.id);
        if let Some(mut before) = before {
            before.status = Status::Superseded;
            self.remember(&before);
            self.previous_deployment = Some(before);
        }
        self.remember(record);
        self.current_deployment = Some(record.clone());
    }

    /// Puts a deployment among the newest, in the place of what was known of it before.
    pub fn remember(&mut self, record: &DeploymentRecord) {
        let known = self.deployment_history.iter_mut().find(|known| known.id == record.id);
        match known {
            Some(known) => known.clone_from(record),
            None => self.deployment_history.insert(0, record.clone()),
        }
        self.deployment_history.truncate(REMEMBERED);
    }
}

/// One deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeploymentRecord {
    /// Its id.
    #[schemars(with = "String", extend("pattern" = "^dep_[0-9A-Za-z]{26}$"))]
    pub id: DeploymentId,
    /// The version people call it by.
    pub version: String,
    /// The image pinned by digest; empty without containers.
    pub image: String,
    /// The source commit; empty when it is not known.
    pub git_commit: String,
    /// When traffic moved to it, or when it failed.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub deployed_at: Timestamp,
    /// Who deployed it: `user@host`.
    pub deployed_by: String,
    /// The slot it runs, or ran, in.
    #[schemars(with = "String", extend("enum" = ["blue", "green"]))]
    pub active_slot: Slot,
    /// Its health when it was looked at last.
    pub health_status: HealthStatus,
    /// What became of it.
    pub status: Status,
    /// Migrations that it ran.
    pub migrations_run: u64,
    /// How often traffic was moved back to it.
    pub rollback_count: u64,
    /// The platform that was chosen for the host: `os/arch`. Empty without containers.
    #[serde(default)]
    pub platform: String,
    /// The schema's version before, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_before: Option<String>,
    /// The schema's version after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_after: Option<String>,
    /// The snapshot taken before its migrations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Whether its migrations were begun, however they ended and whether or not they could be counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub migrated: bool,
    /// Whether the version before can run on the schema after.
    #[serde(default = "yes")]
    pub compatible: bool,
    /// The proxy's generation that made it live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Until when its slot is kept running after it was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub warm_until: Option<Timestamp>,
    /// Why it failed: the stable code and a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureRecord>,
    /// What went wrong after traffic had moved, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What the public address answered after traffic had moved to it; none when it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// Seconds from the start of the command to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

const fn yes() -> bool {
    true
}

impl DeploymentRecord {
    /// A deployment of which nothing more is known yet.
    #[must_use]
    pub const fn begun(id: DeploymentId, version: String, slot: Slot, by: String, at: Timestamp) -> Self {
        Self {
            id,
            version,
            image: String::new(),
            git_commit: String::new(),
            deployed_at: at,
            deployed_by: by,
            active_slot: slot,
            health_status: HealthStatus::Unknown,
            status: Status::Deploying,
            migrations_run: 0,
            rollback_count: 0,
            platform: String::new(),
            schema_before: None,
            schema_after: None,
            snapshot: None,
            migrated: false,
            compatible: true,
            generation: None,
            warm_until: None,
            failure: None,
            warnings: Vec::new(),
            verified: None,
            seconds: None,
        }
    }
}

/// What the public address answered: what was seen, never what was meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verified {
    /// The address that was asked, without its query.
    pub url: String,
    /// When.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// The status of the answer; none when there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The slot that the answer named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// The release that the answer named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Whether the answer was what was wanted.
    pub matched: bool,
}

/// Why a deployment failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailureRecord {
    /// The stable code, such as `E-MIGRATE-01`.
    pub code: String,
    /// The phase in which it failed.
    pub phase: String,
    /// A sentence, redacted.
    pub message: String,
    /// The figures it was judged by, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

/// A version's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Every upstream passes.
    Healthy,
    /// Some pass.
    Degraded,
    /// None passes.
    Unhealthy,
    /// Nobody could say.
    Unknown,
}

impl HealthStatus {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        }
    }
}

/// What became of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Under way, or prepared with `--no-promote` and waiting for `promote`.
    Deploying,
    /// Live.
    Active,
    /// It failed before traffic moved.
    Failed,
    /// Traffic was moved away from it, back to the one before.
    RolledBack,
    /// A newer one took its place.
    Superseded,
}

impl Status {
    /// The word for it, as it stands in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deploying => "deploying",
            Self::Active => "active",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Superseded => "superseded",
        }
    }
}

/// The lease. Unlocked, every field but `locked` and `fence` is `null`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = [
    "locked", "lock_id", "locked_by", "locked_at", "lock_expires_at", "deployment_id", "pid", "hostname", "fence"
]))]
pub struct LockRecord {
    /// Whether somebody holds it. It may have expired all the same.
    pub locked: bool,
    /// The name of this holding of it.
    #[schemars(extend("pattern" = "^lock_[0-9A-Z]{26}$"))]
    pub lock_id: Option<String>,
    /// Who holds it: `user@host`.
    pub locked_by: Option<String>,
    /// Since when.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub locked_at: Option<Timestamp>,
    /// When it ends unless its owner shows life: at most 30 minutes after the last sign.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub lock_expires_at: Option<Timestamp>,
    /// The deployment it is held for.
    #[schemars(with = "Option<String>", extend("pattern" = "^dep_[0-9A-Za-z]{26}$"))]
    pub deployment_id: Option<DeploymentId>,
    /// The owner's process.
    pub pid: Option<u32>,
    /// The owner's machine.
    pub hostname: Option<String>,
    /// What it is held for, in a word: `deploy`, `rollback`, …
    #[serde(default)]
    pub operation: Option<String>,
    /// The fencing number of the newest holding: it only grows, and the proxy refuses older ones.
    #[serde(default)]
    pub fence: u64,
}

impl LockRecord {
    /// Nobody's, with the number that the last holding had.
    #[must_use]
    pub fn free(fence: u64) -> Self {
        Self { fence, ..Self::default() }
    }

    /// `deploy by ada@build (process 4711 on build)`: what is held, by whom, from where.
    #[must_use]
    pub fn sentence(&self) -> String {
        let operation = self.operation.as_deref().unwrap_or("an operation");
        let by = self.locked_by.as_deref().unwrap_or("somebody");
        let place = match (self.pid, self.hostname.as_deref()) {
            (Some(pid), Some(host)) => format!(" (process {pid} on {host})"),
            (Some(pid), None) => format!(" (process {pid})"),
            (None, Some(host)) => format!(" (on {host})"),
            (None, None) => String::new(),
        };
        format!("{operation} by {by}{place}")
    }
}
