//! What becomes of a deployment whose command died: decided from its journal and what is seen. Pure.
//!
//! Before traffic has moved it is undone, after that it is finished. Whether it has moved is asked of the proxy
//! and never guessed.

use switcher_config::{Generation, PerSlot, Slot};

use super::journal::Told;
use super::machine::{Cause, Effect, Event, Fact, Machine, Moved, Phase};
use super::order::Stage;
use crate::code::Code;
use crate::deployment::DeploymentId;

/// What is seen of the world.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// The proxy's word.
    pub proxy: SeenProxy,
    /// Which deployment's containers are in each slot, running or not.
    pub inside: PerSlot<Option<DeploymentId>>,
    /// The migration container of this deployment.
    pub migration: SeenMigration,
    /// When it was seen.
    pub at: jiff::Timestamp,
}

/// What the proxy says of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenProxy {
    /// The live slot.
    pub active: Slot,
    /// The generation.
    pub generation: Generation,
    /// The generation that drains from the slot that was left last, if one is remembered.
    pub draining: Option<Generation>,
    /// The last switch that it judged: the slot, and the generation that made it live.
    pub judged: Option<(Slot, Generation)>,
}

/// What is seen of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenMigration {
    /// There is no container of it.
    Absent,
    /// It runs, or has ended and not been looked at.
    Present,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Recovery {
    /// The deployment is over; only its journal has to be put away.
    Over,
    /// Nobody wrote down what happened; this did. Go on from there.
    Happened(Event),
    /// The effect is performed (again).
    Perform,
}

/// Decides.
#[must_use]
pub fn recover(told: &Told, seen: &Observed) -> Recovery {
    let machine = &told.machine;
    let Some(effect) = machine.effect() else { return Recovery::Over };
    if let Some(moved) = unnoticed_switch(machine, seen) {
        return Recovery::Happened(Event::Performed { fact: Some(Fact::Moved(moved)) });
    }
    match (&effect, told.pending.is_some()) {
        (Effect::Undo { undo }, begun) if undo.is_hook() && begun => {
            Recovery::Happened(Event::Failed { cause: cut_short(undo.as_str()) })
        }
        (Effect::Undo { .. }, _) => Recovery::Perform,
        (Effect::Stage { stage: Stage::Migrate }, true) if seen.migration == SeenMigration::Present => {
            // A migration that is cut leaves a dirty schema: it is waited for.
            Recovery::Perform
        }
        (Effect::Stage { stage: Stage::Record }, _) => Recovery::Perform,
        (Effect::Stage { stage }, begun) if machine.has_moved() => after(*stage, begun),
        (Effect::Stage { stage }, _) => {
            Recovery::Happened(Event::Interrupted { cause: killed(stage.as_str()) })
        }
    }
}

/// After traffic moved: hooks are not run twice, the rest is.
fn after(stage: Stage, begun: bool) -> Recovery {
    match stage {
        Stage::Retire | Stage::PostPromote | Stage::PostRollback if begun => {
            Recovery::Happened(Event::Failed { cause: cut_short(stage.as_str()) })
        }
        Stage::PreDeploy
        | Stage::Pull
        | Stage::Inspect
        | Stage::Snapshot
        | Stage::Migrate
        | Stage::Vacate
        | Stage::Start
        | Stage::Register
        | Stage::Probe
        | Stage::Smoke
        | Stage::Canary
        | Stage::PrePromote
        | Stage::Deactivate
        | Stage::Activate
        | Stage::Promote
        | Stage::Verify
        | Stage::Drain
        | Stage::Bake
        | Stage::Retire
        | Stage::PostPromote
        | Stage::PostRollback
        | Stage::Record => Recovery::Perform,
    }
}

/// A switch to this deployment's slot that its journal does not know of: its reply was lost with the command, or
/// somebody else made the slot live. Only our own release in the live slot, at a later generation, counts.
fn unnoticed_switch(machine: &Machine, seen: &Observed) -> Option<Moved> {
    let working = matches!(machine.phase, Phase::Working { .. });
    let slot = machine.order.slot;
    let starts = machine.order.stages.contains(&Stage::Start);
    let inside = seen.inside.get(slot).as_ref();
    let ours = !starts || inside == Some(&machine.order.id);
    let proxy = &seen.proxy;
    let later = |generation: Generation| generation > machine.order.seen;
    let arrived = (proxy.active == slot && later(proxy.generation)).then_some(proxy.generation);
    // It may have arrived, and the proxy may have gone back since.
    let judged = proxy.judged.filter(|(judged, generation)| *judged == slot && later(*generation));
    let arrived = judged.map(|(_, generation)| generation).or(arrived);
    arrived.filter(|_| working && !machine.has_moved() && ours).map(|generation| Moved {
        from: slot.other(),
        generation,
        drained_generation: proxy.draining.unwrap_or(machine.expected()),
        switched_at: seen.at,
        switch_micros: None,
    })
}

fn killed(stage: &str) -> Cause {
    Cause {
        code: Code::InterruptedDeploy.as_str().to_owned(),
        message: format!("the command ended during {stage}, before traffic had moved"),
        evidence: Vec::new(),
    }
}

fn cut_short(hook: &str) -> Cause {
    Cause {
        code: Code::HookFailed.as_str().to_owned(),
        message: format!("{hook} was cut short when the command ended; it was not run again"),
        evidence: Vec::new(),
    }
}
