//! The edge: from an accepted socket to requests, whatever the client does.
//!
//! `socket` is what was accepted, in clear text or under TLS; `introduction` reads whom a balancer in front speaks for;
//! `stream` is what Pingora gets of it, which reads no byte out of turn and keeps no memory while idle; `http1` is the
//! loop that reads heads and holds them against the rules; `http2` drives Pingora's; `patience` bounds how slowly a client
//! may take what is sent; `farewell` closes so that a client reads what it was told last; `crowd` counts connections and
//! decides who leaves when there are too many.
//! Accept loops of [`crate::listen`] hand over here; [`crate::raw`] has its connections come in as these do.

pub mod crowd;
mod farewell;
mod http1;
mod http2;
mod introduction;
pub(crate) mod patience;
pub mod proxy_protocol;
pub mod socket;
mod stream;

use std::convert::Infallible;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pingora::protocols::{ALPN, Ssl as _};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use pingora_timeout::timeout;
use switcher_config::settings::{Listener, ProxyProtocol};
use tokio::sync::{mpsc, watch};

use crate::connection::{Facts, Origin};
use crate::gateway::{Gateway, Shared};
use crate::memory::Streams;
use crate::metrics::{Limit, LimitMetrics};
use crate::tls::{Entrance, Front, NotServed, Shaken};

use crowd::{Crowd, Place};
use introduction::Introduction;
use socket::{Socket, Wire};
use stream::Stream;

/// The first bytes of HTTP/2 in clear text with prior knowledge (RFC 9113 section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a head that is half sent when the process ends may take for its other half, which may be on its way.
const HALF_SENT: Duration = Duration::from_secs(1);

/// How long handshakes that are under way may go on when the process ends.
const LAST_HANDSHAKES: Duration = Duration::from_secs(10);

/// What every connection may look at. All of them share one.
pub struct Edge {
    /// Pingora's HTTP proxy.
    pub proxy: Arc<HttpProxy<Gateway>>,
    /// What requests may look at.
    pub shared: Arc<Shared>,
    /// The connections there are.
    pub crowd: Arc<Crowd>,
    /// For requests of HTTP/2 when memory is limited.
    pub room: Arc<Streams>,
    /// Counts when a limit acts.
    pub limits: LimitMetrics,
    /// Turns true when no more connections are to be accepted, and keep-alive ends.
    pub shutdown: ShutdownWatch,
    /// Turns true when connections that wait for their next request are to end.
    pub idle_over: watch::Receiver<bool>,
    /// Held with the rest by every connection; when it is dropped, every connection has ended.
    pub alive: mpsc::Sender<Infallible>,
}

/// What a listener makes of its connections.
#[derive(Clone)]
pub struct Door {
    /// Shakes hands; none for plain connections.
    pub tls: Option<Secure>,
    /// Whether they begin with the address of the client.
    pub proxy_protocol: ProxyProtocol,
    /// What applications call the listener.
    pub name: Option<Arc<str>>,
}

impl Door {
    /// That of a listener.
    #[must_use]
    pub fn new(listener: &Listener, tls: Option<Secure>) -> Self {
        let name = listener.name.as_deref().map(Into::into);
        Self { tls, proxy_protocol: listener.proxy_protocol, name }
    }
}

/// What makes a listener one of TLS.
#[derive(Clone)]
pub struct Secure {
    /// Shakes hands.
    pub front: Arc<Front>,
    /// The listener's place in the settings.
    pub listener: usize,
}

impl Edge {
    /// Serves one connection to its end. It has its place from the call on, before it is polled; one that is to be
    /// introduced has it by its own address until then.
    pub fn serve(
        self: Arc<Self>,
        socket: Socket,
        origin: Origin,
        door: Door,
    ) -> impl Future<Output = ()> + Send {
        let place = self.first_place(origin, door.proxy_protocol);
        async move {
            if let Some(place) = place {
                self.serve_within(socket, origin, door, place).await;
            }
        }
    }

    /// A place for a connection that was just accepted; none when it is refused.
    pub(crate) fn first_place(&self, origin: Origin, proxy_protocol: ProxyProtocol) -> Option<Place> {
        match proxy_protocol {
            ProxyProtocol::Off => self.enter(origin),
            ProxyProtocol::Require | ProxyProtocol::Accept => self.crowd.enter(None),
        }
    }

    /// Hears from a balancer in front who the client is, where the connection begins with that. None when it is refused.
    pub(crate) async fn come_in(
        &self,
        socket: &Socket,
        mut origin: Origin,
        proxy_protocol: ProxyProtocol,
        mut place: Place,
    ) -> Option<Came> {
        let mut early = Vec::new();
        if proxy_protocol != ProxyProtocol::Off {
            // In a box, so that its memory is given back when it is done.
            let introduced = Box::pin(self.introduced(socket, origin, proxy_protocol));
            (origin, early) = introduced.await?;
            place = self.enter(origin)?;
        }
        origin.destination = origin.destination.or_else(|| socket.local_address());
        Some(Came { origin, early, place })
    }

    /// A place for whoever a connection comes from; none when that has its share already.
    fn enter(&self, origin: Origin) -> Option<Place> {
        self.crowd.enter((!self.is_trusted(origin)).then(|| origin.peer.ip()))
    }

