//! Floods of HTTP/2 frames: other clients are served as before, and memory stays small.
//!
//! Each flood is bounded in frames and in time, and plays on several connections, again and again while another
//! client measures what it notices: the slowest twentieth of its requests beside the flood against that beside as many
//! clients who do nothing wrong. Each flood is ended by the proxy, or what it makes the upstream do is bounded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use switcher_tests::frames::{
    END_HEADERS, END_STREAM, Frames, Kind, block, frame, get, reset, settings, whole_get, window_update,
};
use switcher_tests::http1::request;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, until, within};

/// How many frames one flood has at most, and how long it lasts at most.
const FRAMES: u64 = 20_000;
const TIME: Duration = Duration::from_secs(5);

/// How many connections flood at once.
const CONNECTIONS: usize = 4;

/// How many requests are measured.
const REQUESTS: usize = 50;

/// How much longer the slowest twentieth may take beside a flood. Far above what is asked of a quiet machine (50 ms), as
/// the flood itself is made on the same cores, and the proxy is not optimized.
const NOTICED: Duration = Duration::from_secs(3);

/// How many requests one connection may bring to the upstream before it is ended for resetting them: the resets that
/// are put up with by default, as many that were not, and what may be open at once.
const REQUESTS_OF_ONE: u64 = 200 + 200 + 128;

/// How much memory a flood may cost, in bytes.
const MEMORY: u64 = 64 * 1024 * 1024;

/// One flood: what a connection begins with, and the frames of each round, which begin at this stream.
struct Flood {
    begin: Vec<u8>,
    round: fn(u32) -> Vec<u8>,
    /// How many frames a round has.
    frames: u64,
    fate: Fate,
}

/// What becomes of a flood.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Its connections are ended.
    Ended,
    /// It is put up with: it costs little, and its share of the upstream is that of one client.
    Borne,
}

fn rounds(frames: u64, fate: Fate, round: fn(u32) -> Vec<u8>) -> Flood {
    Flood { begin: Vec::new(), round, frames, fate }
}

fn repeated(times: usize, frame: &[u8]) -> Vec<u8> {
    frame.repeat(times)
}

/// Streams of odd numbers from here on.
fn streams(first: u32, count: u32, each: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(|at| each(first + 2 * at)).collect()
}

async fn play(address: SocketAddr, flood: &Flood, sent: &AtomicU64, ended: &AtomicU64, stop: &AtomicBool) {
    let end = Instant::now() + TIME;
    let mut stream = 1;
    let mut client = Frames::connect(address, &[]).await;
    let _ = client.send(&flood.begin).await;
    while sent.load(Ordering::Relaxed) < FRAMES && Instant::now() < end && !stop.load(Ordering::Relaxed) {
        let bytes = (flood.round)(stream);
        stream += 2 * u32::try_from(flood.frames).unwrap_or(u32::MAX);
        let taken = tokio::time::timeout(Duration::from_secs(1), client.send(&bytes)).await;
        sent.fetch_add(flood.frames, Ordering::Relaxed);
        if !matches!(taken, Ok(Ok(()))) {
            // It was given up on, or is not read from any more: the next connection.
            ended.fetch_add(1, Ordering::Relaxed);
            client = Frames::connect(address, &[]).await;
            let _ = client.send(&flood.begin).await;
            stream = 1;
        }
    }
}

/// The time within which 19 of 20 requests on a connection were answered.
async fn slowest(address: SocketAddr) -> Duration {
    let mut client = Http1::connect(address).await;
    let mut times = Vec::new();
    for _ in 0..REQUESTS {
        let begin = Instant::now();
        let answer = client.try_exchange(&request("GET", "/", &[], b"")).await.expect("an answer");
        assert_eq!(answer.status, 200);
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    times[REQUESTS * 19 / 20]
}

/// The same beside as many clients as flood, who ask one request after the other.
async fn slowest_beside_others(address: SocketAddr) -> Duration {
    let others = join_all((0..CONNECTIONS).map(|_| async {
        let mut client = Http1::connect(address).await;
        loop {
            assert_eq!(client.exchange(&request("GET", "/", &[], b"")).await.status, 200);
        }
    }));
    tokio::select! {
        slowest = slowest(address) => slowest,
        _ = others => unreachable!("they ask for ever"),
    }
}

async fn harmless(name: &str, flood: Flood) {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let (flood, address) = (Arc::new(flood), proxy.http());
    let alone = slowest_beside_others(address).await;
    let asked = app.hits();
    let before = proxy.resident_bytes();
    let (sent, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (flood, sent, ended, stop) =
                (Arc::clone(&flood), Arc::clone(&sent), Arc::clone(&ended), Arc::clone(&stop));
            tokio::spawn(async move { play(address, &flood, &sent, &ended, &stop).await })
        })
        .collect();
    until(PATIENCE, "the flood to begin", || async { sent.load(Ordering::Relaxed) > 0 }).await;
    let beside = slowest(address).await;
    for flood in floods {
        within(PATIENCE, "the end of the flood", flood).await.expect("no panic");
    }
    let grown = proxy.peak_bytes().saturating_sub(before);
    let ended = ended.load(Ordering::Relaxed);
    let reached = (app.hits() - asked).saturating_sub(REQUESTS) as u64;
    eprintln!(
        "{name}: {} frames, {ended} connections ended; 19 of 20 requests took {alone:?} without and {beside:?} \
         beside it; memory grew by at most {} KiB; {reached} requests reached the upstream",
        sent.load(Ordering::Relaxed),
        grown / 1024,
    );
    if matches!(flood.fate, Fate::Ended) {
        assert!(ended > 0, "no connection was ended");
    }
    let connections = CONNECTIONS as u64 + ended;
    assert!(reached <= connections * REQUESTS_OF_ONE, "{reached} requests reached the upstream");
    assert!(beside < alone + NOTICED, "{alone:?} without, {beside:?} beside it");
    assert!(grown < MEMORY, "memory grew by {grown} bytes");
    assert_eq!(switcher_tests::http1::get(address, "/").await.status, 200, "it serves on");
    stop.store(true, Ordering::Relaxed);
}

