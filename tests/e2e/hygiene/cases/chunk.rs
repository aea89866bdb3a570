//! Chunks and trailers (RFC 9112 section 7.1). The head is good, so the upstream may have seen the beginning of the
//! request before its body turns bad; it never sees the end of it.

use crate::hygiene::case::{Allowed, BAD, Case, chunked};

const TRAILERS: Allowed = Allowed::Rejected(&[400, 431]);

pub(crate) fn all() -> Vec<Case> {
    [sizes(), ends(), extensions(), trailers()].concat()
}

fn sizes() -> Vec<Case> {
    vec![
        chunked("no chunk size", "\r\nhello\r\n0\r\n\r\n", BAD),
        chunked("a chunk size of letters", "xyz\r\nhello\r\n0\r\n\r\n", BAD),
        chunked("a chunk size with 0x", "0x5\r\nhello\r\n0\r\n\r\n", BAD),
        chunked("a chunk size with a plus", "+5\r\nhello\r\n0\r\n\r\n", BAD),
        chunked("a chunk size with a minus", "-5\r\nhello\r\n0\r\n\r\n", BAD),
        chunked("a chunk size behind a blank", " 5\r\nhello\r\n0\r\n\r\n", BAD),
        chunked("a chunk size before a blank", "5 \r\nhello\r\n0\r\n\r\n", BAD),
        chunked("a chunk size before a tab", "5\t\r\nhello\r\n0\r\n\r\n", BAD),
        chunked("a chunk size with an underscore", "1_0\r\nhello\r\n0\r\n\r\n", BAD),
        chunked("a chunk size with NUL", "5\0\r\nhello\r\n0\r\n\r\n", BAD),
        chunked("a chunk size over 2^64", "10000000000000005\r\nhello\r\n0\r\n\r\n", BAD),
        chunked("a chunk size of all bits", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n", BAD),
        chunked("a chunk size of many zeros", "00000000000000000000000000000005\r\nhello\r\n0\r\n\r\n", BAD),
    ]
}

fn ends() -> Vec<Case> {
    vec![
        chunked("a chunk size with LF alone", "5\nhello\r\n0\r\n\r\n", BAD),
        chunked("a chunk size with CR alone", "5\rhello\r\n0\r\n\r\n", BAD),
        chunked("a chunk that ends with LF alone", "5\r\nhello\n0\r\n\r\n", BAD),
        chunked("a chunk that ends with CR alone", "5\r\nhello\r0\r\n\r\n", BAD),
        chunked("a chunk without an end", "5\r\nhello0\r\n\r\n", BAD),
        chunked("a chunk that is too long", "5\r\nhello world\r\n0\r\n\r\n", BAD),
        chunked("a last chunk with LF alone", "5\r\nhello\r\n0\n\n", BAD),
        chunked("an end with LF alone", "5\r\nhello\r\n0\r\n\n", BAD),
        chunked("an end with other bytes", "5\r\nhello\r\n0\r\nxx", BAD),
        chunked("an end with two CR", "5\r\nhello\r\n0\r\n\r\r\n", BAD),
    ]
}

fn extensions() -> Vec<Case> {
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(20_000));
    let many = format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "a".repeat(200)).repeat(500));
    vec![
        chunked("LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n", BAD),
        chunked("CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", BAD),
        chunked("NUL in an extension", "5;\0\r\nhello\r\n0\r\n\r\n", BAD),
        chunked("an extension that hides a chunk", "5;\nxxxx\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n", BAD),
        chunked("an extension that is too long", long, BAD),
        chunked("extensions that are too many", many, BAD),
    ]
}

fn trailers() -> Vec<Case> {
    let large = format!("0\r\n{}\r\n", format!("X: {}\r\n", "a".repeat(1000)).repeat(100));
    vec![
        chunked("a trailer without a colon", "0\r\nX\r\n\r\n", BAD),
        chunked("a trailer with a blank before its colon", "0\r\nX : y\r\n\r\n", BAD),
        chunked("a folded trailer", "0\r\nX: y\r\n z\r\n\r\n", BAD),
        chunked("a trailer with NUL", "0\r\nX: \0\r\n\r\n", BAD),
        chunked("a trailer with LF alone", "0\r\nX: y\n\r\n", BAD),
        chunked("a length among trailers", "0\r\nContent-Length: 5\r\n\r\n", BAD),
        chunked("a coding among trailers", "0\r\nTransfer-Encoding: chunked\r\n\r\n", BAD),
        chunked("a host among trailers", "0\r\nHost: other.test\r\n\r\n", BAD),
        chunked("a client among trailers", "0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n", BAD),
        chunked("trailers that are too large", large, TRAILERS),
    ]
}
