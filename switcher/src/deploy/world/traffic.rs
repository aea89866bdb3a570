//! The stages that the proxy does: taking a slot's addresses away, giving new ones, waiting for health, moving
//! traffic, waiting for the drain.
//!
//! Every change carries the lease's fence and the generation that was seen.

use std::time::Duration;

use switcher_config::wire::{AppStatus, DrainReceipt, RegisterRequest};
use switcher_config::{Generation, Slot, Span, UpstreamAddress};
use tokio::time::{Instant, sleep};

use super::{Trouble, World, canary};
use crate::admin::AdminError;
use crate::aftermath;
use crate::code::Code;
use crate::deploy::machine::{Cause, Fact, Machine, Moved};
use crate::deploy::order::Stage;
use crate::failure::Live;
use crate::interrupt::Interrupted;
use crate::mutation::{Mutation, Settled, patient_status, patiently};
use crate::phrase;
use crate::runtime::{Evidence, Readiness, StopHow};
use crate::state::record::HealthStatus;
use crate::switch::{Move, Options, Switch};

/// How often something that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(100);

impl World<'_> {
    /// The application as the proxy has it now; a proxy that restarts is given some seconds.
    pub(crate) async fn seen(&self) -> Result<AppStatus, Trouble> {
        let site = self.site;
        let mut status = patient_status(&site.admin).await.map_err(|error| self.no_proxy(error))?;
        status.apps.remove(&site.app).ok_or_else(|| {
            let message = format!("the proxy no longer serves {}", site.app);
            Trouble::failed(Code::AppUnknown, message)
        })
    }

    /// The standby slot is emptied: withdrawn from the proxy, drained, removed.
    pub(super) async fn vacate(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let slot = machine.order.slot;
        self.refuse_current(slot)?;
        let generation = self.withdraw(slot).await?;
        self.until_nobody_is_inside(slot).await?;
        // It may have taken minutes.
        self.refuse_live(&self.seen().await?, slot)?;
        self.runtime()?.stop(slot, StopHow::Remove).await.map_err(|error| self.runtime_trouble(&error))?;
        Ok(Some(Fact::Registered { generation }))
    }

    /// Takes the addresses of a standby slot away, if it has any; answers the generation afterwards.
    pub(super) async fn withdraw(&self, slot: Slot) -> Result<Generation, Trouble> {
        let status = self.seen().await?;
        self.refuse_live(&status, slot)?;
        if status.slots.get(slot).upstreams.is_empty() {
            return Ok(status.generation);
        }
        self.register_with(&status, slot, Vec::new(), None).await
    }

    /// A warm slot goes cold: withdrawn from the proxy, drained, stopped, and left as it is.
    pub(crate) async fn cool(&mut self, slot: Slot) -> Result<(), Trouble> {
        self.withdraw(slot).await?;
        self.until_nobody_is_inside(slot).await?;
        self.refuse_live(&self.seen().await?, slot)?;
        self.runtime()?.stop(slot, StopHow::Keep).await.map_err(|error| self.runtime_trouble(&error))
    }

    /// The slot that serves is never taken apart, whatever the journal says.
    pub(super) fn refuse_live(&self, status: &AppStatus, slot: Slot) -> Result<(), Trouble> {
        if status.active != slot {
            return Ok(());
        }
        let message = format!(
            "{slot} of {} is live (generation {}): somebody else made it so, and a live slot is not taken apart",
            self.site.app, status.generation
        );
        Err(Trouble::failed(Code::GenerationMoved, message))
    }

    /// What is recorded as live is never removed, though the proxy may have forgotten it.
    fn refuse_current(&self, slot: Slot) -> Result<(), Trouble> {
        let state = self.site.store.read().map_err(|error| Trouble::of(&self.site.state_failure(&error)))?;
        match self.site.contradiction(&state, slot.other()) {
            Some(message) => Err(Trouble::failed(Code::RepairUnsafe, message)),
            None => Ok(()),
        }
    }

    /// Waits until a slot that was withdrawn is empty, of its drains and of who previewed it; both have deadlines of
    /// their own.
    pub(super) async fn until_nobody_is_inside(&mut self, slot: Slot) -> Result<(), Trouble> {
        loop {
            let status = self.seen().await?;
            self.refuse_live(&status, slot)?;
            let inside = status.slots.get(slot).in_flight.total();
            if inside == 0 {
                return Ok(());
            }
            let reporter = &self.site.ctx.reporter;
            reporter.waiting(&format!("waiting for {inside} that are still inside {slot}"));
            self.pause().await?;
        }
    }

    /// The proxy learns where the release listens.
    pub(super) async fn register(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let (slot, upstreams) = (machine.order.slot, machine.facts.upstreams.clone());
        let status = self.seen().await?;
        self.refuse_live(&status, slot)?;
        if status.generation != machine.expected() {
            return Err(self.moved(&status, machine.expected()));
        }
        let release = Some(header_word(&machine.order.release.version));
        let generation = self.register_with(&status, slot, upstreams, release).await?;
        Ok(Some(Fact::Registered { generation }))
    }

    async fn register_with(
        &self,
        status: &AppStatus,
        slot: Slot,
        upstreams: Vec<UpstreamAddress>,
        release: Option<String>,
    ) -> Result<Generation, Trouble> {
        let site = self.site;
        let request = RegisterRequest {
            upstreams: upstreams.into_iter().map(Into::into).collect(),
            release,
            expected_generation: Some(status.generation),
            fence: Some(self.fence()),
            moved: false,
        };
        let live = Live::of(&site.app, status);
        let mutation = Mutation { ctx: site.ctx, admin: &site.admin, app: &site.app, live };
        let settled = mutation
            .settle(
                async || site.admin.register(&site.app, slot, &request).await,
                |seen| aftermath::of_registration(seen, status.generation, slot, &request),
            )
            .await
            .map_err(|failure| Trouble::of(&failure))?;
        Ok(match settled {
            Settled::Replied(changed) => changed.generation,
            Settled::Seen(seen) => seen.generation,
        })
    }

    /// Waits until the slot is healthy for its runtime and for the proxy.
    pub(super) async fn probe(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let (slot, order) = (machine.order.slot, &machine.order);
        let patience = order.patience.unwrap_or(self.site.deploy.ready_timeout);
        let deadline = Instant::now() + patience.0;
        loop {
            let status = self.seen().await?;
            if status.generation != machine.expected() {
                return Err(self.moved(&status, machine.expected()));
            }
            let waiting =
                self.what_is_missing(&status, slot, order.waiting.as_ref().unwrap_or(&order.id)).await?;
            let Some(waiting) = waiting else {
                self.site.ctx.reporter.done();
                let (health, generation) = (HealthStatus::Healthy, status.generation);
                return Ok(Some(Fact::Health { health, generation }));
            };
            if Instant::now() >= deadline {
                let message = format!("{slot} did not become healthy within {patience}: {waiting}");
                return Err(self.with_evidence(Code::HealthTimeout, message, slot, &status).await);
            }
            self.site.ctx.reporter.waiting(&format!("waiting for {slot} to become healthy: {waiting}"));
            self.pause().await?;
        }
    }

    /// What a slot still lacks to be healthy; none when it is.
    async fn what_is_missing(
        &mut self,
        status: &AppStatus,
        slot: Slot,
        id: &crate::deployment::DeploymentId,
    ) -> Result<Option<String>, Trouble> {
        let ready = self.runtime()?.ready(slot, id).await.map_err(|error| self.runtime_trouble(&error))?;
        let seen = status.slots.get(slot);
        match ready {
            Readiness::Failed(why) => {
                let message = format!("the new version does not run in {slot}: {why}");
                Err(self.with_evidence(Code::StartFailed, message, slot, status).await)
            }
            Readiness::Waiting(why) => Ok(Some(why)),
            Readiness::Ready if seen.health == switcher_config::wire::Health::Healthy => Ok(None),
            Readiness::Ready => {
                let why = seen.reason.clone();
                Ok(Some(why.unwrap_or_else(|| "the proxy has not probed it often enough".to_owned())))
            }
        }
    }

    /// Traffic moves.
    pub(super) async fn promote(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let order = &machine.order;
        let status = self.seen().await?;
        if status.active == order.slot && machine.has_moved() {
            return Ok(None);
        }
        // It is judged to the last moment, also after its last step.
        if machine.has_begun(Stage::Canary)
            && let Some(trouble) = status.canary.as_ref().and_then(|canary| canary::ended(machine, canary))
        {
            return Err(trouble);
        }
        let options = Options {
            force: order.force,
            drain_timeout: order.drain,
            fence: Some(self.fence()),
            expected: Some(machine.expected()),
            bake: order.bake.clone(),
            at_once: order.purpose.goes_back(),
            ..Options::default()
        };
        let site = self.site;
        let mut switch = Switch {
            ctx: site.ctx,
            admin: &site.admin,
            app: &site.app,
            slot: order.slot,
            options,
            interrupt: self.interrupt.clone(),
        };
        match Box::pin(switch.make_live(status)).await {
            Ok(Move::Moved(switched)) => Ok(Some(Fact::Moved(Moved {
                from: switched.from,
                generation: switched.generation,
                drained_generation: switched.drained_generation,
                switched_at: switched.switched_at,
                switch_micros: Some(switched.switch_micros).filter(|micros| micros.is_finite()),
            }))),
            Ok(Move::NothingToDo(status)) => {
                let message = format!("{} is live already (generation {})", order.slot, status.generation);
                Err(Trouble::failed(Code::GenerationMoved, message))
            }
            Err(failure) => Err(Trouble::of(&failure)),
        }
    }

    /// Waits until the old slot is empty. What is inside has deadlines, which the proxy keeps by itself.
    pub(super) async fn drain(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let Some(moved) = machine.facts.switched.clone() else { return Ok(None) };
        if self.detach {
            return Ok(None);
        }
        let site = self.site;
        let wait = Span(site.ctx.reporter.interval());
        loop {
            let look = patiently(async || site.admin.drain(&site.app, moved.drained_generation, wait).await);
            let receipt = match self.unless_interrupted(look).await {
                Ok(Ok(receipt)) => receipt,
                Ok(Err(error)) => {
                    let why = site.ctx.diagnose(&site.admin, error, Some(&site.app), Live::No).message;
                    let warning = format!("how the drain of {} went is not known: {why}", moved.from);
                    return Ok(Some(Fact::Warning { warning }));
                }
                Err(Interrupted) => {
                    let message =
                        format!("the drain of {} was not waited for; it goes on in the proxy", moved.from);
                    return Err(Trouble::interrupted(Code::InterruptedDrain, message));
                }
            };
            if receipt.drained {
                site.ctx.reporter.done();
                self.receipt = Some(receipt);
                return Ok(None);
            }
            site.ctx.reporter.waiting(&inside(&receipt));
        }
    }

    pub(super) fn moved(&self, seen: &AppStatus, expected: Generation) -> Trouble {
        let message = format!(
            "somebody else changed {} meanwhile: its generation is {} and not {expected}",
            self.site.app, seen.generation
        );
        Trouble::failed(Code::GenerationMoved, message)
    }

    pub(super) fn no_proxy(&self, error: AdminError) -> Trouble {
        let site = self.site;
        Trouble::of(&site.ctx.diagnose(&site.admin, error, Some(&site.app), Live::No))
    }

    /// A failure with the last answers of the proxy's probes and the last lines of the containers.
    pub(super) async fn with_evidence(
        &self,
        code: Code,
        message: String,
        slot: Slot,
        status: &AppStatus,
    ) -> Trouble {
        let mut evidence = Vec::new();
        for upstream in &status.slots.get(slot).upstreams {
            for check in upstream.checks.iter().take(3) {
                let said = check.error.clone().or_else(|| check.body.clone()).unwrap_or_default();
                let code = check.status.map(|status| format!("{status} ")).unwrap_or_default();
                evidence.push(format!("probe of {}: {code}{said}", upstream.address));
            }
        }
        if let Ok(runtime) = self.site.runtime() {
            evidence.extend(words_of(&runtime.evidence(slot).await));
        }
        let clean = |line: &String| self.site.redactor.line(line);
        Trouble::Failed(Cause {
            code: code.as_str().to_owned(),
            message: self.site.redactor.line(&message),
            evidence: evidence.iter().map(clean).collect(),
        })
    }

    /// A moment between two looks; an interrupt ends it.
    async fn pause(&mut self) -> Result<(), Trouble> {
        let waited = self.unless_interrupted(sleep(LOOK)).await;
        waited.map_err(|Interrupted| Trouble::Interrupted(crate::deploy::runner::interrupted()))
    }
}

fn inside(receipt: &DrainReceipt) -> String {
    format!(
        "draining {}: {} inside after {}",
        receipt.slot,
        phrase::counts(&receipt.in_flight),
        phrase::duration(receipt.seconds.round())
    )
}

/// What the replicas have to say for themselves, a line each.
fn words_of(evidence: &Evidence) -> Vec<String> {
    let mut lines = Vec::new();
    for replica in &evidence.replicas {
        lines.push(format!("{}: {}", replica.container, replica.state));
        lines.extend(replica.health.iter().map(|answer| format!("  HEALTHCHECK: {answer}")));
        lines.extend(replica.logs.iter().map(|line| format!("  | {line}")));
    }
    lines
}

/// A version as the value of an answer header: printable ASCII without blanks (RFC 9110 section 5.5).
fn header_word(version: &str) -> String {
    version.chars().map(|c| if c.is_ascii_graphic() { c } else { '-' }).collect()
}
