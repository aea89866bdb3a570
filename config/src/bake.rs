//! How a switch is judged on live traffic: the limits, as the configuration and the admin API both write them.
//!
//! Whole numbers only, so that what is saved, compared and shown is the same value everywhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Span;

/// When a new version counts as worse than the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BakeLimits {
    /// How long it is judged. Default 60s.
    #[serde(rename = "for")]
    pub window: Span,
    /// The largest share of requests that may fail. Default 1%.
    pub max_error_rate: Share,
    /// How many times slower the slowest hundredth may be than before. Default 2.
    pub max_p99_ratio: Factor,
    /// How slow the slowest hundredth may be at most. Default: no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_p99: Option<Span>,
    /// How many requests a judgement needs. Default 100.
    pub min_requests: u32,
    /// What becomes of a version that too few requests reached. Default `keep`.
    #[serde(default)]
    pub on_inconclusive: OnInconclusive,
}

impl Default for BakeLimits {
    fn default() -> Self {
        Self {
            window: Span::seconds(60),
            max_error_rate: Share::percent(1),
            max_p99_ratio: Factor(2000),
            max_p99: None,
            min_requests: 100,
            on_inconclusive: OnInconclusive::Keep,
        }
    }
}

/// What becomes of a version that too few requests reached to judge it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnInconclusive {
    /// It stays live.
    #[default]
    Keep,
    /// Traffic goes back.
    Rollback,
}

/// A share of a whole in hundredths of a percent, at most 100 %. Written as `1%` or `0.5%`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(u16);

impl Share {
    /// A whole number of percent; more than 100 count as 100.
    #[must_use]
    pub const fn percent(percent: u16) -> Self {
        Self(if percent > 100 { 10_000 } else { percent * 100 })
    }

    /// The share in hundredths of a percent.
    #[must_use]
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// The share as a fraction of one.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// Whether a place among all places is within the share, counted from the first. Whatever is within a share is within
    /// every larger one.
    #[must_use]
    pub fn holds(self, place: u64) -> bool {
        u128::from(place) * 10_000 < u128::from(self.0) << 64
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}%", decimal(u32::from(self.0), 2)))
    }
}

/// A text that is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no share; write for example `1%` or `0.5%`, at most `100%`")]
pub struct InvalidShare(pub String);

impl FromStr for Share {
    type Err = InvalidShare;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('%').and_then(|number| scaled(number.trim_end(), 2));
        let share = number.filter(|n| *n <= 10_000).and_then(|n| u16::try_from(n).ok());
        share.map(Self).ok_or_else(|| InvalidShare(text.to_owned()))
    }
}

impl TryFrom<String> for Share {
    type Error = InvalidShare;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

/// How many times as much, in thousandths; at least 1. Written as `2` or `1.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Factor(u32);

impl Factor {
    /// The factor itself.
    #[must_use]
    pub fn times(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&decimal(self.0, 3))
    }
}

/// A text that is no factor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no factor; write for example `2` or `1.5`, from 1 to 1000")]
pub struct InvalidFactor(pub String);

impl FromStr for Factor {
    type Err = InvalidFactor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let factor = scaled(text, 3).filter(|n| (1000..=1_000_000).contains(n));
        factor.map(Self).ok_or_else(|| InvalidFactor(text.to_owned()))
    }
}

impl TryFrom<String> for Factor {
    type Error = InvalidFactor;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Factor> for String {
    fn from(factor: Factor) -> Self {
        factor.to_string()
    }
}

/// A decimal number times a power of ten; none when it has more places, or is none.
fn scaled(text: &str, places: usize) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let dotted = text.contains('.') && part.is_empty();
    if whole.is_empty() || dotted || part.len() > places || !digits(whole) || !digits(part) {
        return None;
    }
    format!("{whole}{part:0<places$}").parse().ok()
}

/// The number that [`scaled`] was made of.
fn decimal(number: u32, places: usize) -> String {
    let digits = format!("{number:0>width$}", width = places + 1);
    let (whole, part) = digits.split_at(digits.len() - places);
    let part = part.trim_end_matches('0');
    if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_factors_are_written_as_they_are_read() {
        for text in ["0%", "1%", "0.5%", "0.05%", "99.99%", "100%"] {
            assert_eq!(text.parse::<Share>().expect(text).to_string(), text);
        }
        for text in ["1", "1.5", "2", "10.125", "1000"] {
            assert_eq!(text.parse::<Factor>().expect(text).to_string(), text);
        }
        assert_eq!("2.0".parse::<Factor>(), Ok(Factor(2000)));
        assert!(("0.5%".parse::<Share>().expect("a share").fraction() - 0.005).abs() < 1e-12);
    }

    #[test]
    fn a_share_holds_its_part_of_all_places_to_the_last_one() {
        let share = |text: &str| text.parse::<Share>().expect("a share");
        for (text, place, held) in [
            ("0%", 0, false),
            ("0.01%", 0, true),
            ("50%", u64::MAX / 2, true),
            ("50%", u64::MAX / 2 + 1, false),
            ("100%", u64::MAX, true),
            ("99.99%", u64::MAX, false),
        ] {
            assert_eq!(share(text).holds(place), held, "{text} {place}");
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in ["", "1", "%", "101%", "-1%", "1.%", ".5%", "0.001%", "1,5%", "many%"] {
            assert_eq!(text.parse::<Share>(), Err(InvalidShare(text.to_owned())));
        }
        for text in ["", "0.9", "0", "-2", "2x", "1001", "1.0005", "1."] {
            assert_eq!(text.parse::<Factor>(), Err(InvalidFactor(text.to_owned())));
        }
    }
}
