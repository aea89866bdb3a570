//! Health: what is probed, how it rises and falls, and that "not healthy" comes with its reason.

use switcher_config::Slot;
use switcher_config::wire::{Health, RefusalReason, SlotStatus};
use switcher_tests::http1::get;
use switcher_tests::port::Refusing;
use switcher_tests::{App, PATIENCE, Proxy, Raw, Setup, until, until_some};

async fn slot(proxy: &Proxy, slot: Slot) -> SlotStatus {
    proxy.admin().shop().await.slots.get(slot).clone()
}

async fn reason(proxy: &Proxy, of: Slot) -> String {
    until_some(PATIENCE, "a slot to be unhealthy with a reason", || async {
        let slot = slot(proxy, of).await;
        if slot.health == Health::Unhealthy { slot.reason } else { None }
    })
    .await
}

#[tokio::test]
async fn unknown_is_not_healthy() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let never = "{path: /health, interval: 100ms, rise: 1000}";
    let proxy = Setup::two(&blue, &green).shop("health", never).start_unready().await;
    assert_eq!(slot(&proxy, Slot::Green).await.health, Health::Unknown);
    let refused = proxy.admin().promote(Slot::Green).await.expect_err("refused");
    assert_eq!((refused.status, refused.refusal.reason), (412, RefusalReason::Unhealthy));
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
}

#[tokio::test]
async fn a_slot_falls_with_its_reason_and_rises_again() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).start_healthy().await;
    green.health(503, "the database is away");
    let reason = reason(&proxy, Slot::Green).await;
    assert!(reason.contains("503") && reason.contains("the database is away"), "{reason}");
    green.health(200, "ok");
    proxy.wait_health(Slot::Green, Health::Healthy).await;
}

#[tokio::test]
async fn a_dead_a_deaf_and_a_wrong_upstream_are_told_apart() {
    let dead = Refusing::start();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let deaf = silent.local_addr().expect("its address").to_string();
    let wrong = App::start("wrong").await;
    wrong.health(200, "starting");
    let mut reasons = Vec::new();
    for (upstream, timeout) in
        [(dead.address().to_string(), "10s"), (deaf, "200ms"), (wrong.upstream(), "10s")]
    {
        let check =
            format!("{{path: /health, body: ready, interval: 100ms, timeout: {timeout}, rise: 1, fall: 1}}");
        let proxy = Setup::slots(&[], &[upstream]).shop("health", &check).start_unready().await;
        reasons.push(reason(&proxy, Slot::Green).await);
    }
    assert!(reasons[0].contains("refused"), "{reasons:?}");
    assert!(reasons[2].contains("ready") || reasons[2].contains("starting"), "{reasons:?}");
    reasons.dedup();
    assert_eq!(reasons.len(), 3);
}

#[tokio::test]
async fn the_status_range_and_the_body_are_judged() {
    let green = App::start("green").await;
    let check = "{path: /health, body: ready, status: 200-399, interval: 100ms, rise: 1, fall: 1}";
    let proxy = Setup::slots(&[], &[green.upstream()]).shop("health", check).start_unready().await;
    green.health(302, "all is ready here");
    proxy.wait_health(Slot::Green, Health::Healthy).await;
    green.health(302, "starting");
    proxy.wait_health(Slot::Green, Health::Unhealthy).await;
    green.health(404, "ready");
    proxy.wait_health(Slot::Green, Health::Unhealthy).await;
}

#[tokio::test]
async fn an_open_port_is_enough_for_a_tcp_check() {
    let app = App::start("green").await;
    app.health(500, "nobody asks");
    let check = "{protocol: tcp, interval: 100ms, rise: 1, fall: 1}";
    let proxy = Setup::slots(&[], &[app.upstream()]).shop("health", check).start_healthy().await;
    app.stop().await;
    proxy.wait_health(Slot::Green, Health::Unhealthy).await;
}

