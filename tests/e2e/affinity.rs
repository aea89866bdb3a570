//! Release affinity: who began on a release stays there for a while after a switch, and nowhere that no visitor was.

use jiff::Timestamp;
use switcher_config::Slot;
use switcher_config::wire::{CanaryAbortRequest, CanaryRequest, Health, PromoteRequest};
use switcher_tests::http1::get_with;
use switcher_tests::raw::Raw;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, Switcher, until};

const LONG: &str = "{for: 1h}";

async fn pair(affinity: &str) -> (App, App, Proxy) {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = setup(&blue, &green, affinity).start_healthy().await;
    (blue, green, proxy)
}

fn setup(blue: &App, green: &App, affinity: &str) -> Setup {
    let setup = Setup::two(blue, green).proxy("trusted_proxies", "[127.0.0.1]");
    let drain = "{requests: 5s, uploads: 5s, streams: 300ms, websockets: 300ms, spread: 0s}";
    setup.shop("release_affinity", affinity).shop("drain", drain)
}

/// Somebody with a browser that keeps cookies.
#[derive(Debug, Clone, Default)]
struct Visitor {
    cookie: Option<String>,
    address: Option<&'static str>,
}

impl Visitor {
    /// Which slot answers.
    async fn sees(&mut self, proxy: &Proxy) -> Slot {
        let cookie = self.cookie.clone().unwrap_or_default();
        let headers = [("Cookie", cookie.as_str()), ("X-Forwarded-For", self.address.unwrap_or("10.0.0.1"))];
        let answer = get_with(proxy.http(), "/", &headers).await;
        assert_eq!(answer.status, 200);
        if let Some(set) = answer.header("Set-Cookie") {
            let pair = set.split(';').next().expect("a pair").to_owned();
            assert!(
                pair.starts_with("switcher_release=") && set.ends_with("; HttpOnly; SameSite=Lax"),
                "{set}"
            );
            assert_ne!(self.cookie.as_ref(), Some(&pair), "it was brought along");
            self.cookie = Some(pair);
        }
        let slot: Slot = answer.header("X-Switcher-Slot").expect("a slot").parse().expect("a slot");
        assert_eq!(answer.text(), slot.as_str(), "the header says who answered");
        slot
    }
}

async fn stays_until(proxy: &Proxy) -> Option<Timestamp> {
    proxy.admin().shop().await.release_affinity.expect("it is shown").stays_until
}

#[tokio::test]
async fn who_began_on_a_release_stays_there_after_a_switch_and_who_is_new_does_not() {
    let (_blue, _green, proxy) = pair(LONG).await;
    let (mut visitor, mut stranger) = (Visitor::default(), Visitor::default());
    assert_eq!(visitor.sees(&proxy).await, Slot::Blue);
    assert_eq!(stays_until(&proxy).await, None);
    let switched = proxy.admin().promote(Slot::Green).await.expect("promoted");
    for _ in 0..3 {
        assert_eq!(visitor.sees(&proxy).await, Slot::Blue);
        assert_eq!(stranger.sees(&proxy).await, Slot::Green);
    }
    let mut forger = Visitor { cookie: Some("switcher_release=0123456789abcdef".into()), address: None };
    assert_eq!(forger.sees(&proxy).await, Slot::Green);
    let drain = proxy.admin().drain(switched.drained_generation, "20s").await.expect("a drain");
    assert!(drain.drained, "the drain of the switch waits for nobody who stays");
    // Whoever stays is inside the slot, and seen there.
    let cookie = visitor.cookie.clone().expect("a cookie");
    let wire = Http1::connect(proxy.http()).await;
    let mut socket = WebSocket::with(wire, "/socket", &[("cookie", &cookie)]).await;
    assert_eq!(socket.text().await, "blue");
    let shop = proxy.admin().shop().await;
    assert_eq!(shop.slots.blue.in_flight.websockets, 1);
    assert!(stays_until(&proxy).await.is_some());
    let status = Switcher::of(&proxy).succeed(&["status"]).await;
    assert!(status.stdout.contains("visitors of the release before stay in blue until"), "{status:?}");
    socket.close().await;
}

