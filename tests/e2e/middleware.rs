//! Middleware end to end: each kind against real sockets, what paths add and take away, and what it must never let through.

use std::path::Path;
use std::process::Command;

use switcher_tests::certificate::put;
use switcher_tests::http1::{Answer, get, get_with, request};
use switcher_tests::part::skip_or_fail;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, Http2, PATIENCE, Proxy, Setup, http2, until};

async fn with(app: &App, middleware: &str, paths: &str) -> Proxy {
    Setup::one(app.upstream()).shop("middleware", middleware).shop("paths", paths).start_healthy().await
}

async fn statuses(proxy: &Proxy, targets: &[&str]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for target in targets {
        statuses.push(get(proxy.http(), target).await.status);
    }
    statuses
}

#[tokio::test]
async fn clients_are_let_in_by_their_address_and_a_path_may_say_otherwise() {
    let app = App::start("blue").await;
    let setup = Setup::one(app.upstream())
        .proxy("trusted_proxies", "[127.0.0.1]")
        .proxy("middleware", "{deny: [203.0.113.0/24]}");
    let paths = "{/admin: {allow: [10.0.0.0/8]}, /admin/open: {allow: off}, /all: {deny: off}}";
    let proxy = setup.shop("paths", paths).start_healthy().await;
    let ask = async |from: &str, target: &str| {
        get_with(proxy.http(), target, &[("X-Forwarded-For", from)]).await.status
    };
    assert_eq!((ask("203.0.113.7", "/").await, ask("198.51.100.1", "/").await), (403, 200));
    assert_eq!((ask("10.1.2.3", "/admin").await, ask("198.51.100.1", "/admin/x").await), (200, 403));
    assert_eq!(
        (ask("198.51.100.1", "/admin/open").await, ask("203.0.113.7", "/admin/open").await),
        (200, 403)
    );
    assert_eq!(ask("203.0.113.7", "/all").await, 200);
    let as_json = [("X-Forwarded-For", "203.0.113.7"), ("Accept", "application/json")];
    let refused = get_with(proxy.http(), "/", &as_json).await;
    assert_eq!(refused.json()["error"], "address");
    assert_eq!(app.hits(), 4, "who is refused does not reach the application");
}

#[tokio::test]
async fn a_path_that_may_mean_another_place_reaches_nobody() {
    let app = App::start("blue").await;
    let proxy = with(&app, "{}", "{/admin: {allow: [10.0.0.0/8]}}").await;
    for target in [
        "/admin",
        "/%61dmin",
        "//admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x%2f..%2fadmin",
        "/;a/admin/../admin",
    ] {
        let status = get(proxy.http(), target).await.status;
        assert!(status == 403 || status == 400, "{target}: {status}");
        let second = Http2::connect(proxy.http()).await.exchange(http2::get(target), b"").await.status;
        assert!(second == 403 || second == 400, "{target} by HTTP/2: {second}");
    }
    assert_eq!(app.hits(), 0);
    assert_eq!(statuses(&proxy, &["/a%20b", "/public//x", "/administrator"]).await, [200, 200, 200]);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let app = App::start("blue").await;
    let proxy =
        with(&app, "{rate_limit: {requests: 2, per: 1h, burst: 3}}", "{/free: {rate_limit: off}}").await;
    let mut client = Http1::connect(proxy.http()).await;
    for left in [2, 1, 0] {
        let answer = client.exchange(&request("GET", "/", &[], b"")).await;
        let told = answer.header("ratelimit").expect("where it stands").to_owned();
        assert!(answer.status == 200 && told.starts_with(&format!("\"requests\";r={left};t=")), "{told}");
        assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=3"));
    }
    let refused = client.exchange(&request("GET", "/", &[("Accept", "application/json")], b"")).await;
    assert_eq!((refused.status, refused.json()["error"].as_str()), (429, Some("rate_limit")));
    let wait: u64 =
        refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("when to come back");
    assert!((1700..=1800).contains(&wait), "{wait}");
    assert_eq!(client.exchange(&request("GET", "/free", &[], b"")).await.status, 200);
    proxy.wait_limit("rate_limit", 1).await;
    proxy.admin().reload().await.expect("a reload");
    assert_eq!(get(proxy.http(), "/").await.status, 429, "a reload forgets nothing");
}

