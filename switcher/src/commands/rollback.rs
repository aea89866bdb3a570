//! `switcher rollback`: traffic goes back, at once to a warm slot, else by starting an earlier release again.
//!
//! For an application that is not deployed by us it is a plain switch to the other slot.

use jiff::Timestamp;
use serde_json::json;
use switcher_config::settings::Drain;
use switcher_config::wire::{AppStatus, Health};
use switcher_config::{PerSlot, Span};

use super::deploy::finish;
use super::promote::{self, Way};
use super::{Outcome, interrupt, interrupted_early};
use crate::cli::RollbackArgs;
use crate::code::Code;
use crate::context::Context;
use crate::deploy::journal::{Entry, replay};
use crate::deploy::machine::Effect;
use crate::deploy::operation::Operator;
use crate::deploy::order::{Choices, Order, Purpose, Stage, stages};
use crate::deploy::plan::{self, plan};
use crate::deploy::record::find;
use crate::deploy::rollback::{Choice, Seen, choose};
use crate::deploy::site::Site;
use crate::deployment::DeploymentId;
use crate::failure::{Failure, Live};
use crate::interrupt::Interrupt;
use crate::state::record::{DeploymentRecord, State, Status};
use crate::state::{Lease, Owner};
use crate::switch::Options;

/// How long a deployment that was asked to end may take to write down what is live.
const HURRY: Span = Span::seconds(15);

/// Moves traffic back.
pub(super) async fn run(ctx: &Context, args: RollbackArgs) -> Outcome {
    match promote::way(ctx)? {
        Way::Plain if args.to.is_some() || args.dry_run => Err(not_deployed(ctx)),
        Way::Plain => {
            let options = Options {
                force: args.force,
                detach: args.detach,
                drain_timeout: args.drain_timeout,
                at_once: true,
                ..Options::default()
            };
            promote::back(ctx, options).await
        }
        Way::Deployed => Box::pin(deployed(ctx, args)).await,
    }
}

async fn deployed(ctx: &Context, args: RollbackArgs) -> Outcome {
    let mut interrupt = interrupt(ctx)?;
    let early = |end| interrupted_early(ctx, end);
    let site = interrupt.unless(Box::pin(Site::open(ctx))).await.map_err(early)??;
    if args.dry_run {
        return interrupt.unless(Box::pin(dry_run(&site, &args))).await.map_err(early)?;
    }
    let hurried = hurry(&site)?;
    let wait = match &hurried {
        Hurried::Nobody => args.lock.lock_wait,
        Hurried::Waiting => args.lock.lock_wait.max(Some(HURRY)),
        Hurried::Canary(_) => args.lock.lock_wait.max(Some(empties(&site.settings.drain))),
    };
    let acquired = interrupt.unless(site.acquire("rollback", wait)).await.map_err(early)?;
    let lease = acquired?;
    let outcome = Box::pin(under(&site, &lease, &args, &hurried, interrupt)).await;
    site.end(lease, "rollback", outcome).await
}

async fn under(
    site: &Site<'_>,
    lease: &Lease,
    args: &RollbackArgs,
    hurried: &Hurried,
    interrupt: Interrupt,
) -> Outcome {
    let taken_back = canary_ended(site, hurried)?;
    // Whoever goes back waits for nobody who is still inside the slot that was left.
    let hasty = Operator { site, lease, interrupt: interrupt.clone(), detach: true };
    let recovered = hasty.recover_in_haste().await?;
    // What was to be gone back from has gone already: nobody wants to lose another version over it.
    let went_back = recovered.as_ref().is_some_and(|recovered| recovered.went_back);
    if args.to.is_none() && (went_back || taken_back) {
        let state = site.store.read().map_err(|error| site.state_failure(&error))?;
        if let Some(live) = state.current_deployment {
            return nothing(site, &live);
        }
    }
    let operator = Operator { detach: args.detach, ..hasty };
    let (order, target) = match order(site, args).await? {
        Wish::Go(order, target) => (order, target),
        Wish::Done(target) => return nothing(site, &target),
    };
    if order.purpose == Purpose::Redeploy {
        site.environment()?;
        let text = format!("{} is not warm any more: it is started again", target.version);
        site.ctx.reporter.step(&text);
    }
    let finished = operator.begin(*order).await?;
    finish(site, finished, recovered.map(|recovered| recovered.sentence)).await
}

/// What a wish to go back comes to.
enum Wish {
    Go(Box<Order>, Box<DeploymentRecord>),
    Done(Box<DeploymentRecord>),
}

