//! A client of HTTP/2 that hides nothing: every frame is written by the test, and every frame that comes is shown.
//!
//! Header blocks are literals without Huffman codes and without the dynamic table, so a name or a value may hold any
//! byte (RFC 7541 section 6.2.2). Used by tests of what a client must not do.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::http1::Stream;
use crate::tls::Hello;
use crate::until::{PATIENCE, within};

/// What a client says first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The flag of the last frame of a stream.
pub const END_STREAM: u8 = 1;
/// The flag of the last frame of a header block.
pub const END_HEADERS: u8 = 4;
/// The flag of an answer to SETTINGS or PING.
pub const ACK: u8 = 1;

/// The kinds of frames (RFC 9113 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Kind {
    Data = 0,
    Headers = 1,
    Priority = 2,
    Reset = 3,
    Settings = 4,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its kind, as a number.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether it is of this kind.
    #[must_use]
    pub const fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u8
    }

    /// Whether it ends its stream, either way.
    #[must_use]
    pub const fn ends(&self) -> bool {
        let last = (self.is(Kind::Data) || self.is(Kind::Headers)) && self.flags & END_STREAM != 0;
        last || self.is(Kind::Reset)
    }

    /// The status in a header block that is the first of its connection; 0 when there is none to be read.
    #[must_use]
    pub fn status(&self) -> u16 {
        match *self.payload.as_slice() {
            [at @ 0x88..=0x8e, ..] if self.is(Kind::Headers) => {
                [200, 204, 206, 304, 400, 404, 500][usize::from(at - 0x88)]
            }
            [0x48, length, ref rest @ ..] if self.is(Kind::Headers) && length & 0x80 != 0 => {
                digits(&rest[..usize::from(length & 0x7f).min(rest.len())])
            }
            _ => 0,
        }
    }
}

/// Three digits under the Huffman code (RFC 7541 appendix B).
fn digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u16> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1))).collect();
    let number = |range: &[u16]| range.iter().fold(0, |sum, bit| sum << 1 | bit);
    let (mut at, mut value) = (0, 0);
    for _ in 0..3 {
        let Some(five) = bits.get(at..at + 5).map(number) else { return 0 };
        if five < 3 {
            (value, at) = (value * 10 + five, at + 5);
        } else {
            let Some(six) = bits.get(at..at + 6).map(number) else { return 0 };
            (value, at) = (value * 10 + six.saturating_sub(25) + 3, at + 6);
        }
    }
    value
}

/// A frame as bytes.
///
/// # Panics
/// When the payload is longer than a frame can be.
#[must_use]
pub fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    assert_eq!(length[0], 0, "a frame is no longer than 16 MiB");
    let head = [length[1], length[2], length[3], kind as u8, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// SETTINGS with these identifiers and values.
#[must_use]
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let pair = |(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(Kind::Settings, 0, 0, &values.iter().flat_map(pair).collect::<Vec<u8>>())
}

/// WINDOW_UPDATE.
#[must_use]
pub fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(Kind::WindowUpdate, 0, stream, &bytes.to_be_bytes())
}

/// RST_STREAM with CANCEL.
#[must_use]
pub fn reset(stream: u32) -> Vec<u8> {
    frame(Kind::Reset, 0, stream, &8_u32.to_be_bytes())
}

/// A header block of these fields, in their order.
#[must_use]
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    const MOST: usize = 127;
    if length < MOST {
        block.push(u8::try_from(length).unwrap_or_default());
        return;
    }
    block.push(0x7f);
    let mut rest = length - MOST;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap_or_default() | 0x80);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap_or_default());
}

/// The block of a GET.
#[must_use]
pub fn get(path: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":authority", "shop.test"), (":path", path)])
}

/// HEADERS that are a whole GET.
#[must_use]
pub fn whole_get(stream: u32, path: &str) -> Vec<u8> {
    frame(Kind::Headers, END_STREAM | END_HEADERS, stream, &get(path))
}

