//! Forwarding: which upstream, what it is told, what the client is told, and what to do when it fails.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{StatusCode, Version, request};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::tls::CaType;
use pingora::protocols::{ALPN, Digest};
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, OrErr as _, Result};
use rustix::io::Errno;
use switcher_config::UpstreamProtocol;
use switcher_config::settings::{AppSettings, Balance, RetryOn, Timeouts};
use switcher_config::wire::Kind;

use crate::balance::Rule;
use crate::balance::room::{self, Place, Refused};
use crate::edge::patience;
use crate::epoch::Pass;
use crate::health::dial;
use crate::hop::HopByHop;
use crate::kind;
use crate::ledger::{Cause, Stage};
use crate::lent;
use crate::metrics::Limit;
use crate::middleware::Went;
use crate::request_id::{X_REQUEST_ID, X_REQUEST_ID_TEXT};
use crate::sticky;
use crate::tick::Tick;
use crate::upstream::Upstream;
use crate::websocket::{DRAIN_CLOSE, FrameTracker};

use super::admission::{authority, request_given_up};
use super::context::Context;
use super::introduce::introduce;
use super::{again, asset, breaker, crumbs, middleware, mirror, traces, visitor};

/// How many requests share an HTTP/2 connection to an upstream.
const H2_STREAMS: usize = 100;

/// Chooses the next upstream and says how to reach it.
pub(super) async fn next_peer(session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
    let Some(patience) = asset::patience(ctx) else { return peer_of_slot(session, ctx).await };
    // In a box, as it is rare.
    let found = match tokio::time::timeout(patience, Box::pin(peer_of_slot(session, ctx))).await {
        Ok(found) => found,
        Err(_) => Error::e_explain(ErrorType::HTTPStatus(503), "the other slot has no room"),
    };
    match found {
        Ok(mut peer) => {
            let options = &mut peer.options;
            let connecting = options.total_connection_timeout.map_or(patience, |limit| limit.min(patience));
            options.total_connection_timeout = Some(connecting);
            options.read_timeout = Some(patience);
            Ok(peer)
        }
        Err(error) if asset::gives_up(session, ctx, &error) => Box::pin(peer_of_slot(session, ctx)).await,
        Err(error) => Err(error),
    }
}

/// Chooses the next upstream of the slot that the request is in.
async fn peer_of_slot(session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
    let settings = ctx.settings.clone().ok_or_else(not_admitted)?;
    if ctx.cause().is_some() {
        return Error::e_explain(ErrorType::ConnectionClosed, "closed by the proxy");
    }
    if ctx.tries == 0 {
        decide_rule(session.req_header(), ctx, &settings);
    }
    let socket = ctx.facts().socket;
    let next = next_upstream(ctx, &settings);
    let (upstream, socket) = if settings.max_in_flight.is_none() {
        next.await?
    } else {
        tokio::select! {
            next = next => next?,
            () = request_given_up(session, socket) => {
                return Err(Error::new_down(ErrorType::ConnectionClosed));
            }
        }
    };
    if session.is_http2() && upstream.address().protocol() != UpstreamProtocol::H2c {
        take_descriptor(session, ctx, &settings).await?;
    }
    let epoch = ctx.pass.as_ref().ok_or_else(not_admitted)?.epoch();
    let timeouts = *ctx.timeouts(&settings);
    let mut peer =
        peer(&upstream, socket, epoch.pool, session, &settings, &timeouts, epoch.trust.roots.clone())?;
    peer.options.tcp_keepalive.clone_from(&ctx.shared.rules.load().keepalive);
    introduce(&mut peer, ctx.facts(), &settings);
    if ctx.stale {
        reach_afresh(&mut peer);
    }
    // A connection of HTTP/2 is shared: closing it for one request would close it for others.
    ctx.exclusive = upstream.address().protocol() == UpstreamProtocol::Http1;
    Ok(Box::new(peer))
}

