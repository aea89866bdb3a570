//! `switcher deploy IMAGE`: the whole way from an image to live traffic.

use jiff::Timestamp;
use serde_json::json;
use switcher_config::wire::AppStatus;

use super::{Outcome, interrupt, interrupted_early};
use crate::cli::DeployArgs;
use crate::code::Code;
use crate::context::Context;
use crate::deploy::asked::{Ground, asked, version};
use crate::deploy::operation::{Finished, Operator};
use crate::deploy::order::{Choices, Order, Purpose, Stage, stages};
use crate::deploy::plan::{self, plan};
use crate::deploy::site::Site;
use crate::deploy::world::verify::askable;
use crate::deploy::{conclude, record};
use crate::deployment::{DeploymentId, PinnedImage, Release};
use crate::docker::LoadProgress;
use crate::failure::{Failure, Live};
use crate::interrupt::Interrupt;
use crate::layout::Tone;
use crate::state::{Lease, Owner};

/// Deploys, or says what would be done.
pub(super) async fn run(ctx: &Context, args: DeployArgs) -> Outcome {
    let mut interrupt = interrupt(ctx)?;
    let early = |end| interrupted_early(ctx, end);
    let site = interrupt.unless(Box::pin(Site::open(ctx))).await.map_err(early)??;
    site.environment()?;
    if args.dry_run {
        return interrupt.unless(Box::pin(dry_run(&site, &args))).await.map_err(early)?;
    }
    let acquired = interrupt.unless(site.acquire("deploy", args.lock.lock_wait)).await.map_err(early)?;
    let lease = acquired?;
    let outcome = Box::pin(under(&site, &lease, &args, interrupt)).await;
    site.end(lease, "deploy", outcome).await
}

async fn under(site: &Site<'_>, lease: &Lease, args: &DeployArgs, mut interrupt: Interrupt) -> Outcome {
    let operator = Operator { site, lease, interrupt: interrupt.clone(), detach: args.detach };
    let recovered = operator.recover().await?;
    let release = interrupt
        .unless(release(site, args, true))
        .await
        .map_err(|end| interrupted_early(site.ctx, end))??;
    let seen = site.status().await?;
    let state = site.store.read().map_err(|error| site.state_failure(&error))?;
    if let Some(message) = site.contradiction(&state, seen.active) {
        let live = Live::of(&site.app, &seen);
        return Err(Failure::new(Code::RepairUnsafe, message, live, site.ctx.command("repair")));
    }
    site.without_canary(&seen)?;
    let order = order(site, args, release, &seen);
    if let Some(note) = risk(&order) {
        site.ctx.reporter.step(&format!("warning: {note}"));
    }
    askable(site, &order)?;
    let finished = operator.begin(order).await?;
    finish(site, finished, recovered.map(|recovered| recovered.sentence)).await
}

/// What is said of an operation that is over.
pub(super) async fn finish(site: &Site<'_>, finished: Finished, recovered: Option<String>) -> Outcome {
    let Finished { machine, receipt } = finished;
    let ctx = site.ctx;
    let live = site.live().await;
    let next = if machine.is_done() { ctx.command("status") } else { ctx.command("history") };
    if let Some(failure) = conclude::failure(&machine, live, &next) {
        return Err(failure);
    }
    let state = site.store.read().map_err(|error| site.state_failure(&error))?;
    let id = machine.order.waiting.as_ref().unwrap_or(&machine.order.id);
    let Some(deployment) = record::find(&state, id).cloned() else {
        let message = format!("{id} is not in {} although it was recorded", site.store.folder().display());
        return Err(Failure::new(Code::JournalDamaged, message, site.live().await, ctx.command("repair")));
    };
    let conclusion =
        conclude::conclusion(&machine, receipt, deployment, state.previous_deployment.clone(), recovered);
    let promote = ctx.command(&format!("promote {}", machine.order.slot));
    let page = conclude::page(&conclusion, &ctx.command("rollback"), &promote);
    let live = site.live().await;
    let value = conclusion
        .value()
        .map_err(|error| Failure::new(Code::Internal, error.to_string(), live, ctx.command("status")))?;
    ctx.console.result(&page.render(ctx.console.width, ctx.console.colour), &value)?;
    Ok(())
}

/// The release that is meant, pinned. With `load` a file is brought to the engine; otherwise nothing is fetched.
async fn release(site: &Site<'_>, args: &DeployArgs, load: bool) -> Result<Release, Failure> {
    let Some(engine) = site.engine()? else {
        let version = args.image.clone().unwrap_or_default();
        return Ok(Release { version, image: None, git_commit: None });
    };
    if let Some(file) = args.load.as_ref().filter(|_| load) {
        let reporter = &site.ctx.reporter;
        let mut on = |progress: LoadProgress| {
            reporter.waiting(&format!("loading: {} of {} bytes", progress.bytes, progress.bytes_total));
        };
        let loaded = engine.load(file, &mut on).await.map_err(|error| site.docker_failure(&error))?;
        reporter.done();
        let named = args.image.clone().or_else(|| loaded.tags.first().cloned());
        let named = named.unwrap_or_else(|| site.app.to_string());
        let ground = Ground { allow_latest: true, ..ground(site, args) };
        let asked = asked(&named, ground).map_err(|error| refused(site, &error.to_string()))?;
        let version = version(&asked, &loaded.id);
        let git_commit = loaded.image.git_commit().map(str::to_owned);
        return Ok(Release { version, git_commit, image: Some(loaded.pinned(asked)) });
    }
    let argument = args.image.as_deref().unwrap_or_default();
    let asked = asked(argument, ground(site, args)).map_err(|error| refused(site, &error.to_string()))?;
    let resolved = engine.resolve(&asked, site.deploy.platform.as_deref()).await;
    let resolved = resolved.map_err(|error| site.docker_failure(&error))?;
    if let Some(note) = &resolved.note {
        site.ctx.reporter.step(note);
    }
    let git_commit = commit(site, &resolved.image).await?;
    Ok(Release { version: version(&asked, &resolved.digest), git_commit, image: Some(resolved.image) })
}

