//! Server-sent events, long polls and large bodies: nothing is held back, nothing is piled up.

use switcher_tests::http1::{Framing, get, request};
use switcher_tests::http2::{self, Http2, piece};
use switcher_tests::pattern::{self, Check};
use switcher_tests::sse::Events;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, until, within};

const MIB: u64 = 1 << 20;
const LARGE: u64 = 256 * MIB;
/// How much more memory one large body may take.
const GROWTH: u64 = 64 * MIB;

async fn streamer(app: &App) -> Proxy {
    Setup::one(app.upstream()).start_healthy().await
}

#[tokio::test]
async fn an_event_arrives_before_the_next_one_is_sent() {
    let app = App::start("blue").await;
    let proxy = streamer(&app).await;
    let mut events = Events::open(Http1::connect(proxy.http()).await, "/events").await;
    assert_eq!(events.data().await, "blue");
    for n in 0..20 {
        app.emit(&format!("event {n}"));
        assert_eq!(events.data().await, format!("event {n}"));
    }
}

#[tokio::test]
async fn an_event_arrives_over_http2_before_the_next_one_is_sent() {
    let app = App::start("blue").await;
    let proxy = streamer(&app).await;
    let client = Http2::tls(proxy.https(), "shop.test").await;
    let (answer, _) = client.open(http2::get("/events"), true).await.expect("a stream");
    let mut body = within(PATIENCE, "the head", answer).await.expect("a head").into_body();
    assert_eq!(piece(&mut body).await.expect("a piece").as_deref(), Some(&b"data: blue\n\n"[..]));
    app.emit("next");
    assert_eq!(piece(&mut body).await.expect("a piece").as_deref(), Some(&b"data: next\n\n"[..]));
}

#[tokio::test]
async fn a_silent_stream_outlives_the_idle_timeout_of_ordinary_answers() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("timeouts", "{idle: 300ms}").start_healthy().await;
    let mut events = Events::open(Http1::connect(proxy.http()).await, "/events").await;
    events.data().await;
    super::timeout::cut_when_idle(&proxy).await;
    super::timeout::cut_when_idle(&proxy).await;
    app.emit("after the silence");
    assert_eq!(events.data().await, "after the silence");
}

#[tokio::test]
async fn a_stream_that_its_client_leaves_ends_at_the_upstream() {
    let app = App::start("blue").await;
    let proxy = streamer(&app).await;
    let mut events = Events::open(Http1::connect(proxy.http()).await, "/events").await;
    events.data().await;
    drop(events);
    until(PATIENCE, "the upstream to be let go", || async {
        app.emit("anybody there?");
        app.listeners() == 0
    })
    .await;
}

#[tokio::test]
async fn a_long_poll_is_answered_when_there_is_something_to_say() {
    let app = App::start("blue").await;
    let proxy = streamer(&app).await;
    let address = proxy.http();
    let poll = tokio::spawn(async move { get(address, "/gate").await });
    until(PATIENCE, "the poll to wait", || async { app.waiting() == 1 }).await;
    app.open_gate();
    assert_eq!(poll.await.expect("an answer").text(), "blue");
}

#[tokio::test]
async fn a_large_upload_takes_no_more_memory_than_a_small_one() {
    let app = App::start("blue").await;
    let proxy = streamer(&app).await;
    get(proxy.http(), "/").await;
    let before = proxy.resident_bytes();
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("POST", "/count", &[("Content-Length", &LARGE.to_string())], b"")).await;
    let mut sent = 0;
    while let Some(data) = pattern::piece(sent, LARGE) {
        client.send(&data).await;
        sent += data.len() as u64;
    }
    let counted = client.exchange(b"").await.json();
    assert_eq!(counted, serde_json::json!({"bytes": LARGE, "intact": true}));
    bounded(&proxy, before);
}

#[tokio::test]
async fn a_large_download_takes_no_more_memory_than_a_small_one() {
    let app = App::start("blue").await;
    let proxy = streamer(&app).await;
    get(proxy.http(), "/").await;
    let before = proxy.resident_bytes();
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", &format!("/bytes/{LARGE}"), &[], b"")).await;
    let mut framing = client.head().await.answer_framing();
    assert_eq!(framing, Framing::Length(LARGE));
    let mut check = Check::default();
    while let Some(data) = client.piece(&mut framing).await.expect("a whole body") {
        check.feed(&data);
    }
    assert_eq!(check, Check { bytes: LARGE, broken: false });
    bounded(&proxy, before);
}

#[tokio::test]
async fn a_client_that_does_not_read_piles_nothing_up() {
    let app = App::start("blue").await;
    let proxy = streamer(&app).await;
    get(proxy.http(), "/").await;
    let before = proxy.resident_bytes();
    let mut deaf = Http1::connect(proxy.http()).await;
    deaf.send(&request("GET", &format!("/bytes/{LARGE}"), &[], b"")).await;
    let mut reader = Http1::connect(proxy.http()).await;
    let answer = reader.exchange(&request("GET", &format!("/bytes/{}", 32 * MIB), &[], b"")).await;
    assert_eq!(answer.body.len() as u64, 32 * MIB, "somebody else reads on");
    bounded(&proxy, before);
    drop(deaf);
}

fn bounded(proxy: &Proxy, before: u64) {
    let growth = proxy.peak_bytes().saturating_sub(before);
    assert!(growth < GROWTH, "memory grew by {} MiB for a body of {} MiB", growth / MIB, LARGE / MIB);
}
