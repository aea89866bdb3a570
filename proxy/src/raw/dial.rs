//! An upstream for a connection: the next one of its slot that takes it.
//!
//! No byte was sent yet, so it goes on from one to the next until each has been tried. Whoever takes no connection is suspected,
//! and where `outliers` are looked for, counted.

use std::time::Instant;

use http::HeaderMap;
use pingora_core::protocols::l4::ext::set_tcp_keepalive;
use switcher_config::settings::AppSettings;

use crate::bake::tally::Ended;
use crate::balance::Rule;
use crate::balance::room::{self, Refused};
use crate::edge::proxy_protocol::Addresses;
use crate::edge::socket::Socket;
use crate::forwarded::Client;
use crate::ledger::Stage;
use crate::lent::Lending;
use crate::tick::Tick;

use super::visit::Visit;

/// Connects, and lends the connection to the ledger. None when there is nobody to connect to, which the visit then knows.
pub(super) async fn upstream(visit: &mut Visit, settings: &AppSettings) -> Option<Lending<Socket>> {
    let client = Client { ip: visit.client(), trusted: false };
    let rule = Rule::of(&settings.balance, &client, &HeaderMap::new(), "/");
    let mut last = String::new();
    loop {
        visit.leave_upstream();
        let seat = room::seat(visit.epoch()?, settings, rule, visit.tried()).await;
        let (index, place) = match seat {
            Ok(seat) => seat,
            Err(Refused::Nobody) if last.is_empty() => return visit.fail("its slot has no upstream"),
            Err(Refused::Nobody) => {
                tell(visit, true, true);
                return visit.fail(format!("no upstream took the connection: {last}"));
            }
            Err(Refused::Full | Refused::TimedOut) => return visit.fail("no upstream has room"),
        };
        visit.use_upstream(index, place);
        if !last.is_empty() {
            visit.epoch()?.metrics.retried();
        }
        let begun = Instant::now();
        let opened = open(visit, index, settings).await;
        let (epoch, limits) = (visit.epoch()?, settings.outliers.as_ref());
        match opened {
            Ok(socket) => {
                visit.taken(!last.is_empty());
                let lending = Lending::new(socket);
                visit.connected(begun.elapsed(), lending.lent());
                return Some(lending);
            }
            Err(why) => {
                epoch.upstreams.get(index)?.upstream.suspect(&why);
                if let Some(limits) = limits {
                    epoch.judge(index, Some("it took no connection"), limits, Tick::now());
                }
                last = why;
            }
        }
        if visit.is_closed() {
            return None;
        }
    }
}

/// Tells whoever judges the slot, if somebody does, what came of a connection.
pub(super) fn tell(visit: &Visit, failed: bool, connect_failed: bool) {
    if let Some(tally) = visit.epoch().and_then(|epoch| epoch.tally.get()) {
        tally.count(Ended { failed, connect_failed, took: None });
    }
}

/// Opens a connection within the connect timeout.
async fn open(visit: &Visit, index: usize, settings: &AppSettings) -> Result<Socket, String> {
    let none = || "it is gone".to_owned();
    let epoch = visit.epoch().ok_or_else(none)?;
    let upstream = &epoch.upstreams.get(index).ok_or_else(none)?.upstream;
    visit.set_stage(Stage::Opening);
    let connecting = epoch.trust.dialer.connect(upstream, || addresses(visit));
    let connected = tokio::time::timeout(settings.timeouts.connect.0, connecting).await;
    let socket = connected.map_err(|_| "the connection was not taken in time".to_owned())??;
    if let (Socket::Tcp(tcp), Some(keepalive)) = (&socket, visit.keepalive()) {
        // Without it an upstream that vanished is found only by writing to it.
        let _ = set_tcp_keepalive(tcp, &keepalive);
    }
    Ok(socket)
}

/// Both ends of the client's connection.
fn addresses(visit: &Visit) -> Option<Addresses> {
    let origin = visit.origin();
    Some(Addresses::new(origin.peer, origin.destination?))
}
