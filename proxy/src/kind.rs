//! The kind of an exchange, which decides how long a drain waits for it and how it is closed.
//!
//! It is guessed from the request's head and settled by the answer's head. Called by the gateway at both moments.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use switcher_config::wire::Kind;

use crate::hop::is_websocket;

/// A request body longer than this, in bytes, is an upload.
const UPLOAD: u64 = 64 * 1024;

/// What the request's head says. `body_follows` is whether the request has a body at all; `speaks_grpc`, whether both
/// sides speak HTTP/2: without that a media type of gRPC is but a client's word, and would free its body of every limit.
///
/// A WebSocket's request is an ordinary one until the upstream agrees to it.
#[must_use]
pub fn at_request(headers: &HeaderMap, body_follows: bool, speaks_grpc: impl FnOnce() -> bool) -> Kind {
    if media_type(headers).is_some_and(is_grpc) && speaks_grpc() {
        return Kind::Streams;
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.trim().parse::<u64>().ok());
    match length {
        None if body_follows => Kind::Uploads,
        Some(length) if body_follows && length > UPLOAD => Kind::Uploads,
        None | Some(_) => Kind::Requests,
    }
}

/// What the answer's head makes of an exchange that began as `requested`.
#[must_use]
pub fn at_response(requested: Kind, status: StatusCode, headers: &HeaderMap) -> Kind {
    if status == StatusCode::SWITCHING_PROTOCOLS && is_websocket(headers) {
        return Kind::Websockets;
    }
    if media_type(headers).is_some_and(is_endless) { Kind::Streams } else { requested }
}

/// The media type without its parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split_once(';').map_or(value, |(media, _)| media).trim())
}

/// `application/grpc`, `application/grpc+proto` and the like; `application/grpc-web` is ordinary HTTP, but may be as endless.
fn is_grpc(media: &str) -> bool {
    const PREFIX: &str = "application/grpc";
    media.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
        && media[PREFIX.len()..].chars().next().is_none_or(|next| next == '+' || next == '-')
}

fn is_endless(media: &str) -> bool {
    const ENDLESS: [&str; 4] =
        ["text/event-stream", "application/x-ndjson", "application/stream+json", "multipart/x-mixed-replace"];
    is_grpc(media) || ENDLESS.iter().any(|known| media.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_request_is_an_upload_when_its_body_is_long_or_of_unknown_length() {
        for (lines, body_follows, kind) in [
            (headers(&[]), false, Kind::Requests),
            (headers(&[]), true, Kind::Uploads),
            (headers(&[("transfer-encoding", "chunked")]), true, Kind::Uploads),
            (headers(&[("content-length", "65536")]), true, Kind::Requests),
            (headers(&[("content-length", "65537")]), true, Kind::Uploads),
            (headers(&[("content-length", "0")]), false, Kind::Requests),
            (headers(&[("content-length", "many")]), true, Kind::Uploads),
            (headers(&[("content-type", "application/grpc+proto")]), true, Kind::Streams),
            (headers(&[("content-type", "Application/gRPC")]), true, Kind::Streams),
            (headers(&[("content-type", "application/grpcish")]), true, Kind::Uploads),
            (headers(&[("connection", "upgrade"), ("upgrade", "websocket")]), false, Kind::Requests),
        ] {
            assert_eq!(at_request(&lines, body_follows, || true), kind, "{lines:?}");
        }
    }

    #[test]
    fn grpc_is_what_it_says_only_where_both_sides_can_speak_it() {
        let grpc = headers(&[("content-type", "application/grpc"), ("content-length", "9")]);
        assert_eq!(at_request(&grpc, true, || false), Kind::Requests);
        assert_eq!(at_request(&grpc, true, || true), Kind::Streams);
    }

    #[test]
    fn the_answer_settles_the_kind() {
        let switching = headers(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
        let ok = StatusCode::OK;
        for (requested, status, lines, kind) in [
            (Kind::Requests, StatusCode::SWITCHING_PROTOCOLS, switching.clone(), Kind::Websockets),
            (Kind::Requests, ok, switching, Kind::Requests),
            (
                Kind::Requests,
                ok,
                headers(&[("content-type", "text/event-stream; charset=utf-8")]),
                Kind::Streams,
            ),
            (Kind::Requests, ok, headers(&[("content-type", "application/x-ndjson")]), Kind::Streams),
            (Kind::Requests, ok, headers(&[("content-type", "application/stream+json")]), Kind::Streams),
            (
                Kind::Requests,
                ok,
                headers(&[("content-type", "multipart/x-mixed-replace;b=1")]),
                Kind::Streams,
            ),
            (Kind::Requests, ok, headers(&[("content-type", "text/html")]), Kind::Requests),
            (Kind::Uploads, ok, headers(&[("content-type", "text/html")]), Kind::Uploads),
            (Kind::Uploads, ok, headers(&[("content-type", "text/event-stream")]), Kind::Streams),
            (Kind::Streams, ok, headers(&[]), Kind::Streams),
        ] {
            assert_eq!(at_response(requested, status, &lines), kind, "{requested:?} {lines:?}");
        }
    }
}
