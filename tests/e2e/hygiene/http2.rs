//! Hygiene of HTTP/2: frames that become requests of HTTP/1.1 upstream, judged by the bytes that the upstream got.
//!
//! A case is a list of frames on a connection of its own, from an address of its own: a request that the proxy forwards
//! though its client was refused may reach the upstream when the next case is played, and is still told from that one's.
//! Requests for `/smuggled` are meant to get past the proxy.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use switcher_tests::frames::{
    END_HEADERS, END_STREAM, Frames, Kind, block, frame, reset, settings, whole_get, window_update,
};

use super::judge::{NAIVE, OURS, Verdict, harm, poisoned};
use super::recorder::{Log, Recorder};
use super::strict::Request;

/// What may become of a case. In every case the upstream gets nothing but whole, strict requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allowed {
    /// The upstream gets no request, and the client gets an error: of a stream, of the connection, or a 4xx.
    Rejected,
    /// Rejected, or forwarded in a form that has one meaning.
    Unambiguous,
    /// The upstream gets one request, with a body of so many bytes, and the client its answer.
    Served(usize),
}

struct Case {
    name: &'static str,
    frames: Vec<u8>,
    allowed: Allowed,
}

/// What the client got.
#[derive(Debug, Default)]
struct Got {
    status: u16,
    reset: bool,
    closed: bool,
}

type Fields<'a> = &'a [(&'a [u8], &'a [u8])];

fn pseudo(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "http"), (":authority", "shop.test"), (":path", path)])
}

fn headers(block: &[u8], flags: u8) -> Vec<u8> {
    frame(Kind::Headers, END_HEADERS | flags, 1, block)
}

/// A GET with more fields.
fn get(name: &'static str, fields: Fields<'_>, allowed: Allowed) -> Case {
    let block = [pseudo("GET", "/get"), block(fields)].concat();
    Case { name, frames: headers(&block, END_STREAM), allowed }
}

/// A request of just these fields.
fn bare(name: &'static str, fields: Fields<'_>, allowed: Allowed) -> Case {
    Case { name, frames: headers(&block(fields), END_STREAM), allowed }
}

/// A POST with more fields and these pieces as its body.
fn post(name: &'static str, fields: Fields<'_>, pieces: &[&[u8]], allowed: Allowed) -> Case {
    let block = [pseudo("POST", "/post"), block(fields)].concat();
    let mut frames = headers(&block, if pieces.is_empty() { END_STREAM } else { 0 });
    for (at, piece) in pieces.iter().enumerate() {
        let last = if at + 1 == pieces.len() { END_STREAM } else { 0 };
        frames.extend(frame(Kind::Data, last, 1, piece));
    }
    Case { name, frames, allowed }
}

const METHOD: (&[u8], &[u8]) = (b":method", b"GET");
const SCHEME: (&[u8], &[u8]) = (b":scheme", b"http");
const AUTHORITY: (&[u8], &[u8]) = (b":authority", b"shop.test");
const PATH: (&[u8], &[u8]) = (b":path", b"/get");
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n";

use Allowed::{Rejected, Served, Unambiguous};

/// RFC 9113 section 8.1.1: the length that is said is that of the data.
fn lengths() -> Vec<Case> {
    vec![
        post("a length that is right", &[(b"content-length", b"5")], &[b"hello"], Served(5)),
        post("a body without a length", &[], &[b"he", b"llo"], Served(5)),
        post("a body in empty and other frames", &[], &[b"", b"hello", b""], Served(5)),
        post("a length of none and none", &[(b"content-length", b"0")], &[b""], Served(0)),
        // The request is whole before its data comes, and the data goes nowhere.
        post("a length below the data", &[(b"content-length", b"0")], &[SMUGGLED], Unambiguous),
        post("a length within the data", &[(b"content-length", b"5")], &[b"hello", SMUGGLED], Rejected),
        post("a length above the data", &[(b"content-length", b"99")], &[b"hello"], Rejected),
        post("a length and no data", &[(b"content-length", b"5")], &[], Rejected),
        post("two lengths", &[(b"content-length", b"5"), (b"content-length", b"6")], &[b"hello"], Rejected),
        post(
            "one length twice",
            &[(b"content-length", b"5"), (b"content-length", b"5")],
            &[b"hello"],
            Unambiguous,
        ),
        post("a list of lengths", &[(b"content-length", b"5, 5")], &[b"hello"], Unambiguous),
        post("a length with a sign", &[(b"content-length", b"+5")], &[b"hello"], Rejected),
        post("a negative length", &[(b"content-length", b"-5")], &[b"hello"], Rejected),
        post("a length in hex", &[(b"content-length", b"0x5")], &[b"hello"], Rejected),
        post("an empty length", &[(b"content-length", b"")], &[b"hello"], Rejected),
        post("a huge length", &[(b"content-length", b"18446744073709551621")], &[b"hello"], Rejected),
    ]
}

