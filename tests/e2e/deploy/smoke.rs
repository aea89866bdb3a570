//! Smoke tests: a new version is tried through the proxy's own front door, and one that fails is never live.

use switcher_tests::site::Traffic;
use switcher_tests::{Image, Site, skip_or_fail};

/// What every version is asked: its own name, by https, and a sign that it is any good.
const TESTS: &str = "[{path: /version, status: 200, contains: \"{version}\"}, {path: /headers, contains: \"proto=https\"}, \
                     {path: /env, contains: \"QUALITY=good\", timeout: 5s, attempts: 2}]";

fn good(version: &str) -> Image {
    Image::new(version).env("QUALITY", "good")
}

/// A site with these tests, on which v1 is live and takes traffic.
async fn smoking() -> (Site, Traffic) {
    let site = Site::prepare().await.shop("hosts", "[shop.test]").deploy("smoke", TESTS).open().await;
    let traffic = site.serve(&good("v1")).await;
    (site, traffic)
}

#[tokio::test]
async fn a_version_that_fails_its_smoke_tests_is_never_live() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let (site, traffic) = smoking().await;
    site.push(&Image::new("v2").env("QUALITY", "poor")).await;
    let containers = site.engine.running().await;
    let ran = site.run(&["deploy", "v2"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{ran:?}");
    ran.says(&["E-SMOKE-01", "did not answer 1 of 3 smoke tests well", "live now: shop:"]);
    ran.says(&["GET /env: expected 200-299 with \"QUALITY=good\" in it, and after"]);
    traffic.flow().await;
    // It fails when any request failed, or was answered by another version than v1.
    traffic.finish().await;
    site.agree("v1").await;
    assert_eq!(site.engine.running().await, containers, "what runs");
    assert_eq!(site.remains().await, [""; 0], "containers that ended");
    let history = site.history();
    let newest = history.last().expect("a line");
    assert_eq!(
        (&newest["version"], &newest["failure"]["code"]),
        (&"v2".into(), &"E-SMOKE-01".into()),
        "{newest:#}"
    );
}

#[tokio::test]
async fn a_version_that_passes_goes_live_and_whoever_must_can_do_without() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let (site, traffic) = smoking().await;
    site.push(&good("v2")).await;
    traffic.announce("v2");
    let plan = site.succeed(&["deploy", "v2", "--dry-run"]).await.stdout;
    assert!(plan.contains("for 3 pages through the proxy's own listener"), "{plan}");
    site.succeed(&["deploy", "v2"]).await;
    traffic.settle();
    site.push(&Image::new("v3")).await;
    assert_eq!(site.run(&["deploy", "v3"]).await.code, 4);
    site.agree("v2").await;
    traffic.announce("v3");
    site.succeed(&["deploy", "v3", "--skip-smoke"]).await;
    traffic.settle();
    traffic.flow().await;
    traffic.finish().await;
    site.agree("v3").await;
}

#[tokio::test]
async fn a_test_may_post_with_a_login_that_nobody_sees() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    const LOGIN: &str = "kX7vQ2-nobody-sees-this";
    let sent = format!("{{Authorization: \"Bearer {LOGIN}\", X-Version: \"for-{{version}}\"}}");
    let test =
        |text: &str| format!("{{path: /headers, method: POST, headers: {sent}, contains: \"{text}\"}}");
    let tests = [test("POST /headers"), test("Bearer "), test("for-v1")].join(", ");
    let site = Site::prepare().await.deploy("smoke", &format!("[{tests}]")).open().await;
    site.push(&Image::new("v1")).await;
    site.succeed(&["deploy", "v1"]).await;
    site.push(&Image::new("v2")).await;
    let ran = site.run(&["deploy", "v2"]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    // The page that was answered holds the login, and is shown without it.
    ran.says(&["POST /headers: expected 200-299 with \"for-v1\" in it", "authorization: ***"]);
    let shown = site.succeed(&["config", "show"]).await.stdout;
    assert!(!format!("{ran:?}{shown}").contains(LOGIN), "{ran:?}{shown}");
    // The configuration itself is where this test has written it.
    let leaks = site.leaks(&[LOGIN.to_owned()]);
    assert!(leaks.iter().all(|leak| leak.contains("/switcher.yaml: ")), "{leaks:?}");
    site.agree("v1").await;
}

#[tokio::test]
async fn a_release_that_waits_is_tried_when_it_is_promoted_and_plain_http_will_do() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site =
        Site::prepare().await.shop("tls", "off").deploy("smoke", "{path: /env, contains: \"QUALITY=good\"}");
    let site = site.open().await;
    site.push(&good("v1")).await;
    site.succeed(&["deploy", "v1"]).await;
    site.push(&Image::new("v2")).await;
    let ran = site.run(&["deploy", "v2", "--no-promote"]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    site.succeed(&["deploy", "v2", "--no-promote", "--skip-smoke"]).await;
    let waiting = if site.proxy().admin().shop().await.active == switcher_config::Slot::Blue {
        "green"
    } else {
        "blue"
    };
    let ran = site.run(&["promote", waiting]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    ran.says(&["E-SMOKE-01", "GET /env"]);
    site.succeed(&["promote", waiting, "--force"]).await;
    site.agree("v2").await;
}
