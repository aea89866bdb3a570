//! Performs a deployment: journals the intent, performs the effect, journals the outcome, and so on.
//!
//! Invariant: nothing is performed that is not in the journal, and nothing is performed without the lease. The
//! runner holds no decision: `machine` says what comes next, `recover` where to begin after a crash.

use async_trait::async_trait;
use jiff::Timestamp;

use super::journal::Entry;
use super::machine::{Cause, Effect, Event, Machine, Phase, step};
use crate::code::Code;
use crate::interrupt::{Interrupt, Interrupted};
use crate::state::LeaseError;

/// What performs effects. The deployer's is [`super::world::World`].
#[async_trait(?Send)]
pub(crate) trait Performer {
    /// Performs an effect, for the second time perhaps.
    async fn perform(&mut self, machine: &Machine, effect: &Effect) -> Performed;
    /// Tells people what begins.
    fn announce(&mut self, machine: &Machine, effect: &Effect);
    /// Tells people what came of it.
    fn report(&mut self, machine: &Machine, effect: &Effect, event: &Event);
}

/// What came of an effect.
#[derive(Debug)]
pub(crate) enum Performed {
    /// This happened.
    Event(Event),
    /// What happened cannot be known now, or cannot be undone now: the journal stays open.
    Unknown(Cause),
}

/// Keeps the journal and watches over the lease. The deployer's is the lease itself.
#[async_trait(?Send)]
pub(crate) trait Journal {
    /// Writes an entry; it is on disk afterwards.
    fn append(&self, entry: &Entry) -> Result<(), LeaseError>;
    /// Waits until the lease is somebody else's.
    async fn until_lost(&self) -> LeaseError;
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ran {
    /// The deployment is over, well or not.
    Over(Machine),
    /// It cannot go on now; the next command goes on from the journal.
    Suspended {
        /// As far as it got.
        machine: Machine,
        /// Why.
        cause: Cause,
    },
    /// A second signal: somebody wants out at once.
    Quit(Machine),
    /// The lease was lost, or the journal cannot be written.
    Lost {
        /// As far as it got.
        machine: Machine,
        /// Why.
        error: LeaseError,
    },
}

/// Runs one deployment.
pub(crate) struct Runner<'a> {
    pub(crate) journal: &'a dyn Journal,
    pub(crate) performer: &'a mut dyn Performer,
    pub(crate) interrupt: Interrupt,
    pub(crate) crash: Crash,
}

impl Runner<'_> {
    /// Writes the beginning, then runs to the end.
    pub(crate) async fn begin(&mut self, machine: Machine) -> Ran {
        let order = Box::new(machine.order.clone());
        self.crash.boundary();
        match self.write(&Entry::Begun { at: Timestamp::now(), order }) {
            Ok(()) => self.run(machine).await,
            Err(error) => Ran::Lost { machine, error },
        }
    }

    /// Notes something that happened without anybody writing it down, then runs to the end.
    pub(crate) async fn go_on(&mut self, machine: Machine, event: Option<Event>) -> Ran {
        let Some(event) = event else { return self.run(machine).await };
        match self.write(&Entry::Outcome { at: Timestamp::now(), event: event.clone() }) {
            Ok(()) => self.run(step(machine, event)).await,
            Err(error) => Ran::Lost { machine, error },
        }
    }

    /// Runs to the end.
    async fn run(&mut self, mut machine: Machine) -> Ran {
        let mut told = false;
        while let Some(effect) = machine.effect() {
            let working = matches!(machine.phase, Phase::Working { .. });
            let event = if working && !told && self.interrupt.was_heard() && !machine.has_moved() {
                told = true;
                Event::Interrupted { cause: interrupted() }
            } else {
                match self.one(&machine, &effect).await {
                    Ok(event) => event,
                    Err(end) => return end.with(machine),
                }
            };
            if let Err(error) = self.write(&Entry::Outcome { at: Timestamp::now(), event: event.clone() }) {
                return Ran::Lost { machine, error };
            }
            self.performer.report(&machine, &effect, &event);
            let before = machine.effect();
            let cause = match &event {
                Event::Failed { cause } | Event::Interrupted { cause } => Some(cause.clone()),
                Event::Performed { .. } => None,
            };
            machine = step(machine, event);
            // An effect that must succeed and does not: nothing can be done about it now.
            if let (true, Some(cause)) = (machine.effect() == before, cause) {
                return Ran::Suspended { machine, cause };
            }
        }
        Ran::Over(machine)
    }

    /// Performs one effect between its intent and its outcome.
    async fn one(&mut self, machine: &Machine, effect: &Effect) -> Result<Event, End> {
        let intent = Entry::Intent { at: Timestamp::now(), effect: effect.clone() };
        self.write(&intent).map_err(End::Lost)?;
        self.performer.announce(machine, effect);
        let (performer, journal) = (&mut *self.performer, self.journal);
        let work = async {
            tokio::select! {
                performed = performer.perform(machine, effect) => match performed {
                    Performed::Event(event) => Ok(event),
                    Performed::Unknown(cause) => Err(End::Suspended(cause)),
                },
                error = journal.until_lost() => Err(End::Lost(error)),
            }
        };
        match self.interrupt.unless_twice(work).await {
            Ok(Ok(event)) => {
                self.crash.boundary();
                Ok(event)
            }
            Ok(Err(end)) => Err(end),
            Err(Interrupted) => Err(End::Quit),
        }
    }

    fn write(&mut self, entry: &Entry) -> Result<(), LeaseError> {
        self.journal.append(entry)?;
        self.crash.boundary();
        Ok(())
    }
}

enum End {
    Suspended(Cause),
    Lost(LeaseError),
    Quit,
}

impl End {
    fn with(self, machine: Machine) -> Ran {
        match self {
            Self::Suspended(cause) => Ran::Suspended { machine, cause },
            Self::Lost(error) => Ran::Lost { machine, error },
            Self::Quit => Ran::Quit(machine),
        }
    }
}

/// The cause of a deployment that somebody stopped.
pub(crate) fn interrupted() -> Cause {
    Cause {
        code: Code::InterruptedDeploy.as_str().to_owned(),
        message: "somebody asked to stop".to_owned(),
        evidence: Vec::new(),
    }
}

/// Kills the process at a boundary of the journal: before the first entry, after each one, and after each effect. What
/// lies between two of them leaves the same world behind. The tests drive every one. Programs that are built
/// for use have no such switch.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Crash {
    left: Option<u32>,
}

impl Crash {
    /// As `SWITCHER_CRASH_AT` says, counted from 1.
    pub(crate) fn from_process() -> Self {
        if !cfg!(debug_assertions) {
            return Self::default();
        }
        Self { left: std::env::var("SWITCHER_CRASH_AT").ok().and_then(|text| text.parse().ok()) }
    }

    /// One boundary more.
    pub(crate) fn boundary(&mut self) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                // The very signal of `kill -9`: nothing is cleaned up.
                let own = rustix::process::getpid();
                let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
            }
        }
    }
}
