//! Headers on their way: who the client is, what ends at each hop, request ids and slot names.

use switcher_config::Slot;
use switcher_tests::http1::{get, get_with, request};
use switcher_tests::tls::Hello;
use switcher_tests::{App, Raw, Setup};

const SPOOF: [(&str, &str); 8] = [
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-Proto", "gopher"),
    ("X-Forwarded-Host", "evil.test"),
    ("Forwarded", "for=6.6.6.6"),
    ("X-Real-IP", "6.6.6.6"),
    ("X_Forwarded_For", "6.6.6.6"),
    ("X-Forwarded_Host", "evil.test"),
    ("X_Real_IP", "6.6.6.6"),
];

#[tokio::test]
async fn the_upstream_is_told_who_asked_and_how() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    get(proxy.http(), "/").await;
    let seen = app.last();
    assert_eq!(seen.header("host"), Some("shop.test"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.test"));
    let forwarded = seen.header("forwarded").expect("Forwarded").to_lowercase();
    assert!(forwarded.contains("for=127.0.0.1") && forwarded.contains("proto=http"), "{forwarded}");
    let mut client = Hello::to("shop.test").http1(proxy.https()).await;
    client.exchange(&request("GET", "/", &[], b"")).await;
    assert_eq!(app.last().header("x-forwarded-proto"), Some("https"));
}

#[tokio::test]
async fn a_stranger_is_not_believed_about_anybody() {
    let app = App::start("blue").await;
    let proxy =
        Setup::one(app.upstream()).proxy("client_ip_header", "CF-Connecting-IP").start_healthy().await;
    let own = [("CF-Connecting-IP", "6.6.6.6"), ("CF_Connecting-IP", "6.6.6.6")];
    let spoof = [&SPOOF[..], &own[..]].concat();
    get_with(proxy.http(), "/spoof", &spoof).await;
    let seen = app.last();
    for (name, value) in &seen.headers {
        let text = value.to_str().expect("text");
        assert!(!["6.6.6.6", "gopher", "evil.test"].iter().any(|lie| text.contains(lie)), "{name}: {text}");
    }
    assert_eq!(seen.headers.get_all("x-forwarded-for").iter().count(), 1);
    assert_eq!(proxy.record_of("/spoof").await["client"], "127.0.0.1");
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_up_to_the_first_stranger() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream())
        .proxy("trusted_proxies", "[127.0.0.0/8, 10.0.0.0/8]")
        .start_healthy()
        .await;
    let chain = [("X-Forwarded-For", "6.6.6.6, 203.0.113.7, 10.0.0.1"), ("X-Forwarded-Proto", "https")];
    get_with(proxy.http(), "/chain", &chain).await;
    let seen = app.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("6.6.6.6, 203.0.113.7, 10.0.0.1, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(proxy.record_of("/chain").await["client"], "203.0.113.7");
}

#[tokio::test]
async fn a_trusted_proxy_may_name_the_client_in_a_header_of_its_own() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream())
        .proxy("trusted_proxies", "[127.0.0.1/32]")
        .proxy("client_ip_header", "CF-Connecting-IP")
        .start_healthy()
        .await;
    let headers = [("CF-Connecting-IP", "203.0.113.9"), ("X-Forwarded-For", "203.0.113.7")];
    get_with(proxy.http(), "/named", &headers).await;
    assert_eq!(proxy.record_of("/named").await["client"], "203.0.113.9");
    get_with(proxy.http(), "/garbage", &[("CF-Connecting-IP", "not an address")]).await;
    assert_eq!(proxy.record_of("/garbage").await["client"], "127.0.0.1");
}

