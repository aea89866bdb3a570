//! The proxy's own answers: each says what happened, in the form its client reads.

use switcher_tests::http1::{get, get_with, request};
use switcher_tests::port::Refusing;
use switcher_tests::{App, Http1, PATIENCE, Raw, Setup, until};

#[tokio::test]
async fn an_upstream_that_breaks_off_a_dead_one_and_a_silent_one_are_told_apart() {
    let breaks = Raw::start(|mut conversation| async move {
        conversation.request().await;
    })
    .await;
    let app = App::start("blue").await;
    let broken = Setup::one(breaks.address()).start_healthy().await;
    let silent = Setup::one(app.upstream()).shop("timeouts", "{response: 300ms}").start_healthy().await;
    let stopped = Setup::one(app.upstream()).start_healthy().await;
    stopped.admin().stop(None).await.expect("stopped");
    let mut bodies = Vec::new();
    for (proxy, path, status) in [(&broken, "/", 502), (&silent, "/gate", 504), (&stopped, "/", 503)] {
        let answer = get(proxy.http(), path).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.header("x-request-id").is_some());
        bodies.push(answer.text());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 3, "each says something of its own");
}

#[tokio::test]
async fn an_answer_comes_as_html_or_json_as_the_client_accepts() {
    let dead = Refusing::start();
    let proxy = Setup::one(dead.address()).start_unready().await;
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (accept, kind) in [
        (browser, "text/html"),
        ("application/json", "application/json"),
        ("text/html;q=0.1, application/json", "application/json"),
    ] {
        let answer = get_with(proxy.http(), "/", &[("Accept", accept)]).await;
        assert!((500..600).contains(&answer.status));
        let content_type = answer.header("content-type").unwrap_or_default();
        assert!(content_type.starts_with(kind), "{accept}: {content_type}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        if kind == "application/json" {
            assert!(answer.json().is_object());
        }
    }
}

#[tokio::test]
async fn an_own_answer_to_head_has_no_body_and_keeps_the_connection_in_step() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("hosts", "[shop.test]").start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    let answer = client.exchange(&request("HEAD", "/", &[("Host", "other.test")], b"")).await;
    assert_eq!((answer.status, answer.body.len()), (404, 0));
    if answer.header("connection") != Some("close") {
        assert_eq!(client.exchange(&request("GET", "/", &[], b"")).await.text(), "blue");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_a_499_and_never_a_5xx() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "the request to wait", || async { app.waiting() == 1 }).await;
    drop(client);
    assert_eq!(proxy.record_of("/gate").await["status"], 499);
}

#[tokio::test]
async fn an_error_of_the_application_is_its_own() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let answer = get_with(proxy.http(), "/status/503", &[("Accept", "text/html")]).await;
    assert_eq!((answer.status, answer.text().as_str(), answer.header("x-app")), (503, "blue", Some("blue")));
}
