//! ACME Renewal Information (RFC 9773): which moment of the authority's window is ours, and when it is asked again.
//!
//! Invariant: an answer counts only for the certificate it was given for. Called by [`super::next_action`];
//! [`answered`] and [`unanswered`] make what the manager writes into the record.

use std::time::Duration;

use jiff::Timestamp;

use super::moment::{DAY, Purpose, SECOND, between, draw, later};
use super::{Policy, Validity};
use crate::record::{Ari, Record};

/// The bounds of the time between two questions (RFC 9773 section 4.3.2).
const SOONEST: i128 = 60 * SECOND;
const LATEST: i128 = DAY;

/// How long after a question that was not answered (RFC 9773 section 4.3.3).
const UNANSWERED: i128 = 6 * 3600 * SECOND;

/// A window from before the certificate was made is a mistake of the authority's, such as the year 1. A day of
/// grace: a window for "at once" lies in the past, and clocks differ.
const GRACE: i128 = DAY;

/// How long a certificate that was just renewed is kept whatever the authority wishes, or a tenth of its lifetime
/// where that is shorter.
const REST: i128 = DAY / 24;

/// What to note of an answer that came at `now`. `retry_after` is the answer's header; without one it is asked
/// again in six hours (RFC 9773 section 4.3.3).
#[must_use]
pub fn answered(
    certificate: &str,
    (start, end): (Timestamp, Timestamp),
    explanation: Option<String>,
    retry_after: Option<Duration>,
    now: Timestamp,
) -> Ari {
    let pause = retry_after.map_or(UNANSWERED, |wait| i128::try_from(wait.as_nanos()).unwrap_or(LATEST));
    let ask_again_at = later(now, pause.clamp(SOONEST, LATEST));
    Ari { certificate: certificate.to_owned(), start, end, explanation, ask_again_at }
}

/// What to note of a question that got no answer, or one that makes no sense: the last window of this
/// certificate stays, and it is asked again in six hours (RFC 9773 section 4.3.3). Without a window, an empty
/// one says that there is none.
#[must_use]
pub fn unanswered(certificate: &str, record: &Record, now: Timestamp) -> Ari {
    let ask_again_at = later(now, UNANSWERED);
    match about(Some(certificate), record) {
        Some(ari) => Ari { ask_again_at, ..ari.clone() },
        None => {
            Ari { certificate: certificate.to_owned(), start: now, end: now, explanation: None, ask_again_at }
        }
    }
}

/// The moment the authority wishes for what is served, where it said one that can be meant.
pub(super) fn moment(
    have: Validity,
    certificate: Option<&str>,
    record: &Record,
    seed: u64,
) -> Option<Timestamp> {
    let ari = about(certificate, record)?;
    let sensible = ari.start < ari.end
        && ari.start < have.not_after
        && later(have.not_before, -GRACE) < ari.end
        && have.lifetime().is_some();
    let at = sensible.then(|| later(ari.start, draw(between(ari.start, ari.end), seed, Purpose::Window)))?;
    // The first one may be replaced at any time; but an authority whose window is always over would get order
    // after order.
    let renewed =
        record.issued_at.filter(|issued| record.first_issued_at.is_some_and(|first| first < *issued));
    let rest = have.lifetime().map_or(REST, |lifetime| REST.min(lifetime / 10));
    Some(renewed.map_or(at, |issued| at.max(later(issued, rest))))
}

/// When to ask next; none when there is nobody to ask, nothing to ask about, or when the answer would not count
/// any more by then. So never after the end, which RFC 9773 section 4.3 forbids.
pub(super) fn ask_at(
    have: Option<Validity>,
    certificate: Option<&str>,
    record: &Record,
    policy: &Policy,
    now: Timestamp,
) -> Option<Timestamp> {
    let emergency_at = have?.emergency_at();
    certificate.filter(|_| policy.ari)?;
    let ask_at = about(certificate, record)
        .map(|ari| ari.ask_again_at)
        // Nobody writes a time so far ahead: the clock was set back.
        .filter(|at| *at <= later(now, LATEST))
        .unwrap_or(now);
    (ask_at.max(now) < emergency_at).then_some(ask_at)
}

/// What was said of this certificate.
fn about<'record>(certificate: Option<&str>, record: &'record Record) -> Option<&'record Ari> {
    record.ari.as_ref().filter(|ari| certificate == Some(ari.certificate.as_str()))
}
