//! Drains: what is still inside a slot that was left, how long it may stay, and how it is closed.

use std::time::Duration;

use futures::future::join_all;
use switcher_config::Slot;
use switcher_config::wire::{DrainReceipt, Exchange, Kind, PromoteRequest, RefusalReason};
use switcher_tests::http1::{get, request};
use switcher_tests::http2::{self, Http2, piece};
use switcher_tests::sse::Events;
use switcher_tests::tls::Hello;
use switcher_tests::websocket::{Goodbye, WebSocket};
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, until, within};

/// Far beyond any test: what should not be cut is not.
const LONG: &str = "1h";

fn times(requests: &str, uploads: &str, streams: &str, websockets: &str) -> String {
    format!(
        "{{requests: {requests}, uploads: {uploads}, streams: {streams}, websockets: {websockets}, spread: 0s}}"
    )
}

async fn two(drain: &str) -> (App, App, Proxy) {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).shop("drain", drain).start_healthy().await;
    (blue, green, proxy)
}

async fn inside(proxy: &Proxy, slot: Slot) -> u64 {
    proxy.admin().shop().await.slots.get(slot).in_flight.total()
}

/// Leaves blue and waits for the end of its drain.
async fn leave(proxy: &Proxy) -> DrainReceipt {
    let left = proxy.admin().promote(Slot::Green).await.expect("promoted").drained_generation;
    let receipt = proxy.admin().drain(left, "20s").await.expect("a receipt");
    assert!(receipt.drained, "{receipt:?}");
    receipt
}

fn named(cut: &[Exchange], kind: Kind, route: &str) {
    let found =
        cut.iter().find(|c| c.route == route).unwrap_or_else(|| panic!("{route} is not named: {cut:?}"));
    assert_eq!(found.kind, kind);
    assert!(found.age_seconds >= 1.0 && !found.request_id.is_empty(), "{found:?}");
}

#[tokio::test]
async fn at_the_deadline_each_kind_is_closed_as_its_protocol_allows_and_named() {
    let (blue, _green, proxy) = two(&times("1s", "1s", "1s", "1s")).await;
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    socket.text().await;
    let mut secure = WebSocket::over(Hello::to("shop.test").http1(proxy.https()).await, "/socket").await;
    secure.text().await;
    let mut events = Events::open(Http1::connect(proxy.http()).await, "/events").await;
    events.data().await;
    let mut slow = Http1::connect(proxy.http()).await;
    slow.send(&request("GET", "/drip", &[], b"")).await;
    let slow_framing = slow.head().await.answer_framing();
    let mut deaf = Http1::connect(proxy.http()).await;
    deaf.send(&request("GET", "/bytes/10000000000", &[], b"")).await;
    until(PATIENCE, "five exchanges to be inside", || async { inside(&proxy, Slot::Blue).await == 5 }).await;

    let left = proxy.admin().promote(Slot::Green).await.expect("promoted").drained_generation;
    let mut of_green = WebSocket::connect(proxy.http(), "/socket").await;
    assert_eq!(of_green.text().await, "green");
    for socket in [socket, secure] {
        assert_eq!(socket.goodbye().await, Goodbye::Closed(1012, "deploy drain.".to_owned()));
    }
    assert_eq!(events.next().await.expect("an ended body, not a broken one"), None);
    slow.try_body(slow_framing).await.expect_err("a cut download is no whole one");
    let receipt = proxy.admin().drain(left, "20s").await.expect("a receipt");
    assert!(receipt.drained, "a client that does not read holds the drain: {receipt:?}");
    named(&receipt.cut.websockets, Kind::Websockets, "GET /socket");
    named(&receipt.cut.streams, Kind::Streams, "GET /events");
    named(&receipt.cut.requests, Kind::Requests, "GET /drip");
    named(&receipt.cut.requests, Kind::Requests, "GET /bytes/10000000000");
    assert_eq!((receipt.cut.websockets.len(), receipt.cut.requests.len()), (2, 2));
    assert_eq!(receipt.finished.total(), 0);
    assert_eq!(of_green.ask("still here?").await, "still here?");
    until(PATIENCE, "the old upstream to be let go", || async { blue.listeners() == 0 }).await;
    drop(deaf);
}

#[tokio::test]
async fn at_the_deadline_only_the_streams_of_the_old_slot_are_reset() {
    let (_blue, green, proxy) = two(&times("1s", "1s", "1s", "1s")).await;
    let client = Http2::tls(proxy.https(), "shop.test").await;
    let (events, _) = client.open(http2::get("/events"), true).await.expect("a stream");
    let mut events = within(PATIENCE, "the head", events).await.expect("a head").into_body();
    piece(&mut events).await.expect("the first event");
    let (slow, _) = client.open(http2::get("/drip"), true).await.expect("a stream");
    let mut slow = within(PATIENCE, "the head", slow).await.expect("a head").into_body();
    until(PATIENCE, "two exchanges to be inside", || async { inside(&proxy, Slot::Blue).await == 2 }).await;
    let left = proxy.admin().promote(Slot::Green).await.expect("promoted").drained_generation;
    let (of_green, _) = client.open(http2::get("/half"), true).await.expect("a stream");
    let mut of_green = within(PATIENCE, "the head", of_green).await.expect("a head").into_body();
    piece(&mut of_green).await.expect("half of it");
    let cut = loop {
        match piece(&mut slow).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a cut download passed for a whole one"),
            Err(error) => break error,
        }
    };
    assert!(cut.is_reset(), "the stream, not the connection: {cut}");
    while let Ok(Some(_)) = piece(&mut events).await {}
    assert!(proxy.admin().drain(left, "20s").await.expect("a receipt").drained);
    green.open_gate();
    assert_eq!(piece(&mut of_green).await.expect("the rest").as_deref(), Some(&b"whole"[..]));
}

