//! How many connections there may be, in total and from one address.

use std::net::SocketAddr;

use switcher_tests::frames::{Frames, Kind, frame, whole_get};
use switcher_tests::http1::{Ending, get, request};
use switcher_tests::{App, Http1, PATIENCE, until, within};
use tokio::net::TcpSocket;

use super::{acted, limited};

/// How many requests take clearly longer than the clocks of two threads differ.
const CLEARLY: usize = 200;

/// A connection from another address of this machine.
async fn from(address: &str, to: SocketAddr) -> Http1 {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(address.parse().expect("an address"), 0)).expect("bound");
    Http1::over(within(PATIENCE, "a connection", socket.connect(to)).await.expect("connected"))
}

async fn is_served(client: &mut Http1) -> bool {
    client.try_exchange(&request("GET", "/", &[], b"")).await.is_ok_and(|answer| answer.status == 200)
}

#[tokio::test]
async fn the_one_that_is_idle_for_longest_leaves_and_busy_ones_stay() {
    let app = App::start("blue").await;
    let proxy = limited(&app, "{connections: 3, connections_per_address: 100}").await;
    let mut busy = Http1::connect(proxy.http()).await;
    busy.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "the busy one to be asked for", || async { app.waiting() == 1 }).await;
    let (mut first, mut second) = (Http1::connect(proxy.http()).await, Http1::connect(proxy.http()).await);
    assert!(is_served(&mut first).await, "there is room for three");
    // Long enough that it is idle clearly later than the first, whichever thread looks after it.
    for _ in 0..CLEARLY {
        assert!(is_served(&mut second).await, "there is room for three");
    }
    assert_eq!(acted(&proxy, "connections").await, 0);

    let mut third = Http1::connect(proxy.http()).await;
    assert!(is_served(&mut third).await, "one more is served");
    until(PATIENCE, "the limit to act", || async { acted(&proxy, "connections").await > 0 }).await;
    assert_eq!(first.ending().await, Ending::Closed, "the one that was idle for longest");
    assert!(is_served(&mut second).await, "one was enough");
    app.open_gate();
    assert_eq!(busy.head().await.status(), 200, "the busy one stayed");
}

#[tokio::test]
async fn where_all_are_busy_a_new_one_waits_for_its_turn() {
    let app = App::start("blue").await;
    let proxy = limited(&app, "{connections: 2, connections_per_address: 100}").await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut client = Http1::connect(proxy.http()).await;
        client.send(&request("GET", "/gate", &[("Connection", "close")], b"")).await;
        busy.push(client);
    }
    until(PATIENCE, "both to be asked for", || async { app.waiting() == 2 }).await;
    let mut new = Http1::connect(proxy.http()).await;
    new.send(&request("GET", "/", &[], b"")).await;
    until(PATIENCE, "the limit to act", || async { acted(&proxy, "connections").await > 0 }).await;
    assert!(new.is_quiet().await, "there is no room");
    app.open_gate();
    assert_eq!(new.head().await.status(), 200);
    for client in &mut busy {
        assert_eq!(client.head().await.status(), 200);
    }
}

#[tokio::test]
async fn an_idle_connection_of_http2_leaves_too_even_if_it_does_not_agree() {
    let app = App::start("blue").await;
    let proxy = limited(&app, "{connections: 1, connections_per_address: 100}").await;
    let mut idle = Frames::connect(proxy.http(), &[]).await;
    idle.send(&whole_get(1, "/")).await.expect("taken");
    within(PATIENCE, "an answer", async { while !idle.next().await.expect("a frame").ends() {} }).await;
    // It never answers the PING by which the end is agreed on.
    assert_eq!(get(proxy.http(), "/").await.status, 200);
    let said = within(PATIENCE, "the end", async {
        let mut said = false;
        while let Some(frame) = idle.next().await {
            said |= frame.is(Kind::GoAway);
        }
        said
    });
    assert!(said.await, "it was told");
}

#[tokio::test]
async fn one_address_has_its_share_and_trusted_proxies_have_no_limit() {
    let app = App::start("blue").await;
    let setup = switcher_tests::Setup::one(app.upstream()).proxy("trusted_proxies", "[127.0.0.3]");
    let proxy = setup.proxy("limits", "{connections_per_address: 2}").start_healthy().await;
    let mut own = [from("127.0.0.2", proxy.http()).await, from("127.0.0.2", proxy.http()).await];
    for client in &mut own {
        assert!(is_served(client).await);
    }
    assert_eq!(acted(&proxy, "connections_per_address").await, 0);
    assert!(!is_served(&mut from("127.0.0.2", proxy.http()).await).await, "the third is refused");
    proxy.wait_limit("connections_per_address", 1).await;
    assert!(is_served(&mut from("127.0.0.4", proxy.http()).await).await, "others are served");
    let mut trusted = Vec::new();
    for _ in 0..5 {
        let mut client = from("127.0.0.3", proxy.http()).await;
        assert!(is_served(&mut client).await, "a trusted proxy speaks for many");
        trusted.push(client);
    }
    drop(own);
    until(PATIENCE, "a place given back to be there again", || async {
        is_served(&mut from("127.0.0.2", proxy.http()).await).await
    })
    .await;
}

/// A connection that never says what it wants, in the middle of a block of headers, is idle.
#[tokio::test]
async fn a_header_block_that_never_ends_does_not_hold_its_connection() {
    let app = App::start("blue").await;
    let proxy = limited(&app, "{idle_timeout: 500ms}").await;
    let mut client = Frames::connect(proxy.http(), &[]).await;
    let block = switcher_tests::frames::get("/");
    client.send(&frame(Kind::Headers, 0, 1, &block[..9])).await.expect("taken");
    within(PATIENCE, "the end", async { while client.next().await.is_some() {} }).await;
    assert_eq!(app.hits(), 0);
}
