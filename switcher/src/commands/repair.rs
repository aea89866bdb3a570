//! `switcher repair`: brings a cut deployment to its end, explains what does not fit, and mends it.

use jiff::Timestamp;
use serde_json::json;
use switcher_config::wire::{AppStatus, RegisterRequest};
use switcher_config::{Slot, UpstreamAddress};

use super::{Outcome, interrupt, interrupted_early};
use crate::aftermath;
use crate::cli::LockArgs;
use crate::code::Code;
use crate::context::Context;
use crate::deploy::operation::Operator;
use crate::deploy::repair::{Finding, Remedy, Seen, diagnose};
use crate::deploy::site::Site;
use crate::deployment::{DeploymentId, Release};
use crate::failure::{Failure, Live};
use crate::interrupt::Interrupt;
use crate::layout::{Page, Tone};
use crate::mutation::Mutation;
use crate::runtime::Start;
use crate::state::Lease;
use crate::state::record::{HealthStatus, Status};

/// Repairs, or only explains.
pub(super) async fn run(ctx: &Context, dry_run: bool, lock: LockArgs) -> Outcome {
    let mut interrupt = interrupt(ctx)?;
    let early = |end| interrupted_early(ctx, end);
    let site = interrupt.unless(Box::pin(Site::open(ctx))).await.map_err(early)??;
    if dry_run {
        let findings = interrupt.unless(Box::pin(findings(&site))).await.map_err(early)??;
        let notes = site.notes()?;
        return tell(&site, &notes, &findings, false);
    }
    let acquired = interrupt.unless(site.acquire("repair", lock.lock_wait)).await.map_err(early)?;
    let lease = acquired?;
    let outcome = Box::pin(under(&site, &lease, interrupt)).await;
    site.end(lease, "repair", outcome)
}

async fn under(site: &Site<'_>, lease: &Lease, interrupt: Interrupt) -> Outcome {
    let operator = Operator { site, lease, interrupt, detach: false };
    let recovered = operator.recover().await?;
    let notes: Vec<String> = recovered.into_iter().map(|recovered| recovered.sentence).collect();
    let found = Box::pin(findings(site)).await?;
    for finding in &found {
        site.ctx.reporter.step(&format!("{}: {}", finding.what, remedy(&finding.remedy)));
        Box::pin(mend(site, lease, &finding.remedy)).await?;
    }
    tell(site, &notes, &found, true)
}

/// What does not fit now.
async fn findings(site: &Site<'_>) -> Result<Vec<Finding>, Failure> {
    let proxy = site.status().await?;
    let inside = site.runtime()?.running().await.map_err(|error| site.runtime_failure(&error))?;
    let state = site.store.read().map_err(|error| site.state_failure(&error))?;
    let history = site.store.history().map_err(|error| site.state_failure(&error))?;
    Ok(diagnose(&Seen { proxy: &proxy, inside: &inside, state: &state, history: &history }))
}

async fn mend(site: &Site<'_>, lease: &Lease, remedy: &Remedy) -> Outcome {
    match remedy {
        Remedy::Adopt { deployment, slot } => adopt(site, lease, deployment, *slot),
        Remedy::Start { slot, deployment } => {
            let upstreams = start(site, *slot, deployment).await?;
            let status = site.status().await?;
            let served = status.slots.get(*slot).upstreams.iter().map(|upstream| &upstream.address);
            if served.eq(&upstreams) {
                return Ok(());
            }
            let release = status.slots.get(*slot).release.clone();
            register(site, lease, &status, *slot, upstreams, release).await
        }
        Remedy::Readdress { slot, upstreams } => {
            let status = site.status().await?;
            let release = status.slots.get(*slot).release.clone();
            register(site, lease, &status, *slot, upstreams.clone(), release).await
        }
        Remedy::Register { slot, upstreams, version } => {
            let status = site.status().await?;
            register(site, lease, &status, *slot, upstreams.clone(), Some(version.clone())).await
        }
        Remedy::Withdraw { slot } => {
            let status = site.status().await?;
            register(site, lease, &status, *slot, Vec::new(), None).await
        }
        Remedy::Person => Ok(()),
    }
}

