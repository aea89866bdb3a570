//! A WebSocket (RFC 6455) that says back whatever is said, until either side closes.

use std::io::{self, BufRead, Write};
use std::net::TcpStream;

/// Text that every handshake ends with (section 1.3).
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const PING: u8 = 9;
const PONG: u8 = 10;
const CLOSE: u8 = 8;

/// Accepts the upgrade and echoes.
pub(crate) fn echo(key: &str, version: &str, from: &mut impl BufRead, to: &mut TcpStream) -> io::Result<()> {
    let accept = base64(&sha1(format!("{key}{MAGIC}").as_bytes()));
    let head = format!(
        "HTTP/1.1 101 -\r\nx-app-version: {version}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    );
    to.write_all(head.as_bytes())?;
    loop {
        let (first, payload) = frame(from)?;
        let kind = first & 15;
        let answer = if kind == PING { PONG } else { kind };
        if kind != PONG {
            to.write_all(&encoded((first & 0xF0) | answer, &payload))?;
        }
        if kind == CLOSE {
            return Ok(());
        }
    }
}

/// The first byte of a frame, and its payload without the mask.
fn frame(from: &mut impl BufRead) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    from.read_exact(&mut head)?;
    let mut length = u64::from(head[1] & 127);
    let wide = match length {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if wide > 0 {
        let mut bytes = [0; 8];
        from.read_exact(&mut bytes[8 - wide..])?;
        length = u64::from_be_bytes(bytes);
    }
    let mut mask = [0; 4];
    if head[1] & 128 != 0 {
        from.read_exact(&mut mask)?;
    }
    let mut payload = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    from.read_exact(&mut payload)?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok((head[0], payload))
}

fn encoded(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length < 126 => bytes.push(length),
        (_, Ok(length)) => {
            bytes.push(126);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

/// SHA-1 (RFC 3174), which the handshake wants and nothing secret rests on.
fn sha1(data: &[u8]) -> [u8; 20] {
    let mut state = [0x6745_2301_u32, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    let mut message = data.to_vec();
    message.push(0x80);
    while message.len() % 64 != 56 {
        message.push(0);
    }
    message.extend((data.len() as u64 * 8).to_be_bytes());
    for block in message.chunks(64) {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks(4)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        for i in 16..80 {
            words[i] = (words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16]).rotate_left(1);
        }
        let round = words.iter().enumerate().fold(state, |[a, b, c, d, e], (i, word)| {
            let (mixed, constant) = match i / 20 {
                0 => ((b & c) | (!b & d), 0x5A82_7999),
                1 => (b ^ c ^ d, 0x6ED9_EBA1),
                2 => ((b & c) | (b & d) | (c & d), 0x8F1B_BCDC),
                _ => (b ^ c ^ d, 0xCA62_C1D6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e);
            [next.wrapping_add(constant).wrapping_add(*word), a, b.rotate_left(30), c, d]
        });
        state.iter_mut().zip(round).for_each(|(sum, word)| *sum = sum.wrapping_add(word));
    }
    let mut bytes = [0; 20];
    bytes.chunks_mut(4).zip(state).for_each(|(four, word)| four.copy_from_slice(&word.to_be_bytes()));
    bytes
}

/// Base64 (RFC 4648, section 4).
fn base64(data: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in data.chunks(3) {
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * i) & 63).unwrap_or(0);
            text.push(if i <= three.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    text
}
