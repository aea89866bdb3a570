//! HTTP/1.1 from clients: framing, interim answers and persistent connections.

use std::io::ErrorKind;

use switcher_tests::http1::{Framing, get, request};
use switcher_tests::{App, Http1, PATIENCE, Raw, Setup, until};

#[tokio::test]
async fn connections_are_kept_alive_on_both_sides() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    for n in 0..10 {
        assert_eq!(client.exchange(&request("GET", &format!("/{n}"), &[], b"")).await.text(), "blue");
    }
    assert_eq!((app.hits(), app.connections()), (10, 1));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    let three = ["/bytes/1", "/bytes/2", "/bytes/3"].map(|path| request("GET", path, &[], b"")).concat();
    client.send(&three).await;
    for length in 1..=3 {
        assert_eq!(client.exchange(b"").await.body.len(), length);
    }
}

/// An upload whose last chunk comes in these pieces, each of which the proxy has had the time to read by itself; then
/// another request, and what the upstream takes that for.
async fn after_an_upload_that_ends_with(pieces: &[&[u8]]) -> Vec<String> {
    let (came, mut coming) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Raw::start(move |mut conversation| {
        let came = came.clone();
        async move {
            while let Some(head) = conversation.request_head().await {
                let mut framing = head.request_framing();
                while framing != Framing::Nothing {
                    match conversation.wire.piece(&mut framing).await {
                        Ok(Some(piece)) => came.send(piece).expect("the test"),
                        Ok(None) | Err(_) => break,
                    }
                }
                conversation.answer("taken").await;
            }
        }
    })
    .await;
    let proxy = Setup::one(upstream.address()).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("POST", "/upload", &[("Transfer-Encoding", "chunked")], b"3\r\none\r\n")).await;
    assert_eq!(coming.recv().await.as_deref(), Some(&b"one"[..]));
    for piece in pieces {
        client.send(piece).await;
        // A round trip through the same proxy.
        let _ = proxy.admin().shop().await;
        let _ = get(proxy.http(), "/meanwhile").await;
    }
    assert_eq!(client.exchange(b"").await.text(), "taken");
    for _ in 0..3 {
        assert_eq!(client.exchange(&request("GET", "/next", &[], b"")).await.text(), "taken");
    }
    upstream.requests().iter().map(|request| request.head.line.clone()).collect()
}

#[tokio::test]
async fn a_last_chunk_that_comes_late_ends_the_body_once() {
    for pieces in [
        &[&b"0\r\n\r\n"[..]][..],
        &[b"0\r\n", b"\r\n"],
        &[b"0", b"\r\n\r\n"],
        &[b"0\r", b"\n\r\n"],
        &[b"0\r\n\r", b"\n"],
        &[b"3\r\n", b"two", b"\r\n0\r\n\r\n"],
        &[b"3\r\ntwo", b"\r\n", b"0\r\n\r\n"],
        &[b"0\r\nX: y\r\n", b"\r\n"],
    ] {
        let seen = after_an_upload_that_ends_with(pieces).await;
        let odd: Vec<&String> =
            seen.iter().filter(|line| !line.starts_with("GET /") && !line.starts_with("POST /")).collect();
        assert!(odd.is_empty(), "{pieces:?}: {odd:?}");
    }
}

#[tokio::test]
async fn a_client_that_wants_to_close_is_closed() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    assert_eq!(client.exchange(&request("GET", "/", &[("Connection", "close")], b"")).await.text(), "blue");
    client.ending().await;
}

#[tokio::test]
async fn an_http10_client_gets_a_body_that_it_can_read() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    app.open_gate();
    let mut client = Http1::connect(proxy.http()).await;
    let answer = client.exchange(b"GET /half HTTP/1.0\r\nHost: shop.test\r\n\r\n").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "half whole"));
    assert_eq!(answer.header("transfer-encoding"), None, "HTTP/1.0 knows no chunks");
    client.ending().await;
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    let answer = client.exchange(&request("HEAD", "/bytes/1234", &[], b"")).await;
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("1234")));
    let next = client.exchange(&request("GET", "/", &[], b"")).await;
    assert_eq!(next.text(), "blue", "the connection is still in step");
    assert_eq!(app.seen()[0].method, "HEAD");
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_before_it_sends_its_body() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    client
        .send(&request("POST", "/count", &[("Expect", "100-continue"), ("Content-Length", "5")], b""))
        .await;
    assert_eq!(client.head().await.status(), 100);
    let answer = client.exchange(b"hello").await;
    assert_eq!((answer.status, &answer.json()["bytes"]), (200, &5.into()));
}

#[tokio::test]
async fn an_upstream_that_refuses_a_body_is_heard_before_the_body_is_sent() {
    let upstream = Raw::start(|mut conversation| async move {
        conversation.request_head().await;
        let refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        conversation.wire.send(refusal).await;
    })
    .await;
    let proxy = Setup::one(upstream.address()).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    client
        .send(&request("POST", "/", &[("Expect", "100-continue"), ("Content-Length", "5000000")], b""))
        .await;
    assert_eq!(client.head().await.status(), 413);
}

