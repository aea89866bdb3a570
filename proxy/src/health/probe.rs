//! One probe: asks an upstream once, over a connection of its own, and says what it found.
//!
//! Invariant: it ends within its limit, reads a bounded part of the answer, and every failure is a sentence for
//! people. Called by [`super::prober`], and by tests.

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use switcher_config::settings::Check;
use switcher_config::wire::ProbeRecord;
use switcher_config::{Span, UpstreamProtocol};
use tokio::task::JoinHandle;

use super::dial::{Connection, Dialer, Version};
use super::grpc;
use crate::upstream::{CheckName, Upstream};

/// How much of a body is read, in bytes.
const READ: usize = 64 * 1024;
/// How much of it is remembered and shown, in characters.
const SHOWN: usize = 200;

/// Makes one probe.
pub async fn probe(
    dialer: &Dialer,
    upstream: &Upstream,
    name: CheckName,
    check: &Check,
    limit: Duration,
) -> ProbeRecord {
    let (at, began) = (Timestamp::now(), Instant::now());
    let mut seen = Seen::default();
    let result = tokio::time::timeout(limit, ask(dialer, upstream, check, &mut seen)).await;
    let error = result.unwrap_or_else(|_| Err(format!("no answer within {}", Span(limit)))).err();
    ProbeRecord {
        at,
        ok: error.is_none(),
        check: name.as_str().into(),
        status: seen.status,
        body: (!seen.body.is_empty()).then(|| shown(&seen.body)),
        latency_ms: began.elapsed().as_micros() as f64 / 1000.0,
        error,
    }
}

/// What came back, kept also when the probe fails half-way.
#[derive(Default)]
struct Seen {
    status: Option<u16>,
    body: BytesMut,
    trailers: Option<HeaderMap>,
}

async fn ask(dialer: &Dialer, upstream: &Upstream, check: &Check, seen: &mut Seen) -> Result<(), String> {
    match check {
        Check::Tcp => dialer.connect(upstream, || None).await.map(drop),
        Check::Http { path, host, status, body } => {
            let connection = dialer.open(upstream).await?;
            let version = connection.version.unwrap_or(Version::Http1);
            let request = http_request(upstream, version, path, host.as_deref())?;
            exchange(connection, version, request, seen).await?;
            judge_http(seen, *status, body.as_deref())
        }
        Check::Grpc { service } => {
            let mut connection = dialer.open(upstream).await?;
            // gRPC is HTTP/2, also to an address that is written without `h2c://`.
            if upstream.address().protocol() == UpstreamProtocol::Http1 {
                connection.version = Some(Version::Http2);
            }
            if connection.version == Some(Version::Http1) {
                return Err("the server does not speak HTTP/2, which gRPC needs".into());
            }
            let head = exchange(connection, Version::Http2, grpc_request(upstream, service)?, seen).await?;
            if seen.status != Some(200) {
                return Err(unexpected_status(seen, (200, 200)));
            }
            let trailers = seen.trailers.take().unwrap_or(head);
            let body = std::mem::take(&mut seen.body);
            grpc::judge(service, &trailers, &body)
        }
    }
}

fn judge_http(seen: &Seen, (low, high): (u16, u16), wanted: Option<&str>) -> Result<(), String> {
    if !seen.status.is_some_and(|status| (low..=high).contains(&status)) {
        return Err(unexpected_status(seen, (low, high)));
    }
    match wanted {
        Some(text) if !contains(&seen.body, text.as_bytes()) => {
            Err(format!("the body does not contain {text:?}: {}", quoted(&seen.body)))
        }
        Some(_) | None => Ok(()),
    }
}

fn unexpected_status(seen: &Seen, (low, high): (u16, u16)) -> String {
    let status = seen.status.unwrap_or_default();
    let expected = if low == high { low.to_string() } else { format!("{low}-{high}") };
    let body = if seen.body.is_empty() { String::new() } else { format!(": {}", quoted(&seen.body)) };
    format!("answered {status} where {expected} is expected{body}")
}

fn contains(body: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || body.windows(wanted.len()).any(|window| window == wanted)
}

