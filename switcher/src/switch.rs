//! Making a slot live, from the first look to the receipt: the one path of `promote`, `rollback` and the deployer.
//!
//! Invariant: an interrupt leaves only the waits before and after the change, so the command always knows,
//! and says, whether traffic has moved.

use std::future::ready;
use std::time::Duration;

use jiff::Timestamp;
use switcher_config::wire::{
    AppStatus, DrainReceipt, Fence, PromoteRequest, Receipt, RefusalReason, Switched,
};
use switcher_config::{AppName, BakeLimits, Generation, Slot, Span};
use tokio::time::{Instant, sleep};

use crate::admin::{Admin, AdminError};
use crate::aftermath;
use crate::code::Code;
use crate::context::Context;
use crate::decide::{Decision, decide};
use crate::failure::{Failure, Live};
use crate::interrupt::{Interrupt, Interrupted};
use crate::mutation::{Mutation, Settled, patiently};
use crate::phrase;

/// How a switch is wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) wait_healthy: Option<Span>,
    pub(crate) force: bool,
    pub(crate) detach: bool,
    pub(crate) drain_timeout: Option<Span>,
    /// The lease it is done under: the proxy refuses it once a newer one was shown.
    pub(crate) fence: Option<Fence>,
    /// How it is judged on live traffic; the proxy goes back by itself when it is worse.
    pub(crate) bake: Option<BakeLimits>,
    /// What is left is left because it is bad: no visitor stays there.
    pub(crate) at_once: bool,
    /// Traffic is brought back: no signal stops it.
    pub(crate) unstoppable: bool,
    /// The generation that the decision to switch was made on. Without one, what the status shows is adopted.
    pub(crate) expected: Option<Generation>,
}

/// How a switch ended well.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Traffic moved.
    Moved(Box<Receipt>),
    /// The slot was live and healthy before.
    NothingToDo(Box<AppStatus>),
}

/// What the switch itself came to.
#[derive(Debug)]
pub(crate) enum Move {
    /// Traffic moved.
    Moved(Switched),
    /// The slot was live and healthy before.
    NothingToDo(Box<AppStatus>),
}

/// One switch.
pub(crate) struct Switch<'a> {
    pub(crate) ctx: &'a Context,
    pub(crate) admin: &'a Admin,
    pub(crate) app: &'a AppName,
    pub(crate) slot: Slot,
    pub(crate) options: Options,
    pub(crate) interrupt: Interrupt,
}

/// How often a slot that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(200);

