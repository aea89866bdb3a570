//! Promote and rollback as they should go, and as they are refused.

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use switcher_config::Slot;
use switcher_config::wire::Health;

use crate::proxy::{Answer, Proxy, drained, refusal, slot};
use crate::run::{finish, start, switcher};

const PROMOTE: &str = "POST /v1/apps/shop/promote";
const DRAIN: &str = "GET /v1/apps/shop/drains/7";

fn sick() -> switcher_config::wire::SlotStatus {
    slot(Health::Unhealthy, "127.0.0.1:8002", "v1.5.0")
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("a signal");
}

#[test]
fn promote_moves_traffic_waits_for_the_drain_and_prints_the_receipt() {
    let draining = Answer::Json(
        200,
        json!({
            "slot": "blue", "generation": 7, "drained": false, "seconds": 0.6,
            "finished": {"requests": 9, "uploads": 0, "streams": 0, "websockets": 0},
            "cut": {"requests": [], "uploads": [], "streams": [], "websockets": []},
            "in_flight": {"requests": 3, "uploads": 1, "streams": 0, "websockets": 1},
        }),
    );
    let proxy = Proxy::start()
        .on(PROMOTE, |world| world.switch())
        .on(DRAIN, move |_| draining)
        .on(DRAIN, |_| drained());
    insta::assert_snapshot!(switcher(&proxy.socket(), "promote green").all());
    assert_eq!(
        proxy.changes_asked(),
        [
            r#"POST /v1/apps/shop/promote {"slot":"green","expected_generation":7,"force":false}"#,
            "GET /v1/apps/shop/drains/7?wait=5s",
            "GET /v1/apps/shop/drains/7?wait=5s",
        ]
    );
}

