//! HTTP/1.1 on one connection: the loop around Pingora that reads each head itself.
//!
//! Between two requests the connection waits here, where it costs no more than its socket: Pingora's session, its
//! buffers and its future exist only while a request is served. A head is read within its size and its time, held
//! against the rules of [`crate::hygiene`], and only then handed to Pingora, which parses the same bytes. What
//! breaks the rules is answered here and never seen by anything behind.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use futures::FutureExt as _;
use futures::future::{AbortHandle, Abortable, FusedFuture};
use pingora::apps::HttpServerApp as _;
use pingora::protocols::http::ServerSession;
use pingora_timeout::timeout;
use tokio::io::AsyncWriteExt as _;

use crate::answer::Reason;
use crate::connection::{Facts, REQUEST, Request};
use crate::gateway::refuse;
use crate::hygiene::{self, Framing, HeadLimits};
use crate::limits::Limits;
use crate::metrics::Limit;

use super::crowd::SETTLED;
use super::farewell::LAST_WORD;
use super::stream::Stream;
use super::{Edge, H2_PREFACE, HALF_SENT};

/// How long the rest of a body is read that belongs to a request which was answered already.
const DRAIN: Duration = Duration::from_secs(2);

/// Resolves when connections that wait for their next request are to end.
type Over<'a> = Pin<&'a mut (dyn FusedFuture<Output = ()> + Send)>;

/// How the wait for a head ended.
enum Next {
    /// A request that keeps the rules.
    Request(BytesMut, Framing),
    /// The connection begins with HTTP/2's preface.
    Http2,
    /// The connection is over: closed by the client, idle for too long, or the process ends.
    Over,
    /// It is to be answered and closed.
    Refused(Reason),
}

/// Serves a connection to its end. The stream comes back when it turns out to speak HTTP/2 in clear text.
pub(super) async fn serve(mut stream: Box<Stream>, edge: &Edge, facts: &Arc<Facts>) -> Option<Box<Stream>> {
    let mut served = 0_u64;
    let mut leaving = edge.idle_over.clone();
    // Waited for once in the connection's life, not once a request.
    let mut over: Over<'_> = pin!(
        async {
            // An error means that the process is past its end.
            let _ = leaving.wait_for(|over| *over).await;
        }
        .fuse()
    );
    // Who connects has something to ask, and has shown nothing yet that would speak for more patience.
    let limits = edge.shared.rules.load().limits;
    let mut patience = limits.idle.min(limits.header_timeout);
    loop {
        let blank = first_byte(&mut stream, edge, patience, &mut over).await?;
        // Those of now: they may have changed while nothing came.
        let limits = edge.shared.rules.load().limits;
        patience = limits.idle;
        let (head, framing) = match next(&mut stream, edge, &limits, served == 0 && !blank, &mut over).await {
            Next::Request(head, framing) => (head, framing),
            Next::Http2 => return Some(stream),
            Next::Over => return None,
            Next::Refused(reason) => {
                say(stream, edge, facts, &reason).await;
                return None;
            }
        };
        served += 1;
        stream.begin(framing, limits.pace);
        let mut session = ServerSession::new_http1(stream);
        session.set_pipelined_prefix(head);
        session.set_total_drain_timeout(Some(DRAIN));
        if served >= limits.requests_per_connection {
            edge.limits.acted(Limit::RequestsPerConnection);
            session.set_keepalive_reuses_remaining(Some(0));
        }
        let (abort, registration) = AbortHandle::new_pair();
        let request = Request { facts: Arc::clone(facts), abort };
        let serving = REQUEST.scope(request, edge.proxy.process_new_http(session, &edge.shutdown));
        let reused = Abortable::new(serving, registration).await.ok().flatten()?;
        stream = reused.consume().0.into_any().downcast().ok()?;
        if !stream.is_at_a_request() {
            return None;
        }
    }
}

