//! The demo's result: a page for people, or one JSON object.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::load::{Fault, Lane, Tally};
use super::story::Outcome;

/// The object for `--json`.
#[must_use]
pub fn to_json(outcome: &Outcome) -> Value {
    let mut object = json!({ "ok": outcome.ok() });
    if let (Some(object), Ok(Value::Object(rest))) = (object.as_object_mut(), serde_json::to_value(outcome)) {
        object.extend(rest);
    }
    object
}

/// The page for people.
#[must_use]
pub fn to_text(outcome: &Outcome) -> String {
    let mut page = lanes(&outcome.tally);
    page.push('\n');
    for fault in Fault::ALL {
        line(&mut page, fault.title(), outcome.tally.count(fault));
    }
    line(&mut page, "closed at their drain deadline, as they should", outcome.tally.reconnects());
    if let Some(killed) = &outcome.killed {
        line(&mut page, "broken by the SIGKILL itself, counted apart", killed.broken.failed());
    }
    list(&mut page, "first failures", &outcome.tally.failures);
    list(&mut page, "not as it must be", &outcome.problems);
    page.push('\n');
    page.push_str(&verdict(outcome));
    page
}

fn lanes(tally: &Tally) -> String {
    let mut table = format!("{:<18}{:>10}{:>10}\n", "", "ok", "failed");
    for lane in Lane::ALL {
        let counts = tally.lanes.get(&lane).cloned().unwrap_or_default();
        let failed: u64 = counts.faults.values().sum();
        let _ = writeln!(table, "{:<18}{:>10}{failed:>10}", lane.title(), counts.ok);
    }
    table
}

fn line(page: &mut String, what: &str, count: u64) {
    let _ = writeln!(page, "{count:>8}  {what}");
}

fn list(page: &mut String, title: &str, sentences: &[String]) {
    if sentences.is_empty() {
        return;
    }
    let _ = writeln!(page, "\n{title}:");
    for sentence in sentences {
        let _ = writeln!(page, "  {sentence}");
    }
}

fn verdict(outcome: &Outcome) -> String {
    let (switches, ok) = (outcome.switches.len(), outcome.tally.ok());
    if outcome.ok() {
        format!("{switches} switches under load, {ok} exchanges, nothing lost.\n")
    } else {
        let failed = outcome.tally.failed();
        format!("{switches} switches under load, {ok} exchanges, {failed} LOST: this must not happen.\n")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::load::{Failure, Recorder};
    use super::*;

    fn outcome(recorder: &Recorder, problems: &[&str]) -> Outcome {
        let (tally, _) = recorder.snapshot();
        let problems = problems.iter().map(|&problem| problem.to_owned()).collect();
        Outcome { tally, switches: Vec::new(), refused: None, killed: None, problems }
    }

    #[test]
    fn a_clean_outcome_says_that_nothing_was_lost() {
        let recorder = Recorder::default();
        recorder.ok(Lane::Posts);
        let outcome = outcome(&recorder, &[]);
        assert!(to_text(&outcome).ends_with("1 exchanges, nothing lost.\n"));
        assert_eq!(to_json(&outcome)["ok"], true);
        assert_eq!(to_json(&outcome)["tally"]["wrong_slot"], 0);
    }

    #[test]
    fn one_fault_or_one_problem_is_enough_to_fail() {
        let recorder = Recorder::default();
        assert!(!outcome(&recorder, &["the broken v3 got 1 requests"]).ok());
        recorder.failed(Lane::Http2, Instant::now(), &Failure::new(Fault::WrongSlot, "v1 answered"));
        let outcome = outcome(&recorder, &[]);
        let text = to_text(&outcome);
        assert!(
            text.contains("       1  answers from the wrong slot\n") && text.contains("1 LOST"),
            "{text}"
        );
        assert_eq!(
            (&to_json(&outcome)["ok"], &to_json(&outcome)["tally"]["wrong_slot"]),
            (&json!(false), &json!(1))
        );
    }
}
