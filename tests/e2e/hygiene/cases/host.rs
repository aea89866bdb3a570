//! Hosts (RFC 9112 section 3.2, RFC 9110 section 7.2).

use crate::hygiene::case::{Allowed, BAD, Case, case};

/// A GET whose lines are these.
fn lines(name: &'static str, lines: impl AsRef<[u8]>, allowed: Allowed) -> Case {
    case(name, [b"GET /host HTTP/1.1\r\n", lines.as_ref(), b"\r\n"].concat(), allowed)
}

fn host(name: &'static str, host: &str) -> Case {
    lines(name, format!("Host: {host}\r\n"), BAD)
}

pub(crate) fn all() -> Vec<Case> {
    let long = format!("{}.shop.test", "a".repeat(300));
    vec![
        lines("no host", "", BAD),
        lines("an empty host", "Host:\r\n", BAD),
        lines("a host twice, the same", "Host: shop.test\r\nHost: shop.test\r\n", BAD),
        lines("a host twice, another", "Host: shop.test\r\nHost: other.test\r\n", BAD),
        lines("a host twice, in two cases", "Host: shop.test\r\nhost: other.test\r\n", BAD),
        lines("a host twice, one empty", "Host: shop.test\r\nHost:\r\n", BAD),
        lines("a host on a second line", "Host:\r\n shop.test\r\n", BAD),
        lines("a blank before the host's colon", "Host : shop.test\r\n", BAD),
        lines("a blank before the host", " Host: shop.test\r\n", BAD),
        host("two hosts in one", "shop.test, other.test"),
        host("two hosts with a blank", "shop.test other.test"),
        host("a host with a path", "shop.test/admin"),
        host("a host with a query", "shop.test?a"),
        host("a host with a fragment", "shop.test#a"),
        host("a host with a scheme", "http://shop.test"),
        host("a host with a user", "user@shop.test"),
        host("a host with a user and a password", "user:secret@shop.test"),
        host("a host with a backslash", "shop.test\\other"),
        host("a host with a tab", "shop\ttest"),
        host("a host with NUL", "shop.test\0"),
        host("a host with a percent", "shop%2etest"),
        host("a host that is not ASCII", "sh\u{f6}p.test"),
        host("a host of a dot", "."),
        host("a host of two dots", ".."),
        host("a host with an empty label", "shop..test"),
        host("a host with an empty port", "shop.test:"),
        host("a host with port 0", "shop.test:0"),
        host("a host with port 65536", "shop.test:65536"),
        host("a host with a signed port", "shop.test:+80"),
        host("a host with a port of letters", "shop.test:http"),
        host("a host with two ports", "shop.test:80:81"),
        host("a host with a long port", "shop.test:000000000000080"),
        host("a host with half a bracket", "[::1"),
        host("a host of an address without brackets", "::1"),
        host("a host with a zone", "[fe80::1%25eth0]"),
        host("a host with markup", "<script>.test"),
        lines("a host that is too long", format!("Host: {long}\r\n"), BAD),
        lines("a host that is not served", "Host: other.test\r\n", Allowed::Unambiguous),
        case("no host over HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", Allowed::Unambiguous),
    ]
}
