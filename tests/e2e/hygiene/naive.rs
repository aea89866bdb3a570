//! A relay as it should not be: it forwards heads as they are, by the first length that it finds, those of HTTP/2 too.

use std::net::SocketAddr;

use switcher_tests::frames::{END_HEADERS, END_STREAM, Kind, PREFACE, frame, settings};
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
    if begins_second(&mut client, &mut bytes).await {
        return second(client, bytes.split_off(PREFACE.len()), pooled, upstream).await;
    }
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
        if !more(stream, bytes).await {
            return None;
        }
    }
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    let read = tokio::time::timeout(std::time::Duration::from_secs(1), stream.read_buf(bytes)).await;
    matches!(read, Ok(Ok(1..)))
}

/// Whether a connection begins with the preface of HTTP/2.
async fn begins_second(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    loop {
        let so_far = bytes.len().min(PREFACE.len());
        if !PREFACE.starts_with(&bytes[..so_far]) {
            return false;
        }
        if so_far == PREFACE.len() {
            return true;
        }
        if !more(stream, bytes).await {
            return false;
        }
    }
}

/// One request of HTTP/2, translated as it stands.
async fn second(
    mut client: TcpStream,
    mut bytes: Vec<u8>,
    pooled: &mut Option<TcpStream>,
    upstream: SocketAddr,
) {
    let message = loop {
        match translated(&bytes) {
            Translated::Whole(message) => break message,
            Translated::Half => {}
            Translated::Strange => return,
        }
        if !more(&mut client, &mut bytes).await {
            return;
        }
    };
    let mut server = match pooled.take() {
        Some(server) => server,
        None => TcpStream::connect(upstream).await.expect("the upstream"),
    };
    if server.write_all(&message).await.is_err() || next(&mut server, &mut Vec::new()).await.is_none() {
        return;
    }
    *pooled = Some(server);
    // Status 200 is the eighth of the static table (RFC 7541 appendix A).
    let answer = frame(Kind::Headers, END_HEADERS | END_STREAM, 1, &[0x88]);
    // The client may be gone.
    let _ = client.write_all(&[settings(&[]), answer].concat()).await;
}

enum Translated {
    Whole(Vec<u8>),
    Half,
    /// Nothing that this relay understands.
    Strange,
}

/// The first stream's request as HTTP/1.1, once it has come whole.
fn translated(mut bytes: &[u8]) -> Translated {
    let (mut fields, mut body) = (None, Vec::new());
    while let [a, b, c, kind, flags, _, _, _, stream, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else { return Translated::Half };
        bytes = rest;
        if *stream != 1 {
            continue;
        }
        if *kind == Kind::Headers as u8 && fields.is_none() {
            fields = self::fields(payload);
        } else if *kind == Kind::Data as u8 {
            body.extend_from_slice(payload);
        }
        let Some(fields) = &fields else { return Translated::Strange };
        if flags & END_STREAM != 0 {
            return Translated::Whole(message(fields, &body));
        }
    }
    Translated::Half
}

type Field<'a> = (&'a [u8], &'a [u8]);

/// The fields of a block of plain literals.
fn fields(mut block: &[u8]) -> Option<Vec<Field<'_>>> {
    fn text<'a>(block: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, rest) = block.split_first().filter(|(length, _)| **length < 127)?;
        let (text, rest) = rest.split_at_checked(usize::from(*length))?;
        *block = rest;
        Some(text)
    }
    let mut fields = Vec::new();
    while let Some((0, rest)) = block.split_first() {
        block = rest;
        fields.push((text(&mut block)?, text(&mut block)?));
    }
    block.is_empty().then_some(fields)
}

fn message(fields: &[Field<'_>], body: &[u8]) -> Vec<u8> {
    let of = |wanted: &[u8]| {
        fields.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value).unwrap_or_default()
    };
    let (method, path, host) = (of(b":method"), of(b":path"), of(b":authority"));
    let mut message =
        [method, b" ", path, b" HTTP/1.1\r\nHost: ", host, b"\r\nX-Request-Id: relay\r\n"].concat();
    for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with(b":")) {
        message.extend([*name, b": ", *value, b"\r\n"].concat());
    }
    if !body.is_empty() && of(b"content-length").is_empty() {
        message.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
    }
    [&message, &b"\r\n"[..], body].concat()
}
