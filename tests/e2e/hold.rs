//! Answers that are taken in first: a client that takes nothing keeps no upstream waiting, and every byte arrives all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use switcher_config::Slot;
use switcher_tests::http1::{get, get_with, request};
use switcher_tests::http2::{self, Http2};
use switcher_tests::raw::Conversation;
use switcher_tests::{Http1, PATIENCE, Proxy, Raw, Setup, pattern, until, within};
use tokio::sync::Notify;

/// More than sockets on the way hold by themselves.
const LARGE: usize = 24 << 20;

const HOLD: &str = "{buffer: {response: 32MiB}}";
const PATHS: &str =
    "{/as-it-comes: {buffer: off}, /little: {buffer: {response: 64KiB}}, /compressed: {compress: on}}";

/// What the upstream tells, and what it waits for.
#[derive(Default)]
struct Signals {
    /// How many answers it has sent whole.
    sent: AtomicUsize,
    /// Lets it go on where it waits in the middle.
    go_on: Notify,
}

/// Answers `/PATH/MANNER/SIZE` with so many bytes, in two halves.
async fn answer(conversation: &mut Conversation, target: &str, signals: &Signals) -> Option<()> {
    let mut parts = target.rsplit('/');
    let size: usize = parts.next()?.parse().ok()?;
    let manner = parts.next()?;
    let body = pattern::bytes(0, size);
    let (first, second) = body.split_at(size / 2);
    let (framing, chunked) = match manner {
        "chunks" | "chunks-break" => ("Transfer-Encoding: chunked".to_owned(), true),
        "events" => ("Content-Type: text/event-stream\r\nConnection: close".to_owned(), false),
        "no" => (format!("Content-Length: {size}\r\nX-Accel-Buffering: no"), false),
        _ => (format!("Content-Length: {size}\r\nContent-Type: text/plain"), false),
    };
    let framed = |piece: &[u8]| match chunked {
        true => [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat(),
        false => piece.to_vec(),
    };
    let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
    conversation.wire.try_send(&[head.as_bytes(), &framed(first)].concat()).await.ok()?;
    if manner.ends_with("break") {
        return None;
    }
    if matches!(manner, "events" | "no") {
        signals.go_on.notified().await;
    }
    let end: &[u8] = if chunked { b"0\r\n\r\n" } else { b"" };
    conversation.wire.try_send(&[&framed(second)[..], end].concat()).await.ok()?;
    signals.sent.fetch_add(1, Ordering::SeqCst);
    (manner != "events").then_some(())
}

async fn started() -> (Raw, Proxy, Arc<Signals>) {
    let signals = Arc::new(Signals::default());
    let shared = Arc::clone(&signals);
    let raw = Raw::start(move |mut conversation| {
        let signals = Arc::clone(&shared);
        async move {
            while let Some(received) = conversation.request().await {
                if answer(&mut conversation, received.head.target(), &signals).await.is_none() {
                    return;
                }
            }
        }
    })
    .await;
    let setup = Setup::one(raw.address()).shop("middleware", HOLD).shop("paths", PATHS);
    (raw, setup.start_healthy().await, signals)
}

/// Asks, and takes nothing yet.
async fn asked(proxy: &Proxy, target: &str) -> Http1 {
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", target, &[], b"")).await;
    client
}

#[tokio::test]
async fn an_upstream_is_rid_of_its_answer_while_the_client_takes_none_of_it() {
    let (_raw, proxy, signals) = started().await;
    // The one that goes as it comes is first, and has all the time that the other one takes.
    let mut flowing = asked(&proxy, &format!("/as-it-comes/plain/{LARGE}")).await;
    let mut framing = flowing.head().await.answer_framing();
    let mut held = asked(&proxy, &format!("/a/plain/{LARGE}")).await;
    until(PATIENCE, "one to be sent", || async { signals.sent.load(Ordering::SeqCst) == 1 }).await;
    let inside = proxy.admin().in_flight(Slot::Blue).await.expect("a list").exchanges.len();
    assert_eq!(inside, 2, "the proxy still owes both to their clients");
    let head = held.head().await;
    let body = held.try_body(head.answer_framing()).await.expect("the body");
    assert!(body == pattern::bytes(0, LARGE), "{} bytes", body.len());
    assert_eq!(signals.sent.load(Ordering::SeqCst), 1, "the other one's upstream has waited for its client");
    let mut taken = 0;
    while let Some(piece) = flowing.piece(&mut framing).await.expect("a piece") {
        taken += piece.len();
    }
    assert_eq!((taken, signals.sent.load(Ordering::SeqCst)), (LARGE, 2));
    until(PATIENCE, "nothing to be in flight", || async {
        proxy.admin().in_flight(Slot::Blue).await.expect("a list").exchanges.is_empty()
    })
    .await;
}

#[tokio::test]
async fn every_answer_arrives_as_it_was_sent() {
    let (_raw, proxy, _) = started().await;
    let h2 = Http2::connect(proxy.http()).await;
    for size in [1, 2, 1000, 65_535, 65_537, 131_072, 1 << 20] {
        for path in ["a/plain", "a/chunks", "little/plain", "little/chunks"] {
            let target = format!("/{path}/{size}");
            let wanted = pattern::bytes(0, size);
            let answer = get(proxy.http(), &target).await;
            assert!((answer.status, &answer.body[..]) == (200, &wanted[..]), "{target}");
            let answer = h2.exchange(http2::get(&target), b"").await;
            assert!(answer.body[..] == wanted[..], "{target} by HTTP/2: {} bytes", answer.body.len());
        }
    }
    let plain = get(proxy.http(), "/compressed/plain/100000").await;
    let answer = get_with(proxy.http(), "/compressed/plain/100000", &[("Accept-Encoding", "gzip")]).await;
    assert_eq!((plain.body.len(), answer.header("content-encoding")), (100_000, Some("gzip")));
    assert!(answer.body.len() < 50_000 && answer.body.starts_with(b"\x1f\x8b"), "{}", answer.body.len());
    let head = Http1::connect(proxy.http()).await.exchange(&request("HEAD", "/a/none/0", &[], b"")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn events_and_what_says_no_flow_as_they_come() {
    let (_raw, proxy, signals) = started().await;
    for manner in ["events", "no"] {
        let mut client = asked(&proxy, &format!("/a/{manner}/2000")).await;
        let head = client.head().await;
        assert_eq!(head.get("x-accel-buffering"), None, "it is said to the proxy alone");
        let mut framing = head.answer_framing();
        let first = within(PATIENCE, "the first half", client.piece(&mut framing)).await.expect("a piece");
        assert!(first.is_some_and(|first| !first.is_empty()), "{manner}");
        assert_eq!(signals.sent.swap(0, Ordering::SeqCst), 0, "{manner}: the second half is still to come");
        signals.go_on.notify_one();
        while client.piece(&mut framing).await.expect("a piece").is_some() {}
        until(PATIENCE, "all to be sent", || async { signals.sent.swap(0, Ordering::SeqCst) == 1 }).await;
    }
}

#[tokio::test]
async fn half_an_answer_is_never_a_whole_one_and_memory_is_given_back() {
    let (_raw, proxy, signals) = started().await;
    for manner in ["break", "chunks-break"] {
        let mut client = asked(&proxy, &format!("/a/{manner}/200000")).await;
        let framing = client.head().await.answer_framing();
        assert!(client.try_body(framing).await.is_err(), "{manner}: it ended as if it were whole");
    }
    // Clients that leave give its memory back: it would be used up before the last one.
    for round in 1..=16 {
        let client = asked(&proxy, &format!("/a/plain/{LARGE}")).await;
        until(PATIENCE, "it to be sent", || async { signals.sent.load(Ordering::SeqCst) == round }).await;
        drop(client);
        until(PATIENCE, "it to be over", || async {
            proxy.admin().in_flight(Slot::Blue).await.expect("a list").exchanges.is_empty()
        })
        .await;
    }
    let acted = "switcher_limits_total{limit=\"buffer\"} 0";
    let metrics = proxy.admin().get("/metrics").await.text();
    assert!(metrics.contains(acted), "{metrics}");
}
