//! Hop-by-hop headers: what must not travel from one connection to the next (RFC 9110 section 7.6.1).
//!
//! Invariant: no `Connection` header can take away an end-to-end header, nor one that the proxy adds.
//! `Transfer-Encoding` is not listed: whoever frames the body writes it. Called by the gateway on every request
//! and answer, before it adds its own headers; the common case allocates nothing.

use http::header::{
    CONNECTION, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, StatusCode};

/// What to do with the hop-by-hop headers of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HopByHop {
    fixed: &'static [HeaderName],
    named: Vec<HeaderName>,
    /// The message asks for or agrees to a WebSocket: after the removals say `Connection: Upgrade` and
    /// `Upgrade: websocket` again.
    pub websocket: bool,
    /// The client understands trailers: after the removals say `TE: trailers` again (gRPC needs it).
    pub te_trailers: bool,
}

impl HopByHop {
    /// What to do with a request's headers.
    #[must_use]
    pub fn of_request(headers: &HeaderMap) -> Self {
        Self {
            fixed: &REQUEST,
            named: named_by_connection(headers),
            websocket: is_websocket(headers),
            te_trailers: has_token(headers, &TE, "trailers"),
        }
    }

    /// What to do with an answer's headers.
    #[must_use]
    pub fn of_response(status: StatusCode, headers: &HeaderMap) -> Self {
        Self {
            fixed: &RESPONSE,
            named: named_by_connection(headers),
            websocket: status == StatusCode::SWITCHING_PROTOCOLS && is_websocket(headers),
            te_trailers: false,
        }
    }

    /// The headers to remove; most of them will not be there.
    pub fn removals(&self) -> impl Iterator<Item = &HeaderName> {
        self.fixed.iter().chain(&self.named)
    }
}

/// Whether these headers ask for a WebSocket, or agree to one: `Connection: Upgrade` and `Upgrade: websocket`.
///
/// No other upgrade is passed on: `Upgrade: h2c` would smuggle requests past the proxy.
#[must_use]
pub fn is_websocket(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
        && has_token(headers, &CONNECTION, "upgrade")
        && has_token(headers, &UPGRADE, "websocket")
}

static REQUEST: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    PROXY_AUTHORIZATION,
    TE,
    UPGRADE,
];

static RESPONSE: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    UPGRADE,
];

/// What else the `Connection` header names, as far as it may.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut fields = headers.get_all(CONNECTION).iter();
    let usual = |field: &HeaderValue| matches!(field.as_bytes(), b"keep-alive" | b"close");
    if fields.all(usual) {
        return Vec::new();
    }
    tokens(headers, &CONNECTION)
        .filter(|token| !token.eq_ignore_ascii_case("close") && !token.eq_ignore_ascii_case("keep-alive"))
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| headers.contains_key(name) && !is_end_to_end(name))
        .filter(|name| !REQUEST.contains(name))
        .collect()
}

/// Headers whose removal would change what a message means, whom it concerns, or what the proxy says about it.
/// RFC 9110 section 7.6.1 forbids naming such a header in `Connection`; a client that does it anyway is up to no good.
fn is_end_to_end(name: &HeaderName) -> bool {
    const NAMES: [&str; 30] = [
        "age",
        "allow",
        "authorization",
        "cache-control",
        "cookie",
        "date",
        "etag",
        "expect",
        "expires",
        "forwarded",
        "from",
        "host",
        "last-modified",
        "location",
        "origin",
        "pragma",
        "range",
        "referer",
        "retry-after",
        "server",
        "set-cookie",
        "strict-transport-security",
        "trailer",
        "user-agent",
        "vary",
        "via",
        "www-authenticate",
        "grpc-timeout",
        "x-real-ip",
        "x-request-id",
    ];
    const PREFIXES: [&str; 8] =
        ["accept", "access-control-", "cf-", "content-", "if-", "sec-", "x-forwarded-", "x-switcher-"];
    *name == TRANSFER_ENCODING
        || NAMES.contains(&name.as_str())
        || PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        map
    }

    /// The names that are left of a request after the removals, in alphabetical order.
    fn left(lines: &[(&str, &str)]) -> Vec<String> {
        let mut map = headers(lines);
        for name in HopByHop::of_request(&map).removals() {
            map.remove(name);
        }
        let mut names: Vec<_> = map.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn connection_headers_stay_on_their_connection() {
        assert_eq!(
            left(&[
                ("host", "a"),
                ("connection", "keep-alive, Hop-Thing, X-Hop"),
                ("keep-alive", "timeout=5"),
                ("hop-thing", "1"),
                ("x-hop", "1"),
                ("x-end", "1"),
                ("end-thing", "1"),
                ("te", "gzip"),
                ("proxy-connection", "keep-alive"),
                ("proxy-authorization", "Basic eA=="),
            ]),
            ["end-thing", "host", "x-end"]
        );
    }

    #[test]
    fn connection_cannot_take_away_what_is_end_to_end() {
        for name in [
            "host",
            "content-length",
            "transfer-encoding",
            "authorization",
            "cookie",
            "x-forwarded-for",
            "x-real-ip",
            "x-request-id",
            "x-switcher-bypass",
            "forwarded",
            "range",
            "if-match",
            "sec-websocket-key",
            "cf-connecting-ip",
        ] {
            assert_eq!(left(&[("connection", name), (name, "1")]), [name]);
            assert_eq!(
                left(&[("connection", "close"), ("connection", &name.to_uppercase()), (name, "1")]),
                [name]
            );
        }
    }

    #[test]
    fn only_a_websocket_is_an_upgrade() {
        let ask = |connection, upgrade| {
            HopByHop::of_request(&headers(&[("connection", connection), ("upgrade", upgrade)])).websocket
        };
        assert!(ask("Upgrade", "websocket"));
        assert!(ask("keep-alive, upgrade", "WebSocket"));
        assert!(!ask("Upgrade, HTTP2-Settings", "h2c"), "h2c would smuggle requests past the proxy");
        assert!(!ask("keep-alive", "websocket"));
        assert_eq!(
            left(&[
                ("connection", "Upgrade, HTTP2-Settings"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAMA")
            ]),
            Vec::<String>::new()
        );
        let agreed = headers(&[("connection", "upgrade"), ("upgrade", "websocket")]);
        assert!(HopByHop::of_response(StatusCode::SWITCHING_PROTOCOLS, &agreed).websocket);
        assert!(!HopByHop::of_response(StatusCode::OK, &agreed).websocket);
    }

    #[test]
    fn trailers_are_the_only_te_that_is_kept() {
        assert!(HopByHop::of_request(&headers(&[("te", "trailers")])).te_trailers);
        assert!(HopByHop::of_request(&headers(&[("te", "gzip, Trailers")])).te_trailers);
        assert!(!HopByHop::of_request(&headers(&[("te", "gzip")])).te_trailers);
    }

    #[test]
    fn an_answer_loses_its_connection_headers_too() {
        let answer = headers(&[("connection", "close, x"), ("keep-alive", "1"), ("content-length", "1")]);
        let hop = HopByHop::of_response(StatusCode::OK, &answer);
        let removed: Vec<_> = hop.removals().map(HeaderName::as_str).collect();
        assert!(removed.contains(&"connection") && removed.contains(&"keep-alive"));
        assert!(!removed.contains(&"content-length"));
    }

    #[test]
    fn an_ordinary_request_allocates_nothing() {
        let hop = HopByHop::of_request(&headers(&[("host", "a"), ("connection", "keep-alive")]));
        assert_eq!(hop.named.capacity(), 0);
    }
}
