//! The drain gate: many switches under load, the old upstream killed as soon as its drain is over, and
//! nothing at all may be lost. Then drain deadlines met by clients of every sort, and the signals that end a
//! process or hand over to the next one.
//!
//! The gate judges counts and never times; times are reported. It also breaks the promise on purpose and
//! fails when that goes unnoticed, so that a gate gone blind cannot pass.

use std::time::{Duration, Instant};

use serde::Serialize;
use switcher::demo::child::Programs;
use switcher::demo::load::{Fault, Load, Tally};
use switcher::demo::stage::{Move, Stage};
use switcher::demo::story::{self, Sabotage};
use switcher::demo::trouble::Trouble;
use switcher::progress::{Progress, Reporter};
use switcher_config::wire::Receipt;
use switcher_config::{Generation, Slot, Span};
use tokio::time::{sleep, sleep_until};

pub use self::deadline::Deadline;
pub use self::idle::{Idle, Quantiles};
pub use self::process::Process;

pub mod deadline;
mod idle;
mod process;
pub mod report;

/// How long streams and WebSockets may go on after a switch: short, so that one fits into every second.
const DRAIN: Span = Span::millis(300);
/// From one switch to the next.
const PACE: Duration = Duration::from_secs(1);
/// How long a sabotaged story may take.
const CONTROL: Duration = Duration::from_secs(10);

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Switches under load.
    pub switches: u32,
    /// Promotes without load, to be timed.
    pub idle: u32,
    /// Drain deadlines, ends of an idle process, and hand-overs under load: so many of each.
    pub rounds: u32,
}

impl Scale {
    /// What CI judges.
    pub const FULL: Self = Self { switches: 40, idle: 1000, rounds: 5 };
    /// For a first impression.
    pub const QUICK: Self = Self { switches: 8, idle: 100, rounds: 1 };
}

/// What came of it all.
#[derive(Debug)]
pub struct Gate {
    /// The switches under load.
    pub loaded: Loaded,
    /// The drain deadlines.
    pub deadline: Deadline,
    /// The signals.
    pub process: Process,
    /// The times without load.
    pub idle: Idle,
    /// One for each sabotage.
    pub controls: Vec<Control>,
}

/// The switches under load.
#[derive(Debug)]
pub struct Loaded {
    /// Every exchange.
    pub tally: Tally,
    /// A receipt for each switch.
    pub receipts: Vec<Receipt>,
    /// How many of them were rollbacks.
    pub rollbacks: u32,
    /// How long it took.
    pub seconds: f64,
    /// What was not as it must be, a sentence each.
    pub problems: Vec<String>,
}

/// A run that was sabotaged, which must have been noticed.
#[derive(Debug, Serialize)]
pub struct Control {
    /// What was done.
    pub sabotage: &'static str,
    /// The fault by which it must be noticed.
    pub must_show: Fault,
    /// How often that fault was counted.
    pub counted: u64,
}

impl Gate {
    /// Runs everything.
    ///
    /// # Errors
    /// When something that is not judged goes wrong, such as a program that does not start.
    pub async fn pass(programs: &Programs, scale: Scale) -> Result<Self, Trouble> {
        eprintln!("{} switches under load, one a second", scale.switches);
        let loaded = under_load(programs, scale.switches).await?;
        eprintln!("{} drain deadlines", scale.rounds);
        let deadline = Deadline::meet(scale.rounds).await;
        eprintln!("{} ends of an idle process and as many hand-overs under load", scale.rounds);
        let process = Process::signal(programs, scale.rounds).await?;
        eprintln!("{} promotes without load, timed", scale.idle);
        let idle = Idle::measure(programs, scale.idle).await?;
        eprintln!("the promise broken on purpose: it must be noticed");
        let controls = vec![
            control(programs, Sabotage::KillOldEarly, Fault::CutEarly).await?,
            control(programs, Sabotage::WrongSlot, Fault::WrongSlot).await?,
        ];
        Ok(Self { loaded, deadline, process, idle, controls })
    }

    /// Whether the product passed and the gate itself can be trusted.
    #[must_use]
    pub fn ok(&self) -> bool {
        let kept = self.loaded.ok() && self.deadline.ok() && self.process.ok();
        kept && self.controls.iter().all(Control::caught)
    }
}

impl Loaded {
    /// Whether nothing was lost.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.tally.failed() == 0 && self.problems.is_empty()
    }
}

impl Control {
    /// Whether the sabotage was noticed.
    #[must_use]
    pub const fn caught(&self) -> bool {
        self.counted > 0
    }
}

async fn control(programs: &Programs, sabotage: Sabotage, must_show: Fault) -> Result<Control, Trouble> {
    let quiet = Reporter::new(Progress::Quiet);
    let outcome = Box::pin(story::play(programs, CONTROL, Some(sabotage), (&quiet, false))).await?;
    let name = match sabotage {
        Sabotage::KillOldEarly => "kill-old-early",
        Sabotage::WrongSlot => "wrong-slot",
    };
    Ok(Control { sabotage: name, must_show, counted: outcome.tally.count(must_show) })
}

/// The ways to switch, in turn: most return before the drain, so that the referee is at its strictest.
const fn manner(round: u32) -> Move {
    match round % 4 {
        1 => Move::Promote,
        3 => Move::Rollback,
        _ => Move::PromoteDetached,
    }
}

async fn under_load(programs: &Programs, switches: u32) -> Result<Loaded, Trouble> {
    let mut stage = Stage::open(programs, DRAIN).await?;
    let load = stage.load();
    sleep(PACE).await;
    let begun = Instant::now();
    let mut receipts: Vec<Receipt> = Vec::new();
    for round in 0..switches {
        sleep_until((begun + PACE * round).into()).await;
        let to = receipts.last().map_or(Slot::Green, |last| last.to.other());
        receipts.push(one_switch(&mut stage, &load, to, manner(round)).await?);
    }
    sleep(PACE).await;
    let seconds = begun.elapsed().as_secs_f64();
    let (tally, _) = load.stop().await;
    let rollbacks = (0..switches).map(|round| u32::from(manner(round) == Move::Rollback)).sum();
    let problems = problems(&tally, &receipts);
    Ok(Loaded { tally, receipts, rollbacks, seconds, problems })
}

/// Switches, waits for the drain, and replaces the old upstream at once.
async fn one_switch(stage: &mut Stage, load: &Load, to: Slot, how: Move) -> Result<Receipt, Trouble> {
    let receipt = stage.switch(load, to, how).await?;
    stage.drained().await?;
    stage.replace(to.other()).await?;
    Ok(receipt)
}

/// What the receipts and the tally say against the product. Pure.
fn problems(tally: &Tally, receipts: &[Receipt]) -> Vec<String> {
    let mut problems: Vec<String> = tally
        .idle_lanes()
        .iter()
        .map(|lane| format!("{}: nothing succeeded, so nothing was shown", lane.title()))
        .collect();
    let (mut generation, mut live) = (Generation::FIRST, Slot::Blue);
    for receipt in receipts {
        if (receipt.from, receipt.to) != (live, live.other()) {
            problems.push(format!("a receipt tells of {} to {} with {live} live", receipt.from, receipt.to));
        }
        if receipt.generation != generation.next() {
            problems.push(format!("generation {} follows {generation}", receipt.generation));
        }
        (generation, live) = (receipt.generation, receipt.to);
        if receipt.drain.as_ref().is_some_and(|drain| !drain.drained) {
            problems.push(format!("generation {generation} was answered before the drain was over"));
        }
    }
    problems
}
