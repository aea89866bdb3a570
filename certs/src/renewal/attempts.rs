//! How long to wait after attempts that failed or were cut off, so that neither a failing authority nor a restart
//! loop burns its limits.
//!
//! After `n` failures: `first × 3^(n-1)`, at most `max`, ±10 % by the seed. In the last tenth of a certificate's
//! lifetime, and after it, the wait is at most a fiftieth of the lifetime: five more attempts before the end,
//! however many failed before. Never under ten seconds, which only lifetimes under eight minutes reach: those
//! come from private authorities, that still need to breathe. After the end it is also at least a tenth of the
//! time that has passed since, so that a certificate of a minute whose authority is gone for good costs some 80
//! attempts on the first day and then less and less.
//!
//! An attempt counts from its begin when its end is not known. The first one that was cut off is free: a restart
//! goes on at once with what it was doing, as an upgrade must. Each further one counts like a failure, because by
//! then it may be the attempt itself that kills the process.
//!
//! Invariant: the wait grows with the number of failures, and is never longer than a week and twice `max`,
//! whatever the clock does. Called by [`super::next_action`]; the methods of [`Attempts`] by the manager.

use jiff::Timestamp;

use super::moment::{DAY, Purpose, SECOND, between, draw, later};
use super::{Policy, Validity};
use crate::record::{Attempts, Record};
use switcher_config::Span;
use switcher_config::settings::Retry;

/// The longest `Retry-After` that is believed, in nanoseconds: no authority has a limit with a longer window.
const BELIEVED: i128 = 7 * DAY;

/// The shortest wait that an emergency allows.
const BREATH: i128 = 10 * SECOND;

/// The shortest wait at all: a configured zero is no busy loop.
const SHORTEST: i128 = SECOND / 10;

impl Attempts {
    /// An attempt begins. To be saved before the authority is asked for a new order.
    pub fn begin(&mut self, now: Timestamp) {
        self.interrupted = self.interrupted.saturating_add(1);
        self.failed_at = Some(now);
    }

    /// The attempt failed. `not_before`: until when the authority wants to be left alone, if it said so.
    pub fn fail(&mut self, now: Timestamp, problem: String, not_before: Option<Timestamp>) {
        *self = Self {
            failures: self.failures.saturating_add(1),
            failed_at: Some(now),
            problem: Some(problem),
            not_before,
            interrupted: 0,
        };
    }

    /// The ledger has no room before `until`, so the authority was not even asked. No failure; an interrupted
    /// attempt stays one.
    pub fn postpone(&mut self, now: Timestamp, problem: String, until: Timestamp) {
        self.failed_at = Some(now);
        self.problem = Some(problem);
        self.not_before = Some(until);
    }

    /// A certificate was issued and saved: everything before is forgotten.
    pub fn succeed(&mut self) {
        *self = Self::default();
    }
}

/// When the next attempt may follow, where it has to wait at all: for the wait after failures and for the
/// authority's `Retry-After`, whichever ends later.
#[must_use]
pub fn retry_at(
    record: &Record,
    policy: &Policy,
    have: Option<Validity>,
    seed: u64,
    now: Timestamp,
) -> Option<Timestamp> {
    let attempts = &record.attempts;
    // From a clock that was ahead: nothing can be counted from it. The next attempt writes a new one.
    let failed_at = attempts.failed_at.filter(|at| *at <= later(now, longest(&policy.retry)));
    let own = failed_at.and_then(|at| after_failures(attempts, &policy.retry, have, seed, at));
    let theirs = attempts.not_before.and_then(|until| believed(until, failed_at, now));
    own.max(theirs).filter(|until| *until > now)
}

/// The end of the wait after an attempt that failed, or was begun, at `failed_at`.
fn after_failures(
    attempts: &Attempts,
    retry: &Retry,
    have: Option<Validity>,
    seed: u64,
    failed_at: Timestamp,
) -> Option<Timestamp> {
    let count = match attempts.interrupted {
        0 => attempts.failures,
        1 => 0,
        several => attempts.failures.saturating_add(several - 1),
    };
    let patient = later(failed_at, varied(ordinary(count.checked_sub(1)?, retry), seed));
    let Some((have, lifetime)) = have.and_then(|have| Some((have, have.lifetime()?))) else {
        return Some(patient);
    };
    let pressed = later(failed_at, varied(urgent(have, lifetime, failed_at), seed));
    Some(patient.min(pressed.max(have.emergency_at())))
}

/// The wait after one failure and `more`, in nanoseconds.
fn ordinary(more: u32, retry: &Retry) -> i128 {
    let tripled = 3_i128.checked_pow(more).unwrap_or(i128::MAX);
    // A tenth is left for the variation, so that `max` stays the longest wait and a fleet still spreads out.
    nanos(retry.first).saturating_mul(tripled).min(longest(retry) / 11 * 10).max(SHORTEST)
}

/// The longest wait in an emergency, in nanoseconds.
fn urgent(have: Validity, lifetime: i128, failed_at: Timestamp) -> i128 {
    let overdue = between(have.not_after, failed_at);
    (lifetime / 50).max(BREATH).max(overdue / 10)
}

/// ±10 % by the seed; the same for every attempt of a lineage, so that a further failure never waits less.
fn varied(wait: i128, seed: u64) -> i128 {
    wait / 10 * 9 + draw(wait / 5, seed, Purpose::Retry)
}

/// The authority's `Retry-After` as far as it is believed; none when only a clock that was set back explains it.
fn believed(until: Timestamp, failed_at: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    match failed_at {
        Some(at) => Some(until.min(later(at, BELIEVED))),
        None => Some(until).filter(|until| *until <= later(now, BELIEVED)),
    }
}

fn longest(retry: &Retry) -> i128 {
    nanos(retry.max)
}

fn nanos(span: Span) -> i128 {
    i128::try_from(span.0.as_nanos()).unwrap_or(i128::MAX)
}
