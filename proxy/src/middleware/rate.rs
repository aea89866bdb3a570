//! How often one may ask: the generic cell rate algorithm (ITU-T I.371), a bucket told by a single moment.
//!
//! Of each key only the moment is kept at which its bucket is full again, so a key that asks for nothing costs nothing soon
//! after. [`Rate::ask`] is pure; [`Limiter`] keeps the moments of all keys, bounded in number.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use switcher_config::settings::RateLimit;

use super::source::{Asked, Keys};

/// How many maps share the keys, so that requests seldom meet.
const SHARDS: usize = 16;

/// The most keys of a map. Those beyond share one bucket: somebody makes them up.
const MOST: usize = 1 << 16;

/// How long a map that stays full is not looked through again, in nanoseconds: it takes time in which others wait.
const REST: u64 = 1_000_000_000;

/// So many are kept before the map is looked through for those that are over.
const FEW: usize = 256;

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A rate, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    /// From one request to the next.
    interval: u64,
    burst: u32,
}

/// Where somebody stands who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether the request may pass.
    pub allowed: bool,
    /// How many may pass at once.
    pub burst: u32,
    /// How many more may pass now.
    pub remaining: u32,
    /// When the next one may pass, where this one may not.
    pub retry_after: Duration,
    /// When as many may pass as at first.
    pub reset: Duration,
}

impl Rate {
    fn of(limit: &RateLimit) -> Self {
        let interval = limit.per.0.as_nanos() / u128::from(limit.requests.max(1));
        Self {
            interval: u64::try_from(interval).unwrap_or(u64::MAX / 2).max(1),
            burst: limit.burst.unwrap_or(limit.requests).max(1),
        }
    }

    /// One request at `now`, of whoever's bucket is full again at `full`; the new moment, and where that leaves them.
    fn ask(self, full: u64, now: u64) -> (u64, Standing) {
        let held = self.interval.saturating_mul(u64::from(self.burst));
        let next = full.max(now).saturating_add(self.interval);
        let allowed = next - now <= held;
        let full = if allowed { next } else { full };
        let room = held.saturating_sub(full - now) / self.interval;
        let standing = Standing {
            allowed,
            burst: self.burst,
            remaining: u32::try_from(room).unwrap_or(u32::MAX),
            retry_after: Duration::from_nanos(next.saturating_sub(now).saturating_sub(held)),
            reset: Duration::from_nanos(full.saturating_sub(now)),
        };
        (full, standing)
    }
}

/// Buckets by key. Clones count together.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    rate: Rate,
    keys: Keys,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug)]
struct Shard {
    full: HashMap<u64, u64>,
    look_at: usize,
    /// Before this moment a full map is not looked through.
    rested: u64,
}

impl Limiter {
    /// Empty buckets: everybody may ask.
    #[must_use]
    pub fn new(limit: &RateLimit) -> Self {
        let shards =
            std::array::from_fn(|_| Mutex::new(Shard { full: HashMap::new(), look_at: FEW, rested: 0 }));
        Self(Arc::new(Buckets { rate: Rate::of(limit), keys: Keys::new(limit.by.clone()), shards }))
    }