#[tokio::test]
async fn an_http2_client_that_reads_nothing_holds_no_drain() {
    let (_blue, _green, proxy) = two(&times("300ms", LONG, LONG, LONG)).await;
    let client = Http2::tls(proxy.https(), "shop.test").await;
    let (answer, _) = client.open(http2::get("/bytes/10000000000"), true).await.expect("a stream");
    let unread = within(PATIENCE, "the head", answer).await.expect("a head");
    let receipt = leave(&proxy).await;
    assert_eq!(receipt.cut.requests.len(), 1);
    drop(unread);
}

#[tokio::test]
async fn each_kind_is_waited_for_its_own_time() {
    let (blue, _green, proxy) = two(&times(LONG, LONG, LONG, "300ms")).await;
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    socket.text().await;
    let mut events = Events::open(Http1::connect(proxy.http()).await, "/events").await;
    events.data().await;
    let mut waits = Http1::connect(proxy.http()).await;
    waits.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "three exchanges to be inside", || async { inside(&proxy, Slot::Blue).await == 3 }).await;
    let left = proxy.admin().promote(Slot::Green).await.expect("promoted").drained_generation;
    assert!(matches!(socket.goodbye().await, Goodbye::Closed(1012, _)));
    blue.emit("of the old slot");
    assert_eq!(events.data().await, "of the old slot");
    blue.open_gate();
    assert_eq!(waits.exchange(b"").await.text(), "blue");
    drop(events);
    let receipt = proxy.admin().drain(left, "20s").await.expect("a receipt");
    assert_eq!((receipt.drained, receipt.cut.websockets.len(), receipt.cut.requests.len()), (true, 1, 0));
    assert_eq!((receipt.finished.requests, receipt.finished.streams), (1, 1));
}

#[tokio::test]
async fn an_upload_has_more_time_than_a_request() {
    let (blue, _green, proxy) = two(&times("300ms", LONG, LONG, LONG)).await;
    let mut upload = Http1::connect(proxy.http()).await;
    let body = switcher_tests::pattern::bytes(0, 200_000);
    upload.send(&request("POST", "/count", &[("Content-Length", "200000")], &body[..100_000])).await;
    let mut waits = Http1::connect(proxy.http()).await;
    waits.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "both to be inside", || async { blue.hits() == 2 }).await;
    let left = proxy.admin().promote(Slot::Green).await.expect("promoted").drained_generation;
    until(PATIENCE, "the request to be cut", || async { blue.waiting() == 0 }).await;
    upload.send(&body[100_000..]).await;
    assert_eq!(upload.exchange(b"").await.json(), serde_json::json!({"bytes": 200_000, "intact": true}));
    let receipt = proxy.admin().drain(left, "20s").await.expect("a receipt");
    assert_eq!((receipt.finished.uploads, receipt.cut.uploads.len(), receipt.cut.requests.len()), (1, 0, 1));
}

#[tokio::test]
async fn a_promote_may_bring_a_drain_time_of_its_own() {
    let (blue, _green, proxy) = two(&times(LONG, LONG, LONG, LONG)).await;
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    socket.text().await;
    let mut waits = Http1::connect(proxy.http()).await;
    waits.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "the request to wait", || async { blue.waiting() == 1 }).await;
    let drain = Some("300ms".parse().expect("a span"));
    let wish = PromoteRequest { drain, ..PromoteRequest::of(Slot::Green) };
    let left = proxy.admin().promote_as(&wish).await.expect("promoted").drained_generation;
    let receipt = proxy.admin().drain(left, "20s").await.expect("a receipt");
    assert_eq!((receipt.drained, receipt.cut.websockets.len(), receipt.cut.requests.len()), (true, 1, 1));
    assert!(matches!(socket.goodbye().await, Goodbye::Closed(1012, _)));
}

#[tokio::test]
async fn closing_is_spread_so_that_clients_do_not_come_back_as_a_herd() {
    // So many have all of the window, which no busy machine stands still for.
    const HERD: usize = 200;
    let times = "{requests: 1s, uploads: 1s, streams: 1s, websockets: 1s, spread: 2s}";
    let (_blue, _green, proxy) = two(times).await;
    let sockets = join_all((0..HERD).map(|_| WebSocket::connect(proxy.http(), "/socket"))).await;
    until(PATIENCE, "all to be inside", || async { inside(&proxy, Slot::Blue).await == HERD as u64 }).await;
    let receipt = leave(&proxy).await;
    let ages: Vec<f64> = receipt.cut.websockets.iter().map(|c| c.age_seconds).collect();
    assert_eq!(ages.len(), HERD);
    let (first, last) =
        (ages.iter().copied().fold(f64::MAX, f64::min), ages.iter().copied().fold(0.0, f64::max));
    assert!(last - first > 0.05, "all were closed at once: {ages:?}");
    for socket in sockets {
        assert!(matches!(socket.goodbye().await, Goodbye::Closed(1012, _)));
    }
}

