//! http-01: requests of authorities are ours before any redirect, for every host, while certificates are asked for.

use switcher_tests::certificate::Certificate;
use switcher_tests::http1::{get_with, request};
use switcher_tests::tls::Hello;
use switcher_tests::{App, Http1, Setup};

const TOKEN: &str = "/.well-known/acme-challenge/LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";

/// Asks for certificates of an authority that nobody answers for.
fn asking(app: &App) -> Setup {
    Setup::one(app.upstream())
        .shop("hosts", "[shop.test]")
        .shop("redirect", "true")
        .acme("directory", "https://127.0.0.1:9/directory")
}

#[tokio::test]
async fn an_unknown_token_is_404_for_every_host_and_never_proxied() {
    let app = App::start("blue").await;
    let proxy = asking(&app)
        .another("plain", app.upstream(), &[("hosts", "[plain.test]"), ("tls", "off")])
        .start_healthy()
        .await;
    let ask = async |host: &str| get_with(proxy.http(), TOKEN, &[("Host", host)]).await;
    for host in ["shop.test", "plain.test", "stranger.test", "127.0.0.1"] {
        let answer = ask(host).await;
        assert_eq!(answer.status, 404, "{host}");
        assert!(answer.text().contains("token"), "{}", answer.text());
    }
    proxy.admin().pause(Some("20s")).await.expect("paused");
    assert_eq!(ask("shop.test").await.status, 404, "paused");
    proxy.admin().stop(None).await.expect("stopped");
    assert_eq!(ask("shop.test").await.status, 404, "stopped");
    let mut client = Http1::connect(proxy.http()).await;
    let answer = client.exchange(&request("HEAD", TOKEN, &[("Host", "shop.test")], b"")).await;
    assert_eq!((answer.status, answer.text().as_str()), (404, ""));
    assert_eq!(app.hits(), 0);
    let record = proxy.record_of(TOKEN).await;
    assert_eq!((record["status"].as_u64(), record["app"].as_str()), (Some(404), None), "{record}");
}

#[tokio::test]
async fn what_is_no_look_at_a_challenge_goes_the_ordinary_way() {
    let app = App::start("blue").await;
    let folder = tempfile::TempDir::new().expect("a folder");
    let (certificate, key) = Certificate::of(&["shop.test"]).write(folder.path(), "shop");
    let files = format!("{{certificate: {}, key: {}}}", certificate.display(), key.display());
    let proxy = asking(&app).shop("tls", &files).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    for (method, path) in
        [("POST", TOKEN), ("GET", "/.well-known/acme-challenge"), ("GET", "/.well-known/other")]
    {
        let answer = client.exchange(&request(method, path, &[("Host", "shop.test")], b"")).await;
        assert_eq!(answer.status, 308, "{method} {path}");
    }
    let mut client = Hello::to("shop.test").http1(proxy.https()).await;
    assert_eq!(client.exchange(&request("GET", TOKEN, &[], b"")).await.text(), "blue", "on TLS");
}

#[tokio::test]
async fn without_acme_the_requests_are_the_application_s() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    assert_eq!(get_with(proxy.http(), TOKEN, &[]).await.text(), "blue", "somebody behind us may be asked");
}