/// A connection.
pub struct Frames {
    stream: Stream,
}

impl Frames {
    /// Connects in clear text and says the preface and these settings.
    ///
    /// # Panics
    /// When the connection is refused.
    pub async fn connect(address: SocketAddr, values: &[(u16, u32)]) -> Self {
        let stream = within(PATIENCE, "a connection", TcpStream::connect(address)).await.expect("connected");
        Self::over(Box::new(stream), values).await
    }

    /// Connects with a receive buffer of about so many bytes.
    ///
    /// # Panics
    /// When the connection is refused.
    pub async fn with_buffer(address: SocketAddr, buffer: u32, values: &[(u16, u32)]) -> Self {
        Self::over(Box::new(connect_small(address, buffer).await), values).await
    }

    /// Connects from an address of this machine: all of `127.0.0.0/8` are.
    ///
    /// # Panics
    /// When the connection is refused.
    pub async fn from(source: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((source, 0))).expect("an address of this machine");
        let stream = within(PATIENCE, "a connection", socket.connect(address)).await.expect("connected");
        Self::over(Box::new(stream), &[]).await
    }

    /// Connects over TLS.
    ///
    /// # Panics
    /// When the handshake fails.
    pub async fn tls(address: SocketAddr, values: &[(u16, u32)]) -> Self {
        let agreed = Hello::to("shop.test").alpn(&["h2"]).connect(address).await;
        Self::over(Box::new(agreed.stream), values).await
    }

    async fn over(stream: Stream, values: &[(u16, u32)]) -> Self {
        let mut frames = Self { stream };
        // An error shows when the test sends more.
        let _ = frames.send(&[PREFACE, &settings(values)].concat()).await;
        frames
    }

    /// Sends bytes: frames, or what is to be taken for some.
    ///
    /// # Errors
    /// When the other side is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(PATIENCE, "frames to be taken", async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await
    }

    /// The next frame; none at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, d, e, f, g] = head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff, payload })
    }

    /// The two directions apart, for tests that write while they read.
    #[must_use]
    pub fn into_stream(self) -> Stream {
        self.stream
    }
}

/// A TCP connection with a receive buffer of about so many bytes: a client that soon has enough.
///
/// # Panics
/// When the connection is refused.
pub async fn connect_small(address: SocketAddr, buffer: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(buffer).expect("a buffer");
    within(PATIENCE, "a connection", socket.connect(address)).await.expect("connected")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::App;

    #[test]
    fn frames_and_blocks_are_written_as_the_standard_says() {
        assert_eq!(window_update(1, 5), [0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 5]);
        assert_eq!(settings(&[(4, 0)]), [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
        assert_eq!(block(&[("a", "bc")]), [0, 1, b'a', 2, b'b', b'c']);
        let long = block(&[("a", "x".repeat(300))]);
        assert_eq!(long[..5], [0, 1, b'a', 0x7f, 0xad]);
        assert_eq!((long[5], long.len()), (1, 6 + 300));
    }

    #[test]
    fn a_status_is_read_from_either_form() {
        let status =
            |payload: &[u8]| Frame { kind: 1, flags: 0, stream: 1, payload: payload.to_vec() }.status();
        assert_eq!(status(&[0x88]), 200);
        // "413": 011010 00001 011001, and ones to the end of the byte.
        assert_eq!(status(&[0x48, 0x83, 0b0110_1000, 0b0010_1100, 0b1111_1111]), 413);
        assert_eq!(status(&[0x40]), 0);
    }

    #[tokio::test]
    async fn a_request_of_frames_is_answered_by_a_real_server() {
        let app = App::h2c("blue").await;
        let mut client = Frames::connect(app.address(), &[]).await;
        client.send(&whole_get(1, "/")).await.expect("taken");
        let mut status = 0;
        while let Some(frame) = client.next().await {
            status = status.max(frame.status());
            if frame.ends() {
                break;
            }
        }
        assert_eq!(status, 200);
    }
}
