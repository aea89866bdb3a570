//! Traces at the gateway: what [`crate::traces`] is told of a request. Each is one look at an `Option` where none is traced.

use std::borrow::Cow;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, Method, Version};
use pingora::proxy::Session;

use crate::epoch::Pass;
use crate::preview::loggable;
use crate::route::normalize_host;
use crate::traces::{Copied, Served, Trace};

use super::admission::authority;
use super::context::Context;

/// The request has arrived, and it is known whose word is taken.
pub(super) fn begin(headers: &HeaderMap, ctx: &mut Context) {
    let sampler = ctx.shared.rules.load().sampler;
    ctx.trace = sampler.map(|sampler| Box::new(Trace::begin(sampler, headers, ctx.client.trusted)));
}

/// Says to whoever is asked to which trace that belongs.
pub(super) fn tell(headers: &mut HeaderMap, ctx: &Context) {
    if let Some(trace) = &ctx.trace {
        trace.tell(headers);
    }
}

/// A copy of the request is made, which has a span of its own; says so in its headers.
pub(super) fn copied(headers: &mut HeaderMap, ctx: &Context) -> Option<Copied> {
    let trace = ctx.trace.as_ref()?;
    let after = u64::try_from(ctx.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let copied = Copied::of(trace, arrived(ctx).saturating_add(after), &ctx.shared.traces);
    copied.tell(headers);
    Some(copied)
}

/// The upstream has answered.
pub(super) fn answered(status: u16, ctx: &mut Context) {
    if let Some(trace) = &mut ctx.trace {
        trace.answered(status);
    }
}

/// The upstream has failed.
pub(super) fn failed(why: impl FnOnce() -> Cow<'static, str>, ctx: &mut Context) {
    let now = ctx.started.elapsed();
    if let Some(trace) = &mut ctx.trace {
        trace.failed(why, now);
    }
}

/// It waited while its application was paused.
pub(super) fn held(from: Duration, ctx: &mut Context) {
    let now = ctx.started.elapsed();
    if let Some(trace) = &mut ctx.trace {
        trace.held(from, now);
    }
}

/// The request is over: its spans go on their way.
pub(super) fn over(session: Option<&Session>, took: Duration, error: Option<&str>, ctx: &Context) {
    let Some(trace) = ctx.trace.as_ref().filter(|trace| trace.ids().is_some()) else { return };
    let head = session.map(|session| session.req_header());
    let exchange = ctx.exchange();
    let uri = head.map(|head| &head.uri).or_else(|| exchange.map(|exchange| exchange.uri()));
    let method = head.map(|head| &head.method).or_else(|| exchange.map(|exchange| exchange.method()));
    let epoch = ctx.pass.as_ref().map(Pass::epoch);
    let version = head.map(|head| match head.version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    });
    let host = normalize_host(head.and_then(|head| authority(head)).unwrap_or_default());
    let served = Served {
        arrived: arrived(ctx),
        took,
        method: method.unwrap_or(&Method::GET),
        route: ctx.settings.as_ref().map(|settings| route(settings.path.as_str())),
        path: loggable(uri.map_or("", |uri| uri.path())),
        scheme: if ctx.facts().tls.is_some() { "https" } else { "http" },
        host: &host,
        client: ctx.client.ip,
        version,
        agent: head.and_then(|head| head.headers.get(USER_AGENT)?.to_str().ok()),
        status: ctx.status,
        error,
        app: ctx.app.as_ref().map(|app| app.name.as_str()),
        slot: epoch.map(|epoch| (epoch.slot, epoch.generation)),
        release: epoch.and_then(|epoch| epoch.release.as_ref()),
        request_id: ctx.id.as_str(),
    };
    if let Some((bytes, spans)) = trace.spans(&served) {
        ctx.shared.traces.push(&bytes, spans);
    }
}

/// When the request arrived, in nanoseconds since 1970.
fn arrived(ctx: &Context) -> u64 {
    u64::try_from(ctx.arrived().as_nanosecond()).unwrap_or_default()
}

/// The path of an application as a route: that of the whole host is written as nothing.
const fn route(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}
