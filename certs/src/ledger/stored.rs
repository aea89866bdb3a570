//! The ledger on disk: authorities and sets of names once each, entries by their numbers, so that a full ledger
//! stays under two megabytes.
//!
//! Invariant: what a newer version wrote can be read by an older one. Fields it does not know are skipped, and so
//! are entries whose kind it does not know or whose numbers lead nowhere: the authority still keeps its own
//! count. Used by serde on behalf of [`super::Ledger`].

use std::collections::HashMap;
use std::hash::Hash;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Entry, Ledger, What};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Stored {
    #[serde(default)]
    authorities: Vec<String>,
    #[serde(default)]
    names: Vec<Vec<String>>,
    #[serde(default)]
    entries: Vec<Line>,
}

/// An entry; the names of the fields are short because there are many.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    at: Timestamp,
    what: Word,
    ca: usize,
    names: usize,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Ordered,
    OrderedReplacement,
    Issued,
    IssuedReplacement,
    Failed,
    #[serde(other)]
    Unknown,
}

impl From<What> for Word {
    fn from(what: What) -> Self {
        match what {
            What::Ordered { replaces: false } => Self::Ordered,
            What::Ordered { replaces: true } => Self::OrderedReplacement,
            What::Issued { replaces: false } => Self::Issued,
            What::Issued { replaces: true } => Self::IssuedReplacement,
            What::Failed => Self::Failed,
        }
    }
}

impl Word {
    const fn what(self) -> Option<What> {
        match self {
            Self::Ordered => Some(What::Ordered { replaces: false }),
            Self::OrderedReplacement => Some(What::Ordered { replaces: true }),
            Self::Issued => Some(What::Issued { replaces: false }),
            Self::IssuedReplacement => Some(What::Issued { replaces: true }),
            Self::Failed => Some(What::Failed),
            Self::Unknown => None,
        }
    }
}

impl From<Ledger> for Stored {
    fn from(ledger: Ledger) -> Self {
        let (mut authorities, mut names) = (Numbered::default(), Numbered::default());
        let entries = ledger
            .entries
            .into_iter()
            .map(|entry| Line {
                at: entry.at,
                what: entry.what.into(),
                ca: authorities.number(entry.ca),
                names: names.number(entry.names),
            })
            .collect();
        Self { authorities: authorities.inverse(), names: names.inverse(), entries }
    }
}

impl From<Stored> for Ledger {
    fn from(stored: Stored) -> Self {
        let mut ledger = Self::default();
        for line in &stored.entries {
            let (ca, names) = (stored.authorities.get(line.ca), stored.names.get(line.names));
            if let (Some(what), Some(ca), Some(names)) = (line.what.what(), ca, names) {
                ledger.note(Entry { ca: ca.clone(), at: line.at, names: names.clone(), what });
            }
        }
        ledger
    }
}

/// Values by the order in which they first came.
#[derive(Debug)]
struct Numbered<T>(HashMap<T, usize>);

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Hash + Eq> Numbered<T> {
    fn number(&mut self, value: T) -> usize {
        let next = self.0.len();
        *self.0.entry(value).or_insert(next)
    }

    fn inverse(self) -> Vec<T> {
        let mut values: Vec<(T, usize)> = self.0.into_iter().collect();
        values.sort_by_key(|(_, number)| *number);
        values.into_iter().map(|(value, _)| value).collect()
    }
}
