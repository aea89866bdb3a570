//! One client connection: what is known of it, and how each of its requests can be ended.
//!
//! Pingora's HTTP proxy does the protocol work; this wrapper stands around every request of a
//! connection, HTTP/1.1 or a stream of HTTP/2, so that the request can see the connection's facts and
//! can be aborted from outside without touching its neighbours.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{AbortHandle, Abortable};
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use switcher_certs::RootsId;
use switcher_certs::resolver::Shown;

use crate::gateway::Gateway;

/// How long an HTTP/2 connection may have no stream.
const H2_IDLE: Duration = Duration::from_secs(60);

/// What is known of a connection.
#[derive(Debug)]
pub struct Facts {
    /// The other end.
    pub peer: SocketAddr,
    /// The socket, for looking whether the client is still there. Valid while a request is served.
    pub socket: RawFd,
    /// Whether it is TLS, and which name its handshake asked for.
    pub tls: Option<Tls>,
}

/// What is known of a TLS connection.
#[derive(Debug)]
pub struct Tls {
    /// The server name of the handshake, in lower case.
    pub sni: Option<Box<str>>,
    /// What certificate it was shown.
    pub shown: Shown,
    /// The roots that the client's certificate was demanded of and found good by.
    pub client_ca: Option<RootsId>,
}

/// One request as it begins.
#[derive(Clone)]
pub struct Request {
    /// Its connection.
    pub facts: Arc<Facts>,
    /// Ends it wherever it stands.
    pub abort: AbortHandle,
}

tokio::task_local! {
    static REQUEST: Request;
}

/// The request that this task serves.
///
/// # Panics
/// Outside of a request: only [`Gateway`] asks, and only Pingora, inside of [`Connection`], drives it.
pub(crate) fn current_request() -> Request {
    REQUEST.with(Clone::clone)
}

/// One client connection, as Pingora's connection loop drives it.
pub struct Connection {
    proxy: Arc<HttpProxy<Gateway>>,
    facts: Arc<Facts>,
    options: HttpServerOptions,
}

impl Connection {
    /// A connection. `h2c` says that its first bytes were the preface of HTTP/2 in clear text.
    #[must_use]
    pub fn new(proxy: Arc<HttpProxy<Gateway>>, facts: Facts, h2c: bool) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2c = h2c;
        options.h2_idle_timeout = Some(H2_IDLE);
        Self { proxy, facts: Arc::new(facts), options }
    }
}

#[async_trait]
impl HttpServerApp for Connection {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let (abort, registration) = AbortHandle::new_pair();
        let request = Request { facts: Arc::clone(&self.facts), abort };
        let serve = REQUEST.scope(request, self.proxy.process_new_http(session, shutdown));
        Abortable::new(serve, registration).await.ok().flatten()
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
