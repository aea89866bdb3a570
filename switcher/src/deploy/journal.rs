//! The journal's entries, and the machine as they tell it. Pure; the file is `state`'s.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::machine::{Effect, Event, Machine, step};
use super::order::Order;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// A deployment began. Always the first line.
    Begun {
        /// When.
        at: Timestamp,
        /// What is wanted.
        order: Box<Order>,
    },
    /// An effect is about to be performed.
    Intent {
        /// When.
        at: Timestamp,
        /// Which.
        effect: Effect,
    },
    /// Those who want to hear of it were told that it cannot go on now.
    Alerted {
        /// When.
        at: Timestamp,
    },
    /// What came of it.
    Outcome {
        /// When.
        at: Timestamp,
        /// What.
        event: Event,
    },
}

/// What a journal tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The deployment as far as it got.
    pub machine: Machine,
    /// The effect whose outcome nobody wrote down.
    pub pending: Option<Effect>,
    /// Whether somebody was told that it cannot go on.
    pub alerted: bool,
}

/// A journal that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It does not begin with a deployment.
    #[error("its first line is not the beginning of a deployment")]
    NoBeginning,
    /// A second deployment begins in it.
    #[error("line {0} begins a second deployment")]
    SecondBeginning(usize),
}

/// Replays a journal; none when it is empty.
///
/// # Errors
/// When the entries cannot be those of one deployment.
pub fn replay(entries: Vec<Entry>) -> Result<Option<Told>, Unreadable> {
    let mut entries = entries.into_iter().enumerate();
    let mut told = match entries.next() {
        None => return Ok(None),
        Some((_, Entry::Begun { order, .. })) => {
            Told { machine: Machine::new(*order), pending: None, alerted: false }
        }
        Some((_, Entry::Intent { .. } | Entry::Alerted { .. } | Entry::Outcome { .. })) => {
            return Err(Unreadable::NoBeginning);
        }
    };
    for (line, entry) in entries {
        told = match entry {
            Entry::Begun { .. } => return Err(Unreadable::SecondBeginning(line + 1)),
            Entry::Intent { effect, .. } => Told { pending: Some(effect), ..told },
            Entry::Alerted { .. } => Told { alerted: true, ..told },
            Entry::Outcome { event, .. } => {
                Told { machine: step(told.machine, event), pending: None, ..told }
            }
        };
    }
    Ok(Some(told))
}