    async fn serve_within(&self, socket: Socket, origin: Origin, door: Door, place: Place) {
        let came = self.come_in(&socket, origin, door.proxy_protocol, place).await;
        let Some(Came { origin, early, place: _place }) = came else { return };
        let peer = origin.peer;
        let pace = self.shared.rules.load().limits.pace;
        let descriptor = socket.as_raw_fd();
        let (wire, tls) = match door.tls {
            None => (Wire::Plain(socket), None),
            // What was taken to look for a header is no beginning of TLS.
            Some(_) if !early.is_empty() => return,
            Some(secure) => {
                let Some(shaken) =
                    self.shake(&secure.front, Entrance::Requests(secure.listener), socket).await
                else {
                    return;
                };
                match shaken {
                    Ok(shaken) => (Wire::Tls(Box::new(shaken.stream)), Some(shaken.tls)),
                    Err(reason) => {
                        return tracing::debug!(%peer, %reason, "the TLS handshake brought no connection");
                    }
                }
            }
        };
        let facts = Arc::new(Facts::new(origin, descriptor, tls).at(door.name));
        let mut stream = Box::new(Stream::new(wire, Arc::clone(&facts), pace));
        stream.ahead.extend_from_slice(&early);
        drop(early);
        let _slow = CountSlow { facts: Arc::clone(&facts), edge: self };
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            http2::serve(stream, self, facts, false).await;
        } else if let Some(stream) = http1::serve(stream, self, &facts).await {
            http2::serve(stream, self, facts, true).await;
        } else {
            let left = facts.left.lock().take();
            if let Some(socket) = left {
                Box::pin(farewell::read_out(socket, farewell::LAST_WORD)).await;
            }
        }
    }
}

/// A connection that came in.
pub(crate) struct Came {
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// What was taken of it to find that no balancer speaks first.
    pub(crate) early: Vec<u8>,
    /// Its place, given back when it is over.
    pub(crate) place: Place,
}

/// Counts a connection that was closed for taking too little, when it is over.
struct CountSlow<'a> {
    facts: Arc<Facts>,
    edge: &'a Edge,
}

impl Drop for CountSlow<'_> {
    fn drop(&mut self) {
        if self.facts.too_slow.load(Ordering::Relaxed) && self.facts.is_first_slow() {
            self.edge.limits.acted(Limit::AnswerRate);
        }
    }
}

impl Edge {
    /// Shakes hands, in a box, so that the memory of the handshake is given back when it is done. None when the process
    /// ends before.
    pub(crate) async fn shake(
        &self,
        front: &Front,
        entrance: Entrance,
        socket: Socket,
    ) -> Option<Result<Shaken, NotServed>> {
        let handshake = Box::pin(front.shake(entrance, socket));
        tokio::select! {
            shaken = handshake => Some(shaken),
            () = too_late(self.shutdown.clone()) => None,
        }
    }

    /// Whether the other end is believed in what it says of clients.
    fn is_trusted(&self, origin: Origin) -> bool {
        origin.is_local || self.shared.rules.load().trust.trusts(origin.peer.ip())
    }

    /// Where a connection comes from by the word of a balancer in front, and what was taken of it to find out that it
    /// has none. None when it is to be closed.
    async fn introduced(
        &self,
        socket: &Socket,
        mut origin: Origin,
        wanted: ProxyProtocol,
    ) -> Option<(Origin, Vec<u8>)> {
        let required = wanted == ProxyProtocol::Require;
        let asks_itself = || required && self.shared.smoke.is_asking_from(origin.peer);
        if !(self.is_trusted(origin) || asks_itself()) {
            return if required {
                self.refused(origin, "it comes from no trusted proxy")
            } else {
                Some((origin, Vec::new()))
            };
        }
        let limit = self.shared.rules.load().limits.header_timeout;
        let mut shutdown = self.shutdown.clone();
        let read = tokio::select! {
            read = timeout(limit, introduction::read(socket)) => read,
            _ = shutdown.wait_for(|down| *down) => return None,
        };
        match read {
            Ok(Ok(Introduction::Named(Some(named)))) => {
                origin = Origin { peer: named.source, destination: Some(named.destination), is_local: false };
                Some((origin, Vec::new()))
            }
            Ok(Ok(Introduction::Named(None))) => Some((origin, Vec::new())),
            Ok(Ok(Introduction::Plain(early))) if !required => Some((origin, early)),
            Ok(Ok(Introduction::Plain(_))) => self.refused(origin, "it begins with no header"),
            Ok(Ok(Introduction::Broken(why))) => self.refused(origin, why),
            Ok(Err(_)) => self.refused(origin, "it ended before the header did"),
            Err(_) => self.refused(origin, "the header did not come in time"),
        }
    }

    /// Counts a connection that is closed for its want of a header.
    fn refused<T>(&self, origin: Origin, why: &str) -> Option<T> {
        self.limits.acted(Limit::ProxyProtocol);
        tracing::debug!(peer = %origin.peer, why, "a connection without a good PROXY protocol header is closed");
        None
    }
}

/// Resolves when a handshake has had its time although the process ends: one may wait for its certificate.
async fn too_late(mut shutdown: ShutdownWatch) {
    // An error means that the process is past its end.
    let _ = shutdown.wait_for(|down| *down).await;
    tokio::time::sleep(LAST_HANDSHAKES).await;
}
