//! `switcher register SLOT HOST:PORT…`: gives the standby slot its addresses.

use serde_json::json;
use switcher_config::wire::RegisterRequest;
use switcher_config::{Slot, UpstreamAddress};

use super::Outcome;
use crate::aftermath;
use crate::code::Code;
use crate::context::Context;
use crate::failure::{Failure, Live};
use crate::mutation::{Mutation, Settled, confirmed_late};

/// Registers them, expecting the generation that was looked at.
pub(super) async fn run(
    ctx: &Context,
    slot: Slot,
    upstreams: Vec<UpstreamAddress>,
    release: Option<String>,
) -> Outcome {
    let admin = ctx.admin()?;
    let (app, status) = ctx.app(&admin).await?;
    let live = Live::of(&app, &status);
    if status.active == slot {
        let message = format!(
            "{slot} of {app} is live; addresses are registered in the standby slot, {}",
            slot.other()
        );
        let list: Vec<String> = upstreams.iter().map(ToString::to_string).collect();
        let next = ctx.command(&format!("register {} {}", slot.other(), list.join(" ")));
        return Err(Failure::new(Code::SlotLive, message, live, next));
    }
    let expected = status.generation;
    let request = RegisterRequest {
        upstreams: upstreams.into_iter().map(Into::into).collect(),
        release,
        expected_generation: Some(expected),
        moved: false,
        fence: None,
    };
    let mutation = Mutation { ctx, admin: &admin, app: &app, live };
    let settled = mutation
        .settle(
            async || admin.register(&app, slot, &request).await,
            |seen| aftermath::of_registration(seen, expected, slot, &request),
        )
        .await?;
    let generation = match settled {
        Settled::Replied(changed) => changed.generation,
        Settled::Seen(seen) => {
            ctx.reporter.step(&confirmed_late(&seen));
            seen.generation
        }
    };
    let list: Vec<String> = request.upstreams.iter().map(ToString::to_string).collect();
    let release = request.release.as_ref().map(|release| format!(", release {release}")).unwrap_or_default();
    let text = format!("{app}: {slot} is now {}{release} (generation {generation})", list.join(", "));
    let value = json!({
        "app": app, "slot": slot, "upstreams": request.upstreams, "release": request.release, "generation": generation,
    });
    ctx.console.result(&text, &value)?;
    ctx.reporter
        .step(&format!("make it live with: {}", ctx.command(&format!("promote {slot} --wait-healthy 30s"))));
    Ok(())
}
