//! A whole HTTP/1.1 head in one pass: where it ends, whether it passes, and how its body is framed.

use super::field::{self, check_coding, check_field, content_length, elements};
use super::line::{Line, Version, check_line};
use super::violation::Violation;
use super::{Framing, HeadLimits};

/// How many bytes to skip before the request line: an empty line there is left over from the body of a request that
/// was written by a careless client (RFC 9112 section 2.2).
#[must_use]
pub fn skip_blank(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"\r\n") { 2 } else { 0 }
}

/// Where the head ends, behind its empty line; `seen` of these bytes have been searched already.
///
/// Line ends without CR count here, so that a head with some is found whole, and then refused.
#[must_use]
pub fn end_of_head(bytes: &[u8], seen: usize) -> Option<usize> {
    // The line feed before the empty line may be the last byte but one of what was seen.
    let from = seen.saturating_sub(2);
    memchr::memchr_iter(b'\n', bytes.get(from..)?).find_map(|at| match bytes.get(from + at + 1..) {
        Some([b'\n', ..]) => Some(from + at + 2),
        Some([b'\r', b'\n', ..]) => Some(from + at + 3),
        Some(_) | None => None,
    })
}

/// Looks at a head that has not come to its end: whether it is worth waiting for the rest.
///
/// # Errors
/// When no rest could make it pass: it is no HTTP at all, or too large already.
pub fn check_start(bytes: &[u8], limits: &HeadLimits) -> Result<(), Violation> {
    // Whatever is on the line besides its target is short.
    const REST_OF_LINE: usize = 64;
    match bytes.first() {
        Some(b'\r') if bytes.len() == 1 => return Ok(()),
        Some(first) if !field::is_token(*first) => return Err(Violation::RequestLine),
        Some(_) | None => {}
    }
    let line_length = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    if line_length > limits.target.saturating_add(REST_OF_LINE) {
        return Err(Violation::TargetSize);
    }
    if bytes.len() > limits.size {
        return Err(Violation::HeadSize);
    }
    Ok(())
}

/// Checks a whole head, as [`end_of_head`] found it.
///
/// # Errors
/// The first rule that it breaks. Then nothing behind it can be told from a request either: the connection ends.
pub fn check_head(head: &[u8], limits: &HeadLimits) -> Result<Framing, Violation> {
    let mut lines = Lines(head);
    let line = check_line(lines.next_line()?, limits.target).map_err(|violation| match violation {
        // Whether it is the target or the whole that is too large, the target is named.
        violation if head.len() <= limits.size || violation == Violation::TargetSize => violation,
        _ => Violation::HeadSize,
    })?;
    if head.len() > limits.size {
        return Err(Violation::HeadSize);
    }
    let mut found = Found::default();
    let mut count = 0;
    loop {
        let text = lines.next_line()?;
        if text.is_empty() {
            break;
        }
        count += 1;
        if count > limits.count {
            return Err(Violation::FieldCount);
        }
        let (name, value) = check_field(text)?;
        found.take(name, value)?;
    }
    if lines.0.is_empty() { found.conclude(&line) } else { Err(Violation::LineEnd) }
}

/// The lines that are left.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    /// The next line, without its CR LF. A CR within it is left to whoever checks it, who refuses it.
    fn next_line(&mut self) -> Result<&'a [u8], Violation> {
        let end = memchr::memchr(b'\n', self.0).ok_or(Violation::LineEnd)?;
        let (line, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        line.strip_suffix(b"\r").ok_or(Violation::LineEnd)
    }
}

/// What the header lines say about their message.
#[derive(Default)]
struct Found<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    expects: bool,
    /// `Upgrade` names a WebSocket.
    websocket: bool,
    /// `Connection` names `upgrade`.
    upgrades: bool,
}

