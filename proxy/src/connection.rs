//! What is known of a client's connection, and the request that a task serves.
//!
//! Every request, of HTTP/1.1 or a stream of HTTP/2, is driven inside of a [`Request`], so that it can see the
//! connection's facts and can be aborted from outside without touching its neighbours.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};

use futures::future::AbortHandle;
use switcher_certs::RootsId;
use switcher_certs::resolver::Shown;

/// What is known of a connection.
#[derive(Debug)]
pub struct Facts {
    /// The other end.
    pub peer: SocketAddr,
    /// The socket, for looking whether the client is still there. Valid while a request is served.
    pub socket: RawFd,
    /// Whether it is TLS, and which name its handshake asked for.
    pub tls: Option<Tls>,
    /// It has become a WebSocket: what the client sends is no request any more.
    pub upgraded: AtomicBool,
    /// How many of its requests the client itself has reset (HTTP/2).
    pub resets: AtomicU32,
    /// It was closed because it took what was sent to it too slowly.
    pub too_slow: AtomicBool,
}

impl Facts {
    /// The facts of a new connection.
    #[must_use]
    pub const fn new(peer: SocketAddr, socket: RawFd, tls: Option<Tls>) -> Self {
        let (upgraded, too_slow) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { peer, socket, tls, upgraded, resets: AtomicU32::new(0), too_slow }
    }
}

/// What is known of a TLS connection.
#[derive(Debug)]
pub struct Tls {
    /// The server name of the handshake, in lower case.
    pub sni: Option<Box<str>>,
    /// What certificate it was shown.
    pub shown: Shown,
    /// The roots that the client's certificate was demanded of and found good by.
    pub client_ca: Option<RootsId>,
}

/// One request as it begins.
#[derive(Clone)]
pub struct Request {
    /// Its connection.
    pub facts: Arc<Facts>,
    /// Ends it wherever it stands.
    pub abort: AbortHandle,
}

tokio::task_local! {
    pub(crate) static REQUEST: Request;
}

/// The request that this task serves.
///
/// # Panics
/// Outside of a request: only [`crate::gateway::Gateway`] asks, and only Pingora, inside of [`crate::edge`], drives it.
pub(crate) fn current_request() -> Request {
    REQUEST.with(Clone::clone)
}
