//! `switcher preview [--for TIME]`: a link that lets people into the slot that is not live.

use switcher_config::Span;
use switcher_config::wire::PreviewRequest;

use super::Outcome;
use crate::context::Context;
use crate::failure::Live;

/// Has the proxy make a pass. The link is a secret, so it is the result and stands nowhere else.
pub(super) async fn run(ctx: &Context, holds: Span) -> Outcome {
    let admin = ctx.admin()?;
    let (app, status) = ctx.app(&admin).await?;
    let request = PreviewRequest { seconds: holds.0.as_secs() };
    let previewed = admin
        .preview(&app, &request)
        .await
        .map_err(|error| ctx.diagnose(&admin, error, Some(&app), Live::of(&app, &status)))?;
    ctx.console.result(&previewed.url, &previewed)?;
    let release = previewed.release.as_ref().map(|release| format!(" ({release})")).unwrap_or_default();
    ctx.reporter.step(&format!(
        "whoever opens this link sees {} of {app}{release} until {}; `?leave` instead of the pass ends it",
        previewed.slot, previewed.expires_at
    ));
    Ok(())
}
