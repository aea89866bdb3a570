//! File descriptors: a limit so low that a few dozen clients reach it.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::{join, join_all};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use switcher_tests::http1::{Ending, request};
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, Http2, PATIENCE, Proxy, Setup, http2, until, within};

/// The limit on descriptors.
const LIMIT: usize = 256;

/// How many of them stay free, whatever clients do.
const FREE: usize = 60;

/// What a client waits for at most before it is told that there is no room.
const PATIENT: &str = "{connect: 20s}";

async fn with_limit(app: &App, limits: &str, timeouts: &str) -> Proxy {
    let setup = Setup::one(app.upstream()).proxy("limits", limits).shop("timeouts", timeouts);
    let script = format!("ulimit -n {LIMIT} && exec \"$@\"");
    let mut proxy = Proxy::spawn_within(setup, &["sh", "-c", &script, "sh"]);
    proxy.wait_ready().await;
    proxy.wait_healthy().await;
    // It answers before its start is over; what starts after that meets no limit that the test lowers.
    until(PATIENCE, "the start to be over", || async { said(&proxy, "INFO ready") == 1 }).await;
    proxy
}

fn said(proxy: &Proxy, what: &str) -> usize {
    proxy.stderr().matches(what).count()
}

const CONNECTIONS: &str = "the limit on connections is reached";
const STREAMS: &str = "the limit on descriptors is reached";
const NONE_LEFT: &str = "cannot accept connections";

async fn is_served(client: &mut Http1) -> bool {
    client.try_exchange(&request("GET", "/", &[], b"")).await.is_ok_and(|answer| answer.status == 200)
}

async fn busy(proxy: &Proxy) -> Http1 {
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/gate", &[], b"")).await;
    client
}

async fn talking(proxy: &Proxy) -> WebSocket {
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    assert_eq!(socket.text().await, "blue");
    socket
}

/// More of every kind than there is room for: idle connections, busy ones, WebSockets, streams of HTTP/2.
#[tokio::test]
async fn at_the_limit_everybody_is_served_in_turn_and_the_reserve_stays_free() {
    let app = App::start("blue").await;
    let proxy = with_limit(&app, "{connections_per_address: 1000}", PATIENT).await;
    let mut idle = Vec::new();
    for number in 0..60 {
        let mut client = Http1::connect(proxy.http()).await;
        assert!(is_served(&mut client).await, "client {number} is served");
        idle.push(client);
    }
    let mut waiting = join_all((0..8).map(|_| busy(&proxy))).await;
    let mut sockets = join_all((0..8).map(|_| talking(&proxy))).await;
    let second = Http2::connect(proxy.http()).await;
    let mut streams = Box::pin(join_all((0..60).map(|_| second.exchange(http2::get("/gate"), b""))));
    let full = || async { said(&proxy, STREAMS) > 0 && app.waiting() > waiting.len() + 1 };
    tokio::select! {
        _ = &mut streams => panic!("the gate is closed"),
        () = until(PATIENCE, "streams to wait for descriptors", full) => {}
    }
    assert!(app.waiting() < waiting.len() + 60, "not all of them are at the upstream");
    let open = proxy.descriptors();
    eprintln!("{open} of {LIMIT} descriptors are open; {} requests are at the upstream", app.waiting());
    assert!(open + FREE <= LIMIT, "{open} are open");
    // What is kept is for this.
    assert_eq!(proxy.admin().get("/metrics").await.status, 200);
    proxy.admin().reload().await.expect("a reload, which reads files");
    for socket in &mut sockets {
        assert_eq!(socket.ask("still here?").await, "still here?");
    }
    assert!(
        is_served(&mut Http1::connect(proxy.http()).await).await,
        "a new one in the place of an idle one"
    );
    assert!(is_served(idle.last_mut().expect("an idle one")).await, "one that was there");

    app.open_gate();
    let answers = within(PATIENCE, "every answer", streams).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "each had its turn");
    for client in &mut waiting {
        assert_eq!(client.head().await.status(), 200);
    }
    until(PATIENCE, "both limits to be said", || async {
        (said(&proxy, CONNECTIONS), said(&proxy, STREAMS)) == (1, 1)
    })
    .await;
    assert_eq!(said(&proxy, NONE_LEFT), 0);
    drop((idle, waiting, sockets));
    until(PATIENCE, "it to be said that all is well", || async {
        said(&proxy, "there is room for connections again") == 1
            && said(&proxy, "there are descriptors for requests of HTTP/2 again") == 1
    })
    .await;
    assert_eq!(talking(&proxy).await.ask("and now?").await, "and now?");
}

