//! The last moment of a connection whose client may still be sending.
//!
//! Were its socket closed with bytes unread, or more of them to come, the kernel would answer with a reset, which can
//! overtake what was sent last, and the client would never read it (RFC 9112 section 9.6, RFC 9113 section 6.8). So
//! our side is ended first, and what still comes is read and thrown away, for a moment and up to a size. Called by
//! [`super::Edge`] for what a [`super::stream::Stream`] leaves behind, and at the end of HTTP/2.

use std::io::Result;
use std::net::{Shutdown, TcpStream as Socket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// How long a client that was told why its connection ends may take to read it.
pub(super) const LAST_WORD: Duration = Duration::from_secs(1);

/// The most that is read meanwhile, in bytes. Who sends more is left waiting for the rest of the time, in which it may
/// look for an answer.
const MOST: u64 = 512 * 1024;

/// Ends our side and reads what comes until the client has ended its own, for at most so long.
pub(super) async fn read_out(socket: OwnedFd, time: Duration) {
    // An error means that the client is gone, which is what is waited for.
    let _ = tokio::time::timeout(time, discard(socket)).await;
}

async fn discard(socket: OwnedFd) -> Result<()> {
    // Which family the socket is of makes no difference to the calls below.
    let socket = Socket::from(socket);
    socket.shutdown(Shutdown::Write)?;
    let mut some = TcpStream::from_std(socket)?.take(MOST);
    if tokio::io::copy(&mut some, &mut tokio::io::sink()).await? == MOST {
        std::future::pending::<()>().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// Both ends of a connection over TCP, the near one without its runtime.
    async fn pair() -> (OwnedFd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let near = accepted.expect("a connection").0.into_std().expect("a socket");
        (near.into(), client.expect("a connection"))
    }

    #[tokio::test]
    async fn a_client_reads_the_last_word_though_it_was_still_sending() {
        let (near, mut client) = pair().await;
        client.write_all(&[0; 100_000]).await.expect("room");
        let mut duplicate =
            TcpStream::from_std(near.try_clone().expect("a descriptor").into()).expect("a socket");
        duplicate.write_all(b"last word").await.expect("room");
        drop(duplicate);
        let ending = tokio::spawn(read_out(near, LAST_WORD));
        client.write_all(&[0; 100_000]).await.expect("it is read");
        let mut text = String::new();
        client.read_to_string(&mut text).await.expect("an end, not a reset");
        assert_eq!(text, "last word");
        drop(client);
        ending.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_client_that_goes_on_sending_is_read_only_so_far_and_closed_in_the_end() {
        let (near, mut client) = pair().await;
        let ending = tokio::spawn(read_out(near, LAST_WORD));
        let mut sent = 0_u64;
        let piece = [0; 64 * 1024];
        // It ends by an error alone, for nobody else ends it.
        while let Ok(count) = client.write(&piece).await {
            sent += count as u64;
        }
        ending.await.expect("no panic");
        // What the kernel's buffers hold comes on top, which is no more than some megabytes.
        assert!(sent < MOST + 32 * 1024 * 1024, "{sent}");
    }
}
