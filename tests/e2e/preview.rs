//! Previews: who reaches the slot that is not live, by header and by link, and that nobody else notices.

use switcher_config::Slot;
use switcher_config::durable::{Durability, replace};
use switcher_config::wire::RefusalReason;
use switcher_tests::http1::{Answer, get, get_with, request};
use switcher_tests::http2::{self, Http2};
use switcher_tests::tls::Hello;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, Switcher, until};
use tempfile::TempDir;

const TOKEN: &str = "a-token-for-these-tests";
const OTHER: &str = "b-token-for-these-tests";
const WITH_TOKEN: [(&str, &str); 1] = [("X-Switcher-Preview", TOKEN)];

/// A folder with the file of a token, and the `preview` section that names it.
fn secret(token: &str, mode: u32) -> (TempDir, String) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("preview.token");
    replace(&file, token.as_bytes(), mode, Durability::Synced).expect("a written file");
    let section = format!("{{token_file: {}}}", file.display());
    (folder, section)
}

async fn two() -> (App, App, TempDir, Proxy) {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let (folder, section) = secret(TOKEN, 0o600);
    let proxy = Setup::two(&blue, &green).shop("preview", &section).start_healthy().await;
    (blue, green, folder, proxy)
}

fn slot(answer: &Answer) -> (String, Option<&str>) {
    (answer.text(), answer.header("x-switcher-slot"))
}

#[tokio::test]
async fn the_token_in_the_header_reaches_the_standby_and_goes_no_further() {
    let (blue, green, _folder, proxy) = two().await;
    let answer = get_with(proxy.http(), "/seen", &WITH_TOKEN).await;
    assert_eq!(slot(&answer), ("green".to_owned(), Some("green")));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(green.last().header("x-switcher-preview"), None);
    assert_eq!(slot(&get(proxy.http(), "/").await), ("blue".to_owned(), Some("blue")));
    let mut tls = Hello::to("shop.test").http1(proxy.https()).await;
    assert_eq!(tls.exchange(&request("GET", "/", &WITH_TOKEN, b"")).await.text(), "green");
    assert_eq!(
        tls.exchange(&request("GET", "/", &[], b"")).await.text(),
        "blue",
        "one connection, both slots"
    );
    let h2 = Http2::tls(proxy.https(), "shop.test").await;
    let answer = h2.exchange(http2::request("GET", "/", &[("x-switcher-preview", TOKEN)]), b"").await;
    assert_eq!((answer.text().as_str(), answer.header("cache-control")), ("green", Some("no-store")));
    assert!(blue.seen().iter().chain(&green.seen()).all(|seen| seen.header("x-switcher-preview").is_none()));
    let record = proxy.record_of("/seen").await;
    assert_eq!(record["slot"], "green", "{record}");
    assert!(!proxy.stdout().text().contains(TOKEN) && !proxy.stderr().contains(TOKEN));
}

#[tokio::test]
async fn a_wrong_token_is_as_good_as_none() {
    let (blue, green, _folder, proxy) = two().await;
    let plain = get(proxy.http(), "/").await;
    for headers in [
        [("X-Switcher-Preview", OTHER)],
        [("X-Switcher-Preview", "")],
        [("Cookie", "switcher_preview=99999999999.AAAA")],
        [("Cookie", "switcher_preview=a-token-for-these-tests")],
    ] {
        let answer = get_with(proxy.http(), "/", &headers).await;
        assert_eq!(slot(&answer), slot(&plain), "{headers:?}");
        assert_eq!(answer.header("cache-control"), plain.header("cache-control"));
        assert_eq!((blue.last().header("x-switcher-preview"), blue.last().header("cookie")), (None, None));
    }
    assert_eq!(green.hits(), 0);
}

/// The path and query of a link.
fn target(url: &str) -> &str {
    let (_, rest) = url.split_once("://").expect("a scheme");
    &rest[rest.find('/').expect("a path")..]
}

