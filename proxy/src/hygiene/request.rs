//! What Pingora made of a request: the only look at HTTP/2, the second one at HTTP/1.1.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Version};
use pingora::http::RequestHeader;

use super::HeadLimits;
use super::authority::is_authority;
use super::field::{check_coding, content_length, is_disguised, is_value};
use super::line::{check_method, check_target};
use super::violation::Violation;

/// Checks a request after its parser.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_request(head: &RequestHeader, http2: bool) -> Result<(), Violation> {
    check_method(head.method.as_str().as_bytes())?;
    check_authority(head, http2)?;
    let mut fields = Fields::default();
    for (name, value) in &head.headers {
        fields.take(name, value, http2)?;
    }
    if fields.length && fields.coding {
        return Err(Violation::LengthBesideCoding);
    }
    if fields.coding && head.version == Version::HTTP_10 {
        return Err(Violation::CodingVersion);
    }
    Ok(())
}

/// Holds the parsed head of a request of HTTP/2 against the sizes of one (RFC 9113 section 10.5.1).
///
/// # Errors
/// The first that it exceeds.
pub fn check_sizes(head: &RequestHeader, limits: &HeadLimits) -> Result<(), Violation> {
    // What a line of HTTP/1.1 has besides its name and its value.
    const REST_OF_LINE: usize = 4;
    let line = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + REST_OF_LINE;
    let target = head.raw_path().len();
    if target > limits.target {
        return Err(Violation::TargetSize);
    }
    if head.headers.len() > limits.count {
        return Err(Violation::FieldCount);
    }
    let size = target + head.headers.iter().map(line).sum::<usize>();
    if size > limits.size { Err(Violation::HeadSize) } else { Ok(()) }
}

/// The target, and who it is asked of (RFC 9113 section 8.3.1, RFC 9112 section 3.2).
fn check_authority(head: &RequestHeader, http2: bool) -> Result<(), Violation> {
    let target = head.raw_path();
    let of_target = check_target(head.method.as_str().as_bytes(), target)?;
    if http2 && target.first() != Some(&b'/') && (head.method != Method::OPTIONS || target != b"*") {
        return Err(Violation::Target);
    }
    if head.uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(Violation::Scheme);
    }
    let host = head.headers.get(HOST).map(HeaderValue::as_bytes);
    let asked = head.uri.authority().map(|authority| authority.as_str().as_bytes()).or(of_target);
    match (asked, host) {
        (Some(asked), Some(host)) if asked != host => return Err(Violation::HostDiffers),
        (None, None) if head.version != Version::HTTP_10 => return Err(Violation::HostMissing),
        (Some(_) | None, Some(_) | None) => {}
    }
    let good = [asked, host].into_iter().flatten().all(is_authority);
    if good { Ok(()) } else { Err(Violation::HostForm) }
}

/// What has been seen among the headers.
#[derive(Default)]
struct Fields {
    host: bool,
    length: bool,
    coding: bool,
    expect: bool,
}

impl Fields {
    fn take(&mut self, name: &HeaderName, value: &HeaderValue, http2: bool) -> Result<(), Violation> {
        let bytes = value.as_bytes();
        if bytes.iter().fold(false, |bad, byte| bad | !is_value(*byte)) {
            return Err(Violation::FieldValue);
        }
        if http2 {
            connectionless(name, bytes)?;
        }
        if *name == HOST {
            once(&mut self.host, Violation::HostRepeated)
        } else if *name == CONTENT_LENGTH {
            content_length(bytes)?;
            once(&mut self.length, Violation::LengthRepeated)
        } else if *name == TRANSFER_ENCODING {
            once(&mut self.coding, Violation::CodingRepeated)?;
            check_coding(bytes)
        } else if *name == EXPECT {
            once(&mut self.expect, Violation::Expect)?;
            if bytes.eq_ignore_ascii_case(b"100-continue") { Ok(()) } else { Err(Violation::Expect) }
        } else if is_disguised(name.as_str().as_bytes()) {
            Err(Violation::FieldDisguise)
        } else {
            Ok(())
        }
    }
}

fn once(seen: &mut bool, violation: Violation) -> Result<(), Violation> {
    if std::mem::replace(seen, true) { Err(violation) } else { Ok(()) }
}

