//! Copies of live requests to the standby slot: how many, of what, and that nobody notices a standby that is dead, slow or
//! endless.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use switcher_config::Slot;
use switcher_config::wire::{CanaryRequest, MirrorOutcome, Mirrored};
use switcher_tests::certificate::Certificate;
use switcher_tests::http1::{get, get_with, post, request};
use switcher_tests::http2::{self, Http2};
use switcher_tests::sse::Events;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, Manner, PATIENCE, Proxy, Raw, Setup, until};

async fn between(blue: &App, green: impl ToString, mirror: &str) -> Proxy {
    Setup::slots(&[blue.upstream()], &[green.to_string()]).shop("mirror", mirror).start_healthy().await
}

async fn mirrored(proxy: &Proxy) -> Mirrored {
    proxy.admin().mirrored().await.expect("what came of copies")
}

async fn outcome(proxy: &Proxy, outcome: MirrorOutcome) -> u64 {
    mirrored(proxy).await.outcomes.get(&outcome).copied().unwrap_or_default()
}

async fn until_outcome(proxy: &Proxy, wanted: MirrorOutcome, times: u64) {
    let what = format!("{times} copies to be {}", wanted.as_str());
    until(PATIENCE, &what, || async { outcome(proxy, wanted).await == times }).await;
}

/// How many copies were answered as the real requests were, however long it took: a busy machine delays whom it likes.
async fn alike(proxy: &Proxy) -> u64 {
    outcome(proxy, MirrorOutcome::Same).await + outcome(proxy, MirrorOutcome::Slower).await
}

async fn until_alike(proxy: &Proxy, times: u64) {
    until(PATIENCE, &format!("{times} copies to be alike"), || async { alike(proxy).await == times }).await;
}

/// Asks so often, and sees to it that the live slot answers whole each time.
async fn served(proxy: &Proxy, times: usize) {
    let mut client = Http1::connect(proxy.http()).await;
    for _ in 0..times {
        let answer = client.exchange(&request("GET", "/page", &[], b"")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "blue"));
        assert_eq!(answer.header("x-switcher-slot"), Some("blue"));
    }
}

#[tokio::test]
async fn a_tenth_of_a_hundred_is_ten_and_the_answers_are_the_live_slots() {
    let (blue, green) = (App::start("blue").await, App::start("teal").await);
    let proxy = between(&blue, green.upstream(), "{share: 10%}").await;
    assert!(proxy.niceness("copies").is_empty(), "there is nothing to copy yet");
    served(&proxy, 100).await;
    until_alike(&proxy, 10).await;
    assert_eq!((blue.hits(), green.hits()), (100, 10));
    let nice = proxy.niceness("copies");
    assert!(nice.len() == 1 && nice[0] > proxy.niceness("switcher-proxy")[0], "{nice:?}");
    until(PATIENCE, "no copy to be in flight", || async { mirrored(&proxy).await.in_flight == 0 }).await;
    let now = mirrored(&proxy).await;
    assert_eq!(now.slot, Slot::Green);
    assert!(now.differences.iter().all(|told| told.outcome == MirrorOutcome::Slower), "{now:?}");
    assert_eq!(now.outcomes.values().sum::<u64>(), 10);
    for (series, value) in [
        ("switcher_requests_total{app=\"shop\",class=\"2xx\",slot=\"blue\"}", 100),
        ("switcher_mirror_requests_total{app=\"shop\",outcome=\"same\"}", now.outcomes[&MirrorOutcome::Same]),
        ("switcher_mirror_first_byte_seconds_count{app=\"shop\",side=\"live\"}", 10),
        ("switcher_mirror_first_byte_seconds_count{app=\"shop\",side=\"standby\"}", 10),
        ("switcher_requests_total{app=\"shop\",class=\"2xx\",slot=\"green\"}", 0),
    ] {
        proxy.wait_metric(series, value).await;
    }
}