/// The proxy's word wins: what it serves becomes the current deployment.
fn adopt(site: &Site<'_>, lease: &Lease, id: &DeploymentId, slot: Slot) -> Outcome {
    let history = site.store.history().map_err(|error| site.state_failure(&error))?;
    let Some(mut record) = history.into_iter().find(|record| record.id == *id) else { return Ok(()) };
    record.status = Status::Active;
    record.active_slot = slot;
    record.health_status = HealthStatus::Unknown;
    record.failure = None;
    record.warm_until = None;
    let written = lease.update(|state| {
        let before = state.current_deployment.take().filter(|before| before.id != record.id);
        if let Some(mut before) = before {
            before.status = Status::Superseded;
            state.remember(&before);
            state.previous_deployment = Some(before);
        }
        state.remember(&record);
        state.current_deployment = Some(record.clone());
    });
    written.and_then(|()| lease.record(&record)).map_err(|error| site.lease_failure(&error))
}

/// Starts what a slot holds once more: with the image it was made of and today's environment.
async fn start(site: &Site<'_>, slot: Slot, id: &DeploymentId) -> Result<Vec<UpstreamAddress>, Failure> {
    let history = site.store.history().map_err(|error| site.state_failure(&error))?;
    let Some(record) = history.into_iter().find(|record| record.id == *id) else {
        let message = format!("{slot} holds {id}, which is in no history; start its containers by hand");
        return Err(Failure::new(Code::RepairUnsafe, message, site.live().await, site.ctx.command("status")));
    };
    let release: Release = super::promote::release(&record);
    let mut replicas = Vec::new();
    for replica in 1..=site.deploy.replicas {
        let words = site.words_of(&release, id, slot, replica);
        let resolved = site.environment()?.application(&words);
        replicas.push(resolved.map_err(|problems| site.environment_failure(&problems))?);
    }
    let start =
        Start { slot, deployment: id, release: &release, replicas: &replicas, settings: &site.deploy };
    site.runtime()?.start(&start).await.map_err(|error| site.runtime_failure(&error))
}

async fn register(
    site: &Site<'_>,
    lease: &Lease,
    status: &AppStatus,
    slot: Slot,
    upstreams: Vec<UpstreamAddress>,
    release: Option<String>,
) -> Outcome {
    let request = RegisterRequest {
        upstreams,
        release,
        expected_generation: Some(status.generation),
        fence: Some(site.fence(lease)),
        moved: status.active == slot,
    };
    let live = Live::of(&site.app, status);
    let mutation = Mutation { ctx: site.ctx, admin: &site.admin, app: &site.app, live };
    mutation
        .settle(
            async || site.admin.register(&site.app, slot, &request).await,
            |seen| aftermath::of_registration(seen, status.generation, slot, &request),
        )
        .await
        .map(|_| ())
}

/// A remedy as a sentence.
fn remedy(remedy: &Remedy) -> String {
    match remedy {
        Remedy::Adopt { deployment, .. } => format!("the state says {deployment} from now on"),
        Remedy::Start { slot, .. } => format!("the containers of {slot} are started"),
        Remedy::Readdress { slot, .. } => format!("the proxy learns the addresses of {slot}"),
        Remedy::Register { slot, .. } => format!("the proxy learns of {slot}; it is warm again"),
        Remedy::Withdraw { slot } => format!("the proxy forgets the addresses of {slot}"),
        Remedy::Person => "a person has to decide; nothing is changed about it".to_owned(),
    }
}

fn tell(site: &Site<'_>, notes: &[String], findings: &[Finding], mended: bool) -> Outcome {
    let console = &site.ctx.console;
    let mut page = Page::default();
    for note in notes {
        page.line("journal", Tone::Warn, 9).words(note, Tone::Plain);
    }
    for finding in findings {
        page.line("found", Tone::Warn, 9).words(&finding.what, Tone::Plain);
        page.line("", Tone::Plain, 9).words(&remedy(&finding.remedy), Tone::Strong);
    }
    if notes.is_empty() && findings.is_empty() {
        page.line("", Tone::Plain, 0)
            .words(&format!("{}: Docker, proxy, journal and state agree", site.app), Tone::Good);
    }
    let value = json!({
        "app": site.app, "at": Timestamp::now(), "journal": notes, "findings": findings, "mended": mended,
    });
    console.result(&page.render(console.width, console.colour), &value)?;
    let open = findings.iter().filter(|finding| finding.remedy == Remedy::Person).count();
    if open == 0 {
        return Ok(());
    }
    let message = format!("{open} of the findings need a person");
    Err(Failure::new(Code::RepairUnsafe, message, Live::Unchanged, site.ctx.command("status")))
}
