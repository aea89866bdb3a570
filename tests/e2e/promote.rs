//! The switch: which slot answers, who may switch, and that nothing in flight notices.

use futures::future::join_all;
use switcher_config::wire::{Fence, Health, PromoteRequest, RefusalReason, RegisterRequest};
use switcher_config::{Generation, Slot};
use switcher_tests::http1::{get, request};
use switcher_tests::http2::{self, Http2};
use switcher_tests::port::Refusing;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, until};

async fn two() -> (App, App, Proxy) {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).start_healthy().await;
    (blue, green, proxy)
}

/// Promotes there and back 20 times under clients that post all the while, each on one connection that is kept.
pub(crate) async fn lose_nothing<F>(proxy: &Proxy, connect: impl Fn() -> F)
where
    F: Future<Output = Http1>,
{
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (mut kept, stopped) = (connect().await, stopped.clone());
        clients.push(tokio::spawn(async move {
            let mut answers = 0;
            while !*stopped.borrow() {
                let answer = kept.exchange(&request("POST", "/count", &[], &[0, 1])).await;
                assert_eq!(answer.json()["bytes"], 2);
                answers += 1;
            }
            answers
        }));
    }
    for round in 0..20 {
        let slot = if round % 2 == 0 { Slot::Green } else { Slot::Blue };
        proxy.admin().promote(slot).await.expect("promoted");
    }
    stop.send_replace(true);
    for client in clients {
        assert!(client.await.expect("no answer is lost") > 0);
    }
}

#[tokio::test]
async fn a_promote_moves_traffic_and_says_what_it_did() {
    let (_blue, _green, proxy) = two().await;
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
    let before = proxy.generation().await;
    let switched = proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
    assert_eq!((switched.from, switched.to), (Slot::Blue, Slot::Green));
    assert_eq!((switched.generation, switched.drained_generation), (before.next(), before));
    assert!(switched.switch_micros > 0.0);
    let shop = proxy.admin().shop().await;
    assert_eq!((shop.active, shop.generation), (Slot::Green, before.next()));
}

#[tokio::test]
async fn the_initial_slot_is_the_configured_one() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).shop("initial", "green").start_healthy().await;
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
    assert_eq!(proxy.generation().await, Generation::FIRST);
}

#[tokio::test]
async fn open_connections_follow_the_switch() {
    let (_blue, _green, proxy) = two().await;
    let mut one = Http1::connect(proxy.http()).await;
    let two = Http2::tls(proxy.https(), "shop.test").await;
    assert_eq!(one.exchange(&request("GET", "/", &[], b"")).await.text(), "blue");
    assert_eq!(two.exchange(http2::get("/"), b"").await.text(), "blue");
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert_eq!(one.exchange(&request("GET", "/", &[], b"")).await.text(), "green");
    assert_eq!(two.exchange(http2::get("/"), b"").await.text(), "green");
}

#[tokio::test]
async fn what_is_in_flight_finishes_where_it_began() {
    let (blue, _green, proxy) = two().await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/half", &[], b"")).await;
    let framing = client.head().await.answer_framing();
    let address = proxy.http();
    let waiting = tokio::spawn(async move { get(address, "/gate").await });
    until(PATIENCE, "both to be in flight", || async { blue.waiting() == 2 }).await;
    let switched = proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
    let receipt = proxy.admin().drain(switched.drained_generation, "0s").await.expect("a receipt");
    assert_eq!((receipt.drained, receipt.in_flight.requests), (false, 2));
    blue.open_gate();
    assert_eq!(client.try_body(framing).await.expect("a whole body"), b"half whole");
    assert_eq!(waiting.await.expect("an answer").text(), "blue");
    let receipt = proxy.admin().drain(switched.drained_generation, "20s").await.expect("a receipt");
    assert_eq!((receipt.drained, receipt.finished.requests, receipt.cut.requests.len()), (true, 2, 0));
}

#[tokio::test]
async fn no_request_begun_after_a_promote_meets_the_old_slot() {
    let (_blue, _green, proxy) = two().await;
    let mut kept = Http1::connect(proxy.http()).await;
    for round in 0..40 {
        let slot = if round % 2 == 0 { Slot::Green } else { Slot::Blue };
        proxy.admin().promote(slot).await.expect("promoted");
        assert_eq!(kept.exchange(&request("GET", "/", &[], b"")).await.text(), slot.as_str());
        let answer = get(proxy.http(), "/").await;
        assert_eq!(
            (answer.text().as_str(), answer.header("x-switcher-slot")),
            (slot.as_str(), Some(slot.as_str()))
        );
    }
}

