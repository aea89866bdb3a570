//! The response cache on the request path: whose answers are looked up, by what they are found, and what is told of it.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use pingora_cache::key::HashBinary;
use pingora_cache::{CacheKey, CacheMeta, CachePhase, NoCacheReason, RespCacheable, VarianceBuilder};

use crate::cache::{self, varies, verdict};
use crate::metrics::CacheResult;

use super::admission::authority;
use super::asset;
use super::context::Context;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What asks for an answer only if it still is what the client knows, to change it: the application's to judge.
const FOR_CHANGES: [HeaderName; 2] = [header::IF_MATCH, header::IF_UNMODIFIED_SINCE];

fn in_use(ctx: &Context) -> bool {
    ctx.chain.as_ref().is_some_and(|chain| chain.caches)
}

/// Serves the request from what is held, where that is wanted. A smoke test is about the application itself.
pub(super) fn begin(session: &mut Session, ctx: &Context) {
    if !in_use(ctx) || ctx.smokes || !session.is_body_empty() {
        return;
    }
    let request = session.req_header();
    let safe = matches!(request.method, Method::GET | Method::HEAD);
    if !safe || FOR_CHANGES.iter().any(|name| request.headers.contains_key(name)) {
        return;
    }
    if let Some(pass) = &ctx.pass {
        let (epoch, held) = (pass.epoch(), ctx.shared.cache);
        epoch.held.get_or_init(|| held.part(epoch.pool));
        held.serve(&mut session.cache);
    }
}

/// By what the answer is found.
pub(super) fn key(request: &RequestHeader, ctx: &Context) -> Result<CacheKey> {
    let Some(pass) = &ctx.pass else {
        return Error::e_explain(
            ErrorType::InternalError,
            "a request without a lease has no part in the cache",
        );
    };
    let rules = ctx.shared.rules.load();
    let secure = ctx.facts().tls.is_some() || ctx.client.trusted && rules.trust.says_https(&request.headers);
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
    Ok(cache::key(pass.epoch().pool, secure, authority(request).unwrap_or_default(), target))
}

/// Nothing is held. Whoever asks for a part is given it by the application, which would have to send all otherwise.
pub(super) fn missed(session: &mut Session) {
    session.cache.cache_miss();
    if session.req_header().headers.contains_key(header::RANGE) {
        session.cache.disable(NoCacheReason::Deferred);
    }
}

/// Notes how old the application's answer is, or its word that nothing has changed.
pub(super) fn came(answer: &ResponseHeader, ctx: &mut Context) {
    if in_use(ctx) {
        ctx.age = cache::age(&answer.headers, SystemTime::now());
    }
}

/// Whether an application's answer is held.
pub(super) fn holds(session: &Session, answer: &ResponseHeader, ctx: &Context) -> RespCacheable {
    // It would be found as an answer of the slot that the request came to.
    if asset::was_asked(ctx) {
        return RespCacheable::Uncacheable(NoCacheReason::OriginNotCache);
    }
    // Who was asked whether the request may pass may have told the application who it is.
    let is_known = ctx.user.is_some() || ctx.chain.as_ref().is_some_and(|chain| chain.forward_auth.is_some());
    let authorized = is_known || session.req_header().headers.contains_key(header::AUTHORIZATION);
    verdict(answer, ctx.age, authorized, SystemTime::now())
}

/// Which of the answers for a target is meant, by the headers that it says choose (RFC 9111 section 4.1).
pub(super) fn variance(held: &CacheMeta, request: &RequestHeader) -> Option<HashBinary> {
    let mut chosen = VarianceBuilder::new();
    for name in varies(held.headers()) {
        let values: Vec<&[u8]> = request.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        chosen.add_owned_name_value(name.to_ascii_lowercase(), values.join(&b", "[..]));
    }
    chosen.finalize()
}

/// Tells the client where its answer comes from (RFC 9211), and forgets what a change has made wrong (RFC 9111 section 4.4).
pub(super) fn tell(session: &Session, answer: &mut ResponseHeader, ctx: &mut Context) -> Result<()> {
    if !in_use(ctx) || answer.status.is_informational() {
        return Ok(());
    }
    // Who asked for a head, or has the body already, is sent none. Of what is missing the whole is asked for, and pingora-proxy
    // 0.9.1 passes that on, which breaks a stream of HTTP/2.
    let bodyless = session.req_header().method == Method::HEAD || answer.status == StatusCode::NOT_MODIFIED;
    ctx.for_cache_alone = bodyless && session.upstream_headers_mutated_for_cache();
    let request = session.req_header();
    let safe = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    if !safe && answer.status < StatusCode::BAD_REQUEST {
        ctx.shared.cache.forget(&key(request, ctx)?);
    }
    let (result, told) = match session.cache.phase() {
        CachePhase::Hit => (CacheResult::Hit, "switcher; hit"),
        CachePhase::Stale | CachePhase::StaleUpdating => {
            (CacheResult::Stale, "switcher; hit; fwd=stale; detail=error")
        }
        CachePhase::Revalidated | CachePhase::RevalidatedNoCache(_) => {
            (CacheResult::Revalidated, "switcher; fwd=stale; fwd-status=304")
        }
        CachePhase::Expired => (CacheResult::Miss, "switcher; fwd=stale"),
        CachePhase::Miss => (CacheResult::Miss, "switcher; fwd=miss"),
        CachePhase::Bypass | CachePhase::Disabled(_) | CachePhase::Uninit | CachePhase::CacheKey => {
            (CacheResult::Bypass, "switcher; fwd=bypass")
        }
    };
    ctx.shared.metrics.cache.answered(result);
    answer.append_header(CACHE_STATUS, HeaderValue::from_static(told)).map(drop)
}

/// A piece of the answer's body, which may be for the cache alone.
pub(super) fn body(body: &mut Option<Bytes>, ctx: &Context) {
    if ctx.for_cache_alone {
        *body = None;
    }
}
