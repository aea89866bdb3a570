//! Registering the addresses of a standby slot at run time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use switcher_config::Slot;
use switcher_config::wire::{Health, RefusalReason, RegisterRequest};
use switcher_tests::http1::{get, request};
use switcher_tests::port::Port;
use switcher_tests::{App, Http1, PATIENCE, Setup, until};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

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

/// Probes so seldom that the last ten of them reach back over the whole test.
const SELDOM: &str = "{path: /health, interval: 2s, timeout: 10s, rise: 1, fall: 2}";

#[tokio::test]
async fn a_new_version_behind_an_old_address_has_to_prove_itself() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).shop("health", SELDOM).start_healthy().await;
    green.health(500, "the new one is broken");
    let registered_at = Timestamp::now();
    proxy.admin().register(Slot::Green, &[green.upstream()], Some("v2")).await.expect("registered");
    let refused = proxy.admin().promote(Slot::Green).await.expect_err("refused");
    assert_eq!((refused.status, refused.refusal.reason), (412, RefusalReason::Unhealthy));
    let shop = proxy.admin().shop().await;
    let status = shop.slots.get(Slot::Green);
    assert_ne!(status.health, Health::Healthy);
    assert!(status.upstreams[0].checks.iter().all(|check| check.at >= registered_at), "{status:?}");
    green.health(200, "mended");
    proxy.wait_health(Slot::Green, Health::Healthy).await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
}

fn moved(upstreams: &[String], release: Option<&str>) -> RegisterRequest {
    RegisterRequest {
        upstreams: upstreams.iter().map(|u| u.parse().expect("an address")).collect(),
        release: release.map(str::to_owned),
        expected_generation: None,
        moved: true,
        fence: None,
    }
}

#[tokio::test]
async fn the_live_release_can_move_and_what_is_inside_finishes_where_it_began() {
    let (before, after) = (App::start("before").await, App::start("after").await);
    let proxy = Setup::one(before.upstream()).start_healthy().await;
    let generation = proxy.generation().await;
    let mut inside = Http1::connect(proxy.http()).await;
    inside.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "it to be in flight", || async { before.waiting() == 1 }).await;
    let changed =
        proxy.admin().register_as(Slot::Blue, &moved(&[after.upstream()], None)).await.expect("moved");
    assert_eq!(changed.generation, generation.next());
    assert_eq!(get(proxy.http(), "/").await.text(), "after", "from the very next request on");
    let receipt = proxy.admin().drain(generation, "0s").await.expect("a receipt");
    assert_eq!((receipt.slot, receipt.drained, receipt.in_flight.requests), (Slot::Blue, false, 1));
    until(PATIENCE, "it alone to be inside", || async {
        proxy.admin().shop().await.slots.get(Slot::Blue).in_flight.requests == 1
    })
    .await;
    before.open_gate();
    assert_eq!(inside.exchange(b"").await.text(), "before");
    let receipt = proxy.admin().drain(generation, "20s").await.expect("a receipt");
    assert_eq!((receipt.drained, receipt.finished.requests, receipt.cut.requests.len()), (true, 1, 0));
    before.stop().await;
    let shop = proxy.admin().shop().await;
    assert_eq!((shop.active, shop.generation, shop.draining.len()), (Slot::Blue, generation.next(), 0));
    assert_eq!(inside.exchange(&request("GET", "/", &[], b"")).await.text(), "after");
}

#[tokio::test]
async fn requests_notice_nothing_while_the_live_release_moves_to_and_fro() {
    let (one, two) = (App::start("one").await, App::start("two").await);
    let proxy = Setup::one(one.upstream()).start_healthy().await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let address = proxy.http();
    let client = tokio::spawn(async move {
        let (mut kept, mut answers) = (Http1::connect(address).await, 0);
        while !*stopped.borrow() {
            assert_eq!(kept.exchange(&request("POST", "/count", &[], &[0, 1])).await.json()["bytes"], 2);
            answers += 1;
        }
        answers
    });
    for round in 0..20 {
        let to = if round % 2 == 0 { &two } else { &one };
        proxy.admin().register_as(Slot::Blue, &moved(&[to.upstream()], None)).await.expect("moved");
        assert_eq!(get(address, "/").await.text(), if round % 2 == 0 { "two" } else { "one" });
    }
    stop.send_replace(true);
    assert!(client.await.expect("no failure") > 0);
}

