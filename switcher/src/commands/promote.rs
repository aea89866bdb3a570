//! `switcher promote SLOT`: a switch. For an application that is deployed by us it also becomes history.

use jiff::Timestamp;
use serde_json::json;
use switcher_config::wire::{AppStatus, DrainReceipt, Kind, Receipt};
use switcher_config::{AppName, PerSlot, Slot};

use super::deploy::finish;
use super::{Outcome, interrupt, interrupted_early};
use crate::cli::PromoteArgs;
use crate::code::Code;
use crate::configuration;
use crate::context::Context;
use crate::deploy::canary::CanaryOrder;
use crate::deploy::operation::Operator;
use crate::deploy::order::{Choices, Order, Purpose, Stage, stages};
use crate::deploy::record;
use crate::deploy::rollback::{Seen, in_the_way};
use crate::deploy::site::{self, Site};
use crate::deploy::world::verify::askable;
use crate::deployment::{DeploymentId, PinnedImage, Release};
use crate::failure::{Failure, Live};
use crate::interrupt::Interrupt;
use crate::layout::{Page, Tone};
use crate::phrase;
use crate::state::record::{DeploymentRecord, State, Status};
use crate::state::{Lease, Owner};
use crate::switch::{self, Options, Switch};

/// Whose business the slots of an application are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Somebody else fills them: a switch is a switch.
    Plain,
    /// We deploy into them: a switch is taken under the lease and recorded.
    Deployed,
}

/// Finds out by the configuration. Traffic can be moved although the file is being edited.
pub(super) fn way(ctx: &Context) -> Result<Way, Failure> {
    let next = format!("{} --admin /run/switcher/admin.sock", ctx.again());
    let loaded = match configuration::load(ctx, &next) {
        Ok(loaded) => loaded,
        Err(_) if ctx.named_admin().is_some() => return Ok(Way::Plain),
        Err(failure) => return Err(failure),
    };
    let one_is_deployed =
        loaded.settings.apps.iter().any(|(name, app)| {
            app.deploy.is_some() && ctx.global.app.as_ref().is_none_or(|named| named == name)
        });
    let several = ctx.global.app.is_none() && loaded.settings.apps.len() > 1;
    // Which of several is meant is the proxy's question, and its answer names them.
    if !one_is_deployed || several {
        return Ok(Way::Plain);
    }
    site::described(ctx, &loaded.settings).map(|_| Way::Deployed)
}

/// Makes the named slot live.
pub(super) async fn promote(ctx: &Context, args: PromoteArgs) -> Outcome {
    if !args.unrecorded && way(ctx)? == Way::Deployed {
        return Box::pin(deployed(ctx, args)).await;
    }
    let slot = args.slot;
    to(ctx, |_| slot, options(&args)).await
}

fn options(args: &PromoteArgs) -> Options {
    Options {
        wait_healthy: args.wait_healthy,
        force: args.force,
        detach: args.detach,
        drain_timeout: args.drain_timeout,
        ..Options::default()
    }
}

async fn deployed(ctx: &Context, args: PromoteArgs) -> Outcome {
    let mut interrupt = interrupt(ctx)?;
    let early = |end| interrupted_early(ctx, end);
    let site = interrupt.unless(Box::pin(Site::open(ctx))).await.map_err(early)??;
    let acquired = interrupt.unless(site.acquire("promote", args.lock.lock_wait)).await.map_err(early)?;
    let lease = acquired?;
    let outcome = Box::pin(under(&site, &lease, &args, interrupt)).await;
    site.end(lease, "promote", outcome).await
}

async fn under(site: &Site<'_>, lease: &Lease, args: &PromoteArgs, interrupt: Interrupt) -> Outcome {
    let operator = Operator { site, lease, interrupt: interrupt.clone(), detach: args.detach };
    let recovered = operator.recover().await?;
    let state = site.store.read().map_err(|error| site.state_failure(&error))?;
    let status = site.status().await?;
    let waiting = site.waiting_in(&state, &status, args.slot).await;
    let known = waiting.as_ref().and_then(|id| record::find(&state, id));
    match known.filter(|_| status.active != args.slot) {
        Some(target) => {
            suits(site, &state, &status, target, args.force).await?;
            let order = order(site, args, target, &status);
            askable(site, &order)?;
            let finished = operator.begin(order).await?;
            finish(site, finished, recovered.map(|recovered| recovered.sentence)).await
        }
        // Nothing that we know of is in there; the switch itself is no less safe, and no less fenced.
        None => {
            let options = Options { fence: Some(site.fence(lease)), ..options(args) };
            let switch = Switch {
                ctx: site.ctx,
                admin: &site.admin,
                app: &site.app,
                slot: args.slot,
                options,
                interrupt,
            };
            let release = status.slots.get(args.slot).release.clone();
            let outcome = Box::pin(switch.perform(status)).await?;
            if let switch::Outcome::Moved(receipt) = &outcome {
                adopted(site, lease, receipt, release)?;
            }
            told(site.ctx, &site.app, args.slot, outcome)
        }
    }
}

