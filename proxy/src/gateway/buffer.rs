//! Bodies that are taken in whole before an upstream is asked: a slow client keeps no upstream waiting, and what failed at
//! one may be sent to another.
//!
//! Pingora sends again, at the beginning of each try, what it kept of a body: its end here, for that is all that is known to
//! fit into what it keeps. In its place goes the whole. Only a body whose length is announced is taken in, as long as
//! there is room; any other is passed on as it comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header;
use pingora::Result;
use pingora::proxy::Session;
use switcher_config::wire::Kind;

use crate::ledger::Stage;
use crate::metrics::Limit;

use super::context::Context;
use super::forward::bound_body;

/// How much Pingora keeps of a body for another try, in bytes. It reads no more than that at once.
const TAIL: u64 = 64 * 1024;

/// How often it is looked whether a body was given up that does not come.
const LOOK: Duration = Duration::from_millis(100);

/// How much memory there is for bodies where nothing limits the process's.
const UNLIMITED: u64 = 256 << 20;

/// Memory for bodies: an eighth of what the process may have.
#[derive(Debug)]
pub struct Budget {
    most: u64,
    used: AtomicU64,
}

impl Budget {
    /// An eighth of so many bytes.
    #[must_use]
    pub fn within(memory: Option<u64>) -> Self {
        Self { most: memory.map_or(UNLIMITED, |limit| limit / 8), used: AtomicU64::new(0) }
    }

    /// Room for so many bytes, until what is returned is dropped.
    #[must_use]
    pub fn take(self: &Arc<Self>, bytes: u64) -> Option<Room> {
        let next = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.most);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        Some(Room { budget: Arc::clone(self), bytes })
    }
}

/// Room for a body.
#[derive(Debug)]
pub struct Room {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Room {
    /// How many bytes there is room for.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it room for so many bytes. False, and nothing else is changed, when there is not so much.
    #[must_use]
    pub fn grow(&mut self, bytes: u64) -> bool {
        let Some(mut more) = self.budget.take(bytes.saturating_sub(self.bytes)) else { return false };
        self.bytes += std::mem::take(&mut more.bytes);
        true
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body that was taken in whole.
#[derive(Debug)]
pub(super) struct Kept {
    whole: Bytes,
    /// Whether this try has had it.
    pub(super) is_given: bool,
    _room: Room,
}

/// Takes a body in, if it is one of those.
///
/// # Errors
/// When its client leaves, or sends too slowly.
pub(super) async fn take_in(session: &mut Session, ctx: &mut Context) -> Result<()> {
    let Some(length) = wanted(session, ctx) else { return Ok(()) };
    let Some(room) = ctx.shared.kept.take(length + TAIL) else {
        ctx.shared.metrics.limits().acted(Limit::Buffer);
        return Ok(());
    };
    let expects = session.req_header().headers.contains_key(header::EXPECT);
    let client = session.as_downstream_mut();
    if expects {
        client.write_continue_response().await?;
    }
    if let Some(exchange) = ctx.exchange() {
        exchange.set_stage(Stage::Sending);
    }
    // Its memory is the kernel's until something is written there.
    let mut whole = BytesMut::with_capacity(usize::try_from(length).unwrap_or_default());
    while !client.is_body_done() {
        // From here on it fits, and something is still to come.
        if length.saturating_sub(whole.len() as u64) <= TAIL {
            client.enable_retry_buffering();
        }
        match tokio::time::timeout(LOOK, client.read_request_body()).await {
            Ok(Ok(Some(piece))) => {
                ctx.request_body(piece.len(), false);
                whole.extend_from_slice(&piece);
            }
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(error.into_down()),
            Err(_) => {}
        }
        bound_body(ctx)?;
    }
    if let Some(exchange) = ctx.exchange() {
        exchange.body_ended();
        exchange.set_stage(Stage::Opening);
    }
    ctx.kept = Some(Box::new(Kept { whole: whole.freeze(), is_given: false, _room: room }));
    Ok(())
}

/// The length of a body that is to be taken in.
fn wanted(session: &Session, ctx: &Context) -> Option<u64> {
    let limit = ctx.chain.as_ref()?.buffer?;
    let headers = &session.req_header().headers;
    let length: u64 = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    // Over HTTP/2 an interim answer would be the whole head to Pingora.
    let waits = session.is_http2() && headers.contains_key(header::EXPECT);
    let streams = ctx.exchange().is_some_and(|exchange| exchange.kind() == Kind::Streams);
    ((1..=limit.0).contains(&length) && !waits && !streams).then_some(length)
}

/// Puts the whole in the place of the end, once each try.
pub(super) fn give(body: &mut Option<Bytes>, ctx: &mut Context) {
    if let Some(kept) = ctx.kept.as_mut().filter(|kept| !kept.is_given) {
        kept.is_given = true;
        *body = Some(kept.whole.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_bytes_and_what_is_dropped_makes_room() {
        let budget = Arc::new(Budget::within(Some(800)));
        let one = budget.take(60).expect("room");
        assert!(budget.take(41).is_none() && budget.take(u64::MAX).is_none());
        let two = budget.take(40).expect("room");
        assert!(budget.take(1).is_none());
        let mut one = one;
        assert!(!one.grow(61) && one.grow(60) && one.grow(1));
        assert_eq!((one.bytes(), budget.used.load(Ordering::Relaxed)), (60, 100));
        drop(one);
        assert!(budget.take(60).is_some());
        let mut two = two;
        assert!(two.grow(100) && !two.grow(101));
        drop(two);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
