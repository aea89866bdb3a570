//! One client's connection to the front door: opened when needed, kept alive, opened again when the
//! other side has closed it between two requests.
//!
//! A request that provably was not sent goes out again on a new connection, and so does one that the other
//! side's GOAWAY disowns (RFC 9113 section 6.8: it was not and will not be processed). One that may have been
//! processed never does, so that no lost answer is hidden.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::tally::{Failure, Fault};
use super::tls;

/// The body of a request.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The front door.
#[derive(Debug, Clone)]
pub struct Target {
    /// The plain listener.
    pub plain: SocketAddr,
    /// The TLS listener; without one, HTTP/2 is spoken in clear text to `plain`.
    pub tls: Option<SocketAddr>,
    /// The host name asked for.
    pub host: String,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1 in clear text.
    Http1,
    /// HTTP/1.1 over TLS.
    Http1Tls,
    /// HTTP/2 over TLS, chosen by ALPN.
    Http2,
}

/// A byte stream in either direction, plain or TLS.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// One client's connection.
#[derive(Debug)]
pub(super) struct Link {
    target: Arc<Target>,
    protocol: Protocol,
    sender: Option<Sender>,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Link {
    /// A link that connects at its first request.
    pub(super) const fn new(target: Arc<Target>, protocol: Protocol) -> Self {
        Self { target, protocol, sender: None }
    }

    /// Another link on the same HTTP/2 connection; an HTTP/1.1 connection is not shared.
    pub(super) fn share(&self) -> Self {
        let sender = match &self.sender {
            Some(Sender::Http2(sender)) => Some(Sender::Http2(sender.clone())),
            Some(Sender::Http1(_)) | None => None,
        };
        Self { target: Arc::clone(&self.target), protocol: self.protocol, sender }
    }

    /// Connects, unless there is an open connection already.
    pub(super) async fn open(&mut self) -> Result<(), Failure> {
        if self.sender.as_mut().is_none_or(Sender::is_closed) {
            self.sender = None;
            let opened = timeout(CONNECT_TIMEOUT, connect(&self.target, self.protocol)).await;
            self.sender = Some(opened.map_err(|_| late("connecting took too long"))??);
        }
        Ok(())
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: impl Fn() -> Body,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = self.request(&method, path, body())?;
        // Every round opens a new connection, so a few are enough; each was closed before it was used.
        for _ in 0..3 {
            self.open().await?;
            let Some(sender) = &mut self.sender else { continue };
            match sender.send(request).await {
                Ok(response) => return Ok(response),
                Err((error, None)) if is_disowned(&error) => {
                    self.sender = None;
                    request = self.request(&method, path, body())?;
                }
                Err((error, None)) => {
                    self.sender = None;
                    let what = format!("{path}: no answer: {}", root_cause(&error));
                    return Err(Failure::new(Fault::Connection, what));
                }
                Err((_, Some(unsent))) => {
                    self.sender = None;
                    request = *unsent;
                }
            }
        }
        Err(Failure::new(Fault::Connection, format!("{path}: three new connections closed before use")))
    }

    /// Forgets the connection, after an exchange that did not end in order.
    pub(super) fn close(&mut self) {
        self.sender = None;
    }

    fn request(&self, method: &Method, path: &str, body: Body) -> Result<Request<Body>, Failure> {
        let invalid = |error: &dyn std::error::Error| {
            Failure::new(Fault::Connection, format!("{path} cannot be asked for: {error}"))
        };
        let text = match self.protocol {
            Protocol::Http1 | Protocol::Http1Tls => path.to_owned(),
            Protocol::Http2 => format!("https://{}{path}", self.target.host),
        };
        let uri: Uri = text.parse().map_err(|error| invalid(&error))?;
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        if self.protocol != Protocol::Http2 {
            let host = HeaderValue::from_str(&self.target.host).map_err(|error| invalid(&error))?;
            request.headers_mut().insert(header::HOST, host);
        }
        Ok(request)
    }
}

impl Sender {
    fn is_closed(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// The answer's head; or the error, with the request when it was not sent.
    async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Box<Request<Body>>>)> {
        let sent = match self {
            Self::Http1(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(error) => return Err((error, Some(Box::new(request)))),
            },
            Self::Http2(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(|mut refused| {
            let unsent = refused.take_message().map(Box::new);
            (refused.into_error(), unsent)
        })
    }
}

/// Opens the byte stream that `protocol` runs on.
pub(super) async fn dial(target: &Target, protocol: Protocol) -> Result<Box<dyn Wire>, Failure> {
    let secure = match protocol {
        Protocol::Http1 => None,
        Protocol::Http1Tls | Protocol::Http2 => target.tls,
    };
    let address = secure.unwrap_or(target.plain);
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| Failure::new(Fault::Connection, format!("cannot connect to {address}: {error}")))?;
    // Without this the requests are only slower.
    let _ = stream.set_nodelay(true);
    if secure.is_none() {
        return Ok(Box::new(stream));
    }
    let alpn: &[u8] = if protocol == Protocol::Http2 { b"h2" } else { b"http/1.1" };
    let stream = tls::handshake(stream, &target.host, alpn)
        .await
        .map_err(|error| Failure::new(Fault::Connection, format!("TLS with {address} failed: {error}")))?;
    Ok(Box::new(stream))
}

async fn connect(target: &Target, protocol: Protocol) -> Result<Sender, Failure> {
    let io = TokioIo::new(dial(target, protocol).await?);
    let failed = |error: hyper::Error| {
        Failure::new(Fault::Connection, format!("the connection did not open: {}", root_cause(&error)))
    };
    // The driving task ends with its connection; what went wrong is told to the exchange in progress.
    if protocol == Protocol::Http2 {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.map_err(failed)?;
        tokio::spawn(connection);
        Ok(Sender::Http2(sender))
    } else {
        let (sender, connection) = http1::handshake(io).await.map_err(failed)?;
        tokio::spawn(connection);
        Ok(Sender::Http1(sender))
    }
}

/// Whether a GOAWAY without an error says that this request was not processed. The streams that it covers go on.
fn is_disowned(error: &hyper::Error) -> bool {
    root_cause(error).contains("connection error received: not a result of an error")
}

/// A timeout in words.
pub(super) fn late(what: impl std::fmt::Display) -> Failure {
    Failure::new(Fault::Timeout, what)
}

/// An error with its innermost cause, which is the part that says something.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if innermost.to_string() == error.to_string() {
        error.to_string()
    } else {
        format!("{error}: {innermost}")
    }
}
