//! Pause holds requests, resume lets them go on, stop serves a maintenance page.

use futures::future::join_all;
use switcher_config::Slot;
use switcher_config::wire::Mode;
use switcher_tests::http1::{Answer, get, get_with, request};
use switcher_tests::http2::{self, Http2};
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, until};
use tokio::task::JoinHandle;

async fn two(pause: &str) -> (App, App, Proxy) {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).shop("pause", pause).start_healthy().await;
    (blue, green, proxy)
}

fn ask(proxy: &Proxy) -> JoinHandle<Answer> {
    let address = proxy.http();
    tokio::spawn(async move { get(address, "/").await })
}

async fn held(proxy: &Proxy, count: u32) {
    until(PATIENCE, &format!("{count} requests to be held"), || async {
        proxy.admin().shop().await.held == count
    })
    .await;
}

fn turned_away(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some_and(|s| s.parse::<u32>().is_ok()), "{:?}", answer.head);
}

#[tokio::test]
async fn held_requests_are_served_on_resume() {
    let (blue, _green, proxy) = two("{max: 1h}").await;
    assert_eq!(proxy.admin().pause(None).await.expect("paused").mode, Mode::Paused);
    let waiting: Vec<_> = (0..5).map(|_| ask(&proxy)).collect();
    held(&proxy, 5).await;
    assert_eq!(blue.hits(), 0);
    assert_eq!(proxy.admin().resume().await.expect("resumed").mode, Mode::Open);
    assert!(join_all(waiting).await.into_iter().all(|a| a.is_ok_and(|a| a.text() == "blue")));
    held(&proxy, 0).await;
}

#[tokio::test]
async fn requests_held_over_a_switch_meet_the_new_slot() {
    let (_blue, _green, proxy) = two("{max: 1h}").await;
    proxy.admin().pause(None).await.expect("paused");
    let waiting = ask(&proxy);
    held(&proxy, 1).await;
    let left = proxy.admin().promote(Slot::Green).await.expect("promoted").drained_generation;
    assert!(
        proxy.admin().drain(left, "20s").await.expect("a receipt").drained,
        "held requests hold no drain"
    );
    proxy.admin().resume().await.expect("resumed");
    assert_eq!(waiting.await.expect("an answer").text(), "green");
}

#[tokio::test]
async fn a_pause_does_not_touch_what_is_in_flight() {
    let (blue, _green, proxy) = two("{max: 1h}").await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "it to wait", || async { blue.waiting() == 1 }).await;
    proxy.admin().pause(None).await.expect("paused");
    blue.open_gate();
    assert_eq!(client.exchange(b"").await.text(), "blue");
}

#[tokio::test]
async fn the_queue_is_bounded_in_number() {
    let (_blue, _green, proxy) = two("{max: 1h, requests: 2}").await;
    proxy.admin().pause(None).await.expect("paused");
    let waiting = [ask(&proxy), ask(&proxy)];
    held(&proxy, 2).await;
    turned_away(&get(proxy.http(), "/").await);
    proxy.admin().resume().await.expect("resumed");
    assert!(join_all(waiting).await.into_iter().all(|a| a.is_ok_and(|a| a.status == 200)));
}

#[tokio::test]
async fn the_queue_is_bounded_in_memory() {
    let (_blue, _green, proxy) = two("{max: 1h, memory: 4KiB}").await;
    proxy.admin().pause(None).await.expect("paused");
    let small = ask(&proxy);
    held(&proxy, 1).await;
    turned_away(&get_with(proxy.http(), "/", &[("X-Large", &"x".repeat(5_000))]).await);
    proxy.admin().resume().await.expect("resumed");
    assert_eq!(small.await.expect("an answer").status, 200);
}

#[tokio::test]
async fn the_queue_is_bounded_in_time() {
    let (blue, _green, proxy) = two("{max: 300ms}").await;
    proxy.admin().pause(None).await.expect("paused");
    turned_away(&get(proxy.http(), "/").await);
    turned_away(&get(proxy.http(), "/").await);
    assert_eq!(blue.hits(), 0);
    proxy.admin().resume().await.expect("resumed");
    assert_eq!(get(proxy.http(), "/").await.status, 200);
}

#[tokio::test]
async fn a_pause_may_bring_a_time_of_its_own() {
    let (_blue, _green, proxy) = two("{max: 1h}").await;
    proxy.admin().pause(Some("300ms")).await.expect("paused");
    turned_away(&get(proxy.http(), "/").await);
}

