//! Assets that the live slot has not, and the other one has: the page of one version with files of that version, across a switch.

use switcher_config::Slot;
use switcher_tests::http1::{Answer, get, get_with, request};
use switcher_tests::http2::{self, Http2};
use switcher_tests::{App, Http1, PATIENCE, Proxy, Raw, Setup, until};

const ASSET: &str = "/assets/app-3f2a9b1c.js";
const NOT_HERE: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\nX-App: raw\r\n\r\nnot here";

const CACHEABLE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nCache-Control: max-age=60\r\n\r\nold";

/// A version that has none of the files.
async fn without_files() -> Raw {
    Raw::answering(NOT_HERE).await
}

async fn between(blue: String, green: String, fallback: &str) -> Proxy {
    Setup::slots(&[blue], &[green]).shop("asset_fallback", fallback).start_healthy().await
}

fn seen(answer: &Answer) -> (u16, Option<&str>, String) {
    (answer.status, answer.header("x-switcher-slot"), answer.text())
}

async fn nothing_is_inside(proxy: &Proxy) {
    until(PATIENCE, "both slots to be empty", || async {
        let slots = proxy.admin().shop().await.slots;
        Slot::ALL.iter().all(|slot| slots.get(*slot).in_flight.requests == 0)
    })
    .await;
}

async fn wait_counted(proxy: &Proxy, outcome: &str, times: u64) {
    let series = format!("switcher_asset_fallbacks_total{{app=\"shop\",outcome=\"{outcome}\"}}");
    proxy.wait_metric(&series, times).await;
}

#[tokio::test]
async fn a_page_of_the_old_version_finds_its_files_after_the_switch() {
    let (old, new) = (App::start("old").await, without_files().await);
    let proxy = between(old.upstream(), new.address().to_string(), "{}").await;
    let mut browser = Http1::connect(proxy.http()).await;
    assert_eq!(browser.exchange(&request("GET", "/", &[], b"")).await.text(), "old");
    let switched = proxy.admin().promote(Slot::Green).await.expect("promoted");
    let page = browser.exchange(&request("GET", "/", &[], b"")).await;
    assert_eq!(seen(&page), (404, Some("green"), "not here".to_owned()), "the new version answers");
    let asset = browser.exchange(&request("GET", ASSET, &[], b"")).await;
    assert_eq!(seen(&asset), (200, Some("blue"), "old".to_owned()));
    let record = proxy.record_of(ASSET).await;
    assert_eq!((&record["slot"], &record["status"]), (&"blue".into(), &200.into()), "{record}");
    let head = browser.exchange(&request("HEAD", ASSET, &[], b"")).await;
    assert_eq!((head.status, head.header("x-switcher-slot"), head.body.len()), (200, Some("blue"), 0));
    let h2 = Http2::tls(proxy.https(), "shop.test").await;
    let asset = h2.exchange(http2::get(ASSET), b"").await;
    assert_eq!(
        (asset.status, asset.header("x-switcher-slot"), asset.text()),
        (200, Some("blue"), "old".to_owned())
    );
    wait_counted(&proxy, "found", 3).await;
    let receipt = proxy.admin().drain(switched.drained_generation, "20s").await.expect("a receipt");
    assert!(receipt.drained, "{receipt:?}");
    nothing_is_inside(&proxy).await;
}

#[tokio::test]
async fn what_the_other_slot_has_is_never_held_as_an_answer_of_this_one() {
    let (live, other) = (without_files().await, Raw::answering(CACHEABLE).await);
    let setup = Setup::slots(&[live.address().to_string()], &[other.address().to_string()]);
    let setup = setup.shop("asset_fallback", "{}").shop("middleware", "{cache: on}");
    let proxy = setup.start_healthy().await;
    let hits = async || {
        let mut hits = Vec::new();
        for _ in 0..2 {
            let answer = get(proxy.http(), ASSET).await;
            assert_eq!(seen(&answer), (200, Some("green"), "old".to_owned()));
            hits.push(answer.header("cache-status") == Some("switcher; hit"));
        }
        hits
    };
    assert_eq!(hits().await, [false, false]);
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert_eq!(hits().await, [false, true], "it is held where it is at home");
}

#[tokio::test]
async fn nothing_but_reading_an_asset_is_asked_of_the_other_slot() {
    let (live, warm) = (without_files().await, App::start("warm").await);
    let proxy =
        between(live.address().to_string(), warm.upstream(), "{paths: [/files], pattern: '[.]bin$'}").await;
    assert_eq!(get(proxy.http(), "/files/a").await.status, 200);
    assert_eq!(get(proxy.http(), "/a.bin?v=1").await.status, 200);
    let before = warm.hits();
    for target in ["/", "/filesystem", ASSET, "/a.bin/x"] {
        assert_eq!(get(proxy.http(), target).await.status, 404, "{target}");
    }
    let mut client = Http1::connect(proxy.http()).await;
    for (method, body) in [("POST", &b""[..]), ("POST", b"body"), ("OPTIONS", b""), ("GET", b"body")] {
        assert_eq!(client.exchange(&request(method, "/files/a", &[], body)).await.status, 404, "{method}");
    }
    assert_eq!(warm.hits(), before);
}

