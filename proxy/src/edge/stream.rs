//! A client's connection as Pingora gets it: it reads no byte that is not its turn, and keeps no memory while idle.
//!
//! Reading goes through a [`Gate`]: while a request is served, Pingora can read that request's body and nothing
//! behind it, so a byte of the next request can never be taken for one of this. What came early waits in `ahead`
//! for the loop of HTTP/1.1 to parse it. Writing collects what is small, so that the head of an answer and its
//! body leave in one piece (one record under TLS), and gives the memory back when all is sent.

use std::io::{ErrorKind, IoSlice, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use rustix::io::ioctl_fionread;
use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::connection::Facts;
use crate::hygiene::{Chunks, Framing};
use crate::limits::Pace;

use super::patience::{Waiting, unsent};
use super::socket::Wire;

/// What is read from the socket at once by the loop itself, in bytes. On the thread's stack.
const READ: usize = 8 * 1024;

/// How much small writes are collected to, in bytes: the most that a TLS record carries.
const COLLECT: usize = 16 * 1024;

/// The first room for collected writes: the head of an answer and a small body.
const FIRST_ROOM: usize = 2 * 1024;

/// How long the rest of a body may take whose request has been answered already.
const REST: Duration = Duration::from_secs(5);

/// How far is read ahead while a client waits for its answer, in bytes.
const AHEAD: usize = 16 * 1024;

/// How often it is looked whether a client has left that has sent more than that.
const LOOK: Duration = Duration::from_secs(1);

/// How many pieces are handed on in one vectored write.
const PIECES: usize = 8;

/// Which bytes of the client may be read.
#[derive(Debug)]
pub(super) enum Gate {
    /// All of them: HTTP/2, or a connection that became a WebSocket.
    Open,
    /// So many of a body.
    Length(u64),
    /// Those of a chunked body.
    Chunked(Box<Chunks>),
    /// None: the request has been read to its end.
    Closed,
}

impl From<Framing> for Gate {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Empty | Framing::Length(0) => Self::Closed,
            Framing::Length(bytes) => Self::Length(bytes),
            Framing::Chunked => Self::Chunked(Box::default()),
        }
    }
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Stream {
    wire: Wire,
    pub(super) gate: Gate,
    /// Read from the wire, not yet handed on.
    pub(super) ahead: BytesMut,
    collected: Vec<u8>,
    /// How much of the collected has left.
    sent: usize,
    /// How many bytes the wire took so far.
    written: u64,
    /// How many of them when the request began.
    before: u64,
    /// The client has ended its side.
    ended: bool,
    /// How fast the client must take them.
    pace: Pace,
    /// There once the client had to be waited for.
    waiting: Option<Box<Waiting>>,
    /// When it is looked next whether the client has left, there once it has sent too much to see it by reading; or when
    /// the rest of an answered request must have come.
    look: Option<Pin<Box<Sleep>>>,
    facts: Arc<Facts>,
    digest: Option<Arc<SslDigest>>,
}

impl Stream {
    pub(super) fn new(wire: Wire, facts: Arc<Facts>, pace: Pace) -> Self {
        let digest = match &wire {
            Wire::Plain(_) => None,
            Wire::Tls(stream) => Some(Arc::new(digest(stream.get_ref().1))),
        };
        let (ahead, collected) = (BytesMut::new(), Vec::new());
        let (gate, waiting, look) = (Gate::Closed, None, None);
        let (sent, written, before, ended) = (0, 0, 0, false);
        Self {
            wire,
            gate,
            ahead,
            collected,
            sent,
            written,
            before,
            ended,
            pace,
            waiting,
            look,
            facts,
            digest,
        }
    }

    /// A request begins, with a body that is framed like this, and under the limits of now.
    pub(super) fn begin(&mut self, framing: Framing, pace: Pace) {
        (self.gate, self.pace, self.before) = (Gate::from(framing), pace, self.written);
        (self.waiting, self.look) = (None, None);
        self.facts.answered.store(false, Ordering::Relaxed);
    }

    /// The socket's descriptor, valid as long as the stream lives.
    pub(super) fn descriptor(&self) -> RawFd {
        self.wire.socket().as_raw_fd()
    }

