//! W3C Trace Context: the header by which a request says to which trace it belongs.
//!
//! Pure. Invariant: an id is never zero, and what is not exactly a `traceparent` is none
//! (<https://www.w3.org/TR/trace-context/#traceparent-header>). Called by [`super::Trace`].

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use ulid::Ulid;

/// `traceparent`.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// How long a `traceparent` of version 00 is.
const LENGTH: usize = 55;

/// The id of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

/// The id of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId([u8; 8]);

/// Randomness of a generator of the thread: no lock, no system call.
fn random() -> [u8; 8] {
    loop {
        // The lower 80 bits of it are random.
        let bytes = Ulid::generate().0.to_be_bytes();
        let [.., a, b, c, d, e, f, g, h] = bytes;
        if [a, b, c, d, e, f, g, h] != [0; 8] {
            return [a, b, c, d, e, f, g, h];
        }
    }
}

impl TraceId {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&random());
        id[8..].copy_from_slice(&random());
        Self(id)
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl SpanId {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(random())
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a caller says of its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace: TraceId,
    /// The caller's span in it.
    pub span: SpanId,
    /// Whether the caller records it.
    pub sampled: bool,
}

impl Parent {
    /// What these headers say, if they say it in order and once.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        Self::parse(value.as_bytes())
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (head, tail) = text.split_at_checked(LENGTH)?;
        let mut parts = head.split(|byte| *byte == b'-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let ([version], [flags]) = (hex::<1>(version)?, hex::<1>(flags)?);
        // Later versions may go on after a dash; there is no version ff.
        let goes_on = version > 0 && version < 0xff && tail.first() == Some(&b'-');
        if version == 0xff || !(tail.is_empty() || goes_on) {
            return None;
        }
        let (trace, span) = (hex::<16>(trace)?, hex::<8>(span)?);
        let real = trace != [0; 16] && span != [0; 8];
        real.then_some(Self { trace: TraceId(trace), span: SpanId(span), sampled: flags & 1 == 1 })
    }

    /// The header that says it.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        let text = format!("00-{}-{}-0{}", self.trace, self.span, u8::from(self.sampled));
        // Hexadecimal digits and dashes are a value.
        let mut value = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        // No other request has it, so HTTP/2 had better not keep it in its table.
        value.set_sensitive(true);
        value
    }
}

/// Hexadecimal digits in lower case, exactly so many.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn said(values: &[&str]) -> Option<Parent> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).expect("a value"));
        }
        Parent::of(&headers)
    }

    #[test]
    fn what_is_said_in_order_is_said_again_as_it_was() {
        let parent = said(&[GOOD]).expect("a parent");
        assert!(parent.sampled);
        assert_eq!(parent.header(), GOOD);
        let off = GOOD.replace("-01", "-00");
        assert_eq!(said(&[&off]).expect("a parent").header(), off.as_str());
        assert!(said(&[&GOOD.replace("-01", "-03")]).expect("a parent").sampled);
        for later in [GOOD.replacen("00", "cc", 1), GOOD.replacen("00", "01", 1) + "-what-comes"] {
            assert_eq!(said(&[&later]).expect(&later).header(), GOOD);
        }
    }

    #[test]
    fn what_is_broken_says_nothing() {
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &(GOOD.to_owned() + "-x"),
            &(GOOD.replacen("00", "01", 1) + "x"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace('-', "_"),
            &GOOD.replace("4b", "-4b"),
            &GOOD[..54],
            &GOOD.replace("01", "0g"),
            &GOOD.replace("4bf", "4b\u{e9}"),
        ] {
            assert_eq!(said(&[bad]), None, "{bad:?}");
        }
        assert_eq!(said(&[GOOD, GOOD]), None, "it is said twice");
        assert_eq!(said(&[]), None);
    }

    #[test]
    fn two_ids_differ() {
        assert_ne!(TraceId::generate(), TraceId::generate());
        assert_ne!(SpanId::generate(), SpanId::generate());
    }
}
