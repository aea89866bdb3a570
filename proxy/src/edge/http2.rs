//! HTTP/2 on one connection: Pingora's loop, and around it an end that loses nothing.
//!
//! Pingora takes a signal for the graceful end of a connection (RFC 9113 section 6.8). Each connection has one of
//! its own, so that it ends with the process, and also by itself when it has carried enough requests. One whose
//! client does little but reset its streams is closed.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{AbortHandle, Abortable};
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp as _};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use crate::connection::{Facts, REQUEST, Request};
use crate::gateway::Gateway;
use crate::limits::{Http2Limits, Limits};
use crate::metrics::{Limit, LimitMetrics};

use super::Edge;
use super::stream::{Gate, Stream};

/// How long a connection that ends with the process is read to its end.
const LINGER: Duration = Duration::from_millis(500);

/// One connection, as Pingora's loop drives it.
struct Connection {
    proxy: Arc<HttpProxy<Gateway>>,
    facts: Arc<Facts>,
    options: HttpServerOptions,
    limits: Limits,
    metrics: LimitMetrics,
    streams: AtomicU64,
    /// Turns true when no more streams are to be begun.
    end: watch::Sender<bool>,
    /// Rung when the client is to be put up with no longer.
    enough: Notify,
}

/// Serves a connection to its end. `plain` says that it begins with the preface in clear text.
pub(super) async fn serve(mut stream: Box<Stream>, edge: &Edge, facts: Arc<Facts>, plain: bool) {
    let limits = edge.shared.rules.load().limits;
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
        _ = &mut serving => return,
    };
    connection.end.send_replace(true);
    serving.await;
    if let Ok(duplicate) = duplicate {
        // An error means that the client has closed, which is what is waited for.
        let _ = linger(duplicate).await;
    }
}

/// Ends our side of a connection and reads what still comes until the client has ended its own. A client that has
/// not read the final GOAWAY yet may still be sending a request. Were the socket closed at once, the answer to
/// that would be a reset, which can overtake the GOAWAY, and the client would never learn that its request may be
/// sent again (RFC 9113 section 6.8).
async fn linger(socket: OwnedFd) -> io::Result<()> {
    // Which family the socket is of makes no difference to the calls below.
    let socket = std::net::TcpStream::from(socket);
    socket.shutdown(std::net::Shutdown::Write)?;
    let mut socket = TcpStream::from_std(socket)?;
    let mut sink = tokio::io::sink();
    let rest = tokio::io::copy(&mut socket, &mut sink);
    tokio::time::timeout(LINGER, rest).await.map_err(io::Error::from)?.map(drop)
}

/// What is agreed with clients, and how much misbehaviour is put up with.
pub(super) fn options(limits: &Http2Limits, header_size: usize) -> H2Options {
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(limits.streams)
        .initial_window_size(limits.window)
        .initial_connection_window_size(limits.connection_window)
        .max_header_list_size(u32::try_from(header_size).unwrap_or(u32::MAX));
    options
}

impl Connection {
    /// A client that resets most of what it begins wants work done for nothing (CVE-2023-44487).
    fn only_resets(&self) -> bool {
        let resets = u64::from(self.facts.resets.load(Ordering::Relaxed));
        resets > u64::from(self.limits.http2.resets) && resets * 2 > self.streams.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl HttpServerApp for Connection {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let streams = self.streams.fetch_add(1, Ordering::Relaxed) + 1;
        if streams == self.limits.requests_per_connection {
            self.metrics.acted(Limit::RequestsPerConnection);
            self.end.send_replace(true);
        }
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
        Some(options(&self.limits.http2, self.limits.head.size))
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
