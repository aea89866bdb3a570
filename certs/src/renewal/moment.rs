//! Arithmetic with moments that cannot overflow, and chance that is a function of a seed. Called by the other
//! parts of [`super`]; every length is in nanoseconds.

use jiff::Timestamp;

pub(super) const SECOND: i128 = 1_000_000_000;
pub(super) const DAY: i128 = 86_400 * SECOND;

/// That much later, or earlier when negative; at most the ends of what a [`Timestamp`] can hold.
pub(super) fn later(moment: Timestamp, nanos: i128) -> Timestamp {
    let (first, last) = (Timestamp::MIN.as_nanosecond(), Timestamp::MAX.as_nanosecond());
    let at = moment.as_nanosecond().saturating_add(nanos).clamp(first, last);
    // Inside the range by the clamp.
    Timestamp::from_nanosecond(at).unwrap_or(moment)
}

/// From one to the other; negative when the second is earlier.
pub(super) fn between(from: Timestamp, to: Timestamp) -> i128 {
    to.as_nanosecond() - from.as_nanosecond()
}

/// What chance is needed for. Each has its own, so that a late age does not mean a late retry.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Window,
    Age,
    Retry,
}

/// An evenly picked part of a length that is at most 2^94 ns: at least zero, less than all of it.
pub(super) fn draw(whole: i128, seed: u64, purpose: Purpose) -> i128 {
    let salt = match purpose {
        Purpose::Window => 0x57,
        Purpose::Age => 0xa9e,
        Purpose::Retry => 0x4e7,
    };
    // 32 bits are a resolution of 40 µs in two days, and the product stays within 127 bits.
    let part = i128::from(mixed(mixed(seed) ^ salt) >> 32);
    (whole * part) >> 32
}

/// SplitMix64's step: neighbouring seeds come out unrelated.
const fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
