//! Performs the effects of a deployment in the real world: hooks, engine, database, slots, proxy, state.
//!
//! Every effect may be performed twice. An effect says whether it failed, was interrupted, or left nobody
//! knowing; it never decides what comes next.

mod bake;
mod canary;
mod database;
mod hooks;
mod progress;
mod slots;
mod smoke;
mod traffic;
pub(crate) mod verify;
pub(crate) mod writing;

use std::future::Future;

use async_trait::async_trait;
use switcher_config::wire::{DrainReceipt, Fence};

use super::machine::{Cause, Effect, Event, Fact, Machine};
use super::order::Stage;
use super::runner::{Performed, Performer, interrupted};
use super::site::Site;
use super::undo::Undo;
use crate::code::Code;
use crate::failure::Failure;
use crate::interrupt::{Interrupt, Interrupted};
use crate::log::{DeploymentLog, Level};
use crate::runtime::Runtime;
use crate::state::Lease;

/// The surroundings of one deployment, under one lease.
pub(crate) struct World<'a> {
    pub(crate) site: &'a Site<'a>,
    pub(crate) lease: &'a Lease,
    pub(crate) log: DeploymentLog,
    pub(crate) interrupt: Interrupt,
    /// Return as soon as traffic has moved.
    pub(crate) detach: bool,
    /// How the old slot emptied.
    pub(crate) receipt: Option<DrainReceipt>,
    /// Somebody wants traffic back: what only tells whether the switch was good is left out.
    pub(crate) haste: bool,
    /// The failure that is being undone is told to the hook `on_failure`.
    pub(crate) undoing: bool,
}

/// Why an effect was not performed.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It failed; nothing is left that its undoing does not remove.
    Failed(Cause),
    /// Somebody asked to stop.
    Interrupted(Cause),
    /// Nobody knows what happened, or it cannot be done now: the journal stays open.
    Unknown(Cause),
}

impl Trouble {
    /// It failed.
    pub(crate) fn failed(code: Code, message: impl Into<String>) -> Self {
        Self::Failed(cause(code, message))
    }

    /// Somebody asked to stop.
    pub(crate) fn interrupted(code: Code, message: impl Into<String>) -> Self {
        Self::Interrupted(cause(code, message))
    }

    /// What a command would have said.
    pub(crate) fn of(failure: &Failure) -> Self {
        let cause = cause(failure.code, failure.message.clone());
        if failure.code == Code::StateUnknown {
            Self::Unknown(cause)
        } else if failure.code == Code::InterruptedBefore {
            Self::Interrupted(cause)
        } else {
            Self::Failed(cause)
        }
    }
}

/// A cause without evidence.
pub(crate) fn cause(code: Code, message: impl Into<String>) -> Cause {
    Cause { code: code.as_str().to_owned(), message: message.into(), evidence: Vec::new() }
}

