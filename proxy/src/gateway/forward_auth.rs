//! Forward authentication on the request path: what is told of a request to whoever is asked, and what comes of it.
//!
//! It is asked before the request has its lease, so that however slow it is no switch waits for it.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use pingora::proxy::Session;
use pingora::{Error, ErrorType, OrErr as _, Result};

use crate::answer::Reason;
use crate::middleware::{ForwardAuth, Verdict};
use crate::request_id::X_REQUEST_ID;

use super::admission::{authority, request_given_up};
use super::context::Context;
use super::{crumbs, reply, traces, visitor};

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Asks whether a request may pass. True when it may not, and was answered.
pub(super) async fn answered(session: &mut Session, ctx: &mut Context, auth: &ForwardAuth) -> Result<bool> {
    let question = question(session, ctx, auth)?;
    let socket = ctx.facts().socket;
    let verdict = tokio::select! {
        verdict = auth.ask(question) => verdict,
        () = request_given_up(session, socket) => return Err(Error::new_down(ErrorType::ConnectionClosed)),
    };
    match verdict {
        Ok(Verdict::Passes(handed)) => {
            ctx.handed = Some(Box::new(handed));
            Ok(false)
        }
        Ok(Verdict::Answer(answer)) => reply::handed_on(session, ctx, answer).await,
        Err(_) => {
            ctx.shared.metrics.unasked();
            reply::send(session, ctx, &Reason::NoVerdict).await
        }
    }
}

/// The headers of the question: the client's as far as they are shown, without what is between it and the proxy, and what
/// the proxy knows.
fn question(session: &Session, ctx: &Context, auth: &ForwardAuth) -> Result<HeaderMap> {
    let head = session.req_header();
    let rules = ctx.shared.rules.load();
    let mut headers = auth.shows(&head.headers);
    if session.is_http2() {
        crumbs::join(&mut headers)?;
    }
    for name in &rules.trust.removals(&ctx.client, &head.headers) {
        headers.remove(name);
    }
    if let Some(settings) = &ctx.settings {
        headers.remove(settings.maintenance.bypass_header.as_str());
        visitor::keep_secret(&mut headers, settings);
    }
    let (facts, host) = (ctx.facts(), authority(head).unwrap_or_default());
    let said = rules.trust.outgoing(&ctx.client, facts.peer.ip(), facts.tls.is_some(), host, &head.headers);
    said.set(&mut headers);
    let text = |text: &str| HeaderValue::from_str(text).or_err(ErrorType::InvalidHTTPHeader, "the question");
    headers.insert(X_FORWARDED_METHOD, text(head.method.as_str())?);
    headers.insert(X_FORWARDED_URI, text(head.uri.path_and_query().map_or("/", |target| target.as_str()))?);
    headers.insert(X_REQUEST_ID, ctx.id.header());
    traces::tell(&mut headers, ctx);
    Ok(headers)
}
