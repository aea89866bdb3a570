//! A relay as it should not be: it forwards heads as they are, by the first length that it finds.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running relay over one pooled upstream connection. It ends when dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let server = tokio::spawn(async move {
            let mut pooled = None;
            while let Ok((client, _)) = listener.accept().await {
                converse(client, &mut pooled, upstream).await;
            }
        });
        Self { address, server }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn converse(mut client: TcpStream, pooled: &mut Option<TcpStream>, upstream: SocketAddr) {
    let mut bytes = Vec::new();
    while let Some(request) = next(&mut client, &mut bytes).await {
        let mut server = match pooled.take() {
            Some(server) => server,
            None => TcpStream::connect(upstream).await.expect("the upstream"),
        };
        if server.write_all(&request).await.is_err() {
            return;
        }
        let Some(answer) = next(&mut server, &mut Vec::new()).await else { return };
        *pooled = Some(server);
        let close = request.windows(17).any(|w| w.eq_ignore_ascii_case(b"connection: close"));
        if client.write_all(&answer).await.is_err() || close {
            return;
        }
    }
}

/// The next message with its body, marked as forwarded.
async fn next(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length:"));
            let length = length.and_then(|l| l.trim().parse().ok()).unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                let rest = bytes.split_off(end + 4 + length);
                let message = std::mem::replace(bytes, rest);
                return Some([&message[..end], b"\r\nX-Request-Id: relay", &message[end..]].concat());
            }
        }
        let read = tokio::time::timeout(std::time::Duration::from_secs(1), stream.read_buf(bytes)).await;
        if !matches!(read, Ok(Ok(1..))) {
            return None;
        }
    }
}
