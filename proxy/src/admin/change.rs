//! The mutations.

use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use switcher_config::wire::{
    CanaryAbortRequest, CanaryChanged, CanaryRequest, Changed, Claim, Event, PauseRequest, Progress,
    PromoteRequest, Refusal, RefusalReason, RegisterRequest, Reloaded, StopRequest, Switched,
};
use switcher_config::{AppName, Slot};

use super::Admin;
use super::refusal::{Body, Refused};

fn name(admin: &Admin, app: &str) -> Result<AppName, Refused> {
    app.parse().map_err(|_| Refused::unknown_app(&admin.control.view(), app))
}

fn slot_named(slot: &str) -> Result<Slot, Refused> {
    slot.parse().map_err(|unknown: switcher_config::slot::UnknownSlot| {
        Refused::new(RefusalReason::BadRequest, unknown.to_string())
    })
}

/// Makes a slot live. Traffic has moved when this answers; the drain goes on by itself.
#[utoipa::path(post, path = "/v1/apps/{app}/promote", request_body = PromoteRequest,
    params(("app" = String, Path, description = "The application")),
    responses((status = 200, body = Switched), (status = 404, body = Refusal), (status = 409, body = Refusal),
        (status = 412, body = Refusal), (status = 507, body = Refusal)))]
pub(super) async fn promote(
    State(admin): State<Admin>,
    Path(app): Path<String>,
    Body(request): Body<PromoteRequest>,
) -> Result<Json<Switched>, Refused> {
    let switched = admin.control.promote(name(&admin, &app)?, request).await;
    switched.map(Json).map_err(|denied| Refused::of(denied, &admin.control.view(), &app))
}

/// Sends a part of the clients to the standby slot, or another part. The next request follows it.
#[utoipa::path(post, path = "/v1/apps/{app}/canary", request_body = CanaryRequest,
    params(("app" = String, Path, description = "The application")),
    responses((status = 200, body = CanaryChanged), (status = 400, body = Refusal), (status = 404, body = Refusal),
        (status = 409, body = Refusal), (status = 412, body = Refusal), (status = 507, body = Refusal)))]
pub(super) async fn canary(
    State(admin): State<Admin>,
    Path(app): Path<String>,
    Body(request): Body<CanaryRequest>,
) -> Result<Json<CanaryChanged>, Refused> {
    let changed = admin.control.canary(name(&admin, &app)?, request).await;
    changed.map(Json).map_err(|denied| Refused::of(denied, &admin.control.view(), &app))
}

/// Ends a canary: all clients are served by the live slot again. The drain goes on by itself.
#[utoipa::path(post, path = "/v1/apps/{app}/canary/abort", request_body = CanaryAbortRequest,
    params(("app" = String, Path, description = "The application")),
    responses((status = 200, body = CanaryChanged), (status = 404, body = Refusal), (status = 409, body = Refusal),
        (status = 507, body = Refusal)))]
pub(super) async fn abort_canary(
    State(admin): State<Admin>,
    Path(app): Path<String>,
    Body(request): Body<CanaryAbortRequest>,
) -> Result<Json<CanaryChanged>, Refused> {
    let changed = admin.control.abort_canary(name(&admin, &app)?, request).await;
    changed.map(Json).map_err(|denied| Refused::of(denied, &admin.control.view(), &app))
}

/// Registers the addresses of a standby slot, or new ones of the release that is live.
#[utoipa::path(put, path = "/v1/apps/{app}/slots/{slot}", request_body = RegisterRequest,
    params(("app" = String, Path, description = "The application"), ("slot" = Slot, Path, description = "The slot")),
    responses((status = 200, body = Changed), (status = 404, body = Refusal), (status = 409, body = Refusal),
        (status = 507, body = Refusal)))]
pub(super) async fn register(
    State(admin): State<Admin>,
    Path((app, slot)): Path<(String, String)>,
    Body(request): Body<RegisterRequest>,
) -> Result<Json<Changed>, Refused> {
    let changed = admin.control.register(name(&admin, &app)?, slot_named(&slot)?, request).await;
    changed.map(Json).map_err(|denied| Refused::of(denied, &admin.control.view(), &app))
}

