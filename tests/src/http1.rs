//! HTTP/1.1 on the wire: raw bytes out, heads and bodies in, each with a deadline.
//!
//! It hides nothing: what a test sends is what goes out, and every header that arrives is kept in order.
//! Used by clients over TCP, TLS and unix sockets, and by the raw upstream on its own side.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;

use crate::until::{PATIENCE, within};

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection of any kind.
pub type Stream = Box<dyn Duplex>;

/// One HTTP/1.1 connection.
pub struct Http1 {
    stream: Stream,
    /// Bytes that arrived and were not asked for yet.
    buffer: Vec<u8>,
}

/// The head of a request or of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The request line or the status line.
    pub line: String,
    /// Every header in order, names as they were sent.
    pub headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head.
    pub head: Head,
    /// Its body, without the framing.
    pub body: Vec<u8>,
}

/// How far a body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none (or no more of it).
    Nothing,
    /// So many bytes more.
    Length(u64),
    /// Chunks until an empty one.
    Chunked,
    /// Until the connection ends.
    ToTheEnd,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The other side closed it.
    Closed,
    /// The other side reset it.
    Reset,
}

impl Head {
    fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|l| l.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Self { line, headers }
    }

    /// The status of an answer; 0 when this is no answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_default()
    }

    /// The method of a request.
    #[must_use]
    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// The target of a request: path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The first header of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Every header of that name, in order.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|(_, value)| value.as_str()).collect()
    }

    /// How far the body of a request with this head goes.
    #[must_use]
    pub fn request_framing(&self) -> Framing {
        if self.get("transfer-encoding").is_some_and(|t| t.eq_ignore_ascii_case("chunked")) {
            Framing::Chunked
        } else {
            let length = self.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
            if length == 0 { Framing::Nothing } else { Framing::Length(length) }
        }
    }

    /// How far the body of an answer with this head goes.
    #[must_use]
    pub fn answer_framing(&self) -> Framing {
        if matches!(self.status(), 100..200 | 204 | 304) {
            return Framing::Nothing;
        }
        let framing = self.request_framing();
        let says_nothing = framing == Framing::Nothing && self.get("content-length").is_none();
        if says_nothing { Framing::ToTheEnd } else { framing }
    }
}

impl Answer {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.text()))
    }
}

