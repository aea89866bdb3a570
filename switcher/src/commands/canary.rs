//! `switcher canary`: a part of the clients goes to the other slot first; shows it, moves it, takes it back.
//!
//! For an application that is deployed by us it is begun under the lease, like a switch. Taking clients back needs none.

use serde::Serialize;
use serde_json::json;
use switcher_config::settings::DeploySettings;
use switcher_config::wire::{
    AppStatus, Canary, CanaryAbortRequest, CanaryChanged, CanaryRequest, CanarySteps, CanaryThen,
    DrainReceipt, Fence,
};
use switcher_config::{AppName, BakeLimits, Generation, Slot, Span};

use super::deploy::finish;
use super::promote::{Way, by_canary, drained, way};
use super::{Outcome, interrupt, interrupted_early};
use crate::admin::Admin;
use crate::aftermath;
use crate::cli::{CanaryArgs, CanaryTarget, PromoteArgs};
use crate::code::Code;
use crate::context::Context;
use crate::decide::{Decision, decide};
use crate::deploy::canary::{CanaryOrder, Who};
use crate::deploy::operation::Operator;
use crate::deploy::order::Order;
use crate::deploy::site::Site;
use crate::failure::{Failure, Live};
use crate::interrupt::{Interrupt, Interrupted};
use crate::layout::{Page, Tone};
use crate::mutation::{Mutation, Settled, confirmed_late, patiently};
use crate::phrase;
use crate::state::Lease;

/// How long a step is waited for beyond its time where `deploy.canary` says nothing.
const HOLD: Span = Span::seconds(3600);

/// Shows it, begins or moves it, or takes it back.
pub(super) async fn run(ctx: &Context, args: CanaryArgs) -> Outcome {
    match args.target {
        None => show(ctx).await,
        Some(CanaryTarget::Abort) => abort(ctx, &args).await,
        Some(CanaryTarget::Slot(slot)) => {
            let request = request(ctx, slot, &args)?;
            if way(ctx)? == Way::Deployed {
                return Box::pin(deployed(ctx, request, &args)).await;
            }
            let admin = ctx.admin()?;
            let (app, status) = ctx.app(&admin).await?;
            go(ctx, &admin, &app, &status, request).await
        }
    }
}

/// What the proxy is asked for, expecting nothing yet.
fn request(ctx: &Context, slot: Slot, args: &CanaryArgs) -> Result<CanaryRequest, Failure> {
    let some = |list: &Vec<_>| Some(list.clone()).filter(|list| !list.is_empty());
    let clients = Some(args.clients.clone()).filter(|list| !list.is_empty());
    let request = CanaryRequest {
        share: args.share,
        by: args.by.clone(),
        headers: some(&args.headers),
        cookies: some(&args.cookies),
        clients,
        steps: args.every.filter(|_| !args.steps.is_empty()).map(|every| CanarySteps {
            shares: args.steps.clone(),
            every,
            then: args.then.map(Into::into).unwrap_or_default(),
        }),
        force: args.force,
        ..CanaryRequest::of(slot)
    };
    let asks =
        |request: &CanaryRequest| *request != CanaryRequest { force: args.force, ..CanaryRequest::of(slot) };
    if args.detach || args.drain_timeout.is_some() {
        return Err(usage(ctx, "--detach and --drain-timeout belong to `switcher canary abort`"));
    }
    if !asks(&request) {
        return Err(usage(ctx, &format!("how many clients go to {slot} is not said; say for example 5%")));
    }
    Ok(request)
}

fn usage(ctx: &Context, message: &str) -> Failure {
    Failure::new(Code::Usage, message, Live::Unchanged, ctx.command("canary --help"))
}

/// Begins or moves it under the lease.
async fn deployed(ctx: &Context, request: CanaryRequest, args: &CanaryArgs) -> Outcome {
    let mut interrupt = interrupt(ctx)?;
    let early = |end| interrupted_early(ctx, end);
    let site = interrupt.unless(Box::pin(Site::open(ctx))).await.map_err(early)??;
    let acquired = interrupt.unless(site.acquire("canary", args.lock.lock_wait)).await.map_err(early)?;
    let lease = acquired?;
    let outcome = Box::pin(under(&site, &lease, request, args, interrupt)).await;
    site.end(lease, "canary", outcome).await
}

async fn under(
    site: &Site<'_>,
    lease: &Lease,
    request: CanaryRequest,
    args: &CanaryArgs,
    interrupt: Interrupt,
) -> Outcome {
    let operator = Operator { site, lease, interrupt, detach: false };
    if let Some(recovered) = operator.recover().await? {
        site.ctx.reporter.step(&recovered.sentence);
    }
    let status = site.status().await?;
    let steps = request.steps.clone().filter(|steps| steps.then == CanaryThen::Promote);
    if let Some(steps) = steps {
        let order = led(site, &status, &request, steps, args).await?;
        let finished = operator.begin(order).await?;
        return finish(site, finished, None).await;
    }
    let limits = limits(&site.deploy);
    let fence: Option<Fence> = Some(site.fence(lease));
    let request = CanaryRequest { limits, fence, ..request };
    go(site.ctx, &site.admin, &site.app, &status, request).await
}

