//! How spans come to their collector: with a token, over TLS, over the end of a process, and what it says of them.

use rustix::process::Signal;
use switcher_config::durable::{Durability, replace};
use switcher_tests::certificate::Certificate;
use switcher_tests::http1::get;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, until};

use super::collector::{Collector, NOTHING};
use super::{figure, traced};

fn keep(path: &std::path::Path, token: &str) {
    replace(path, token.as_bytes(), 0o600, Durability::Synced).expect("a written file");
}

#[tokio::test]
async fn the_token_is_shown_and_read_again_each_time() {
    let (app, collector) = (App::start("blue").await, Collector::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    keep(&file, "first-token\n");
    collector.wants("first-token");
    let proxy = traced(&app, &collector, &format!(", token_file: {}", file.display())).await;
    get(proxy.http(), "/").await;
    collector.wait_for(2).await;
    // It has another one from now on, and the proxy is told nothing.
    collector.wants("second-token");
    get(proxy.http(), "/").await;
    until(PATIENCE, "spans to be lost", || async { figure(&proxy, "lost").await == 2 }).await;
    assert_eq!(collector.spans().len(), 2, "the old token is worth nothing");
    keep(&file, "second-token");
    get(proxy.http(), "/").await;
    collector.wait_for(4).await;
    assert!(proxy.stderr().contains("the collector takes no spans: it answered 401"), "{}", proxy.stderr());
    for secret in ["first-token", "second-token"] {
        assert!(
            !proxy.stderr().contains(secret) && !proxy.stdout().text().contains(secret),
            "a token is in a log"
        );
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_used_is_said_at_a_reload_and_changes_nothing() {
    let (app, collector) = (App::start("blue").await, Collector::start().await);
    let mut proxy = traced(&app, &collector, "").await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let setup =
        proxy.setup().proxy("traces", &collector.traces(&format!(", token_file: {}", file.display())));
    proxy.configure(setup);
    replace(&file, b"a-secret-token", 0o644, Durability::Synced).expect("a written file");
    let refused = proxy.admin().reload().await.expect_err("others can read it");
    let said = refused.refusal.message;
    assert!(said.contains("proxy.traces.token_file cannot be used") && said.contains("0644"), "{said}");
    assert!(!said.contains("a-secret-token"), "{said}");
    get(proxy.http(), "/").await;
    collector.wait_for(2).await;
    assert!(collector.first().1.get("authorization").is_none());
}

/// A proxy that believes this certificate beside no other.
async fn believing(
    app: &App,
    collector: &Collector,
    certificate: &Certificate,
) -> (Proxy, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let (roots, _) = certificate.write(folder.path(), "collector");
    let setup = Setup::one(app.upstream()).proxy("traces", &collector.traces(""));
    let proxy = setup.variable("SSL_CERT_FILE", &roots.display().to_string()).start_healthy().await;
    (proxy, folder)
}

#[tokio::test]
async fn a_collector_over_tls_is_believed_by_the_roots_of_the_system_alone() {
    let app = App::start("blue").await;
    let (known, other) = (Certificate::of(&["localhost"]), Certificate::of(&["localhost"]));
    let collector = Collector::tls(&known).await;
    let (proxy, _roots) = believing(&app, &collector, &known).await;
    for count in [2, 4] {
        get(proxy.http(), "/").await;
        collector.wait_for(count).await;
    }
    let (headers, spans) = (collector.first().1, collector.spans());
    let named = collector.traces("").contains(headers["host"].to_str().expect("a host"));
    assert!(named && spans[0].service == "switcher", "{headers:?} {spans:?}");
    // Of another one it takes no span, and says why.
    let stranger = Collector::tls(&other).await;
    let (proxy, _roots) = believing(&app, &stranger, &known).await;
    get(proxy.http(), "/").await;
    until(PATIENCE, "a complaint", || async {
        proxy.stderr().contains("the collector takes no spans: the TLS handshake failed")
    })
    .await;
    assert_eq!((stranger.asked(), stranger.spans().len()), (0, 0), "nothing was said to a stranger");
    // Nor is one believed under another's name.
    let elsewhere = Certificate::of(&["elsewhere.test"]);
    let misnamed = Collector::tls(&elsewhere).await;
    let (proxy, _roots) = believing(&app, &misnamed, &elsewhere).await;
    get(proxy.http(), "/").await;
    until(PATIENCE, "a complaint", || async { proxy.stderr().contains("the TLS handshake failed") }).await;
    assert_eq!(misnamed.asked(), 0);
}

/// An `ExportTraceServiceResponse` that rejects so many spans, which is less than 128, for this reason.
fn partial(rejected: u8, why: &str) -> Vec<u8> {
    let length = u8::try_from(why.len()).expect("a short reason");
    let inner = [&[0x08, rejected, 0x12, length], why.as_bytes()].concat();
    [&[0x0a, u8::try_from(inner.len()).expect("a short answer")], inner.as_slice()].concat()
}

#[tokio::test]
async fn what_a_collector_rejects_is_counted_as_lost_and_said_once() {
    let (app, collector) = (App::start("blue").await, Collector::start().await);
    let proxy = traced(&app, &collector, "").await;
    collector.says(partial(0, "be nice"));
    get(proxy.http(), "/").await;
    until(PATIENCE, "spans to be taken", || async { figure(&proxy, "sent").await == 2 }).await;
    assert_eq!(figure(&proxy, "lost").await, 0, "none was rejected");
    for times in 1..=3 {
        collector.says(partial(1, "too old"));
        get(proxy.http(), "/").await;
        until(PATIENCE, "a span to be lost", || async { figure(&proxy, "lost").await == times }).await;
        assert_eq!(figure(&proxy, "sent").await, 2 + times);
    }
    assert_eq!(collector.asked(), 4, "what is rejected is not sent again");
    let told = proxy.stderr();
    assert_eq!(told.matches("the collector rejects some spans").count(), 1, "{told}");
    assert!(told.contains("too old") && !told.contains("be nice"), "{told}");
    // More than there were, and what is no such answer.
    collector.says(partial(100, "all of them"));
    get(proxy.http(), "/").await;
    until(PATIENCE, "spans to be lost", || async { figure(&proxy, "lost").await == 5 }).await;
    for odd in [b"{\"partialSuccess\":{}}".to_vec(), vec![0xff; 200_000]] {
        let sent = figure(&proxy, "sent").await;
        collector.says(odd);
        get(proxy.http(), "/").await;
        until(PATIENCE, "spans to be taken", || async { figure(&proxy, "sent").await == sent + 2 }).await;
    }
    assert_eq!(figure(&proxy, "lost").await, 5);
}

#[tokio::test]
async fn what_is_queued_and_what_is_inside_comes_to_the_collector_over_an_upgrade_and_a_stop() {
    let (app, collector) = (App::start("blue").await, Collector::start().await);
    let mut proxy = traced(&app, &collector, "").await;
    let mut socket = WebSocket::with(Http1::connect(proxy.http()).await, "/socket", &[]).await;
    assert_eq!(socket.text().await, "blue");
    for _ in 0..50 {
        get(proxy.http(), "/").await;
    }
    // The process that leaves has what was queued, and the socket that is inside it yet.
    proxy.upgrade().await;
    for _ in 0..50 {
        get(proxy.http(), "/").await;
    }
    socket.close().await;
    assert_eq!(proxy.predecessor_exit().await, Some(0));
    let of = |name: &str| {
        let spans = collector.spans();
        spans.iter().filter(|span| span.kind == 2 && span.get("url.path") == Some(name)).count()
    };
    assert_eq!(of("/socket"), 1, "it came before the process had ended");
    assert!(of("/") >= 50, "{} of those before the upgrade", of("/"));
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit().await.code, Some(0));
    assert_eq!(
        (of("/"), collector.spans().len()),
        (100, 2 * 101),
        "nothing is lost, and nothing comes twice"
    );
}

#[tokio::test]
async fn what_a_collector_does_not_take_at_the_end_is_counted_in_the_log_and_holds_nobody_up() {
    let (app, collector) = (App::start("blue").await, Collector::start().await);
    let mut proxy = traced(&app, &collector, "").await;
    collector.answers(NOTHING);
    get(proxy.http(), "/").await;
    until(PATIENCE, "it to be asked", || async { collector.asked() == 1 }).await;
    // One batch is under way, and this one waits.
    get(proxy.http(), "/").await;
    proxy.signal(Signal::TERM);
    let exit = proxy.exit().await;
    assert_eq!(exit.code, Some(0));
    let line = exit.stderr.lines().find(|line| line.contains("were not taken in time and are lost"));
    let line = line.unwrap_or_else(|| panic!("{}", exit.stderr));
    assert!(line.contains("spans=4") || line.contains("\"spans\":4"), "{line}");
}
