//! The pages: the frame around everything, the front page, one application, the confirmation, and short messages.

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use switcher_config::wire::{CertificateStatus, Event, Kind};
use switcher_config::{AppName, Slot};

use super::scene::{Scene, names};
use super::{app, asset, story};

/// A time of day, in UTC.
pub(super) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// A time of day as an element that tells the whole moment.
pub(super) fn time(at: Timestamp) -> Markup {
    html! { time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) { (clock(at)) } }
}

/// A length of time, as people say it.
pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..=119 => format!("{whole} s"),
        120..=7199 => format!("{} min", whole / 60),
        7200..=172_799 => format!("{} h", whole / 3600),
        _ => format!("{} days", whole / 86_400),
    }
}

/// Every application.
pub(super) fn front(scene: &Scene) -> Markup {
    let main = html! {
        (summary(scene))
        @if scene.is_small() {
            @for (name, status) in &scene.status.apps { (app::section(scene, name, status)) }
        } @else {
            (table(scene))
        }
        (certificates(scene))
        (events(scene, None))
    };
    frame(scene, "Switcher", &main)
}

/// One application.
pub(super) fn one(scene: &Scene, name: &AppName) -> Markup {
    let main = html! {
        p.back { a href="/" { "All applications" } }
        @if let Some(status) = scene.status.apps.get(name) { (app::section(scene, name, status)) }
        (events(scene, Some(name)))
    };
    frame(scene, &format!("{name} · Switcher"), &main)
}

/// What will happen when the form is sent.
pub(super) fn confirm(scene: &Scene, name: &AppName, slot: Slot, wrong: Option<&str>) -> Markup {
    let title = format!("{} {slot}?", verb(scene, name, slot));
    let Some(status) = scene.status.apps.get(name) else { return message(&title, "It is gone.", None) };
    let (target, live) = (status.slots.get(slot), status.slots.get(status.active));
    let main = html! {
        section.card.narrow aria-labelledby="question" {
            h1 id="question" { (title) }
            @if slot == status.active {
                p { (slot) " of " (name) " is live already." }
                p { a.button href="/" { "Back" } }
            } @else {
                @if let Some(wrong) = wrong { p.alert role="alert" { (wrong) } }
                dl.facts {
                    dt { "Application" } dd { (name) ", generation " (status.generation) }
                    dt { "Live now" } dd { (app::mark(status.active)) " " (status.active) " · " (app::release(live)) " · " (story::counts(&live.in_flight)) " in flight" }
                    dt { "Live then" } dd { (app::mark(slot)) " " (slot) " · " (app::release(target)) }
                    dt { "Health of " (slot) } dd { (app::health(target)) }
                }
                p { "New requests go to " (slot) " at once. What is inside " (status.active) " finishes there, within its drain times. "
                    "The switch is not judged on live traffic afterwards, as " code { "switcher promote" } " does it where a bake is configured." }
                form method="post" action={ "/apps/" (name) "/promote/" (slot) } {
                    input type="hidden" name="generation" value=(status.generation);
                    // Some password managers keep nothing without a name.
                    input.unseen type="text" name="username" value="switcher" autocomplete="username" readonly tabindex="-1" aria-hidden="true";
                    label for="token" { "Token" }
                    input id="token" type="password" name="token" required autocomplete="current-password" autofocus aria-describedby="token-hint"
                        aria-invalid=[wrong.map(|_| "true")];
                    p.hint id="token-hint" { "It stands in the file that " code { "proxy.dashboard.token_file" } " names." }
                    p.actions {
                        button.button.primary type="submit" { (verb(scene, name, slot)) " " (slot) }
                        a.button href={ "/#" (name) } { "Cancel" }
                    }
                }
            }
        }
    };
    plain(&title, &main)
}

/// What a promote of a slot is called.
pub(super) fn verb(scene: &Scene, name: &AppName, slot: Slot) -> &'static str {
    if scene.back.get(name) == Some(&slot) { "Roll back to" } else { "Promote" }
}

/// A page that says one thing.
pub(super) fn message(title: &str, sentence: &str, app: Option<&AppName>) -> Markup {
    let back = app.map_or_else(|| "/".to_owned(), |name| format!("/#{name}"));
    let main = html! {
        section.card.narrow {
            h1 { (title) }
            p { (sentence) }
            p { a.button href=(back) { "Back to the dashboard" } }
        }
    };
    plain(title, &main)
}

/// A page that stands still.
fn plain(title: &str, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head { (head(title)) }
            body {
                header.top { a.brand href="/" { (logo()) "Switcher" } }
                main id="main" { (main) }
            }
        }
    }
}

/// A page that follows what happens.
fn frame(scene: &Scene, title: &str, main: &Markup) -> Markup {
    let status = &scene.status;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                (head(title))
                script src=(asset::SCRIPT) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    a.brand href="/" { (logo()) "Switcher" }
                    p.state id="state" data-state="still" {
                        span.dot aria-hidden="true" {}
                        span id="state-text" { "As of " (time(scene.now)) " UTC" }
                        noscript { " " a href="" { "Refresh" } }
                    }
                }
                div.unseen id="news" role="log" aria-label="News" {}
                main id="main" tabindex="-1" { (main) }
                footer id="foot" data-process=(status.pid) {
                    p { "switcher-proxy " (status.version) " · process " (status.pid) " · up "
                        (span(scene.now.duration_since(status.started_at).as_secs_f64())) " · times are UTC" }
                    p {
                        a href="/v1/status" { "Status as JSON" } " · " a href="/metrics" { "Metrics" } " · " a href="/openapi.json" { "API" }
                        @if !scene.acts { " · This dashboard only shows; " code { "proxy.dashboard" } " lets people with a token promote." }
                    }
                }
            }
        }
    }
}

