//! The edge: from an accepted socket to requests, whatever the client does.
//!
//! `socket` is what was accepted, in clear text or under TLS; `stream` is what Pingora gets of it, which reads no
//! byte out of turn and keeps no memory while idle; `http1` is the loop that reads heads and holds them against
//! the rules; `http2` drives Pingora's; `patience` bounds how slowly a client may take what is sent; `crowd` counts connections and decides who leaves when there are too many.
//! Accept loops of [`crate::listen`] hand over here.

pub mod crowd;
mod http1;
mod http2;
pub(crate) mod patience;
pub mod socket;
mod stream;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pingora::protocols::{ALPN, Ssl as _};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::sync::{mpsc, watch};

use crate::connection::Facts;
use crate::gateway::{Gateway, Shared};
use crate::limits::Pace;
use crate::metrics::{Limit, LimitMetrics};
use crate::tls::Front;

use crowd::Crowd;
use socket::{Socket, Wire};
use stream::Stream;

/// The first bytes of HTTP/2 in clear text with prior knowledge (RFC 9113 section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long handshakes that are under way may go on when the process ends.
const LAST_HANDSHAKES: Duration = Duration::from_secs(10);

/// What every connection may look at.
#[derive(Clone)]
pub struct Edge {
    /// Pingora's HTTP proxy.
    pub proxy: Arc<HttpProxy<Gateway>>,
    /// What requests may look at.
    pub shared: Arc<Shared>,
    /// The connections there are.
    pub crowd: Arc<Crowd>,
    /// Counts when a limit acts.
    pub limits: LimitMetrics,
    /// Turns true when no more connections are to be accepted, and keep-alive ends.
    pub shutdown: ShutdownWatch,
    /// Turns true when connections that wait for their next request are to end.
    pub idle_over: watch::Receiver<bool>,
    /// Held by every connection; when all are dropped, every connection has ended.
    pub alive: mpsc::Sender<Infallible>,
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
    /// Serves one connection to its end. It has its place from the call on, before it is polled.
    pub fn serve(
        self,
        socket: Socket,
        peer: SocketAddr,
        tls: Option<Secure>,
    ) -> impl Future<Output = ()> + Send {
        let (trusted, pace) = {
            let rules = self.shared.rules.load();
            (rules.trust.trusts(peer.ip()), rules.limits.pace)
        };
        let place = self.crowd.enter((!trusted).then(|| peer.ip()));
        async move {
            if let Some(_place) = place {
                self.serve_within(socket, peer, tls, pace).await;
            }
        }
    }

    async fn serve_within(self, socket: Socket, peer: SocketAddr, tls: Option<Secure>, pace: Pace) {
        let descriptor = socket.as_raw_fd();
        let (wire, tls) = match tls {
            None => (Wire::Plain(socket), None),
            Some(secure) => {
                // In a box, so that the memory of the handshake is given back when it is done.
                let handshake = Box::pin(secure.front.shake(secure.listener, socket));
                let shaken = tokio::select! {
                    shaken = handshake => shaken,
                    () = too_late(self.shutdown.clone()) => return,
                };
                match shaken {
                    Ok(shaken) => (Wire::Tls(Box::new(shaken.stream)), Some(shaken.tls)),
                    Err(reason) => {
                        return tracing::debug!(%peer, %reason, "the TLS handshake brought no connection");
                    }
                }
            }
        };
        let facts = Arc::new(Facts::new(peer, descriptor, tls));
        let stream = Box::new(Stream::new(wire, Arc::clone(&facts), pace));
        let _slow = CountSlow { facts: Arc::clone(&facts), edge: &self };
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            http2::serve(stream, &self, facts, false).await;
        } else if let Some(stream) = http1::serve(stream, &self, &facts).await {
            http2::serve(stream, &self, facts, true).await;
        }
    }
}

/// Counts a connection that was closed for taking too little, when it is over.
struct CountSlow<'a> {
    facts: Arc<Facts>,
    edge: &'a Edge,
}

impl Drop for CountSlow<'_> {
    fn drop(&mut self) {
        if self.facts.too_slow.load(Ordering::Relaxed) {
            self.edge.limits.acted(Limit::AnswerRate);
        }
    }
}

/// Resolves when a handshake has had its time although the process ends: one may wait for its certificate.
async fn too_late(mut shutdown: ShutdownWatch) {
    // An error means that the process is past its end.
    let _ = shutdown.wait_for(|down| *down).await;
    tokio::time::sleep(LAST_HANDSHAKES).await;
}