/// RFC 9113 section 8.2.2: what belongs to a connection does not exist here.
fn connections() -> Vec<Case> {
    let chunks = [b"0\r\n\r\n", SMUGGLED].concat();
    vec![
        get("te: trailers", &[(b"te", b"trailers")], Served(0)),
        post("transfer-encoding", &[(b"transfer-encoding", b"chunked")], &[&chunks], Rejected),
        post(
            "transfer-encoding and a length",
            &[(b"transfer-encoding", b"chunked"), (b"content-length", b"5")],
            &[b"0\r\n\r\n"],
            Rejected,
        ),
        post("transfer-encoding identity", &[(b"transfer-encoding", b"identity")], &[b"hello"], Rejected),
        get("connection", &[(b"connection", b"close")], Rejected),
        get("connection that names a header", &[(b"connection", b"x-a"), (b"x-a", b"1")], Rejected),
        get("keep-alive", &[(b"keep-alive", b"timeout=5")], Rejected),
        get("proxy-connection", &[(b"proxy-connection", b"keep-alive")], Rejected),
        get("upgrade", &[(b"upgrade", b"websocket")], Rejected),
        get("te: chunked", &[(b"te", b"chunked")], Rejected),
        get("te: trailers, chunked", &[(b"te", b"trailers, chunked")], Rejected),
    ]
}

/// RFC 9113 section 8.2.1: names and values.
fn fields() -> Vec<Case> {
    vec![
        get("a field", &[(b"x-a", b"1")], Served(0)),
        get("an empty value", &[(b"x-a", b"")], Served(0)),
        get("a field twice", &[(b"x-a", b"1"), (b"x-a", b"2")], Served(0)),
        get("obs-text in a value", &[(b"x-a", b"\xff")], Served(0)),
        get("a tab in a value", &[(b"x-a", b"a\tb")], Served(0)),
        get("cookie crumbs", &[(b"cookie", b"a=1"), (b"cookie", b"b=2")], Served(0)),
        get("CR LF in a value", &[(b"x-a", b"1\r\nx-b: 2")], Rejected),
        get("a request in a value", &[(b"x-a", &[b"1\r\n\r\n", SMUGGLED].concat())], Rejected),
        get("CR in a value", &[(b"x-a", b"1\rx")], Rejected),
        get("LF in a value", &[(b"x-a", b"1\nx-b: 2")], Rejected),
        get("NUL in a value", &[(b"x-a", b"1\0x")], Rejected),
        get("DEL in a value", &[(b"x-a", b"1\x7fx")], Rejected),
        get("a bell in a value", &[(b"x-a", b"1\x07x")], Rejected),
        get("CR LF in a name", &[(b"x-a\r\nx-b", b"1")], Rejected),
        get("LF in a name", &[(b"x-a\nx-b", b"1")], Rejected),
        get("NUL in a name", &[(b"x-a\0", b"1")], Rejected),
        get("a blank in a name", &[(b"x a", b"1")], Rejected),
        get("a colon in a name", &[(b"x-a:x", b"1")], Rejected),
        get("a name in upper case", &[(b"X-A", b"1")], Rejected),
        get("content-length in upper case", &[(b"Content-Length", b"5")], Rejected),
        get("transfer-encoding in upper case", &[(b"Transfer-Encoding", b"chunked")], Rejected),
        get("an empty name", &[(b"", b"1")], Rejected),
        get("obs-text in a name", &[(b"x-\xff", b"1")], Rejected),
        get("CR LF in a cookie crumb", &[(b"cookie", b"a=1"), (b"cookie", b"b\r\nx: y")], Rejected),
        get("transfer-encoding with a blank", &[(b"transfer-encoding ", b"chunked")], Rejected),
        get("blanks around a value", &[(b"x-a", b" 1 ")], Unambiguous),
    ]
}

