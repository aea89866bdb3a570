//! The bake: a version that is worse under live traffic goes back by itself, and nobody has to wait for it.

use std::net::SocketAddr;
use std::time::Duration;

use switcher_config::wire::{Bake, BakeOutcome, BakeResult, Health, PromoteRequest, RefusalReason, Switched};
use switcher_config::{BakeLimits, OnInconclusive, Slot, Span};
use switcher_tests::http1::{Http1, get, request};
use switcher_tests::{App, Manner, PATIENCE, Proxy, Setup, until, until_some};
use tokio::task::JoinSet;

/// What makes the proxy count from its start on.
const JUDGED: &str = "{runtime: static, bake: {}, hooks: {start: \"true\", stop: \"true\"}}";

/// Clients that ask one after the other until dropped; whatever comes is fine.
struct Clients(#[expect(dead_code, reason = "held for its drop")] JoinSet<()>);

impl Clients {
    fn asking(address: SocketAddr, path: &'static str, clients: usize) -> Self {
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            tasks.spawn(async move {
                loop {
                    let Ok(mut wire) = Http1::try_connect(address).await else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    while wire.try_exchange(&request("GET", path, &[], b"")).await.is_ok() {}
                }
            });
        }
        Self(tasks)
    }
}

async fn pair() -> (App, App, Proxy) {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).shop("deploy", JUDGED).start_healthy().await;
    (blue, green, proxy)
}

fn limits(window: u64) -> BakeLimits {
    BakeLimits { window: Span::seconds(window), min_requests: 50, ..BakeLimits::default() }
}

pub(crate) async fn promote(proxy: &Proxy, slot: Slot, limits: BakeLimits) -> Switched {
    let wish = PromoteRequest { bake: Some(limits), ..PromoteRequest::of(slot) };
    proxy.admin().promote_as(&wish).await.expect("promoted")
}

/// Waits until the slot before is known well enough to be compared with.
async fn known(app: &App) {
    // More than are asked for: who was seen by the application may not be over for the proxy.
    until(PATIENCE, "enough requests before the switch", || async { app.hits() >= 250 }).await;
}

async fn outcome(proxy: &Proxy) -> (Bake, BakeOutcome) {
    let bake = proxy.admin().bake("30s").await.expect("a bake");
    let outcome = bake.outcome.clone().expect("an outcome");
    (bake, outcome)
}

#[tokio::test]
async fn a_version_that_fails_under_live_traffic_alone_goes_back_at_once_though_nobody_waits() {
    let (blue, green, proxy) = pair().await;
    let _clients = Clients::asking(proxy.http(), "/", 4);
    known(&blue).await;
    green.behave(Manner::Failing);
    let mut events = proxy.admin().events().await;
    let switched = promote(&proxy, Slot::Green, limits(600)).await;
    until(PATIENCE, "traffic to be back", || async { proxy.admin().shop().await.active == Slot::Blue }).await;
    let (bake, outcome) = outcome(&proxy).await;
    assert_eq!((bake.generation, bake.from, bake.to), (switched.generation, Slot::Blue, Slot::Green));
    assert_eq!(outcome.result, BakeResult::Worse);
    assert_eq!(outcome.rolled_back, Some(switched.generation.next()));
    assert!(outcome.reasons[0].contains("requests failed: 100.0%"), "{outcome:?}");
    assert!(bake.seen.errors >= 5 && bake.seen.errors == bake.seen.requests, "{bake:?}");
    assert!(bake.baseline.requests >= 200 && bake.baseline.errors == 0, "{bake:?}");
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
    let told = loop {
        let event: serde_json::Value = serde_json::from_str(&events.data().await).expect("JSON");
        if event["event"] == "bake" && event["outcome"]["result"] == "worse" {
            break event;
        }
    };
    assert_eq!((told["app"].as_str(), told["from"].as_str()), (Some("shop"), Some("blue")));
    for (series, value) in [
        ("switcher_bake_results_total{app=\"shop\",result=\"worse\"}", 1),
        ("switcher_bake_rollbacks_total{app=\"shop\"}", 1),
        ("switcher_bake_running{app=\"shop\"}", 0),
    ] {
        proxy.wait_metric(series, value).await;
    }
}

#[tokio::test]
async fn a_version_that_is_slow_under_live_traffic_alone_goes_back_within_the_window() {
    let (blue, green, proxy) = pair().await;
    let _clients = Clients::asking(proxy.http(), "/", 8);
    known(&blue).await;
    green.behave(Manner::Slow(Duration::from_millis(150)));
    promote(&proxy, Slot::Green, BakeLimits { max_p99: Some(Span::millis(140)), ..limits(3) }).await;
    let (bake, outcome) = outcome(&proxy).await;
    assert_eq!((outcome.result, bake.seen.errors), (BakeResult::Worse, 0), "{bake:?}");
    assert!(bake.seen.p99_micros >= Some(150_000), "{bake:?}");
    assert!(outcome.reasons.iter().any(|why| why.contains("and 140ms is allowed")), "{outcome:?}");
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
}

