//! `switcher events`: what happens in the proxy, a line each, as it happens.

use serde_json::Value;
use switcher_config::AppName;
use switcher_config::wire::{CertificateEvent, CertificateHappening, Event, Mode, Progress, StepState};

use super::{Outcome, interrupt, watched};
use crate::admin::AdminError;
use crate::console::Reader;
use crate::context::Context;
use crate::failure::Live;
use crate::phrase;

/// Prints until Ctrl-C, until nobody reads, or until the proxy ends.
pub(super) async fn run(ctx: &Context) -> Outcome {
    let admin = ctx.admin()?;
    let mut interrupt = interrupt(ctx)?;
    let diagnose = |error| ctx.diagnose(&admin, error, None, Live::No);
    let mut events = admin.events().await.map_err(diagnose)?;
    ctx.reporter.step("listening; Ctrl-C ends it");
    loop {
        let next = interrupt.unless(events.next()).await.map_err(|end| watched(ctx, end))?;
        let Some(data) = next.map_err(diagnose)? else {
            return Err(diagnose(AdminError::Lost("it ended the stream of events".to_owned())));
        };
        if let Some(line) = line(&data, ctx.global.app.as_ref(), ctx.console.json)
            && ctx.console.write(&line)? == Reader::Gone
        {
            return Ok(());
        }
    }
}

/// One event as a line; `None` when it belongs to another application. An event that this version does
/// not know is shown as it came.
fn line(data: &str, app: Option<&AppName>, json: bool) -> Option<String> {
    let raw = || data.split('\n').collect::<Vec<_>>().join(" ");
    let about = serde_json::from_str::<Value>(data).ok();
    let named = about.as_ref().and_then(|event| event["app"].as_str());
    if let (Some(app), Some(named)) = (app, named)
        && app.as_str() != named
    {
        return None;
    }
    match serde_json::from_str::<Event>(data) {
        Ok(event) if !json => Some(sentence(&event)),
        Ok(_) | Err(_) => Some(raw()),
    }
}

fn sentence(event: &Event) -> String {
    match event {
        Event::Switched { at, app, switched } => format!(
            "{}  {app}: {} is live, generation {}, swapped in {}",
            phrase::moment(*at),
            switched.to,
            switched.generation,
            phrase::duration(switched.switch_micros / 1e6)
        ),
        Event::Drained { at, app, receipt } => format!(
            "{}  {app}: {} drained in {}; finished: {}; cut: {}",
            phrase::moment(*at),
            receipt.slot,
            phrase::duration(receipt.seconds),
            phrase::counts(&receipt.finished),
            phrase::counts(&phrase::lengths(&receipt.cut))
        ),
        Event::Bake { at, app, bake } => format!("{}  {app}: {}", phrase::moment(*at), phrase::bake(bake)),
        Event::Canary { at, app, canary } => {
            format!("{}  {app}: {}", phrase::moment(*at), phrase::canary(canary))
        }
        Event::Health { at, app, slot, upstream, health, reason } => {
            let because = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!(
                "{}  {app}: {upstream} in {slot} is {}{because}",
                phrase::moment(*at),
                phrase::health(*health).0
            )
        }
        Event::Ejected { at, app, slot, upstream, ejection } => format!(
            "{}  {app}: {upstream} in {slot} is left out until {}: {}",
            phrase::moment(*at),
            phrase::moment(ejection.until),
            ejection.reason
        ),
        Event::Breaker { at, app, slot, until } => {
            format!("{}  {app}: {slot} {}", phrase::moment(*at), breaker(*until))
        }
        Event::Certificate { at, happened } => {
            format!("{}  certificate for {}", phrase::moment(*at), certificate(happened))
        }
        Event::Mode { at, app, mode } => {
            let mode = match mode {
                Mode::Open => "open: requests are served",
                Mode::Paused => "paused: new requests are held",
                Mode::Stopped => "stopped: the maintenance page is served",
            };
            format!("{}  {app}: {mode}", phrase::moment(*at))
        }
        Event::Progress { at, app, progress } => {
            format!("{}  {app}: {}", phrase::moment(*at), step(progress))
        }
        Event::Reloaded { at, reloaded } => {
            let changes = if reloaded.changes.is_empty() {
                "nothing changed".to_owned()
            } else {
                reloaded.changes.join("; ")
            };
            format!("{}  the configuration was read again: {changes}", phrase::moment(*at))
        }
    }
}

fn breaker(until: Option<jiff::Timestamp>) -> String {
    match until {
        Some(until) => format!("mostly fails and gets no requests until {}", phrase::moment(until)),
        None => "answers and gets requests again".to_owned(),
    }
}

fn step(progress: &Progress) -> String {
    let state = match progress.state {
        StepState::Running => "begins",
        StepState::Done => "is done",
        StepState::Failed => "failed",
    };
    let what = if progress.message.is_empty() { String::new() } else { format!(": {}", progress.message) };
    format!("{} of {} {state}{what}", progress.step, progress.deployment)
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
    let mut sentence = format!("{}: {what}", event.names.join(", "));
    if let Some(not_after) = event.not_after {
        sentence.push_str(&format!(", valid until {}", phrase::moment(not_after)));
    }
    if let Some(problem) = &event.problem {
        sentence.push_str(&format!(": {problem}"));
    }
    if let Some(retry_at) = event.retry_at {
        sentence.push_str(&format!("; the next attempt follows at {}", phrase::moment(retry_at)));
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_another_application_is_left_out_and_an_unknown_one_is_shown() {
        let mode = r#"{"event":"mode","at":"2026-11-21T14:03:07Z","app":"shop","mode":"paused"}"#;
        let shop: AppName = "shop".parse().expect("a name");
        let blog: AppName = "blog".parse().expect("a name");
        assert_eq!(
            line(mode, Some(&shop), false).as_deref(),
            Some("2026-11-21 14:03:07Z  shop: paused: new requests are held")
        );
        assert_eq!(line(mode, Some(&shop), true).as_deref(), Some(mode));
        assert_eq!(line(mode, Some(&blog), false), None);
        let future = r#"{"event":"eclipse","at":"2026-11-21T14:03:07Z"}"#;
        assert_eq!(line(future, Some(&shop), false).as_deref(), Some(future));
    }
}