#[tokio::test]
async fn switching_back_and_forth_under_requests_loses_none() {
    let (_blue, _green, proxy) = two().await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let clients = (0..4).map(|_| {
        let (address, stopped) = (proxy.http(), stopped.clone());
        tokio::spawn(async move {
            let (mut kept, mut answers) = (Http1::connect(address).await, 0);
            while !*stopped.borrow() {
                assert_eq!(kept.exchange(&request("POST", "/count", &[], &[0, 1])).await.json()["bytes"], 2);
                assert_eq!(get(address, "/").await.status, 200);
                answers += 2;
            }
            answers
        })
    });
    let clients: Vec<_> = clients.collect();
    for round in 0..40 {
        let slot = if round % 2 == 0 { Slot::Green } else { Slot::Blue };
        proxy.admin().promote(slot).await.expect("promoted");
    }
    stop.send_replace(true);
    assert!(join_all(clients).await.into_iter().all(|answers| answers.expect("no failure") > 0));
}

#[tokio::test]
async fn a_slot_that_is_live_already_is_refused() {
    let (_blue, _green, proxy) = two().await;
    let refused = proxy.admin().promote(Slot::Blue).await.expect_err("refused");
    assert_eq!((refused.status, refused.refusal.reason), (412, RefusalReason::AlreadyActive));
    assert_eq!(refused.refusal.active, Some(Slot::Blue));
    assert_eq!(proxy.generation().await, Generation::FIRST);
}

#[tokio::test]
async fn an_unhealthy_slot_is_refused_unless_forced() {
    let (_blue, green, proxy) = two().await;
    green.health(500, "out of order");
    proxy.wait_health(Slot::Green, Health::Unhealthy).await;
    let refused = proxy.admin().promote(Slot::Green).await.expect_err("refused");
    assert_eq!((refused.status, refused.refusal.reason), (412, RefusalReason::Unhealthy));
    assert!(refused.refusal.message.contains("500"), "{}", refused.refusal.message);
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
    let forced = PromoteRequest { force: true, ..PromoteRequest::of(Slot::Green) };
    proxy.admin().promote_as(&forced).await.expect("forced");
    assert_eq!(proxy.admin().shop().await.active, Slot::Green);
}

#[tokio::test]
async fn a_slot_without_addresses_is_refused_even_when_forced() {
    let blue = App::start("blue").await;
    let proxy = Setup::one(blue.upstream()).start_healthy().await;
    for force in [false, true] {
        let refused = proxy
            .admin()
            .promote_as(&PromoteRequest { force, ..PromoteRequest::of(Slot::Green) })
            .await
            .expect_err("refused");
        assert_eq!((refused.status, refused.refusal.reason), (412, RefusalReason::NoUpstreams));
    }
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
}

#[tokio::test]
async fn another_generation_than_the_expected_one_is_a_conflict() {
    let (_blue, _green, proxy) = two().await;
    let stale = proxy.generation().await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    let late = PromoteRequest { expected_generation: Some(stale), ..PromoteRequest::of(Slot::Blue) };
    let refused = proxy.admin().promote_as(&late).await.expect_err("refused");
    assert_eq!((refused.status, refused.refusal.reason), (409, RefusalReason::GenerationMoved));
    assert_eq!(refused.refusal.generation, Some(stale.next()));
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
}

#[tokio::test]
async fn of_two_promotes_that_expect_the_same_generation_one_wins() {
    let (_blue, _green, proxy) = two().await;
    for round in 0..20 {
        let slot = if round % 2 == 0 { Slot::Green } else { Slot::Blue };
        let before = proxy.generation().await;
        let same = PromoteRequest { expected_generation: Some(before), ..PromoteRequest::of(slot) };
        let admin = proxy.admin();
        let outcomes = join_all((0..4).map(|_| admin.promote_as(&same))).await;
        assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1, "{outcomes:?}");
        for refused in outcomes.into_iter().filter_map(Result::err) {
            assert_eq!((refused.status, refused.refusal.reason), (409, RefusalReason::GenerationMoved));
        }
        assert_eq!(proxy.generation().await, before.next());
    }
}

