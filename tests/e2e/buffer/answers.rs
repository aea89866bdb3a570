//! Answers that are taken in before their clients get them: what the upstream sees, and what goes on as it comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use switcher_config::Slot;
use switcher_tests::http1::request;
use switcher_tests::{App, Http1, Http2, PATIENCE, Proxy, Raw, Setup, http2, pattern, until};
use tokio::net::TcpSocket;

/// More than the kernel keeps for both connections of an exchange.
const LARGE: usize = 40 << 20;

async fn with(upstream: impl ToString, response: &str) -> Proxy {
    let buffer = format!("{{buffer: {{response: {response}}}}}");
    let setup =
        Setup::one(upstream).shop("middleware", &buffer).shop("paths", "{/as-it-comes: {buffer: off}}");
    setup.start_healthy().await
}

/// An upstream that answers once by these bytes, and says nothing more.
async fn saying(answer: &'static [u8]) -> Raw {
    Raw::start(move |mut conversation| async move {
        if conversation.request().await.is_some() && conversation.wire.try_send(answer).await.is_ok() {
            conversation.hang().await;
        }
    })
    .await
}

#[tokio::test]
async fn an_upstream_has_written_all_of_an_answer_whose_client_reads_nothing() {
    let written = Arc::new([const { AtomicU64::new(0) }; 2]);
    let written_by = Arc::clone(&written);
    let raw = Raw::start(move |mut conversation| {
        let written = Arc::clone(&written_by);
        async move {
            let Some(asked) = conversation.request().await else { return };
            let written = &written[usize::from(asked.head.target() == "/held")];
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
            if conversation.wire.try_send(head.as_bytes()).await.is_err() {
                return;
            }
            let mut sent = 0;
            while let Some(piece) = pattern::piece(sent, LARGE as u64) {
                if conversation.wire.try_send(&piece).await.is_err() {
                    return;
                }
                sent += piece.len() as u64;
                written.store(sent, Ordering::SeqCst);
            }
            conversation.hang().await;
        }
    })
    .await;
    let proxy = with(raw.address(), "64MiB").await;
    let asks = async |target: &str| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let mut client = Http1::over(socket.connect(proxy.http()).await.expect("a connection"));
        client.send(&request("GET", target, &[], b"")).await;
        client
    };
    let passed_on = asks("/as-it-comes").await;
    until(PATIENCE, "it to begin", || async { written[0].load(Ordering::SeqCst) > 0 }).await;
    let mut held = asks("/held").await;
    until(PATIENCE, "the upstream to be done", || async {
        written[1].load(Ordering::SeqCst) == LARGE as u64
    })
    .await;
    assert!(written[0].load(Ordering::SeqCst) < LARGE as u64, "its client keeps it waiting");
    drop(passed_on);
    let in_flight = async || proxy.admin().shop().await.slots.get(Slot::Blue).in_flight.total();
    until(PATIENCE, "the other one to be over", || async { in_flight().await == 1 }).await;
    let head = held.head().await;
    let body = held.try_body(head.answer_framing()).await.expect("a body");
    let mut check = pattern::Check::default();
    check.feed(&body);
    assert_eq!(check, pattern::Check { bytes: LARGE as u64, broken: false });
    assert_eq!(proxy.record_of("/held").await["bytes_out"], LARGE);
    until(PATIENCE, "it to be over", || async { in_flight().await == 0 }).await;
}

#[tokio::test]
async fn every_size_arrives_as_it_was_sent() {
    let (app, over_h2) = (App::start("blue").await, App::h2c("second").await);
    let buffer = "{buffer: {response: 1MiB}}";
    let second = [("hosts", "[second.test]"), ("redirect", "false"), ("middleware", buffer)];
    let setup = Setup::one(app.upstream()).shop("middleware", buffer);
    let proxy = setup.another("second", over_h2.upstream(), &second).start_healthy().await;
    let h2 = Http2::connect(proxy.http()).await;
    let mut h1 = Http1::connect(proxy.http()).await;
    for size in [0, 1, 65_536, 300_000, 1 << 20, (1 << 20) + 1, 3 << 20] {
        let (target, whole) = (format!("/bytes/{size}"), pattern::bytes(0, size));
        for host in ["shop.test", "second.test"] {
            let answer = h1.exchange(&request("GET", &target, &[("Host", host)], b"")).await;
            assert!(answer.status == 200 && answer.body == whole, "{size} of {host}");
            let mut asked = http2::get(&target);
            *asked.uri_mut() = format!("https://{host}{target}").parse().expect("a target");
            let answer = h2.exchange(asked, b"").await;
            assert!(answer.status == 200 && answer.body == whole, "{size} of {host} by HTTP/2");
        }
    }
    assert_eq!(h1.exchange(&request("HEAD", "/bytes/10", &[], b"")).await.status, 200);
    assert_eq!(
        h1.exchange(&request("GET", "/after", &[], b"")).await.text(),
        "blue",
        "the connection goes on"
    );
}

#[tokio::test]
async fn a_body_comes_when_it_is_whole_and_what_is_to_flow_as_it_comes() {
    let heads: [(&str, &[u8], bool); 5] = [
        ("held", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n", true),
        ("held too", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegin", true),
        ("by its word", b"HTTP/1.1 200 OK\r\nX-Accel-Buffering: no\r\nContent-Length: 10\r\n\r\nbegin", false),
        ("events", b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n", false),
        ("too large", b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\nbegin", false),
    ];
    for (what, answer, held) in heads {
        let raw = saying(answer).await;
        let proxy = with(raw.address(), "1KiB").await;
        let mut client = Http1::connect(proxy.http()).await;
        client.send(&request("GET", "/", &[], b"")).await;
        let head = client.head().await;
        if held {
            assert!(client.is_quiet().await, "{what}");
        } else {
            let mut framing = head.answer_framing();
            assert_eq!(
                client.piece(&mut framing).await.expect("a piece").as_deref(),
                Some(&b"begin"[..]),
                "{what}"
            );
        }
        let in_flight = async || proxy.admin().shop().await.slots.get(Slot::Blue).in_flight.total();
        assert_eq!(in_flight().await, 1, "{what}");
        drop(client);
        until(PATIENCE, "a client that left to be noticed", || async { in_flight().await == 0 }).await;
    }
}

#[tokio::test]
async fn chunks_and_what_ends_with_its_connection_are_whole_and_what_breaks_is_cut() {
    let endings: [(&[u8], bool); 4] = [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n3\r\nend\r\n0\r\n\r\n", true),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbeginend", true),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n3\r\nend\r\n", false),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbeginend", false),
    ];
    for (answer, whole) in endings {
        let raw = Raw::start(move |mut conversation| async move {
            if conversation.request().await.is_some() {
                let _ = conversation.wire.try_send(answer).await;
            }
        })
        .await;
        let proxy = with(raw.address(), "1MiB").await;
        let answered = Http1::connect(proxy.http()).await.try_exchange(&request("GET", "/", &[], b"")).await;
        match answered {
            Ok(answer) => assert!(whole && answer.text() == "beginend", "{}", answer.text()),
            Err(error) => assert!(!whole, "{error}"),
        }
        let old = b"GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n";
        if whole {
            assert_eq!(Http1::connect(proxy.http()).await.exchange(old).await.text(), "beginend");
        }
        let h2 = Http2::connect(proxy.http()).await;
        let answered = h2.try_exchange(http2::get("/"), b"").await;
        assert_eq!(answered.is_ok_and(|answer| answer.status == 200 && answer.text() == "beginend"), whole);
    }
}
