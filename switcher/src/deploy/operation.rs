//! One journaled operation from its lease to its last word: begins a deployment, or goes on with one that was cut.

use async_trait::async_trait;
use jiff::Timestamp;
use switcher_config::PerSlot;
use switcher_config::settings::NotifyEvent;
use switcher_config::wire::DrainReceipt;

use super::journal::{Entry, Told, replay};
use super::machine::{Cause, Event, Machine, Phase};
use super::order::{Order, Stage};
use super::recover::{Observed, Recovery, SeenMigration, SeenProxy, recover};
use super::runner::{Crash, Journal, Ran, Runner};
use super::site::Site;
use super::world::{World, cause, writing};
use super::{messenger, notice};
use crate::code::Code;
use crate::container::Container;
use crate::failure::{Failure, Live};
use crate::interrupt::Interrupt;
use crate::log::Level;
use crate::state::{Lease, LeaseError};

/// A deployment that is over.
#[derive(Debug)]
pub(crate) struct Finished {
    /// How it ended.
    pub(crate) machine: Machine,
    /// How the old slot emptied, where that was waited for.
    pub(crate) receipt: Option<DrainReceipt>,
}

/// A deployment of an earlier command that was brought to its end.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// What happened, as a sentence.
    pub(crate) sentence: String,
    /// Traffic went back to the version before, or a part of it that had gone first.
    pub(crate) went_back: bool,
}

/// How a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// With a new deployment.
    Fresh,
    /// With one that was cut short.
    Again,
    /// With one that was cut short, for somebody who wants traffic back.
    InHaste,
}

/// Operations under one lease.
pub(crate) struct Operator<'a> {
    pub(crate) site: &'a Site<'a>,
    pub(crate) lease: &'a Lease,
    pub(crate) interrupt: Interrupt,
    pub(crate) detach: bool,
}