macro_rules! floods {
    ($($name:ident: $flood:expr;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                harmless(stringify!($name), $flood).await;
            }
        )*
    };
}

/// HEADERS that do not end their block.
fn open_block(stream: u32) -> Vec<u8> {
    frame(Kind::Headers, 0, stream, &get("/"))
}

/// A POST that goes on.
fn open_post(stream: u32) -> Vec<u8> {
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "shop.test"), (":path", "/count")];
    frame(Kind::Headers, END_HEADERS, stream, &block(&fields))
}

/// A block that puts 4,000 bytes into the table and then names them 4,000 times.
fn bomb() -> Vec<u8> {
    let value = vec![b'a'; 4000];
    let mut literal = block(&[(&b"x-a"[..], &value[..])]);
    // With incremental indexing (RFC 7541 section 6.2.1); then the first entry of the dynamic table.
    literal[0] = 0x40;
    [get("/"), literal, vec![0xbe; 4000]].concat()
}

floods! {
    a_rapid_reset: rounds(100, Fate::Ended, |first| streams(first, 50, |at| [whole_get(at, "/"), reset(at)].concat()));
    requests_that_are_reset_later: rounds(100, Fate::Ended, |first| {
        [streams(first, 50, |at| whole_get(at, "/gate")), streams(first, 50, reset)].concat()
    });
    a_flood_of_continuations: Flood {
        begin: open_block(1),
        round: |_| repeated(20, &frame(Kind::Continuation, 0, 1, &block(&[("x-a", "a".repeat(8000))]))),
        frames: 20,
        fate: Fate::Ended,
    };
    a_flood_of_empty_continuations: Flood {
        begin: open_block(1),
        round: |_| repeated(200, &frame(Kind::Continuation, 0, 1, &[])),
        frames: 200,
        fate: Fate::Borne,
    };
    a_flood_of_empty_data: Flood {
        begin: open_post(1),
        round: |_| repeated(200, &frame(Kind::Data, 0, 1, &[])),
        frames: 200,
        fate: Fate::Borne,
    };
    a_flood_of_padding: Flood {
        begin: open_post(1),
        round: |_| repeated(100, &frame(Kind::Data, 8, 1, &[&[255][..], &[0; 255]].concat())),
        frames: 100,
        fate: Fate::Borne,
    };
    a_flood_of_pings: rounds(200, Fate::Borne, |_| repeated(200, &frame(Kind::Ping, 0, 0, &[7; 8])));
    a_flood_of_settings: rounds(200, Fate::Borne, |_| repeated(200, &settings(&[(4, 65_535), (1, 4096)])));
    a_flood_of_window_updates: Flood {
        begin: open_post(1),
        round: |_| repeated(100, &[window_update(0, 1), window_update(1, 1)].concat()),
        frames: 200,
        fate: Fate::Borne,
    };
    a_flood_of_priorities: rounds(200, Fate::Borne, |first| {
        streams(first, 200, |at| frame(Kind::Priority, 0, at, &[0, 0, 0, 0, 16]))
    });
    a_flood_of_empty_headers: rounds(20, Fate::Ended, |first| {
        let empty = block(&vec![("", ""); 3000]);
        streams(first, 20, |at| {
            frame(Kind::Headers, END_HEADERS | END_STREAM, at, &[get("/"), empty.clone()].concat())
        })
    });
    a_bomb_of_hpack: rounds(50, Fate::Ended, |first| {
        streams(first, 50, |at| frame(Kind::Headers, END_HEADERS | END_STREAM, at, &bomb()))
    });
    streams_that_never_end: rounds(100, Fate::Borne, |first| streams(first, 100, open_post));
    requests_whose_answers_have_no_window: Flood {
        begin: settings(&[(4, 0)]),
        round: |first| streams(first, 20, |at| whole_get(at, "/bytes/10000000")),
        frames: 20,
        fate: Fate::Borne,
    };
    connections_that_come_and_go: Flood {
        begin: whole_get(1, "/"),
        round: |_| frame(Kind::GoAway, 0, 0, &[0; 3]),
        frames: 1,
        fate: Fate::Borne,
    };
}

/// Resets each request once it has reached the upstream, until the proxy has had enough.
pub(super) async fn resets_that_reach_the_upstream(proxy: &Proxy, app: &App) {
    until(PATIENCE, "nothing to wait before", || async { app.waiting() == 0 }).await;
    let mut client = Frames::connect(proxy.http(), &[]).await;
    for round in 0..1000 {
        let stream = 1 + 2 * round;
        if client.send(&whole_get(stream, "/gate")).await.is_err() {
            return;
        }
        let reached = tokio::time::timeout(
            Duration::from_secs(1),
            until(PATIENCE, "it to reach the upstream", || async { app.waiting() > 0 }),
        );
        if reached.await.is_err() {
            // The connection was closed in between.
            return;
        }
        let _ = client.send(&reset(stream)).await;
        until(PATIENCE, "the upstream to be let go", || async { app.waiting() == 0 }).await;
    }
    panic!("a thousand requests were reset, and the client was not closed");
}
