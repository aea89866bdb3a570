//! The name that a client asks for in its TLS hello (RFC 6066 section 3), read without answering a word.
//!
//! Invariant: every byte that is read is kept, for the upstream is to get it; and no more is read than a hello may be long.
//! rustls takes the hello apart, however it is cut into records and pieces.

use std::io;

use rustls::server::Acceptor;
use switcher_certs::server::server_name;
use tokio::io::AsyncReadExt as _;

use crate::edge::socket::Socket;

/// The most that is read until a hello ends, in bytes: one record of the largest size, and its header.
const LONGEST: usize = 16 * 1024 + 5;

/// How much is read at first: most hellos are shorter, those with post-quantum keys a little longer.
const FIRST: usize = 2 * 1024;

/// What a connection begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A hello.
    Hello {
        /// All that was read, for whoever ends the TLS.
        bytes: Vec<u8>,
        /// The name in lower case.
        name: Option<Box<str>>,
    },
    /// Something that is no hello.
    Broken(&'static str),
}

/// A hello that comes in pieces.
struct Hello {
    acceptor: Acceptor,
}

/// What is known after a piece.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Part,
    Whole(Option<Box<str>>),
    Broken(&'static str),
}

impl Hello {
    fn new() -> Self {
        Self { acceptor: Acceptor::default() }
    }

    /// Takes in the next piece.
    fn feed(&mut self, mut piece: &[u8]) -> Found {
        while !piece.is_empty() {
            // It takes in as much as its buffer has room for.
            if !matches!(self.acceptor.read_tls(&mut piece), Ok(1..)) {
                return Found::Broken("its hello is too long");
            }
            match self.acceptor.accept() {
                Ok(Some(accepted)) => return Found::Whole(server_name(&accepted.client_hello())),
                Ok(None) => {}
                Err(_) => return Found::Broken("it does not begin with a hello of TLS"),
            }
        }
        Found::Part
    }
}

/// Reads until the hello is whole. `bytes` are those that were read before.
///
/// # Errors
/// The connection's own, and its end before the hello's.
pub(super) async fn hear(socket: &mut Socket, mut bytes: Vec<u8>) -> io::Result<Heard> {
    let mut hello = Hello::new();
    let mut fed = 0;
    loop {
        match hello.feed(&bytes[fed..]) {
            Found::Whole(name) => return Ok(Heard::Hello { bytes, name }),
            Found::Broken(why) => return Ok(Heard::Broken(why)),
            Found::Part if bytes.len() >= LONGEST => return Ok(Heard::Broken("its hello is too long")),
            Found::Part => {}
        }
        fed = bytes.len();
        bytes.reserve_exact(FIRST.min(LONGEST - fed));
        let room = (LONGEST - fed) as u64;
        if (&mut *socket).take(room).read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::ClientConnection;
    use rustls::pki_types::ServerName;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixStream;

    use super::*;
    use crate::health::dial;

    /// The first bytes of a client that asks for this name; an address is sent as none.
    fn hello_to(name: &str) -> Vec<u8> {
        let config = dial::unverified().expect("a client");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut client = ClientConnection::new(Arc::clone(&config), name).expect("a connection");
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory");
        }
        bytes
    }

    /// The same hello in records that carry so many bytes at most.
    fn in_records(hello: &[u8], most: usize) -> Vec<u8> {
        let (head, message) = hello.split_at(5);
        let records = message.chunks(most).flat_map(|part| {
            let length = u16::try_from(part.len()).expect("short").to_be_bytes();
            [&head[..3], &length, part].concat()
        });
        records.collect()
    }

    fn fed(pieces: &[&[u8]]) -> Found {
        let mut hello = Hello::new();
        let found = pieces.iter().map(|piece| hello.feed(piece)).find(|found| *found != Found::Part);
        found.unwrap_or(Found::Part)
    }

    fn named(name: &str) -> Found {
        Found::Whole(Some(name.into()))
    }

    #[test]
    fn the_name_is_heard_wherever_the_hello_is_cut() {
        let hello = hello_to("Mqtt.Example.COM");
        for cut in 0..hello.len() {
            assert_eq!(fed(&[&hello[..cut]]), Found::Part, "{cut}");
            assert_eq!(fed(&[&hello[..cut], &hello[cut..]]), named("mqtt.example.com"), "{cut}");
        }
        let bytewise: Vec<&[u8]> = hello.chunks(1).collect();
        assert_eq!(fed(&bytewise), named("mqtt.example.com"));
    }

    #[test]
    fn a_hello_may_be_cut_into_records() {
        let hello = hello_to("mqtt.example.com");
        for most in [1, 2, 7, 100, 10_000] {
            assert_eq!(fed(&[&in_records(&hello, most)]), named("mqtt.example.com"), "{most}");
        }
    }

    #[test]
    fn a_client_may_name_nobody() {
        assert_eq!(fed(&[&hello_to("192.0.2.7")]), Found::Whole(None));
    }

    #[test]
    fn what_is_no_tls_is_told_from_it() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\x16\x03\x01\0\0",
            &[21, 3, 3, 0, 2, 2, 40],
        ] {
            assert!(matches!(fed(&[bytes]), Found::Broken(_)), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn all_bytes_are_kept_and_a_hello_without_end_is_given_up() {
        let hello = hello_to("mqtt.example.com");
        let whole = [&hello[..], b"early data"].concat();
        let (mut client, server) = UnixStream::pair().expect("a pair");
        client.write_all(&whole[3..]).await.expect("room");
        let heard = hear(&mut Socket::Unix(server), whole[..3].to_vec()).await.expect("bytes");
        assert_eq!(heard, Heard::Hello { bytes: whole, name: Some("mqtt.example.com".into()) });

        let (mut client, server) = UnixStream::pair().expect("a pair");
        // A hello that says of itself that it is longer than may be.
        let mut endless = vec![22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
        endless.resize(LONGEST + 100, 0);
        let writing = tokio::spawn(async move { client.write_all(&endless).await });
        let heard = hear(&mut Socket::Unix(server), Vec::new()).await.expect("bytes");
        assert!(matches!(heard, Heard::Broken(_)), "{heard:?}");
        // It may have been closed before all was written.
        let _ = writing.await;
    }

    #[tokio::test]
    async fn an_end_before_the_hellos_is_an_error() {
        let (mut client, server) = UnixStream::pair().expect("a pair");
        client.write_all(&hello_to("mqtt.example.com")[..40]).await.expect("room");
        drop(client);
        assert!(hear(&mut Socket::Unix(server), Vec::new()).await.is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), cut in 0usize..600) {
            let cut = cut.min(bytes.len());
            fed(&[&bytes[..cut], &bytes[cut..]]);
        }

        #[test]
        fn a_hello_with_wrong_bytes_never_panics(at in 0usize..400, byte in any::<u8>(), most in 1usize..300) {
            let mut hello = hello_to("mqtt.example.com");
            let at = at % hello.len();
            hello[at] = byte;
            fed(&[&hello]);
            fed(&[&in_records(&hello, most)]);
        }
    }
}
