//! The output of a child, by whole lines: a secret that came in two reads is seen in one piece.
//!
//! Invariant: never more than a line of [`LONGEST_LINE`] and what a secret may take beyond it is held in memory.

use super::{Redactor, mask};

/// The longest line that is passed on, in bytes; the rest of a longer one is left out.
pub const LONGEST_LINE: usize = 16 << 10;

/// What stands at the end of a line that was longer.
const CUT: &str = " … (the rest of this line is left out)";

/// Collects bytes into lines.
#[derive(Debug)]
pub struct Lines {
    redactor: Redactor,
    pending: Vec<u8>,
    /// The line has been passed on as far as it goes; what follows is left out.
    skipping: bool,
    /// The last line ended in a carriage return; a line feed after it is no line of its own.
    returned: bool,
}

impl Lines {
    pub(super) fn new(redactor: Redactor) -> Self {
        Self { redactor, pending: Vec::new(), skipping: false, returned: false }
    }

    /// Takes what came and passes on the lines that it completes. Also a carriage return ends a line, as in a
    /// progress bar.
    pub fn push(&mut self, mut bytes: &[u8], on_line: &mut dyn FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let ended_twice = end == 0 && bytes[0] == b'\n' && self.returned;
            self.returned = bytes[end] == b'\r';
            self.take(&bytes[..end], on_line);
            if !ended_twice {
                self.end(on_line);
            }
            bytes = &bytes[end + 1..];
        }
        self.returned &= bytes.is_empty();
        self.take(bytes, on_line);
    }

    /// Passes on what has not ended in a line break.
    pub fn finish(&mut self, on_line: &mut dyn FnMut(&str)) {
        if !self.pending.is_empty() {
            self.end(on_line);
        }
        self.skipping = false;
    }

    /// How many bytes wait for the end of their line.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.pending.len()
    }

    fn end(&mut self, on_line: &mut dyn FnMut(&str)) {
        let line = std::mem::take(&mut self.pending);
        if !std::mem::take(&mut self.skipping) {
            on_line(&self.redactor.line(&String::from_utf8_lossy(&line)));
        }
    }

    fn take(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(&str)) {
        let most = LONGEST_LINE + self.redactor.reach();
        // Piece by piece, so that one huge read takes no more memory than many small ones.
        for piece in bytes.chunks(LONGEST_LINE) {
            if self.skipping {
                return;
            }
            self.pending.extend_from_slice(piece);
            if self.pending.len() > most {
                on_line(&self.beginning());
                self.pending = Vec::new();
                self.skipping = true;
            }
        }
    }

    /// The beginning of a line that is too long. It ends where no secret can have begun that is not seen whole.
    fn beginning(&self) -> String {
        let text = String::from_utf8_lossy(&self.pending);
        let hidden = self.redactor.hidden(&text);
        let mut cut = text.floor_char_boundary(LONGEST_LINE);
        if let Some(across) = hidden.iter().find(|range| range.contains(&cut)) {
            cut = across.start;
        }
        let before: Vec<_> = hidden.into_iter().filter(|range| range.end <= cut).collect();
        format!("{}{CUT}", self.redactor.line(&mask(&text[..cut], &before)))
    }
}
