//! Limits on what one client may ask, end to end: each with what is within it, what is beyond, and its counter.

mod body;
mod connections;
mod flood;
mod slow;

use http::HeaderMap;
use switcher_tests::frames::{Frames, Kind, whole_get};
use switcher_tests::http1::{Ending, get, get_with, request};
use switcher_tests::{App, Http1, Http2, PATIENCE, Proxy, Setup, http2, until, within};

/// How often a limit has acted so far; what is to come is waited for by [`Proxy::wait_limit`].
async fn acted(proxy: &Proxy, limit: &str) -> u64 {
    proxy.metric(&format!("switcher_limits_total{{limit=\"{limit}\"}}")).await
}

/// A proxy before an application, with these limits.
async fn limited(app: &App, limits: &str) -> Proxy {
    Setup::one(app.upstream()).proxy("limits", limits).start_healthy().await
}

#[tokio::test]
async fn a_head_has_a_size_a_count_and_a_longest_target() {
    let app = App::start("blue").await;
    let proxy = limited(&app, "{header_size: 4KiB, header_count: 10, target_length: 1KiB}").await;
    let of_size = |size: usize| "v".repeat(size);
    let many = |count: usize| (0..count).map(|at| (format!("X-{at}"), "v".to_owned())).collect::<Vec<_>>();
    let target = |length: usize| format!("/{}", "t".repeat(length - 1));
    let of_many = async |count: usize| {
        let many = many(count);
        let borrowed: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        get_with(proxy.http(), "/", &borrowed).await.status
    };
    assert_eq!(get_with(proxy.http(), "/", &[("X-Large", &of_size(3000))]).await.status, 200);
    assert_eq!(of_many(9).await, 200);
    assert_eq!(get(proxy.http(), &target(1024)).await.status, 200);
    assert_eq!(acted(&proxy, "header_size").await + acted(&proxy, "target_length").await, 0);

    assert_eq!(get_with(proxy.http(), "/", &[("X-Large", &of_size(5000))]).await.status, 431);
    proxy.wait_limit("header_size", 1).await;
    assert_eq!(of_many(10).await, 431);
    proxy.wait_limit("header_size", 2).await;
    assert_eq!(get(proxy.http(), &target(1025)).await.status, 414);
    proxy.wait_limit("target_length", 1).await;
    assert_eq!(app.seen().len(), 3, "what was refused was not asked");
}

#[tokio::test]
async fn a_body_has_a_size_whether_it_is_announced_or_not() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("middleware", "{body_size: 10KiB}").start_healthy().await;
    let chunked = [("Transfer-Encoding", "chunked")];
    let chunks = |size: usize| format!("{size:x}\r\n{}\r\n0\r\n\r\n", "b".repeat(size)).into_bytes();
    let second = Http2::connect(proxy.http()).await;
    for (size, status) in [(10 * 1024, 200), (10 * 1024 + 1, 413)] {
        let mut client = Http1::connect(proxy.http()).await;
        let announced = client.exchange(&request("POST", "/count", &[], &vec![b'b'; size])).await;
        assert_eq!(announced.status, status, "{size} bytes, announced");
        let mut client = Http1::connect(proxy.http()).await;
        let sent = client.exchange(&request("POST", "/count", &chunked, &chunks(size))).await;
        assert_eq!(sent.status, status, "{size} bytes in chunks");
        let post = http2::request("POST", "/count", &[]);
        let answer = second.exchange(post, &vec![b'b'; size]).await;
        assert_eq!(answer.status, status, "{size} bytes over HTTP/2");
    }
    proxy.wait_limit("body_size", 3).await;
}

