//! The response cache end to end: what is held, for whom, for how long and within which bounds, and that no switch ever serves
//! what was held before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use switcher_config::Slot;
use switcher_tests::http1::{Answer, get, get_with, post, request};
use switcher_tests::raw::{Conversation, Raw};
use switcher_tests::{Http1, Http2, PATIENCE, Proxy, Setup, http2, until};
use tokio::sync::Semaphore;

/// An upstream that says its name and which of its answers this is, with the headers that the target names behind `?`:
/// `/a?Cache-Control:max-age=60&ETag:'x'`. A part of it may be `-gate`, which waits for the test, `-die`, which breaks off, or
/// `-fail`, a 500 to whoever asks whether it is still the same.
async fn upstream(name: &'static str, go_on: &Arc<Semaphore>) -> Raw {
    let (go_on, said) = (Arc::clone(go_on), Arc::new(AtomicUsize::new(0)));
    Raw::start(move |mut talk: Conversation| {
        let (go_on, said) = (Arc::clone(&go_on), Arc::clone(&said));
        async move {
            while let Some(asked) = talk.request().await {
                let number = said.fetch_add(1, Ordering::SeqCst) + 1;
                let target = asked.head.target().to_owned();
                let parts = target.split_once('?').map_or("", |(_, query)| query).split('&');
                let (mut headers, mut body) = (String::new(), format!("{name} {number}"));
                let (mut status, mut whole) = ("200 OK", true);
                for part in parts {
                    match part.split_once(':') {
                        Some((name, value)) => {
                            headers += &format!("{name}: {}\r\n", value.replace('+', " ").replace('\'', "\""))
                        }
                        None if part == "-gate" => go_on.acquire().await.expect("the gate").forget(),
                        None if part == "-die" => whole = false,
                        None if part == "-fail" && asked.head.get("if-modified-since").is_some() => {
                            status = "500 Internal Server Error"
                        }
                        None => {}
                    }
                    if let Some(length) = part.strip_prefix("-long:") {
                        body = "x".repeat(length.parse().expect("a length"));
                    }
                }
                if asked.head.get("if-none-match").is_some_and(|tag| target.contains(&tag.replace('"', "'")))
                {
                    (status, body) = ("304 Not Modified", String::new());
                    headers = headers.replace("Age: 60\r\n", "");
                }
                let head = if target.contains("-chunked") {
                    body = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
                    "Transfer-Encoding: chunked\r\n".to_owned()
                } else {
                    format!("Content-Length: {}\r\n", body.len())
                };
                let answer = format!("HTTP/1.1 {status}\r\n{head}{headers}\r\n{body}");
                let bytes = if whole { answer.len() } else { answer.len() - 3 };
                if talk.wire.try_send(&answer.as_bytes()[..bytes]).await.is_err() || !whole {
                    return;
                }
            }
        }
    })
    .await
}

async fn started(more: &str) -> (Raw, Proxy, Arc<Semaphore>) {
    let go_on = Arc::new(Semaphore::new(0));
    let raw = upstream("blue", &go_on).await;
    let setup = Setup::one(raw.address()).shop("middleware", &format!("{{cache: on{more}}}"));
    (raw, setup.start_healthy().await, go_on)
}

fn told(answer: &Answer) -> &str {
    answer.header("cache-status").unwrap_or("nothing")
}

const HIT: &str = "switcher; hit";
const MISS: &str = "switcher; fwd=miss";
const FRESH: &str = "/a?Cache-Control:max-age=60&ETag:'one'";

const BYTES: &str = "switcher_cache_bytes";

async fn held_bytes(proxy: &Proxy) -> u64 {
    proxy.metric(BYTES).await
}