/// Has the connection made for this request alone: those of the pool may all be as stale as the one that was tried.
fn reach_afresh(peer: &mut HttpPeer) {
    /// Keys that no epoch and no client's connection has.
    static KEYS: AtomicU64 = AtomicU64::new(1 << 63);
    peer.group_key = KEYS.fetch_add(1, Ordering::Relaxed);
    peer.options.idle_timeout = Some(Duration::ZERO);
}

/// Takes what a request of HTTP/2 opens its connection with, waiting for it as long as for the connection itself.
async fn take_descriptor(session: &mut Session, ctx: &mut Context, settings: &AppSettings) -> Result<()> {
    if ctx.descriptor.is_some() {
        return Ok(());
    }
    let (spares, facts) = (&ctx.shared.spares, &ctx.request.facts);
    ctx.descriptor = spares.try_take(facts);
    if ctx.descriptor.is_none() {
        let (socket, limit) = (facts.socket, ctx.timeouts(settings).connect.0);
        // In a box, as it is rare.
        let waiting = Box::pin(async {
            tokio::select! {
                found = spares.wait(facts, limit) => Ok(found),
                () = request_given_up(session, socket) => {
                    Err(Error::new_down(ErrorType::ConnectionClosed))
                }
            }
        });
        ctx.descriptor = waiting.await?;
    }
    if ctx.descriptor.is_none() {
        ctx.overloaded = true;
        return Error::e_explain(ErrorType::HTTPStatus(503), "no descriptor is left");
    }
    Ok(())
}

/// Notes by what the request is given its upstream.
pub(super) fn decide_rule(request: &RequestHeader, ctx: &mut Context, settings: &AppSettings) {
    ctx.rule = Rule::of(&settings.balance, &ctx.client, &request.headers, request.uri.path());
    if matches!(ctx.rule, Rule::Sticky(_)) {
        ctx.secure = visitor::is_secure(request, ctx);
    }
    if let (Some(_), Some(pass)) = (&settings.retries, &ctx.pass) {
        pass.epoch().budget.requested(Tick::now());
    }
}

/// The next upstream that has an address; none is that of a unix socket. A name that was never resolved is resolved now.
pub(super) async fn next_upstream(
    ctx: &mut Context,
    settings: &AppSettings,
) -> Result<(Arc<Upstream>, Option<SocketAddr>)> {
    loop {
        let (index, place) = place(ctx, settings).await?;
        ctx.use_upstream(index, place);
        let chosen = ctx.upstream().ok_or_else(not_admitted)?;
        let upstream = Arc::clone(&chosen.upstream);
        let socket = upstream.socket();
        if socket.is_some() || upstream.address().socket_path().is_some() {
            return Ok((upstream, socket));
        }
        let limit = ctx.timeouts(settings).connect.0;
        let resolved = tokio::time::timeout(limit, dial::resolve(&upstream)).await;
        match resolved {
            Ok(Ok(socket)) => return Ok((upstream, Some(socket))),
            Ok(Err(why)) => upstream.suspect(&why),
            Err(_) => upstream.suspect("its name did not resolve in time"),
        }
    }
}

/// A place with the next upstream: at once, or after waiting for room.
async fn place(ctx: &mut Context, settings: &AppSettings) -> Result<(usize, Place)> {
    // Another upstream must not be waited for while the last one's place is held.
    ctx.leave_upstream();
    let epoch = ctx.pass.as_ref().ok_or_else(not_admitted)?.epoch();
    match room::seat(epoch, settings, ctx.rule, ctx.tried).await {
        Ok(seat) => Ok(seat),
        Err(Refused::Nobody) => Error::e_explain(ErrorType::HTTPStatus(503), "no upstream is left to try"),
        Err(Refused::Full | Refused::TimedOut) => {
            ctx.overloaded = true;
            Error::e_explain(ErrorType::HTTPStatus(503), "no upstream has room")
        }
    }
}

pub(super) fn not_admitted() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "the request was not admitted")
}

