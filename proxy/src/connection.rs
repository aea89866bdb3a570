//! What is known of a client's connection, and the request that a task serves.
//!
//! Every request, of HTTP/1.1 or a stream of HTTP/2, is driven inside of a [`Request`], so that it can see the
//! connection's facts and can be aborted from outside without touching its neighbours.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use futures::future::AbortHandle;
use parking_lot::Mutex;
use switcher_certs::RootsId;
use switcher_certs::resolver::Shown;
use tokio::sync::Notify;

use crate::forwarded::Told;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The other end, or the client whom a balancer names in its place.
    pub peer: SocketAddr,
    /// What the client connected to, where it is known.
    pub destination: Option<SocketAddr>,
    /// It comes by a unix socket and stands for itself: whoever may open that is believed.
    pub is_local: bool,
}

impl From<SocketAddr> for Origin {
    fn from(peer: SocketAddr) -> Self {
        Self { peer, destination: None, is_local: false }
    }
}

impl Origin {
    /// Of a connection by a unix socket, whose other end has no address: that of loopback stands in its place.
    pub const UNIX: Self =
        Self { peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), destination: None, is_local: true };
}

/// What is known of a connection.
#[derive(Debug)]
pub struct Facts {
    /// The other end, or the client whom a balancer names in its place.
    pub peer: SocketAddr,
    /// What the client connected to, by the word of a balancer or by the socket; a unix socket has no such address.
    pub destination: Option<SocketAddr>,
    /// It comes by a unix socket: whoever may open that is believed.
    pub is_local: bool,
    /// Unique in this process.
    pub number: u64,
    /// The socket, for looking whether the client is still there. Valid while a request is served.
    pub socket: RawFd,
    /// The name of the listener it came in at, if that has one.
    pub listener: Option<Arc<str>>,
    /// Whether it is TLS, and which name its handshake asked for.
    pub tls: Option<Tls>,
    /// It has become a WebSocket: what the client sends is no request any more.
    pub upgraded: AtomicBool,
    /// Whether a request of it, of HTTP/2, uses the one connection to an upstream that its place holds.
    pub upstream_taken: AtomicBool,
    /// Rung when that is free again.
    pub upstream_free: Notify,
    /// How many of its requests the client itself has reset (HTTP/2).
    pub resets: AtomicU32,
    /// What upstreams are told of its client.
    pub told: Told,
    /// It was closed because it took what was sent to it too slowly.
    pub too_slow: AtomicBool,
    /// The answer to its request has been sent, to the last byte that is known of (HTTP/1.1).
    pub answered: AtomicBool,
    /// The socket once more, when the connection was closed while its client may still be sending: whoever serves
    /// the connection reads it out.
    pub(crate) left: Mutex<Option<OwnedFd>>,
    /// It was counted as one that takes too little.
    counted_slow: AtomicBool,
}

impl Facts {
    /// Whether the connection, or a request of it, is found to take too little for the first time: it is counted once.
    pub fn is_first_slow(&self) -> bool {
        !self.counted_slow.swap(true, Ordering::Relaxed)
    }

    /// The facts of a new connection.
    #[must_use]
    pub fn new(origin: impl Into<Origin>, socket: RawFd, tls: Option<Tls>) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let Origin { peer, destination, is_local } = origin.into();
        Self {
            peer,
            destination,
            is_local,
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            socket,
            listener: None,
            tls,
            upgraded: AtomicBool::new(false),
            upstream_taken: AtomicBool::new(false),
            upstream_free: Notify::new(),
            resets: AtomicU32::new(0),
            told: Told::default(),
            too_slow: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            left: Mutex::new(None),
            counted_slow: AtomicBool::new(false),
        }
    }

    /// The same of a connection that came in at this listener.
    #[must_use]
    pub fn at(self, listener: Option<Arc<str>>) -> Self {
        Self { listener, ..self }
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
