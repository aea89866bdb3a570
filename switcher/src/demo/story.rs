//! The story the demo plays: what is done to the traffic, in which order, and what must be true after it.
//!
//! The load judges the answers; the story judges the rest: a broken version is refused and gets nothing,
//! a proxy killed by SIGKILL comes back on the slot and the generation it had.

use std::time::{Duration, Instant};

use serde::Serialize;
use switcher_config::wire::{Health, Receipt};
use switcher_config::{Generation, Slot, Span};
use tokio::time::sleep;

use super::backend::Backend;
use super::child::Programs;
use super::load::{Fault, Load, Recorder, Tally};
use super::stage::{Move, Stage};
use super::trouble::Trouble;
use crate::code::Exit;
use crate::progress::Reporter;

/// How long streams and WebSockets may go on after a switch.
const DRAIN: Span = Span::millis(1000);
/// How often the live display is renewed.
const TICK: Duration = Duration::from_millis(200);
/// The parts of the story that each get an equal share of its time.
const PARTS: u32 = 7;

/// A way to break the promise on purpose, which the demo must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sabotage {
    /// Kill the old version as soon as traffic has moved, before its drain is over.
    KillOldEarly,
    /// Move traffic back secretly after a promote.
    WrongSlot,
}

/// What came of the story.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Ordinary exchanges.
    #[serde(serialize_with = "as_totals")]
    pub tally: Tally,
    /// A receipt for each switch.
    pub switches: Vec<Receipt>,
    /// How the broken version was met; absent when sabotage ended the story before.
    pub refused: Option<Refused>,
    /// How the proxy came back; absent when sabotage ended the story before.
    pub killed: Option<Comeback>,
    /// What was not as it must be, a sentence each.
    pub problems: Vec<String>,
}

/// How the broken version was met.
#[derive(Debug, Serialize)]
pub struct Refused {
    /// The exit code of the promote.
    pub exit: i32,
    /// Requests the broken version was sent, health checks apart.
    pub served: u64,
}

/// How the proxy came back after SIGKILL.
#[derive(Debug, Serialize)]
pub struct Comeback {
    /// The live slot and generation before.
    pub before: (Slot, Generation),
    /// The live slot and generation after.
    pub after: (Slot, Generation),
    /// Seconds from the kill until both slots were healthy again.
    pub seconds: f64,
    /// What the kill itself broke, counted apart.
    #[serde(serialize_with = "as_totals")]
    pub broken: Tally,
}

fn as_totals<S: serde::Serializer>(tally: &Tally, serializer: S) -> Result<S::Ok, S::Error> {
    tally.to_json().serialize(serializer)
}

/// The story in progress.
struct Story<'a> {
    stage: Stage,
    load: Load,
    reporter: &'a Reporter,
    /// Whether the counts are shown while they grow.
    live: bool,
    begun: Instant,
    part: Duration,
    parts_played: u32,
    switches: Vec<Receipt>,
    refused: Option<Refused>,
    killed: Option<Comeback>,
    problems: Vec<String>,
}

/// Plays the story in about `length` and returns what came of it. With `live` the counts are shown while
/// they grow, not only after each part.
///
/// # Errors
/// When something that is no part of the story goes wrong, such as a program that does not start.
pub async fn play(
    programs: &Programs,
    length: Duration,
    sabotage: Option<Sabotage>,
    (reporter, live): (&Reporter, bool),
) -> Result<Outcome, Trouble> {
    let begun = Instant::now();
    reporter.step("starting the proxy, v1 in blue and v2 in green");
    let stage = Stage::open(programs, DRAIN).await?;
    reporter.step("blue is live; traffic begins: HTTP/1.1, HTTP/2, TLS, uploads, events, WebSockets");
    let load = stage.load();
    let mut story = Story {
        stage,
        load,
        reporter,
        live,
        begun,
        part: length / PARTS,
        parts_played: 0,
        switches: Vec::new(),
        refused: None,
        killed: None,
        problems: Vec::new(),
    };
    story.rest().await;
    match sabotage {
        Some(sabotage) => story.sabotaged(sabotage).await?,
        None => story.honest().await?,
    }
    Ok(story.end(sabotage).await)
}

