//! When a certificate is ordered, when the authority is asked for its wish, and when neither: a pure decision.
//!
//! [`next_action`] looks at four layers, in this order:
//!
//! 1. **Missing.** Nothing is served: order now.
//! 2. **Window.** The authority's own wish (ACME Renewal Information, RFC 9773 section 4.2): a moment inside its
//!    window, picked evenly by the seed. It goes before the age in both directions, because the authority knows
//!    of revocations and of its own load; a window in the past means now. See [`ari`].
//! 3. **Age.** Without a wish: at two thirds of the lifetime, at half of it when that is under ten days, as Let's
//!    Encrypt's integration guide advises, less up to a twentieth by the seed so that a fleet spreads out.
//!    Fractions and no fixed days, because lifetimes shrink: 90 days now, 47 days from 2029 on by the CA/Browser
//!    Forum's ballot SC-081v3, 6 days with the `shortlived` profile, minutes from a private authority.
//! 4. **Emergency.** Less than a tenth of the lifetime is left: the authority's wish no longer counts and waits
//!    between attempts become short. See [`attempts`].
//!
//! An order that is due is never held back by a question, only by the wait after failures and by the authority's
//! `Retry-After` (RFC 9773 section 4.2: "subject to the client's existing error backoff").
//!
//! # What the manager writes, and when
//!
//! | moment | in the record, saved before going on |
//! |---|---|
//! | before it asks for a new order | [`Attempts::begin`](crate::record::Attempts::begin) |
//! | the attempt failed | [`Attempts::fail`](crate::record::Attempts::fail), with the authority's `Retry-After` |
//! | the ledger has no room, so nothing was asked | [`Attempts::postpone`](crate::record::Attempts::postpone) |
//! | the new certificate is saved | [`Attempts::succeed`](crate::record::Attempts::succeed), and `ari = None` |
//! | the authority answered an ARI question | `ari = Some(`[`answered`]`(..))` |
//! | it did not, or made no sense | `ari = Some(`[`unanswered`]`(..))` |
//!
//! A new certificate that is already expired, or not one of ours, is a failed attempt and is not served;
//! otherwise it would be ordered again at once. [`next_action`] is not asked for a lineage while an attempt of
//! it is under way. After a [`Action::Wait`] the manager asks again at `until`, and at the latest after an
//! hour: a wall clock may be set meanwhile, and no wait is measured with anything else.
//!
//! Invariant: total for any record and any clock. Nothing blocks for ever: a time from a clock that was set back
//! is recognised by being further ahead than anybody can have written it.
//!
//! The seed is the lineage's: the same as long as it lives, another one on another machine.

pub mod ari;
pub mod attempts;
mod moment;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use switcher_config::settings::Retry;

use crate::record::Record;

pub use ari::{answered, unanswered};
pub use attempts::retry_at;

use moment::{DAY, Purpose, between, draw, later};

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: Timestamp,
    /// The last moment.
    pub not_after: Timestamp,
}

impl Validity {
    /// Nanoseconds; none when it is never valid, because it ends before it begins.
    fn lifetime(&self) -> Option<i128> {
        Some(between(self.not_before, self.not_after)).filter(|nanos| *nanos > 0)
    }

    /// From when on less than a tenth of the lifetime is left; of one that is never valid, always.
    fn emergency_at(&self) -> Timestamp {
        match self.lifetime() {
            Some(lifetime) => later(self.not_after, -(lifetime / 10)),
            None => Timestamp::MIN,
        }
    }
}

/// What the configuration and the authority say about renewing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// When a failed attempt is repeated.
    pub retry: Retry,
    /// Whether the authority offers ACME Renewal Information (`renewalInfo` in its directory).
    pub ari: bool,
}

/// What is to be done for a lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Order a certificate now.
    Order(Due),
    /// Ask the authority when it wants the renewal, now.
    AskAri,
    /// Nothing until then.
    Wait {
        /// When to ask [`next_action`] again; always later than now.
        until: Timestamp,
        /// What it will say then, if nothing changes.
        then: Then,
    },
}

/// What follows a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// See [`Action::Order`].
    Order(Due),
    /// See [`Action::AskAri`].
    AskAri,
}

/// Why a certificate is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing is served.
    Missing,
    /// The authority wants it.
    Window,
    /// It is old enough.
    Age,
    /// Less than a tenth of its lifetime is left, or nothing.
    Emergency,
}

/// What is to be done now. `have` is the validity of what is served, `certificate` its identifier as RFC 9773
/// section 4.1 writes it.
#[must_use]
pub fn next_action(
    have: Option<Validity>,
    certificate: Option<&str>,
    record: &Record,
    policy: &Policy,
    seed: u64,
    now: Timestamp,
) -> Action {
    let (due_at, why) = due(have, certificate, record, seed);
    let order_at = retry_at(record, policy, have, seed, now).map_or(due_at, |free| due_at.max(free));
    let why = reason(have, why, order_at.max(now));
    if order_at <= now {
        return Action::Order(why);
    }
    match ari::ask_at(have, certificate, record, policy, now) {
        Some(ask_at) if ask_at <= now => Action::AskAri,
        Some(ask_at) if ask_at < order_at => Action::Wait { until: ask_at, then: Then::AskAri },
        Some(_) | None => Action::Wait { until: order_at, then: Then::Order(why) },
    }
}

/// When what is served is to be renewed, were nothing to fail. For the status; it may lie in the past.
#[must_use]
pub fn renew_at(have: Validity, certificate: Option<&str>, record: &Record, seed: u64) -> Timestamp {
    match have.lifetime() {
        Some(_) => due(Some(have), certificate, record, seed).0,
        None => have.not_after,
    }
}

/// When an order is due and why, whatever went wrong before.
fn due(have: Option<Validity>, certificate: Option<&str>, record: &Record, seed: u64) -> (Timestamp, Due) {
    let Some(have) = have else { return (Timestamp::MIN, Due::Missing) };
    let (at, why) = match ari::moment(have, certificate, record, seed) {
        Some(at) => (at, Due::Window),
        None => (old_at(have, seed), Due::Age),
    };
    let emergency_at = have.emergency_at();
    if at < emergency_at { (at, why) } else { (emergency_at, Due::Emergency) }
}

/// The reason at the moment of the order: a wait may have lasted until the emergency.
fn reason(have: Option<Validity>, why: Due, at: Timestamp) -> Due {
    if have.is_some_and(|have| have.emergency_at() <= at) { Due::Emergency } else { why }
}

/// When it is old enough; of one that is never valid, always.
fn old_at(have: Validity, seed: u64) -> Timestamp {
    let Some(lifetime) = have.lifetime() else { return Timestamp::MIN };
    let age = if lifetime < 10 * DAY { lifetime / 2 } else { lifetime * 2 / 3 };
    later(have.not_before, age - draw(lifetime / 20, seed, Purpose::Age))
}
