//! The DNS providers that can set records for dns-01, and the options that each needs.
//!
//! The calls themselves are the library's that `switcher-certs` uses; this table only lets the parser say at once
//! what is missing. Read by the parser and by the certs crate.

/// A provider and its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provider {
    /// As it is written in `acme.dns.provider`.
    pub name: &'static str,
    /// Options without which it cannot work.
    pub needs: &'static [&'static str],
    /// Options that it knows beside those.
    pub may: &'static [&'static str],
}

/// Every option of every provider. Those that end in `_file` name a file that holds a secret.
pub const OPTIONS: &[&str] =
    &["token_file", "server", "key_name", "key_file", "algorithm", "key_id", "secret_file", "region", "zone"];

/// Every provider, by name.
pub const PROVIDERS: &[Provider] = &[
    Provider { name: "cloudflare", needs: &["token_file"], may: &[] },
    Provider { name: "rfc2136", needs: &["server"], may: &["key_name", "key_file", "algorithm"] },
    Provider { name: "route53", needs: &["key_id", "secret_file"], may: &["region", "zone"] },
];

/// The provider of that name.
#[must_use]
pub fn provider(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}
