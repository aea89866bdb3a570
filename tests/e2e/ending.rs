//! How a client's connection ends: with its answer read, when nothing comes, and when the client itself has left.

use rustix::process::Signal;
use switcher_config::Slot;
use switcher_tests::http1::{Ending, Framing, request};
use switcher_tests::tls::Hello;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Raw, Setup, until, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What a client sends behind what was answered already.
static REST: [u8; 200_000] = [b'r'; 200_000];

async fn acted(proxy: &Proxy, limit: &str) -> u64 {
    proxy.metric(&format!("switcher_limits_total{{limit=\"{limit}\"}}")).await
}

fn malformed(rule: &str) -> String {
    format!("switcher_malformed_requests_total{{rule=\"{rule}\"}}")
}

/// Requests whose answer does not wait for their bodies, each with the answer's status.
fn unread() -> Vec<(&'static str, Vec<u8>, u16)> {
    let long = |target, host| request("POST", target, &[("Host", host), ("Content-Length", "5000000")], b"");
    let chunked = |body| request("POST", "/count", &[("Transfer-Encoding", "chunked")], body);
    vec![
        ("announced as too large", long("/count", "shop.test"), 413),
        ("too large in the end", chunked(&[&b"30d40\r\n"[..], &REST].concat()), 413),
        ("malformed", chunked(b"zz\r\n"), 400),
        ("of no request", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_vec(), 400),
        ("to a broken upstream", long("/", "broken.test"), 502),
    ]
}

/// A client that sends on while it is answered gets the answer and an end in order, and neither is lost in a reset.
async fn reads_its_answer(mut client: Http1, what: &str, sent: &[u8], status: u16) {
    client.send(sent).await;
    client.send(&REST).await;
    let head = client.head().await;
    assert_eq!(head.status(), status, "a body {what}");
    assert_eq!(head.get("connection"), Some("close"), "a body {what}");
    client.try_body(head.answer_framing()).await.unwrap_or_else(|e| panic!("a body {what}: {e}"));
    assert_eq!(client.ending().await, Ending::Closed, "a body {what}");
}

#[tokio::test]
async fn an_answer_is_read_though_the_body_of_its_request_was_not() {
    let app = App::start("blue").await;
    let setup = Setup::one(app.upstream()).shop("middleware", "{body_size: 10KiB}");
    let breaks = Raw::start(|mut conversation| async move { drop(conversation.request_head().await) }).await;
    let broken = [("hosts", "[broken.test]"), ("redirect", "false")];
    let proxy = setup.another("broken", breaks.address(), &broken).start_healthy().await;
    for (what, sent, status) in unread() {
        reads_its_answer(Http1::connect(proxy.http()).await, what, &sent, status).await;
        if status != 502 {
            let client = Hello::to("shop.test").http1(proxy.https()).await;
            reads_its_answer(client, &format!("{what}, over TLS"), &sent, status).await;
        }
    }
}

/// An upstream that answers before it has read the body, and reads no more of it.
#[tokio::test]
async fn an_early_answer_ends_the_connection_although_its_body_never_ends() {
    let upstream = Raw::start(|mut conversation| async move {
        while conversation.request_head().await.is_some() {
            conversation.answer("no").await;
        }
    })
    .await;
    let proxy = Setup::one(upstream.address()).proxy("limits", "{body_rate: 0B}").start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("POST", "/", &[("Content-Length", "1000")], b"half")).await;
    let head = client.head().await;
    assert_eq!(head.status(), 200);
    assert_eq!(client.try_body(head.answer_framing()).await.expect("a body"), b"no");
    assert_eq!(client.ending().await, Ending::Closed);
}

#[tokio::test]
async fn a_client_that_leaves_behind_bytes_that_came_early_is_seen_to_leave() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let in_flight = async || proxy.admin().shop().await.slots.get(Slot::Blue).in_flight.total();
    for early in [&b"X"[..], &REST[..40_000]] {
        let mut client = Http1::connect(proxy.http()).await;
        client.send(&[&request("GET", "/gate", &[], b""), early].concat()).await;
        until(PATIENCE, "the upstream to be asked", || async { app.waiting() == 1 }).await;
        drop(client);
        until(PATIENCE, "the request to be given up", || async { in_flight().await == 0 }).await;
        until(PATIENCE, "the upstream to be left", || async { app.waiting() == 0 }).await;
    }
}

