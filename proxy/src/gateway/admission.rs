//! Admission: from a request's head to its lease, or to an answer of the proxy's own.
//!
//! The order is: who asks (trusted proxies, request id), is it well-formed, is it an authority that looks at a challenge, what for
//! (host, certificate, path), may it pass (redirect, client certificate, middleware, stopped, paused), and then the lease. Nothing of the body has been read.

use std::borrow::Cow;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::Authority;
use http::{HeaderValue, Method, StatusCode, Uri, Version, header};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use rustix::event::{PollFd, PollFlags};
use subtle::ConstantTimeEq as _;
use switcher_certs::challenges::HTTP_PATH;
use switcher_config::UpstreamProtocol;
use switcher_config::settings::{AppSettings, Hsts, Tls};

use crate::answer::Reason;
use crate::app::{App, Entry};
use crate::canary::choice;
use crate::conditions;
use crate::epoch::{EpochUpstream, Lease};
use crate::hsts;
use crate::hygiene::{check_request, check_sizes};
use crate::kind;
use crate::ledger::NewExchange;
use crate::request_id::RequestId;
use crate::route::{NoRoute, normalize_host};
use crate::sticky::{self, Mark};

use super::breaker;
use super::context::Context;
use super::middleware::{self, AMBIGUOUS};
use super::reply;
use super::traces;
use super::visitor;

/// How often a held request looks whether its client is still there.
const LOOK_FOR_CLIENT: Duration = Duration::from_millis(200);

/// Admits the request, or answers it. True when it was answered.
pub(super) async fn admit(session: &mut Session, ctx: &mut Context) -> Result<bool> {
    identify(session, ctx);
    if let Some(reason) = malformed(session, ctx) {
        return reply::send(session, ctx, &reason).await;
    }
    ctx.smokes = visitor::smokes(session, ctx);
    match challenge(session, ctx) {
        Some(Ok(answer)) => return reply::challenge(session, ctx, &answer).await,
        Some(Err(reason)) => return reply::send(session, ctx, &reason).await,
        None => {}
    }
    let app = match find_app(session, ctx) {
        Ok(app) => app,
        Err(reason) => return reply::send(session, ctx, &reason).await,
    };
    let (settings, chains) = app.rules();
    ctx.app = Some(Arc::clone(&app));
    ctx.settings = Some(Arc::clone(&settings));
    ctx.hsts = insistence(session, ctx, &app, &settings);
    let location = redirection(session, ctx, &settings);
    // A plain request that is sent on to https is asked there.
    if (ctx.facts().tls.is_some() || location.is_none())
        && let Err(reason) = certified(session, ctx, &settings)
    {
        return reply::send(session, ctx, &reason).await;
    }
    if let Some(location) = location {
        return reply::redirect(session, ctx, StatusCode::PERMANENT_REDIRECT, location).await;
    }
    if let Some(visit) = visitor::at_link(session, ctx, &app, &settings) {
        return reply::visit(session, ctx, visit).await;
    }
    if let Some(chains) = chains
        && middleware::answered(session, ctx, &chains).await?
    {
        return Ok(true);
    }
    let admitted = match visitor::enter(session, ctx, &app, &settings) {
        Some(entered) => {
            ctx.previews = true;
            entered.map_err(NoLease::Refused)
        }
        None => take_lease(session, ctx, &app).await,
    };
    match admitted {
        Ok((lease, settings)) => {
            // They may have changed while the request waited.
            if let Err(reason) = certified(session, ctx, &settings) {
                drop(lease);
                return reply::send(session, ctx, &reason).await;
            }
            ctx.settings = Some(settings);
            enter(session, ctx, lease);
            match breaker::trips(ctx) {
                Some(reason) => reply::send(session, ctx, &reason).await,
                None => Ok(false),
            }
        }
        Err(NoLease::Refused(reason)) => reply::send(session, ctx, &reason).await,
        Err(NoLease::ClientLeft) => Err(Error::new_down(ErrorType::ConnectionClosed)),
    }
}

/// What a request of HTTP/2 breaks. The head of HTTP/1.1 was held against the rules before anything parsed it.
fn malformed(session: &mut Session, ctx: &Context) -> Option<Reason> {
    if !session.is_http2() {
        return None;
    }
    let head = session.req_header();
    let sizes = |()| check_sizes(head, &ctx.shared.rules.load().limits.head);
    let violation = check_request(head, true).and_then(sizes).err()?;
    ctx.shared.metrics.malformed(violation);
    session.set_keepalive(None);
    Some(Reason::Malformed(violation))
}