#[tokio::test]
async fn a_link_for_people_sets_a_cookie_that_opens_the_standby_until_they_leave() {
    let (blue, green, _folder, proxy) = two().await;
    let ran = Switcher::of(&proxy).succeed(&["preview", "--for", "10m", "--json"]).await;
    let made = ran.json();
    let (url, pass) = (made["url"].as_str().expect("a link"), made["pass"].as_str().expect("a pass"));
    assert_eq!((&made["slot"], url.contains(pass)), (&"green".into(), true));
    assert!(url.starts_with("https://localhost:") && !ran.stderr.contains(pass), "{ran:?}");
    let printed = Switcher::of(&proxy).succeed(&["preview"]).await.stdout;
    assert!(printed.starts_with("https://localhost:") && printed.contains("?pass="), "{printed}");

    let mut browser = Hello::to("shop.test").http1(proxy.https()).await;
    let answer = browser.exchange(&request("GET", target(url), &[], b"")).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let cookie = answer.header("set-cookie").expect("a cookie").to_owned();
    for part in [&format!("switcher_preview={pass}; "), "Path=/", "HttpOnly", "SameSite=Lax", "Secure"] {
        assert!(cookie.contains(part), "{part} is missing: {cookie}");
    }
    let age = cookie.split("Max-Age=").nth(1).and_then(|rest| rest.split(';').next()).expect("an age");
    assert!((1..=600).contains(&age.parse::<u32>().expect("seconds")), "{cookie}");
    assert_eq!((blue.hits(), green.hits()), (0, 0), "the link is the proxy's own");

    let cookies = [("Cookie", &*format!("theme=dark; switcher_preview={pass}; lang=en"))];
    let answer = browser.exchange(&request("GET", "/", &cookies, b"")).await;
    assert_eq!(
        (slot(&answer), answer.header("cache-control")),
        (("green".to_owned(), Some("green")), Some("no-store"))
    );
    assert_eq!(green.last().header("cookie"), Some("theme=dark; lang=en"));

    let leave = "/.well-known/switcher/preview?leave";
    let answer = browser.exchange(&request("GET", leave, &cookies, b"")).await;
    let cookie = answer.header("set-cookie").expect("a cookie");
    assert!(cookie.starts_with("switcher_preview=; ") && cookie.contains("Max-Age=0"), "{cookie}");
    let forged = format!("/.well-known/switcher/preview?pass={pass}x");
    let answer = browser.exchange(&request("GET", &forged, &[], b"")).await;
    assert_eq!((answer.status, answer.header("set-cookie")), (403, None));
    let record = proxy.record_of("/.well-known/switcher/preview").await;
    assert_eq!(record["path"], "/.well-known/switcher/preview", "{record}");
    assert!(!proxy.stdout().text().contains(pass) && !proxy.stderr().contains(pass));
}

#[tokio::test]
async fn nothing_in_the_standby_is_said_and_the_live_slot_is_not_shown_instead() {
    let blue = App::start("blue").await;
    let (_folder, section) = secret(TOKEN, 0o600);
    let proxy = Setup::one(blue.upstream()).shop("preview", &section).start_healthy().await;
    let answer = get_with(proxy.http(), "/", &WITH_TOKEN).await;
    assert_eq!(answer.status, 503);
    let said = answer.text();
    assert!(
        said.contains("There is nothing to preview: no version is in the standby slot, green."),
        "{said}"
    );
    assert_eq!(blue.hits(), 0);
    let green = App::start("green").await;
    proxy.admin().register(Slot::Green, &[green.upstream()], None).await.expect("registered");
    assert_eq!(get_with(proxy.http(), "/", &WITH_TOKEN).await.text(), "green", "not yet healthy, but there");
}

#[tokio::test]
async fn a_preview_goes_on_when_its_slot_becomes_live() {
    let (blue, green, _folder, proxy) = two().await;
    let mut visitor = Http1::connect(proxy.http()).await;
    visitor.send(&request("GET", "/half", &WITH_TOKEN, b"")).await;
    let framing = visitor.head().await.answer_framing();
    until(PATIENCE, "the preview to be inside", || async { green.waiting() == 1 }).await;
    assert_eq!(proxy.admin().shop().await.slots.green.in_flight.requests, 1);
    let switched = proxy.admin().promote(Slot::Green).await.expect("promoted");
    let receipt = proxy.admin().drain(switched.drained_generation, "20s").await.expect("a receipt");
    assert_eq!((receipt.drained, receipt.finished.requests, receipt.cut.requests.len()), (true, 0, 0));
    assert_eq!(proxy.admin().shop().await.slots.green.in_flight.requests, 1, "it is still inside");
    assert_eq!(
        get_with(proxy.http(), "/", &WITH_TOKEN).await.text(),
        "blue",
        "the standby is the other one now"
    );
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
    proxy.admin().promote(Slot::Blue).await.expect("promoted back");
    green.open_gate();
    assert_eq!(visitor.try_body(framing).await.expect("a whole body"), b"half whole");
    until(PATIENCE, "it to be out", || async {
        proxy.admin().shop().await.slots.green.in_flight.requests == 0
    })
    .await;
    drop(blue);
}

