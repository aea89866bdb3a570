//! The dashboard on the status listener: what `/v1/status` tells, as a page for people, and a promote with a token.
//!
//! The server renders everything, so the page is whole without JavaScript; `live.js` asks for the same page again when
//! something happens, and changes what has changed. Invariants: texts from outside are escaped by construction ([`maud`]);
//! nothing is loaded from elsewhere and no script or style stands in a page, which the content policy enforces; what acts
//! goes through `gate` and names the generation that its page showed. Mounted by [`crate::admin`].

mod action;
mod app;
mod asset;
mod chart;
mod gate;
mod page;
mod scene;
mod story;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::Markup;

use crate::admin::Admin;
use crate::history::History;
use scene::Scene;

pub use gate::Gate;

/// What is kept from one request to the next.
#[derive(Debug, Default)]
pub struct Kept {
    /// The last minutes.
    pub history: Arc<History>,
    /// Who may act.
    pub gate: Gate,
}

/// The longest body of a form.
const FORM: usize = 4096;

/// What a browser may do with a page: show it with its own style and script, and ask its own server.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; \
    trusted-types 'none'";

/// The pages and what they are made of.
pub fn router() -> Router<Admin> {
    Router::new()
        .route("/", get(front))
        .route("/apps/{app}", get(one))
        .route("/apps/{app}/promote/{slot}", get(action::ask).post(action::act))
        .route(asset::STYLE, get(asset::style))
        .route(asset::SCRIPT, get(asset::script))
        .route(asset::ICON, get(asset::icon))
        .layer(DefaultBodyLimit::max(FORM))
}

/// Every application.
async fn front(State(admin): State<Admin>) -> Response {
    answer(StatusCode::OK, &page::front(&Scene::all(&admin)))
}

/// One application.
async fn one(State(admin): State<Admin>, Path(app): Path<String>) -> Response {
    match Scene::one(&admin, &app) {
        Some((scene, name)) => answer(StatusCode::OK, &page::one(&scene, &name)),
        None => unknown(&app),
    }
}

fn unknown(app: &str) -> Response {
    let sentence = format!("There is no application {app:?}.");
    answer(StatusCode::NOT_FOUND, &page::message("No such application", &sentence, None))
}

/// A page on its way out.
fn answer(status: StatusCode, page: &Markup) -> Response {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    (status, headers, page.0.clone()).into_response()
}
