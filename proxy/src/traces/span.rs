//! From what is known of a request to its spans, by the semantic conventions for HTTP
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>).
//!
//! Pure. Invariant: names and routes come from the configuration, never from clients, and no query is told: it may hold
//! secrets. Called by [`super::Trace`].

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderValue, Method};
use switcher_config::{Generation, Slot, UpstreamAddress};

use super::otlp::{Message, Value};
use super::{Copied, CopyEnd, Trace, TraceId, Try};

/// The kind of a span.
const SERVER: u64 = 2;
const CLIENT: u64 = 3;
/// The status of a span that failed.
const ERROR: u64 = 2;
/// The flags of a span: it is sampled, and it is known whether its parent is elsewhere.
const SAMPLED: u32 = 0x101;
/// Its parent is elsewhere.
const IS_REMOTE: u32 = 0x200;

/// What is known of a request that is over.
#[derive(Debug)]
pub struct Served<'a> {
    /// When it arrived, in nanoseconds since 1970.
    pub arrived: u64,
    /// How long it took.
    pub took: Duration,
    /// Its method.
    pub method: &'a Method,
    /// The path of the application that it is for.
    pub route: Option<&'a str>,
    /// Its path, without the query.
    pub path: &'a str,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host asked for, without a port.
    pub host: &'a str,
    /// Its client.
    pub client: IpAddr,
    /// The version of HTTP: `1.0`, `1.1` or `2`.
    pub version: Option<&'static str>,
    /// The client's name of itself.
    pub agent: Option<&'a str>,
    /// The status, if one was sent.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<&'a str>,
    /// The application.
    pub app: Option<&'a str>,
    /// The slot that served it, and its generation.
    pub slot: Option<(Slot, Generation)>,
    /// The release in that slot.
    pub release: Option<&'a HeaderValue>,
    /// Its id.
    pub request_id: &'a str,
}

