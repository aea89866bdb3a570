//! Which certificate is shown to whom.
//!
//! A [`Table`] never changes; the [`Resolver`] holds the one in force and the store swaps it whole. A handshake
//! takes no lock and allocates nothing: one load, a name lowered on the stack, at most two hash look-ups,
//! whether there is one name or ten thousand. Read by rustls in every handshake, and by the proxy, which asks
//! [`Resolver::covers`] before it answers 421.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, SignatureAlgorithm, SignatureScheme};

use crate::challenges::{ACME_TLS_ALPN, Challenges};
use crate::lineage::is_address;
use crate::pair::Pair;

/// The longest name DNS knows, in bytes of text.
const LONGEST_NAME: usize = 253;

/// Which certificate answers for which name.
#[derive(Debug, Default)]
pub struct Table {
    exact: HashMap<Box<str>, Ranked>,
    /// By the parent: `example.com` stands for `*.example.com`.
    wildcard: HashMap<Box<str>, Ranked>,
    /// Answers every name that nobody else answers.
    default: Option<Ranked>,
    /// Answers clients that dial an IP address and so send no name, when a certificate is for one.
    address: Option<Ranked>,
    /// Answers them otherwise, when there is no `default`.
    first: Option<Ranked>,
}

/// What is shown for a name: one certificate, or one for each kind of client.
#[derive(Debug, Clone)]
pub struct Served {
    /// Shown to every client that understands its key.
    pub pair: Arc<Pair>,
    /// Shown to the others.
    pub other: Option<Arc<Pair>>,
}

impl From<&Arc<Pair>> for Served {
    fn from(pair: &Arc<Pair>) -> Self {
        Self { pair: Arc::clone(pair), other: None }
    }
}

/// How well a certificate serves a name: where several apps share a host, the best one answers for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A self-signed one.
    Placeholder,
    /// One that is valid for the name and was asked for together with others, until its own is there.
    Borrowed,
    /// One that was asked for.
    Real,
}

/// What is known of a certificate before a handshake shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Whether it is a placeholder.
    pub rank: Rank,
    /// Whether it answers for the name itself, and not for want of a better one.
    pub named: bool,
    /// When it expires.
    pub not_after: Timestamp,
}

#[derive(Debug)]
struct Ranked {
    rank: Rank,
    served: Served,
}

impl Table {
    /// Lets a certificate answer for names, wildcards as `*.example.com`; for no names it becomes the
    /// default. Of two for the same name the higher rank answers, then the earlier one.
    pub fn insert(&mut self, names: &[String], rank: Rank, served: &Served) {
        let ranked = || Ranked { rank, served: served.clone() };
        self.first.get_or_insert_with(ranked);
        let better = |now: &Option<Ranked>| now.as_ref().is_none_or(|now| now.rank < rank);
        if names.is_empty() && better(&self.default) {
            self.default = Some(ranked());
        }
        if names.iter().any(|name| is_address(name)) && better(&self.address) {
            self.address = Some(ranked());
        }
        for name in names {
            let name = name.to_ascii_lowercase();
            let (map, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcard, parent),
                None => (&mut self.exact, name.as_str()),
            };
            if map.get(name).is_none_or(|now| now.rank < rank) {
                map.insert(name.into(), ranked());
            }
        }
    }

    /// The certificate for a name as the client sent it: exact, then wildcard, then the default. A name that
    /// nobody has is refused; a client that sent none, as those by IP address do, gets one to read.
    fn find(&self, name: Option<&str>) -> Option<&Served> {
        self.find_ranked(name).map(|(ranked, _)| &ranked.served)
    }

    /// The same with its rank, and whether it answers for the name itself.
    fn find_ranked(&self, name: Option<&str>) -> Option<(&Ranked, bool)> {
        let by_default = |ranked| (ranked, false);
        let default = self.default.as_ref();
        let Some(name) = name else {
            return self.address.as_ref().or(default).or(self.first.as_ref()).map(by_default);
        };
        let mut buffer = [0; LONGEST_NAME];
        let named = lower(name, &mut buffer).and_then(|name| self.find_named(name));
        named.map(|ranked| (ranked, true)).or(default.map(by_default))
    }

    fn find_named(&self, name: &str) -> Option<&Ranked> {
        self.exact.get(name).or_else(|| self.wildcard.get(name.split_once('.')?.1))
    }
}