fn authority(upstream: &Upstream, host: Option<&str>) -> String {
    host.map_or_else(|| upstream.address().authority(), str::to_owned)
}

fn uri(upstream: &Upstream, authority: &str, path: &str) -> Result<Uri, String> {
    let https = upstream.address().protocol() == UpstreamProtocol::Https;
    Uri::builder()
        .scheme(if https { "https" } else { "http" })
        .authority(authority)
        .path_and_query(path)
        .build()
        .map_err(|error| format!("the check cannot ask for {path:?} of {authority:?}: {error}"))
}

/// HTTP/1.1 has the path in its first line and the host in a header, HTTP/2 has the whole URI in its pseudo-headers.
fn http_request(
    upstream: &Upstream,
    version: Version,
    path: &str,
    host: Option<&str>,
) -> Result<Request<Full<Bytes>>, String> {
    let authority = authority(upstream, host);
    let uri = uri(upstream, &authority, path)?;
    let request = Request::builder().method(Method::GET).header(USER_AGENT, "switcher-health/1");
    let request = match version {
        Version::Http1 => request
            .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, authority)
            .header(CONNECTION, "close"),
        Version::Http2 => request.uri(uri),
    };
    request.body(Full::default()).map_err(|error| format!("the check cannot be asked: {error}"))
}

fn grpc_request(upstream: &Upstream, service: &str) -> Result<Request<Full<Bytes>>, String> {
    Request::builder()
        .method(Method::POST)
        .uri(uri(upstream, &authority(upstream, None), grpc::PATH)?)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, "switcher-health/1")
        .body(Full::new(grpc::request(service)))
        .map_err(|error| format!("the check cannot be asked: {error}"))
}

/// Sends the request and reads the answer into `seen`; gives the answer's headers.
async fn exchange(
    connection: Connection,
    version: Version,
    request: Request<Full<Bytes>>,
    seen: &mut Seen,
) -> Result<HeaderMap, String> {
    let io = TokioIo::new(connection.io);
    match version {
        Version::Http1 => {
            let (mut sender, connection) = http1::handshake(io).await.map_err(broken)?;
            let _driven = Driven::new(connection);
            read(sender.send_request(request).await.map_err(broken)?, seen).await
        }
        Version::Http2 => {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.map_err(broken)?;
            let _driven = Driven::new(connection);
            read(sender.send_request(request).await.map_err(broken)?, seen).await
        }
    }
}

/// The task of a connection; it ends with whoever holds this, also when that runs out of time.
pub(crate) struct Driven(JoinHandle<()>);

impl Driven {
    pub(crate) fn new<E>(connection: impl Future<Output = Result<(), E>> + Send + 'static) -> Self {
        // The exchange learns of every failure by itself.
        Self(tokio::spawn(async move { drop(connection.await) }))
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn read(answer: Response<Incoming>, seen: &mut Seen) -> Result<HeaderMap, String> {
    let (head, mut body) = answer.into_parts();
    seen.status = Some(head.status.as_u16());
    while seen.body.len() < READ {
        let Some(frame) = body.frame().await else { break };
        match frame.map_err(broken)?.into_data() {
            Ok(data) => seen.body.extend_from_slice(&data[..data.len().min(READ - seen.body.len())]),
            Err(frame) => seen.trailers = frame.into_trailers().ok(),
        }
    }
    Ok(head.headers)
}

/// What hyper says, with the cause that it keeps inside.
fn broken(error: hyper::Error) -> String {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("the connection broke before a whole answer: {error}{cause}")
}

/// The first characters of a body, on one line and without control characters.
fn shown(body: &[u8]) -> String {
    let start = &body[..body.len().min(4 * SHOWN)];
    let text = String::from_utf8_lossy(start);
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let mut text: String = text.trim().chars().take(SHOWN).map(printable).collect();
    if start.len() < body.len() || text.chars().count() == SHOWN {
        text.push('…');
    }
    text
}

fn quoted(body: &[u8]) -> String {
    format!("\"{}\"", shown(body))
}