    /// Counts a request; none when it has nothing to be counted by.
    #[must_use]
    pub fn ask(&self, asked: Asked<'_>) -> Option<Standing> {
        let now = u64::try_from(BEGIN.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.keys.of(asked).map(|key| self.0.ask(key, now))
    }
}

impl Buckets {
    fn ask(&self, key: u64, now: u64) -> Standing {
        // The remainder is below SHARDS.
        let mut shard = self.shards[usize::try_from(key % SHARDS as u64).unwrap_or_default()].lock();
        let kept = shard.full.len();
        if kept >= shard.look_at && (kept < MOST || now >= shard.rested) {
            shard.full.retain(|_, full| *full > now);
            shard.rested = now.saturating_add(REST);
            shard.look_at = (2 * shard.full.len()).clamp(FEW, MOST);
        }
        let crowded = shard.full.len() >= MOST && !shard.full.contains_key(&key);
        let full = shard.full.entry(if crowded { 0 } else { key }).or_insert(now);
        let (next, standing) = self.rate.ask(*full, now);
        *full = next;
        standing
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use switcher_config::Span;
    use switcher_config::settings::HashBy;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limit(requests: u32, per: u64, burst: Option<u32>) -> RateLimit {
        RateLimit { requests, per: Span::seconds(per), burst, by: HashBy::Client }
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_at_each_interval() {
        let rate = Rate::of(&limit(10, 1, Some(3)));
        let mut full = 0;
        let mut ask = |now| {
            let (next, standing) = rate.ask(full, now);
            full = next;
            standing
        };
        let left: Vec<_> = (0..3).map(|_| ask(5 * SECOND).remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = ask(5 * SECOND);
        assert_eq!((refused.allowed, refused.retry_after), (false, Duration::from_millis(100)));
        assert_eq!(refused.reset, Duration::from_millis(300));
        assert!(ask(5 * SECOND + SECOND / 10).allowed, "to ask in vain costs nothing");
        assert!(!ask(5 * SECOND + SECOND / 10).allowed);
        assert_eq!(ask(60 * SECOND).remaining, 2, "it is full again and holds no more");
    }

    proptest! {
        #[test]
        fn never_more_pass_than_the_burst_and_the_rate_allow(
            requests in 1_u32..50, burst in 1_u32..50, steps in proptest::collection::vec(0_u64..SECOND, 1..300)
        ) {
            let rate = Rate::of(&limit(requests, 1, Some(burst)));
            let (mut full, mut now, mut passed) = (0, 100 * SECOND, 0_u64);
            for step in steps {
                now += step;
                let (next, standing) = rate.ask(full, now);
                full = next;
                passed += u64::from(standing.allowed);
                prop_assert_eq!(standing.allowed, standing.retry_after.is_zero());
            }
            let time = now - 100 * SECOND;
            prop_assert!(passed <= u64::from(burst) + time / rate.interval + 1, "{} in {}", passed, time);
        }

        #[test]
        fn who_waits_as_long_as_told_may_pass(requests in 1_u32..50, burst in 1_u32..50, asked in 1_usize..200) {
            let rate = Rate::of(&limit(requests, 7, Some(burst)));
            let (mut full, now) = (0, 100 * SECOND);
            for _ in 0..asked {
                let (next, standing) = rate.ask(full, now);
                full = next;
                if !standing.allowed {
                    let later = now + u64::try_from(standing.retry_after.as_nanos()).expect("short");
                    prop_assert!(rate.ask(full, later).1.allowed);
                    prop_assert!(!rate.ask(full, later - 1).1.allowed);
                }
            }
        }
    }

    #[test]
    fn each_key_has_its_bucket_and_those_that_are_full_again_are_forgotten() {
        let Limiter(buckets) = Limiter::new(&limit(1, 1, None));
        for key in 0..100_000 {
            assert!(buckets.ask(key, SECOND).allowed);
            assert!(!buckets.ask(key, SECOND).allowed);
        }
        let kept = || buckets.shards.iter().map(|shard| shard.lock().full.len()).sum::<usize>();
        assert_eq!(kept(), 100_000);
        for key in 200_000..200_000 + 100_000 {
            assert!(buckets.ask(key, 10 * SECOND).allowed);
        }
        assert!(kept() < 110_000, "{}", kept());
    }

    #[test]
    fn keys_without_number_share_a_bucket_in_the_end() {
        let Limiter(buckets) = Limiter::new(&limit(1, 3600, None));
        let most = (MOST * SHARDS) as u64;
        let passed = (1..most + 50_000).filter(|key| buckets.ask(*key, SECOND).allowed).count() as u64;
        assert!(passed < most + 32, "{passed}");
    }
}
