//! Legal exchanges, odd ones among them: all must work.

use crate::hygiene::case::{Allowed, Case, case, chunked, get, line, post};

const SERVED: Allowed = Allowed::Served;

/// Those that any relay manages.
pub(crate) fn plain() -> Vec<Case> {
    vec![
        get("a GET", "", SERVED),
        get("a GET with a value", "X: y\r\n", SERVED),
        post("a POST", "Content-Length: 5\r\n", "12345", SERVED),
        post("a POST of nothing", "Content-Length: 0\r\n", "", SERVED),
        case("three requests in one", "GET /1 HTTP/1.1\r\nHost: shop.test\r\n\r\n".repeat(3), SERVED),
        post(
            "a body that looks like a request",
            "Content-Length: 40\r\n",
            "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
            SERVED,
        ),
    ]
}

pub(crate) fn all() -> Vec<Case> {
    [plain(), lines(), fields(), bodies(), connections()].concat()
}

fn lines() -> Vec<Case> {
    let long = format!("GET /{} HTTP/1.1", "a".repeat(4000));
    vec![
        case("an empty line first", "\r\nGET /first HTTP/1.1\r\nHost: shop.test\r\n\r\n", SERVED),
        line("an absolute target", "GET http://shop.test/absolute?a=b HTTP/1.1", SERVED),
        line("an absolute target without a path", "GET http://shop.test HTTP/1.1", SERVED),
        line("OPTIONS for all", "OPTIONS * HTTP/1.1", SERVED),
        line("OPTIONS for a path", "OPTIONS /path HTTP/1.1", SERVED),
        line("two slashes", "GET //a//b HTTP/1.1", SERVED),
        line("percents", "GET /%00%2e%2E/%zz?%20 HTTP/1.1", SERVED),
        line("odd bytes in a query", "GET /a^{b}|c?d={e:[1|2]}^`\\ HTTP/1.1", SERVED),
        line("PATCH", "PATCH /patch HTTP/1.1", SERVED),
        line("PROPFIND", "PROPFIND /dav HTTP/1.1", SERVED),
        line("M-SEARCH", "M-SEARCH /search HTTP/1.1", SERVED),
        line("a long target", long, SERVED),
    ]
}

fn fields() -> Vec<Case> {
    vec![
        get("no blank behind a colon", "X:y\r\n", SERVED),
        get("many blanks around a value", "X: \t  y \t \r\n", SERVED),
        get("an empty value", "X:\r\nY: \r\n", SERVED),
        get("a value that is not ASCII", b"X: \xe4\xff\r\n", SERVED),
        get("a value in UTF-8", "X: \u{1f980}\r\n", SERVED),
        get("a name of odd bytes", "!#$%&'*+-.^_`|~: y\r\n", SERVED),
        get("a name with underscores", "user_id: 1\r\n", SERVED),
        get("a header twice", "X: 1\r\nX: 2\r\n", SERVED),
        get("many headers", "X-A: b\r\n".repeat(60), SERVED),
        get("large headers", format!("X: {}\r\n", "a".repeat(8000)), SERVED),
        case("a host in upper case", "GET /upper HTTP/1.1\r\nHOST: Shop.Test\r\n\r\n", SERVED),
        case("a host with a port", "GET /port HTTP/1.1\r\nHost: shop.test:8080\r\n\r\n", SERVED),
        case("a host with a dot", "GET /dot HTTP/1.1\r\nHost: shop.test.\r\n\r\n", SERVED),
        case("a host last", "GET /last HTTP/1.1\r\nX: y\r\nHost: shop.test\r\n\r\n", SERVED),
    ]
}

fn bodies() -> Vec<Case> {
    let large = vec![b'x'; 300_000];
    let big_chunk = [b"493e0\r\n", large.as_slice(), b"\r\n0\r\n\r\n"].concat();
    vec![
        post("a length with zeros before it", "Content-Length: 005\r\n", "12345", SERVED),
        post("a large body", "Content-Length: 300000\r\n", &large, SERVED),
        case("a GET with a body", "GET /body HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\n12345", SERVED),
        case("a DELETE with a body", "DELETE /body HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\n12345", SERVED),
        chunked("chunks", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", SERVED),
        chunked("no chunk but the last", "0\r\n\r\n", SERVED),
        chunked("a last chunk of many zeros", "5\r\nhello\r\n000\r\n\r\n", SERVED),
        chunked("a size in upper case with zeros", "00A\r\n0123456789\r\n0\r\n\r\n", SERVED),
        chunked("an extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n", SERVED),
        chunked("an extension in quotes", "5;a=\"b c;d\"\r\nhello\r\n0\r\n\r\n", SERVED),
        chunked("trailers", "5\r\nhello\r\n0\r\nX-Sum: abc\r\nX-More:\r\n\r\n", SERVED),
        chunked("many small chunks", format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(2000)), SERVED),
        chunked("a large chunk", big_chunk, SERVED),
        chunked("chunks of line ends", "4\r\n\r\n\r\n\r\n0\r\n\r\n", SERVED),
        post("Chunked", "Transfer-Encoding: Chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", SERVED),
        post("100-continue, with the body at once", "Expect: 100-continue\r\nContent-Length: 5\r\n", "12345", SERVED),
        post("100-Continue with chunks", "Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", SERVED),
        case("uploads in a row", "POST /up HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".repeat(5), SERVED),
    ]
}

fn connections() -> Vec<Case> {
    vec![
        case("HEAD", "HEAD /head HTTP/1.1\r\nHost: shop.test\r\n\r\n", SERVED),
        line("204", "GET /204 HTTP/1.1", SERVED),
        line("304", "GET /304 HTTP/1.1", SERVED),
        line("103", "GET /103 HTTP/1.1", SERVED),
        line("an answer in chunks", "GET /chunked HTTP/1.1", SERVED),
        case("HTTP/1.0", "GET /old HTTP/1.0\r\nHost: shop.test\r\n\r\n", SERVED),
        case(
            "HTTP/1.0, kept alive",
            "GET /old HTTP/1.0\r\nHost: shop.test\r\nConnection: keep-alive\r\n\r\n",
            SERVED,
        ),
        case(
            "HTTP/1.0 with a body",
            "POST /old HTTP/1.0\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\n12345",
            SERVED,
        ),
        case(
            "100-continue over HTTP/1.0",
            "POST /old HTTP/1.0\r\nHost: shop.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n12345",
            SERVED,
        ),
        case("103 over HTTP/1.0", "GET /103 HTTP/1.0\r\nHost: shop.test\r\n\r\n", SERVED),
        get("keep-alive", "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", SERVED),
        get("TE", "Connection: TE\r\nTE: trailers\r\n", SERVED),
        get("options of its own", "Connection: X-Hop, x-hop\r\nX-Hop: 1\r\n", SERVED),
        get("close", "Connection: close\r\n", SERVED),
        get("close among others", "Connection: x, close\r\n", SERVED),
        case(
            "an upload, then a request",
            "POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\n12345\r\nGET /b HTTP/1.1\r\nHost: shop.test\r\n\r\n",
            SERVED,
        ),
    ]
}