fn lease(number: u64, holder: &str) -> Fence {
    Fence { number, holder: holder.to_owned() }
}

fn under(lease: &Fence, slot: Slot) -> PromoteRequest {
    PromoteRequest { fence: Some(lease.clone()), ..PromoteRequest::of(slot) }
}

#[tokio::test]
async fn an_owner_who_lost_the_lease_while_asleep_changes_nothing_any_more() {
    let (_blue, green, proxy) = two().await;
    let (asleep, awake) = (lease(3, "lock_asleep"), lease(4, "lock_awake"));
    let generation = proxy.generation().await;
    for owner in [&asleep, &awake] {
        let claimed = proxy.admin().claim(owner).await.expect("claimed");
        assert_eq!(claimed.generation, generation, "a claim moves no traffic, so it makes no generation");
    }
    let (before, saved) = (proxy.admin().shop().await, std::fs::read(proxy.routing()).expect("the state"));
    assert_eq!(before.fence.as_ref(), Some(&awake));
    let addresses = RegisterRequest {
        upstreams: vec![green.upstream().parse().expect("an address")],
        release: None,
        expected_generation: None,
        moved: false,
        fence: Some(asleep.clone()),
    };
    let forced = PromoteRequest { force: true, ..under(&asleep, Slot::Green) };
    for refused in [
        proxy.admin().promote_as(&under(&asleep, Slot::Green)).await.expect_err("refused"),
        proxy.admin().promote_as(&forced).await.expect_err("refused"),
        proxy.admin().register_as(Slot::Green, &addresses).await.expect_err("refused"),
        proxy.admin().claim(&asleep).await.expect_err("refused"),
    ] {
        assert_eq!((refused.status, refused.refusal.reason), (409, RefusalReason::StaleFence));
        let said = "lease 3 of lock_asleep was lost to lease 4 of lock_awake; blue is live, generation 1";
        assert!(refused.refusal.message.starts_with(said), "{}", refused.refusal.message);
        assert_eq!(
            (refused.refusal.active, refused.refusal.generation),
            (Some(Slot::Blue), Some(generation))
        );
    }
    let after = proxy.admin().shop().await;
    assert_eq!((after.active, after.generation, after.fence), (Slot::Blue, generation, before.fence));
    assert_eq!(std::fs::read(proxy.routing()).expect("the state"), saved);
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
    proxy.admin().promote_as(&under(&awake, Slot::Green)).await.expect("the owner may");
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
}

#[tokio::test]
async fn a_change_shows_its_lease_by_itself_and_one_without_a_lease_is_taken_as_ever() {
    let (_blue, _green, proxy) = two().await;
    proxy.admin().promote_as(&under(&lease(7, "lock_a"), Slot::Green)).await.expect("promoted");
    assert_eq!(proxy.admin().shop().await.fence, Some(lease(7, "lock_a")));
    proxy.admin().promote(Slot::Blue).await.expect("by hand");
    assert_eq!(proxy.admin().shop().await.fence, Some(lease(7, "lock_a")), "it is not forgotten");
    let refused =
        proxy.admin().promote_as(&under(&lease(6, "lock_b"), Slot::Green)).await.expect_err("refused");
    assert_eq!(refused.refusal.reason, RefusalReason::StaleFence);
    proxy.admin().promote_as(&under(&lease(7, "lock_a"), Slot::Green)).await.expect("the same lease again");
}

#[tokio::test]
async fn of_owners_who_show_the_same_number_at_once_one_is_taken() {
    let (_blue, _green, proxy) = two().await;
    let admin = proxy.admin();
    let owners: Vec<Fence> = (0..8).map(|n| lease(1, &format!("lock_{n}"))).collect();
    let outcomes = join_all(owners.iter().map(|owner| admin.claim(owner))).await;
    let taken: Vec<&Fence> =
        owners.iter().zip(&outcomes).filter(|(_, o)| o.is_ok()).map(|(f, _)| f).collect();
    assert_eq!(taken.len(), 1, "{outcomes:?}");
    assert_eq!(proxy.admin().shop().await.fence.as_ref(), Some(taken[0]));
}

