//! Slots, generations and application names: the identifiers every decision is made of.
//!
//! There are two slots and a type that says so; nothing in the project looks a slot up by a string.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the two places an application's release can run in.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The slot named `blue`.
    Blue,
    /// The slot named `green`.
    Green,
}

impl Slot {
    /// Both slots, blue first.
    pub const ALL: [Self; 2] = [Self::Blue, Self::Green];

    /// The opposite slot: the standby of the live one is derived, never stored.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    /// The name users type: `blue` or `green`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A slot name that is neither `blue` nor `green`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no slot {0:?}; a slot is `blue` or `green`")]
pub struct UnknownSlot(pub String);

impl FromStr for Slot {
    type Err = UnknownSlot;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "blue" => Ok(Self::Blue),
            "green" => Ok(Self::Green),
            other => Err(UnknownSlot(other.to_owned())),
        }
    }
}

/// One value for each slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PerSlot<T> {
    /// The value of the blue slot.
    pub blue: T,
    /// The value of the green slot.
    pub green: T,
}

impl<T> PerSlot<T> {
    /// Builds both values from their slot.
    pub fn from_fn(mut make: impl FnMut(Slot) -> T) -> Self {
        Self { blue: make(Slot::Blue), green: make(Slot::Green) }
    }

    /// The value of `slot`.
    pub const fn get(&self, slot: Slot) -> &T {
        match slot {
            Slot::Blue => &self.blue,
            Slot::Green => &self.green,
        }
    }

    /// The value of `slot`, to change.
    pub const fn get_mut(&mut self, slot: Slot) -> &mut T {
        match slot {
            Slot::Blue => &mut self.blue,
            Slot::Green => &mut self.green,
        }
    }

    /// Both values with their slot, blue first.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        Slot::ALL.into_iter().map(|slot| (slot, self.get(slot)))
    }

    /// Both values turned into something else.
    pub fn map<U>(&self, mut f: impl FnMut(Slot, &T) -> U) -> PerSlot<U> {
        PerSlot::from_fn(|slot| f(slot, self.get(slot)))
    }
}

/// The number of a switch: every mutation of an application's routing makes the next one, and names
/// the one it expects. It never goes back, not even over a crash.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(transparent)]
pub struct Generation(u64);

impl Generation {
    /// The generation of an application that has never been switched.
    pub const FIRST: Self = Self(1);

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The bare number, for display and metrics.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Generation {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The name of an application: a lower-case DNS label (RFC 1123 section 2.1), so that it can stand in
/// a container name, a metric label and a URL path without escaping.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(String);

impl AppName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A text that is no application name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no application name: use 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends"
)]
pub struct InvalidAppName(pub String);

impl FromStr for AppName {
    type Err = InvalidAppName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let ends = bytes.first().is_some_and(|b| word(*b)) && bytes.last().is_some_and(|b| word(*b));
        if ends && bytes.len() <= 63 && bytes.iter().all(|b| word(*b) || *b == b'-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidAppName(text.to_owned()))
        }
    }
}

impl TryFrom<String> for AppName {
    type Error = InvalidAppName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AppName> for String {
    fn from(name: AppName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_of_the_other_is_the_slot_itself() {
        for slot in Slot::ALL {
            assert_ne!(slot.other(), slot);
            assert_eq!(slot.other().other(), slot);
            assert_eq!(slot.as_str().parse(), Ok(slot));
        }
    }

    #[test]
    fn an_unknown_slot_is_named_in_the_error() {
        assert_eq!(
            "gren".parse::<Slot>().unwrap_err().to_string(),
            "there is no slot \"gren\"; a slot is `blue` or `green`"
        );
    }

    #[test]
    fn application_names_are_dns_labels() {
        for good in ["a", "shop", "shop-2", "0x"] {
            assert_eq!(good.parse::<AppName>().expect(good).as_str(), good);
        }
        for bad in ["", "-a", "a-", "Shop", "a_b", "a.b", &"x".repeat(64)] {
            assert!(bad.parse::<AppName>().is_err(), "{bad:?} must be refused");
        }
    }
}