#[tokio::test]
async fn a_head_and_a_body_have_their_time() {
    let app = App::start("blue").await;
    let limits = "{header_timeout: 500ms, body_rate: 10KiB, body_grace: 500ms}";
    let proxy = limited(&app, limits).await;
    let mut waits = Http1::connect(proxy.http()).await;
    waits.send(b"GET / HTTP/1.1\r\nHost: sh").await;
    assert_eq!(waits.head().await.status(), 408);
    proxy.wait_limit("header_timeout", 1).await;

    let mut quick = Http1::connect(proxy.http()).await;
    assert_eq!(quick.exchange(&request("POST", "/count", &[], &[b'b'; 50_000])).await.status, 200);
    assert_eq!(acted(&proxy, "body_rate").await, 0);
    let mut slow = Http1::connect(proxy.http()).await;
    slow.send(b"POST /count HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 50000\r\n\r\nhalf").await;
    assert_eq!(slow.head().await.status(), 408);
    proxy.wait_limit("body_rate", 1).await;
}

#[tokio::test]
async fn a_connection_waits_for_its_next_request_only_so_long() {
    let app = App::start("blue").await;
    let proxy = limited(&app, "{idle_timeout: 300ms}").await;
    let mut client = Http1::connect(proxy.http()).await;
    for _ in 0..3 {
        assert_eq!(client.exchange(&request("GET", "/", &[], b"")).await.status, 200);
    }
    assert_eq!(client.ending().await, Ending::Closed);
    let mut silent = Http1::connect(proxy.http()).await;
    assert_eq!(silent.ending().await, Ending::Closed);
    let mut second = Frames::connect(proxy.http(), &[]).await;
    within(PATIENCE, "the end of an idle connection", async { while second.next().await.is_some() {} }).await;
}

#[tokio::test]
async fn a_connection_carries_so_many_requests_and_none_is_lost() {
    let app = App::start("blue").await;
    let proxy = limited(&app, "{requests_per_connection: 3}").await;
    let mut client = Http1::connect(proxy.http()).await;
    for number in 1..=3 {
        let answer = client.exchange(&request("GET", "/", &[], b"")).await;
        let says = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        assert_eq!((answer.status, says), (200, number == 3), "{number}");
    }
    assert_eq!(client.ending().await, Ending::Closed);
    proxy.wait_limit("requests_per_connection", 1).await;

    let mut second = Frames::connect(proxy.http(), &[]).await;
    let all: Vec<u8> = (0..6).flat_map(|at| whole_get(1 + 2 * at, "/")).collect();
    second.send(&all).await.expect("taken");
    let (mut answered, mut last) = (Vec::new(), u32::MAX);
    within(PATIENCE, "the end of the connection", async {
        while let Some(frame) = second.next().await {
            if frame.is(Kind::GoAway) {
                last = u32::from_be_bytes([0, 1, 2, 3].map(|at| frame.payload[at])) & 0x7fff_ffff;
            } else if frame.is(Kind::Ping) && frame.flags == 0 {
                let pong = switcher_tests::frames::frame(Kind::Ping, 1, 0, &frame.payload);
                let _ = second.send(&pong).await;
            } else if frame.ends() {
                assert!(!frame.is(Kind::Reset), "{frame:?}");
                answered.push(frame.stream);
            }
        }
    })
    .await;
    answered.sort_unstable();
    let promised: Vec<u32> = (0..6).map(|at| 1 + 2 * at).filter(|stream| *stream <= last).collect();
    assert_eq!(answered, promised, "what the last GOAWAY counts in was answered");
    assert!(answered.len() >= 3, "{answered:?}");
    proxy.wait_limit("requests_per_connection", 2).await;
}

