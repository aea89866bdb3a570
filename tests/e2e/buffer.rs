//! Bodies that are taken in before an upstream is asked: what it sees and when, and what is passed on as it comes.

mod answers;

use switcher_config::Slot;
use switcher_tests::http1::{Answer, get, request};
use switcher_tests::{App, Http1, Http2, PATIENCE, Proxy, Raw, Setup, http2, pattern, until};

const BUFFER: &str = "{buffer: {request: 1MiB}}";

async fn with(upstream: impl ToString) -> Proxy {
    let setup =
        Setup::one(upstream).shop("middleware", BUFFER).shop("paths", "{/as-it-comes: {buffer: off}}");
    setup.start_healthy().await
}

fn head(target: &str, length: usize) -> Vec<u8> {
    request("POST", target, &[("Content-Length", &length.to_string())], b"")
}

fn intact(answer: &Answer, size: usize) -> bool {
    answer.status == 200 && answer.json()["bytes"] == size && answer.json()["intact"] == true
}

#[tokio::test]
async fn an_upstream_is_asked_when_the_whole_body_is_there() {
    let app = App::start("blue").await;
    let proxy = with(app.upstream()).await;
    let body = pattern::bytes(0, 200_000);
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&[&head("/count", body.len())[..], &body[..150_000]].concat()).await;
    let in_flight = async || proxy.admin().shop().await.slots.get(Slot::Blue).in_flight.total();
    until(PATIENCE, "it to be counted", || async { in_flight().await == 1 }).await;
    // Another one goes all the way meanwhile; and where nothing is kept the half of a body is enough.
    let mut other = Http1::connect(proxy.http()).await;
    other.send(&[&head("/as-it-comes", 10)[..], b"half"].concat()).await;
    until(PATIENCE, "the other one", || async { app.hits() == 1 }).await;
    assert_eq!(app.last().target, "/as-it-comes");
    assert_eq!(get(proxy.http(), "/").await.status, 200);
    assert_eq!(app.hits(), 2);
    client.send(&body[150_000..]).await;
    let answer = client.exchange(b"").await;
    assert!(intact(&answer, body.len()), "{}", answer.text());
    assert_eq!(
        client.exchange(&request("GET", "/after", &[], b"")).await.text(),
        "blue",
        "the connection goes on"
    );
    assert_eq!(proxy.record_of("/count").await["bytes_in"], body.len());
}

#[tokio::test]
async fn every_size_arrives_as_it_was_sent() {
    let (app, over_h2) = (App::start("blue").await, App::h2c("second").await);
    let setup = Setup::one(app.upstream()).shop("middleware", BUFFER);
    let second = [("hosts", "[second.test]"), ("redirect", "false"), ("middleware", BUFFER)];
    let proxy = setup.another("second", over_h2.upstream(), &second).start_healthy().await;
    let h2 = Http2::connect(proxy.http()).await;
    for size in [1, 10, 65_535, 65_536, 65_537, 131_072, 300_000, 1 << 20, (1 << 20) + 1] {
        let body = pattern::bytes(0, size);
        for host in ["shop.test", "second.test"] {
            let sent = request("POST", "/count", &[("Host", host)], &body);
            let answer = Http1::connect(proxy.http()).await.exchange(&sent).await;
            assert!(intact(&answer, size), "{size} to {host}: {}", answer.text());
        }
        let length = size.to_string();
        let answer =
            h2.exchange(http2::request("POST", "/count", &[("content-length", &length)]), &body).await;
        assert_eq!(answer.text(), format!("{{\"bytes\":{size},\"intact\":true}}"), "{size} by HTTP/2");
    }
}

#[tokio::test]
async fn what_is_too_large_or_of_unknown_length_is_passed_on_as_it_comes() {
    let app = App::start("blue").await;
    let proxy = with(app.upstream()).await;
    let mut large = Http1::connect(proxy.http()).await;
    large.send(&[&head("/large", (1 << 20) + 1)[..], b"begins"].concat()).await;
    until(PATIENCE, "the large one", || async { app.hits() == 1 }).await;
    let mut chunked = Http1::connect(proxy.http()).await;
    chunked.send(&request("POST", "/count", &[("Transfer-Encoding", "chunked")], b"5\r\nbegin\r\n")).await;
    until(PATIENCE, "the one in chunks", || async { app.hits() == 2 }).await;
    chunked.send(b"0\r\n\r\n").await;
    assert_eq!(chunked.exchange(b"").await.json()["bytes"], 5);
    let h2 = Http2::connect(proxy.http()).await;
    let (answer, mut sender) = h2.open(http2::request("POST", "/count", &[]), false).await.expect("a stream");
    until(PATIENCE, "the one by HTTP/2", || async { app.hits() == 3 }).await;
    http2::send_all(&mut sender, b"body").await.expect("sent");
    assert_eq!(answer.await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn what_is_kept_may_be_sent_to_another_upstream() {
    let busy = Raw::start(|mut conversation| async move {
        while conversation.request().await.is_some() {
            let busy = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
            if conversation.wire.try_send(busy).await.is_err() {
                return;
            }
        }
    })
    .await;
    let app = App::start("app").await;
    let body = pattern::bytes(0, 300_000);
    let proxy = Setup::slots(&[busy.address().to_string(), app.upstream()], &[])
        .shop("retries", "{attempts: 2, budget: 100%, on: 503}")
        .shop("middleware", BUFFER)
        .start_healthy()
        .await;
    for n in 0..2 {
        let put = request("PUT", "/count", &[], &body);
        let answer = Http1::connect(proxy.http()).await.exchange(&put).await;
        assert!(intact(&answer, body.len()), "{n}: {}", answer.text());
    }
    let twice = proxy.record("a second try", |record| record["tries"] == 2).await;
    assert_eq!(twice["bytes_in"], body.len(), "{twice}");
    assert!(busy.requests().iter().any(|request| request.body == body), "the first one had it all too");
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_is_told_to_go_on() {
    let app = App::start("blue").await;
    let proxy = with(app.upstream()).await;
    let mut client = Http1::connect(proxy.http()).await;
    client
        .send(&request("POST", "/count", &[("Content-Length", "5"), ("Expect", "100-continue")], b""))
        .await;
    assert_eq!(client.head().await.status(), 100);
    assert_eq!(app.hits(), 0);
    client.send(b"hello").await;
    let answer = client.head().await;
    assert_eq!(answer.status(), 200);
    assert_eq!(app.last().header("expect"), None);
}

#[tokio::test]
async fn a_client_that_leaves_or_dawdles_is_seen_by_no_upstream() {
    let app = App::start("blue").await;
    let setup = Setup::one(app.upstream()).proxy("limits", "{body_rate: 10KiB, body_grace: 300ms}");
    let proxy = setup.shop("middleware", BUFFER).start_healthy().await;
    let in_flight = async || proxy.admin().shop().await.slots.get(Slot::Blue).in_flight.total();
    let mut leaves = Http1::connect(proxy.http()).await;
    leaves.send(&[&head("/leaves", 900_000)[..], &[b'b'; 100_000]].concat()).await;
    until(PATIENCE, "it to be counted", || async { in_flight().await == 1 }).await;
    drop(leaves);
    until(PATIENCE, "it to be over", || async { in_flight().await == 0 }).await;
    let mut dawdles = Http1::connect(proxy.http()).await;
    dawdles.send(&[&head("/dawdles", 100_000)[..], b"half"].concat()).await;
    assert_eq!(dawdles.head().await.status(), 408);
    assert_eq!(proxy.record_of("/dawdles").await["status"], 408);
    assert_eq!(app.hits(), 0);
}