    /// Whether the request before was read to its end, so that the next one begins where this stream stands.
    pub(super) fn is_at_a_request(&self) -> bool {
        matches!(self.gate, Gate::Closed)
    }

    /// Whether the connection is in clear text.
    pub(super) fn is_plain(&self) -> bool {
        self.digest.is_none()
    }

    /// Whether the client was told something and may still be sending: that it reads it must be waited for.
    fn may_be_sending(&self) -> bool {
        let told = self.written > self.before && !self.ended && !self.facts.too_slow.load(Ordering::Relaxed);
        told && match self.gate {
            Gate::Closed => {
                !self.ahead.is_empty() || ioctl_fionread(self.wire.socket()).is_ok_and(|bytes| bytes > 0)
            }
            Gate::Length(_) | Gate::Chunked(_) => true,
            // HTTP/2 has an end of its own.
            Gate::Open => self.facts.upgraded.load(Ordering::Acquire),
        }
    }

    /// Leaves the socket behind for being read out when this stream is gone.
    pub(super) fn leave(&self) {
        // An error means that no descriptors are left: then it is closed at once.
        *self.facts.left.lock() = self.wire.socket().as_fd().try_clone_to_owned().ok();
    }

    fn poll_wire(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.wire).poll_read(cx, buf));
        self.ended |= read.is_err() || buf.filled().len() == before;
        Poll::Ready(read)
    }

    /// Reads from the wire what there is into `ahead`, without allocating while nothing is there. How many bytes:
    /// none at the end of the connection.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        let mut space = [MaybeUninit::<u8>::uninit(); READ];
        let mut buf = ReadBuf::uninit(&mut space);
        ready!(self.poll_wire(cx, &mut buf))?;
        self.ahead.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Bytes in their order: what came early, then the wire's.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if self.ahead.is_empty() {
            return self.poll_wire(cx, buf);
        }
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_length(&mut self, left: u64, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let mut part = buf.take(most);
        ready!(self.poll_bytes(cx, &mut part))?;
        let count = part.filled().len();
        // SAFETY: `part` is the first room of `buf`, and these bytes of it were filled.
        unsafe { buf.assume_init(count) };
        buf.advance(count);
        let left = left - count as u64;
        self.gate = if left == 0 { Gate::Closed } else { Gate::Length(left) };
        Poll::Ready(Ok(()))
    }

    fn poll_chunked(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buf.filled().len();
        ready!(self.poll_bytes(cx, buf))?;
        let Gate::Chunked(chunks) = &mut self.gate else { return Poll::Ready(Ok(())) };
        let got = &buf.filled()[before..];
        if got.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let (count, ended) = match chunks.feed(got) {
            Ok(fed) => fed,
            Err(violation) => return Poll::Ready(Err(violation.into())),
        };
        if count < got.len() {
            // The beginning of the next request goes back in front of what is there.
            let mut next = BytesMut::from(&got[count..]);
            next.extend_from_slice(&self.ahead);
            self.ahead = next;
            buf.set_filled(before + count);
        }
        if ended {
            self.gate = Gate::Closed;
        }
        Poll::Ready(Ok(()))
    }

    /// Fails when a body goes on for too long behind its answer.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Result<()> {
        let has_more = matches!(self.gate, Gate::Length(_) | Gate::Chunked(_));
        if !has_more || !self.facts.answered.load(Ordering::Relaxed) {
            return Ok(());
        }
        let end = self.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(REST)));
        if end.as_mut().poll(cx).is_ready() { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// Between a request's end and its answer's: only the connection's own end is told. What the client sends
    /// meanwhile waits (RFC 9112 section 9.3.2). It is read as far as `AHEAD`, for the end stands behind it.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.ahead.len() < AHEAD {
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        let look = self.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
        while look.as_mut().poll(cx).is_ready() {
            if self.wire.socket().is_left() {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            look.as_mut().reset(Instant::now() + LOOK);
        }
        Poll::Pending
    }

    /// Sends what was collected, and as much of `more` as goes along. How much of that went: none when there was
    /// nothing of it.
    fn poll_send(&mut self, cx: &mut Context<'_>, more: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        while self.sent < self.collected.len() {
            let left = self.collected.len() - self.sent;
            let mut pieces = [IoSlice::new(&self.collected[self.sent..]); PIECES];
            let along = more.len().min(PIECES - 1);
            pieces[1..=along].copy_from_slice(&more[..along]);
            let written = Pin::new(&mut self.wire).poll_write_vectored(cx, &pieces[..=along]);
            let count = ready!(self.poll_patient(cx, written))?;
            self.written += count as u64;
            if count == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            if count < left {
                self.sent += count;
                continue;
            }
            self.forget_collected();
            if count > left {
                return Poll::Ready(Ok(count - left));
            }
        }
        self.forget_collected();
        if more.iter().all(|piece| piece.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let written = Pin::new(&mut self.wire).poll_write_vectored(cx, more);
        let count = ready!(self.poll_patient(cx, written))?;
        self.written += count as u64;
        Poll::Ready(Ok(count))
    }

    /// What came of writing, unless the client had to be waited for too long: then the connection is over.
    fn poll_patient<T>(&mut self, cx: &mut Context<'_>, done: Poll<Result<T>>) -> Poll<Result<T>> {
        if done.is_ready() && self.waiting.is_none() || self.pace.rate == 0 {
            return done;
        }
        let (pace, written, socket) = (self.pace, self.written, self.wire.socket());
        let taken = || written.saturating_sub(unsent(socket));
        let waiting = self.waiting.get_or_insert_with(|| Box::new(Waiting::new(pace, taken())));
        if done.is_ready() {
            waiting.go_on(pace, taken);
            return done;
        }
        ready!(waiting.poll_over(cx, pace, taken));
        self.facts.too_slow.store(true, Ordering::Relaxed);
        // What the kernel holds for the client is forgotten, instead of being offered for minutes more. An error
        // means that the connection is over already.
        let _ = set_socket_linger(socket, Some(Duration::ZERO));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }

    fn forget_collected(&mut self) {
        (self.collected, self.sent) = (Vec::new(), 0);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.may_be_sending() {
            self.leave();
        }
    }
}

