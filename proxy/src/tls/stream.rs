//! A TLS connection to a client, as Pingora drives it.
//!
//! Pingora's own type hides rustls's connection, and with it how the handshake went; this one wraps the same
//! stream. Made by the TLS front once a handshake is done.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::server::TlsStream as Inner;

/// A TLS connection whose handshake is done.
#[derive(Debug)]
pub struct TlsStream {
    inner: Inner<L4Stream>,
    digest: Arc<SslDigest>,
}

impl TlsStream {
    /// Wraps a stream.
    #[must_use]
    pub fn new(inner: Inner<L4Stream>) -> Self {
        let (_, connection) = inner.get_ref();
        let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let version = connection.protocol_version().and_then(|version| version.as_str());
        let digest =
            SslDigest::new(cipher.unwrap_or_default(), version.unwrap_or_default(), None, None, Vec::new());
        Self { inner, digest: Arc::new(digest) }
    }

    fn l4(&self) -> &L4Stream {
        self.inner.get_ref().0
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for TlsStream {
    async fn shutdown(&mut self) {
        // An error means that the client closed first.
        let _ = self.inner.shutdown().await;
    }
}

impl Ssl for TlsStream {
    /// Must be there: Pingora tells by it that a connection is encrypted.
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        Some(Arc::clone(&self.digest))
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match self.inner.get_ref().1.alpn_protocol()? {
            b"h2" => Some(ALPN::H2),
            // Nothing else is offered on connections that carry requests.
            _ => Some(ALPN::H1),
        }
    }
}

impl UniqueID for TlsStream {
    fn id(&self) -> UniqueIDType {
        self.l4().id()
    }
}

impl GetTimingDigest for TlsStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.l4().get_timing_digest()
    }
}

impl GetProxyDigest for TlsStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.l4().get_proxy_digest()
    }
}

impl GetSocketDigest for TlsStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.l4().get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.inner.get_mut().0.set_socket_digest(digest);
    }
}

impl Peek for TlsStream {}