async fn order(site: &Site<'_>, args: &RollbackArgs) -> Result<Wish, Failure> {
    let state = site.store.read().map_err(|error| site.state_failure(&error))?;
    let history = site.store.history().map_err(|error| site.state_failure(&error))?;
    let status = site.status().await?;
    let warm = warm(site, &state, &status).await;
    let schema = schema(site, &state).await;
    let seen = Seen { state: &state, history: &history, active: status.active, warm, schema };
    let (purpose, target) = match choose(&seen, args.to.as_ref(), args.force) {
        Choice::Warm(target) => (Purpose::Rollback, target),
        Choice::Cold(target) => {
            site.without_canary(&status)?;
            (Purpose::Redeploy, target)
        }
        Choice::Live(target) => return Ok(Wish::Done(target)),
        refusal @ (Choice::NothingDeployed
        | Choice::NothingBefore
        | Choice::Unknown
        | Choice::NeverLive(_)
        | Choice::Incompatible { .. }) => return Err(refused(site, &refusal, args, &status)),
    };
    Ok(Wish::Go(Box::new(of_target(site, args, purpose, &target, &status)), target))
}

fn of_target(
    site: &Site<'_>,
    args: &RollbackArgs,
    purpose: Purpose,
    target: &DeploymentRecord,
    status: &AppStatus,
) -> Order {
    let now = Timestamp::now();
    let no_pull = !target.image.contains('@');
    Order {
        id: DeploymentId::new(now),
        purpose,
        app: site.app.clone(),
        environment: site.environment_name.clone(),
        waiting: Some(target.id.clone()).filter(|_| purpose == Purpose::Rollback),
        release: promote::release(target),
        slot: status.active.other(),
        seen: status.generation,
        began_at: now,
        by: Owner::here("rollback", None).by,
        keep_previous: site.deploy.keep_previous,
        compatible: true,
        patience: None,
        drain: args.drain_timeout,
        force: false,
        canary: None,
        bake: None,
        stages: stages(
            purpose,
            &site.deploy,
            Choices { no_pull, skip_verify: args.skip_verify, ..Choices::default() },
        ),
    }
}

/// Whom a wish to go back has asked to end.
#[derive(Debug, PartialEq, Eq)]
enum Hurried {
    /// Nobody.
    Nobody,
    /// A deployment that has moved traffic and only waits.
    Waiting,
    /// A deployment that leads a canary.
    Canary(DeploymentId),
}

/// Asks a deployment on this machine to end now that only waits (for its drain, for its public address, or for those who
/// are told of it), or that leads a canary. Whoever goes back waits for none of them. Ended like this it records what is
/// live.
fn hurry(site: &Site<'_>) -> Result<Hurried, Failure> {
    let state = site.store.read().map_err(|error| site.state_failure(&error))?;
    let Some(pid) = site.store.owner_here(&state.lock).and_then(rustix::process::Pid::from_raw) else {
        return Ok(Hurried::Nobody);
    };
    let entries = site.store.journal::<Entry>().map_err(|error| site.state_failure(&error))?;
    let told = replay(entries.unwrap_or_default()).ok().flatten();
    let (hurried, what) = match told.map(|told| told.machine) {
        Some(machine) if machine.has_moved() => {
            let waits = matches!(machine.stage(), Stage::Verify | Stage::Drain) || machine.is_done();
            (if waits { Hurried::Waiting } else { Hurried::Nobody }, "only waits")
        }
        Some(machine) if machine.effect() == Some(Effect::Stage { stage: Stage::Canary }) => {
            (Hurried::Canary(machine.order.id), "leads a canary")
        }
        Some(_) | None => (Hurried::Nobody, ""),
    };
    let asks = hurried != Hurried::Nobody;
    if !asks || rustix::process::kill_process(pid, rustix::process::Signal::INT).is_err() {
        return Ok(Hurried::Nobody);
    }
    let text = format!("{} {what}: it is asked to end", state.lock.sentence());
    site.ctx.reporter.step(&text);
    Ok(hurried)
}

/// Whether a deployment that was asked to end took its canary back, and not switched before it heard of it.
fn canary_ended(site: &Site<'_>, hurried: &Hurried) -> Result<bool, Failure> {
    let Hurried::Canary(id) = hurried else { return Ok(false) };
    let state = site.store.read().map_err(|error| site.state_failure(&error))?;
    Ok(find(&state, id).is_some_and(|record| record.status == Status::Failed))
}

/// How long a slot takes at most until nobody is inside, with time to write that down.
fn empties(drain: &Drain) -> Span {
    let longest =
        drain.requests.max(drain.uploads).max(drain.streams).max(drain.websockets).max(drain.connections);
    Span(longest.0 + drain.spread.0 + HURRY.0)
}

/// The schema's version now. None where migrations are nobody's business, or where it cannot be read.
pub(super) async fn schema(site: &Site<'_>, state: &State) -> Option<String> {
    let current = state.current_deployment.as_ref()?;
    let words = site.words_of(&promote::release(current), &current.id, current.active_slot, 0);
    site.schema(&words).await.ok()?.ok()??.version
}

