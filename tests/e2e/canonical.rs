//! The canonical host: one hop from any other host of the application, whatever the scheme.

use switcher_tests::certificate::Certificate;
use switcher_tests::http1::{get_with, request};
use switcher_tests::tls::Hello;
use switcher_tests::{App, Proxy, Setup};

fn setup(app: &App) -> Setup {
    Setup::one(app.upstream()).shop("hosts", "[shop.test, www.shop.test]").shop("canonical_host", "shop.test")
}

async fn location(proxy: &Proxy, host: &str, more: &[(&str, &str)]) -> (u16, Option<String>) {
    let headers: Vec<_> = [("Host", host)].into_iter().chain(more.iter().copied()).collect();
    let answer = get_with(proxy.http(), "/cart?item=1&n=2", &headers).await;
    (answer.status, answer.header("location").map(str::to_owned))
}

#[tokio::test]
async fn plain_requests_stay_plain_where_there_is_no_redirect() {
    let app = App::start("blue").await;
    let proxy = setup(&app).start_healthy().await;
    let to = |text: &str| (308, Some(text.to_owned()));
    assert_eq!(location(&proxy, "www.shop.test", &[]).await, to("http://shop.test/cart?item=1&n=2"));
    assert_eq!(location(&proxy, "WWW.shop.test:80", &[]).await, to("http://shop.test/cart?item=1&n=2"));
    assert_eq!(
        location(&proxy, "www.shop.test:8080", &[]).await,
        to("http://shop.test:8080/cart?item=1&n=2")
    );
    assert_eq!(app.hits(), 0);
    assert_eq!(location(&proxy, "SHOP.test", &[]).await, (200, None));
}

#[tokio::test]
async fn a_plain_request_for_another_host_comes_to_https_and_the_canonical_host_in_one_hop() {
    let app = App::start("blue").await;
    let proxy =
        setup(&app).shop("redirect", "true").proxy("trusted_proxies", "[127.0.0.1]").start_healthy().await;
    let port = proxy.https().port();
    let wanted = Some(format!("https://shop.test:{port}/cart?item=1&n=2"));
    let own = proxy.http().port();
    for host in ["www.shop.test", "shop.test"] {
        assert_eq!(location(&proxy, &format!("{host}:{own}"), &[]).await, (308, wanted.clone()), "{host}");
        assert_eq!(
            location(&proxy, host, &[]).await,
            (308, Some("https://shop.test/cart?item=1&n=2".to_owned())),
            "{host}: something in front maps the usual ports to these"
        );
    }
    let behind = [("X-Forwarded-Proto", "https")];
    assert_eq!(
        location(&proxy, "www.shop.test", &behind).await,
        (308, Some("https://shop.test/cart?item=1&n=2".to_owned())),
        "a trusted proxy has ended the TLS, at the port that the client came by"
    );
    assert_eq!(location(&proxy, "shop.test", &behind).await.0, 200);
}

#[tokio::test]
async fn on_tls_the_host_changes_and_the_port_stays() {
    let app = App::start("blue").await;
    let folder = tempfile::TempDir::new().expect("a folder");
    let (certificate, key) = Certificate::of(&["shop.test", "www.shop.test"]).write(folder.path(), "shop");
    let files = format!("{{certificate: {}, key: {}}}", certificate.display(), key.display());
    let proxy = setup(&app).shop("tls", &files).start_healthy().await;
    let mut client = Hello::to("www.shop.test").http1(proxy.https()).await;
    for (host, location) in [
        ("www.shop.test", "https://shop.test/a?b"),
        ("www.shop.test:443", "https://shop.test/a?b"),
        ("www.shop.test:8443", "https://shop.test:8443/a?b"),
    ] {
        let answer = client.exchange(&request("POST", "/a?b", &[("Host", host)], b"")).await;
        assert_eq!((answer.status, answer.header("location")), (308, Some(location)));
    }
    assert_eq!(client.exchange(&request("GET", "/", &[("Host", "shop.test")], b"")).await.text(), "blue");
}
