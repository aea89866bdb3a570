//! Error and maintenance pages from files: which one is served to whom, and what a file that changes or vanishes does.

use switcher_tests::certificate::put;
use switcher_tests::http1::{Answer, get, get_with, request};
use switcher_tests::http2::{self, Http2};
use switcher_tests::port::Refusing;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Raw, Setup, Switcher, until};
use tempfile::TempDir;

const SORRY: &str = "<p>{status} {reason}: {message} ({request_id})</p>";
const BROWSER: (&str, &str) = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");

fn folder(pages: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for (name, text) in pages {
        put(&folder.path().join(name), text);
    }
    folder
}

async fn start(setup: Setup, pages: &[(&str, &str)]) -> Proxy {
    let mut proxy = Proxy::spawn_in(folder(pages), setup, &[]);
    proxy.wait_up().await;
    proxy
}

/// An answer whose body is as long as it says.
fn page(answer: &Answer) -> String {
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.text()
}

#[tokio::test]
async fn what_is_no_request_gets_the_page_of_the_whole_proxy() {
    let app = App::start("blue").await;
    let setup = Setup::one(app.upstream()).proxy("error_pages", "{4xx: sorry.html}");
    let proxy = start(setup, &[("sorry.html", SORRY)]).await;
    let mut client = Http1::connect(proxy.http()).await;
    let answer = client.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("connection")), (400, Some("close")));
    let id = answer.header("x-request-id").expect("an id").to_owned();
    let text = page(&answer);
    assert!(text.starts_with("<p>400 Bad Request: ") && text.contains(&id), "{text}");
}

#[tokio::test]
async fn a_page_stands_for_the_proxys_own_answer_in_every_protocol() {
    let dead = Refusing::start();
    let setup = Setup::one(dead.address()).shop("error_pages", "{502-504: sorry.html, 4xx: missing.html}");
    let proxy = start(setup, &[("sorry.html", SORRY), ("missing.html", "no")]).await;
    for headers in [&[][..], &[BROWSER]] {
        let answer = get_with(proxy.http(), "/", headers).await;
        let id = answer.header("x-request-id").expect("an id").to_owned();
        let status = answer.status;
        let reason = http::StatusCode::from_u16(status).expect("a status").canonical_reason().expect("words");
        let text = page(&answer);
        assert!(text.starts_with(&format!("<p>{status} {reason}: ")) && text.contains(&id), "{text}");
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    }
    let json = get_with(proxy.http(), "/", &[("Accept", "application/json")]).await;
    assert!(json.json()["error"].is_string(), "a program gets what it reads: {}", json.text());
    let mut client = Http1::connect(proxy.http()).await;
    let head = client.exchange(&request("HEAD", "/", &[], b"")).await;
    assert!((502..505).contains(&head.status) && head.body.is_empty());
    let promised: usize = head.header("content-length").expect("a length").parse().expect("a number");
    assert!(promised > SORRY.len());
    let over_http2 = Http2::tls(proxy.https(), "shop.test").await;
    for _ in 0..2 {
        let answer = over_http2.exchange(http2::get("/"), b"").await;
        assert!(answer.text().starts_with("<p>50") && answer.header("content-length").is_some());
        let head = over_http2.exchange(http2::request("HEAD", "/", &[]), b"").await;
        assert_eq!(
            (head.text().as_str(), head.header("content-type")),
            ("", Some("text/html; charset=utf-8"))
        );
    }
}

#[tokio::test]
async fn an_applications_own_errors_are_replaced_only_when_that_is_asked_for() {
    let app = App::start("blue").await;
    let pages = [("missing.html", "<h1>{status}</h1> {message}")];
    let setup = Setup::one(app.upstream()).shop("error_pages", "{404: missing.html}");
    let own = start(setup.clone(), &pages).await;
    own.wait_healthy().await;
    assert_eq!(get(own.http(), "/status/404").await.text(), "blue");
    let all = start(setup.shop("error_pages_for", "all"), &pages).await;
    all.wait_healthy().await;
    let mut client = Http1::connect(all.http()).await;
    for _ in 0..3 {
        let answer = client.exchange(&request("GET", "/status/404", &[], b"")).await;
        assert_eq!(page(&answer), "<h1>404</h1> The application answered 404, Not Found.");
        assert_eq!((answer.status, answer.header("x-app")), (404, Some("blue")));
        let head = client.exchange(&request("HEAD", "/status/404", &[], b"")).await;
        assert_eq!((head.status, head.body.len()), (404, 0));
        assert_eq!(client.exchange(&request("GET", "/", &[], b"")).await.text(), "blue");
    }
    assert_eq!(get(all.http(), "/status/500").await.text(), "blue", "another status");
    assert_eq!(all.record_of("/status/404").await["error"], serde_json::Value::Null, "nothing failed");
    let json = get_with(all.http(), "/status/404", &[("Accept", "application/json")]).await;
    assert_eq!(json.text(), "blue", "an API's words are left alone");
    let over_http2 = Http2::tls(all.https(), "shop.test").await;
    let answer = over_http2.exchange(http2::get("/status/404"), b"").await;
    assert!(answer.text().starts_with("<h1>404</h1>"), "{}", answer.text());
}