#[tokio::test]
async fn each_of_those_counted_apart_has_its_own() {
    let app = App::start("blue").await;
    let proxy = with(&app, "{rate_limit: {requests: 1, per: 1h, by: header X-Tenant}}", "{}").await;
    let ask = async |tenant: &str| get_with(proxy.http(), "/", &[("X-Tenant", tenant)]).await.status;
    assert_eq!((ask("a").await, ask("a").await, ask("b").await), (200, 429, 200));
    assert_eq!(statuses(&proxy, &["/", "/", "/"]).await, [200, 200, 200], "who has none is not counted");
}

#[tokio::test]
async fn no_more_is_under_way_at_once_than_may_be() {
    let app = App::start("blue").await;
    let proxy = with(&app, "{in_flight: {requests: 2}}", "{}").await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut client = Http1::connect(proxy.http()).await;
        client.send(&request("GET", "/gate", &[], b"")).await;
        waiting.push(client);
    }
    until(PATIENCE, "both to be at the application", || async { app.waiting() == 2 }).await;
    let refused = get(proxy.http(), "/").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    app.open_gate();
    for client in &mut waiting {
        assert_eq!(client.head().await.status(), 200);
    }
    drop(waiting);
    until(PATIENCE, "a place to be free", || async { get(proxy.http(), "/").await.status == 200 }).await;
}

fn htpasswd(file: &Path, arguments: &[&str]) -> bool {
    Command::new("htpasswd").args(arguments).output().is_ok_and(|made| {
        put(file, &String::from_utf8_lossy(&made.stdout));
        made.status.success()
    })
}

async fn login(proxy: &Proxy, credentials: &str) -> Answer {
    use base64::Engine as _;
    let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(credentials));
    get_with(proxy.http(), "/who", &[("Authorization", &value), ("X-User", "root"), ("X_User", "root")]).await
}

#[tokio::test]
async fn names_and_passwords_of_htpasswd_are_asked_for() {
    for kind in ["-nbB", "-nbm"] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("users");
        if !htpasswd(&file, &[kind, "ann", "se:cret"]) {
            return skip_or_fail("htpasswd (apache2-utils) is not here");
        }
        let app = App::start("blue").await;
        let middleware =
            format!("{{basic_auth: {{file: {}, realm: Shop, user_header: X-User}}}}", file.display());
        let proxy = with(&app, &middleware, "{/open: {basic_auth: off}}").await;
        let asked = get(proxy.http(), "/").await;
        assert_eq!(
            (asked.status, asked.header("www-authenticate")),
            (401, Some("Basic realm=\"Shop\", charset=\"UTF-8\""))
        );
        for wrong in ["ann:secret", "ann:", "bob:se:cret", ":", "ann"] {
            assert_eq!(login(&proxy, wrong).await.status, 401, "{wrong}");
        }
        assert_eq!(app.hits(), 0);
        for _ in 0..2 {
            assert_eq!(login(&proxy, "ann:se:cret").await.status, 200, "{kind}");
        }
        let seen = app.last();
        assert_eq!((seen.header("x-user"), seen.header("authorization")), (Some("ann"), None));
        assert_eq!(seen.header("x_user"), None, "some read it as the same");
        assert_eq!(get(proxy.http(), "/open").await.status, 200);
        assert!(htpasswd(&file, &[kind, "ann", "another"]));
        until(PATIENCE, "the file to be read again", || async {
            login(&proxy, "ann:another").await.status == 200
        })
        .await;
        assert_eq!(login(&proxy, "ann:se:cret").await.status, 401);
    }
}

#[tokio::test]
async fn a_file_of_passwords_that_is_none_stops_the_start_and_a_reload_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("users");
    put(&file, "ann:plain-text\n");
    let app = App::start("blue").await;
    let mut proxy = with(&app, "{}", "{}").await;
    let middleware = format!("{{basic_auth: {{file: {}}}}}", file.display());
    proxy.configure(Setup::one(app.upstream()).shop("middleware", &middleware));
    let refused = proxy.admin().reload().await.expect_err("no such users");
    let text = format!("{refused:?}");
    assert!(
        text.contains("line 1") && text.contains("htpasswd -B") && !text.contains("plain-text"),
        "{text}"
    );
    assert_eq!(get(proxy.http(), "/").await.status, 200, "it goes on as before");
}