#[tokio::test]
async fn what_is_meant_for_one_hop_ends_there() {
    let upstream = Raw::answering(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Up\r\nX-Up: 1\r\nKeep-Alive: timeout=5\r\n\
          X-End: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nok",
    )
    .await;
    let proxy = Setup::one(upstream.address()).start_healthy().await;
    let headers = [
        ("Connection", "keep-alive, X-Mine"),
        ("X-Mine", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "gzip"),
        ("X-End", "1"),
        ("Cookie", "a=1"),
    ];
    let answer = get_with(proxy.http(), "/", &headers).await;
    for name in ["x-up", "keep-alive"] {
        assert_eq!(answer.header(name), None, "{name} reached the client");
    }
    assert_eq!((answer.header("x-end"), answer.head.all("set-cookie")), (Some("1"), vec!["a=1", "b=2"]));
    let seen = &upstream.requests()[0].head;
    for name in ["x-mine", "keep-alive", "proxy-connection", "te"] {
        assert_eq!(seen.get(name), None, "{name} reached the upstream");
    }
    assert_eq!((seen.get("x-end"), seen.get("cookie")), (Some("1"), Some("a=1")));
}

#[tokio::test]
async fn a_client_cannot_strip_what_the_proxy_adds() {
    let upstream = Raw::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let proxy = Setup::one(upstream.address()).start_healthy().await;
    for named in ["Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id"] {
        let trick = format!("close, {named}");
        assert_eq!(get_with(proxy.http(), "/", &[("Connection", &trick)]).await.status, 400, "{named}");
    }
    assert!(upstream.requests().is_empty(), "a trick reached the upstream");
    assert_eq!(get_with(proxy.http(), "/", &[("Connection", "close, X-Mine")]).await.status, 200);
    for name in ["Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id"] {
        assert_eq!(upstream.requests()[0].head.all(name).len(), 1, "{name}");
    }
}

#[tokio::test]
async fn every_exchange_has_an_id_that_client_upstream_and_log_agree_on() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let (first, second) = (get(proxy.http(), "/first").await, get(proxy.http(), "/second").await);
    let id = second.header("x-request-id").expect("an id");
    assert_ne!(first.header("x-request-id"), Some(id));
    assert_eq!(app.last().header("x-request-id"), Some(id));
    assert_eq!(proxy.record_of("/second").await["request_id"], id);
}

#[tokio::test]
async fn an_id_is_taken_over_from_trusted_proxies_only() {
    let app = App::start("blue").await;
    let mine = [("X-Request-Id", "id-of-the-client-0001")];
    let strict = Setup::one(app.upstream()).start_healthy().await;
    let answer = get_with(strict.http(), "/", &mine).await;
    assert_ne!(answer.header("x-request-id"), Some("id-of-the-client-0001"));
    assert_eq!(app.last().headers.get_all("x-request-id").iter().count(), 1);
    let trusting =
        Setup::one(app.upstream()).proxy("trusted_proxies", "[127.0.0.1/32]").start_healthy().await;
    let answer = get_with(trusting.http(), "/", &mine).await;
    assert_eq!(answer.header("x-request-id"), Some("id-of-the-client-0001"));
    assert_eq!(app.last().header("x-request-id"), Some("id-of-the-client-0001"));
}

#[tokio::test]
async fn answers_name_the_slot_and_the_release() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).start_healthy().await;
    let answer = get(proxy.http(), "/").await;
    assert_eq!((answer.header("x-switcher-slot"), answer.header("x-switcher-release")), (Some("blue"), None));
    proxy.admin().register(Slot::Green, &[green.upstream()], Some("v1.4.2")).await.expect("registered");
    proxy.wait_healthy().await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    let answer = get(proxy.http(), "/").await;
    assert_eq!(answer.header("x-switcher-slot"), Some("green"));
    assert_eq!(answer.header("x-switcher-release"), Some("v1.4.2"));
}

#[tokio::test]
async fn the_slot_header_can_be_renamed_and_taken_off() {
    let app = App::start("blue").await;
    let renamed = Setup::one(app.upstream()).proxy("headers", "{slot: X-Colour}").start_healthy().await;
    let answer = get(renamed.http(), "/").await;
    assert_eq!((answer.header("x-colour"), answer.header("x-switcher-slot")), (Some("blue"), None));
    let off = Setup::one(app.upstream()).proxy("headers", "{slot: off}").start_healthy().await;
    assert_eq!(get(off.http(), "/").await.header("x-switcher-slot"), None);
}