/// RFC 9113 section 8.3: pseudo-headers, each once, before the others, and no others.
fn pseudos() -> Vec<Case> {
    let late = [block(&[METHOD, SCHEME, AUTHORITY]), block(&[(b"x-a" as &[u8], b"1" as &[u8]), PATH])];
    vec![
        bare("a plain GET", &[METHOD, SCHEME, AUTHORITY, PATH], Served(0)),
        bare("in another order", &[PATH, AUTHORITY, SCHEME, METHOD], Served(0)),
        bare("host in place of an authority", &[METHOD, SCHEME, PATH, (b"host", b"shop.test")], Served(0)),
        bare("the same host", &[METHOD, SCHEME, AUTHORITY, PATH, (b"host", b"shop.test")], Served(0)),
        bare("another host", &[METHOD, SCHEME, AUTHORITY, PATH, (b"host", b"other.test")], Unambiguous),
        bare(
            "two hosts",
            &[METHOD, SCHEME, AUTHORITY, PATH, (b"host", b"shop.test"), (b"host", b"other.test")],
            Unambiguous,
        ),
        bare("neither host nor authority", &[METHOD, SCHEME, PATH], Rejected),
        bare("an empty authority", &[METHOD, SCHEME, (b":authority", b""), PATH], Rejected),
        bare("no method", &[SCHEME, AUTHORITY, PATH], Rejected),
        bare("no scheme", &[METHOD, AUTHORITY, PATH], Rejected),
        bare("no path", &[METHOD, SCHEME, AUTHORITY], Rejected),
        bare("an empty path", &[METHOD, SCHEME, AUTHORITY, (b":path", b"")], Rejected),
        bare("two methods", &[METHOD, METHOD, SCHEME, AUTHORITY, PATH], Rejected),
        bare("two paths", &[METHOD, SCHEME, AUTHORITY, PATH, (b":path", b"/smuggled")], Rejected),
        bare("two authorities", &[METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH], Rejected),
        bare("two schemes", &[METHOD, SCHEME, SCHEME, AUTHORITY, PATH], Rejected),
        bare("an unknown one", &[METHOD, SCHEME, AUTHORITY, PATH, (b":x", b"1")], Rejected),
        bare("one of an answer", &[METHOD, SCHEME, AUTHORITY, PATH, (b":status", b"200")], Rejected),
        bare(
            "an extended one without its SETTINGS",
            &[(b":method", b"CONNECT"), (b":protocol", b"websocket"), SCHEME, AUTHORITY, PATH],
            Rejected,
        ),
        bare("CONNECT", &[(b":method", b"CONNECT"), (b":authority", b"shop.test:443")], Rejected),
        bare("CONNECT with a path", &[(b":method", b"CONNECT"), SCHEME, AUTHORITY, PATH], Rejected),
        bare("TRACE", &[(b":method", b"TRACE"), SCHEME, AUTHORITY, PATH], Rejected),
        bare(
            "OPTIONS of everything",
            &[(b":method", b"OPTIONS"), SCHEME, AUTHORITY, (b":path", b"*")],
            Unambiguous,
        ),
        bare("a star for GET", &[METHOD, SCHEME, AUTHORITY, (b":path", b"*")], Rejected),
        Case { name: "one that is late", frames: headers(&late.concat(), END_STREAM), allowed: Rejected },
    ]
}

