//! Header lines (RFC 9112 section 5): a name, a colon, a value; and what names and values may hold.

use super::violation::Violation;

/// The bytes of a token (RFC 9110 section 5.6.2).
static TOKEN: [bool; 256] = token_bytes();

const fn token_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
}

/// Whether a byte may stand in a token (RFC 9110 section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Whether a byte may stand in a value: anything visible, blanks, and what is not ASCII (RFC 9110 section 5.5).
pub(super) fn is_value(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f || byte == b'\t'
}

/// A name, and a value without the blanks around it.
pub(super) type Field<'a> = (&'a [u8], &'a [u8]);

/// Checks a header line, without its CR LF.
pub(super) fn check_field(line: &[u8]) -> Result<Field<'_>, Violation> {
    let end = line.iter().position(|byte| !is_token(*byte)).ok_or(Violation::FieldLine)?;
    match (end, line[end]) {
        (0, b' ' | b'\t') => return Err(Violation::FieldFold),
        (0, _) => return Err(Violation::FieldName),
        (_, b':') => {}
        (_, b' ' | b'\t') => return Err(Violation::FieldBlank),
        (_, _) => return Err(Violation::FieldName),
    }
    let value = &line[end + 1..];
    // No early end: the compiler makes wide instructions of this.
    if value.iter().fold(false, |bad, byte| bad | !is_value(*byte)) {
        return Err(Violation::FieldValue);
    }
    Ok((&line[..end], trim(value)))
}

/// Without the blanks around it (RFC 9110 section 5.6.3).
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The elements of a list (RFC 9110 section 5.6.1), empty ones left out.
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// A length in bytes (RFC 9110 section 8.6): digits alone, and no more than an `i64` holds.
pub(super) fn content_length(value: &[u8]) -> Result<u64, Violation> {
    // Nineteen digits fit into a `u64`.
    if !(1..=19).contains(&value.len()) || !value.iter().all(u8::is_ascii_digit) {
        return Err(Violation::LengthForm);
    }
    let length = value.iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    if i64::try_from(length).is_ok() { Ok(length) } else { Err(Violation::LengthForm) }
}

/// Checks that a transfer coding is `chunked`, once and alone (RFC 9112 sections 6.1 and 7).
pub(super) fn check_coding(value: &[u8]) -> Result<(), Violation> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let known = |coding: &[u8]| {
        [&b"gzip"[..], b"x-gzip", b"deflate", b"compress", b"x-compress", b"identity"]
            .iter()
            .any(|name| coding.eq_ignore_ascii_case(name))
    };
    let mut codings = value.rsplit(|byte| *byte == b',').map(trim);
    let ends_well = codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    let all_known = ends_well && codings.all(known);
    Err(if all_known { Violation::CodingUnknown } else { Violation::CodingForm })
}

/// Whether a `Connection` option names a header that everybody on the way needs, or that the proxy itself adds.
pub(super) fn must_not_be_named(option: &[u8]) -> bool {
    const NAMES: [&str; 13] = [
        "authorization",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "origin",
        "range",
        "set-cookie",
        "trailer",
        "transfer-encoding",
        "via",
        "x-real-ip",
        "x-request-id",
    ];
    const PREFIXES: [&str; 4] = ["content-", "if-", "sec-", "x-forwarded-"];
    let begins =
        |prefix: &&str| option.get(..prefix.len()).is_some_and(|o| o.eq_ignore_ascii_case(prefix.as_bytes()));
    NAMES.iter().any(|name| option.eq_ignore_ascii_case(name.as_bytes())) || PREFIXES.iter().any(begins)
}