#[tokio::test]
async fn a_grpc_server_is_asked_by_its_own_protocol() {
    let app = App::h2c("green").await;
    let check = "{protocol: grpc, interval: 100ms, rise: 1, fall: 1}";
    let proxy = Setup::slots(&[], &[app.upstream()]).shop("health", check).start_healthy().await;
    app.health(503, "not serving");
    proxy.wait_health(Slot::Green, Health::Unhealthy).await;
    app.health(200, "serving");
    proxy.wait_health(Slot::Green, Health::Healthy).await;
}

#[tokio::test]
async fn ready_and_live_are_different_questions() {
    let app = App::start("green").await;
    app.health(503, "warming up");
    let check = "{path: /health, live: {path: /alive}, interval: 100ms, rise: 1, fall: 1}";
    let proxy = Setup::slots(&[], &[app.upstream()]).shop("health", check).start_unready().await;
    let upstream = until_some(PATIENCE, "both checks to be judged", || async {
        let upstream = slot(&proxy, Slot::Green).await.upstreams.remove(0);
        (upstream.health == Health::Unhealthy && upstream.live == Some(Health::Healthy)).then_some(upstream)
    })
    .await;
    assert!(
        upstream.checks.iter().any(|c| c.check == "live")
            && upstream.checks.iter().any(|c| c.check == "ready")
    );
}

#[tokio::test]
async fn the_last_ten_answers_are_kept_newest_first() {
    let app = App::start("green").await;
    app.health(503, "no");
    let check = "{path: /health, interval: 20ms, rise: 1, fall: 1}";
    let proxy = Setup::slots(&[], &[app.upstream()]).shop("health", check).start_unready().await;
    until(PATIENCE, "twenty probes", || async { app.probes() >= 20 }).await;
    let upstream = slot(&proxy, Slot::Green).await.upstreams.remove(0);
    assert_eq!(upstream.checks.len(), 10);
    assert!(upstream.checks.windows(2).all(|pair| pair[0].at >= pair[1].at));
    assert_eq!(upstream.last_check.as_ref(), upstream.checks.first());
    let newest = &upstream.checks[0];
    assert_eq!((newest.ok, newest.status, newest.body.as_deref()), (false, Some(503), Some("no")));
    assert!(newest.latency_ms > 0.0);
}

#[tokio::test]
async fn both_slots_are_probed_for_ever() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).start_healthy().await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    let (b, g) = (blue.probes(), green.probes());
    until(PATIENCE, "probes of both", || async { blue.probes() > b + 3 && green.probes() > g + 3 }).await;
}

#[tokio::test]
async fn one_unhealthy_upstream_makes_its_slot_unhealthy_and_gets_no_traffic() {
    let (good, bad) = (App::start("good").await, App::start("bad").await);
    let proxy = Setup::slots(&[good.upstream(), bad.upstream()], &[]).start_healthy().await;
    bad.health(500, "broken");
    assert!(reason(&proxy, Slot::Blue).await.contains("500"));
    let before = bad.hits();
    for _ in 0..10 {
        assert_eq!(get(proxy.http(), "/").await.text(), "good");
    }
    assert_eq!(bad.hits(), before);
}

#[tokio::test]
async fn a_probe_shows_the_first_bytes_of_a_long_answer_and_no_more() {
    let long = "x".repeat(100_000);
    let app = App::start("green").await;
    app.health(500, &long);
    let proxy = Setup::slots(&[], &[app.upstream()]).start_unready().await;
    reason(&proxy, Slot::Green).await;
    let check = slot(&proxy, Slot::Green).await.upstreams.remove(0).last_check.expect("a probe");
    assert!(check.body.is_some_and(|body| !body.is_empty() && body.len() < 5_000));
}

#[tokio::test]
async fn probes_do_not_count_as_traffic() {
    let upstream = Raw::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let proxy = Setup::one(upstream.address()).start_healthy().await;
    assert_eq!(slot(&proxy, Slot::Blue).await.in_flight.total(), 0);
    assert!(proxy.stdout().objects().iter().all(|record| record["path"] != "/health"));
}