/// An older release is not put on a schema that it cannot run on, by whichever verb.
async fn suits(
    site: &Site<'_>,
    state: &State,
    status: &AppStatus,
    target: &DeploymentRecord,
    force: bool,
) -> Outcome {
    if force {
        return Ok(());
    }
    let history = site.store.history().map_err(|error| site.state_failure(&error))?;
    let seen = Seen {
        state,
        history: &history,
        active: status.active,
        warm: PerSlot::from_fn(|_| None),
        schema: super::rollback::schema(site, state).await,
    };
    match in_the_way(&seen, target) {
        Some(by) => Err(super::rollback::incompatible(site, target, by, status)),
        None => Ok(()),
    }
}

/// Traffic went to something that we never deployed: the state says so, and what was live before stays known.
fn adopted(site: &Site<'_>, lease: &Lease, receipt: &Receipt, release: Option<String>) -> Outcome {
    let (id, version) =
        (DeploymentId::new(receipt.switched_at), release.unwrap_or_else(|| "unknown".to_owned()));
    let by = Owner::here("promote", None).by;
    let record = DeploymentRecord {
        status: Status::Active,
        generation: Some(receipt.generation.get()),
        warnings: vec!["promoted by hand: nobody deployed it with this state".to_owned()],
        ..DeploymentRecord::begun(id, version, receipt.to, by, receipt.switched_at)
    };
    let written = lease.update(|state| state.supersede(&record));
    written.and_then(|()| lease.record(&record)).map_err(|error| site.lease_failure(&error))
}

/// What it takes to make a slot live by a canary that this command leads to its end.
pub(super) async fn by_canary(
    site: &Site<'_>,
    args: &PromoteArgs,
    status: &AppStatus,
    canary: CanaryOrder,
) -> Result<Order, Failure> {
    let state = site.store.read().map_err(|error| site.state_failure(&error))?;
    let waiting = site.waiting_in(&state, status, args.slot).await;
    let Some(target) = waiting.as_ref().and_then(|id| record::find(&state, id)) else {
        let message = format!(
            "nothing that `switcher deploy` brought up waits in {}, so its switch could not be recorded; leave `--then \
             promote` out, and promote the slot after the last step",
            args.slot
        );
        let next = site.ctx.command("canary --help");
        return Err(Failure::new(Code::Usage, message, Live::of(&site.app, status), next));
    };
    suits(site, &state, status, target, args.force).await?;
    let order = order(site, args, target, status).by_canary(canary);
    askable(site, &order)?;
    Ok(order)
}

fn order(site: &Site<'_>, args: &PromoteArgs, target: &DeploymentRecord, status: &AppStatus) -> Order {
    let now = Timestamp::now();
    let choices = Choices { skip_verify: args.skip_verify, ..Choices::default() };
    let mut stages = stages(Purpose::Promote, &site.deploy, choices);
    stages.retain(|stage| !(args.force && matches!(stage, Stage::Probe | Stage::Smoke)));
    Order {
        id: DeploymentId::new(now),
        purpose: Purpose::Promote,
        app: site.app.clone(),
        environment: site.environment_name.clone(),
        waiting: Some(target.id.clone()),
        release: release(target),
        slot: args.slot,
        seen: status.generation,
        began_at: now,
        by: Owner::here("promote", None).by,
        keep_previous: site.deploy.keep_previous,
        compatible: target.compatible,
        patience: Some(args.wait_healthy.unwrap_or_default()),
        drain: args.drain_timeout,
        force: args.force,
        canary: None,
        bake: Choices::default().bake(Purpose::Promote, &site.deploy),
        stages,
    }
}

/// The release of a record.
pub(super) fn release(target: &DeploymentRecord) -> Release {
    let image = target.image.parse().ok().map(|asked| PinnedImage {
        asked,
        pinned: target.image.clone(),
        platform: target.platform.clone(),
    });
    let git_commit = Some(target.git_commit.clone()).filter(|commit| !commit.is_empty());
    Release { version: target.version.clone(), image, git_commit }
}

/// Makes the other slot live.
pub(super) async fn back(ctx: &Context, options: Options) -> Outcome {
    to(ctx, |status| status.active.other(), options).await
}

async fn to(ctx: &Context, choose: impl Fn(&AppStatus) -> Slot, options: Options) -> Outcome {
    let mut interrupt = interrupt(ctx)?;
    let admin = ctx.admin()?;
    let (app, status) =
        interrupt.unless(ctx.app(&admin)).await.map_err(|end| interrupted_early(ctx, end))??;
    let slot = choose(&status);
    let switch = Switch { ctx, admin: &admin, app: &app, slot, options, interrupt };
    told(ctx, &app, slot, Box::pin(switch.perform(status)).await?)
}

/// What is said of a switch.
fn told(ctx: &Context, app: &AppName, slot: Slot, outcome: switch::Outcome) -> Outcome {
    let console = &ctx.console;
    match outcome {
        switch::Outcome::Moved(receipt) => {
            console.result(&page(&receipt).render(console.width, console.colour), &receipt)?;
        }
        switch::Outcome::NothingToDo(status) => {
            console.result(&nothing(app, slot, &status), &unchanged(app, slot, &status))?;
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
    drained(&mut page, drain);
    page
}

/// How a slot emptied.
pub(super) fn drained(page: &mut Page, drain: &DrainReceipt) {
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
}
