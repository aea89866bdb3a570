//! Compression end to end: every coding over both protocols, what is never compressed, and bodies that come slowly or not whole.

use std::io::{ErrorKind, Read as _};
use std::sync::Arc;

use switcher_config::Slot;
use switcher_tests::http1::{Framing, get, get_with, request};
use switcher_tests::raw::{Conversation, Raw};
use switcher_tests::sse::Events;
use switcher_tests::{App, Http1, Http2, PATIENCE, Proxy, Setup, http2, until};
use tokio::sync::Notify;

const LINE: &str = "a line of a page that says much the same as those before it\n";

fn page() -> String {
    LINE.repeat(2000)
}

fn decoded(coding: &str, body: &[u8]) -> String {
    let mut text = String::new();
    let mut decoder: Box<dyn std::io::Read + '_> = match coding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(body)),
        "br" => Box::new(brotli::Decompressor::new(body, 4096)),
        "zstd" => Box::new(zstd::stream::read::Decoder::new(body).expect("a decoder")),
        other => panic!("no coding: {other}"),
    };
    decoder.read_to_string(&mut text).expect("a whole body");
    text
}

/// What can be read of a body so far.
fn so_far(body: &[u8]) -> String {
    let mut text = Vec::new();
    let _ = flate2::read::GzDecoder::new(body).read_to_end(&mut text);
    String::from_utf8(text).expect("text")
}

fn head(more: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{more}\r\n{body}", body.len())
}

const HTML: &str = "Content-Type: text/html\r\n";

