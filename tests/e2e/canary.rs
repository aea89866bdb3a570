//! The canary: a part of the clients is served by the other slot, stays there, and comes back when that one is worse.

mod choice;
mod judgement;
mod verb;

use std::net::Ipv4Addr;

use switcher_config::Slot;
use switcher_config::wire::{CanaryAbortRequest, CanaryChanged, CanaryRequest};
use switcher_tests::http1::request;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, until};
use tokio::sync::watch;

/// Both slots healthy, and the test's clients told apart by `X-Forwarded-For`.
async fn pair() -> (App, App, Proxy) {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = setup(&blue, &green).start_healthy().await;
    (blue, green, proxy)
}

fn setup(blue: &App, green: &App) -> Setup {
    Setup::two(blue, green).proxy("trusted_proxies", "[127.0.0.1]")
}

fn wish(share: &str) -> CanaryRequest {
    CanaryRequest { share: Some(share.parse().expect("a share")), ..CanaryRequest::of(Slot::Green) }
}

async fn share(proxy: &Proxy, share: &str) -> CanaryChanged {
    proxy.admin().canary(&wish(share)).await.expect("a canary")
}

async fn abort(proxy: &Proxy) -> CanaryChanged {
    proxy.admin().abort_canary(&CanaryAbortRequest::default()).await.expect("ended")
}

fn address(client: u32) -> String {
    Ipv4Addr::from(0x0a00_0000 + client).to_string()
}

fn of(client: u32, path: &str) -> Vec<u8> {
    request("GET", path, &[("X-Forwarded-For", &address(client))], b"")
}

/// Which slot answers a client.
async fn side(wire: &mut Http1, client: u32) -> Slot {
    let answer = wire.exchange(&of(client, "/")).await;
    assert_eq!(answer.status, 200, "{client}: {}", answer.text());
    let slot = answer.header("X-Switcher-Slot").expect("a slot").parse().expect("a slot");
    assert_eq!(answer.text(), format!("{slot}"), "the header says who answered");
    slot
}

/// The sides of the first so many clients.
async fn sides(proxy: &Proxy, clients: u32) -> Vec<Slot> {
    let mut wire = Http1::connect(proxy.http()).await;
    let mut sides = Vec::new();
    for client in 0..clients {
        sides.push(side(&mut wire, client).await);
    }
    sides
}

/// The first client on that side. Nothing of those who were asked is inside any more.
async fn client_on(proxy: &Proxy, slot: Slot) -> u32 {
    let found = sides(proxy, 400).await.into_iter().position(|side| side == slot);
    until(PATIENCE, "both slots to be empty", || async {
        let slots = proxy.admin().shop().await.slots;
        slots.blue.in_flight.total() + slots.green.in_flight.total() == 0
    })
    .await;
    u32::try_from(found.expect("a client on that side")).expect("a small number")
}

/// Clients that ask all the while, each on one connection that is kept, and what each of them saw.
struct Crowd {
    stop: watch::Sender<bool>,
    clients: Vec<tokio::task::JoinHandle<Vec<Slot>>>,
}

impl Crowd {
    async fn asking(proxy: &Proxy, clients: u32) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        for client in 0..clients {
            let (mut wire, stopped) = (Http1::connect(proxy.http()).await, stopped.clone());
            tasks.push(tokio::spawn(async move {
                let mut seen = Vec::new();
                // Each asks once more when it is told to stop, so that all have seen what was last.
                loop {
                    let last = *stopped.borrow();
                    seen.push(side(&mut wire, client).await);
                    if last {
                        return seen;
                    }
                }
            }));
        }
        Self { stop, clients: tasks }
    }

    async fn end(self) -> Vec<Vec<Slot>> {
        self.stop.send_replace(true);
        let mut all = Vec::new();
        for client in self.clients {
            all.push(client.await.expect("no answer is lost"));
        }
        all
    }
}

/// Waits until so many more requests came to a slot.
async fn more(app: &App, count: usize) {
    let before = app.hits();
    until(PATIENCE, "more requests", || async { app.hits() >= before + count }).await;
}

