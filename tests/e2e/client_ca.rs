//! Client certificates: who is let in, by which connection, and what a reload changes.

use std::path::Path;
use std::time::Duration;

use switcher_tests::certificate::{Certificate, ClientRoot, put};
use switcher_tests::http1::{get_with, request};
use switcher_tests::tls::Hello;
use switcher_tests::{App, Http1, Http2, PATIENCE, Proxy, Setup, until};
use tempfile::TempDir;

/// Two applications under one certificate: `closed.test` demands certificates of `ca.pem`, `open.test` none.
struct Stage {
    folder: TempDir,
    open: App,
    closed: App,
}

impl Stage {
    async fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        Self { folder, open: App::start("open").await, closed: App::start("closed").await }
    }

    fn ca(&self, root: &ClientRoot) -> String {
        let path = self.folder.path().join("ca.pem");
        put(&path, &root.pem);
        path.display().to_string()
    }

    fn setup(&self, client_ca: Option<&str>) -> Setup {
        let both = self.folder.path().join("both.crt");
        if !both.exists() {
            let _ = Certificate::of(&["open.test", "closed.test"]).write(self.folder.path(), "both");
        }
        let tls = format!(
            "{{certificate: {}, key: {}}}",
            both.display(),
            Path::new(&both).with_extension("key").display()
        );
        let mut keys = vec![("hosts", "[closed.test]"), ("tls", &tls), ("redirect", "true")];
        keys.extend(client_ca.map(|file| ("client_ca", file)));
        Setup::one(self.open.upstream()).shop("hosts", "[open.test]").shop("tls", &tls).another(
            "closed",
            self.closed.upstream(),
            &keys,
        )
    }
}

/// Whether a client that sends this hello is served by `closed.test`; in TLS 1.3 a refusal comes after the
/// client's handshake.
async fn served(proxy: &Proxy, hello: Hello) -> Result<u16, std::io::Error> {
    let agreed = hello.try_connect(proxy.https()).await?;
    let answer = Http1::over(agreed.stream).try_exchange(&to("closed.test")).await?;
    Ok(answer.status)
}

fn to(host: &str) -> Vec<u8> {
    request("GET", "/", &[("Host", host)], b"")
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_roots_are_served() {
    let (stage, ours, theirs) = (Stage::new().await, ClientRoot::new("ours"), ClientRoot::new("theirs"));
    let proxy = stage.setup(Some(&stage.ca(&ours))).start_healthy().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let hello = || Hello::to("closed.test").versions(&[version]);
        assert_eq!(served(&proxy, hello().showing(&ours.issue())).await.expect("served"), 200);
        assert!(served(&proxy, hello()).await.is_err(), "none");
        assert!(served(&proxy, hello().showing(&theirs.issue())).await.is_err(), "of others");
        assert!(served(&proxy, hello().showing(&ours.issue_expired())).await.is_err(), "expired");
    }
    assert_eq!(stage.closed.hits(), 2);
    let mut other = Hello::to("open.test").http1(proxy.https()).await;
    assert_eq!(other.exchange(&to("open.test")).await.text(), "open", "others are asked for none");
}

#[tokio::test]
async fn no_connection_of_another_name_reaches_an_application_that_demands_certificates() {
    let (stage, ours) = (Stage::new().await, ClientRoot::new("ours"));
    let proxy = stage.setup(Some(&stage.ca(&ours))).start_healthy().await;
    let good = ours.issue();
    for name in ["open.test", "127.0.0.1"] {
        let mut client = Hello::to(name).showing(&good).http1(proxy.https()).await;
        let answer = client.exchange(&to("closed.test")).await;
        assert_eq!(answer.status, 421, "{name}");
        assert!(answer.text().contains("demands a client certificate"), "{}", answer.text());
    }
    let agreed = Hello::to("open.test").alpn(&["h2"]).connect(proxy.https()).await;
    let client = Http2::over(agreed.stream).await;
    let elsewhere = http::Request::builder().uri("https://closed.test/").body(()).expect("a request");
    let coalesced = client.exchange(elsewhere, b"").await;
    assert_eq!(coalesced.status, 421, "HTTP/2 shares connections between names of one certificate");
    let plain = get_with(proxy.http(), "/", &[("Host", "closed.test")]).await;
    assert_eq!(plain.status, 308, "plain HTTP is sent on to where it is asked");
    assert_eq!(stage.closed.hits(), 0);
}

#[tokio::test]
async fn plain_http_never_goes_round_the_demand() {
    let (stage, ours) = (Stage::new().await, ClientRoot::new("ours"));
    let setup = stage.setup(Some(&stage.ca(&ours))).proxy("trusted_proxies", "[127.0.0.1]");
    let proxy = setup.start_healthy().await;
    let headers = [("Host", "closed.test"), ("X-Forwarded-Proto", "https")];
    let answer = get_with(proxy.http(), "/", &headers).await;
    assert_eq!(answer.status, 421, "a trusted proxy that ended the TLS has not shown us a certificate");
    assert_eq!(stage.closed.hits(), 0);
}

