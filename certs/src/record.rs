//! What is remembered of a lineage beside its certificate: how attempts went and when the authority wants a
//! renewal. Kept on disk, so that a restart neither forgets a failure nor asks again too soon.
//!
//! Written by the manager through the folder; read by [`crate::renewal`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::lineage::{Issuer, KeyType, Lineage};

/// Everything that is remembered of a lineage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The names, in order.
    pub names: Vec<String>,
    /// The kind of key.
    pub key: KeyType,
    /// Who issues it.
    pub issuer: Issuer,
    /// Whether it was obtained at a first handshake, so no configuration names it.
    #[serde(default)]
    pub on_demand: bool,
    /// The directory's URL of the authority that issued what is served.
    #[serde(default)]
    pub ca: Option<String>,
    /// The certificate that was revoked, as RFC 9773 section 4.1 writes it: as long as it is the one that is
    /// served, another one is due at once.
    #[serde(default)]
    pub revoked: Option<String>,
    /// The kind of challenge that worked last.
    #[serde(default)]
    pub challenge: Option<ChallengeKind>,
    /// When the first certificate was issued.
    #[serde(default)]
    pub first_issued_at: Option<Timestamp>,
    /// When the one that is served was issued.
    #[serde(default)]
    pub issued_at: Option<Timestamp>,
    /// What the authority said last about renewing.
    #[serde(default)]
    pub ari: Option<Ari>,
    /// How attempts went since the last success.
    #[serde(default)]
    pub attempts: Attempts,
}

impl Record {
    /// The record of a lineage of which nothing has happened yet.
    #[must_use]
    pub fn new(lineage: &Lineage) -> Self {
        Self {
            names: lineage.names().to_vec(),
            key: lineage.key(),
            issuer: lineage.issuer(),
            on_demand: false,
            ca: None,
            revoked: None,
            challenge: None,
            first_issued_at: None,
            issued_at: None,
            ari: None,
            attempts: Attempts::default(),
        }
    }

    /// The lineage it is about; none when the file was made without names.
    #[must_use]
    pub fn lineage(&self) -> Option<Lineage> {
        Lineage::new(self.names.iter().cloned(), self.key, self.issuer)
    }
}

/// A way to prove control over a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ChallengeKind {
    /// RFC 8555 section 8.3.
    #[serde(rename = "http-01")]
    Http01,
    /// RFC 8737.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// RFC 8555 section 8.4.
    #[serde(rename = "dns-01")]
    Dns01,
}

impl std::fmt::Display for ChallengeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        })
    }
}

/// The authority's wish when to renew one certificate (ACME Renewal Information, RFC 9773).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ari {
    /// The certificate it is about, as RFC 9773 section 4.1 writes it; of another one it means nothing.
    pub certificate: String,
    /// The window's begin.
    pub start: Timestamp,
    /// The window's end.
    pub end: Timestamp,
    /// A page of the authority's that explains an unusual window.
    #[serde(default)]
    pub explanation: Option<String>,
    /// When to ask again.
    pub ask_again_at: Timestamp,
}

/// How attempts went since the last success.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// How many failed.
    #[serde(default)]
    pub failures: u32,
    /// When the last one failed.
    #[serde(default)]
    pub failed_at: Option<Timestamp>,
    /// Why.
    #[serde(default)]
    pub problem: Option<String>,
    /// Until when the authority wants to be left alone (`Retry-After`, or a limit of its own that was reached).
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// Attempts that were begun and of which no end is known: the process was killed in between. Back to 0
    /// with the next end.
    #[serde(default)]
    pub interrupted: u32,
}