impl Story<'_> {
    async fn honest(&mut self) -> Result<(), Trouble> {
        self.switch(Slot::Green, Move::Promote).await?;
        self.rest().await;
        self.meet_a_broken_version().await?;
        self.rest().await;
        self.switch(Slot::Blue, Move::Rollback).await?;
        self.rest().await;
        self.switch(Slot::Green, Move::Promote).await?;
        self.rest().await;
        self.kill_the_proxy().await?;
        self.rest().await;
        self.switch(Slot::Blue, Move::Promote).await?;
        self.rest().await;
        Ok(())
    }

    async fn sabotaged(&mut self, sabotage: Sabotage) -> Result<(), Trouble> {
        self.switch(Slot::Green, Move::PromoteDetached).await?;
        match sabotage {
            Sabotage::KillOldEarly => {
                self.reporter.step("sabotage: v1 is killed although its drain is not over");
                self.stage.backends.blue.kill().await?;
            }
            Sabotage::WrongSlot => {
                self.reporter.step("sabotage: traffic secretly goes back to v1");
                self.stage.product.insist(&["promote", "blue", "--detach"]).await?;
            }
        }
        self.rest().await;
        Ok(())
    }

    async fn switch(&mut self, slot: Slot, how: Move) -> Result<(), Trouble> {
        let receipt = self.stage.switch(&self.load, slot, how).await?;
        let word = if how == Move::Rollback { "rolled back" } else { "promoted" };
        let drain = receipt
            .drain
            .as_ref()
            .map_or(String::new(), |drain| format!(", {} drained in {:.2}s", receipt.from, drain.seconds));
        let (generation, micros) = (receipt.generation, receipt.switch_micros);
        self.tell(&format!("{word} {slot}: generation {generation}, swapped in {micros:.0} µs{drain}"));
        if receipt.to != slot {
            self.problems.push(format!("the receipt names {} instead of {slot}", receipt.to));
        }
        self.switches.push(receipt);
        Ok(())
    }

    /// A broken v3 takes the standby's place: it must be refused and get nothing. Then v1 stands by again.
    async fn meet_a_broken_version(&mut self) -> Result<(), Trouble> {
        let broken = Backend::start(&self.stage.product.switcher, "v3", true).await?;
        self.register(&broken.upstream().to_string(), "v3").await?;
        let unhealthy = |health| health == Health::Unhealthy;
        self.stage.until("blue known to be broken", |app| unhealthy(app.slots.blue.health)).await?;
        let answer = self.stage.product.ask(&["promote", "blue"]).await?;
        let served = broken.served().await?;
        if answer.code != i32::from(Exit::Unhealthy as u8) {
            self.problems.push(format!(
                "promoting the broken v3 ended with exit code {}: {}",
                answer.code, answer.said
            ));
        }
        if served != 0 {
            self.problems.push(format!("the broken v3 got {served} requests"));
        }
        self.tell(&format!(
            "v3 in blue is broken: its promote was refused (exit code {}), it got {served} requests",
            answer.code
        ));
        self.refused = Some(Refused { exit: answer.code, served });
        let v1 = self.stage.backends.blue.upstream().to_string();
        self.register(&v1, "v1").await?;
        self.stage.healthy("v1 healthy in blue again", &[Slot::Blue]).await.map(drop)
    }

    async fn register(&self, upstream: &str, release: &str) -> Result<(), Trouble> {
        self.stage.product.insist(&["register", "blue", upstream, "--release", release]).await.map(drop)
    }

    async fn kill_the_proxy(&mut self) -> Result<(), Trouble> {
        let before = self.stage.healthy("both slots healthy", &Slot::ALL).await?;
        let killed = Instant::now();
        self.load.recorder().outage_begins();
        self.stage.proxy.kill().await?;
        self.stage.proxy.restart()?;
        let after = self.stage.healthy("the proxy back with both slots healthy", &Slot::ALL).await?;
        self.load.recorder().outage_ends();
        let seconds = killed.elapsed().as_secs_f64();
        let (before, after) = ((before.active, before.generation), (after.active, after.generation));
        if before != after {
            self.problems.push(format!(
                "after SIGKILL the proxy came back on {} generation {} instead of {} generation {}",
                after.0, after.1, before.0, before.1
            ));
        }
        self.tell(&format!(
            "SIGKILL: the proxy came back on {}, generation {}, after {seconds:.2}s",
            after.0, after.1
        ));
        self.killed = Some(Comeback { before, after, seconds, broken: Tally::default() });
        Ok(())
    }

    /// Lets the traffic run until the part's share of the time is over, but at least for a second.
    async fn rest(&mut self) {
        self.parts_played += 1;
        let until = (self.begun + self.part * self.parts_played).max(Instant::now() + TICK * 5);
        while Instant::now() < until {
            if self.live {
                self.reporter.waiting(&totals(self.load.recorder()));
            }
            sleep(TICK.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }

    fn tell(&self, what: &str) {
        let totals = totals(self.load.recorder());
        self.reporter.step(&format!("{:5.1}s  {what}  [{totals}]", self.begun.elapsed().as_secs_f64()));
    }

    async fn end(mut self, sabotage: Option<Sabotage>) -> Outcome {
        self.reporter.done();
        let (tally, broken) = self.load.stop().await;
        for lane in tally.idle_lanes() {
            self.problems.push(format!("{}: nothing succeeded, so nothing was shown", lane.title()));
        }
        if sabotage.is_none() {
            self.problems.extend(self.switches.iter().filter_map(undrained));
        }
        if let Some(killed) = &mut self.killed {
            killed.broken = broken;
        }
        Outcome {
            tally,
            switches: self.switches,
            refused: self.refused,
            killed: self.killed,
            problems: self.problems,
        }
    }
}

fn undrained(receipt: &Receipt) -> Option<String> {
    let drained = receipt.drain.as_ref().is_some_and(|drain| drain.drained);
    (!drained).then(|| format!("the switch to {} returned before {} was empty", receipt.to, receipt.from))
}

/// The counts on one line.
fn totals(recorder: &Recorder) -> String {
    let (tally, killed) = recorder.snapshot();
    let faults = Fault::ALL.into_iter().filter(|fault| tally.count(*fault) > 0);
    let faults: String = faults.map(|fault| format!(", {} {}", tally.count(fault), fault.title())).collect();
    let apart =
        if killed.failed() > 0 { format!(", {} by the kill", killed.failed()) } else { String::new() };
    format!("{} ok, {} failed{faults}{apart}", tally.ok(), tally.failed())
}

impl Outcome {
    /// Whether everything that the demo promises is true.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.tally.failed() == 0 && self.problems.is_empty()
    }
}