/// Who takes all that is spare takes nothing of anybody else's, and who waits too long is told so.
#[tokio::test]
async fn one_greedy_client_of_http2_does_not_stop_the_others() {
    let app = App::start("blue").await;
    let proxy = with_limit(&app, "{connections_per_address: 1000}", "{connect: 500ms}").await;
    let greedy = Http2::connect(proxy.http()).await;
    let done = AtomicUsize::new(0);
    let all = join_all((0..100).map(|_| async {
        let answer = greedy.exchange(http2::get("/gate"), b"").await;
        done.fetch_add(1, Ordering::Relaxed);
        answer
    }));
    let others = async {
        until(PATIENCE, "all to be taken", || async { said(&proxy, STREAMS) > 0 }).await;
        for _ in 0..3 {
            let modest = Http2::connect(proxy.http()).await;
            assert_eq!(modest.exchange(http2::get("/"), b"").await.status, 200, "another one of HTTP/2");
            assert!(is_served(&mut Http1::connect(proxy.http()).await).await, "and one of HTTP/1.1");
        }
        let told = || async { done.load(Ordering::Relaxed) + app.waiting() == 100 };
        until(PATIENCE, "who waits to be told that it was for long enough", told).await;
        let taken = app.waiting();
        app.open_gate();
        taken
    };
    let (answers, taken) = within(PATIENCE, "every answer", join(all, others)).await;
    let (well, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((well.len(), refused.len()), (taken, 100 - taken));
    assert!((2..60).contains(&taken), "{taken}");
    assert!(refused.iter().all(|answer| answer.status == 503 && answer.header("retry-after").is_some()));
}

#[tokio::test]
async fn more_connections_than_descriptors_allow_are_not_promised() {
    let app = App::start("blue").await;
    let proxy = with_limit(&app, "{connections: 5000, connections_per_address: 5000}", PATIENT).await;
    let allow = "proxy.limits.connections is 5000, but 256 file descriptors allow";
    until(PATIENCE, "the limit to be said", || async { said(&proxy, allow) == 1 }).await;
    let clients = join_all((0..100).map(|_| Http1::connect(proxy.http()))).await;
    until(PATIENCE, "the limit to act", || async { said(&proxy, CONNECTIONS) == 1 }).await;
    assert!(proxy.descriptors() + FREE <= LIMIT);
    drop(clients);
}

/// When there are none at all (somebody else's doing: the limit is lowered below what is open) who is there is
/// served, and whoever comes is as soon as there are some again.
#[tokio::test]
async fn without_any_descriptor_those_who_are_there_are_served_and_it_recovers_by_itself() {
    let app = App::start("blue").await;
    let proxy = with_limit(&app, "{connections_per_address: 1000}", PATIENT).await;
    let mut socket = talking(&proxy).await;
    let mut kept = Http1::connect(proxy.http()).await;
    assert!(is_served(&mut kept).await);
    limit(&proxy, 3);
    let mut new = Http1::connect(proxy.http()).await;
    new.send(&request("GET", "/", &[], b"")).await;
    until(PATIENCE, "the want to be said", || async { said(&proxy, NONE_LEFT) > 0 }).await;
    assert_eq!(socket.ask("still here?").await, "still here?");
    assert!(is_served(&mut kept).await || kept.ending().await == Ending::Closed, "it was idle");
    assert!(new.is_quiet().await);
    assert_eq!(said(&proxy, NONE_LEFT), 1);
    limit(&proxy, 256);
    assert_eq!(new.head().await.status(), 200, "it was waited for");
    assert_eq!(socket.ask("and now?").await, "and now?");
    assert!(is_served(&mut Http1::connect(proxy.http()).await).await);
    assert_eq!(proxy.admin().get("/metrics").await.status, 200);
    assert_eq!(said(&proxy, NONE_LEFT), 1);
}

/// Puts another limit in force for a running process. Its hard limit stays, so that it can be raised again.
fn limit(proxy: &Proxy, descriptors: u64) {
    let pid = i32::try_from(proxy.pid()).ok().and_then(Pid::from_raw).expect("a process");
    let limit = Rlimit { current: Some(descriptors), maximum: Some(LIMIT as u64) };
    prlimit(Some(pid), Resource::Nofile, limit).expect("a limit");
}
