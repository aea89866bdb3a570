//! `switcher status [--watch]`: what the proxy says, and beside it what the deployer remembers.

mod deployments;
mod watch;

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use switcher_config::wire::{
    AppStatus, BakeResult, Canary, CanaryResult, CertificateStatus, DrainingStatus, Health, SlotStatus,
    Status, UpstreamStatus,
};
use switcher_config::{AppName, Slot, Weight};
use tokio::time::sleep;

use self::deployments::Deployments;
use super::{Outcome, interrupt, watched};
use crate::certificate;
use crate::console::Reader;
use crate::context::Context;
use crate::layout::{Page, Tone};
use crate::phrase;

/// Between two looks of a watch.
const LOOK: Duration = Duration::from_secs(1);
/// Where the text beside the labels begins.
const COLUMN: usize = 14;

/// Everything that is shown. Without deployments it is the proxy's own status.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    proxy: Status,
    #[serde(skip_serializing_if = "Deployments::is_empty")]
    deployments: Deployments,
}

/// Shows it once, or again and again.
pub(super) async fn run(ctx: &Context, watch: bool) -> Outcome {
    let admin = ctx.admin()?;
    let mut interrupt = interrupt(ctx)?;
    loop {
        let proxy =
            one_app(ctx, interrupt.unless(ctx.status(&admin)).await.map_err(|end| watched(ctx, end))??)?;
        let status = Shown { proxy, deployments: Deployments::read(ctx) };
        let text = page(&status, Timestamp::now()).render(ctx.console.width, ctx.console.colour);
        if !watch {
            return ctx.console.result(&text, &status).map(drop);
        }
        if ctx.console.frame(&text, &status)? == Reader::Gone {
            return Ok(());
        }
        interrupt.unless(sleep(LOOK)).await.map_err(|end| watched(ctx, end))?;
    }
}

/// Without `--app` every application is shown; with it, that one.
fn one_app(ctx: &Context, mut status: Status) -> Result<Status, crate::failure::Failure> {
    if ctx.global.app.is_some() {
        let name = ctx.chosen(&status)?;
        status.apps.retain(|app, _| *app == name);
    }
    Ok(status)
}

/// The whole status. Pure.
fn page(shown: &Shown, now: Timestamp) -> Page {
    let status = &shown.proxy;
    let mut page = Page::default();
    for (name, app) in &status.apps {
        self::app(&mut page, name, app, now);
        shown.deployments.lines(&mut page, name, app, now);
        page.gap();
    }
    if status.apps.is_empty() {
        page.line("", Tone::Plain, 0).words("no application is configured", Tone::Warn);
        page.gap();
    }
    if !status.certificates.is_empty() {
        page.line("", Tone::Plain, 0).words("certificates", Tone::Strong);
        for certificate in &status.certificates {
            self::certificate(&mut page, certificate, now);
        }
        page.gap();
    }
    page.line("", Tone::Plain, 0).words(
        &format!(
            "switcher-proxy {}, process {}, up {}",
            status.version,
            status.pid,
            phrase::since(status.started_at, now)
        ),
        Tone::Faint,
    );
    page
}

fn app(page: &mut Page, name: &AppName, app: &AppStatus, now: Timestamp) {
    let (mode, tone) = phrase::mode(app);
    page.line("", Tone::Plain, 0)
        .words(name.as_str(), Tone::Strong)
        .words("·", Tone::Faint)
        .words(&format!("{} is live", app.active), Tone::Good)
        .words("·", Tone::Faint)
        .words(&format!("generation {}", app.generation), Tone::Plain)
        .words("·", Tone::Faint)
        .words(&mode, tone);
    for (slot, status) in app.slots.iter() {
        self::slot(page, slot, app.active == slot, status);
    }
    for drain in &app.draining {
        self::drain(page, drain, now);
    }
    if let Some(bake) = &app.bake {
        let calm = bake
            .outcome
            .as_ref()
            .is_none_or(|outcome| matches!(outcome.result, BakeResult::Passed | BakeResult::Superseded));
        let tone = if calm { Tone::Plain } else { Tone::Warn };
        page.line("  bake", Tone::Faint, COLUMN).words(&phrase::bake(bake), tone);
    }
    if let Some(until) = app.release_affinity.and_then(|affinity| affinity.stays_until) {
        let text = format!(
            "visitors of the release before stay in {} until {}",
            app.active.other(),
            phrase::moment(until)
        );
        page.line("  affinity", Tone::Faint, COLUMN).words(&text, Tone::Plain);
    }
    if let Some(canary) = &app.canary {
        self::canary(page, canary);
    }
}

fn canary(page: &mut Page, canary: &Canary) {
    let calm = canary
        .outcome
        .as_ref()
        .is_none_or(|outcome| matches!(outcome.result, CanaryResult::Promoted | CanaryResult::Aborted));
    let tone = if calm { Tone::Plain } else { Tone::Warn };
    page.line("  canary", Tone::Faint, COLUMN).words(&phrase::canary(canary), tone);
    if canary.outcome.is_none() {
        page.line("", Tone::Faint, COLUMN).words(&phrase::figures(&canary.seen), Tone::Faint);
    }
}

