//! The rustls configurations of the TLS listeners.
//!
//! One crypto library everywhere, aws-lc-rs, named here and installed by every `main`, so that nothing falls
//! back to another. A listener has one configuration for clients who show no certificate and one for each
//! [`ClientCa`]; all are made anew at a reload, around the same [`Resolver`](crate::Resolver) and the same
//! [`Sessions`], so that clients go on resuming. Invariant: what a session of one configuration proved counts
//! in no other: each client CA has its own ticket keys. Called by the proxy's TLS front.

pub mod client_ca;
pub mod sessions;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::{ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};
use switcher_config::settings::{TlsListener, TlsVersion};

use crate::challenges::ACME_TLS_ALPN;
use client_ca::{ClientCa, RootsId};
use sessions::{Sessions, Trust};

/// What clients may speak inside TLS, the preferred one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// TLS 1.3 alone.
static MODERN: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// Makes aws-lc-rs the crypto library of the whole process. Called first in every `main`: a later
/// installation by a dependency then changes nothing. Calling it twice is harmless.
pub fn install_provider() {
    // An error says only that one is installed already.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// Every configuration in force.
#[derive(Debug)]
pub struct Configurations {
    listeners: Vec<OfListener>,
    raw: OfListener,
    challenge: Arc<ServerConfig>,
}

#[derive(Debug)]
struct OfListener {
    /// For hosts that demand no client certificate.
    open: Arc<ServerConfig>,
    mutual: HashMap<RootsId, Arc<ServerConfig>>,
}

impl Configurations {
    /// Those of some listeners, in their order, and some client CAs.
    ///
    /// # Errors
    /// When a listener's ciphers leave nothing to speak, or the system gives no randomness.
    pub fn new<'a>(
        listeners: impl IntoIterator<Item = &'a TlsListener>,
        client_cas: &[Arc<ClientCa>],
        resolver: &Arc<dyn ResolvesServerCert>,
        sessions: &Sessions,
    ) -> Result<Self, rustls::Error> {
        let all = |offer: Offer<'_>| {
            let open = configuration(offer, None, resolver, &sessions.open())?;
            let mutual = client_cas.iter().map(|ca| {
                let config = configuration(offer, Some(ca), resolver, &sessions.of(ca.id())?)?;
                Ok((ca.id(), config))
            });
            Ok(OfListener { open, mutual: mutual.collect::<Result<_, rustls::Error>>()? })
        };
        let listeners = listeners.into_iter().map(|listener| all(Offer::of(listener)));
        let listeners = listeners.collect::<Result<_, rustls::Error>>()?;
        Ok(Self { listeners, raw: all(Offer::RAW)?, challenge: challenge_configuration(resolver)? })
    }

    /// The one for a connection of raw TCP: whatever is spoken under TLS, none of it is chosen by ALPN.
    #[must_use]
    pub fn raw(&self, client_ca: Option<RootsId>) -> Option<&Arc<ServerConfig>> {
        self.raw.get(client_ca)
    }

    /// The one for a handshake on a listener, by its place in the order, with a host that demands this client
    /// CA or none.
    #[must_use]
    pub fn get(&self, listener: usize, client_ca: Option<RootsId>) -> Option<&Arc<ServerConfig>> {
        self.listeners.get(listener)?.get(client_ca)
    }

    /// The one for an authority that looks at a tls-alpn-01 challenge: it never asks for a client certificate,
    /// and no session comes of it.
    #[must_use]
    pub fn challenge(&self) -> &Arc<ServerConfig> {
        &self.challenge
    }
}

impl OfListener {
    fn get(&self, client_ca: Option<RootsId>) -> Option<&Arc<ServerConfig>> {
        match client_ca {
            None => Some(&self.open),
            Some(id) => self.mutual.get(&id),
        }
    }
}

/// What a configuration speaks.
#[derive(Clone, Copy)]
struct Offer<'a> {
    min_version: TlsVersion,
    ciphers: Option<&'a [String]>,
    alpn: &'a [&'a [u8]],
}

impl<'a> Offer<'a> {
    const RAW: Self = Self { min_version: TlsVersion::Tls12, ciphers: None, alpn: &[] };

    fn of(listener: &'a TlsListener) -> Self {
        Self { min_version: listener.min_version, ciphers: listener.ciphers.as_deref(), alpn: &ALPN }
    }
}

fn configuration(
    offer: Offer<'_>,
    client_ca: Option<&ClientCa>,
    resolver: &Arc<dyn ResolvesServerCert>,
    trust: &Trust,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = provider(offer.ciphers);
    let builder = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions(offer.min_version))?;
    let builder = match client_ca {
        Some(ca) => builder.with_client_cert_verifier(Arc::clone(ca.verifier())),
        None => builder.with_client_cert_verifier(WebPkiClientVerifier::no_client_auth()),
    };
    let mut config = builder.with_cert_resolver(Arc::clone(resolver));
    config.alpn_protocols = offer.alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // Whoever lists ciphers lists them in the order of preference.
    config.ignore_client_order = offer.ciphers.is_some();
    config.ticketer = Arc::clone(&trust.ticketer);
    config.session_storage = Arc::clone(&trust.storage);
    Ok(Arc::new(config))
}

/// RFC 8737 section 3: TLS 1.2 or later, and `acme-tls/1` is all that is spoken.
fn challenge_configuration(
    resolver: &Arc<dyn ResolvesServerCert>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions(TlsVersion::Tls12))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(resolver));
    config.alpn_protocols = vec![ACME_TLS_ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// The versions from this one on.
fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match min {
        TlsVersion::Tls12 => rustls::ALL_VERSIONS,
        TlsVersion::Tls13 => MODERN,
    }
}

/// The crypto library with these cipher suites in this order, or with all that it holds safe. Post-quantum key
/// exchange comes first either way.
fn provider(ciphers: Option<&[String]>) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(names) = ciphers {
        let all = std::mem::take(&mut provider.cipher_suites);
        let named = |name: &String| all.iter().find(|suite| is_named(suite, name)).copied();
        provider.cipher_suites = names.iter().filter_map(named).collect();
    }
    provider
}

/// By the IANA name, in which suites of TLS 1.3 begin with `TLS_`, or by the library's, where it is `TLS13_`.
fn is_named(suite: &SupportedCipherSuite, name: &str) -> bool {
    let Some(own) = suite.suite().as_str() else { return false };
    own == name || own.strip_prefix("TLS13_") == name.strip_prefix("TLS_")
}

/// A hello's server name: what the client asks for, in lower case and without the dot of the root.
#[must_use]
pub fn server_name(hello: &ClientHello<'_>) -> Option<Box<str>> {
    let name = hello.server_name()?;
    Some(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into())
}
