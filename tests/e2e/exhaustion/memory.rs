//! Memory: a limit so low that some hundred clients would reach it.

use futures::future::join_all;
use switcher_tests::cgroup::Group;
use switcher_tests::http1::request;
use switcher_tests::part::skip_or_fail;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, Http2, PATIENCE, Proxy, Setup, http2, until};
use tokio::task::JoinSet;

/// The limit on memory.
const LIMIT: u64 = 64 << 20;

/// More WebSockets than any build of this proxy has room for.
const SOCKETS: usize = 4000;

/// Who comes when memory is short already.
const VISITORS: usize = 40;

const SHORT: &str = "memory is short";
const ENOUGH: &str = "there is enough memory again";

async fn with_limit(group: &Group, app: &App) -> Proxy {
    let setup = Setup::one(app.upstream())
        .proxy("limits", "{connections_per_address: 100000}")
        .shop("timeouts", "{connect: 20s}");
    let mut proxy = Proxy::spawn_within(setup, &["sh", "-c", &group.script(), "sh"]);
    proxy.wait_ready().await;
    proxy.wait_healthy().await;
    proxy
}

fn said(proxy: &Proxy, what: &str) -> usize {
    proxy.stderr().matches(what).count()
}

/// How often somebody had to wait for memory.
async fn memory_acted(proxy: &Proxy) -> u64 {
    proxy.metric("switcher_limits_total{limit=\"memory\"}").await
}

async fn is_served(client: &mut Http1) -> bool {
    client.try_exchange(&request("GET", "/", &[], b"")).await.is_ok_and(|answer| answer.status == 200)
}

async fn visitor(proxy: &Proxy) -> Http1 {
    let mut client = Http1::connect(proxy.http()).await;
    assert!(is_served(&mut client).await, "a visitor is served");
    client
}

async fn talking(proxy: &Proxy) -> WebSocket {
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    assert_eq!(socket.text().await, "blue");
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_memory_is_short_who_is_there_is_served_and_who_comes_takes_an_idle_place() {
    let group = match Group::with_memory(LIMIT) {
        Ok(group) => group,
        Err(why) => return skip_or_fail(&format!("no control group with a limit on memory: {why}")),
    };
    let app = App::start("blue").await;
    let proxy = with_limit(&group, &app).await;
    let idle = join_all((0..VISITORS).map(|_| visitor(&proxy))).await;
    let mut sockets = Vec::new();
    while said(&proxy, SHORT) == 0 {
        assert!(sockets.len() < SOCKETS, "{} bytes are used, and nothing is said", proxy.resident_bytes());
        sockets.extend(join_all((0..8).map(|_| talking(&proxy))).await);
    }
    eprintln!("memory is short with {} WebSockets, {} bytes resident", sockets.len(), proxy.resident_bytes());
    // One after the other takes the place of one that is idle.
    let mut visitors = Vec::new();
    for _ in 0..VISITORS / 2 {
        visitors.push(visitor(&proxy).await);
    }
    assert!(is_served(visitors.last_mut().expect("a visitor")).await);
    for socket in &mut sockets {
        assert_eq!(socket.ask("still here?").await, "still here?");
    }
    // What an operator needs works.
    proxy.admin().reload().await.expect("a reload, which reads files");
    assert!(memory_acted(&proxy).await > 0);
    assert_eq!((said(&proxy, SHORT), said(&proxy, ENOUGH)), (1, 0));
    drop((idle, visitors, sockets));
    until(PATIENCE, "it to be said that all is well", || async { said(&proxy, ENOUGH) == 1 }).await;
    assert_eq!(talking(&proxy).await.ask("and now?").await, "and now?");
    assert!(is_served(&mut visitor(&proxy).await).await);
    assert_eq!(said(&proxy, SHORT), 1);
}

/// Answers wait in the proxy for clients that take nothing of them: more than there is room for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_takes_do_not_end_it() {
    const GREEDY: usize = 12;
    const ANSWERS: usize = 100;
    let group = match Group::with_memory(LIMIT) {
        Ok(group) => group,
        Err(why) => return skip_or_fail(&format!("no control group with a limit on memory: {why}")),
    };
    let app = App::start("blue").await;
    let proxy = with_limit(&group, &app).await;
    let mut kept = visitor(&proxy).await;
    let mut untaken = JoinSet::new();
    for _ in 0..GREEDY {
        let greedy = Http2::connect(proxy.http()).await;
        for _ in 0..ANSWERS {
            let (answer, _) = greedy.open(http2::get("/bytes/1048576"), true).await.expect("a stream");
            untaken.spawn(async move {
                let _body = answer.await;
                std::future::pending::<()>().await;
            });
        }
    }
    let acted = || async { memory_acted(&proxy).await > 0 };
    until(PATIENCE, "some to have to wait", acted).await;
    eprintln!("{} requests wait, {} bytes are resident", memory_acted(&proxy).await, proxy.resident_bytes());
    assert!(is_served(&mut kept).await, "who is there");
    assert!(is_served(&mut visitor(&proxy).await).await, "who comes");
    assert_eq!(
        Http2::connect(proxy.http()).await.exchange(http2::get("/"), b"").await.status,
        200,
        "of HTTP/2"
    );
    untaken.shutdown().await;
    assert_eq!(Http2::connect(proxy.http()).await.exchange(http2::get("/"), b"").await.status, 200);
}
