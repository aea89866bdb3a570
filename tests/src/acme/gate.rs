//! A door in front of an authority: closed, its address refuses every connection, and opened again the same
//! authority stands behind it with everything it knows.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::port::Port;

/// A relay of bytes from an address of its own to another one.
pub struct Gate {
    port: Port,
    target: SocketAddr,
    server: Option<JoinHandle<()>>,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn before(target: SocketAddr) -> Self {
        Self { port: Port::reserve(), target, server: None }
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Opens it.
    ///
    /// # Panics
    /// When its port is taken.
    pub fn open(&mut self) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("a reused address");
        socket.bind(self.address()).expect("the gate's port");
        let listener = socket.listen(128).expect("a listener");
        self.server = Some(tokio::spawn(relay(listener, self.target)));
    }

    /// Closes it: connections break, new ones are refused.
    pub async fn close(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

async fn relay(listener: TcpListener, target: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        connections.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(target).await {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{App, Http1, http1::get};

    #[tokio::test]
    async fn a_gate_refuses_while_it_is_closed_and_relays_while_it_is_open() {
        let app = App::start("behind").await;
        let mut gate = Gate::before(app.address());
        assert!(Http1::try_connect(gate.address()).await.is_err());
        for _ in 0..2 {
            gate.open();
            assert_eq!(get(gate.address(), "/").await.text(), "behind");
            gate.close().await;
            assert!(Http1::try_connect(gate.address()).await.is_err());
        }
    }
}
