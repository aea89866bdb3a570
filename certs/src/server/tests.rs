//! Handshakes against every kind of configuration, in memory.

use rustls::{CipherSuite, NamedGroup, ProtocolVersion};

use super::*;
use crate::Resolver;
use crate::fixtures::{Client, ClientRoot, Folder, issue, server_config};
use crate::store::{Source, Store, Wanted};

fn store(names: &[&str]) -> Store {
    let names = names.iter().map(ToString::to_string).collect();
    Store::new(vec![Wanted { names, source: Source::Placeholder { why: None } }]).expect("a store")
}

#[test]
fn post_quantum_key_exchange_comes_first_and_is_enough() {
    assert_eq!(aws_lc_rs::default_provider().kx_groups[0].name(), NamedGroup::X25519MLKEM768);
    let config = server_config(store(&["a.example"]).resolver()).expect("a configuration");
    let shown = Client::only(NamedGroup::X25519MLKEM768).shake(&config, Some("a.example")).expect("served");
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
    let wanted =
        |names: &[&str], source| Wanted { names: names.iter().map(ToString::to_string).collect(), source };
    let store = Store::new(vec![
        wanted(&["shop.example.com", "shop.example.net"], Source::Placeholder { why: None }),
        wanted(&["*.example.com"], Source::Files { certificate, key, ocsp: None }),
        wanted(&[], Source::Placeholder { why: None }),
    ])
    .expect("a store");
    let config = server_config(store.resolver()).expect("a configuration");
    let anybody = &["placeholder.switcher.invalid"][..];
    for (name, names) in [
        (Some("shop.example.net"), &["shop.example.com", "shop.example.net"][..]),
        // A placeholder that is wished for is lent nothing.
        (Some("shop.example.com"), &["shop.example.com", "shop.example.net"]),
        (Some("eu.example.com"), &["*.example.com"]),
        (Some("example.org"), anybody),
        (None, anybody),
    ] {
        let shown = Client::default().shake(&config, name).expect("served");
        assert_eq!(shown.names, names, "{name:?}");
    }
}

fn listener(min_version: TlsVersion, ciphers: Option<&[&str]>) -> TlsListener {
    TlsListener {
        listener: switcher_config::settings::Listener::at(std::net::SocketAddr::from(([127, 0, 0, 1], 443))),
        min_version,
        ciphers: ciphers.map(|names| names.iter().map(ToString::to_string).collect()),
    }
}

fn resolver() -> Arc<dyn ResolvesServerCert> {
    store(&["a.example", "b.example"]).resolver()
}

/// The configurations of one ordinary listener with these client CAs.
fn mutual(client_cas: &[Arc<ClientCa>], sessions: &Sessions) -> Configurations {
    Configurations::new([&listener(TlsVersion::Tls12, None)], client_cas, &resolver(), sessions)
        .expect("configurations")
}

fn get(configurations: &Configurations, client_ca: Option<&ClientCa>) -> Arc<ServerConfig> {
    Arc::clone(configurations.get(0, client_ca.map(ClientCa::id)).expect("a configuration"))
}

#[test]
fn a_listener_speaks_only_its_versions_and_ciphers_in_its_order() {
    let sessions = Sessions::new().expect("sessions");
    let one = |listener: &TlsListener| {
        let made = Configurations::new([listener], &[], &resolver(), &sessions).expect("configurations");
        get(&made, None)
    };
    let modern = one(&listener(TlsVersion::Tls13, None));
    assert!(Client::tls12().shake(&modern, Some("a.example")).is_err());
    let shown = Client::default().shake(&modern, Some("a.example")).expect("served");
    assert_eq!(shown.version, Some(ProtocolVersion::TLSv1_3));
    for (names, cipher) in [
        // Clients prefer AES-256; both spellings of a name are known.
        (
            &["TLS_CHACHA20_POLY1305_SHA256", "TLS13_AES_256_GCM_SHA384"],
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        ),
        (
            &["TLS13_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"],
            CipherSuite::TLS13_AES_256_GCM_SHA384,
        ),
    ] {
        let config = one(&listener(TlsVersion::Tls12, Some(names)));
        let shown = Client::default().shake(&config, Some("a.example")).expect("served");
        assert_eq!(shown.cipher, Some(cipher));
        assert!(Client::tls12().shake(&config, Some("a.example")).is_err(), "no suite of TLS 1.2 is listed");
    }
    let nothing = listener(TlsVersion::Tls13, Some(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]));
    assert!(Configurations::new([&nothing], &[], &resolver(), &sessions).is_err());
}

#[test]
fn tickets_outlive_a_reload_but_not_the_process() {
    let sessions = Sessions::new().expect("sessions");
    for client in [Client::default(), Client::tls12()] {
        let before = get(&mutual(&[], &sessions), None);
        assert!(!client.shake(&before, Some("a.example")).expect("served").resumed);
        let after = get(&mutual(&[], &sessions), None);
        assert!(client.shake(&after, Some("a.example")).expect("served").resumed);
        let restarted = get(&mutual(&[], &Sessions::new().expect("sessions")), None);
        assert!(!client.shake(&restarted, Some("a.example")).expect("served").resumed);
    }
}

