//! Previews at the gateway: who is let into the standby slot, and what nobody but the proxy may see of it.
//!
//! What opens the slot is decided in [`crate::preview`]; here it is taken from requests and kept from upstreams.

use http::header::{self, HeaderValue};
use http::{HeaderMap, Method};
use jiff::Timestamp;
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use switcher_config::settings::AppSettings;

use crate::answer::Reason;
use crate::app::App;
use crate::preview::{Guard, Visit, without_cookie};
use crate::smoke;

use super::admission::Admitted;
use super::context::Context;

/// What a request for the link of `switcher preview` gets; `None` when it is for something else.
pub(super) fn at_link(session: &Session, ctx: &Context, app: &App, settings: &AppSettings) -> Option<Visit> {
    settings.preview.as_ref()?;
    let request = session.req_header();
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return None;
    }
    let secure = is_secure(request, ctx);
    let query = request.uri.query().unwrap_or_default();
    app.guard()?.visit(request.uri.path(), query, seconds(ctx.arrived()), secure)
}

/// Whether the client came by https, to us or to a trusted proxy in front of us.
pub(super) fn is_secure(request: &RequestHeader, ctx: &Context) -> bool {
    let says_https = || ctx.shared.rules.load().trust.says_https(&request.headers);
    ctx.facts().tls.is_some() || ctx.client.trusted && says_https()
}

/// Whether the proxy itself asks, for a smoke test.
pub(super) fn smokes(session: &Session, ctx: &Context) -> bool {
    ctx.shared.smoke.is_own(&session.req_header().headers)
}

/// The lease of a request that previews the standby slot; `None` for everybody else.
pub(super) fn enter(
    session: &Session,
    ctx: &Context,
    app: &App,
    settings: &AppSettings,
) -> Option<Result<Admitted, Reason>> {
    let headers = &session.req_header().headers;
    let admits = |guard: &Guard| guard.admits(headers, seconds(ctx.arrived()));
    let previews = || settings.preview.is_some() && app.guard().is_some_and(|guard| admits(&guard));
    if !(ctx.smokes || previews()) {
        return None;
    }
    let (lease, settings) = app.enter_standby()?;
    let slot = lease.epoch().slot;
    let there = !lease.epoch().upstreams.is_empty();
    Some(if there { Ok((lease, settings)) } else { Err(Reason::NothingToPreview { slot }) })
}

/// Takes out of a request what is between a visitor and the proxy.
pub(super) fn keep_secret(headers: &mut HeaderMap, settings: &AppSettings) {
    headers.remove(&smoke::HEADER);
    let Some(preview) = &settings.preview else { return };
    headers.remove(preview.header.as_str());
    if let Some(rest) = without_cookie(headers, &preview.cookie) {
        headers.remove(header::COOKIE);
        for field in rest {
            headers.append(header::COOKIE, field);
        }
    }
}

/// No cache may give to others what a visitor saw; and a smoke test must know that its answer is the standby's.
pub(super) fn mark(response: &mut ResponseHeader, ctx: &Context) -> Result<()> {
    if let (true, Some(app), Some(pass)) = (ctx.smokes, &ctx.app, &ctx.pass) {
        response.insert_header(&smoke::HEADER, smoke::mark(&app.name, pass.epoch().slot))?;
    }
    if ctx.previews {
        response.insert_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))?;
    }
    Ok(())
}

/// Unix seconds.
fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_second()).unwrap_or_default()
}
