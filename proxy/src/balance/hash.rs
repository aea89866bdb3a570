//! The same upstream for the same value: weighted rendezvous hashing.
//!
//! Each upstream draws a number from the value and its own address; the best one gets the request. One that is gone
//! loses just its own values, each to whoever was second, and one that returns gets exactly those back. A weight
//! stretches the draw, so that it gets that share of all values. (Schindelhauer and Schomaker 2005, the logarithmic method.)
//!
//! Nothing here is secret or random: every proxy with the same configuration decides alike.

/// A hash that is the same in every process and version: FNV-1a, and then mixed well, because nearby
/// values must not draw nearby numbers.
#[must_use]
pub fn of(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mixed(hash)
}

/// The finalizer of SplitMix64.
pub(crate) const fn mixed(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What an upstream draws for a value: the smallest wins. `weight` is above 0.
#[must_use]
pub fn draw(value: u64, upstream: u64, weight: u8) -> f64 {
    // 53 bits are what a float holds; never 0, whose logarithm is infinite.
    let bits = (mixed(value ^ upstream.rotate_left(32)) >> 11) | 1;
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    let uniform = bits as f64 / (1_u64 << 53) as f64;
    -uniform.ln() / f64::from(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn best(value: u64, upstreams: &[(u64, u8)]) -> Option<u64> {
        let drawn = |(id, weight): &(u64, u8)| draw(value, *id, *weight);
        upstreams.iter().min_by(|a, b| drawn(a).total_cmp(&drawn(b))).map(|(id, _)| *id)
    }

    fn named(count: usize) -> Vec<(u64, u8)> {
        (0..count).map(|n| (of(format!("10.0.0.{n}:8001").as_bytes()), 1)).collect()
    }

    /// How many of `values` values go elsewhere, and how many of those were not the lost one's.
    fn moved(values: u64, all: &[(u64, u8)], lost: usize) -> (u64, u64) {
        let mut rest = all.to_vec();
        let (lost, _) = rest.remove(lost);
        let changed = (0..values).map(|n| of(&n.to_be_bytes())).filter_map(|value| {
            let (before, after) = (best(value, all)?, best(value, &rest)?);
            (before != after).then_some(before)
        });
        changed.fold((0, 0), |(all, wrong), before| (all + 1, wrong + u64::from(before != lost)))
    }

    proptest! {
        #[test]
        fn losing_one_of_n_moves_its_own_values_and_no_others(count in 2_usize..12, lost in 0_usize..12) {
            let lost = lost % count;
            let (all, wrong) = moved(4000, &named(count), lost);
            prop_assert_eq!(wrong, 0);
            let share = 4000 / count as u64;
            prop_assert!(all > share * 3 / 4 && all < share * 5 / 4, "{} of 4000 for {} upstreams", all, count);
        }
    }

    #[test]
    fn the_share_of_values_follows_the_weight() {
        let upstreams: Vec<_> =
            named(3).into_iter().zip([1, 3, 6]).map(|((id, _), weight)| (id, weight)).collect();
        for (id, weight) in &upstreams {
            let won = (0_u64..10_000).filter(|n| best(of(&n.to_be_bytes()), &upstreams) == Some(*id)).count();
            let fair = usize::from(*weight) * 1000;
            assert!(won > fair * 9 / 10 && won < fair * 11 / 10, "{won} for weight {weight}");
        }
    }

    #[test]
    fn the_check_for_movement_sees_a_plain_remainder() {
        let by_remainder = |value: u64, count: u64| value % count;
        let changed = (0_u64..4000)
            .map(|n| of(&n.to_be_bytes()))
            .filter(|v| by_remainder(*v, 10) != by_remainder(*v, 9));
        assert!(changed.count() > 3000, "a hash by remainder moves nearly everything");
    }
}
