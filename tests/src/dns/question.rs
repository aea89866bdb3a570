//! One DNS question over UDP: which texts does a name have?

use std::io;
use std::net::SocketAddr;

use tokio::net::UdpSocket;

use crate::until::{PATIENCE, within};

const TXT: u16 = 16;

/// The TXT records of a name at one server, in order; none when there is no such name.
///
/// # Panics
/// When the server does not answer, or answers something that is no DNS.
pub async fn texts(server: SocketAddr, name: &str) -> Vec<String> {
    try_texts(server, name).await.expect("a DNS answer")
}

/// The same of a server that may not be there yet.
pub(super) async fn try_texts(server: SocketAddr, name: &str) -> io::Result<Vec<String>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(server).await?;
    socket.send(&question(name)).await?;
    let mut buffer = vec![0; 4096];
    let length = within(PATIENCE, "a DNS answer", socket.recv(&mut buffer)).await?;
    let mut found = read(&buffer[..length]).ok_or(io::ErrorKind::InvalidData)?;
    found.sort();
    Ok(found)
}

/// RFC 1035 section 4: a header, and one question of class IN.
fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0x53, 0x57, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).expect("a short label"));
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&TXT.to_be_bytes());
    message.extend_from_slice(&1_u16.to_be_bytes());
    message
}

fn read(message: &[u8]) -> Option<Vec<String>> {
    let number = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let mut at = skip_name(message, 12)? + 4;
    let mut found = Vec::new();
    for _ in 0..number(6)? {
        at = skip_name(message, at)?;
        let (kind, length) = (number(at)?, usize::from(number(at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        if kind == TXT {
            found.push(text(data)?);
        }
        at += 10 + length;
    }
    Some(found)
}

/// Where the name that begins at `at` ends: at an empty label, or behind a pointer.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

/// The pieces of a text in one.
fn text(mut data: &[u8]) -> Option<String> {
    let mut whole = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let (piece, behind) = rest.split_at_checked(usize::from(*length))?;
        whole.extend_from_slice(piece);
        data = behind;
    }
    String::from_utf8(whole).ok()
}