#[tokio::test]
async fn a_held_client_that_leaves_makes_room() {
    let (blue, _green, proxy) = two("{max: 1h, requests: 1}").await;
    proxy.admin().pause(None).await.expect("paused");
    let mut leaves = Http1::connect(proxy.http()).await;
    leaves.send(&request("GET", "/leaves", &[], b"")).await;
    held(&proxy, 1).await;
    drop(leaves);
    held(&proxy, 0).await;
    let stays = ask(&proxy);
    held(&proxy, 1).await;
    proxy.admin().resume().await.expect("resumed");
    assert_eq!((stays.await.expect("an answer").status, blue.hits()), (200, 1));
}

#[tokio::test]
async fn a_held_http2_request_that_is_reset_makes_room_while_its_connection_lives() {
    let (blue, _green, proxy) = two("{max: 1h, requests: 1}").await;
    proxy.admin().pause(None).await.expect("paused");
    let client = Http2::tls(proxy.https(), "shop.test").await;
    let leaves = tokio::spawn({
        let client = client.clone();
        async move { client.exchange(http2::get("/leaves"), b"").await }
    });
    held(&proxy, 1).await;
    // Dropping the exchange resets its stream.
    leaves.abort();
    held(&proxy, 0).await;
    proxy.admin().resume().await.expect("resumed");
    assert_eq!(client.exchange(http2::get("/"), b"").await.status, 200);
    assert_eq!(blue.hits(), 1, "the request that was given up is not forwarded");
}

#[tokio::test]
async fn a_stopped_application_serves_a_maintenance_page() {
    let (blue, _green, proxy) = two("{}").await;
    assert_eq!(proxy.admin().stop(Some("Back at <noon>")).await.expect("stopped").mode, Mode::Stopped);
    let page = get_with(proxy.http(), "/", &[("Accept", "text/html")]).await;
    assert_eq!(page.status, 503);
    assert!(
        page.text().contains("Back at &lt;noon&gt;") && !page.text().contains("<noon>"),
        "{}",
        page.text()
    );
    let json = get_with(proxy.http(), "/", &[("Accept", "application/json")]).await;
    assert!(json.status == 503 && json.json().to_string().contains("Back at <noon>"), "{}", json.text());
    assert_eq!(blue.hits(), 0);
    proxy.admin().resume().await.expect("resumed");
    assert_eq!(get(proxy.http(), "/").await.status, 200);
}

#[tokio::test]
async fn the_operator_gets_past_the_maintenance_page_with_the_token() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let maintenance = "{bypass_header: X-Operator, bypass_token: open-sesame-0123456789}";
    let proxy = Setup::two(&blue, &green).shop("maintenance", maintenance).start_healthy().await;
    proxy.admin().stop(None).await.expect("stopped");
    for (header, status) in [
        (("X-Operator", "open-sesame-0123456789"), 200),
        (("X-Operator", "open-sesame"), 503),
        (("X-Operator", ""), 503),
        (("X-Switcher-Bypass", "open-sesame-0123456789"), 503),
    ] {
        assert_eq!(get_with(proxy.http(), "/", &[header]).await.status, status, "{header:?}");
    }
    assert_eq!(blue.last().header("x-operator"), None, "the token is no business of the upstream");
}

#[tokio::test]
async fn without_a_token_nobody_gets_past_the_maintenance_page() {
    let (blue, _green, proxy) = two("{}").await;
    proxy.admin().stop(None).await.expect("stopped");
    for value in ["", "null", "none", "true"] {
        assert_eq!(get_with(proxy.http(), "/", &[("X-Switcher-Bypass", value)]).await.status, 503);
    }
    assert_eq!(blue.hits(), 0);
}

#[tokio::test]
async fn stopping_answers_what_is_held() {
    let (blue, _green, proxy) = two("{max: 1h}").await;
    proxy.admin().pause(None).await.expect("paused");
    let waiting = ask(&proxy);
    held(&proxy, 1).await;
    proxy.admin().stop(None).await.expect("stopped");
    assert_eq!((waiting.await.expect("an answer").status, blue.hits()), (503, 0));
}

#[tokio::test]
async fn a_mode_outlives_the_process() {
    let (blue, _green, mut proxy) = two("{max: 300ms}").await;
    proxy.admin().stop(Some("Back soon")).await.expect("stopped");
    proxy.kill();
    proxy.restart().await;
    assert_eq!(proxy.admin().shop().await.mode, Mode::Stopped);
    assert!(get(proxy.http(), "/").await.text().contains("Back soon"));
    assert_eq!(blue.hits(), 0);
}
