//! CORS end to end: what browsers are told of answers, of the application's, of the proxy's own, and before a login.

use switcher_tests::http1::{Answer, get_with, request};
use switcher_tests::{App, Http1, Http2, PATIENCE, Proxy, Raw, Setup, http2, until};

const PAGE: &str = "https://app.example.com";
const CORS: &str = "{origins: [https://app.example.com, 'https://*.example.org'], methods: [GET, PUT], headers: [X-Token], expose: [X-Total], credentials: true, max_age: 1h}";

async fn with(upstream: impl ToString, middleware: &str, paths: &str) -> Proxy {
    Setup::one(upstream).shop("middleware", middleware).shop("paths", paths).start_healthy().await
}

async fn asks(proxy: &Proxy, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
    Http1::connect(proxy.http()).await.exchange(&request(method, target, headers, b"")).await
}

fn told(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

#[tokio::test]
async fn a_page_that_may_reads_answers_and_what_the_application_says_is_replaced() {
    let says = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: *\r\nVary: Accept\r\n\r\nok";
    let upstream = Raw::answering(says).await;
    let proxy = with(upstream.address(), &format!("{{cors: {CORS}}}"), "{/as-it-says: {cors: off}}").await;
    for (origin, may) in
        [(PAGE, true), ("https://shop.example.org", true), ("https://evil.test", false), ("null", false)]
    {
        let answer = asks(&proxy, "GET", "/", &[("Origin", origin)]).await;
        assert_eq!((answer.status, told(&answer)), (200, may.then_some(origin)), "{origin}");
        assert_eq!(answer.header("access-control-allow-credentials"), may.then_some("true"));
        assert_eq!(answer.header("access-control-expose-headers"), may.then_some("X-Total"));
        assert_eq!(answer.head.all("vary"), ["Accept", "origin"]);
    }
    let plain = asks(&proxy, "GET", "/", &[]).await;
    assert_eq!((told(&plain), plain.head.all("vary")), (None, vec!["Accept", "origin"]));
    assert_eq!(told(&asks(&proxy, "GET", "/as-it-says", &[("Origin", PAGE)]).await), Some("*"));
    let second = Http2::connect(proxy.http()).await;
    let answer = second.exchange(http2::request("GET", "/", &[("origin", PAGE)]), b"").await;
    assert_eq!(answer.headers["access-control-allow-origin"], PAGE);
}

#[tokio::test]
async fn a_preflight_is_answered_before_any_login_and_reaches_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let users = folder.path().join("users");
    switcher_tests::certificate::put(&users, "ann:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/\n");
    let app = App::start("blue").await;
    let middleware = format!("{{cors: {CORS}, basic_auth: {{file: {}}}}}", users.display());
    let proxy = with(app.upstream(), &middleware, "{/closed: {deny: [127.0.0.1]}}").await;
    let wish = |origin| [("Origin", origin), ("Access-Control-Request-Method", "PUT")];
    let answer = asks(&proxy, "OPTIONS", "/", &wish(PAGE)).await;
    assert_eq!((answer.status, told(&answer)), (204, Some(PAGE)));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, PUT"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("X-Token"));
    assert_eq!(answer.header("access-control-max-age"), Some("3600"));
    let stranger = asks(&proxy, "OPTIONS", "/", &wish("https://evil.test")).await;
    assert_eq!(
        (stranger.status, told(&stranger), stranger.header("access-control-allow-methods")),
        (204, None, None)
    );
    let second = Http2::connect(proxy.http()).await;
    let post = http2::request("OPTIONS", "/", &[("origin", PAGE), ("access-control-request-method", "PUT")]);
    let answer = second.exchange(post, b"").await;
    assert_eq!(
        (answer.status, &answer.headers["access-control-allow-origin"]),
        (204, &PAGE.parse().expect("a value"))
    );
    // Whose address is not let in learns nothing; and an OPTIONS that is no preflight is a request like any other.
    assert_eq!(asks(&proxy, "OPTIONS", "/closed", &wish(PAGE)).await.status, 403);
    assert_eq!(asks(&proxy, "OPTIONS", "/", &[("Origin", PAGE)]).await.status, 401);
    assert_eq!(app.hits(), 0);
}

#[tokio::test]
async fn the_proxys_own_answers_may_be_read_too() {
    let app = App::start("blue").await;
    let middleware =
        "{cors: {origins: '*'}, rate_limit: {requests: 1, per: 1h, by: header X-Tenant}, body_size: 10B}";
    let proxy = with(app.upstream(), middleware, "{/closed: {deny: [127.0.0.1]}}").await;
    let from = |name, value| [("Origin", PAGE), (name, value)];
    assert_eq!(told(&get_with(proxy.http(), "/closed", &from("X", "1")).await), Some("*"));
    let tenant = from("X-Tenant", "a");
    get_with(proxy.http(), "/", &tenant).await;
    let refused = get_with(proxy.http(), "/", &tenant).await;
    assert_eq!((refused.status, told(&refused)), (429, Some("*")));
    let large = asks(&proxy, "POST", "/", &from("Content-Length", "11")).await;
    assert_eq!((large.status, told(&large)), (413, Some("*")));
    app.stop().await;
    until(PATIENCE, "nobody to be there", || async { get_with(proxy.http(), "/", &[]).await.status >= 502 })
        .await;
    assert_eq!(told(&get_with(proxy.http(), "/", &from("X", "1")).await), Some("*"));
}

#[tokio::test]
async fn a_path_may_have_a_smaller_body_or_one_of_any_size() {
    let app = App::start("blue").await;
    let proxy =
        with(app.upstream(), "{body_size: 1KiB}", "{/small: {body_size: 10B}, /any: {body_size: off}}").await;
    let body = [b'b'; 1024];
    for (target, size, status) in
        [("/count", 1024, 200), ("/small", 11, 413), ("/small/x", 10, 200), ("/any", 1024, 200)]
    {
        let mut client = Http1::connect(proxy.http()).await;
        let answer = client.exchange(&request("POST", target, &[], &body[..size])).await;
        assert_eq!(answer.status, status, "{size} bytes to {target}");
    }
    let two = [&body[..], &body[..]].concat();
    for (target, status) in [("/any", 200), ("/count", 413)] {
        let answer = Http1::connect(proxy.http()).await.exchange(&request("POST", target, &[], &two)).await;
        assert_eq!(answer.status, status, "{target}");
    }
}
