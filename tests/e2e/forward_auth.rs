//! Forward authentication end to end: what is asked, what a yes hands on, what a no tells the client, and that without a
//! word nobody passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use switcher_config::Slot;
use switcher_tests::http1::{Head, get, get_with, request};
use switcher_tests::port::Refusing;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, Http2, PATIENCE, Proxy, Raw, Setup, http2, until};

const YES: &str = "HTTP/1.1 200 OK\r\nX-User: ann\r\nX-Groups: a\r\nX-Groups: b\r\nX-Else: 1\r\nContent-Length: 2\r\n\r\nok";
const NO: &str = "HTTP/1.1 302 Found\r\nLocation: https://login.example/?rd=1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nKeep-Alive: timeout=5\r\nContent-Length: 5\r\n\r\nlogin";

/// Says yes to the session `good` and no to everybody else.
async fn asked() -> Raw {
    Raw::start(|mut conversation| async move {
        while let Some(head) = conversation.request_head().await {
            let good = head.get("cookie").is_some_and(|cookie| cookie.contains("session=good"));
            if conversation.wire.try_send(if good { YES } else { NO }.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

async fn with(app: &App, auth: impl std::fmt::Display, keys: &str) -> Proxy {
    let middleware = format!(
        "{{forward_auth: {{url: 'http://{auth}/verify?from=shop', response_headers: [X-User, X-Groups]{keys}}}}}"
    );
    let setup = Setup::one(app.upstream()).shop("middleware", &middleware);
    setup.shop("paths", "{/open: {forward_auth: off}}").start_healthy().await
}

const GOOD: (&str, &str) = ("Cookie", "x=1; session=good");

#[tokio::test]
async fn a_yes_lets_a_request_through_with_what_it_says_and_nothing_that_the_client_made_up() {
    let (app, auth) = (App::start("blue").await, asked().await);
    let proxy = with(&app, auth.address(), "").await;
    let made_up =
        [("X-User", "root"), ("X_User", "root"), ("X-Groups", "admins"), ("X-Forwarded-Uri", "/public")];
    let headers =
        [&[GOOD, ("X-Switcher-Bypass", "secret"), ("Authorization", "Bearer x")][..], &made_up].concat();
    let sent = request("POST", "/count?a=b", &headers, b"body");
    let mut client = Http1::connect(proxy.http()).await;
    assert_eq!(client.exchange(&sent).await.json()["bytes"], 4);
    let seen = app.last();
    assert_eq!(
        (seen.header("x-user"), seen.header("x_user"), seen.header("x-else")),
        (Some("ann"), None, None)
    );
    assert_eq!(seen.headers.get_all("x-groups").iter().collect::<Vec<_>>(), ["a", "b"]);
    let question: Head = auth.requests()[0].head.clone();
    assert_eq!(question.line, "GET /verify?from=shop HTTP/1.1");
    for (name, value) in [
        ("x-forwarded-method", "POST"),
        ("x-forwarded-uri", "/count?a=b"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "shop.test"),
        ("x-forwarded-for", "127.0.0.1"),
        ("authorization", "Bearer x"),
        ("host", &auth.address().to_string()),
    ] {
        assert_eq!(question.all(name), [value], "{name}");
    }
    for name in ["content-length", "x-switcher-bypass"] {
        assert_eq!(question.get(name), None, "{name}");
    }
    let second = Http2::connect(proxy.http()).await;
    let post = http2::request(
        "POST",
        "/count",
        &[("cookie", "x=1"), ("cookie", "session=good"), ("x-user", "root")],
    );
    assert_eq!(second.exchange(post, b"body").await.status, 200);
    assert_eq!(app.last().headers.get_all("x-user").iter().collect::<Vec<_>>(), ["ann"]);
    let mut socket = WebSocket::with(Http1::connect(proxy.http()).await, "/socket", &[GOOD]).await;
    assert_eq!(socket.text().await, "blue");
    assert_eq!(auth.connections(), 1, "its connection is kept");
    assert_eq!(get(proxy.http(), "/open").await.status, 200);
    assert_eq!(auth.requests().len(), 3);
}

#[tokio::test]
async fn only_the_headers_that_are_named_are_shown() {
    let (app, auth) = (App::start("blue").await, asked().await);
    let proxy = with(&app, auth.address(), ", request_headers: [Cookie]").await;
    assert_eq!(get_with(proxy.http(), "/", &[GOOD, ("Authorization", "Bearer x")]).await.status, 200);
    let question = auth.requests()[0].head.clone();
    assert_eq!((question.get("cookie"), question.get("authorization")), (Some(GOOD.1), None));
}

#[tokio::test]
async fn a_no_is_the_clients_as_it_was_said() {
    let (app, auth) = (App::start("blue").await, asked().await);
    let proxy = with(&app, auth.address(), "").await;
    let mut client = Http1::connect(proxy.http()).await;
    for (method, body) in [("GET", "login"), ("HEAD", ""), ("GET", "login")] {
        let refused = client.exchange(&request(method, "/", &[], b"")).await;
        assert_eq!((refused.status, refused.text().as_str()), (302, body), "{method}");
        assert_eq!(refused.header("location"), Some("https://login.example/?rd=1"));
        assert_eq!(refused.head.all("set-cookie"), ["a=1", "b=2"]);
        assert_eq!((refused.header("keep-alive"), refused.header("content-length")), (None, Some("5")));
    }
    let refused = Http2::connect(proxy.http()).await.exchange(http2::get("/"), b"").await;
    assert_eq!((refused.status, refused.text().as_str()), (302, "login"));
    assert_eq!(app.hits(), 0);
}

#[tokio::test]
async fn without_a_word_nobody_passes() {
    let app = App::start("blue").await;
    let nobody = Refusing::start();
    let silent = Raw::start(|mut conversation| async move {
        conversation.request_head().await;
        conversation.hang().await;
    })
    .await;
    let half = Raw::start(|mut conversation| async move {
        conversation.request_head().await;
        let _ = conversation.wire.try_send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
    })
    .await;
    let endless = Raw::start(|mut conversation| async move {
        conversation.request_head().await;
        let _ =
            conversation.wire.try_send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10000000\r\n\r\n").await;
        while conversation.wire.try_send(&[b'x'; 1 << 16]).await.is_ok() {}
    })
    .await;
    for auth in [nobody.address(), silent.address(), half.address(), endless.address()] {
        let proxy = with(&app, auth, ", timeout: 500ms").await;
        let refused = get_with(proxy.http(), "/", &[("Accept", "application/json")]).await;
        assert_eq!((refused.status, refused.json()["error"].as_str()), (503, Some("forward_auth")));
        proxy.wait_metric("switcher_forward_auth_failures_total", 1).await;
        assert_eq!(get(proxy.http(), "/open").await.status, 200);
    }
    assert_eq!(app.hits(), 4, "only what is open was asked for");
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_no_request() {
    let app = App::start("blue").await;
    let auth = Raw::start(|mut conversation| async move {
        conversation.request_head().await;
        let _ = conversation.wire.try_send(YES.as_bytes()).await;
        // The second question is read and not answered.
        conversation.request_head().await;
    })
    .await;
    let proxy = with(&app, auth.address(), "").await;
    for _ in 0..6 {
        assert_eq!(get(proxy.http(), "/").await.status, 200);
    }
    assert!(auth.requests().len() > 6, "some were asked twice");
}

#[tokio::test]
async fn a_question_ends_with_its_client_and_holds_no_switch_up() {
    let app = App::start("blue").await;
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    let auth = Raw::start(move |mut conversation| {
        let told = Arc::clone(&told);
        async move {
            conversation.request_head().await;
            conversation.hang().await;
            told.store(true, Ordering::SeqCst);
        }
    })
    .await;
    let proxy = with(&app, auth.address(), ", timeout: 1m").await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("POST", "/", &[("Content-Length", "5")], b"body")).await;
    until(PATIENCE, "the question", || async { auth.requests().len() == 1 }).await;
    assert_eq!(proxy.admin().shop().await.slots.get(Slot::Blue).in_flight.total(), 0);
    drop(client);
    until(PATIENCE, "the end of the question", || async { ended.load(Ordering::SeqCst) }).await;
    assert_eq!(app.hits(), 0);
}