#[test]
fn the_receipt_as_json_is_the_whole_of_standard_output() {
    let proxy = Proxy::start().on(PROMOTE, |world| world.switch()).on(DRAIN, |_| drained());
    let run = switcher(&proxy.socket(), "promote green --json --drain-timeout 3s --progress quiet");
    let receipt: switcher_config::wire::Receipt = serde_json::from_value(run.json()).expect("a receipt");
    assert_eq!((receipt.from, receipt.to, receipt.generation.get()), (Slot::Blue, Slot::Green, 8));
    assert_eq!(receipt.drain.expect("a drain").finished.requests, 12);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    assert!(proxy.changes_asked()[0].contains(r#""drain":"3s""#));
}

#[test]
fn a_detached_promote_does_not_ask_for_the_drain() {
    let proxy = Proxy::start().on(PROMOTE, |world| world.switch());
    let run = switcher(&proxy.socket(), "promote green --detach");
    insta::assert_snapshot!(run.all());
    assert_eq!(proxy.changes_asked().len(), 1);
}

#[test]
fn rollback_goes_to_the_other_slot_by_the_same_path() {
    let proxy = Proxy::start().on(PROMOTE, |world| world.switch()).on(DRAIN, |_| drained());
    let run = switcher(&proxy.socket(), "rollback --force");
    assert_eq!(run.code, 0, "{}", run.all());
    assert!(proxy.changes_asked()[0].contains(r#"{"slot":"green","expected_generation":7,"force":true}"#));
}

#[test]
fn a_slot_that_is_live_and_healthy_is_a_success_without_a_change() {
    let proxy = Proxy::start();
    insta::assert_snapshot!(switcher(&proxy.socket(), "promote blue").all());
    let json = switcher(&proxy.socket(), "promote blue --json").json();
    assert_eq!(json, json!({"app": "shop", "to": "blue", "generation": 7, "already_active": true}));
    assert_eq!(proxy.changes_asked(), [""; 0]);
}

#[test]
fn a_slot_that_is_live_and_sick_is_no_success() {
    let proxy = Proxy::start()
        .with(|world| world.shop().slots.blue = slot(Health::Unhealthy, "127.0.0.1:8001", "v1.4.2"));
    insta::assert_snapshot!(switcher(&proxy.socket(), "promote blue").all());
}

#[test]
fn a_slot_that_is_not_healthy_is_refused_with_its_reason() {
    let proxy = Proxy::start().with(|world| world.shop().slots.green = sick());
    insta::assert_snapshot!("unhealthy", switcher(&proxy.socket(), "promote green").all());
    insta::assert_snapshot!("rollback_unhealthy", switcher(&proxy.socket(), "rollback").all());
    let error = switcher(&proxy.socket(), "promote green --json").error();
    insta::assert_snapshot!("unhealthy_json", format!("{error:#}"));
    assert_eq!(proxy.changes_asked(), [""; 0]);
}

#[test]
fn an_unknown_health_and_an_empty_slot_are_told_apart() {
    let proxy = Proxy::start().with(|world| {
        world.shop().slots.green = slot(Health::Unknown, "127.0.0.1:8002", "v1.5.0");
        world.shop().slots.green.reason = Some("127.0.0.1:8002 has passed 1 of 2 checks".to_owned());
    });
    insta::assert_snapshot!("unknown", switcher(&proxy.socket(), "promote green").all());
    let proxy = proxy.with(|world| world.shop().slots.green.upstreams.clear());
    insta::assert_snapshot!("empty", switcher(&proxy.socket(), "promote green --force").all());
}

#[test]
fn force_moves_traffic_to_a_slot_that_is_not_healthy() {
    let proxy = Proxy::start()
        .with(|world| world.shop().slots.green = sick())
        .on(PROMOTE, |world| world.switch())
        .on(DRAIN, |_| drained());
    assert_eq!(switcher(&proxy.socket(), "promote green --force").code, 0);
    assert!(proxy.changes_asked()[0].contains(r#""force":true"#));
}

#[test]
fn a_slot_that_becomes_healthy_is_waited_for() {
    let proxy = Proxy::start()
        .with(|world| world.shop().slots.green = sick())
        .on("GET /v1/status", |world| {
            let seen = Answer::Json(200, json!(world.status));
            world.shop().slots.green = slot(Health::Healthy, "127.0.0.1:8002", "v1.5.0");
            seen
        })
        .on(PROMOTE, |world| world.switch())
        .on(DRAIN, |_| drained());
    let run = switcher(&proxy.socket(), "promote green --wait-healthy 20s");
    insta::assert_snapshot!(run.all());
}

#[test]
fn a_slot_that_stays_sick_ends_the_wait_with_its_reason() {
    let proxy = Proxy::start().with(|world| world.shop().slots.green = sick());
    insta::assert_snapshot!(switcher(&proxy.socket(), "promote green --wait-healthy 300ms").all());
    assert_eq!(proxy.changes_asked(), [""; 0]);
}

#[test]
fn somebody_else_who_acts_during_the_wait_ends_it() {
    let proxy =
        Proxy::start().with(|world| world.shop().slots.green = sick()).on("GET /v1/status", |world| {
            let seen = Answer::Json(200, json!(world.status));
            let next = world.shop().generation.next();
            world.shop().generation = next;
            seen
        });
    insta::assert_snapshot!(switcher(&proxy.socket(), "promote green --wait-healthy 20s").all());
}

#[test]
fn of_two_promotes_at_once_the_loser_hears_of_it() {
    let proxy = Proxy::start().on(PROMOTE, |_| {
        refusal(409, "generation_moved", "shop is at generation 8, not 7: somebody else switched it")
    });
    insta::assert_snapshot!(switcher(&proxy.socket(), "promote green").all());
}

#[test]
fn a_full_disk_is_told_with_what_is_still_live() {
    let proxy = Proxy::start().on(PROMOTE, |_| {
        refusal(
            507,
            "not_saved",
            "shop stays on blue: cannot write /var/lib/switcher/routing.json: no space left on device",
        )
    });
    insta::assert_snapshot!(switcher(&proxy.socket(), "promote green").all());
}

#[test]
fn ctrl_c_during_the_drain_says_that_traffic_has_moved() {
    for sent in [Signal::INT, Signal::TERM] {
        let proxy = Proxy::start().on(PROMOTE, |world| world.switch()).on(DRAIN, |_| Answer::Silence);
        let child = start(&proxy.socket(), "promote green");
        proxy.wait_for(DRAIN);
        signal(&child, sent);
        let run = finish(child.wait_with_output().expect("an end"), &proxy.socket());
        insta::assert_snapshot!("interrupted_drain", run.all());
    }
}

#[test]
fn ctrl_c_before_the_change_says_that_nothing_changed() {
    let proxy = Proxy::start()
        .with(|world| world.shop().slots.green = sick())
        .on("GET /v1/status", |world| Answer::Json(200, json!(world.status)))
        .on("GET /v1/status", |_| Answer::Silence);
    let child = start(&proxy.socket(), "promote green --wait-healthy 60s --progress quiet");
    proxy.wait_for_times("GET /v1/status", 2);
    signal(&child, Signal::INT);
    let run = finish(child.wait_with_output().expect("an end"), &proxy.socket());
    insta::assert_snapshot!(run.all());
    assert_eq!(proxy.changes_asked(), [""; 0]);
}

#[test]
fn ctrl_c_ends_a_wait_for_a_proxy_that_says_nothing() {
    for verb in ["promote green", "status", "drain blue"] {
        let proxy = Proxy::start().on("GET /v1/status", |_| Answer::Silence);
        let child = start(&proxy.socket(), verb);
        proxy.wait_for("GET /v1/status");
        signal(&child, Signal::INT);
        let run = finish(child.wait_with_output().expect("an end"), &proxy.socket());
        assert_eq!(run.code, 130, "{verb}: {}", run.all());
        assert!(run.err.contains("error[E-INTERRUPT-01]"), "{verb}: {}", run.err);
        assert_eq!(proxy.changes_asked(), [""; 0]);
    }
}
