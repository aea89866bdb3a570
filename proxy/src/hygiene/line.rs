//! The request line (RFC 9112 section 3): a method, one blank, a target, one blank, a version.

use super::authority::is_authority;
use super::violation::Violation;

/// The longest method that is known to anybody is `UPDATEREDIRECTREF`.
const LONGEST_METHOD: usize = 24;

/// The versions that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
}

/// A request line that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) method: &'a [u8],
    pub(super) version: Version,
    /// That of an absolute target.
    pub(super) authority: Option<&'a [u8]>,
}

/// Checks a request line, without its CR LF.
pub(super) fn check_line(line: &[u8], longest_target: usize) -> Result<Line<'_>, Violation> {
    let first = memchr::memchr(b' ', line).ok_or(Violation::RequestLine)?;
    let last = memchr::memrchr(b' ', line).ok_or(Violation::RequestLine)?;
    if first == last {
        return Err(Violation::RequestLine);
    }
    let (method, target) = (&line[..first], &line[first + 1..last]);
    let version = version(&line[last + 1..])?;
    check_method(method)?;
    if target.len() > longest_target {
        return Err(Violation::TargetSize);
    }
    Ok(Line { method, version, authority: check_target(method, target)? })
}

fn version(text: &[u8]) -> Result<Version, Violation> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Violation::Version)
        }
        _ => Err(Violation::RequestLine),
    }
}

/// Methods are case-sensitive (RFC 9110 section 9.1), and all that are registered are in upper case: one that is
/// not would be a GET to those who fold it and unknown to those who do not.
pub(super) fn check_method(method: &[u8]) -> Result<(), Violation> {
    match method {
        b"TRACE" => return Err(Violation::Trace),
        b"CONNECT" => return Err(Violation::Connect),
        b"" => return Err(Violation::RequestLine),
        _ => {}
    }
    if method.iter().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_')) {
        return if method.len() <= LONGEST_METHOD { Ok(()) } else { Err(Violation::Method) };
    }
    let is_token = method.iter().all(|byte| super::field::is_token(*byte));
    Err(if is_token { Violation::Method } else { Violation::RequestLine })
}

/// The authority of a target, if it is absolute.
pub(super) fn check_target<'a>(method: &[u8], target: &'a [u8]) -> Result<Option<&'a [u8]>, Violation> {
    match target {
        [b'/', ..] => check_path(target).map(|()| None),
        b"*" if method == b"OPTIONS" => Ok(None),
        _ => absolute(target).map(Some),
    }
}

/// A path and query (RFC 9112 section 3.2.1): visible ASCII without a fragment. Of what RFC 3986 does not know, that
/// is taken which browsers send as it is; a backslash in the path is a slash to some parsers.
fn check_path(target: &[u8]) -> Result<(), Violation> {
    let bad = |byte: u8| !byte.is_ascii_graphic() | matches!(byte, b'#' | b'"' | b'<' | b'>');
    let unlike_a_path = |byte: u8| matches!(byte, b'\\' | b'`');
    let (any_bad, unlike) = target
        .iter()
        .fold((false, false), |(any, unlike), &byte| (any | bad(byte), unlike | unlike_a_path(byte)));
    let path = || &target[..memchr::memchr(b'?', target).unwrap_or(target.len())];
    if any_bad || unlike && path().iter().any(|byte| unlike_a_path(*byte)) {
        return Err(Violation::Target);
    }
    Ok(())
}

/// The authority of `http://authority/path?query` (RFC 9112 section 3.2.2).
fn absolute(target: &[u8]) -> Result<&[u8], Violation> {
    let lower = |prefix: &[u8]| target.get(..prefix.len()).is_some_and(|t| t.eq_ignore_ascii_case(prefix));
    let rest = match () {
        () if lower(b"http://") => &target[7..],
        () if lower(b"https://") => &target[8..],
        () => return Err(Violation::Target),
    };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    check_path(&rest[end..])?;
    if is_authority(&rest[..end]) { Ok(&rest[..end]) } else { Err(Violation::Target) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<Line<'_>, Violation> {
        check_line(line.as_bytes(), 30)
    }

    #[test]
    fn a_good_line_passes() {
        for line in [
            "GET / HTTP/1.1",
            "GET // HTTP/1.0",
            "M-SEARCH /a^{b}?`c={d}|e\\f HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "POST /%00%zz HTTP/1.1",
        ] {
            assert_eq!(check(line).map(|l| l.authority), Ok(None), "{line}");
        }
        for line in ["GET http://a:8 HTTP/1.1", "GET HTTPS://a:8/b?c HTTP/1.1", "GET http://a:8?c HTTP/1.0"] {
            assert_eq!(check(line).map(|l| l.authority), Ok(Some(&b"a:8"[..])), "{line}");
        }
    }

    #[test]
    fn a_bad_line_breaks_its_rule() {
        let long = format!("GET /{} HTTP/1.1", "a".repeat(30));
        let strange = format!("{} / HTTP/1.1", "A".repeat(25));
        for (line, violation) in [
            ("", Violation::RequestLine),
            ("GET /", Violation::RequestLine),
            ("GET", Violation::RequestLine),
            ("GET / http/1.1", Violation::RequestLine),
            ("GET / HTTP/1.1 ", Violation::RequestLine),
            ("GET / HTTP/1", Violation::RequestLine),
            ("GET / HTTP/1.10", Violation::RequestLine),
            ("GET / HTTP/11.1", Violation::RequestLine),
            (" GET / HTTP/1.1", Violation::RequestLine),
            ("G\u{7f}T / HTTP/1.1", Violation::RequestLine),
            ("GET / HTTP/2.0", Violation::Version),
            ("GET / HTTP/1.2", Violation::Version),
            ("GET / HTTP/0.9", Violation::Version),
            ("get / HTTP/1.1", Violation::Method),
            ("GE'T / HTTP/1.1", Violation::Method),
            (&strange, Violation::Method),
            ("TRACE / HTTP/1.1", Violation::Trace),
            ("CONNECT a:1 HTTP/1.1", Violation::Connect),
            (&long, Violation::TargetSize),
            ("GET  / HTTP/1.1", Violation::Target),
            ("GET /  HTTP/1.1", Violation::Target),
            ("GET /\t HTTP/1.1", Violation::Target),
            ("GET /a b HTTP/1.1", Violation::Target),
            ("GET /a#b HTTP/1.1", Violation::Target),
            ("GET /a\\b HTTP/1.1", Violation::Target),
            ("GET /a`b HTTP/1.1", Violation::Target),
            ("GET /a?\"b\" HTTP/1.1", Violation::Target),
            ("GET /<a> HTTP/1.1", Violation::Target),
            ("GET /\u{e4} HTTP/1.1", Violation::Target),
            ("GET * HTTP/1.1", Violation::Target),
            ("GET a HTTP/1.1", Violation::Target),
            ("GET ?a HTTP/1.1", Violation::Target),
            ("GET http:/a HTTP/1.1", Violation::Target),
            ("GET http:///a HTTP/1.1", Violation::Target),
            ("GET http://u@a/ HTTP/1.1", Violation::Target),
            ("GET ftp://a/ HTTP/1.1", Violation::Target),
            ("GET http://a\\@b/ HTTP/1.1", Violation::Target),
        ] {
            assert_eq!(check(line), Err(violation), "{line}");
        }
    }
}