impl World<'_> {
    /// What the proxy checks our changes by.
    pub(crate) fn fence(&self) -> Fence {
        self.site.fence(self.lease)
    }

    fn runtime(&self) -> Result<&dyn Runtime, Trouble> {
        self.site.runtime().map_err(|failure| Trouble::of(&failure))
    }

    /// Waits for `work`, unless somebody asks to stop; while something is undone nobody is heard.
    async fn unless_interrupted<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        if self.undoing { Ok(work.await) } else { self.interrupt.unless(work).await }
    }

    /// What an effect does, for people.
    fn says(&self, machine: &Machine, effect: &Effect) -> String {
        match effect {
            Effect::Stage { stage } => self.site.says(machine, *stage),
            Effect::Undo { undo } => match undo {
                Undo::EndCanary => {
                    format!("undoing: taking the clients of {} back", machine.order.slot)
                }
                Undo::Record => "recording the failure".to_owned(),
                Undo::DeactivateNew
                | Undo::ActivateOld
                | Undo::DeactivateOld
                | Undo::ActivateNew
                | Undo::PostRollback
                | Undo::OnFailure => format!("undoing: the hook {}", undo.as_str()),
                Undo::Return => format!("moving traffic back to {}", machine.order.slot.other()),
                Undo::Withdraw => format!("undoing: taking {} away from the proxy", machine.order.slot),
                Undo::Remove => format!("undoing: removing what was started in {}", machine.order.slot),
            },
        }
    }

    async fn stage(&mut self, machine: &Machine, stage: Stage) -> Result<Option<Fact>, Trouble> {
        match stage {
            Stage::PreDeploy
            | Stage::PrePromote
            | Stage::Deactivate
            | Stage::Activate
            | Stage::Retire
            | Stage::PostPromote
            | Stage::PostRollback => self.hook_of(machine, stage).await,
            Stage::Pull => self.pull(machine).await,
            Stage::Inspect => self.inspect(machine).await,
            Stage::Snapshot => self.snapshot(machine).await,
            Stage::Migrate => self.migrate(machine).await,
            Stage::Vacate => self.vacate(machine).await,
            Stage::Start => self.start(machine).await,
            Stage::Register => self.register(machine).await,
            Stage::Probe => self.probe(machine).await,
            Stage::Smoke => self.smoke(machine).await,
            Stage::Canary => self.canary(machine).await,
            Stage::Promote => self.promote(machine).await,
            Stage::Verify => self.verify(machine).await,
            Stage::Drain => self.drain(machine).await,
            Stage::Bake => self.bake(machine).await,
            Stage::Record => self.record(machine).await,
        }
    }

    async fn undo(&mut self, machine: &Machine, undo: Undo) -> Result<Option<Fact>, Trouble> {
        match undo {
            Undo::EndCanary => self.end_canary(machine).await,
            Undo::DeactivateNew
            | Undo::ActivateOld
            | Undo::DeactivateOld
            | Undo::ActivateNew
            | Undo::PostRollback
            | Undo::OnFailure => self.hook_again(machine, undo).await,
            Undo::Return => self.go_back(machine).await,
            Undo::Withdraw => {
                let generation = self.withdraw(machine.order.slot).await?;
                Ok(Some(Fact::Registered { generation }))
            }
            Undo::Remove => self.remove(machine).await,
            Undo::Record => self.record(machine).await,
        }
    }
}

#[async_trait(?Send)]
impl Performer for World<'_> {
    async fn perform(&mut self, machine: &Machine, effect: &Effect) -> Performed {
        self.undoing = matches!(effect, Effect::Undo { .. });
        self.begins(machine, effect).await;
        let done = match effect {
            Effect::Stage { stage } => Box::pin(self.stage(machine, *stage)).await,
            Effect::Undo { undo } => Box::pin(self.undo(machine, *undo)).await,
        };
        self.site.ctx.reporter.done();
        self.ended(machine, effect, &done).await;
        match done {
            Ok(fact) => Performed::Event(Event::Performed { fact }),
            Err(Trouble::Failed(cause)) => Performed::Event(Event::Failed { cause }),
            Err(Trouble::Interrupted(cause)) => Performed::Event(Event::Interrupted { cause }),
            Err(Trouble::Unknown(cause)) => Performed::Unknown(cause),
        }
    }

    fn announce(&mut self, machine: &Machine, effect: &Effect) {
        let text = self.says(machine, effect);
        self.log.write(Level::Info, name(effect), &text, &[]);
        self.site.ctx.reporter.step(&text);
    }

    fn report(&mut self, machine: &Machine, effect: &Effect, event: &Event) {
        match event {
            Event::Performed { fact: Some(Fact::Warning { warning }) } => {
                self.log.write(Level::Warn, name(effect), warning, &[]);
                self.site.ctx.reporter.step(&format!("warning: {warning}"));
            }
            Event::Performed {
                fact:
                    Some(Fact::WentBack { cause, .. } | Fact::Stays { cause } | Fact::Unverified { cause, .. }),
            } => {
                self.log.write(Level::Error, name(effect), &cause.message, &[]);
                for line in &cause.evidence {
                    self.log.write(Level::Error, name(effect), line, &[]);
                }
                self.site.ctx.reporter.step(&cause.message);
            }
            Event::Performed { .. } => self.log.write(Level::Info, name(effect), "done", &[]),
            Event::Failed { cause } | Event::Interrupted { cause } => {
                self.log.write(Level::Error, name(effect), &cause.message, &[]);
                for line in &cause.evidence {
                    self.log.write(Level::Error, name(effect), line, &[]);
                }
                let moved = if machine.has_moved() { "warning" } else { "failed" };
                self.site.ctx.reporter.step(&format!("{moved}: {}", cause.message));
            }
        }
    }
}

/// The word of an effect in logs.
fn name(effect: &Effect) -> &'static str {
    match effect {
        Effect::Stage { stage } => stage.as_str(),
        Effect::Undo { undo } => undo.as_str(),
    }
}

/// What an interrupt during a stage comes to.
fn stopped(Interrupted: Interrupted) -> Trouble {
    Trouble::Interrupted(interrupted())
}
