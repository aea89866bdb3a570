//! How Pingora's connections to upstreams are opened, and what some are told first: their client, by the PROXY protocol.
//!
//! Invariant: a connection that begins so carries requests of one client's connection alone, so it is pooled by that. It names
//! the other end of that connection; whom a trusted proxy there speaks for stands in the headers of each request.

use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr as Target;
use pingora_core::protocols::l4::stream::Stream;
use switcher_config::settings::AppSettings;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};

use crate::connection::Facts;
use crate::edge::proxy_protocol::{self, Addresses};
use crate::lent;

/// How many bits of a pool's key tell client connections apart; those above tell epochs apart.
const CONNECTION_BITS: u32 = 40;

/// For how long such a connection waits for the next request of its client. When that is gone nobody else can use it, and
/// while it waits it takes a place in the pool of everybody.
const KEPT: Duration = Duration::from_secs(1);

/// Has the peer's connections opened here, and the peer told whom they are for, where the settings want that.
pub(super) fn introduce(peer: &mut HttpPeer, facts: &Facts, settings: &AppSettings) {
    let Some(header) = proxy_protocol::write(settings.upstream_proxy_protocol, || addresses(facts)) else {
        peer.options.custom_l4 = Some(Arc::<Opener>::clone(&PLAIN));
        return;
    };
    let of_connection = facts.number & ((1 << CONNECTION_BITS) - 1);
    peer.group_key = peer.group_key << CONNECTION_BITS | of_connection;
    peer.options.idle_timeout = peer.options.idle_timeout.map(|kept| kept.min(KEPT));
    peer.options.custom_l4 = Some(Arc::new(Opener { header }));
}

/// Both ends of the client's connection; none of one that came by a unix socket and stands for itself.
pub(super) fn addresses(facts: &Facts) -> Option<Addresses> {
    if facts.is_local {
        return None;
    }
    Some(Addresses::new(facts.peer, facts.destination?))
}

/// Opens Pingora's connections: each lends its socket, and begins with a header where the upstream is told its client.
/// How long it may take is bounded by `total_connection_timeout`.
#[derive(Debug, Default)]
struct Opener {
    header: Vec<u8>,
}

/// Opens connections that begin with no header.
static PLAIN: LazyLock<Arc<Opener>> = LazyLock::new(Arc::default);

#[async_trait]
impl L4Connect for Opener {
    async fn connect(&self, target: &Target) -> Result<Stream> {
        let mut stream = dial(target).await.map_err(failed)?;
        if !self.header.is_empty() {
            // Written before it is lent: nothing may stand before it.
            stream.write_all(&self.header).await.map_err(failed)?;
            stream.flush().await.map_err(failed)?;
        }
        lent::lend(&mut stream)?;
        Ok(stream)
    }
}

async fn dial(target: &Target) -> IoResult<Stream> {
    match target {
        Target::Inet(address) => TcpStream::connect(address).await.map(Stream::from),
        Target::Unix(address) => {
            let path = address.as_pathname().ok_or_else(|| IoError::from(ErrorKind::InvalidInput))?;
            UnixStream::connect(path).await.map(Stream::from)
        }
    }
}

fn failed(error: IoError) -> Box<Error> {
    let kind = if error.kind() == ErrorKind::ConnectionRefused {
        ErrorType::ConnectRefused
    } else {
        ErrorType::ConnectError
    };
    Error::because(kind, "the upstream", error)
}
