//! `switcher snapshot restore`: into a fresh database, and with `--swap` into the live one's place.
//!
//! The live one is replaced only after its name was typed, and it stays under another name.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use serde_json::json;
use switcher_config::wire::Mode;

use super::{Outcome, snapshotter, unless_left};
use crate::cli::RestoreArgs;
use crate::code::Code;
use crate::commands::interrupt;
use crate::deploy::operation::Operator;
use crate::deploy::site::Site;
use crate::failure::{Failure, Live};
use crate::interrupt::Interrupt;
use crate::layout::{Page, Tone};
use crate::snapshot::{Restored, Snapshotter, Swapped, restore, swap};

/// Restores.
pub(super) async fn run(site: &Site<'_>, args: RestoreArgs) -> Outcome {
    let with = snapshotter(site).await?;
    if args.swap {
        confirmed(site, &with.url.database, args.yes_replace.as_deref())?;
        advise(site).await;
    }
    let mut heard = interrupt(site.ctx)?;
    if !args.swap {
        let restored = restored(site, &with, &args, &mut heard).await?;
        return told(site, &with, &restored, None);
    }
    let acquired = unless_left(site, &mut heard, site.acquire("restore", args.lock.lock_wait)).await?;
    let lease = acquired?;
    // A deployment that was cut short may still have a migration at work in there.
    let operator = Operator { site, lease: &lease, interrupt: heard.clone(), detach: false };
    let outcome = match Box::pin(operator.recover()).await {
        Ok(_) => swapped(site, &with, &args, &mut heard).await,
        Err(failure) => Err(failure),
    };
    site.end(lease, "restore", outcome).await
}

async fn restored(
    site: &Site<'_>,
    with: &Snapshotter,
    args: &RestoreArgs,
    heard: &mut Interrupt,
) -> Result<Restored, Failure> {
    let reporter = &site.ctx.reporter;
    reporter.waiting(&format!("restoring {} into a fresh database beside {} …", args.id, with.url.label()));
    let work = restore(with, &args.id, args.into.as_deref(), site.now());
    let done = unless_left(site, heard, Box::pin(work)).await;
    reporter.done();
    done?.map_err(|error| site.snapshot_failure(&error))
}

/// Restores, then exchanges the names. From there on nobody is heard: it is a matter of seconds, and all or nothing.
async fn swapped(site: &Site<'_>, with: &Snapshotter, args: &RestoreArgs, heard: &mut Interrupt) -> Outcome {
    let restored = restored(site, with, args, heard).await?;
    site.ctx
        .reporter
        .waiting(&format!("putting {} in the place of {} …", restored.database, with.url.database));
    let swapped = swap(&with.url, &restored.database, site.now()).await;
    site.ctx.reporter.done();
    told(site, with, &restored, Some(swapped.map_err(|error| site.snapshot_failure(&error))?))
}

fn told(site: &Site<'_>, with: &Snapshotter, restored: &Restored, swapped: Option<Swapped>) -> Outcome {
    let console = &site.ctx.console;
    let value = json!({ "app": site.app, "restored": restored, "swapped": swapped });
    console.result(&page(restored, swapped.as_ref()).render(console.width, console.colour), &value)?;
    for warning in &restored.warnings {
        site.ctx.reporter.step(&format!("warning: {warning}"));
    }
    let advice = match &swapped {
        None => format!(
            "{} is as it was; to put the snapshot in its place: {}",
            with.url.database,
            site.ctx.command(&format!("snapshot restore {} --swap", restored.snapshot))
        ),
        Some(Swapped { before: Some(before), .. }) => {
            format!("once nothing of {before} is missed, drop it: dropdb {before}")
        }
        Some(Swapped { before: None, .. }) => return Ok(()),
    };
    site.ctx.reporter.step(&advice);
    Ok(())
}

/// Pure.
fn page(restored: &Restored, swapped: Option<&Swapped>) -> Page {
    let mut page = Page::default();
    let place = swapped.map_or(restored.database.as_str(), |swapped| swapped.live.as_str());
    page.line("", Tone::Plain, 0)
        .words(&format!("{place}:"), Tone::Strong)
        .words(&format!("restored from {}, {} tables", restored.snapshot, restored.tables), Tone::Good);
    if let Some(before) = swapped.and_then(|swapped| swapped.before.as_deref()) {
        page.line("  before", Tone::Faint, 12).words(&format!("kept as {before}"), Tone::Plain);
    }
    page
}

/// Requests that are served meanwhile write into the database that is put away.
async fn advise(site: &Site<'_>) {
    let Ok(status) = site.status().await else { return };
    if status.mode == Mode::Open {
        site.ctx.reporter.step(&format!(
            "{} is open: what it writes from now on stays in the old database; `{}` first keeps visitors out",
            site.app,
            site.ctx.command("stop")
        ));
    }
}

/// Lets nobody replace a database whose name was not typed.
fn confirmed(site: &Site<'_>, live: &str, typed: Option<&str>) -> Result<(), Failure> {
    let unconfirmed = |message: String| {
        let next = format!("{} --yes-replace {live}", site.ctx.again());
        Failure::new(Code::SnapshotUnconfirmed, message, Live::Unchanged, next)
    };
    if let Some(typed) = typed {
        return if typed == live {
            Ok(())
        } else {
            let message = format!("--yes-replace names {typed:?}, and the live database is {live:?}");
            Err(Failure::new(
                Code::SnapshotUnconfirmed,
                message,
                Live::Unchanged,
                site.ctx.command("snapshot list"),
            ))
        };
    }
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    if !stdin.is_terminal() || !stderr.is_terminal() {
        return Err(unconfirmed(format!(
            "the live database {live} would be replaced, and nobody is here to be asked"
        )));
    }
    // A terminal that takes no question gives no answer either.
    let _ = write!(stderr, "The live database is replaced. Type its name, {live}, to go on: ");
    let _ = stderr.flush();
    let mut answer = String::new();
    match stdin.lock().read_line(&mut answer) {
        Ok(_) if answer.trim() == live => Ok(()),
        Ok(_) | Err(_) => Err(unconfirmed(format!("nothing was replaced: the name {live} was not typed"))),
    }
}
