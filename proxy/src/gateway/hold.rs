//! Answers whose bodies are taken in whole before their clients are sent any of them: a slow client keeps no upstream
//! waiting.
//!
//! Pingora reads an upstream no further while a piece waits for its client. So there is none until the end, and then
//! there is one. The head goes on at once. What grows beyond its bound, or finds no room, is passed on from there as it comes.
//! Called by the hooks of the gateway, after everything that changes a body.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderMap};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora_cache::CachePhase;
use switcher_config::wire::Kind;

use crate::edge::patience;
use crate::metrics::Limit;
use crate::middleware::has_body;

use super::buffer::Room;
use super::context::Context;
use super::forward;

/// By what an upstream says that its answer is not to be taken in, as nginx knows it.
const ACCEL_BUFFERING: &str = "x-accel-buffering";

/// How fast a client takes, in bytes a second, that is given time where the settings ask no speed of it.
const SLOWEST: u64 = 1024;

/// An answer's body that is taken in.
#[derive(Debug)]
pub(super) enum Held {
    /// It is still coming.
    Coming(Coming),
    /// What came was handed on, and its client takes it.
    Handed(#[allow(dead_code, reason = "it is room until it is dropped")] Room),
}

/// What came so far.
#[derive(Debug)]
pub(super) struct Coming {
    bytes: Vec<u8>,
    most: u64,
    room: Room,
}

impl Coming {
    /// Takes a piece in, if it fits.
    fn add(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let held = self.bytes.len() as u64;
        let needed = held + piece.len() as u64;
        if needed > self.most {
            return Err(Refused::TooLarge);
        }
        if needed > self.room.bytes() {
            // Twice as much each time, so that little is copied.
            let next = needed.max(self.room.bytes() * 2).min(self.most);
            if !self.room.grow(next) {
                return Err(Refused::NoRoom);
            }
            self.bytes.reserve_exact(usize::try_from(next - held).unwrap_or_default());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

/// Why a piece is not taken in.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    TooLarge,
    NoRoom,
}

/// Begins to take an answer in, if it is one of those. Its head is dressed.
pub(super) fn head(session: &Session, answer: &mut ResponseHeader, ctx: &mut Context) {
    let Some(most) = ctx.chain.as_ref().and_then(|chain| chain.hold) else { return };
    ctx.held = None;
    let may = may(session, answer, ctx);
    // It was said to the proxy alone.
    answer.remove_header(ACCEL_BUFFERING);
    if !may {
        return;
    }
    let length = length(&answer.headers);
    if length.is_some_and(|length| length > most.0) {
        return;
    }
    let expected = length.unwrap_or_default();
    match ctx.shared.kept.take(expected) {
        Some(room) => {
            // Its memory is the kernel's until something is written there.
            let bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or_default());
            ctx.held = Some(Box::new(Held::Coming(Coming { bytes, most: most.0, room })));
        }
        None => ctx.shared.metrics.limits().acted(Limit::Buffer),
    }
}

/// Whether it is an answer with an end, whose body nobody waits for piece by piece and no memory holds already. What
/// announces trailers is passed on, for they would get lost (see [`trailers`]).
fn may(session: &Session, answer: &ResponseHeader, ctx: &Context) -> bool {
    let kind = ctx.exchange().map(|exchange| exchange.kind());
    let ends = matches!(kind, Some(Kind::Requests | Kind::Uploads));
    let wanted =
        answer.headers.get(ACCEL_BUFFERING).is_none_or(|said| !said.as_bytes().eq_ignore_ascii_case(b"no"));
    let cached =
        matches!(session.cache.phase(), CachePhase::Hit | CachePhase::Stale | CachePhase::StaleUpdating);
    let bodyless = session.req_header().method == Method::HEAD
        || !has_body(answer.status)
        || answer.status.is_informational();
    ends && wanted && !cached && !bodyless && !answer.headers.contains_key(header::TRAILER)
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A piece of the answer's body, or its end: nothing while it is taken in, and then all of it.
pub(super) fn body(body: &mut Option<Bytes>, end: bool, ctx: &mut Context) {
    let Some(held) = ctx.held.take() else { return };
    // What was handed on before this piece has been taken, or all but taken: its room is given back.
    let Held::Coming(mut coming) = *held else { return };
    let piece = body.take().unwrap_or_default();
    match coming.add(&piece) {
        Ok(()) if !end => {
            ctx.held = Some(Box::new(Held::Coming(coming)));
            return;
        }
        Ok(()) => {}
        Err(refused) => {
            if refused == Refused::NoRoom {
                ctx.shared.metrics.limits().acted(Limit::Buffer);
            }
            coming.bytes.extend_from_slice(&piece);
        }
    }
    *body = (!coming.bytes.is_empty()).then(|| coming.bytes.into());
    ctx.held = Some(Box::new(Held::Handed(coming.room)));
}

/// What trailers end: the body goes out in their place, as pingora-proxy 0.9.1 has no place behind it for them. `rest` is
/// what was left in a compressor.
pub(super) fn trailers(rest: Option<Bytes>, ctx: &mut Context) -> Option<Bytes> {
    if !matches!(ctx.held.as_deref(), Some(Held::Coming(_))) {
        return rest;
    }
    let mut last = rest;
    body(&mut last, true, ctx);
    forward::answer_body(&mut last, true, ctx);
    wait_for_client(last.as_ref().map_or(0, Bytes::len), ctx);
    last
}

/// Gives a client time for all that was handed on at once: meanwhile no piece goes by that would tell that something moves.
pub(super) fn wait_for_client(bytes: usize, ctx: &Context) {
    if !matches!(ctx.held.as_deref(), Some(Held::Handed(_))) {
        return;
    }
    let pace = ctx.shared.rules.load().limits.pace;
    let asked = patience::for_piece(pace, bytes);
    let time = asked.unwrap_or_else(|| Duration::from_secs(bytes as u64 / SLOWEST));
    if let Some(exchange) = ctx.exchange() {
        exchange.touch_ahead(time);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::buffer::Budget;
    use super::*;

    #[test]
    fn what_fits_is_taken_in_and_what_is_refused_changes_nothing() {
        let budget = Arc::new(Budget::within(Some(8 * 100)));
        let room = budget.take(0).expect("room");
        let mut coming = Coming { bytes: Vec::new(), most: 90, room };
        assert_eq!(coming.add(&[1; 60]), Ok(()));
        assert_eq!(coming.add(&[2; 31]), Err(Refused::TooLarge));
        let other = budget.take(20).expect("room");
        assert_eq!(coming.add(&[2; 30]), Err(Refused::NoRoom));
        assert_eq!((coming.bytes.len(), coming.room.bytes()), (60, 60));
        drop(other);
        assert_eq!(coming.add(&[2; 30]), Ok(()));
        assert_eq!((coming.bytes.len(), coming.bytes.capacity(), coming.room.bytes()), (90, 90, 90));
    }
}
