//! Authorities: `Host`, `:authority`, and that of an absolute target (RFC 9110 section 7.2, RFC 3986 section 3.2).
//!
//! Stricter than the grammar: no user, no percent-encoding, no sub-delimiters, no empty label and no empty port, for
//! these are what parsers disagree about, and no host that is served by anybody holds them.

use std::net::Ipv6Addr;

/// The longest host name (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 255;

/// Whether this is a host with or without a port, in the one form that nobody misreads.
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    if let Some(rest) = bytes.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
        return is_ipv6(&rest[..end]) && is_port_part(&rest[end + 1..]);
    }
    let end = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
    is_name(&bytes[..end]) && is_port_part(&bytes[end..])
}

fn is_ipv6(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// A name or an IPv4 address; a dot may end it.
fn is_name(bytes: &[u8]) -> bool {
    let mut last = b'.';
    for &byte in bytes {
        let good = match byte {
            b'.' => last != b'.',
            b'-' | b'_' | b'~' => true,
            other => other.is_ascii_alphanumeric(),
        };
        if !good {
            return false;
        }
        last = byte;
    }
    (1..=LONGEST_NAME).contains(&bytes.len())
}

/// Nothing, or a colon and a port from 1 to 65535.
fn is_port_part(bytes: &[u8]) -> bool {
    let Some((colon, digits)) = bytes.split_first() else { return true };
    let fits = *colon == b':' && (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    fits && (1..=65_535)
        .contains(&digits.iter().fold(0_u32, |port, digit| port * 10 + u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_form() {
        let long = "a".repeat(255);
        for good in
            ["shop.test", "Shop.Test.", "a", "a_b-c.d:8080", "127.0.0.1:1", "[::1]", "[::1]:65535", &long]
        {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        let too_long = "a".repeat(256);
        for bad in [
            "",
            " ",
            "a b",
            "a ",
            "a/b",
            "a/",
            "u@a",
            "u:p@a",
            "a:",
            "a:0",
            "a:65536",
            "a:1:2",
            "a:+1",
            "a:1x",
            "a,b",
            "a%2eb",
            ".",
            ".a",
            "a..b",
            "[::1",
            "[::1]x",
            "[::1]:",
            "::1",
            "[a]",
            "[::1%25lo]",
            "[v1.a]",
            "http://a",
            "a\\b",
            "a?b",
            "a#b",
            "a;b",
            "\u{e4}.test",
            "a\0",
            &too_long,
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
