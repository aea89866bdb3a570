//! The keys of the `acme` section.

use std::path::PathBuf;

use crate::Span;
use crate::section::{record, section};
use crate::settings::{ChallengeChoice, Directory, DnsSettings, Group, KeyChoice};
use crate::values::{Email, Limit, OneOrMore, Positive, Resolver, SecretFile, Text, WebAddress};

section! {
    /// Certificates for applications with `tls: auto` or `tls: on_demand`, by ACME (RFC 8555).
    AcmeKeys {
        /// Where the authority writes to.
        email: Option<Email> = None;
        /// The certificate authorities, tried in this order: `letsencrypt`, `letsencrypt-staging`, `zerossl`, `google` or https:// URLs.
        directory: OneOrMore<Directory> = OneOrMore(vec![Directory::LetsEncrypt]);
        /// How control over a name is proven; `auto` is tls-alpn-01, then http-01, and dns-01 for wildcards.
        challenge: ChallengeChoice = ChallengeChoice::Auto;
        /// The external account, where the authority asks for one.
        eab: Option<EabKeys> = None;
        /// Trusted roots in PEM for the authority's own endpoint, instead of the system's.
        ca_file: Option<PathBuf> = None;
        /// Who sets records for the challenge dns-01, which wildcards need.
        dns: Option<DnsSettings> = None;
        /// DNS resolvers to ask instead of the system's, as IP addresses with a port or without.
        resolvers: Vec<Resolver> = Vec::new();
        /// The profile to ask for, such as `shortlived`. Default: the authority's own.
        profile: Option<Text> = None;
        /// The kind of key; `both` also serves clients that know no ECDSA.
        key: KeyChoice = KeyChoice::Ecdsa;
        /// Which names share a certificate: an application's, or none.
        group: Group = Group::App;
        /// When a failed attempt is repeated: each time three times later.
        retry: RetryKeys = RetryKeys::default();
        /// Certificates at the first handshake, for applications with `tls: on_demand`.
        on_demand: Option<OnDemandKeys> = None;
    }
}

record! {
    /// An external account, as the authority gave it.
    EabKeys, "write `eab: {kid: ID, hmac_file: FILE}`, as the authority gave them" {
        /// The key identifier.
        kid: Text;
        /// The file that holds the HMAC key in base64url.
        hmac_file: SecretFile;
    }
}

section! {
    /// When a failed attempt is repeated.
    RetryKeys {
        /// After the first failure.
        first: Positive = Positive(Span::seconds(60));
        /// The longest wait.
        max: Positive = Positive(Span::seconds(43_200));
    }
}

record! {
    /// Certificates at the first handshake.
    OnDemandKeys, "write for example `on_demand: {ask: \"http://127.0.0.1:8000/allowed\"}`; without asking, anybody could order certificates in your name" {
        /// Asked with `?domain=NAME` before anything else; only a 2xx answer allows the name.
        ask: WebAddress;
        /// How many new certificates may be ordered within `window`.
        limit: Limit = Limit(20);
        /// See `limit`.
        window: Positive = Positive(Span::seconds(3600));
        /// How long a refusal is remembered; `0` means not at all.
        refusal: Span = Span::seconds(300);
    }
}
