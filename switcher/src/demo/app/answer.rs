//! What the demo app answers, path by path.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::time::sleep;

use super::{VERSION_HEADER, echo};
use crate::demo::pattern::{Digest, pieces};

/// A whole or streamed answer body.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// One running version of the app.
#[derive(Debug)]
pub(super) struct App {
    version: String,
    broken: bool,
    /// Requests other than health checks and questions for this very number.
    served: AtomicU64,
}

impl App {
    pub(super) fn new(version: String, broken: bool) -> Self {
        Self { version, broken, served: AtomicU64::new(0) }
    }

    /// Answers one request, naming the version.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let mut response = self.route(request).await;
        if let Ok(version) = HeaderValue::from_str(&self.version) {
            response.headers_mut().insert(VERSION_HEADER, version);
        }
        response
    }

    async fn route(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        match path.as_str() {
            "/health" if self.broken => text(StatusCode::INTERNAL_SERVER_ERROR, "broken on purpose\n"),
            "/health" => text(StatusCode::OK, "ok\n"),
            "/served" => text(StatusCode::OK, format!("{}\n", self.served.load(Ordering::Relaxed))),
            _ => {
                self.served.fetch_add(1, Ordering::Relaxed);
                if self.broken {
                    return text(StatusCode::INTERNAL_SERVER_ERROR, "broken on purpose\n");
                }
                self.serve(&path, request).await
            }
        }
    }

    async fn serve(&self, path: &str, request: Request<Incoming>) -> Response<Body> {
        let number = |key, default| parameter(request.uri().query(), key).unwrap_or(default);
        match (request.method(), path) {
            (&Method::GET, "/") => text(StatusCode::OK, format!("hello from {}\n", self.version)),
            (&Method::GET, "/version") => text(StatusCode::OK, format!("{}\n", self.version)),
            (&Method::GET, "/slow") => {
                sleep(Duration::from_millis(number("ms", 500))).await;
                text(StatusCode::OK, "slow\n")
            }
            (&Method::GET, "/bytes") => download(number("n", 65_536), Duration::from_millis(number("ms", 0))),
            (&Method::GET, "/sse") => {
                events(self.version.clone(), Duration::from_millis(number("every", 1000)))
            }
            (&Method::GET, "/ws") => echo::upgrade(request),
            (&Method::POST, "/upload") => upload(request.into_body()).await,
            _ => text(StatusCode::NOT_FOUND, "there is no such page\n"),
        }
    }
}

/// A whole answer of plain text.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn parameter(query: Option<&str>, key: &str) -> Option<u64> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| *name == key).find_map(|(_, value)| value.parse().ok())
}

/// `length` bytes of the pattern with their length declared, spread over `time`.
fn download(length: u64, time: Duration) -> Response<Body> {
    const PIECES: u32 = 16;
    let pause = time / PIECES;
    let body = stream::iter(pieces(length, u64::from(PIECES))).then(move |piece| async move {
        if !pause.is_zero() {
            sleep(pause).await;
        }
        Ok::<_, io::Error>(Frame::data(piece))
    });
    let mut response = Response::new(StreamBody::new(body).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

/// An endless event stream: numbered from 1, each event naming the version.
fn events(version: String, every: Duration) -> Response<Body> {
    let body = stream::unfold(1_u64, move |id| {
        let event = format!("id: {id}\ndata: {version}\n\n");
        async move {
            if id > 1 {
                sleep(every).await;
            }
            Some((Ok::<_, io::Error>(Frame::data(Bytes::from(event))), id + 1))
        }
    });
    let mut response = Response::new(StreamBody::new(body).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

async fn upload(mut body: Incoming) -> Response<Body> {
    let mut digest = Digest::default();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => digest.update(frame.data_ref().map_or(&[][..], |data| &data[..])),
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("the upload broke off: {error}\n")),
        }
    }
    text(StatusCode::OK, digest.line())
}