fn peer(
    upstream: &Upstream,
    socket: Option<SocketAddr>,
    pool: u64,
    session: &Session,
    settings: &AppSettings,
    timeouts: &Timeouts,
    roots: Option<Arc<CaType>>,
) -> Result<HttpPeer> {
    let address = upstream.address();
    let tls = &settings.upstream_tls;
    let name = match address.protocol() {
        UpstreamProtocol::Https => tls.server_name.clone().unwrap_or_else(|| address.host().to_owned()),
        UpstreamProtocol::Http1 | UpstreamProtocol::H2c => String::new(),
    };
    let is_tls = address.protocol() == UpstreamProtocol::Https;
    let mut peer = match (socket, address.socket_path()) {
        (Some(socket), _) => HttpPeer::new(socket, is_tls, name),
        (None, Some(path)) => HttpPeer::new_uds(path.as_str(), is_tls, name)?,
        (None, None) => return Err(not_admitted()),
    };
    peer.group_key = pool;
    let options = &mut peer.options;
    options.connection_timeout = Some(timeouts.connect.0);
    options.total_connection_timeout = Some(timeouts.connect.0);
    options.idle_timeout = Some(timeouts.pool.0);
    options.verify_cert = tls.verify;
    options.verify_hostname = tls.verify;
    options.ca = roots;
    options.max_h2_streams = H2_STREAMS;
    let request = session.req_header();
    options.alpn = match address.protocol() {
        UpstreamProtocol::Http1 => ALPN::H1,
        UpstreamProtocol::H2c => ALPN::H2,
        UpstreamProtocol::Https => ALPN::H2H1,
    };
    // On a connection of its own a request is timed by the sweep, which knows streams from answers.
    // On a shared one only Pingora can end it without ending its neighbours.
    if options.alpn != ALPN::H1 && !expects_stream(request, session.is_http2()) {
        options.read_timeout = Some(timeouts.response.0);
    }
    Ok(peer)
}

/// Whether the answer may be endless, as far as the request tells.
fn expects_stream(request: &RequestHeader, is_http2: bool) -> bool {
    let accept = request.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    kind::at_request(&request.headers, false, || is_http2) == Kind::Streams
        || accept.is_some_and(|a| a.contains("text/event-stream"))
}

/// The connection to the upstream is there.
pub(super) fn connected(session: &mut Session, ctx: &mut Context, connection: Option<&Digest>) -> Result<()> {
    let now = ctx.started.elapsed();
    ctx.connected = Some(now);
    if let Some(trace) = &mut ctx.trace {
        trace.connected(now);
    }
    // What was kept of the body is sent, and counted, once more.
    ctx.bytes_in = 0;
    if let Some(kept) = &mut ctx.kept {
        kept.is_given = false;
    }
    let bodyless = session.is_body_empty();
    let exclusive = ctx.exclusive;
    let Some(exchange) = ctx.exchange() else { return Ok(()) };
    exchange.set_stage(if bodyless { Stage::Waiting } else { Stage::Sending });
    if exclusive {
        exchange.lend_socket(connection.and_then(lent::of).cloned());
    }
    Ok(())
}

/// What the upstream is told beside the client's own words. Names go to it in lower case, whatever the client's was: they
/// mean the same (RFC 9110 section 5.1), and keeping each one's spelling beside its meaning costs more than all else here.
pub(super) fn dress_request(session: &Session, request: &mut RequestHeader, ctx: &Context) -> Result<()> {
    let head = session.req_header();
    let host = authority(head).unwrap_or_default();
    let facts = ctx.facts();
    let rules = ctx.shared.rules.load();
    let said =
        || rules.trust.outgoing(&ctx.client, facts.peer.ip(), facts.tls.is_some(), host, &head.headers);
    let mut parts = parts_of(request);
    let headers = &mut parts.headers;
    if session.is_http2() {
        crumbs::join(headers)?;
    }
    headers.try_reserve(OWN_HEADERS).or_err(ErrorType::InvalidHTTPHeader, "too many headers")?;
    for name in &rules.trust.removals(&ctx.client, &head.headers) {
        headers.remove(name);
    }
    let forwarded = if ctx.client.trusted { said() } else { facts.told.about(host, said) };
    if let Some(settings) = &ctx.settings {
        // The operator's token is between the operator and the proxy.
        if settings.maintenance.bypass_token.is_some() {
            headers.remove(settings.maintenance.bypass_header.as_str());
        }
        visitor::keep_secret(headers, settings);
        mirror::keep_true(headers, settings);
    }
    if let Some(chain) = &ctx.chain {
        middleware::dress_request(chain, &mut parts, ctx)?;
    }
    forwarded.set(&mut parts.headers);
    plain_framing(head, &mut parts, ctx)?;
    parts.headers.insert(X_REQUEST_ID, ctx.id.header());
    traces::tell(&mut parts.headers, ctx);
    *request = RequestHeader::from(parts);
    Ok(())
}