#[tokio::test]
async fn while_weights_move_nothing_is_lost_and_whoever_is_there_stays_until_it_ends() {
    let (blue, green, proxy) = pair().await;
    let crowd = Crowd::asking(&proxy, 24).await;
    more(&blue, 100).await;
    for part in ["5%", "10%", "50%"] {
        share(&proxy, part).await;
        more(&blue, 100).await;
    }
    more(&green, 100).await;
    let seen = crowd.end().await;
    for (client, sides) in seen.iter().enumerate() {
        let changes = sides.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes <= 1 && sides.first() == Some(&Slot::Blue), "{client} went back: {changes}");
    }
    let there = seen.iter().filter(|sides| sides.last() == Some(&Slot::Green)).count();
    assert!((1..24).contains(&there), "{there} of 24");
    let crowd = Crowd::asking(&proxy, 24).await;
    more(&green, 50).await;
    abort(&proxy).await;
    until(PATIENCE, "the canary to be empty", || async { green.waiting() == 0 }).await;
    more(&blue, 200).await;
    share(&proxy, "50%").await;
    more(&green, 50).await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    more(&green, 300).await;
    let seen = crowd.end().await;
    assert!(seen.iter().all(|sides| sides.last() == Some(&Slot::Green)));
    let canary = proxy.admin().shop().await.canary.expect("it is remembered");
    assert_eq!(canary.outcome.expect("ended").result.as_str(), "promoted");
}

#[tokio::test]
async fn after_the_end_nobody_enters_and_who_is_inside_is_drained_with_a_receipt() {
    let (_blue, green, proxy) = pair().await;
    let begun = share(&proxy, "50%").await;
    share(&proxy, "60%").await;
    let client = client_on(&proxy, Slot::Green).await;
    let mut held = Http1::connect(proxy.http()).await;
    held.send(&of(client, "/gate")).await;
    until(PATIENCE, "a request inside", || async { green.waiting() == 1 }).await;
    assert_eq!(proxy.admin().shop().await.slots.green.in_flight.requests, 1, "it is shown");
    let ended = abort(&proxy).await;
    assert_eq!(
        ended.drained_generation,
        Some(begun.generation),
        "the drain is found by its first generation"
    );
    let drain = proxy.admin().drain(begun.generation, "0").await.expect("a drain");
    assert_eq!((drain.slot, drain.drained, drain.in_flight.requests), (Slot::Green, false, 1));
    let mut wire = Http1::connect(proxy.http()).await;
    assert_eq!(side(&mut wire, client).await, Slot::Blue);
    green.open_gate();
    let mut framing = held.head().await.answer_framing();
    assert_eq!(held.piece(&mut framing).await.expect("a body").as_deref(), Some(&b"green"[..]));
    let drain = proxy.admin().drain(begun.generation, "20s").await.expect("a drain");
    assert_eq!((drain.drained, drain.finished.requests), (true, 1));
    assert_eq!(drain.cut.requests.len(), 0);
}

#[tokio::test]
async fn a_drain_time_ends_what_does_not_end_by_itself() {
    let (_blue, green, proxy) = pair().await;
    let begun = share(&proxy, "50%").await;
    let client = client_on(&proxy, Slot::Green).await;
    let mut held = Http1::connect(proxy.http()).await;
    held.send(&of(client, "/gate")).await;
    until(PATIENCE, "a request inside", || async { green.waiting() == 1 }).await;
    let at_once = CanaryAbortRequest { drain: Some("0s".parse().expect("a span")), ..Default::default() };
    proxy.admin().abort_canary(&at_once).await.expect("ended");
    let drain = proxy.admin().drain(begun.generation, "20s").await.expect("a drain");
    assert_eq!((drain.drained, drain.finished.requests, drain.cut.requests.len()), (true, 0, 1));
}

#[tokio::test]
async fn who_is_inside_stays_when_its_slot_becomes_live_and_is_drained_when_that_is_left() {
    let (_blue, green, proxy) = pair().await;
    let begun = share(&proxy, "50%").await;
    let client = client_on(&proxy, Slot::Green).await;
    let wire = Http1::connect(proxy.http()).await;
    let mut socket = WebSocket::with(wire, "/socket", &[("x-forwarded-for", &address(client))]).await;
    assert_eq!(socket.text().await, "green");
    let switched = proxy.admin().promote(Slot::Green).await.expect("promoted");
    let shop = proxy.admin().shop().await;
    assert_eq!(shop.slots.green.in_flight.websockets, 1, "it is in the slot that is live");
    assert!(proxy.admin().drain(begun.generation, "0").await.is_err(), "it is not drained");
    assert_eq!(socket.ask("still there?").await, "still there?");
    let back = proxy.admin().promote(Slot::Blue).await.expect("promoted");
    assert_eq!(back.drained_generation, switched.generation);
    let drain = proxy.admin().drain(begun.generation, "0").await.expect("a drain of its own");
    assert_eq!((drain.slot, drain.in_flight.websockets), (Slot::Green, 1));
    socket.close().await;
    let drain = proxy.admin().drain(begun.generation, "20s").await.expect("a drain");
    assert_eq!((drain.drained, drain.finished.websockets), (true, 1));
    drop(green);
}

