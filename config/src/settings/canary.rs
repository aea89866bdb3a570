//! The settings of `deploy.canary`: the part of the clients that a new version gets before all of them.
//!
//! Read by the deployer, which leads the canary step by step; the proxy judges each step.

use crate::canary::OnUnjudged;
use crate::{BakeLimits, CanaryKey, Share, Span};

/// A canary as a stage of a deployment, between the smoke tests and the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanarySettings {
    /// The shares that follow each other, each larger than the one before; never empty.
    pub steps: Vec<Share>,
    /// How long each one is judged.
    pub every: Span,
    /// What clients are told apart by. Default `client`.
    pub by: CanaryKey,
    /// What it is judged by. Default: as `bake`, else as a bake by default.
    pub limits: BakeLimits,
    /// How long a step is waited for beyond its time when too few requests came. Default 1h.
    pub hold: Span,
    /// What becomes of a version that could not be judged after that. Default `abort`.
    pub on_inconclusive: OnUnjudged,
}
