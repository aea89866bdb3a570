//! Answers that are taken in as fast as the application sends them: a client that takes one slowly keeps no upstream waiting.
//!
//! Invariant: what a client gets is the same bytes in the same order, only later. An application's last piece frees its place
//! at the upstream; the client's place in the drain stays taken until it has all. Memory is counted piece by piece, and kept
//! counted until the request is over, for what was handed on waits for the client then. Where there is none, or the answer is
//! larger than what is kept, it flows on as it comes.

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName};
use pingora::http::ResponseHeader;

use crate::metrics::Limit;

use super::buffer::Room;
use super::context::Context;

/// By which applications say for an answer that it is not to be kept, as nginx has it.
static ACCEL: HeaderName = HeaderName::from_static("x-accel-buffering");

/// An answer that is being taken in, and its memory until the request is over.
#[derive(Debug)]
pub(super) struct Held {
    most: u64,
    pieces: Vec<Bytes>,
    room: Room,
    flows: bool,
}

/// Begins to take in an application's answer, whose head is dressed; where that is wanted, and the answer has an end to wait for.
pub(super) fn head(answer: &mut ResponseHeader, ctx: &mut Context) {
    let Some(most) = ctx.chain.as_ref().and_then(|chain| chain.hold) else { return };
    // What is held in the cache needs nobody.
    if ctx.connected.is_none() || answer.status.is_informational() {
        return;
    }
    let as_it_comes =
        answer.remove_header(&ACCEL).is_some_and(|word| word.as_bytes().eq_ignore_ascii_case(b"no"));
    let length = answer
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    // Trailers have no place behind what was kept.
    let trails = answer.headers.contains_key(header::TRAILER);
    if as_it_comes || trails || ctx.event_stream || ctx.grpc || length.is_some_and(|length| length > most) {
        return;
    }
    ctx.held =
        ctx.shared.kept.take(0).map(|room| Box::new(Held { most, pieces: Vec::new(), room, flows: false }));
}

/// A piece of the answer's body, or its end.
pub(super) fn body(body: &mut Option<Bytes>, end: bool, ctx: &mut Context) {
    let limits = ctx.shared.metrics.limits();
    let Some(held) = ctx.held.as_mut().filter(|held| !held.flows) else { return };
    let piece = body.take().unwrap_or_default();
    let has_room = held.room.grow(piece.len() as u64);
    if !has_room {
        limits.acted(Limit::Buffer);
    }
    held.pieces.push(piece);
    if end || !has_room || held.room.bytes() > held.most {
        *body = Some(held.give()).filter(|whole| !whole.is_empty());
    }
}

/// What is kept, and the rest of what was compressed, when trailers end the body.
pub(super) fn trailers(rest: Option<Bytes>, ctx: &mut Context) -> Option<Bytes> {
    let Some(held) = ctx.held.as_mut().filter(|held| !held.flows) else { return rest };
    held.pieces.extend(rest);
    Some(held.give()).filter(|whole| !whole.is_empty())
}

impl Held {
    /// Everything so far; what follows flows.
    fn give(&mut self) -> Bytes {
        self.flows = true;
        let mut pieces = std::mem::take(&mut self.pieces);
        if pieces.len() == 1 {
            return pieces.pop().unwrap_or_default();
        }
        let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
        // One after the other goes as it is copied, so that there is never twice as much.
        for piece in pieces {
            whole.extend_from_slice(&piece);
        }
        whole.freeze()
    }
}