impl Served<'_> {
    fn at(&self, after: Duration) -> u64 {
        self.arrived.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A method as it may be told, and what it is in a name: clients can make up any.
fn known(method: &Method) -> (&str, &str) {
    let standard = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    if standard.contains(method) { (method.as_str(), method.as_str()) } else { ("_OTHER", "HTTP") }
}

/// The spans of a request, each as a field of `ScopeSpans`.
pub(super) fn write(trace: &Trace, served: &Served<'_>) -> Vec<u8> {
    let mut spans = Message::default();
    spans.message(2, &own(trace, served));
    for (place, tried) in trace.tries.iter().enumerate() {
        spans.message(2, &of_try(trace, served, tried, place));
    }
    spans.into_bytes()
}

/// The span of a copy, as a field of `ScopeSpans`.
pub(super) fn of_copy(
    copied: &Copied,
    method: &Method,
    (upstream, slot): (&UpstreamAddress, Slot),
    took: u64,
    end: CopyEnd<'_>,
) -> Vec<u8> {
    let (method, short) = known(method);
    let times = [copied.at, copied.at.saturating_add(took)];
    let of = (copied.id, copied.state.as_ref());
    let mut span = begin(of, copied.span.bytes(), &format!("mirror {short}"), CLIENT, times);
    span.bytes(4, copied.parent.bytes());
    span.fixed32(16, SAMPLED);
    asked(&mut span, method, upstream, slot);
    match end {
        CopyEnd::Answered(status) => {
            span.attribute(9, "http.response.status_code", Value::Number(status.into()));
            if status >= 400 {
                failed(&mut span, &status.to_string(), "");
            }
        }
        CopyEnd::Failed(why) => failed(&mut span, why, ""),
    }
    let mut spans = Message::default();
    spans.message(2, &span);
    spans.into_bytes()
}

/// What is said of an upstream that was asked.
fn asked(span: &mut Message, method: &str, upstream: &UpstreamAddress, slot: Slot) {
    let socket = upstream.socket_path().map(|path| path.as_str());
    span.attribute(9, "http.request.method", Value::Text(method));
    span.attribute(9, "server.address", Value::Text(socket.unwrap_or_else(|| upstream.host())));
    if let Some(port) = upstream.port() {
        span.attribute(9, "server.port", Value::Number(port.into()));
    }
    span.attribute(9, "switcher.slot", Value::Text(slot.as_str()));
}

fn begin(
    (id, state): (TraceId, Option<&HeaderValue>),
    span: &[u8],
    name: &str,
    kind: u64,
    [from, to]: [u64; 2],
) -> Message {
    let mut message = Message::default();
    message.bytes(1, id.bytes());
    message.bytes(2, span);
    if let Some(state) = state {
        message.bytes(3, String::from_utf8_lossy(state.as_bytes()).as_bytes());
    }
    message.bytes(5, name.as_bytes());
    message.number(6, kind);
    message.fixed64(7, from);
    message.fixed64(8, to.max(from));
    message
}

fn event(span: &mut Message, at: u64, name: &str) {
    let mut event = Message::default();
    event.fixed64(1, at);
    event.bytes(2, name.as_bytes());
    span.message(11, &event);
}

fn failed(span: &mut Message, what: &str, why: &str) {
    span.attribute(9, "error.type", Value::Text(what));
    let mut status = Message::default();
    status.bytes(2, why.as_bytes());
    status.number(3, ERROR);
    span.message(15, &status);
}

/// The span of the request itself.
fn own(trace: &Trace, served: &Served<'_>) -> Message {
    let (method, short) = known(served.method);
    let name = served.route.map_or_else(|| short.to_owned(), |route| format!("{short} {route}"));
    let (of, times) = ((trace.id, trace.state.as_ref()), [served.arrived, served.at(served.took)]);
    let mut span = begin(of, trace.span.bytes(), &name, SERVER, times);
    if let Some(parent) = &trace.parent {
        span.bytes(4, parent.bytes());
    }
    span.fixed32(16, if trace.parent.is_some() { SAMPLED | IS_REMOTE } else { SAMPLED });
    let client = served.client.to_string();
    let text = |text| Some(Value::Text(text));
    let number = |number| Some(Value::Number(number));
    let original = (method == "_OTHER").then(|| served.method.as_str());
    for (key, value) in [
        ("http.request.method", text(method)),
        ("http.request.method_original", original.map(Value::Text)),
        ("http.route", served.route.map(Value::Text)),
        ("url.path", text(served.path)),
        ("url.scheme", text(served.scheme)),
        ("server.address", text(served.host).filter(|_| !served.host.is_empty())),
        ("client.address", text(&client)),
        ("network.protocol.version", served.version.map(Value::Text)),
        ("user_agent.original", served.agent.map(Value::Text)),
        ("http.response.status_code", served.status.and_then(|status| number(status.into()))),
        ("switcher.app", served.app.map(Value::Text)),
        ("switcher.slot", served.slot.map(|(slot, _)| Value::Text(slot.as_str()))),
        ("switcher.generation", served.slot.and_then(|(_, generation)| number(generation.get()))),
        ("switcher.release", served.release.and_then(|r| r.to_str().ok()).map(Value::Text)),
        ("switcher.request_id", text(served.request_id)),
    ] {
        if let Some(value) = value {
            span.attribute(9, key, value);
        }
    }
    if let Some([from, to]) = trace.held {
        event(&mut span, served.at(from), "switcher.held");
        event(&mut span, served.at(to), "switcher.released");
    }
    match served.status {
        Some(status @ 500..) => failed(&mut span, &status.to_string(), served.error.unwrap_or_default()),
        Some(_) => {}
        None => failed(&mut span, served.error.unwrap_or("_OTHER"), ""),
    }
    span
}

/// The span of a try.
fn of_try(trace: &Trace, served: &Served<'_>, tried: &Try, place: usize) -> Message {
    let (method, short) = known(served.method);
    let ended = tried.ended.unwrap_or(served.took);
    let times = [served.at(tried.began), served.at(ended)];
    let mut span = begin((trace.id, trace.state.as_ref()), tried.span.bytes(), short, CLIENT, times);
    span.bytes(4, trace.span.bytes());
    span.fixed32(16, SAMPLED);
    asked(&mut span, method, &tried.upstream, tried.slot);
    if place > 0 {
        span.attribute(9, "http.request.resend_count", Value::Number(place as u64));
    }
    if let Some(status) = tried.status {
        span.attribute(9, "http.response.status_code", Value::Number(status.into()));
    }
    if let Some(at) = tried.connected {
        event(&mut span, served.at(at), "switcher.connected");
    }
    match (&tried.failure, tried.status) {
        (Some(why), _) => failed(&mut span, why, ""),
        (None, Some(status @ 400..)) => failed(&mut span, &status.to_string(), ""),
        (None, Some(_) | None) => {}
    }
    span
}
