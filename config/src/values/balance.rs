//! The values of balancing: a slot's upstream with its weight, and how the next one is chosen.

use std::str::FromStr;

use serde_json::{Value, json};

use super::{Header, leaf, number_schema, text_schema, whole};
use crate::node::{Node, Value as Written};
use crate::reader::Reader;
use crate::section::{Setting, Shown, record};
use crate::settings::{Balance, HashBy};
use crate::weight::MOST;
use crate::words::choice;
use crate::{UpstreamAddress, Weight, WeightedAddress};

impl FromStr for Weight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        whole(text, 0, u32::from(MOST)).and_then(|number: u16| Self::try_from(number))
    }
}
leaf!(Weight, "3", |v| Shown::Bare(v.get().into()), number_schema(0, u32::from(MOST)));

record! {
    /// An upstream with its weight.
    WeightedKeys, "write for example `{address: 127.0.0.1:8001, weight: 3}`" {
        /// ip:port or name:port, with h2c:// or https:// in front or without.
        address: UpstreamAddress;
        /// Its share of the requests beside the others; `0` means none, and it is probed all the same.
        weight: Weight = Weight::ONE;
    }
}

impl Setting for WeightedAddress {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if !matches!(node.value, Written::Mapping(_)) {
            return UpstreamAddress::read(node, reader).map(Into::into);
        }
        let WeightedKeys { address, weight } = WeightedKeys::read(node, reader)?;
        Some(Self { address, weight: Some(weight) })
    }

    fn show(&self) -> Shown {
        match (&self.address, self.weight) {
            (address, None) => address.show(),
            (address, Some(weight)) => WeightedKeys { address: address.clone(), weight }.show(),
        }
    }

    fn schema() -> Value {
        json!({"anyOf": [UpstreamAddress::schema(), WeightedKeys::schema()]})
    }
}

/// The forms of `balance` that are one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BalanceWord {
    RoundRobin,
    LeastInFlight,
}
choice!(BalanceWord { "round_robin" => BalanceWord::RoundRobin, "least_in_flight" => BalanceWord::LeastInFlight }
    or_else "or write `{hash: client}` or `{sticky: NAME}`");

impl FromStr for HashBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is nothing to hash by; write `client`, `path`, `header X-Tenant` or `cookie session`"
            )
        };
        match text.split_once(' ') {
            None if text == "client" => Ok(Self::Client),
            None if text == "path" => Ok(Self::Path),
            Some(("header", name)) => {
                name.trim().parse().map(|Header(name)| Self::Header(name)).map_err(|_| wrong())
            }
            Some(("cookie", name)) => {
                name.trim().parse().map(|Header(name)| Self::Cookie(name)).map_err(|_| wrong())
            }
            None | Some(_) => Err(wrong()),
        }
    }
}
leaf!(
    HashBy,
    "client",
    |v| Shown::Text(match v {
        HashBy::Client => "client".to_owned(),
        HashBy::Path => "path".to_owned(),
        HashBy::Header(name) => format!("header {name}"),
        HashBy::Cookie(name) => format!("cookie {name}"),
    }),
    text_schema("header X-Tenant")
);

/// The name of a cookie (RFC 6265 section 4.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CookieName(pub(crate) String);

impl FromStr for CookieName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no name of a cookie; use letters, digits, `-` and `_`, for example `shop_at`"
            )
        };
        text.parse().map(|Header(name)| Self(name)).map_err(|_| wrong())
    }
}
leaf!(CookieName, "shop_at", |v| Shown::Text(v.0.clone()), text_schema("shop_at"));

record! {
    /// The same upstream for the same value.
    HashKeys, "write for example `balance: {hash: client}`" {
        /// `client` (its address), `path`, `header NAME` or `cookie NAME`. A request without it takes turns.
        hash: HashBy;
    }
}

record! {
    /// The same upstream for the same visitor, by a cookie of the proxy's.
    StickyKeys, "write for example `balance: {sticky: shop_at}`" {
        /// The name of the cookie.
        sticky: CookieName;
    }
}

impl Setting for Balance {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if !matches!(node.value, Written::Mapping(_)) {
            return Some(match BalanceWord::read(node, reader)? {
                BalanceWord::RoundRobin => Self::RoundRobin,
                BalanceWord::LeastInFlight => Self::LeastInFlight,
            });
        }
        reader.section(node, &["hash", "sticky"])?;
        match (node.get("hash"), node.get("sticky")) {
            (Some(_), None) => HashKeys::fields(node, reader).map(|keys| Self::Hash(keys.hash)),
            (None, Some(_)) => StickyKeys::fields(node, reader).map(|keys| Self::Sticky(keys.sticky.0)),
            (Some(_), Some(_)) | (None, None) => {
                let message = "an application is balanced by `hash` or by `sticky`";
                reader.wrong(node, message, "write one of them, for example `balance: {sticky: shop_at}`");
                None
            }
        }
    }

    fn show(&self) -> Shown {
        match self {
            Self::RoundRobin => BalanceWord::RoundRobin.show(),
            Self::LeastInFlight => BalanceWord::LeastInFlight.show(),
            Self::Hash(by) => HashKeys { hash: by.clone() }.show(),
            Self::Sticky(name) => StickyKeys { sticky: CookieName(name.clone()) }.show(),
        }
    }

    fn schema() -> Value {
        json!({"anyOf": [BalanceWord::schema(), HashKeys::schema(), StickyKeys::schema()]})
    }
}
