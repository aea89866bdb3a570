//! The gate's result: a page for people, or one JSON object.

use std::fmt::Write as _;

use serde_json::json;
use switcher::demo::load::Fault;

use super::deadline::Sort;
use super::process::Upgrade;
use super::{Deadline, Gate, Process, Quantiles};

/// The object for `--json`, on one line.
#[must_use]
pub fn to_json(gate: &Gate) -> String {
    let object = json!({
        "ok": gate.ok(),
        "switches": gate.loaded.receipts.len(),
        "rollbacks": gate.loaded.rollbacks,
        "seconds": gate.loaded.seconds,
        "tally": gate.loaded.tally.to_json(),
        "problems": gate.loaded.problems,
        "deadline": gate.deadline,
        "process": gate.process,
        "idle": gate.idle,
        "controls": gate.controls,
    });
    format!("{object}\n")
}

/// The page for people.
#[must_use]
pub fn to_text(gate: &Gate) -> String {
    let (loaded, mut page) = (&gate.loaded, String::new());
    let (switches, rollbacks, seconds) = (loaded.receipts.len(), loaded.rollbacks, loaded.seconds);
    let _ = writeln!(page, "{switches} switches ({rollbacks} of them rollbacks) in {seconds:.0}s under load");
    line(&mut page, "exchanges as they should be", loaded.tally.ok());
    line(&mut page, "streams and WebSockets closed at their deadline", loaded.tally.reconnects());
    for fault in Fault::ALL {
        line(&mut page, fault.title(), loaded.tally.count(fault));
    }
    for sentence in loaded.tally.failures.iter().chain(&loaded.problems) {
        let _ = writeln!(page, "  {sentence}");
    }
    deadline(&mut page, &gate.deadline);
    process(&mut page, &gate.process);
    let _ = writeln!(page, "\n{} promotes without load (reported, not judged)", gate.idle.samples);
    times(&mut page, "swap, µs", &gate.idle.swap_micros);
    times(&mut page, "answered, ms", &gate.idle.answered_millis);
    page.push_str("\nbroken on purpose\n");
    for control in &gate.controls {
        let verdict = if control.caught() { "noticed" } else { "MISSED" };
        let (name, fault) = (control.sabotage, control.must_show.title());
        let _ = writeln!(page, "  {name:<16}{verdict}: {} {fault}", control.counted);
    }
    page.push_str(if gate.ok() { "\nthe gate is passed\n" } else { "\nthe gate is NOT passed\n" });
    page
}

fn deadline(page: &mut String, deadline: &Deadline) {
    let (rounds, verdict) = (deadline.rounds, verdict(deadline.ok()));
    let _ = writeln!(page, "\n{rounds} drain deadlines: {verdict}");
    let _ = writeln!(page, "  the latest end of each, in ms after the deadline (reported, not judged)");
    for sort in Sort::ALL {
        let _ = writeln!(page, "{:>8.1}  {}", deadline.latest(sort), sort.title());
    }
    let drained = deadline.drained_after_millis.iter().copied().fold(f64::NAN, f64::max);
    let _ = writeln!(page, "{drained:>8.1}  the whole slot, by its receipt");
    sentences(page, &deadline.problems);
}

fn process(page: &mut String, process: &Process) {
    let (rounds, verdict) = (process.exit_millis.len(), verdict(process.ok()));
    let _ = writeln!(page, "\n{rounds} ends when idle, {rounds} hand-overs under load: {verdict}");
    let sum = |count: fn(&Upgrade) -> u64| process.upgrades.iter().map(count).sum();
    line(page, "exchanges as they should be", sum(|upgrade| upgrade.tally.ok()));
    line(page, "exchanges lost", sum(|upgrade| upgrade.tally.failed()));
    line(page, "new connections answered", sum(|upgrade| upgrade.fresh));
    sentences(page, &process.problems);
    let upgrades = |time: fn(&Upgrade) -> f64| Quantiles::of(process.upgrades.iter().map(time).collect());
    times(page, "SIGTERM to end, ms", &Quantiles::of(process.exit_millis.clone()));
    times(page, "hand-over, ms", &upgrades(|upgrade| upgrade.hand_over_millis));
    times(page, "old one gone, ms", &upgrades(|upgrade| upgrade.old_gone_millis));
}

const fn verdict(ok: bool) -> &'static str {
    if ok { "kept" } else { "NOT kept" }
}

fn sentences(page: &mut String, sentences: &[String]) {
    for sentence in sentences {
        let _ = writeln!(page, "  {sentence}");
    }
}

fn line(page: &mut String, what: &str, count: u64) {
    let _ = writeln!(page, "{count:>8}  {what}");
}

fn times(page: &mut String, what: &str, quantiles: &Quantiles) {
    let Quantiles { p50, p99, max } = quantiles;
    let _ = writeln!(page, "  {what:<20}p50 {p50:>8.2}   p99 {p99:>8.2}   max {max:>8.2}");
}
