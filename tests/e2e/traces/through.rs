//! Spans through somebody else's collector: rotel reads them, and writes them anew for ours.

use switcher_tests::foreign::{at_target, served, start};
use switcher_tests::http1::get_with;
use switcher_tests::part::skip_or_fail;
use switcher_tests::port::Port;
use switcher_tests::{App, Setup};
use tempfile::TempDir;

use super::collector::Collector;
use super::{PARENT, TRACE, TRUSTED, said};

#[tokio::test]
async fn another_collector_understands_every_span() {
    let Some(rotel) = at_target("rotel") else { return skip_or_fail("there is no rotel") };
    let (app, collector) = (App::start("blue").await, Collector::start().await);
    let folder = TempDir::new().expect("a folder");
    let (http, grpc) = (Port::reserve(), Port::reserve());
    let (receiver, other, url) = (http.address().to_string(), grpc.address().to_string(), collector.url());
    let arguments = ["start", "--otlp-http-endpoint", &receiver, "--otlp-grpc-endpoint", &other];
    let onward = ["--exporter", "otlp", "--otlp-exporter-protocol", "http", "--otlp-exporter-endpoint", &url];
    let server = start(folder.path(), &rotel, &[&arguments[..], &onward[..]].concat());
    served(http.address()).await;
    let traces = format!("{{otlp: \"http://{receiver}\", service: edge}}");
    let setup = Setup::one(app.upstream()).proxy("trusted_proxies", TRUSTED).proxy("traces", &traces);
    let proxy = setup.start_healthy().await;
    let told = [("traceparent", said()), ("tracestate", "vendor=1".to_owned())];
    let told = told.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(get_with(proxy.http(), "/page", &told).await.text(), "blue");
    let mut spans = collector.wait_for(2).await;
    spans.sort_by_key(|span| span.kind);
    let [asked, sent] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((asked.kind, sent.kind), (2, 3));
    assert_eq!((asked.trace.as_str(), sent.trace.as_str()), (TRACE, TRACE));
    assert_eq!((asked.parent.as_str(), &sent.parent), (PARENT, &asked.id));
    assert_eq!((asked.name.as_str(), asked.service.as_str()), ("GET /", "edge"));
    assert_eq!(asked.state, "vendor=1");
    for (key, value) in
        [("url.path", "/page"), ("http.response.status_code", "200"), ("switcher.slot", "blue")]
    {
        assert_eq!(asked.get(key), Some(value), "{key}: {asked:?}");
    }
    assert_eq!(sent.events, ["switcher.connected"]);
    assert!(asked.times[0] <= sent.times[0] && sent.times[1] <= asked.times[1], "{spans:?}");
    drop((proxy, server));
}
