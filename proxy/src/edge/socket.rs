//! The socket of a client: TCP or unix, in clear text or under TLS.
//!
//! One type for all of them, so that what is built on top (the stream, the loop of HTTP/1.1) exists once.

use std::io::{IoSlice, Result};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags};
use rustix::time::Timespec;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A connection as it was accepted.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(socket) => socket.as_raw_fd(),
            Self::Unix(socket) => socket.as_raw_fd(),
        }
    }
}

impl Socket {
    /// Whether the other end has ended its side, looked at past what it sent before.
    pub(super) fn is_left(&self) -> bool {
        let mut polled = [PollFd::new(self, PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut polled, Some(&at_once)), Ok(1..))
    }

    /// What the client connected to; a unix socket has no such address.
    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Calls `read` whenever there is something to read, until it does not find that there was nothing.
    pub(crate) async fn when_readable<T>(&self, read: impl FnMut() -> Result<T>) -> Result<T> {
        match self {
            Self::Tcp(socket) => socket.async_io(Interest::READABLE, read).await,
            Self::Unix(socket) => socket.async_io(Interest::READABLE, read).await,
        }
    }
}

/// A connection that carries requests.
#[derive(Debug)]
pub enum Wire {
    /// In clear text.
    Plain(Socket),
    /// Under TLS, with the handshake done. In a box, for it is large.
    Tls(Box<TlsStream<Socket>>),
}

impl Wire {
    /// The socket below.
    pub(super) fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// Hands a call on to whichever it is.
macro_rules! on_either {
    ($self:expr, $first:ident | $second:ident, $inner:ident => $call:expr) => {
        match $self.get_mut() {
            Self::$first(socket) => {
                let $inner = Pin::new(socket);
                $call
            }
            Self::$second(socket) => {
                let $inner = Pin::new(socket);
                $call
            }
        }
    };
}

macro_rules! carries_bytes {
    ($type:ident, $first:ident | $second:ident) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<Result<()>> {
                on_either!(self, $first | $second, socket => socket.poll_read(cx, buf))
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize>> {
                on_either!(self, $first | $second, socket => socket.poll_write(cx, data))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                pieces: &[IoSlice<'_>],
            ) -> Poll<Result<usize>> {
                on_either!(self, $first | $second, socket => socket.poll_write_vectored(cx, pieces))
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
                on_either!(self, $first | $second, socket => socket.poll_flush(cx))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
                on_either!(self, $first | $second, socket => socket.poll_shutdown(cx))
            }
        }
    };
}

carries_bytes!(Socket, Tcp | Unix);
carries_bytes!(Wire, Plain | Tls);
