//! `switcher migrate up` and `down`: a migration outside a deployment, under the same lease.
//!
//! Down migrations live in the code that made the schema, so `down` runs from the newest image that migrated, which
//! after a rollback is not the one that is live.

use serde_json::json;
use switcher_config::fill;

use super::super::promote::release;
use super::super::{Outcome, interrupt, interrupted_early};
use crate::cli::LockArgs;
use crate::code::Code;
use crate::context::Context;
use crate::deploy::conclude::with_evidence;
use crate::deploy::migration::{MigrationRun, NotMigrated};
use crate::deploy::operation::Operator;
use crate::deploy::site::Site;
use crate::failure::{Failure, Live};
use crate::interrupt::{Interrupt, Interrupted};
use crate::state::record::{DeploymentRecord, State};
use crate::state::{Lease, LeaseError};

/// Runs the migrations of the live version once more.
pub(super) async fn up(ctx: &Context, lock: LockArgs) -> Outcome {
    under_lease(ctx, lock, None).await
}

/// Goes back to an earlier schema.
pub(super) async fn down(ctx: &Context, to: &str, lock: LockArgs) -> Outcome {
    under_lease(ctx, lock, Some(to)).await
}

async fn under_lease(ctx: &Context, lock: LockArgs, to: Option<&str>) -> Outcome {
    let mut interrupt = interrupt(ctx)?;
    let early = |end| interrupted_early(ctx, end);
    let site = interrupt.unless(Box::pin(Site::open(ctx))).await.map_err(early)??;
    let acquired = interrupt.unless(site.acquire("migrate", lock.lock_wait)).await.map_err(early)?;
    let lease = acquired?;
    let outcome = Box::pin(perform(&site, &lease, interrupt, to)).await;
    site.end(lease, "migrate", outcome).await
}

async fn perform(site: &Site<'_>, lease: &Lease, mut interrupt: Interrupt, to: Option<&str>) -> Outcome {
    let operator = Operator { site, lease, interrupt: interrupt.clone(), detach: false };
    operator.recover().await?;
    let refuse = |message: &str| {
        Failure::new(Code::DeployNone, message, Live::Unchanged, site.ctx.command("config show"))
    };
    let Some(settings) = &site.deploy.migrate else {
        return Err(refuse(
            "the application has no `deploy.migrate` section, so nobody knows how it is migrated",
        ));
    };
    let command = match (to, &settings.down) {
        (None, _) => settings.command.clone(),
        (Some(to), Some(down)) => {
            let word = |name: &str| (name == "to").then(|| to.to_owned());
            down.iter().map(|text| fill(text, word)).collect()
        }
        (Some(_), None) => return Err(refuse("`migrate.down` is not set, so nobody knows how to go back")),
    };
    let engine =
        site.engine()?.ok_or_else(|| refuse("`migrate` runs in a container, and the runtime is static"))?;
    let state = site.store.read().map_err(|error| site.state_failure(&error))?;
    let history = site.store.history().map_err(|error| site.state_failure(&error))?;
    let record = image_of(&state, &history, to.is_some())
        .ok_or_else(|| refuse("nothing was deployed yet, so there is no image to migrate from"))?;
    let release = release(record);
    if let Some(image) = &release.image {
        let pulled = interrupt.unless(engine.pull(image, &mut |_| {})).await;
        pulled
            .map_err(|end| interrupted_early(site.ctx, end))?
            .map_err(|error| site.docker_failure(&error))?;
    }
    let words = site.words_of(&release, &record.id, record.active_slot, 0);
    let spec = site.migration_spec(&release, &words, &command)?;
    let log = site.log_of(lease, &record.id)?;
    let way = to.map_or_else(|| "up".to_owned(), |to| format!("down to {to}"));
    site.ctx.reporter.step(&format!("migrating {way} with `{}` of {}", command.join(" "), record.version));
    let what = format!("the migration {way} of {}", record.version);
    let run = MigrationRun { site, log: &log, what, timeout: settings.timeout };
    let earlier = site.migration_container().await?;
    let work = async {
        if let Some(earlier) = &earlier {
            run.until_gone(engine, earlier).await?;
        }
        run.to_its_end(engine, Some(&spec), None).await
    };
    let attended = Box::pin(attended(site, lease, &mut interrupt, &spec.name, work)).await?;
    if let Err(error) = attended {
        let cause = error.into_cause();
        let code = Code::find(&cause.code).unwrap_or(Code::MigrationFailed);
        let failure =
            Failure::new(code, cause.message, site.live().await, site.ctx.command("migrate status"));
        return Err(with_evidence(failure, &cause.evidence));
    }
    let text = format!("{}: migrated {way} with {}", site.app, record.version);
    let value = json!({ "app": site.app, "deployment": record.id, "version": record.version, "to": to });
    site.ctx.console.result(&text, &value)?;
    Ok(())
}

/// Waits for a migration. It is not stopped halfway: the first signal is answered with a word, the second one leaves it
/// to itself, as the loss of the lease does.
async fn attended(
    site: &Site<'_>,
    lease: &Lease,
    interrupt: &mut Interrupt,
    container: &str,
    work: impl Future<Output = Result<(), NotMigrated>>,
) -> Result<Result<(), NotMigrated>, Failure> {
    let mut heard = interrupt.clone();
    let told = async {
        if heard.unless(std::future::pending::<()>()).await.is_err() {
            let text = "a migration is not stopped halfway: its end is waited for; a second signal leaves it running";
            site.ctx.reporter.step(text);
        }
        std::future::pending::<()>().await;
    };
    let work = async {
        tokio::select! {
            done = work => Ok(done),
            error = lease.until_lost() => Err(site.lease_failure(&LeaseError::Lost(Box::new(error)))),
            () = told => Ok(Ok(())),
        }
    };
    match interrupt.unless_twice(work).await {
        Ok(done) => done,
        Err(Interrupted) => {
            let message = format!(
                "left at once: the migration goes on in the container {container}, and nobody waits for it"
            );
            let next = site.ctx.command("migrate status");
            Err(Failure::new(Code::InterruptedAtOnce, message, site.live().await, next))
        }
    }
}

/// Whose image: going up that of the live version, going down that of the newest one that came as far as migrating.
fn image_of<'a>(
    state: &'a State,
    history: &'a [DeploymentRecord],
    down: bool,
) -> Option<&'a DeploymentRecord> {
    if !down {
        return state.current_deployment.as_ref();
    }
    let early = ["pre_deploy", "pull", "inspect", "snapshot"];
    let migrated = |record: &&DeploymentRecord| {
        let failed = record.failure.as_ref().is_some_and(|failure| early.contains(&failure.phase.as_str()));
        !failed && !record.image.is_empty()
    };
    history
        .iter()
        .chain(&state.current_deployment)
        .filter(migrated)
        .max_by(|one, other| one.id.cmp(&other.id))
}
