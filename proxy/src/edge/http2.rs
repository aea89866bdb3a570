//! HTTP/2 on one connection: Pingora's loop, and around it an end that loses nothing.
//!
//! Pingora takes a signal for the graceful end of a connection (RFC 9113 section 6.8). Each connection has one of
//! its own, so that it ends with the process, and also by itself when it has carried enough requests. One whose
//! client does little but reset its streams is closed.

use std::future::poll_fn;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{AbortHandle, Abortable};
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp as _};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use pingora_timeout::timeout;
use tokio::sync::{Notify, watch};

use crate::connection::{Facts, REQUEST, Request};
use crate::gateway::Gateway;
use crate::hygiene::Violation;
use crate::limits::{Http2Limits, Limits};
use crate::memory::Streams;
use crate::metrics::{Limit, LimitMetrics};

use super::crowd::{Crowd, SETTLED};
use super::stream::{Gate, Stream};
use super::{Edge, H2_PREFACE, HALF_SENT, farewell, patience};

/// How long a connection that ends with the process is read to its end.
const LINGER: Duration = Duration::from_millis(500);

/// How long a client may take to leave once it was told to and its streams have ended.
const GOODBYE: Duration = Duration::from_secs(2);

/// The most bytes of an answer of the proxy's own that are reckoned with.
const OWN_ANSWER: usize = 16 * 1024;

/// One connection, as Pingora's loop drives it.
struct Connection {
    proxy: Arc<HttpProxy<Gateway>>,
    facts: Arc<Facts>,
    options: HttpServerOptions,
    limits: Limits,
    metrics: LimitMetrics,
    streams: AtomicU64,
    /// Of all connections, beyond the first of each.
    room: Arc<Streams>,
    /// Streams that are open.
    open: AtomicUsize,
    /// Rung when the last open stream has ended.
    idle: Notify,
    /// Turns true when no more streams are to be begun.
    end: watch::Sender<bool>,
    /// Rung when the client is to be put up with no longer.
    enough: Notify,
}

/// Serves a connection to its end. `plain` says that it begins with the preface in clear text.
pub(super) async fn serve(mut stream: Box<Stream>, edge: &Edge, facts: Arc<Facts>, plain: bool) {
    let limits = edge.shared.rules.load().limits;
    if !plain && !greeted(&mut stream, edge, &limits).await {
        return;
    }
    let mut options = HttpServerOptions::default();
    options.h2c = plain;
    options.h2_idle_timeout = Some(limits.idle);
    stream.gate = Gate::Open;
    let socket = stream.descriptor();
    let (end, ending) = watch::channel(false);
    let connection = Arc::new(Connection {
        proxy: Arc::clone(&edge.proxy),
        facts,
        options,
        limits,
        metrics: edge.limits.clone(),
        streams: AtomicU64::new(0),
        room: Arc::clone(&edge.room),
        open: AtomicUsize::new(0),
        idle: Notify::new(),
        end,
        enough: Notify::new(),
    });
    let serving = connection.process_new(stream, &ending);
    tokio::pin!(serving);
    let mut shutdown = edge.shutdown.clone();
    let duplicate = tokio::select! {
        biased;
        _ = shutdown.wait_for(|down| *down) => {
            // SAFETY: the connection is not served to its end, so its socket is open.
            unsafe { BorrowedFd::borrow_raw(socket) }.try_clone_to_owned()
        }
        () = connection.enough.notified() => return,
        () = connection.over(&edge.crowd) => return,
        _ = &mut serving => return,
    };
    connection.end.send_replace(true);
    serving.await;
    if let Ok(duplicate) = duplicate {
        // A client that has not read the final GOAWAY yet may still be sending a request, and has to learn that it may
        // be sent again (RFC 9113 section 6.8).
        farewell::read_out(duplicate, LINGER).await;
    }
}

/// Waits for the preface, which is what a connection begins with (RFC 9113 section 3.4). False when it does not come.
async fn greeted(stream: &mut Stream, edge: &Edge, limits: &Limits) -> bool {
    let mut leaving = edge.idle_over.clone();
    let over = async {
        // An error means that the process is past its end.
        let _ = leaving.wait_for(|over| *over).await;
        tokio::time::sleep(HALF_SENT).await;
    };
    let greeted = tokio::select! {
        biased;
        greeted = timeout(limits.header_timeout, preface(stream)) => greeted,
        () = over => return false,
    };
    match greeted {
        Ok(Ok(())) => true,
        Ok(Err(violation)) => {
            if let Some(violation) = violation {
                edge.shared.metrics.malformed(violation);
            }
            false
        }
        Err(_) => {
            edge.limits.acted(Limit::HeaderTimeout);
            false
        }
    }
}

