//! What the other verbs print, with and without `--json`.

use std::io::{BufRead as _, BufReader};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use switcher_config::wire::{ByKind, CertificateSource, CertificateStatus, DrainingStatus, Health, Mode};
use switcher_config::{Generation, Slot};

use crate::proxy::{Answer, Proxy, slot};
use crate::run::{command, start, switcher};

fn busy() -> Proxy {
    Proxy::start().with(|world| {
        let now = Timestamp::now();
        world.status.started_at = now - SignedDuration::from_hours(3);
        let from_file = CertificateStatus {
            names: vec!["shop.example.com".to_owned(), "*.shop.example.com".to_owned()],
            source: CertificateSource::File,
            ca: None,
            not_after: now + SignedDuration::from_hours(24 * 60),
            renew_at: None,
            failures: 0,
            retry_at: None,
            problem: None,
        };
        let placeholder = CertificateStatus {
            names: vec!["localhost".to_owned()],
            source: CertificateSource::Placeholder,
            not_after: now - SignedDuration::from_hours(5),
            problem: Some("the key does not belong to the certificate".to_owned()),
            ..from_file.clone()
        };
        let failing = CertificateStatus {
            names: vec!["api.example.com".to_owned()],
            source: CertificateSource::Acme,
            not_after: now + SignedDuration::from_hours(24 * 4),
            failures: 3,
            retry_at: Some(now + SignedDuration::from_mins(150)),
            problem: Some("port 80 of 203.0.113.7 is closed".to_owned()),
            ..from_file.clone()
        };
        world.status.certificates = vec![from_file, placeholder, failing];
        let shop = world.shop();
        shop.mode = Mode::Paused;
        shop.held = 12;
        shop.slots.green = slot(Health::Unhealthy, "127.0.0.1:8002", "v1.5.0");
        shop.draining = vec![DrainingStatus {
            slot: Slot::Green,
            generation: Generation::FIRST,
            since: now - SignedDuration::from_mins(6),
            in_flight: ByKind { requests: 0, uploads: 1, streams: 0, websockets: 2, connections: 0 },
        }];
    })
}

#[test]
fn the_status_shows_everything_on_one_page() {
    let run = switcher(&busy().socket(), "status");
    insta::assert_snapshot!(run.all());
    assert!(!run.out.contains('\x1b'), "no colour into a pipe");
}

#[test]
fn the_status_as_json_is_the_proxy_s_own() {
    let run = switcher(&busy().socket(), "--json status");
    let status: switcher_config::wire::Status = serde_json::from_value(run.json()).expect("a status");
    assert_eq!(status.apps.len(), 1);
    assert_eq!(run.out.lines().count(), 1);
}

