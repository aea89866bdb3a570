//! Lines out of pieces, and how a line is printed. Pure.

use jiff::Timestamp;
use serde_json::json;

use crate::docker::logs::{Piece, harmless};
use crate::redact::{Lines, Redactor};

/// A line that a container wrote, redacted and harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogLine {
    /// When the engine got its last piece.
    pub(super) at: Option<Timestamp>,
    /// Whether it was written to standard error.
    pub(super) stderr: bool,
    /// What it says.
    pub(super) text: String,
}

/// Puts the pieces of one container together to lines.
#[derive(Debug)]
pub(super) struct Assembler {
    redactor: Redactor,
    stdout: Half,
    stderr: Half,
}

/// One of the two streams.
#[derive(Debug)]
struct Half {
    lines: Lines,
    at: Option<Timestamp>,
}

impl Assembler {
    pub(super) fn new(redactor: &Redactor) -> Self {
        let half = || Half { lines: redactor.lines(), at: None };
        Self { redactor: redactor.clone(), stdout: half(), stderr: half() }
    }

    /// The lines that a piece completes.
    pub(super) fn push(&mut self, piece: &Piece, mut on_line: impl FnMut(LogLine)) {
        let half = if piece.stderr { &mut self.stderr } else { &mut self.stdout };
        half.at = piece.at.or(half.at);
        let (at, stderr, redactor) = (half.at, piece.stderr, &self.redactor);
        half.lines
            .push(&piece.bytes, &mut |text| on_line(LogLine { at, stderr, text: safe(text, redactor) }));
    }

    /// What has not ended in a line break.
    pub(super) fn finish(&mut self, mut on_line: impl FnMut(LogLine)) {
        let redactor = &self.redactor;
        for (stderr, half) in [(false, &mut self.stdout), (true, &mut self.stderr)] {
            let at = half.at;
            half.lines.finish(&mut |text| on_line(LogLine { at, stderr, text: safe(text, redactor) }));
        }
    }
}

/// Colours that are taken out may make a secret whole that they had cut, so the result is looked at again.
fn safe(redacted: &str, redactor: &Redactor) -> String {
    redactor.line(&harmless(redacted))
}

/// How lines are printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// As one JSON object each.
    pub(super) json: bool,
    /// With the time at which they were written.
    pub(super) timestamps: bool,
}

impl Style {
    /// `shop-blue-1 | 2026-11-21T14:03:07.5Z what it says`.
    pub(super) fn container(self, name: &str, line: &LogLine) -> String {
        let LogLine { at, stderr, text } = line;
        if self.json {
            let stream = if *stderr { "stderr" } else { "stdout" };
            return json!({"container": name, "at": at, "stream": stream, "line": text}).to_string();
        }
        match at.filter(|_| self.timestamps) {
            Some(at) => format!("{name} | {at} {text}"),
            None => format!("{name} | {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(stderr: bool, at: &str, text: &str) -> Piece {
        Piece { stderr, at: at.parse().ok(), bytes: text.as_bytes().to_vec() }
    }

    #[test]
    fn a_secret_in_two_pieces_or_cut_by_colours_is_hidden() {
        let mut assembler = Assembler::new(&Redactor::new(["hunter22"]));
        let mut lines = Vec::new();
        for piece in [
            piece(false, "2026-11-21T14:00:01Z", "a hun"),
            piece(true, "2026-11-21T14:00:02Z", "b hun\u{1b}[1mter22\n"),
            piece(false, "2026-11-21T14:00:03Z", "ter22\nc"),
        ] {
            assembler.push(&piece, |line| lines.push(line));
        }
        assembler.finish(|line| lines.push(line));
        let shown: Vec<String> =
            lines.iter().map(|line| Style { json: false, timestamps: true }.container("x", line)).collect();
        assert_eq!(
            shown,
            [
                "x | 2026-11-21T14:00:02Z b ***",
                "x | 2026-11-21T14:00:03Z a ***",
                "x | 2026-11-21T14:00:03Z c"
            ]
        );
    }

    #[test]
    fn json_says_which_stream_a_line_came_from() {
        let line = LogLine { at: None, stderr: true, text: "a".to_owned() };
        assert_eq!(
            Style { json: true, timestamps: false }.container("x", &line),
            r#"{"container":"x","at":null,"stream":"stderr","line":"a"}"#
        );
    }
}
