//! An HTTP/2 client: whole exchanges with trailers, and open streams for what is not whole.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;

use crate::http1::Duplex;
use crate::tls::Hello;
use crate::until::{PATIENCE, within};

/// One HTTP/2 connection.
#[derive(Clone)]
pub struct Http2 {
    sender: SendRequest<Bytes>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer2 {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// Its trailers, where there were any.
    pub trailers: Option<HeaderMap>,
}

impl Answer2 {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

/// A GET of a path at `https://shop.test`.
///
/// # Panics
/// When the path is none.
#[must_use]
pub fn get(path: &str) -> Request<()> {
    request("GET", path, &[])
}

/// A request for a path at `https://shop.test`.
///
/// # Panics
/// When a part of it is malformed.
#[must_use]
pub fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("https://shop.test{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

impl Http2 {
    /// Connects in clear text with prior knowledge.
    ///
    /// # Panics
    /// When that fails.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within(PATIENCE, "a connection", TcpStream::connect(address)).await.expect("connected");
        Self::over(stream).await
    }

    /// Connects over TLS; ALPN must choose `h2`.
    ///
    /// # Panics
    /// When that fails.
    pub async fn tls(address: SocketAddr, name: &str) -> Self {
        let agreed = Hello::to(name).alpn(&["h2", "http/1.1"]).connect(address).await;
        assert_eq!(agreed.alpn.as_deref(), Some("h2"), "the server takes HTTP/2");
        Self::over(agreed.stream).await
    }

    /// Speaks over a connection.
    ///
    /// # Panics
    /// When the handshake fails.
    pub async fn over(stream: impl Duplex + 'static) -> Self {
        let builder = h2::client::Builder::new();
        let handshake = builder.handshake::<_, Bytes>(stream);
        let (sender, connection) = within(PATIENCE, "HTTP/2 settings", handshake).await.expect("HTTP/2");
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { sender }
    }

    /// A whole exchange.
    ///
    /// # Panics
    /// When there is no whole answer.
    pub async fn exchange(&self, request: Request<()>, body: &[u8]) -> Answer2 {
        self.try_exchange(request, body).await.expect("a whole answer")
    }

    /// A whole exchange, or how it failed.
    ///
    /// # Errors
    /// As the stream or the connection ended.
    pub async fn try_exchange(&self, request: Request<()>, body: &[u8]) -> Result<Answer2, h2::Error> {
        let (answer, mut sender) = self.open(request, body.is_empty()).await?;
        if !body.is_empty() {
            send_all(&mut sender, body).await?;
        }
        whole(within(PATIENCE, "an HTTP/2 answer", answer).await?).await
    }

    /// Opens a stream: the answer to come, and the way to send the body.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn open(
        &self,
        request: Request<()>,
        end: bool,
    ) -> Result<(h2::client::ResponseFuture, SendStream<Bytes>), h2::Error> {
        let ready = within(PATIENCE, "a free HTTP/2 stream", self.sender.clone().ready());
        ready.await?.send_request(request, end)
    }
}

/// Sends a whole body, with flow control, and ends the stream.
///
/// # Errors
/// When the stream was reset.
pub async fn send_all(sender: &mut SendStream<Bytes>, mut body: &[u8]) -> Result<(), h2::Error> {
    while !body.is_empty() {
        sender.reserve_capacity(body.len());
        let granted =
            within(PATIENCE, "room to send", std::future::poll_fn(|cx| sender.poll_capacity(cx))).await;
        let take = granted.ok_or(Reason::CANCEL)??.min(body.len());
        sender.send_data(Bytes::copy_from_slice(&body[..take]), false)?;
        body = &body[take..];
    }
    sender.send_data(Bytes::new(), true)
}

/// The next piece of a body; `None` at its end. The room it took is given back.
///
/// # Errors
/// When the stream was reset.
pub async fn piece(body: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let Some(data) = within(PATIENCE, "a piece of an HTTP/2 body", body.data()).await else {
        return Ok(None);
    };
    let data = data?;
    body.flow_control().release_capacity(data.len())?;
    Ok(Some(data))
}

async fn whole(answer: Response<RecvStream>) -> Result<Answer2, h2::Error> {
    let (parts, mut stream) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(data) = piece(&mut stream).await? {
        body.extend_from_slice(&data);
    }
    let trailers = within(PATIENCE, "HTTP/2 trailers", stream.trailers()).await?;
    Ok(Answer2 { status: parts.status.as_u16(), headers: parts.headers, body, trailers })
}
