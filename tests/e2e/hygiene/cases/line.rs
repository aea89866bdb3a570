//! Request lines (RFC 9112 section 3).

use crate::hygiene::case::{Allowed, BAD, Case, case, line};

const REJECTED: Allowed = Allowed::Rejected(&[400, 501]);
const VERSION: Allowed = Allowed::Rejected(&[400, 505]);

pub(crate) fn all() -> Vec<Case> {
    [targets(), versions(), methods(), beginnings()].concat()
}

fn targets() -> Vec<Case> {
    let long = format!("GET /{} HTTP/1.1", "a".repeat(70_000));
    vec![
        line("two blanks before the target", "GET  / HTTP/1.1", BAD),
        line("two blanks after the target", "GET /  HTTP/1.1", BAD),
        line("a tab before the target", "GET\t/ HTTP/1.1", BAD),
        line("a tab after the target", "GET /\tHTTP/1.1", BAD),
        line("a blank in the target", "GET /a b HTTP/1.1", BAD),
        line("a request in the target", "GET /a HTTP/1.1 /smuggled HTTP/1.1", BAD),
        line("a blank behind the version", "GET / HTTP/1.1 ", BAD),
        line("a blank before the method", " GET / HTTP/1.1", BAD),
        line("no target", "GET HTTP/1.1", BAD),
        line("an empty target", "GET  HTTP/1.1", BAD),
        line("a fragment", "GET /a#b HTTP/1.1", BAD),
        line("a fragment alone", "GET # HTTP/1.1", BAD),
        line("NUL in the target", "GET /\0 HTTP/1.1", BAD),
        line("CR in the target", "GET /a\rb HTTP/1.1", BAD),
        line("a form feed in the target", "GET /a\x0cb HTTP/1.1", BAD),
        line("DEL in the target", "GET /a\x7fb HTTP/1.1", BAD),
        line("UTF-8 in the target", "GET /\u{e4} HTTP/1.1", BAD),
        line("Latin-1 in the target", b"GET /\xe4 HTTP/1.1", BAD),
        line("a backslash in the path", "GET /a\\b HTTP/1.1", BAD),
        line("a relative target", "GET a HTTP/1.1", BAD),
        line("a query alone", "GET ?a HTTP/1.1", BAD),
        line("an asterisk for GET", "GET * HTTP/1.1", BAD),
        line("an authority for GET", "GET shop.test:80 HTTP/1.1", BAD),
        line("an absolute target without a host", "GET http:/// HTTP/1.1", BAD),
        line("an absolute target with one slash", "GET http:/shop.test/ HTTP/1.1", BAD),
        line("an absolute target for another host", "GET http://other.test/ HTTP/1.1", BAD),
        line("an absolute target with a user", "GET http://u@shop.test/ HTTP/1.1", BAD),
        line("an absolute target with a fragment", "GET http://shop.test/#a HTTP/1.1", BAD),
        line("an absolute target with a backslash", "GET http://shop.test\\@other.test/ HTTP/1.1", BAD),
        line("an absolute target for ftp", "GET ftp://shop.test/ HTTP/1.1", BAD),
        line("an absolute target for a file", "GET file:///etc/passwd HTTP/1.1", BAD),
        line("a target that is too long", long, Allowed::Rejected(&[414, 431])),
    ]
}

fn versions() -> Vec<Case> {
    vec![
        case("no version", "GET /\r\n\r\n", BAD),
        line("no version, with headers", "GET /", BAD),
        line("HTTP/0.9 spelled out", "GET / HTTP/0.9", VERSION),
        line("HTTP/1.2", "GET / HTTP/1.2", VERSION),
        line("HTTP/2.0", "GET / HTTP/2.0", VERSION),
        line("HTTP/3", "GET / HTTP/3", VERSION),
        line("HTTP/1", "GET / HTTP/1", BAD),
        line("HTTP/1.", "GET / HTTP/1.", BAD),
        line("HTTP/1.10", "GET / HTTP/1.10", BAD),
        line("HTTP/01.1", "GET / HTTP/01.1", BAD),
        line("HTTP/1.1 in lower case", "GET / http/1.1", BAD),
        line("HTTP/1.1 behind another name", "GET / ICY/1.1", BAD),
        line("HTTP/1,1", "GET / HTTP/1,1", BAD),
        line("a version with letters behind it", "GET / HTTP/1.1x", BAD),
        case(
            "the preface of HTTP/2 after a request",
            "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            Allowed::Unambiguous,
        ),
    ]
}

fn methods() -> Vec<Case> {
    let forbidden = Allowed::Rejected(&[405]);
    let long = format!("{} / HTTP/1.1", "A".repeat(5000));
    vec![
        line("TRACE", "TRACE / HTTP/1.1", forbidden),
        line("CONNECT to a path", "CONNECT / HTTP/1.1", forbidden),
        line("CONNECT to an authority", "CONNECT shop.test:80 HTTP/1.1", forbidden),
        line("CONNECT to a neighbour", "CONNECT 127.0.0.1:22 HTTP/1.1", forbidden),
        line("a method in lower case", "get / HTTP/1.1", REJECTED),
        line("a method in mixed case", "Get / HTTP/1.1", REJECTED),
        line("TRACE in lower case", "trace / HTTP/1.1", REJECTED),
        line("a method with a colon", "GE:T / HTTP/1.1", BAD),
        line("a method with NUL", "GE\0T / HTTP/1.1", BAD),
        line("a method that is not ASCII", "G\u{c9}T / HTTP/1.1", BAD),
        line("a method in brackets", "(GET) / HTTP/1.1", BAD),
        line("a method without an end", long, REJECTED),
    ]
}

fn beginnings() -> Vec<Case> {
    vec![
        case("nothing but line feeds", "\n\n\nGET / HTTP/1.1\r\nHost: shop.test\r\n\r\n", BAD),
        case("a bare CR before the request", "\rGET / HTTP/1.1\r\nHost: shop.test\r\n\r\n", BAD),
        case("NUL before the request", "\0GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n", BAD),
        case("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", BAD),
        case("an answer", "HTTP/1.1 200 OK\r\nHost: shop.test\r\n\r\n", REJECTED),
        case("a header line first", "Host: shop.test\r\nGET / HTTP/1.1\r\n\r\n", BAD),
        case("garbage", b"\x80\x81\x82\xff\xfe\r\n\r\n", BAD),
        case("a blank line of blanks first", "  \r\nGET / HTTP/1.1\r\nHost: shop.test\r\n\r\n", BAD),
    ]
}
