//! Who of an application's clients is sent to the other slot first: the rules, as the command line and the admin API both
//! write them.
//!
//! Invariant: a rule names a header or a cookie that can stand in a request, so that it can be met.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Share;

/// Who goes to the canary side: a share of all clients, and whoever is always there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CanaryRules {
    /// The share of the clients.
    pub share: Share,
    /// What clients are told apart by.
    #[serde(default)]
    pub by: CanaryKey,
    /// Requests with one of these headers are always there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<NamedValue>,
    /// Requests with one of these cookies are always there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<NamedValue>,
    /// Clients of these networks are always there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub clients: Vec<IpNet>,
}

impl CanaryRules {
    /// Whether nobody could be meant.
    #[must_use]
    pub fn reach_nobody(&self) -> bool {
        let always = self.headers.len() + self.cookies.len() + self.clients.len();
        self.share == Share::default() && always == 0
    }
}

/// What becomes of a new version when too few requests came to judge a step of its canary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnjudged {
    /// Its clients are taken back.
    #[default]
    Abort,
    /// The next step follows, and after the last one the switch.
    GoOn,
}

/// The most steps of a canary.
pub const MOST_STEPS: usize = 32;

/// Shares that cannot follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongSteps {
    /// There is none.
    #[error("the steps of a canary are at least one share")]
    None,
    /// There are too many.
    #[error("a canary has at most {MOST_STEPS} steps")]
    TooMany,
    /// One is not larger than the one before.
    #[error("each step of a canary is a larger share than the one before")]
    NotLarger,
}

/// Shares that follow each other, each larger than the one before.
///
/// # Errors
/// When they do not.
pub fn steps(shares: Vec<Share>) -> Result<Vec<Share>, WrongSteps> {
    match shares.first() {
        None => Err(WrongSteps::None),
        Some(_) if shares.len() > MOST_STEPS => Err(WrongSteps::TooMany),
        Some(_) if shares.windows(2).any(|pair| pair[0] >= pair[1]) => Err(WrongSteps::NotLarger),
        Some(_) => Ok(shares),
    }
}

/// What clients are told apart by: `client` (the address; of IPv6 its /64), `header NAME` or `cookie NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CanaryKey {
    /// The address.
    #[default]
    Client,
    /// The value of a header. Requests without it are never picked by the share.
    Header(String),
    /// The value of a cookie. Requests without it are never picked by the share.
    Cookie(String),
}

/// Whether a text can name a header or a cookie (RFC 9110 section 5.6.2).
fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(token)
}

/// The longest name or value, in bytes.
const LONGEST: usize = 256;

impl fmt::Display for CanaryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.pad("client"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
        }
    }
}

/// A text that is nothing to tell clients apart by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is nothing to tell clients apart by; write `client`, `header X-User` or `cookie session`")]
pub struct InvalidCanaryKey(pub String);

impl FromStr for CanaryKey {
    type Err = InvalidCanaryKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = text.split_once(' ').map(|(what, name)| (what, name.trim()));
        match named {
            None if text == "client" => Ok(Self::Client),
            Some(("header", name)) if is_token(name) => Ok(Self::Header(name.to_owned())),
            Some(("cookie", name)) if is_token(name) => Ok(Self::Cookie(name.to_owned())),
            None | Some(_) => Err(InvalidCanaryKey(text.to_owned())),
        }
    }
}

impl TryFrom<String> for CanaryKey {
    type Error = InvalidCanaryKey;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CanaryKey> for String {
    fn from(key: CanaryKey) -> Self {
        key.to_string()
    }
}

/// A header or cookie with the value that is looked for: `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamedValue {
    name: String,
    value: String,
}

impl NamedValue {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for NamedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// A text that is no name with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no name with a value; write for example `X-Beta=1`, in printable ASCII characters without `;`"
)]
pub struct InvalidNamedValue(pub String);

impl FromStr for NamedValue {
    type Err = InvalidNamedValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let printable = |value: &str| {
            !value.is_empty()
                && value.len() <= LONGEST
                && value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';')
        };
        text.split_once('=')
            .filter(|(name, value)| is_token(name) && printable(value))
            .map(|(name, value)| Self { name: name.to_owned(), value: value.to_owned() })
            .ok_or_else(|| InvalidNamedValue(text.to_owned()))
    }
}

impl TryFrom<String> for NamedValue {
    type Error = InvalidNamedValue;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NamedValue> for String {
    fn from(named: NamedValue) -> Self {
        named.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_named_values_are_written_as_they_are_read() {
        for text in ["client", "header X-User", "cookie session"] {
            assert_eq!(text.parse::<CanaryKey>().expect(text).to_string(), text);
        }
        for text in ["X-Beta=1", "beta=a=b", "k=\"quoted\""] {
            assert_eq!(text.parse::<NamedValue>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_no_request_can_have_is_refused() {
        for text in ["", "path", "header", "header ", "header two words", "cookie a;b", "Client"] {
            assert_eq!(text.parse::<CanaryKey>(), Err(InvalidCanaryKey(text.to_owned())));
        }
        for text in ["", "X-Beta", "=1", "X-Beta=", "a b=1", "a=b c", "a=b;c", "a=\u{e9}", "a=\r"] {
            assert_eq!(text.parse::<NamedValue>(), Err(InvalidNamedValue(text.to_owned())));
        }
        assert!(format!("a={}", "x".repeat(257)).parse::<NamedValue>().is_err());
    }

    #[test]
    fn steps_are_shares_that_grow() {
        let of = |shares: &[u16]| steps(shares.iter().map(|share| Share::percent(*share)).collect());
        assert!(of(&[5, 25, 100]).is_ok() && of(&[0]).is_ok());
        for (shares, wrong) in [
            (&[][..], WrongSteps::None),
            (&[5, 5][..], WrongSteps::NotLarger),
            (&[25, 5][..], WrongSteps::NotLarger),
            (&[1; 33][..], WrongSteps::TooMany),
        ] {
            assert_eq!(of(shares), Err(wrong), "{shares:?}");
        }
    }

    #[test]
    fn no_share_and_no_rule_reach_nobody() {
        let nobody = CanaryRules::default();
        assert!(nobody.reach_nobody());
        assert!(!CanaryRules { share: Share::percent(1), ..nobody.clone() }.reach_nobody());
        let clients = vec!["10.0.0.0/8".parse().expect("a network")];
        assert!(!CanaryRules { clients, ..nobody }.reach_nobody());
    }
}
