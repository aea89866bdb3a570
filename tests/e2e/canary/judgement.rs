//! The judge: what is worse than the live slot comes back by itself, what is as good goes on, step by step if that is wanted.

use std::time::Duration;

use switcher_config::wire::{
    Canary, CanaryOutcome, CanaryRequest, CanaryResult, CanarySteps, CanaryThen, Health,
};
use switcher_config::{BakeLimits, Slot, Span};
use switcher_tests::{Http1, Manner, PATIENCE, Proxy, until, until_some};

use super::{Crowd, more, of, pair, share, sides, wish};

fn limits() -> BakeLimits {
    let max_p99_ratio = "1000".parse().expect("a factor");
    BakeLimits { window: Span::seconds(1), min_requests: 20, max_p99_ratio, ..BakeLimits::default() }
}

fn steps(shares: &[&str], every: u64, then: CanaryThen) -> CanaryRequest {
    let shares = shares.iter().map(|share| share.parse().expect("a share")).collect();
    let steps = Some(CanarySteps { shares, every: Span::seconds(every), then });
    CanaryRequest { steps, limits: Some(limits()), ..CanaryRequest::of(Slot::Green) }
}

/// Clients that take whatever comes.
struct Patient(#[expect(dead_code, reason = "held for its drop")] tokio::task::JoinSet<()>);

impl Patient {
    fn asking(proxy: &Proxy, clients: u32) -> Self {
        let (address, mut tasks) = (proxy.http(), tokio::task::JoinSet::new());
        for client in 0..clients {
            tasks.spawn(async move {
                loop {
                    let Ok(mut wire) = Http1::try_connect(address).await else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    while wire.try_exchange(&of(client, "/")).await.is_ok() {}
                }
            });
        }
        Self(tasks)
    }
}

async fn ended(proxy: &Proxy) -> (Canary, CanaryOutcome) {
    until_some(PATIENCE, "the canary to end", || async {
        let canary = proxy.admin().shop().await.canary.expect("a canary");
        canary.outcome.clone().map(|outcome| (canary, outcome))
    })
    .await
}

#[tokio::test]
async fn a_canary_that_fails_is_taken_back_at_once_and_one_that_does_not_goes_on() {
    let (blue, green, proxy) = pair().await;
    let _crowd = Patient::asking(&proxy, 24);
    let judged = CanaryRequest { limits: Some(limits()), ..wish("50%") };
    let begun = proxy.admin().canary(&judged).await.expect("a canary");
    // Several stretches of the judge.
    more(&green, 300).await;
    let good = proxy.admin().shop().await.canary.expect("a canary");
    assert_eq!(good.outcome, None);
    assert!(good.seen.requests >= 100 && good.seen.errors == 0, "{good:?}");
    assert!(good.baseline.requests >= 20, "the live slot is counted as well: {good:?}");
    let mut events = proxy.admin().events().await;
    green.behave(Manner::Failing);
    let (canary, outcome) = ended(&proxy).await;
    assert_eq!(outcome.result, CanaryResult::Worse);
    assert!(outcome.reasons[0].contains("failed"), "{outcome:?}");
    assert!(canary.seen.errors >= 5, "the figures are kept: {canary:?}");
    let told = loop {
        let event: serde_json::Value = serde_json::from_str(&events.data().await).expect("JSON");
        if event["event"] == "canary" {
            break event;
        }
    };
    assert_eq!((told["app"].as_str(), told["outcome"]["result"].as_str()), (Some("shop"), Some("worse")));
    assert!(told["salt"].is_null(), "nobody is told who would be picked");
    more(&blue, 50).await;
    assert!(sides(&proxy, 40).await.iter().all(|side| *side == Slot::Blue));
    assert!(proxy.admin().drain(begun.generation, "20s").await.expect("a drain").drained);
    proxy.wait_metric("switcher_canaries_total{app=\"shop\",result=\"worse\"}", 1).await;
    proxy.wait_metric("switcher_canary_share_ratio{app=\"shop\"}", 0).await;
}

#[tokio::test]
async fn what_fails_on_both_sides_is_not_the_canary_s_fault() {
    let (blue, green, proxy) = pair().await;
    let _crowd = Patient::asking(&proxy, 24);
    blue.behave(Manner::Failing);
    green.behave(Manner::Failing);
    more(&blue, 100).await;
    let judged = CanaryRequest { limits: Some(limits()), ..wish("50%") };
    proxy.admin().canary(&judged).await.expect("a canary");
    more(&green, 400).await;
    let canary = proxy.admin().shop().await.canary.expect("a canary");
    assert!(canary.seen.errors >= 100, "{canary:?}");
    assert_eq!(canary.outcome, None);
}

#[tokio::test]
async fn a_canary_that_is_slow_is_taken_back() {
    let (_blue, green, proxy) = pair().await;
    let _crowd = Patient::asking(&proxy, 64);
    green.behave(Manner::Slow(Duration::from_millis(60)));
    let strict = BakeLimits { max_p99: Some(Span::millis(50)), ..limits() };
    let judged = CanaryRequest { limits: Some(strict), ..wish("50%") };
    proxy.admin().canary(&judged).await.expect("a canary");
    let (canary, outcome) = ended(&proxy).await;
    assert_eq!((outcome.result, canary.seen.errors), (CanaryResult::Worse, 0));
    assert!(outcome.reasons[0].contains("50ms is allowed"), "{outcome:?}");
}

#[tokio::test]
async fn a_slot_that_is_not_healthy_any_more_loses_its_clients_and_gets_none() {
    let (_blue, green, proxy) = pair().await;
    share(&proxy, "50%").await;
    green.health(503, "out of memory");
    let (_, outcome) = ended(&proxy).await;
    assert_eq!(outcome.result, CanaryResult::Unhealthy);
    assert!(outcome.reasons[0].contains("out of memory"), "{outcome:?}");
    assert!(sides(&proxy, 40).await.iter().all(|side| *side == Slot::Blue));
    let refused = proxy.admin().canary(&wish("50%")).await.expect_err("refused");
    assert_eq!(refused.status, 412, "{refused:?}");
    let forced = CanaryRequest { force: true, ..wish("50%") };
    proxy.admin().canary(&forced).await.expect("forced");
    assert_eq!(ended(&proxy).await.1.result, CanaryResult::Unhealthy, "and ends again");
}

#[tokio::test]
async fn steps_follow_each_other_without_anybody_and_end_in_a_switch() {
    let (_blue, green, proxy) = pair().await;
    let crowd = Crowd::asking(&proxy, 24).await;
    let begun =
        proxy.admin().canary(&steps(&["50%", "80%"], 1, CanaryThen::Promote)).await.expect("a canary");
    assert_eq!(begun.canary.rules.share.to_string(), "50%");
    until(PATIENCE, "the slot to be live", || async { proxy.admin().shop().await.active == Slot::Green })
        .await;
    more(&green, 100).await;
    let seen = crowd.end().await;
    assert!(seen.iter().all(|sides| sides.windows(2).filter(|pair| pair[0] != pair[1]).count() <= 1));
    let shop = proxy.admin().shop().await;
    let canary = shop.canary.expect("a canary");
    assert_eq!(
        (canary.rules.share.to_string().as_str(), canary.outcome.map(|o| o.result)),
        ("80%", Some(CanaryResult::Promoted))
    );
    assert_eq!(
        shop.generation,
        begun.generation.next().next(),
        "each step is a generation, and so is the switch"
    );
}

#[tokio::test]
async fn a_step_waits_for_enough_requests_over_a_restart_and_the_last_one_may_stay() {
    let (_blue, _green, mut proxy) = pair().await;
    proxy.admin().canary(&steps(&["50%", "70%"], 1, CanaryThen::Hold)).await.expect("a canary");
    let waits = until_some(PATIENCE, "the step to wait", || async {
        proxy.admin().shop().await.canary.and_then(|canary| canary.steps).and_then(|steps| steps.waits)
    })
    .await;
    assert_eq!(waits, "0 of the 20 requests came that are needed to judge");
    proxy.kill();
    proxy.restart().await;
    proxy.wait_healthy().await;
    let _crowd = Crowd::asking(&proxy, 24).await;
    until(PATIENCE, "the last step", || async {
        let canary = proxy.admin().shop().await.canary.expect("a canary");
        canary.rules.share.to_string() == "70%" && canary.seen.requests >= 100
    })
    .await;
    let canary = proxy.admin().shop().await.canary.expect("a canary");
    assert_eq!(
        (canary.outcome, canary.steps.map(|steps| (steps.left, steps.waits))),
        (None, Some((Vec::new(), None)))
    );
    proxy.wait_health(Slot::Green, Health::Healthy).await;
}

#[tokio::test]
async fn a_step_that_fails_is_the_last() {
    let (_blue, green, proxy) = pair().await;
    green.behave(Manner::Failing);
    let _crowd = Patient::asking(&proxy, 24);
    proxy.admin().canary(&steps(&["50%", "100%"], 600, CanaryThen::Promote)).await.expect("a canary");
    let (canary, outcome) = ended(&proxy).await;
    assert_eq!((outcome.result, canary.rules.share.to_string().as_str()), (CanaryResult::Worse, "50%"));
    assert_eq!(proxy.admin().shop().await.active, Slot::Blue);
}