#[tokio::test]
async fn a_restart_an_upgrade_and_a_reload_leave_everybody_where_they_are() {
    let (blue, green, mut proxy) = pair().await;
    let begun = share(&proxy, "30%").await;
    let before = sides(&proxy, 100).await;
    assert!(before.contains(&Slot::Green) && before.contains(&Slot::Blue));
    proxy.configure(setup(&blue, &green).shop("drain", "{requests: 5s}"));
    proxy.admin().reload().await.expect("reloaded");
    assert_eq!(sides(&proxy, 100).await, before, "after a reload");
    proxy.kill();
    proxy.restart().await;
    assert_eq!(sides(&proxy, 100).await, before, "after a restart");
    proxy.upgrade().await;
    // It may have taken a connection before it left, which it closes between two requests.
    assert_eq!(proxy.predecessor_exit().await, Some(0));
    assert_eq!(sides(&proxy, 100).await, before, "after an upgrade");
    let ended = abort(&proxy).await;
    assert_eq!(ended.drained_generation, Some(begun.generation));
    proxy.admin().drain(begun.generation, "20s").await.expect("its drain is found by the same generation");
    assert!(sides(&proxy, 100).await.iter().all(|side| *side == Slot::Blue));
}

#[tokio::test]
async fn after_a_restart_the_drains_of_both_sides_are_told_apart() {
    let (_blue, green, mut proxy) = pair().await;
    let begun = share(&proxy, "50%").await;
    proxy.kill();
    proxy.restart().await;
    proxy.wait_healthy().await;
    let client = client_on(&proxy, Slot::Green).await;
    let mut held = Http1::connect(proxy.http()).await;
    held.send(&of(client, "/gate")).await;
    until(PATIENCE, "a request inside", || async { green.waiting() == 1 }).await;
    let ended = abort(&proxy).await;
    let switched = proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert_eq!(ended.drained_generation, Some(begun.generation));
    assert_ne!(switched.drained_generation, begun.generation);
    let drain = proxy.admin().drain(switched.drained_generation, "20s").await.expect("a drain");
    assert_eq!((drain.slot, drain.drained), (Slot::Blue, true));
    let drain = proxy.admin().drain(begun.generation, "0").await.expect("a drain");
    assert_eq!((drain.slot, drain.in_flight.requests), (Slot::Green, 1));
    green.open_gate();
}

#[tokio::test]
async fn a_reload_that_puts_something_else_into_its_slot_ends_it() {
    let (blue, green, mut proxy) = pair().await;
    let begun = share(&proxy, "50%").await;
    let other = App::start("green").await;
    proxy.configure(setup(&blue, &other));
    proxy.admin().reload().await.expect("reloaded");
    assert!(sides(&proxy, 40).await.iter().all(|side| *side == Slot::Blue));
    let outcome = proxy.admin().shop().await.canary.and_then(|canary| canary.outcome).expect("ended");
    assert_eq!(outcome.result.as_str(), "superseded");
    assert!(outcome.reasons[0].contains("other addresses for green"), "{outcome:?}");
    assert!(proxy.admin().drain(begun.generation, "20s").await.expect("a drain").drained);
    assert_eq!(other.hits(), 0);
    drop(green);
}

#[tokio::test]
async fn a_paused_application_lets_everybody_go_on_to_their_side() {
    let (_blue, _green, proxy) = pair().await;
    share(&proxy, "50%").await;
    let there = client_on(&proxy, Slot::Green).await;
    proxy.admin().pause(None).await.expect("paused");
    let mut held = Http1::connect(proxy.http()).await;
    held.send(&of(there, "/")).await;
    until(PATIENCE, "a held request", || async { proxy.admin().shop().await.held == 1 }).await;
    proxy.admin().resume().await.expect("resumed");
    assert_eq!(held.head().await.get("X-Switcher-Slot"), Some("green"));
}
