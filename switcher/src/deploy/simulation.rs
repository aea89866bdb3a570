//! Random histories of deployments that fail and commands that die, against a model of the world.
//!
//! Every crash happens at a boundary of the journal or in the middle of an effect; recovery may die too. The
//! properties are what the product promises.

use jiff::Timestamp;
use proptest::prelude::*;
use switcher_config::{BakeLimits, Generation, PerSlot, Slot, Span};

use super::journal::{Entry, replay};
use super::machine::{Cause, Effect, Event, Fact, Machine, Moved, Phase, step};
use super::order::{Order, Purpose, Stage};
use super::recover::{Observed, Recovery, SeenMigration, SeenProxy, recover};
use super::undo::{Undo, going_back, of};
use crate::deployment::{DeploymentId, Release};
use crate::state::record::{HealthStatus, Verified};

/// The world as far as deployments change it.
#[derive(Debug, Clone)]
struct World {
    active: Slot,
    generation: Generation,
    draining: Option<Generation>,
    /// The last switch that the proxy judged, and the generation by which it went back.
    judged: Option<(Slot, Generation)>,
    went_back: Option<Generation>,
    /// Whether the proxy finds the next version worse; it goes back as soon as it is live.
    worse: bool,
    /// The slot that a part of the clients is in.
    canary: Option<Slot>,
    /// Whether the proxy finds the canary of the next version worse; it ends it as soon as it has begun.
    sick: bool,
    /// What the public address says of the next version.
    public: Public,
    registered: PerSlot<Option<DeploymentId>>,
    inside: PerSlot<Option<DeploymentId>>,
    migration_running: Option<DeploymentId>,
    migrations_cut: u32,
    current: Option<DeploymentId>,
    history: Vec<(DeploymentId, bool)>,
    journal: Vec<Entry>,
    archived: Vec<DeploymentId>,
    hooks: Vec<(DeploymentId, &'static str)>,
}

/// What the public address says of a version that is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Public {
    /// It is seen there.
    Seen,
    /// It is not, and traffic is to go back.
    Unseen,
    /// It is not, and it is kept.
    Kept,
    /// It is not, and the version before does not serve any more.
    Stuck,
}

/// The command died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Died;

/// Counts the boundaries down to the crash.
#[derive(Debug, Clone, Copy)]
struct Fuse(Option<u32>);

