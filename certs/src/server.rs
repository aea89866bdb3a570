//! The rustls configuration of every TLS listener.
//!
//! One crypto library everywhere, aws-lc-rs, named here and installed by every `main`, so that nothing falls
//! back to another. Called by the proxy's composition root.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::ResolvesServerCert;

/// What clients may speak inside TLS, the preferred one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Makes aws-lc-rs the crypto library of the whole process. Called first in every `main`: a later
/// installation by a dependency then changes nothing. Calling it twice is harmless.
pub fn install_provider() {
    // An error says only that one is installed already.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// TLS 1.2 and 1.3 with post-quantum key exchange first, HTTP/2 before HTTP/1.1, and resumption by tickets
/// (keys rotate every six hours and are in memory only).
///
/// # Errors
/// When the system gives no randomness.
pub fn server_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = ALPN.iter().map(|protocol| protocol.to_vec()).collect();
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use rustls::{NamedGroup, ProtocolVersion};

    use super::*;
    use crate::Resolver;
    use crate::fixtures::{Client, Folder, issue};
    use crate::store::{Source, Store, Wanted};

    fn store(names: &[&str]) -> Store {
        let names = names.iter().map(ToString::to_string).collect();
        Store::new(vec![Wanted { names, source: Source::Placeholder { why: None } }]).expect("a store")
    }

    #[test]
    fn post_quantum_key_exchange_comes_first_and_is_enough() {
        assert_eq!(aws_lc_rs::default_provider().kx_groups[0].name(), NamedGroup::X25519MLKEM768);
        let config = server_config(store(&["a.example"]).resolver()).expect("a configuration");
        let shown =
            Client::only(NamedGroup::X25519MLKEM768).shake(&config, Some("a.example")).expect("served");
        assert_eq!(shown.group, Some(NamedGroup::X25519MLKEM768));
        assert_eq!(shown.version, Some(ProtocolVersion::TLSv1_3));
    }

    #[test]
    fn http_2_is_preferred_and_http_1_1_is_served() {
        let config = server_config(store(&["a.example"]).resolver()).expect("a configuration");
        for (offered, chosen) in
            [(&["http/1.1", "h2"][..], Some(&b"h2"[..])), (&["http/1.1"], Some(b"http/1.1")), (&[], None)]
        {
            let shown = Client::default().alpn(offered).shake(&config, Some("a.example")).expect("served");
            assert_eq!(shown.alpn.as_deref(), chosen);
        }
        let refused = Client::default().alpn(&["spdy/3"]).shake(&config, Some("a.example"));
        assert!(refused.is_err(), "a protocol that nobody serves is refused in the handshake");
    }

    #[test]
    fn old_clients_are_served_by_tls_1_2() {
        let config = server_config(store(&["a.example"]).resolver()).expect("a configuration");
        let shown = Client::tls12().shake(&config, Some("a.example")).expect("served");
        assert_eq!(shown.version, Some(ProtocolVersion::TLSv1_2));
    }

    #[test]
    fn a_returning_client_resumes_with_its_ticket() {
        let config = server_config(store(&["a.example"]).resolver()).expect("a configuration");
        let client = Client::default();
        assert!(!client.shake(&config, Some("a.example")).expect("served").resumed);
        assert!(client.shake(&config, Some("a.example")).expect("served again").resumed);
    }

    #[test]
    fn a_server_without_certificates_refuses_in_the_handshake() {
        let config = server_config(Arc::new(Resolver::default())).expect("a configuration");
        assert!(Client::default().shake(&config, Some("a.example")).is_err());
    }

    #[test]
    fn each_name_is_shown_its_own_certificate_and_strangers_the_default() {
        let folder = Folder::new();
        let (certificate, key) = folder.put("wild", &issue(&["*.example.com"]));
        let wanted = |names: &[&str], source| Wanted {
            names: names.iter().map(ToString::to_string).collect(),
            source,
        };
        let store = Store::new(vec![
            wanted(&["shop.example.com"], Source::Placeholder { why: None }),
            wanted(&["*.example.com"], Source::Files { certificate, key, ocsp: None }),
            wanted(&[], Source::Placeholder { why: None }),
        ])
        .expect("a store");
        let config = server_config(store.resolver()).expect("a configuration");
        for (name, names) in [
            (Some("shop.example.com"), "shop.example.com"),
            (Some("eu.example.com"), "*.example.com"),
            (Some("example.org"), "placeholder.switcher.invalid"),
            (None, "placeholder.switcher.invalid"),
        ] {
            let shown = Client::default().shake(&config, name).expect("served");
            assert_eq!(shown.names, [names], "{name:?}");
        }
    }
}
