//! What came of copies of live requests.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use switcher_config::wire::{Mirrored, Refusal};

use super::Admin;
use super::refusal::Refused;

/// What came of copies to the standby slot since this process began to make them, and the last answers that differed.
#[utoipa::path(get, path = "/v1/apps/{app}/mirror",
    params(("app" = String, Path, description = "The application")),
    responses((status = 200, body = Mirrored), (status = 404, body = Refusal)))]
pub(super) async fn mirror(
    State(admin): State<Admin>,
    Path(app): Path<String>,
) -> Result<Json<Mirrored>, Refused> {
    let view = admin.app(&app)?;
    let slot = view.routing.active.other();
    let share = view.app.settings().mirror.as_ref().map(|mirror| mirror.share);
    Ok(Json(match view.app.mirror.get() {
        Some(mirror) => mirror.to_wire(slot, share),
        None => Mirrored { slot, share, in_flight: 0, outcomes: BTreeMap::new(), differences: Vec::new() },
    }))
}
