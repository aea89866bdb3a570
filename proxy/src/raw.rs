//! Raw TCP: connections of applications with `tcp`, from the accepted socket to their end.
//!
//! `hello` reads the name that a client asks for by TLS; `visit` is a connection's memory, which takes its lease and leaves
//! its trace; `dial` finds it an upstream; `pump` carries its bytes. Invariant: a connection takes its lease before it touches
//! an upstream and keeps it to its end, as a request does: a switch moves those alone that come after it, and a drain waits
//! for the others. Accept loops of [`crate::listen`] hand over here.

mod dial;
mod hello;
mod pump;
mod visit;

use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::{AbortHandle, Abortable};
use pingora_timeout::timeout;
use switcher_certs::RootsId;
use switcher_config::settings::{ProxyProtocol, RawTls};

use crate::app::App;
use crate::connection::Origin;
use crate::edge::crowd::Place;
use crate::edge::socket::{Socket, Wire};
use crate::edge::{Came, Edge};
use crate::metrics::Limit;
use crate::tls::{Entrance, refuse};

use hello::Heard;
use visit::Visit;

/// Serves one connection that came in at an address of raw TCP to its end. It has its place from the call on, before it is
/// polled.
pub fn serve(
    edge: Arc<Edge>,
    socket: Socket,
    origin: Origin,
    at: SocketAddr,
) -> impl Future<Output = ()> + Send {
    let way = edge.shared.router.load().at_address(at).map(|routes| (routes.tls, routes.proxy_protocol));
    let placed = way.and_then(|way| Some((way, edge.first_place(origin, way.1)?)));
    async move {
        if let Some((way, place)) = placed {
            serve_within(&edge, socket, origin, at, way, place).await;
        }
    }
}

/// What a connection began with.
struct Begun {
    wire: Wire,
    /// What was read of it to see where it goes.
    bytes: Vec<u8>,
    /// The host that its TLS names.
    name: Option<Box<str>>,
    /// The roots that its client's certificate was demanded of.
    client_ca: Option<RootsId>,
}

async fn serve_within(
    edge: &Edge,
    socket: Socket,
    origin: Origin,
    at: SocketAddr,
    (tls, proxy_protocol): (RawTls, ProxyProtocol),
    place: Place,
) {
    let came = edge.come_in(&socket, origin, proxy_protocol, place).await;
    let Some(Came { origin, early, place: _place }) = came else { return };
    let begun = match tls {
        RawTls::Off => Some(Begun { wire: Wire::Plain(socket), bytes: early, name: None, client_ca: None }),
        RawTls::Passthrough => pass_through(edge, socket, early).await,
        RawTls::Terminate => terminate(edge, socket, &early).await,
    };
    let Some(begun) = begun else { return };
    let routes = edge.shared.router.load_full();
    let app = routes.at_address(at).and_then(|routes| routes.of(begun.name.as_deref())).map(Arc::clone);
    drop(routes);
    let Some(app) = app else { return turn_away(edge, begun, tls).await };
    if !is_certified(edge, &app, &begun) {
        return tracing::debug!(peer = %origin.peer, app = %app.name, "a client without its certificate is closed");
    }
    let (abort, registration) = AbortHandle::new_pair();
    let visit = Visit::new(&edge.shared, app, origin, at, begun.name, tls != RawTls::Off, abort);
    // In a box, so that what came before takes no memory beside it. An error means that it was aborted.
    let carried = Box::pin(Abortable::new(visit.carry(begun.wire, begun.bytes), registration));
    let _ = carried.await;
}

/// Reads which name the client asks for, and leaves its TLS as it is.
async fn pass_through(edge: &Edge, mut socket: Socket, early: Vec<u8>) -> Option<Begun> {
    let limit = edge.shared.rules.load().limits.header_timeout;
    let mut shutdown = edge.shutdown.clone();
    // In a box, so that its memory is given back when it is done.
    let hello = Box::pin(timeout(limit, hello::hear(&mut socket, early)));
    let heard = tokio::select! {
        heard = hello => heard,
        _ = shutdown.wait_for(|down| *down) => return None,
    };
    let why = match heard {
        Ok(Ok(Heard::Hello { bytes, name })) => {
            return Some(Begun { wire: Wire::Plain(socket), bytes, name, client_ca: None });
        }
        Ok(Ok(Heard::Broken(why))) => {
            edge.limits.acted(Limit::ServerName);
            why
        }
        Ok(Err(_)) => "it ended before its hello did",
        Err(_) => {
            edge.limits.acted(Limit::HeaderTimeout);
            "its hello did not come in time"
        }
    };
    tracing::debug!(why, "a connection that was to begin with TLS is closed");
    None
}

/// Ends the client's TLS here.
async fn terminate(edge: &Edge, socket: Socket, early: &[u8]) -> Option<Begun> {
    // What was taken to look for a balancer's header is no beginning of TLS.
    if !early.is_empty() {
        return None;
    }
    match edge.shake(&edge.shared.tls, Entrance::Raw, socket).await? {
        Ok(shaken) => {
            let (name, client_ca) = (shaken.tls.sni, shaken.tls.client_ca);
            Some(Begun { wire: Wire::Tls(Box::new(shaken.stream)), bytes: Vec::new(), name, client_ca })
        }
        Err(reason) => {
            tracing::debug!(%reason, "the TLS handshake brought no connection");
            None
        }
    }
}

/// Closes a connection that no application takes; one whose TLS was only looked at is told so by an alert.
async fn turn_away(edge: &Edge, begun: Begun, tls: RawTls) {
    if tls != RawTls::Off {
        edge.limits.acted(Limit::ServerName);
        tracing::debug!(name = ?begun.name, "no application of raw TCP has this name");
    }
    match begun.wire {
        Wire::Plain(socket) if tls == RawTls::Passthrough => refuse(socket, begun.name.is_some()).await,
        Wire::Plain(_) | Wire::Tls(_) => {}
    }
}

/// Whether the client showed the certificate that the application demands, under its roots as they are now.
fn is_certified(edge: &Edge, app: &App, begun: &Begun) -> bool {
    let settings = app.settings();
    let Some(file) = &settings.client_ca else { return true };
    begun.client_ca.is_some() && begun.client_ca == edge.shared.tls.roots_of(file)
}