#[tokio::test]
async fn whoever_is_a_canary_is_served_by_the_standby_and_not_copied_to_it() {
    let (blue, green) = (App::start("blue").await, App::start("teal").await);
    let proxy = between(&blue, green.upstream(), "{share: 100%}").await;
    let wish = CanaryRequest {
        share: Some("0.01%".parse().expect("a share")),
        by: Some("header X-Nobody".parse().expect("a key")),
        headers: Some(vec!["X-Beta=1".parse().expect("a header")]),
        ..CanaryRequest::of(Slot::Green)
    };
    proxy.admin().canary(&wish).await.expect("a canary");
    assert_eq!(get_with(proxy.http(), "/", &[("X-Beta", "1")]).await.text(), "teal");
    served(&proxy, 1).await;
    until_alike(&proxy, 1).await;
    assert_eq!((blue.hits(), green.hits()), (1, 2), "its own and one copy");
    assert_eq!(mirrored(&proxy).await.outcomes.values().sum::<u64>(), 1);
}

#[tokio::test]
async fn a_copy_is_what_the_live_upstream_was_asked_and_says_that_it_is_one() {
    let (blue, green) = (App::start("blue").await, App::start("teal").await);
    let proxy = Setup::two(&blue, &green)
        .shop("mirror", "{share: 100%, methods: [GET, OPTIONS]}")
        .shop("middleware", "{rewrite: {strip: /api}, request_headers: {set: {X-Set: here}}}")
        .start_healthy()
        .await;
    let headers = [
        ("Cookie", "session=1"),
        ("Authorization", "Bearer t"),
        ("Connection", "X-Hop"),
        ("X-Hop", "1"),
        ("X-Switcher-Mirror", "forged"),
    ];
    assert_eq!(get_with(proxy.http(), "/api/a?b=c", &headers).await.text(), "blue");
    until(PATIENCE, "the copy", || async { green.hits() == 1 }).await;
    let (real, copy) = (blue.last(), green.last());
    assert_eq!((real.header("x-switcher-mirror"), copy.header("x-switcher-mirror")), (None, Some("1")));
    assert_eq!((copy.target.as_str(), copy.header("x-set")), ("/a?b=c", Some("here")));
    for name in ["host", "cookie", "authorization", "x-request-id", "x-forwarded-for", "x-forwarded-prefix"] {
        assert!(copy.header(name).is_some(), "{name}");
        assert_eq!(copy.header(name), real.header(name), "{name}");
    }
    assert_eq!((copy.header("x-hop"), copy.header("connection")), (None, None));
    let h2 = Http2::tls(proxy.https(), "shop.test").await;
    assert_eq!(h2.exchange(http2::get("/api/second"), b"").await.text(), "blue");
    until(PATIENCE, "the second copy", || async { green.hits() == 2 }).await;
    assert_eq!(
        (green.last().target.as_str(), green.last().header("host")),
        ("/second", blue.last().header("host"))
    );
    let mut client = Http1::connect(proxy.http()).await;
    assert_eq!(client.exchange(&request("OPTIONS", "/api/x", &[], b"")).await.status, 200);
    until_alike(&proxy, 3).await;
}

#[tokio::test]
async fn what_may_change_something_or_has_no_end_is_never_copied() {
    let (blue, green) = (App::start("blue").await, App::start("teal").await);
    let proxy = between(&blue, green.upstream(), "{share: 100%}").await;
    assert_eq!(post(proxy.http(), "/count", b"body").await.status, 200);
    let mut client = Http1::connect(proxy.http()).await;
    for (method, body) in
        [("POST", &b""[..]), ("DELETE", b""), ("PUT", b"x"), ("OPTIONS", b""), ("GET", b"body")]
    {
        assert_eq!(
            client.exchange(&request(method, "/", &[("X-Switcher-Mirror", "1")], body)).await.status,
            200,
            "{method}"
        );
    }
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    assert_eq!(socket.text().await, "blue");
    let mut events = Events::open(Http1::connect(proxy.http()).await, "/events").await;
    assert_eq!(events.data().await, "blue");
    // What comes after them all is copied, so they would have been seen by now.
    assert_eq!(client.exchange(&request("HEAD", "/last", &[], b"")).await.status, 200);
    until_alike(&proxy, 1).await;
    let targets: Vec<_> = green.seen().iter().map(|seen| seen.target.clone()).collect();
    assert_eq!(targets, ["/last"]);
    assert!(blue.seen().iter().all(|seen| seen.header("x-switcher-mirror").is_none()), "nobody else says it");
}

