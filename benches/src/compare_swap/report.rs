//! The switches' result: a table for the README, or one JSON object.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Outcome, Swaps};

type Count = fn(&Outcome) -> u64;

const COLUMNS: [(&str, Count); 7] = [
    ("exchanges in order", |outcome| outcome.tally.ok()),
    ("requests failed", |outcome| outcome.losses.requests),
    ("of them reset or closed under the request", |outcome| outcome.losses.reset),
    ("answers from the old side", |outcome| outcome.losses.old_side),
    ("downloads and uploads cut", |outcome| outcome.losses.transfers),
    ("event streams cut", |outcome| outcome.losses.streams),
    ("WebSockets dropped", |outcome| outcome.losses.websockets),
];

/// The object for `target/` and `--json`.
#[must_use]
pub fn to_json(swaps: &Swaps) -> Value {
    json!({"ok": swaps.ok(), "result": swaps})
}

/// The table, in the README's own notation.
#[must_use]
pub fn to_markdown(swaps: &Swaps) -> String {
    let titles: Vec<&str> = COLUMNS.iter().map(|(title, _)| *title).collect();
    let mut page = format!("| {} switches by | {} |\n", swaps.switches, titles.join(" | "));
    let _ = writeln!(page, "|---|{}", "---|".repeat(COLUMNS.len()));
    for outcome in &swaps.outcomes {
        let _ = write!(page, "| {} |", outcome.name);
        for (_, count) in COLUMNS {
            let _ = write!(page, " {} |", count(outcome));
        }
        page.push('\n');
    }
    page.push('\n');
    for skipped in &swaps.skipped {
        let _ = writeln!(page, "{skipped}\n");
    }
    let _ = writeln!(
        page,
        "A switch that was announced and not made was noticed by {} answers from the old side.",
        swaps.noticed
    );
    page
}

/// The first failures of ours, a sentence each: why the bench fails.
#[must_use]
pub fn why(swaps: &Swaps) -> String {
    let mut page = String::new();
    if swaps.noticed == 0 {
        page.push_str("the referee is blind: a switch that was not made went unnoticed\n");
    }
    let Some(ours) = swaps.outcomes.first() else { return page };
    for lane in ours.tally.idle_lanes() {
        let _ = writeln!(page, "{}: nothing succeeded, so nothing was shown", lane.title());
    }
    ours.tally.failures.iter().for_each(|failure| {
        let _ = writeln!(page, "{failure}");
    });
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare_swap::Losses;
    use switcher::demo::load::Tally;

    #[test]
    fn each_way_has_a_line_and_what_is_missing_is_named() {
        let losses = Losses { requests: 7, reset: 5, old_side: 3, transfers: 2, streams: 0, websockets: 4 };
        let outcome = Outcome { name: "nginx", losses, tally: Tally::default() };
        let swaps = Swaps {
            switches: 50,
            outcomes: vec![outcome],
            skipped: vec!["skipped: Caddy: no network".to_owned()],
            noticed: 0,
        };
        let page = to_markdown(&swaps);
        assert!(page.starts_with("| 50 switches by | exchanges in order | requests failed |"), "{page}");
        assert!(page.contains("| nginx | 0 | 7 | 5 | 3 | 2 | 0 | 4 |\n"), "{page}");
        assert!(page.contains("skipped: Caddy"), "{page}");
        assert!(why(&swaps).contains("the referee is blind") && why(&swaps).contains("nothing succeeded"));
        assert_eq!(to_json(&swaps)["ok"], false);
    }
}
