//! Several upstreams a slot: who gets a request, and when it is sent again.

mod share;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;

use switcher_config::Slot;
use switcher_config::wire::Health;
use switcher_tests::http1::{Answer, get, post, request};
use switcher_tests::port::Refusing;
use switcher_tests::raw::Received;
use switcher_tests::{App, Http1, PATIENCE, Raw, Setup, until};
use tokio::sync::Barrier;

/// A health check that passes and then sleeps, so that only traffic finds out what is wrong.
const ONCE: &str = "{path: /health, interval: 1h, rise: 1, fall: 1000}";

/// Which requests reached upstreams more than once, by the mark the client put on each.
fn sent_twice(requests: &[Received]) -> Vec<String> {
    let mut counts = BTreeMap::<_, usize>::new();
    for seen in requests {
        *counts.entry(seen.head.get("x-mark").unwrap_or("none").to_owned()).or_default() += 1;
    }
    counts.into_iter().filter(|(_, n)| *n > 1).map(|(mark, _)| mark).collect()
}

async fn marked(address: std::net::SocketAddr, method: &str, mark: &str) -> Answer {
    Http1::connect(address).await.exchange(&request(method, "/", &[("X-Mark", mark)], b"")).await
}

/// Takes requests in and leaves without a word.
async fn swallowing() -> Raw {
    Raw::start(|mut conversation| async move {
        conversation.request().await;
    })
    .await
}

#[tokio::test]
async fn a_stale_connection_is_followed_by_a_fresh_one_and_not_by_the_next_that_is_stale() {
    const POOLED: usize = 5;
    let gate = Arc::new(Barrier::new(POOLED));
    // The first answer of each connection waits until all have one; a second request is taken, and not answered.
    let upstream = Raw::start(move |mut conversation| {
        let gate = Arc::clone(&gate);
        async move {
            conversation.request().await;
            if conversation.number < POOLED {
                gate.wait().await;
            }
            conversation.answer("fresh").await;
            conversation.request().await;
        }
    })
    .await;
    let proxy = Setup::one(upstream.address()).start_healthy().await;
    let many = (0..POOLED).map(|_| get(proxy.http(), "/"));
    assert!(futures::future::join_all(many).await.iter().all(|answer| answer.status == 200));
    assert_eq!(upstream.connections(), POOLED);
    // A connection is in the pool when its request is over for the proxy.
    until(PATIENCE, "nothing to be in flight", || async {
        proxy.admin().shop().await.slots.blue.in_flight.total() == 0
    })
    .await;
    let answer = marked(proxy.http(), "GET", "again").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "fresh"));
    assert_eq!((upstream.requests().len(), upstream.connections()), (POOLED + 2, POOLED + 1));
}

#[tokio::test]
async fn requests_go_round() {
    let apps = [App::start("a").await, App::start("b").await, App::start("c").await];
    let proxy = Setup::slots(&apps.each_ref().map(App::upstream), &[]).start_healthy().await;
    for _ in 0..30 {
        assert_eq!(get(proxy.http(), "/").await.status, 200);
    }
    assert_eq!(apps.each_ref().map(App::hits), [10, 10, 10]);
}

#[tokio::test]
async fn the_upstream_with_the_least_in_flight_gets_the_next_request() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Setup::slots(&[a.upstream(), b.upstream()], &[])
        .shop("balance", "least_in_flight")
        .start_healthy()
        .await;
    let address = proxy.http();
    let held = tokio::spawn(async move { get(address, "/gate").await });
    until(PATIENCE, "one to be busy", || async { a.waiting() + b.waiting() == 1 }).await;
    let idle = if a.waiting() == 0 { "a" } else { "b" };
    for _ in 0..10 {
        assert_eq!(get(address, "/").await.text(), idle);
    }
    a.open_gate();
    b.open_gate();
    assert_eq!(held.await.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_refused_connection_is_tried_on_the_next_upstream_whatever_the_method() {
    let (dead, app) = (Refusing::start(), App::start("alive").await);
    let blue = [dead.address().to_string(), app.upstream()];
    let proxy = Setup::slots(&blue, &[]).shop("health", ONCE).start_unready().await;
    for _ in 0..10 {
        assert_eq!(get(proxy.http(), "/").await.status, 200);
        assert_eq!(post(proxy.http(), "/count", &[0, 1, 2]).await.json()["bytes"], 3);
    }
    assert_eq!(app.hits(), 20);
}

#[tokio::test]
async fn an_upstream_that_refuses_traffic_is_suspect_at_once() {
    let (leaves, stays) = (App::start("leaves").await, App::start("stays").await);
    let gone = leaves.address();
    let blue = [leaves.upstream(), stays.upstream()];
    let proxy = Setup::slots(&blue, &[]).shop("health", ONCE).start_healthy().await;
    leaves.stop().await;
    for _ in 0..10 {
        assert_eq!(get(proxy.http(), "/").await.text(), "stays");
    }
    let slots = proxy.admin().shop().await.slots;
    let upstreams = &slots.get(Slot::Blue).upstreams;
    let suspect = upstreams.iter().find(|u| u.address.socket_address() == Some(gone)).expect("it is listed");
    assert_ne!(suspect.health, Health::Healthy, "{suspect:?}");
}

#[tokio::test]
async fn a_slot_whose_upstreams_all_refuse_is_a_502() {
    let (one, two) = (Refusing::start(), Refusing::start());
    let blue = [one.address().to_string(), two.address().to_string()];
    let proxy = Setup::slots(&blue, &[]).shop("health", ONCE).start_unready().await;
    let status = get(proxy.http(), "/").await.status;
    assert!(matches!(status, 502 | 503), "{status}");
}

#[tokio::test]
async fn a_post_that_may_have_reached_an_upstream_is_never_sent_again() {
    let (one, two) = (swallowing().await, swallowing().await);
    let blue = [one.address().to_string(), two.address().to_string()];
    let proxy = Setup::slots(&blue, &[]).start_healthy().await;
    for n in 0..20 {
        assert_eq!(marked(proxy.http(), "POST", &format!("post {n}")).await.status, 502);
    }
    let seen = [one.requests(), two.requests()].concat();
    assert_eq!((seen.len(), sent_twice(&seen)), (20, vec![]));
}

#[tokio::test]
async fn a_post_on_a_kept_connection_is_never_sent_again_and_a_get_may_be() {
    let upstream = Raw::start(|mut conversation| async move {
        conversation.request().await;
        conversation.answer("first of its connection").await;
        conversation.request().await;
    })
    .await;
    let proxy = Setup::one(upstream.address()).start_healthy().await;
    for n in 0..10 {
        assert_eq!(marked(proxy.http(), "GET", &format!("get {n}")).await.status, 200, "GET {n}");
    }
    for n in 0..10 {
        marked(proxy.http(), "POST", &format!("post {n}")).await;
    }
    let doubled = sent_twice(&upstream.requests());
    assert!(doubled.iter().all(|mark| mark.starts_with("get")), "{doubled:?}");
    assert!(!doubled.is_empty(), "the upstream's trick was never met");
}

#[tokio::test]
async fn the_check_for_requests_sent_twice_sees_one_that_is() {
    let upstream = Raw::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    marked(upstream.address(), "POST", "once").await;
    for _ in 0..2 {
        marked(upstream.address(), "POST", "twice").await;
    }
    assert_eq!(sent_twice(&upstream.requests()), ["twice"]);
}
