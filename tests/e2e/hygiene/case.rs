//! One case: what a client sends, and what may become of it.

/// A case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What the client sends. Requests for `/smuggled` are meant to get past the proxy.
    pub(crate) bytes: Vec<u8>,
    pub(crate) allowed: Allowed,
}

/// What may become of a case. In every case the upstream sees nothing but whole, strict requests that passed the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// It is answered with one of these statuses, the connection is closed, and the upstream sees no request.
    Rejected(&'static [u16]),
    /// Rejected with any 4xx, 501 or 505, or forwarded in a form that has one meaning.
    Unambiguous,
    /// The upstream sees the same requests, and all are answered.
    Served,
}

pub(crate) const BAD: Allowed = Allowed::Rejected(&[400]);

pub(crate) fn case(name: &'static str, bytes: impl AsRef<[u8]>, allowed: Allowed) -> Case {
    Case { name, bytes: bytes.as_ref().to_vec(), allowed }
}

/// A POST with these header lines (each with its own line end) and this body.
pub(crate) fn post(
    name: &'static str,
    lines: impl AsRef<[u8]>,
    body: impl AsRef<[u8]>,
    allowed: Allowed,
) -> Case {
    let head = &b"POST /post HTTP/1.1\r\nHost: shop.test\r\n"[..];
    case(name, [head, lines.as_ref(), b"\r\n", body.as_ref()].concat(), allowed)
}

/// A GET with these header lines.
pub(crate) fn get(name: &'static str, lines: impl AsRef<[u8]>, allowed: Allowed) -> Case {
    let head = &b"GET /get HTTP/1.1\r\nHost: shop.test\r\n"[..];
    case(name, [head, lines.as_ref(), b"\r\n"].concat(), allowed)
}

/// A GET whose request line is this.
pub(crate) fn line(name: &'static str, line: impl AsRef<[u8]>, allowed: Allowed) -> Case {
    case(name, [line.as_ref(), b"\r\nHost: shop.test\r\n\r\n"].concat(), allowed)
}

/// A chunked POST with this body.
pub(crate) fn chunked(name: &'static str, body: impl AsRef<[u8]>, allowed: Allowed) -> Case {
    post(name, "Transfer-Encoding: chunked\r\n", body, allowed)
}
