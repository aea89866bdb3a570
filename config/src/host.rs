//! The two halves of a route: host patterns and path prefixes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address::is_dns_name;

/// Which hosts a route serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// One name or IP address, in lower case and without a port: `shop.example.com`.
    Exact(String),
    /// Every name exactly one label below: `*.example.com` holds `example.com` here
    /// (the reading of certificates, RFC 6125 section 6.4.3).
    Wildcard(String),
}

impl HostPattern {
    /// Whether a host (lower case, no port) is meant by this pattern.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Wildcard(parent) => {
                host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent)
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// A text that is no host pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no host; write a name without port or path, for example `shop.example.com` or `*.example.com`"
)]
pub struct InvalidHost(pub String);

impl FromStr for HostPattern {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        if let Some(parent) = lower.strip_prefix("*.") {
            return if is_dns_name(parent) {
                Ok(Self::Wildcard(parent.to_owned()))
            } else {
                Err(InvalidHost(text.to_owned()))
            };
        }
        if is_dns_name(&lower) || lower.parse::<std::net::IpAddr>().is_ok() {
            Ok(Self::Exact(lower))
        } else {
            Err(InvalidHost(text.to_owned()))
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = InvalidHost;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(host: HostPattern) -> Self {
        host.to_string()
    }
}

/// A path prefix of whole segments: `/api` means `/api` and `/api/…`, not `/apix`.
///
/// Kept without a trailing slash; the root is the empty text inside and `/` outside.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPrefix(String);

impl PathPrefix {
    /// The prefix without its trailing slash; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a request path lies below this prefix.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        path.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            || self.0.is_empty()
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if self.0.is_empty() { "/" } else { &self.0 })
    }
}

/// A text that is no path prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no path prefix; it begins with `/` and has no `?`, `#`, blank or empty segment, for example `/api`"
)]
pub struct InvalidPath(pub String);

impl FromStr for PathPrefix {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad_byte = |b: u8| b.is_ascii_control() || matches!(b, b' ' | b'?' | b'#');
        if !text.starts_with('/') || text.contains("//") || text.bytes().any(bad_byte) {
            return Err(InvalidPath(text.to_owned()));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl TryFrom<String> for PathPrefix {
    type Error = InvalidPath;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PathPrefix> for String {
    fn from(path: PathPrefix) -> Self {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_means_one_label() {
        let pattern: HostPattern = "*.Example.com".parse().expect("a pattern");
        assert!(pattern.matches("shop.example.com"));
        for other in ["example.com", "a.b.example.com", ".example.com", "shop.example.org"] {
            assert!(!pattern.matches(other), "{other}");
        }
    }

    #[test]
    fn hosts_have_no_port_and_no_path() {
        for bad in ["", "*", "*.", "shop:80", "https://shop", "shop/x", "a..b", "*shop.com"] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad:?}");
        }
        assert!("::1".parse::<HostPattern>().is_ok());
    }

    #[test]
    fn a_prefix_covers_whole_segments() {
        let api: PathPrefix = "/api/".parse().expect("a prefix");
        assert!(api.matches("/api") && api.matches("/api/v1"));
        assert!(!api.matches("/apix") && !api.matches("/"));
        let root: PathPrefix = "/".parse().expect("the root");
        assert!(root.matches("/") && root.matches("/anything") && root.matches("*"));
    }
}
