//! What was asked of which authority, so that its known limits are kept across restarts and reloads: a pure value.
//!
//! The manager asks [`Ledger::room`] before it asks an authority, notes `Ordered` before it sends the order,
//! `Issued` when it has the certificate and `Failed` with the names whose validation failed, and saves the ledger
//! before it goes on. `certs check` shows [`Ledger::left`].
//!
//! Invariant: when room is asked first and the clock goes forward, no window of a limit ever holds more than the
//! limit allows. An entry counts from its moment to just before the window's length later. One from the future,
//! noted before the clock was set back, counts too, unless it lies further ahead than a window: so a wrong clock
//! blocks for two windows at most.

mod limits;
#[cfg(test)]
mod properties;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use switcher_config::Span;

pub use limits::Limits;
use limits::{Kind, Limit};

/// The most entries that are kept, about 5 MB in memory. The ones noted first give way. What that costs: only
/// beyond 20,000 that count at the same time, which Let's Encrypt's 300 orders in 3 hours stay under in any week
/// and only staging can exceed, the 7-day limit forgets; then the authority's own refusal, with its
/// `Retry-After`, is the first word of it.
const MOST: usize = 20_000;

/// What was asked of which authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "stored::Stored", into = "stored::Stored")]
pub struct Ledger {
    entries: VecDeque<Entry>,
}

/// One thing that was asked or answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The URL of the authority's directory.
    pub ca: String,
    /// When.
    pub at: Timestamp,
    /// The names; of a failure only those that failed. Order, case and repetition do not matter.
    pub names: Vec<String>,
    /// What.
    pub what: What,
}

/// What was asked or answered. `replaces`: the order said which certificate it replaces (RFC 9773 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A new order was sent.
    Ordered {
        /// See [`What`].
        replaces: bool,
    },
    /// A certificate was issued.
    Issued {
        /// See [`What`].
        replaces: bool,
    },
    /// The authority could not validate the names.
    Failed,
}

/// A limit is reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{limit}; there is room again at {until:.0}")]
pub struct NoRoom {
    /// Which, as a sentence without its full stop.
    pub limit: String,
    /// When there is room again; with several limits reached, in all of them.
    pub until: Timestamp,
}

/// What is left of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// What it counts, such as `new orders`.
    pub what: String,
    /// The name it is about, of a limit for each name.
    pub name: Option<String>,
    /// How many count now.
    pub used: u32,
    /// How many may.
    pub allowed: u32,
    /// Within how long.
    pub window: Span,
    /// When there is room again; none when there is.
    pub until: Option<Timestamp>,
}

impl Ledger {
    /// Notes what happened; the oldest note gives way when there are too many.
    pub fn note(&mut self, mut entry: Entry) {
        entry.names = as_set(&entry.names);
        self.entries.push_back(entry);
        if self.entries.len() > MOST {
            self.entries.pop_front();
        }
    }

    /// Whether the authority may be asked for a certificate for these names. `renewal`: the order says which
    /// certificate it replaces (RFC 9773 section 5).
    ///
    /// # Errors
    /// The limit that is reached; of several, the one that frees up last.
    pub fn room(
        &self,
        ca: &str,
        limits: &Limits,
        names: &[String],
        renewal: bool,
        now: Timestamp,
    ) -> Result<(), NoRoom> {
        let reached = self
            .uses(ca, limits, names, now)
            .filter(|usage| usage.limit.kind.holds_back(renewal))
            .filter_map(|usage| Some((usage.free_at()?, usage)))
            .max_by_key(|(until, _)| *until);
        match reached {
            Some((until, usage)) => Err(NoRoom { limit: usage.sentence(limits), until }),
            None => Ok(()),
        }
    }

    /// How much of every limit that concerns an order for these names is used.
    #[must_use]
    pub fn left(&self, ca: &str, limits: &Limits, names: &[String], now: Timestamp) -> Vec<Left> {
        self.uses(ca, limits, names, now)
            .map(|usage| Left {
                what: usage.limit.kind.to_string(),
                used: usage.used(),
                allowed: usage.limit.allowed,
                window: Span(usage.limit.window.unsigned_abs()),
                until: usage.free_at(),
                name: usage.name,
            })
            .collect()
    }

