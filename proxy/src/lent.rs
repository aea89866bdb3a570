//! The socket of a connection to an upstream, lent to whoever may have to shut it.
//!
//! Invariant: the socket is open as long as it is lent. Its owner takes it back, under the lock that shutting needs,
//! before it closes it, so what is shut can never be another connection that was given the same number. Lending costs
//! a connection an allocation, and no descriptor; a request, nothing but a count.
//!
//! [`Lending`] owns a connection of the proxy's own; one that Pingora owns takes its socket back by a tracer.

use std::any::Any;
use std::io::{IoSlice, Result as IoResult};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::StatusCode;
use parking_lot::Mutex;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{Digest, GetProxyDigest as _};
use pingora::upstreams::peer::{Tracer, Tracing};
use pingora_core::protocols::l4::stream::Stream;
use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::edge::patience::unsent;

/// A socket that somebody else owns; none when that has taken it back.
#[derive(Debug)]
pub struct Lent(Mutex<Option<RawFd>>);

impl Lent {
    fn of(socket: BorrowedFd<'_>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(socket.as_raw_fd()))))
    }

    /// Shuts both directions: what was received already can still be read, then the end follows.
    pub fn shut(&self) {
        let held = self.0.lock();
        if let Some(descriptor) = *held {
            // SAFETY: the socket is open as long as it is lent, and cannot be taken back while the lock is held.
            let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
            // ENOTCONN means that the peer was faster, which is just as well.
            let _ = shutdown(socket, Shutdown::Both);
        }
    }

    /// Whether the other end has not taken all that was sent to it. Asks the kernel.
    #[must_use]
    pub fn is_backed_up(&self) -> bool {
        let held = self.0.lock();
        // SAFETY: as above.
        held.is_some_and(|descriptor| unsent(&unsafe { BorrowedFd::borrow_raw(descriptor) }) > 0)
    }

    fn take_back(&self) {
        *self.0.lock() = None;
    }
}

/// A connection whose socket is lent as long as it lives.
#[derive(Debug)]
pub struct Lending<S> {
    lent: Arc<Lent>,
    connection: S,
}

impl<S: AsFd> Lending<S> {
    /// Lends the connection's socket.
    pub fn new(connection: S) -> Self {
        Self { lent: Lent::of(connection.as_fd()), connection }
    }
}

impl<S> Lending<S> {
    /// What is lent.
    #[must_use]
    pub const fn lent(&self) -> &Arc<Lent> {
        &self.lent
    }
}

impl<S> Drop for Lending<S> {
    fn drop(&mut self) {
        // Before the connection is dropped, which closes it.
        self.lent.take_back();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lending<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<IoResult<()>> {
        Pin::new(&mut self.connection).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lending<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<IoResult<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<IoResult<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

/// Takes back the socket of a connection that Pingora closes: its stream says so to its tracer first.
#[derive(Debug, Clone)]
struct Return(Arc<Lent>);

impl Tracing for Return {
    fn on_connected(&self) {}

    fn on_disconnected(&self) {
        self.0.take_back();
    }

    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(self.clone())
    }
}

/// Lends the socket of a new connection before Pingora gets it: [`of`] finds it again.
///
/// # Errors
/// None that is known.
pub fn lend(stream: &mut Stream) -> Result<()> {
    let lent = Arc::new(Lent(Mutex::new(Some(stream.as_raw_fd()))));
    stream.tracer = Some(Tracer(Box::new(Return(Arc::clone(&lent)))));
    // The one place of a connection's description that holds what is Pingora's user's; the answer is nobody's.
    let unused = Box::new(ResponseHeader::build(StatusCode::OK, Some(0))?);
    let user_data: Box<dyn Any + Send + Sync> = Box::new(lent);
    stream.set_proxy_digest(ProxyDigest::new(unused, Some(user_data)));
    Ok(())
}

/// The socket that is lent of a connection with this description.
#[must_use]
pub fn of(connection: &Digest) -> Option<&Arc<Lent>> {
    connection.proxy_digest.as_deref()?.user_data.as_deref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_is_shut_only_as_long_as_it_is_lent() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let lending = Lending::new(near);
        let lent = Arc::clone(lending.lent());
        far.write_all(b"x").unwrap();
        drop(lending);
        // What is given the number next is not shut by who kept the handle.
        let (mut other, mut its_peer) = UnixStream::pair().unwrap();
        lent.shut();
        its_peer.write_all(b"alive").unwrap();
        let mut read = [0; 5];
        other.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"alive");
    }

    #[test]
    fn shutting_ends_both_directions() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let lending = Lending::new(near);
        lending.lent().shut();
        assert_eq!(far.read(&mut [0; 1]).unwrap(), 0);
        assert!(far.write_all(b"x").is_err());
    }
}
