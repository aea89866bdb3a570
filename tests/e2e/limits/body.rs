//! Bodies that do not come on: who is to blame, what it is told, and what the log and the counters say of it.

use std::time::Duration;

use switcher_tests::http1::request;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Raw, Setup, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::acted;

/// Within this a body must come at its rate.
const LIMITS: &str = "{body_rate: 1MiB, body_grace: 500ms}";

/// The pause of a client that never stalls and never gets on.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends a head, and then a byte now and then until the connection is over; what came back.
async fn trickled(proxy: &Proxy, head: &str) -> String {
    let mut stream = TcpStream::connect(proxy.http()).await.expect("a connection");
    stream.write_all(head.as_bytes()).await.expect("taken");
    let (mut reading, mut writing) = stream.split();
    let writes = async {
        let mut tick = tokio::time::interval(PAUSE);
        while writing.write_all(b"b").await.is_ok() {
            tick.tick().await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let reads = async {
        // Bytes that are under way when the proxy closes may turn its end into a reset.
        let _ = reading.read_to_end(&mut answer).await;
    };
    within(PATIENCE, "the slow client to be closed", async {
        tokio::select! {
            () = writes => {}
            () = reads => {}
        }
    })
    .await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(target: &str, more: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1000000\r\n{more}\r\n")
}

#[tokio::test]
async fn who_only_says_that_it_speaks_grpc_must_send_its_body_at_its_rate() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).proxy("limits", LIMITS).start_healthy().await;
    let answer = trickled(&proxy, &post("/count", "Content-Type: application/grpc\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    proxy.wait_limit("body_rate", 1).await;
}

#[tokio::test]
async fn a_body_must_come_at_its_rate_also_when_the_answer_has_begun() {
    let upstream = Raw::start(|mut conversation| async move {
        conversation.request_head().await.expect("a request");
        conversation.wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
        conversation.hang().await;
    })
    .await;
    let proxy = Setup::one(upstream.address()).proxy("limits", LIMITS).start_healthy().await;
    let answer = trickled(&proxy, &post("/early", "")).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("half"), "{answer}");
    proxy.wait_limit("body_rate", 1).await;
}

#[tokio::test]
async fn a_slow_body_to_a_shared_upstream_is_a_408_and_no_failure_of_the_upstream() {
    let app = App::h2c("blue").await;
    let proxy = Setup::one(app.upstream())
        .shop("health", "{protocol: tcp, interval: 100ms, rise: 1}")
        .proxy("limits", LIMITS)
        .start_healthy()
        .await;
    let answer = trickled(&proxy, &post("/count", "")).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(proxy.record_of("/count").await["status"], 408);
    let mut silent = Http1::connect(proxy.http()).await;
    silent.send(post("/count?silent", "").as_bytes()).await;
    let silent = proxy.record("the silent client's end", |record| record["path"] == "/count?silent").await;
    assert_eq!(silent["status"], 408);
}

#[tokio::test]
async fn an_upstream_that_does_not_read_is_a_504_and_not_its_clients_fault() {
    let upstream = Raw::start(|mut conversation| async move {
        conversation.request_head().await.expect("a request");
        std::future::pending::<()>().await;
    })
    .await;
    let proxy = Setup::one(upstream.address())
        .shop("timeouts", "{idle: 1s}")
        .proxy("limits", LIMITS)
        .start_healthy()
        .await;
    let mut stream = TcpStream::connect(proxy.http()).await.expect("a connection");
    let head = "POST /stuck HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("taken");
    let sends = async { while stream.write_all(&[b'b'; 1 << 16]).await.is_ok() {} };
    within(PATIENCE, "the stuck request to be ended", sends).await;
    assert_eq!(proxy.record_of("/stuck").await["status"], 504);
    assert_eq!(acted(&proxy, "body_rate").await, 0);
}

#[tokio::test]
async fn a_body_that_is_sent_twice_counts_once() {
    let busy = Raw::answering(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy").await;
    let app = App::start("app").await;
    let body = [b'b'; 40 << 10];
    let proxy = Setup::slots(&[busy.address().to_string(), app.upstream()], &[])
        .shop("retries", "{attempts: 2, budget: 100%, on: 503}")
        .shop("middleware", "{body_size: 64KiB}")
        .start_healthy()
        .await;
    for n in 0..2 {
        let mut client = Http1::connect(proxy.http()).await;
        let put = request("PUT", &format!("/count?{n}"), &[], &body);
        assert_eq!(client.exchange(&put).await.status, 200);
    }
    let twice = proxy.record("a second try", |record| record["tries"] == 2).await;
    assert_eq!(twice["bytes_in"], body.len(), "{twice}");
}