/// What Pingora is told of a TLS connection. It must be there: by it Pingora tells that one is encrypted.
fn digest(connection: &rustls::ServerConnection) -> SslDigest {
    let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    let version = connection.protocol_version().and_then(|version| version.as_str());
    SslDigest::new(cipher.unwrap_or_default(), version.unwrap_or_default(), None, None, Vec::new())
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        if matches!(this.gate, Gate::Closed) && this.facts.upgraded.load(Ordering::Acquire) {
            this.gate = Gate::Open;
        }
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        this.poll_rest(cx)?;
        let read = match this.gate {
            Gate::Open => this.poll_bytes(cx, buf),
            Gate::Length(left) => this.poll_length(left, cx, buf),
            Gate::Chunked(_) => this.poll_chunked(cx, buf),
            Gate::Closed => this.poll_closed(cx),
        };
        if read.is_pending() && !this.collected.is_empty() {
            // Whoever waits for the client has nothing to add for now. Pingora flushes an answer of a known length
            // only at its end, and the first half of it may be all that there is for a while.
            ready!(Pin::new(this).poll_flush(cx))?;
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let size: usize = pieces.iter().map(|piece| piece.len()).sum();
        if this.collected.len() + size > COLLECT {
            return this.poll_send(cx, pieces);
        }
        if this.collected.is_empty() {
            this.collected.reserve_exact(size.max(FIRST_ROOM));
        }
        for piece in pieces {
            this.collected.extend_from_slice(piece);
        }
        Poll::Ready(Ok(size))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx, &[]))?;
        let flushed = Pin::new(&mut this.wire).poll_flush(cx);
        this.poll_patient(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx, &[]))?;
        let ended = Pin::new(&mut this.wire).poll_shutdown(cx);
        this.poll_patient(cx, ended)
    }
}

