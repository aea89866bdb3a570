//! Header lines (RFC 9112 section 5, RFC 9110 section 5).

use crate::hygiene::case::{Allowed, BAD, Case, case, get, post};

const TOO_LARGE: Allowed = Allowed::Rejected(&[431]);
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n";

pub(crate) fn all() -> Vec<Case> {
    [line_ends(), names(), values(), sizes()].concat()
}

fn line_ends() -> Vec<Case> {
    let ask = "GET / HTTP/1.1\r\nHost: shop.test\r\n";
    vec![
        case("LF alone after the request line", "GET / HTTP/1.1\nHost: shop.test\r\n\r\n", BAD),
        case("LF alone after a header", "GET / HTTP/1.1\r\nHost: shop.test\n\r\n", BAD),
        case("LF alone at the end", "GET / HTTP/1.1\r\nHost: shop.test\r\n\n", BAD),
        case("LF alone everywhere", "GET / HTTP/1.1\nHost: shop.test\n\n", BAD),
        case("CR alone after a header", "GET / HTTP/1.1\r\nHost: shop.test\rX: y\r\n\r\n", BAD),
        case("CR CR LF after a header", "GET / HTTP/1.1\r\nHost: shop.test\r\r\n\r\n", BAD),
        case("CR CR LF at the end", format!("{ask}\r\r\n\r\n"), BAD),
        case("LF CR at the end", format!("{ask}\n\r\n"), BAD),
        case("a request behind LF LF", format!("{ask}X: y\n\n{SMUGGLED}"), BAD),
        get("a folded header", "X: a\r\n b\r\n", BAD),
        get("a header folded with a tab", "X: a\r\n\tb\r\n", BAD),
        get("a folded length", "Content-Length:\r\n 5\r\n", BAD),
        get("a folded coding", "X: a\r\n Transfer-Encoding: chunked\r\n", BAD),
        get("a line of blanks", "X: a\r\n  \r\nY: b\r\n", BAD),
    ]
}

fn names() -> Vec<Case> {
    vec![
        get("a line without a colon", "X\r\n", BAD),
        get("a header without a name", ": y\r\n", BAD),
        get("a blank before a colon", "X : y\r\n", BAD),
        get("a tab before a colon", "X\t: y\r\n", BAD),
        get("a blank in a name", "X Y: z\r\n", BAD),
        get("NUL in a name", "X\0Y: z\r\n", BAD),
        get("CR in a name", "X\rY: z\r\n", BAD),
        get("a vertical tab behind a name", "X\x0b: y\r\n", BAD),
        get("a name that is not ASCII", "X\u{e4}: y\r\n", BAD),
        get("DEL in a name", "X\x7f: y\r\n", BAD),
        get("a name in quotes", "\"X\": y\r\n", BAD),
        get("a name with a slash", "X/Y: z\r\n", BAD),
        get("a name in brackets", "(X): y\r\n", BAD),
        get("a name with an at sign", "X@Y: z\r\n", BAD),
        post("a blank behind content-length", "Content-Length : 5\r\n", "12345", BAD),
        post("a tab behind transfer-encoding", "Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n", BAD),
        post("NUL behind content-length", "Content-Length\0: 5\r\n", "12345", BAD),
        post("a length with an underscore", "Content_Length: 5\r\n", "12345", BAD),
        post("a coding with an underscore", "Transfer_Encoding: chunked\r\n", "0\r\n\r\n", BAD),
    ]
}

fn values() -> Vec<Case> {
    vec![
        get("NUL in a value", "X: a\0b\r\n", BAD),
        get("CR in a value", "X: a\rb\r\n", BAD),
        get("CR at the end of a value", "X: a\r\r\n", BAD),
        get("a vertical tab in a value", "X: a\x0bb\r\n", BAD),
        get("a form feed in a value", "X: a\x0cb\r\n", BAD),
        get("an escape in a value", "X: a\x1b[2Jb\r\n", BAD),
        get("DEL in a value", "X: a\x7fb\r\n", BAD),
        get("a backspace in a value", "X: a\x08\r\n", BAD),
        get("a header behind LF in a value", "X: a\nContent-Length: 5\r\n", BAD),
        get("a header behind CR in a value", "X: a\rTransfer-Encoding: chunked\r\n", BAD),
    ]
}

fn sizes() -> Vec<Case> {
    vec![
        get("a header that is too large", format!("X: {}\r\n", "a".repeat(300_000)), TOO_LARGE),
        get("headers that are too large", format!("X: {}\r\n", "a".repeat(1000)).repeat(200), TOO_LARGE),
        get("too many headers", "X: y\r\n".repeat(5000), TOO_LARGE),
        get("a name that is too long", format!("{}: y\r\n", "X".repeat(100_000)), TOO_LARGE),
    ]
}