/// A switch of a deployed application is recorded, so the proxy does not make it by itself: this command leads the canary,
/// and promotes as any deployment does.
async fn led(
    site: &Site<'_>,
    status: &AppStatus,
    request: &CanaryRequest,
    steps: CanarySteps,
    args: &CanaryArgs,
) -> Result<Order, Failure> {
    if let Some(failure) = objection(site.ctx, &site.app, status, request) {
        return Err(failure);
    }
    let settings = &site.deploy;
    let going = status.canary.as_ref().filter(|canary| canary.outcome.is_none());
    let before = going.map(|canary| canary.rules.clone()).unwrap_or_default();
    let usual = settings.canary.as_ref();
    let canary = CanaryOrder {
        steps: steps.shares,
        every: steps.every,
        who: Who {
            by: request.by.clone().unwrap_or(before.by),
            headers: request.headers.clone().unwrap_or(before.headers),
            cookies: request.cookies.clone().unwrap_or(before.cookies),
            clients: request.clients.clone().unwrap_or(before.clients),
        },
        limits: limits(settings).unwrap_or_default(),
        hold: usual.map_or(HOLD, |canary| canary.hold),
        on_inconclusive: usual.map(|canary| canary.on_inconclusive).unwrap_or_default(),
    };
    let canary = canary.sound().map_err(|wrong| usage(site.ctx, &wrong))?;
    let promote = PromoteArgs {
        slot: request.slot,
        wait_healthy: None,
        force: args.force,
        detach: false,
        drain_timeout: None,
        skip_verify: false,
        unrecorded: false,
        lock: args.lock,
    };
    by_canary(site, &promote, status, canary).await
}

/// What a canary is judged by; none where the configuration says nothing of it.
fn limits(deploy: &DeploySettings) -> Option<BakeLimits> {
    deploy.canary.as_ref().map(|canary| canary.limits.clone()).or_else(|| deploy.bake.clone())
}

/// Asks the proxy, and says how it stands.
async fn go(
    ctx: &Context,
    admin: &Admin,
    app: &AppName,
    status: &AppStatus,
    request: CanaryRequest,
) -> Outcome {
    let going = status.canary.as_ref().is_some_and(|canary| canary.outcome.is_none());
    if let Some(failure) = objection(ctx, app, status, &request).filter(|_| !going) {
        return Err(failure);
    }
    let expected = status.generation;
    let request = CanaryRequest { expected_generation: Some(expected), ..request };
    let mutation = Mutation { ctx, admin, app, live: Live::of(app, status) };
    let settled = mutation
        .settle(
            async || admin.canary(app, &request).await,
            |seen| aftermath::of_canary(seen, expected, request.slot),
        )
        .await
        .map_err(|failure| understood(ctx, failure))?;
    let (generation, canary) = match settled {
        Settled::Replied(changed) => (changed.generation, Some(changed.canary)),
        Settled::Seen(seen) => {
            ctx.reporter.step(&confirmed_late(&seen));
            (seen.generation, seen.canary)
        }
    };
    tell(ctx, app, generation, canary.as_ref(), None)?;
    ctx.reporter.step(&format!(
        "move more with: {}; make it live with: {}; take them back with: {}",
        ctx.command(&format!("canary {} 25%", request.slot)),
        ctx.command(&format!("promote {}", request.slot)),
        ctx.command("canary abort")
    ));
    Ok(())
}

/// What the proxy did not understand was typed.
fn understood(ctx: &Context, failure: Failure) -> Failure {
    if failure.code == Code::ProxyRefused {
        return Failure { code: Code::Usage, next: ctx.command("canary --help"), ..failure };
    }
    failure
}

/// Why a canary is not even asked for.
fn objection(ctx: &Context, app: &AppName, status: &AppStatus, request: &CanaryRequest) -> Option<Failure> {
    let slot = request.slot;
    let decision = decide(status, slot, request.force);
    let next = match decision {
        Decision::Go { .. } => return None,
        Decision::Done | Decision::LiveButNotHealthy { .. } => {
            ctx.command(&format!("canary {} 5%", slot.other()))
        }
        Decision::Empty => ctx.command(&format!("register {slot} HOST:PORT")),
        Decision::NotHealthy { .. } => ctx.command("status"),
    };
    let all = || (Code::CanaryLive, format!("{slot} of {app} is live, so it has all the clients already"));
    let (code, message) = decision.unfit(app, slot).unwrap_or_else(all);
    Some(Failure::new(code, message, Live::of(app, status), next))
}