#[async_trait]
impl Shutdown for Stream {
    async fn shutdown(&mut self) {
        // An error means that the client closed first.
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl Ssl for Stream {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.digest.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        let Wire::Tls(stream) = &self.wire else { return None };
        match stream.get_ref().1.alpn_protocol()? {
            b"h2" => Some(ALPN::H2),
            // Nothing else is offered on connections that carry requests.
            _ => Some(ALPN::H1),
        }
    }
}

impl UniqueID for Stream {
    fn id(&self) -> UniqueIDType {
        // A descriptor is never negative.
        UniqueIDType::try_from(self.descriptor()).unwrap_or_default()
    }
}

impl GetTimingDigest for Stream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Stream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Stream {
    /// Requests know their client from [`Facts`].
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

/// Whether a connection in clear text speaks HTTP/2 is known before Pingora gets it.
impl Peek for Stream {}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::super::socket::Socket;
    use super::*;
    use crate::hygiene::Violation;

    const PACE: Pace = Pace { rate: 1000, grace: Duration::from_millis(200) };

    /// A stream and its client.
    fn pair() -> (Stream, UnixStream) {
        let (client, server) = UnixStream::pair().expect("a pair of sockets");
        let facts = Arc::new(Facts::new(SocketAddr::from(([127, 0, 0, 1], 9)), 0, None));
        (Stream::new(Wire::Plain(Socket::Unix(server)), facts, PACE), client)
    }

    async fn read(stream: &mut Stream) -> String {
        let mut text = [0; 64];
        let count = stream.read(&mut text).await.expect("bytes");
        String::from_utf8_lossy(&text[..count]).into_owned()
    }

    #[tokio::test]
    async fn a_body_of_a_length_ends_before_the_next_request() {
        let (mut stream, mut client) = pair();
        client.write_all(b"helloGET / HTTP/1.1\r\n").await.expect("room");
        stream.gate = Gate::from(Framing::Length(5));
        assert_eq!(read(&mut stream).await, "hello");
        assert!(stream.is_at_a_request());
        assert!(
            futures::poll!(Box::pin(read(&mut stream))).is_pending(),
            "the next request waits for its turn"
        );
        assert_eq!(&stream.ahead[..], b"GET / HTTP/1.1\r\n");
    }

