//! Traces: what upstreams are told of them, which spans a collector gets, and that nobody notices a collector that is away.

mod beside;
mod collector;
mod delivery;
mod through;

use rustix::process::Signal;
use switcher_config::Slot;
use switcher_tests::http1::{get, get_with, request};
use switcher_tests::http2::{self, Http2};
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, until, until_some};

use self::collector::{Collector, NOTHING};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
fn said() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

const TRUSTED: &str = "[127.0.0.1/32]";

async fn traced(app: &App, collector: &Collector, more: &str) -> Proxy {
    Setup::one(app.upstream())
        .proxy("trusted_proxies", TRUSTED)
        .proxy("traces", &collector.traces(more))
        .start_healthy()
        .await
}

#[tokio::test]
async fn a_request_is_a_span_and_its_upstream_another_within_the_callers_trace() {
    let (app, collector) = (App::start("blue").await, Collector::start().await);
    let proxy = traced(&app, &collector, ", sample: 0%, service: edge").await;
    let headers =
        [("traceparent", said()), ("tracestate", "vendor=1".to_owned()), ("User-Agent", "test/1".to_owned())];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(get_with(proxy.http(), "/page?secret=1", &headers).await.text(), "blue");
    let spans = collector.wait_for(2).await;
    let [server, client] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((server.kind, client.kind), (2, 3));
    assert_eq!((server.trace.as_str(), client.trace.as_str()), (TRACE, TRACE));
    assert_eq!((server.parent.as_str(), client.parent.as_str()), (PARENT, server.id.as_str()));
    assert_eq!(
        (server.name.as_str(), client.name.as_str(), server.service.as_str()),
        ("GET /", "GET", "edge")
    );
    assert_eq!(server.state, "vendor=1");
    let (method, status, version) =
        ("http.request.method", "http.response.status_code", "network.protocol.version");
    for (key, value) in [
        (method, "GET"),
        ("url.path", "/page"),
        ("url.scheme", "http"),
        (status, "200"),
        (version, "1.1"),
        ("client.address", "127.0.0.1"),
        ("server.address", "shop.test"),
        ("http.route", "/"),
        ("user_agent.original", "test/1"),
        ("switcher.app", "shop"),
        ("switcher.slot", "blue"),
        ("switcher.generation", "1"),
    ] {
        assert_eq!(server.get(key), Some(value), "{key}: {server:?}");
    }
    let port = app.address().port().to_string();
    for (key, value) in [
        ("server.address", "127.0.0.1"),
        ("server.port", port.as_str()),
        (status, "200"),
        ("switcher.slot", "blue"),
    ] {
        assert_eq!(client.get(key), Some(value), "{key}: {client:?}");
    }
    assert_eq!(client.events, ["switcher.connected"]);
    assert!(server.times[0] <= client.times[0] && client.times[1] <= server.times[1], "{spans:?}");
    assert!(!format!("{spans:?}").contains("secret"), "{spans:?}");
    let seen = app.last();
    assert_eq!(seen.header("traceparent"), Some(format!("00-{TRACE}-{}-01", client.id).as_str()));
    assert_eq!(seen.header("tracestate"), Some("vendor=1"));
    let record = proxy.record_of("/page").await;
    assert_eq!(
        (record["trace_id"].as_str(), record["span_id"].as_str()),
        (Some(TRACE), Some(server.id.as_str()))
    );
    let (uri, headers) = collector.first();
    assert_eq!(
        (uri.as_str(), headers["content-type"].to_str().ok()),
        ("/v1/traces", Some("application/x-protobuf"))
    );
}

#[tokio::test]
async fn a_stranger_can_have_nothing_traced_and_poisons_no_trace() {
    let (app, collector) = (App::start("blue").await, Collector::start().await);
    let none =
        Setup::one(app.upstream()).proxy("traces", &collector.traces(", sample: 0%")).start_healthy().await;
    let all = Setup::one(app.upstream()).proxy("traces", &collector.traces("")).start_healthy().await;
    let (said, headers) = (said(), |said| [("traceparent", said), ("tracestate", "vendor=1")]);
    get_with(none.http(), "/", &headers(said.as_str())).await;
    let told = app.last().header("traceparent").expect("a parent").to_owned();
    assert!(!told.contains(TRACE) && told.ends_with("-00"), "{told}");
    assert_eq!(app.last().header("tracestate"), None);
    assert!(none.record_of("/").await["trace_id"].is_null());
    get_with(all.http(), "/", &headers(said.as_str())).await;
    let told = app.last().header("traceparent").expect("a parent").to_owned();
    let spans = collector.wait_for(2).await;
    assert!(spans.iter().all(|span| told.contains(&span.trace) && span.trace != TRACE), "{told} {spans:?}");
    assert_eq!((spans.len(), spans[0].parent.as_str()), (2, ""), "those of the second proxy alone");
}

