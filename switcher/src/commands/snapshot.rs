//! `switcher snapshot create | list | verify | restore | prune`.
//!
//! What writes takes the lease, so that no deployment is under way meanwhile. Restoring into a fresh database changes
//! nothing that anybody uses, and takes none.

mod list;
mod restore;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::json;
use switcher_config::{Slot, Span};

use super::{Outcome, interrupt, interrupted_early};
use crate::cli::SnapshotCommand;
use crate::code::Code;
use crate::context::Context;
use crate::deploy::site::Site;
use crate::deployment::{DeploymentId, Release, Words};
use crate::failure::{Failure, Live};
use crate::interrupt::{Interrupt, Interrupted};
use crate::layout::Tone;
use crate::phrase;
use crate::snapshot::{Folder, Keep, SnapshotId, Snapshotter, verify, what_to_prune};
use crate::state::record::State;

/// How long snapshots are kept where the configuration does not say it.
const KEEP: Span = Span::seconds(7 * 86_400);

/// Runs the verb.
pub(super) async fn run(ctx: &Context, what: SnapshotCommand) -> Outcome {
    // Asked before the signals are listened to: Ctrl-C at the question ends the process.
    let site = Box::pin(Site::open(ctx)).await?;
    match what {
        SnapshotCommand::Create { lock } => create(&site, lock.lock_wait).await,
        SnapshotCommand::List => list::run(&site, &folder(&site)),
        SnapshotCommand::Verify { id } => verified(&site, id).await,
        SnapshotCommand::Restore(args) => restore::run(&site, args).await,
        SnapshotCommand::Prune { dry_run, lock } => prune(&site, dry_run, lock.lock_wait).await,
    }
}

/// Dumps the database under the lease.
async fn create(site: &Site<'_>, wait: Option<Span>) -> Outcome {
    let mut heard = interrupt(site.ctx)?;
    let early = |end| interrupted_early(site.ctx, end);
    let lease = heard.unless(site.acquire("snapshot", wait)).await.map_err(early)??;
    let words = words(site)?;
    let taken = heard.unless(Box::pin(site.take_snapshot(&words, None))).await;
    let outcome = match taken {
        Ok(Ok(snapshot)) => {
            let mut page = crate::layout::Page::default();
            page.line("", Tone::Plain, 0).words(snapshot.id.as_str(), Tone::Strong).words(
                &format!(
                    "{} of {}, {} tables, {}",
                    list::size(snapshot.size_bytes),
                    snapshot.database,
                    snapshot.tables,
                    folder(site).dump(&snapshot.id).display()
                ),
                Tone::Plain,
            );
            let console = &site.ctx.console;
            console.result(&page.render(console.width, console.colour), &snapshot).map(drop)
        }
        Ok(Err(failure)) => Err(failure),
        Err(end) => Err(left(site, end)),
    };
    site.end(lease, "snapshot", outcome).await
}

/// Reads one snapshot, or all of them, from end to end.
async fn verified(site: &Site<'_>, id: Option<SnapshotId>) -> Outcome {
    let mut heard = interrupt(site.ctx)?;
    let with = snapshotter(site).await?;
    let ids = match id {
        Some(id) => vec![id],
        None => listed(site, &with.folder)?.into_iter().map(|listed| listed.snapshot.id).collect(),
    };
    let mut good = Vec::new();
    for id in ids {
        site.ctx.reporter.waiting(&format!("reading {id} …"));
        let looked = heard.unless(Box::pin(verify(&with.folder, &with.tools, with.timeout, &id))).await;
        let snapshot = looked.map_err(|end| left(site, end))?;
        good.push(snapshot.map_err(|error| site.snapshot_failure(&error))?);
    }
    site.ctx.reporter.done();
    let text = match good.as_slice() {
        [] => "there is no snapshot".to_owned(),
        good => good.iter().map(|snapshot| format!("{}: whole\n", snapshot.id)).collect(),
    };
    site.ctx.console.result(&text, &json!({ "app": site.app, "whole": good })).map(drop)
}