fn identify(session: &mut Session, ctx: &mut Context) {
    if session.req_header().version == Version::HTTP_10 {
        // It knows no interim answers (RFC 9110 section 15.2).
        session.as_downstream_mut().set_ignore_info_resp(true);
    }
    let rules = ctx.shared.rules.load();
    let headers = &session.req_header().headers;
    let facts = ctx.facts();
    let peer = facts.peer.ip();
    let client = if facts.is_local {
        rules.trust.client_behind(peer, headers)
    } else {
        rules.trust.client(peer, headers)
    };
    drop(rules);
    if client.trusted {
        ctx.id = RequestId::of(headers, true);
    }
    ctx.client = client;
    traces::begin(headers, ctx);
}

/// The answer to an authority that looks at an http-01 challenge: before any redirect, for every host, and
/// never an application's. On a TLS connection, where a redirect of somebody else's may have led it, only tokens
/// that are known are answered.
fn challenge(session: &Session, ctx: &Context) -> Option<Result<Arc<str>, Reason>> {
    let request = session.req_header();
    let token = request.uri.path().strip_prefix(HTTP_PATH)?;
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return None;
    }
    if let Some(answer) = ctx.shared.challenges.http(token) {
        return Some(Ok(answer));
    }
    let ours = ctx.facts().tls.is_none() && ctx.shared.rules.load().acme;
    ours.then_some(Err(Reason::UnknownToken))
}

/// The authority a request asks for: HTTP/2's `:authority`, an absolute target's, or `Host` (RFC 9110 section 7.2).
pub(super) fn authority(request: &RequestHeader) -> Option<&str> {
    let of_uri = request.uri.authority().map(http::uri::Authority::as_str);
    of_uri.or_else(|| request.headers.get(header::HOST)?.to_str().ok())
}

fn find_app(session: &Session, ctx: &Context) -> Result<Arc<App>, Reason> {
    let request = session.req_header();
    let authority = authority(request).unwrap_or_default();
    // HTTP/1.0 may leave the host out (RFC 9112 section 3.2); then only an application for any host is meant.
    if authority.is_empty() && request.version != Version::HTTP_10 {
        return Err(Reason::BadRequest { why: "it names no host" });
    }
    let host = normalize_host(authority);
    covered(ctx, &host)?;
    let table = ctx.shared.router.load();
    let Some(router) = table.at(ctx.facts().listener.as_deref()) else {
        return Err(Reason::UnknownHost { host: host.into_owned() });
    };
    let asked = conditions::Asked {
        host: &host,
        path: request.uri.path(),
        query: request.uri.query(),
        method: &request.method,
        headers: &request.headers,
        client: (!ctx.smokes).then_some(&ctx.client),
    };
    router.route(&asked).map(Arc::clone).map_err(|missing| match missing {
        NoRoute::Host => Reason::UnknownHost { host: host.into_owned() },
        NoRoute::Path => Reason::NoPath,
        NoRoute::Ambiguous => Reason::BadRequest { why: AMBIGUOUS },
    })
}

/// A request for a name that the connection's certificate does not cover belongs on another connection
/// (RFC 9110 section 15.5.20): browsers that reuse HTTP/2 connections then open one.
fn covered(ctx: &Context, host: &str) -> Result<(), Reason> {
    let Some(tls) = &ctx.facts().tls else { return Ok(()) };
    let Some(sni) = tls.sni.as_deref() else { return Ok(()) };
    if sni == host || ctx.shared.certificates.covers(Some(sni), host) {
        return Ok(());
    }
    Err(Reason::Misdirected { host: host.to_string(), sni: sni.to_owned() })
}

/// Whether the connection shows what the application demands: that its handshake was held under the roots of
/// the application's `client_ca`, as they are now. Browsers that are told otherwise open a new connection.
fn certified(session: &Session, ctx: &Context, settings: &AppSettings) -> Result<(), Reason> {
    // The proxy has no certificate to show to itself.
    if ctx.smokes {
        return Ok(());
    }
    let Some(file) = &settings.client_ca else { return Ok(()) };
    let shown = ctx.facts().tls.as_ref().and_then(|tls| tls.client_ca);
    if shown.is_some() && shown == ctx.shared.tls.roots_of(file) {
        return Ok(());
    }
    let host = normalize_host(authority(session.req_header()).unwrap_or_default());
    Err(Reason::NoClientCertificate { host: host.into_owned() })
}