#[tokio::test]
async fn addresses_that_are_replaced_drain_who_previewed_them() {
    let (_blue, green, folder, mut proxy) = two().await;
    let section = format!("{{token_file: {}}}", folder.path().join("preview.token").display());
    let drain = "{requests: 300ms, uploads: 300ms, streams: 300ms, websockets: 300ms, spread: 0s}";
    let setup = proxy.setup().shop("preview", &section).shop("drain", drain);
    proxy.configure(setup);
    proxy.admin().reload().await.expect("reloaded");
    let wire = Http1::connect(proxy.http()).await;
    let mut visitor = wire;
    visitor.send(&request("GET", "/gate", &WITH_TOKEN, b"")).await;
    until(PATIENCE, "the preview to be inside", || async { green.waiting() == 1 }).await;
    let newer = App::start("newer").await;
    proxy.admin().register(Slot::Green, &[newer.upstream()], None).await.expect("registered");
    assert_eq!(get_with(proxy.http(), "/", &WITH_TOKEN).await.text(), "newer");
    assert_eq!(visitor.exchange(b"").await.status, 503, "it was closed at its time");
    until(PATIENCE, "it to be out", || async {
        proxy.admin().shop().await.slots.green.in_flight.requests == 0
    })
    .await;
    assert!(proxy.admin().shop().await.draining.is_empty(), "a preview is no drain of a switch");
}

#[tokio::test]
async fn a_stopped_or_paused_application_can_be_previewed() {
    let (_blue, _green, _folder, proxy) = two().await;
    proxy.admin().stop(None).await.expect("stopped");
    assert_eq!(get(proxy.http(), "/").await.status, 503);
    assert_eq!(get_with(proxy.http(), "/", &WITH_TOKEN).await.text(), "green");
    proxy.admin().pause(None).await.expect("paused");
    assert_eq!(get_with(proxy.http(), "/", &WITH_TOKEN).await.text(), "green");
}

#[tokio::test]
async fn a_websocket_previews_too() {
    let (_blue, _green, _folder, proxy) = two().await;
    let made = Switcher::of(&proxy).succeed(&["preview", "--json"]).await.json();
    let pass = made["pass"].as_str().expect("a pass");
    // What a browser does: the cookie goes along with the handshake.
    let cookie = format!("switcher_preview={pass}");
    let mut previewing =
        WebSocket::with(Http1::connect(proxy.http()).await, "/socket", &[("Cookie", &cookie)]).await;
    assert_eq!(previewing.text().await, "green");
    let mut live = WebSocket::connect(proxy.http(), "/socket").await;
    assert_eq!(live.text().await, "blue");
}