impl Switch<'_> {
    /// Performs it, beginning with what was seen.
    pub(crate) async fn perform(mut self, status: AppStatus) -> Result<Outcome, Failure> {
        self.as_expected(&status)?;
        let status = self.wait_until_healthy(status).await?;
        let switched = match self.make_live(status).await? {
            Move::Moved(switched) => switched,
            Move::NothingToDo(status) => return Ok(Outcome::NothingToDo(status)),
        };
        let drain = if self.options.detach { None } else { Some(self.wait_for_drain(&switched).await?) };
        Ok(Outcome::Moved(Box::new(Receipt {
            app: self.app.clone(),
            from: switched.from,
            to: switched.to,
            generation: switched.generation,
            switched_at: switched.switched_at,
            switch_micros: switched.switch_micros,
            drain,
        })))
    }

    /// The switch itself, without the waits before and after it.
    pub(crate) async fn make_live(&mut self, status: AppStatus) -> Result<Move, Failure> {
        self.as_expected(&status)?;
        let expected = match decide(&status, self.slot, self.options.force) {
            Decision::Go { expected } => expected,
            Decision::Done => return Ok(Move::NothingToDo(Box::new(status))),
            objection @ (Decision::LiveButNotHealthy { .. }
            | Decision::Empty
            | Decision::NotHealthy { .. }) => return Err(self.objection(&objection, &status)),
        };
        if !self.options.unstoppable {
            self.interrupt.unless(ready(())).await.map_err(|Interrupted| self.interrupted_before(&status))?;
        }
        let switched = self.ask(&status, expected).await?;
        self.ctx.reporter.step(&format!(
            "traffic has moved: {} is live in {} (generation {})",
            switched.to, self.app, switched.generation
        ));
        Ok(Move::Moved(switched))
    }

    /// Whether the status is the one that the decision to switch was made on.
    fn as_expected(&self, seen: &AppStatus) -> Result<(), Failure> {
        let Some(expected) = self.options.expected.filter(|expected| *expected != seen.generation) else {
            return Ok(());
        };
        let message = format!(
            "somebody else changed {}: its generation is {}, and {expected} was expected",
            self.app, seen.generation
        );
        Err(self.failure(Code::GenerationMoved, message, seen, self.ctx.command("status")))
    }

    /// With `--wait-healthy`: looks until the slot may be switched to, or the time is over.
    async fn wait_until_healthy(&mut self, first: AppStatus) -> Result<AppStatus, Failure> {
        let Some(patience) = self.options.wait_healthy else { return Ok(first) };
        let deadline = Instant::now() + patience.0;
        let mut seen = first.clone();
        loop {
            let Decision::NotHealthy { reason, .. } = decide(&seen, self.slot, false) else {
                self.ctx.reporter.done();
                return Ok(seen);
            };
            if seen.generation != first.generation {
                self.ctx.reporter.done();
                return Err(self.moved_meanwhile(&first, &seen));
            }
            if Instant::now() >= deadline {
                self.ctx.reporter.done();
                let message = format!(
                    "{} of {} did not become healthy within {patience}: {reason}",
                    self.slot, self.app
                );
                return Err(self.failure(Code::HealthTimeout, message, &seen, self.ctx.command("status")));
            }
            self.ctx.reporter.waiting(&format!("waiting for {} to become healthy: {reason}", self.slot));
            let (ctx, admin) = (self.ctx, self.admin);
            let look = async move {
                sleep(LOOK.min(deadline.saturating_duration_since(Instant::now()))).await;
                ctx.app(admin).await
            };
            let looked = self.interrupt.unless(look).await;
            seen = looked.map_err(|Interrupted| self.interrupted_before(&first))??.1;
        }
    }

    /// Asks the proxy to switch; a lost reply is made good by the status.
    async fn ask(&self, status: &AppStatus, expected: Generation) -> Result<Switched, Failure> {
        let request = PromoteRequest {
            slot: self.slot,
            expected_generation: Some(expected),
            force: self.options.force,
            drain: self.options.drain_timeout,
            fence: self.options.fence.clone(),
            bake: self.options.bake.clone(),
            // A proxy that shows nothing of it knows no such wish, and needs none.
            at_once: self.options.at_once && status.release_affinity.is_some(),
        };
        let asked_at = Timestamp::now();
        let live = Live::of(self.app, status);
        let mutation = Mutation { ctx: self.ctx, admin: self.admin, app: self.app, live };
        let settled = mutation
            .settle(
                async || self.admin.promote(self.app, &request).await,
                |seen| aftermath::of_switch(seen, expected, self.slot),
            )
            .await?;
        Ok(match settled {
            Settled::Replied(switched) => switched,
            Settled::Seen(seen) => reconstructed(&seen, self.slot, expected, asked_at),
        })
    }

    /// Waits until the old slot is empty, saying what is still inside.
    async fn wait_for_drain(&mut self, switched: &Switched) -> Result<DrainReceipt, Failure> {
        let (admin, app, generation) = (self.admin, self.app, switched.drained_generation);
        let wait = Span(self.ctx.reporter.interval());
        loop {
            let look = patiently(async || admin.drain(app, generation, wait).await);
            let looked = self.interrupt.unless(look).await;
            let receipt = match looked {
                Ok(Ok(receipt)) => receipt,
                Ok(Err(error)) => {
                    self.ctx.reporter.done();
                    return Err(self.drain_lost(error, switched));
                }
                Err(Interrupted) => {
                    self.ctx.reporter.done();
                    return Err(self.interrupted_drain(switched));
                }
            };
            if receipt.drained {
                self.ctx.reporter.done();
                return Ok(receipt);
            }
            self.ctx.reporter.waiting(&format!(
                "draining {}: {} inside after {}",
                receipt.slot,
                phrase::counts(&receipt.in_flight),
                phrase::duration(receipt.seconds.round())
            ));
        }
    }

    /// Why the switch is not even asked for.
    fn objection(&self, decision: &Decision, status: &AppStatus) -> Failure {
        let (slot, app, ctx) = (self.slot, self.app, self.ctx);
        let next = match decision {
            Decision::LiveButNotHealthy { .. } => ctx.command("rollback"),
            Decision::Empty => ctx.command(&format!("register {slot} HOST:PORT")),
            Decision::NotHealthy { .. } => ctx.command(&format!("promote {slot} --wait-healthy 30s")),
            Decision::Go { .. } | Decision::Done => ctx.command("status"),
        };
        let live = |reason: &str| format!("{slot} of {app} is live already, but it is not healthy: {reason}");
        let (code, message) = match (decision.unfit(app, slot), decision) {
            (Some(unfit), _) => unfit,
            (None, Decision::LiveButNotHealthy { reason }) => (Code::HealthLive, live(reason)),
            (None, Decision::Go { .. } | Decision::Done | Decision::Empty | Decision::NotHealthy { .. }) => {
                (Code::GenerationMoved, format!("{app} changed"))
            }
        };
        self.failure(code, message, status, next)
    }

    fn failure(&self, code: Code, message: String, status: &AppStatus, next: String) -> Failure {
        Failure::new(code, message, Live::of(self.app, status), next)
    }

    fn moved_meanwhile(&self, first: &AppStatus, seen: &AppStatus) -> Failure {
        let message = format!(
            "somebody else changed {} while this command waited: its generation went from {} to {}",
            self.app, first.generation, seen.generation
        );
        self.failure(Code::GenerationMoved, message, seen, self.ctx.command("status"))
    }

    fn interrupted_before(&self, status: &AppStatus) -> Failure {
        self.ctx.reporter.done();
        let message = "interrupted before anything was changed".to_owned();
        self.failure(Code::InterruptedBefore, message, status, self.ctx.again().to_owned())
    }

    fn interrupted_drain(&self, switched: &Switched) -> Failure {
        Failure::new(
            Code::InterruptedDrain,
            format!(
                "interrupted, but traffic HAS moved to {}; the drain of {} goes on in the proxy",
                switched.to, switched.from
            ),
            self.live_after(switched),
            self.ctx.command(&format!("drain {} --watch", switched.from)),
        )
    }

    /// The switch is done; only its drain's end was not heard of.
    fn drain_lost(&self, error: AdminError, switched: &Switched) -> Failure {
        let forgotten =
            matches!(&error, AdminError::Refused(refusal) if refusal.reason == RefusalReason::UnknownDrain);
        let failure = self.ctx.diagnose(self.admin, error, Some(self.app), self.live_after(switched));
        let moved = format!(
            "traffic has moved to {}, but how the drain of {} went is not known",
            switched.to, switched.from
        );
        let message = if forgotten {
            format!("{moved}: the proxy no longer remembers it, so it was restarted meanwhile")
        } else {
            format!("{moved}: {}", failure.message)
        };
        Failure { message, ..failure }
    }

    fn live_after(&self, switched: &Switched) -> Live {
        Live::Yes { app: self.app.clone(), slot: switched.to, generation: switched.generation }
    }
}

/// A switch whose reply was lost, as far as the status tells it. How long the swap took is not in it.
fn reconstructed(seen: &AppStatus, to: Slot, expected: Generation, asked_at: Timestamp) -> Switched {
    let from = to.other();
    let drain = seen.draining.iter().filter(|drain| drain.slot == from).max_by_key(|drain| drain.generation);
    Switched {
        generation: seen.generation,
        from,
        to,
        drained_generation: drain.map_or(expected, |drain| drain.generation),
        switched_at: drain.map_or(asked_at, |drain| drain.since),
        switch_micros: f64::NAN,
    }
}

#[cfg(test)]
mod tests;