/// Waits for the first byte of the next request, past the empty line that may stand before it (RFC 9112 section 2.2),
/// and tells whether one did. None when no request will come.
async fn first_byte(stream: &mut Stream, edge: &Edge, limit: Duration, over: &mut Over<'_>) -> Option<bool> {
    let mut blank = false;
    loop {
        if !blank {
            let length = hygiene::skip_blank(&stream.ahead);
            blank = length > 0;
            stream.ahead.advance(length);
            if stream.ahead.is_empty() {
                // Nothing is kept while nothing comes.
                stream.ahead = BytesMut::new();
            }
        }
        // Half of an empty line is no request yet.
        if !stream.ahead.is_empty() && (blank || stream.ahead[..] != b"\r"[..]) {
            return Some(blank);
        }
        if !idle(stream, edge, limit, over).await {
            return None;
        }
    }
}

/// Waits for the rest of the next request, not for long when the process ends. `first` says that nothing came before.
async fn next(stream: &mut Stream, edge: &Edge, limits: &Limits, first: bool, over: &mut Over<'_>) -> Next {
    let mut next = pin!(head(stream, edge, limits, first));
    tokio::select! {
        biased;
        next = &mut next => next,
        () = &mut *over => timeout(HALF_SENT, next).await.unwrap_or(Next::Over),
    }
}

async fn head(stream: &mut Stream, edge: &Edge, limits: &Limits, first: bool) -> Next {
    let begun = Instant::now();
    let may_be_http2 = first && stream.is_plain();
    let mut seen = 0;
    loop {
        match look(&mut stream.ahead, seen, &limits.head, may_be_http2) {
            Some(next) => return next,
            None => seen = stream.ahead.len(),
        }
        let left = limits.header_timeout.saturating_sub(begun.elapsed());
        match timeout(left, poll_fn(|cx| stream.poll_fill(cx))).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return Next::Over,
            Err(_) => {
                edge.limits.acted(Limit::HeaderTimeout);
                return Next::Refused(Reason::SlowRequest);
            }
        }
    }
}

/// What the bytes so far are; none when more are needed. Those before `seen` hold no end of a head.
fn look(ahead: &mut BytesMut, seen: usize, limits: &HeadLimits, may_be_http2: bool) -> Option<Next> {
    if may_be_http2 && H2_PREFACE.starts_with(&ahead[..ahead.len().min(H2_PREFACE.len())]) {
        return (ahead.len() >= H2_PREFACE.len()).then_some(Next::Http2);
    }
    let refused = |violation| Some(Next::Refused(Reason::Malformed(violation)));
    let Some(end) = hygiene::end_of_head(ahead, seen) else {
        return hygiene::check_start(ahead, limits).err().and_then(refused);
    };
    match hygiene::check_head(&ahead[..end], limits) {
        Ok(framing) => Some(Next::Request(take(ahead, end), framing)),
        Err(violation) => refused(violation),
    }
}

/// The first bytes, in memory of their own when they are all.
fn take(ahead: &mut BytesMut, end: usize) -> BytesMut {
    if end == ahead.len() {
        return std::mem::take(ahead);
    }
    let head = BytesMut::from(&ahead[..end]);
    ahead.advance(end);
    head
}

/// Waits for the first bytes of a request; false when there will be none. Nothing is allocated meanwhile.
async fn idle(stream: &mut Stream, edge: &Edge, limit: Duration, over: &mut Over<'_>) -> bool {
    if over.is_terminated() {
        return false;
    }
    let mut fill = pin!(poll_fn(|cx| stream.poll_fill(cx)));
    // Most clients that come back come soon; only the others are worth a place among those who leave.
    let soon = timeout(SETTLED.min(limit), async {
        tokio::select! {
            biased;
            filled = &mut fill => matches!(filled, Ok(1..)),
            () = &mut *over => false,
        }
    });
    if let Ok(came) = soon.await {
        return came;
    }
    let later = timeout(limit.saturating_sub(SETTLED), async {
        tokio::select! {
            biased;
            filled = &mut fill => matches!(filled, Ok(1..)),
            () = &mut *over => false,
            () = edge.crowd.asked_to_leave() => false,
        }
    });
    later.await.unwrap_or(false)
}

/// Answers what is no request, and closes so that the client gets to read it.
async fn say(mut stream: Box<Stream>, edge: &Edge, facts: &Facts, reason: &Reason) {
    let answer = refuse(&edge.shared, facts, reason);
    let said = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    };
    // An error means that the client does not listen.
    if let Ok(Ok(())) = timeout(LAST_WORD, said).await {
        stream.leave();
    }
}
