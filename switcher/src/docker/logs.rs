//! What containers wrote: the last lines, fit for a terminal, or all of it as it comes.
//!
//! A container may write anything: half lines, bytes that are no text, escape sequences that would repaint the
//! operator's screen. Lines come out decoded, bounded and harmless. They may still hold secrets: whoever shows them
//! redacts them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use tokio::time::timeout;

use super::deadline::ANSWER;
use super::{DockerError, Engine};

/// The longest line that is shown, in bytes.
const LONGEST: usize = 2000;

/// How long the next piece of a log that lies there already may take.
const PIECE: Duration = Duration::from_secs(10);

/// Which part of a log is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Part {
    /// So many of the last lines; none means all.
    pub tail: Option<usize>,
    /// What was written from then on. The engine is asked by whole seconds, so a little more may come.
    pub since: Option<Timestamp>,
    /// Whether to wait for what is written later.
    pub follow: bool,
}

/// A piece of what a container wrote: a line, or part of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Whether it was written to standard error.
    pub stderr: bool,
    /// When the engine got it.
    pub at: Option<Timestamp>,
    /// As it was written. Untrusted, and perhaps secret.
    pub bytes: Vec<u8>,
}

/// The pieces of a log, in the order in which the engine got them. It ends when the container does.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Piece, DockerError>> + Send>>;

impl Engine {
    /// What a container wrote, piece by piece. An error, such as that the container is gone, is the last item.
    #[must_use]
    pub fn pieces(&self, id: &str, part: Part) -> Pieces {
        let (engine, doing) = (self.clone(), format!("read the log of the container {id}"));
        let mut options =
            LogsOptionsBuilder::new().stdout(true).stderr(true).timestamps(true).follow(part.follow);
        options = options.tail(&part.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string()));
        if let Some(since) = part.since {
            options = options.since(i32::try_from(since.as_second()).unwrap_or(i32::MAX));
        }
        let stream = self.docker.logs(id, Some(options.build()));
        Box::pin(stream.map(move |output| output.map(piece).map_err(|error| engine.failed(&doing, &error))))
    }

    /// The last `tail` lines that a container wrote, both streams in the order in which the engine got them. None of
    /// a container that is gone.
    ///
    /// # Errors
    /// When the engine cannot be asked, or keeps no log of it.
    pub async fn logs(&self, id: &str, tail: usize) -> Result<Vec<String>, DockerError> {
        let doing = format!("read the log of the container {id}");
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&tail.to_string()).build();
        let mut stream = std::pin::pin!(self.docker.logs(id, Some(options)));
        let mut lines = Lines::new(tail);
        let mut patience = ANSWER;
        while let Ok(Some(piece)) = timeout(patience, stream.next()).await {
            lines.push(&piece.map_err(|error| self.failed(&doing, &error))?);
            patience = PIECE;
        }
        Ok(lines.finish())
    }
}

/// Takes the time off that the engine writes before each piece.
fn piece(output: LogOutput) -> Piece {
    let stderr = matches!(output, LogOutput::StdErr { .. });
    let bytes = output.into_bytes();
    let space = bytes.iter().position(|byte| *byte == b' ');
    let at = space.and_then(|space| std::str::from_utf8(&bytes[..space]).ok()?.parse::<Timestamp>().ok());
    let text = match (at, space) {
        (Some(_), Some(space)) => &bytes[space + 1..],
        (_, _) => &bytes[..],
    };
    Piece { stderr, at, bytes: text.to_vec() }
}

/// Puts the pieces of both streams together to lines, and keeps the last ones.
struct Lines {
    keep: usize,
    done: VecDeque<String>,
    stdout: Line,
    stderr: Line,
}

impl Lines {
    fn new(keep: usize) -> Self {
        Self { keep, done: VecDeque::new(), stdout: Line::default(), stderr: Line::default() }
    }

    fn push(&mut self, piece: &LogOutput) {
        let (line, bytes) = match piece {
            LogOutput::StdErr { message } => (&mut self.stderr, message),
            LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
                (&mut self.stdout, message)
            }
        };
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            line.push(part);
            if part.ends_with(b"\n") {
                self.done.push_back(std::mem::take(line).finish());
            }
            if self.done.len() > self.keep {
                self.done.pop_front();
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        for rest in [self.stdout, self.stderr] {
            if !rest.bytes.is_empty() {
                self.done.push_back(rest.finish());
            }
        }
        let surplus = self.done.len().saturating_sub(self.keep);
        self.done.into_iter().skip(surplus).collect()
    }
}

