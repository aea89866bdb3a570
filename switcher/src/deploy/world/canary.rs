//! The stage `canary`: the proxy sends a part of the clients to the new version and judges; this leads it from one share
//! to the next, and takes everybody back when it ends badly.

use std::time::Duration;

use switcher_config::wire::{AppStatus, Canary, CanaryAbortRequest, CanaryRequest, CanaryResult};
use switcher_config::{Generation, Slot};
use tokio::time::{Instant, sleep};

use super::{Trouble, World, cause, stopped};
use crate::aftermath;
use crate::code::Code;
use crate::deploy::canary::{CanaryOrder, Look};
use crate::deploy::machine::{Cause, Effect, Fact, Machine};
use crate::deploy::order::Stage;
use crate::failure::Live;
use crate::mutation::{Mutation, Settled};
use crate::phrase;

/// How often a step is looked at.
const LOOK: Duration = Duration::from_millis(500);

impl World<'_> {
    /// A part of the clients after the other is served well.
    pub(super) async fn canary(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let Some(order) = machine.order.canary.clone() else { return Ok(None) };
        let (mut generation, mut warnings) = (machine.expected(), Vec::new());
        for number in 0..order.steps.len() {
            generation = self.begin_step(machine, &order, number, generation).await?;
            warnings.extend(self.step_through(machine, &order, number, generation).await?);
        }
        self.site.ctx.reporter.done();
        Ok(Some(Fact::Canaried { generation, warnings }))
    }

    /// The next share; answers the generation afterwards.
    async fn begin_step(
        &self,
        machine: &Machine,
        order: &CanaryOrder,
        number: usize,
        expected: Generation,
    ) -> Result<Generation, Trouble> {
        let (site, slot, share) = (self.site, machine.order.slot, order.steps[number]);
        let status = self.as_left(machine, expected).await?;
        let request = CanaryRequest {
            force: machine.order.force,
            expected_generation: Some(expected),
            fence: Some(self.fence()),
            ..order.request(slot, share)
        };
        let mutation = self.mutation(&status);
        let settled = mutation
            .settle(
                async || site.admin.canary(&site.app, &request).await,
                |seen| aftermath::of_canary(seen, expected, slot),
            )
            .await
            .map_err(|failure| Trouble::of(&failure))?;
        let text = step_words(order, number, slot);
        site.ctx.reporter.step(&text);
        self.goes_on(machine, &Effect::Stage { stage: Stage::Canary }, &text).await;
        Ok(match settled {
            Settled::Replied(changed) => changed.generation,
            Settled::Seen(seen) => seen.generation,
        })
    }

    /// Waits until the proxy has judged a step; answers what is worth a warning.
    async fn step_through(
        &mut self,
        machine: &Machine,
        order: &CanaryOrder,
        number: usize,
        generation: Generation,
    ) -> Result<Option<String>, Trouble> {
        let (site, slot, share) = (self.site, machine.order.slot, order.steps[number]);
        let mut over: Option<Instant> = None;
        loop {
            let status = self.as_left(machine, generation).await?;
            let Some(canary) = &status.canary else { return Err(self.moved(&status, generation)) };
            let waited = over.map(|since| since.elapsed()).unwrap_or_default();
            match order.look(canary, waited) {
                Look::Passed => return Ok(None),
                Look::Going => over = None,
                Look::Waits(why) => {
                    if over.is_none() {
                        over = Some(Instant::now());
                        let text =
                            format!("{share} of the clients is held for at most {}: {why}", order.hold);
                        site.ctx.reporter.step(&text);
                        self.goes_on(machine, &Effect::Stage { stage: Stage::Canary }, &text).await;
                    }
                }
                Look::Unjudged(why) => {
                    let warning = format!("the canary with {share} of the clients was not judged: {why}");
                    site.ctx.reporter.step(&format!("warning: {warning}"));
                    return Ok(Some(warning));
                }
                Look::GivenUp(why) => return Err(given_up(machine, canary, &why)),
            }
            site.ctx.reporter.waiting(&format!(
                "{}: {}",
                step_words(order, number, slot),
                phrase::figures(&canary.seen)
            ));
            self.unless_interrupted(sleep(LOOK)).await.map_err(stopped)?;
        }
    }

    /// The application as we left it: of that generation, and with its canary going on if it has begun.
    async fn as_left(&self, machine: &Machine, expected: Generation) -> Result<AppStatus, Trouble> {
        let status = self.seen().await?;
        let begun = expected != machine.expected();
        if let Some(ended) =
            status.canary.as_ref().filter(|_| begun).and_then(|canary| ended(machine, canary))
        {
            return Err(ended);
        }
        self.refuse_live(&status, machine.order.slot)?;
        if status.generation == expected { Ok(status) } else { Err(self.moved(&status, expected)) }
    }

    /// Everybody who is on the canary's side is taken back, if it still goes on; the drain goes on by itself.
    pub(super) async fn end_canary(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let (site, slot) = (self.site, machine.order.slot);
        let status = self.seen().await?;
        let going =
            status.canary.as_ref().is_some_and(|canary| canary.outcome.is_none() && canary.slot == slot);
        if !going {
            return Ok(None);
        }
        let expected = status.generation;
        let request = CanaryAbortRequest {
            expected_generation: Some(expected),
            drain: machine.order.drain,
            fence: Some(self.fence()),
        };
        let mutation = self.mutation(&status);
        let settled = mutation
            .settle(
                async || site.admin.abort_canary(&site.app, &request).await,
                |seen| aftermath::of_canary_abort(seen, expected),
            )
            .await;
        match settled {
            Ok(_) => Ok(None),
            Err(failure) => {
                // It may have ended by itself meanwhile.
                let status = self.seen().await?;
                let going = status.canary.as_ref().is_some_and(|canary| canary.outcome.is_none());
                if going { Err(Trouble::of(&failure)) } else { Ok(None) }
            }
        }
    }

    fn mutation(&self, status: &AppStatus) -> Mutation<'_> {
        let site = self.site;
        Mutation { ctx: site.ctx, admin: &site.admin, app: &site.app, live: Live::of(&site.app, status) }
    }
}

