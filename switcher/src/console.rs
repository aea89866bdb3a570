//! Standard output: the result of a command, as text or as JSON, and nothing else.
//!
//! A reader that went away (`| head`) ends the output silently; any other failure to write is an error.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::code::Code;
use crate::context::Surroundings;
use crate::failure::{Failure, Live};

/// Whether anybody still reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Somebody may read on.
    There,
    /// The pipe is closed: write no more.
    Gone,
}

/// Where results go.
#[derive(Debug, Clone)]
pub struct Console {
    /// Whether results and errors are JSON.
    pub json: bool,
    /// Whether standard output takes colours.
    pub colour: bool,
    /// Whether standard error takes colours.
    pub error_colour: bool,
    /// Whether standard output is a terminal.
    pub terminal: bool,
    /// The width to lay out for.
    pub width: usize,
    /// How many lines the terminal has, if it is one.
    pub height: Option<usize>,
}

/// The width of a page that nobody looks at on a terminal.
const PIPED_WIDTH: usize = 120;

impl Console {
    /// Looks at both streams once.
    #[must_use]
    pub fn new(json: bool, surroundings: &Surroundings) -> Self {
        let colours = !surroundings.no_color && !surroundings.dumb_terminal;
        let terminal = io::stdout().is_terminal();
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let known = |count: u16| Some(usize::from(count)).filter(|count| *count > 0);
        let width = size.and_then(|size| known(size.ws_col)).unwrap_or(PIPED_WIDTH);
        let height = size.and_then(|size| known(size.ws_row));
        Self {
            json,
            colour: colours && terminal,
            error_colour: colours && io::stderr().is_terminal(),
            terminal,
            width,
            height,
        }
    }

    /// Prints the one result of a command: `text`, or with `--json` the value.
    ///
    /// # Errors
    /// When standard output refuses it, unless its reader went away.
    pub fn result(&self, text: &str, value: &impl Serialize) -> Result<Reader, Failure> {
        if self.json { self.value(value) } else { self.write(text) }
    }

    /// Prints a value as one JSON object: indented on a terminal, one line elsewhere.
    ///
    /// # Errors
    /// As [`Console::result`].
    pub fn value(&self, value: &impl Serialize) -> Result<Reader, Failure> {
        let text =
            if self.terminal { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        self.write(&text.map_err(|error| unwritten(&error.to_string()))?)
    }

    /// Prints text, ending it in a newline.
    ///
    /// # Errors
    /// As [`Console::result`].
    pub fn write(&self, text: &str) -> Result<Reader, Failure> {
        let mut out = io::stdout().lock();
        let end = if text.ends_with('\n') { "" } else { "\n" };
        match write!(out, "{text}{end}").and_then(|()| out.flush()) {
            Ok(()) => Ok(Reader::There),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(unwritten(&error.to_string())),
        }
    }

    /// Prints the next picture of a watch: over the last one on a terminal, below it elsewhere.
    ///
    /// # Errors
    /// As [`Console::result`].
    pub fn frame(&self, text: &str, value: &impl Serialize) -> Result<Reader, Failure> {
        match (self.json, self.terminal) {
            (true, true | false) => {
                self.write(&serde_json::to_string(value).map_err(|error| unwritten(&error.to_string()))?)
            }
            // Cursor home and erase below: no flicker, and nothing of the scroll-back is lost.
            (false, true) => self.write(&format!("\x1b[H\x1b[J{text}")),
            (false, false) => self.write(text),
        }
    }

    /// Prints a failure on standard error; when that is gone there is nobody to tell.
    pub fn failure(&self, failure: &Failure) {
        let mut err = io::stderr().lock();
        let _ = if self.json {
            writeln!(err, "{}", failure.json())
        } else {
            write!(err, "{}", failure.text(self.error_colour))
        };
    }
}

fn unwritten(why: &str) -> Failure {
    Failure::new(
        Code::Output,
        format!("standard output refused the result: {why}"),
        Live::No,
        "switcher status",
    )
}
