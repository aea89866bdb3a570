//! Ports: a free one for each listener of a proxy, and an address that refuses.
//!
//! A port is reserved across test processes by a lock on a file, and comes from below the range the system
//! takes outgoing ports from, so nothing else takes it between two starts of one proxy.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::TcpSocket;

const LOWEST: u32 = 10_000;
const COUNT: u32 = 20_000;
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port of the loopback address that is nobody else's while this value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves a free port.
    ///
    /// # Panics
    /// When none is free.
    #[must_use]
    pub fn reserve() -> Self {
        let folder = std::env::temp_dir().join("switcher-test-ports");
        std::fs::create_dir_all(&folder).expect("a folder for port locks");
        let start = std::process::id().wrapping_mul(7919);
        for _ in 0..COUNT {
            let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
            let number = u16::try_from(LOWEST + offset).expect("a port number");
            let Ok(lock) = File::create(folder.join(number.to_string())) else { continue };
            if lock.try_lock().is_ok() && TcpListener::bind(loopback(number)).is_ok() {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port from {LOWEST} to {}", LOWEST + COUNT);
    }

    /// Reserves a port and listens on it. Where an upstream was that is stopped nobody else listens then, and it can be
    /// started again: from the system's own range another test's connection might have taken the port.
    ///
    /// # Panics
    /// When none is free.
    pub async fn listen() -> (tokio::net::TcpListener, Self) {
        let port = Self::reserve();
        let listener = tokio::net::TcpListener::bind(port.address()).await.expect("a reserved port");
        (listener, port)
    }

    /// The loopback address with this port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        loopback(self.number)
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// An address that refuses every connection: a socket is bound to it and does not listen.
pub struct Refusing {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl Refusing {
    /// Takes a port and leaves it deaf.
    ///
    /// # Panics
    /// When no socket can be had.
    #[must_use]
    pub fn start() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(loopback(0)).expect("a bound socket");
        Self { address: socket.local_addr().expect("its address"), _socket: socket }
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_while_it_is_held() {
        let ports: Vec<Port> = (0..50).map(|_| Port::reserve()).collect();
        let mut numbers: Vec<u16> = ports.iter().map(|p| p.address().port()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
    }

    #[tokio::test]
    async fn a_refusing_address_refuses() {
        let refusing = Refusing::start();
        let error = tokio::net::TcpStream::connect(refusing.address()).await.expect_err("refused");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}
