//! Progress on standard error: a moving line on a terminal, plain lines elsewhere, JSON lines, or nothing.
//!
//! Progress is never part of a result, and a standard error that is gone stops nothing.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use serde_json::json;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Progress {
    /// `tty` on a terminal, else `json` with `--json`, else `plain`.
    #[default]
    Auto,
    /// One moving line.
    Tty,
    /// A line for each change.
    Plain,
    /// A JSON object for each change.
    Json,
    /// Nothing.
    Quiet,
}

impl Progress {
    /// Decides what `auto` means here.
    #[must_use]
    pub fn resolve(self, json: bool, dumb_terminal: bool) -> Self {
        match self {
            Self::Auto if json => Self::Json,
            Self::Auto if !dumb_terminal && std::io::stderr().is_terminal() => Self::Tty,
            Self::Auto => Self::Plain,
            Self::Tty | Self::Plain | Self::Json | Self::Quiet => self,
        }
    }

    /// How often a wait is worth a word.
    #[must_use]
    pub const fn interval(self) -> Duration {
        match self {
            Self::Auto | Self::Tty => Duration::from_secs(1),
            Self::Plain | Self::Json => Duration::from_secs(5),
            Self::Quiet => Duration::from_secs(30),
        }
    }
}

/// Shows the progress of one command.
#[derive(Debug)]
pub struct Reporter {
    mode: Progress,
    wait: Mutex<Wait>,
}

/// What is being waited for now.
#[derive(Debug, Default)]
struct Wait {
    text: String,
    /// On a terminal; a bar of its own for every wait, so that none shows the words of the one before.
    bar: Option<ProgressBar>,
}

impl Reporter {
    /// A reporter for a resolved mode.
    #[must_use]
    pub fn new(mode: Progress) -> Self {
        Self { mode, wait: Mutex::default() }
    }

    /// How often a wait is worth a word.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.mode.interval()
    }

    /// Something happened: a line that stays.
    pub fn step(&self, text: &str) {
        match (&self.wait.lock().bar, self.mode) {
            (Some(bar), _) => bar.suspend(|| complain(text)),
            (None, Progress::Json) => complain(&json!({ "progress": text }).to_string()),
            (None, Progress::Quiet) => {}
            (None, Progress::Auto | Progress::Tty | Progress::Plain) => complain(text),
        }
    }

    /// A wait goes on: the moving line, or a line when the text is new.
    pub fn waiting(&self, text: &str) {
        let mut wait = self.wait.lock();
        if wait.text == text {
            return;
        }
        text.clone_into(&mut wait.text);
        if self.mode == Progress::Tty {
            wait.bar.get_or_insert_with(spinner).set_message(text.to_owned());
        } else {
            drop(wait);
            self.step(text);
        }
    }

    /// The wait is over: the moving line goes away.
    pub fn done(&self) {
        if let Some(bar) = std::mem::take(&mut *self.wait.lock()).bar {
            bar.finish_and_clear();
        }
    }
}

/// A line with something that moves, so that a wait is told from a hang.
fn spinner() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    // One line however narrow the terminal is.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// A line on standard error; when that is gone there is nobody to tell.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