/// What the answer tells browsers about insisting on https, if it does.
fn insistence(session: &Session, ctx: &Context, app: &App, settings: &AppSettings) -> Option<HeaderValue> {
    let tls = ctx.facts().tls.as_ref().filter(|_| settings.hsts != Hsts::Off)?;
    let host = normalize_host(authority(session.req_header())?);
    let now = ctx.arrived();
    hsts::applies(settings, tls, &host, now).then(|| ctx.shared.hsts.header(&app.name, now)).flatten()
}

/// Where a request is sent on to, if it is: to https, to the canonical host, or to both in one step.
fn redirection(session: &Session, ctx: &Context, settings: &AppSettings) -> Option<HeaderValue> {
    let tls = ctx.facts().tls.is_some();
    let may_upgrade = !tls && settings.redirect && settings.tls != Tls::Off;
    if !may_upgrade && settings.canonical_host.is_none() {
        return None;
    }
    let rules = ctx.shared.rules.load();
    let request = session.req_header();
    // A trusted proxy in front of us may have ended the TLS already.
    let secure = tls || ctx.client.trusted && rules.trust.says_https(&request.headers);
    let asked = authority(request)?;
    let came_by = asked.parse::<Authority>().ok().and_then(|authority| authority.port_u16());
    let upgrade = if may_upgrade && !secure { rules.https_for(came_by, settings) } else { None };
    let host = normalize_host(asked);
    let canonical = settings.canonical_host.as_deref().filter(|name| !name.eq_ignore_ascii_case(&host));
    let (scheme, port) = match upgrade {
        Some(port) => ("https", Some(port)),
        None if canonical.is_none() => return None,
        // The port that the client came by leads here.
        None => (if secure { "https" } else { "http" }, came_by),
    };
    let path = request.uri.path_and_query().map_or("/", |p| p.as_str());
    location(scheme, canonical.unwrap_or(&host), port, path)
}

/// A URL to be sent on to.
fn location(scheme: &str, host: &str, port: Option<u16>, path: &str) -> Option<HeaderValue> {
    let host = if host.contains(':') { Cow::Owned(format!("[{host}]")) } else { Cow::Borrowed(host) };
    let usual = if scheme == "https" { 443 } else { 80 };
    let location = match port.filter(|port| *port != usual) {
        Some(port) => format!("{scheme}://{host}:{port}{path}"),
        None => format!("{scheme}://{host}{path}"),
    };
    // A target such as `*` has no place behind a host.
    location.parse::<Uri>().ok().filter(|_| path.starts_with('/'))?;
    HeaderValue::try_from(location).ok()
}

/// A lease, and the settings that go with it.
pub(super) type Admitted = (Lease, Arc<AppSettings>);

/// Why a request gets no lease.
enum NoLease {
    /// It is answered.
    Refused(Reason),
    /// Nobody waits for it any more.
    ClientLeft,
}

impl From<Reason> for NoLease {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

/// Takes the lease; a request of a paused application waits for it in the queue.
async fn take_lease(session: &mut Session, ctx: &mut Context, app: &App) -> Result<Admitted, NoLease> {
    match app.enter(asked(session, ctx)) {
        Entry::Open(lease, settings) => Ok((lease, settings)),
        Entry::Paused(_) => {
            let from = ctx.started.elapsed();
            let came = wait_for_lease(session, ctx, app).await;
            traces::held(from, ctx);
            came
        }
        Entry::Stopped(_) | Entry::Gone => wait_for_lease(session, ctx, app).await,
    }
}

/// The release that the visitor's cookie names.
fn belongs(session: &Session, settings: &AppSettings) -> Option<Mark> {
    let affinity = settings.release_affinity.as_ref()?;
    sticky::brought(&session.req_header().headers, &affinity.cookie)
}

/// What tells a client of the canary's side from one of the live side.
fn asked<'r>(session: &'r Session, ctx: &Context) -> choice::Asked<'r> {
    choice::Asked { client: ctx.client.ip, headers: &session.req_header().headers }
}