/// The deployments that could serve at once: running, known to the proxy, and healthy there. `--force` is about the
/// schema: what is ill is started again.
async fn warm(site: &Site<'_>, state: &State, status: &AppStatus) -> PerSlot<Option<DeploymentId>> {
    let standby = status.active.other();
    let seen = status.slots.get(standby);
    let serves = !seen.upstreams.is_empty() && seen.health == Health::Healthy;
    let id = site.waiting_in(state, status, standby).await;
    PerSlot::from_fn(|slot| id.clone().filter(|_| slot == standby && serves))
}

/// Each reason not to go back is its own answer.
fn refused(site: &Site<'_>, choice: &Choice, args: &RollbackArgs, status: &AppStatus) -> Failure {
    let (ctx, app) = (site.ctx, &site.app);
    let live = Live::of(app, status);
    let wanted = args.to.as_ref().map(ToString::to_string).unwrap_or_default();
    let (code, message, next) = match choice {
        Choice::NothingDeployed => (
            Code::RollbackNothing,
            format!(
                "nothing of {app} was ever deployed in {}, so there is nothing to go back to",
                site.environment_name
            ),
            ctx.command("deploy IMAGE"),
        ),
        Choice::NothingBefore => nothing_before(site, status),
        Choice::Unknown => (
            Code::RollbackUnknown,
            format!("there is no deployment {wanted} of {app} in {}", site.environment_name),
            ctx.command("history"),
        ),
        Choice::NeverLive(target) => (
            Code::RollbackUnknown,
            format!("{} ({}) never served, so going back to it is no way back", target.id, target.version),
            ctx.command("history"),
        ),
        Choice::Incompatible { target, by } => return incompatible(site, target, by, status),
        Choice::Warm(target) | Choice::Cold(target) | Choice::Live(target) => (
            Code::RollbackUnknown,
            format!("{} cannot be gone back to", target.version),
            ctx.command("history"),
        ),
    };
    Failure::new(code, message, live, next)
}

/// Why an older release is not gone back to, and the ways there are.
pub(super) fn incompatible(
    site: &Site<'_>,
    target: &DeploymentRecord,
    by: &DeploymentRecord,
    status: &AppStatus,
) -> Failure {
    let ctx = site.ctx;
    let restore = match &by.snapshot {
        Some(snapshot) => {
            format!("restore the database first (`{}`)", ctx.command(&format!("snapshot restore {snapshot}")))
        }
        None => "restore the database first".to_owned(),
    };
    let message = format!(
        "the migrations of {} ({}) do not suit {}: {restore}, or go back all the same with --force",
        by.version, by.id, target.version
    );
    let live = Live::of(&site.app, status);
    Failure::new(Code::RollbackIncompatible, message, live, ctx.command("snapshot list"))
}

/// Before the first deployment there may have been something that is not ours, and it may still run.
fn nothing_before(site: &Site<'_>, status: &AppStatus) -> (Code, String, String) {
    let (app, standby) = (&site.app, status.active.other());
    let first = format!("the live deployment of {app} is its first, so there is nothing to go back to");
    if status.slots.get(standby).health == Health::Healthy {
        let message = format!("{first}; what is in {standby} is healthy and not of ours");
        return (Code::RollbackNothing, message, site.ctx.command(&format!("promote {standby}")));
    }
    (Code::RollbackNothing, first, site.ctx.command("history"))
}

fn nothing(site: &Site<'_>, target: &DeploymentRecord) -> Outcome {
    let text =
        format!("{}: {} ({}) is live already; nothing was changed", site.app, target.version, target.id);
    site.ctx
        .console
        .result(&text, &json!({ "app": site.app, "deployment": target, "already_active": true }))?;
    Ok(())
}

async fn dry_run(site: &Site<'_>, args: &RollbackArgs) -> Outcome {
    let ctx = site.ctx;
    let status = site.status().await?;
    let order = match order(site, args).await? {
        Wish::Go(order, _) => order,
        Wish::Done(target) => return nothing(site, &target),
    };
    let released = |slot| status.slots.get(slot).release.clone();
    let releases = [released(status.active), released(order.slot)];
    let plan = plan(&order, &site.deploy, releases, site.notes()?).redacted(&site.redactor);
    let page = plan::page(&plan);
    ctx.console.result(&page.render(ctx.console.width, ctx.console.colour), &json!({ "plan": plan }))?;
    Ok(())
}

fn not_deployed(ctx: &Context) -> Failure {
    let message =
        "--to and --dry-run need the history of deployments, and this application has no `deploy` section";
    Failure::new(Code::DeployNone, message, Live::Unchanged, ctx.command("rollback"))
}
