//! HTTP/1.1 as the load and the backend speak it: heads with a declared length, and nothing else.
//!
//! Lean on purpose, and strict: an answer without a length or a connection closed too early is an error, so that no
//! server looks cheap because it did less.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest head that is read.
const MAX_HEAD: usize = 16 * 1024;

/// One end of a connection.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    buffer: Vec<u8>,
}

/// What the head of a message says.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The second word: a request's target, an answer's status.
    pub word: String,
    /// The declared length of the body.
    pub length: Option<usize>,
    /// Whether it asks for, or grants, another protocol.
    pub upgrade: bool,
    /// Whether the body comes in chunks.
    pub chunked: bool,
    /// Whether the body is compressed.
    pub encoded: bool,
    /// Whether the sender closes after this message.
    pub close: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Speaks over a connection.
    pub fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::with_capacity(64 * 1024) }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the other side is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        // TLS keeps what the socket did not take until it is flushed.
        self.stream.flush().await
    }

    /// Sends so many bytes of no meaning.
    ///
    /// # Errors
    /// When the other side is gone.
    pub async fn fill(&mut self, mut length: usize) -> io::Result<()> {
        static PIECE: [u8; 64 * 1024] = [b'f'; 64 * 1024];
        while length > 0 {
            let piece = &PIECE[..length.min(PIECE.len())];
            self.stream.write_all(piece).await?;
            length -= piece.len();
        }
        self.stream.flush().await
    }

    /// The next head; none when the other side has closed between two messages.
    ///
    /// # Errors
    /// When the head is not whole or not understood.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = Head::parse(&self.buffer[..end]).ok_or(io::ErrorKind::InvalidData)?;
                self.buffer.drain(..end + 4);
                return Ok(Some(head));
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                let whole = self.buffer.is_empty();
                return if whole { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Reads so many bytes and forgets them.
    ///
    /// # Errors
    /// When fewer come.
    pub async fn skip(&mut self, mut length: usize) -> io::Result<()> {
        loop {
            let taken = length.min(self.buffer.len());
            self.buffer.drain(..taken);
            length -= taken;
            if length == 0 {
                return Ok(());
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Sends a request and reads its answer, however long. Gives its head, and how many bytes its body had.
    ///
    /// # Errors
    /// When it is not whole.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<(Head, usize)> {
        self.send(request).await?;
        let head = self.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if !head.chunked {
            let length = head.length.ok_or(io::ErrorKind::InvalidData)?;
            self.skip(length).await?;
            return Ok((head, length));
        }
        let mut whole = 0;
        loop {
            let line = self.line().await?;
            let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            self.skip(length + 2).await?;
            if length == 0 {
                return Ok((head, whole));
            }
            whole += length;
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.buffer.drain(..end + 2).collect();
                return String::from_utf8(line).map_err(io::Error::other);
            }
            if self.buffer.len() > MAX_HEAD || self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }

    /// Sends a request and reads its answer, which must be a 200 with a body of this length.
    ///
    /// # Errors
    /// When it is not.
    pub async fn exchange(&mut self, request: &[u8], length: usize) -> io::Result<()> {
        self.send(request).await?;
        let head = self.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if head.word != "200" || head.length != Some(length) || head.close {
            return Err(io::Error::other(format!("{head:?} came instead of 200 with {length} bytes")));
        }
        self.skip(length).await
    }
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (first, fields) = text.split_once("\r\n").unwrap_or((text, ""));
        let word = first.split(' ').nth(1)?.to_owned();
        let field = |wanted: &str| {
            let pairs = fields.split("\r\n").filter_map(|line| line.split_once(':'));
            pairs.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim()).next()
        };
        let length = field("content-length").map(str::parse).transpose().ok()?;
        let close = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Some(Self {
            word,
            length,
            upgrade: field("upgrade").is_some(),
            chunked: field("transfer-encoding").is_some(),
            encoded: field("content-encoding").is_some(),
            close,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn exchange(answer: &'static [u8]) -> io::Result<()> {
        let (here, mut there) = tokio::io::duplex(1024);
        let server = tokio::spawn(async move {
            let mut asked = [0; 4];
            there.read_exact(&mut asked).await?;
            there.write_all(answer).await
        });
        let outcome = Wire::over(here).exchange(b"ask!", 3).await;
        server.await.expect("no panic").expect("sent");
        outcome
    }

    #[tokio::test]
    async fn only_a_whole_200_of_the_right_length_on_a_kept_connection_counts() {
        exchange(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc").await.expect("an answer");
        for wrong in [
            &b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nabc"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nContent",
            b"",
        ] {
            assert!(exchange(wrong).await.is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn a_head_is_read_without_regard_to_case() {
        let head = Head::parse(b"GET /ws HTTP/1.1\r\nhost: a\r\nUPGRADE: websocket").expect("a head");
        let (word, length) = ("/ws".to_owned(), None);
        assert_eq!(head, Head { word, length, upgrade: true, chunked: false, encoded: false, close: false });
        assert_eq!(Head::parse(b"GET / HTTP/1.1\r\nContent-Length: many"), None);
    }
}
