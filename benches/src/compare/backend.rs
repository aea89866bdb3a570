//! The one application behind everybody: as lean as it can be, on a thread of its own, so that it limits nobody.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;

use switcher::demo::trouble::Trouble;
use tokio::net::{TcpListener, TcpStream};

use super::wire::{Head, Wire};

/// The body of a small answer, in bytes.
pub const SMALL: usize = 100;
/// The body of a large answer or upload, in bytes.
pub const LARGE: usize = 100 * 1024;

/// A text as people write it, about 11 KiB.
pub const TEXT: &str = include_str!("../../../LICENSE");
/// What lets an answer be held.
const HELD: &str = "Cache-Control: public, max-age=3600\r\n";

/// What a WebSocket says, after whatever it was told: an unmasked text frame (RFC 6455 section 5.2).
pub const SAID: &[u8] = b"\x81\x02ok";
/// The key of RFC 6455 section 1.3, which every WebSocket here asks with, and the accepting answer to it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Starts the application, for as long as this process lives. Returns where it listens.
///
/// # Errors
/// When no port can be had.
pub fn start() -> Result<SocketAddr, Trouble> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let served = runtime.and_then(|runtime| runtime.block_on(serve(&tell)));
        if let Err(error) = served {
            let _ = tell.send(Err(error));
        }
    });
    let started = told.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
    started.map_err(Trouble::system("start the application behind the proxies"))
}

async fn serve(tell: &mpsc::Sender<io::Result<SocketAddr>>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let _ = tell.send(listener.local_addr());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A connection that ends badly is told by the proxy's client.
        tokio::spawn(async move { converse(Wire::over(stream)).await });
    }
}

async fn converse(mut wire: Wire<TcpStream>) -> io::Result<()> {
    let (small, large) = (answer(SMALL), answer(LARGE));
    let (text, held) = (told("text/html", "", TEXT.as_bytes()), told("text/plain", HELD, &[b'x'; SMALL]));
    while let Some(Head { word, length, upgrade, .. }) = wire.head().await? {
        if upgrade {
            return socket(wire).await;
        }
        wire.skip(length.unwrap_or(0)).await?;
        if let Some(length) = word.strip_prefix("/bytes/").and_then(|length| length.parse().ok()) {
            wire.send(head(length).as_bytes()).await?;
            wire.fill(length).await?;
            continue;
        }
        wire.send(match word.as_str() {
            "/large" => &large,
            "/text" => &text,
            "/held" => &held,
            _ => &small,
        })
        .await?;
    }
    Ok(())
}

/// Says something for everything it is told, which is [`super::memory::TOLD`] each time.
async fn socket(mut wire: Wire<TcpStream>) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    );
    wire.send(head.as_bytes()).await?;
    loop {
        wire.skip(super::memory::TOLD.len()).await?;
        wire.send(SAID).await?;
    }
}

fn told(media: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {media}\r\n{more}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn head(length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n")
}

fn answer(length: usize) -> Vec<u8> {
    [head(length).into_bytes(), vec![b'x'; length]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_answers_small_and_large_and_takes_uploads_on_one_connection() {
        let address = start().expect("an application");
        let mut wire = Wire::over(TcpStream::connect(address).await.expect("a connection"));
        wire.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", SMALL).await.expect("small");
        wire.exchange(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n", LARGE).await.expect("large");
        wire.exchange(b"GET /bytes/70000 HTTP/1.1\r\nHost: a\r\n\r\n", 70_000)
            .await
            .expect("as long as asked");
        wire.exchange(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", SMALL)
            .await
            .expect("upload");
        wire.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", SMALL).await.expect("small again");
    }
}
