//! One application: its two slots side by side, what drains, what is judged, and its last minutes.

use maud::{Markup, html};
use switcher_config::wire::{AppStatus, Health, Kind, Mode, SlotStatus, StepState, UpstreamStatus};
use switcher_config::{AppName, Slot, Weight};

use super::page::{span, time, verb};
use super::scene::Scene;
use super::{chart, story};
use crate::history::Step;

/// The whole section.
pub(super) fn section(scene: &Scene, name: &AppName, app: &AppStatus) -> Markup {
    let title = format!("{name}-title");
    html! {
        section.card.app id=(name) aria-labelledby=(title) {
            header.head {
                h2 id=(title) { a href={ "/apps/" (name) } { (name) } }
                p.meta { (mode(app)) " generation " (app.generation) }
            }
            div.slots { @for slot in Slot::ALL { (slot_panel(scene, name, app, slot)) } }
            @for drain in &app.draining {
                p.note id={ (name) "-drain-" (drain.generation) } {
                    (mark(drain.slot)) " " (drain.slot) " drains since " (time(drain.since)) ": " (story::counts(&drain.in_flight)) " inside"
                }
            }
            @if let Some(bake) = &app.bake {
                p.note id={ (name) "-bake" } {
                    "Bake of generation " (bake.generation) ": " (story::baking(bake)) ". "
                    (bake.seen.requests) " requests, " (bake.seen.errors) " errors"
                    @if let Some(micros) = bake.seen.p99_micros { ", p99 " (milliseconds(micros as f64 / 1e3)) }
                    @if bake.baseline.requests > 0 { " (before: " (bake.baseline.requests) " requests, " (bake.baseline.errors) " errors)" }
                }
            }
            @if let Some(canary) = &app.canary {
                p.note id={ (name) "-canary" } {
                    "Canary: " (story::trying(canary)) ". "
                    (canary.seen.requests) " requests, " (canary.seen.errors) " errors (beside: " (canary.baseline.requests) " requests, " (canary.baseline.errors) " errors)"
                }
            }
            @if let Some(steps) = scene.seen.deployments.get(name) { (deployment(name, steps)) }
            (chart::figures(scene, name))
        }
    }
}

/// The steps of the newest deployment, as its deployer told them.
fn deployment(name: &AppName, steps: &[Step]) -> Markup {
    let title = format!("{name}-deployment-title");
    html! {
        section.deployment id={ (name) "-deployment" } aria-labelledby=(title) {
            @if let Some(step) = steps.first() {
                h3 id=(title) { "Deployment" }
                p.quiet { code { (step.progress.deployment) } " into " (step.progress.slot) ", since " (time(step.began)) }
            }
            ol.steps { @for step in steps { (step_line(step)) } }
        }
    }
}

fn step_line(step: &Step) -> Markup {
    let (class, word) = match step.progress.state {
        StepState::Running => ("running", "goes on"),
        StepState::Done => ("done", "done"),
        StepState::Failed => ("failed", "failed"),
    };
    html! {
        li.(class) {
            strong { (step.progress.step) } " " span.unseen { (word) }
            @if step.progress.state == StepState::Done {
                span.quiet { (milliseconds(step.at.duration_since(step.began).as_secs_f64() * 1e3)) }
            } @else {
                span { (step.progress.message) }
                span.quiet { " since " (time(step.began)) }
            }
        }
    }
}

fn mode(app: &AppStatus) -> Markup {
    match app.mode {
        Mode::Open => html! {},
        Mode::Paused => html! { span.badge.warn { "paused" } " " (app.held) " held · " },
        Mode::Stopped => html! { span.badge.warn { "stopped" } " · " },
    }
}

/// The sign of a slot: a form and a colour, for those who see only one of them.
pub(super) fn mark(slot: Slot) -> Markup {
    html! {
        svg.mark viewBox="0 0 12 12" aria-hidden="true" {
            @match slot {
                Slot::Blue => circle.blue cx="6" cy="6" r="5" {},
                Slot::Green => path.green d="M6 0l6 6-6 6-6-6z" {},
            }
        }
    }
}

/// What runs in a slot.
pub(super) fn release(slot: &SlotStatus) -> Markup {
    match &slot.release {
        Some(release) => html! { code { (release) } },
        None if slot.upstreams.is_empty() => html! { span.quiet { "nothing deployed" } },
        None => html! { span.quiet { "no named release" } },
    }
}

/// How a slot is, and why.
pub(super) fn health(slot: &SlotStatus) -> Markup {
    html! { (state(slot.health)) @if let Some(reason) = &slot.reason { span.reason { (reason) } } }
}

fn state(health: Health) -> Markup {
    let class = match health {
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
        Health::Unknown => "unknown",
    };
    html! { span.health.(class) { (story::healthy(health)) } }
}

fn slot_panel(scene: &Scene, name: &AppName, app: &AppStatus, slot: Slot) -> Markup {
    let (status, live) = (app.slots.get(slot), app.active == slot);
    let title = format!("{name}-{slot}-title");
    html! {
        article.slot.(slot.as_str()).(if live { "live" } else { "standby" }) id={ (name) "-" (slot) } aria-labelledby=(title) {
            header {
                h3 id=(title) { (mark(slot)) " " (slot) " " @if live { span.badge.on { "live" } } @else { span.badge { "standby" } } }
                p { (release(status)) }
            }
            p.how { (health(status)) }
            dl.kinds {
                @for kind in Kind::ALL {
                    div { dt { (kind.as_str()) } dd { (status.in_flight.get(kind)) } }
                }
            }
            @if !status.upstreams.is_empty() {
                ul.upstreams { @for upstream in &status.upstreams { (upstream_line(scene, upstream)) } }
            }
            @if !live && !status.upstreams.is_empty() && scene.acts {
                p.actions {
                    @if status.health == Health::Healthy {
                        a.button href={ "/apps/" (name) "/promote/" (slot) } { (verb(scene, name, slot)) " " (slot) "…" span.unseen { " of " (name) } }
                    } @else {
                        span.quiet { "Only a healthy slot can be promoted from here." }
                    }
                }
            }
        }
    }
}

fn upstream_line(scene: &Scene, upstream: &UpstreamStatus) -> Markup {
    html! {
        li {
            code { (upstream.address) }
            @if upstream.weight != Weight::ONE { " weight " (u16::from(upstream.weight)) }
            " " (state(upstream.health))
            @if let Some(check) = &upstream.last_check {
                span.check {
                    @if let Some(status) = check.status { (status) " " }
                    "in " (milliseconds(check.latency_ms)) ", "
                    (span(scene.now.duration_since(check.at).as_secs_f64())) " ago"
                    @if !check.ok && let Some(body) = &check.body { ": " q { (beginning(body)) } }
                }
            }
            @if let Some(ejection) = &upstream.ejected { span.reason { "left out until " (time(ejection.until)) ": " (ejection.reason) } }
        }
    }
}

/// The first words of a text from outside.
fn beginning(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(120).collect();
    line.trim().to_owned()
}

/// A short time.
pub(super) fn milliseconds(milliseconds: f64) -> String {
    if milliseconds < 10.0 {
        format!("{milliseconds:.1} ms")
    } else if milliseconds < 1000.0 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.1} s", milliseconds / 1e3)
    }
}