#[tokio::test]
async fn each_epoch_has_upstream_connections_of_its_own() {
    let both = App::start("both").await;
    let proxy = Setup::two(&both, &both).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    for _ in 0..3 {
        client.exchange(&request("GET", "/", &[], b"")).await;
    }
    assert_eq!(both.connections(), 1);
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    client.exchange(&request("GET", "/", &[], b"")).await;
    assert_eq!(both.connections(), 2, "a connection of the old epoch was used in the new one");
}

#[tokio::test]
async fn stragglers_of_one_epoch_are_kept_apart_from_those_of_the_next_of_the_same_slot() {
    let (blue, green, proxy) = two().await;
    let address = proxy.http();
    let first = tokio::spawn(async move { get(address, "/gate").await });
    until(PATIENCE, "the first straggler", || async { blue.waiting() == 1 }).await;
    let left = proxy.admin().promote(Slot::Green).await.expect("to green").drained_generation;
    let left_green = proxy.admin().promote(Slot::Blue).await.expect("to blue").drained_generation;
    let receipt = proxy.admin().drain(left_green, "20s").await.expect("a receipt");
    assert!(receipt.drained, "green had nobody inside: {receipt:?}");
    let mut second = Http1::connect(address).await;
    second.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "the second straggler", || async { blue.waiting() == 2 }).await;
    let left_again = proxy.admin().promote(Slot::Green).await.expect("to green again").drained_generation;
    drop(second);
    let receipt = proxy.admin().drain(left_again, "20s").await.expect("a receipt");
    assert!(receipt.drained, "the second epoch is empty: {receipt:?}");
    let receipt = proxy.admin().drain(left, "0s").await.expect("a receipt");
    assert_eq!((receipt.drained, receipt.in_flight.requests), (false, 1));
    assert_eq!(proxy.admin().shop().await.draining.len(), 1);
    blue.open_gate();
    assert_eq!(first.await.expect("an answer").text(), "blue");
    assert!(proxy.admin().drain(left, "20s").await.expect("a receipt").drained);
    assert_eq!(green.waiting(), 0);
}

#[tokio::test]
async fn an_old_slot_can_be_stopped_as_soon_as_its_drain_is_over() {
    let (blue, _green, proxy) = two().await;
    let mut kept = Http1::connect(proxy.http()).await;
    for _ in 0..5 {
        kept.exchange(&request("POST", "/count", &[], b"x")).await;
    }
    let left = proxy.admin().promote(Slot::Green).await.expect("promoted").drained_generation;
    assert!(proxy.admin().drain(left, "20s").await.expect("a receipt").drained);
    blue.stop().await;
    for _ in 0..20 {
        assert_eq!(kept.exchange(&request("POST", "/count", &[], b"x")).await.status, 200);
    }
}

#[tokio::test]
async fn a_broken_standby_costs_the_live_slot_nothing() {
    let (blue, dead) = (App::start("blue").await, Refusing::start());
    let proxy = Setup::slots(&[blue.upstream()], &[dead.address().to_string()]).start().await;
    proxy.wait_health(Slot::Green, Health::Unhealthy).await;
    for _ in 0..10 {
        assert_eq!(get(proxy.http(), "/").await.text(), "blue");
    }
}

#[tokio::test]
async fn a_reload_that_changes_how_upstreams_are_verified_gives_its_epoch_a_generation_of_its_own() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let mut proxy = Setup::two(&blue, &green).start_healthy().await;
    let before = proxy.generation().await;
    proxy.configure(Setup::two(&blue, &green).shop("upstream_tls", "{verify: false}"));
    assert_eq!(proxy.admin().try_call("POST", "/v1/reload", "").await.expect("an answer").status, 200);
    assert!(proxy.generation().await > before);
    let mut inside = Http1::connect(proxy.http()).await;
    inside.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "it to be in flight", || async { blue.waiting() == 1 }).await;
    let left = proxy.admin().promote(Slot::Green).await.expect("promoted").drained_generation;
    let receipt = proxy.admin().drain(left, "0s").await.expect("a receipt");
    assert!(!receipt.drained, "one request is still inside: {receipt:?}");
    blue.open_gate();
    assert_eq!(inside.exchange(b"").await.text(), "blue");
    assert!(proxy.admin().drain(left, "20s").await.expect("a receipt").drained);
}