/// The source commit, as far as the image that lies on the engine says it.
async fn commit(site: &Site<'_>, image: &PinnedImage) -> Result<Option<String>, Failure> {
    let Some(engine) = site.engine()? else { return Ok(None) };
    let there = engine.image(&image.pinned).await.map_err(|error| site.docker_failure(&error))?;
    Ok(there.and_then(|image| image.git_commit().map(str::to_owned)))
}

fn ground<'a>(site: &'a Site<'_>, args: &DeployArgs) -> Ground<'a> {
    Ground {
        image: site.deploy.image.as_ref(),
        environment: &site.environment_name,
        allow_latest: args.allow_latest || site.deploy.allow_latest,
    }
}

fn refused(site: &Site<'_>, message: &str) -> Failure {
    Failure::new(
        Code::DeployRefused,
        message,
        Live::Unchanged,
        format!("{} --help", site.ctx.command("deploy")),
    )
}

fn order(site: &Site<'_>, args: &DeployArgs, release: Release, seen: &AppStatus) -> Order {
    let now = Timestamp::now();
    let purpose = if args.no_promote { Purpose::Prepare } else { Purpose::Deploy };
    let choices = Choices {
        skip_migrations: args.skip_migrations,
        skip_snapshot: args.skip_snapshot,
        skip_smoke: args.skip_smoke,
        // The first release has nobody to be compared with.
        skip_canary: args.skip_canary || seen.slots.get(seen.active).upstreams.is_empty(),
        skip_bake: args.skip_bake,
        skip_verify: args.skip_verify,
        no_pull: release.image.as_ref().is_none_or(|image| !image.pinned.contains('@')),
    };
    Order {
        id: DeploymentId::new(now),
        purpose,
        app: site.app.clone(),
        environment: site.environment_name.clone(),
        waiting: None,
        release,
        slot: seen.active.other(),
        seen: seen.generation,
        began_at: now,
        by: Owner::here("deploy", None).by,
        keep_previous: site.deploy.keep_previous,
        compatible: site.deploy.migrate.as_ref().is_none_or(|migrate| migrate.compatible),
        patience: None,
        drain: args.drain_timeout,
        force: false,
        canary: choices.canary(purpose, &site.deploy),
        bake: choices.bake(purpose, &site.deploy),
        stages: stages(purpose, &site.deploy, choices),
    }
}

/// What the version that is live meets between the migrations and the switch, where it cannot run on the new schema.
fn risk(order: &Order) -> Option<String> {
    let stands = !order.compatible && order.stages.contains(&Stage::Migrate);
    stands.then(|| {
        "`migrate.compatible` is false: the live version serves on the new schema until traffic moves, and may fail on it; \
         `switcher pause` or `switcher stop` holds traffic meanwhile"
            .to_owned()
    })
}

/// Whether the image that is meant is the one that is live, by its digest.
fn is_live(site: &Site<'_>, order: &Order) -> Result<bool, Failure> {
    let state = site.store.read().map_err(|error| site.state_failure(&error))?;
    let live = state.current_deployment.map(|current| current.image);
    let wanted = order.release.image.as_ref().map(|image| image.pinned.clone());
    Ok(wanted.is_some() && wanted == live)
}

/// Says what would be done. Takes no lease and changes nothing.
async fn dry_run(site: &Site<'_>, args: &DeployArgs) -> Outcome {
    let ctx = site.ctx;
    let release = match &args.load {
        Some(file) => {
            ctx.reporter
                .step(&format!("{} would be loaded; what is in it is not known before", file.display()));
            let version = args.image.clone().unwrap_or_else(|| file.display().to_string());
            Release { version, image: None, git_commit: None }
        }
        None => release(site, args, false).await?,
    };
    let seen = site.status().await?;
    let order = order(site, args, release, &seen);
    let released = |slot| seen.slots.get(slot).release.clone();
    let releases = [released(seen.active), released(order.slot)];
    let notes = site.notes()?.into_iter().chain(risk(&order)).collect();
    let plan = plan(&order, &site.deploy, releases, notes).redacted(&site.redactor);
    let mut page = plan::page(&plan);
    let live = is_live(site, &order)?;
    if live {
        let text = "this very image is live already: a deployment would only start it again";
        page.line("", Tone::Plain, 0).words(text, Tone::Strong);
    }
    let value = json!({ "plan": plan, "already_live": live });
    ctx.console.result(&page.render(ctx.console.width, ctx.console.colour), &value)?;
    if args.exit_code && !live {
        Err(Failure::new(Code::ToDo, "there is something to do", Live::Unchanged, ctx.command("deploy")))
    } else {
        Ok(())
    }
}
