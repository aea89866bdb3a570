//! `switcher promote SLOT` and `switcher rollback`: the two names of a switch.

use serde_json::json;
use switcher_config::wire::{AppStatus, Kind, Receipt};
use switcher_config::{AppName, Slot};

use super::{Outcome, interrupt, interrupted_early};
use crate::cli::PromoteArgs;
use crate::context::Context;
use crate::layout::{Page, Tone};
use crate::phrase;
use crate::switch::{self, Options, Switch};

/// Makes the named slot live.
pub(super) async fn promote(ctx: &Context, args: PromoteArgs) -> Outcome {
    let PromoteArgs { slot, wait_healthy, force, detach, drain_timeout } = args;
    to(ctx, |_| slot, Options { wait_healthy, force, detach, drain_timeout, ..Options::default() }).await
}

/// Makes the other slot live.
pub(super) async fn rollback(ctx: &Context, options: Options) -> Outcome {
    to(ctx, |status| status.active.other(), options).await
}

async fn to(ctx: &Context, choose: impl Fn(&AppStatus) -> Slot, options: Options) -> Outcome {
    let mut interrupt = interrupt(ctx)?;
    let admin = ctx.admin()?;
    let (app, status) =
        interrupt.unless(ctx.app(&admin)).await.map_err(|end| interrupted_early(ctx, end))??;
    let slot = choose(&status);
    let switch = Switch { ctx, admin: &admin, app: &app, slot, options, interrupt };
    let console = &ctx.console;
    match Box::pin(switch.perform(status)).await? {
        switch::Outcome::Moved(receipt) => {
            console.result(&page(&receipt).render(console.width, console.colour), &receipt)?;
        }
        switch::Outcome::NothingToDo(status) => {
            console.result(&nothing(&app, slot, &status), &unchanged(&app, slot, &status))?;
        }
    }
    Ok(())
}

fn nothing(app: &AppName, slot: Slot, status: &AppStatus) -> String {
    format!(
        "{app}: {slot} is live already and healthy (generation {}); nothing was changed",
        status.generation
    )
}

fn unchanged(app: &AppName, slot: Slot, status: &AppStatus) -> serde_json::Value {
    json!({ "app": app, "to": slot, "generation": status.generation, "already_active": true })
}

/// The receipt for people.
fn page(receipt: &Receipt) -> Page {
    let mut page = Page::default();
    page.line("", Tone::Plain, 0)
        .words(&format!("{}:", receipt.app), Tone::Strong)
        .words(&format!("{} is live,", receipt.to), Tone::Good)
        .words(&format!("generation {},", receipt.generation), Tone::Plain);
    // A reply that was lost takes the time of the swap with it.
    let swapped = if receipt.switch_micros.is_finite() {
        format!("swapped in {}", phrase::duration(receipt.switch_micros / 1e6))
    } else {
        "confirmed by the status, since the proxy's reply was lost".to_owned()
    };
    page.words(&swapped, Tone::Plain);
    let Some(drain) = &receipt.drain else {
        page.line("", Tone::Plain, 2)
            .words(&format!("{} drains in the background", receipt.from), Tone::Plain);
        return page;
    };
    page.line("", Tone::Plain, 2)
        .words(&format!("{} drained in {}", drain.slot, phrase::duration(drain.seconds)), Tone::Plain);
    page.line("  finished", Tone::Faint, 12).words(&phrase::counts(&drain.finished), Tone::Plain);
    let cut = phrase::lengths(&drain.cut);
    let tone = if cut.total() == 0 { Tone::Plain } else { Tone::Warn };
    page.line("  cut", Tone::Faint, 12).words(&phrase::counts(&cut), tone);
    for exchange in Kind::ALL.into_iter().flat_map(|kind| drain.cut.get(kind)) {
        page.line("", Tone::Plain, 12)
            .words(phrase::singular(exchange.kind), Tone::Plain)
            .words(&exchange.route, Tone::Strong)
            .words(&format!("after {}", phrase::duration(exchange.age_seconds)), Tone::Plain);
    }
    page
}
