//! An upstream of a slot with its weight, as the configuration, the admin API and the routing state write it:
//! an address alone, or `{address, weight}`.
//!
//! Invariant: an address without a weight stays one, so that what was written before weights reads and writes the same.

use std::fmt;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::UpstreamAddress;
use crate::address::InvalidUpstream;

/// The largest weight.
pub(crate) const MOST: u16 = 100;

/// How many requests an upstream gets beside the others of its slot: 0 to 100; 0 means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "u16", into = "u16")]
#[schema(value_type = u16)]
pub struct Weight(u8);

impl Weight {
    /// The weight of an upstream that was given none.
    pub const ONE: Self = Self(1);

    pub(crate) const fn one() -> Self {
        Self::ONE
    }

    pub(crate) fn is_one(&self) -> bool {
        *self == Self::ONE
    }

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u16> for Weight {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, String> {
        let small = u8::try_from(number).ok().filter(|_| number <= MOST);
        small.map(Self).ok_or_else(|| format!("{number} is no weight; it is a whole number from 0 to {MOST}"))
    }
}

impl From<Weight> for u16 {
    fn from(weight: Weight) -> Self {
        weight.0.into()
    }
}

/// An upstream of a slot: its address, and its weight where one was given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(into = "UpstreamForm")]
pub struct WeightedAddress {
    /// Where it is.
    pub address: UpstreamAddress,
    /// Its weight. Without one: that of the configuration for the same address in the slot, else 1.
    pub weight: Option<Weight>,
}

/// The form in JSON of an upstream with a weight.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Weighted {
    /// The address.
    address: UpstreamAddress,
    /// Its weight, 0 to 100.
    weight: Weight,
}

/// Both forms, for the OpenAPI document.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum UpstreamForm {
    /// The address alone.
    Address(UpstreamAddress),
    /// The address with a weight.
    Weighted(Weighted),
}

impl From<WeightedAddress> for UpstreamForm {
    fn from(WeightedAddress { address, weight }: WeightedAddress) -> Self {
        match weight {
            None => Self::Address(address),
            Some(weight) => Self::Weighted(Weighted { address, weight }),
        }
    }
}

/// Written by hand, so that what is wrong with an address is said and not that neither form fits.
impl<'de> Deserialize<'de> for WeightedAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Forms)
    }
}

struct Forms;

impl<'de> Visitor<'de> for Forms {
    type Value = WeightedAddress;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an upstream address, or an address with a weight")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<WeightedAddress, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WeightedAddress, A::Error> {
        let Weighted { address, weight } = Weighted::deserialize(MapAccessDeserializer::new(map))?;
        Ok(WeightedAddress { address, weight: Some(weight) })
    }
}

impl From<UpstreamAddress> for WeightedAddress {
    fn from(address: UpstreamAddress) -> Self {
        Self { address, weight: None }
    }
}

impl FromStr for WeightedAddress {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, InvalidUpstream> {
        text.parse::<UpstreamAddress>().map(Into::into)
    }
}

impl fmt::Display for WeightedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_alone_reads_and_writes_as_it_did_before_weights() {
        for text in [r#""127.0.0.1:8001""#, r#"{"address":"127.0.0.1:8001","weight":3}"#] {
            let read: WeightedAddress = serde_json::from_str(text).expect(text);
            assert_eq!(serde_json::to_string(&read).expect("json"), text);
        }
        for bad in [r#""nowhere""#, r#"{"address":"127.0.0.1:8001","weight":101}"#, r#"{"weight":1}"#] {
            assert!(serde_json::from_str::<WeightedAddress>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_upstream_is_said() {
        for (text, why) in [
            (r#""nowhere""#, "is no upstream address: the port is missing"),
            (r#"{"address":"nowhere","weight":1}"#, "is no upstream address: the port is missing"),
            (r#"{"address":"127.0.0.1:1","weight":101}"#, "101 is no weight"),
            (r#"{"address":"127.0.0.1:1","wait":1}"#, "unknown field `wait`"),
            ("7", "an upstream address, or an address with a weight"),
        ] {
            let error = serde_json::from_str::<WeightedAddress>(text).expect_err(text).to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