#[tokio::test]
async fn when_the_window_is_over_they_move_and_what_is_inside_is_drained() {
    let (blue, _green, proxy) = pair("{for: 5s, cookie: switcher_release}").await;
    let mut visitor = Visitor::default();
    assert_eq!(visitor.sees(&proxy).await, Slot::Blue);
    let cookie = visitor.cookie.clone().expect("a cookie");
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    let wire = Http1::connect(proxy.http()).await;
    let mut socket = WebSocket::with(wire, "/socket", &[("cookie", &cookie)]).await;
    assert_eq!(socket.text().await, "blue", "it began within the window");
    until(PATIENCE, "the visitor to move", || {
        let mut visitor = visitor.clone();
        let proxy = &proxy;
        async move { visitor.sees(proxy).await == Slot::Green }
    })
    .await;
    until(PATIENCE, "the socket to be closed", || async {
        proxy.admin().shop().await.slots.blue.in_flight.websockets == 0
    })
    .await;
    assert_eq!(stays_until(&proxy).await, None);
    drop(blue);
}

#[tokio::test]
async fn who_stayed_on_a_slot_is_drained_when_it_is_left_again() {
    let (_blue, _green, proxy) = pair(LONG).await;
    let mut visitor = Visitor::default();
    assert_eq!(visitor.sees(&proxy).await, Slot::Blue);
    let cookie = visitor.cookie.clone().expect("a cookie");
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    let wire = Http1::connect(proxy.http()).await;
    let mut socket = WebSocket::with(wire, "/socket", &[("cookie", &cookie)]).await;
    assert_eq!(socket.text().await, "blue", "it began within the window");
    proxy.admin().promote(Slot::Blue).await.expect("promoted");
    assert_eq!(proxy.admin().shop().await.slots.blue.in_flight.websockets, 1, "its slot is live again");
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    until(PATIENCE, "the socket to be closed", || async {
        proxy.admin().shop().await.slots.blue.in_flight.websockets == 0
    })
    .await;
}

#[tokio::test]
async fn what_is_left_because_it_is_bad_keeps_nobody() {
    let (blue, _green, proxy) = pair(LONG).await;
    let mut old = Visitor::default();
    old.sees(&proxy).await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    let mut new = Visitor::default();
    assert_eq!(new.sees(&proxy).await, Slot::Green);
    // Back within the window.
    proxy.admin().promote(Slot::Blue).await.expect("promoted");
    assert_eq!((new.sees(&proxy).await, old.sees(&proxy).await), (Slot::Blue, Slot::Blue));
    // Taken back by somebody who says so, and forced.
    for wish in [
        PromoteRequest { at_once: true, ..PromoteRequest::of(Slot::Green) },
        PromoteRequest { force: true, ..PromoteRequest::of(Slot::Blue) },
    ] {
        let mut visitor = Visitor::default();
        assert_eq!(visitor.sees(&proxy).await, wish.slot.other());
        proxy.admin().promote_as(&wish).await.expect("promoted");
        assert_eq!(visitor.sees(&proxy).await, wish.slot, "{wish:?}");
    }
    let mut visitor = Visitor::default();
    assert_eq!(visitor.sees(&proxy).await, Slot::Blue);
    Switcher::of(&proxy).succeed(&["rollback"]).await;
    assert_eq!(visitor.sees(&proxy).await, Slot::Green, "the command line says that it goes back");
    drop(blue);
}

#[tokio::test]
async fn a_slot_that_gets_ill_loses_its_visitors_for_good() {
    let (blue, _green, proxy) = pair(LONG).await;
    let mut visitor = Visitor::default();
    visitor.sees(&proxy).await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert_eq!(visitor.sees(&proxy).await, Slot::Blue);
    blue.health(503, "ill");
    proxy.wait_health(Slot::Blue, Health::Unhealthy).await;
    assert_eq!(visitor.sees(&proxy).await, Slot::Green);
    blue.health(200, "ok");
    proxy.wait_health(Slot::Blue, Health::Healthy).await;
    assert_eq!(visitor.sees(&proxy).await, Slot::Green, "nobody goes to and fro");
}

#[tokio::test]
async fn a_release_that_was_never_live_is_reached_by_no_cookie() {
    let (_blue, _green, proxy) = pair(LONG).await;
    let mut visitor = Visitor::default();
    visitor.sees(&proxy).await;
    let before = visitor.cookie.clone();
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert_eq!(visitor.sees(&proxy).await, Slot::Blue);
    let next = App::start("blue").await;
    proxy.admin().register(Slot::Blue, &[next.upstream()], Some("v3")).await.expect("registered");
    proxy.wait_health(Slot::Blue, Health::Healthy).await;
    assert_eq!(visitor.sees(&proxy).await, Slot::Green);
    let mut again = Visitor { cookie: before, address: None };
    assert_eq!(again.sees(&proxy).await, Slot::Green);
    assert_eq!(next.hits(), 0, "somebody came into the next release");
    assert_eq!(stays_until(&proxy).await, None);
}