/// Pages with heads of all kinds; `/slow` says its second line when the test says so.
async fn upstream(go_on: &Arc<Notify>) -> Raw {
    let go_on = Arc::clone(go_on);
    Raw::start(move |mut talk: Conversation| {
        let go_on = Arc::clone(&go_on);
        async move {
            while let Some(request) = talk.request().await {
                let chunked = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";
                let answer = match request.head.target() {
                    "/page" => head(&format!("{HTML}ETag: \"one\"\r\nAccept-Ranges: bytes\r\n"), &page()),
                    "/small" => head(HTML, "small"),
                    "/image" => head("Content-Type: image/png\r\n", &page()),
                    "/encoded" => head(&format!("{HTML}Content-Encoding: gzip\r\n"), &page()),
                    "/kept" => head(&format!("{HTML}Cache-Control: no-transform\r\n"), &page()),
                    "/empty" => "HTTP/1.1 204 No Content\r\nContent-Type: text/html\r\n\r\n".to_owned(),
                    "/part" => head(&format!("{HTML}Content-Range: bytes 0-9/100\r\n"), &page())
                        .replace("200 OK", "206 Partial Content"),
                    "/chunks" => format!("{chunked}5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
                    "/slow" => {
                        talk.wire.send(format!("{chunked}3\r\none\r\n").as_bytes()).await;
                        go_on.notified().await;
                        "3\r\ntwo\r\n0\r\n\r\n".to_owned()
                    }
                    "/dies" => {
                        talk.wire.send(format!("{chunked}3\r\none\r\n").as_bytes()).await;
                        return;
                    }
                    "/dies/short" => {
                        let whole = head(HTML, &page());
                        talk.wire.send(&whole.as_bytes()[..whole.len() / 2]).await;
                        return;
                    }
                    other => panic!("no such page: {other}"),
                };
                let answer = if request.head.method() == "HEAD" {
                    answer.split_inclusive("\r\n\r\n").next().unwrap_or_default().to_owned()
                } else {
                    answer
                };
                talk.wire.send(answer.as_bytes()).await;
            }
        }
    })
    .await
}

async fn started() -> (Raw, Proxy, Arc<Notify>) {
    let go_on = Arc::new(Notify::new());
    let raw = upstream(&go_on).await;
    let setup = Setup::one(raw.address()).shop("middleware", "{compress: on}");
    (raw, setup.start_healthy().await, go_on)
}

const ALL: (&str, &str) = ("Accept-Encoding", "gzip, deflate, br, zstd");

#[tokio::test]
async fn every_coding_comes_out_whole_over_both_protocols() {
    let (_raw, proxy, _) = started().await;
    let second = Http2::connect(proxy.http()).await;
    for (accept, coding) in
        [("gzip", "gzip"), ("br", "br"), ("zstd", "zstd"), (ALL.1, "zstd"), ("gzip, br;q=0.5", "gzip")]
    {
        let accepts = [("Accept-Encoding", accept)];
        let one = get_with(proxy.http(), "/page", &accepts).await;
        assert_eq!(one.header("content-encoding"), Some(coding), "{accept}");
        assert_eq!((one.header("content-length"), one.header("transfer-encoding")), (None, Some("chunked")));
        assert_eq!((one.header("vary"), one.header("etag")), (Some("accept-encoding"), Some("W/\"one\"")));
        assert_eq!(one.header("accept-ranges"), None);
        assert_eq!(decoded(coding, &one.body), page());
        assert!(one.body.len() < page().len() / 10, "{} bytes", one.body.len());
        let two = second.exchange(http2::request("GET", "/page", &accepts), b"").await;
        assert_eq!(two.header("content-encoding"), Some(coding), "{accept}");
        assert_eq!(decoded(coding, &two.body), page());
        let head =
            Http1::connect(proxy.http()).await.exchange(&request("HEAD", "/page", &accepts, b"")).await;
        assert_eq!((head.header("content-encoding"), head.header("content-length")), (Some(coding), None));
        assert_eq!((head.header("vary"), head.header("etag")), (Some("accept-encoding"), Some("W/\"one\"")));
    }
    let record = proxy.record_of("/page").await;
    assert!(record["bytes_out"].as_u64().is_some_and(|bytes| bytes < 20_000), "{record}");
}

#[tokio::test]
async fn who_takes_nothing_gets_the_page_as_it_is() {
    let (_raw, proxy, _) = started().await;
    for headers in [&[][..], &[("Accept-Encoding", "identity")], &[("Accept-Encoding", "gzip;q=0, *;q=0")]] {
        let plain = get_with(proxy.http(), "/page", headers).await;
        assert_eq!((plain.header("content-encoding"), plain.text()), (None, page()));
        assert_eq!((plain.header("vary"), plain.header("etag")), (Some("accept-encoding"), Some("\"one\"")));
        assert_eq!(plain.header("content-length"), Some(page().len().to_string().as_str()));
    }
    let mut old = Http1::connect(proxy.http()).await;
    let old = old.exchange(b"GET /page HTTP/1.0\r\nHost: shop.test\r\nAccept-Encoding: gzip\r\n\r\n").await;
    assert_eq!((old.header("content-encoding"), old.text()), (None, page()));
}

#[tokio::test]
async fn what_must_not_be_compressed_goes_on_as_it_is() {
    let (_raw, proxy, _) = started().await;
    for (target, encoding) in [
        ("/small", None),
        ("/image", None),
        ("/encoded", Some("gzip")),
        ("/kept", None),
        ("/part", None),
        ("/empty", None),
    ] {
        let answer = get_with(proxy.http(), target, &[ALL]).await;
        assert_eq!((answer.header("content-encoding"), answer.header("vary")), (encoding, None), "{target}");
        assert!(matches!(answer.text().as_str(), "small" | "") || answer.text() == page(), "{target}");
    }
    let app = App::start("blue").await;
    let setup = Setup::one(app.upstream()).shop("middleware", "{compress: {types: [text/*], min_size: 0}}");
    let proxy = setup.start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/events", &[ALL], b"")).await;
    let head = client.head().await;
    assert_eq!((head.get("content-encoding"), head.get("vary")), (None, None), "events are never compressed");
    let mut events = Events::open(Http1::connect(proxy.http()).await, "/events").await;
    assert_eq!(events.data().await, "blue");
}

#[tokio::test]
async fn what_was_said_so_far_can_be_read_before_more_is_said() {
    let (_raw, proxy, go_on) = started().await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/slow", &[("Accept-Encoding", "gzip")], b"")).await;
    assert_eq!(client.head().await.get("content-encoding"), Some("gzip"));
    let (mut framing, mut body) = (Framing::Chunked, Vec::new());
    while so_far(&body) != "one" {
        let piece = client.piece(&mut framing).await.expect("a piece");
        body.extend_from_slice(&piece.expect("a piece before the end"));
    }
    go_on.notify_one();
    body.extend_from_slice(&client.try_body(framing).await.expect("the rest"));
    assert_eq!(decoded("gzip", &body), "onetwo");
    let again = client.exchange(&request("GET", "/chunks", &[("Accept-Encoding", "br")], b"")).await;
    assert_eq!(decoded("br", &again.body), "hello world", "the connection goes on");
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_looks_whole() {
    let (_raw, proxy, _) = started().await;
    for target in ["/dies", "/dies/short"] {
        for coding in ["gzip", "br", "zstd"] {
            let mut client = Http1::connect(proxy.http()).await;
            let asked = request("GET", target, &[("Accept-Encoding", coding)], b"");
            let error = client.try_exchange(&asked).await.expect_err("cut");
            assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{error}");
            let second = Http2::connect(proxy.http()).await;
            let asked = http2::request("GET", target, &[("Accept-Encoding", coding)]);
            second.try_exchange(asked, b"").await.expect_err("reset");
        }
    }
}

#[tokio::test]
async fn an_upstream_of_http_2_and_a_path_that_says_otherwise() {
    let app = App::h2c("blue").await;
    let middleware =
        "{compress: {algorithms: [gzip 9]}, response_headers: {set: {Content-Type: text/plain}}}";
    let setup = Setup::one(app.upstream()).shop("middleware", middleware);
    let proxy = setup.shop("paths", "{/bytes/20000: {compress: off}}").start_healthy().await;
    let plain = get(proxy.http(), "/bytes/100000").await;
    for (target, coding) in [("/bytes/100000", Some("gzip")), ("/bytes/20000", None)] {
        let answer = get_with(proxy.http(), target, &[ALL]).await;
        assert_eq!(answer.header("content-encoding"), coding, "{target}");
        if coding.is_some() {
            let mut body = Vec::new();
            flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut body).expect("a whole body");
            assert_eq!(body, plain.body);
        }
    }
}

#[tokio::test]
async fn the_proxys_own_answers_are_compressed_too() {
    let app = App::start("blue").await;
    let long = "word ".repeat(1000);
    let paths = format!("{{/long: {{answer: {{body: '{long}'}}}}}}");
    let setup = Setup::one(app.upstream()).shop("middleware", "{compress: on}");
    let proxy = setup.shop("paths", &paths).start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    for _ in 0..2 {
        let answer = client.exchange(&request("GET", "/long", &[("Accept-Encoding", "gzip")], b"")).await;
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
        assert_eq!(decoded("gzip", &answer.body), long);
    }
    let head = client.exchange(&request("HEAD", "/long", &[("Accept-Encoding", "gzip")], b"")).await;
    assert_eq!(head.header("content-encoding"), Some("gzip"));
    let second =
        Http2::connect(proxy.http()).await.exchange(http2::request("GET", "/long", &[ALL]), b"").await;
    assert_eq!(decoded("zstd", &second.body), long);
}

#[tokio::test]
async fn a_switch_in_the_middle_of_an_answer_waits_for_its_end() {
    let go_on = Arc::new(Notify::new());
    let raw = upstream(&go_on).await;
    let green = App::start("green").await;
    let setup = Setup::slots(&[raw.address().to_string()], &[green.upstream()]);
    let proxy = setup.shop("middleware", "{compress: on}").start_healthy().await;
    let mut client = Http1::connect(proxy.http()).await;
    client.send(&request("GET", "/slow", &[("Accept-Encoding", "zstd")], b"")).await;
    assert_eq!(client.head().await.status(), 200);
    let switched = proxy.admin().promote(Slot::Green).await.expect("promoted");
    let drain = async || proxy.admin().drain(switched.drained_generation, "0s").await.expect("a receipt");
    assert!(!drain().await.drained, "it is still inside");
    go_on.notify_one();
    let body = client.try_body(Framing::Chunked).await.expect("a whole answer");
    assert_eq!(decoded("zstd", &body), "onetwo");
    until(PATIENCE, "the drain", || async { drain().await.drained }).await;
    let cut = drain().await.cut;
    assert!(cut.requests.is_empty() && cut.streams.is_empty(), "nothing is cut");
}
