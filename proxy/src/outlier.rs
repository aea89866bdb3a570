//! Outliers: an upstream that takes connections and answers badly is left out for a while.
//!
//! A pure record of one upstream's failures: so many in a row, within a window, and it is out; longer each time it fails
//! again soon after it came back. It says when an upstream ought to be out. Whether its slot can spare it is
//! [`crate::epoch`]'s to say, which knows the others. Probes go on, and decide nothing here.

use std::time::Duration;

use switcher_config::settings::Outliers;

use crate::tick::{Tick, millis};

/// How many times longer than the first one an ejection becomes at most.
const LONGEST: u32 = 10;

/// What is remembered of one upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    /// How many failures in a row.
    pub failures: u32,
    /// When the first of them was.
    first: Tick,
    /// Ejections, each soon after the one before.
    times: u32,
    /// Until when it is out, or was last.
    pub until: Tick,
    /// How long that was, in milliseconds.
    lasted: u64,
}

impl Record {
    /// After an answer below 500.
    #[must_use]
    pub const fn answered(self) -> Self {
        Self { failures: 0, ..self }
    }

    /// After a failure; true when it ought to be out.
    #[must_use]
    pub fn failed(self, now: Tick, limits: &Outliers) -> (Self, bool) {
        let goes_on = self.failures > 0 && now.since(self.first) <= millis(limits.window.0);
        let (failures, first) =
            if goes_on { (self.failures.saturating_add(1), self.first) } else { (1, now) };
        (Self { failures, first, ..self }, failures >= limits.failures)
    }

    /// When it is put out, and for how long.
    #[must_use]
    pub fn ejected(self, now: Tick, limits: &Outliers) -> (Self, Duration) {
        // As long as it was out it has to do well, or the next time is longer.
        let again = self.times > 0 && now.since(self.until) <= self.lasted;
        let times = if again { self.times.saturating_add(1) } else { 1 };
        let factor = 1_u32.checked_shl(times - 1).unwrap_or(LONGEST).min(LONGEST);
        let lasts = limits.ejection.0.saturating_mul(factor);
        (Self { failures: 0, times, until: now.after(lasts), lasted: millis(lasts), ..self }, lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switcher_config::{Share, Span};

    const LIMITS: Outliers = Outliers {
        failures: 3,
        window: Span::seconds(10),
        ejection: Span::seconds(30),
        share: Share::percent(50),
    };

    fn fails(record: Record, at: &[u64]) -> (Record, bool) {
        at.iter().fold((record, false), |(record, _), at| record.failed(Tick(*at), &LIMITS))
    }

    #[test]
    fn so_many_in_a_row_and_within_the_window_put_it_out() {
        assert!(fails(Record::default(), &[0, 5000, 10_000]).1);
        assert!(!fails(Record::default(), &[0, 5000, 10_001]).1, "too far apart");
        let (two, _) = fails(Record::default(), &[0, 1]);
        assert!(!fails(two.answered(), &[2, 3]).1, "a good answer between");
        assert!(fails(two, &[2]).1);
    }

    #[test]
    fn each_time_is_twice_as_long_up_to_ten_times_unless_it_does_well_between() {
        let (mut record, mut now, mut lasted) = (Record::default(), Tick(0), Vec::new());
        for _ in 0..6 {
            let (next, lasts) = record.ejected(now, &LIMITS);
            lasted.push(lasts.as_secs());
            (record, now) = (next, next.until);
        }
        assert_eq!(lasted, [30, 60, 120, 240, 300, 300]);
        let (_, lasts) = record.ejected(record.until.after(Duration::from_secs(301)), &LIMITS);
        assert_eq!(lasts.as_secs(), 30);
    }
}