#[test]
fn a_reader_that_goes_away_ends_a_watch_silently() {
    let proxy = Proxy::start();
    let mut child = start(&proxy.socket(), "status --watch");
    let mut out = BufReader::new(child.stdout.take().expect("standard output"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    assert_eq!(line, "shop · blue is live · generation 7 · open\n");
    drop(out);
    let end = child.wait_with_output().expect("an end");
    assert_eq!((end.status.code(), String::from_utf8_lossy(&end.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let end = command("explain").stdout(full).output().expect("a run");
    assert_eq!(end.status.code(), Some(7));
    assert!(String::from_utf8_lossy(&end.stderr).contains("error[E-OUTPUT-01]"));
}

#[test]
fn pause_resume_and_stop_say_what_requests_meet() {
    let changed = |mode: &str| Answer::Json(200, json!({"generation": 8, "mode": mode}));
    let proxy = Proxy::start()
        .on("POST /v1/apps/shop/pause", move |_| changed("paused"))
        .on("POST /v1/apps/shop/resume", move |_| changed("open"))
        .on("POST /v1/apps/shop/stop", move |_| changed("stopped"));
    let socket = proxy.socket();
    let runs = ["pause --max 10s", "resume", "stop --json -m back-at-noon"];
    let all: Vec<String> = runs.iter().map(|args| switcher(&socket, args).all()).collect();
    insta::assert_snapshot!(all.join("\n"));
    assert_eq!(
        proxy.changes_asked(),
        [
            r#"POST /v1/apps/shop/pause {"max":"10s"}"#,
            "POST /v1/apps/shop/resume",
            r#"POST /v1/apps/shop/stop {"message":"back-at-noon"}"#,
        ]
    );
}

#[test]
fn register_puts_the_addresses_of_the_standby() {
    let proxy = Proxy::start()
        .on("PUT /v1/apps/shop/slots/green", |_| Answer::Json(200, json!({"generation": 8, "mode": "open"})));
    let run = switcher(&proxy.socket(), "register green 127.0.0.1:9001 h2c://10.0.0.7:50051 --release v2");
    insta::assert_snapshot!(run.all());
    assert_eq!(
        proxy.changes_asked(),
        [
            r#"PUT /v1/apps/shop/slots/green {"upstreams":["127.0.0.1:9001","h2c://10.0.0.7:50051"],"release":"v2","expected_generation":7}"#
        ]
    );
}

#[test]
fn drain_lists_what_is_inside_oldest_first() {
    let inside = json!({"slot": "blue", "live": false, "exchanges": [
        {"kind": "websockets", "route": "GET /ws", "request_id": "01JD3", "age_seconds": 312.0},
        {"kind": "requests", "route": "GET /report/2026", "request_id": "01JD4", "age_seconds": 4.2},
    ]});
    let proxy = Proxy::start().on("GET /v1/apps/shop/slots/blue/in-flight", |_| Answer::Json(200, inside));
    insta::assert_snapshot!(switcher(&proxy.socket(), "drain blue").all());
}

#[test]
fn a_watched_drain_ends_when_the_slot_is_empty() {
    let inside = |exchanges: serde_json::Value| {
        Answer::Json(200, json!({"slot": "green", "live": false, "exchanges": exchanges}))
    };
    let one = json!([{"kind": "requests", "route": "GET /", "request_id": "01JD4", "age_seconds": 4.2}]);
    let proxy = Proxy::start()
        .on("GET /v1/apps/shop/slots/green/in-flight", move |_| inside(one))
        .on("GET /v1/apps/shop/slots/green/in-flight", move |_| inside(json!([])));
    let run = switcher(&proxy.socket(), "drain green --watch --json");
    assert_eq!((run.code, run.out.lines().count()), (0, 2), "{}", run.all());
}

#[test]
fn reload_lists_what_changed_and_what_needs_more() {
    let reloaded = json!({
        "changes": ["apps.shop.drain.requests: 30s is now 1m", "apps.blog was added"],
        "needs_restart": ["proxy.http: 0.0.0.0:80 is now 0.0.0.0:8080"],
    });
    let proxy = Proxy::start()
        .on("POST /v1/reload", |_| Answer::Hangup)
        .on("POST /v1/reload", |_| Answer::Json(200, reloaded));
    insta::assert_snapshot!(switcher(&proxy.socket(), "reload").all());
}

#[test]
fn events_are_printed_as_they_come_until_the_proxy_ends() {
    const STREAM: &str = concat!(
        "event: mode\ndata: {\"event\":\"mode\",\"at\":\"2026-11-21T14:03:07Z\",\"app\":\"shop\",\"mode\":\"stopped\"}\n\n",
        ": keep-alive\n\n",
        "event: health\ndata: {\"event\":\"health\",\"at\":\"2026-11-21T14:03:08Z\",\"app\":\"shop\",\"slot\":\"green\",",
        "\"upstream\":\"127.0.0.1:8002\",\"health\":\"unhealthy\",\"reason\":\"connection refused\"}\n\n",
    );
    let proxy = Proxy::start()
        .on("GET /v1/events", |_| Answer::Text(200, STREAM))
        .on("GET /v1/events", |_| Answer::Text(200, STREAM));
    insta::assert_snapshot!("events", switcher(&proxy.socket(), "events").all());
    let json = switcher(&proxy.socket(), "events --json");
    let events: Vec<serde_json::Value> =
        json.out.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!((events.len(), events[1]["health"].as_str()), (2, Some("unhealthy")));
}
