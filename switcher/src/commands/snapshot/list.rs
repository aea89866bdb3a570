//! `switcher snapshot list`: every snapshot, a row each, newest first; damaged ones say so.

use jiff::Timestamp;
use serde_json::json;

use super::{Outcome, age, listed};
use crate::deploy::site::Site;
use crate::layout::{Page, Tone};
use crate::snapshot::{Condition, Folder, Listed};

const HEADERS: [&str; 6] = ["SNAPSHOT", "TAKEN", "SIZE", "TABLES", "SERVER", "DATABASE"];

/// Shows them.
pub(super) fn run(site: &Site<'_>, folder: &Folder) -> Outcome {
    let snapshots = listed(site, folder)?;
    let console = &site.ctx.console;
    let page = page(&snapshots, console.width, Timestamp::now()).render(console.width, console.colour);
    console.result(&page, &json!({ "app": site.app, "snapshots": snapshots })).map(drop)
}

/// A table, or blocks where it would not fit. Pure.
fn page(snapshots: &[Listed], width: usize, now: Timestamp) -> Page {
    let mut page = Page::default();
    if snapshots.is_empty() {
        page.line("", Tone::Plain, 0).words("there is no snapshot", Tone::Plain);
        return page;
    }
    let rows: Vec<[String; 6]> = snapshots.iter().map(|listed| row(listed, now)).collect();
    let mut widths = HEADERS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let whole = widths.iter().sum::<usize>() + 2 * widths.len();
    if whole > width {
        blocks(&mut page, snapshots, &rows);
        return page;
    }
    page.line(padded(&HEADERS.map(str::to_owned), &widths).trim_end(), Tone::Faint, whole);
    for (listed, row) in snapshots.iter().zip(&rows) {
        page.line(padded(row, &widths).trim_end(), tone(listed), whole);
    }
    page
}

fn row(Listed { snapshot, condition }: &Listed, now: Timestamp) -> [String; 6] {
    let size = match condition {
        Condition::Good => size(snapshot.size_bytes),
        Condition::Cut => "damaged".to_owned(),
        Condition::Missing => "missing".to_owned(),
    };
    [
        snapshot.id.to_string(),
        age(snapshot.created_at, now),
        size,
        snapshot.tables.to_string(),
        snapshot.server.clone(),
        snapshot.database.clone(),
    ]
}

fn tone(listed: &Listed) -> Tone {
    if listed.condition == Condition::Good { Tone::Plain } else { Tone::Bad }
}

fn padded(cells: &[String; 6], widths: &[usize; 6]) -> String {
    cells.iter().zip(widths).fold(String::new(), |line, (cell, width)| line + &format!("{cell:<width$}  "))
}

fn blocks(page: &mut Page, snapshots: &[Listed], rows: &[[String; 6]]) {
    for (listed, row) in snapshots.iter().zip(rows) {
        page.line("", Tone::Plain, 0).words(&row[0], Tone::Strong);
        for (header, cell) in HEADERS.iter().zip(row).skip(1) {
            page.line(&format!("  {}", header.to_lowercase()), Tone::Faint, 12).words(cell, tone(listed));
        }
    }
}

/// `3.4 MiB`.
pub(super) fn size(bytes: u64) -> String {
    crate::snapshot::bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshots() -> Vec<Listed> {
        [
            ("snap_01JD7M3W4M4N5P6Q7R8S9T0VWX", "2026-11-21T12:00:00Z", Condition::Good),
            ("snap_01JBQR2K3M4N5P6Q7R8S9T0VWX", "2026-11-14T12:00:00Z", Condition::Cut),
        ]
        .map(|(id, at, condition)| Listed {
            snapshot: serde_json::from_value(json!({
                "id": id, "database": "shop@db.example.com", "tool": "pg_dump 15.14", "server": "15.14",
                "size_bytes": 3_565_158, "sha256": "", "created_at": at, "tables": 12,
            }))
            .expect("a snapshot"),
            condition,
        })
        .to_vec()
    }

    #[test]
    fn a_table_is_laid_out_where_it_fits_and_blocks_where_not() {
        let now = "2026-11-21T14:00:00Z".parse().expect("a moment");
        let wide = page(&snapshots(), 120, now).render(120, false);
        let narrow = page(&snapshots()[..1], 40, now).render(40, false);
        insta::assert_snapshot!(format!("{wide}\n{narrow}"), @"
        SNAPSHOT                         TAKEN       SIZE     TABLES  SERVER  DATABASE
        snap_01JD7M3W4M4N5P6Q7R8S9T0VWX  2 h ago     3.4 MiB  12      15.14   shop@db.example.com
        snap_01JBQR2K3M4N5P6Q7R8S9T0VWX  7 days ago  damaged  12      15.14   shop@db.example.com

        snap_01JD7M3W4M4N5P6Q7R8S9T0VWX
          taken     2 h ago
          size      3.4 MiB
          tables    12
          server    15.14
          database  shop@db.example.com
        ");
        for width in 24..140 {
            for line in page(&snapshots(), width, now).render(width, false).lines() {
                assert!(line.chars().count() <= width, "{width}: {line:?}");
            }
        }
    }
}
