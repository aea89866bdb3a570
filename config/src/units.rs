//! Units as people write them: `1m30s`, `10MiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time written as `250ms`, `30s`, `1m30s`, `2h`, `7d`, or a bare `0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

impl Span {
    /// A span of whole seconds.
    #[must_use]
    pub const fn seconds(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// A span of whole milliseconds.
    #[must_use]
    pub const fn millis(n: u64) -> Self {
        Self(Duration::from_millis(n))
    }
}

const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.pad("0s");
        }
        let mut text = String::new();
        for (unit, millis) in TIME_UNITS {
            if left >= millis {
                text.push_str(&format!("{}{unit}", left / millis));
                left %= millis;
            }
        }
        f.pad(&text)
    }
}

/// A text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no length of time; write for example `500ms`, `30s`, `1m30s` or `2h`")]
pub struct InvalidSpan(pub String);

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSpan(text.to_owned());
        if text == "0" {
            return Ok(Self::default());
        }
        let mut rest = text;
        let mut total: u64 = 0;
        let mut last_unit = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
            let number: u64 = rest[..digits].parse().map_err(|_| invalid())?;
            let after = &rest[digits..];
            let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let (_, millis) = TIME_UNITS
                .into_iter()
                .find(|(unit, _)| *unit == &after[..end])
                .filter(|(_, millis)| *millis < last_unit)
                .ok_or_else(invalid)?;
            last_unit = millis;
            total = number.checked_mul(millis).and_then(|n| total.checked_add(n)).ok_or_else(invalid)?;
            rest = &after[end..];
        }
        if text.is_empty() { Err(invalid()) } else { Ok(Self(Duration::from_millis(total))) }
    }
}

impl TryFrom<String> for Span {
    type Error = InvalidSpan;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

/// A number of bytes written as `512`, `64KiB`, `10MiB`, `1GiB`, or with decimal units (`10MB`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub u64);

const SIZE_UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = SIZE_UNITS[..3]
            .iter()
            .copied()
            .find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size))
            .unwrap_or(("B", 1));
        f.pad(&format!("{}{unit}", self.0 / size))
    }
}

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no size; write for example `512B`, `64KiB` or `10MiB`")]
pub struct InvalidBytes(pub String);

impl FromStr for Bytes {
    type Err = InvalidBytes;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidBytes(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| invalid())?;
        let unit = &text[digits..];
        let size = if unit.is_empty() {
            1
        } else {
            SIZE_UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?.1
        };
        number.checked_mul(size).map(Self).ok_or_else(invalid)
    }
}

impl TryFrom<String> for Bytes {
    type Error = InvalidBytes;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        bytes.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("1d12h", 129_600_000),
        ] {
            assert_eq!(text.parse(), Ok(Span::millis(millis)), "{text}");
        }
        for bad in ["", "30", "s", "30 s", "1.5s", "-1s", "30s1m", "1s1s", "99999999999999999999s", "1y"] {
            assert_eq!(bad.parse::<Span>(), Err(InvalidSpan(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64KiB", 65_536),
            ("10MiB", 10 << 20),
            ("1GiB", 1 << 30),
            ("1MB", 1_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for bad in ["", "MiB", "1.5MiB", "1 MiB", "1mib", "99999999999GiB"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_span_written_and_read_is_the_same(millis in 0u64..10_000_000_000) {
            let span = Span::millis(millis);
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn a_size_written_and_read_is_the_same(bytes in any::<u64>()) {
            prop_assert_eq!(Bytes(bytes).to_string().parse(), Ok(Bytes(bytes)));
        }
    }
}
