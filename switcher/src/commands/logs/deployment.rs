//! `switcher logs --deployment ID`: the log that a deployment wrote, from its file.
//!
//! The file holds no secrets. No engine and no proxy is asked.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::sleep;

use super::began;
use super::line::Style;
use crate::cli::LogsArgs;
use crate::code::Code;
use crate::commands::{Outcome, interrupt, memory, watched};
use crate::console::Reader;
use crate::context::Context;
use crate::deployment::DeploymentId;
use crate::docker::logs::harmless;
use crate::failure::{Failure, Live};
use crate::log;
use crate::redact::Redactor;

/// Between two looks at a file that grows.
const LOOK: Duration = Duration::from_millis(200);

/// Prints it, and with `-f` what is added to it.
pub(super) async fn run(ctx: &Context, id: &DeploymentId, args: &LogsArgs, style: Style) -> Outcome {
    let mut interrupt = interrupt(ctx)?;
    let store = memory::open(ctx)?;
    let path = log::path(store.folder(), id);
    let unreadable = |error: &io::Error| {
        let message = if error.kind() == io::ErrorKind::NotFound {
            format!("there is no log of {id}: {} does not exist", path.display())
        } else {
            format!("the log of {id} cannot be read: {}: {error}", path.display())
        };
        Failure::new(Code::LogsUnknown, message, Live::Unchanged, ctx.command("history"))
    };
    let mut file = File::open(&path).map_err(|error| unreadable(&error))?;
    let (redactor, since) = (Redactor::without_secrets(), began(args.since));
    let mut begun = Vec::new();
    let mut keep = args.tail.0;
    loop {
        file.read_to_end(&mut begun).map_err(|error| unreadable(&error))?;
        let whole = begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let text = String::from_utf8_lossy(&begun[..whole]).into_owned();
        begun.drain(..whole);
        let lines = text.lines().filter(|line| wanted(line, since));
        for line in last(lines, keep.take()) {
            if ctx.console.write(&shown(line, style, &redactor))? == Reader::Gone {
                return Ok(());
            }
        }
        if !args.follow {
            return Ok(());
        }
        interrupt.unless(sleep(LOOK)).await.map_err(|end| watched(ctx, end))?;
    }
}

/// The last lines; all without a number.
fn last<'a>(lines: impl Iterator<Item = &'a str>, keep: Option<usize>) -> VecDeque<&'a str> {
    let mut kept: VecDeque<&str> = lines.collect();
    if let Some(keep) = keep {
        kept.drain(..kept.len().saturating_sub(keep));
    }
    kept
}

fn wanted(line: &str, since: Option<Timestamp>) -> bool {
    let Some(since) = since else { return true };
    let at = serde_json::from_str::<Value>(line).ok();
    let at = at.and_then(|line| line["at"].as_str()?.parse::<Timestamp>().ok());
    at.is_none_or(|at| at >= since)
}

/// `info  pulling  what it says`, or the line as it is in the file.
fn shown(line: &str, style: Style, redactor: &Redactor) -> String {
    let entry = serde_json::from_str::<Value>(line).ok();
    let Some(entry) = entry.filter(|_| !style.json) else { return harmless(&redactor.line(line)) };
    let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let hook = entry["hook"].as_str().map(|hook| format!("{hook}: ")).unwrap_or_default();
    let at = if style.timestamps { format!("{} ", field("at")) } else { String::new() };
    let message = field("message").lines().map(harmless).collect::<Vec<_>>().join("\n      ");
    redactor.line(&format!("{at}{:<5} {:<12} {hook}{message}", field("level"), field("phase")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"at":"2026-11-21T14:03:07.5Z","level":"warn","phase":"pulling","message":"one\ntwo","hook":"pre"}"#;

    #[test]
    fn a_line_is_shown_as_people_read_it_and_as_json_as_it_is() {
        let redactor = Redactor::without_secrets();
        let style = |json, timestamps| Style { json, timestamps };
        assert_eq!(shown(LINE, style(false, false), &redactor), "warn  pulling      pre: one\n      two");
        assert!(shown(LINE, style(false, true), &redactor).starts_with("2026-11-21T14:03:07.5Z warn"));
        assert_eq!(shown(LINE, style(true, false), &redactor), LINE);
        assert_eq!(shown("{half", style(false, false), &redactor), "{half");
    }

    #[test]
    fn old_lines_and_those_before_the_tail_are_left_out() {
        let since = |text: &str| Some(text.parse().expect("a moment"));
        assert!(wanted(LINE, None) && wanted(LINE, since("2026-11-21T14:03:07Z")));
        assert!(!wanted(LINE, since("2026-11-21T14:03:08Z")));
        assert_eq!(last(["1", "2", "3"].into_iter(), Some(2)), ["2", "3"]);
        assert_eq!(last(["1", "2"].into_iter(), None).len(), 2);
    }
}
