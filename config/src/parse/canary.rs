//! `deploy.canary` turned into its settings, and back.

use crate::BakeLimits;
use crate::keys::CanaryKeys;
use crate::settings::CanarySettings;
use crate::values::{BakeSpan, CanarySteps, Limit, Positive};

impl CanaryKeys {
    /// The settings; what is left out is as the bake has it.
    pub(crate) fn beside(self, bake: Option<&BakeLimits>) -> CanarySettings {
        let usual = bake.cloned().unwrap_or_default();
        CanarySettings {
            steps: self.steps.0,
            every: self.every.0,
            by: self.by,
            limits: BakeLimits {
                max_error_rate: self.max_error_rate.unwrap_or(usual.max_error_rate),
                max_p99_ratio: self.max_p99_ratio.unwrap_or(usual.max_p99_ratio),
                max_p99: self.max_p99.map(|longest| longest.0).or(usual.max_p99),
                min_requests: self.min_requests.map_or(usual.min_requests, |least| least.0),
                ..usual
            },
            hold: self.hold,
            on_inconclusive: self.on_inconclusive,
        }
    }
}

impl From<CanarySettings> for CanaryKeys {
    fn from(canary: CanarySettings) -> Self {
        let limits = canary.limits;
        Self {
            steps: CanarySteps(canary.steps),
            every: BakeSpan(canary.every),
            by: canary.by,
            max_error_rate: Some(limits.max_error_rate),
            max_p99_ratio: Some(limits.max_p99_ratio),
            max_p99: limits.max_p99.map(Positive),
            min_requests: Some(Limit(limits.min_requests)),
            hold: canary.hold,
            on_inconclusive: canary.on_inconclusive,
        }
    }
}