/// A line under way: its first bytes, and whether there were more.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    cut: bool,
}

impl Line {
    fn push(&mut self, part: &[u8]) {
        let part = part.strip_suffix(b"\n").unwrap_or(part);
        let room = LONGEST - self.bytes.len();
        self.cut |= part.len() > room;
        self.bytes.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn finish(self) -> String {
        let mut text = harmless(&String::from_utf8_lossy(&self.bytes));
        if self.cut {
            text.push('…');
        }
        text
    }
}

/// Text that moves no cursor, rings no bell and turns nothing around: colours are taken out, tabs become spaces, every
/// other control character is written as an escape.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut rest = text.trim_end_matches('\r').chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                let mut ahead = rest.clone();
                if ahead.next() == Some('[') && ahead.find(|c| ('@'..='~').contains(c)).is_some() {
                    rest = ahead;
                } else {
                    safe.push_str("\\u{1b}");
                }
            }
            '\t' => safe.push(' '),
            c if c.is_control() || turns_around(c) => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe
}

/// Characters that change the direction in which the text around them is shown.
const fn turns_around(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn out(text: &'static str) -> LogOutput {
        LogOutput::StdOut { message: text.into() }
    }

    fn err(text: &'static str) -> LogOutput {
        LogOutput::StdErr { message: text.into() }
    }

    fn lines(keep: usize, pieces: &[LogOutput]) -> Vec<String> {
        let mut lines = Lines::new(keep);
        pieces.iter().for_each(|piece| lines.push(piece));
        lines.finish()
    }

    #[test]
    fn pieces_become_lines_in_the_order_in_which_they_ended() {
        let pieces = [out("one\nha"), err("trouble\n"), out("lf\n"), err("the end")];
        assert_eq!(lines(9, &pieces), ["one", "trouble", "half", "the end"]);
    }

    #[test]
    fn the_engines_time_is_taken_off_and_nothing_else() {
        let at = "2026-11-21T14:03:07.123456789Z".parse().ok();
        let found = piece(err("2026-11-21T14:03:07.123456789Z a b\n"));
        assert_eq!(found, Piece { stderr: true, at, bytes: b"a b\n".to_vec() });
        let found = piece(out("no time\n"));
        assert_eq!(found, Piece { stderr: false, at: None, bytes: b"no time\n".to_vec() });
        assert_eq!(piece(out("2026-11-21T14:03:07Z \n")).bytes, b"\n");
    }

    #[test]
    fn the_last_lines_stay() {
        assert_eq!(lines(2, &[out("1\n2\n3\n"), err("4")]), ["3", "4"]);
        assert_eq!(lines(0, &[out("1\n2")]), [""; 0]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let long = LogOutput::StdOut { message: "x".repeat(LONGEST * 3).into() };
        let found = lines(5, &[long, out("y\n"), out("next\n")]);
        assert_eq!(found, [format!("{}…", "x".repeat(LONGEST)), "next".to_owned()]);
    }

    #[test]
    fn colours_go_and_other_control_characters_are_shown() {
        assert_eq!(harmless("\u{1b}[1;31mbad\u{1b}[0m\tnews\r"), "bad news");
        assert_eq!(harmless("a\rb\u{7}c"), "a\\rb\\u{7}c");
        assert_eq!(harmless("\u{1b}]0;title\u{7}x"), "\\u{1b}]0;title\\u{7}x");
        assert_eq!(harmless("\u{1b}[31"), "\\u{1b}[31");
        assert_eq!(harmless("pay \u{202e}evil"), "pay \\u{202e}evil");
        assert_eq!(harmless("Grüße, 世界"), "Grüße, 世界");
    }

    proptest! {
        #[test]
        fn nothing_that_comes_out_controls_a_terminal(text in any::<String>()) {
            prop_assert!(!harmless(&text).chars().any(|c| c.is_control() || turns_around(c)));
        }
    }
}
