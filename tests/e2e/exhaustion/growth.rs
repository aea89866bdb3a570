//! What many connections and large bodies cost in memory.
//!
//! Each figure is the growth of resident memory over what the process had after its first requests, so that what is
//! allocated once is nobody's. The whole counts (10,000, 2,000, 1 GiB) are for the bench `compare`.

use switcher_tests::http1::{Framing, request};
use switcher_tests::pattern;
use switcher_tests::tls::Hello;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, until};

const IDLE: usize = 3000;
const IDLE_TLS: usize = 600;
const SOCKETS: usize = 500;

/// How many bytes go each way in one body.
const LARGE: u64 = 256 << 20;

/// How much a body may cost, whatever its length, in bytes.
const BODY: u64 = 20 << 20;

async fn proxy(app: &App) -> Proxy {
    let limits = "{connections_per_address: 100000}";
    Setup::one(app.upstream()).proxy("limits", limits).start_healthy().await
}

/// The resident memory once it has come down to this many bytes, or what it is when it does not soon.
async fn settled(proxy: &Proxy, bytes: u64) -> u64 {
    let down = until(PATIENCE, "memory", || async { proxy.resident_bytes() <= bytes });
    // Who is too large is told so with the figure.
    let _ = tokio::time::timeout(PATIENCE / 4, down).await;
    proxy.resident_bytes()
}

fn each(what: &str, before: u64, after: u64, count: usize, most: u64) {
    let grown = after.saturating_sub(before) / count as u64;
    eprintln!("{what}: {grown} bytes each, of at most {most}");
    assert!(grown < most, "{what}: {grown} bytes each, which is not below {most}");
}

async fn served(mut client: Http1) -> Http1 {
    assert_eq!(client.exchange(&request("GET", "/", &[], b"")).await.status, 200);
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_idle_connections_cost_less_than_8_kib_each() {
    let app = App::start("blue").await;
    let proxy = proxy(&app).await;
    let mut clients = Vec::new();
    let mut before = 0;
    for number in 0..IDLE + 50 {
        clients.push(served(Http1::connect(proxy.http()).await).await);
        if number == 50 {
            before = proxy.resident_bytes();
        }
    }
    let after = settled(&proxy, before + 8 * 1024 * IDLE as u64).await;
    each("an idle connection", before, after, IDLE, 8 * 1024);
    for client in clients.iter_mut().step_by(500) {
        assert_eq!(client.exchange(&request("GET", "/", &[], b"")).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_idle_connections_of_tls_cost_less_than_16_kib_each() {
    let app = App::start("blue").await;
    let proxy = proxy(&app).await;
    let mut clients = Vec::new();
    let mut before = 0;
    for number in 0..IDLE_TLS + 50 {
        clients.push(served(Hello::to("shop.test").http1(proxy.https()).await).await);
        if number == 50 {
            before = proxy.resident_bytes();
        }
    }
    let after = settled(&proxy, before + 16 * 1024 * IDLE_TLS as u64).await;
    each("an idle connection of TLS", before, after, IDLE_TLS, 16 * 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_idle_websockets_cost_less_than_144_kib_each() {
    // An optimized proxy takes less: what stands in the README is the bench's to say.
    const MOST: u64 = 144 * 1024;
    let app = App::start("blue").await;
    let proxy = proxy(&app).await;
    let mut sockets = Vec::new();
    let mut before = 0;
    for number in 0..SOCKETS + 50 {
        let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
        assert_eq!(socket.text().await, "blue");
        sockets.push(socket);
        if number == 50 {
            before = proxy.resident_bytes();
        }
    }
    let after = settled(&proxy, before + MOST * SOCKETS as u64).await;
    each("an idle WebSocket", before, after, SOCKETS, MOST);
    for socket in sockets.iter_mut().step_by(50) {
        assert_eq!(socket.ask("still here?").await, "still here?");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_download_costs_no_memory() {
    let app = App::start("blue").await;
    let proxy = proxy(&app).await;
    let mut client = served(Http1::connect(proxy.http()).await).await;
    let before = proxy.resident_bytes();
    client.send(&request("GET", &format!("/bytes/{LARGE}"), &[], b"")).await;
    let mut framing: Framing = client.head().await.answer_framing();
    let mut came = 0;
    while let Some(piece) = client.piece(&mut framing).await.expect("all of it") {
        came += piece.len() as u64;
    }
    assert_eq!(came, LARGE);
    let grown = proxy.peak_bytes().saturating_sub(before);
    eprintln!("a download of {LARGE} bytes: memory grew by {grown}");
    assert!(grown < BODY, "{grown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_costs_no_memory() {
    let app = App::start("blue").await;
    let proxy = proxy(&app).await;
    let mut client = served(Http1::connect(proxy.http()).await).await;
    let before = proxy.resident_bytes();
    let head = format!("POST /count HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {LARGE}\r\n\r\n");
    client.send(head.as_bytes()).await;
    let mut sent = 0;
    while let Some(piece) = pattern::piece(sent, LARGE) {
        client.send(&piece).await;
        sent += piece.len() as u64;
    }
    let head = client.head().await;
    assert_eq!(head.status(), 200);
    let body = client.try_body(head.answer_framing()).await.expect("a count");
    let counted: serde_json::Value = serde_json::from_slice(&body).expect("a count");
    assert_eq!(counted, serde_json::json!({"bytes": LARGE, "intact": true}));
    let grown = proxy.peak_bytes().saturating_sub(before);
    eprintln!("an upload of {LARGE} bytes: memory grew by {grown}");
    assert!(grown < BODY, "{grown}");
}
