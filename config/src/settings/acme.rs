//! The `acme` section: which certificate authority is asked, how it is answered, and for whom.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::Span;

/// The `acme` section. Without one, `tls: auto` is answered by a placeholder and the status says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeSettings {
    /// Where the authority writes to before a certificate expires. Default none.
    pub email: Option<String>,
    /// The authorities, tried in this order. Never empty. Default `letsencrypt`.
    pub directories: Vec<Directory>,
    /// How control over a name is proven. Default `auto`.
    pub challenge: ChallengeChoice,
    /// The external account, where the authority asks for one (RFC 8555 section 7.3.4).
    pub eab: Option<ExternalAccount>,
    /// Trusted roots in PEM for the authorities' own endpoints, instead of the system's. Default none.
    pub ca_file: Option<PathBuf>,
    /// Who sets records for dns-01. Default none: then neither dns-01 nor wildcards.
    pub dns: Option<DnsSettings>,
    /// Resolvers asked instead of the system's, for `certs check` and to find a zone's name servers. Default none.
    pub resolvers: Vec<SocketAddr>,
    /// The profile asked for, such as `shortlived`. Default: the authority's own.
    pub profile: Option<String>,
    /// The kind of key. Default `ecdsa`.
    pub key: KeyChoice,
    /// Which names share a certificate. Default `app`.
    pub group: Group,
    /// When a failed attempt is repeated.
    pub retry: Retry,
    /// Certificates at the first handshake, for applications with `tls: on_demand`.
    pub on_demand: Option<OnDemand>,
}

/// Where an ACME authority's directory is (RFC 8555 section 7.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Directory {
    /// Let's Encrypt.
    LetsEncrypt,
    /// Let's Encrypt's staging environment: higher limits, nobody trusts it.
    LetsEncryptStaging,
    /// ZeroSSL; asks for an external account.
    ZeroSsl,
    /// Google Trust Services; asks for an external account.
    Google,
    /// Any other, by its URL.
    Url(String),
}

impl Directory {
    /// The directory's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::LetsEncrypt => "https://acme-v02.api.letsencrypt.org/directory",
            Self::LetsEncryptStaging => "https://acme-staging-v02.api.letsencrypt.org/directory",
            Self::ZeroSsl => "https://acme.zerossl.com/v2/DV90",
            Self::Google => "https://dv.acme-v02.api.pki.goog/directory",
            Self::Url(url) => url,
        }
    }
}

impl fmt::Display for Directory {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LetsEncrypt => "letsencrypt",
            Self::LetsEncryptStaging => "letsencrypt-staging",
            Self::ZeroSsl => "zerossl",
            Self::Google => "google",
            Self::Url(url) => url,
        })
    }
}

/// How control over a name is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeChoice {
    /// tls-alpn-01, then http-01, then dns-01 where `dns` is set; dns-01 for wildcards.
    Auto,
    /// Always http-01 (RFC 8555 section 8.3).
    Http01,
    /// Always tls-alpn-01 (RFC 8737).
    TlsAlpn01,
    /// Always dns-01 (RFC 8555 section 8.4).
    Dns01,
}

/// An external account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The key identifier that the authority gave.
    pub kid: String,
    /// The file that holds the HMAC key in base64url, as the authority gave it.
    pub hmac_file: PathBuf,
}

/// Who sets the records of dns-01.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// The provider, or a program of the user's own.
    pub provider: DnsProvider,
    /// How long to wait until every authoritative server shows the record. Default 2m.
    pub propagation_timeout: Span,
    /// The record's time to live. Default 60s.
    pub ttl: Span,
}

/// How DNS records are set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsProvider {
    /// A provider by its name, with the options that it needs: files for secrets (`token_file`), plain values
    /// for the rest. The table in `providers` says which.
    Named {
        /// Such as `cloudflare` or `rfc2136`.
        name: String,
        /// By the key of the configuration, such as `token_file`.
        options: BTreeMap<String, String>,
    },
    /// A program that is called with `set` or `remove`, the record's name and its value behind its own arguments.
    Exec(Vec<String>),
}

/// The kind of key a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChoice {
    /// ECDSA with P-256.
    Ecdsa,
    /// RSA with 2048 bits.
    Rsa,
    /// A certificate of each; a client is shown the one it understands, ECDSA before RSA.
    Both,
}

/// Which names share a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// All of an application's.
    App,
    /// None: one certificate for each host.
    Host,
}

/// When a failed attempt is repeated: after `first`, then each time three times later, up to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// After the first failure. Default 1m.
    pub first: Span,
    /// The longest wait. Default 12h.
    pub max: Span,
}

/// Certificates at the first handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDemand {
    /// Asked with `?domain=NAME` before anything else; only a 2xx answer allows the name.
    pub ask: String,
    /// How many new certificates may be ordered within `window`. Default 20.
    pub limit: u32,
    /// See `limit`. Default 1h.
    pub window: Span,
    /// How long a refusal is remembered. Default 5m.
    pub refusal: Span,
}

/// HTTP Strict Transport Security (RFC 6797), sent over TLS with a real certificate only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hsts {
    /// Nothing is sent.
    Off,
    /// From five minutes to a year, in steps, as long as HTTPS goes on working.
    Ladder,
    /// Always this.
    Fixed {
        /// How long a browser is to insist on https.
        max_age: Span,
        /// Whether for all subdomains as well. Default false.
        include_subdomains: bool,
        /// Whether browsers may build it in. Default false.
        preload: bool,
    },
}

/// Limits on TLS handshakes, over all listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshakes {
    /// How long one may take. Default 10s.
    pub timeout: Span,
    /// How many may be under way at once; further ones wait for their turn within their timeout. Default 1024.
    pub limit: u32,
}

/// The lowest version of TLS that a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}