#[tokio::test]
async fn what_is_declared_cacheable_is_asked_for_once() {
    let (raw, proxy, _) = started("").await;
    let first = get(proxy.http(), FRESH).await;
    assert_eq!((first.text().as_str(), told(&first), first.header("age")), ("blue 1", MISS, None));
    let mut client = Http1::connect(proxy.http()).await;
    for _ in 0..3 {
        let again = client.exchange(&request("GET", FRESH, &[], b"")).await;
        assert_eq!((again.text().as_str(), told(&again)), ("blue 1", HIT));
        assert!(again.header("age").is_some() && again.header("x-switcher-slot") == Some("blue"));
        assert_eq!(again.head.all("x-request-id").len(), 1);
        assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    }
    let head = client.exchange(&request("HEAD", FRESH, &[], b"")).await;
    assert_eq!((told(&head), head.header("content-length"), head.body.len()), (HIT, Some("6"), 0));
    let second = Http2::connect(proxy.http()).await;
    for method in ["GET", "HEAD"] {
        let answer = second.exchange(http2::request(method, FRESH, &[]), b"").await;
        assert_eq!(answer.header("cache-status"), Some(HIT));
        assert_eq!(answer.text(), if method == "GET" { "blue 1" } else { "" });
    }
    assert_eq!(raw.requests().len(), 1);
    for (target, headers) in [(FRESH, &[("Host", "other.test")][..]), ("/b?Cache-Control:max-age=60", &[])] {
        assert_eq!(told(&get_with(proxy.http(), target, headers).await), MISS, "{target}");
    }
    let heads = ["/h1?Cache-Control:max-age=60", "/h2?Cache-Control:max-age=60"];
    let asked = client.exchange(&request("HEAD", heads[0], &[], b"")).await;
    assert_eq!((told(&asked), asked.header("content-length"), asked.body.len()), (MISS, Some("6"), 0));
    let asked = second.exchange(http2::request("HEAD", heads[1], &[]), b"").await;
    assert_eq!((asked.header("cache-status"), asked.body.len()), (Some(MISS), 0));
    for target in heads {
        let whole = client.exchange(&request("GET", target, &[], b"")).await;
        assert_eq!((told(&whole), whole.body.len()), (HIT, 6), "the whole of it was asked for");
    }
    proxy.wait_metric("switcher_cache_requests_total{result=\"hit\"}", 8).await;
    proxy.wait_metric("switcher_requests_total{app=\"shop\",class=\"2xx\",slot=\"blue\"}", 13).await;
    until(PATIENCE, "nothing to be in flight", || async {
        proxy.admin().in_flight(Slot::Blue).await.expect("a list").exchanges.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_switch_never_serves_what_was_held_before_it() {
    let go_on = Arc::new(Semaphore::new(0));
    let (blue, green) = (upstream("blue", &go_on).await, upstream("green", &go_on).await);
    let setup = Setup::slots(&[blue.address().to_string()], &[green.address().to_string()]);
    let proxy = setup.shop("middleware", "{cache: on}").start_healthy().await;
    let ask = async || get(proxy.http(), FRESH).await.text();
    assert_eq!((ask().await, ask().await), ("blue 1".into(), "blue 1".into()), "it is held");
    proxy.wait_metric_at_least(BYTES, 1).await;
    let one = held_bytes(&proxy).await;
    for (slot, text) in [(Slot::Green, "green 1"), (Slot::Blue, "blue 2"), (Slot::Green, "green 2")] {
        proxy.admin().promote(slot).await.expect("promoted");
        assert_eq!((ask().await.as_str(), ask().await.as_str()), (text, text));
    }
    assert_eq!((blue.requests().len(), green.requests().len()), (2, 2));
    until(PATIENCE, "what was held before to be gone", || async { held_bytes(&proxy).await < 2 * one }).await;
}

#[tokio::test]
async fn an_answer_that_comes_after_the_switch_is_not_held_for_the_new_version() {
    let go_on = Arc::new(Semaphore::new(0));
    let (blue, green) = (upstream("blue", &go_on).await, upstream("green", &go_on).await);
    let setup = Setup::slots(&[blue.address().to_string()], &[green.address().to_string()]);
    let proxy = setup.shop("middleware", "{cache: on}").start_healthy().await;
    let slow = "/a?Cache-Control:max-age=60&-gate";
    let mut late = Http1::connect(proxy.http()).await;
    late.send(&request("GET", slow, &[], b"")).await;
    until(PATIENCE, "it to be at the application", || async { blue.requests().len() == 1 }).await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    let address = proxy.http();
    let next = tokio::spawn(async move { get(address, slow).await.text() });
    until(PATIENCE, "the next to be at the new version", || async { green.requests().len() == 1 }).await;
    go_on.add_permits(2);
    assert_eq!(late.head().await.status(), 200);
    assert_eq!(next.await.expect("an answer"), "green 1");
    assert_eq!(told(&get(address, slow).await), HIT, "it is that of the new version");
    assert_eq!(get(address, slow).await.text(), "green 1");
}

#[tokio::test]
async fn what_is_not_for_everybody_is_never_held() {
    let (raw, proxy, _) = started("").await;
    let mut asked = 0;
    for target in [
        "/nothing",
        "/private?Cache-Control:private,max-age=60",
        "/no-store?Cache-Control:no-store,max-age=60",
        "/cookie?Cache-Control:max-age=60&Set-Cookie:a=b",
        "/star?Cache-Control:max-age=60&Vary:*",
        "/old?Cache-Control:max-age=60&Date:Sun,+06+Nov+1994+08:49:37+GMT",
        "/aged?Cache-Control:max-age=60&Age:60",
        "/zero?Cache-Control:s-maxage=0,max-age=60",
    ] {
        for _ in 0..3 {
            asked += 1;
            assert_eq!(get(proxy.http(), target).await.text(), format!("blue {asked}"), "{target}");
        }
    }
    let mine = [("Authorization", "Bearer mine")];
    for _ in 0..2 {
        asked += 1;
        assert_eq!(get_with(proxy.http(), FRESH, &mine).await.text(), format!("blue {asked}"));
    }
    assert_eq!((held_bytes(&proxy).await, raw.requests().len()), (0, asked));
    let public = "/b?Cache-Control:public,max-age=60";
    let first = get_with(proxy.http(), public, &mine).await.text();
    assert_eq!(
        (get_with(proxy.http(), public, &mine).await.text(), get(proxy.http(), public).await.text()),
        (first.clone(), first)
    );
}

#[tokio::test]
async fn headers_of_the_request_choose_where_the_answer_says_so() {
    let (raw, proxy, _) = started("").await;
    let target = "/a?Cache-Control:max-age=60&Vary:Accept-Language,+X-Kind";
    let ask = async |language: &str| {
        let answer =
            get_with(proxy.http(), target, &[("Accept-Language", language), ("X-Other", language)]).await;
        (answer.text(), told(&answer) == HIT)
    };
    for (language, text, hit) in [
        ("de", "blue 1", false),
        ("en", "blue 2", false),
        ("de", "blue 1", true),
        ("en", "blue 2", true),
        ("fr", "blue 3", false),
        ("de", "blue 1", true),
    ] {
        assert_eq!(ask(language).await, (text.to_owned(), hit), "{language}");
    }
    assert_eq!(raw.requests().len(), 3);
}

#[tokio::test]
async fn what_is_stale_is_asked_about_and_served_again_when_it_is_the_same() {
    let (raw, proxy, _) = started("").await;
    let target = "/a?Cache-Control:max-age=60&Age:60&ETag:'one'";
    assert_eq!(get(proxy.http(), target).await.text(), "blue 1");
    let again = get(proxy.http(), target).await;
    assert_eq!((again.text().as_str(), told(&again)), ("blue 1", "switcher; fwd=stale; fwd-status=304"));
    let fresh = get(proxy.http(), target).await;
    assert_eq!((fresh.text().as_str(), told(&fresh)), ("blue 1", HIT), "it is fresh again");
    let old = target.replace("Age:60", "Age:61&Date:Sun,+06+Nov+1994+08:49:37+GMT");
    for told_again in [MISS, "switcher; fwd=stale; fwd-status=304", "switcher; fwd=stale; fwd-status=304"] {
        assert_eq!(told(&get(proxy.http(), &old).await), told_again, "what is old is asked about each time");
    }
    let asked = raw.requests();
    assert_eq!(asked.len(), 5);
    assert_eq!(asked[1].head.get("if-none-match"), Some("\"one\""));
}

#[tokio::test]
async fn a_failing_application_is_stood_in_for_where_it_says_so() {
    let (_raw, proxy, _) = started("").await;
    let declared = "Age:60&Last-Modified:Sun,+06+Nov+1994+08:49:37+GMT&-fail";
    let plain = format!("/a?Cache-Control:max-age=60,stale-if-error=600&{declared}");
    assert_eq!(get(proxy.http(), &plain).await.text(), "blue 1");
    let again = get(proxy.http(), &plain).await;
    assert_eq!((again.status, again.text().as_str()), (200, "blue 1"));
    assert_eq!(told(&again), "switcher; hit; fwd=stale; detail=error");
    let other = format!("/b?Cache-Control:max-age=60&{declared}");
    let statuses = [get(proxy.http(), &other).await.status, get(proxy.http(), &other).await.status];
    assert_eq!(statuses, [200, 500], "who does not say so fails");
}

#[tokio::test]
async fn conditions_and_parts_are_answered_from_what_is_held() {
    let (raw, proxy, _) = started(", compress: {types: [text/*], min_size: 0}").await;
    let target = "/a?Cache-Control:max-age=60&ETag:'one'&Content-Type:text/plain";
    let part = get_with(proxy.http(), target, &[("Range", "bytes=0-3")]).await;
    assert_eq!((part.status, told(&part)), (200, "switcher; fwd=bypass"));
    assert_eq!(raw.requests()[0].head.get("range"), Some("bytes=0-3"), "the application may cut it");
    let whole = get_with(proxy.http(), target, &[("Accept-Encoding", "gzip")]).await;
    assert_eq!((whole.header("content-encoding"), whole.header("etag")), (Some("gzip"), Some("W/\"one\"")));
    for tag in ["\"one\"", "W/\"one\"", "\"x\", W/\"one\""] {
        let known =
            get_with(proxy.http(), target, &[("If-None-Match", tag), ("Accept-Encoding", "gzip")]).await;
        assert_eq!((known.status, known.body.len(), told(&known)), (304, 0, HIT), "{tag}");
    }
    assert_eq!(get_with(proxy.http(), target, &[("If-None-Match", "\"two\"")]).await.status, 200);
    let (mut one, two) = (Http1::connect(proxy.http()).await, Http2::connect(proxy.http()).await);
    let known = [("If-None-Match", "\"one\"")];
    let missing = |number: u8| target.replace("/a?", &format!("/{number}?"));
    let unchanged = one.exchange(&request("GET", &missing(1), &known, b"")).await;
    assert_eq!((unchanged.status, unchanged.body.len(), told(&unchanged)), (304, 0, MISS));
    let unchanged = two.exchange(http2::request("GET", &missing(2), &known), b"").await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    for number in [1, 2] {
        let whole = one.exchange(&request("GET", &missing(number), &[], b"")).await;
        assert_eq!((told(&whole), whole.body.len()), (HIT, 6));
    }
    let part = get_with(proxy.http(), target, &[("Range", "bytes=0-3"), ("Accept-Encoding", "gzip")]).await;
    assert_eq!((part.status, part.text().as_str(), told(&part)), (206, "blue", HIT));
    assert_eq!(part.header("content-range"), Some("bytes 0-3/6"));
    assert_eq!(raw.requests().len(), 4);
}

#[tokio::test]
async fn many_who_ask_for_the_same_at_once_ask_once() {
    let (raw, proxy, go_on) = started("").await;
    let target = "/a?Cache-Control:max-age=60&-gate";
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Http1::connect(proxy.http()).await;
        client.send(&request("GET", target, &[], b"")).await;
        clients.push(client);
    }
    until(PATIENCE, "all to be inside", || async {
        proxy.admin().in_flight(Slot::Blue).await.expect("a list").exchanges.len() == 5
    })
    .await;
    until(PATIENCE, "one to be at the application", || async { raw.requests().len() == 1 }).await;
    go_on.add_permits(1);
    let answers = join_all(clients.iter_mut().map(async |client| {
        let head = client.head().await;
        let body = client.try_body(head.answer_framing()).await.expect("a body");
        String::from_utf8(body).expect("text")
    }))
    .await;
    assert_eq!((answers, raw.requests().len()), (vec!["blue 1".to_owned(); 5], 1));
}

#[tokio::test]
async fn an_answer_that_breaks_off_leaves_nothing_behind() {
    let (raw, proxy, _) = started("").await;
    for (at, target) in
        ["/a?Cache-Control:max-age=60&-die", "/b?Cache-Control:max-age=60&-die&-chunked"].iter().enumerate()
    {
        for _ in 0..2 {
            let mut client = Http1::connect(proxy.http()).await;
            client.try_exchange(&request("GET", target, &[], b"")).await.expect_err("cut");
        }
        assert_eq!(raw.requests().len(), 2 * (at + 1), "{target}");
        proxy.wait_metric(BYTES, 0).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_takes_nothing_from_the_others() {
    let (raw, proxy, go_on) = started("").await;
    let target = "/a?Cache-Control:max-age=60&-gate";
    let mut leaving = Http1::connect(proxy.http()).await;
    leaving.send(&request("GET", target, &[], b"")).await;
    until(PATIENCE, "it to be at the application", || async { raw.requests().len() == 1 }).await;
    let mut staying = Http1::connect(proxy.http()).await;
    staying.send(&request("GET", target, &[], b"")).await;
    until(PATIENCE, "both to be inside", || async {
        proxy.admin().in_flight(Slot::Blue).await.expect("a list").exchanges.len() == 2
    })
    .await;
    drop(leaving);
    go_on.add_permits(1);
    let head = tokio::select! {
        head = staying.head() => head,
        () = until(PATIENCE, "it to be asked for once more", || async { raw.requests().len() == 2 }) => {
            go_on.add_permits(1);
            staying.head().await
        }
    };
    assert_eq!(head.status(), 200);
    assert!(!staying.try_body(head.answer_framing()).await.expect("a body").is_empty());
}

#[tokio::test]
async fn memory_has_one_bound_and_answers_have_another() {
    let go_on = Arc::new(Semaphore::new(0));
    let raw = upstream("blue", &go_on).await;
    let bounds = |size: &str| {
        let setup = Setup::one(raw.address()).shop("middleware", "{cache: on}");
        setup.proxy("cache", &format!("{{size: {size}, max_object: 64KiB}}"))
    };
    let mut proxy = bounds("1MiB").start_healthy().await;
    for number in 0..60 {
        let chunked = if number % 2 == 0 { "&-chunked" } else { "" };
        let target = format!("/{number}?Cache-Control:max-age=60&-long:50000{chunked}");
        assert_eq!(get(proxy.http(), &target).await.body.len(), 50_000);
        assert!(held_bytes(&proxy).await <= 1 << 20);
    }
    proxy.wait_metric_at_least(BYTES, 900_001).await;
    assert_eq!(told(&get(proxy.http(), "/59?Cache-Control:max-age=60&-long:50000").await), HIT);
    assert_eq!(told(&get(proxy.http(), "/0?Cache-Control:max-age=60&-long:50000&-chunked").await), MISS);
    for target in
        ["/long?Cache-Control:max-age=60&-long:70000", "/long?Cache-Control:max-age=60&-long:70000&-chunked"]
    {
        for _ in 0..2 {
            let long = get(proxy.http(), target).await;
            assert_eq!(long.body.len(), 70_000);
            assert_ne!(told(&long), HIT, "{target}");
        }
    }
    proxy.configure(bounds("100KiB"));
    proxy.admin().reload().await.expect("a reload");
    assert!(held_bytes(&proxy).await <= 100 << 10, "what is too much goes at once");
    proxy.configure(bounds("0").shop("middleware", "{}"));
    proxy.admin().reload().await.expect("a reload");
    assert_eq!(held_bytes(&proxy).await, 0);
    assert_eq!(
        get(proxy.http(), "/59?Cache-Control:max-age=60&-long:50000").await.header("cache-status"),
        None
    );
}

#[tokio::test]
async fn a_change_makes_what_is_held_of_it_wrong() {
    let (_raw, proxy, _) = started("").await;
    assert_eq!(get(proxy.http(), FRESH).await.text(), "blue 1");
    assert_eq!(told(&get(proxy.http(), FRESH).await), HIT);
    assert_eq!(told(&post(proxy.http(), FRESH, b"new").await), "switcher; fwd=bypass");
    assert_eq!(get(proxy.http(), FRESH).await.text(), "blue 3");
}

#[tokio::test]
async fn who_may_not_ask_gets_nothing_that_is_held_and_a_path_may_be_left_out() {
    let go_on = Arc::new(Semaphore::new(0));
    let raw = upstream("blue", &go_on).await;
    let setup = Setup::one(raw.address()).proxy("trusted_proxies", "[127.0.0.1]");
    let setup = setup.shop("middleware", "{cache: on, deny: [203.0.113.0/24]}");
    let proxy = setup.shop("paths", "{/live: {cache: off}}").start_healthy().await;
    assert_eq!(get(proxy.http(), FRESH).await.text(), "blue 1");
    let denied = get_with(proxy.http(), FRESH, &[("X-Forwarded-For", "203.0.113.7")]).await;
    assert_eq!((denied.status, denied.header("cache-status")), (403, None));
    for _ in 0..2 {
        let live = get(proxy.http(), "/live?Cache-Control:max-age=60").await;
        assert_eq!(live.header("cache-status"), None);
    }
    assert_eq!(raw.requests().len(), 3);
    let secure = get_with(proxy.http(), FRESH, &[("X-Forwarded-Proto", "https")]).await;
    assert_eq!(told(&secure), MISS, "the application may say something else by https");
}