/// Lowers a name into the buffer, without the dot of the root; `None` when it is longer than a name can be.
fn lower<'a>(name: &str, buffer: &'a mut [u8; LONGEST_NAME]) -> Option<&'a str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let target = buffer.get_mut(..name.len())?;
    target.copy_from_slice(name.as_bytes());
    target.make_ascii_lowercase();
    std::str::from_utf8(target).ok()
}

/// The table in force, and the answers to authorities that look.
#[derive(Default)]
pub struct Resolver {
    table: ArcSwap<Table>,
    challenges: Arc<Challenges>,
}

impl Resolver {
    /// A resolver that answers challenges too, from those.
    #[must_use]
    pub fn new(challenges: Arc<Challenges>) -> Self {
        Self { table: ArcSwap::default(), challenges }
    }

    /// Puts another table in force. Handshakes under way keep the certificate they have.
    pub fn swap(&self, table: Table) {
        self.table.store(Arc::new(table));
    }

    /// What a client that asks for this name is shown; none when it is refused.
    #[must_use]
    pub fn shown(&self, server_name: Option<&str>) -> Option<Shown> {
        let table = self.table.load();
        let (ranked, named) = table.find_ranked(server_name)?;
        Some(Shown { rank: ranked.rank, named, not_after: ranked.served.pair.not_after() })
    }

    /// Whether a client that asks for this name is shown a certificate.
    #[must_use]
    pub fn knows(&self, server_name: Option<&str>) -> bool {
        self.table.load().find(server_name).is_some()
    }

    /// The certificate a client that asks for this name is shown, whatever keys it understands. None when
    /// nobody has that name.
    #[must_use]
    pub fn find(&self, server_name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        self.table.load().find(server_name).map(|served| Arc::clone(served.pair.certified_key()))
    }

    /// Whether a request for `host` (without a port) belongs on a connection that asked for `server_name`:
    /// if not, the proxy answers 421 and the client tries again on a connection of its own.
    ///
    /// It does when the host is the name itself, when the certificate shown for that name is valid for the
    /// host (browsers then share a connection), and when no name was sent, as by clients that dial an IP
    /// address: a new connection would bring them the same certificate.
    #[must_use]
    pub fn covers(&self, server_name: Option<&str>, host: &str) -> bool {
        let Some(name) = server_name else { return true };
        let mut buffer = [0; LONGEST_NAME];
        let Some(host) = lower(host, &mut buffer) else { return false };
        if name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case(host) {
            return true;
        }
        self.table.load().find(server_name).is_some_and(|served| served.pair.covers(host))
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if is_challenge(&hello) {
            return self.challenges.tls_alpn(hello.server_name()?);
        }
        let table = self.table.load();
        let served = table.find(hello.server_name())?;
        let shown = match &served.other {
            Some(other) if !understands(&hello, &served.pair) => other,
            Some(_) | None => &served.pair,
        };
        Some(Arc::clone(shown.certified_key()))
    }
}

/// Whether a handshake is an authority's look at a tls-alpn-01 challenge (RFC 8737 section 3).
#[must_use]
pub fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.next() == Some(ACME_TLS_ALPN) && offered.next().is_none())
}

/// Whether a client can verify a certificate with this pair's kind of key.
fn understands(hello: &ClientHello<'_>, pair: &Pair) -> bool {
    if pair.certified_key().key.algorithm() != SignatureAlgorithm::ECDSA {
        return true;
    }
    let scheme = hello.signature_schemes().contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
    // Suites of TLS 1.2 name the kind of key, those of TLS 1.3 leave it open.
    scheme && hello.cipher_suites().iter().any(|suite| takes_ecdsa(*suite))
}