#[tokio::test]
async fn differences_are_told_without_the_query() {
    let (blue, green) = (App::start("blue").await, App::start("longer").await);
    let proxy = between(&blue, green.upstream(), "{share: 100%}").await;
    assert_eq!(get(proxy.http(), "/a?secret=1").await.text(), "blue");
    until_outcome(&proxy, MirrorOutcome::Size, 1).await;
    green.behave(Manner::Failing);
    assert_eq!(get(proxy.http(), "/b?secret=1").await.text(), "blue");
    until_outcome(&proxy, MirrorOutcome::Status, 1).await;
    let told = mirrored(&proxy).await.differences;
    let [status, size] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(
        (status.route.as_str(), status.outcome, status.slot),
        ("GET /b", MirrorOutcome::Status, Slot::Green)
    );
    let [live, copy] = [status.live, status.copy].map(|answer| answer.expect("an answer"));
    assert_eq!((live.status, copy.status, live.bytes, copy.bytes), (200, 500, 4, 6));
    assert_eq!((size.route.as_str(), size.outcome), ("GET /a", MirrorOutcome::Size));
    let record = proxy.record_of("/b").await;
    assert_eq!(record["request_id"], status.request_id.as_str());
    assert!(!proxy.admin().get("/v1/apps/shop/mirror").await.text().contains("secret"));
    let unknown = proxy.admin().call("GET", "/v1/apps/nobody/mirror", "").await;
    assert_eq!((unknown.status, unknown.json()["reason"].as_str()), (404, Some("unknown_app")));
}

#[tokio::test]
async fn a_standby_that_says_nothing_takes_no_more_than_its_places_and_its_time() {
    let blue = App::start("blue").await;
    let silent = Raw::start(|mut conversation| async move {
        conversation.request().await;
        conversation.hang().await;
    })
    .await;
    let proxy = between(&blue, silent.address(), "{share: 100%, in_flight: 3, timeout: 60s}").await;
    served(&proxy, 40).await;
    until(PATIENCE, "the copies to be at the standby", || async { silent.connections() == 3 }).await;
    until_outcome(&proxy, MirrorOutcome::Skipped, 37).await;
    assert_eq!(mirrored(&proxy).await.in_flight, 3);
    let mut proxy = proxy;
    proxy.configure(proxy.setup().shop("mirror", "{share: 100%, in_flight: 4, timeout: 200ms}"));
    proxy.admin().reload().await.expect("reloaded");
    served(&proxy, 1).await;
    until_outcome(&proxy, MirrorOutcome::Timeout, 1).await;
    let told = mirrored(&proxy).await.differences;
    assert_eq!(
        (told.len(), told[0].copy, told[0].live.map(|live| live.status)),
        (1, None, Some(200)),
        "the real one was over at once"
    );
}