/// Takes note of a lease: from its answer on, older leases change nothing. With a place and seconds, nobody whose lease is
/// kept in another place gets a claim until it ends.
#[utoipa::path(post, path = "/v1/apps/{app}/claim", request_body = Claim,
    params(("app" = String, Path, description = "The application")),
    responses((status = 200, body = Changed), (status = 404, body = Refusal), (status = 409, body = Refusal),
        (status = 507, body = Refusal)))]
pub(super) async fn claim(
    State(admin): State<Admin>,
    Path(app): Path<String>,
    Body(claim): Body<Claim>,
) -> Result<Json<Changed>, Refused> {
    let changed = admin.control.claim(name(&admin, &app)?, claim).await;
    changed.map(Json).map_err(|denied| Refused::of(denied, &admin.control.view(), &app))
}

/// Tells those who watch how far a deployment is. Nothing depends on it, and nothing of it is kept on disk.
#[utoipa::path(post, path = "/v1/apps/{app}/progress", request_body = Progress,
    params(("app" = String, Path, description = "The application")),
    responses((status = 200, body = Changed), (status = 404, body = Refusal)))]
pub(super) async fn progress(
    State(admin): State<Admin>,
    Path(app): Path<String>,
    Body(progress): Body<Progress>,
) -> Result<Json<Changed>, Refused> {
    let (view, app) = (admin.app(&app)?, name(&admin, &app)?);
    admin.control.announce(Event::Progress { at: Timestamp::now(), app, progress: progress.cut() });
    Ok(Json(Changed { generation: view.routing.generation, mode: view.mode() }))
}

/// Holds new requests in a bounded queue.
#[utoipa::path(post, path = "/v1/apps/{app}/pause", request_body = PauseRequest,
    params(("app" = String, Path, description = "The application")),
    responses((status = 200, body = Changed), (status = 404, body = Refusal), (status = 507, body = Refusal)))]
pub(super) async fn pause(
    State(admin): State<Admin>,
    Path(app): Path<String>,
    Body(request): Body<PauseRequest>,
) -> Result<Json<Changed>, Refused> {
    let changed = admin.control.pause(name(&admin, &app)?, request).await;
    changed.map(Json).map_err(|denied| Refused::of(denied, &admin.control.view(), &app))
}

/// Serves again, beginning with what was held.
#[utoipa::path(post, path = "/v1/apps/{app}/resume",
    params(("app" = String, Path, description = "The application")),
    responses((status = 200, body = Changed), (status = 404, body = Refusal), (status = 507, body = Refusal)))]
pub(super) async fn resume(
    State(admin): State<Admin>,
    Path(app): Path<String>,
) -> Result<Json<Changed>, Refused> {
    let changed = admin.control.resume(name(&admin, &app)?).await;
    changed.map(Json).map_err(|denied| Refused::of(denied, &admin.control.view(), &app))
}

/// Serves the maintenance page.
#[utoipa::path(post, path = "/v1/apps/{app}/stop", request_body = StopRequest,
    params(("app" = String, Path, description = "The application")),
    responses((status = 200, body = Changed), (status = 404, body = Refusal), (status = 507, body = Refusal)))]
pub(super) async fn stop(
    State(admin): State<Admin>,
    Path(app): Path<String>,
    Body(request): Body<StopRequest>,
) -> Result<Json<Changed>, Refused> {
    let changed = admin.control.stop(name(&admin, &app)?, request).await;
    changed.map(Json).map_err(|denied| Refused::of(denied, &admin.control.view(), &app))
}

/// Reads the configuration again, as SIGHUP does. A bad file changes nothing.
#[utoipa::path(post, path = "/v1/reload",
    responses((status = 200, body = Reloaded), (status = 422, body = Refusal), (status = 507, body = Refusal)))]
pub(super) async fn reload(State(admin): State<Admin>) -> Result<Json<Reloaded>, Refused> {
    let reloaded = admin.reloader.reload().await;
    reloaded.map(Json).map_err(|denied| Refused::new(denied.reason, denied.message))
}