#[tokio::test]
async fn what_neither_slot_has_is_not_found() {
    let (live, warm) = (App::start("live").await, without_files().await);
    let proxy = between(warm.address().to_string(), live.upstream(), "{}").await;
    // Both answer 404: the one always, the other when it is asked for it.
    let fallback = "{paths: [/status]}";
    let mut proxy = proxy;
    proxy.configure(proxy.setup().shop("asset_fallback", fallback));
    proxy.admin().reload().await.expect("reloaded");
    assert_eq!(get(proxy.http(), "/status/404").await.status, 404);
    wait_counted(&proxy, "missing", 1).await;
    assert_eq!((live.hits(), warm.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_bad_answer_of_the_other_slot_is_not_given() {
    let (live, warm) = (without_files().await, App::start("warm").await);
    let proxy = between(live.address().to_string(), warm.upstream(), "{paths: [/status]}").await;
    for status in [500, 503, 302, 403, 204] {
        let answer = get(proxy.http(), &format!("/status/{status}")).await;
        assert_eq!(seen(&answer), (404, Some("blue"), "not here".to_owned()), "{status}");
    }
    for status in [304, 206] {
        assert_eq!(get(proxy.http(), &format!("/status/{status}")).await.status, status);
    }
    wait_counted(&proxy, "failed", 5).await;
    nothing_is_inside(&proxy).await;
}

#[tokio::test]
async fn another_slot_that_is_dead_changes_nothing() {
    let (live, warm) = (without_files().await, App::start("warm").await);
    let proxy = Setup::slots(&[live.address().to_string()], &[warm.upstream()])
        .shop("asset_fallback", "{}")
        // It is not noticed by a probe.
        .shop("health", "{path: /health, interval: 1h, rise: 1, fall: 2}")
        .start_healthy()
        .await;
    assert_eq!(get(proxy.http(), ASSET).await.status, 200);
    warm.stop().await;
    for _ in 0..3 {
        let answer = get(proxy.http(), ASSET).await;
        assert_eq!(seen(&answer), (404, Some("blue"), "not here".to_owned()));
    }
    nothing_is_inside(&proxy).await;
}

#[tokio::test]
async fn another_slot_that_is_silent_is_waited_for_so_long_and_no_longer() {
    let live = without_files().await;
    let silent = Raw::start(|mut conversation| async move {
        conversation.request().await;
        conversation.hang().await;
    })
    .await;
    // All other limits are longer than a test waits.
    let proxy = Setup::slots(&[live.address().to_string()], &[silent.address().to_string()])
        .shop("asset_fallback", "{timeout: 200ms}")
        .shop("timeouts", "{connect: 60s, response: 60s, idle: 60s}")
        .start_healthy()
        .await;
    let answer = get(proxy.http(), ASSET).await;
    assert_eq!(seen(&answer), (404, Some("blue"), "not here".to_owned()));
    let h2 = Http2::tls(proxy.https(), "shop.test").await.exchange(http2::get(ASSET), b"").await;
    assert_eq!((h2.status, h2.text()), (404, "not here".to_owned()));
    assert_eq!(silent.connections(), 2);
    nothing_is_inside(&proxy).await;
}

#[tokio::test]
async fn a_switch_while_the_other_slot_is_asked_disturbs_nobody() {
    let (live, warm) = (without_files().await, App::start("warm").await);
    let proxy = between(live.address().to_string(), warm.upstream(), "{paths: [/half]}").await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/half", &[], b"")).await;
    let head = client.head().await;
    assert_eq!((head.status(), head.get("x-switcher-slot")), (200, Some("green")));
    assert_eq!(
        proxy.admin().shop().await.slots.green.in_flight.requests,
        1,
        "it is inside where it is served"
    );
    let switched = proxy.admin().promote(Slot::Green).await.expect("promoted");
    let receipt = proxy.admin().drain(switched.drained_generation, "20s").await.expect("a receipt");
    assert_eq!((receipt.drained, receipt.cut.requests.len()), (true, 0), "and not where it came from");
    warm.open_gate();
    assert_eq!(client.try_body(head.answer_framing()).await.expect("a whole body"), b"half whole");
    nothing_is_inside(&proxy).await;
}

#[tokio::test]
async fn a_range_and_a_condition_go_along() {
    let (live, warm) = (without_files().await, App::start("warm").await);
    let proxy = between(live.address().to_string(), warm.upstream(), "{}").await;
    let headers = [("Range", "bytes=0-1"), ("If-None-Match", "\"x\""), ("Cookie", "a=b")];
    assert_eq!(get_with(proxy.http(), ASSET, &headers).await.status, 200);
    let asked = warm.last();
    for (name, value) in headers {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
}
