//! Who goes there: the share, that nobody changes sides, and who always goes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use switcher_config::wire::{CanaryAbortRequest, CanaryRequest, Health};
use switcher_config::{BakeLimits, Share, Slot};
use switcher_tests::http1::{get, get_with, request};
use switcher_tests::http2::{self, Http2};
use switcher_tests::port::Refusing;
use switcher_tests::{Answer, App, Http1, Setup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{of, pair, share, sides, wish};

/// An upstream that remembers nothing, for very many requests: every one is answered by its name.
async fn forgetful(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
                let mut head = Vec::new();
                while let Ok(1..) = stream.read_buf(&mut head).await {
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

/// Asks for clients until none is left; answers the side of each.
async fn ask(proxy: SocketAddr, clients: &[u32], at_once: usize) -> HashMap<u32, Slot> {
    let (clients, next) = (Arc::<[u32]>::from(clients), Arc::new(AtomicU32::new(0)));
    let mut tasks = Vec::new();
    for _ in 0..at_once {
        let (clients, next, mut wire) =
            (Arc::clone(&clients), Arc::clone(&next), Http1::connect(proxy).await);
        tasks.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(client) = clients.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                let answer = wire.exchange(&of(*client, "/")).await;
                assert_eq!(answer.status, 200);
                let slot: Slot = answer.text().parse().expect("a slot");
                assert_eq!(answer.header("X-Switcher-Slot"), Some(slot.as_str()));
                seen.push((*client, slot));
            }
            seen
        }));
    }
    let mut all = HashMap::new();
    for task in tasks {
        all.extend(task.await.expect("no answer is lost"));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenth_of_a_hundred_thousand_clients_goes_there_and_none_changes_sides() {
    let (blue, green) = (forgetful("blue").await, forgetful("green").await);
    let setup = Setup::slots(&[blue.to_string()], &[green.to_string()]);
    let proxy = setup.proxy("trusted_proxies", "[127.0.0.1]").start_healthy().await;
    share(&proxy, "10%").await;
    let all: Vec<u32> = (0..100_000).collect();
    let first = ask(proxy.http(), &all, 16).await;
    let there = first.values().filter(|side| **side == Slot::Green).count();
    assert!((9_500..=10_500).contains(&there), "{there} of {}", first.len());
    // The same clients again, in another order and on other connections.
    let again: Vec<u32> = (0..2_000).rev().collect();
    for _ in 0..3 {
        for (client, side) in ask(proxy.http(), &again, 5).await {
            assert_eq!(first[&client], side, "{client} changed sides");
        }
    }
    share(&proxy, "20%").await;
    let more = ask(proxy.http(), &again, 5).await;
    let (stay, come): (Vec<_>, Vec<_>) = more
        .iter()
        .filter(|(_, side)| **side == Slot::Green)
        .partition(|(client, _)| first[*client] == Slot::Green);
    let were = again.iter().filter(|client| first[*client] == Slot::Green).count();
    assert_eq!(stay.len(), were, "whoever was there stays");
    assert!(!come.is_empty(), "others come");
}

#[tokio::test]
async fn everybody_and_nobody() {
    let (_blue, _green, proxy) = pair().await;
    share(&proxy, "100%").await;
    assert!(sides(&proxy, 50).await.iter().all(|side| *side == Slot::Green));
    let none = proxy.admin().canary(&wish("0%")).await.expect_err("refused");
    assert!(none.refusal.message.contains("gets nobody"), "{none:?}");
    share(&proxy, "0.01%").await;
    let few = sides(&proxy, 50).await;
    assert!(few.iter().filter(|side| **side == Slot::Green).count() <= 2, "{few:?}");
}

#[tokio::test]
async fn whoever_a_rule_names_is_there_by_whatever_protocol() {
    let (_blue, _green, proxy) = pair().await;
    let rules = CanaryRequest {
        headers: Some(vec!["X-Beta=1".parse().expect("a header")]),
        cookies: Some(vec!["beta=yes".parse().expect("a cookie")]),
        clients: Some(vec!["192.0.2.0/24".parse().expect("a network")]),
        ..CanaryRequest::of(Slot::Green)
    };
    proxy.admin().canary(&rules).await.expect("a canary");
    for (headers, slot) in [
        (&[][..], "blue"),
        (&[("X-Beta", "1")][..], "green"),
        (&[("x-beta", "2")][..], "blue"),
        (&[("Cookie", "a=b; beta=yes")][..], "green"),
        (&[("Cookie", "beta=no")][..], "blue"),
        (&[("X-Forwarded-For", "192.0.2.9")][..], "green"),
        (&[("X-Forwarded-For", "192.0.3.9")][..], "blue"),
    ] {
        let answer = get_with(proxy.http(), "/", headers).await;
        assert_eq!(
            (answer.text().as_str(), answer.header("X-Switcher-Slot")),
            (slot, Some(slot)),
            "{headers:?}"
        );
    }
    let mut old = Http1::connect(proxy.http()).await;
    old.send(b"HEAD / HTTP/1.0\r\nHost: shop.test\r\nX-Beta: 1\r\n\r\n").await;
    assert_eq!(old.head().await.get("X-Switcher-Slot"), Some("green"));
    let mut chunked = Http1::connect(proxy.http()).await;
    let head = [("X-Beta", "1"), ("Transfer-Encoding", "chunked")];
    let body = request("POST", "/count", &head, b"2\r\n\x00\x01\r\n0\r\n\r\n");
    let answer = chunked.exchange(&body).await;
    assert_eq!((answer.header("X-Switcher-Slot"), &answer.json()["bytes"]), (Some("green"), &2.into()));
    let newer = Http2::connect(proxy.http()).await;
    let answer = newer.exchange(http2::request("GET", "/", &[("x-beta", "1")]), b"").await;
    assert_eq!(answer.text(), "green");
    get_with(proxy.http(), "/logged", &[("X-Beta", "1")]).await;
    let record = proxy.record_of("/logged").await;
    assert_eq!(record["slot"], "green", "the access log says who answered: {record}");
    let counted = "switcher_requests_total{app=\"shop\",class=\"2xx\",slot=\"green\"}";
    proxy.wait_metric_at_least(counted, 1).await;
}

#[tokio::test]
async fn a_sticky_cookie_belongs_to_a_side_and_an_upstream_that_refuses_is_passed_over() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let deaf = Refusing::start();
    let setup = Setup::slots(&[blue.upstream()], &[deaf.address().to_string(), green.upstream()]);
    let setup = setup.proxy("trusted_proxies", "[127.0.0.1]").shop("balance", "{sticky: at}");
    let proxy = setup.start().await;
    proxy.wait_health(Slot::Blue, Health::Healthy).await;
    let calm = BakeLimits { max_error_rate: Share::percent(100), ..BakeLimits::default() };
    let wish = CanaryRequest { force: true, limits: Some(calm), ..wish("100%") };
    proxy.admin().canary(&wish).await.expect("a canary");
    assert!(sides(&proxy, 20).await.iter().all(|side| *side == Slot::Green), "none is lost");
    let cookie =
        |answer: &Answer| answer.header("Set-Cookie").and_then(|c| c.split(';').next()).map(str::to_owned);
    let there = cookie(&get(proxy.http(), "/").await).expect("a cookie");
    assert_eq!(cookie(&get_with(proxy.http(), "/", &[("Cookie", &there)]).await), None, "it is known there");
    proxy.admin().abort_canary(&CanaryAbortRequest::default()).await.expect("ended");
    let answer = get_with(proxy.http(), "/", &[("Cookie", &there)]).await;
    assert_eq!(answer.text(), "blue");
    assert_ne!(cookie(&answer).expect("another cookie"), there);
}

#[tokio::test]
async fn by_a_cookie_a_client_keeps_its_side_wherever_it_comes_from() {
    let (_blue, _green, proxy) = pair().await;
    let by = Some("cookie session".parse().expect("a key"));
    proxy.admin().canary(&CanaryRequest { by, ..wish("50%") }).await.expect("a canary");
    let mut seen = Vec::new();
    for visitor in 0..32 {
        let cookie = format!("session=visitor-{visitor}");
        let mut sides = Vec::new();
        for from in ["10.0.0.1", "192.0.2.77"] {
            let headers = [("Cookie", cookie.as_str()), ("X-Forwarded-For", from)];
            sides.push(get_with(proxy.http(), "/", &headers).await.text());
        }
        assert_eq!(sides[0], sides[1], "{visitor}");
        seen.push(sides.remove(0));
    }
    assert!(seen.contains(&"blue".to_owned()) && seen.contains(&"green".to_owned()), "{seen:?}");
    assert!(sides(&proxy, 40).await.iter().all(|side| *side == Slot::Blue), "without the cookie nobody goes");
}
