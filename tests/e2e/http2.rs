//! HTTP/2 on both sides: many streams, flow control, trailers, and streams that end alone.

use futures::future::join_all;
use switcher_tests::certificate::Certificate;
use switcher_tests::http1::get;
use switcher_tests::http2::{self, Http2, piece};
use switcher_tests::tls::Hello;
use switcher_tests::{App, PATIENCE, Raw, Setup, pattern, until, within};

const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

#[tokio::test]
async fn the_protocol_is_agreed_on_by_alpn() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    for (offer, chosen) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&["h2"], Some("h2")),
        (&[], None),
    ] {
        let agreed = Hello::to("shop.test").alpn(offer).connect(proxy.https()).await;
        assert_eq!(agreed.alpn.as_deref(), chosen, "{offer:?}");
    }
}

#[tokio::test]
async fn many_requests_share_one_connection_and_wait_for_nobody() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let client = Http2::tls(proxy.https(), "shop.test").await;
    let slow = (0..50).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.exchange(http2::get("/gate"), b"").await })
    });
    let slow: Vec<_> = slow.collect();
    until(PATIENCE, "fifty requests to wait", || async { app.waiting() == 50 }).await;
    assert_eq!(client.exchange(http2::get("/"), b"").await.text(), "blue");
    app.open_gate();
    assert!(join_all(slow).await.into_iter().all(|a| a.is_ok_and(|a| a.text() == "blue")));
}

#[tokio::test]
async fn uploads_and_downloads_keep_every_byte() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let client = Http2::tls(proxy.https(), "shop.test").await;
    let body = pattern::bytes(0, 3_000_000);
    let counted = client.exchange(http2::request("POST", "/count", &[]), &body).await;
    assert_eq!(counted.text(), r#"{"bytes":3000000,"intact":true}"#);
    assert_eq!(client.exchange(http2::get("/bytes/3000000"), b"").await.body, body);
}

/// Without care pingora-proxy 0.9.1 writes an empty last piece as a last chunk, and then the last chunk: the second one
/// stays on the connection, where the next request of somebody else begins with it.
#[tokio::test]
async fn an_upload_of_undeclared_length_ends_with_one_last_chunk() {
    let upstream = Raw::start(|mut conversation| async move {
        while let Some(request) = conversation.request().await {
            // What is no request gets no answer, so that the connection is used again.
            if request.head.target().starts_with('/') {
                conversation.answer("taken").await;
            }
        }
    })
    .await;
    let proxy = Setup::one(upstream.address()).start_healthy().await;
    let client = Http2::tls(proxy.https(), "shop.test").await;
    for round in 0..10 {
        let answer = client.exchange(http2::request("POST", "/upload", &[]), b"four").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "taken"), "{round}");
    }
    let lines: Vec<_> = upstream.requests().iter().map(|request| request.head.line.clone()).collect();
    assert_eq!(lines, ["POST /upload HTTP/1.1"; 10]);
    assert_eq!(upstream.requests()[0].body, b"four");
    // Seldom a client that has its answer asks again before the connection is back in the pool.
    assert!(upstream.connections() < 5, "connections are used again: {} for 10", upstream.connections());
}

#[tokio::test]
async fn an_upstream_with_prior_knowledge_is_spoken_to_in_http2() {
    let app = App::h2c("blue").await;
    let proxy = Setup::one(app.upstream())
        .shop("health", "{protocol: tcp, interval: 100ms, rise: 1}")
        .start_healthy()
        .await;
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
    assert_eq!(app.last().version, http::Version::HTTP_2);
}

#[tokio::test]
async fn a_tls_upstream_is_verified_against_the_given_roots_and_name() {
    let certificate = Certificate::of(&["app.internal"]);
    let app = App::tls("blue", &certificate).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (root, _) = certificate.write(folder.path(), "root");
    let verified = format!("{{ca_file: {}, server_name: app.internal}}", root.display());
    let proxy = Setup::one(app.upstream()).shop("upstream_tls", &verified).start_healthy().await;
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
}

