//! The circuit breaker end to end: when nobody passes, who does all the same, and that a switch begins with a closed one.

use switcher_config::Slot;
use switcher_config::durable::{Durability, replace};
use switcher_tests::http1::{Answer, get, get_with};
use switcher_tests::{App, Manner, PATIENCE, Proxy, Setup, until};

/// Opens at four failures and stays so for the whole test.
const FOR_LONG: &str = "{breaker: {errors: 50%, requests: 4, window: 10m, open: 1h}}";

async fn json(proxy: &Proxy, target: &str) -> Answer {
    get_with(proxy.http(), target, &[("Accept", "application/json")]).await
}

async fn fails(proxy: &Proxy, times: usize, status: u16) {
    for _ in 0..times {
        assert_eq!(get(proxy.http(), "/").await.status, status);
    }
}

async fn wait_counted(proxy: &Proxy, name: &str, times: u64) {
    proxy.wait_metric(&format!("{name}{{app=\"shop\",slot=\"blue\"}}"), times).await;
}

#[tokio::test]
async fn an_application_that_mostly_fails_is_left_alone_and_a_switch_begins_anew() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("preview.token");
    replace(&token, b"a-token-for-these-tests", 0o600, Durability::Synced).expect("written");
    let proxy = Setup::two(&blue, &green)
        .shop("middleware", FOR_LONG)
        .shop("paths", "{/open: {breaker: off}}")
        .shop("preview", &format!("{{token_file: {}}}", token.display()))
        .start_healthy()
        .await;
    let mut events = proxy.admin().events().await;
    blue.behave(Manner::Failing);
    fails(&proxy, 4, 500).await;
    let told = async {
        loop {
            let text = events.next().await.expect("a stream").expect("an event");
            if text.contains("event: breaker") {
                return text;
            }
        }
    };
    let told = switcher_tests::until::within(PATIENCE, "the event", told).await;
    assert!(told.contains("\"slot\":\"blue\"") && told.contains("\"until\""), "{told}");
    let refused = json(&proxy, "/").await;
    assert_eq!((refused.status, refused.json()["error"].as_str()), (503, Some("breaker")));
    let wait: u64 =
        refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("when to come back");
    assert!((3500..=3600).contains(&wait), "{wait}");
    assert_eq!(refused.header("x-switcher-slot"), None);
    assert_eq!(blue.hits(), 4, "it is left alone");
    assert_eq!(get(proxy.http(), "/open").await.status, 500, "this place has none");
    wait_counted(&proxy, "switcher_breaker_opened_total", 1).await;
    wait_counted(&proxy, "switcher_breaker_refused_total", 1).await;
    let preview = [("X-Switcher-Preview", "a-token-for-these-tests")];
    assert_eq!(get_with(proxy.http(), "/", &preview).await.text(), "green");
    proxy.admin().reload().await.expect("a reload");
    assert_eq!(json(&proxy, "/").await.status, 503, "a reload forgets nothing");
    blue.behave(Manner::Well);
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    assert_eq!(get(proxy.http(), "/").await.text(), "green");
    proxy.admin().promote(Slot::Blue).await.expect("promoted");
    fails(&proxy, 5, 200).await;
    assert_eq!(blue.hits(), 10);
}

#[tokio::test]
async fn after_a_while_one_tries_and_when_it_is_answered_all_pass_again() {
    let app = App::start("blue").await;
    let breaker = "{breaker: {errors: 50%, requests: 4, window: 10m, open: 500ms}}";
    let proxy = Setup::one(app.upstream()).shop("middleware", breaker).start_healthy().await;
    app.behave(Manner::Failing);
    fails(&proxy, 4, 500).await;
    until(PATIENCE, "one to try", || async { get(proxy.http(), "/").await.status == 500 }).await;
    assert_eq!(app.hits(), 5);
    assert_eq!(get(proxy.http(), "/").await.status, 503, "what it met decides for all");
    app.behave(Manner::Well);
    until(PATIENCE, "it to close", || async { get(proxy.http(), "/").await.status == 200 }).await;
    fails(&proxy, 5, 200).await;
    wait_counted(&proxy, "switcher_breaker_opened_total", 2).await;
}

#[tokio::test]
async fn only_failures_of_the_application_count_and_none_at_all_is_one() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).shop("middleware", FOR_LONG).start_healthy().await;
    for _ in 0..10 {
        assert_eq!(get(proxy.http(), "/status/404").await.status, 404);
    }
    assert_eq!(get(proxy.http(), "/").await.status, 200);
    let address = app.address();
    app.stop().await;
    until(PATIENCE, "the breaker to open", || async { json(&proxy, "/").await.json()["error"] == "breaker" })
        .await;
    let app = App::start_at("blue", address).await;
    proxy.wait_healthy().await;
    assert_eq!(json(&proxy, "/").await.json()["error"], "breaker", "probes say nothing about answers");
    assert_eq!(app.hits(), 0);
}