#[tokio::test]
async fn a_version_that_never_answers_is_slow_and_not_merely_unknown() {
    let (blue, _green, proxy) = pair().await;
    blue.open_gate();
    let _clients = Clients::asking(proxy.http(), "/gate", 16);
    known(&blue).await;
    let some = BakeLimits { min_requests: 10, max_p99: Some(Span::seconds(1)), ..limits(3) };
    promote(&proxy, Slot::Green, some).await;
    let (bake, outcome) = outcome(&proxy).await;
    assert_eq!(
        (outcome.result, proxy.admin().shop().await.active),
        (BakeResult::Worse, Slot::Blue),
        "{bake:?}"
    );
}

#[tokio::test]
async fn a_version_that_is_no_worse_stays() {
    let (blue, green, proxy) = pair().await;
    let _clients = Clients::asking(proxy.http(), "/", 2);
    known(&blue).await;
    let generous = BakeLimits { max_p99_ratio: "1000".parse().expect("a factor"), ..limits(2) };
    let switched = promote(&proxy, Slot::Green, generous).await;
    let (bake, outcome) = outcome(&proxy).await;
    assert_eq!((outcome.result, outcome.rolled_back), (BakeResult::Passed, None), "{bake:?}");
    assert!(bake.seen.requests >= 50 && bake.seen.p99_micros.is_some(), "{bake:?}");
    let shop = proxy.admin().shop().await;
    assert_eq!((shop.active, shop.generation), (Slot::Green, switched.generation));
    assert_eq!(shop.bake, Some(bake), "the status shows the same");
    assert!(green.hits() > 0);
}

#[tokio::test]
async fn without_traffic_nothing_is_known_and_the_policy_decides() {
    let (_blue, _green, proxy) = pair().await;
    let refused = proxy.admin().bake("0").await.expect_err("none yet");
    assert_eq!((refused.status, refused.refusal.reason), (404, RefusalReason::UnknownBake));
    promote(&proxy, Slot::Green, limits(1)).await;
    let (bake, kept) = outcome(&proxy).await;
    assert_eq!((kept.result, kept.rolled_back), (BakeResult::Inconclusive, None), "{bake:?}");
    assert_eq!(kept.reasons, ["0 requests came within 1s, and 50 are needed to judge"]);
    assert_eq!(proxy.admin().shop().await.active, Slot::Green);
    promote(&proxy, Slot::Blue, BakeLimits { on_inconclusive: OnInconclusive::Rollback, ..limits(1) }).await;
    let (_, back) = outcome(&proxy).await;
    assert_eq!((back.result, back.rolled_back.is_some()), (BakeResult::Inconclusive, true));
    assert_eq!(proxy.admin().shop().await.active, Slot::Green);
}

#[tokio::test]
async fn a_proxy_that_is_killed_in_the_middle_goes_on_with_what_it_knew() {
    let (blue, green, mut proxy) = pair().await;
    {
        let _clients = Clients::asking(proxy.http(), "/", 2);
        known(&blue).await;
    }
    let switched = promote(&proxy, Slot::Green, limits(600)).await;
    let before = proxy.admin().bake("0").await.expect("a bake");
    proxy.kill();
    proxy.restart().await;
    proxy.wait_healthy().await;
    let after = proxy.admin().bake("0").await.expect("a bake");
    assert_eq!((&after.outcome, &after.baseline, after.ends_at), (&None, &before.baseline, before.ends_at));
    green.behave(Manner::Failing);
    let _clients = Clients::asking(proxy.http(), "/", 2);
    let (_, outcome) = outcome(&proxy).await;
    assert_eq!((outcome.result, outcome.rolled_back), (BakeResult::Worse, Some(switched.generation.next())));
    proxy.kill();
    proxy.restart().await;
    let shop = proxy.admin().shop().await;
    assert_eq!((shop.active, shop.bake.and_then(|bake| bake.outcome)), (Slot::Blue, Some(outcome)));
}

#[tokio::test]
async fn whoever_switches_meanwhile_ends_the_bake() {
    let (_blue, green, proxy) = pair().await;
    promote(&proxy, Slot::Green, limits(600)).await;
    green.behave(Manner::Failing);
    let switched = proxy.admin().promote(Slot::Blue).await.expect("promoted");
    let (_, outcome) = outcome(&proxy).await;
    assert_eq!((outcome.result, outcome.rolled_back), (BakeResult::Superseded, None));
    assert_eq!(proxy.generation().await, switched.generation);
}

#[tokio::test]
async fn a_version_whose_probes_fail_goes_back_and_stays_when_the_one_before_is_ill_too() {
    let (blue, green, proxy) = pair().await;
    promote(&proxy, Slot::Green, limits(600)).await;
    green.health(503, "out of memory");
    let (_, ill) = outcome(&proxy).await;
    assert!(ill.reasons[0].contains("out of memory"), "{ill:?}");
    assert_eq!(proxy.admin().shop().await.active, Slot::Blue);
    green.health(200, "ok");
    proxy.wait_health(Slot::Green, Health::Healthy).await;
    promote(&proxy, Slot::Green, limits(600)).await;
    blue.health(503, "being repaired");
    proxy.wait_health(Slot::Blue, Health::Unhealthy).await;
    green.health(503, "out of memory");
    let stays = until_some(PATIENCE, "the bake to end", || async {
        proxy.admin().bake("1s").await.expect("a bake").outcome
    })
    .await;
    assert_eq!((stays.result, stays.rolled_back), (BakeResult::Worse, None));
    assert!(stays.stays.is_some_and(|why| why.contains("being repaired")));
    assert_eq!(proxy.admin().shop().await.active, Slot::Green);
}
