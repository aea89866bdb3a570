//! A text as it reads once an encoding is taken off, with the way back to where each byte came from.
//!
//! So a secret is found however much of it is encoded, and in whatever dialect. One layer is taken off.

use std::borrow::Cow;
use std::ops::Range;

/// A reading of a text.
pub(super) struct View<'a> {
    bytes: Cow<'a, [u8]>,
    /// Where each byte began in the text, and the text's end; none when nothing moved.
    origins: Option<Vec<usize>>,
}

impl View<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The place in the text of a place in this view.
    pub(super) fn place(&self, range: Range<usize>) -> Range<usize> {
        match &self.origins {
            Some(origins) => origins[range.start]..origins[range.end],
            None => range,
        }
    }
}

/// Every reading of a text that can differ.
pub(super) fn of(text: &str) -> Vec<View<'_>> {
    let bytes = text.as_bytes();
    let mut views = vec![View { bytes: Cow::Borrowed(bytes), origins: None }];
    if bytes.contains(&b'%') {
        views.push(decoded(bytes, percent));
    }
    if bytes.contains(&b'+') {
        views.push(decoded(bytes, form));
    }
    if bytes.contains(&b'\\') {
        views.push(decoded(bytes, escape));
    }
    views
}

/// A text without its percent-encoding.
#[must_use]
pub fn percent_decoded(text: &str) -> Vec<u8> {
    decoded(text.as_bytes(), percent).bytes.into_owned()
}

/// Takes an encoding off: `step` reads one encoded character at the beginning and says how long it was.
fn decoded<'a>(text: &[u8], step: fn(&[u8]) -> Option<(Decoded, usize)>) -> View<'a> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut origins = Vec::with_capacity(text.len() + 1);
    let mut at = 0;
    while at < text.len() {
        let (found, length) = step(&text[at..]).unwrap_or((Decoded::byte(text[at]), 1));
        bytes.extend_from_slice(found.as_slice());
        origins.resize(bytes.len(), at);
        at += length;
    }
    origins.push(text.len());
    View { bytes: Cow::Owned(bytes), origins: Some(origins) }
}

/// One character, in UTF-8 or a single byte.
struct Decoded([u8; 4], usize);

impl Decoded {
    const fn byte(byte: u8) -> Self {
        Self([byte, 0, 0, 0], 1)
    }

    fn char(c: char) -> Self {
        let mut bytes = [0; 4];
        let length = c.encode_utf8(&mut bytes).len();
        Self(bytes, length)
    }

    fn as_slice(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

/// `%2F`.
fn percent(text: &[u8]) -> Option<(Decoded, usize)> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?;
    Some((Decoded::byte(byte), 3))
}

/// As forms write it: also `+` for a space.
fn form(text: &[u8]) -> Option<(Decoded, usize)> {
    match text {
        [b'+', ..] => Some((Decoded::byte(b' '), 1)),
        _ => percent(text),
    }
}

/// A backslash and what follows, as in JSON, and as Rust, C and JavaScript print it.
fn escape(text: &[u8]) -> Option<(Decoded, usize)> {
    let [b'\\', kind, rest @ ..] = text else { return None };
    let byte = match kind {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 8,
        b'f' => 12,
        b'0' => 0,
        b'"' | b'\'' | b'\\' | b'/' => *kind,
        b'x' => return hexadecimal(rest.get(..2)?, 4),
        b'u' if rest.first() == Some(&b'{') => {
            let end = rest.iter().take(8).position(|byte| *byte == b'}')?;
            return hexadecimal(&rest[1..end], end + 3);
        }
        b'u' => return utf16(rest),
        _ => return None,
    };
    Some((Decoded::byte(byte), 2))
}

fn number(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn hexadecimal(digits: &[u8], length: usize) -> Option<(Decoded, usize)> {
    Some((Decoded::char(char::from_u32(number(digits)?)?), length))
}

/// `00e9`, or the two halves of a character beyond the first plane.
fn utf16(rest: &[u8]) -> Option<(Decoded, usize)> {
    let first = number(rest.get(..4)?)?;
    if let Some(c) = char::from_u32(first) {
        return Some((Decoded::char(c), 6));
    }
    let second = number(rest.get(4..10)?.strip_prefix(b"\\u")?)?;
    let units = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
    let c = char::decode_utf16(units).next()?.ok()?;
    Some((Decoded::char(c), 12))
}
