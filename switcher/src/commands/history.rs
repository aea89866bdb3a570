//! `switcher history`: the deployments there were, newest first.

mod yaml;

use jiff::Timestamp;
use serde_json::json;

use super::{Outcome, memory};
use crate::context::Context;
use crate::layout::{Page, Tone};
use crate::phrase;
use crate::state::record::{DeploymentRecord, HealthStatus, Status};

/// The columns before the last one, which wraps.
const HEADERS: [&str; 6] = ["DEPLOYMENT", "VERSION", "STATUS", "SLOT", "WHEN", "BY"];
/// What a note needs beside its row at least; with less there are blocks instead of a table.
const NOTE: usize = 24;
/// Where the text beside the labels of a block begins.
const COLUMN: usize = 12;

/// Shows them.
pub(super) fn run(ctx: &Context, limit: Option<usize>, yaml: bool) -> Outcome {
    let store = memory::open(ctx)?;
    let mut deployments = store.history().map_err(|error| memory::failure(ctx, &error))?;
    deployments.truncate(limit.unwrap_or(usize::MAX));
    let value = json!({ "app": store.app(), "environment": store.environment(), "deployments": deployments });
    if yaml {
        return ctx.console.write(&yaml::text(&value)).map(drop);
    }
    let page = page(&deployments, ctx.console.width, Timestamp::now());
    ctx.console.result(&page.render(ctx.console.width, ctx.console.colour), &value).map(drop)
}

/// A table, or blocks where it would not fit. Pure.
fn page(deployments: &[DeploymentRecord], width: usize, now: Timestamp) -> Page {
    let mut page = Page::default();
    if deployments.is_empty() {
        page.line("", Tone::Plain, 0).words("nothing was deployed yet", Tone::Plain);
        return page;
    }
    let rows: Vec<[String; 6]> = deployments.iter().map(|deployment| row(deployment, now)).collect();
    let mut widths = HEADERS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let before = widths.iter().sum::<usize>() + 2 * widths.len();
    if before + NOTE > width {
        return blocks(deployments, &rows);
    }
    page.line(&padded(&HEADERS.map(str::to_owned), &widths), Tone::Faint, before).words("NOTE", Tone::Faint);
    for (deployment, row) in deployments.iter().zip(&rows) {
        page.line(&padded(row, &widths), tone(deployment), before).words(&note(deployment), Tone::Plain);
    }
    page
}

/// One below the other, for a narrow terminal.
fn blocks(deployments: &[DeploymentRecord], rows: &[[String; 6]]) -> Page {
    let mut page = Page::default();
    for (deployment, [id, version, status, slot, when, by]) in deployments.iter().zip(rows) {
        page.line(id, tone(deployment), 0);
        for (label, text) in [
            ("version", version.as_str()),
            ("status", status),
            ("slot", slot),
            ("when", when),
            ("by", by),
            ("note", &note(deployment)),
        ] {
            if !text.is_empty() {
                page.line(&format!("  {label}"), Tone::Faint, COLUMN).words(text, Tone::Plain);
            }
        }
    }
    page
}

fn row(deployment: &DeploymentRecord, now: Timestamp) -> [String; 6] {
    [
        deployment.id.to_string(),
        deployment.version.clone(),
        deployment.status.as_str().replace('_', " "),
        deployment.active_slot.to_string(),
        format!("{} ago", phrase::since(deployment.deployed_at, now)),
        deployment.deployed_by.clone(),
    ]
}

fn padded(cells: &[String; 6], widths: &[usize; 6]) -> String {
    cells.iter().zip(widths).fold(String::new(), |line, (cell, width)| {
        let blanks = width.saturating_sub(cell.chars().count()) + 2;
        format!("{line}{cell}{:blanks$}", "")
    })
}

const fn tone(deployment: &DeploymentRecord) -> Tone {
    match deployment.status {
        Status::Active => Tone::Good,
        Status::Failed => Tone::Bad,
        Status::Deploying | Status::RolledBack => Tone::Warn,
        Status::Superseded => Tone::Plain,
    }
}

/// What is worth a word beside the columns.
fn note(deployment: &DeploymentRecord) -> String {
    let mut notes = Vec::new();
    if let Some(failure) = &deployment.failure {
        notes.push(format!("{} during {}: {}", failure.code, failure.phase, failure.message));
    }
    match deployment.migrations_run {
        0 => {}
        1 => notes.push("1 migration".to_owned()),
        n => notes.push(format!("{n} migrations")),
    }
    if !deployment.compatible {
        notes.push("the version before cannot run on its schema".to_owned());
    }
    match deployment.rollback_count {
        0 => {}
        1 => notes.push("went back to once".to_owned()),
        n => notes.push(format!("went back to {n} times")),
    }
    match deployment.health_status {
        HealthStatus::Healthy | HealthStatus::Unknown => {}
        HealthStatus::Degraded | HealthStatus::Unhealthy => {
            notes.push(format!("was {}", deployment.health_status.as_str()));
        }
    }
    if let Some(verified) = &deployment.verified {
        notes.push(phrase::verified(verified));
    }
    notes.extend(deployment.warnings.iter().cloned());
    notes.join("; ")
}

#[cfg(test)]
mod tests {
    use switcher_config::Slot;

    use super::*;
    use crate::state::record::FailureRecord;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    fn record(id: &str, version: &str, status: Status) -> DeploymentRecord {
        DeploymentRecord {
            health_status: HealthStatus::Healthy,
            status,
            ..DeploymentRecord::begun(
                format!("dep_01JBQR2K3M4N5P6Q7R8S9T0V{id}").parse().expect("an id"),
                version.to_owned(),
                Slot::Green,
                "ada@build".to_owned(),
                at(0),
            )
        }
    }

    fn deployments() -> Vec<DeploymentRecord> {
        let failure = FailureRecord {
            code: "E-HEALTH-03".to_owned(),
            phase: "starting".to_owned(),
            message: "green did not become healthy within 2m".to_owned(),
            evidence: Vec::new(),
        };
        vec![
            DeploymentRecord { failure: Some(failure), ..record("C3", "v1.6.0", Status::Failed) },
            DeploymentRecord { migrations_run: 3, ..record("B2", "v1.5.0", Status::Active) },
            record("A1", "v1.4.2", Status::Superseded),
        ]
    }

    #[test]
    fn deployments_are_a_row_each_where_there_is_room() {
        insta::assert_snapshot!(page(&deployments(), 140, at(180)).render(140, false));
    }

    #[test]
    fn on_a_narrow_terminal_they_are_a_block_each() {
        insta::assert_snapshot!(page(&deployments()[..1], 60, at(180)).render(60, false));
    }

    #[test]
    fn nothing_deployed_is_no_failure() {
        assert_eq!(page(&[], 80, at(0)).render(80, false), "nothing was deployed yet\n");
    }
}