/// Whether a name reads as a header that frames the body where `_` is taken for `-`, as CGI and its heirs do, and yet
/// is none.
pub(super) fn is_disguised(name: &[u8]) -> bool {
    let reads_as = |wanted: &[u8]| {
        name.len() == wanted.len()
            && name.iter().zip(wanted).all(|(a, b)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-'))
            && !name.eq_ignore_ascii_case(wanted)
    };
    reads_as(b"content-length") || reads_as(b"transfer-encoding")
}

/// Whether a name may not stand in trailers (RFC 9110 section 6.5.1): it frames, routes, controls or tells who asks.
/// In lower case.
pub(super) fn is_forbidden_trailer(name: &[u8]) -> bool {
    const NAMES: [&str; 15] = [
        "authorization",
        "connection",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "max-forwards",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-real-ip",
        "x-request-id",
    ];
    const PREFIXES: [&str; 4] = ["content-", "if-", "x-forwarded-", "x-switcher-"];
    is_disguised(name)
        || NAMES.iter().any(|forbidden| name == forbidden.as_bytes())
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_a_colon_and_a_value() {
        for (line, field) in [
            (&b"Host:a"[..], Ok((&b"Host"[..], &b"a"[..]))),
            (b"X:", Ok((b"X", b""))),
            (b"X: \t a b\t ", Ok((b"X", b"a b"))),
            (b"X: \xe4\xff:", Ok((b"X", b"\xe4\xff:"))),
            (b"X", Err(Violation::FieldLine)),
            (b"", Err(Violation::FieldLine)),
            (b":a", Err(Violation::FieldName)),
            (b"X Y: a", Err(Violation::FieldBlank)),
            (b"X : a", Err(Violation::FieldBlank)),
            (b"X\t: a", Err(Violation::FieldBlank)),
            (b" X: a", Err(Violation::FieldFold)),
            (b"\tX: a", Err(Violation::FieldFold)),
            (b"X\0: a", Err(Violation::FieldName)),
            (b"X\x0b: a", Err(Violation::FieldName)),
            (b"X\xe4: a", Err(Violation::FieldName)),
            (b"X(: a", Err(Violation::FieldName)),
            (b"X: a\0", Err(Violation::FieldValue)),
            (b"X: a\rb", Err(Violation::FieldValue)),
            (b"X: \x7f", Err(Violation::FieldValue)),
            (b"X: \x0b", Err(Violation::FieldValue)),
        ] {
            assert_eq!(check_field(line), field, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_length_is_digits() {
        for (value, length) in [("0", 0), ("5", 5), ("007", 7), ("9223372036854775807", i64::MAX as u64)] {
            assert_eq!(content_length(value.as_bytes()), Ok(length), "{value}");
        }
        for value in [
            "",
            "+5",
            "-5",
            "5,5",
            "5 5",
            "0x5",
            "5.0",
            "5e1",
            "9223372036854775808",
            "18446744073709551621",
            "00000000000000000005",
            "\u{661}",
        ] {
            assert_eq!(content_length(value.as_bytes()), Err(Violation::LengthForm), "{value}");
        }
    }

    #[test]
    fn a_coding_is_chunked() {
        for value in ["chunked", "Chunked", "CHUNKED"] {
            assert_eq!(check_coding(value.as_bytes()), Ok(()), "{value}");
        }
        for value in ["gzip, chunked", "identity,chunked"] {
            assert_eq!(check_coding(value.as_bytes()), Err(Violation::CodingUnknown), "{value}");
        }
        for value in [
            "",
            ",",
            "gzip",
            "identity",
            "xchunked",
            "chunked, chunked",
            "chunked, gzip",
            "chunked,",
            ",chunked x",
            "chunked;a=b",
            "\"chunked\"",
            "chun ked",
            "foo, chunked",
            "chunked\u{a0}",
        ] {
            assert_eq!(check_coding(value.as_bytes()), Err(Violation::CodingForm), "{value}");
        }
    }

    #[test]
    fn a_disguise_is_seen_through() {
        for name in ["Content_Length", "content_length", "Transfer_Encoding"] {
            assert!(is_disguised(name.as_bytes()), "{name}");
        }
        for name in ["Content-Length", "transfer-encoding", "X_Content_Length", "user_id"] {
            assert!(!is_disguised(name.as_bytes()), "{name}");
        }
    }
}
