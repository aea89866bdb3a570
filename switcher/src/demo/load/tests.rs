//! The load against the app itself, and against servers that are wrong on purpose: each fault must be
//! counted as what it is. These are the negative controls of everything that trusts the tally.

use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::demo::app::{self, AppArgs};

const DEADLINE: Duration = Duration::from_secs(60);

async fn port() -> (TcpListener, Target) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let plain = listener.local_addr().expect("its address");
    (listener, Target { plain, tls: None, host: "demo.test".to_owned() })
}

async fn start_app(version: &str, broken: bool) -> (Target, JoinHandle<()>) {
    let (listener, target) = port().await;
    let args = AppArgs { version: version.to_owned(), listen: target.plain, broken, keep_alive_ms: 5000 };
    let app = tokio::spawn(async move {
        let _ = app::serve(listener, args).await;
    });
    (target, app)
}

/// A server that reads one request head and then does one thing to the connection.
async fn faulty<F, R>(fault: F) -> Target
where
    F: Fn(TcpStream) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let (listener, target) = port().await;
    let fault = Arc::new(fault);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let fault = Arc::clone(&fault);
            tokio::spawn(async move {
                let mut head = [0; 4096];
                if stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                    fault(stream).await;
                }
            });
        }
    });
    target
}

fn load(target: Target) -> Load {
    Load::start(Plan { target, version: "v1".to_owned(), drain: Duration::from_millis(200) })
}

/// Waits until the books say what is expected, then ends the load.
async fn until(load: Load, what: &str, enough: impl Fn(&Tally) -> bool) -> Tally {
    let begun = Instant::now();
    loop {
        let (tally, _) = load.recorder().snapshot();
        if enough(&tally) {
            return tally;
        }
        assert!(begun.elapsed() < DEADLINE, "{what} never happened: {tally:#?}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_faultless_server_gives_work_in_every_lane_and_no_fault() {
    let (target, _app) = start_app("v1", false).await;
    let load = load(target);
    let begun = Instant::now();
    while !load.recorder().snapshot().0.idle_lanes().is_empty() && begun.elapsed() < DEADLINE {
        sleep(Duration::from_millis(10)).await;
    }
    let (tally, killed) = load.stop().await;
    assert_eq!(tally.idle_lanes(), []);
    assert_eq!((tally.failed(), killed.failed()), (0, 0), "{tally:#?}");
}

#[tokio::test]
async fn a_truncating_server_is_counted() {
    let target = faulty(|mut stream| async move {
        let head = "HTTP/1.1 200 OK\r\nx-app-version: v1\r\ncontent-length: 200000\r\n\r\nhello";
        let _ = stream.write_all(head.as_bytes()).await;
    })
    .await;
    let tally = until(load(target), "a truncation", |tally| {
        tally.lanes.get(&Lane::Downloads).is_some_and(|lane| lane.faults.contains_key(&Fault::Truncated))
    })
    .await;
    assert_eq!(tally.ok(), 0);
}

#[tokio::test]
async fn a_corrupting_server_is_counted() {
    let target = faulty(|mut stream| async move {
        let head = "HTTP/1.1 200 OK\r\nx-app-version: v1\r\ncontent-length: 14\r\n\r\nhello from v2\n";
        let _ = stream.write_all(head.as_bytes()).await;
    })
    .await;
    let tally = until(load(target), "a corruption", |tally| tally.count(Fault::Truncated) > 5).await;
    assert_eq!(tally.ok(), 0);
}

#[tokio::test]
async fn a_resetting_server_is_counted() {
    let target = faulty(|stream| async move {
        // Zero lingering turns the close into a reset.
        let _ = stream.set_zero_linger();
    })
    .await;
    let tally = until(load(target), "a reset", |tally| tally.count(Fault::Connection) > 20).await;
    assert_eq!(tally.ok(), 0);
}

#[tokio::test]
async fn a_server_of_another_version_is_counted_in_every_lane() {
    let (target, _app) = start_app("v9", false).await;
    let wrong = |tally: &Tally, lane: Lane| {
        tally.lanes.get(&lane).is_some_and(|lane| lane.faults.contains_key(&Fault::WrongSlot))
    };
    let tally = until(load(target), "a wrong answer in every lane", |tally| {
        Lane::ALL.into_iter().all(|lane| wrong(tally, lane))
    })
    .await;
    assert_eq!(tally.ok(), 0);
}

#[tokio::test]
async fn a_server_that_fails_is_counted() {
    let (target, _app) = start_app("v1", true).await;
    let tally = until(load(target), "a 500", |tally| tally.count(Fault::BadStatus) > 20).await;
    assert_eq!(tally.ok(), 0);
}

#[tokio::test]
async fn streams_and_websockets_that_die_with_their_server_are_cut_early() {
    let target = faulty(|mut stream| async move {
        let head = "HTTP/1.1 200 OK\r\nx-app-version: v1\r\ntransfer-encoding: chunked\r\n\r\n\
                    13\r\nid: 1\ndata: v1\n\n\r\n0\r\n\r\n";
        let _ = stream.write_all(head.as_bytes()).await;
        // The other end closes first.
        let _ = stream.read(&mut [0; 16]).await;
    })
    .await;
    let tally = until(load(target), "a cut", |tally| tally.count(Fault::CutEarly) > 0).await;
    assert!(tally.lanes[&Lane::Streams].faults.contains_key(&Fault::CutEarly));
}

#[tokio::test]
async fn after_a_switch_and_its_drain_time_a_stream_may_end() {
    let target = faulty(|mut stream| async move {
        let head = "HTTP/1.1 200 OK\r\nx-app-version: v1\r\ntransfer-encoding: chunked\r\n\r\n";
        let _ = stream.write_all(head.as_bytes()).await;
        sleep(Duration::from_millis(500)).await;
        let _ = stream.write_all(b"0\r\n\r\n").await;
    })
    .await;
    let load = load(target);
    load.expectation().announce("v2");
    let tally = until(load, "a legitimate end", |tally| {
        tally.lanes.get(&Lane::Streams).is_some_and(|lane| lane.reconnects > 0)
    })
    .await;
    assert!(!tally.lanes[&Lane::Streams].faults.contains_key(&Fault::CutEarly), "{tally:#?}");
}