/// Takes the clients back, and waits until the last one is out.
async fn abort(ctx: &Context, args: &CanaryArgs) -> Outcome {
    let rules = args.headers.len() + args.cookies.len() + args.clients.len() + args.steps.len();
    if args.share.is_some() || args.by.is_some() || rules > 0 {
        return Err(usage(
            ctx,
            "`switcher canary abort` takes all clients back, so it takes no share and no rule",
        ));
    }
    let mut interrupt = interrupt(ctx)?;
    let admin = ctx.admin()?;
    let (app, status) =
        interrupt.unless(ctx.app(&admin)).await.map_err(|end| interrupted_early(ctx, end))??;
    let expected = status.generation;
    let request =
        CanaryAbortRequest { expected_generation: Some(expected), drain: args.drain_timeout, fence: None };
    let mutation = Mutation { ctx, admin: &admin, app: &app, live: Live::of(&app, &status) };
    let settled = mutation
        .settle(
            async || admin.abort_canary(&app, &request).await,
            |seen| aftermath::of_canary_abort(seen, expected),
        )
        .await?;
    let (generation, canary, drained) = match settled {
        Settled::Replied(CanaryChanged { generation, canary, drained_generation }) => {
            (generation, Some(canary), drained_generation)
        }
        Settled::Seen(seen) => {
            ctx.reporter.step(&confirmed_late(&seen));
            let began = seen.canary.as_ref().map(|canary| canary.generation);
            (seen.generation, seen.canary, began)
        }
    };
    let receipt = match drained.filter(|_| !args.detach) {
        Some(drained) => wait(ctx, &admin, &app, drained, &mut interrupt).await?,
        None => None,
    };
    tell(ctx, &app, generation, canary.as_ref(), receipt)
}

/// Waits until the canary's side is empty; none when the proxy no longer knows.
async fn wait(
    ctx: &Context,
    admin: &Admin,
    app: &AppName,
    drained: Generation,
    interrupt: &mut Interrupt,
) -> Result<Option<DrainReceipt>, Failure> {
    let each = Span(ctx.reporter.interval());
    loop {
        let look = patiently(async || admin.drain(app, drained, each).await);
        let receipt = match interrupt.unless(look).await {
            Ok(Ok(receipt)) => receipt,
            Ok(Err(error)) => {
                ctx.reporter.done();
                ctx.reporter
                    .step(&format!("no client enters any more; how the drain went is not known: {error}"));
                return Ok(None);
            }
            Err(Interrupted) => {
                ctx.reporter.done();
                let message =
                    "interrupted, but no client enters the canary any more; its drain goes on in the proxy";
                return Err(Failure::new(Code::InterruptedDrain, message, Live::No, ctx.command("status")));
            }
        };
        if receipt.drained {
            ctx.reporter.done();
            return Ok(Some(receipt));
        }
        let inside = phrase::counts(&receipt.in_flight);
        ctx.reporter.waiting(&format!("draining {}: {inside} inside", receipt.slot));
    }
}

async fn show(ctx: &Context) -> Outcome {
    let admin = ctx.admin()?;
    let (app, status) = ctx.app(&admin).await?;
    tell(ctx, &app, status.generation, status.canary.as_ref(), None)
}

/// The result.
#[derive(Serialize)]
struct Told<'a> {
    app: &'a AppName,
    generation: Generation,
    canary: Option<&'a Canary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain: Option<DrainReceipt>,
}

fn tell(
    ctx: &Context,
    app: &AppName,
    generation: Generation,
    canary: Option<&Canary>,
    drain: Option<DrainReceipt>,
) -> Outcome {
    let page = page(app, canary, drain.as_ref());
    let told = Told { app, generation, canary, drain };
    ctx.console.result(&page.render(ctx.console.width, ctx.console.colour), &json!(told)).map(drop)
}

fn page(app: &AppName, canary: Option<&Canary>, drain: Option<&DrainReceipt>) -> Page {
    let mut page = Page::default();
    page.line("", Tone::Plain, 0).words(&format!("{app}:"), Tone::Strong);
    let Some(canary) = canary else {
        page.words("there was no canary yet", Tone::Plain);
        return page;
    };
    page.words(&phrase::canary(canary), Tone::Plain);
    if canary.outcome.is_none() {
        page.line("  there", Tone::Faint, 12).words(&phrase::figures(&canary.seen), Tone::Plain);
        page.line("  live", Tone::Faint, 12).words(&phrase::figures(&canary.baseline), Tone::Plain);
    }
    if let Some(drain) = drain {
        drained(&mut page, drain);
    }
    page
}