#[tokio::test]
async fn a_close_frame_never_lands_within_another_frame() {
    let (_blue, _green, proxy) = two(&times("300ms", "300ms", "300ms", "300ms")).await;
    let sockets = join_all((0..10).map(|_| async {
        let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
        socket.text().await;
        // Echoes of this size are on their way in many pieces when the deadline comes.
        for _ in 0..8 {
            socket.send(&"x".repeat(1_000_000)).await;
        }
        socket
    }))
    .await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    for socket in sockets {
        let goodbye = socket.goodbye().await;
        let clean = match &goodbye {
            Goodbye::Closed(1012, _) => true,
            Goodbye::Broken(why) => {
                !why.contains("frame") && !why.contains("opcode") && !why.contains("UTF-8")
            }
            Goodbye::Closed(..) | Goodbye::ClosedSilently => false,
        };
        assert!(clean, "{goodbye:?}");
    }
}

#[tokio::test]
async fn an_empty_slot_is_drained_at_once() {
    let (_blue, _green, proxy) = two(&times(LONG, LONG, LONG, LONG)).await;
    let mut idle = Http1::connect(proxy.http()).await;
    idle.exchange(&request("GET", "/", &[], b"")).await;
    until(PATIENCE, "it to be empty", || async { inside(&proxy, Slot::Blue).await == 0 }).await;
    let receipt = leave(&proxy).await;
    assert_eq!((receipt.finished.total(), receipt.in_flight.total()), (0, 0));
    assert_eq!((receipt.slot, proxy.admin().shop().await.draining.len()), (Slot::Blue, 0));
}

#[tokio::test]
async fn what_is_inside_is_listed_oldest_first() {
    let (blue, _green, proxy) = two(&times(LONG, LONG, LONG, LONG)).await;
    let mut clients = Vec::new();
    for n in 1..=3 {
        let mut client = Http1::connect(proxy.http()).await;
        client.send(&request("GET", "/gate?secret=1", &[], b"")).await;
        clients.push(client);
        until(PATIENCE, "it to wait", || async { blue.waiting() == n }).await;
    }
    let listed = proxy.admin().in_flight(Slot::Blue).await.expect("a list");
    assert!(listed.live);
    assert!(
        listed.exchanges.iter().all(|e| e.route == "GET /gate" && e.kind == Kind::Requests),
        "{listed:?}"
    );
    assert!(listed.exchanges.windows(2).all(|pair| pair[0].age_seconds >= pair[1].age_seconds), "{listed:?}");
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    let listed = proxy.admin().in_flight(Slot::Blue).await.expect("a list");
    assert_eq!((listed.live, listed.exchanges.len()), (false, 3));
    blue.open_gate();
    until(PATIENCE, "blue to be empty", || async { inside(&proxy, Slot::Blue).await == 0 }).await;
}

#[tokio::test]
async fn a_drain_that_never_was_is_not_made_up() {
    let (_blue, _green, proxy) = two(&times(LONG, LONG, LONG, LONG)).await;
    let refused = proxy.admin().drain("99".parse().expect("a number"), "0s").await.expect_err("refused");
    assert_eq!((refused.status, refused.refusal.reason), (404, RefusalReason::UnknownDrain));
}

#[tokio::test]
async fn whoever_waits_for_a_drain_is_told_as_soon_as_it_is_over() {
    let (blue, _green, proxy) = two(&times(LONG, LONG, LONG, LONG)).await;
    let address = proxy.http();
    let straggler = tokio::spawn(async move { get(address, "/gate").await });
    until(PATIENCE, "it to wait", || async { blue.waiting() == 1 }).await;
    let left = proxy.admin().promote(Slot::Green).await.expect("promoted").drained_generation;
    let admin = proxy.admin();
    // The wait is longer than the test's patience: only the end of the drain can answer it in time.
    let receipt = tokio::spawn(async move { admin.drain(left, "10m").await });
    straggler_is_awaited(&receipt).await;
    blue.open_gate();
    let receipt = within(PATIENCE, "the receipt", receipt).await.expect("no panic").expect("a receipt");
    assert_eq!((receipt.drained, receipt.finished.requests), (true, 1));
    assert_eq!(straggler.await.expect("an answer").text(), "blue");
}

async fn straggler_is_awaited<T>(receipt: &tokio::task::JoinHandle<T>) {
    let early = tokio::time::timeout(Duration::from_millis(100), async {
        while !receipt.is_finished() {
            tokio::task::yield_now().await;
        }
    });
    assert!(early.await.is_err(), "the receipt came while the straggler was inside");
}