#[tokio::test]
async fn a_canarys_client_stays_there_whatever_its_address_until_it_is_aborted() {
    let (_blue, _green, proxy) = pair(LONG).await;
    let clients = vec!["10.9.0.0/16".parse().expect("a network")];
    let canary = CanaryRequest { clients: Some(clients), ..CanaryRequest::of(Slot::Green) };
    proxy.admin().canary(&canary).await.expect("a canary");
    let mut visitor = Visitor { cookie: None, address: Some("10.9.0.1") };
    assert_eq!(visitor.sees(&proxy).await, Slot::Green);
    visitor.address = Some("10.0.0.1");
    assert_eq!(visitor.sees(&proxy).await, Slot::Green, "it is known by its cookie");
    let more = CanaryRequest { share: "1%".parse().ok(), ..CanaryRequest::of(Slot::Green) };
    proxy.admin().canary(&more).await.expect("moved");
    assert_eq!(visitor.sees(&proxy).await, Slot::Green);
    let cookie = visitor.cookie.clone();
    proxy.admin().abort_canary(&CanaryAbortRequest::default()).await.expect("ended");
    assert_eq!(visitor.sees(&proxy).await, Slot::Blue);
    // The next canary in that slot is another one.
    proxy.admin().canary(&canary).await.expect("a canary");
    let mut again = Visitor { cookie, address: None };
    assert_eq!(again.sees(&proxy).await, Slot::Blue);
}

async fn share(proxy: &Proxy, share: &str) {
    let wish = CanaryRequest { share: share.parse().ok(), ..CanaryRequest::of(Slot::Green) };
    proxy.admin().canary(&wish).await.expect("a canary");
}

/// On which side each of them is.
async fn sides(proxy: &Proxy, visitors: &mut [Visitor]) -> Vec<Slot> {
    let mut sides = Vec::new();
    for visitor in visitors {
        sides.push(visitor.sees(proxy).await);
    }
    sides
}

fn inside(sides: &[Slot]) -> usize {
    sides.iter().filter(|slot| **slot == Slot::Green).count()
}

/// Whether everybody who is inside by `these` is so by `those`.
fn is_within(these: &[Slot], those: &[Slot]) -> bool {
    these.iter().zip(those).all(|(this, that)| *this == Slot::Blue || *that == Slot::Green)
}

