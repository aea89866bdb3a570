//! Is the new version worse than the one before it? Pure.
//!
//! Failures are judged from the first look on, so that a broken version is left early; the latency only when the
//! time is over, because every version begins slowly. Too few requests are no failure.
//!
//! - A version fails too often when the share is above the limit beyond chance: the lower end of the 95 % Wilson
//!   interval of at least [`HANDFUL`] failures. At the end, with enough requests, the plain share counts as well.
//! - A service that failed before may go on failing: the limit is at least [`SLACK`] times the share before. There only
//!   what is beyond chance counts, also at the end.
//! - The slowest hundredth is compared with what it was before, or with [`FLOOR_MICROS`] where that was less: nobody
//!   notices three milliseconds instead of one.

use switcher_config::wire::BakeFigures;
use switcher_config::{BakeLimits, Span};

/// How many failures there must be before the time is over.
pub const HANDFUL: u64 = 5;

/// How many times as often as before a version may fail.
pub const SLACK: f64 = 1.5;

/// What was faster than this before counts as this, in microseconds.
pub const FLOOR_MICROS: u64 = 5_000;

/// The normal distribution's quantile for 95 %, both sides.
const Z: f64 = 1.96;

/// What there is to judge by.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The limits.
    pub limits: &'a BakeLimits,
    /// The slot before, in its last minutes.
    pub baseline: &'a BakeFigures,
    /// The new slot, since the switch.
    pub seen: &'a BakeFigures,
    /// Whether the time is over.
    pub over: bool,
    /// Why no upstream of the new slot is healthy; none while one is.
    pub illness: Option<&'a str>,
}

/// What is thought of the new version. Every reason carries its figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is too early to say.
    Going,
    /// It is no worse; with what was not compared.
    Passed {
        /// A sentence each.
        notes: Vec<String>,
    },
    /// It is worse.
    Worse {
        /// A sentence each.
        reasons: Vec<String>,
    },
    /// Too few requests came to tell.
    Inconclusive {
        /// A sentence each.
        reasons: Vec<String>,
    },
}

/// Judges.
#[must_use]
pub fn judge(evidence: &Evidence<'_>) -> Verdict {
    let Evidence { limits, baseline, seen, over, illness } = *evidence;
    let mut reasons: Vec<String> =
        illness.map(|why| format!("no upstream passes its probes: {why}")).into_iter().collect();
    for (what, count, before) in [
        ("failed", seen.errors, baseline.errors),
        ("met an upstream that took no connection", seen.connect_errors, baseline.connect_errors),
    ] {
        reasons.extend(too_often(what, count, before, evidence));
    }
    if over {
        reasons.extend(too_slow(limits, baseline, seen));
    }
    let enough = seen.requests >= u64::from(limits.min_requests);
    if !reasons.is_empty() {
        Verdict::Worse { reasons }
    } else if !over {
        Verdict::Going
    } else if enough {
        Verdict::Passed { notes: incomparable(limits, baseline, seen).into_iter().collect() }
    } else {
        let reason = format!(
            "{} came within {}, and {} are needed to judge",
            requests(seen.requests),
            limits.window,
            limits.min_requests
        );
        Verdict::Inconclusive { reasons: vec![reason] }
    }
}

/// Why a share of the requests is too large, if it is.
fn too_often(what: &str, count: u64, before: u64, evidence: &Evidence<'_>) -> Option<String> {
    let Evidence { limits, baseline, seen, over, .. } = *evidence;
    let least = u64::from(limits.min_requests);
    let own = limits.max_error_rate.fraction();
    let known = baseline.requests >= least;
    let usual = if known { share(before, baseline.requests) } else { 0.0 };
    let limit = own.max(usual * SLACK);
    let beyond_chance = count >= HANDFUL && wilson_lower(count, seen.requests) > limit;
    let plainly = over && seen.requests >= least && limit <= own && share(count, seen.requests) > own;
    (beyond_chance || plainly).then(|| {
        let allowed = if limit > own {
            format!("{} is allowed, because {} did before", percent(limit), percent(usual))
        } else {
            format!("{} is allowed", percent(own))
        };
        format!(
            "{count} of {} {what}: {}, and {allowed}",
            requests(seen.requests),
            percent(share(count, seen.requests))
        )
    })
}

/// Why it is too slow, if it is.
fn too_slow(limits: &BakeLimits, baseline: &BakeFigures, seen: &BakeFigures) -> Vec<String> {
    let least = u64::from(limits.min_requests);
    let Some(p99) = seen.p99_micros.filter(|_| seen.timed >= least) else { return Vec::new() };
    let absolute = limits.max_p99.filter(|most| u128::from(p99) > most.0.as_micros());
    let absolute = absolute.map(|most| format!("the p99 is {}, and {most} is allowed", time(p99)));
    let before = baseline.p99_micros.filter(|_| baseline.timed >= least);
    let relative = before.filter(|before| {
        let usual = (*before).max(FLOOR_MICROS);
        p99 as f64 > usual as f64 * limits.max_p99_ratio.times()
    });
    let relative = relative.map(|before| {
        format!(
            "the p99 is {}, and it was {} before: {} times as much is allowed",
            time(p99),
            time(before),
            limits.max_p99_ratio
        )
    });
    absolute.into_iter().chain(relative).collect()
}

/// What a version that passed was not compared by.
fn incomparable(limits: &BakeLimits, baseline: &BakeFigures, seen: &BakeFigures) -> Option<String> {
    let least = u64::from(limits.min_requests);
    if seen.timed < least {
        return Some(format!("the p99 was not judged: {} count for it", requests(seen.timed)));
    }
    (baseline.timed < least).then(|| {
        format!("the p99 was not compared: the slot before answered {} lately", requests(baseline.timed))
    })
}

fn share(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { count as f64 / of as f64 }
}

/// The lower end of the Wilson score interval of a share.
fn wilson_lower(count: u64, of: u64) -> f64 {
    if of == 0 {
        return 0.0;
    }
    let (n, p) = (of as f64, share(count.min(of), of));
    let centre = p + Z * Z / (2.0 * n);
    let margin = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    // Rounding must not lift it above the share itself.
    ((centre - margin) / (1.0 + Z * Z / n)).clamp(0.0, p)
}

fn requests(count: u64) -> String {
    if count == 1 { "1 request".to_owned() } else { format!("{count} requests") }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A time for people: exact below ten milliseconds.
fn time(micros: u64) -> String {
    if micros < 10_000 {
        format!("{:.1}ms", micros as f64 / 1000.0)
    } else {
        Span::millis(micros / 1000).to_string()
    }
}

#[cfg(test)]
mod tests;
