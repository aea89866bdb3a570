//! Upstreams in trouble: left out, asked no more than the budget allows, given no more than they can take.

use std::time::Instant;

use switcher_config::Slot;
use switcher_tests::http1::{Answer, get, get_with, post, request};
use switcher_tests::{App, Http1, Manner, PATIENCE, Proxy, Raw, Setup, until};
use tokio::task::JoinHandle;

use super::swallowing;

const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";

/// A series of the blue slot of `shop`.
fn of_blue(family: &str) -> String {
    format!("{family}{{app=\"shop\",slot=\"blue\"}}")
}

async fn statuses(proxy: &Proxy, requests: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..requests {
        statuses.push(get(proxy.http(), "/").await.status);
    }
    statuses
}

#[tokio::test]
async fn an_upstream_that_answers_badly_is_left_out_and_never_both() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Setup::slots(&[a.upstream(), b.upstream()], &[])
        .shop("outliers", "{failures: 3, window: 1h, ejection: 1h}")
        .start_healthy()
        .await;
    a.behave(Manner::Failing);
    assert_eq!(statuses(&proxy, 6).await.iter().filter(|status| **status == 500).count(), 3);
    assert_eq!(statuses(&proxy, 20).await, [200; 20]);
    let upstreams = proxy.admin().shop().await.slots.blue.upstreams;
    let ejected = upstreams[0].ejected.as_ref().expect("the first is left out");
    assert_eq!(ejected.reason, "3 failures in a row, the last: 500");
    assert!(upstreams[1].ejected.is_none());
    proxy.wait_metric(&of_blue("switcher_upstream_ejections_total"), 1).await;
    // The other one fails as well: half of the slot is out already, so it goes on being asked.
    b.behave(Manner::Failing);
    assert_eq!(statuses(&proxy, 20).await, [500; 20]);
    assert_eq!((a.hits(), b.hits()), (3, 43));
}

#[tokio::test]
async fn without_outliers_a_bad_upstream_goes_on_being_asked() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Setup::slots(&[a.upstream(), b.upstream()], &[]).start_healthy().await;
    a.behave(Manner::Failing);
    assert_eq!(statuses(&proxy, 20).await.iter().filter(|status| **status == 500).count(), 10);
}

#[tokio::test]
async fn an_upstream_that_was_left_out_comes_back() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Setup::slots(&[a.upstream(), b.upstream()], &[])
        .shop("outliers", "{failures: 1, ejection: 500ms}")
        .start_healthy()
        .await;
    a.behave(Manner::Failing);
    until(PATIENCE, "the first to be left out", || async {
        get(proxy.http(), "/").await;
        proxy.metric(&of_blue("switcher_upstream_ejections_total")).await > 0
    })
    .await;
    a.behave(Manner::Well);
    until(PATIENCE, "the first to be asked again", || async { get(proxy.http(), "/").await.text() == "a" })
        .await;
}

#[tokio::test]
async fn a_503_is_asked_of_another_upstream_when_that_is_safe_and_wanted() {
    let (busy, app) = (Raw::answering(UNAVAILABLE).await, App::start("app").await);
    let blue = [busy.address().to_string(), app.upstream()];
    let retries = "{attempts: 2, budget: 100%, on: [connect, 503]}";
    let proxy = Setup::slots(&blue, &[]).shop("retries", retries).start_healthy().await;
    assert_eq!(statuses(&proxy, 20).await, [200; 20]);
    assert!(!busy.requests().is_empty());
    proxy.wait_metric_at_least(&of_blue("switcher_retries_total"), 1).await;
    let mut posted = Vec::new();
    for _ in 0..10 {
        posted.push(post(proxy.http(), "/count", b"\0").await.status);
    }
    assert_eq!(posted.iter().filter(|status| **status == 503).count(), 5, "{posted:?}");
    let plain = Setup::slots(&blue, &[]).start_healthy().await;
    assert_eq!(statuses(&plain, 10).await.iter().filter(|status| **status == 503).count(), 5);
}

#[tokio::test]
async fn a_connection_that_breaks_before_an_answer_is_tried_elsewhere_when_that_is_safe_and_wanted() {
    let (broken, app) = (swallowing().await, App::start("app").await);
    let blue = [broken.address().to_string(), app.upstream()];
    let proxy = Setup::slots(&blue, &[]).shop("retries", "{budget: 100%, on: reset}").start_healthy().await;
    assert_eq!(statuses(&proxy, 20).await, [200; 20]);
    let mut posted = Vec::new();
    for _ in 0..10 {
        posted.push(post(proxy.http(), "/count", b"\0").await.status);
    }
    assert_eq!(posted.iter().filter(|status| **status == 502).count(), 5, "{posted:?}");
    let plain = Setup::slots(&blue, &[]).start_healthy().await;
    assert_eq!(statuses(&plain, 10).await.iter().filter(|status| **status == 502).count(), 5);
}