/// Removes what is old and not needed, under the lease; or says what that would be.
async fn prune(site: &Site<'_>, dry_run: bool, wait: Option<Span>) -> Outcome {
    if dry_run {
        let gone = old(site)?;
        return told(site, &gone, 0, "would be removed");
    }
    let mut heard = interrupt(site.ctx)?;
    let early = |end| interrupted_early(site.ctx, end);
    let lease = heard.unless(site.acquire("prune", wait)).await.map_err(early)??;
    let folder = folder(site);
    let removed = old(site).and_then(|gone| {
        let swept = folder.sweep().map_err(|error| site.snapshot_failure(&error))?;
        for id in &gone {
            folder.remove(id).map_err(|error| site.snapshot_failure(&error))?;
        }
        Ok((gone, swept))
    });
    let outcome = removed.and_then(|(gone, swept)| told(site, &gone, swept, "removed"));
    site.end(lease, "prune", outcome).await
}

/// The snapshots that may go now.
fn old(site: &Site<'_>) -> Result<Vec<SnapshotId>, Failure> {
    let state = site.store.read().map_err(|error| site.state_failure(&error))?;
    let snapshots = listed(site, &folder(site))?;
    let age = site.deploy.snapshot.as_ref().map_or(KEEP, |snapshot| snapshot.keep).0;
    let keep = Keep { age, count: usize::from(site.deploy.retain.snapshots) };
    let gone = what_to_prune(&snapshots, keep, &needed(&state), site.now());
    Ok(gone.into_iter().map(|snapshot| snapshot.id.clone()).collect())
}

/// The way back from what is live, and from what is warm beside it. Pure.
fn needed(state: &State) -> BTreeSet<SnapshotId> {
    let records = state.current_deployment.iter().chain(&state.previous_deployment);
    records.filter_map(|record| record.snapshot.as_deref()?.parse().ok()).collect()
}

fn told(site: &Site<'_>, gone: &[SnapshotId], swept: usize, what: &str) -> Outcome {
    let mut text: String = gone.iter().map(|id| format!("{id}: {what}\n")).collect();
    if swept > 0 {
        text.push_str(&format!("{swept} unfinished: removed\n"));
    }
    if text.is_empty() {
        "nothing is old enough to go".clone_into(&mut text);
    }
    let value =
        json!({ "app": site.app, "snapshots": gone, "unfinished": swept, "removed": what == "removed" });
    site.ctx.console.result(&text, &value).map(drop)
}

/// Where the snapshots are.
pub(super) fn folder(site: &Site<'_>) -> Folder {
    Folder::new(site.store.folder().join("snapshots"))
}

fn listed(site: &Site<'_>, folder: &Folder) -> Result<Vec<crate::snapshot::Listed>, Failure> {
    folder.list().map_err(|error| site.snapshot_failure(&error))
}

async fn snapshotter(site: &Site<'_>) -> Result<Snapshotter, Failure> {
    site.snapshotter(&words(site)?).await
}

/// What fills the words of the database's URL: those of what is live.
pub(super) fn words(site: &Site<'_>) -> Result<Words, Failure> {
    let state = site.store.read().map_err(|error| site.state_failure(&error))?;
    Ok(match state.current_deployment {
        Some(record) => site.words_of(&super::promote::release(&record), &record.id, record.active_slot, 0),
        None => {
            let release = Release { version: String::new(), image: None, git_commit: None };
            site.words_of(&release, &DeploymentId::new(Timestamp::now()), Slot::Blue, 0)
        }
    })
}

/// The end of a command that was left: whatever it had begun is gone.
fn left(site: &Site<'_>, Interrupted: Interrupted) -> Failure {
    let message = "interrupted; what was begun is removed again, and the database is as it was";
    Failure::new(Code::InterruptedBefore, message, Live::Unchanged, site.ctx.again())
}

/// Listens from now on, and ends `work` when somebody asks to stop.
async fn unless_left<T>(
    site: &Site<'_>,
    heard: &mut Interrupt,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    heard.unless(work).await.map_err(|end| left(site, end))
}

/// How long ago, for tables.
fn age(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", phrase::since(at, now))
}
