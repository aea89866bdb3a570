//! A collector for these tests: takes what is sent to it, or answers as it is told.
//!
//! It reads protobuf by itself, so that what the proxy writes is held against another's reading.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{AUTHORIZATION, CONTENT_ENCODING};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use switcher_tests::certificate::Certificate;
use switcher_tests::{PATIENCE, until};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// What a collector answers that never does.
pub(super) const NOTHING: u16 = 0;

/// A collector. It is gone, with its connections, when it is dropped.
pub(super) struct Collector {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    answer: AtomicU16,
    /// What it says beside its status.
    said: Mutex<Bytes>,
    /// What it wants to be shown.
    token: Mutex<Option<String>>,
    asked: Mutex<Vec<(String, HeaderMap)>>,
    spans: Mutex<Vec<Span>>,
}

/// A span, as the collector reads it.
#[derive(Debug, Clone, Default)]
pub(super) struct Span {
    pub(super) trace: String,
    pub(super) id: String,
    pub(super) parent: String,
    pub(super) state: String,
    pub(super) name: String,
    pub(super) kind: u64,
    pub(super) times: [u64; 2],
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) events: Vec<String>,
    pub(super) is_error: bool,
    pub(super) service: String,
}

impl Span {
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.attributes.get(key).map(String::as_str)
    }
}

/// A field of protobuf: numbers, or bytes.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(from: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = from.split_first().expect("a byte of a number");
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
    }
    value
}

/// The fields of a message; panics at what is none.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let mut take = |length: usize| {
            let (taken, rest) = bytes.split_at(length);
            bytes = rest;
            taken
        };
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Number(u64::from_le_bytes(take(8).try_into().expect("eight"))),
            5 => Field::Number(u32::from_le_bytes(take(4).try_into().expect("four")).into()),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).expect("a length");
                let (taken, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(taken)
            }
            other => panic!("wire type {other}"),
        };
        found.push((tag >> 3, field));
    }
    found
}

/// The messages, texts or bytes in a field.
fn within(bytes: &[u8], number: u64) -> Vec<&[u8]> {
    let inner = |(found, field)| match field {
        Field::Bytes(bytes) if found == number => Some(bytes),
        Field::Bytes(_) | Field::Number(_) => None,
    };
    fields(bytes).into_iter().filter_map(inner).collect()
}

fn number(bytes: &[u8], wanted: u64) -> u64 {
    let found = fields(bytes).into_iter().find_map(|(found, field)| match field {
        Field::Number(value) if found == wanted => Some(value),
        Field::Bytes(_) | Field::Number(_) => None,
    });
    found.unwrap_or_default()
}

fn text(bytes: &[u8], wanted: u64) -> String {
    within(bytes, wanted)
        .first()
        .map(|text| String::from_utf8((*text).to_vec()).expect("UTF-8"))
        .unwrap_or_default()
}

fn hex(bytes: &[u8], wanted: u64) -> String {
    within(bytes, wanted).concat().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(bytes: &[u8], field: u64) -> BTreeMap<String, String> {
    let pair = |pair: &[u8]| {
        let value = within(pair, 2).concat();
        let shown = text(&value, 1);
        (text(pair, 1), if shown.is_empty() { number(&value, 3).to_string() } else { shown })
    };
    within(bytes, field).into_iter().map(pair).collect()
}

fn spans(body: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource_spans in within(body, 1) {
        let resource = attributes(&within(resource_spans, 1).concat(), 1);
        for span in within(resource_spans, 2).into_iter().flat_map(|scope| within(scope, 2)) {
            spans.push(Span {
                trace: hex(span, 1),
                id: hex(span, 2),
                state: text(span, 3),
                parent: hex(span, 4),
                name: text(span, 5),
                kind: number(span, 6),
                times: [number(span, 7), number(span, 8)],
                attributes: attributes(span, 9),
                events: within(span, 11).into_iter().map(|event| text(event, 2)).collect(),
                is_error: within(span, 15).first().is_some_and(|status| number(status, 3) == 2),
                service: resource["service.name"].clone(),
            });
        }
    }
    spans
}

async fn take(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let mut body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    if head.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding == "gzip") {
        let mut plain = Vec::new();
        GzDecoder::new(&*body).read_to_end(&mut plain).expect("a whole body");
        body = plain.into();
    }
    let shown = head.headers.get(AUTHORIZATION).and_then(|shown| shown.to_str().ok().map(str::to_owned));
    shared.asked.lock().expect("asked").push((head.uri.to_string(), head.headers));
    let wanted = shared.token.lock().expect("a token").clone();
    let known = wanted.is_none_or(|token| shown == Some(format!("Bearer {token}")));
    let status = if known { shared.answer.load(Ordering::SeqCst) } else { 401 };
    match status {
        NOTHING => std::future::pending().await,
        200 => shared.spans.lock().expect("spans").extend(spans(&body)),
        _ => {}
    }
    let mut answer = Response::new(Full::new(shared.said.lock().expect("what it says").clone()));
    *answer.status_mut() = status.try_into().expect("a status");
    Ok(answer)
}

impl Collector {
    pub(super) async fn start() -> Self {
        Self::serve(None).await
    }

    /// One that speaks TLS, for `localhost`.
    pub(super) async fn tls(certificate: &Certificate) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der.clone()], certificate.key())
            .expect("a certificate with its key");
        Self::serve(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared { answer: AtomicU16::new(200), ..Shared::default() });
        let (serving, scheme) = (Arc::clone(&shared), if tls.is_some() { "https" } else { "http" });
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls) = (Arc::clone(&serving), tls.clone());
                let service = hyper::service::service_fn(move |request| take(request, Arc::clone(&shared)));
                let http = hyper::server::conn::http1::Builder::new();
                connections.spawn(async move {
                    let _ = match tls {
                        None => http.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            http.serve_connection(TokioIo::new(stream), service).await
                        }
                    };
                });
            }
        });
        Self { address, scheme, shared, server }
    }

    /// From now on it wants to be shown this.
    pub(super) fn wants(&self, token: &str) {
        *self.shared.token.lock().expect("a token") = Some(token.to_owned());
    }

    /// From now on it says this beside its status.
    pub(super) fn says(&self, answer: Vec<u8>) {
        *self.shared.said.lock().expect("what it says") = answer.into();
    }

    /// Where it was asked first, and with which headers.
    pub(super) fn first(&self) -> (String, HeaderMap) {
        self.shared.asked.lock().expect("asked")[0].clone()
    }

    /// From now on it answers with this status.
    pub(super) fn answers(&self, status: u16) {
        self.shared.answer.store(status, Ordering::SeqCst);
    }

    pub(super) fn asked(&self) -> usize {
        self.shared.asked.lock().expect("asked").len()
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        self.shared.spans.lock().expect("spans").clone()
    }

    /// All spans that have come, once there are so many.
    pub(super) async fn wait_for(&self, count: usize) -> Vec<Span> {
        until(PATIENCE, &format!("{count} spans"), || async { self.spans().len() >= count }).await;
        self.spans()
    }

    pub(super) fn traces(&self, more: &str) -> String {
        format!("{{otlp: \"{}\"{more}}}", self.url())
    }

    /// Where it is asked.
    pub(super) fn url(&self) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}", self.scheme, self.address.port())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}
