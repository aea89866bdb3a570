//! Expectations, options of connections, and upgrades (RFC 9110 sections 7.6.1, 7.8 and 10.1.1, RFC 6455).

use crate::hygiene::case::{Allowed, BAD, Case, case, get, post};

const EXPECTATION: Allowed = Allowed::Rejected(&[417]);
const ASK: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

pub(crate) fn all() -> Vec<Case> {
    [options(), expectations(), upgrades()].concat()
}

fn options() -> Vec<Case> {
    vec![
        get("an option that names the host", "Connection: Host\r\n", BAD),
        get("an option that names the client", "Connection: close, X-Forwarded-For\r\n", BAD),
        get("an option that names the request id", "Connection: X-Request-Id\r\n", BAD),
        post(
            "an option that names the length",
            "Connection: Content-Length\r\nContent-Length: 5\r\n",
            "12345",
            BAD,
        ),
        post(
            "an option that names the coding",
            "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
            BAD,
        ),
        get("an option that is no token", "Connection: a b\r\n", BAD),
        get("an option in quotes", "Connection: \"close\"\r\n", BAD),
    ]
}

fn expectations() -> Vec<Case> {
    vec![
        post("another expectation", "Expect: tea\r\nContent-Length: 5\r\n", "12345", EXPECTATION),
        post("an empty expectation", "Expect:\r\nContent-Length: 5\r\n", "12345", EXPECTATION),
        post(
            "two expectations in a list",
            "Expect: 100-continue, tea\r\nContent-Length: 5\r\n",
            "12345",
            EXPECTATION,
        ),
        post(
            "an expectation twice",
            "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n",
            "12345",
            EXPECTATION,
        ),
        post(
            "an expectation with a parameter",
            "Expect: 100-continue;a=b\r\nContent-Length: 5\r\n",
            "12345",
            EXPECTATION,
        ),
    ]
}

fn upgrades() -> Vec<Case> {
    let hidden = "GET /smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    vec![
        post("a WebSocket by POST", ASK, "", BAD),
        get("a WebSocket with a length", format!("{ASK}Content-Length: 5\r\n"), BAD),
        get("a WebSocket with chunks", format!("{ASK}Transfer-Encoding: chunked\r\n"), BAD),
        case("a WebSocket over HTTP/1.0", format!("GET / HTTP/1.0\r\nHost: shop.test\r\n{ASK}\r\n"), BAD),
        // The upstream answers as if nothing was asked; what follows is a request like any other.
        get(
            "h2c",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            Allowed::Served,
        ),
        get(
            "h2c with the preface behind it",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n",
            Allowed::Unambiguous,
        ),
        get("another protocol", "Connection: Upgrade\r\nUpgrade: tls/1.2\r\n", Allowed::Served),
        get("a WebSocket without the option", "Upgrade: websocket\r\n", Allowed::Served),
        // The upstream does not agree, so the bytes behind are a request of the same client, or nothing.
        get(
            "a WebSocket that is refused, with a request behind it",
            format!("{ASK}\r\n{hidden}X: y"),
            Allowed::Unambiguous,
        ),
    ]
}