#[tokio::test]
async fn a_broken_context_begins_a_new_trace_and_without_traces_it_passes_as_it_is() {
    let (app, collector) = (App::start("blue").await, Collector::start().await);
    let proxy = traced(&app, &collector, "").await;
    let plain = Setup::one(app.upstream()).proxy("trusted_proxies", TRUSTED).start_healthy().await;
    let zero = format!("00-{}-{PARENT}-01", "0".repeat(32));
    for broken in ["00-x", &said().to_uppercase(), &zero, &(said() + "-x")] {
        let headers = [("traceparent", broken), ("tracestate", "vendor=1")];
        get_with(proxy.http(), "/", &headers).await;
        let told = app.last().header("traceparent").expect("a parent").to_owned();
        assert!(told != *broken && !told.contains(TRACE) && told.len() == 55, "{told}");
        assert_eq!(app.last().header("tracestate"), None);
        get_with(plain.http(), "/", &headers).await;
        assert_eq!(app.last().header("traceparent"), Some(broken));
        assert_eq!(app.last().header("tracestate"), Some("vendor=1"));
    }
    get(plain.http(), "/without").await;
    assert_eq!(app.last().header("traceparent"), None);
    assert!(plain.record_of("/without").await["trace_id"].is_null());
}

#[tokio::test]
async fn requests_of_http2_and_websockets_belong_to_traces_too() {
    let (app, collector) = (App::start("blue").await, Collector::start().await);
    let proxy = Setup::one(app.upstream())
        .proxy("trusted_proxies", TRUSTED)
        .proxy("traces", &collector.traces(""))
        .shop("tls", "internal")
        .start_healthy()
        .await;
    let said = said();
    let h2 = Http2::tls(proxy.https(), "shop.test").await;
    let asked = http2::request("GET", "/two", &[("traceparent", &said)]);
    assert_eq!(h2.exchange(asked, b"").await.text(), "blue");
    let spans = collector.wait_for(2).await;
    assert_eq!((spans[0].trace.as_str(), spans[0].get("network.protocol.version")), (TRACE, Some("2")));
    assert_eq!(
        (spans[0].get("url.scheme"), spans[0].get("server.address")),
        (Some("https"), Some("shop.test"))
    );
    let wire = Http1::connect(proxy.http()).await;
    let mut socket = WebSocket::with(wire, "/socket", &[("traceparent", &said)]).await;
    assert_eq!(socket.text().await, "blue");
    socket.close().await;
    let spans = collector.wait_for(4).await;
    assert_eq!((spans[2].trace.as_str(), spans[2].get("http.response.status_code")), (TRACE, Some("101")));
    assert_eq!(spans[3].events, ["switcher.connected"]);
    assert_eq!(app.last().header("traceparent"), Some(format!("00-{TRACE}-{}-01", spans[3].id).as_str()));
}

#[tokio::test]
async fn each_try_has_a_span_and_a_failure_is_one() {
    let (one, two, collector) = (App::start("one").await, App::start("two").await, Collector::start().await);
    let proxy = Setup::slots(&[one.upstream(), two.upstream()], &[])
        .proxy("traces", &collector.traces(""))
        .shop("retries", "{attempts: 2, budget: 100%, on: [connect, 503]}")
        .start_healthy()
        .await;
    assert_eq!(get(proxy.http(), "/status/503").await.status, 503);
    let spans = collector.wait_for(3).await;
    assert_eq!(spans.iter().map(|span| span.kind).collect::<Vec<_>>(), [2, 3, 3]);
    for span in &spans {
        assert!(span.is_error && span.get("error.type") == Some("503"), "{span:?}");
    }
    let [first, second] = [&spans[1], &spans[2]];
    assert_ne!(first.get("server.port"), second.get("server.port"));
    assert_eq!(
        (first.get("http.request.resend_count"), second.get("http.request.resend_count")),
        (None, Some("1"))
    );
    assert!(first.times[1] <= second.times[0], "{spans:?}");
    let told: Vec<_> =
        [&one, &two].iter().map(|app| app.last().header("traceparent").map(str::to_owned)).collect();
    assert_ne!(told[0], told[1], "each knows its own span");
    assert_eq!(get(proxy.http(), "/status/404").await.status, 404);
    let spans = collector.wait_for(5).await;
    assert!(!spans[3].is_error, "the client's mistake is none of the server: {:?}", spans[3]);
}

#[tokio::test]
async fn a_request_held_over_a_switch_shows_its_wait_and_the_slot_that_served_it() {
    let (blue, green, collector) =
        (App::start("blue").await, App::start("green").await, Collector::start().await);
    let proxy = Setup::two(&blue, &green)
        .proxy("traces", &collector.traces(""))
        .shop("pause", "{max: 1h}")
        .start_healthy()
        .await;
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
    proxy.admin().pause(None).await.expect("paused");
    let address = proxy.http();
    let waiting = tokio::spawn(async move { get(address, "/").await });
    until(PATIENCE, "a request to be held", || async { proxy.admin().shop().await.held == 1 }).await;
    proxy.admin().promote(Slot::Green).await.expect("promoted");
    proxy.admin().resume().await.expect("resumed");
    assert_eq!(waiting.await.expect("an answer").text(), "green");
    let spans = collector.wait_for(4).await;
    let slots: Vec<_> = spans.iter().map(|span| span.get("switcher.slot").unwrap_or_default()).collect();
    assert_eq!(slots, ["blue", "blue", "green", "green"]);
    assert_eq!(
        (spans[0].events.len(), &*spans[2].events),
        (0, &["switcher.held".to_owned(), "switcher.released".to_owned()][..])
    );
}