/// What HTTP/2 does not have: headers about a connection (RFC 9113 section 8.2.2), and blanks around values (8.2.1).
fn connectionless(name: &HeaderName, value: &[u8]) -> Result<(), Violation> {
    let about_connection = *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection");
    if about_connection {
        return Err(Violation::ConnectionField);
    }
    if *name == TE && value != b"trailers" {
        return Err(Violation::Te);
    }
    match value {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => Err(Violation::FieldPadding),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build(method, target.as_bytes(), None).unwrap();
        for (name, value) in headers {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    fn http2(uri: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut head = request("GET", "/", headers);
        head.set_uri(uri.parse().unwrap());
        head.set_version(Version::HTTP_2);
        head
    }

    #[test]
    fn an_ordinary_request_passes() {
        assert_eq!(check_request(&request("GET", "/a?b", &[("host", "a"), ("x", "1")]), false), Ok(()));
        assert_eq!(check_request(&request("GET", "http://a/b", &[("host", "a")]), false), Ok(()));
        assert_eq!(check_request(&request("OPTIONS", "*", &[("host", "a")]), false), Ok(()));
        let mut old = request("GET", "/", &[]);
        old.set_version(Version::HTTP_10);
        assert_eq!(check_request(&old, false), Ok(()));
        for headers in [&[][..], &[("host", "a:8"), ("te", "trailers"), ("content-length", "5")]] {
            assert_eq!(check_request(&http2("https://a:8/b", headers), true), Ok(()));
        }
    }

    #[test]
    fn what_the_parser_let_through_is_refused() {
        let host = ("host", "a");
        for (head, violation) in [
            (request("TRACE", "/", &[host]), Violation::Trace),
            (request("get", "/", &[host]), Violation::Method),
            (request("GET", "/", &[]), Violation::HostMissing),
            (request("GET", "/", &[("host", "a b")]), Violation::HostForm),
            (request("GET", "/", &[("host", "a/b")]), Violation::HostForm),
            (request("GET", "/", &[host, host]), Violation::HostRepeated),
            (request("GET", "http://b/", &[host]), Violation::HostDiffers),
            (request("GET", "/a\\b", &[host]), Violation::Target),
            (request("POST", "/", &[host, ("content-length", "5, 5")]), Violation::LengthForm),
            (
                request("POST", "/", &[host, ("content-length", "5"), ("content-length", "5")]),
                Violation::LengthRepeated,
            ),
            (request("POST", "/", &[host, ("content-length", "9223372036854775808")]), Violation::LengthForm),
            (request("POST", "/", &[host, ("transfer-encoding", "gzip, chunked")]), Violation::CodingUnknown),
            (request("POST", "/", &[host, ("content_length", "5")]), Violation::FieldDisguise),
            (request("POST", "/", &[host, ("expect", "tea")]), Violation::Expect),
        ] {
            assert_eq!(check_request(&head, false), Err(violation), "{head:?}");
        }
    }

    #[test]
    fn http2_has_rules_of_its_own() {
        for (head, violation) in [
            (http2("https://a/", &[("host", "b")]), Violation::HostDiffers),
            (http2("https://u@a/", &[]), Violation::HostForm),
            (http2("ftp://a/", &[]), Violation::Scheme),
            (http2("https://a/", &[("connection", "close")]), Violation::ConnectionField),
            (http2("https://a/", &[("keep-alive", "1")]), Violation::ConnectionField),
            (http2("https://a/", &[("proxy-connection", "close")]), Violation::ConnectionField),
            (http2("https://a/", &[("upgrade", "websocket")]), Violation::ConnectionField),
            (http2("https://a/", &[("transfer-encoding", "chunked")]), Violation::ConnectionField),
            (http2("https://a/", &[("te", "gzip")]), Violation::Te),
            (http2("https://a/", &[("x", " a")]), Violation::FieldPadding),
            (http2("https://a/", &[("content-length", "+5")]), Violation::LengthForm),
            (request("GET", "http://a/", &[("host", "a")]), Violation::Target),
        ] {
            assert_eq!(check_request(&head, true), Err(violation), "{head:?}");
        }
    }
}
