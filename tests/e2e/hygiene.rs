//! Hygiene of requests and answers: hostile bytes, judged by what reached a recording upstream.
//!
//! Every case is data: a name, the bytes of a client, and what may become of them. The upstream stores every byte that it
//! gets, reads it with a strict parser of its own, and keeps its connections open, so that whatever is smuggled shows up
//! as one more request, or spoils the answer of the victim who comes next.

mod answers;
mod case;
mod cases;
mod http2;
mod judge;
mod naive;
mod recorder;
mod strict;

use std::net::SocketAddr;
use std::time::Duration;

use switcher_tests::http1::{Framing, request};
use switcher_tests::{Http1, Proxy, Raw, Setup};

use case::Case;
use judge::{NAIVE, OURS, Verdict, judge};
use recorder::Recorder;

/// Runs cases one after the other, and lists those that are not good.
async fn run(
    cases: &[Case],
    front: SocketAddr,
    upstream: &Recorder,
    stalled: Duration,
) -> Vec<(String, Verdict)> {
    let mut bad = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let verdict = judge(case, number, front, upstream, stalled).await;
        if verdict != Verdict::Good {
            bad.push((case.name.to_owned(), verdict));
        }
    }
    bad
}

async fn proxy(upstream: &Recorder) -> Proxy {
    Setup::one(upstream.address()).start_healthy().await
}

fn shown(bad: &[(String, Verdict)]) -> String {
    bad.iter().map(|(name, verdict)| format!("\n  {name}: {verdict:?}")).collect()
}

async fn all_good(cases: Vec<Case>) {
    let upstream = Recorder::start().await;
    let proxy = proxy(&upstream).await;
    let bad = run(&cases, proxy.http(), &upstream, OURS).await;
    assert!(bad.is_empty(), "{} of {} cases:{}", bad.len(), cases.len(), shown(&bad));
}

#[tokio::test]
async fn a_malformed_request_line_goes_nowhere() {
    all_good(cases::line::all()).await;
}

#[tokio::test]
async fn a_malformed_host_goes_nowhere() {
    all_good(cases::host::all()).await;
}

#[tokio::test]
async fn a_malformed_header_goes_nowhere() {
    all_good(cases::field::all()).await;
}

#[tokio::test]
async fn a_body_that_is_framed_in_two_ways_goes_nowhere() {
    all_good(cases::framing::all()).await;
}

#[tokio::test]
async fn a_malformed_chunk_ends_its_connection() {
    all_good(cases::chunk::all()).await;
}

#[tokio::test]
async fn options_of_a_connection_stay_on_it() {
    all_good(cases::connection::all()).await;
}

#[tokio::test]
async fn every_legal_exchange_works() {
    all_good(cases::legal::all()).await;
}

/// RFC 6455 section 4.1 forbids it, but bytes that came early belong to the WebSocket, never to another request.
#[tokio::test]
async fn bytes_behind_an_upgrade_belong_to_it() {
    let upstream = Raw::start(|mut conversation| async move {
        conversation.request_head().await;
        let agreed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        conversation.wire.send(agreed).await;
        let early = conversation.wire.piece(&mut Framing::Length(5)).await.ok().flatten();
        conversation.wire.send(&early.unwrap_or_default()).await;
        conversation.hang().await;
    })
    .await;
    let proxy = Setup::one(upstream.address()).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    let ask = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    client.send(&[request("GET", "/socket", &ask, b""), b"early".to_vec()].concat()).await;
    assert_eq!(client.head().await.status(), 101);
    assert_eq!(client.piece(&mut Framing::Length(5)).await.expect("an echo").as_deref(), Some(&b"early"[..]));
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn the_cases_are_many_and_have_names_of_their_own() {
    let all = cases::all();
    let names: std::collections::HashSet<&str> = all.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), all.len());
    assert!(all.len() >= 160, "{}", all.len());
}

/// The negative control: the same judge finds what a relay does that forwards heads as they are.
#[tokio::test]
async fn a_naive_relay_is_found_unsafe() {
    let upstream = Recorder::start().await;
    let relay = naive::Relay::start(upstream.address()).await;
    let legal = run(&cases::legal::plain(), relay.address(), &upstream, OURS).await;
    assert!(legal.is_empty(), "it does work for honest clients:{}", shown(&legal));
    let hostile = [cases::framing::all(), cases::field::all()].concat();
    let bad = run(&hostile, relay.address(), &upstream, NAIVE).await;
    let found = bad.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Unsafe(_))).count();
    assert!(found >= 20, "only {found} of {}:{}", hostile.len(), shown(&bad));
}
