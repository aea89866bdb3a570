//! Facts as words: counts by kind, ages, latencies, health. Pure; used wherever people read.

use jiff::Timestamp;
use switcher_config::wire::{
    AppStatus, Bake, BakeFigures, BakeResult, ByKind, Canary, CanaryResult, CanaryThen, Exchange, Health,
    Kind, Mode, ProbeRecord, SlotStatus,
};

use crate::layout::Tone;
use crate::state::record::Verified;

/// The statuses that are a success: `200` or `200-299`.
#[must_use]
pub fn statuses((low, high): (u16, u16)) -> String {
    if low == high { low.to_string() } else { format!("{low}-{high}") }
}

/// The beginning of a text, so many characters of it.
#[must_use]
pub fn beginning(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `3 requests, 1 websocket`, or `nothing`.
#[must_use]
pub fn counts(by_kind: &ByKind<u64>) -> String {
    let parts: Vec<String> = Kind::ALL
        .into_iter()
        .filter_map(|kind| match *by_kind.get(kind) {
            0 => None,
            1 => Some(format!("1 {}", singular(kind))),
            n => Some(format!("{n} {}", kind.as_str())),
        })
        .collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// One of a kind.
#[must_use]
pub const fn singular(kind: Kind) -> &'static str {
    match kind {
        Kind::Requests => "request",
        Kind::Uploads => "upload",
        Kind::Streams => "stream",
        Kind::Websockets => "websocket",
        Kind::Connections => "connection",
    }
}

/// How many of each kind a list holds.
#[must_use]
pub fn lengths(lists: &ByKind<Vec<Exchange>>) -> ByKind<u64> {
    ByKind::from_fn(|kind| lists.get(kind).len() as u64)
}

/// A length of time with the precision that matters: `14 µs`, `3.2 ms`, `1.4 s`, `12 s`, `3 min`, `2 h`, `5 days`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let fine = |value: f64, unit: &str| {
        let digits = if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") };
        format!("{} {unit}", digits.strip_suffix(".0").unwrap_or(&digits))
    };
    match seconds {
        s if !s.is_finite() => "an unknown time".to_owned(),
        s if s < 0.000_000_5 => "0 s".to_owned(),
        s if s < 0.000_999_5 => fine(s * 1e6, "µs"),
        s if s < 0.999_5 => fine(s * 1e3, "ms"),
        s if s < 119.5 => fine(s, "s"),
        s if s < 7_170.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_000.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

/// A number of bytes with the precision that matters: `512 B`, `1.4 MiB`, `12 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 999.5 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    let digits = if value < 9.95 && unit != "B" { format!("{value:.1}") } else { format!("{value:.0}") };
    format!("{} {unit}", digits.strip_suffix(".0").unwrap_or(&digits))
}

/// How long ago something was.
#[must_use]
pub fn since(then: Timestamp, now: Timestamp) -> String {
    duration(now.duration_since(then).as_secs_f64().max(0.0))
}

/// A moment in UTC, to the second: `2026-11-21 14:03:07Z`.
#[must_use]
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// The word for a health.
#[must_use]
pub const fn health(health: Health) -> (&'static str, Tone) {
    match health {
        Health::Unknown => ("unknown", Tone::Warn),
        Health::Healthy => ("healthy", Tone::Good),
        Health::Unhealthy => ("unhealthy", Tone::Bad),
    }
}

/// The word for a mode, and how many requests it holds back.
#[must_use]
pub fn mode(app: &AppStatus) -> (String, Tone) {
    match app.mode {
        Mode::Open => ("open".to_owned(), Tone::Plain),
        Mode::Paused if app.held == 1 => ("paused, 1 request held".to_owned(), Tone::Warn),
        Mode::Paused => (format!("paused, {} requests held", app.held), Tone::Warn),
        Mode::Stopped => ("stopped".to_owned(), Tone::Bad),
    }
}

/// What a probe found: `200 in 1.2 ms`, or its error.
#[must_use]
pub fn probe(record: &ProbeRecord) -> String {
    let took = duration(record.latency_ms / 1e3);
    match (&record.error, record.status) {
        (Some(error), _) => error.clone(),
        (None, Some(status)) => format!("{status} in {took}"),
        (None, None) => format!("answered in {took}"),
    }
}

/// Why a slot is not healthy: the proxy's reason, else the newest failed check, else that there is none.
#[must_use]
pub fn reason(slot: &SlotStatus) -> String {
    let failed = || {
        slot.upstreams.iter().filter(|upstream| upstream.health != Health::Healthy).find_map(|upstream| {
            let check = upstream.checks.iter().chain(&upstream.last_check).find(|check| !check.ok)?;
            Some(format!("{}: {}", upstream.address, probe(check)))
        })
    };
    match slot.reason.clone().or_else(failed) {
        Some(reason) => reason,
        None if slot.upstreams.is_empty() => "it has no upstreams".to_owned(),
        None => "no check of it has failed, but too few have succeeded".to_owned(),
    }
}

/// What the public address answered: `https://shop.example.com/ answered 200 (green, v2)`.
#[must_use]
pub fn verified(verified: &Verified) -> String {
    let named: Vec<&str> = verified.slot.iter().chain(&verified.release).map(String::as_str).collect();
    let from = if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) };
    let came = match verified.status {
        Some(status) => format!("{} answered {status}{from}", verified.url),
        None => format!("{} gave no answer", verified.url),
    };
    if verified.matched { came } else { format!("{came}, which is not what was wanted") }
}