impl Operator<'_> {
    /// Begins a deployment and runs it to its end.
    pub(crate) async fn begin(&self, order: Order) -> Result<Finished, Failure> {
        self.lease.hold_for(&order.id).map_err(|error| self.site.lease_failure(&error))?;
        self.run(Machine::new(order), Start::Fresh, None).await
    }

    /// Brings the deployment of an earlier command to its end, if there is one.
    pub(crate) async fn recover(&self) -> Result<Option<Recovered>, Failure> {
        self.recover_from(Start::Again).await
    }

    /// The same for somebody who wants traffic back: it ends without asking whether the switch was good.
    pub(crate) async fn recover_in_haste(&self) -> Result<Option<Recovered>, Failure> {
        self.recover_from(Start::InHaste).await
    }

    async fn recover_from(&self, start: Start) -> Result<Option<Recovered>, Failure> {
        let Some(told) = self.told()? else { return Ok(None) };
        let order = told.machine.order.clone();
        let began = format!(
            "the {} of {} ({}) that {} began was cut short during {}",
            order.purpose.as_str(),
            order.release.version,
            order.id,
            order.by,
            told.machine.stage().as_str()
        );
        self.site.ctx.reporter.step(&format!("{began}: bringing it to its end"));
        let seen = self.observe(&told.machine).await?;
        let finished = match recover(&told, &seen) {
            Recovery::Over => self.close(told.machine, None).await?,
            Recovery::Perform => self.run(told.machine, start, None).await?,
            Recovery::Happened(event) => self.run(told.machine, start, Some(event)).await?,
        };
        let end = match (&finished.machine.phase, finished.machine.has_moved()) {
            (Phase::Failed { cause, .. }, true) => format!("traffic went back: {}", cause.message),
            (Phase::Failed { .. }, _) => "it was undone; the version before serves as before".to_owned(),
            (_, true) => format!("traffic had moved, so it was finished: {} is live", order.release.version),
            (_, false) => format!("{} waits in {}", order.release.version, order.slot),
        };
        let taken_back = matches!(finished.machine.phase, Phase::Failed { .. })
            && finished.machine.has_begun(Stage::Canary);
        let went_back = finished.machine.facts.went_back.is_some() || taken_back;
        Ok(Some(Recovered { sentence: format!("{began}; {end}"), went_back }))
    }

    /// What the journal of an earlier command says; none when there is none.
    fn told(&self) -> Result<Option<Told>, Failure> {
        let entries =
            self.lease.journal().read::<Entry>().map_err(|error| self.site.state_failure(&error))?;
        replay(entries.unwrap_or_default()).map_err(|error| {
            let file = self.site.store.folder().join("journal.jsonl");
            let message = format!("the journal {} cannot be understood: {error}", file.display());
            Failure::new(Code::JournalDamaged, message, Live::Unchanged, self.site.ctx.command("repair"))
        })
    }

    /// Gives the deployment of an earlier command up, if there is one: it is recorded as it is, and nothing that it
    /// started is undone.
    pub(crate) async fn abandon(&self) -> Result<Option<Recovered>, Failure> {
        let Some(told) = self.told()? else { return Ok(None) };
        let at = told.machine.stage();
        let message = format!("it was given up during {}; what it started was left", at.as_str());
        let abandoned = cause(Code::DeployOpen, message.clone());
        let mut machine = told.machine;
        if machine.has_moved() {
            machine.facts.warnings.push(message);
            machine.phase = Phase::Done;
        } else if !machine.is_done() {
            machine.phase = Phase::Failed { at, cause: abandoned };
        }
        writing::write(self.lease, &machine).map_err(|error| self.site.lease_failure(&error))?;
        let order = &machine.order;
        let sentence = format!(
            "the {} of {} ({}) was given up during {}",
            order.purpose.as_str(),
            order.release.version,
            order.id,
            at.as_str()
        );
        self.tell(&machine, NotifyEvent::Attention, None).await;
        self.put_away(&machine)?;
        Ok(Some(Recovered { sentence, went_back: false }))
    }

    /// What `recover` has to know of the world.
    async fn observe(&self, machine: &Machine) -> Result<Observed, Failure> {
        let site = self.site;
        let status = site.status().await?;
        let drains = status.draining.iter().filter(|drain| drain.slot == machine.order.slot.other());
        let running = site.runtime()?.running().await.map_err(|error| site.runtime_failure(&error))?;
        let there = site.migration_container().await?;
        let ours = |container: &Container| container.deployment().as_ref() == Some(&machine.order.id);
        let migration = match there.filter(ours) {
            Some(_) => SeenMigration::Present,
            None => SeenMigration::Absent,
        };
        Ok(Observed {
            proxy: SeenProxy {
                active: status.active,
                generation: status.generation,
                draining: drains.map(|drain| drain.generation).max(),
                judged: status.bake.as_ref().map(|bake| (bake.to, bake.generation)),
            },
            inside: PerSlot::from_fn(|slot| {
                running.get(slot).as_ref().map(|inside| inside.deployment.clone())
            }),
            migration,
            at: Timestamp::now(),
        })
    }

    async fn run(&self, machine: Machine, start: Start, event: Option<Event>) -> Result<Finished, Failure> {
        let log = self.site.log_of(self.lease, &machine.order.id)?;
        let mut world = World {
            site: self.site,
            lease: self.lease,
            log,
            interrupt: self.interrupt.clone(),
            detach: self.detach,
            receipt: None,
            haste: start == Start::InHaste,
            undoing: false,
        };
        let mut runner = Runner {
            journal: self.lease,
            performer: &mut world,
            interrupt: self.interrupt.clone(),
            crash: Crash::from_process(),
        };
        let ran = match start {
            Start::Fresh => runner.begin(machine).await,
            Start::Again | Start::InHaste => runner.go_on(machine, event).await,
        };
        self.site.ctx.reporter.done();
        match ran {
            Ran::Over(machine) => self.close(machine, world.receipt).await,
            Ran::Suspended { machine, cause } => {
                self.alert(&machine, &cause).await;
                Err(self.suspended(&machine, cause).await)
            }
            Ran::Quit(machine) => Err(self.quit(&machine).await),
            Ran::Lost { machine, error } => {
                let failure = self.site.lease_failure(&error);
                if machine.has_moved() {
                    return Err(self.moved(&machine, &failure.message).await);
                }
                let message = format!(
                    "{} of {} stopped: {}",
                    machine.order.purpose.as_str(),
                    machine.order.release.version,
                    failure.message
                );
                Err(Failure { message, live: self.site.live().await, ..failure })
            }
        }
    }

    /// Tells those who want to hear of it, and puts the journal away. A command that dies in between leaves both to the
    /// next one: rather told twice, by the same name, than never.
    async fn close(&self, machine: Machine, receipt: Option<DrainReceipt>) -> Result<Finished, Failure> {
        if let Some(event) = notice::event(&machine) {
            self.tell(&machine, event, None).await;
        }
        self.put_away(&machine)?;
        Ok(Finished { machine, receipt })
    }

    fn put_away(&self, machine: &Machine) -> Result<(), Failure> {
        let archived = self.lease.journal().archive(&machine.order.id);
        archived.map(drop).map_err(|error| self.site.lease_failure(&error))
    }

    /// Whoever cannot be told is a warning; another signal ends the wait.
    async fn tell(&self, machine: &Machine, event: NotifyEvent, open: Option<&Cause>) {
        let mut interrupt = self.interrupt.clone();
        let telling = messenger::tell(self.site, machine, event, open);
        let told = match interrupt.was_heard() {
            true => interrupt.unless_twice(telling).await,
            false => interrupt.unless(telling).await,
        };
        for warning in told.unwrap_or_default() {
            self.site.ctx.reporter.step(&format!("warning: {warning}"));
            if let Ok(log) = self.site.log_of(self.lease, &machine.order.id) {
                log.write(Level::Warn, "notify", &warning, &[]);
            }
        }
    }

    /// Tells once that it cannot go on, however often it is tried again: the journal remembers.
    async fn alert(&self, machine: &Machine, cause: &Cause) {
        if self.told().ok().flatten().is_none_or(|told| told.alerted) {
            return;
        }
        self.tell(machine, NotifyEvent::Attention, Some(cause)).await;
        if let Err(error) = self.lease.append(&Entry::Alerted { at: Timestamp::now() }) {
            let why = self.site.lease_failure(&error).message;
            self.site.ctx.reporter.step(&format!("warning: it will be told again: {why}"));
        }
    }

    /// It cannot go on now: the journal stays open for the next command.
    async fn suspended(&self, machine: &Machine, cause: Cause) -> Failure {
        if machine.has_moved() {
            return self.site.with_evidence(self.moved(machine, &cause.message).await, &cause.evidence);
        }
        let code = Code::find(&cause.code).unwrap_or(Code::DeployOpen);
        let root = match &machine.phase {
            Phase::Undoing { cause: root, .. } if root.message != cause.message => {
                format!("{}; then ", root.message)
            }
            Phase::Working { .. } | Phase::Undoing { .. } | Phase::Done | Phase::Failed { .. } => {
                String::new()
            }
        };
        let message = format!(
            "{root}{} of {} cannot go on: {}; it stays in the journal, and the next command goes on with it",
            machine.order.purpose.as_str(),
            machine.order.release.version,
            cause.message
        );
        let failure = Failure::new(code, message, self.site.live().await, self.site.ctx.command("repair"));
        self.site.with_evidence(failure, &cause.evidence)
    }

    /// It cannot go on although traffic has moved: that comes first, whatever else went wrong.
    async fn moved(&self, machine: &Machine, why: &str) -> Failure {
        let order = &machine.order;
        let message = format!(
            "traffic HAS moved: {} is live in {}; what is left to be done cannot be done now: {why}; it stays in the \
             journal, and the next command goes on with it",
            order.release.version, order.slot
        );
        let next = self.site.ctx.command("repair");
        Failure::new(Code::DeployOpen, message, self.site.live().await, next)
    }

    async fn quit(&self, machine: &Machine) -> Failure {
        let message = format!(
            "left at once during {}; {} of {} stays in the journal, and the next command goes on with it",
            machine.stage().as_str(),
            machine.order.purpose.as_str(),
            machine.order.release.version
        );
        Failure::new(
            Code::InterruptedAtOnce,
            message,
            self.site.live().await,
            self.site.ctx.command("repair"),
        )
    }
}

#[async_trait(?Send)]
impl Journal for Lease {
    fn append(&self, entry: &Entry) -> Result<(), LeaseError> {
        self.journal().append(entry)
    }

    async fn until_lost(&self) -> LeaseError {
        LeaseError::Lost(Box::new(Self::until_lost(self).await))
    }
}
