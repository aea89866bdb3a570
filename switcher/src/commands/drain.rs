//! `switcher drain SLOT [--watch]`: what is still inside a slot, oldest first.

use std::time::Duration;

use switcher_config::wire::{ByKind, Exchange, InFlight};
use switcher_config::{AppName, Slot};
use tokio::time::sleep;

use super::{Outcome, interrupt, watched};
use crate::console::Reader;
use crate::context::Context;
use crate::failure::Live;
use crate::layout::{Page, Tone};
use crate::phrase;

/// Between two looks of a watch.
const LOOK: Duration = Duration::from_secs(1);

/// Shows it once, or until the slot is a standby and empty.
pub(super) async fn run(ctx: &Context, slot: Slot, watch: bool) -> Outcome {
    let admin = ctx.admin()?;
    let mut interrupt = interrupt(ctx)?;
    let (app, status) = interrupt.unless(ctx.app(&admin)).await.map_err(|end| watched(ctx, end))??;
    loop {
        let looked = interrupt.unless(admin.in_flight(&app, slot)).await;
        let inside = looked
            .map_err(|end| watched(ctx, end))?
            .map_err(|error| ctx.diagnose(&admin, error, Some(&app), Live::of(&app, &status)))?;
        let text = page(&app, &inside).render(ctx.console.width, ctx.console.colour);
        if !watch {
            return ctx.console.result(&text, &inside).map(drop);
        }
        let over = !inside.live && inside.exchanges.is_empty();
        if ctx.console.frame(&text, &inside)? == Reader::Gone || over {
            return Ok(());
        }
        interrupt.unless(sleep(LOOK)).await.map_err(|end| watched(ctx, end))?;
    }
}

/// A headline, then a line for each exchange.
fn page(app: &AppName, inside: &InFlight) -> Page {
    let mut page = Page::default();
    let counts = inside.exchanges.iter().fold(ByKind::default(), |mut counts: ByKind<u64>, exchange| {
        *counts.get_mut(exchange.kind) += 1;
        counts
    });
    let (state, tone) = if inside.live { ("live", Tone::Good) } else { ("standby", Tone::Plain) };
    page.line("", Tone::Plain, 0)
        .words(&format!("{app} {}", inside.slot), Tone::Strong)
        .words(&format!("({state}):"), tone)
        .words(&format!("{} inside", phrase::counts(&counts)), Tone::Plain);
    for exchange in &inside.exchanges {
        line(&mut page, exchange);
    }
    page
}

/// `  31 s      websocket GET /ws  01JC…`.
fn line(page: &mut Page, exchange: &Exchange) {
    let age = phrase::duration(exchange.age_seconds);
    page.line(&format!("  {age:<9} {:<9}", phrase::singular(exchange.kind)), Tone::Plain, 23)
        .words(&exchange.route, Tone::Strong)
        .words(&exchange.request_id, Tone::Faint);
}
