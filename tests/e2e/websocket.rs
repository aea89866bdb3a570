//! WebSockets through the proxy.

use switcher_config::Slot;
use switcher_tests::http1::{get, request};
use switcher_tests::tls::Hello;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, PATIENCE, Raw, Setup, until, within};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

#[tokio::test]
async fn a_websocket_speaks_both_ways_with_and_without_tls() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let plain = WebSocket::connect(proxy.http(), "/socket").await;
    let tls = WebSocket::over(Hello::to("shop.test").http1(proxy.https()).await, "/socket").await;
    for mut socket in [plain, tls] {
        assert_eq!(socket.text().await, "blue");
        for message in ["one", "two", &"long ".repeat(100_000)] {
            assert_eq!(socket.ask(message).await, message);
        }
    }
}

#[tokio::test]
async fn a_websocket_is_counted_as_one_and_counted_out_when_it_closes() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    socket.text().await;
    let inside = || async { proxy.admin().shop().await.slots.get(Slot::Blue).in_flight };
    until(PATIENCE, "the WebSocket to be counted", || async { inside().await.websockets == 1 }).await;
    assert_eq!(inside().await.total(), 1);
    socket.close().await;
    until(PATIENCE, "the WebSocket to be counted out", || async { inside().await.total() == 0 }).await;
}

#[tokio::test]
async fn an_upgrade_that_the_upstream_refuses_is_an_ordinary_answer() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let answer = get(proxy.http(), "/socket").await;
    assert_eq!((answer.status, answer.text().as_str()), (426, "a WebSocket is served here"));
}

#[tokio::test]
async fn an_idle_websocket_outlives_the_idle_timeout_of_ordinary_answers() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("timeouts", "{idle: 300ms}").start_healthy().await;
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    socket.text().await;
    super::timeout::cut_when_idle(&proxy).await;
    super::timeout::cut_when_idle(&proxy).await;
    assert_eq!(socket.ask("still here?").await, "still here?");
}

/// More than all buffers on the way hold.
const MUCH: usize = 24 << 20;

async fn write_much(stream: &mut (impl AsyncWrite + Unpin)) {
    for _ in 0..MUCH >> 16 {
        stream.write_all(&[7; 1 << 16]).await.expect("taken");
    }
}

async fn read_much(stream: &mut (impl AsyncRead + Unpin)) {
    let (mut left, mut piece) = (MUCH, vec![0; 1 << 16]);
    while left > 0 {
        let most = left.min(piece.len());
        let count = stream.read(&mut piece[..most]).await.expect("bytes");
        assert!(count > 0 && piece[..count].iter().all(|byte| *byte == 7), "{left} bytes are missing");
        left -= count;
    }
}

#[tokio::test]
async fn a_client_that_writes_all_before_it_reads_is_not_waited_for_by_both() {
    let upstream = Raw::start(|mut conversation| async move {
        conversation.request_head().await.expect("an upgrade");
        let agreed = b"HTTP/1.1 101 -\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        conversation.wire.send(agreed).await;
        let (mut reads, mut writes) = tokio::io::split(conversation.wire.into_stream());
        tokio::join!(read_much(&mut reads), write_much(&mut writes));
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
    client.send(&request("GET", "/socket", &ask, b"")).await;
    let (mut reads, mut writes, begun) = client.upgraded().await;
    within(PATIENCE, "all to be written before anything is read", write_much(&mut writes)).await;
    let mut all = begun.as_slice().chain(&mut reads);
    within(PATIENCE, "all to be read", read_much(&mut all)).await;
}