fn head(title: &str) -> Markup {
    html! {
        meta charset="utf-8";
        meta name="viewport" content="width=device-width, initial-scale=1";
        meta name="color-scheme" content="light dark";
        meta name="robots" content="noindex";
        title { (title) }
        link rel="icon" href=(asset::ICON);
        link rel="stylesheet" href=(asset::STYLE);
    }
}

fn logo() -> Markup {
    html! {
        svg.logo viewBox="0 0 32 20" aria-hidden="true" {
            circle.blue cx="9" cy="10" r="6" {}
            path.green d="M23 3l7 7-7 7-7-7z" {}
        }
    }
}

/// How everything is, in a line.
fn summary(scene: &Scene) -> Markup {
    let (apps, concerns) = (&scene.status.apps, scene.concerns());
    let slots = || apps.values().flat_map(|app| app.slots.iter());
    let inside = |kind| slots().map(|(_, slot)| *slot.in_flight.get(kind)).sum::<u64>();
    html! {
        section.summary.(if concerns.is_empty() { "fine" } else { "concerned" }) id="summary" aria-labelledby="verdict" {
            h1 id="verdict" {
                @if concerns.is_empty() { "All is well" }
                @else if concerns.len() == 1 { "One thing needs a look" }
                @else { (concerns.len()) " things need a look" }
            }
            @if !concerns.is_empty() {
                ul.concerns { @for concern in concerns.iter().take(10) { li { (concern) } } }
            }
            dl.figures {
                div { dt { "Applications" } dd { (apps.len()) } }
                @for kind in Kind::ALL { div { dt { (kind.as_str()) " in flight" } dd { (inside(kind)) } } }
                div { dt { "Certificates" } dd { (scene.status.certificates.len()) } }
            }
        }
    }
}

/// Very many applications, a line each.
fn table(scene: &Scene) -> Markup {
    html! {
        section.card id="apps" aria-labelledby="apps-title" {
            h2 id="apps-title" { "Applications" }
            div.wide tabindex="0" role="group" aria-label="Table of applications" {
                table {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Live" } th scope="col" { "Release" } th scope="col" { "Health" } th.number scope="col" { "In flight" } th.number scope="col" { "Generation" } } }
                    tbody {
                        @for (name, app) in &scene.status.apps {
                            @let live = app.slots.get(app.active);
                            tr id={ "row-" (name) } {
                                th scope="row" { a href={ "/apps/" (name) } { (name) } }
                                td { (app::mark(app.active)) " " (app.active) }
                                td { (app::release(live)) }
                                td { (app::health(live)) }
                                td.number { (live.in_flight.total()) }
                                td.number { (app.generation) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn certificates(scene: &Scene) -> Markup {
    let certificates = &scene.status.certificates;
    html! {
        section.card id="certificates" aria-labelledby="certificates-title" {
            h2 id="certificates-title" { "Certificates" }
            @if certificates.is_empty() {
                p.quiet { "None: nothing is served over TLS." }
            } @else {
                div.wide tabindex="0" role="group" aria-label="Table of certificates" {
                    table {
                        thead { tr { th scope="col" { "Names" } th scope="col" { "From" } th scope="col" { "Expires" } th scope="col" { "Renewed" } th scope="col" { "State" } } }
                        tbody { @for certificate in certificates { (certificate_row(scene, certificate)) } }
                    }
                }
            }
        }
    }
}

fn certificate_row(scene: &Scene, certificate: &CertificateStatus) -> Markup {
    let left = certificate.not_after.duration_since(scene.now).as_secs_f64();
    let day = |at: Timestamp| html! { span.day { (at.strftime("%Y-%m-%d")) } };
    html! {
        tr {
            th scope="row" { (names(certificate)) }
            td { (certificate.source) }
            td { (day(certificate.not_after)) @if left > 0.0 { span.quiet { " in " (span(left)) } } @else { " " strong.bad { "expired" } } }
            td { @if let Some(at) = certificate.renew_at { (day(at)) } @else { span.quiet { "by hand" } } }
            td {
                @if let Some(problem) = &certificate.problem { span.health.unhealthy { (problem) } }
                @else { span.health.healthy { "good" } }
                @if certificate.failures > 0 { " " (certificate.failures) " failures" }
                @if let Some(at) = certificate.retry_at { ", again at " (time(at)) }
            }
        }
    }
}

/// The last events, of one application or of all.
fn events(scene: &Scene, of: Option<&AppName>) -> Markup {
    let about = |event: &Event| of.is_none_or(|name| story::app(event).is_none_or(|app| app == name));
    let events: Vec<_> = scene.seen.events.iter().filter(|noted| about(&noted.event)).take(50).collect();
    html! {
        section.card id="events" aria-labelledby="events-title" {
            h2 id="events-title" { "Last events" }
            @if events.is_empty() { p.quiet { "Nothing has happened since this process began." } }
            div.long tabindex="0" role="group" aria-label="List of events" {
                ol.events id="event-list" {
                    @for noted in events {
                        li id={ "event-" (noted.number) } .(story::tone(&noted.event)) {
                            (time(story::at(&noted.event))) " "
                            @if let Some(app) = story::app(&noted.event) { strong { (app) } " " }
                            span { (story::sentence(&noted.event)) }
                        }
                    }
                }
            }
        }
    }
}