#[tokio::test]
async fn an_address_that_stays_when_the_live_release_moves_stays_healthy() {
    let (stays, goes, comes) =
        (App::start("stays").await, App::start("goes").await, App::start("comes").await);
    let both = [stays.upstream(), goes.upstream()];
    let proxy = Setup::slots(&both, &[]).shop("health", SELDOM).start_healthy().await;
    let moved_at = Timestamp::now();
    let new = [stays.upstream(), comes.upstream()];
    proxy.admin().register_as(Slot::Blue, &moved(&new, None)).await.expect("moved");
    let shop = proxy.admin().shop().await;
    let [old, new] = shop.slots.get(Slot::Blue).upstreams.as_slice() else { panic!("two upstreams") };
    assert_eq!(old.health, Health::Healthy);
    assert!(old.checks.iter().any(|check| check.at < moved_at), "what was known of it is kept");
    assert!(new.checks.iter().all(|check| check.at >= moved_at), "nothing was known of this one");
    proxy.wait_health(Slot::Blue, Health::Healthy).await;
}

#[tokio::test]
async fn only_the_release_that_is_live_moves() {
    let (blue, other) = (App::start("blue").await, App::start("other").await);
    let proxy = Setup::one(blue.upstream()).start_healthy().await;
    let generation = proxy.generation().await;
    for (wish, reason) in [
        (moved(&[other.upstream()], Some("v2")), RefusalReason::SlotIsLive),
        (RegisterRequest { moved: false, ..moved(&[other.upstream()], None) }, RefusalReason::SlotIsLive),
    ] {
        let refused = proxy.admin().register_as(Slot::Blue, &wish).await.expect_err("refused");
        assert_eq!((refused.status, refused.refusal.reason), (409, reason));
    }
    let refused = proxy.admin().register_as(Slot::Blue, &moved(&[], None)).await.expect_err("refused");
    assert_eq!((refused.status, refused.refusal.reason), (412, RefusalReason::NoUpstreams));
    assert_eq!(
        (get(proxy.http(), "/").await.text().as_str(), proxy.generation().await),
        ("blue", generation)
    );
}

#[tokio::test]
async fn where_the_live_release_has_moved_to_outlives_the_process() {
    let (before, after) = (App::start("before").await, App::start("after").await);
    let mut proxy = Setup::one(before.upstream()).start_healthy().await;
    proxy.admin().register_as(Slot::Blue, &moved(&[after.upstream()], None)).await.expect("moved");
    let generation = proxy.generation().await;
    proxy.kill();
    proxy.restart().await;
    assert_eq!(proxy.generation().await, generation);
    assert_eq!(get(proxy.http(), "/").await.text(), "after");
}

/// An application that goes on when its port is free already: whoever is connected stays connected, and is answered.
/// A container that was replaced under its address looks so, while its last connections linger.
struct Lingering {
    address: SocketAddr,
    /// Connections that have carried a request other than a probe, and are open.
    kept: Arc<AtomicUsize>,
    listening: JoinHandle<()>,
    _port: Port,
}

