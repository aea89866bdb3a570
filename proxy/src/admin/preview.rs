//! The slot that is not live: passes to it for people, and smoke tests of it.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use switcher_config::wire::{PreviewRequest, Previewed, Refusal, RefusalReason, SmokeRequest, Smoked};

use super::Admin;
use super::refusal::{Body, Refused};
use crate::decide::Denied;
use crate::preview::{LONGEST, origin};
use crate::smoke::mark;

/// Makes a pass to the standby slot, and the link that hands it to a browser. Nothing is kept of it: it ends by
/// itself, or with the token that it was made with.
#[utoipa::path(post, path = "/v1/apps/{app}/preview", request_body = PreviewRequest,
    params(("app" = String, Path, description = "The application")),
    responses((status = 200, body = Previewed), (status = 400, body = Refusal), (status = 404, body = Refusal),
        (status = 412, body = Refusal)))]
pub(super) async fn pass(
    State(admin): State<Admin>,
    Path(app): Path<String>,
    Body(request): Body<PreviewRequest>,
) -> Result<Json<Previewed>, Refused> {
    let view = admin.app(&app)?;
    let refused =
        |reason, message: String| Refused::of(Denied { reason, message }, &admin.control.view(), &app);
    let Some(guard) = view.app.guard() else {
        let message = format!(
            "{app} has no `preview` section, so nobody previews it; add for example `preview: {{token_file: preview.token}}` and reload"
        );
        return Err(refused(RefusalReason::PreviewOff, message));
    };
    if !(1..=LONGEST).contains(&request.seconds) {
        let message = format!("a pass holds for 1 to {LONGEST} seconds (30 days), not {}", request.seconds);
        return Err(refused(RefusalReason::BadRequest, message));
    }
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
    let pass = guard.pass(now, request.seconds);
    let slot = view.routing.active.other();
    let origin = origin(&admin.control.view().settings.proxy, &view.app.settings());
    Ok(Json(Previewed {
        url: format!("{origin}{}", guard.link(&pass)),
        expires_at: i64::try_from(pass.expiry)
            .ok()
            .and_then(|at| Timestamp::from_second(at).ok())
            .unwrap_or_default(),
        pass: pass.text,
        slot,
        release: view.routing.slots.get(slot).release.clone(),
    }))
}

/// How many requests one smoke test may have.
const MOST_ASKS: usize = 100;

/// The longest that one of them may take.
const LONGEST_ASK: Duration = Duration::from_secs(60);

/// Sends requests to the standby slot through the proxy's own listener, and tells what came. It judges nothing.
#[utoipa::path(post, path = "/v1/apps/{app}/smoke", request_body = SmokeRequest,
    params(("app" = String, Path, description = "The application")),
    responses((status = 200, body = Smoked), (status = 400, body = Refusal), (status = 404, body = Refusal),
        (status = 409, body = Refusal)))]
pub(super) async fn smoke(
    State(admin): State<Admin>,
    Path(app): Path<String>,
    Body(request): Body<SmokeRequest>,
) -> Result<Json<Smoked>, Refused> {
    let view = admin.app(&app)?;
    let refused =
        |reason, message: String| Refused::of(Denied { reason, message }, &admin.control.view(), &app);
    if request.slot == view.routing.active {
        let message = format!("{} is live, and smoke tests are for the standby slot", request.slot);
        return Err(refused(RefusalReason::SlotIsLive, message));
    }
    if request.asks.len() > MOST_ASKS || request.asks.iter().any(|ask| ask.timeout.0 > LONGEST_ASK) {
        let message = format!("at most {MOST_ASKS} requests are sent, each for at most a minute");
        return Err(refused(RefusalReason::BadRequest, message));
    }
    let (proxy, settings) = (&admin.control.view().settings.proxy, view.app.settings());
    let mark = mark(&view.app.name, request.slot);
    let mut answers = Vec::with_capacity(request.asks.len());
    for ask in &request.asks {
        answers.push(admin.smoker.ask(proxy, &settings, &mark, ask).await);
    }
    Ok(Json(Smoked { generation: admin.app(&app)?.routing.generation, answers }))
}
