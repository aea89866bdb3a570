//! A promote by hand: a page that says what will happen, and the form that makes it happen.
//!
//! Invariant: what is confirmed is what was shown. The form names the generation of its page; when something else happened
//! meanwhile, nothing is changed. It is never forced: a slot that is not healthy is for the command line.

use std::time::Instant;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use switcher_config::wire::{PromoteRequest, RefusalReason};
use switcher_config::{AppName, Generation, Slot};

use super::gate::{Closed, same_origin};
use super::scene::{Scene, left_last};
use super::{answer, page, unknown};
use crate::admin::Admin;

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct Wish {
    token: String,
    generation: Generation,
}

/// What would happen, and the form.
pub(super) async fn ask(State(admin): State<Admin>, Path((app, slot)): Path<(String, String)>) -> Response {
    confirm(&admin, &app, &slot, None)
}

/// The page with the form, perhaps with what was wrong with the one before.
fn confirm(admin: &Admin, app: &str, slot: &str, wrong: Option<Closed>) -> Response {
    let Some((scene, name)) = Scene::one(admin, app) else { return unknown(app) };
    let Ok(slot) = slot.parse::<Slot>() else { return unknown_slot(slot) };
    if !scene.acts {
        return closed(&Closed::off());
    }
    let status = wrong.as_ref().map_or(StatusCode::OK, |wrong| wrong.status);
    answer(status, &page::confirm(&scene, &name, slot, wrong.as_ref().map(|wrong| wrong.sentence.as_str())))
}

/// Promotes, if the token is right and nothing else happened since the page was made.
pub(super) async fn act(
    State(admin): State<Admin>,
    Path((app, slot)): Path<(String, String)>,
    headers: HeaderMap,
    wish: Result<Form<Wish>, FormRejection>,
) -> Response {
    let view = admin.control.view();
    let token = view.settings.proxy.dashboard_token.as_deref();
    if token.is_none() {
        return closed(&Closed::off());
    }
    if let Err(foreign) = same_origin(&headers) {
        return closed(&foreign);
    }
    let Some(name) = app.parse::<AppName>().ok().filter(|name| view.apps.contains_key(name)) else {
        return unknown(&app);
    };
    let Ok(to) = slot.parse::<Slot>() else { return unknown_slot(&slot) };
    let Ok(Form(wish)) = wish else {
        let sentence = "The form was not whole. Nothing was changed.";
        return answer(StatusCode::BAD_REQUEST, &page::message("Not understood", sentence, Some(&name)));
    };
    if let Err(wrong) = admin.dashboard.gate.admit(token, &wish.token, Instant::now()) {
        tracing::warn!(app = %name, slot = %to, why = wrong.title, "refused to promote from the dashboard");
        return confirm(&admin, &app, &slot, Some(wrong));
    }
    let request = PromoteRequest {
        expected_generation: Some(wish.generation),
        at_once: view.apps.get(&name).and_then(|app| left_last(app)) == Some(to),
        ..PromoteRequest::of(to)
    };
    match admin.control.promote(name.clone(), request).await {
        Ok(switched) => {
            tracing::info!(app = %name, to = %to, generation = %switched.generation, "promoted from the dashboard");
            (
                StatusCode::SEE_OTHER,
                [(header::LOCATION, format!("/#{name}")), (header::CACHE_CONTROL, "no-store".to_owned())],
            )
                .into_response()
        }
        Err(denied) => {
            let moved = denied.reason == RefusalReason::GenerationMoved;
            let status = if moved { StatusCode::CONFLICT } else { StatusCode::PRECONDITION_FAILED };
            let title = if moved { "Something else happened meanwhile" } else { "Not promoted" };
            answer(status, &page::message(title, &format!("{denied}."), Some(&name)))
        }
    }
}

fn unknown_slot(slot: &str) -> Response {
    let sentence = format!("There is no slot {slot:?}; there are blue and green.");
    answer(StatusCode::NOT_FOUND, &page::message("No such slot", &sentence, None))
}

fn closed(closed: &Closed) -> Response {
    answer(closed.status, &page::message(closed.title, &closed.sentence, None))
}
