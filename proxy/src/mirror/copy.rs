//! One copy: asks an upstream once, over a connection of its own, and reads its answer without keeping it.
//!
//! Invariant: a few buffers of bounded size are all the memory it takes, however long the answer. It has no clock: whoever
//! asks drops it when the time is over.

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Response, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use switcher_config::UpstreamProtocol;

use super::thread::Stopwatch;
use super::{Answer, Real, Request};
use crate::health::Dialer;
use crate::health::dial::{Connection, Version};
use crate::health::probe::Driven;
use crate::upstream::Upstream;

/// The most that is buffered of an answer.
const BUFFER: usize = 64 * 1024;
/// The same as a window of HTTP/2.
const WINDOW: u32 = 64 * 1024;

/// Asks for what `request` says, and reads at most so many bytes of the answer's body; no more than the real one has, once
/// that is known.
///
/// # Errors
/// A sentence when there is no connection, or no answer that ends in order.
pub(super) async fn ask(
    dialer: &Dialer,
    upstream: &Upstream,
    request: &Request,
    most: u64,
    real: &mut Real,
) -> Result<Answer, String> {
    let Connection { io, version } = dialer.open(upstream).await?;
    let watch = Stopwatch::start();
    let io = TokioIo::new(io);
    match version.unwrap_or(Version::Http1) {
        Version::Http1 => {
            let handshake = http1::Builder::new().max_buf_size(BUFFER).handshake(io).await;
            let (mut sender, connection) = handshake.map_err(broken)?;
            let _driven = Driven::new(connection);
            let target = request.target.as_str().parse().map_err(|_| unspeakable(request))?;
            let mut head = head(request, target);
            let host = HeaderValue::try_from(&request.authority).map_err(|_| unspeakable(request))?;
            head.headers_mut().insert(HOST, host);
            read(sender.send_request(head).await.map_err(broken)?, watch, most, real).await
        }
        Version::Http2 => {
            let handshake = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .max_send_buf_size(BUFFER)
                .handshake(io)
                .await;
            let (mut sender, connection) = handshake.map_err(broken)?;
            let _driven = Driven::new(connection);
            let https = upstream.address().protocol() == UpstreamProtocol::Https;
            let target = Uri::builder()
                .scheme(if https { "https" } else { "http" })
                .authority(request.authority.as_str())
                .path_and_query(request.target.clone())
                .build()
                .map_err(|_| unspeakable(request))?;
            read(sender.send_request(head(request, target)).await.map_err(broken)?, watch, most, real).await
        }
    }
}

fn head(request: &Request, target: Uri) -> http::Request<Empty<Bytes>> {
    let mut head = http::Request::new(Empty::new());
    *head.method_mut() = request.method.clone();
    *head.uri_mut() = target;
    *head.headers_mut() = request.headers.clone();
    head
}

async fn read(
    answer: Response<Incoming>,
    watch: Stopwatch,
    most: u64,
    real: &mut Real,
) -> Result<Answer, String> {
    let (head, mut body) = answer.into_parts();
    let first_byte = watch.elapsed();
    let (mut bytes, mut whole) = (0, true);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(broken)?;
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if bytes > most || real.now().is_some_and(|real| real.is_exceeded_by(bytes)) {
            whole = false;
            break;
        }
        // Whoever waits for this thread is more urgent.
        tokio::task::yield_now().await;
    }
    Ok(Answer { status: head.status.as_u16(), bytes, whole, first_byte, took: watch.elapsed() })
}

fn unspeakable(request: &Request) -> String {
    format!("{} of {:?} cannot be asked for", request.path, request.authority)
}

/// What hyper says, with the cause that it keeps inside.
fn broken(error: hyper::Error) -> String {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("the connection broke before a whole answer: {error}{cause}")
}
