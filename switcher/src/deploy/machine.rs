//! The deployment as a state machine: `step` moves it, `effect` says what it wants done. Pure.
//!
//! The whole state follows from the order and the events, so that the journal of both can be replayed.

use serde::{Deserialize, Serialize};
use switcher_config::{Generation, Slot, UpstreamAddress};

use super::asked::named;
use super::order::{Order, Stage};
use super::undo::{self, Undo};
use crate::state::record::{HealthStatus, Verified};

/// A deployment under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// What is wanted.
    pub order: Order,
    /// How far it is.
    pub phase: Phase,
    /// What has been learned.
    pub facts: Facts,
}

/// How far a deployment is.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// The stage of this number is being performed.
    Working {
        /// Its place among the order's stages.
        at: usize,
    },
    /// It failed before traffic moved, or traffic goes back, and what it did is being undone.
    Undoing {
        /// The stage that failed.
        at: Stage,
        /// Why.
        cause: Cause,
        /// What is left to undo, the next first.
        left: Vec<Undo>,
    },
    /// The release is live, or waits in its slot as ordered.
    Done,
    /// It failed; the old version serves as before.
    Failed {
        /// The stage that failed.
        at: Stage,
        /// Why.
        cause: Cause,
    },
}

/// What has been learned so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The schema before the migrations.
    pub schema_before: Option<String>,
    /// The schema after the migrations.
    pub schema_after: Option<String>,
    /// How many migrations were applied.
    pub migrations_run: u64,
    /// The snapshot's id.
    pub snapshot: Option<String>,
    /// Where the release listens.
    pub upstreams: Vec<UpstreamAddress>,
    /// The proxy's generation after our last change of it.
    pub generation: Option<Generation>,
    /// The switch that made it live.
    pub switched: Option<Moved>,
    /// The slot's health when it was looked at last.
    pub health: Option<HealthStatus>,
    /// What went wrong without stopping it.
    pub warnings: Vec<String>,
    /// Somebody asked to stop after traffic had moved.
    pub interrupted: bool,
    /// The generation by which traffic went back.
    pub went_back: Option<Generation>,
    /// It is worse than the version before, or its public address does not answer well, and traffic stays.
    pub stays: Option<Cause>,
    /// What the public address answered last.
    pub verified: Option<Verified>,
}

/// The switch that a deployment made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// The slot that was left.
    pub from: Slot,
    /// The generation that made it live.
    pub generation: Generation,
    /// The generation that drains.
    pub drained_generation: Generation,
    /// When.
    pub switched_at: jiff::Timestamp,
    /// How long the swap took in the proxy's memory, in microseconds; none when the reply was lost.
    pub switch_micros: Option<f64>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The effect was performed.
    Performed {
        /// What was learned by it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fact: Option<Fact>,
    },
    /// The effect failed, and left nothing that its undoing does not remove.
    Failed {
        /// Why.
        cause: Cause,
    },
    /// Somebody asked to stop, or the command was killed.
    Interrupted {
        /// Which.
        cause: Cause,
    },
}

/// What an effect found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// The image is on the engine.
    Pulled {
        /// The source commit that it names.
        git_commit: Option<String>,
        /// The version that it names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
    },
    /// The schema before the migrations.
    SchemaBefore {
        /// Its version; none without a known tool's table.
        version: Option<String>,
    },
    /// The snapshot was taken.
    Snapshot {
        /// Its id.
        id: String,
    },
    /// The migrations ran.
    Migrated {
        /// The schema's version after them.
        version: Option<String>,
        /// How many were applied.
        run: u64,
    },
    /// The proxy took a change of the slot's addresses.
    Registered {
        /// Its generation after that.
        generation: Generation,
    },
    /// The release runs.
    Started {
        /// Where it listens.
        upstreams: Vec<UpstreamAddress>,
    },
    /// The slot's health.
    Health {
        /// As it was seen.
        health: HealthStatus,
        /// The proxy's generation then.
        generation: Generation,
    },
    /// A part of the clients after the other was served well.
    Canaried {
        /// The proxy's generation after the last step.
        generation: Generation,
        /// What could not be judged, a sentence each.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    },
    /// Traffic moved.
    Moved(Moved),
    /// Traffic is back at the version before: the proxy, somebody, or this deployment took it there.
    WentBack {
        /// The generation that did it.
        generation: Generation,
        /// Why, with the figures.
        cause: Cause,
    },
    /// It is worse than the version before, and traffic could not go back.
    Stays {
        /// Why, with the figures.
        cause: Cause,
    },
    /// The public address answered well.
    Verified {
        /// What was seen.
        verified: Verified,
    },
    /// The public address does not answer well.
    Unverified {
        /// What was seen last.
        verified: Verified,
        /// Why that is wrong.
        cause: Cause,
        /// Whether traffic is to go back; else it stays.
        returns: bool,
    },
    /// It worked, but something is worth a word.
    Warning {
        /// The sentence.
        warning: String,
    },
}

