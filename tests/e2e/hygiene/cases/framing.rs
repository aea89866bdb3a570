//! How a body is framed (RFC 9112 sections 6.1 to 6.3, RFC 9110 section 8.6).

use crate::hygiene::case::{Allowed, BAD, Case, case, post};

const CODING: Allowed = Allowed::Rejected(&[400, 501]);
/// A body that ends at once for those who read chunks, with a request behind it that others read as the body.
const HIDDEN: &str = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: shop.test\r\nX-A: ";

pub(crate) fn all() -> Vec<Case> {
    [lengths(), codings(), both()].concat()
}

fn length(name: &'static str, value: &str) -> Case {
    post(name, format!("Content-Length: {value}\r\n"), "12345", BAD)
}

fn lengths() -> Vec<Case> {
    vec![
        post("two lengths, the same", "Content-Length: 5\r\nContent-Length: 5\r\n", "12345", BAD),
        post("two lengths, the longer first", "Content-Length: 5\r\nContent-Length: 0\r\n", "12345", BAD),
        post("two lengths, the shorter first", "Content-Length: 0\r\nContent-Length: 5\r\n", "12345", BAD),
        post("two lengths in two cases", "Content-Length: 5\r\ncontent-length: 6\r\n", "12345", BAD),
        post("two lengths apart", "Content-Length: 5\r\nX: y\r\nContent-Length: 44\r\n", HIDDEN, BAD),
        length("a list of equal lengths", "5, 5"),
        length("a list of lengths", "5, 6"),
        length("a list with an empty length", "5,"),
        length("a length with a plus", "+5"),
        length("a length with a minus", "-5"),
        length("a length of minus nothing", "-0"),
        length("a length in hexadecimal", "0x5"),
        length("a length with a letter", "5a"),
        length("a length with a blank inside", "1 5"),
        length("a length with a dot", "5.0"),
        length("a length with an exponent", "5e0"),
        length("a length in quotes", "\"5\""),
        length("a length with an underscore inside", "1_0"),
        length("an empty length", ""),
        length("a length of blanks", " \t "),
        length("a length in other digits", "\u{661}"),
        length("a length over 2^63", "9223372036854775808"),
        length("a length over 2^64", "18446744073709551621"),
        length("a length without an end", "55555555555555555555555555555555555555"),
        length("a length with a vertical tab", "5\x0b"),
        post("a length with NUL", "Content-Length: 5\0\r\n", "12345", BAD),
    ]
}

fn coding(name: &'static str, lines: &str) -> Case {
    post(name, lines, HIDDEN, CODING)
}

fn codings() -> Vec<Case> {
    vec![
        coding("gzip alone", "Transfer-Encoding: gzip\r\n"),
        coding("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n"),
        coding("chunked, gzip", "Transfer-Encoding: chunked, gzip\r\n"),
        coding("chunked, identity", "Transfer-Encoding: chunked, identity\r\n"),
        coding("identity", "Transfer-Encoding: identity\r\n"),
        coding("identity, chunked", "Transfer-Encoding: identity, chunked\r\n"),
        coding("chunked twice in a list", "Transfer-Encoding: chunked, chunked\r\n"),
        coding("chunked on two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        coding(
            "chunked and identity on two lines",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        ),
        coding(
            "identity and chunked on two lines",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        ),
        coding("xchunked", "Transfer-Encoding: xchunked\r\n"),
        coding("chunkedx", "Transfer-Encoding: chunkedx\r\n"),
        coding("chunked in quotes", "Transfer-Encoding: \"chunked\"\r\n"),
        coding("chunked with a parameter", "Transfer-Encoding: chunked;q=1\r\n"),
        coding("chunked with a comma", "Transfer-Encoding: chunked,\r\n"),
        coding("a comma, chunked", "Transfer-Encoding: ,chunked\r\n"),
        coding("chunked with a vertical tab", "Transfer-Encoding: \x0bchunked\r\n"),
        coding("chunked with a blank inside", "Transfer-Encoding: chun ked\r\n"),
        coding("an empty coding", "Transfer-Encoding:\r\n"),
        coding("a folded chunked", "Transfer-Encoding:\r\n chunked\r\n"),
        post("chunked with NUL", "Transfer-Encoding: chunked\0\r\n", HIDDEN, CODING),
        post("chunked that is not ASCII", b"Transfer-Encoding: chunked\xa0\r\n", HIDDEN, CODING),
        case(
            "chunked over HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            BAD,
        ),
        case(
            "chunked over HTTP/1.0, kept alive",
            "POST / HTTP/1.0\r\nHost: shop.test\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            BAD,
        ),
    ]
}

fn both() -> Vec<Case> {
    vec![
        post("a length before chunked", "Content-Length: 49\r\nTransfer-Encoding: chunked\r\n", HIDDEN, BAD),
        post("a length behind chunked", "Transfer-Encoding: chunked\r\nContent-Length: 49\r\n", HIDDEN, BAD),
        post(
            "a length of 0 beside chunked",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            HIDDEN,
            BAD,
        ),
        post("a length beside CHUNKED", "Content-Length: 49\r\nTRANSFER-ENCODING: CHUNKED\r\n", HIDDEN, BAD),
        post(
            "a length beside identity",
            "Content-Length: 49\r\nTransfer-Encoding: identity\r\n",
            HIDDEN,
            CODING,
        ),
        post(
            "a length beside xchunked",
            "Content-Length: 49\r\nTransfer-Encoding: xchunked\r\n",
            HIDDEN,
            CODING,
        ),
        post(
            "a length beside an empty coding",
            "Content-Length: 49\r\nTransfer-Encoding:\r\n",
            HIDDEN,
            CODING,
        ),
        post(
            "two lengths beside chunked",
            "Content-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            HIDDEN,
            BAD,
        ),
        case(
            "a length beside chunked over HTTP/1.0",
            format!(
                "POST / HTTP/1.0\r\nHost: shop.test\r\nContent-Length: 49\r\nTransfer-Encoding: chunked\r\n\r\n{HIDDEN}"
            ),
            BAD,
        ),
        case(
            "a GET with both",
            format!(
                "GET / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 49\r\nTransfer-Encoding: chunked\r\n\r\n{HIDDEN}"
            ),
            BAD,
        ),
    ]
}
