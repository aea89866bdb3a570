//! The admin API, version 1: HTTP/1 JSON on a unix socket whose file permission is the authorisation,
//! and a read-only part of it on an optional TCP listener, beside the dashboard.
//!
//! Handlers translate; [`Control`] decides. The OpenAPI document is made from
//! the handlers themselves.

mod certificates;
mod change;
mod events;
mod mirror;
mod preview;
mod read;
mod refusal;
mod top;

use std::sync::Arc;

use axum::Json;
use axum::routing::get;
use switcher_certs::{Manager, Store};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access_log::AccessLog;
use crate::control::Control;
use crate::dashboard::{self, Kept};
use crate::metrics::Metrics;
use crate::reload::Reloader;
use crate::smoke::Smoker;
use crate::top::Watchers;

/// What the handlers work on.
#[derive(Clone)]
pub struct Admin {
    /// The routing's owner.
    pub control: Arc<Control>,
    /// What is served by TLS.
    pub certificates: Arc<Store>,
    /// Renews what the proxy renews itself.
    pub manager: Manager,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// For the number of lost lines.
    pub access_log: AccessLog,
    /// Asks the standby slot through the proxy's own listeners.
    pub smoker: Arc<Smoker>,
    /// Reads the configuration again.
    pub reloader: Arc<Reloader>,
    /// What the dashboard keeps.
    pub dashboard: Arc<Kept>,
    /// Who watches what is asked for.
    pub top: Arc<Watchers>,
    /// When this process began to serve.
    pub started_at: jiff::Timestamp,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Switcher admin API",
    description = "Status and control of switcher-proxy. Every mutation names the generation it expects; a refusal carries a stable reason, a sentence, and what is live now."
))]
struct Document;

/// The whole API, for the unix socket.
pub fn router(admin: Admin) -> axum::Router {
    let (read, mut document) = reading().split_for_parts();
    let (change, changing) = OpenApiRouter::new()
        .routes(routes!(change::promote))
        .routes(routes!(change::canary))
        .routes(routes!(change::abort_canary))
        .routes(routes!(change::register))
        .routes(routes!(change::claim))
        .routes(routes!(change::progress))
        .routes(routes!(change::pause))
        .routes(routes!(change::resume))
        .routes(routes!(change::stop))
        .routes(routes!(preview::pass))
        .routes(routes!(preview::smoke))
        .routes(routes!(change::reload))
        .routes(routes!(certificates::renew))
        .routes(routes!(certificates::revoke))
        .routes(routes!(certificates::import))
        .routes(routes!(certificates::check))
        .split_for_parts();
    document.merge(changing);
    finish(read.merge(change).fallback(refusal::not_found), document, admin)
}

/// The read-only part, for TCP.
pub fn read_only_router(admin: Admin) -> axum::Router {
    let (read, document) = reading().split_for_parts();
    // Shorter names for people and probes.
    let read = read.route("/status", get(read::status)).merge(dashboard::router());
    let read = read.fallback(refusal::read_only);
    finish(read, document, admin)
}

fn reading() -> OpenApiRouter<Admin> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(read::status))
        .routes(routes!(read::in_flight))
        .routes(routes!(read::drain))
        .routes(routes!(read::bake))
        .routes(routes!(mirror::mirror))
        .routes(routes!(certificates::list))
        .routes(routes!(certificates::root))
        .routes(routes!(read::metrics))
        .routes(routes!(read::health))
        .routes(routes!(read::ready))
        .routes(routes!(events::events))
        .routes(routes!(top::top))
}

fn finish(router: axum::Router<Admin>, document: utoipa::openapi::OpenApi, admin: Admin) -> axum::Router {
    router.route("/openapi.json", get(move || std::future::ready(Json(document.clone())))).with_state(admin)
}