/// How many headers a request gets of us.
const OWN_HEADERS: usize = 6;

/// Takes the parts out of a head, whose target is text: anything else was refused.
fn parts_of(head: &mut RequestHeader) -> request::Parts {
    static EMPTY: LazyLock<RequestHeader> = LazyLock::new(|| http::Request::new(()).into_parts().0.into());
    std::mem::replace(head, RequestHeader::clone(&EMPTY)).into()
}

/// Says in one way what clients may say in several: the target as a path, which is all that the URI gives back, the
/// coding in lower case, and a host and no expectation also for a client of HTTP/1.0 (RFC 9112 section 3.2, RFC 9110
/// section 10.1.1).
fn plain_framing(head: &RequestHeader, request: &mut request::Parts, ctx: &Context) -> Result<()> {
    let headers = &mut request.headers;
    if ctx.kept.is_some() {
        // The client was told to go on already.
        headers.remove(header::EXPECT);
    }
    if headers.get(header::TRANSFER_ENCODING).is_some_and(|coding| coding != "chunked") {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if head.version == Version::HTTP_10 {
        headers.remove(header::EXPECT);
        if let Some(upstream) = ctx.upstream().filter(|_| !head.headers.contains_key(header::HOST)) {
            let host = HeaderValue::try_from(upstream.upstream.address().authority());
            headers.insert(header::HOST, host.or_err(ErrorType::InvalidHTTPHeader, "the upstream's name")?);
        }
    }
    Ok(())
}

/// What the client is told beside the upstream's own words.
pub(super) fn dress_response(response: &mut ResponseHeader, ctx: &mut Context) -> Result<()> {
    let interim = response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS;
    if interim {
        return Ok(());
    }
    settle(response, ctx);
    let hop = HopByHop::of_response(response.status, &response.headers);
    for name in hop.removals() {
        // Most are not there, and to see that takes less than to look them up.
        if response.headers.keys().any(|key| key == name) {
            response.remove_header(name);
        }
    }
    if hop.websocket {
        response.insert_header(header::CONNECTION, "Upgrade")?;
        response.insert_header(header::UPGRADE, "websocket")?;
    }
    let rules = ctx.shared.rules.load();
    response.insert_header(X_REQUEST_ID_TEXT, ctx.id.header())?;
    if let Some(hsts) = &ctx.hsts {
        response.insert_header(header::STRICT_TRANSPORT_SECURITY, hsts)?;
    }
    visitor::mark(response, ctx)?;
    if let Some(cookie) = remembering(ctx) {
        response.append_header(header::SET_COOKIE, cookie)?;
    }
    if let Some(cookie) = belonging(ctx) {
        response.append_header(header::SET_COOKIE, cookie)?;
    }
    middleware::dress_response(response, ctx)?;
    let Some(epoch) = ctx.pass.as_ref().map(Pass::epoch) else { return Ok(()) };
    if let Some(header) = &rules.slot_header {
        response.insert_header(header.text.clone(), HeaderValue::from_static(epoch.slot.as_str()))?;
    }
    match (&rules.release_header, &epoch.release) {
        (Some(header), Some(release)) => response.insert_header(header.text.clone(), release.clone())?,
        // An upstream behind this one must not speak for it.
        (Some(header), None) => drop(response.remove_header(&header.name)),
        (None, _) => {}
    }
    Ok(())
}

/// The cookie for a visitor who comes back to the upstream in use, unless it was brought along already.
fn remembering(ctx: &Context) -> Option<HeaderValue> {
    let Rule::Sticky(brought) = ctx.rule else { return None };
    let mark = ctx.upstream()?.upstream.mark()?;
    if brought == Some(mark) {
        return None;
    }
    let settings = ctx.settings.as_ref()?;
    let Balance::Sticky(name) = &settings.balance else { return None };
    sticky::set(name, mark, &settings.path, ctx.secure)
}

/// The cookie for a visitor who stays in the release that answers, unless it was brought along already.
fn belonging(ctx: &Context) -> Option<HeaderValue> {
    let settings = ctx.settings.as_ref()?;
    let affinity = settings.release_affinity.as_ref().filter(|_| !ctx.previews)?;
    let mark = ctx.app.as_ref()?.release_mark(ctx.pass.as_ref()?.epoch(), ctx.started)?;
    if ctx.belongs == Some(mark) {
        return None;
    }
    sticky::set(&affinity.cookie, mark, &settings.path, ctx.secure)
}

/// Notes what the head of the answer says about the exchange.
fn settle(response: &ResponseHeader, ctx: &mut Context) {
    let failed = response.status.is_server_error().then(|| response.status.as_str());
    again::judge(ctx, failed);
    breaker::tell(ctx, if failed.is_some() { Went::Badly } else { Went::Well });
    // Nothing is sent again once an answer has begun.
    ctx.kept = None;
    ctx.status = Some(response.status.as_u16());
    ctx.first_byte = Some(ctx.started.elapsed());
    let Some(exchange) = ctx.exchange() else { return };
    let kind = kind::at_response(exchange.kind(), response.status, &response.headers);
    exchange.set_kind(kind);
    exchange.set_stage(Stage::Answering);
    let media = response.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let (event_stream, grpc) =
        (media.starts_with(b"text/event-stream"), media.starts_with(b"application/grpc"));
    ctx.event_stream = event_stream;
    ctx.grpc = grpc;
    if kind == Kind::Websockets {
        ctx.websocket = Some(FrameTracker::default());
    }
}

/// The end of a request's body that comes as an empty piece, as HTTP/2 clients send it, is the end alone: pingora-proxy
/// 0.9.1 writes such a piece as a last chunk (RFC 9112 section 7.1), and then a second one, which the upstream takes for
/// the beginning of the next request.
pub(super) fn end_body_once(body: &mut Option<Bytes>, end: bool) {
    if end {
        body.take_if(|last| last.is_empty());
    }
}

/// A body that grows beyond what is taken ends its request: of a chunked one the size is not known before.
/// So does one that was given up, as soon as more of it comes.
pub(super) fn bound_body(ctx: &Context) -> Result<()> {
    if ctx.cause() == Some(Cause::SlowRequest) {
        return Err(Error::explain(ErrorType::HTTPStatus(408), "its body comes too slowly").into_down());
    }
    let limit = ctx.chain.as_ref().and_then(|chain| chain.body_size);
    if limit.is_some_and(|limit| ctx.bytes_in > limit.0) {
        ctx.shared.metrics.limits().acted(Limit::BodySize);
        return Err(Error::explain(ErrorType::HTTPStatus(413), "its body is too large").into_down());
    }
    Ok(())
}

/// Bounds how long a client of HTTP/2 may keep a piece of an answer waiting for room in its window. The bound never
/// shrinks, for several pieces may be written in one go. That of HTTP/1.1 is kept by the connection itself.
pub(super) fn bound_taking(session: &mut Session, bytes: usize, ctx: &Context) {
    if session.is_http2() {
        let bound = patience::for_piece(ctx.shared.rules.load().limits.pace, bytes);
        let session = session.as_downstream_mut();
        if bound > session.get_write_timeout() {
            session.set_write_timeout(bound);
        }
    }
}

/// A piece of the answer's body, or its end.
pub(super) fn answer_body(body: &mut Option<Bytes>, end: bool, ctx: &mut Context) {
    if let (Some(tracker), Some(chunk)) = (&mut ctx.websocket, body.as_deref()) {
        tracker.feed(chunk);
    }
    // The upstream's end is ours: say goodbye where a frame may stand.
    if end
        && body.as_ref().is_none_or(Bytes::is_empty)
        && let Some(goodbye) = websocket_goodbye(ctx)
    {
        *body = Some(goodbye);
    }
    if end {
        ctx.leave_upstream();
        // The connection goes back to the pool; it is no longer this exchange's to close.
        if let Some(exchange) = ctx.exchange() {
            exchange.lend_socket(None);
        }
    }
    ctx.response_body(body.as_ref().map_or(0, Bytes::len));
}

/// The close frame that a WebSocket closed by the proxy is owed (RFC 6455 section 7.4.1, code 1012).
pub(super) fn websocket_goodbye(ctx: &mut Context) -> Option<Bytes> {
    let closed = matches!(ctx.cause(), Some(Cause::Drain | Cause::Shutdown));
    ctx.websocket.take_if(|tracker| closed && tracker.at_boundary() && !tracker.close_sent())?;
    Some(Bytes::from_static(DRAIN_CLOSE))
}

/// No connection was made, so nothing was sent: any request may go to the next upstream.
pub(super) fn connect_failed(ctx: &mut Context, mut error: Box<Error>) -> Box<Error> {
    if !is_our_own(&error) {
        // What the other slot does is not this one's fault.
        ctx.connect_failed |= asset::patience(ctx).is_none();
        if let Some(upstream) = ctx.upstream() {
            upstream.upstream.suspect(connect_problem(error.etype()));
        }
    }
    traces::failed(|| Cow::Owned(error.etype().as_str().to_owned()), ctx);
    let retry = again::may(ctx, RetryOn::Connect);
    if retry {
        count_retry(ctx);
    }
    error.set_retry(retry);
    error
}

/// Whether a connection failed for want of descriptors or ports on this machine: the upstream is not to blame.
fn is_our_own(error: &Error) -> bool {
    let os = error.root_cause().downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    let ours = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS];
    os.is_some_and(|code| ours.iter().any(|errno| errno.raw_os_error() == code))
}

