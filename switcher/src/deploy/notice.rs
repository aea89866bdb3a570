//! What is told of a deployment that is over: which event it is, and in which words. Pure.

use jiff::Timestamp;
use serde::Serialize;
use switcher_config::settings::NotifyEvent;

use super::machine::{Machine, Phase};
use super::order::Purpose;
use crate::phrase;
use crate::state::record::DeploymentRecord;

/// The body of a notification.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Notice {
    /// What happened.
    pub event: &'static str,
    /// The same as a sentence; chat programs show it.
    pub text: String,
    /// The application.
    pub app: String,
    /// The environment.
    pub environment: String,
    /// The record, as state and history have it.
    pub deployment: DeploymentRecord,
    /// When it was told.
    pub at: Timestamp,
}

/// What a deployment came to; none when nobody wants to hear of it.
#[must_use]
pub const fn event(machine: &Machine) -> Option<NotifyEvent> {
    let facts = &machine.facts;
    match &machine.phase {
        Phase::Failed { .. } if facts.went_back.is_some() => Some(NotifyEvent::RolledBack),
        Phase::Failed { .. } => Some(NotifyEvent::Failed),
        Phase::Done if facts.stays.is_some() => Some(NotifyEvent::Attention),
        Phase::Done if facts.switched.is_none() => None,
        Phase::Done if machine.order.purpose.goes_back() => Some(NotifyEvent::RolledBack),
        Phase::Done => Some(NotifyEvent::Deployed),
        Phase::Working { .. } | Phase::Undoing { .. } => None,
    }
}

/// Puts it into words.
#[must_use]
pub fn notice(machine: &Machine, event: NotifyEvent, deployment: DeploymentRecord, at: Timestamp) -> Notice {
    let order = &machine.order;
    let text = format!("{} ({}): {}", order.app, order.environment, words(machine, event, &deployment));
    Notice {
        event: event.as_str(),
        text,
        app: order.app.to_string(),
        environment: order.environment.clone(),
        deployment,
        at,
    }
}

fn words(machine: &Machine, event: NotifyEvent, deployment: &DeploymentRecord) -> String {
    let order = &machine.order;
    let (version, slot, by) = (&order.release.version, order.slot, &order.by);
    let took =
        deployment.seconds.map(|seconds| format!(" in {}", phrase::duration(seconds))).unwrap_or_default();
    let why =
        deployment.failure.as_ref().map_or_else(String::new, |failure| format!(": {}", failure.message));
    match event {
        NotifyEvent::Deployed if order.purpose == Purpose::Promote => {
            format!("{version} is live in {slot}, promoted by {by}")
        }
        NotifyEvent::Deployed => format!("{version} is live in {slot}, deployed by {by}{took}"),
        NotifyEvent::RolledBack if order.purpose.goes_back() => {
            format!("traffic went back to {version} in {slot}, by {by}")
        }
        NotifyEvent::RolledBack => format!("{version} was taken back, and the version before serves{why}"),
        NotifyEvent::Failed => {
            let what = order.purpose.as_str();
            let during = deployment.failure.as_ref().map(|failure| format!(" during {}", failure.phase));
            let during = during.unwrap_or_default();
            format!("{what} of {version} by {by} failed{during}, and the version before serves{why}")
        }
        NotifyEvent::Attention => {
            let warnings = deployment.warnings.join("; ");
            format!("{version} in {slot} needs somebody to look at it: {warnings}{why}")
        }
    }
}

/// The name of a delivery: the same when it is sent again, so that a receiver knows what it has seen.
#[must_use]
pub fn delivery(notice: &Notice, machine: &Machine) -> String {
    format!("{}-{}", machine.order.id, notice.event)
}
