//! Passes to the slot that is not live.

use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use switcher_config::wire::{PreviewRequest, Previewed, Refusal, RefusalReason};

use super::Admin;
use super::refusal::{Body, Refused};
use crate::decide::Denied;
use crate::preview::{LONGEST, origin};

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