/// Reads the preface into what is ahead. Fails with the first byte that is not its, and at the end of the connection.
async fn preface(stream: &mut Stream) -> Result<(), Option<Violation>> {
    loop {
        let known = stream.ahead.len().min(H2_PREFACE.len());
        if stream.ahead[..known] != H2_PREFACE[..known] {
            return Err(Some(Violation::Preface));
        }
        if known == H2_PREFACE.len() {
            return Ok(());
        }
        if !matches!(poll_fn(|cx| stream.poll_fill(cx)).await, Ok(1..)) {
            return Err(None);
        }
    }
}

/// How much of one stream's answer waits for its client, in bytes: two of the pieces in which upstreams are read.
const SEND_BUFFER: usize = 128 * 1024;

/// What is agreed with clients, and how much misbehaviour is put up with.
pub(super) fn options(limits: &Http2Limits, header_size: usize) -> H2Options {
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(limits.streams)
        .initial_window_size(limits.window)
        .initial_connection_window_size(limits.connection_window)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(header_size).unwrap_or(u32::MAX));
    options
}

impl Connection {
    /// Resolves when the connection was told to end and its streams have, whether its client agrees or not. It is
    /// told so after its last request, and when it is idle and room is wanted.
    async fn over(&self, crowd: &Crowd) {
        let mut ending = self.end.subscribe();
        tokio::select! {
            _ = ending.wait_for(|end| *end) => {}
            () = self.asked_to_leave(crowd) => drop(self.end.send_replace(true)),
        }
        self.stays_idle(GOODBYE).await;
    }

    /// Resolves when no stream is open and none was for this long.
    async fn stays_idle(&self, time: Duration) {
        loop {
            while self.open.load(Ordering::Relaxed) > 0 {
                self.idle.notified().await;
            }
            let streams = self.streams.load(Ordering::Relaxed);
            tokio::time::sleep(time).await;
            if self.open.load(Ordering::Relaxed) == 0 && self.streams.load(Ordering::Relaxed) == streams {
                return;
            }
        }
    }

    /// Resolves when the connection is idle and the one to leave.
    async fn asked_to_leave(&self, crowd: &Crowd) {
        loop {
            self.stays_idle(SETTLED).await;
            crowd.asked_to_leave().await;
            if self.open.load(Ordering::Relaxed) == 0 {
                return;
            }
            // It became busy while it waited: whoever is next leaves in its place.
            crowd.call_next();
        }
    }

    /// A client that resets most of what it begins wants work done for nothing (CVE-2023-44487).
    fn only_resets(&self) -> bool {
        let resets = u64::from(self.facts.resets.load(Ordering::Relaxed));
        resets > u64::from(self.limits.http2.resets) && resets * 2 > self.streams.load(Ordering::Relaxed)
    }
}

/// A stream that is open, until it is dropped.
struct Open<'a>(&'a Connection);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.idle.notify_one();
        }
    }
}

#[async_trait]
impl HttpServerApp for Connection {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let streams = self.streams.fetch_add(1, Ordering::Relaxed) + 1;
        if streams == self.limits.requests_per_connection {
            self.metrics.acted(Limit::RequestsPerConnection);
            self.end.send_replace(true);
        }
        // Bounds the proxy's own answers; those of upstreams are bounded piece by piece.
        session.set_write_timeout(patience::for_piece(self.limits.pace, OWN_ANSWER));
        let others = self.open.fetch_add(1, Ordering::Relaxed);
        let _open = Open(self);
        // Here it has no state of its own yet. In a box, as it is rare.
        let _room =
            if others > 0 && self.room.is_limited() { Box::pin(self.room.enter()).await } else { None };
        let (abort, registration) = AbortHandle::new_pair();
        let request = Request { facts: Arc::clone(&self.facts), abort };
        let serve = REQUEST.scope(request, self.proxy.process_new_http(session, shutdown));
        let served = Abortable::new(serve, registration).await.ok().flatten();
        if self.only_resets() {
            self.metrics.acted(Limit::Http2Resets);
            self.enough.notify_one();
        }
        served
    }

    fn h2_options(&self) -> Option<H2Options> {
        // Twice of it, so that what is a little too large is answered, and counted, by the rules.
        Some(options(&self.limits.http2, self.limits.head.size.saturating_mul(2)))
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