/// Why a deployment failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The stable code, such as `E-MIGRATE-01`.
    pub code: String,
    /// A sentence, redacted.
    pub message: String,
    /// The last answers and log lines, redacted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

/// What the machine wants done. Every effect may be performed twice without harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// The effect of a stage.
    Stage {
        /// The stage.
        stage: Stage,
    },
    /// Something done before is undone.
    Undo {
        /// What.
        undo: Undo,
    },
}

impl Machine {
    /// A deployment that has not begun.
    #[must_use]
    pub fn new(order: Order) -> Self {
        let facts = Facts { generation: Some(order.seen), ..Facts::default() };
        Self { order, phase: Phase::Working { at: 0 }, facts }.settled()
    }

    /// What is to be done now; none when it is over.
    #[must_use]
    pub fn effect(&self) -> Option<Effect> {
        match &self.phase {
            Phase::Working { at } => self.order.stages.get(*at).map(|stage| Effect::Stage { stage: *stage }),
            Phase::Undoing { left, .. } => left.first().map(|undo| Effect::Undo { undo: *undo }),
            Phase::Done | Phase::Failed { .. } => None,
        }
    }

    /// The stage that is being performed, or that failed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match &self.phase {
            Phase::Working { at } => self.order.stages.get(*at).copied().unwrap_or(Stage::Record),
            Phase::Undoing { at, .. } | Phase::Failed { at, .. } => *at,
            Phase::Done => Stage::Record,
        }
    }

    /// Whether a stage was begun, or is the next one.
    #[must_use]
    pub fn has_begun(&self, stage: Stage) -> bool {
        let place = |stage: Stage| self.order.stages.iter().position(|known| *known == stage);
        let reached = match self.phase {
            Phase::Done => Some(usize::MAX),
            Phase::Working { .. } | Phase::Undoing { .. } | Phase::Failed { .. } => place(self.stage()),
        };
        matches!((place(stage), reached), (Some(stage), Some(reached)) if stage <= reached)
    }

    /// Whether traffic has moved, as far as the events tell.
    #[must_use]
    pub const fn has_moved(&self) -> bool {
        self.facts.switched.is_some()
    }

    /// Whether it ended as ordered.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    /// The generation that the next change of the proxy expects.
    #[must_use]
    pub fn expected(&self) -> Generation {
        self.facts.generation.unwrap_or(self.order.seen)
    }

    /// After the last stage it is done, after the last undoing it has failed; where traffic could not go back after all,
    /// it goes on.
    fn settled(mut self) -> Self {
        self.phase = match self.phase {
            Phase::Working { at } if at >= self.order.stages.len() => Phase::Done,
            Phase::Undoing { at, left, .. } if left.is_empty() && self.facts.stays.is_some() => {
                let failed = self.order.stages.iter().position(|stage| *stage == at);
                Phase::Working { at: failed.map_or(self.order.stages.len(), |failed| failed + 1) }
            }
            Phase::Undoing { at, cause, left } if left.is_empty() => Phase::Failed { at, cause },
            other @ (Phase::Working { .. } | Phase::Undoing { .. } | Phase::Done | Phase::Failed { .. }) => {
                other
            }
        };
        self
    }

    fn next(mut self) -> Self {
        match &mut self.phase {
            Phase::Working { at } => *at += 1,
            Phase::Undoing { left, .. } if !left.is_empty() => drop(left.remove(0)),
            Phase::Undoing { .. } | Phase::Done | Phase::Failed { .. } => {}
        }
        self.settled()
    }

    /// It failed before traffic moved.
    fn fail(mut self, cause: Cause) -> Self {
        let at = self.stage();
        self.phase = Phase::Undoing { at, cause, left: undo::of(&self.order, at) };
        self.settled()
    }

    /// Its public address does not answer well after traffic has moved.
    fn unverified(self, verified: Verified, cause: Cause, returns: bool) -> Self {
        let at = self.stage();
        let mut machine = self.learn(Fact::Verified { verified });
        if !returns {
            return machine.learn(Fact::Stays { cause }).next();
        }
        machine.phase = Phase::Undoing { at, cause, left: undo::going_back(&machine.order) };
        machine
    }

    /// Traffic went back by our own doing: the rest is as it is whenever traffic has gone back.
    fn returned(self, generation: Generation, cause: Cause) -> Self {
        let mut machine = self.learn(Fact::WentBack { generation, cause: cause.clone() }).next();
        if let Phase::Undoing { cause: known, .. } = &mut machine.phase {
            *known = cause;
        }
        machine
    }

    /// Traffic could not go back: what was undone for that is done again, and the deployment goes on.
    fn stays(self, cause: Cause) -> Self {
        let mut machine = self.learn(Fact::Stays { cause });
        if let Phase::Undoing { left, .. } = &mut machine.phase {
            *left = undo::after_staying(&machine.order);
        }
        machine.settled()
    }

    fn warn(mut self, warning: String) -> Self {
        self.facts.warnings.push(warning);
        self
    }

    fn learn(mut self, fact: Fact) -> Self {
        let facts = &mut self.facts;
        match fact {
            Fact::Pulled { git_commit, version } => {
                let release = &mut self.order.release;
                release.git_commit = git_commit.or(release.git_commit.take());
                if let (Some(image), Some(label)) = (&release.image, version)
                    && let Some(version) = named(&release.version, image, &label)
                {
                    release.version = version;
                }
            }
            Fact::SchemaBefore { version } => facts.schema_before = version,
            Fact::Snapshot { id } => facts.snapshot = Some(id),
            Fact::Migrated { version, run } => {
                facts.schema_after = version;
                facts.migrations_run = run;
            }
            Fact::Registered { generation } => facts.generation = Some(generation),
            Fact::Started { upstreams } => facts.upstreams = upstreams,
            Fact::Health { health, generation } => {
                facts.health = Some(health);
                facts.generation = Some(generation);
            }
            Fact::Canaried { generation, warnings } => {
                facts.generation = Some(generation);
                facts.warnings.extend(warnings);
            }
            Fact::Moved(moved) => {
                facts.generation = Some(moved.generation);
                facts.switched = Some(moved);
            }
            Fact::WentBack { generation, .. } => {
                facts.generation = Some(generation);
                facts.went_back = Some(generation);
                facts.stays = None;
            }
            Fact::Stays { cause } => {
                facts.health = Some(HealthStatus::Degraded);
                facts.warnings.push(cause.message.clone());
                facts.stays = Some(cause);
            }
            Fact::Verified { verified } | Fact::Unverified { verified, .. } => {
                facts.verified = Some(verified)
            }
            Fact::Warning { warning } => facts.warnings.push(warning),
        }
        self
    }
}