#[tokio::test]
async fn a_demand_that_comes_with_a_reload_holds_for_old_connections_and_tickets() {
    let (stage, ours) = (Stage::new().await, ClientRoot::new("ours"));
    let mut proxy = stage.setup(None).start_healthy().await;
    let hellos =
        [&rustls::version::TLS12, &rustls::version::TLS13].map(|v| Hello::to("closed.test").versions(&[v]));
    let mut old = Vec::new();
    for hello in &hellos {
        let mut client = hello.clone().http1(proxy.https()).await;
        assert_eq!(client.exchange(&to("closed.test")).await.text(), "closed");
        old.push(client);
    }
    proxy.configure(stage.setup(Some(&stage.ca(&ours))));
    proxy.admin().reload().await.expect("reloaded");
    for mut client in old {
        assert_eq!(client.exchange(&to("closed.test")).await.status, 421, "an old connection");
    }
    for hello in hellos {
        assert!(served(&proxy, hello.clone()).await.is_err(), "an old ticket");
        assert_eq!(served(&proxy, hello.showing(&ours.issue())).await.expect("served"), 200);
    }
}

#[tokio::test]
async fn a_reload_follows_other_roots_and_refuses_what_it_cannot_read() {
    let (stage, ours, theirs) = (Stage::new().await, ClientRoot::new("ours"), ClientRoot::new("theirs"));
    let file = stage.ca(&ours);
    let proxy = stage.setup(Some(&file)).start_healthy().await;
    let hello = || Hello::to("closed.test");
    let mut old = hello().showing(&ours.issue()).http1(proxy.https()).await;
    assert_eq!(old.exchange(&to("closed.test")).await.text(), "closed");

    std::fs::remove_file(&file).expect("removed");
    let refused = proxy.admin().reload().await.expect_err("refused").refusal;
    assert!(
        refused.message.contains(&file) && refused.message.contains("put the roots"),
        "{}",
        refused.message
    );
    put(Path::new(&file), "no certificate\n");
    let refused = proxy.admin().reload().await.expect_err("refused").refusal;
    assert!(refused.message.contains("holds no certificate"), "{}", refused.message);
    assert_eq!(
        served(&proxy, hello().showing(&ours.issue())).await.expect("served"),
        200,
        "the old roots stay"
    );

    stage.ca(&theirs);
    proxy.admin().reload().await.expect("reloaded");
    assert_eq!(served(&proxy, hello().showing(&theirs.issue())).await.expect("served"), 200);
    assert!(served(&proxy, hello().showing(&ours.issue())).await.is_err());
    assert_eq!(
        old.exchange(&to("closed.test")).await.status,
        421,
        "who was let in by the old roots is asked again"
    );
}

#[tokio::test]
async fn a_start_without_its_roots_is_refused_with_the_file_and_the_remedy() {
    let stage = Stage::new().await;
    let missing = stage.folder.path().join("none.pem").display().to_string();
    let mut proxy = Proxy::spawn(stage.setup(Some(&missing)));
    let exit = proxy.exit().await;
    assert_eq!(exit.code, Some(10), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("apps.closed.client_ca") && exit.stderr.contains("none.pem does not exist"),
        "{}",
        exit.stderr
    );
    let mut check = Proxy::spawn(stage.setup(Some(&missing)).argument("--check"));
    let exit = check.exit().await;
    assert_eq!(exit.code, Some(10), "{}", exit.stderr);
    assert!(exit.stderr.contains("put the roots of your clients' certificates there"), "{}", exit.stderr);
}

#[tokio::test]
async fn a_client_with_a_certificate_resumes() {
    let (stage, ours) = (Stage::new().await, ClientRoot::new("ours"));
    let proxy = stage.setup(Some(&stage.ca(&ours))).start_healthy().await;
    let hello = Hello::to("closed.test").showing(&ours.issue());
    assert_eq!(served(&proxy, hello.clone()).await.expect("served"), 200);
    let again = hello.clone().connect(proxy.https()).await;
    assert!(again.resumed);
    assert_eq!(Http1::over(again.stream).exchange(&to("closed.test")).await.status, 200);
    let elsewhere = hello.again_to("open.test").connect(proxy.https()).await;
    assert!(!elsewhere.resumed, "a session counts for its own name");
}

#[tokio::test]
async fn a_session_is_resumed_only_as_long_as_its_certificate_is_good() {
    let (stage, ours) = (Stage::new().await, ClientRoot::new("ours"));
    let proxy = stage.setup(Some(&stage.ca(&ours))).start_healthy().await;
    let brief = ours.issue_for(Duration::from_secs(8));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let hello = Hello::to("closed.test").versions(&[version]).showing(&brief);
        assert_eq!(served(&proxy, hello.clone()).await.expect("served"), 200);
        assert!(hello.connect(proxy.https()).await.resumed);
    }
    let hello = Hello::to("closed.test").versions(&[&rustls::version::TLS12]).showing(&brief);
    until(PATIENCE, "the certificate to expire", || async { served(&proxy, hello.clone()).await.is_err() })
        .await;
    let hits = stage.closed.hits();
    assert!(served(&proxy, hello).await.is_err(), "and it stays refused");
    assert_eq!(stage.closed.hits(), hits);
}