fn slot(page: &mut Page, slot: Slot, live: bool, status: &SlotStatus) {
    let (mark, place, tone) =
        if live { ("●", "live", Tone::Good) } else { ("○", "standby", Tone::Plain) };
    let (health, health_tone) = phrase::health(status.health);
    page.line(&format!("  {mark} {slot}"), tone, COLUMN)
        .words(&format!("{place},"), tone)
        .words(health, health_tone);
    let because = if status.health == Health::Healthy { String::new() } else { phrase::reason(status) };
    if !because.is_empty() {
        page.line("    because", Tone::Faint, COLUMN).words(&because, health_tone);
    }
    if let Some(release) = &status.release {
        page.line("    release", Tone::Faint, COLUMN).words(release, Tone::Plain);
    }
    page.line("    in flight", Tone::Faint, COLUMN).words(&phrase::counts(&status.in_flight), Tone::Plain);
    let mut label = "    upstream";
    for upstream in &status.upstreams {
        page.line(label, Tone::Faint, COLUMN);
        self::upstream(page, upstream, &because);
        label = "";
    }
}

/// `127.0.0.1:8001 healthy, 200 in 1.2 ms`; what the slot's reason says already is not said again.
fn upstream(page: &mut Page, upstream: &UpstreamStatus, said: &str) {
    let (health, tone) = phrase::health(upstream.health);
    page.words(&upstream.address.to_string(), Tone::Plain);
    if upstream.weight != Weight::ONE {
        page.words(&format!("(weight {})", upstream.weight.get()), Tone::Faint);
    }
    let checked = upstream.last_check.as_ref().map(phrase::probe).filter(|probe| !said.contains(probe));
    page.words(&format!("{health}{}", if checked.is_some() { "," } else { "" }), tone);
    page.words(checked.as_deref().unwrap_or_default(), Tone::Faint);
    if let Some(ejection) = &upstream.ejected {
        page.words(&format!("left out: {}", ejection.reason), Tone::Bad);
    }
    if let Some(live) = upstream.live {
        let (word, tone) = phrase::health(live);
        page.words(&format!("(liveness: {word})"), tone);
    }
}

fn drain(page: &mut Page, drain: &DrainingStatus, now: Timestamp) {
    page.line("  ↳ draining", Tone::Warn, COLUMN).words(
        &format!(
            "{}, generation {}, for {}: {} inside",
            drain.slot,
            drain.generation,
            phrase::since(drain.since, now),
            phrase::counts(&drain.in_flight)
        ),
        Tone::Warn,
    );
}

/// `shop.example.com: acme, expires in 60 days`; what went wrong stands below it.
fn certificate(page: &mut Page, certificate: &CertificateStatus, now: Timestamp) {
    let (expiry, tone) = certificate::expiry(certificate, now)
        .unwrap_or_else(|| ("which no client trusts".to_owned(), Tone::Warn));
    page.line("", Tone::Plain, 2)
        .words(&format!("{}:", certificate::names(&certificate.names)), Tone::Plain)
        .words(&format!("{},", certificate.source), Tone::Faint)
        .words(&expiry, tone);
    let failed = certificate::failed(certificate).map(|failed| match certificate.retry_at {
        Some(at) => format!("{failed}, the next follows {}", certificate::ahead(at, now)),
        None => failed,
    });
    let troubles: Vec<String> = failed.into_iter().chain(certificate.problem.clone()).collect();
    if !troubles.is_empty() {
        page.line("    problem", Tone::Faint, COLUMN).words(&troubles.join(": "), Tone::Bad);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status() -> Shown {
        let probe = json!({"at": "2026-11-21T14:00:00Z", "ok": false, "check": "ready", "latency_ms": 3.0,
            "error": "the connection was refused"});
        let slot = json!({"health": "unhealthy", "release": "v1.5.0", "upstreams": [
                {"address": "h2c://a-long-name.internal.example.com:50051", "health": "unknown", "last_check": null, "checks": []},
                {"address": "127.0.0.1:8002", "health": "unhealthy", "live": "healthy", "last_check": probe, "checks": [probe]}],
            "in_flight": {"requests": 1000, "uploads": 1, "streams": 20, "websockets": 3}});
        let proxy = serde_json::from_value(json!({
            "version": "0.1.0", "started_at": "2026-11-21T14:00:00Z", "pid": 1,
            "certificates": [{"names": ["shop.example.com"], "source": "file", "not_after": "2026-11-23T14:00:00Z"},
                {"names": ["api.example.com"], "source": "acme", "not_after": "2026-12-23T14:00:00Z", "failures": 3,
                    "retry_at": "2026-11-21T16:02:30Z", "problem": "port 80 is closed"}],
            "apps": {"shop": {"active": "green", "generation": 7, "mode": "stopped", "held": 0,
                "slots": {"blue": slot, "green": slot},
                "draining": [{"slot": "blue", "generation": 6, "since": "2026-11-21T14:00:00Z",
                    "in_flight": {"requests": 0, "uploads": 0, "streams": 0, "websockets": 1}}]}},
        }))
        .expect("a status");
        Shown { proxy, deployments: Deployments::default() }
    }

    fn now() -> Timestamp {
        "2026-11-21T14:02:30Z".parse().expect("a moment")
    }

    #[test]
    fn the_page_fits_every_terminal() {
        for width in 24..140 {
            for line in page(&status(), now()).render(width, false).lines() {
                assert!(line.chars().count() <= width, "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn a_narrow_page_can_be_read() {
        insta::assert_snapshot!(page(&status(), now()).render(40, false));
    }
}
