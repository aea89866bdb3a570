//! An upstream that stores every byte, reads it strictly, and keeps its connections open as long as it understands.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::strict::{Parsed, Request, first};

/// A running upstream. It ends when dropped.
pub(crate) struct Recorder {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    server: JoinHandle<()>,
}

/// What came since it was last asked, health probes left out.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) requests: Vec<Request>,
    /// What was no request, in words.
    pub(crate) bad: Vec<String>,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let log = Arc::new(Mutex::new(Log::default()));
        let shared = Arc::clone(&log);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, log, server }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came since the last call.
    pub(crate) fn take(&self) -> Log {
        std::mem::take(&mut self.log.lock().expect("the log"))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(mut stream: TcpStream, log: Arc<Mutex<Log>>) {
    let mut bytes = Vec::new();
    loop {
        let (answer, length) = match first(&bytes) {
            Parsed::Whole(request, length) => {
                let answer = answer(&request);
                if request.target != "/health" {
                    log.lock().expect("the log").requests.push(*request);
                }
                (answer, length)
            }
            Parsed::Partial => {
                if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                    return;
                }
                continue;
            }
            Parsed::Bad(why) => {
                log.lock().expect("the log").bad.push(why);
                let _ = stream.write_all(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n").await;
                return;
            }
        };
        bytes.drain(..length);
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// An answer that says what was asked, or what its path demands.
fn answer(request: &Request) -> Vec<u8> {
    let body = format!("{} {}", request.target, request.body.len());
    let head = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
    let with_body = if request.method == "HEAD" { "" } else { &body };
    match request.target.as_str() {
        "/204" => "HTTP/1.1 204 No Content\r\n\r\n".into(),
        "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n".into(),
        "/103" => {
            format!("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n{}\r\n{with_body}", head("200 OK")).into()
        }
        "/chunked" => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n/chunked\r\n0\r\nX-Sum: 1\r\n\r\n"
                .into()
        }
        "/socket" if !request.all("upgrade").is_empty() => {
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".into()
        }
        _ if request.all("expect").is_empty() => format!("{}\r\n{with_body}", head("200 OK")).into_bytes(),
        _ => format!("HTTP/1.1 100 Continue\r\n\r\n{}\r\n{with_body}", head("200 OK")).into_bytes(),
    }
}
