//! 300 clients that are as slow as they can be: all are closed when their limit says, and nobody else notices.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use switcher_tests::frames::{Frames, connect_small, settings, whole_get, window_update};
use switcher_tests::http1::request;
use switcher_tests::proxy::Proxy;
use switcher_tests::tls::Hello;
use switcher_tests::{App, Http1, PATIENCE, Setup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;

use super::acted;

/// How many clients of one manner there are.
const CLIENTS: usize = 300;

/// Each limit, as it is configured.
const LIMIT: Duration = Duration::from_secs(2);
const LIMITS: &str = "{header_timeout: 2s, body_rate: 1MiB, body_grace: 2s}";

/// How late a limit may strike.
const LATE: Duration = Duration::from_secs(6);

/// The receive buffer of clients that do not read, in bytes.
const BUFFER: u32 = 8 * 1024;

/// An answer that the buffers on the way do not hold.
const LARGE: &str = "/bytes/700000";

const SECOND: Duration = Duration::from_secs(1);

type Closed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Writes a byte a second until the other side has closed.
async fn trickle(mut stream: TcpStream, byte: u8) {
    let (mut reading, mut writing) = stream.split();
    let writes = async {
        let mut tick = tokio::time::interval(SECOND);
        loop {
            tick.tick().await;
            if writing.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = writes => {}
        _ = reading.read_to_end(&mut answer) => {}
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a connection")
}

/// Resolves when the other side has given the connection up, without reading from it.
async fn given_up(stream: &TcpStream) {
    // Either way something became of it; an error of its own is the end as well.
    let _ = stream.ready(Interest::ERROR).await;
}

/// A request, already sent, whose answer is taken a byte a second, or not at all.
async fn unread(mut stream: TcpStream, reads: bool) {
    stream.write_all(&request("GET", LARGE, &[], b"")).await.expect("taken");
    if !reads {
        return given_up(&stream).await;
    }
    let mut tick = tokio::time::interval(SECOND);
    let reads = async {
        loop {
            tick.tick().await;
            // An error is seen by whoever waits for the end.
            let _ = stream.try_read(&mut [0; 1]);
        }
    };
    tokio::select! {
        () = reads => {}
        () = given_up(&stream) => {}
    }
}

async fn slow_header(address: SocketAddr) -> Closed {
    let mut stream = connect(address).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\nX-Slow: ").await.expect("taken");
    Box::pin(trickle(stream, b'a'))
}

async fn slow_body(address: SocketAddr) -> Closed {
    let mut stream = connect(address).await;
    let head = b"POST /count HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000\r\n\r\n";
    stream.write_all(head).await.expect("taken");
    Box::pin(trickle(stream, b'a'))
}

async fn slow_read(address: SocketAddr, reads: bool) -> Closed {
    Box::pin(unread(connect_small(address, BUFFER).await, reads))
}

async fn slow_read_tls(address: SocketAddr) -> Closed {
    let tcp = connect_small(address, BUFFER).await;
    let mut stream = Hello::to("shop.test").over(tcp).await.expect("a handshake").stream;
    stream.write_all(&request("GET", LARGE, &[], b"")).await.expect("taken");
    // Part of it may wait in the session, where nobody would send it on.
    stream.flush().await.expect("taken");
    Box::pin(async move { given_up(stream.get_ref().0).await })
}

/// No room in the window, or a byte more each second. Closed means that the stream is reset, or all is over.
async fn slow_window(address: SocketAddr, grows: bool) -> Closed {
    let mut client = Frames::connect(address, &[(4, 0)]).await;
    client.send(&whole_get(1, "/bytes/100000")).await.expect("taken");
    Box::pin(async move {
        let mut tick = tokio::time::interval(SECOND);
        loop {
            tokio::select! {
                frame = client.next() => match frame {
                    Some(frame) if !frame.ends() => {}
                    Some(_) | None => return,
                },
                _ = tick.tick(), if grows => drop(client.send(&window_update(1, 1)).await),
            }
        }
    })
}

/// A window without bounds, and a socket that is not read.
async fn unread_second(address: SocketAddr) -> Closed {
    let stream = connect_small(address, BUFFER).await;
    let mut stream = stream;
    let begin = [
        switcher_tests::frames::PREFACE,
        &settings(&[(4, 0x7fff_ffff)]),
        &window_update(0, 0x7fff_0000),
        &whole_get(1, LARGE),
    ];
    stream.write_all(&begin.concat()).await.expect("taken");
    Box::pin(async move { given_up(&stream).await })
}

/// Normal requests, one after the other, until they are told to end; how many there were, all of them well.
async fn steady(address: SocketAddr, end: Arc<AtomicBool>, count: Arc<AtomicUsize>) {
    let mut client = Http1::connect(address).await;
    while !end.load(Ordering::Relaxed) {
        let answer = client.try_exchange(&request("GET", "/", &[], b"")).await.expect("an answer");
        assert_eq!(answer.status, 200);
        count.fetch_add(1, Ordering::Relaxed);
        if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            client = Http1::connect(address).await;
        }
    }
}

/// Plays 300 clients beside a steady one. `limit` is the one that acts on them. Each sees its end, or the error that it is.
async fn all_closed<F>(limit: &str, client: impl Fn(SocketAddr, SocketAddr) -> F)
where
    F: Future<Output = Closed>,
{
    played(limit, async |proxy| {
        let all = (0..CLIENTS).map(|_| async {
            let closed = client(proxy.http(), proxy.https()).await;
            let begun = Instant::now();
            let in_time = tokio::time::timeout(PATIENCE, closed).await.is_ok();
            if in_time { begun.elapsed() } else { Duration::MAX }
        });
        join_all(all).await
    })
    .await;
}

/// The same for clients whose system may tell them late, or never: a reset for a receive buffer that has dropped bytes is
/// answered by a challenge (RFC 5961 section 3), of which Linux sends few. The proxy's own sockets show the end.
async fn all_let_go<F>(limit: &str, client: impl Fn(SocketAddr, SocketAddr) -> F)
where
    F: Future<Output = Closed>,
{
    played(limit, async |proxy| {
        let before = proxy.descriptors();
        let all = join_all((0..CLIENTS).map(|_| client(proxy.http(), proxy.https()))).await;
        let begun = Instant::now();
        let playing = tokio::spawn(join_all(all));
        let gone =
            || async { acted(proxy, limit).await >= CLIENTS as u64 && proxy.descriptors() <= before + 8 };
        switcher_tests::until(PATIENCE, "all of them to be let go", gone).await;
        playing.abort();
        vec![begun.elapsed()]
    })
    .await;
}

/// Plays clients beside a steady one, who notices nothing; tells how long each was kept.
async fn played(limit: &str, play: impl AsyncFnOnce(&Proxy) -> Vec<Duration>) {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).proxy("limits", LIMITS).start_healthy().await;
    let (end, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let others = tokio::spawn(steady(proxy.http(), Arc::clone(&end), Arc::clone(&count)));
    switcher_tests::until(PATIENCE, "the steady one", || async { count.load(Ordering::Relaxed) > 0 }).await;
    let before = proxy.resident_bytes();
    let kept = play(&proxy).await;
    end.store(true, Ordering::Relaxed);
    others.await.expect("the steady client sees no failure");
    let late = kept.iter().filter(|kept| **kept > LIMIT + LATE).count();
    let longest = kept.iter().max().copied().unwrap_or_default();
    proxy.wait_limit(limit, CLIENTS as u64).await;
    let grown = proxy.peak_bytes().saturating_sub(before) / 1024;
    eprintln!(
        "{limit}: {CLIENTS} clients, {late} late, the longest {longest:?}; \
         {} normal requests; memory grew by at most {grown} KiB",
        count.load(Ordering::Relaxed)
    );
    assert_eq!(late, 0, "the longest took {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_headers_are_closed_in_time() {
    all_closed("header_timeout", |plain, _| slow_header(plain)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_are_closed_in_time() {
    all_closed("body_rate", |plain, _| slow_body(plain)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_closed_in_time() {
    all_let_go("answer_rate", |plain, _| slow_read(plain, false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_a_byte_a_second_is_closed_in_time() {
    all_closed("answer_rate", |plain, _| slow_read(plain, true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_over_tls_is_closed_in_time() {
    all_let_go("answer_rate", |_, tls| slow_read_tls(tls)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_over_http2_is_closed_in_time() {
    all_let_go("answer_rate", |plain, _| unread_second(plain)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_opens_no_window_is_closed_in_time() {
    all_closed("answer_rate", |plain, _| slow_window(plain, false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_opens_the_window_a_byte_a_second_is_closed_in_time() {
    all_closed("answer_rate", |plain, _| slow_window(plain, true)).await;
}

/// The control: who is not slow gets all of it, at any pace above the least, and pauses of the upstream do not count.
#[tokio::test]
async fn who_takes_enough_gets_a_large_answer_whole() {
    let app = App::start("blue").await;
    let limits = "{body_rate: 100KiB, body_grace: 500ms}";
    let proxy = Setup::one(app.upstream()).proxy("limits", limits).start_healthy().await;
    let mut stream = connect_small(proxy.http(), BUFFER).await;
    stream
        .write_all(&request("GET", "/bytes/3000000", &[("Connection", "close")], b""))
        .await
        .expect("taken");
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let (mut taken, mut piece) = (0, vec![0; 16 * 1024]);
    loop {
        tick.tick().await;
        match stream.read(&mut piece).await.expect("no end before the end") {
            0 => break,
            count => taken += count,
        }
    }
    assert!(taken >= 3_000_000, "{taken}");
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/gate", &[], b"")).await;
    switcher_tests::until(PATIENCE, "the upstream to be asked", || async { app.waiting() == 1 }).await;
    tokio::time::timeout(2 * SECOND, client.head()).await.expect_err("the upstream takes its time");
    app.open_gate();
    assert_eq!(client.head().await.status(), 200);
    assert_eq!(acted(&proxy, "answer_rate").await, 0);
}

/// The control: without a rate nothing is asked of a client before the idle timeout.
#[tokio::test]
async fn of_whom_nothing_is_asked_is_waited_for() {
    let app = App::start("blue").await;
    let limits = "{body_rate: 0B, body_grace: 200ms}";
    let proxy = Setup::one(app.upstream()).proxy("limits", limits).start_healthy().await;
    let waits = unread(connect_small(proxy.http(), BUFFER).await, false);
    tokio::time::timeout(3 * SECOND, waits).await.expect_err("nobody closes it");
    assert_eq!(acted(&proxy, "answer_rate").await, 0);
}