impl Fuse {
    fn burn(&mut self) -> Result<(), Died> {
        match &mut self.0 {
            Some(0) => Err(Died),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

impl World {
    fn new() -> Self {
        Self {
            active: Slot::Blue,
            generation: Generation::FIRST,
            draining: None,
            judged: None,
            went_back: None,
            worse: false,
            canary: None,
            sick: false,
            public: Public::Seen,
            registered: PerSlot { blue: None, green: None },
            inside: PerSlot { blue: None, green: None },
            migration_running: None,
            migrations_cut: 0,
            current: None,
            history: Vec::new(),
            journal: Vec::new(),
            archived: Vec::new(),
            hooks: Vec::new(),
        }
    }

    /// Performs an effect; its middle is a boundary as well.
    fn perform(
        &mut self,
        machine: &Machine,
        effect: &Effect,
        fails: bool,
        fuse: &mut Fuse,
    ) -> Result<Event, Died> {
        if fails && !matches!(effect, Effect::Undo { .. } | Effect::Stage { stage: Stage::Record }) {
            fuse.burn()?;
            return Ok(Event::Failed { cause: cause("it failed") });
        }
        if effect == &(Effect::Stage { stage: Stage::Canary }) && self.sick {
            return self.sicken(machine, fuse);
        }
        let fact = match effect {
            Effect::Stage { stage } => self.stage(machine, *stage, fuse)?,
            Effect::Undo { undo } => self.undo(machine, *undo, fuse)?,
        };
        Ok(Event::Performed { fact })
    }

    /// The first step of a canary that the proxy ends by itself.
    fn sicken(&mut self, machine: &Machine, fuse: &mut Fuse) -> Result<Event, Died> {
        self.step(machine, machine.expected(), fuse)?;
        self.canary = None;
        self.generation = self.generation.next();
        fuse.burn()?;
        Ok(Event::Failed { cause: cause("it is worse") })
    }

    /// A canary that goes well.
    fn lead(&mut self, machine: &Machine, fuse: &mut Fuse) -> Result<Fact, Died> {
        let mut generation = machine.expected();
        for _ in 0..3 {
            generation = self.step(machine, generation, fuse)?;
        }
        Ok(Fact::Canaried { generation, warnings: Vec::new() })
    }

    /// One step of a canary.
    fn step(&mut self, machine: &Machine, expected: Generation, fuse: &mut Fuse) -> Result<Generation, Died> {
        let slot = machine.order.slot;
        assert_ne!(self.active, slot, "the live slot is no canary");
        assert!(self.registered.get(slot).is_some(), "nobody is sent to an empty slot");
        assert_eq!(self.generation, expected, "nobody else acts here");
        self.canary = Some(slot);
        self.generation = self.generation.next();
        fuse.burn()?;
        Ok(self.generation)
    }

    fn stage(&mut self, machine: &Machine, stage: Stage, fuse: &mut Fuse) -> Result<Option<Fact>, Died> {
        let (id, slot) = (machine.order.id.clone(), machine.order.slot);
        match stage {
            Stage::Pull | Stage::Inspect | Stage::Drain => {}
            Stage::Bake => return Ok(self.bake(machine)),
            Stage::Verify => {
                fuse.burn()?;
                return Ok(Some(self.verify(machine)));
            }
            Stage::Snapshot => return Ok(Some(Fact::Snapshot { id: "snap".into() })),
            Stage::Migrate => {
                self.migration_running = Some(id);
                fuse.burn()?;
                self.migration_running = None;
                return Ok(Some(Fact::Migrated { version: Some("2".into()), run: 1 }));
            }
            Stage::Vacate => {
                assert_ne!(self.active, slot, "the live slot is never vacated");
                assert_eq!(self.canary, None, "the proxy refuses it");
                *self.registered.get_mut(slot) = None;
                self.generation = self.generation.next();
                fuse.burn()?;
                *self.inside.get_mut(slot) = None;
                return Ok(Some(Fact::Registered { generation: self.generation }));
            }
            Stage::Start => {
                assert!(self.inside.get(slot).as_ref().is_none_or(|there| *there == id), "the slot is empty");
                *self.inside.get_mut(slot) = Some(id);
                fuse.burn()?;
                return Ok(Some(Fact::Started { upstreams: Vec::new() }));
            }
            Stage::Register => {
                assert_ne!(self.active, slot, "the live slot is never registered over");
                assert_eq!(self.canary, None, "the proxy refuses it");
                *self.registered.get_mut(slot) = Some(id);
                self.generation = self.generation.next();
                fuse.burn()?;
                return Ok(Some(Fact::Registered { generation: self.generation }));
            }
            Stage::Probe => {
                return Ok(Some(Fact::Health { health: HealthStatus::Healthy, generation: self.generation }));
            }
            Stage::Canary => return self.lead(machine, fuse).map(Some),
            Stage::Promote => return self.promote(slot, machine.order.bake.is_some(), fuse).map(Some),
            Stage::Record => self.record(machine, true, fuse)?,
            Stage::Smoke => fuse.burn()?,
            Stage::PreDeploy
            | Stage::PrePromote
            | Stage::Deactivate
            | Stage::Activate
            | Stage::Retire
            | Stage::PostPromote
            | Stage::PostRollback => {
                self.hooks.push((id, stage.as_str()));
                fuse.burn()?;
            }
        }
        Ok(None)
    }

    /// What the proxy came to.
    fn bake(&self, machine: &Machine) -> Option<Fact> {
        let moved = machine.facts.switched.as_ref().expect("traffic has moved");
        let judged = self.judged.is_some_and(|(_, generation)| generation == moved.generation);
        let generation = self.went_back.filter(|_| judged)?;
        Some(Fact::WentBack { generation, cause: cause("it was worse") })
    }

    fn promote(&mut self, slot: Slot, judged: bool, fuse: &mut Fuse) -> Result<Fact, Died> {
        if self.active != slot {
            assert!(self.registered.get(slot).is_some(), "nothing empty is made live");
            self.draining = Some(self.generation);
            self.canary = None;
            self.active = slot;
            self.generation = self.generation.next();
        }
        let generation = self.generation;
        if judged {
            self.judged = Some((slot, generation));
            self.went_back = None;
            // By itself, whether the command lives or not; there is nothing to go back to from the first one.
            if self.worse && self.registered.get(slot.other()).is_some() {
                self.active = slot.other();
                self.generation = self.generation.next();
                self.went_back = Some(self.generation);
            }
        }
        fuse.burn()?;
        Ok(Fact::Moved(Moved {
            from: slot.other(),
            generation,
            drained_generation: self.draining.unwrap_or(self.generation),
            switched_at: NOW,
            switch_micros: Some(1.0),
        }))
    }

    /// What the public address said.
    fn verify(&self, machine: &Machine) -> Fact {
        let back = machine.order.purpose.goes_back();
        match self.public {
            Public::Seen => Fact::Verified { verified: verified(true) },
            Public::Unseen | Public::Stuck if !back => {
                Fact::Unverified { verified: verified(false), cause: cause("it is not seen"), returns: true }
            }
            Public::Unseen | Public::Stuck | Public::Kept => {
                Fact::Unverified { verified: verified(false), cause: cause("it is not seen"), returns: false }
            }
        }
    }

    /// Traffic goes back, if it has not gone yet and what was left still serves.
    fn go_back(&mut self, machine: &Machine, fuse: &mut Fuse) -> Result<Fact, Died> {
        let from = machine.facts.switched.as_ref().expect("traffic has moved").from;
        if self.active != from {
            assert_eq!(self.generation, machine.expected(), "nobody else acts here");
            if self.public == Public::Stuck || self.registered.get(from).is_none() {
                return Ok(Fact::Stays { cause: cause("it cannot go back") });
            }
            self.active = from;
            self.generation = self.generation.next();
        }
        fuse.burn()?;
        Ok(Fact::WentBack { generation: self.generation, cause: cause("it went back") })
    }

    fn undo(&mut self, machine: &Machine, undo: Undo, fuse: &mut Fuse) -> Result<Option<Fact>, Died> {
        let (id, slot) = (machine.order.id.clone(), machine.order.slot);
        match undo {
            Undo::EndCanary => {
                if self.canary.take().is_some() {
                    self.generation = self.generation.next();
                }
            }
            Undo::Withdraw => {
                assert_ne!(self.active, slot, "the live slot is never withdrawn");
                assert_eq!(self.canary, None, "the proxy refuses it");
                *self.registered.get_mut(slot) = None;
                self.generation = self.generation.next();
            }
            Undo::Remove => {
                assert_ne!(self.active, slot, "the live slot is never emptied");
                if *self.inside.get(slot) == Some(id) {
                    *self.inside.get_mut(slot) = None;
                }
            }
            Undo::Return => return self.go_back(machine, fuse).map(Some),
            Undo::Record => return self.record(machine, false, fuse).map(|()| None),
            Undo::DeactivateNew
            | Undo::ActivateOld
            | Undo::DeactivateOld
            | Undo::ActivateNew
            | Undo::PostRollback
            | Undo::OnFailure => self.hooks.push((id, undo.as_str())),
        }
        fuse.burn().map(|()| None)
    }

    fn record(&mut self, machine: &Machine, live: bool, fuse: &mut Fuse) -> Result<(), Died> {
        let id = match machine.order.purpose {
            Purpose::Rollback | Purpose::Promote => self.inside.get(machine.order.slot).clone(),
            Purpose::Deploy | Purpose::Prepare | Purpose::Redeploy => Some(machine.order.id.clone()),
        };
        if live && machine.order.purpose != Purpose::Prepare {
            self.current = id;
        }
        fuse.burn()?;
        let line = (machine.order.id.clone(), live);
        if self.history.last() != Some(&line) {
            self.history.push(line);
        }
        Ok(())
    }

    fn observed(&self, machine: &Machine) -> Observed {
        let running = self.migration_running.as_ref() == Some(&machine.order.id);
        Observed {
            proxy: SeenProxy {
                active: self.active,
                generation: self.generation,
                draining: self.draining,
                judged: self.judged,
            },
            inside: self.inside.clone(),
            migration: if running { SeenMigration::Present } else { SeenMigration::Absent },
            at: NOW,
        }
    }

    /// The runner in small: intent, effect, outcome.
    fn run(&mut self, mut machine: Machine, fail_at: Option<Stage>, fuse: &mut Fuse) -> Result<(), Died> {
        while let Some(effect) = machine.effect() {
            let fails = fail_at.is_some_and(|stage| effect == Effect::Stage { stage });
            fuse.burn()?;
            self.journal.push(Entry::Intent { at: NOW, effect: effect.clone() });
            fuse.burn()?;
            let event = self.perform(&machine, &effect, fails, fuse)?;
            fuse.burn()?;
            self.journal.push(Entry::Outcome { at: NOW, event: event.clone() });
            fuse.burn()?;
            let before = machine.clone();
            machine = step(machine, event);
            assert_ne!(before, machine, "an effect that was performed moves the machine");
        }
        fuse.burn()?;
        self.archived.push(machine.order.id);
        self.journal.clear();
        Ok(())
    }

    fn begin(
        &mut self,
        purpose: Purpose,
        n: u64,
        fail_at: Option<Stage>,
        fuse: &mut Fuse,
    ) -> Result<(), Died> {
        let order = order(purpose, n, self.active.other(), self.generation);
        self.journal.push(Entry::Begun { at: NOW, order: Box::new(order.clone()) });
        fuse.burn()?;
        self.run(Machine::new(order), fail_at, fuse)
    }

    fn recover(&mut self, fuse: &mut Fuse) -> Result<(), Died> {
        let Some(told) = replay(self.journal.clone()).expect("the journal is readable") else {
            return Ok(());
        };
        let cut = told.pending == Some(Effect::Stage { stage: Stage::Migrate });
        let seen = self.observed(&told.machine);
        match recover(&told, &seen) {
            Recovery::Over | Recovery::Perform => self.run(told.machine, None, fuse)?,
            Recovery::Happened(event) => {
                if cut && self.migration_running.is_some() {
                    self.migrations_cut += 1;
                }
                self.journal.push(Entry::Outcome { at: NOW, event: event.clone() });
                fuse.burn()?;
                self.run(step(told.machine, event), None, fuse)?;
            }
        }
        Ok(())
    }

    /// What is true whenever nobody is at work.
    fn check_rest(&self) {
        assert!(self.journal.is_empty());
        assert_eq!(self.canary, None, "no part of the clients is left with nobody to lead them");
        assert_eq!(&self.current, self.inside.get(self.active), "what is recorded is what is live");
        if let Some(current) = &self.current {
            assert_eq!(self.registered.get(self.active).as_ref(), Some(current));
        }
        let standby = self.active.other();
        if let Some(registered) = self.registered.get(standby) {
            assert_eq!(self.inside.get(standby).as_ref(), Some(registered), "no address without a container");
        }
        assert_eq!(self.migrations_cut, 0, "a running migration is waited for");
        assert_eq!(self.migration_running, None);
        let mut ids: Vec<_> = self.history.iter().map(|(id, _)| id).collect();
        assert_eq!(ids.len(), self.archived.len(), "one outcome for each deployment: {ids:?}");
        ids.dedup();
        assert_eq!(ids.len(), self.history.len());
        for (n, hook) in self.hooks.iter().enumerate() {
            assert!(!self.hooks[..n].contains(hook), "{hook:?} ran twice");
        }
    }
}

fn verified(matched: bool) -> Verified {
    let url = "https://shop.test/".to_owned();
    Verified { url, at: NOW, status: Some(200), slot: None, release: None, matched }
}

fn cause(message: &str) -> Cause {
    Cause { code: "E-TEST-01".to_owned(), message: message.to_owned(), evidence: Vec::new() }
}

fn order(purpose: Purpose, n: u64, slot: Slot, seen: Generation) -> Order {
    let starts = [Stage::Vacate, Stage::Start, Stage::Register, Stage::Probe];
    let moves = [
        Stage::Smoke,
        Stage::Canary,
        Stage::PrePromote,
        Stage::Deactivate,
        Stage::Activate,
        Stage::Promote,
        Stage::Verify,
        Stage::Drain,
        Stage::Bake,
        Stage::Retire,
        Stage::PostPromote,
    ];
    let mut stages = Vec::new();
    match purpose {
        Purpose::Deploy | Purpose::Prepare | Purpose::Redeploy => {
            stages.extend([Stage::PreDeploy, Stage::Pull, Stage::Inspect, Stage::Snapshot, Stage::Migrate]);
            stages.extend(starts);
        }
        Purpose::Promote | Purpose::Rollback => {}
    }
    if purpose != Purpose::Prepare {
        stages.extend(moves);
    }
    stages.push(Stage::Record);
    Order {
        id: format!("dep_{}", ulid::Ulid::from_parts(n, u128::from(n))).parse().expect("an id"),
        purpose,
        waiting: None,
        app: "shop".parse().expect("a name"),
        environment: "production".into(),
        release: Release { version: format!("v{n}"), image: None, git_commit: None },
        slot,
        seen,
        began_at: NOW,
        by: "op@host".into(),
        keep_previous: Span::seconds(1800),
        compatible: true,
        patience: None,
        drain: None,
        force: false,
        canary: None,
        bake: matches!(purpose, Purpose::Deploy | Purpose::Promote).then(BakeLimits::default),
        stages,
    }
}

/// One thing that operators do.
#[derive(Debug, Clone)]
struct Act {
    purpose: Purpose,
    fail_at: Option<Stage>,
    crash: Option<u32>,
    crash_in_recovery: Option<u32>,
    /// The proxy finds it worse.
    worse: bool,
    /// It finds its canary worse.
    sick: bool,
    /// What the public address says of it.
    public: Public,
}

/// A deployment that nothing happens to.
const PLAIN: Act = Act {
    purpose: Purpose::Deploy,
    fail_at: None,
    crash: None,
    crash_in_recovery: None,
    worse: false,
    sick: false,
    public: Public::Seen,
};

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let purpose = prop_oneof![
        4 => Just(Purpose::Deploy),
        1 => Just(Purpose::Prepare),
        2 => Just(Purpose::Rollback),
        1 => Just(Purpose::Promote),
        1 => Just(Purpose::Redeploy),
    ];
    let stage = proptest::sample::select(vec![
        Stage::PreDeploy,
        Stage::Pull,
        Stage::Inspect,
        Stage::Snapshot,
        Stage::Migrate,
        Stage::Start,
        Stage::Register,
        Stage::Probe,
        Stage::Smoke,
        Stage::Canary,
        Stage::PrePromote,
        Stage::Activate,
        Stage::Promote,
        Stage::Verify,
        Stage::Drain,
        Stage::PostPromote,
    ]);
    let public = prop_oneof![
        4 => Just(Public::Seen),
        3 => Just(Public::Unseen),
        1 => Just(Public::Kept),
        1 => Just(Public::Stuck),
    ];
    let act = (
        purpose,
        proptest::option::weighted(0.3, stage),
        proptest::option::weighted(0.6, 0u32..140),
        proptest::option::weighted(0.3, 0u32..60),
        proptest::bool::weighted(0.3),
        proptest::bool::weighted(0.2),
        public,
    )
        .prop_map(|(purpose, fail_at, crash, crash_in_recovery, worse, sick, public)| Act {
            purpose,
            fail_at,
            crash,
            crash_in_recovery,
            worse,
            sick,
            public,
        });
    proptest::collection::vec(act, 1..12)
}

fn play(acts: &[Act]) -> World {
    let mut world = World::new();
    for (n, act) in acts.iter().enumerate() {
        // What is not registered is not warm: a rollback to it is a new deployment.
        let warm = world.registered.get(world.active.other()).is_some();
        if matches!(act.purpose, Purpose::Rollback | Purpose::Promote) && !warm {
            continue;
        }
        let mut fuse = Fuse(act.crash);
        world.worse = act.worse;
        world.sick = act.sick;
        world.public = act.public;
        if world.begin(act.purpose, n as u64 + 1, act.fail_at, &mut fuse).is_err() {
            let mut fuse = Fuse(act.crash_in_recovery);
            if world.recover(&mut fuse).is_err() {
                world.recover(&mut Fuse(None)).expect("nobody kills the third command");
            }
        }
        world.check_rest();
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn whatever_fails_and_dies_the_world_converges(acts in acts()) {
        play(&acts);
    }
}

#[test]
fn every_boundary_of_a_deployment_can_be_the_last() {
    let mut live = 0;
    let mut undone = 0;
    for crash in 0..110 {
        let first = PLAIN;
        let second = Act { crash: Some(crash), ..first.clone() };
        let world = play(&[first, second]);
        match world.history.last() {
            Some((_, true)) => live += 1,
            Some((_, false)) => undone += 1,
            None => panic!("the second deployment left no trace"),
        }
    }
    assert!(live > 10 && undone > 10, "both ways are taken: {live} live, {undone} undone");
}

#[test]
fn a_version_that_the_proxy_took_back_is_recorded_as_such_whenever_the_command_dies() {
    let mut back = 0;
    for crash in 0..130 {
        let first = PLAIN;
        let second = Act { crash: Some(crash), worse: true, ..first.clone() };
        let world = play(&[first.clone(), second]);
        assert_eq!(world.current, play(&[first]).current, "the version before is live, and recorded so");
        assert_eq!(world.history.last().map(|(_, live)| *live), Some(false));
        back += u32::from(world.hooks.iter().any(|(_, hook)| *hook == "post_rollback"));
    }
    assert!(back > 20, "{back} times the proxy was faster than the command");
}

#[test]
fn a_canary_that_is_worse_leaves_the_version_before_whenever_the_command_dies() {
    for crash in 0..90 {
        let world = play(&[PLAIN, Act { crash: Some(crash), sick: true, ..PLAIN }]);
        assert_eq!(world.current, play(&[PLAIN]).current, "nothing was promoted");
        assert_eq!(world.history.last().map(|(_, live)| *live), Some(false));
        assert!(world.judged.is_none_or(|(slot, _)| slot == world.active), "the slot was never live");
    }
}

#[test]
fn a_canary_is_taken_back_before_anything_else_is_undone() {
    let order = order(Purpose::Deploy, 1, Slot::Green, Generation::FIRST);
    for (failed, first) in
        [(Stage::Smoke, Undo::Withdraw), (Stage::Canary, Undo::EndCanary), (Stage::Promote, Undo::EndCanary)]
    {
        assert_eq!(of(&order, failed).first(), Some(&first), "{failed:?}");
    }
}

#[test]
fn a_version_that_is_not_seen_at_the_public_address_goes_back_whenever_the_command_dies() {
    let (mut back, mut never_live) = (0, 0);
    for crash in 0..150 {
        let second = Act { crash: Some(crash), public: Public::Unseen, ..PLAIN };
        let world = play(&[PLAIN, second]);
        assert_eq!(world.current, play(&[PLAIN]).current, "the version before is live, and recorded so");
        assert_eq!(world.history.last().map(|(_, live)| *live), Some(false));
        let returned = world.hooks.iter().any(|(_, hook)| *hook == "post_rollback");
        back += u32::from(returned);
        never_live += u32::from(!returned);
    }
    assert!(back > 30 && never_live > 30, "both happen: {back} went back, {never_live} were never live");
}

#[test]
fn one_that_cannot_go_back_stays_with_its_workers_and_is_recorded() {
    let stuck = |crash| play(&[PLAIN, Act { crash, public: Public::Stuck, ..PLAIN }]);
    let mut live = 0;
    for crash in 0..150 {
        // A hook that a kill has cut is not run again, so they are counted below alone.
        live += u32::from(stuck(Some(crash)).history.last().is_some_and(|(_, live)| *live));
    }
    assert!(live > 60, "{live} of 150 stay");
    let world = stuck(None);
    let hooks: Vec<&str> = world.hooks.iter().rev().map(|(_, hook)| *hook).take(6).collect();
    let exchanged = ["activate_new", "deactivate_old", "activate_old", "deactivate_new"];
    assert_eq!(hooks, [&["post_promote", "retire"][..], &exchanged].concat());
    assert_eq!(world.history.last().map(|(_, live)| *live), Some(true));
}

#[test]
fn workers_that_may_overlap_change_after_traffic_has_gone_back_and_others_before() {
    let order = |workers: &[Stage]| Order {
        stages: [workers, &[Stage::Activate, Stage::Promote, Stage::Verify, Stage::Record]].concat(),
        ..order(Purpose::Deploy, 1, Slot::Green, Generation::FIRST)
    };
    let words = |order: &Order| going_back(order).iter().map(|undo| undo.as_str()).collect::<Vec<_>>();
    let end = ["post_rollback", "on_failure", "record_failure"];
    let overlap = [&["return", "deactivate_new"][..], &end].concat();
    assert_eq!(words(&order(&[])), overlap);
    let one_at_a_time = [&["deactivate_new", "activate_old", "return"][..], &end].concat();
    assert_eq!(words(&order(&[Stage::Deactivate])), one_at_a_time);
}

#[test]
fn a_failure_before_the_switch_is_undone_and_one_after_it_is_a_warning() {
    let act = |fail_at| Act { fail_at, ..PLAIN };
    let before = play(&[act(None), act(Some(Stage::Promote))]);
    assert_eq!(before.history.last().map(|(_, live)| *live), Some(false));
    let undone: Vec<_> = before.hooks.iter().rev().take(3).map(|(_, hook)| *hook).collect();
    assert_eq!(undone, ["on_failure", "activate_old", "deactivate_new"]);
    let after = play(&[act(None), act(Some(Stage::PostPromote))]);
    assert_eq!(after.history.last().map(|(_, live)| *live), Some(true));
}

#[test]
fn an_interrupt_during_the_drain_or_the_verification_ends_the_wait_and_nothing_else() {
    for (stage, next) in [(Stage::Verify, Stage::Drain), (Stage::Drain, Stage::Bake)] {
        ends_the_wait(stage, next);
    }
}

fn ends_the_wait(stage: Stage, next: Stage) {
    let order = order(Purpose::Promote, 1, Slot::Green, Generation::FIRST);
    let at = order.stages.iter().position(|known| *known == stage).expect("that stage");
    let mut machine = Machine::new(order);
    machine.phase = Phase::Working { at };
    machine.facts.switched = Some(Moved {
        from: Slot::Blue,
        generation: Generation::FIRST.next(),
        drained_generation: Generation::FIRST,
        switched_at: NOW,
        switch_micros: None,
    });
    let after = step(machine, Event::Interrupted { cause: cause("Ctrl-C") });
    assert_eq!(after.stage(), next);
    assert!(after.facts.interrupted);
}
