//! `switcher pause`, `resume` and `stop`: whether requests are let through.

use serde_json::json;
use switcher_config::wire::{Changed, Mode, PauseRequest, StopRequest};
use switcher_config::{AppName, Span};

use super::Outcome;
use crate::admin::{Admin, AdminError};
use crate::aftermath;
use crate::context::Context;
use crate::failure::Live;
use crate::mutation::{Mutation, Settled, confirmed_late};

/// Holds new requests.
pub(super) async fn pause(ctx: &Context, max: Option<Span>) -> Outcome {
    let request = PauseRequest { max };
    set(ctx, Mode::Paused, async |admin, app| admin.pause(app, &request).await).await
}

/// Lets requests through again.
pub(super) async fn resume(ctx: &Context) -> Outcome {
    set(ctx, Mode::Open, async |admin, app| admin.resume(app).await).await
}

/// Serves the maintenance page.
pub(super) async fn stop(ctx: &Context, message: Option<String>) -> Outcome {
    let request = StopRequest { message };
    set(ctx, Mode::Stopped, async |admin, app| admin.stop(app, &request).await).await
}

async fn set(
    ctx: &Context,
    wanted: Mode,
    ask: impl AsyncFn(&Admin, &AppName) -> Result<Changed, AdminError>,
) -> Outcome {
    let admin = ctx.admin()?;
    let (app, status) = ctx.app(&admin).await?;
    let mutation = Mutation { ctx, admin: &admin, app: &app, live: Live::of(&app, &status) };
    let settled =
        mutation.settle(async || ask(&admin, &app).await, |seen| aftermath::of_mode(seen, wanted)).await?;
    let changed = match settled {
        Settled::Replied(changed) => changed,
        Settled::Seen(seen) => {
            ctx.reporter.step(&confirmed_late(&seen));
            Changed { generation: seen.generation, mode: seen.mode }
        }
    };
    let (text, hint) = match changed.mode {
        Mode::Open => ("is open: requests are served", None),
        Mode::Paused => ("is paused: new requests are held in a queue", Some("resume")),
        Mode::Stopped => ("is stopped: requests are answered 503 with the maintenance page", Some("resume")),
    };
    let value = json!({ "app": app, "mode": changed.mode, "generation": changed.generation });
    ctx.console.result(&format!("{app} {text}"), &value)?;
    if let Some(verb) = hint {
        ctx.reporter.step(&format!("serve on with: {}", ctx.command(verb)));
    }
    Ok(())
}
