//! `switcher repair`: brings a cut deployment to its end, explains what does not fit, and mends it.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;
use switcher_config::wire::{AppStatus, RegisterRequest};
use switcher_config::{Slot, UpstreamAddress};

use super::{Outcome, interrupt, interrupted_early};
use crate::aftermath;
use crate::cli::RepairArgs;
use crate::code::Code;
use crate::container::{ContainerState, Output};
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
use crate::switch::{Options, Switch};

/// How often is looked again after something was mended.
const ROUNDS: u32 = 4;

/// Repairs, or only explains.
pub(super) async fn run(ctx: &Context, args: RepairArgs) -> Outcome {
    let RepairArgs { dry_run, abandon, lock } = args;
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
    let outcome = Box::pin(under(&site, &lease, interrupt, abandon)).await;
    site.end(lease, "repair", outcome).await
}

async fn under(site: &Site<'_>, lease: &Lease, interrupt: Interrupt, abandon: bool) -> Outcome {
    let operator = Operator { site, lease, interrupt: interrupt.clone(), detach: false };
    let recovered = if abandon { operator.abandon().await? } else { operator.recover().await? };
    let notes: Vec<String> = recovered.into_iter().map(|recovered| recovered.sentence).collect();
    let mut told: Vec<Finding> = Vec::new();
    // What is mended may show what was behind it.
    for _ in 0..ROUNDS {
        let mut found = Box::pin(findings(site)).await?;
        found.retain(|finding| !told.contains(finding));
        if found.is_empty() {
            break;
        }
        for finding in &found {
            site.ctx.reporter.step(&format!("{}: {}", finding.what, remedy(&finding.remedy)));
            Box::pin(mend(site, lease, &finding.remedy, &interrupt)).await?;
        }
        told.extend(found);
    }
    tell(site, &notes, &told, true)
}

/// What does not fit now.
async fn findings(site: &Site<'_>) -> Result<Vec<Finding>, Failure> {
    let proxy = site.status().await?;
    let inside = site.runtime()?.running().await.map_err(|error| site.runtime_failure(&error))?;
    let state = site.store.read().map_err(|error| site.state_failure(&error))?;
    let history = site.store.history().map_err(|error| site.state_failure(&error))?;
    let replicas = site.wanted_replicas();
    let seen = Seen { proxy: &proxy, inside: &inside, state: &state, history: &history, replicas };
    let mut findings = diagnose(&seen);
    findings.extend(Box::pin(left_behind(site)).await?);
    Ok(findings)
}

/// One-off containers of ours. While nobody is at work there should be none.
async fn left_behind(site: &Site<'_>) -> Result<Vec<Finding>, Failure> {
    let Some(engine) = site.engine()? else { return Ok(Vec::new()) };
    let mut findings = Vec::new();
    for role in ["migrate", "snapshot"] {
        for found in engine.owned(&site.tenant(), role).await.map_err(|error| site.docker_failure(&error))? {
            let runs = matches!(found.state, ContainerState::Running { .. });
            let how = if runs { "still runs" } else { "has ended" };
            findings.push(Finding {
                what: format!("{} was left by an earlier command and {how}", found.name),
                remedy: Remedy::Clear { container: found.name, wait: runs && role == "migrate" },
            });
        }
    }
    Ok(findings)
}

/// Waits for a migration that nobody waited for, or removes what nobody needs.
async fn clear(site: &Site<'_>, container: &str, wait: bool) -> Outcome {
    let Some(engine) = site.engine()? else { return Ok(()) };
    let limit = site.deploy.migrate.as_ref().map_or(Duration::ZERO, |migrate| migrate.timeout.0);
    let cleared = if wait {
        engine.reattach(container, limit, &mut Unheard).await.map(drop)
    } else {
        engine.remove(container).await
    };
    cleared.map_err(|error| site.docker_failure(&error))
}

/// Output that nobody listens to.
struct Unheard;

#[async_trait]
impl Output for Unheard {
    async fn stdout(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    async fn stderr(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

async fn mend(site: &Site<'_>, lease: &Lease, remedy: &Remedy, interrupt: &Interrupt) -> Outcome {
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
        Remedy::Readdress { slot, upstreams, version } => {
            let status = site.status().await?;
            let release = status.slots.get(*slot).release.clone().unwrap_or_else(|| version.clone());
            register(site, lease, &status, *slot, upstreams.clone(), Some(release)).await
        }
        Remedy::Restore { slot, upstreams, version } => {
            restore(site, lease, *slot, upstreams, version, interrupt).await
        }
        Remedy::Clear { container, wait } => clear(site, container, *wait).await,
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

/// Tells the proxy of what it has forgotten, and moves traffic there once it is healthy.
async fn restore(
    site: &Site<'_>,
    lease: &Lease,
    slot: Slot,
    upstreams: &[UpstreamAddress],
    version: &str,
    interrupt: &Interrupt,
) -> Outcome {
    let status = site.status().await?;
    if status.active != slot {
        register(site, lease, &status, slot, upstreams.to_vec(), Some(version.to_owned())).await?;
    }
    let options = Options {
        wait_healthy: Some(site.deploy.ready_timeout),
        fence: Some(site.fence(lease)),
        detach: true,
        ..Options::default()
    };
    let (ctx, admin, app, interrupt) = (site.ctx, &site.admin, &site.app, interrupt.clone());
    let switch = Switch { ctx, admin, app, slot, options, interrupt };
    Box::pin(switch.perform(site.status().await?)).await.map(drop)
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
    let written = lease.update(|state| state.supersede(&record));
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
        upstreams: upstreams.into_iter().map(Into::into).collect(),
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
        Remedy::Restore { slot, version, .. } => {
            format!("the proxy learns of {version} in {slot}, and traffic goes there")
        }
        Remedy::Clear { wait: true, .. } => "its end is waited for, and it is removed".to_owned(),
        Remedy::Clear { wait: false, .. } => "it is removed".to_owned(),
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