fn connect_problem(error: &ErrorType) -> &'static str {
    if *error == ErrorType::ConnectRefused {
        "connection refused"
    } else if *error == ErrorType::ConnectTimedout {
        "it was not taken in time"
    } else {
        "it failed"
    }
}

/// The exchange broke after the connection was there. The request may have been acted upon, so only an idempotent one
/// (RFC 9110 section 9.2.2) is sent again: once, and for free, when a reused connection was stale; otherwise, to another
/// upstream, as `retries` says.
pub(super) fn broken(
    session: &Session,
    ctx: &mut Context,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    if let Some(exchange) = ctx.exchange() {
        exchange.lend_socket(None);
    }
    if std::mem::take(&mut ctx.asks_again) {
        error.set_retry(true);
        count_retry(ctx);
        return error;
    }
    if *error.esource() == ErrorSource::Upstream {
        traces::failed(|| Cow::Owned(error.etype().as_str().to_owned()), ctx);
    }
    // One that is silent would be silent again.
    let silent = *error.etype() == ErrorType::ReadTimedout && asset::gives_up(session, ctx, &error);
    let repeatable = again::repeatable(session, ctx);
    if silent {
        error.set_retry(true);
        count_retry(ctx);
        return error;
    }
    if repeatable {
        error.retry.decide_reuse(reused);
    } else {
        error.set_retry(false);
    }
    if error.retry() && !ctx.stale {
        // It was the connection that failed.
        ctx.forgive_stale();
        count_retry(ctx);
        return error;
    }
    error.set_retry(false);
    again::judge_break(ctx, &error);
    if asset::gives_up(session, ctx, &error) || repeatable && again::after_break(ctx, &error) {
        error.set_retry(true);
        count_retry(ctx);
    }
    error
}

fn count_retry(ctx: &Context) {
    if let Some(pass) = &ctx.pass {
        pass.epoch().metrics.retried();
    }
}
