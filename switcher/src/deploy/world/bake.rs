//! The bake as it is seen from here: the proxy judges, and goes back by itself. This waits, and tells what happened.

use switcher_config::wire::{Bake, BakeOutcome, BakeResult, RefusalReason};
use switcher_config::{Generation, OnInconclusive, Span};

use super::{Trouble, World};
use crate::admin::AdminError;
use crate::code::Code;
use crate::deploy::machine::{Cause, Fact, Machine, Moved};
use crate::failure::Live;
use crate::interrupt::Interrupted;
use crate::mutation::patiently;
use crate::phrase;

impl World<'_> {
    /// Waits for the proxy's verdict on the switch of this deployment.
    pub(super) async fn bake(&mut self, machine: &Machine) -> Result<Option<Fact>, Trouble> {
        let Some(moved) = machine.facts.switched.clone() else { return Ok(None) };
        let wait = Span(self.site.ctx.reporter.interval());
        loop {
            let site = self.site;
            let look = patiently(async || site.admin.bake(&site.app, wait).await);
            let bake = match self.unless_interrupted(look).await {
                Ok(Ok(bake)) => bake,
                Ok(Err(error)) => return self.no_bake(machine, &moved, error).await,
                Err(Interrupted) => {
                    let message = format!(
                        "{} was not waited for; the proxy goes on judging it, and goes back by itself when it is worse",
                        machine.order.slot
                    );
                    return Err(Trouble::Unknown(super::cause(Code::InterruptedDrain, message)));
                }
            };
            if bake.generation != moved.generation {
                return self.not_judged(machine, "another switch is judged").await.map(Some);
            }
            let Some(outcome) = &bake.outcome else {
                if self.detach {
                    let warning =
                        format!("{}; `switcher repair` records it if traffic goes back", phrase::bake(&bake));
                    return Ok(Some(Fact::Warning { warning }));
                }
                site.ctx.reporter.waiting(&phrase::bake(&bake));
                continue;
            };
            site.ctx.reporter.done();
            if outcome.result == BakeResult::Superseded {
                return self.not_judged(machine, &outcome.reasons.join("; ")).await.map(Some);
            }
            return Ok(ended(machine, &bake, outcome));
        }
    }

    /// The proxy tells nothing of a bake.
    async fn no_bake(
        &self,
        machine: &Machine,
        moved: &Moved,
        error: AdminError,
    ) -> Result<Option<Fact>, Trouble> {
        let forgotten =
            matches!(&error, AdminError::Refused(refusal) if refusal.reason == RefusalReason::UnknownBake);
        if forgotten {
            return self.not_judged(machine, "the proxy knows of no bake").await.map(Some);
        }
        let site = self.site;
        let why = site.ctx.diagnose(&site.admin, error, Some(&site.app), Live::No).message;
        let message = format!(
            "how {} is judged since generation {} is not known: {why}",
            machine.order.slot, moved.generation
        );
        Err(Trouble::Unknown(super::cause(Code::BakeLost, message)))
    }

    /// Nobody judged it to the end. What is live is looked at, and never guessed.
    async fn not_judged(&self, machine: &Machine, why: &str) -> Result<Fact, Trouble> {
        let status = self.seen().await?;
        let slot = machine.order.slot;
        if status.active == slot {
            return Ok(Fact::Warning { warning: format!("{slot} was not judged to the end: {why}") });
        }
        let message =
            format!("somebody moved traffic back to {} while {slot} was judged: {why}", status.active);
        Ok(Fact::WentBack { generation: status.generation, cause: super::cause(Code::BakeWorse, message) })
    }
}

/// What a verdict means for the deployment.
fn ended(machine: &Machine, bake: &Bake, outcome: &BakeOutcome) -> Option<Fact> {
    if let Some(generation) = outcome.rolled_back {
        return Some(went_back(machine, bake, outcome, generation));
    }
    if let Some(why) = &outcome.stays {
        let version = &machine.order.release.version;
        let message = format!(
            "{version} is worse than the version before and stays live in {}, because traffic could not go back: {why}; {}",
            bake.to,
            outcome.reasons.join("; ")
        );
        return Some(Fact::Stays { cause: cause(Code::BakeStays, message, bake) });
    }
    let notes = outcome.reasons.join("; ");
    match outcome.result {
        BakeResult::Inconclusive => {
            Some(Fact::Warning { warning: format!("the bake was inconclusive, and it is kept: {notes}") })
        }
        BakeResult::Passed | BakeResult::Worse | BakeResult::Superseded if notes.is_empty() => None,
        BakeResult::Passed | BakeResult::Worse | BakeResult::Superseded => {
            Some(Fact::Warning { warning: notes })
        }
    }
}

fn went_back(machine: &Machine, bake: &Bake, outcome: &BakeOutcome, generation: Generation) -> Fact {
    let version = &machine.order.release.version;
    let unknown =
        outcome.result == BakeResult::Inconclusive && bake.limits.on_inconclusive == OnInconclusive::Rollback;
    let what = if unknown { "could not be judged" } else { "was worse than the version before" };
    let message = format!(
        "{version} {what} under live traffic, and the proxy moved traffic back to {} (generation {generation}): {}",
        bake.from,
        outcome.reasons.join("; ")
    );
    Fact::WentBack { generation, cause: cause(Code::BakeWorse, message, bake) }
}

/// A cause with every figure.
fn cause(code: Code, message: String, bake: &Bake) -> Cause {
    let evidence = vec![
        format!("{} before: {}", bake.from, phrase::figures(&bake.baseline)),
        format!("{} since the switch: {}", bake.to, phrase::figures(&bake.seen)),
    ];
    Cause { code: code.as_str().to_owned(), message, evidence }
}
