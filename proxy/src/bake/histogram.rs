//! How long requests took, in buckets that are never wider than an eighth of what they hold. Pure.
//!
//! Eight buckets to each power of two, from a microsecond to over an hour: 240 counters, whatever the traffic.

/// The number of buckets.
pub const BUCKETS: usize = 240;

/// The bucket of a time in microseconds; anything beyond an hour is in the last one.
#[must_use]
pub fn bucket(micros: u64) -> usize {
    let micros = u32::try_from(micros).unwrap_or(u32::MAX);
    if micros < 8 {
        return micros as usize;
    }
    let power = micros.ilog2();
    let eighth = (micros >> (power - 3)) & 7;
    ((power - 2) * 8 + eighth) as usize
}

/// The longest time that a bucket holds, in microseconds.
#[must_use]
pub const fn longest(bucket: usize) -> u64 {
    if bucket < 8 {
        return bucket as u64;
    }
    let (power, eighth) = (bucket / 8 + 2, bucket % 8);
    ((9 + eighth as u64) << (power - 3)) - 1
}

/// Counts by bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram(Box<[u64; BUCKETS]>);

impl Default for Histogram {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

impl Histogram {
    /// One that a function fills, bucket by bucket.
    pub fn from_fn(count: impl FnMut(usize) -> u64) -> Self {
        Self(Box::new(std::array::from_fn(count)))
    }

    /// One more that took so many microseconds.
    pub fn add(&mut self, micros: u64) {
        self.0[bucket(micros)] += 1;
    }

    /// How many are counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What came after an earlier state of the same counters.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self::from_fn(|bucket| self.0[bucket].saturating_sub(earlier.0[bucket]))
    }

    /// The time that one in a hundred exceeded, in microseconds, at most an eighth too long; none without any.
    #[must_use]
    pub fn p99(&self) -> Option<u64> {
        self.percentile(99)
    }

    /// The time within which so many in a hundred stayed, in microseconds, at most an eighth too long; none without any.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let total = self.total();
        // The rank of the slowest that is not in the slowest hundredths.
        let rank = total - total * 100_u64.saturating_sub(percent) / 100;
        let mut below = 0;
        let reaches = |count: &u64| {
            below += count;
            below >= rank
        };
        (total > 0).then(|| self.0.iter().position(reaches).map(longest)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_bucket_begins_where_the_one_before_it_ends() {
        for n in 0..BUCKETS - 1 {
            assert_eq!(bucket(longest(n)), n);
            assert_eq!(bucket(longest(n) + 1), n + 1);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(Histogram::default().p99(), None);
    }

    proptest! {
        #[test]
        fn the_p99_is_the_exact_one_or_at_most_an_eighth_more(mut times in prop::collection::vec(0_u64..10_000_000, 1..400)) {
            let mut histogram = Histogram::default();
            times.iter().for_each(|micros| histogram.add(*micros));
            times.sort_unstable();
            let exact = times[times.len() - times.len() / 100 - 1];
            let told = histogram.p99().expect("there are some");
            prop_assert!(told >= exact && told <= exact + exact / 8 + 1, "{told} for {exact}");
        }

        #[test]
        fn what_came_after_a_moment_is_what_was_added_after_it(
            before in prop::collection::vec(0_u64..1_000_000, 0..50),
            after in prop::collection::vec(0_u64..1_000_000, 0..50),
        ) {
            let (mut all, mut alone) = (Histogram::default(), Histogram::default());
            before.iter().for_each(|micros| all.add(*micros));
            let earlier = all.clone();
            for micros in after {
                all.add(micros);
                alone.add(micros);
            }
            prop_assert_eq!(all.since(&earlier), alone);
        }
    }
}
