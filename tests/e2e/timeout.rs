//! Limits on waiting for upstreams.

use switcher_tests::http1::{get, request};
use switcher_tests::{App, Http1, PATIENCE, Proxy, Raw, Setup, until};

/// Lets an ordinary answer stall until the proxy cuts it for being idle.
pub(crate) async fn cut_when_idle(proxy: &Proxy) {
    let mut client = Http1::connect(proxy.http()).await;
    let cut = client.try_exchange(&request("GET", "/half", &[], b"")).await;
    assert!(cut.is_err(), "a stalled answer passed for a whole one: {cut:?}");
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_504() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("timeouts", "{response: 1s}").start_healthy().await;
    assert_eq!(get(proxy.http(), "/gate").await.status, 504);
    until(PATIENCE, "the upstream to be let go", || async { app.waiting() == 0 }).await;
    assert_eq!(get(proxy.http(), "/").await.status, 200);
}

#[tokio::test]
async fn a_path_may_wait_longer_than_its_application_and_another_less_long() {
    let app = App::start("blue").await;
    let paths = "{/soon: {rewrite: {strip: /soon}, timeouts: {response: 300ms}},
        /late: {rewrite: {strip: /late}, timeouts: {response: 1m}}}";
    let setup = Setup::one(app.upstream()).shop("timeouts", "{response: 400ms}").shop("paths", paths);
    let proxy = setup.start_healthy().await;
    let mut patient = Http1::connect(proxy.http()).await;
    patient.send(&request("GET", "/late/gate", &[], b"")).await;
    until(PATIENCE, "it to be asked for", || async { app.waiting() == 1 }).await;
    assert_eq!(get(proxy.http(), "/gate").await.status, 504);
    assert_eq!(get(proxy.http(), "/soon/gate").await.status, 504);
    until(PATIENCE, "the others to be let go", || async { app.waiting() == 1 }).await;
    app.open_gate();
    assert_eq!(patient.head().await.status(), 200, "it waited for longer than the application may");
}

#[tokio::test]
async fn a_stalled_answer_is_cut_and_not_passed_off_as_whole() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("timeouts", "{idle: 300ms}").start_healthy().await;
    cut_when_idle(&proxy).await;
    until(PATIENCE, "the upstream to be let go", || async { app.waiting() == 0 }).await;
}

#[tokio::test]
async fn an_upstream_that_takes_no_connection_is_given_up() {
    let deaf = Deaf::start().await;
    let proxy = Setup::one(deaf.address).shop("timeouts", "{connect: 300ms}").start_unready().await;
    let status = get(proxy.http(), "/").await.status;
    assert!(matches!(status, 502 | 504), "{status}");
}

/// An address whose queue of connections is full: a further one is neither taken nor refused.
struct Deaf {
    address: std::net::SocketAddr,
    _listener: tokio::net::TcpListener,
    _queue: tokio::task::JoinSet<()>,
}

impl Deaf {
    async fn start() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
        let listener = socket.listen(1).expect("listening");
        let address = listener.local_addr().expect("its address");
        let mut queue = tokio::task::JoinSet::new();
        for _ in 0..8 {
            queue.spawn(async move {
                let _held = tokio::net::TcpStream::connect(address).await;
                std::future::pending::<()>().await;
            });
        }
        until(PATIENCE, "the queue to be full", || async {
            let limit = std::time::Duration::from_millis(500);
            tokio::time::timeout(limit, tokio::net::TcpStream::connect(address)).await.is_err()
        })
        .await;
        Self { address, _listener: listener, _queue: queue }
    }
}

#[tokio::test]
async fn an_idle_upstream_connection_is_closed_before_the_upstream_would_close_it() {
    let (closed, closes) = tokio::sync::watch::channel(0);
    let upstream = Raw::start(move |mut conversation| {
        let closed = closed.clone();
        async move {
            while conversation.request().await.is_some() {
                conversation.answer("ok").await;
            }
            closed.send_modify(|n| *n += 1);
        }
    })
    .await;
    let proxy = Setup::one(upstream.address()).shop("timeouts", "{pool: 100ms}").start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    for round in 1..=3 {
        assert_eq!(client.exchange(&request("POST", "/", &[], b"x")).await.status, 200);
        until(PATIENCE, "the pooled connection to be closed by the proxy", || async {
            *closes.borrow() == round
        })
        .await;
    }
    assert_eq!(upstream.connections(), 3);
}