/// What becomes a part of the request line, or of Host.
fn lines() -> Vec<Case> {
    let path =
        |name, path: &[u8], allowed| bare(name, &[METHOD, SCHEME, AUTHORITY, (b":path", path)], allowed);
    let method = |name, method: &[u8]| bare(name, &[(b":method", method), SCHEME, AUTHORITY, PATH], Rejected);
    let authority =
        |name, value: &[u8]| bare(name, &[METHOD, SCHEME, (b":authority", value), PATH], Rejected);
    let smuggled = [b"/get HTTP/1.1\r\nHost: shop.test\r\n\r\n", SMUGGLED].concat();
    vec![
        path("a path with a query", b"/get?a=b&c=%20", Served(0)),
        path("a path with CR LF", &smuggled, Rejected),
        path("a path with LF", b"/get\nx: y", Rejected),
        path("a path with CR", b"/get\rx", Rejected),
        path("a path with NUL", b"/get\0x", Rejected),
        path("a path with a blank", b"/get HTTP/1.1", Rejected),
        path("a path with a tab", b"/get\tx", Rejected),
        path("a path without a slash", b"get", Rejected),
        path("a path with a fragment", b"/get#part", Unambiguous),
        path("a path with DEL", b"/get\x7f", Rejected),
        path("a path with obs-text", b"/get\xff", Unambiguous),
        path("an absolute path", b"http://other.test/smuggled", Rejected),
        path("a path of an authority", b"//other.test/get", Unambiguous),
        method("a method with CR LF", &[b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", SMUGGLED].concat()),
        method("a method with a blank", b"GET /smuggled"),
        method("an empty method", b""),
        method("a method with NUL", b"GE\0T"),
        method("a method with a colon", b"GET:"),
        authority("an authority with CR LF", b"shop.test\r\nx: y"),
        authority("an authority with a path", b"shop.test/smuggled"),
        authority("an authority with a blank", b"shop.test x"),
        authority("an authority with NUL", b"shop.test\0"),
        authority("an authority with a user", b"user@shop.test"),
        authority("an authority with two ports", b"shop.test:80:90"),
        authority("an authority with a port of letters", b"shop.test:a"),
        authority("an authority with a comma", b"shop.test,other.test"),
        bare("a scheme with CR LF", &[METHOD, (b":scheme", b"http\r\nx: y"), AUTHORITY, PATH], Rejected),
        bare("an unknown scheme", &[METHOD, (b":scheme", b"gopher"), AUTHORITY, PATH], Unambiguous),
        bare("an empty scheme", &[METHOD, (b":scheme", b""), AUTHORITY, PATH], Rejected),
        bare("host with CR LF", &[METHOD, SCHEME, PATH, (b"host", b"shop.test\r\nx: y")], Rejected),
    ]
}

const fn of(name: &'static str, frames: Vec<u8>, allowed: Allowed) -> Case {
    Case { name, frames, allowed }
}

/// What comes after the body.
fn trailers() -> Vec<Case> {
    let trailers = |fields: Fields<'_>, flags: u8| {
        [
            headers(&pseudo("POST", "/post"), 0),
            frame(Kind::Data, 0, 1, b"hello"),
            headers(&block(fields), flags),
        ]
        .concat()
    };
    vec![
        of("trailers", trailers(&[(b"x-sum", b"1")], END_STREAM), Served(5)),
        of("trailers with a pseudo-header", trailers(&[(b":path", b"/smuggled")], END_STREAM), Unambiguous),
        of("trailers that do not end", trailers(&[(b"x-sum", b"1")], 0), Rejected),
        of("trailers with a length", trailers(&[(b"content-length", b"50")], END_STREAM), Unambiguous),
        of("trailers with CR LF", trailers(&[(b"x-sum", b"1\r\nx: y")], END_STREAM), Rejected),
        of(
            "trailers with transfer-encoding",
            trailers(&[(b"transfer-encoding", b"chunked")], END_STREAM),
            Rejected,
        ),
    ]
}

/// Heads that are cut in pieces, or too large.
fn sizes() -> Vec<Case> {
    let long = vec![b'a'; 40_000];
    let split = pseudo("GET", "/get");
    let many: Vec<(Vec<u8>, &[u8])> =
        (0..200).map(|at| (format!("x-{at}").into_bytes(), &b"1"[..])).collect();
    let many = [pseudo("GET", "/get"), block(&many)].concat();
    let huge = [pseudo("GET", "/get"), block(&[(&b"x-a"[..], &long[..])])].concat();
    let (one, rest) = huge.split_at(16_000);
    let (two, three) = rest.split_at(16_000);
    vec![
        of(
            "a block in two frames",
            [
                frame(Kind::Headers, END_STREAM, 1, &split[..9]),
                frame(Kind::Continuation, END_HEADERS, 1, &split[9..]),
            ]
            .concat(),
            Served(0),
        ),
        of(
            "a header of 40 KB",
            [
                frame(Kind::Headers, END_STREAM, 1, one),
                frame(Kind::Continuation, 0, 1, two),
                frame(Kind::Continuation, END_HEADERS, 1, three),
            ]
            .concat(),
            Rejected,
        ),
        of("200 headers", headers(&many, END_STREAM), Rejected),
        of(
            "a target of 10,000 bytes",
            headers(&pseudo("GET", &format!("/{}", "a".repeat(10_000))), END_STREAM),
            Rejected,
        ),
        of(
            "another frame within a block",
            [
                frame(Kind::Headers, END_STREAM, 1, &split[..9]),
                frame(Kind::Ping, 0, 0, &[0; 8]),
                frame(Kind::Continuation, END_HEADERS, 1, &split[9..]),
            ]
            .concat(),
            Rejected,
        ),
    ]
}

/// Frames that come out of turn, or hold what none may hold.
fn frames() -> Vec<Case> {
    vec![
        of("data before headers", frame(Kind::Data, END_STREAM, 1, SMUGGLED), Rejected),
        of(
            "data after the end",
            [whole_get(1, "/get"), frame(Kind::Data, END_STREAM, 1, SMUGGLED)].concat(),
            Unambiguous,
        ),
        of(
            "a stream of an even number",
            frame(Kind::Headers, END_STREAM | END_HEADERS, 2, &pseudo("GET", "/get")),
            Rejected,
        ),
        of(
            "a stream that is no stream",
            frame(Kind::Headers, END_STREAM | END_HEADERS, 0, &pseudo("GET", "/get")),
            Rejected,
        ),
        of("a block that is no HPACK", headers(&[0xff; 20], END_STREAM), Rejected),
        of("a stream that depends on itself", frame(Kind::Priority, 0, 1, &[0, 0, 0, 1, 16]), Rejected),
        of(
            "a window that overflows",
            [window_update(0, 0x7fff_ffff), window_update(0, 0x7fff_ffff)].concat(),
            Rejected,
        ),
        of("a window that grows by nothing", window_update(0, 0), Rejected),
        of("settings of a stream", frame(Kind::Settings, 0, 1, &[]), Rejected),
        of("settings of half a value", frame(Kind::Settings, 0, 0, &[0; 5]), Rejected),
        of("an initial window that is too large", settings(&[(4, 0x8000_0000)]), Rejected),
        of("a ping of seven bytes", frame(Kind::Ping, 0, 0, &[0; 7]), Rejected),
        of("a reset of an idle stream", reset(1), Rejected),
    ]
}

fn all() -> Vec<Case> {
    [lengths(), connections(), fields(), pseudos(), lines(), trailers(), sizes(), frames()]
        .into_iter()
        .flatten()
        .collect()
}

/// Where the client of a case is.
fn source(number: usize) -> Ipv4Addr {
    let [.., high, low] = (number + 1).to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

/// Whether a request that says whose it is says another case's client.
fn is_of_another(request: &Request, number: usize) -> bool {
    let own = source(number).to_string();
    request.all("x-forwarded-for").first().is_some_and(|said| *said != own.as_bytes())
}

async fn play(case: &Case, number: usize, front: SocketAddr, stalled: Duration) -> Got {
    let mut client = Frames::from(source(number), front).await;
    // A front may close before it has taken everything.
    let _ = client.send(&case.frames).await;
    let mut got = Got::default();
    let read = async {
        while let Some(frame) = client.next().await {
            if frame.is(Kind::GoAway) {
                got.closed = true;
                return;
            }
            if frame.stream == 1 && got.status == 0 {
                got.status = frame.status();
            }
            if frame.stream == 1 && frame.ends() {
                got.reset = frame.is(Kind::Reset);
                return;
            }
        }
        got.closed = true;
    };
    // Without an end within the time, what came so far is judged.
    let _ = tokio::time::timeout(stalled, read).await;
    got
}

/// Plays a case. What came of earlier ones is added to `late`.
async fn judged(
    case: &Case,
    number: usize,
    (front, stalled): (SocketAddr, Duration),
    upstream: &Recorder,
    late: &mut Vec<Request>,
) -> Verdict {
    let got = play(case, number, front, stalled).await;
    let mut log = upstream.take();
    if let Some(harm) = poisoned(number, front, upstream, &mut log).await {
        return Verdict::Unsafe(harm);
    }
    if let Some(harm) = harm(&log) {
        return Verdict::Unsafe(harm);
    }
    if log.requests.iter().any(|request| request.target.contains("smuggled")) {
        return Verdict::Unsafe(format!("{log:?}"));
    }
    late.extend(log.requests.extract_if(.., |request| is_of_another(request, number)));
    let refused = got.reset || got.closed || (400..500).contains(&got.status) || got.status == 501;
    match case.allowed {
        Rejected if log.requests.is_empty() && refused => Verdict::Good,
        Unambiguous if refused || got.status == 200 => Verdict::Good,
        Served(body) if served(&log, body) && got.status == 200 && !got.reset => Verdict::Good,
        Served(_) => Verdict::Failing(format!("{got:?}, {log:?}")),
        Rejected | Unambiguous => Verdict::Weak(format!("{got:?}, {log:?}")),
    }
}

fn served(log: &Log, body: usize) -> bool {
    matches!(log.requests.as_slice(), [request] if request.body.len() == body)
}

/// Plays cases; those that did not end well come back.
async fn run(
    cases: &[Case],
    front: SocketAddr,
    upstream: &Recorder,
    stalled: Duration,
) -> Vec<(String, Verdict)> {
    let (mut bad, mut late) = (Vec::new(), Vec::new());
    for (number, case) in cases.iter().enumerate() {
        let verdict = judged(case, number, (front, stalled), upstream, &mut late).await;
        if verdict != Verdict::Good {
            bad.push((case.name.to_owned(), verdict));
        }
    }
    for (number, case) in cases.iter().enumerate().filter(|(_, case)| case.allowed == Rejected) {
        let own = late.iter().filter(|request| !is_of_another(request, number));
        bad.extend(own.map(|request| (case.name.to_owned(), Verdict::Weak(format!("late: {request:?}")))));
    }
    bad
}

#[tokio::test]
async fn frames_become_whole_requests_or_none() {
    let upstream = Recorder::start().await;
    let proxy = super::proxy(&upstream).await;
    let cases = all();
    assert!(cases.len() >= 120, "{}", cases.len());
    let bad = run(&cases, proxy.http(), &upstream, OURS).await;
    assert!(bad.is_empty(), "{} of {} cases:{}", bad.len(), cases.len(), super::shown(&bad));
}

/// The negative control: the same judge finds what a relay does that translates frames as they stand.
#[tokio::test]
async fn a_naive_relay_of_http2_is_found_unsafe() {
    let upstream = Recorder::start().await;
    let relay = super::naive::Relay::start(upstream.address()).await;
    let (legal, hostile): (Vec<_>, Vec<_>) =
        [lengths(), fields()].into_iter().flatten().partition(|case| matches!(case.allowed, Served(_)));
    let honest: Vec<_> = legal.into_iter().filter(|case| case.name.starts_with("a length that is")).collect();
    let bad = run(&honest, relay.address(), &upstream, OURS).await;
    assert!(!honest.is_empty() && bad.is_empty(), "it does work for honest clients:{}", super::shown(&bad));
    let bad = run(&hostile, relay.address(), &upstream, NAIVE).await;
    let found = bad.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Unsafe(_))).count();
    assert!(found >= 10, "only {found} of {}:{}", hostile.len(), super::shown(&bad));
}