#[tokio::test]
async fn streams_at_once_are_announced_and_a_client_that_only_resets_is_closed() {
    let app = App::start("blue").await;
    let proxy = limited(&app, "{http2: {streams: 4, resets: 10}}").await;
    let mut client = Frames::connect(proxy.http(), &[]).await;
    let first = within(PATIENCE, "SETTINGS", client.next()).await.expect("a frame");
    assert!(first.is(Kind::Settings));
    assert!(first.payload.chunks(6).any(|pair| pair == [0, 3, 0, 0, 0, 4]), "{first:?}");
    let most: Vec<u8> = (0..5).flat_map(|at| whole_get(1 + 2 * at, "/gate")).collect();
    client.send(&most).await.expect("taken");
    let refused = within(PATIENCE, "a refusal", async {
        loop {
            let frame = client.next().await.expect("an open connection");
            if frame.is(Kind::Reset) {
                return frame;
            }
        }
    })
    .await;
    assert_eq!((refused.stream, refused.payload.as_slice()), (9, &[0, 0, 0, 7][..]), "REFUSED_STREAM");
    until(PATIENCE, "the others to be asked", || async { app.waiting() == 4 }).await;
    drop(client);

    let mut honest = Frames::connect(proxy.http(), &[]).await;
    honest.send(&[whole_get(1, "/gate"), switcher_tests::frames::reset(1)].concat()).await.expect("taken");
    honest.send(&whole_get(3, "/")).await.expect("taken");
    within(PATIENCE, "an answer after one reset", async {
        while !honest.next().await.expect("an open connection").ends() {}
    })
    .await;
    assert_eq!(acted(&proxy, "http2_resets").await, 0);
    flood::resets_that_reach_the_upstream(&proxy, &app).await;
    proxy.wait_limit("http2_resets", 1).await;
}

#[tokio::test]
async fn a_reload_changes_limits() {
    let app = App::start("blue").await;
    let mut proxy = limited(&app, "{header_count: 10}").await;
    let three = [("X-A", "1"), ("X-B", "2"), ("X-C", "3")];
    let mut kept = Http1::connect(proxy.http()).await;
    assert_eq!(kept.exchange(&request("GET", "/", &three, b"")).await.status, 200);
    let stricter = proxy.setup().proxy("limits", "{header_count: 3, connections_per_address: 1}");
    proxy.configure(stricter);
    proxy.admin().reload().await.expect("a reload");
    assert_eq!(kept.exchange(&request("GET", "/", &three, b"")).await.status, 431, "also where one is open");
    assert_eq!(kept.ending().await, Ending::Closed);
    until(PATIENCE, "one connection to be the limit", || async {
        let first = Http1::connect(proxy.http()).await;
        let mut second = Http1::connect(proxy.http()).await;
        let over = second.try_exchange(&request("GET", "/", &[], b"")).await.is_err();
        drop(first);
        over
    })
    .await;
    until(PATIENCE, "the limit to act", || async { acted(&proxy, "connections_per_address").await > 0 })
        .await;
}

/// The same limits bind HTTP/2.
#[tokio::test]
async fn a_head_of_http2_is_bounded_too() {
    let app = App::start("blue").await;
    let proxy = limited(&app, "{header_size: 4KiB, header_count: 10, target_length: 1KiB}").await;
    let client = Http2::connect(proxy.http()).await;
    let status = async |path: &str, headers: &HeaderMap| {
        let mut request = http2::get(path);
        request.headers_mut().extend(headers.clone());
        client.exchange(request, b"").await.status
    };
    let large = |size: usize| {
        let mut headers = HeaderMap::new();
        headers.insert("x-large", "v".repeat(size).parse().expect("a value"));
        headers
    };
    assert_eq!(status("/", &large(2000)).await, 200);
    assert_eq!(status("/", &large(5000)).await, 431);
    let many: HeaderMap = (0..20)
        .map(|at| (format!("x-{at}").parse().expect("a name"), "v".parse().expect("a value")))
        .collect();
    assert_eq!(status("/", &many).await, 431);
    assert_eq!(status(&format!("/{}", "t".repeat(1000)), &HeaderMap::new()).await, 200);
    assert_eq!(status(&format!("/{}", "t".repeat(1100)), &HeaderMap::new()).await, 414);
    proxy.wait_limit("target_length", 1).await;
}
