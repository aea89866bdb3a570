//! TLS to clients: certificates from files and placeholders, key exchange, and the way from plain HTTP.

use switcher_config::wire::{CertificateSource, CertificateStatus};
use switcher_tests::certificate::{Certificate, put};
use switcher_tests::http1::{get, get_with, request};
use switcher_tests::tls::Hello;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, until};
use tempfile::TempDir;

fn files(folder: &TempDir, name: &str, certificate: &Certificate) -> String {
    let (certificate, key) = certificate.write(folder.path(), name);
    format!("{{certificate: {}, key: {}}}", certificate.display(), key.display())
}

async fn certificates(proxy: &Proxy) -> Vec<CertificateStatus> {
    proxy.admin().status().await.certificates
}

#[tokio::test]
async fn a_placeholder_answers_at_once() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("hosts", "[shop.test]").start_healthy().await;
    let mut client = Hello::to("shop.test").http1(proxy.https()).await;
    assert_eq!(client.exchange(&request("GET", "/", &[], b"")).await.text(), "blue");
    let served = certificates(&proxy).await;
    assert_eq!(served[0].source, CertificateSource::Placeholder, "{served:?}");
    assert_eq!(served[0].names, ["shop.test"]);
}

#[tokio::test]
async fn each_name_gets_its_own_certificate() {
    let app = App::start("blue").await;
    let folder = TempDir::new().expect("a folder");
    let (shop, wild) = (Certificate::of(&["shop.test"]), Certificate::of(&["*.wild.test"]));
    let proxy = Setup::one(app.upstream())
        .shop("hosts", "[shop.test]")
        .shop("tls", &files(&folder, "shop", &shop))
        .another(
            "wild",
            app.upstream(),
            &[("hosts", "[\"*.wild.test\"]"), ("tls", &files(&folder, "wild", &wild))],
        )
        .start_healthy()
        .await;
    for (name, certificate) in [("shop.test", &shop), ("SHOP.test", &shop), ("a.wild.test", &wild)] {
        let agreed = Hello::to(name).connect(proxy.https()).await;
        assert_eq!(agreed.certificate, certificate.der, "{name}");
    }
}

#[tokio::test]
async fn a_changed_certificate_is_picked_up_without_a_restart() {
    let app = App::start("blue").await;
    let folder = TempDir::new().expect("a folder");
    let (old, new) = (Certificate::of(&["shop.test"]), Certificate::of(&["shop.test"]));
    let proxy = Setup::one(app.upstream()).shop("tls", &files(&folder, "shop", &old)).start_healthy().await;
    let mut before = Hello::to("shop.test").http1(proxy.https()).await;
    before.exchange(&request("GET", "/", &[], b"")).await;
    let _ = files(&folder, "shop", &new);
    until(PATIENCE, "the new certificate to be served", || async {
        Hello::to("shop.test").connect(proxy.https()).await.certificate == new.der
    })
    .await;
    let answer = before.exchange(&request("GET", "/", &[], b"")).await;
    assert_eq!(answer.text(), "blue", "connections of the old certificate live on");
}

#[tokio::test]
async fn a_broken_new_certificate_changes_nothing_and_is_reported() {
    let app = App::start("blue").await;
    let folder = TempDir::new().expect("a folder");
    let good = Certificate::of(&["shop.test"]);
    let proxy = Setup::one(app.upstream()).shop("tls", &files(&folder, "shop", &good)).start_healthy().await;
    put(&folder.path().join("shop.crt"), "no certificate at all\n");
    until(PATIENCE, "the problem to be reported", || async {
        certificates(&proxy).await.iter().any(|c| c.problem.is_some())
    })
    .await;
    assert_eq!(Hello::to("shop.test").connect(proxy.https()).await.certificate, good.der);
}

#[tokio::test]
async fn a_key_of_another_certificate_is_never_served() {
    let app = App::start("blue").await;
    let folder = TempDir::new().expect("a folder");
    let good = Certificate::of(&["shop.test"]);
    let proxy = Setup::one(app.upstream()).shop("tls", &files(&folder, "shop", &good)).start_healthy().await;
    let (stranger, _) = Certificate::of(&["shop.test"]).write(folder.path(), "stranger");
    std::fs::rename(stranger, folder.path().join("shop.crt")).expect("half of a change");
    until(PATIENCE, "the problem to be reported", || async {
        certificates(&proxy).await.iter().any(|c| c.problem.is_some())
    })
    .await;
    assert_eq!(Hello::to("shop.test").connect(proxy.https()).await.certificate, good.der);
}

#[tokio::test]
async fn the_key_exchange_is_post_quantum_where_the_client_can() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let hybrid = rustls::NamedGroup::X25519MLKEM768;
    assert_eq!(Hello::to("shop.test").connect(proxy.https()).await.group, Some(hybrid));
    let only = Hello::to("shop.test").only_group(hybrid).connect(proxy.https()).await;
    assert_eq!(only.group, Some(hybrid));
    let classic = Hello::to("shop.test").only_group(rustls::NamedGroup::X25519).connect(proxy.https()).await;
    assert_eq!(classic.group, Some(rustls::NamedGroup::X25519));
}

#[tokio::test]
async fn a_client_of_tls_1_2_is_served() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let agreed = Hello::to("shop.test").versions(&[&rustls::version::TLS12]).connect(proxy.https()).await;
    assert_eq!(agreed.version, Some(rustls::ProtocolVersion::TLSv1_2));
    let answer = Http1::over(agreed.stream).exchange(&request("GET", "/", &[], b"")).await;
    assert_eq!(answer.text(), "blue");
}

#[tokio::test]
async fn plain_http_is_sent_to_https_with_308_path_and_query() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("redirect", "true").start_healthy().await;
    let answer = get(proxy.http(), "/cart?item=1&n=2").await;
    let location = answer.header("location").expect("a location");
    assert_eq!(answer.status, 308);
    assert!(
        location.starts_with("https://shop.test") && location.ends_with("/cart?item=1&n=2"),
        "{location}"
    );
    assert_eq!(app.hits(), 0);
    let mut client = Hello::to("shop.test").http1(proxy.https()).await;
    assert_eq!(client.exchange(&request("GET", "/", &[], b"")).await.text(), "blue");
}

#[tokio::test]
async fn an_application_without_tls_is_never_redirected() {
    let app = App::start("blue").await;
    for off in ["off", "\"off\""] {
        let proxy =
            Setup::one(app.upstream()).shop("redirect", "true").shop("tls", off).start_healthy().await;
        assert_eq!(get_with(proxy.http(), "/", &[]).await.status, 200, "tls: {off}");
    }
}

#[tokio::test]
async fn clear_text_on_the_tls_port_hurts_nobody() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut lost = Http1::connect(proxy.https()).await;
    lost.send(&request("GET", "/", &[], b"")).await;
    lost.ending().await;
    let silent = Http1::connect(proxy.https()).await;
    let mut client = Hello::to("shop.test").http1(proxy.https()).await;
    assert_eq!(client.exchange(&request("GET", "/", &[], b"")).await.text(), "blue");
    drop(silent);
}