fn takes_ecdsa(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS13_AES_256_GCM_SHA384
            | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table.load();
        f.debug_struct("Resolver")
            .field("names", &table.exact.len())
            .field("wildcards", &table.wildcard.len())
            .field("default", &table.default.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placeholder::placeholder;

    fn pair(names: &[&str]) -> (Vec<String>, Arc<Pair>) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let pair = placeholder(&names, Timestamp::UNIX_EPOCH).expect("made");
        (names, Arc::new(pair))
    }

    /// A resolver for these name sets in their order, all of one rank.
    fn resolver(sets: &[&[&str]]) -> (Resolver, Vec<Arc<Pair>>) {
        let (mut table, mut pairs) = (Table::default(), Vec::new());
        for set in sets {
            let (names, pair) = pair(set);
            table.insert(&names, Rank::Real, &Served::from(&pair));
            pairs.push(pair);
        }
        let resolver = Resolver::default();
        resolver.swap(table);
        (resolver, pairs)
    }

    fn serves(resolver: &Resolver, name: Option<&str>, pair: &Pair) -> bool {
        Arc::ptr_eq(&resolver.find(name).expect("a certificate"), pair.certified_key())
    }

    #[test]
    fn an_exact_name_wins_over_a_wildcard_and_a_wildcard_over_the_default() {
        let (resolver, pairs) = resolver(&[&["*.Example.com"], &["shop.example.com"], &[]]);
        for (name, winner) in [
            (Some("shop.example.com"), 1),
            (Some("SHOP.example.COM."), 1),
            (Some("other.example.com"), 0),
            (Some("a.b.example.com"), 2),
            (Some("example.com"), 2),
            (None, 2),
        ] {
            assert!(serves(&resolver, name, &pairs[winner]), "{name:?}");
        }
        let endless = "a".repeat(300);
        assert!(serves(&resolver, Some(&endless), &pairs[2]), "a name too long for DNS gets the default");
    }

    #[test]
    fn without_a_default_strangers_are_refused_and_clients_without_a_name_get_the_first() {
        let (resolver, pairs) = resolver(&[&["a.example"], &["b.example"]]);
        assert!(resolver.find(Some("c.example")).is_none() && !resolver.knows(Some("c.example")));
        assert!(serves(&resolver, None, &pairs[0]));
        assert!(Resolver::default().find(None).is_none(), "an empty table has nothing to show");
    }

    #[test]
    fn a_client_without_a_name_gets_the_certificate_that_is_for_an_address() {
        let (resolver, pairs) = resolver(&[&["a.example"], &[], &["192.0.2.1"]]);
        assert!(serves(&resolver, None, &pairs[2]));
    }

    #[test]
    fn a_real_certificate_answers_for_a_host_that_two_apps_share() {
        let mut table = Table::default();
        let (names, stand_in) = pair(&["shop.example.com"]);
        table.insert(&names, Rank::Placeholder, &Served::from(&stand_in));
        let (_, real) = pair(&["shop.example.com"]);
        table.insert(&names, Rank::Real, &Served::from(&real));
        table.insert(&names, Rank::Placeholder, &Served::from(&stand_in));
        let resolver = Resolver::default();
        resolver.swap(table);
        assert!(serves(&resolver, Some("shop.example.com"), &real));
    }

    #[test]
    fn a_connection_covers_its_own_name_and_what_its_certificate_is_valid_for() {
        let (resolver, _) = resolver(&[&["a.example", "*.a.example"], &["b.example"]]);
        assert!(resolver.covers(Some("a.example"), "x.A.example."), "one certificate covers both");
        assert!(!resolver.covers(Some("a.example"), "b.example"));
        assert!(!resolver.covers(Some("b.example"), "a.example"));
        assert!(resolver.covers(Some("unknown.example"), "unknown.example"), "routing answers 404 there");
        assert!(!resolver.covers(Some("unknown.example"), "b.example"));
        assert!(resolver.covers(None, "b.example"), "a client by IP address named nobody");
    }

    #[test]
    fn a_name_among_ten_thousand_is_found_in_the_same_two_look_ups() {
        let (_, pair) = pair(&["shop.example.com"]);
        let names: Vec<String> = (0..10_000).map(|n| format!("shop-{n}.example.com")).collect();
        let mut table = Table::default();
        table.insert(&names, Rank::Real, &Served::from(&pair));
        assert_eq!(table.exact.len(), names.len());
        for name in &names {
            assert!(table.find_named(name).is_some(), "{name}");
        }
        assert!(table.find_named("shop-10000.example.com").is_none());
    }
}
