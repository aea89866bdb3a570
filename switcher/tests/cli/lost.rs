//! Replies that never arrive: the program finds out what happened, and never asks in vain or twice too often.

use serde_json::json;
use switcher_config::wire::Mode;

use crate::proxy::{Answer, Proxy, World, drained};
use crate::run::switcher;

const PROMOTE: &str = "POST /v1/apps/shop/promote";
const DRAIN: &str = "GET /v1/apps/shop/drains/7";

fn switch_and_hang_up(world: &mut World) -> Answer {
    let _ = world.switch();
    Answer::Hangup
}

#[test]
fn a_switch_that_happened_although_its_reply_was_lost_is_a_success() {
    let proxy = Proxy::start().on(PROMOTE, switch_and_hang_up).on(DRAIN, |_| drained());
    insta::assert_snapshot!(switcher(&proxy.socket(), "promote green").all());
    assert_eq!(proxy.changes_asked().len(), 2, "one promote, one drain");
}

#[test]
fn a_switch_that_did_not_happen_is_asked_for_once_more() {
    let proxy = Proxy::start()
        .on(PROMOTE, |_| Answer::Hangup)
        .on(PROMOTE, |world| world.switch())
        .on(DRAIN, |_| drained());
    let run = switcher(&proxy.socket(), "promote green");
    assert_eq!(run.code, 0, "{}", run.all());
    assert!(run.err.contains("the reply was lost and nothing changed: asking once more"), "{}", run.err);
    let asked = proxy.changes_asked();
    assert_eq!(asked[0], asked[1], "the second request expects the same generation");
}

#[test]
fn a_reply_that_is_lost_twice_is_an_error_that_says_what_is_live() {
    let proxy = Proxy::start().on(PROMOTE, |_| Answer::Hangup).on(PROMOTE, |_| Answer::Hangup);
    let run = switcher(&proxy.socket(), "promote green");
    assert_eq!(run.code, 6, "{}", run.all());
    assert!(run.err.contains("error[E-PROXY-06]"), "{}", run.err);
    assert!(run.err.contains("live now: shop: blue, generation 7"), "{}", run.err);
    assert_eq!(proxy.changes_asked().len(), 2, "never a third time");
}

#[test]
fn a_second_request_that_meets_the_first_one_s_success_is_a_success() {
    let proxy = Proxy::start()
        .on(PROMOTE, |_| Answer::Hangup)
        .on(PROMOTE, |world| {
            let _ = world.switch();
            Answer::Json(
                409,
                json!({"reason": "generation_moved", "message": "moved", "active": "green", "generation": 8}),
            )
        })
        .on(DRAIN, |_| drained());
    let run = switcher(&proxy.socket(), "promote green --json");
    assert_eq!((run.code, run.json()["generation"].as_u64()), (0, Some(8)), "{}", run.all());
}

#[test]
fn a_lost_reply_and_somebody_else_s_change_are_told() {
    let proxy = Proxy::start().on(PROMOTE, |world| {
        let _ = world.switch();
        let _ = world.switch();
        Answer::Hangup
    });
    insta::assert_snapshot!(switcher(&proxy.socket(), "promote green").all());
    assert_eq!(proxy.changes_asked().len(), 1, "it is not asked for again");
}

#[test]
fn an_outcome_that_cannot_be_found_out_is_for_a_person() {
    let proxy = Proxy::start().on(PROMOTE, |world| {
        world.status.apps.clear();
        Answer::Hangup
    });
    let run = switcher(&proxy.socket(), "promote green");
    assert_eq!(run.code, 7, "{}", run.all());
    assert!(
        run.err.contains("error[E-STATE-02]: whether the change of shop happened is not known"),
        "{}",
        run.err
    );
}

#[test]
fn a_drain_that_the_proxy_forgot_is_told_together_with_the_switch() {
    let proxy = Proxy::start().on(PROMOTE, |world| world.switch()).on(DRAIN, |_| {
        Answer::Json(
            404,
            json!({"reason": "unknown_drain", "message": "no drain of generation 7 is remembered"}),
        )
    });
    insta::assert_snapshot!(switcher(&proxy.socket(), "promote green").all());
}

#[test]
fn a_connection_that_breaks_during_the_drain_is_opened_again() {
    let proxy = Proxy::start()
        .on(PROMOTE, |world| world.switch())
        .on(DRAIN, |_| Answer::Hangup)
        .on(DRAIN, |_| drained());
    let run = switcher(&proxy.socket(), "promote green");
    assert_eq!(run.code, 0, "{}", run.all());
}

#[test]
fn a_pause_whose_reply_was_lost_is_read_from_the_mode() {
    let proxy = Proxy::start().on("POST /v1/apps/shop/pause", |world| {
        world.shop().mode = Mode::Paused;
        Answer::Hangup
    });
    let run = switcher(&proxy.socket(), "pause --json");
    assert_eq!((run.code, run.json()["mode"].as_str()), (0, Some("paused")), "{}", run.all());
    assert_eq!(proxy.changes_asked().len(), 1);
}
