//! The app's own promises that the load does not check by itself.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::*;

const DEADLINE: Duration = Duration::from_secs(60);

async fn start(broken: bool, keep_alive_ms: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let listen = listener.local_addr().expect("its address");
    tokio::spawn(serve(listener, AppArgs { version: "v3".to_owned(), listen, broken, keep_alive_ms }));
    listen
}

/// The whole connection as text, for one request, read until the app closes it.
async fn ask(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.expect("closed in time").expect("text");
    answer
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_keep_alive_time() {
    let address = start(false, 50).await;
    let answer = ask(address, "GET /version HTTP/1.1\r\nhost: demo\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("v3\n"), "{answer}");
    assert!(answer.contains("x-app-version: v3\r\n"), "{answer}");
}

#[tokio::test]
async fn a_broken_app_fails_its_health_check_and_counts_what_it_got() {
    let address = start(true, 5000).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n\r\n");
    assert!(ask(address, &get("/health")).await.starts_with("HTTP/1.1 500 "));
    assert!(ask(address, &get("/served")).await.ends_with("\r\n0\n"));
    assert!(ask(address, &get("/")).await.starts_with("HTTP/1.1 500 "));
    assert!(ask(address, &get("/served")).await.ends_with("\r\n1\n"));
}
