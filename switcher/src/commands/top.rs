//! `switcher top`: what is asked for just now, by slot and by path, until Ctrl-C.

use switcher_config::AppName;
use switcher_config::wire::{Traffic, TrafficRow};

use super::{Outcome, interrupt, watched};
use crate::admin::AdminError;
use crate::cli::TopArgs;
use crate::console::Reader;
use crate::context::Context;
use crate::docker::logs::harmless;
use crate::failure::Live;
use crate::layout::{Page, Tone};
use crate::phrase;

/// The columns before the name, and how wide each is.
const HEADERS: [(&str, usize); 5] = [("REQ/S", 8), ("ERRORS", 7), ("P50", 7), ("P99", 7), ("OUT/S", 9)];
/// With less room for names than this, the times and sizes are left out.
const NAMES: usize = 24;
/// How many paths are shown where no terminal says how many lines there are.
const PATHS: usize = 20;
/// The lines of a frame that are neither slots nor paths: two heads, two gaps, a foot and the one that the cursor is in.
const FRAME: usize = 6;

/// Shows it.
pub(super) async fn run(ctx: &Context, args: TopArgs) -> Outcome {
    let admin = ctx.admin()?;
    let mut interrupt = interrupt(ctx)?;
    let diagnose = |error| ctx.diagnose(&admin, error, None, Live::No);
    let every = args.every.map(|every| every.0);
    let mut frames = admin.top(every).await.map_err(diagnose)?;
    ctx.reporter.step("counting; Ctrl-C ends it");
    loop {
        let next = interrupt.unless(frames.next()).await.map_err(|end| watched(ctx, end))?;
        let Some(data) = next.map_err(diagnose)? else {
            return Err(diagnose(AdminError::Lost("it ended the stream of figures".to_owned())));
        };
        let traffic: Traffic = serde_json::from_str(&data)
            .map_err(|error| diagnose(AdminError::Gibberish(error.to_string())))?;
        let traffic = of(traffic, ctx.global.app.as_ref());
        let (width, height) = (ctx.console.width, ctx.console.height);
        let fit = height.map_or(PATHS, |height| height.saturating_sub(FRAME + traffic.slots.len()).max(1));
        let text = page(&traffic, width, args.paths.unwrap_or(fit)).render(width, ctx.console.colour);
        if args.once {
            return ctx.console.result(&text, &traffic).map(drop);
        }
        if ctx.console.frame(&text, &traffic)? == Reader::Gone {
            return Ok(());
        }
    }
}

/// The same of one application, if one is named.
fn of(mut traffic: Traffic, app: Option<&AppName>) -> Traffic {
    if let Some(app) = app {
        for rows in [&mut traffic.slots, &mut traffic.paths] {
            rows.retain(|row| row.app.as_ref() == Some(app));
        }
    }
    traffic
}

/// A frame. Pure.
fn page(traffic: &Traffic, width: usize, paths: usize) -> Page {
    let mut page = Page::default();
    if traffic.slots.is_empty() {
        page.line("", Tone::Plain, 0).words("nothing is asked for", Tone::Faint);
        return page;
    }
    let all: usize = HEADERS.iter().map(|(_, width)| width + 1).sum();
    // Of five columns two are left where the terminal is narrow.
    let columns = if all + NAMES <= width { HEADERS.len() } else { 2 };
    let heads = HEADERS.map(|(name, _)| name.to_owned());
    let mut line = |cells: [String; 5], tone: Tone, name: &str, name_tone: Tone| {
        let cells = cells.iter().zip(HEADERS).take(columns);
        let label = cells.fold(String::new(), |label, (cell, (_, width))| format!("{label}{cell:>width$} "));
        let column = label.chars().count() + 1;
        page.line(&label, tone, column).words(name, name_tone);
    };
    line(heads.clone(), Tone::Faint, "SLOT", Tone::Faint);
    for row in &traffic.slots {
        line(cells(row, traffic.seconds), tone(row), &name(row), Tone::Strong);
    }
    line([const { String::new() }; 5], Tone::Plain, "", Tone::Plain);
    line(heads, Tone::Faint, "PATH", Tone::Faint);
    for row in traffic.paths.iter().take(paths) {
        line(cells(row, traffic.seconds), tone(row), &name(row), Tone::Plain);
    }
    let hidden = traffic.paths.len().saturating_sub(paths);
    if hidden > 0 || traffic.beyond > 0 {
        let beyond = match traffic.beyond {
            0 => String::new(),
            beyond => format!(", and {beyond} requests for paths that were not told apart"),
        };
        line([const { String::new() }; 5], Tone::Plain, &format!("{hidden} more{beyond}"), Tone::Faint);
    }
    page
}