#[tokio::test]
async fn a_dying_slot_gets_no_more_retries_than_the_budget_allows() {
    let (one, two) = (Raw::answering(UNAVAILABLE).await, Raw::answering(UNAVAILABLE).await);
    let blue = [one.address().to_string(), two.address().to_string()];
    let retries = "{attempts: 2, budget: 10%, on: 503}";
    let proxy = Setup::slots(&blue, &[]).shop("retries", retries).start_healthy().await;
    let began = Instant::now();
    assert_eq!(statuses(&proxy, 200).await, [503; 200]);
    let seconds = began.elapsed().as_secs() + 2;
    let seen = (one.requests().len() + two.requests().len()) as u64;
    proxy.wait_metric(&of_blue("switcher_retries_total"), seen - 200).await;
    assert!(seen > 200 && seen - 200 <= 20 + 3 * seconds, "{seen} requests in {seconds} s");
    proxy.wait_metric_at_least(&of_blue("switcher_retries_refused_total"), 101).await;
}

async fn waiting(proxy: &Proxy, count: u64) {
    proxy.wait_metric(&of_blue("switcher_queue_waiting"), count).await;
}

fn ask(proxy: &Proxy, target: &str) -> JoinHandle<Answer> {
    let (address, target) = (proxy.http(), target.to_owned());
    tokio::spawn(async move { get(address, &target).await })
}

#[tokio::test]
async fn what_no_upstream_has_room_for_waits_in_order_and_no_more_than_may() {
    let app = App::start("app").await;
    let proxy = Setup::one(app.upstream())
        .shop("max_in_flight", "1")
        .shop("queue", "{requests: 5, max: 1h}")
        .start_healthy()
        .await;
    let mut asked = vec![ask(&proxy, "/gate?0")];
    until(PATIENCE, "the first to be there", || async { app.waiting() == 1 }).await;
    for n in 1..=4 {
        asked.push(ask(&proxy, &format!("/gate?{n}")));
        waiting(&proxy, n).await;
    }
    let mut leaves = Http1::connect(proxy.http()).await;
    leaves.send(&request("GET", "/gate?leaves", &[], b"")).await;
    waiting(&proxy, 5).await;
    let refused = get_with(proxy.http(), "/", &[("Accept", "application/json")]).await;
    assert_eq!((refused.status, refused.json()["error"].as_str()), (503, Some("overloaded")));
    assert_eq!(refused.header("retry-after"), Some("1"));
    proxy.wait_metric(&of_blue("switcher_queue_refused_total"), 1).await;
    drop(leaves);
    waiting(&proxy, 4).await;
    assert_eq!((app.hits(), app.waiting()), (1, 1), "no more than it may");
    app.open_gate();
    for answer in asked {
        assert_eq!(answer.await.expect("an answer").status, 200);
    }
    let order: Vec<String> = app.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(order, ["/gate?0", "/gate?1", "/gate?2", "/gate?3", "/gate?4"]);
    waiting(&proxy, 0).await;
}

#[tokio::test]
async fn who_waits_for_room_for_too_long_is_answered() {
    let app = App::start("app").await;
    let proxy = Setup::one(app.upstream())
        .shop("max_in_flight", "1")
        .shop("queue", "{max: 100ms}")
        .start_healthy()
        .await;
    let held = ask(&proxy, "/gate");
    until(PATIENCE, "the first to be there", || async { app.waiting() == 1 }).await;
    assert_eq!(get(proxy.http(), "/").await.status, 503);
    app.open_gate();
    assert_eq!(held.await.expect("an answer").status, 200);
    // The place is given back when the request is over for the proxy.
    until(PATIENCE, "room again", || async { get(proxy.http(), "/").await.status == 200 }).await;
}

#[tokio::test]
async fn without_a_limit_nobody_waits() {
    let app = App::start("app").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let asked: Vec<_> = (0..10).map(|_| ask(&proxy, "/gate")).collect();
    until(PATIENCE, "all to be there", || async { app.waiting() == 10 }).await;
    app.open_gate();
    for answer in asked {
        assert_eq!(answer.await.expect("an answer").status, 200);
    }
}

#[tokio::test]
async fn who_waits_holds_the_slot_that_it_entered_over_a_switch() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green)
        .shop("max_in_flight", "1")
        .shop("drain", "{requests: 1h}")
        .start_healthy()
        .await;
    let first = ask(&proxy, "/gate");
    until(PATIENCE, "the first to be there", || async { blue.waiting() == 1 }).await;
    let second = ask(&proxy, "/");
    waiting(&proxy, 1).await;
    let left = proxy.admin().promote(Slot::Green).await.expect("a switch").drained_generation;
    let inside = proxy.admin().shop().await.slots.blue.in_flight.total();
    assert_eq!((inside, get(proxy.http(), "/").await.text().as_str()), (2, "green"));
    blue.open_gate();
    assert_eq!(first.await.expect("an answer").text(), "blue");
    assert_eq!(second.await.expect("an answer").text(), "blue");
    assert!(proxy.admin().drain(left, "20s").await.expect("a receipt").drained);
}
