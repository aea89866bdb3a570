//! A command that did not do what was asked: code, sentence, what is live now, one next command.
//!
//! Commands return it; `commands::dispatch` prints it on stderr and takes the exit code from it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use switcher_config::wire::{AppStatus, Refusal};
use switcher_config::{AppName, Generation, Slot};

use crate::code::Code;
use crate::layout::{Tone, paint};
use crate::phrase;

/// What is live at the moment of a failure, as far as it is known; in JSON `null` where it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Live {
    /// The proxy said so.
    Yes {
        /// The application.
        app: AppName,
        /// Its live slot.
        slot: Slot,
        /// Its generation.
        generation: Generation,
    },
    /// The certificates that a command was about, as they are served now.
    Certificates {
        /// Each of them.
        certificates: Vec<Served>,
    },
    /// The proxy was asked for no change; whatever was live still is.
    Unchanged,
    /// The proxy could not be asked.
    No,
}

/// A certificate as it is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Served {
    /// Its names.
    pub names: Vec<String>,
    /// When it expires; none when there is none of its own, so that a placeholder answers.
    pub not_after: Option<Timestamp>,
}

impl Served {
    fn sentence(&self) -> String {
        let names = self.names.join(", ");
        match self.not_after {
            Some(at) => format!("{names}: the certificate until {}", phrase::moment(at)),
            None => format!("{names}: no certificate of its own"),
        }
    }
}

impl Live {
    /// What an application's status says.
    #[must_use]
    pub fn of(app: &AppName, status: &AppStatus) -> Self {
        Self::Yes { app: app.clone(), slot: status.active, generation: status.generation }
    }

    /// What a refusal says; `before` where it is silent.
    #[must_use]
    pub fn refused(refusal: &Refusal, app: Option<&AppName>, before: Self) -> Self {
        match (app, refusal.active, refusal.generation) {
            (Some(app), Some(slot), Some(generation)) => Self::Yes { app: app.clone(), slot, generation },
            (None, _, _) | (_, None, _) | (_, _, None) => before,
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::Yes { app, slot, generation } => format!("{app}: {slot}, generation {generation}"),
            Self::Certificates { certificates } => {
                certificates.iter().map(Served::sentence).collect::<Vec<_>>().join("; ")
            }
            Self::Unchanged => "as before; nothing was changed".to_owned(),
            Self::No => "not known; the proxy did not say".to_owned(),
        }
    }
}

/// Everything a failed command says.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The stable code; it decides the exit code.
    pub code: Code,
    /// What went wrong, naming the thing.
    pub message: String,
    /// What is live now.
    pub live: Live,
    /// One command that leads on.
    pub next: String,
    /// A longer report, shown before the rest: as text and as JSON.
    pub report: Option<Box<(String, Value)>>,
}

impl Failure {
    /// A failure without a longer report.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>, live: Live, next: impl Into<String>) -> Self {
        Self { code, message: message.into(), live, next: next.into(), report: None }
    }

    /// The text for people, ending in a newline.
    #[must_use]
    pub fn text(&self, colour: bool) -> String {
        let head = paint(&format!("error[{}]:", self.code), Tone::Bad, colour);
        let label = |text: &str| paint(text, Tone::Faint, colour);
        let report =
            self.report.as_deref().map(|(text, _)| format!("{}\n\n", text.trim_end())).unwrap_or_default();
        format!(
            "{report}{head} {}\n  {} {}\n  {}     {}\n",
            self.message,
            label("live now:"),
            self.live.sentence(),
            label("next:"),
            paint(&self.next, Tone::Strong, colour)
        )
    }

    /// The object for `--json`.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut error = json!({
            "code": self.code,
            "title": self.code.title(),
            "message": self.message,
            "live": self.live,
            "next": self.next,
            "exit": self.code.exit() as u8,
        });
        if let Some((_, report)) = self.report.as_deref() {
            error["report"] = report.clone();
        }
        json!({ "error": error })
    }
}
