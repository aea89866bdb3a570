//! Copies at the gateway: which requests are offered to [`crate::mirror`], and what of them goes along.
//!
//! A copy is what the upstream of the live slot is asked: after middleware, without what belongs to a connection alone.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{
    ACCEPT, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use switcher_config::settings::AppSettings;

use crate::hop::HopByHop;
use crate::mirror::{Answer, Mirror, Request, Told};

use super::admission::authority;
use super::context::Context;
use super::traces;

/// Tells an application that a request is a copy. Nobody but the proxy may say that of a request.
static HEADER: HeaderName = HeaderName::from_static("x-switcher-mirror");

/// A copy of a request, and how much of the real answer went by so far.
pub(super) struct Copied {
    told: Told,
    bytes: u64,
}

/// Offers a request, as it is about to be sent to its upstream, to be copied. Once, however often it is tried.
pub(super) fn offer(session: &mut Session, request: &RequestHeader, ctx: &mut Context) {
    let Some(settings) = &ctx.settings else { return };
    let Some(mirrored) = &settings.mirror else { return };
    if std::mem::replace(&mut ctx.offered, true) || ctx.previews || !session.is_body_empty() {
        return;
    }
    let wanted = mirrored.methods.iter().any(|method| method.as_str() == request.method.as_str());
    if !wanted || is_endless(request) {
        return;
    }
    let Some(app) = &ctx.app else { return };
    // A canary's client is served by the standby slot already.
    if ctx.pass.as_ref().is_none_or(|pass| pass.epoch().slot != app.live_slot()) {
        return;
    }
    let mirror = app.mirror.get_or_init(|| Arc::new(Mirror::new(ctx.shared.metrics.mirror(&app.name))));
    if !mirror.draws(mirrored.share) {
        return;
    }
    let told = mirror.send(app, mirrored, || copy(session, request, ctx));
    ctx.copied = told.map(|told| Copied { told, bytes: 0 });
}

/// Takes away what a client says of its request that only the proxy may say.
pub(super) fn keep_true(headers: &mut HeaderMap, settings: &AppSettings) {
    if settings.mirror.is_some() {
        headers.remove(&HEADER);
    }
}

/// Whether it asks for what has no end that two answers could be compared at.
fn is_endless(request: &RequestHeader) -> bool {
    let accepts = request.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    request.headers.contains_key(UPGRADE)
        || accepts.is_some_and(|accepts| accepts.contains("text/event-stream"))
}

/// What goes along. None of what has no path, such as `OPTIONS *`.
fn copy(session: &Session, request: &RequestHeader, ctx: &Context) -> Option<Request> {
    let mut headers = request.headers.clone();
    for name in HopByHop::of_request(&request.headers).removals() {
        headers.remove(name);
    }
    for name in [CONTENT_LENGTH, EXPECT, TRAILER, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let host = headers.remove(HOST);
    let host = host.as_ref().and_then(|host| host.to_str().ok());
    let authority = host.or_else(|| authority(session.req_header())).unwrap_or_default().to_owned();
    headers.insert(&HEADER, HeaderValue::from_static("1"));
    let path = session.req_header().uri.path().to_owned();
    let target = request.uri.path_and_query().filter(|target| target.as_str().starts_with('/'))?.clone();
    let span = traces::copied(&mut headers, ctx);
    let (method, id) = (request.method.clone(), ctx.id.clone());
    Some(Request { method, target, authority, headers, id, path, span })
}

/// A piece of the real answer goes by.
pub(super) fn hear(bytes: usize, ctx: &mut Context) {
    if let Some(copied) = &mut ctx.copied {
        copied.bytes += bytes as u64;
    }
}

/// The real request is over: `whole` says whether in order.
pub(super) fn tell(ctx: &mut Context, status: u16, whole: bool) {
    let Some(Copied { told, bytes }) = ctx.copied.take() else { return };
    let connected = ctx.connected.unwrap_or_default();
    let took = ctx.started.elapsed().saturating_sub(connected);
    let first_byte = ctx.first_byte.map_or(took, |first| first.saturating_sub(connected));
    told.tell(Answer { status, bytes, whole, first_byte, took });
}