    /// Drops what counts towards no limit any more. What [`Ledger::room`] answers stays the same, now and later.
    pub fn prune(&mut self, now: Timestamp) {
        self.entries.retain(|entry| {
            let limits = Limits::at(&entry.ca).limits.iter();
            limits.filter(|limit| limit.kind.counts(entry.what)).any(|limit| counts_at(entry.at, limit, now))
        });
    }

    /// How many entries are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is noted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every limit with what counts towards it; a limit for each name once for each of them.
    fn uses<'a>(
        &'a self,
        ca: &'a str,
        limits: &Limits,
        names: &[String],
        now: Timestamp,
    ) -> impl Iterator<Item = Usage> + 'a {
        let names = as_set(names);
        limits.limits.iter().flat_map(move |limit| {
            let each: Vec<Option<String>> = match limit.kind {
                Kind::Failures => names.iter().cloned().map(Some).collect(),
                Kind::Orders | Kind::SameNames | Kind::Replacements => vec![None],
            };
            let names = names.clone();
            each.into_iter().map(move |name| {
                let times = self.times(ca, limit, &names, name.as_deref(), now);
                Usage { limit: *limit, name, times }
            })
        })
    }

    /// The moments that count towards a limit now, the oldest first.
    fn times(
        &self,
        ca: &str,
        limit: &Limit,
        names: &[String],
        name: Option<&str>,
        now: Timestamp,
    ) -> Vec<Timestamp> {
        let about = |entry: &Entry| match limit.kind {
            Kind::Orders => true,
            Kind::SameNames | Kind::Replacements => entry.names == names,
            Kind::Failures => name.is_some_and(|name| entry.names.iter().any(|failed| failed == name)),
        };
        let mut times: Vec<Timestamp> = self
            .entries
            .iter()
            .filter(|entry| limit.kind.counts(entry.what) && counts_at(entry.at, limit, now))
            .filter(|entry| entry.ca == ca && about(entry))
            .map(|entry| entry.at)
            .collect();
        times.sort_unstable();
        times
    }
}

/// A limit and what counts towards it.
struct Usage {
    limit: Limit,
    name: Option<String>,
    /// The oldest first.
    times: Vec<Timestamp>,
}

impl Usage {
    fn used(&self) -> u32 {
        u32::try_from(self.times.len()).unwrap_or(u32::MAX)
    }

    /// When so much is over that one more fits; none when it fits now.
    fn free_at(&self) -> Option<Timestamp> {
        let over = self.used().checked_sub(self.limit.allowed)?;
        // With `over` of them too many, that many and one more have to go.
        let last = self.times.get(usize::try_from(over).ok()?)?;
        Some(last.checked_add(self.limit.window).unwrap_or(Timestamp::MAX))
    }

    fn sentence(&self, limits: &Limits) -> String {
        let (allowed, window) = (self.limit.allowed, Span(self.limit.window.unsigned_abs()));
        let (authority, used) = (limits.authority, self.used());
        match (self.limit.kind, &self.name) {
            (Kind::Replacements, _) => format!(
                "{used} renewals of exactly these names were issued by {authority} within {window}, and more than \
                 {allowed} only happen when something is wrong: see why each new certificate is due at once"
            ),
            (Kind::Failures, Some(name)) => format!(
                "{authority} allows {allowed} failed validations of {name} within {window}, and {used} failed"
            ),
            (kind @ (Kind::Orders | Kind::SameNames | Kind::Failures), _) => {
                format!("{authority} allows {allowed} {kind} within {window}, and {used} are used up")
            }
        }
    }
}

/// Whether an entry of that moment counts now: less than a window old, and less than one ahead.
fn counts_at(at: Timestamp, limit: &Limit, now: Timestamp) -> bool {
    let age: SignedDuration = now.duration_since(at);
    age < limit.window && -age < limit.window
}

/// In lower case, in order, each once.
fn as_set(names: &[String]) -> Vec<String> {
    let mut set: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    set.sort_unstable();
    set.dedup();
    set
}