/// The machine after an event.
#[must_use]
pub fn step(machine: Machine, event: Event) -> Machine {
    match (machine.phase.clone(), event) {
        (
            Phase::Working { .. },
            Event::Performed { fact: Some(Fact::Unverified { verified, cause, returns }) },
        ) => machine.unverified(verified, cause, returns),
        (Phase::Undoing { .. }, Event::Performed { fact: Some(Fact::WentBack { generation, cause }) }) => {
            machine.returned(generation, cause)
        }
        (Phase::Undoing { .. }, Event::Performed { fact: Some(Fact::Stays { cause }) }) => {
            machine.stays(cause)
        }
        // The proxy's own act was seen, and what it knows nothing of is left.
        (Phase::Working { .. }, Event::Performed { fact: Some(Fact::WentBack { generation, cause }) }) => {
            let at = machine.stage();
            let mut machine = machine.learn(Fact::WentBack { generation, cause: cause.clone() });
            machine.phase = Phase::Undoing { at, cause, left: undo::after_going_back(&machine.order) };
            machine.settled()
        }
        (Phase::Working { .. } | Phase::Undoing { .. }, Event::Performed { fact }) => {
            let machine = match fact {
                Some(fact) => machine.learn(fact),
                None => machine,
            };
            machine.next()
        }
        (Phase::Working { .. }, Event::Failed { cause }) if machine.has_moved() => {
            // The record is what the deployment is for: without it nothing is over.
            if machine.stage() == Stage::Record {
                return machine;
            }
            let warning = format!("{}: {}", machine.stage().as_str(), cause.message);
            machine.warn(warning).next()
        }
        (Phase::Working { .. }, Event::Interrupted { cause }) if machine.has_moved() => {
            let skips = matches!(machine.stage(), Stage::Verify | Stage::Drain);
            let mut machine = machine.warn(cause.message);
            machine.facts.interrupted = true;
            if skips { machine.next() } else { machine }
        }
        (Phase::Working { .. }, Event::Failed { cause } | Event::Interrupted { cause }) => {
            if machine.stage() == Stage::Record { machine } else { machine.fail(cause) }
        }
        (Phase::Undoing { left, .. }, Event::Failed { cause }) => match left.first() {
            // A hook that fails cannot be mended by running it again; a slot that is not empty, or a proxy that is away, can.
            Some(undo) if undo.is_hook() => machine.warn(cause.message).next(),
            Some(_) | None => machine,
        },
        (Phase::Undoing { .. }, Event::Interrupted { .. }) => machine,
        (Phase::Done | Phase::Failed { .. }, _) => machine,
    }
}
