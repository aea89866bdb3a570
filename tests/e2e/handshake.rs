//! TLS handshakes: unknown names, versions and ciphers of a listener, limits, resumption, and what is counted.

use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ProtocolVersion};
use switcher_tests::http1::{get, request};
use switcher_tests::part::can;
use switcher_tests::tls::Hello;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, skip_or_fail, within};
use tokio::io::AsyncReadExt as _;

async fn wait_handshakes(proxy: &Proxy, result: &str, times: u64) {
    proxy.wait_metric(&format!("switcher_tls_handshakes_total{{result=\"{result}\"}}"), times).await;
}

#[tokio::test]
async fn an_unknown_name_gets_the_alert_that_says_so() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("hosts", "[shop.test]").start_healthy().await;
    let error = Hello::to("stranger.test").try_connect(proxy.https()).await.err().expect("refused");
    assert!(
        error.to_string().contains("UnrecognizedName") || error.to_string().contains("UnrecognisedName"),
        "{error}"
    );
    wait_handshakes(&proxy, "refused", 1).await;
    // A client that sends no name may have dialled an address: it is shown something.
    assert!(Hello::to("127.0.0.1").try_connect(proxy.https()).await.is_ok());
}

#[tokio::test]
async fn openssl_words_an_unknown_name_as_unrecognized() {
    if !can("openssl version") {
        return skip_or_fail("there is no openssl");
    }
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("hosts", "[shop.test]").start_healthy().await;
    let said = async |name: &str| {
        let mut command = tokio::process::Command::new("openssl");
        let address = proxy.https().to_string();
        command.args(["s_client", "-connect", &address, "-servername", name]);
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = within(PATIENCE, "openssl", command.output()).await.expect("it runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let (stranger, known) = (said("stranger.test").await, said("shop.test").await);
    assert!(stranger.contains("unrecognized name"), "{stranger}");
    assert!(known.contains("BEGIN CERTIFICATE"), "{known}");
}

#[tokio::test]
async fn a_listener_has_its_own_versions_and_ciphers_and_a_reload_changes_them() {
    let app = App::start("blue").await;
    let mut proxy = Setup::one(app.upstream()).start_healthy().await;
    let listener = |keys: &str| format!("[{{listen: \"{}\"{keys}}}]", proxy.https());
    let modern = proxy.setup().proxy("https", &listener(", min_version: \"1.3\""));
    let listed = proxy.setup().proxy(
        "https",
        &listener(", min_version: \"1.3\", ciphers: [TLS_CHACHA20_POLY1305_SHA256, TLS_AES_128_GCM_SHA256]"),
    );
    let mut kept = Hello::to("shop.test").versions(&[&TLS12]).http1(proxy.https()).await;
    proxy.configure(modern);
    let reloaded = proxy.admin().reload().await.expect("reloaded");
    assert!(reloaded.needs_restart.is_empty(), "{reloaded:?}");
    assert!(Hello::to("shop.test").versions(&[&TLS12]).try_connect(proxy.https()).await.is_err());
    let agreed = Hello::to("shop.test").connect(proxy.https()).await;
    assert_eq!(agreed.version, Some(ProtocolVersion::TLSv1_3));
    assert_eq!(kept.exchange(&request("GET", "/", &[], b"")).await.text(), "blue", "connections stay");
    proxy.configure(listed);
    proxy.admin().reload().await.expect("reloaded");
    let agreed = Hello::to("shop.test").versions(&[&TLS13]).connect(proxy.https()).await;
    assert_eq!(agreed.cipher, Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256));
}

#[tokio::test]
async fn clients_resume_across_a_reload() {
    let app = App::start("blue").await;
    let mut proxy = Setup::one(app.upstream()).start_healthy().await;
    for version in [&TLS12, &TLS13] {
        let hello = Hello::to("shop.test").versions(&[version]);
        let resumed = async |proxy: &Proxy| {
            let agreed = hello.clone().connect(proxy.https()).await;
            let resumed = agreed.resumed;
            // An answer comes behind the tickets.
            Http1::over(agreed.stream).exchange(&request("GET", "/", &[], b"")).await;
            resumed
        };
        assert!(!resumed(&proxy).await);
        proxy.configure(proxy.setup().proxy("handshakes", "{limit: 99}"));
        proxy.admin().reload().await.expect("reloaded");
        assert!(resumed(&proxy).await, "{version:?}");
    }
    proxy.wait_metric("switcher_tls_sessions_total{kind=\"resumed\"}", 2).await;
    proxy.wait_metric("switcher_tls_sessions_total{kind=\"full\"}", 2).await;
}

#[tokio::test]
async fn a_silent_client_is_closed_in_time_and_counted() {
    let app = App::start("blue").await;
    let proxy =
        Setup::one(app.upstream()).proxy("handshakes", "{timeout: 2s, limit: 1}").start_healthy().await;
    let mut silent = tokio::net::TcpStream::connect(proxy.https()).await.expect("connected");
    proxy.wait_metric("switcher_tls_handshakes_in_flight", 1).await;
    assert!(Hello::to("shop.test").try_connect(proxy.https()).await.is_ok(), "silence takes no turn");
    let closed = within(PATIENCE, "the end", silent.read(&mut [0; 1])).await;
    assert_eq!(closed.expect("a clean end"), 0);
    wait_handshakes(&proxy, "timeout", 1).await;
    wait_handshakes(&proxy, "ok", 1).await;
    proxy.wait_metric("switcher_tls_handshakes_in_flight", 0).await;
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
}
