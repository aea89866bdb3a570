//! The budget of retries: a slot that is dying must not get more requests than before.
//!
//! Retries may be a share of the requests of the last ten seconds; a few a second are always allowed, so that
//! little traffic is helped as well. Counted without a lock, by the second; each epoch has its own.

use std::sync::atomic::{AtomicU64, Ordering};

use switcher_config::Share;

use crate::tick::Tick;

/// How far back requests count, in seconds.
const SECONDS: u64 = 10;

/// How many retries a second are always allowed.
pub const FLOOR: u64 = 3;

/// What was counted in each of the last seconds: the second above, its count below.
#[derive(Debug, Default)]
struct Window([AtomicU64; SECONDS as usize]);

impl Window {
    fn cell(&self, second: u64) -> &AtomicU64 {
        // The remainder is below the length.
        &self.0[(second % SECONDS) as usize]
    }

    fn add(&self, second: u64) {
        let mark = second << 32;
        let next = |cell: u64| if cell & !u64::from(u32::MAX) == mark { cell + 1 } else { mark | 1 };
        // The closure always gives a value.
        let _ = self.cell(second).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |cell| Some(next(cell)));
    }

    fn within(&self, second: u64, seconds: u64) -> u64 {
        let counted = |cell: &AtomicU64| {
            let cell = cell.load(Ordering::Relaxed);
            let fresh = second.checked_sub(cell >> 32).is_some_and(|age| age < seconds);
            if fresh { cell & u64::from(u32::MAX) } else { 0 }
        };
        self.0.iter().map(counted).sum()
    }
}

/// One epoch's budget.
#[derive(Debug, Default)]
pub struct Budget {
    requests: Window,
    retries: Window,
}

impl Budget {
    /// A request came in.
    pub fn requested(&self, now: Tick) {
        self.requests.add(now.0 / 1000);
    }

    /// Takes a retry out of the budget; false when it is spent. Threads that ask at the very same time may
    /// each get the last one.
    pub fn take(&self, now: Tick, share: Share) -> bool {
        let second = now.0 / 1000;
        let (spent, requests) = (self.retries.within(second, SECONDS), self.requests.within(second, SECONDS));
        #[allow(clippy::cast_precision_loss, reason = "a count of ten seconds")]
        let affordable = (spent + 1) as f64 <= requests as f64 * share.fraction();
        let allowed = affordable || self.retries.within(second, 1) < FLOOR;
        if allowed {
            self.retries.add(second);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(budget: &Budget, now: u64, tries: u32) -> u32 {
        (0..tries).map(|_| u32::from(budget.take(Tick(now), Share::percent(20)))).sum()
    }

    #[test]
    fn a_few_a_second_are_always_allowed() {
        let budget = Budget::default();
        for second in [0, 1, 2, 50] {
            assert_eq!(taken(&budget, second * 1000 + 999, 100), 3, "in second {second}");
        }
    }

    #[test]
    fn more_are_a_share_of_the_requests_of_ten_seconds() {
        let budget = Budget::default();
        for second in 0..10 {
            (0..100).for_each(|_| budget.requested(Tick(second * 1000)));
        }
        assert_eq!(taken(&budget, 9500, 1000), 200);
        assert_eq!(taken(&budget, 9999, 1000), 0);
        // What was spent and what came in are forgotten together.
        assert_eq!(taken(&budget, 20_000, 1000), 3);
        (0..1000).for_each(|_| budget.requested(Tick(20_000)));
        assert_eq!(taken(&budget, 20_000, 1000), 197);
    }
}