#[tokio::test]
async fn without_a_section_nobody_previews_and_the_command_says_why() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).start_healthy().await;
    assert_eq!(get_with(proxy.http(), "/", &WITH_TOKEN).await.text(), "blue");
    assert_eq!(blue.last().header("x-switcher-preview"), Some(TOKEN), "a header like any other");
    let ran = Switcher::of(&proxy).run(&["preview"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    ran.says(&["E-PREVIEW-01", "has no `preview` section"]);
}

#[tokio::test]
async fn a_new_token_ends_the_old_one_and_a_bad_file_changes_nothing() {
    let (_blue, _green, folder, proxy) = two().await;
    let pass = Switcher::of(&proxy).succeed(&["preview", "--json"]).await.json();
    let cookie = format!("switcher_preview={}", pass["pass"].as_str().expect("a pass"));
    let file = folder.path().join("preview.token");
    let put = |token: &str, mode| {
        replace(&file, token.as_bytes(), mode, Durability::Synced).expect("a written file")
    };
    for (token, mode, words) in
        [(OTHER, 0o644, "others can use it"), ("tiny", 0o600, "shorter than 16 characters")]
    {
        put(token, mode);
        let refused = proxy.admin().reload().await.expect_err("refused");
        assert_eq!(refused.refusal.reason, RefusalReason::BadConfiguration);
        let said = refused.refusal.message;
        assert!(
            said.contains("apps.shop.preview.token_file") && said.contains(words) && !said.contains(token),
            "{said}"
        );
        assert_eq!(get_with(proxy.http(), "/", &WITH_TOKEN).await.text(), "green");
    }
    put(OTHER, 0o600);
    assert_eq!(get_with(proxy.http(), "/", &[("Cookie", &cookie)]).await.text(), "green");
    proxy.admin().reload().await.expect("reloaded");
    assert_eq!(get_with(proxy.http(), "/", &WITH_TOKEN).await.text(), "blue");
    assert_eq!(get_with(proxy.http(), "/", &[("Cookie", &cookie)]).await.text(), "blue", "its token is gone");
    assert_eq!(get_with(proxy.http(), "/", &[("X-Switcher-Preview", OTHER)]).await.text(), "green");
}

#[tokio::test]
async fn a_proxy_does_not_start_with_a_token_that_others_can_read() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let (_folder, section) = secret(TOKEN, 0o640);
    let mut proxy = Proxy::spawn(Setup::two(&blue, &green).shop("preview", &section));
    let exit = proxy.exit().await;
    assert_eq!(exit.code, Some(10), "{}", exit.stderr);
    assert!(exit.stderr.contains("chmod 600") && !exit.stderr.contains(TOKEN), "{}", exit.stderr);
}

async fn smoke(proxy: &Proxy, slot: &str, path: &str) -> Answer {
    let body = format!("{{\"slot\": \"{slot}\", \"asks\": [{{\"path\": \"{path}\", \"timeout\": \"5s\"}}]}}");
    proxy.admin().call("POST", "/v1/apps/shop/smoke", &body).await
}

#[tokio::test]
async fn the_proxy_smokes_the_standby_through_its_own_door_without_any_configuration() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let hosts = "[\"*.test\", shop.test]";
    for (tls, proto) in [("internal", "https"), ("off", "http")] {
        let proxy = Setup::two(&blue, &green).shop("hosts", hosts).shop("tls", tls).start_healthy().await;
        proxy.admin().stop(None).await.expect("stopped");
        let smoked = smoke(&proxy, "green", "/status/418").await.json();
        let answer = &smoked["answers"][0];
        assert_eq!((&answer["status"], &answer["body"]), (&418.into(), &"green".into()), "{smoked}");
        assert_eq!(smoked["generation"], 1, "{smoked}");
        let seen = green.last();
        assert_eq!(seen.header("x-forwarded-proto"), Some(proto));
        assert!(seen.header("host").is_some_and(|host| host.starts_with("shop.test")), "{seen:?}");
        assert_eq!(seen.header("x-switcher-smoke"), None, "the secret stays in the proxy");
        assert_eq!(smoke(&proxy, "blue", "/").await.status, 409);
        proxy.admin().resume().await.expect("resumed");
        let forged = get_with(proxy.http(), "/", &[("X-Switcher-Smoke", "00000000")]).await;
        assert_eq!(forged.text(), "blue");
        assert_eq!(blue.last().header("x-switcher-smoke"), None);
    }
}

#[tokio::test]
async fn a_smoke_test_of_nothing_or_of_another_application_counts_for_nothing() {
    let (blue, other) = (App::start("blue").await, App::start("other").await);
    let setup = Setup::one(blue.upstream()).shop("tls", "off").another(
        "other",
        other.upstream(),
        &[("path", "/other"), ("tls", "off")],
    );
    let proxy = setup.start_healthy().await;
    for path in ["/", "/other"] {
        let smoked = smoke(&proxy, "green", path).await.json();
        let answer = &smoked["answers"][0];
        let why = answer["error"].as_str().expect("an error");
        assert!(
            answer["status"].is_null() && why.contains("503") && why.ends_with("is not that of shop green"),
            "{smoked}"
        );
    }
    assert_eq!((blue.hits(), other.hits()), (0, 0));
}