#[tokio::test]
async fn an_empty_line_behind_a_body_begins_no_request() {
    let app = App::start("blue").await;
    let limits = "{header_timeout: 300ms, idle_timeout: 2s}";
    let proxy = Setup::one(app.upstream()).proxy("limits", limits).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    let post = [request("POST", "/count", &[], b"12345"), b"\r\n".to_vec()].concat();
    for _ in 0..2 {
        assert_eq!(client.exchange(&post).await.status, 200);
    }
    assert_eq!(client.try_head().await.expect("an end in order"), None, "nothing unasked is said");
    assert_eq!(acted(&proxy, "header_timeout").await, 0);
    let mut two = Http1::connect(proxy.http()).await;
    let answer = two.exchange(&[b"\r\n\r\n".to_vec(), request("GET", "/", &[], b"")].concat()).await;
    assert_eq!(answer.status, 400, "one empty line is passed over, not two");
}

#[tokio::test]
async fn a_first_request_must_come_sooner_than_the_next() {
    let app = App::start("blue").await;
    let limits = "{header_timeout: 300ms, idle_timeout: 1h}";
    let proxy = Setup::one(app.upstream()).proxy("limits", limits).start_healthy().await;
    let mut kept = Http1::connect(proxy.http()).await;
    assert_eq!(kept.exchange(&request("GET", "/", &[], b"")).await.status, 200);
    for _ in 0..3 {
        let mut silent = Http1::connect(proxy.http()).await;
        assert_eq!(silent.ending().await, Ending::Closed);
    }
    assert_eq!(kept.exchange(&request("GET", "/", &[], b"")).await.status, 200);
    assert_eq!(acted(&proxy, "header_timeout").await, 0, "nobody was told anything");
}

#[tokio::test]
async fn half_a_head_does_not_hold_the_end_of_the_process() {
    let app = App::start("blue").await;
    let limits = "{header_timeout: 1h}";
    let setup = Setup::one(app.upstream()).proxy("limits", limits).proxy("shutdown_timeout", "10m");
    let mut proxy = setup.start_healthy().await;
    let mut half = Http1::connect(proxy.http()).await;
    half.send(b"GET / HTTP/1.1\r\nHost: shop").await;
    let silent = Hello::to("shop.test").alpn(&["h2"]).connect(proxy.https()).await;
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit().await.code, Some(0));
    assert_eq!(half.ending().await, Ending::Closed);
    drop(silent);
}

#[tokio::test]
async fn what_is_no_greeting_of_http2_is_closed_at_once_and_counted_and_not_logged() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).proxy("limits", "{header_timeout: 1h}").start_healthy().await;
    let before = proxy.stderr();
    for (count, wrong) in
        [&b"A"[..], b"PRI * HTTP/2.1", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"].iter().enumerate()
    {
        let mut client = Hello::to("shop.test").alpn(&["h2"]).connect(proxy.https()).await.stream;
        client.write_all(wrong).await.expect("taken");
        // Whether it ends in order does not matter to who keeps no order.
        let _ = within(PATIENCE, "the end", client.read_to_end(&mut Vec::new())).await;
        proxy.wait_metric_at_least(&malformed("preface"), count as u64 + 1).await;
    }
    let said = proxy.stderr().replace(&before, "");
    assert!(!said.contains("ERROR") && !said.contains("WARN"), "a client cannot fill the log: {said}");
}

#[tokio::test]
async fn the_greeting_of_http2_is_a_malformed_request_where_http1_was_agreed_on() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    for protocols in [&["http/1.1"][..], &[]] {
        let before = proxy.metric(&malformed("version")).await;
        let agreed = Hello::to("shop.test").alpn(protocols).connect(proxy.https()).await;
        let mut client = Http1::over(agreed.stream);
        client.send(switcher_tests::frames::PREFACE).await;
        let head = client.head().await;
        assert_eq!(head.status(), 505);
        let body = client.try_body(head.answer_framing()).await.expect("a body");
        assert_ne!((body.len(), head.answer_framing()), (0, Framing::Nothing));
        assert_eq!(client.ending().await, Ending::Closed);
        proxy.wait_metric(&malformed("version"), before + 1).await;
    }
}