/// A request as bytes. `Host: shop.test` is added unless a host is given, and the length where there is a body.
#[must_use]
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let has = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !has("host") {
        head.push_str("Host: shop.test\r\n");
    }
    if !has("content-length") && !has("transfer-encoding") && (!body.is_empty() || method == "POST") {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// A GET on a connection of its own.
///
/// # Panics
/// When there is no whole answer.
pub async fn get(address: SocketAddr, target: &str) -> Answer {
    get_with(address, target, &[]).await
}

/// A GET with headers, on a connection of its own.
///
/// # Panics
/// When there is no whole answer.
pub async fn get_with(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Answer {
    Http1::connect(address).await.exchange(&request("GET", target, headers, b"")).await
}

/// A POST on a connection of its own.
///
/// # Panics
/// When there is no whole answer.
pub async fn post(address: SocketAddr, target: &str, body: &[u8]) -> Answer {
    Http1::connect(address).await.exchange(&request("POST", target, &[], body)).await
}

impl Http1 {
    /// Speaks over a connection.
    #[must_use]
    pub fn over(stream: impl Duplex + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Connects in clear text.
    ///
    /// # Panics
    /// When the connection is refused.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"))
    }

    /// Connects in clear text, or says why not.
    ///
    /// # Errors
    /// As the system says.
    pub async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = within(PATIENCE, "a connection", TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// When the other side is gone.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.expect("the other side takes bytes");
    }

    /// Sends bytes as they are, or says why not.
    ///
    /// # Errors
    /// When the other side is gone.
    pub async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(PATIENCE, "bytes to be taken", async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await
    }

    /// Sends a request and reads its whole answer; interim answers (1xx) are passed over.
    ///
    /// # Panics
    /// When there is no whole answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Answer {
        self.try_exchange(request).await.expect("a whole answer")
    }

    /// Sends a request and reads its whole answer, or says how that failed.
    ///
    /// # Errors
    /// `UnexpectedEof` when the answer is truncated or missing; else what the system says.
    pub async fn try_exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.try_send(request).await?;
        let no_body = request.starts_with(b"HEAD ");
        loop {
            let head = self.try_head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if matches!(head.status(), 100 | 102..200) {
                continue;
            }
            let framing = if no_body { Framing::Nothing } else { head.answer_framing() };
            let body = self.try_body(framing).await?;
            return Ok(Answer { status: head.status(), head, body });
        }
    }

    /// Reads the next head.
    ///
    /// # Panics
    /// When the connection ends first.
    pub async fn head(&mut self) -> Head {
        self.try_head().await.expect("a head").expect("a head before the end")
    }

    /// Reads the next head; `None` when the connection was closed before its first byte.
    ///
    /// # Errors
    /// `UnexpectedEof` within a head; else what the system says.
    pub async fn try_head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = Head::parse(&String::from_utf8_lossy(&self.buffer[..end]));
                self.buffer.drain(..end + 4);
                return Ok(Some(head));
            }
            if self.fill("a head").await? == 0 {
                let nothing = self.buffer.is_empty();
                return if nothing { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// The next head, however long it takes to come; `None` when the connection ends first. For servers.
    pub async fn forever_head(&mut self) -> Option<Head> {
        loop {
            if find(&self.buffer, b"\r\n\r\n").is_some() {
                return self.try_head().await.ok().flatten();
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Waits for the end of the connection, however long it takes. For servers.
    pub async fn forever_ending(&mut self) {
        loop {
            self.buffer.clear();
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Reads the rest of a body.
    ///
    /// # Errors
    /// `UnexpectedEof` when it is truncated; else what the system says.
    pub async fn try_body(&mut self, mut framing: Framing) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece(&mut framing).await? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// Reads the next piece of a body as it arrives: a chunk, or what there is. `None` at its end.
    ///
    /// # Errors
    /// `UnexpectedEof` when the body is truncated; else what the system says.
    pub async fn piece(&mut self, framing: &mut Framing) -> io::Result<Option<Vec<u8>>> {
        match *framing {
            Framing::Nothing | Framing::Length(0) => Ok(None),
            Framing::Length(left) => {
                if self.buffer.is_empty() && self.fill("a body").await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
                *framing = Framing::Length(left - take as u64);
                Ok(Some(self.buffer.drain(..take).collect()))
            }
            Framing::ToTheEnd => {
                let more = !self.buffer.is_empty() || self.fill("a body").await? > 0;
                Ok(more.then(|| std::mem::take(&mut self.buffer)))
            }
            Framing::Chunked => self.chunk(framing).await,
        }
    }

    async fn chunk(&mut self, framing: &mut Framing) -> io::Result<Option<Vec<u8>>> {
        let line = self.line().await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("no chunk size: {line:?}")))?;
        if size == 0 {
            while !self.line().await?.is_empty() {}
            *framing = Framing::Nothing;
            return Ok(None);
        }
        while self.buffer.len() < size + 2 {
            if self.fill("a chunk").await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let data = self.buffer.drain(..size).collect();
        self.buffer.drain(..2);
        Ok(Some(data))
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if self.fill("a line").await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Waits for the end of the connection; whatever still arrives is thrown away.
    pub async fn ending(&mut self) -> Ending {
        loop {
            self.buffer.clear();
            match self.fill("the end of the connection").await {
                Ok(0) => return Ending::Closed,
                Ok(_) => {}
                Err(_) => return Ending::Reset,
            }
        }
    }

    /// Whether the connection has not ended and nothing waits in it, at this moment.
    pub async fn is_quiet(&mut self) -> bool {
        if !self.buffer.is_empty() {
            return false;
        }
        let mut one = [0; 1];
        let read = futures::future::poll_immediate(self.stream.read(&mut one)).await;
        if matches!(read, Some(Ok(1))) {
            self.buffer.push(one[0]);
        }
        read.is_none()
    }

    /// The connection itself, for another protocol to go on with.
    ///
    /// # Panics
    /// When bytes have already arrived that would get lost.
    #[must_use]
    pub fn into_stream(self) -> Stream {
        assert!(self.buffer.is_empty(), "bytes would get lost");
        self.stream
    }

    /// Reads the head of an agreement to another protocol: both halves of the connection, and what came behind the head.
    ///
    /// # Panics
    /// When the answer is no agreement.
    pub async fn upgraded(mut self) -> (ReadHalf<Stream>, WriteHalf<Stream>, Vec<u8>) {
        assert_eq!(self.head().await.status(), 101);
        let (reads, writes) = tokio::io::split(self.stream);
        (reads, writes, self.buffer)
    }

    async fn fill(&mut self, what: &str) -> io::Result<usize> {
        self.buffer.reserve(16 * 1024);
        within(PATIENCE, what, self.stream.read_buf(&mut self.buffer)).await
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answers(bytes: &'static [u8]) -> Http1 {
        let (near, mut far) = tokio::io::duplex(64);
        tokio::spawn(async move { far.write_all(bytes).await });
        Http1::over(near)
    }

    #[tokio::test]
    async fn every_framing_is_read_to_its_end_and_no_further() {
        for wire in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 204 No\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: 1\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
            b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 204 No\r\n\r\n",
        ] {
            let mut client = answers(wire).await;
            let answer = client.exchange(b"").await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
            assert_eq!(client.exchange(b"").await.status, 204);
            assert_eq!(client.ending().await, Ending::Closed);
        }
    }

    #[tokio::test]
    async fn a_truncated_body_is_an_error_and_never_an_answer() {
        for wire in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello",
            b"HTTP/1.1 200 OK\r\nConte",
            b"",
        ] {
            let error = answers(wire).await.try_exchange(b"").await.expect_err("truncated");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn a_request_says_its_host_and_length_once() {
        let text = |r: Vec<u8>| String::from_utf8(r).expect("text");
        assert_eq!(text(request("GET", "/", &[], b"")), "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        assert_eq!(
            text(request("POST", "/x", &[("host", "a.test")], b"hi")),
            "POST /x HTTP/1.1\r\nContent-Length: 2\r\nhost: a.test\r\n\r\nhi"
        );
    }
}