#[tokio::test]
async fn a_page_takes_the_place_of_any_body_and_the_headers_about_it_and_leaves_the_others() {
    for (kind, answer) in [
        ("chunked", &b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\nETag: \"a\"\r\nContent-Encoding: gzip\r\nRetry-After: 7\r\nWWW-Authenticate: Basic\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n5\r\nhello\r\n5\r\nagain\r\n0\r\n\r\n"[..]),
        ("empty", b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nETag: \"a\"\r\nRetry-After: 7\r\nWWW-Authenticate: Basic\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"),
        ("closed", b"HTTP/1.0 503 No\r\nETag: \"a\"\r\nRetry-After: 7\r\nWWW-Authenticate: Basic\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nhello"),
    ] {
        let upstream = Raw::answering(answer).await;
        let setup = Setup::one(upstream.address()).shop("error_pages", "{5xx: sorry.html}").shop("error_pages_for", "all");
        let proxy = start(setup, &[("sorry.html", "<p>{status}</p>")]).await;
        proxy.wait_healthy().await;
        for _ in 0..2 {
            let answer = get(proxy.http(), "/").await;
            assert_eq!((answer.status, page(&answer).as_str()), (503, "<p>503</p>"), "{kind}");
            assert_eq!(answer.header("etag").or(answer.header("content-encoding")), None, "{kind}");
            assert_eq!(answer.header("retry-after"), Some("7"), "{kind}");
            assert_eq!(answer.header("www-authenticate"), Some("Basic"), "{kind}");
            assert_eq!(answer.head.all("set-cookie"), ["a=1", "b=2"], "{kind}");
        }
        let over_http2 = Http2::tls(proxy.https(), "shop.test").await;
        let answer = over_http2.exchange(http2::get("/"), b"").await;
        assert_eq!(answer.text(), "<p>503</p>", "{kind}");
    }
    let app = App::h2c("blue").await;
    let setup =
        Setup::one(app.upstream()).shop("error_pages", "{5xx: sorry.html}").shop("error_pages_for", "all");
    let proxy = start(setup, &[("sorry.html", "<p>{status}</p>")]).await;
    proxy.wait_healthy().await;
    for _ in 0..3 {
        assert_eq!(page(&get(proxy.http(), "/status/500").await), "<p>500</p>");
    }
}

#[tokio::test]
async fn a_stopped_application_and_an_unknown_host_have_pages_of_their_own() {
    let app = App::start("blue").await;
    let setup = Setup::one(app.upstream())
        .shop("hosts", "[shop.test]")
        .shop("error_pages", "{503: sorry.html}")
        .shop("maintenance", "{page: maintenance.html}")
        .proxy("error_pages", "{404: nobody.html}");
    let pages = [
        ("sorry.html", "sorry"),
        ("maintenance.html", "<em>{message}</em>"),
        ("nobody.html", "nobody at home"),
    ];
    let proxy = start(setup, &pages).await;
    proxy.wait_healthy().await;
    proxy.admin().stop(Some("Back at <noon>.")).await.expect("stopped");
    let stopped = get_with(proxy.http(), "/", &[("Host", "shop.test")]).await;
    assert_eq!((stopped.status, page(&stopped).as_str()), (503, "<em>Back at &lt;noon&gt;.</em>"));
    let nobody = get_with(proxy.http(), "/", &[("Host", "other.test")]).await;
    assert_eq!((nobody.status, page(&nobody).as_str()), (404, "nobody at home"));
}

#[tokio::test]
async fn a_page_is_read_again_when_it_changes_and_goes_on_when_it_vanishes() {
    let dead = Refusing::start();
    let setup = Setup::one(dead.address()).shop("error_pages", "{5xx: sorry.html}");
    let mut proxy = start(setup.clone(), &[("sorry.html", "first")]).await;
    let text = async || get(proxy.http(), "/").await.text();
    assert_eq!(text().await, "first");
    put(&proxy.path("sorry.html"), "the second");
    until(PATIENCE, "the changed page", || async { text().await == "the second" }).await;
    std::fs::remove_file(proxy.path("sorry.html")).expect("removed");
    until(PATIENCE, "the loss to be said", || async {
        proxy.stderr().contains("its last good copy goes on")
    })
    .await;
    assert_eq!(text().await, "the second");
    // A reload is refused for as long as it is missing, and changes nothing.
    let refused = proxy.admin().reload().await.expect_err("refused");
    let why = &refused.refusal.message;
    assert!(why.contains("sorry.html") && why.contains("is not there") && why.contains("5xx"), "{why}");
    assert_eq!(text().await, "the second");
    put(&proxy.path("other.html"), "another");
    proxy.configure(setup.shop("error_pages", "{5xx: other.html}"));
    proxy.admin().reload().await.expect("reloaded");
    assert_eq!(get(proxy.http(), "/").await.text(), "another");
    assert_eq!(proxy.stderr().matches("its last good copy goes on").count(), 1);
}

#[tokio::test]
async fn a_page_that_is_missing_is_a_problem_of_the_configuration_everywhere() {
    let app = App::start("blue").await;
    let setup = || Setup::one(app.upstream()).shop("error_pages", "{404: pages/missing.html}");
    let mut proxy = Proxy::spawn(setup());
    let started = proxy.exit().await;
    let mut checked = Proxy::spawn(setup().argument("--check"));
    let check = checked.exit().await;
    let folder = folder(&[(
        "switcher.yaml",
        "apps:\n  shop:\n    slots: {blue: [127.0.0.1:8001]}\n    error_pages:\n      404: pages/missing.html\n",
    )]);
    let cli = Switcher::bare(folder.path()).run(&["config", "check"]).await;
    assert_eq!(
        (started.code, check.code, cli.code),
        (Some(10), Some(10), 10),
        "{started:?} {check:?} {cli:?}"
    );
    for said in [started.stderr, check.stderr, format!("{}{}", cli.stdout, cli.stderr)] {
        for part in ["apps.shop.error_pages.404", "pages/missing.html", "is not there", "write the page"] {
            assert!(said.contains(part), "{part} is missing:\n{said}");
        }
    }
    assert!(cli.stderr.contains("switcher.yaml:5") || cli.stdout.contains("switcher.yaml:5"), "{cli:?}");
}