impl<'a> Found<'a> {
    fn take(&mut self, name: &'a [u8], value: &'a [u8]) -> Result<(), Violation> {
        let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
        match name.len() {
            4 if is(b"host") => self.host(value),
            6 if is(b"expect") => self.expect(value),
            7 if is(b"upgrade") => {
                self.websocket |= elements(value).any(|e| e.eq_ignore_ascii_case(b"websocket"));
                Ok(())
            }
            10 if is(b"connection") => self.connection(value),
            14 if is(b"content-length") => self.length(value),
            17 if is(b"transfer-encoding") => self.coding(value),
            14 | 17 if field::is_disguised(name) => Err(Violation::FieldDisguise),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &'a [u8]) -> Result<(), Violation> {
        if self.host.replace(value).is_some() {
            return Err(Violation::HostRepeated);
        }
        if super::authority::is_authority(value) { Ok(()) } else { Err(Violation::HostForm) }
    }

    fn expect(&mut self, value: &[u8]) -> Result<(), Violation> {
        if std::mem::replace(&mut self.expects, true) || !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Violation::Expect);
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), Violation> {
        for option in elements(value) {
            match option.len() {
                7 if option.eq_ignore_ascii_case(b"upgrade") => self.upgrades = true,
                _ if field::must_not_be_named(option) => return Err(Violation::ConnectionOption),
                _ if option.iter().all(|byte| field::is_token(*byte)) => {}
                _ => return Err(Violation::ConnectionOption),
            }
        }
        Ok(())
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Violation> {
        if self.length.replace(content_length(value)?).is_some() {
            return Err(Violation::LengthRepeated);
        }
        Ok(())
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Violation> {
        if std::mem::replace(&mut self.chunked, true) {
            return Err(Violation::CodingRepeated);
        }
        check_coding(value)
    }

    /// What all the lines together mean.
    fn conclude(&self, line: &Line<'_>) -> Result<Framing, Violation> {
        match (line.authority, self.host) {
            (Some(authority), Some(host)) if authority != host => return Err(Violation::HostDiffers),
            (Some(_), None) => return Err(Violation::HostMissing),
            (None, None) if line.version == Version::Http11 => return Err(Violation::HostMissing),
            (Some(_) | None, Some(_)) | (None, None) => {}
        }
        let framing = match (self.chunked, self.length) {
            (true, _) if line.version == Version::Http10 => return Err(Violation::CodingVersion),
            (true, Some(_)) => return Err(Violation::LengthBesideCoding),
            (true, None) => Framing::Chunked,
            (false, None | Some(0)) => Framing::Empty,
            (false, Some(length)) => Framing::Length(length),
        };
        let upgrade = self.upgrades && self.websocket;
        if upgrade && (line.method != b"GET" || line.version == Version::Http10) {
            return Err(Violation::UpgradeMethod);
        }
        if upgrade && framing != Framing::Empty {
            return Err(Violation::UpgradeBody);
        }
        Ok(framing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { size: 1024, count: 8, target: 100 };

    fn check(head: &str) -> Result<Framing, Violation> {
        check_head(head.as_bytes(), &LIMITS)
    }

    /// A head with these lines after a good request line and host.
    fn with(lines: &str) -> Result<Framing, Violation> {
        check(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
    }

    #[test]
    fn the_end_of_a_head_is_found_however_it_comes() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        let end = head.len() - 4;
        for seen in 0..=head.len() {
            let whole = end_of_head(head, seen);
            assert_eq!(whole, Some(end).filter(|_| seen < end), "{seen}");
            let part = end_of_head(&head[..seen], 0);
            assert_eq!(part, Some(end).filter(|_| seen >= end), "{seen}");
        }
        for (head, end) in [("A\n\nx", 3), ("A\r\n\nx", 4), ("A\n\r\nx", 4), ("\r\n\r\n", 4)] {
            assert_eq!(end_of_head(head.as_bytes(), 0), Some(end), "{head:?}");
        }
        assert_eq!(end_of_head(b"A\r\n\r", 0), None);
        assert_eq!(end_of_head(b"", 5), None);
    }

    #[test]
    fn one_empty_line_before_a_request_is_skipped() {
        assert_eq!(
            ["\r\nGET", "\r\n\r\nGET", "GET", "\r", "\n", ""].map(|b| skip_blank(b.as_bytes())),
            [2, 2, 0, 0, 0, 0]
        );
    }

    #[test]
    fn a_start_that_can_come_to_nothing_is_not_waited_for() {
        for good in ["", "G", "GET /", "\r", "GET / HTTP/1.1\r\nHost"] {
            assert_eq!(check_start(good.as_bytes(), &LIMITS), Ok(()), "{good:?}");
        }
        let target = format!("GET /{}", "a".repeat(170));
        let head = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(1024));
        for (bad, violation) in [
            ("\x16\x03\x01", Violation::RequestLine),
            ("\0", Violation::RequestLine),
            (" ", Violation::RequestLine),
            ("\r\n", Violation::RequestLine),
            (&target, Violation::TargetSize),
            (&head, Violation::HeadSize),
        ] {
            assert_eq!(check_start(bad.as_bytes(), &LIMITS), Err(violation), "{bad:?}");
        }
    }

    #[test]
    fn the_body_is_framed_in_one_way() {
        for (lines, framing) in [
            ("", Framing::Empty),
            ("Content-Length: 0\r\n", Framing::Empty),
            ("content-length:\t7 \r\n", Framing::Length(7)),
            ("Transfer-Encoding: Chunked\r\n", Framing::Chunked),
        ] {
            assert_eq!(with(lines), Ok(framing), "{lines}");
        }
        for (lines, violation) in [
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Violation::LengthRepeated),
            ("Content-Length: 5, 5\r\n", Violation::LengthForm),
            ("Content-Length:\r\n", Violation::LengthForm),
            ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", Violation::LengthBesideCoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Violation::CodingRepeated),
            ("Transfer-Encoding: identity\r\n", Violation::CodingForm),
            ("Transfer_Encoding: chunked\r\n", Violation::FieldDisguise),
        ] {
            assert_eq!(with(lines), Err(violation), "{lines}");
        }
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(check(old), Err(Violation::CodingVersion));
    }

    #[test]
    fn a_request_names_one_host() {
        for (head, violation) in [
            ("GET / HTTP/1.1\r\n\r\n", Violation::HostMissing),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Violation::HostForm),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Violation::HostRepeated),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Violation::HostForm),
            ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", Violation::HostDiffers),
            ("GET http://a/ HTTP/1.0\r\n\r\n", Violation::HostMissing),
        ] {
            assert_eq!(check(head), Err(violation), "{head}");
        }
        assert!(check("GET / HTTP/1.0\r\n\r\n").is_ok(), "HTTP/1.0 may leave it out");
        assert!(check("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
    }

    #[test]
    fn a_connection_option_names_what_it_may() {
        for options in ["x, CLOSE", "keep-alive", "close, keep-alive", "upgrade", ""] {
            assert!(with(&format!("Connection: {options}\r\n")).is_ok(), "{options}");
        }
        for option in
            ["host", "x, Content-Length", "transfer-encoding", "X-Forwarded-For", "a b", "\"close\""]
        {
            let violation = with(&format!("Connection: {option}\r\n"));
            assert_eq!(violation, Err(Violation::ConnectionOption), "{option}");
        }
    }

    #[test]
    fn expectations_and_upgrades_are_those_that_are_known() {
        assert_eq!(with("Expect: 100-Continue\r\nContent-Length: 1\r\n"), Ok(Framing::Length(1)));
        assert_eq!(with("Expect: 100-continue\r\n"), Ok(Framing::Empty), "there is nothing to wait with");
        for lines in ["Expect: x\r\n", "Expect:\r\n", "Expect: 100-continue\r\nExpect: 100-continue\r\n"] {
            assert_eq!(with(lines), Err(Violation::Expect), "{lines}");
        }
        let ask = "Host: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c, WebSocket\r\n";
        assert_eq!(check(&format!("GET / HTTP/1.1\r\n{ask}\r\n")), Ok(Framing::Empty));
        for (line, more, violation) in [
            ("POST / HTTP/1.1", "", Violation::UpgradeMethod),
            ("GET / HTTP/1.0", "", Violation::UpgradeMethod),
            ("GET / HTTP/1.1", "Content-Length: 5\r\n", Violation::UpgradeBody),
            ("GET / HTTP/1.1", "Transfer-Encoding: chunked\r\n", Violation::UpgradeBody),
        ] {
            assert_eq!(check(&format!("{line}\r\n{ask}{more}\r\n")), Err(violation), "{line} {more}");
        }
        let h2c = with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n");
        assert_eq!(h2c, Ok(Framing::Empty), "it is answered as if it had not asked");
    }

    #[test]
    fn lines_end_with_cr_lf_and_heads_with_an_empty_line() {
        for head in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "GET / HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nmore",
            "",
        ] {
            assert_eq!(check(head), Err(Violation::LineEnd), "{head:?}");
        }
        assert_eq!(check("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"), Err(Violation::RequestLine));
        assert_eq!(with("X: a\r\r\n"), Err(Violation::FieldValue));
        assert_eq!(with("X: a\r\n b\r\n"), Err(Violation::FieldFold));
    }

    #[test]
    fn a_head_has_its_limits() {
        assert_eq!(with(&"A: b\r\n".repeat(8)), Err(Violation::FieldCount));
        assert!(with(&"A: b\r\n".repeat(7)).is_ok());
        assert_eq!(with(&format!("A: {}\r\n", "b".repeat(1000))), Err(Violation::HeadSize));
        let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(2000));
        assert_eq!(check(&target), Err(Violation::TargetSize));
    }
}
