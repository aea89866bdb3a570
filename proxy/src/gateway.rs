//! The request path: Pingora's hooks, each handing over to the part that knows.
//!
//! `admission` finds the application and takes the lease; `again` decides what is tried once more, `asset` what the other slot is asked for; `breaker` leaves an
//! application alone that mostly fails; `buffer` takes bodies in, `hold` answers; `forward` chooses upstreams, dresses the request and the
//! answer; `introduce` opens connections; `middleware` does what the settings say of a place, `forward_auth` asks whether a
//! request may pass, `cache` serves what is held of answers, `compress` compresses, and `mirror` offers copies to the standby slot; `crumbs` joins cookies; `tunnel` carries
//! WebSockets; `traces` tells of it; `visitor` lets previews into the standby slot; `replace` puts error pages in their place; `reply` sends
//! the proxy's own answers and says goodbye to what is closed; `context` is the request's memory, whose drop releases
//! everything. A hook that takes a lock holds it for a few
//! instructions and never across an await: a shard of the ledger, the line of those who wait for room, the record of an
//! upstream that answers badly.

mod admission;
mod again;
mod asset;
mod breaker;
mod buffer;
mod cache;
mod compress;
mod context;
mod crumbs;
mod forward;
mod forward_auth;
mod hold;
mod introduce;
mod middleware;
mod mirror;
mod replace;
mod reply;
mod traces;
mod tunnel;
mod visitor;

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::server::ShutdownWatch;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use pingora_cache::key::HashBinary;
use pingora_cache::{CacheKey, CacheMeta, RespCacheable};
use switcher_certs::{Challenges, Resolver};
use switcher_config::wire::Event;
use tokio::sync::broadcast;

use crate::access_log::AccessLog;
use crate::app::App;
use crate::cache::Cache;
use crate::connection::current_request;
use crate::edge::crowd::Crowd;
use crate::hop::is_websocket;
use crate::hsts::Policies;
use crate::metrics::Metrics;
use crate::pages::Pages;
use crate::route::Table;
use crate::rules::Rules;
use crate::smoke::Smoker;
use crate::spare::Spares;
use crate::tls::Front;
use crate::top::Watchers;
use crate::traces::Exporter;

pub use buffer::Budget;
pub use context::Context;
pub(crate) use reply::refuse;

/// Everything a request may look at. All of it is read without waiting.
pub struct Shared {
    /// Hosts and paths to applications.
    pub router: Arc<ArcSwap<Table<Arc<App>>>>,
    /// Rules of the whole proxy.
    pub rules: ArcSwap<Rules>,
    /// Which certificate covers which name, for 421.
    pub certificates: Arc<Resolver>,
    /// Answers for authorities that look.
    pub challenges: Arc<Challenges>,
    /// Which client certificates are demanded.
    pub tls: Arc<Front>,
    /// What browsers are told about insisting on https.
    pub hsts: Arc<Policies>,
    /// Where requests are logged.
    pub access_log: AccessLog,
    /// Error and maintenance pages.
    pub pages: Arc<Pages>,
    /// Knows the proxy's own smoke tests.
    pub smoke: Arc<Smoker>,
    /// The connections there are.
    pub crowd: Arc<Crowd>,
    /// Descriptors for requests of HTTP/2.
    pub spares: Arc<Spares>,
    /// Memory for bodies that are taken in whole.
    pub kept: Arc<Budget>,
    /// Whoever follows what happens.
    pub events: broadcast::Sender<Event>,
    /// Answers that are held.
    pub cache: &'static Cache,
    /// Who watches what is asked for.
    pub top: Arc<Watchers>,
    /// Where spans go.
    pub traces: Arc<Exporter>,
    /// Counters of the whole proxy.
    pub metrics: Arc<Metrics>,
    /// Turns true when the process takes no more requests.
    pub ending: ShutdownWatch,
}

/// The proxy as Pingora drives it.
pub struct Gateway(pub Arc<Shared>);

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(Arc::clone(&self.0), current_request())
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {
        // By default there is one that compresses answers, which would cost each request and does nothing.
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        if admission::admit(session, ctx).await? {
            return Ok(true);
        }
        if !session.is_http2() && is_websocket(&session.req_header().headers) {
            tunnel::carry(session, ctx).await?;
            return Ok(true);
        }
        if ctx.chain.as_ref().is_some_and(|chain| chain.buffer.is_some()) {
            buffer::take_in(session, ctx).await?;
        }
        Ok(false)
    }

    fn request_cache_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        cache::begin(session, ctx);
        Ok(())
    }

    fn cache_key_callback(&self, session: &Session, ctx: &mut Context) -> Result<CacheKey> {
        cache::key(session.req_header(), ctx)
    }

    fn cache_miss(&self, session: &mut Session, _ctx: &mut Context) {
        cache::missed(session);
    }

    fn response_cache_filter(
        &self,
        session: &Session,
        response: &ResponseHeader,
        ctx: &mut Context,
    ) -> Result<RespCacheable> {
        Ok(cache::holds(session, response, ctx))
    }

    fn cache_vary_filter(
        &self,
        held: &CacheMeta,
        _ctx: &mut Context,
        request: &RequestHeader,
    ) -> Option<HashBinary> {
        cache::variance(held, request)
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        forward::next_peer(session, ctx).await
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _descriptor: RawFd,
        connection: Option<&Digest>,
        ctx: &mut Context,
    ) -> Result<()> {
        forward::connected(session, ctx, connection)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        forward::dress_request(session, request, ctx)?;
        mirror::offer(session, request, ctx);
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        buffer::give(body, ctx);
        ctx.request_body(body.as_ref().map_or(0, Bytes::len), end);
        forward::end_body_once(body, end);
        forward::bound_body(ctx)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        traces::answered(response.status.as_u16(), ctx);
        asset::after_answer(session, response.status, ctx)?;
        cache::came(response, ctx);
        again::after_answer(session, response.status, ctx)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        forward::dress_response(response, ctx)?;
        cache::tell(session, response, ctx)?;
        replace::upstream(session, response, ctx)?;
        compress::head(session.req_header(), response, ctx)?;
        hold::head(session, response, ctx);
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        cache::body(body, ctx);
        mirror::hear(body.as_ref().map_or(0, Bytes::len), ctx);
        replace::body(body, ctx);
        compress::body(body, end, ctx)?;
        hold::body(body, end, ctx);
        if end {
            ctx.facts().answered.store(true, Ordering::Relaxed);
        }
        forward::answer_body(body, end, ctx);
        forward::bound_taking(session, body.as_ref().map_or(0, Bytes::len), ctx);
        hold::wait_for_client(body.as_ref().map_or(0, Bytes::len), ctx);
        Ok(None)
    }

    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        _trailers: &mut HeaderMap,
        ctx: &mut Context,
    ) -> Result<Option<Bytes>> {
        let rest = compress::trailers(ctx)?;
        Ok(hold::trailers(rest, ctx))
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        let mut error = forward::connect_failed(ctx, error);
        if !error.retry() && asset::gives_up(session, ctx, &error) {
            error.set_retry(true);
        }
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        forward::broken(session, ctx, error, reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        reply::fail(session, error, ctx).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        ctx.finish(Some(session), error);
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        // The access log tells every request's error, once and with its request id.
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Context,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