/// Application, slot and path.
fn name(row: &TrafficRow) -> String {
    let app = row.app.as_ref().map_or("(none)", AppName::as_str);
    let slot = row.slot.map_or("(the proxy)", |slot| slot.as_str());
    match &row.path {
        Some(path) => format!("{app} {slot} {}", harmless(path)),
        None => format!("{app} {slot}"),
    }
}

const fn tone(row: &TrafficRow) -> Tone {
    if row.errors > 0 { Tone::Bad } else { Tone::Plain }
}

#[allow(clippy::cast_precision_loss, reason = "counts of a few seconds")]
fn cells(row: &TrafficRow, seconds: f64) -> [String; 5] {
    let seconds = seconds.max(1e-3);
    let rate = |count: u64| count as f64 / seconds;
    let time = |millis: Option<f64>| millis.map_or_else(|| "-".to_owned(), |ms| phrase::duration(ms / 1e3));
    let per_second = rate(row.requests);
    [
        if per_second < 10.0 { format!("{per_second:.1}") } else { format!("{per_second:.0}") },
        percentage(row.errors, row.requests),
        time(row.p50_ms),
        time(row.p99_ms),
        phrase::size(rate(row.bytes_out) as u64),
    ]
}

/// Which part of them failed; the smallest one that is there is not shown as none.
#[allow(clippy::cast_precision_loss, reason = "counts of a few seconds")]
fn percentage(errors: u64, requests: u64) -> String {
    match errors {
        0 => "-".to_owned(),
        _ => match errors as f64 * 100.0 / requests.max(1) as f64 {
            share if share < 0.1 => "<0.1%".to_owned(),
            share if share < 10.0 => format!("{share:.1}%"),
            share => format!("{share:.0}%"),
        },
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use switcher_config::Slot;

    use super::*;

    fn row(
        app: Option<&str>,
        slot: Option<Slot>,
        path: Option<&str>,
        requests: u64,
        errors: u64,
    ) -> TrafficRow {
        TrafficRow {
            app: app.map(|app| app.parse().expect("a name")),
            slot,
            path: path.map(ToOwned::to_owned),
            requests,
            errors,
            p50_ms: (requests > 0).then_some(1.25),
            p99_ms: (requests > 0).then_some(240.0),
            bytes_out: requests * 1500,
        }
    }

    fn traffic() -> Traffic {
        let (blue, green) = (Some(Slot::Blue), Some(Slot::Green));
        Traffic {
            at: Timestamp::UNIX_EPOCH,
            seconds: 2.0,
            slots: vec![
                row(Some("shop"), blue, None, 2400, 1),
                row(Some("blog"), green, None, 9, 0),
                row(None, None, None, 3, 0),
            ],
            paths: vec![
                row(Some("shop"), blue, Some("/api/orders"), 2000, 0),
                row(Some("shop"), blue, Some("/orders/*"), 400, 40),
                row(Some("blog"), green, Some("/\u{1b}[31mred"), 9, 0),
                row(None, None, Some("/"), 3, 0),
            ],
            beyond: 12,
        }
    }

    #[test]
    fn a_frame_fits_wide_and_narrow_terminals() {
        let wide = page(&traffic(), 120, 3).render(120, false);
        let narrow = page(&traffic(), 40, 3).render(40, false);
        assert!(!wide.contains('\u{1b}'), "{wide}");
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
        insta::assert_snapshot!(format!("{wide}\n---\n{narrow}"));
        let quiet = Traffic { slots: Vec::new(), paths: Vec::new(), ..traffic() };
        assert_eq!(page(&quiet, 80, 3).render(80, false).trim(), "nothing is asked for");
    }

    #[test]
    fn one_application_is_picked_out() {
        let blog = "blog".parse().expect("a name");
        let one = of(traffic(), Some(&blog));
        assert_eq!((one.slots.len(), one.paths.len()), (1, 1));
    }
}
