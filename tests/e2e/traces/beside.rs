//! Who else is asked for a request: whoever says whether it may pass, the other slot for an asset, and the one that gets a
//! copy. All of it belongs to the request's trace, and none of it is taken for what the live slot did.

use switcher_tests::http1::get_with;
use switcher_tests::{App, PATIENCE, Proxy, Raw, Setup, until};

use super::collector::{Collector, Span};
use super::{TRACE, TRUSTED, said};

fn setup(setup: Setup, collector: &Collector) -> Setup {
    setup.proxy("trusted_proxies", TRUSTED).proxy("traces", &collector.traces(", sample: 0%"))
}

/// Asks as part of the caller's trace.
async fn ask(proxy: &Proxy, path: &str) -> u16 {
    let context = [("traceparent", said()), ("tracestate", "vendor=1".to_owned())];
    let context: Vec<_> = context.iter().map(|(name, value)| (*name, value.as_str())).collect();
    get_with(proxy.http(), path, &context).await.status
}

fn told(span: &Span) -> String {
    format!("00-{TRACE}-{}-01", span.id)
}

#[tokio::test]
async fn whoever_is_asked_whether_it_may_pass_belongs_to_the_requests_own_span() {
    let (app, collector) = (App::start("blue").await, Collector::start().await);
    let auth = Raw::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let middleware = format!("{{forward_auth: {{url: 'http://{}/verify'}}}}", auth.address());
    let proxy =
        setup(Setup::one(app.upstream()), &collector).shop("middleware", &middleware).start_healthy().await;
    assert_eq!(ask(&proxy, "/page").await, 200);
    let spans = collector.wait_for(2).await;
    let [server, client] = spans.as_slice() else { panic!("{spans:?}") };
    let question = auth.requests()[0].head.clone();
    assert_eq!(question.get("traceparent"), Some(told(server).as_str()), "it is asked before any upstream");
    assert_eq!(question.get("tracestate"), Some("vendor=1"));
    assert_eq!(app.last().header("traceparent"), Some(told(client).as_str()));
    // A stranger's word is not passed on to it either.
    let stranger = Setup::one(app.upstream()).proxy("traces", &collector.traces(", sample: 0%"));
    let proxy = stranger.shop("middleware", &middleware).start_healthy().await;
    assert_eq!(ask(&proxy, "/page").await, 200);
    let question = auth.requests().pop().expect("it was asked").head;
    let said = question.get("traceparent").expect("a parent");
    assert!(!said.contains(TRACE) && said.ends_with("-00") && question.get("tracestate").is_none(), "{said}");
}

#[tokio::test]
async fn a_copy_has_a_span_of_its_own_beside_that_of_the_live_upstream() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let collector = Collector::start().await;
    let mirrored = setup(Setup::two(&blue, &green), &collector).shop("mirror", "{share: 100%}");
    let proxy = mirrored.start_healthy().await;
    assert_eq!(ask(&proxy, "/status/404").await, 404);
    let spans = collector.wait_for(3).await;
    let of = |slot: &str, kind| {
        let mut found =
            spans.iter().filter(|span| span.kind == kind && span.get("switcher.slot") == Some(slot));
        let one = found.next().unwrap_or_else(|| panic!("none of {slot}: {spans:?}"));
        assert!(found.next().is_none(), "{spans:?}");
        one
    };
    let (server, live, copy) = (of("blue", 2), of("blue", 3), of("green", 3));
    assert_eq!((live.name.as_str(), copy.name.as_str()), ("GET", "mirror GET"));
    assert_eq!((&live.parent, &copy.parent), (&server.id, &server.id));
    assert!(spans.iter().all(|span| span.trace == TRACE && span.state == "vendor=1"), "{spans:?}");
    assert_eq!(blue.last().header("traceparent"), Some(told(live).as_str()));
    assert_eq!(green.last().header("traceparent"), Some(told(copy).as_str()), "and not that of the live one");
    assert_eq!(green.last().header("tracestate"), Some("vendor=1"));
    let port = green.address().port().to_string();
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "404"),
        ("server.address", "127.0.0.1"),
        ("server.port", port.as_str()),
    ] {
        assert_eq!(copy.get(key), Some(value), "{key}: {copy:?}");
    }
    assert!(copy.times[0] >= server.times[0] && copy.times[1] >= copy.times[0], "{spans:?}");
    // A copy that fails makes its own span fail, and none of the request's.
    green.stop().await;
    assert_eq!(ask(&proxy, "/").await, 200);
    until(PATIENCE, "the request's spans", || async { collector.spans().len() >= 5 }).await;
    let later = collector.spans().split_off(3);
    for span in later.iter().filter(|span| span.get("switcher.slot") == Some("blue")) {
        assert!(!span.is_error, "{span:?}");
    }
}

#[tokio::test]
async fn a_copy_of_what_is_not_sampled_has_no_span_and_says_so() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let collector = Collector::start().await;
    let mirrored = setup(Setup::two(&blue, &green), &collector).shop("mirror", "{share: 100%}");
    let proxy = mirrored.start_healthy().await;
    get_with(proxy.http(), "/", &[]).await;
    until(PATIENCE, "the copy", || async { green.hits() == 1 }).await;
    for app in [&blue, &green] {
        let seen = app.last().header("traceparent").expect("a parent").to_owned();
        assert!(seen.ends_with("-00"), "{seen}");
    }
    // What follows is sampled, and comes after whatever came of it.
    assert_eq!(ask(&proxy, "/").await, 200);
    let spans = collector.wait_for(3).await;
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:?}");
}

#[tokio::test]
async fn an_asset_that_the_other_slot_has_shows_both_tries_in_one_trace() {
    let collector = Collector::start().await;
    let old = App::start("old").await;
    let new = Raw::answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nnot here").await;
    let slots = Setup::slots(&[new.address().to_string()], &[old.upstream()]);
    let proxy = setup(slots, &collector).shop("asset_fallback", "{}").start_healthy().await;
    assert_eq!(ask(&proxy, "/assets/app-3f2a9b1c.js").await, 200);
    let spans = collector.wait_for(3).await;
    let [server, first, second] = spans.as_slice() else { panic!("{spans:?}") };
    let status = "http.response.status_code";
    for (span, slot, answered, is_error) in
        [(server, "green", "200", false), (first, "blue", "404", true), (second, "green", "200", false)]
    {
        assert_eq!((span.get("switcher.slot"), span.get(status)), (Some(slot), Some(answered)), "{span:?}");
        assert_eq!((span.is_error, span.trace.as_str()), (is_error, TRACE), "{span:?}");
    }
    assert_eq!((&first.parent, &second.parent), (&server.id, &server.id));
    assert_eq!(second.get("http.request.resend_count"), Some("1"));
    assert!(first.times[1] <= second.times[0], "{spans:?}");
    let asked = new.requests().pop().expect("it was asked").head;
    assert_eq!(asked.get("traceparent"), Some(told(first).as_str()));
    assert_eq!(old.last().header("traceparent"), Some(told(second).as_str()));
}