    #[tokio::test]
    async fn a_chunked_body_ends_before_the_next_request_wherever_it_is_cut() {
        let body = b"3\r\nabc\r\n0\r\n\r\n";
        for cut in 1..body.len() + 3 {
            let (mut stream, mut client) = pair();
            let bytes = [&body[..], b"GET"].concat();
            stream.gate = Gate::from(Framing::Chunked);
            stream.ahead = BytesMut::from(&bytes[..cut]);
            client.write_all(&bytes[cut..]).await.expect("room");
            let mut seen = String::new();
            while !stream.is_at_a_request() {
                seen += &read(&mut stream).await;
            }
            assert_eq!(seen.as_bytes(), body, "cut at {cut}");
            assert!(futures::poll!(Box::pin(read(&mut stream))).is_pending());
            while stream.ahead.len() < 3 {
                poll_fn(|cx| stream.poll_fill(cx)).await.expect("the rest is on the way");
            }
            assert_eq!(&stream.ahead[..], b"GET", "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn a_chunk_that_breaks_the_rules_ends_the_connection_and_is_known_for_the_answer() {
        let (mut stream, mut client) = pair();
        client.write_all(b"3\nabc").await.expect("room");
        stream.gate = Gate::from(Framing::Chunked);
        let error = stream.read(&mut [0; 64]).await.expect_err("a bare line feed is no end of a line");
        assert_eq!(Violation::within(&error), Some(Violation::ChunkSize));
    }

    #[tokio::test]
    async fn what_comes_early_is_the_websockets_once_it_is_agreed_upon() {
        let (mut stream, mut client) = pair();
        client.write_all(b"frame").await.expect("room");
        assert!(futures::poll!(Box::pin(read(&mut stream))).is_pending(), "nobody has agreed yet");
        stream.facts.upgraded.store(true, Ordering::Release);
        assert_eq!(read(&mut stream).await, "frame");
        client.write_all(b"more").await.expect("room");
        assert_eq!(read(&mut stream).await, "more");
    }

    #[tokio::test]
    async fn the_end_of_the_connection_is_told_at_any_gate() {
        for gate in [Gate::Open, Gate::Length(5), Gate::from(Framing::Chunked), Gate::Closed] {
            let (mut stream, client) = pair();
            stream.gate = gate;
            drop(client);
            assert_eq!(read(&mut stream).await, "");
        }
    }

    #[tokio::test]
    async fn the_end_of_the_connection_is_told_behind_what_came_early() {
        for early in [&b"X"[..], &[0; 4 * AHEAD]] {
            let (mut stream, mut client) = pair();
            client.write_all(early).await.expect("room");
            while stream.ahead.len() < early.len().min(AHEAD) {
                assert!(futures::poll!(Box::pin(read(&mut stream))).is_pending());
                tokio::task::yield_now().await;
            }
            drop(client);
            assert_eq!(read(&mut stream).await, "");
            assert!(stream.ended);
        }
    }

    #[tokio::test]
    async fn the_socket_stays_for_a_client_that_may_be_sending_and_for_no_other() {
        // What the client has sent, which body it announced, and whether it was answered.
        for (sent, gate, answered, stays) in [
            (&b""[..], Gate::Length(5), true, true),
            (b"", Gate::Length(5), false, false),
            (b"", Gate::Closed, true, false),
            (b"GET /", Gate::Closed, true, true),
            (b"frame", Gate::Open, true, false),
        ] {
            let (mut stream, mut client) = pair();
            stream.gate = gate;
            client.write_all(sent).await.expect("room");
            if answered {
                stream.write_all(b"answer").await.expect("room");
                stream.flush().await.expect("room");
            }
            let facts = Arc::clone(&stream.facts);
            let case = format!("{stream:?}");
            drop(stream);
            assert_eq!(facts.left.lock().is_some(), stays, "{case}");
        }
    }

    #[tokio::test]
    async fn small_writes_leave_together_and_give_their_memory_back() {
        let (mut stream, mut client) = pair();
        stream.write_all(b"head ").await.expect("room");
        stream.write_all(b"body").await.expect("room");
        assert_eq!(stream.collected, b"head body");
        stream.flush().await.expect("a client that reads");
        assert_eq!(stream.collected.capacity(), 0);
        let mut text = [0; 16];
        let count = client.read(&mut text).await.expect("bytes");
        assert_eq!(&text[..count], b"head body");
    }

    #[tokio::test]
    async fn what_was_collected_leaves_when_the_writer_waits_for_the_client() {
        let (mut stream, mut client) = pair();
        stream.write_all(b"first half").await.expect("room");
        assert!(futures::poll!(Box::pin(read(&mut stream))).is_pending());
        let mut text = [0; 16];
        let count = client.read(&mut text).await.expect("bytes");
        assert_eq!(&text[..count], b"first half");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut stream, client) = pair();
        let error = stream.write_all(&vec![0; 10_000_000]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(stream.facts.too_slow.load(Ordering::Relaxed));
        drop(client);
    }

    #[tokio::test]
    async fn a_client_of_whom_nothing_is_asked_is_waited_for() {
        let (mut stream, client) = pair();
        stream.pace.rate = 0;
        let written = tokio::time::timeout(3 * PACE.grace, stream.write_all(&vec![0; 10_000_000])).await;
        assert!(written.is_err(), "{written:?}");
        drop(client);
    }

    #[tokio::test]
    async fn large_writes_keep_their_order_behind_small_ones_through_a_slow_reader() {
        let (mut stream, mut client) = pair();
        let large: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
        let expected = [b"head", &large[..], b"tail"].concat();
        let writing = tokio::spawn(async move {
            stream.write_all(b"head").await?;
            stream.write_all(&large).await?;
            stream.write_all(b"tail").await?;
            stream.flush().await
        });
        let mut seen = Vec::new();
        let mut piece = [0; 777];
        while seen.len() < expected.len() {
            let count = client.read(&mut piece).await.expect("bytes");
            seen.extend_from_slice(&piece[..count]);
        }
        writing.await.expect("no panic").expect("a client that reads");
        assert!(seen == expected, "the bytes are not those that were written");
    }
}
