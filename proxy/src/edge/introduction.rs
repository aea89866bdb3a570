//! The first bytes of a connection that a balancer passes on: who its client is.
//!
//! Invariant: not one byte behind the header is taken, so that TLS or HTTP begins where it ends. The bytes are
//! looked at before they are taken. Called by [`super::Edge`] on listeners with `proxy_protocol`.

use std::io;

use rustix::net::{RecvFlags, recv};

use super::proxy_protocol::{self, Addresses, Found, LONGEST};
use super::socket::Socket;

/// How a connection began.
#[derive(Debug)]
pub(super) enum Introduction {
    /// With a header; without addresses it stands for itself.
    Named(Option<Addresses>),
    /// Without one. These bytes of it were taken while they could have been one's beginning.
    Plain(Vec<u8>),
    /// With a header that is none.
    Broken(&'static str),
}

/// Reads the header, however it is cut.
///
/// # Errors
/// The connection's own, and its end before a whole header.
pub(super) async fn read(socket: &Socket) -> io::Result<Introduction> {
    let mut taken = Vec::new();
    loop {
        match socket.when_readable(|| step(socket, &mut taken)).await? {
            Found::Part => {}
            Found::Header(_, addresses) => return Ok(Introduction::Named(addresses)),
            Found::Nothing => return Ok(Introduction::Plain(taken)),
            Found::Broken(why) => return Ok(Introduction::Broken(why)),
        }
    }
}

/// Looks at what is there, and takes of it what belongs to a header.
fn step(socket: &Socket, taken: &mut Vec<u8>) -> io::Result<Found> {
    let mut space = [0; LONGEST];
    let before = taken.len();
    let (_, seen) = recv(socket, &mut space[..LONGEST - before], RecvFlags::PEEK)?;
    if seen == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    taken.extend_from_slice(&space[..seen]);
    let found = proxy_protocol::read(taken);
    let wanted = match found {
        Found::Part => seen,
        // What was taken before had no end in it.
        Found::Header(length, _) => length.saturating_sub(before),
        Found::Nothing | Found::Broken(_) => 0,
    };
    taken.truncate(before + wanted);
    let mut left = wanted;
    while left > 0 {
        let (_, count) = recv(socket, &mut space[..left], RecvFlags::empty())?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= count;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::*;

    /// A reader that has had its chance to see what was written so far.
    async fn begun(server: UnixStream) -> tokio::task::JoinHandle<(Socket, io::Result<Introduction>)> {
        let reading = tokio::spawn(async move {
            let socket = Socket::Unix(server);
            let read = read(&socket).await;
            (socket, read)
        });
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        reading
    }

    #[tokio::test]
    async fn a_header_in_pieces_leaves_what_is_behind_it() {
        let addresses = Addresses::new(([192, 0, 2, 7], 5).into(), ([192, 0, 2, 1], 443).into());
        for header in [proxy_protocol::write_v1(Some(addresses)), proxy_protocol::write_v2(Some(addresses))] {
            for cut in 0..=header.len() {
                let (mut client, server) = UnixStream::pair().expect("a pair of sockets");
                let bytes = [&header[..], b"GET /"].concat();
                client.write_all(&bytes[..cut]).await.expect("room");
                let reading = begun(server).await;
                client.write_all(&bytes[cut..]).await.expect("room");
                let (mut socket, read) = reading.await.expect("no panic");
                let Introduction::Named(Some(named)) = read.expect("a header") else {
                    panic!("cut at {cut}")
                };
                assert_eq!(named, addresses);
                let mut rest = [0; 16];
                let count = socket.read(&mut rest).await.expect("bytes");
                assert_eq!(&rest[..count], b"GET /", "cut at {cut}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_left_or_given_back() {
        for (pieces, given) in [(["", "GET /"], ""), (["P", "OST /"], "P"), (["PR", "I * HTTP/2.0"], "PR")] {
            let (mut client, server) = UnixStream::pair().expect("a pair of sockets");
            client.write_all(pieces[0].as_bytes()).await.expect("room");
            let reading = begun(server).await;
            client.write_all(pieces[1].as_bytes()).await.expect("room");
            let (mut socket, read) = reading.await.expect("no panic");
            let Introduction::Plain(taken) = read.expect("bytes") else { panic!("{pieces:?}") };
            // Both pieces may have been there at once.
            let given = &given[..taken.len()];
            assert_eq!(taken, given.as_bytes());
            let mut rest = [0; 32];
            let count = socket.read(&mut rest).await.expect("bytes");
            let all = [given, &String::from_utf8_lossy(&rest[..count])].concat();
            assert_eq!(all, pieces.concat());
        }
    }

    #[tokio::test]
    async fn an_end_before_the_header_is_an_error() {
        let (mut client, server) = UnixStream::pair().expect("a pair of sockets");
        client.write_all(b"PROXY TCP4").await.expect("room");
        drop(client);
        assert!(read(&Socket::Unix(server)).await.is_err());
    }
}