#[tokio::test]
async fn an_endless_answer_is_read_so_far_and_no_further() {
    let blue = App::start("blue").await;
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let endless = Raw::start(move |mut conversation| {
        let sent = Arc::clone(&counter);
        async move {
            conversation.request().await;
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let piece = [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat();
            if conversation.wire.try_send(head).await.is_err() {
                return;
            }
            while conversation.wire.try_send(&piece).await.is_ok() {
                sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
        }
    })
    .await;
    let proxy =
        between(&blue, endless.address(), "{share: 100%, in_flight: 2, timeout: 60s, body: 100KiB}").await;
    for times in 1..=10 {
        served(&proxy, 1).await;
        until_outcome(&proxy, MirrorOutcome::Size, times).await;
        // It cannot be said which one is larger before more is read than may be.
        assert_eq!(get(proxy.http(), "/bytes/3000000").await.body.len(), 3_000_000);
        until_outcome(&proxy, MirrorOutcome::TooLarge, times).await;
    }
    // What the kernel's buffers hold comes on top; nobody reads them.
    let each = sent.load(Ordering::SeqCst) / 20;
    assert!(each < 16 << 20, "{each} bytes were sent for a copy");
    let told = mirrored(&proxy).await.differences;
    assert!(
        told.len() == 10 && told.iter().all(|one| one.copy.is_some_and(|copy| copy.bytes < 1 << 20)),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_standby_that_is_dead_or_not_there_is_told_and_nothing_else() {
    let (blue, green) = (App::start("blue").await, App::start("teal").await);
    let proxy = Setup::two(&blue, &green)
        .shop("mirror", "{share: 50%}")
        // It is not noticed by a probe.
        .shop("health", "{path: /health, interval: 1h, rise: 1, fall: 2}")
        .start_healthy()
        .await;
    green.stop().await;
    served(&proxy, 10).await;
    until_outcome(&proxy, MirrorOutcome::Failed, 5).await;
    let told = mirrored(&proxy).await.differences;
    assert_eq!(told[0].error.as_deref(), Some("connection refused"));
    let alone = Setup::one(blue.upstream()).shop("mirror", "{share: 50%}").start_healthy().await;
    served(&alone, 10).await;
    until_outcome(&alone, MirrorOutcome::Unavailable, 5).await;
    let none = Setup::one(blue.upstream()).start_healthy().await;
    served(&none, 1).await;
    let now = mirrored(&none).await;
    assert_eq!((now.share, now.outcomes.len()), (None, 0), "without the section nothing is even counted");
}

#[tokio::test]
async fn a_switch_ends_copies_and_waits_for_none_of_them() {
    let (blue, green) = (App::start("blue").await, App::start("teal").await);
    let proxy = between(&blue, green.upstream(), "{share: 100%, timeout: 60s}").await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "both to be asked", || async { (blue.waiting(), green.waiting()) == (1, 1) }).await;
    blue.open_gate();
    assert_eq!(client.head().await.status(), 200);
    let slots = proxy.admin().shop().await.slots;
    assert_eq!(slots.green.in_flight.requests, 0, "a copy is no request of anybody's");
    let switched = proxy.admin().promote(Slot::Green).await.expect("promoted");
    let receipt = proxy.admin().drain(switched.drained_generation, "20s").await.expect("a receipt");
    assert_eq!((receipt.drained, receipt.cut.requests.len()), (true, 0));
    until_outcome(&proxy, MirrorOutcome::Stopped, 1).await;
    until(PATIENCE, "the copy to be gone", || async { green.waiting() == 0 }).await;
    assert_eq!(get(proxy.http(), "/").await.text(), "teal");
    until(PATIENCE, "a copy the other way", || async { blue.last().target == "/" }).await;
    assert_eq!(blue.last().header("x-switcher-mirror"), Some("1"));
    assert_eq!(mirrored(&proxy).await.slot, Slot::Blue);
}

#[tokio::test]
async fn new_addresses_of_the_standby_end_copies_to_the_old_ones() {
    let (blue, green, newer) = (App::start("blue").await, App::start("teal").await, App::start("newe").await);
    let proxy = between(&blue, green.upstream(), "{share: 100%, timeout: 60s}").await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "both to be asked", || async { (blue.waiting(), green.waiting()) == (1, 1) }).await;
    proxy.admin().register(Slot::Green, &[newer.upstream()], None).await.expect("registered");
    until_outcome(&proxy, MirrorOutcome::Stopped, 1).await;
    proxy.wait_healthy().await;
    blue.open_gate();
    assert_eq!(client.head().await.status(), 200);
    served(&proxy, 1).await;
    until(PATIENCE, "a copy to the new address", || async { newer.hits() == 1 }).await;
}

#[tokio::test]
async fn copies_go_by_http2_and_tls_as_well() {
    let certificate = Certificate::of(&["localhost"]);
    let blue = App::start("blue").await;
    for green in [App::h2c("teal").await, App::tls("teal", &certificate).await] {
        let proxy = Setup::two(&blue, &green)
            .shop("mirror", "{share: 100%}")
            .shop("upstream_tls", "{verify: false}")
            .start_healthy()
            .await;
        let answer = get_with(proxy.http(), "/bytes/300000?x=1", &[("Host", "shop.test")]).await;
        assert_eq!((answer.status, answer.body.len()), (200, 300_000));
        until_alike(&proxy, 1).await;
        let copy = green.last();
        assert_eq!((copy.target.as_str(), copy.version), ("/bytes/300000?x=1", http::Version::HTTP_2));
        assert_eq!(copy.header("x-switcher-mirror"), Some("1"));
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_copy_as_one_that_is_compared_to_nothing() {
    let (blue, green) = (App::start("blue").await, App::start("teal").await);
    let proxy = between(&blue, green.upstream(), "{share: 100%}").await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/half", &[], b"")).await;
    assert_eq!(client.head().await.status(), 200);
    until(PATIENCE, "both to be asked", || async { (blue.waiting(), green.waiting()) == (1, 1) }).await;
    drop(client);
    until(PATIENCE, "the real one to be given up", || async { blue.waiting() == 0 }).await;
    green.open_gate();
    until_outcome(&proxy, MirrorOutcome::Uncompared, 1).await;
    served(&proxy, 1).await;
}