#[tokio::test]
async fn a_tls_upstream_that_cannot_be_verified_gets_no_request() {
    let app = App::tls("blue", &Certificate::of(&["app.internal"])).await;
    let (other, _) = {
        let folder = tempfile::tempdir().expect("a folder").keep();
        Certificate::of(&["app.internal"]).write(&folder, "other")
    };
    let wrong = format!("{{ca_file: {}, server_name: app.internal}}", other.display());
    let proxy = Setup::one(app.upstream()).shop("upstream_tls", &wrong).start_unready().await;
    let answer = get(proxy.http(), "/").await;
    assert!(matches!(answer.status, 502 | 503), "{}", answer.status);
    assert_eq!(app.hits(), 0);
    let unverified = Setup::one(app.upstream()).shop("upstream_tls", "{verify: false}").start_healthy().await;
    assert_eq!(get(unverified.http(), "/").await.text(), "blue");
}

#[tokio::test]
async fn cookies_that_come_in_pieces_are_one_to_the_upstream() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let pieces =
        [("cookie", "session=1"), ("accept", "*/*"), ("cookie", "theme=dark"), ("cookie", "lang=de")];
    let client = Http2::tls(proxy.https(), "shop.test").await;
    assert_eq!(client.exchange(http2::request("GET", "/", &pieces), b"").await.status, 200);
    let cookies: Vec<_> = app.last().headers.get_all("cookie").iter().cloned().collect();
    assert_eq!(cookies, ["session=1; theme=dark; lang=de"]);
}

#[tokio::test]
async fn a_grpc_call_keeps_its_trailers() {
    let app = App::h2c("blue").await;
    let proxy = Setup::one(app.upstream())
        .shop("health", "{protocol: grpc, interval: 100ms, rise: 1}")
        .start_healthy()
        .await;
    let client = Http2::tls(proxy.https(), "shop.test").await;
    let answer = client.exchange(http2::request("POST", "/test.Echo/Say", &GRPC), b"\0\0\0\0\x02hi").await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"\0\0\0\0\x02hi"[..]));
    assert_eq!(answer.trailers.expect("trailers")["grpc-status"], "0");
    assert_eq!(app.last().header("te"), Some("trailers"));
}

#[tokio::test]
async fn messages_of_a_grpc_stream_are_not_held_back() {
    let app = App::h2c("blue").await;
    let proxy = Setup::one(app.upstream())
        .shop("health", "{protocol: grpc, interval: 100ms, rise: 1}")
        .start_healthy()
        .await;
    let client = Http2::tls(proxy.https(), "shop.test").await;
    let (answer, mut sender) =
        client.open(http2::request("POST", "/echo", &[]), false).await.expect("a stream");
    sender.send_data("one".into(), false).expect("sent");
    let mut body = within(PATIENCE, "the head", answer).await.expect("a head").into_body();
    assert_eq!(piece(&mut body).await.expect("a body").as_deref(), Some(&b"one"[..]));
    sender.send_data("two".into(), true).expect("sent");
    assert_eq!(piece(&mut body).await.expect("a body").as_deref(), Some(&b"two"[..]));
}

#[tokio::test]
async fn a_stream_that_its_client_resets_ends_alone() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let client = Http2::tls(proxy.https(), "shop.test").await;
    let (_left, mut leaving) = client.open(http2::get("/gate"), true).await.expect("a stream");
    let (stays, _) = client.open(http2::get("/gate"), true).await.expect("a stream");
    until(PATIENCE, "both to wait", || async { app.waiting() == 2 }).await;
    leaving.send_reset(h2::Reason::CANCEL);
    until(PATIENCE, "one to be let go", || async { app.waiting() == 1 }).await;
    app.open_gate();
    assert_eq!(within(PATIENCE, "the other", stays).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn a_truncated_body_is_a_reset_and_its_connection_lives_on() {
    let upstream = Raw::start(|mut conversation| async move {
        conversation.request().await;
        if conversation.number == 0 {
            conversation.wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
        } else {
            conversation.answer("whole").await;
        }
    })
    .await;
    let proxy = Setup::one(upstream.address()).start_healthy().await;
    let client = Http2::tls(proxy.https(), "shop.test").await;
    assert!(client.try_exchange(http2::get("/"), b"").await.is_err(), "truncated");
    assert_eq!(client.exchange(http2::get("/"), b"").await.text(), "whole");
}

#[tokio::test]
async fn head_over_http2_has_no_body() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let client = Http2::tls(proxy.https(), "shop.test").await;
    let answer = client.exchange(http2::request("HEAD", "/bytes/1234", &[]), b"").await;
    assert_eq!((answer.status, answer.header("content-length"), answer.body.len()), (200, Some("1234"), 0));
}
