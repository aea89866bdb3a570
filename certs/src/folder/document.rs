//! What is kept as JSON beside the records: accounts and orders in flight. Both hold secrets.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A private key in PEM (PKCS#8). It is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a key.
    #[must_use]
    pub fn new(pem: String) -> Self {
        Self(pem)
    }

    /// The key itself, for the one who signs with it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The ACME account at one authority (RFC 8555 section 7.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The directory's URL.
    pub directory: String,
    /// The account's key. It is saved before the authority is asked, so that no account is ever lost.
    pub key: Secret,
    /// The account's URL; none until the authority has answered.
    #[serde(default)]
    pub url: Option<String>,
    /// Where the authority writes to, an e-mail address.
    #[serde(default)]
    pub contact: Option<String>,
    /// The key identifier of the external account that it is bound to (RFC 8555 section 7.3.4).
    #[serde(default)]
    pub eab_kid: Option<String>,
}

/// An order in flight (RFC 8555 section 7.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The directory's URL of the authority.
    pub directory: String,
    /// The order's URL; none until the authority has answered.
    #[serde(default)]
    pub url: Option<String>,
    /// The names that were ordered.
    pub names: Vec<String>,
    /// The key of the certificate to be.
    pub key: Secret,
    /// When it was begun.
    pub began_at: Timestamp,
}
