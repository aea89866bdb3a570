//! Upstreams that are told their client by the PROXY protocol, before the first request of a connection.
//!
//! Invariant: such a connection carries requests of one client's connection alone, so it is pooled by that. It names
//! the other end of that connection; whom a trusted proxy there speaks for stands in the headers of each request.

use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::sync::Arc;
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

/// How many bits of a pool's key tell client connections apart; those above tell epochs apart.
const CONNECTION_BITS: u32 = 40;

/// For how long such a connection waits for the next request of its client. When that is gone nobody else can use it, and
/// while it waits it takes a place in the pool of everybody.
const KEPT: Duration = Duration::from_secs(1);

/// Has the peer told whom the connection is for, where the settings want that.
pub(super) fn introduce(peer: &mut HttpPeer, facts: &Facts, settings: &AppSettings) {
    let Some(header) = proxy_protocol::write(settings.upstream_proxy_protocol, || addresses(facts)) else {
        return;
    };
    let of_connection = facts.number & ((1 << CONNECTION_BITS) - 1);
    peer.group_key = peer.group_key << CONNECTION_BITS | of_connection;
    peer.options.idle_timeout = peer.options.idle_timeout.map(|kept| kept.min(KEPT));
    peer.options.custom_l4 = Some(Arc::new(Introduced { header, limit: settings.timeouts.connect.0 }));
}

/// Both ends of the client's connection; none of one that came by a unix socket and stands for itself.
pub(super) fn addresses(facts: &Facts) -> Option<Addresses> {
    if facts.is_local {
        return None;
    }
    Some(Addresses::new(facts.peer, facts.destination?))
}

/// Opens connections that begin with a header.
#[derive(Debug)]
struct Introduced {
    header: Vec<u8>,
    /// How long it may take.
    limit: Duration,
}

#[async_trait]
impl L4Connect for Introduced {
    async fn connect(&self, target: &Target) -> Result<Stream> {
        let opened = async {
            let mut stream = dial(target).await?;
            stream.write_all(&self.header).await?;
            stream.flush().await?;
            Ok(stream)
        };
        match tokio::time::timeout(self.limit, opened).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Error::e_explain(ErrorType::ConnectTimedout, "the connection was not taken in time"),
        }
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
    Error::because(kind, "an upstream that is told its client", error)
}
