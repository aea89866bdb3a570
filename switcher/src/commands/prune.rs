//! `switcher prune`: removes what no rollback needs any more, and says what, how much, and what had to stay.
//!
//! What goes is decided by `deploy::prune` before the first removal. Each removal may be repeated, so a prune that
//! was cut short is simply begun again.

use serde::Serialize;
use serde_json::json;
use switcher_config::ImageReference;

use super::{Outcome, interrupt, interrupted_early};
use crate::cli::LockArgs;
use crate::code::Code;
use crate::container::Container;
use crate::context::Context;
use crate::deploy::journal::{Entry, replay};
use crate::deploy::operation::Operator;
use crate::deploy::order::Order;
use crate::deploy::prune::{Bounds, OnEngine, Removal, Seen, on_engine, recorded, what_to_prune};
use crate::deploy::site::Site;
use crate::deploy::world::{Trouble, World};
use crate::docker::{DockerErrorKind, Engine};
use crate::failure::{Failure, Live};
use crate::interrupt::Interrupt;
use crate::layout::{Page, Tone};
use crate::phrase;
use crate::snapshot::Folder;
use crate::state::Lease;
use crate::state::record::DeploymentRecord;

/// What became of something that was to go.
#[derive(Debug, Clone, Serialize)]
struct Done {
    #[serde(flatten)]
    removal: Removal,
    #[serde(flatten)]
    fate: Fate,
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Fate {
    /// It would go.
    Planned,
    /// It is gone.
    Removed {
        /// What that gave back.
        freed_bytes: u64,
    },
    /// It stays, and why; that is no error.
    Kept { because: String },
    /// It could not be removed.
    Failed { because: String },
}

/// Prunes, or only says what would go.
pub(super) async fn run(ctx: &Context, dry_run: bool, lock: LockArgs) -> Outcome {
    let mut interrupt = interrupt(ctx)?;
    let early = |end| interrupted_early(ctx, end);
    let site = interrupt.unless(Box::pin(Site::open(ctx))).await.map_err(early)??;
    if dry_run {
        let removals = interrupt.unless(Box::pin(removals(&site))).await.map_err(early)??;
        let planned = |removal| Done { removal, fate: Fate::Planned };
        return tell(&site, &site.notes()?, removals.into_iter().map(planned).collect(), true);
    }
    let acquired = interrupt.unless(site.acquire("prune", lock.lock_wait)).await.map_err(early)?;
    let lease = acquired?;
    let outcome = Box::pin(under(&site, &lease, interrupt)).await;
    site.end(lease, "prune", outcome).await
}

async fn under(site: &Site<'_>, lease: &Lease, interrupt: Interrupt) -> Outcome {
    let operator = Operator { site, lease, interrupt: interrupt.clone(), detach: false };
    let recovered = operator.recover().await?;
    let notes: Vec<String> = recovered.into_iter().map(|recovered| recovered.sentence).collect();
    let removals = Box::pin(removals(site)).await?;
    let (mut done, mut failed) = (Vec::new(), None);
    for removal in removals {
        if interrupt.was_heard() {
            failed.get_or_insert(interrupted(site, &done));
            break;
        }
        // Without the lease somebody else may be at work. Writing is what finds out.
        if let Err(error) = lease.update(|_| {}) {
            failed.get_or_insert(site.lease_failure(&error));
            break;
        }
        site.ctx.reporter.step(&format!("removing {}", what(&removal)));
        let gone = Box::pin(remove(site, lease, &interrupt, &removal)).await;
        let fate = gone.unwrap_or_else(|failure| {
            let because = failure.message.clone();
            failed.get_or_insert(failure);
            Fate::Failed { because }
        });
        done.push(Done { removal, fate });
    }
    site.ctx.reporter.done();
    tell(site, &notes, done, false)?;
    match failed {
        None => Ok(()),
        Some(failure) => Err(Failure { live: site.live().await, ..failure }),
    }
}

fn interrupted(site: &Site<'_>, done: &[Done]) -> Failure {
    let code = if done.is_empty() { Code::InterruptedBefore } else { Code::InterruptedPrune };
    let message = "interrupted between two removals; what is listed is gone, and the rest is where it was";
    Failure::new(code, message, Live::Unchanged, site.ctx.command("prune"))
}

/// What may go now.
async fn removals(site: &Site<'_>) -> Result<Vec<Removal>, Failure> {
    let proxy = site.status().await?;
    let inside = site.runtime()?.running().await.map_err(|error| site.runtime_failure(&error))?;
    let state_failure = |error| site.state_failure(&error);
    let state = site.store.read().map_err(state_failure)?;
    let history = site.store.history().map_err(state_failure)?;
    let folders = site.store.deployment_folders().map_err(state_failure)?;
    let open = open(site)?;
    let snapshots = snapshots(site).list().map_err(|error| site.snapshot_failure(&error))?;
    let (images, one_offs) = match site.engine()? {
        Some(engine) => (images(site, engine, &history).await?, one_offs(site, engine).await?),
        None => (Vec::new(), Vec::new()),
    };
    let seen = Seen {
        state: &state,
        history: &history,
        active: proxy.active,
        standby_dialled: !proxy.slots.get(proxy.active.other()).upstreams.is_empty(),
        canary: proxy.canary.as_ref().is_some_and(|canary| canary.outcome.is_none()),
        inside: &inside,
        one_offs: &one_offs,
        images: &images,
        snapshots: &snapshots,
        folders: &folders,
        open: open.as_ref(),
    };
    let age = site.deploy.snapshot.as_ref().map(|snapshot| snapshot.keep.0);
    Ok(what_to_prune(&seen, Bounds { retain: &site.deploy.retain, snapshots: age, now: site.now() }))
}

/// The operation that was cut short. With the lease there is none left.
fn open(site: &Site<'_>) -> Result<Option<Order>, Failure> {
    let entries = site.store.journal::<Entry>().map_err(|error| site.state_failure(&error))?;
    let told = replay(entries.unwrap_or_default()).map_err(|error| {
        let message =
            format!("the journal in {} cannot be understood: {error}", site.store.folder().display());
        Failure::new(Code::JournalDamaged, message, Live::Unchanged, site.ctx.command("repair"))
    })?;
    Ok(told.map(|told| told.machine.order))
}

fn snapshots(site: &Site<'_>) -> Folder {
    Folder::new(site.store.folder().join("snapshots"))
}

/// The images of the history that lie on the engine.
async fn images(
    site: &Site<'_>,
    engine: &Engine,
    history: &[DeploymentRecord],
) -> Result<Vec<OnEngine>, Failure> {
    let recorded = recorded(history);
    let (mut stored, mut loaded) = (Vec::new(), Vec::new());
    let mut repositories: Vec<ImageReference> = Vec::new();
    for (image, _) in &recorded {
        if !image.contains('@') {
            loaded.extend(engine.image(image).await.map_err(|error| site.docker_failure(&error))?);
        } else if let Ok(image) = image.parse::<ImageReference>()
            && !repositories.iter().any(|known| known.name() == image.name())
        {
            stored.extend(engine.images(&image).await.map_err(|error| site.docker_failure(&error))?);
            repositories.push(image);
        }
    }
    Ok(on_engine(&recorded, &stored, &loaded))
}

/// The migrations and dumps of this application, running or ended.
async fn one_offs(site: &Site<'_>, engine: &Engine) -> Result<Vec<Container>, Failure> {
    let mut found = Vec::new();
    for role in ["migrate", "snapshot"] {
        found.extend(engine.owned(&site.tenant(), role).await.map_err(|error| site.docker_failure(&error))?);
    }
    Ok(found)
}

async fn remove(
    site: &Site<'_>,
    lease: &Lease,
    interrupt: &Interrupt,
    removal: &Removal,
) -> Result<Fate, Failure> {
    let removed = |bytes| Ok(Fate::Removed { freed_bytes: bytes });
    match removal {
        Removal::Standby { slot, deployment, .. } => {
            let mut world = World {
                site,
                lease,
                log: site.log_of(lease, deployment)?,
                interrupt: interrupt.clone(),
                detach: false,
                receipt: None,
                haste: false,
                undoing: false,
            };
            world.cool(*slot).await.map_err(|trouble| not_cooled(site, trouble))?;
            removed(0)
        }
        Removal::OneOff { container, .. } => {
            if let Some(engine) = site.engine()? {
                engine.remove(container).await.map_err(|error| site.docker_failure(&error))?;
            }
            removed(0)
        }
        Removal::Image { image, id, bytes, .. } => match site.engine()? {
            Some(engine) => remove_image(site, engine, (image, id, *bytes)).await,
            None => removed(0),
        },
        Removal::Snapshot { snapshot, bytes, .. } => {
            snapshots(site).remove(snapshot).map_err(|error| site.snapshot_failure(&error))?;
            removed(*bytes)
        }
        Removal::Logs { deployment, bytes } => {
            lease.remove_deployment_folder(deployment).map_err(|error| site.lease_failure(&error))?;
            removed(*bytes)
        }
    }
}

/// Only its own name goes: whoever gave the image another one keeps it, and a container keeps what it runs.
async fn remove_image(
    site: &Site<'_>,
    engine: &Engine,
    (name, id, bytes): (&str, &str, u64),
) -> Result<Fate, Failure> {
    match engine.remove_image(name).await {
        Ok(_) => {
            let there = engine.image(id).await.map_err(|error| site.docker_failure(&error))?;
            Ok(Fate::Removed { freed_bytes: if there.is_some() { 0 } else { bytes } })
        }
        Err(error) if error.kind() == DockerErrorKind::Conflict => {
            Ok(Fate::Kept { because: site.redactor.line(&error.to_string()) })
        }
        Err(error) => Err(site.docker_failure(&error)),
    }
}

fn not_cooled(site: &Site<'_>, trouble: Trouble) -> Failure {
    let (Trouble::Failed(cause) | Trouble::Interrupted(cause) | Trouble::Unknown(cause)) = trouble;
    let code = Code::find(&cause.code).unwrap_or(Code::DeployOpen);
    Failure::new(code, cause.message, Live::Unchanged, site.ctx.command("repair"))
}

/// Something that goes, as it stands in a sentence.
fn what(removal: &Removal) -> String {
    match removal {
        Removal::Standby { slot, version, .. } => format!("{version} from {slot}"),
        Removal::OneOff { container, .. } => format!("the container {container}"),
        Removal::Image { image, version, .. } => format!("the image {image} ({version})"),
        Removal::Snapshot { snapshot, .. } => format!("the snapshot {snapshot}"),
        Removal::Logs { deployment, .. } => format!("journal and log of {deployment}"),
    }
}

fn tell(site: &Site<'_>, notes: &[String], done: Vec<Done>, dry_run: bool) -> Outcome {
    let console = &site.ctx.console;
    let page = page(site.app.as_str(), notes, &done, dry_run);
    let value = json!({
        "app": site.app, "at": site.now(), "dry_run": dry_run, "journal": notes, "bytes": freed(&done),
        "removals": done,
    });
    console.result(&page.render(console.width, console.colour), &value)?;
    Ok(())
}

/// What was given back, or would be.
fn freed(done: &[Done]) -> u64 {
    let bytes = |done: &Done| match &done.fate {
        Fate::Planned => done.removal.bytes(),
        Fate::Removed { freed_bytes } => *freed_bytes,
        Fate::Kept { .. } | Fate::Failed { .. } => 0,
    };
    done.iter().map(bytes).sum()
}

/// Where the text beside the labels begins.
const COLUMN: usize = 12;

/// The result for people. Pure.
fn page(app: &str, notes: &[String], done: &[Done], dry_run: bool) -> Page {
    let mut page = Page::default();
    let gone = done.iter().filter(|done| matches!(done.fate, Fate::Planned | Fate::Removed { .. })).count();
    let things = if gone == 1 { "thing" } else { "things" };
    let words = match (gone, dry_run) {
        (0, true) => "there is nothing to remove".to_owned(),
        (0, false) => "nothing was removed".to_owned(),
        (_, true) => format!("{gone} {things} would be removed, up to {}", phrase::size(freed(done))),
        (_, false) => format!("{gone} {things} removed, {}", phrase::size(freed(done))),
    };
    page.line("", Tone::Plain, 0).words(&format!("{app}:"), Tone::Strong).words(&words, Tone::Good);
    for note in notes {
        page.line("  journal", Tone::Warn, COLUMN).words(note, Tone::Plain);
    }
    for done in done {
        row(&mut page, done);
    }
    page
}

fn row(page: &mut Page, Done { removal, fate }: &Done) {
    let (label, text) = match removal {
        Removal::Standby { slot, deployment, version, warm_until } => (
            "slot",
            format!(
                "{slot}: {version} ({deployment}) was kept warm until {}; stopped, not removed",
                phrase::moment(*warm_until)
            ),
        ),
        Removal::OneOff { container, role } => ("container", format!("{container}, a {role} that had ended")),
        Removal::Image { image, version, .. } => ("image", format!("{version}, {image}")),
        Removal::Snapshot { snapshot, created_at, .. } => {
            ("snapshot", format!("{snapshot} of {}", phrase::moment(*created_at)))
        }
        Removal::Logs { deployment, .. } => {
            ("logs", format!("{deployment} of {}", phrase::moment(deployment.began_at())))
        }
    };
    let line = page.line(&format!("  {label}"), Tone::Faint, COLUMN).words(&text, Tone::Plain);
    let size = |bytes: u64| if bytes == 0 { String::new() } else { format!("({})", phrase::size(bytes)) };
    match fate {
        Fate::Planned => line.words(&size(removal.bytes()), Tone::Faint),
        Fate::Removed { freed_bytes } => line.words(&size(*freed_bytes), Tone::Faint),
        Fate::Kept { because } => line.words(&format!("stays: {because}"), Tone::Warn),
        Fate::Failed { because } => line.words(&format!("was not removed: {because}"), Tone::Bad),
    };
}
