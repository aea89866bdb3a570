//! The comparison's result: the README's tables, ratios first, or one JSON object.

use std::fmt::Write as _;

use serde_json::json;

use super::{BASE, Comparison, OURS, Own, Row, Unit};
use crate::handshakes::median;

/// The object for `target/` and `--json`.
#[must_use]
pub fn to_json(comparison: &Comparison) -> serde_json::Value {
    json!(comparison)
}

/// The tables, in the README's own notation.
#[must_use]
pub fn to_markdown(comparison: &Comparison) -> String {
    let mut page = String::new();
    ratios(&mut page, comparison);
    absolutes(&mut page, comparison);
    own(&mut page, &comparison.own);
    for skipped in &comparison.skipped {
        let _ = writeln!(page, "{skipped}\n");
    }
    let scale = comparison.scale;
    let _ = writeln!(
        page,
        "Medians of {} interleaved rounds, the least and the greatest round in brackets; the machine was {:.0} % busy \
         with other things before. {} requests in flight, {} a round with small bodies, {} with large ones, {} handshakes; \
         {} connections and {} WebSockets kept, a large body of {} MiB (`ulimit -n {}`). Our counters cannot be switched off, so they are in every figure.",
        scale.rounds,
        comparison.busy_before * 100.0,
        super::load::AT_ONCE,
        scale.small,
        scale.large,
        scale.handshakes,
        scale.connections,
        scale.sockets,
        scale.body >> 20,
        scale.descriptors(),
    );
    page
}

/// Everybody over nginx: the median of the rounds' ratios.
fn ratios(page: &mut String, comparison: &Comparison) {
    let Some(base) = comparison.names.iter().position(|name| *name == BASE) else { return };
    let others = || comparison.names.iter().enumerate().filter(|(at, _)| *at != base);
    let names: Vec<&str> = others().map(|(_, name)| *name).collect();
    let _ = writeln!(page, "| over {BASE}'s | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for row in &comparison.rows {
        let _ = write!(page, "| {} |", title(row));
        for (at, _) in others() {
            let ratios = pairs(&row.figures[at], &row.figures[base]);
            let _ = write!(page, " {} |", spread(&ratios, |ratio| format!("{ratio:.2}")));
        }
        page.push('\n');
    }
    page.push('\n');
}

/// The figures themselves.
fn absolutes(page: &mut String, comparison: &Comparison) {
    let names = &comparison.names;
    let _ = writeln!(page, "| of each | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for row in &comparison.rows {
        let _ = write!(page, "| {} |", title(row));
        for figures in &row.figures {
            let _ = write!(page, " {} |", spread(figures, |figure| in_unit(figure, row.unit)));
        }
        page.push('\n');
    }
    page.push('\n');
}

/// This proxy beside itself.
fn own(page: &mut String, rows: &[Own]) {
    let _ = writeln!(
        page,
        "| {OURS} beside itself, HTTP/1.1 | CPU a request, with over without | with |\n|---|---|---|"
    );
    for row in rows {
        let ratios = spread(&pairs(&row.with, &row.without), |ratio| format!("{ratio:.2}"));
        let with = spread(&row.with, |figure| in_unit(figure, Unit::Micros));
        let _ = writeln!(page, "| {} | {ratios} | {with} |", row.title);
    }
    page.push('\n');
}

fn title(row: &Row) -> String {
    match row.unit {
        Unit::Micros => format!("CPU, {}", row.title),
        Unit::Bytes => format!("memory, {}", row.title),
    }
}

fn in_unit(figure: f64, unit: Unit) -> String {
    match unit {
        Unit::Micros => format!("{figure:.1} µs"),
        Unit::Bytes => format!("{:.1} KiB", figure / 1024.0),
    }
}

/// One figure over another, round by round.
fn pairs(figures: &[f64], base: &[f64]) -> Vec<f64> {
    figures.iter().zip(base).map(|(figure, base)| figure / base).collect()
}

/// The median, with the least and the greatest where there are several.
fn spread(figures: &[f64], write: impl Fn(f64) -> String) -> String {
    let middle = write(median(figures.to_vec()));
    if figures.len() < 2 {
        return middle;
    }
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{middle} ({} to {})", write(least), write(greatest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Scale;

    fn comparison() -> Comparison {
        let cpu = Row {
            title: "HTTP/1.1",
            unit: Unit::Micros,
            figures: vec![vec![12.0, 30.0, 11.0], vec![10.0, 20.0, 10.0], vec![5.0, 10.0, 20.0]],
        };
        let memory = Row {
            title: "idle connection",
            unit: Unit::Bytes,
            figures: vec![vec![4096.0; 3], vec![1024.0; 3], vec![2048.0; 3]],
        };
        let own = Own { title: "log".to_owned(), without: vec![10.0], with: vec![11.0] };
        Comparison {
            scale: Scale { rounds: 3, ..Scale::QUICK },
            names: vec![OURS, BASE, "HAProxy"],
            rows: vec![cpu, memory],
            own: vec![own],
            skipped: vec!["skipped: Caddy: no network".to_owned()],
            busy_before: 0.02,
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_come_first() {
        let page = to_markdown(&comparison());
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(lines[0], "| over nginx's | switcher-proxy | HAProxy |");
        assert_eq!(lines[2], "| CPU, HTTP/1.1 | 1.20 (1.10 to 1.50) | 0.50 (0.50 to 2.00) |");
        assert_eq!(lines[3], "| memory, idle connection | 4.00 (4.00 to 4.00) | 2.00 (2.00 to 2.00) |");
        assert_eq!(lines[5], "| of each | switcher-proxy | nginx | HAProxy |");
        assert!(
            lines[7].starts_with("| CPU, HTTP/1.1 | 12.0 µs (11.0 µs to 30.0 µs) | 10.0 µs"),
            "{}",
            lines[7]
        );
        assert!(page.contains("| log | 1.10 | 11.0 µs |"), "{page}");
        assert!(page.contains("skipped: Caddy: no network"), "{page}");
    }

    #[test]
    fn without_nginx_there_are_no_ratios_over_it() {
        let mut comparison = comparison();
        comparison.names[1] = "another";
        assert!(to_markdown(&comparison).starts_with("| of each |"));
    }
}
