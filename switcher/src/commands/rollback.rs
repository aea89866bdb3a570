//! `switcher rollback`: traffic goes back, at once to a warm slot, else by starting an earlier release again.
//!
//! For an application that is not deployed by us it is a plain switch to the other slot.

use jiff::Timestamp;
use serde_json::json;
use switcher_config::PerSlot;
use switcher_config::wire::{AppStatus, Health};

use super::deploy::finish;
use super::promote::{self, Way};
use super::{Outcome, interrupt, interrupted_early};
use crate::cli::RollbackArgs;
use crate::code::Code;
use crate::context::Context;
use crate::deploy::operation::Operator;
use crate::deploy::order::{Choices, Order, Purpose, stages};
use crate::deploy::plan::{self, plan};
use crate::deploy::rollback::{Choice, Seen, choose};
use crate::deploy::site::Site;
use crate::deployment::DeploymentId;
use crate::failure::{Failure, Live};
use crate::interrupt::Interrupt;
use crate::state::record::{DeploymentRecord, State};
use crate::state::{Lease, Owner};
use crate::switch::Options;

/// Moves traffic back.
pub(super) async fn run(ctx: &Context, args: RollbackArgs) -> Outcome {
    match promote::way(ctx)? {
        Way::Plain if args.to.is_some() || args.dry_run => Err(not_deployed(ctx)),
        Way::Plain => {
            let options = Options {
                force: args.force,
                detach: args.detach,
                drain_timeout: args.drain_timeout,
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
    let acquired = interrupt.unless(site.acquire("rollback", args.lock.lock_wait)).await.map_err(early)?;
    let lease = acquired?;
    let outcome = Box::pin(under(&site, &lease, &args, interrupt)).await;
    site.end(lease, "rollback", outcome)
}

async fn under(site: &Site<'_>, lease: &Lease, args: &RollbackArgs, interrupt: Interrupt) -> Outcome {
    let operator = Operator { site, lease, interrupt, detach: args.detach };
    let recovered = operator.recover().await?;
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
    let warm = warm(site, &state, &status, args.force).await;
    let seen = Seen { state: &state, history: &history, active: status.active, warm };
    let (purpose, target) = match choose(&seen, args.to.as_ref(), args.force) {
        Choice::Warm(target) => (Purpose::Rollback, target),
        Choice::Cold(target) => (Purpose::Redeploy, target),
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
        force: args.force,
        bake: None,
        stages: stages(purpose, &site.deploy, Choices { no_pull, ..Choices::default() }),
    }
}

/// The deployments that could serve at once: running, known to the proxy, and healthy there (unless forced).
async fn warm(
    site: &Site<'_>,
    state: &State,
    status: &AppStatus,
    force: bool,
) -> PerSlot<Option<DeploymentId>> {
    let standby = status.active.other();
    let seen = status.slots.get(standby);
    let serves = !seen.upstreams.is_empty() && (force || seen.health == Health::Healthy);
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
        Choice::NothingBefore => (
            Code::RollbackNothing,
            format!("the live deployment of {app} is its first, so there is nothing to go back to"),
            ctx.command("history"),
        ),
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
        Choice::Incompatible { target, by } => {
            let restore = match &by.snapshot {
                Some(snapshot) => format!(
                    "restore the database first (`{}`)",
                    ctx.command(&format!("snapshot restore {snapshot}"))
                ),
                None => "restore the database first".to_owned(),
            };
            (
                Code::RollbackIncompatible,
                format!(
                    "the migrations of {} ({}) do not suit {}: {restore}, or go back all the same with --force",
                    by.version, by.id, target.version
                ),
                ctx.command("snapshot list"),
            )
        }
        Choice::Warm(target) | Choice::Cold(target) | Choice::Live(target) => (
            Code::RollbackUnknown,
            format!("{} cannot be gone back to", target.version),
            ctx.command("history"),
        ),
    };
    Failure::new(code, message, live, next)
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