async fn wait_for_lease(session: &mut Session, ctx: &Context, app: &App) -> Result<Admitted, NoLease> {
    let settings = app.settings();
    // Subscribed before the gate is looked at again, so that no change is missed.
    let mut changes = app.changes();
    let mut ending = ctx.shared.ending.clone();
    let mut place = None;
    let arrived = Instant::now();
    let retry_after = Duration::from_secs(1);
    loop {
        let max = match app.enter(asked(session, ctx)) {
            Entry::Open(lease, settings) => return Ok((lease, settings)),
            Entry::Gone => {
                let host = authority(session.req_header()).unwrap_or_default();
                return Err(Reason::UnknownHost { host: normalize_host(host).into_owned() }.into());
            }
            Entry::Stopped(_) if may_bypass(session, &settings) => return Ok(app.enter_regardless()),
            Entry::Stopped(message) => {
                return Err(Reason::Stopped { message: message.map(|m| m.to_string()) }.into());
            }
            Entry::Paused(max) => max,
        };
        if place.is_none() {
            place = app.hold.take(head_size(session), &settings.pause);
        }
        if place.is_none() {
            return Err(Reason::QueueFull { retry_after }.into());
        }
        tokio::select! {
            changed = changes.changed() => changed.map_err(|_| Reason::Paused { retry_after })?,
            () = tokio::time::sleep(max.saturating_sub(arrived.elapsed())) => {
                return Err(Reason::Paused { retry_after }.into());
            }
            () = request_given_up(session, ctx.facts().socket) => return Err(NoLease::ClientLeft),
            _ = ending.wait_for(|ending| *ending) => return Err(Reason::ShuttingDown.into()),
        }
    }
}

/// Resolves when nobody waits for the request any more: its stream was reset, or the connection closed.
pub(super) async fn request_given_up(session: &mut Session, socket: RawFd) {
    match session.as_downstream_mut().watch_h2_stream_close() {
        // Whether by a reset or an error, the stream has ended.
        Some(end) => drop(end.await),
        None => client_left(socket).await,
    }
}

/// Resolves when the client has closed its connection. What it sent before is left unread: it is looked
/// at from the side, for the request's body may be in the way.
pub(super) async fn client_left(socket: RawFd) {
    loop {
        tokio::time::sleep(LOOK_FOR_CLIENT).await;
        // SAFETY: the connection is open at least as long as its request is served, which is here.
        let borrowed = unsafe { BorrowedFd::borrow_raw(socket) };
        let mut polled = [PollFd::from_borrowed_fd(borrowed, PollFlags::RDHUP)];
        let at_once = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        if matches!(rustix::event::poll(&mut polled, Some(&at_once)), Ok(1..)) {
            return;
        }
    }
}

/// Whether the operator's bypass header opens a stopped application.
fn may_bypass(session: &Session, settings: &AppSettings) -> bool {
    let Some(token) = settings.maintenance.bypass_token.as_deref() else { return false };
    let sent = session.req_header().headers.get(settings.maintenance.bypass_header.as_str());
    sent.is_some_and(|value| value.as_bytes().ct_eq(token.as_bytes()).into())
}

/// About how much memory the head of a request takes.
fn head_size(session: &Session) -> u64 {
    let request = session.req_header();
    let headers: usize = request.headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
    let target = request.uri.path_and_query().map_or(0, |p| p.as_str().len());
    (headers + target) as u64
}

fn enter(session: &mut Session, ctx: &mut Context, lease: Lease) {
    ctx.belongs = ctx.settings.as_ref().and_then(|settings| belongs(session, settings));
    let body_follows = !session.is_body_empty();
    let request = session.req_header();
    let (is_http2, upstreams) = (session.is_http2(), &lease.epoch().upstreams);
    let shared = |one: &EpochUpstream| one.upstream.address().protocol() != UpstreamProtocol::Http1;
    let speaks_grpc = || is_http2 && upstreams.iter().any(shared);
    let kind = kind::at_request(&request.headers, body_follows, speaks_grpc);
    let pass = lease.admit(NewExchange {
        method: request.method.clone(),
        uri: request.uri.clone(),
        request_id: ctx.id.clone(),
        started: ctx.started,
        kind,
        abort: ctx.request.abort.clone(),
        timeouts: ctx.chain.as_ref().and_then(|chain| chain.timeouts.clone()),
    });
    if pass.epoch().tally.get().is_some() {
        ctx.admitted = ctx.started.elapsed();
    }
    ctx.pass = Some(pass);
}
