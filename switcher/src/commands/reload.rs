//! `switcher reload`: makes the proxy read its configuration again.

use switcher_config::wire::Reloaded;

use super::Outcome;
use crate::context::Context;
use crate::failure::Live;
use crate::layout::{Page, Tone};

/// Asks once, and once more when the reply is lost: reading a file twice does no harm.
pub(super) async fn run(ctx: &Context) -> Outcome {
    let admin = ctx.admin()?;
    let reloaded = match admin.reload().await {
        Err(error) if error.outcome_unknown() => {
            ctx.reporter.step("the reply was lost: asking once more");
            admin.reload().await
        }
        outcome => outcome,
    };
    let reloaded = reloaded.map_err(|error| ctx.diagnose(&admin, error, None, Live::Unchanged))?;
    ctx.console.result(&page(&reloaded).render(ctx.console.width, ctx.console.colour), &reloaded).map(drop)
}

fn page(reloaded: &Reloaded) -> Page {
    let mut page = Page::default();
    if reloaded.changes.is_empty() {
        page.line("", Tone::Plain, 0).words("the configuration was read again; nothing changed", Tone::Plain);
    } else {
        page.line("", Tone::Plain, 0).words("the configuration was read again:", Tone::Good);
    }
    for change in &reloaded.changes {
        page.line("", Tone::Plain, 2).words(change, Tone::Plain);
    }
    if !reloaded.needs_restart.is_empty() {
        page.line("", Tone::Plain, 0).words("not before a restart or an upgrade of the proxy:", Tone::Warn);
    }
    for change in &reloaded.needs_restart {
        page.line("", Tone::Plain, 2).words(change, Tone::Plain);
    }
    page
}
