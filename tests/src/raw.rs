//! An upstream whose every byte is the test's: a script a connection.
//!
//! Health probes on `/health` are answered by themselves and never reach the script nor the counts, so a
//! script sees exactly the traffic that the test caused.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::http1::{Framing, Head, Http1};
use crate::port::Port;

/// A raw upstream. It ends when dropped, with all its connections.
pub struct Raw {
    address: SocketAddr,
    log: Arc<Log>,
    server: JoinHandle<()>,
    _port: Port,
}

#[derive(Default)]
struct Log {
    requests: Mutex<Vec<Received>>,
    connections: AtomicUsize,
}

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its head, every header in order.
    pub head: Head,
    /// Its body, as far as the script read it.
    pub body: Vec<u8>,
    /// On which connection it arrived, from 0.
    pub connection: usize,
}

/// One connection, in the hands of a script. Dropping it closes it.
pub struct Conversation {
    /// The wire itself.
    pub wire: Http1,
    /// Which connection this is, from 0.
    pub number: usize,
    first: Option<Head>,
    log: Arc<Log>,
}

impl Raw {
    /// Starts an upstream that runs `script` for each connection that carries a request.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start<F>(script: impl Fn(Conversation) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (listener, port) = Port::listen().await;
        let address = port.address();
        let log = Arc::new(Log::default());
        let server = tokio::spawn(serve(listener, Arc::clone(&log), Arc::new(script)));
        Self { address, log, server, _port: port }
    }

    /// An upstream that answers every request with the same bytes, and keeps connections open.
    pub async fn answering(answer: &'static [u8]) -> Self {
        Self::start(move |mut conversation| async move {
            while conversation.request().await.is_some() {
                if conversation.wire.try_send(answer).await.is_err() {
                    return;
                }
            }
        })
        .await
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request that arrived so far, health probes apart.
    ///
    /// # Panics
    /// When a script panicked while recording.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.log.requests.lock().expect("the requests").clone()
    }

    /// How many connections carried a request, health probes apart.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.log.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve<F>(
    listener: TcpListener,
    log: Arc<Log>,
    script: Arc<impl Fn(Conversation) -> F + Send + Sync + 'static>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (log, script) = (Arc::clone(&log), Arc::clone(&script));
        connections.spawn(async move {
            let mut wire = Http1::over(stream);
            let Some(first) = past_health_probes(&mut wire).await else { return };
            let number = log.connections.fetch_add(1, Ordering::SeqCst);
            script(Conversation { wire, number, first: Some(first), log }).await;
        });
    }
}

/// Answers health probes until the first real request; `None` when the connection ends before one.
async fn past_health_probes(wire: &mut Http1) -> Option<Head> {
    loop {
        let head = wire.forever_head().await?;
        if head.target() != "/health" {
            return Some(head);
        }
        wire.try_send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.ok()?;
    }
}

impl Conversation {
    /// The head of the next request, recorded at once; its body is left on the wire. `None` when the proxy
    /// closed the connection.
    ///
    /// # Panics
    /// When another script panicked while recording.
    pub async fn request_head(&mut self) -> Option<Head> {
        let head = match self.first.take() {
            Some(head) => head,
            None => self.wire.forever_head().await?,
        };
        let received = Received { head: head.clone(), body: Vec::new(), connection: self.number };
        self.log.requests.lock().expect("the requests").push(received);
        Some(head)
    }

    /// The next request with its whole body. `None` when the proxy closed the connection, also within a body.
    ///
    /// # Panics
    /// When another script panicked while recording.
    pub async fn request(&mut self) -> Option<Received> {
        let head = match self.first.take() {
            Some(head) => head,
            None => self.wire.forever_head().await?,
        };
        let place = {
            let mut requests = self.log.requests.lock().expect("the requests");
            requests.push(Received { head: head.clone(), body: Vec::new(), connection: self.number });
            requests.len() - 1
        };
        let framing = head.request_framing();
        let body =
            if framing == Framing::Nothing { Vec::new() } else { self.wire.try_body(framing).await.ok()? };
        let mut requests = self.log.requests.lock().expect("the requests");
        requests[place].body = body;
        Some(requests[place].clone())
    }

    /// Sends a 200 with a text.
    pub async fn answer(&mut self, text: &str) {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        let _ = self.wire.try_send(head.as_bytes()).await;
    }

    /// Holds the connection open without a word, until the proxy closes it.
    pub async fn hang(&mut self) {
        self.wire.forever_ending().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1;

    #[tokio::test]
    async fn a_script_has_every_byte_and_health_probes_pass_it_by() {
        let raw = Raw::start(|mut conversation| async move {
            let first = conversation.request().await.expect("a request");
            conversation.answer(&format!("{} bytes", first.body.len())).await;
            conversation.request_head().await;
            conversation.wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
        })
        .await;
        assert_eq!(http1::get(raw.address(), "/health").await.text(), "ok");
        let mut client = Http1::connect(raw.address()).await;
        assert_eq!(client.exchange(&http1::request("POST", "/a", &[], b"four")).await.text(), "4 bytes");
        let error = client.try_exchange(&http1::request("GET", "/b", &[], b"")).await.expect_err("cut");
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        let seen: Vec<_> = raw.requests().iter().map(|r| r.head.target().to_owned()).collect();
        assert_eq!((seen, raw.connections()), (vec!["/a".to_owned(), "/b".to_owned()], 1));
        assert_eq!(raw.requests()[0].body, b"four");
    }
}