#[tokio::test]
async fn requests_are_sent_on_by_patterns() {
    let app = App::start("blue").await;
    let redirects = "{redirects: [{from: '^/old/(.*)$', to: '/new/$1', status: 301}, {from: ^/away$, to: 'https://other.example/'}]}";
    let proxy = with(&app, redirects, "{}").await;
    let moved = get(proxy.http(), "/old/a/b?x=1").await;
    assert_eq!((moved.status, moved.header("location")), (301, Some("/new/a/b?x=1")));
    let away = get(proxy.http(), "/away").await;
    assert_eq!((away.status, away.header("location")), (308, Some("https://other.example/")));
    assert_eq!(get(proxy.http(), "/old").await.status, 200);
}

#[tokio::test]
async fn a_place_may_be_answered_without_the_application() {
    let app = App::start("blue").await;
    let paths = "{/robots.txt: {answer: {body: 'User-agent: *'}}, /gone: {answer: {status: 410}}, /empty: {answer: {status: 204}}}";
    let proxy = with(&app, "{}", paths).await;
    let mut client = Http1::connect(proxy.http()).await;
    for (target, status, body) in
        [("/robots.txt", 200, "User-agent: *"), ("/gone", 410, ""), ("/empty", 204, "")]
    {
        let answer = client.exchange(&request("GET", target, &[], b"")).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{target}");
    }
    assert_eq!(app.hits(), 0);
    let second = Http2::connect(proxy.http()).await.exchange(http2::get("/robots.txt"), b"").await;
    assert_eq!((second.status, second.text().as_str()), (200.try_into().expect("a status"), "User-agent: *"));
}

#[tokio::test]
async fn the_application_sees_another_target() {
    let app = App::start("blue").await;
    let proxy =
        with(&app, "{}", "{/api: {rewrite: {strip: /api, prefix: /v2}}, /ws: {rewrite: {strip: /ws}}}").await;
    get(proxy.http(), "/api/users?x=1").await;
    let seen = app.last();
    assert_eq!((seen.target.as_str(), seen.header("x-forwarded-prefix")), ("/v2/users?x=1", Some("/api")));
    Http2::connect(proxy.http()).await.exchange(http2::get("/api/users"), b"").await;
    assert_eq!(app.last().target, "/v2/users");
    let mut socket = WebSocket::connect(proxy.http(), "/ws/socket").await;
    assert_eq!(socket.text().await, "blue");
    assert_eq!(socket.ask("hello").await, "hello");
    assert_eq!(proxy.record_of("/api/users").await["status"], 200, "the log says what was asked for");
}

#[tokio::test]
async fn headers_are_changed_on_both_ways() {
    let app = App::start("blue").await;
    let middleware = "{request_headers: {remove: [X-Debug], set: {X-Api-Key: secret, X-Real-IP: '{client_ip}'}}, response_headers: {remove: [X-Powered-By], set: {X-Frame-Options: DENY}}}";
    let proxy = with(&app, middleware, "{/plain: {response_headers: off}}").await;
    let said = [("X-Debug", "1"), ("X-Api-Key", "mine"), ("X-Real-IP", "192.0.2.1")];
    let answer = get_with(proxy.http(), "/", &said).await;
    let seen = app.last();
    assert_eq!((seen.header("x-debug"), seen.header("x-api-key")), (None, Some("secret")));
    assert_eq!(seen.header("x-real-ip"), Some("127.0.0.1"), "the client's address, not its word");
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert_eq!(get(proxy.http(), "/plain").await.header("x-frame-options"), None);
    app.stop().await;
    until(PATIENCE, "the proxy's own answer", || async { get(proxy.http(), "/").await.status >= 502 }).await;
    assert_eq!(
        get(proxy.http(), "/").await.header("x-frame-options"),
        Some("DENY"),
        "the proxy's own answers too"
    );
}
