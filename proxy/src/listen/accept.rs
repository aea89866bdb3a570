//! The accept loops: one for each listening socket.

use std::io;
use std::sync::Arc;

use super::Listening;
use crate::connection::Origin;
use crate::edge::Edge;
use crate::edge::socket::Socket;
use crate::metrics::Limit;

/// A listening socket that is waited on.
enum Waiting {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Waiting {
    fn new(listening: Listening) -> io::Result<Self> {
        match listening {
            Listening::Tcp(listener) => tokio::net::TcpListener::from_std(listener).map(Self::Tcp),
            Listening::Unix(listener) => tokio::net::UnixListener::from_std(listener).map(Self::Unix),
        }
    }

    async fn accept(&self) -> io::Result<(Socket, Origin)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // An error would only cost latency.
                let _ = stream.set_nodelay(true);
                Ok((Socket::Tcp(stream), peer.into()))
            }
            Self::Unix(listener) => Ok((Socket::Unix(listener.accept().await?.0), Origin::UNIX)),
        }
    }
}

/// Accepts connections until shutdown, as long as there is room for them, and has each one served. Whoever serves takes
/// the connection's place before what it returns is polled.
///
/// # Errors
/// When the socket cannot be waited on.
pub async fn accept<F>(
    listener: Listening,
    edge: Arc<Edge>,
    serve: impl Fn(Arc<Edge>, Socket, Origin) -> F,
) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = Waiting::new(listener)?;
    let mut shutdown = edge.shutdown.clone();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = shutdown.wait_for(|down| *down) => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, origin)) => {
                failing = false;
                // Nobody has to leave before somebody is there, and who is there is served also at the end.
                tokio::select! {
                    () = edge.crowd.room() => {}
                    _ = shutdown.wait_for(|down| *down) => {}
                }
                tokio::spawn(serve(Arc::clone(&edge), socket, origin));
            }
            // The client gave up between its SYN and our accept.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot accept connections; idle ones are closed to make room");
                    edge.limits.acted(Limit::Descriptors);
                }
                edge.crowd.make_room().await;
            }
        }
    }
}
