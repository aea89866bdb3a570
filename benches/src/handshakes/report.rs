//! The comparison's result: a table for the README, ratios first, or one JSON object.

use std::fmt::Write as _;

use super::{Comparison, OURS, Sample, Turn, median};

type Kind = fn(&Turn) -> Sample;

const KINDS: [(&str, Kind); 2] = [("full", |turn| turn.full), ("resumed", |turn| turn.resumed)];

/// The object for `--json`, on one line.
#[must_use]
pub fn to_json(comparison: &Comparison) -> String {
    format!("{}\n", serde_json::json!(comparison))
}

/// The page for people, in the README's own notation.
#[must_use]
pub fn to_text(comparison: &Comparison) -> String {
    let mut page = String::new();
    for skipped in &comparison.skipped {
        let _ = writeln!(page, "{skipped}");
    }
    page.push_str(&ratios(comparison));
    page.push_str(&figures(comparison));
    page
}

/// How everybody compares with this proxy, by processor time: the median of the rounds' ratios.
fn ratios(comparison: &Comparison) -> String {
    let mut page = "| switcher-proxy beside | full | resumed |\n|---|---|---|\n".to_owned();
    let Some(ours) = comparison.turns(OURS) else { return page };
    for subject in comparison.subjects.iter().filter(|subject| subject.name != OURS) {
        let _ = write!(page, "| {} |", subject.name);
        for (_, kind) in KINDS {
            let ratio = |figure: fn(Sample) -> f64| {
                let pairs = ours.iter().zip(&subject.turns);
                median(pairs.map(|(ours, theirs)| figure(kind(ours)) / figure(kind(theirs))).collect())
            };
            let (rate, cpu) = (ratio(|sample| sample.per_second), ratio(|sample| sample.cpu_micros));
            let _ = write!(page, " {rate:.2} × the handshakes a second, {cpu:.2} × the CPU |");
        }
        page.push('\n');
    }
    page.push('\n');
    page
}

/// The medians themselves.
fn figures(comparison: &Comparison) -> String {
    let mut page = "| one core |".to_owned();
    for (kind, _) in KINDS {
        let _ = write!(page, " {kind}, a second | CPU of each | core busy |");
    }
    page.push_str("\n|---|---|---|---|---|---|---|\n");
    for subject in &comparison.subjects {
        let _ = write!(page, "| {} |", subject.name);
        for (_, kind) in KINDS {
            let middle = |figure: fn(Sample) -> f64| {
                median(subject.turns.iter().map(|turn| figure(kind(turn))).collect())
            };
            let (rate, cpu) = (middle(|sample| sample.per_second), middle(|sample| sample.cpu_micros));
            let busy = middle(|sample| sample.busy) * 100.0;
            let _ = write!(page, " {rate:.0} | {cpu:.0} µs | {busy:.0} % |");
        }
        page.push('\n');
    }
    let rounds = comparison.subjects.first().map_or(0, |subject| subject.turns.len());
    let _ = writeln!(
        page,
        "\nMedians of {rounds} interleaved rounds of {} handshakes of each kind.",
        comparison.handshakes
    );
    page
}