#[tokio::test]
async fn a_canarys_clients_stay_while_its_share_grows_and_leave_when_it_shrinks() {
    let (_blue, _green, mut proxy) = pair(LONG).await;
    let one = |n: u8| Visitor { cookie: None, address: Some(format!("10.1.{n}.1").leak()) };
    let mut visitors: Vec<Visitor> = (0..100).map(one).collect();
    let mut before = vec![Slot::Blue; visitors.len()];
    for grown in ["30%", "31%", "60%"] {
        share(&proxy, grown).await;
        let now = sides(&proxy, &mut visitors).await;
        assert!(is_within(&before, &now), "{grown}: {before:?} {now:?}");
        assert_eq!(sides(&proxy, &mut visitors).await, now);
        before = now;
    }
    assert!((30..=90).contains(&inside(&before)), "{before:?}");
    let voided = visitors.clone();
    share(&proxy, "5%").await;
    let few = sides(&proxy, &mut visitors).await;
    assert!(inside(&few) <= 25 && is_within(&few, &before), "their cookies kept them there: {few:?}");
    // Over a restart as well: what was voided stays so, and what was given since is good whatever the address.
    proxy.kill();
    proxy.restart().await;
    proxy.wait_healthy().await;
    assert_eq!(sides(&proxy, &mut voided.clone()).await, few);
    share(&proxy, "60%").await;
    assert_eq!(sides(&proxy, &mut visitors).await, before, "the same ones come back");
    let outside =
        visitors[before.iter().position(|slot| *slot == Slot::Blue).expect("somebody outside")].address;
    let within = before.iter().position(|slot| *slot == Slot::Green).expect("somebody inside");
    for (cookie, address, seen) in [
        (visitors[within].cookie.clone(), outside, Slot::Green),
        (voided[within].cookie.clone(), outside, Slot::Blue),
        (voided[within].cookie.clone(), visitors[within].address, Slot::Green),
    ] {
        assert_eq!(Visitor { cookie, address }.sees(&proxy).await, seen, "{address:?}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_after_the_place_was_lost_gives_it_back_to_nobody() {
    let (_blue, green, proxy) = pair(LONG).await;
    let within = |network: &str| {
        let clients = Some(vec![network.parse().expect("a network")]);
        CanaryRequest { clients, ..CanaryRequest::of(Slot::Green) }
    };
    proxy.admin().canary(&within("10.9.0.0/16")).await.expect("a canary");
    let mut visitor = Visitor { cookie: None, address: Some("10.9.0.1") };
    assert_eq!(visitor.sees(&proxy).await, Slot::Green);
    let (address, cookie) = (proxy.http(), visitor.cookie.clone().expect("a cookie"));
    let waiting = tokio::spawn(async move {
        get_with(address, "/gate", &[("Cookie", &cookie), ("X-Forwarded-For", "10.9.0.1")]).await
    });
    until(PATIENCE, "a request to be inside", || async { green.waiting() == 1 }).await;
    proxy.admin().canary(&within("10.8.0.0/16")).await.expect("moved");
    green.open_gate();
    let answer = waiting.await.expect("an answer");
    assert_eq!(
        (answer.status, answer.header("X-Switcher-Slot")),
        (200, Some("green")),
        "it is finished there"
    );
    assert_eq!(answer.header("Set-Cookie"), None);
    assert_eq!(visitor.sees(&proxy).await, Slot::Blue);
}

#[tokio::test]
async fn a_canary_takes_the_slot_from_those_who_stayed_there() {
    let (_blue, _green, proxy) = pair(LONG).await;
    let mut visitor = Visitor::default();
    visitor.sees(&proxy).await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert_eq!(visitor.sees(&proxy).await, Slot::Blue);
    let clients = vec!["10.9.0.0/16".parse().expect("a network")];
    let canary = CanaryRequest { clients: Some(clients), ..CanaryRequest::of(Slot::Blue) };
    proxy.admin().canary(&canary).await.expect("a canary");
    assert_eq!(visitor.sees(&proxy).await, Slot::Green);
}

#[tokio::test]
async fn a_restart_an_upgrade_and_a_reload_leave_visitors_where_they_are() {
    let (blue, green, mut proxy) = pair(LONG).await;
    let (mut visitor, mut stranger) = (Visitor::default(), Visitor::default());
    visitor.sees(&proxy).await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    stranger.sees(&proxy).await;
    proxy.configure(setup(&blue, &green, LONG).shop("pause", "{max: 3s}"));
    proxy.admin().reload().await.expect("reloaded");
    assert_eq!((visitor.sees(&proxy).await, stranger.sees(&proxy).await), (Slot::Blue, Slot::Green));
    proxy.kill();
    proxy.restart().await;
    proxy.wait_health(Slot::Blue, Health::Healthy).await;
    assert_eq!((visitor.sees(&proxy).await, stranger.sees(&proxy).await), (Slot::Blue, Slot::Green));
    proxy.upgrade().await;
    assert_eq!(proxy.predecessor_exit().await, Some(0));
    proxy.wait_health(Slot::Blue, Health::Healthy).await;
    assert_eq!((visitor.sees(&proxy).await, stranger.sees(&proxy).await), (Slot::Blue, Slot::Green));
    // Without the key everybody moves, and nobody is given a cookie.
    proxy.configure(Setup::two(&blue, &green));
    proxy.admin().reload().await.expect("reloaded");
    let (cookie, mut new) = (visitor.cookie.clone(), Visitor::default());
    assert_eq!((visitor.sees(&proxy).await, new.sees(&proxy).await), (Slot::Green, Slot::Green));
    assert_eq!((visitor.cookie, new.cookie), (cookie, None));
}

#[tokio::test]
async fn what_is_cached_holds_nobodys_cookie() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nok";
    let upstream = Raw::answering(head).await;
    let setup = Setup::one(upstream.address()).shop("release_affinity", LONG);
    let proxy = setup.shop("middleware", "{cache: on}").start_healthy().await;
    for number in 0..3 {
        let answer = get_with(proxy.http(), "/page", &[]).await;
        assert_eq!(answer.header("Age").is_some(), number > 0, "held from the first on: {answer:?}");
        assert_eq!(answer.head.all("Set-Cookie").len(), 1, "{answer:?}");
    }
}
