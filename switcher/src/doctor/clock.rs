//! This machine's clock against that of a registry or an authority. Pure.

use jiff::{SignedDuration, Timestamp};

use super::Finding;
use crate::phrase;

/// From here on certificates and tokens are refused.
const FAR: SignedDuration = SignedDuration::from_secs(60);
/// From here on something is wrong with the time service. A `Date` header has whole seconds, and answers take time.
const OFF: SignedDuration = SignedDuration::from_secs(5);

/// What somebody else's clock said, and ours in the same moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Whose clock.
    pub source: String,
    /// What it said, from the `Date` header of its answer.
    pub theirs: Timestamp,
    /// What ours said.
    pub ours: Timestamp,
}

/// Judges the reading, or says why there is none.
#[must_use]
pub fn check(reading: &Result<Reading, String>) -> Finding {
    let Reading { source, theirs, ours } = match reading {
        Ok(reading) => reading,
        Err(why) => {
            let says = format!("the clock could not be compared: {why}");
            return Finding::warning(
                "clock",
                says,
                "`timedatectl` says whether the clock is kept by a time service",
            );
        }
    };
    let ahead = ours.duration_since(*theirs);
    let off = ahead.abs();
    let way = if ahead.is_positive() { "ahead of" } else { "behind" };
    let says =
        format!("this machine's clock is {} {way} that of {source}", phrase::duration(off.as_secs_f64()));
    let remedy = "`timedatectl set-ntp true` keeps it by a time service";
    if off > FAR {
        Finding::failed("clock", format!("{says}; certificates and tokens are refused by that"), remedy)
    } else if off > OFF {
        Finding::warning("clock", says, remedy)
    } else {
        Finding::ok("clock", format!("this machine's clock agrees with that of {source}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_clock_is_judged_in_both_directions() {
        let at = |second: i64| Timestamp::from_second(second).expect("a moment");
        for (ours, verdict, part) in [
            (1000, Verdict::Ok, "agrees"),
            (1005, Verdict::Ok, "agrees"),
            (1006, Verdict::Warning, "ahead of"),
            (994, Verdict::Warning, "behind"),
            (1061, Verdict::Failed, "ahead of"),
            (900, Verdict::Failed, "behind"),
        ] {
            let reading = Reading { source: "registry".to_owned(), theirs: at(1000), ours: at(ours) };
            let found = check(&Ok(reading));
            assert_eq!(found.verdict, verdict, "{found:?}");
            assert!(found.says.contains(part), "{found:?}");
        }
        assert_eq!(check(&Err("nobody answers".to_owned())).verdict, Verdict::Warning);
    }
}
