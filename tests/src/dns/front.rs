//! Port 53 of a loopback address of its own, in front of a name server that listens elsewhere.
//!
//! Name servers are asked on port 53, and a zone names them by address alone; the real one binds addresses of
//! interfaces only, of which loopback has one.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{JoinHandle, JoinSet};

/// A relay of questions and answers. It ends when dropped.
pub(super) struct Front {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Front {
    /// Takes an address and relays to `target`.
    pub(super) async fn before(target: SocketAddr) -> Self {
        let (udp, tcp) = free().await;
        let address = tcp.local_addr().expect("its address");
        let server = tokio::spawn(async move {
            tokio::join!(datagrams(udp, target), streams(tcp, target));
        });
        Self { address, server }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An address whose port 53 is free; where the search begins differs from process to process.
async fn free() -> (UdpSocket, TcpListener) {
    let seed = std::process::id();
    for offset in 0..2000_u32 {
        let [_, _, high, low] = seed.wrapping_add(offset.wrapping_mul(7919)).to_be_bytes();
        let address = SocketAddr::from(([127, 53, high, low.clamp(1, 254)], 53));
        if let (Ok(udp), Ok(tcp)) = (UdpSocket::bind(address).await, TcpListener::bind(address).await) {
            return (udp, tcp);
        }
    }
    panic!("no free port 53");
}

/// One question at a time is enough for a test.
async fn datagrams(near: UdpSocket, target: SocketAddr) {
    let mut buffer = vec![0; 4096];
    while let Ok((length, from)) = near.recv_from(&mut buffer).await {
        let Ok(far) = UdpSocket::bind("127.0.0.1:0").await else { return };
        if far.send_to(&buffer[..length], target).await.is_err() {
            continue;
        }
        let answer = tokio::time::timeout(std::time::Duration::from_secs(1), far.recv(&mut buffer)).await;
        if let Ok(Ok(length)) = answer {
            let _ = near.send_to(&buffer[..length], from).await;
        }
    }
}

async fn streams(near: TcpListener, target: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((mut near, _)) = near.accept().await {
        connections.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(target).await {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}
