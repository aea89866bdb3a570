//! The admin API: who may speak to it, what it says of itself, and how it refuses.

use std::os::unix::fs::PermissionsExt as _;

use switcher_config::Slot;
use switcher_config::wire::{Event, Health};
use switcher_tests::http1::{get, get_with, post};
use switcher_tests::sse::Events;
use switcher_tests::{App, PATIENCE, Proxy, Setup, within};

async fn two() -> (App, App, Proxy) {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).start_healthy().await;
    (blue, green, proxy)
}

#[tokio::test]
async fn only_the_owner_may_open_the_socket() {
    let (_blue, _green, proxy) = two().await;
    let mode = std::fs::metadata(proxy.socket()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn the_status_tells_everything_of_both_slots() {
    let (blue, _green, proxy) = two().await;
    let status = proxy.admin().status().await;
    assert_eq!((status.pid, status.version.is_empty()), (proxy.pid(), false));
    let shop = proxy.admin().shop().await;
    assert_eq!((shop.active, shop.generation.get(), shop.held, shop.draining.len()), (Slot::Blue, 1, 0, 0));
    for (slot, status) in shop.slots.iter() {
        assert_eq!(
            (status.health, &status.reason, status.upstreams.len()),
            (Health::Healthy, &None, 1),
            "{slot}"
        );
        assert!(status.upstreams[0].last_check.as_ref().is_some_and(|c| c.ok && c.status == Some(200)));
    }
    assert_eq!(shop.slots.get(Slot::Blue).upstreams[0].address.to_string(), blue.upstream());
    assert_eq!(
        proxy.admin().get("/v1/certificates").await.json().as_array().map(Vec::len),
        Some(status.certificates.len())
    );
}

#[tokio::test]
async fn the_openapi_document_names_every_path() {
    let (_blue, _green, proxy) = two().await;
    let document = proxy.admin().get("/openapi.json").await.json();
    for path in [
        "/v1/status",
        "/v1/apps/{app}/promote",
        "/v1/apps/{app}/drains/{generation}",
        "/v1/apps/{app}/slots/{slot}",
        "/v1/apps/{app}/slots/{slot}/in-flight",
        "/v1/apps/{app}/claim",
        "/v1/apps/{app}/progress",
        "/v1/apps/{app}/pause",
        "/v1/apps/{app}/resume",
        "/v1/apps/{app}/stop",
        "/v1/reload",
        "/v1/events",
        "/v1/certificates",
        "/metrics",
        "/health",
        "/ready",
    ] {
        assert!(document["paths"][path].is_object(), "{path} is missing");
    }
    let schemas = &document["components"]["schemas"];
    assert!(schemas["Fence"]["properties"]["number"].is_object(), "{schemas}");
    for schema in ["AppStatus", "PromoteRequest", "RegisterRequest"] {
        assert!(schemas[schema]["properties"]["fence"].is_object(), "{schema} has no lease");
    }
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused_with_a_reason() {
    let (_blue, _green, proxy) = two().await;
    for (method, path, body, status, reason) in [
        ("POST", "/v1/apps/nobody/promote", r#"{"slot":"green"}"#, 404, "unknown_app"),
        ("POST", "/v1/apps/shop/promote", r#"{"slot":"red"}"#, 400, "bad_request"),
        ("POST", "/v1/apps/shop/promote", r#"{"slot":"green","farce":true}"#, 400, "bad_request"),
        ("POST", "/v1/apps/shop/promote", "{", 400, "bad_request"),
        ("POST", "/v1/apps/shop/promote", "", 400, "bad_request"),
        ("PUT", "/v1/apps/shop/slots/red", r#"{"upstreams":[]}"#, 400, "bad_request"),
        ("GET", "/v1/apps/shop/drains/7?wait=soon", "", 400, "bad_request"),
        ("POST", "/v1/apps/nobody/pause", "{}", 404, "unknown_app"),
        ("POST", "/v1/apps/nobody/claim", r#"{"number":1,"holder":"a"}"#, 404, "unknown_app"),
        ("POST", "/v1/apps/shop/claim", "", 400, "bad_request"),
        ("POST", "/v1/apps/shop/claim", r#"{"number":-1,"holder":"a"}"#, 400, "bad_request"),
        ("POST", "/v1/apps/shop/claim", r#"{"number":1,"holder":""}"#, 400, "bad_request"),
    ] {
        let answer = proxy.admin().call(method, path, body).await;
        let said = (answer.status, answer.json()["reason"].clone());
        assert_eq!(said, (status, reason.into()), "{method} {path} {body}: {}", answer.text());
    }
    assert_eq!(proxy.admin().get("/v1/nothing").await.status, 404);
    assert_eq!(proxy.admin().call("DELETE", "/v1/status", "").await.status, 405);
    assert_eq!(proxy.generation().await.get(), 1);
    assert_eq!(proxy.admin().shop().await.fence, None);
}

#[tokio::test]
async fn the_status_listener_reads_and_never_changes() {
    let (_blue, _green, proxy) = two().await;
    for path in ["/status", "/metrics", "/health", "/ready"] {
        assert_eq!(get(proxy.status(), path).await.status, 200, "{path}");
    }
    for path in ["/v1/apps/shop/promote", "/v1/apps/shop/claim", "/v1/apps/shop/stop", "/v1/reload"] {
        let answer = post(proxy.status(), path, br#"{"slot":"green"}"#).await;
        assert!(matches!(answer.status, 403..=405), "{path}: {}", answer.status);
    }
    let shop = proxy.admin().shop().await;
    assert_eq!((shop.active, shop.generation.get()), (Slot::Blue, 1));
}

#[tokio::test]
async fn a_web_page_cannot_reach_the_status_listener_under_another_name_to_change_anything() {
    let (_blue, _green, proxy) = two().await;
    let headers = [("Host", "evil.test"), ("Origin", "http://evil.test")];
    let answer = get_with(proxy.status(), "/status", &headers).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn ready_needs_a_live_slot_that_can_serve() {
    let (blue, _green, proxy) = two().await;
    assert_eq!(proxy.admin().get("/health").await.status, 200);
    assert_eq!(proxy.admin().get("/ready").await.status, 200);
    blue.health(500, "broken");
    proxy.wait_health(Slot::Blue, Health::Unhealthy).await;
    assert_eq!(proxy.admin().get("/health").await.status, 200, "the process itself is fine");
    let ready = proxy.admin().get("/ready").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("shop: blue has no healthy upstream"), "{}", ready.text());
}

#[tokio::test]
async fn an_application_that_waits_for_its_first_deployment_is_no_reason_to_be_unready() {
    let proxy = Setup::slots(&[], &[]).start().await;
    let ready = proxy.admin().get("/ready").await;
    let said = "ready\nshop: nothing is deployed yet, blue has no addresses\n";
    assert_eq!((ready.status, ready.text().as_str()), (200, said));
}

#[tokio::test]
async fn events_tell_of_switches_drains_health_and_modes_as_they_happen() {
    let (_blue, green, proxy) = two().await;
    let mut events = proxy.admin().events().await;
    let left = proxy.admin().promote(Slot::Green).await.expect("promoted");
    proxy.admin().pause(None).await.expect("paused");
    proxy.admin().resume().await.expect("resumed");
    green.health(500, "broken");
    let mut missing = vec!["switched", "drained", "mode", "health"];
    while !missing.is_empty() {
        let (name, seen) = named(&mut events).await;
        match seen {
            Event::Switched { switched, .. } => assert_eq!(switched, left),
            Event::Drained { receipt, .. } => assert_eq!(receipt.generation, left.drained_generation),
            Event::Health { slot, health, reason, .. } => {
                assert_eq!((slot, health), (Slot::Green, Health::Unhealthy));
                assert!(reason.is_some_and(|r| r.contains("500")));
            }
            Event::Mode { .. }
            | Event::Progress { .. }
            | Event::Reloaded { .. }
            | Event::Certificate { .. }
            | Event::Bake { .. }
            | Event::Canary { .. }
            | Event::Ejected { .. }
            | Event::Breaker { .. } => {}
        }
        missing.retain(|m| *m != name);
    }
}

/// The next event, with the name of the server-sent event, which must be the one inside.
async fn named(events: &mut Events) -> (String, Event) {
    let text = within(PATIENCE, "an event", events.next()).await.expect("a stream").expect("an event");
    let field =
        |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::trim).unwrap_or_default();
    let (name, data) = (field("event:").to_owned(), field("data:"));
    let json: serde_json::Value = serde_json::from_str(data).expect("JSON");
    assert_eq!(json["event"], name.as_str());
    (name, serde_json::from_value(json).expect("an event"))
}

#[tokio::test]
async fn metrics_count_requests_switches_drains_and_health() {
    let (_blue, _green, proxy) = two().await;
    for _ in 0..3 {
        get(proxy.http(), "/").await;
    }
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    let text = get(proxy.status(), "/metrics").await.text();
    for family in
        ["requests", "duration", "in_flight", "health", "switches", "drain", "retries", "build_info"]
    {
        assert!(
            text.lines().any(|l| l.starts_with("# TYPE ") && l.contains(family)),
            "{family} is missing:\n{text}"
        );
    }
    proxy.wait_metric("switcher_requests_total{app=\"shop\",class=\"2xx\",slot=\"blue\"}", 3).await;
    proxy.wait_metric("switcher_switches_total{app=\"shop\",to=\"green\"}", 1).await;
}

#[tokio::test]
async fn nothing_that_a_client_says_becomes_a_label() {
    let (_blue, _green, proxy) = two().await;
    for n in 0..20 {
        let headers = [("Host", &*format!("host{n}.evil.test")), ("User-Agent", "evil-agent")];
        get_with(proxy.http(), &format!("/evil-path-{n}"), &headers).await;
    }
    proxy.wait_metric("switcher_requests_total{app=\"shop\",class=\"2xx\",slot=\"blue\"}", 20).await;
    let text = proxy.metrics().await;
    assert!(!text.contains("evil"), "{text}");
}
