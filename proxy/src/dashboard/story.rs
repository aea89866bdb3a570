//! Events as sentences, for the list of the last ones.

use switcher_config::AppName;
use switcher_config::wire::{
    Bake, BakeOutcome, ByKind, Canary, CanaryResult, CertificateEvent, CertificateHappening, Event, Health,
    Kind, Mode, StepState,
};

use super::page::clock;

/// The application that an event is about.
pub(super) const fn app(event: &Event) -> Option<&AppName> {
    match event {
        Event::Switched { app, .. }
        | Event::Drained { app, .. }
        | Event::Bake { app, .. }
        | Event::Canary { app, .. }
        | Event::Breaker { app, .. }
        | Event::Health { app, .. }
        | Event::Ejected { app, .. }
        | Event::Progress { app, .. }
        | Event::Mode { app, .. } => Some(app),
        Event::Certificate { .. } | Event::Reloaded { .. } => None,
    }
}

/// When it happened.
pub(super) const fn at(event: &Event) -> jiff::Timestamp {
    match event {
        Event::Switched { at, .. }
        | Event::Drained { at, .. }
        | Event::Bake { at, .. }
        | Event::Canary { at, .. }
        | Event::Breaker { at, .. }
        | Event::Health { at, .. }
        | Event::Ejected { at, .. }
        | Event::Certificate { at, .. }
        | Event::Mode { at, .. }
        | Event::Progress { at, .. }
        | Event::Reloaded { at, .. } => *at,
    }
}

/// How an event looks: what the style makes of it.
pub(super) fn tone(event: &Event) -> &'static str {
    match event {
        Event::Switched { .. } => "switch",
        Event::Health { health: Health::Healthy, .. } | Event::Breaker { until: None, .. } => "good",
        Event::Health { .. } | Event::Ejected { .. } | Event::Breaker { until: Some(_), .. } => "bad",
        Event::Canary { canary, .. } => match canary.outcome.as_ref().map(|outcome| outcome.result) {
            Some(CanaryResult::Promoted) => "good",
            Some(CanaryResult::Worse | CanaryResult::Unhealthy) => "bad",
            Some(CanaryResult::Aborted | CanaryResult::Superseded) | None => "plain",
        },
        Event::Bake { bake, .. } => match &bake.outcome {
            Some(BakeOutcome { rolled_back: None, stays: None, .. }) => "good",
            Some(BakeOutcome { .. }) => "bad",
            None => "plain",
        },
        Event::Certificate { happened, .. } => match happened.what {
            CertificateHappening::Failed | CertificateHappening::Damaged => "bad",
            CertificateHappening::Issued
            | CertificateHappening::Renewed
            | CertificateHappening::Imported
            | CertificateHappening::Revoked => "plain",
        },
        Event::Progress { progress, .. } if progress.state == StepState::Failed => "bad",
        Event::Progress { .. } | Event::Drained { .. } | Event::Mode { .. } | Event::Reloaded { .. } => {
            "plain"
        }
    }
}

/// What happened.
pub(super) fn sentence(event: &Event) -> String {
    match event {
        Event::Switched { switched, .. } => {
            format!("{} is live, {} was left; generation {}", switched.to, switched.from, switched.generation)
        }
        Event::Drained { receipt, .. } => {
            let cut = ByKind::from_fn(|kind| receipt.cut.get(kind).len() as u64);
            let finished = counts(&receipt.finished);
            let cut = if cut.total() == 0 {
                "nothing was cut".to_owned()
            } else {
                format!("cut: {}", counts(&cut))
            };
            format!("{} drained in {:.1} s; finished: {finished}; {cut}", receipt.slot, receipt.seconds)
        }
        Event::Bake { bake, .. } => baking(bake),
        Event::Canary { canary, .. } => trying(canary),
        Event::Breaker { slot, until: Some(until), .. } => {
            format!("{slot} mostly fails and gets no requests until {}", clock(*until))
        }
        Event::Breaker { slot, until: None, .. } => format!("{slot} answers and gets requests again"),
        Event::Health { slot, upstream, health, reason, .. } => {
            let because = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{upstream} in {slot} is {}{because}", healthy(*health))
        }
        Event::Ejected { slot, upstream, ejection, .. } => {
            format!("{upstream} in {slot} is left out until {}: {}", clock(ejection.until), ejection.reason)
        }
        Event::Certificate { happened, .. } => certificate(happened),
        Event::Mode { mode, .. } => match mode {
            Mode::Open => "open: requests are served".to_owned(),
            Mode::Paused => "paused: new requests are held".to_owned(),
            Mode::Stopped => "stopped: the maintenance page is served".to_owned(),
        },
        Event::Progress { progress, .. } => format!("{}: {}", progress.step, progress.message),
        Event::Reloaded { reloaded, .. } if reloaded.changes.is_empty() => {
            "the configuration was read again; nothing changed".to_owned()
        }
        Event::Reloaded { reloaded, .. } => {
            format!("the configuration was read again: {}", reloaded.changes.join("; "))
        }
    }
}

/// How a switch that is judged on live traffic stands.
pub(super) fn baking(bake: &Bake) -> String {
    let Some(outcome) = &bake.outcome else {
        return format!("{} is judged on live traffic until {} at the latest", bake.to, clock(bake.ends_at));
    };
    let why =
        if outcome.reasons.is_empty() { String::new() } else { format!(": {}", outcome.reasons.join("; ")) };
    match (&outcome.rolled_back, &outcome.stays) {
        (Some(_), _) => {
            format!("the bake of {} ended, {}, and traffic went back{why}", bake.to, outcome.result.as_str())
        }
        (None, Some(stays)) => format!("traffic should go back to {} and cannot: {stays}", bake.from),
        (None, None) => format!("the bake of {} ended: {}{why}", bake.to, outcome.result.as_str()),
    }
}

/// How a canary stands.
pub(super) fn trying(canary: &Canary) -> String {
    let (slot, share) = (canary.slot, canary.rules.share);
    let Some(outcome) = &canary.outcome else { return format!("{share} of the clients are on {slot}") };
    let why =
        if outcome.reasons.is_empty() { String::new() } else { format!(": {}", outcome.reasons.join("; ")) };
    format!("the canary on {slot} ended with {share} of the clients, {}{why}", outcome.result.as_str())
}

/// The word for a health.
pub(super) const fn healthy(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Unhealthy => "not healthy",
        Health::Unknown => "not known to be healthy",
    }
}

/// How many of each kind, without those that are none.
pub(super) fn counts(by_kind: &ByKind<u64>) -> String {
    let some = Kind::ALL.into_iter().filter(|kind| *by_kind.get(*kind) > 0);
    let words: Vec<String> = some.map(|kind| count(*by_kind.get(kind), kind)).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn count(count: u64, kind: Kind) -> String {
    let word = kind.as_str();
    format!("{count} {}", if count == 1 { word.trim_end_matches('s') } else { word })
}

fn certificate(event: &CertificateEvent) -> String {
    let what = match event.what {
        CertificateHappening::Issued => "issued",
        CertificateHappening::Renewed => "renewed",
        CertificateHappening::Failed => "not renewed, what was served is served on",
        CertificateHappening::Imported => "imported",
        CertificateHappening::Revoked => "revoked",
        CertificateHappening::Damaged => "damaged and set aside",
    };
    let problem = event.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
    format!("certificate for {}: {what}{problem}", event.names.join(", "))
}
