//! The audit log: who ran which command, when, and how it ended. A line each in `audit.jsonl`, never rewritten.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::owner::Owner;
use crate::deployment::DeploymentId;

/// One command that changed something, or tried to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When it ended.
    pub at: Timestamp,
    /// Who ran it: `user@host`.
    pub by: String,
    /// On which machine.
    pub hostname: String,
    /// In which process.
    pub pid: u32,
    /// What, in a word or two: `deploy`, `lock release`, …
    pub operation: String,
    /// The deployment it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<DeploymentId>,
    /// `done`, or the stable code of its failure.
    pub outcome: String,
    /// What a reader should know besides; redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl AuditRecord {
    /// A line about what `owner` did.
    #[must_use]
    pub fn new(owner: &Owner, outcome: &str, at: Timestamp) -> Self {
        Self {
            at,
            by: owner.by.clone(),
            hostname: owner.hostname.clone(),
            pid: owner.pid,
            operation: owner.operation.clone(),
            deployment_id: owner.deployment_id.clone(),
            outcome: outcome.to_owned(),
            note: None,
        }
    }
}
