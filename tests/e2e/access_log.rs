//! The access log: what stands in it, and that it never holds a request up.

use switcher_tests::http1::{get, post, request};
use switcher_tests::port::Refusing;
use switcher_tests::tls::Hello;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, until};

#[tokio::test]
async fn a_record_tells_the_whole_exchange() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let mut client = Hello::to("shop.test").http1(proxy.https()).await;
    let answer = client.exchange(&request("POST", "/echo?q=1", &[("User-Agent", "probe")], b"12345")).await;
    let record = proxy.record_of("/echo").await;
    for (key, value) in [
        ("app", serde_json::json!("shop")),
        ("slot", "blue".into()),
        ("generation", serde_json::json!(proxy.generation().await)),
        ("method", "POST".into()),
        ("host", "shop.test".into()),
        ("path", "/echo?q=1".into()),
        ("status", 200.into()),
        ("client", "127.0.0.1".into()),
        ("tls", true.into()),
        ("upstream", app.upstream().into()),
        ("tries", 1.into()),
        ("bytes_in", 5.into()),
        ("bytes_out", 5.into()),
        ("user_agent", "probe".into()),
        ("request_id", answer.header("x-request-id").into()),
    ] {
        assert_eq!(record[key], value, "{key} in {record}");
    }
    assert!(record["duration_ms"].is_number() && record["time"].is_string(), "{record}");
}

#[tokio::test]
async fn a_second_try_is_counted() {
    let (dead, app) = (Refusing::start(), App::start("alive").await);
    let blue = [dead.address().to_string(), app.upstream()];
    let proxy =
        Setup::slots(&blue, &[]).shop("health", "{interval: 1h, rise: 1, fall: 1000}").start_unready().await;
    for n in 0..2 {
        assert_eq!(post(proxy.http(), &format!("/{n}"), b"x").await.status, 200);
    }
    let record = proxy.record("a second try", |r| r["tries"] == 2).await;
    assert_eq!((&record["status"], &record["upstream"]), (&200.into(), &app.upstream().into()));
}

#[tokio::test]
async fn the_log_can_be_text_and_can_be_off() {
    let app = App::start("blue").await;
    let text = Setup::one(app.upstream()).proxy("access_log", "text").start_healthy().await;
    get(text.http(), "/as-text").await;
    until(PATIENCE, "a line of text", || async {
        text.stdout().lines().iter().any(|l| l.contains("/as-text") && !l.starts_with('{'))
    })
    .await;
    let mut off = Setup::one(app.upstream()).proxy("access_log", "off").start_healthy().await;
    get(off.http(), "/unseen").await;
    off.signal(rustix::process::Signal::TERM);
    assert!(!off.exit().await.stdout.contains("/unseen"));
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_no_request_up() {
    let app = App::start("blue").await;
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("stuck");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    // Opened for both ways, a pipe without a reader takes 64 KiB and then blocks its writer for ever.
    let script = format!("exec \"$@\" 1<>'{}'", pipe.display());
    let mut proxy = Proxy::spawn_within(Setup::one(app.upstream()), &["sh", "-c", &script, "sh"]);
    proxy.wait_ready().await;
    let mut client = Http1::connect(proxy.http()).await;
    for n in 0..2_000 {
        let answer = client.exchange(&request("GET", &format!("/{n}"), &[], b"")).await;
        assert_eq!(answer.status, 200, "request {n}");
    }
}

#[tokio::test]
async fn what_was_logged_is_written_before_the_process_ends() {
    let app = App::start("blue").await;
    let mut proxy = Setup::one(app.upstream()).start_healthy().await;
    for n in 0..100 {
        get(proxy.http(), &format!("/n{n}")).await;
    }
    proxy.signal(rustix::process::Signal::TERM);
    let stdout = proxy.exit().await.stdout;
    assert!((0..100).all(|n| stdout.contains(&format!("/n{n}\""))), "{stdout}");
}