/// A bake: how it stands, or what came of it and why.
#[must_use]
pub fn bake(bake: &Bake) -> String {
    let Some(outcome) = &bake.outcome else {
        return format!(
            "{} is judged on live traffic until {}: {}",
            bake.to,
            moment(bake.ends_at),
            figures(&bake.seen)
        );
    };
    let verdict = match outcome.result {
        BakeResult::Passed => format!("{} is no worse than {}", bake.to, bake.from),
        BakeResult::Worse => format!("{} is worse than {}", bake.to, bake.from),
        BakeResult::Inconclusive => format!("{} could not be judged", bake.to),
        BakeResult::Superseded => format!("{} was no longer judged", bake.to),
    };
    let end = match (&outcome.rolled_back, &outcome.stays) {
        (Some(generation), _) => format!("; traffic went back to {}, generation {generation}", bake.from),
        (None, Some(why)) => format!("; traffic should have gone back, and could not: {why}"),
        (None, None) => String::new(),
    };
    let why =
        if outcome.reasons.is_empty() { String::new() } else { format!(": {}", outcome.reasons.join("; ")) };
    format!("{verdict}{end}{why}")
}

/// A canary: who goes there and what follows, or what came of it and why.
#[must_use]
pub fn canary(canary: &Canary) -> String {
    let (slot, rules) = (canary.slot, &canary.rules);
    let who = format!("{} of the clients", rules.share);
    if let Some(outcome) = &canary.outcome {
        let end = match outcome.result {
            CanaryResult::Promoted => "and became live",
            CanaryResult::Aborted => "until somebody took them back",
            CanaryResult::Worse => "until it was worse than the live slot, and they were taken back",
            CanaryResult::Unhealthy => "until it was not healthy, and they were taken back",
            CanaryResult::Superseded => "until something else was put into it",
        };
        let why = if outcome.reasons.is_empty() {
            String::new()
        } else {
            format!(": {}", outcome.reasons.join("; "))
        };
        return format!("{slot} had {who} {end} ({}){why}", moment(outcome.at));
    }
    let always = rules.headers.iter().map(|header| format!("header {header}"));
    let always = always.chain(rules.cookies.iter().map(|cookie| format!("cookie {cookie}")));
    let always: Vec<String> = always.chain(rules.clients.iter().map(ToString::to_string)).collect();
    let always =
        if always.is_empty() { String::new() } else { format!(", and all with {}", always.join(" or ")) };
    let follows = canary.steps.as_ref().map(|steps| {
        let left: Vec<String> = steps.left.iter().map(ToString::to_string).collect();
        let waits = steps.waits.as_ref().map(|why| format!(" (waits: {why})")).unwrap_or_default();
        let then = match (left.is_empty(), steps.then) {
            (true, CanaryThen::Hold) => return String::new(),
            (true, CanaryThen::Ask) if steps.passed => return format!("; it went well for {}", steps.every),
            (true, CanaryThen::Ask) => return format!("; judged for {}{waits}", steps.every),
            (true, CanaryThen::Promote) => "promote".to_owned(),
            (false, CanaryThen::Hold | CanaryThen::Ask) => left.join(", "),
            (false, CanaryThen::Promote) => format!("{}, promote", left.join(", ")),
        };
        format!("; then {then}, after {} each{waits}", steps.every)
    });
    let since = moment(canary.share_since);
    format!("{slot} has {who} by {}{always}, since {since}{}", rules.by, follows.unwrap_or_default())
}

/// What a slot did in some time.
#[must_use]
pub fn figures(figures: &BakeFigures) -> String {
    let p99 = figures.p99_micros.map(|micros| format!(", p99 {}", duration(micros as f64 / 1e6)));
    format!(
        "{} requests, {} failed, {} met no connection{} within {}",
        figures.requests,
        figures.errors,
        figures.connect_errors,
        p99.unwrap_or_default(),
        duration(figures.seconds as f64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_name_only_what_is_there() {
        let mut inside = ByKind::default();
        assert_eq!(counts(&inside), "nothing");
        inside.requests = 3;
        inside.websockets = 1;
        assert_eq!(counts(&inside), "3 requests, 1 websocket");
    }

    #[test]
    fn sizes_keep_the_digits_that_matter() {
        for (bytes, shown) in [
            (0, "0 B"),
            (512, "512 B"),
            (1_000, "1 KiB"),
            (1_536, "1.5 KiB"),
            (10_400, "10 KiB"),
            (44_354_000, "42 MiB"),
            (5_000_000_000, "4.7 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(size(bytes), shown, "{bytes}");
        }
    }

    #[test]
    fn durations_keep_the_digits_that_matter() {
        for (seconds, shown) in [
            (0.0, "0 s"),
            (0.000_014, "14 µs"),
            (0.000_001_4, "1.4 µs"),
            (0.003_2, "3.2 ms"),
            (0.25, "250 ms"),
            (0.999_7, "1 s"),
            (1.4, "1.4 s"),
            (30.0, "30 s"),
            (119.0, "119 s"),
            (180.0, "3 min"),
            (7_200.0, "2 h"),
            (432_000.0, "5 days"),
            (f64::NAN, "an unknown time"),
        ] {
            assert_eq!(duration(seconds), shown, "{seconds}");
        }
    }
}
