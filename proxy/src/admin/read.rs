//! What can be read.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use switcher_config::wire::{Bake, DrainReceipt, Health, InFlight, Refusal, RefusalReason, Status};
use switcher_config::{AppName, Generation, Slot, Span};

use tokio::time::{Instant, timeout_at};

use super::Admin;
use super::refusal::Refused;
use crate::bake::going;
use crate::canary;
use crate::metrics::openmetrics;
use crate::view::{AppView, View};
use crate::watched::slot_health;

/// The longest a client may wait for a drain in one request.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Admin {
    /// Everything, as it is at the moment of a view.
    pub(crate) fn status(&self, view: &View) -> Status {
        Status {
            apps: view.apps.iter().map(|(name, app)| (name.clone(), app.status())).collect(),
            certificates: self.certificates.status(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            pid: std::process::id(),
        }
    }

    pub(super) fn app(&self, name: &str) -> Result<std::sync::Arc<AppView>, Refused> {
        let view = self.control.view();
        let known = name.parse::<AppName>().ok().and_then(|name| view.apps.get(&name).cloned());
        known.ok_or_else(|| Refused::unknown_app(&view, name))
    }
}

/// Everything: applications, slots, health, what is in flight, drains, certificates.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status)))]
pub(super) async fn status(State(admin): State<Admin>) -> Json<Status> {
    Json(admin.status(&admin.control.view()))
}

/// What is inside a slot, oldest first.
#[utoipa::path(get, path = "/v1/apps/{app}/slots/{slot}/in-flight",
    params(("app" = String, Path, description = "The application"), ("slot" = Slot, Path, description = "The slot")),
    responses((status = 200, body = InFlight), (status = 404, body = Refusal)))]
pub(super) async fn in_flight(
    State(admin): State<Admin>,
    Path((app, slot)): Path<(String, String)>,
) -> Result<Json<InFlight>, Refused> {
    let app = admin.app(&app)?;
    let slot: Slot = slot.parse().map_err(|unknown: switcher_config::slot::UnknownSlot| {
        Refused::new(RefusalReason::BadRequest, unknown.to_string())
    })?;
    Ok(Json(app.in_flight(slot)))
}

/// How long to wait for a drain.
#[derive(serde::Deserialize)]
pub(super) struct Wait {
    wait: Option<Span>,
}

/// The receipt of a drain, at once or as soon as it is over.
#[utoipa::path(get, path = "/v1/apps/{app}/drains/{generation}",
    params(("app" = String, Path, description = "The application"),
        ("generation" = u64, Path, description = "The generation that was left"),
        ("wait" = Option<String>, Query, description = "How long to wait for its end, at most 60s")),
    responses((status = 200, body = DrainReceipt), (status = 404, body = Refusal)))]
pub(super) async fn drain(
    State(admin): State<Admin>,
    Path((app, generation)): Path<(String, String)>,
    wait: Result<Query<Wait>, QueryRejection>,
) -> Result<Json<DrainReceipt>, Refused> {
    let Query(wait) = wait.map_err(|bad| Refused::new(RefusalReason::BadRequest, bad.body_text()))?;
    let view = admin.app(&app)?;
    let found = generation.parse::<Generation>().ok().and_then(|g| view.drain(g).cloned());
    let Some(drain) = found else {
        let message = format!("no drain of generation {generation} is remembered for {app}");
        return Err(Refused::new(RefusalReason::UnknownDrain, message));
    };
    // The view would keep the application alive.
    drop(view);
    drain.wait(wait.wait.unwrap_or_default().0.min(LONGEST_WAIT)).await;
    Ok(Json(drain.receipt()))
}

/// The last switch that was to be judged on live traffic, at once or as soon as its outcome is known.
#[utoipa::path(get, path = "/v1/apps/{app}/bake",
    params(("app" = String, Path, description = "The application"),
        ("wait" = Option<String>, Query, description = "How long to wait for its outcome, at most 60s")),
    responses((status = 200, body = Bake), (status = 404, body = Refusal)))]
pub(super) async fn bake(
    State(admin): State<Admin>,
    Path(app): Path<String>,
    wait: Result<Query<Wait>, QueryRejection>,
) -> Result<Json<Bake>, Refused> {
    let Query(wait) = wait.map_err(|bad| Refused::new(RefusalReason::BadRequest, bad.body_text()))?;
    let deadline = Instant::now() + wait.wait.unwrap_or_default().0.min(LONGEST_WAIT);
    // Subscribed before the first look, so that no end is missed.
    let mut events = admin.control.events();
    loop {
        let Some(bake) = admin.app(&app)?.bake() else {
            let message = format!("no switch of {app} has been judged on live traffic");
            return Err(Refused::new(RefusalReason::UnknownBake, message));
        };
        // Whatever happens is a reason to look again, also a message that was missed.
        if bake.outcome.is_some() || timeout_at(deadline, events.recv()).await.is_err() {
            return Ok(Json(bake));
        }
    }
}

/// Prometheus metrics.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String)))]
pub(super) async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    for (name, app) in &admin.control.view().apps {
        admin.metrics.set_bake(name, going(&app.routing).is_some());
        let share = canary::going(&app.routing).map(|canary| canary.shown.rules.share);
        admin.metrics.set_canary(name, share);
        admin.metrics.set_app(name, app.routing.active, app.routing.generation, app.app.hold.len());
        for slot in Slot::ALL {
            let (health, _) = slot_health(app.slots.get(slot));
            admin.metrics.set_slot(name, slot, health, &app.in_flight_by_kind(slot));
        }
    }
    admin.metrics.certificates.set(&admin.certificates.status());
    admin.metrics.cache.set_bytes(admin.reloader.shared.cache.bytes());
    admin.metrics.set_access_log_dropped(admin.access_log.dropped());
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accept.is_some_and(openmetrics::wanted) {
        let text = admin.metrics.encode_openmetrics();
        return ([(header::CONTENT_TYPE, openmetrics::CONTENT_TYPE)], text).into_response();
    }
    match admin.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Whether the process lives.
#[utoipa::path(get, path = "/health", responses((status = 200, body = String)))]
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// Whether every application can be served: 503 and the reasons when a live slot has no healthy upstream.
///
/// An application whose live slot has no addresses at all waits for its first deployment. That is no fault of this
/// process, and it must not take the other applications out of service: it is named, and counts as ready.
#[utoipa::path(get, path = "/ready", responses((status = 200, body = String), (status = 503, body = String)))]
pub(super) async fn ready(State(admin): State<Admin>) -> Response {
    let view = admin.control.view();
    let (mut missing, mut waiting) = (Vec::new(), Vec::new());
    for (name, app) in &view.apps {
        let slot = app.routing.active;
        if app.routing.slots.get(slot).upstreams.is_empty() {
            waiting.push(format!("{name}: nothing is deployed yet, {slot} has no addresses\n"));
            continue;
        }
        let served = app.slots.get(slot).iter().any(|w| w.upstream().health() == Health::Healthy);
        if !served {
            let (_, reason) = slot_health(app.slots.get(slot));
            missing.push(format!("{name}: {slot} has no healthy upstream: {}\n", reason.unwrap_or_default()));
        }
    }
    if missing.is_empty() {
        format!("ready\n{}", waiting.concat()).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, missing.concat()).into_response()
    }
}