async fn figure(proxy: &Proxy, outcome: &str) -> u64 {
    proxy.metric(&spans_that_were(outcome)).await
}

fn spans_that_were(outcome: &str) -> String {
    format!("switcher_spans_total{{outcome=\"{outcome}\"}}")
}

#[tokio::test]
async fn nobody_notices_a_collector_that_is_away_and_it_is_complained_of_once() {
    let (app, collector) = (App::start("blue").await, Collector::start().await);
    let proxy = traced(&app, &collector, "").await;
    for (status, lost) in [(400, 2), (500, 4)] {
        collector.answers(status);
        assert_eq!(get(proxy.http(), "/").await.text(), "blue");
        until(PATIENCE, "spans to be lost", || async { figure(&proxy, "lost").await == lost }).await;
    }
    let complaints = async || proxy.stderr().matches("the collector takes no spans").count();
    until(PATIENCE, "a complaint", || async { complaints().await > 0 }).await;
    assert_eq!(complaints().await, 1, "{}", proxy.stderr());
    for status in [429, 503] {
        let asked = collector.asked();
        collector.answers(status);
        assert_eq!(get(proxy.http(), "/").await.text(), "blue");
        until(PATIENCE, "it to be asked", || async { collector.asked() > asked }).await;
        collector.answers(200);
        let sent = if status == 429 { 2 } else { 4 };
        until(PATIENCE, "it to be asked again", || async { figure(&proxy, "sent").await == sent }).await;
    }
    until(PATIENCE, "its return to be said", || async {
        proxy.stderr().matches("the collector takes spans again").count() == 2
    })
    .await;
    let asked = collector.asked();
    collector.answers(NOTHING);
    get(proxy.http(), "/").await;
    until(PATIENCE, "it to be asked", || async { collector.asked() > asked }).await;
    let mut client = Http1::connect(proxy.http()).await;
    let long = "x".repeat(4000);
    for _ in 0..3000 {
        let asked = request("GET", &format!("/{long}"), &[("User-Agent", &long)], b"");
        assert_eq!(client.exchange(&asked).await.text(), "blue");
    }
    // There is room for so many only.
    proxy.wait_metric_at_least(&spans_that_were("dropped"), 1).await;
}

#[tokio::test]
async fn a_reload_moves_to_another_collector_and_the_end_loses_nothing() {
    let (app, first, second) = (App::start("blue").await, Collector::start().await, Collector::start().await);
    let mut proxy = traced(&app, &first, "").await;
    get(proxy.http(), "/").await;
    first.wait_for(2).await;
    let setup = proxy.setup().proxy("traces", &second.traces(", service: other"));
    proxy.configure(setup);
    proxy.admin().reload().await.expect("reloaded");
    get(proxy.http(), "/").await;
    proxy.signal(Signal::TERM);
    proxy.exit().await;
    let spans = second.spans();
    assert_eq!((spans.len(), first.spans().len()), (2, 2), "all came before the process had ended");
    assert_eq!(spans[0].service, "other");
}

#[tokio::test]
async fn buckets_carry_the_trace_of_a_request_for_whom_asks_for_openmetrics() {
    let (app, collector) = (App::start("blue").await, Collector::start().await);
    let proxy = traced(&app, &collector, ", sample: 0%").await;
    get(proxy.http(), "/").await;
    let accept = [("Accept", "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.4")];
    let before = get_with(proxy.status(), "/metrics", &accept).await;
    assert!(!before.text().contains("trace_id"), "it is not traced");
    assert!(
        before
            .header("content-type")
            .is_some_and(|t| t.starts_with("application/openmetrics-text; version=1.0.0"))
    );
    get_with(proxy.http(), "/", &[("traceparent", &said())]).await;
    let told = format!("# {{trace_id=\"{TRACE}\"}} ");
    let text = until_some(PATIENCE, "an exemplar", || async {
        let text = get_with(proxy.status(), "/metrics", &accept).await.text();
        text.contains(&told).then_some(text)
    })
    .await;
    let with: Vec<_> = text.lines().filter(|line| line.contains("trace_id")).collect();
    assert_eq!(with.len(), 1, "of the one bucket that it fell into: {with:?}");
    assert!(
        with[0].starts_with("switcher_request_duration_seconds_bucket{app=\"shop\",slot=\"blue\",le=\""),
        "{with:?}"
    );
    assert!(text.ends_with("# EOF\n") && text.contains("# TYPE switcher_requests counter\n"));
    let old = get(proxy.status(), "/metrics").await;
    assert!(!old.text().contains("trace_id") && !old.text().contains("# EOF"));
}
