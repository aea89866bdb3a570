//! What an idle connection and a large body cost in a server's resident memory.
//!
//! Always on a server that has just started: one that has worked before hides new connections in memory it did not
//! give back. What the kernel holds for a socket is the same for everybody and is not counted.

use std::io;
use std::time::Duration;

use switcher::demo::trouble::Trouble;
use tokio::time::sleep;

use super::backend::{KEY, SAID, SMALL};
use super::load::{Body, Errand, Protocol, Stream, connect, request};
use super::server::Server;
use super::wire::Wire;
use crate::peer::config::HOST;

/// What a WebSocket is told: a masked text frame of two bytes (RFC 6455 section 5.2).
pub const TOLD: &[u8] = b"\x81\x82\0\0\0\0hi";
/// Before each look at the memory: servers put idle connections away a moment later.
const SETTLE: Duration = Duration::from_millis(1500);
/// Connections before the first look, so that what a server allocates once is not theirs.
const BEFORE: usize = 20;

/// A sort of connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// HTTP/1.1 after a request.
    Plain,
    /// HTTP/1.1 over TLS after a request.
    Tls,
    /// A WebSocket after a message and its answer.
    WebSocket,
}

impl Sort {
    /// Every sort, in the order of the report.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Tls, Self::WebSocket];

    /// The name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Plain => "idle connection, HTTP/1.1",
            Self::Tls => "idle connection, HTTP/1.1 over TLS",
            Self::WebSocket => "idle WebSocket",
        }
    }
}

/// The bytes of resident memory that each of so many connections added to a fresh server.
///
/// # Errors
/// When a connection does not come about.
#[expect(clippy::cast_precision_loss, reason = "megabytes and thousands")]
pub async fn of_each(server: &Server, sort: Sort, count: usize) -> Result<f64, Trouble> {
    let refused = || Trouble::system(format!("keep {count} connections"));
    let mut kept = Vec::with_capacity(BEFORE + count);
    for _ in 0..BEFORE {
        kept.push(open(server, sort).await.map_err(refused())?);
    }
    sleep(SETTLE).await;
    let before = resident(server.pid())?;
    for _ in 0..count {
        kept.push(open(server, sort).await.map_err(refused())?);
    }
    sleep(SETTLE).await;
    let after = resident(server.pid())?;
    Ok((after as f64 - before as f64) / count as f64)
}

/// Which way a large body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the client.
    Down,
    /// To the application.
    Up,
}

impl Way {
    /// Both, in the order of the report.
    pub const ALL: [Self; 2] = [Self::Down, Self::Up];

    /// The name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Down => "growth by one large download, at its peak",
            Self::Up => "growth by one large upload, at its peak",
        }
    }
}

/// By how many bytes the resident memory of a fresh server grows at most while one body of this length goes through.
///
/// # Errors
/// When it does not go through.
#[expect(clippy::cast_precision_loss, reason = "megabytes")]
pub async fn of_body(server: &Server, way: Way, length: usize) -> Result<f64, Trouble> {
    let failed = || Trouble::system(format!("carry {length} bytes"));
    let mut wire = open(server, Sort::Plain).await.map_err(failed())?;
    sleep(SETTLE).await;
    let before = resident(server.pid())?;
    carry(&mut wire, way, length).await.map_err(failed())?;
    let peak = status(server.pid(), "VmHWM:")?;
    Ok(peak.saturating_sub(before) as f64)
}

async fn carry(wire: &mut Wire<Box<dyn Stream>>, way: Way, length: usize) -> io::Result<()> {
    match way {
        Way::Down => {
            let ask = format!("GET /bytes/{length} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
            wire.exchange(ask.as_bytes(), length).await
        }
        Way::Up => {
            let ask = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n");
            wire.send(ask.as_bytes()).await?;
            wire.fill(length).await?;
            wire.exchange(b"", SMALL).await
        }
    }
}

async fn open(server: &Server, sort: Sort) -> io::Result<Wire<Box<dyn Stream>>> {
    let tls = sort == Sort::Tls;
    let errand = Errand { protocol: Protocol::Http1, tls, body: Body::Small };
    let mut wire = Wire::over(connect(server.door(errand), errand).await?);
    match sort {
        Sort::Plain | Sort::Tls => wire.exchange(&request(Body::Small), SMALL).await?,
        Sort::WebSocket => converse(&mut wire).await?,
    }
    Ok(wire)
}

async fn converse(wire: &mut Wire<Box<dyn Stream>>) -> io::Result<()> {
    let ask = format!(
        "GET /socket HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    wire.send(ask.as_bytes()).await?;
    let head = wire.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if head.word != "101" {
        return Err(io::Error::other(format!("{head:?} came instead of 101")));
    }
    wire.send(TOLD).await?;
    wire.skip(SAID.len()).await
}

/// The resident memory of a process now, in bytes.
fn resident(pid: u32) -> Result<u64, Trouble> {
    status(pid, "VmRSS:")
}

/// What the kernel says of a process's memory, in bytes.
fn status(pid: u32, name: &str) -> Result<u64, Trouble> {
    let cannot = || Trouble::system(format!("read the memory of process {pid}"));
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(cannot())?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.map(|number| number * 1024).ok_or_else(|| cannot()(io::ErrorKind::InvalidData.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_nobody_has_none() {
        assert!(resident(std::process::id()).expect("this process") > 1 << 20);
        assert!(resident(u32::MAX).is_err());
    }
}