#[tokio::test]
async fn interim_answers_reach_the_client_before_the_final_one() {
    let upstream = Raw::start(|mut conversation| async move {
        conversation.request().await;
        conversation.wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n").await;
        conversation.answer("final").await;
    })
    .await;
    let proxy = Setup::one(upstream.address()).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/", &[], b"")).await;
    let hints = client.head().await;
    assert_eq!((hints.status(), hints.get("link")), (103, Some("</a.css>; rel=preload")));
    assert_eq!(client.exchange(b"").await.text(), "final");
}

#[tokio::test]
async fn the_first_half_of_an_answer_arrives_before_the_second_is_made() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/half", &[], b"")).await;
    let mut framing = client.head().await.answer_framing();
    let first = client.piece(&mut framing).await.expect("a body");
    assert_eq!(first.as_deref(), Some(&b"half "[..]));
    until(PATIENCE, "the second to wait", || async { app.waiting() == 1 }).await;
    app.open_gate();
    assert_eq!(client.try_body(framing).await.expect("the rest"), b"whole");
}

#[tokio::test]
async fn a_body_flows_both_ways_at_once() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("POST", "/echo", &[("Transfer-Encoding", "chunked")], b"3\r\none\r\n")).await;
    let mut framing = client.head().await.answer_framing();
    assert_eq!(client.piece(&mut framing).await.expect("a body").as_deref(), Some(&b"one"[..]));
    client.send(b"3\r\ntwo\r\n").await;
    assert_eq!(client.piece(&mut framing).await.expect("a body").as_deref(), Some(&b"two"[..]));
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.piece(&mut framing).await.expect("a body"), None);
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_arrives_whole() {
    let upstream = Raw::start(|mut conversation| async move {
        conversation.request().await;
        conversation.wire.send(b"HTTP/1.1 200 OK\r\n\r\nall of it").await;
    })
    .await;
    let proxy = Setup::one(upstream.address()).start_healthy().await;
    assert_eq!(get(proxy.http(), "/").await.text(), "all of it");
}

#[tokio::test]
async fn a_truncated_body_is_never_passed_off_as_a_whole_one() {
    for cut in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf",
    ] {
        let upstream = Raw::start(move |mut conversation| async move {
            conversation.request().await;
            conversation.wire.send(cut).await;
        })
        .await;
        let proxy = Setup::one(upstream.address()).start_healthy().await;
        let mut client = Http1::connect(proxy.http()).await;
        let error = client.try_exchange(&request("GET", "/", &[], b"")).await.expect_err("truncated");
        assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{error}");
    }
}

#[tokio::test]
async fn a_request_cannot_be_smuggled_past_the_proxy() {
    let upstream = Raw::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let proxy = Setup::one(upstream.address()).start_healthy().await;
    for headers in [
        "Content-Length: 48\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 48\r\n",
        "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n",
    ] {
        let mut client = Http1::connect(proxy.http()).await;
        let attack = format!(
            "POST /outer HTTP/1.1\r\nHost: shop.test\r\n{headers}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: inner.test\r\n\r\n"
        );
        client.send(attack.as_bytes()).await;
        let status = client.head().await.status();
        assert!(matches!(status, 200 | 400), "{status}");
    }
    for seen in upstream.requests() {
        let framings = seen.head.all("content-length").len() + seen.head.all("transfer-encoding").len();
        assert!(framings < 2, "two framings reached the upstream: {seen:?}");
    }
    let inner = |seen: &switcher_tests::raw::Received| seen.head.get("host") == Some("inner.test");
    let as_of_clients =
        upstream.requests().iter().filter(|r| inner(r)).all(|r| r.head.get("x-request-id").is_some());
    assert!(
        as_of_clients,
        "a request reached the upstream without passing the proxy: {:?}",
        upstream.requests()
    );
}

#[tokio::test]
async fn garbage_is_a_bad_request_and_hurts_nobody_else() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut neighbour = Http1::connect(proxy.http()).await;
    neighbour.exchange(&request("GET", "/", &[], b"")).await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(b"\x00\x01\x02 garbage\r\n\r\n").await;
    if let Ok(Some(head)) = client.try_head().await {
        assert_eq!(head.status(), 400);
    }
    assert_eq!(neighbour.exchange(&request("GET", "/", &[], b"")).await.text(), "blue");
}

#[tokio::test]
async fn an_upstream_that_is_done_early_does_not_break_the_next_request() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    let big = vec![b'x'; 300_000];
    let answer = client.exchange(&request("POST", "/status/200", &[], &big)).await;
    assert_eq!(answer.status, 200);
    let mut next = Http1::connect(proxy.http()).await;
    assert_eq!(next.exchange(&request("GET", "/", &[], b"")).await.text(), "blue");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_upstream_request_with_it() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/half", &[], b"")).await;
    client.head().await;
    until(PATIENCE, "the request to wait", || async { app.waiting() == 1 }).await;
    drop(client);
    until(PATIENCE, "the upstream to be let go", || async { app.waiting() == 0 }).await;
}

#[tokio::test]
async fn a_not_modified_answer_has_no_body_whatever_its_headers_say() {
    let upstream =
        Raw::answering(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"a\"\r\n\r\n").await;
    let proxy = Setup::one(upstream.address()).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    for _ in 0..2 {
        client.send(&request("GET", "/", &[], b"")).await;
        let head = client.head().await;
        assert_eq!(
            (head.status(), head.answer_framing(), head.get("etag")),
            (304, Framing::Nothing, Some("\"a\""))
        );
    }
}