#[test]
fn only_a_certificate_of_the_roots_is_let_in() {
    let (ours, theirs) = (ClientRoot::new("ours"), ClientRoot::new("theirs"));
    let (ca, sessions) = (ours.client_ca(), Sessions::new().expect("sessions"));
    let config = get(&mutual(std::slice::from_ref(&ca), &sessions), Some(&ca));
    for old in [false, true] {
        let client = || if old { Client::tls12() } else { Client::default() };
        let name = Some("a.example");
        assert!(client().certified(&ours.issue("alice")).shake(&config, name).is_ok());
        assert!(client().shake(&config, name).is_err(), "none");
        assert!(client().certified(&theirs.issue("mallory")).shake(&config, name).is_err(), "of others");
        assert!(client().certified(&ours.issue_expired("bob")).shake(&config, name).is_err(), "expired");
    }
}

#[test]
fn a_ticket_from_before_a_client_ca_was_demanded_resumes_nothing() {
    let root = ClientRoot::new("ours");
    let (ca, sessions) = (root.client_ca(), Sessions::new().expect("sessions"));
    for client in [Client::default(), Client::tls12()] {
        let open = get(&mutual(&[], &sessions), None);
        client.shake(&open, Some("a.example")).expect("nobody asks yet");
        let demanding = get(&mutual(std::slice::from_ref(&ca), &sessions), Some(&ca));
        assert!(client.shake(&demanding, Some("a.example")).is_err(), "the ticket must not stand in");
        // The control: the ticket is good where it is from.
        client.shake(&open, Some("a.example")).expect("served");
        assert!(client.shake(&open, Some("a.example")).expect("served").resumed);
    }
}

#[test]
fn a_ticket_of_other_roots_or_of_another_name_resumes_nothing() {
    let (ours, theirs) = (ClientRoot::new("ours"), ClientRoot::new("theirs"));
    let (ca, other, sessions) = (ours.client_ca(), theirs.client_ca(), Sessions::new().expect("sessions"));
    let both = mutual(&[Arc::clone(&ca), Arc::clone(&other)], &sessions);
    for client in [Client::default(), Client::tls12()] {
        let client = client.certified(&ours.issue("alice"));
        client.shake(&get(&both, Some(&ca)), Some("a.example")).expect("let in");
        assert!(client.shake(&get(&both, Some(&other)), Some("a.example")).is_err(), "other roots");
        let shown = client.shake(&get(&both, Some(&ca)), Some("b.example")).expect("let in");
        assert!(!shown.resumed, "another name begins anew");
        let shown = client.shake(&get(&both, Some(&ca)), Some("b.example")).expect("let in");
        assert!(shown.resumed, "and is then resumed");
    }
}

#[test]
fn a_ticket_of_one_name_does_not_resume_another() {
    let open = get(&mutual(&[], &Sessions::new().expect("sessions")), None);
    for client in [Client::default(), Client::tls12()] {
        // The client's own store is by name, so its tickets for one name are given to the other.
        let client = client.one_store_for_every_name();
        client.shake(&open, Some("a.example")).expect("served");
        assert!(!client.shake(&open, Some("b.example")).expect("served").resumed);
        assert!(client.shake(&open, Some("b.example")).expect("served").resumed, "the store gives tickets");
    }
}

#[test]
fn roots_that_are_configured_no_longer_lose_their_keys() {
    let root = ClientRoot::new("ours");
    let (ca, sessions) = (root.client_ca(), Sessions::new().expect("sessions"));
    let client = Client::default().certified(&root.issue("alice"));
    client.shake(&get(&mutual(&[Arc::clone(&ca)], &sessions), Some(&ca)), Some("a.example")).expect("let in");
    sessions.keep(&[ca.id()]);
    let kept = get(&mutual(&[Arc::clone(&ca)], &sessions), Some(&ca));
    assert!(client.shake(&kept, Some("a.example")).expect("let in").resumed);
    sessions.keep(&[]);
    let back = get(&mutual(&[Arc::clone(&ca)], &sessions), Some(&ca));
    assert!(!client.shake(&back, Some("a.example")).expect("let in").resumed);
}

#[test]
fn a_challenge_is_spoken_to_alone_and_leaves_no_session() {
    let root = ClientRoot::new("ours");
    let ca = root.client_ca();
    let all = mutual(std::slice::from_ref(&ca), &Sessions::new().expect("sessions"));
    let validator = Client::default().alpn(&["acme-tls/1"]);
    assert!(validator.shake(&get(&all, None), Some("a.example")).is_err(), "ordinary ones do not speak it");
    assert!(validator.shake(all.challenge(), Some("a.example")).is_err(), "nothing is posted");
    let posted = store(&["a.example"]);
    let key = posted.resolver().find(Some("a.example")).expect("a certificate");
    let _held = posted.challenges().post_tls_alpn("a.example".to_owned(), &key);
    let resolver: Arc<dyn ResolvesServerCert> = posted.resolver();
    let config = challenge_configuration(&resolver).expect("a configuration");
    for _ in 0..2 {
        let shown = validator.shake(&config, Some("a.example")).expect("answered");
        assert_eq!(shown.alpn.as_deref(), Some(ACME_TLS_ALPN));
        assert!(!shown.resumed);
    }
    assert!(Client::default().alpn(&["h2"]).shake(&config, Some("a.example")).is_err());
}

#[test]
fn an_expired_certificate_is_refused_also_when_it_was_good_once() {
    let root = ClientRoot::new("ours");
    let ca = root.client_ca();
    let (good, expired) = (root.issue("alice"), root.issue_expired("bob"));
    let now = rustls_pki_types::UnixTime::now();
    assert!(ca.accepts(&good.cert, now));
    assert!(!ca.accepts(&expired.cert, now) && !ca.accepts(&[], now));
}