impl Lingering {
    async fn start() -> Self {
        let (listener, port) = Port::listen().await;
        let address = port.address();
        let kept = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&kept);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::converse(stream, Arc::clone(&counter)));
            }
        });
        Self { address, kept, listening, _port: port }
    }

    async fn converse(stream: TcpStream, kept: Arc<AtomicUsize>) {
        let mut wire = Http1::over(stream);
        let mut counted = false;
        while let Some(head) = wire.forever_head().await {
            if head.target() != "/health" && !counted {
                counted = true;
                kept.fetch_add(1, Ordering::SeqCst);
            }
            if wire.try_send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold").await.is_err() {
                break;
            }
        }
        if counted {
            kept.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn kept(&self) -> usize {
        self.kept.load(Ordering::SeqCst)
    }

    /// Frees the port, and goes on with whoever is connected.
    async fn free_port(&mut self) {
        self.listening.abort();
        let _ = (&mut self.listening).await;
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

#[tokio::test]
async fn a_new_application_at_an_old_address_gets_connections_of_its_own() {
    let (mut old, green) = (Lingering::start().await, App::start("green").await);
    let proxy = Setup::slots(&[old.address.to_string()], &[green.upstream()]).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    assert_eq!(client.exchange(&request("GET", "/", &[], b"")).await.text(), "old");
    let left = proxy.admin().promote(Slot::Green).await.expect("promoted").drained_generation;
    assert!(proxy.admin().drain(left, "20s").await.expect("a receipt").drained);
    old.free_port().await;
    let new = App::start_at("new", old.address).await;
    proxy.admin().register(Slot::Blue, &[new.upstream()], Some("v2")).await.expect("registered");
    proxy.wait_health(Slot::Blue, Health::Healthy).await;
    proxy.admin().promote(Slot::Blue).await.expect("promoted");
    assert_eq!(old.kept(), 1, "the proxy still has a connection on which the old application would answer");
    let answer = client.exchange(&request("GET", "/", &[], b"")).await;
    assert_eq!((answer.text().as_str(), answer.header("x-switcher-release")), ("new", Some("v2")));
    assert_eq!((new.hits(), old.kept()), (1, 1));
}

#[tokio::test]
async fn a_live_application_that_was_replaced_under_its_address_gets_connections_of_its_own() {
    let mut old = Lingering::start().await;
    let proxy = Setup::one(old.address).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    assert_eq!(client.exchange(&request("GET", "/", &[], b"")).await.text(), "old");
    old.free_port().await;
    let new = App::start_at("new", old.address).await;
    // The control: as long as nobody has told the proxy, it goes on with the connection that it has.
    assert_eq!(client.exchange(&request("GET", "/", &[], b"")).await.text(), "old");
    proxy.admin().register_as(Slot::Blue, &moved(&[new.upstream()], None)).await.expect("moved");
    assert_eq!(client.exchange(&request("GET", "/", &[], b"")).await.text(), "new");
    assert_eq!(old.kept(), 1);
}

#[tokio::test]
async fn an_application_without_slots_is_served_from_its_first_registration_on() {
    let green = App::start("green").await;
    let proxy = Setup::slots(&[], &[]).start().await;
    let answer = get(proxy.http(), "/").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("No upstream of the live slot, blue,"), "{}", answer.text());
    let record = proxy.record_of("/").await;
    assert_eq!(record["error"], "no_upstream", "{record}");
    proxy.admin().register(Slot::Green, &[green.upstream()], Some("v1")).await.expect("registered");
    proxy.wait_health(Slot::Green, Health::Healthy).await;
    let switched = proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert!(proxy.admin().drain(switched.drained_generation, "20s").await.expect("a receipt").drained);
    let answer = get(proxy.http(), "/").await;
    assert_eq!((answer.text().as_str(), answer.header("x-switcher-release")), ("green", Some("v1")));
    assert_eq!(proxy.admin().get("/ready").await.text(), "ready\n");
    let refused = proxy.admin().promote(Slot::Blue).await.expect_err("there is nothing to go back to");
    assert_eq!(refused.refusal.reason, RefusalReason::NoUpstreams);
}

#[tokio::test]
async fn what_was_registered_for_an_application_without_slots_outlives_a_restart_and_a_reload() {
    let green = App::start("green").await;
    let mut proxy = Setup::slots(&[], &[]).shop("slots", "{}").start().await;
    proxy.admin().register(Slot::Green, &[green.upstream()], Some("v1")).await.expect("registered");
    proxy.wait_health(Slot::Green, Health::Healthy).await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    proxy.admin().reload().await.expect("reloaded");
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
    proxy.kill();
    proxy.restart().await;
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
}