fn step_words(order: &CanaryOrder, number: usize, slot: Slot) -> String {
    format!(
        "{slot} has {} of the clients, judged for {} (step {} of {})",
        order.steps[number],
        order.every,
        number + 1,
        order.steps.len()
    )
}

/// Why a canary ended although nobody of us ended it; none while it goes on, or when its slot is live.
pub(super) fn ended(machine: &Machine, canary: &Canary) -> Option<Trouble> {
    let outcome = canary.outcome.as_ref()?;
    let (version, share) = (&machine.order.release.version, canary.rules.share);
    let why = outcome.reasons.join("; ");
    let (code, message) = match outcome.result {
        CanaryResult::Worse => (
            Code::CanaryWorse,
            format!(
                "{version} was worse than the live version with {share} of the clients, and they were taken back: {why}"
            ),
        ),
        CanaryResult::Unhealthy => (
            Code::CanaryWorse,
            format!("{version} was not healthy with {share} of the clients, and they were taken back: {why}"),
        ),
        CanaryResult::Aborted => (
            Code::CanaryTaken,
            format!("somebody took back the clients of {version}, which had {share} of them"),
        ),
        CanaryResult::Superseded => (
            Code::CanaryTaken,
            format!("the canary of {version} with {share} of the clients was ended by another change: {why}"),
        ),
        CanaryResult::Promoted => return None,
    };
    Some(Trouble::Failed(with_figures(code, message, machine, canary)))
}

fn given_up(machine: &Machine, canary: &Canary, why: &str) -> Trouble {
    let message = format!(
        "{} could not be judged with {} of the clients, and they are taken back: {why} (`on_inconclusive: go_on` in \
         `deploy.canary` goes on when few come)",
        machine.order.release.version, canary.rules.share
    );
    Trouble::Failed(with_figures(Code::CanaryUnjudged, message, machine, canary))
}

/// A cause with every figure.
fn with_figures(code: Code, message: String, machine: &Machine, canary: &Canary) -> Cause {
    let slot = machine.order.slot;
    let evidence = vec![
        format!("{}: {}", slot.other(), phrase::figures(&canary.baseline)),
        format!("{slot}: {}", phrase::figures(&canary.seen)),
    ];
    Cause { evidence, ..cause(code, message) }
}
