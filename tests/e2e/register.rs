//! Registering the addresses of a standby slot at run time.

use switcher_config::Slot;
use switcher_config::wire::{Health, RefusalReason};
use switcher_tests::http1::get;
use switcher_tests::{App, Setup};

#[tokio::test]
async fn a_registered_standby_is_probed_and_can_be_promoted() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::one(blue.upstream()).start_healthy().await;
    let before = proxy.generation().await;
    let changed =
        proxy.admin().register(Slot::Green, &[green.upstream()], Some("v2")).await.expect("registered");
    assert_eq!(changed.generation, before.next());
    proxy.wait_health(Slot::Green, Health::Healthy).await;
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
    assert_eq!(proxy.admin().shop().await.slots.get(Slot::Green).release.as_deref(), Some("v2"));
}

#[tokio::test]
async fn registered_addresses_take_the_place_of_configured_ones() {
    let (blue, old, new) = (App::start("blue").await, App::start("old").await, App::start("new").await);
    let proxy = Setup::two(&blue, &old).start_healthy().await;
    proxy.admin().register(Slot::Green, &[new.upstream()], None).await.expect("registered");
    proxy.wait_health(Slot::Green, Health::Healthy).await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert_eq!(get(proxy.http(), "/").await.text(), "new");
}

#[tokio::test]
async fn a_fresh_registration_is_not_healthy_before_it_is_probed() {
    let (blue, old) = (App::start("blue").await, App::start("old").await);
    let bad = App::start("bad").await;
    bad.health(500, "not ready");
    let proxy = Setup::two(&blue, &old).start_healthy().await;
    proxy.admin().register(Slot::Green, &[bad.upstream()], None).await.expect("registered");
    let refused = proxy.admin().promote(Slot::Green).await.expect_err("refused");
    assert_eq!((refused.status, refused.refusal.reason), (412, RefusalReason::Unhealthy));
}

#[tokio::test]
async fn the_live_slot_is_not_registered_over() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).start_healthy().await;
    let refused = proxy.admin().register(Slot::Blue, &[green.upstream()], None).await.expect_err("refused");
    assert_eq!((refused.status, refused.refusal.reason), (409, RefusalReason::SlotIsLive));
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
}

#[tokio::test]
async fn an_empty_list_takes_the_addresses_away() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).start_healthy().await;
    proxy.admin().register(Slot::Green, &[], None).await.expect("registered");
    assert!(proxy.admin().shop().await.slots.get(Slot::Green).upstreams.is_empty());
    let refused = proxy.admin().promote(Slot::Green).await.expect_err("refused");
    assert_eq!(refused.refusal.reason, RefusalReason::NoUpstreams);
}

#[tokio::test]
async fn a_registration_outlives_the_process() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let mut proxy = Setup::one(blue.upstream()).start_healthy().await;
    proxy.admin().register(Slot::Green, &[green.upstream()], Some("v2")).await.expect("registered");
    proxy.wait_health(Slot::Green, Health::Healthy).await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    proxy.kill();
    proxy.restart().await;
    proxy.wait_healthy().await;
    let answer = get(proxy.http(), "/").await;
    assert_eq!((answer.text().as_str(), answer.header("x-switcher-release")), ("green", Some("v2")));
}

#[tokio::test]
async fn an_address_that_is_none_is_a_bad_request() {
    let blue = App::start("blue").await;
    let proxy = Setup::one(blue.upstream()).start_healthy().await;
    let answer =
        proxy.admin().call("PUT", "/v1/apps/shop/slots/green", r#"{"upstreams":["nonsense"]}"#).await;
    assert_eq!((answer.status, &answer.json()["reason"]), (400, &"bad_request".into()));
    assert!(answer.text().contains("nonsense"), "{}", answer.text());
}

#[tokio::test]
async fn a_registration_that_expects_another_generation_is_a_conflict() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::one(blue.upstream()).start_healthy().await;
    let body = serde_json::json!({"upstreams": [green.upstream()], "expected_generation": 99}).to_string();
    let answer = proxy.admin().call("PUT", "/v1/apps/shop/slots/green", &body).await;
    assert_eq!((answer.status, &answer.json()["reason"]), (409, &"generation_moved".into()));
    assert!(proxy.admin().shop().await.slots.get(Slot::Green).upstreams.is_empty());
}
