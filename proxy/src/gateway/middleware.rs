//! Middleware on the request path: who is refused, sent on or answered, and what is changed of requests and answers.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{StatusCode, Uri, header, request};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{ErrorType, OrErr as _, Result};

use crate::answer::Reason;
use crate::metrics::Limit;
use crate::middleware::{Asked, Chain, Chains, Found, Standing, is_preflight, take_out};

use super::context::Context;
use super::{forward_auth, reply};

/// What is told of a path that may be read in two ways.
pub(super) const AMBIGUOUS: &str =
    "its path may mean another place than it says; write it without escapes, dots and double slashes";

const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Does what the settings say of the place that is asked for. True when the request was answered.
pub(super) async fn answered(session: &mut Session, ctx: &mut Context, chains: &Chains) -> Result<bool> {
    let Ok(chain) = chains.at(session.req_header().uri.path()) else {
        return reply::send(session, ctx, &Reason::BadRequest { why: AMBIGUOUS }).await;
    };
    let Some(chain) = chain.map(Arc::clone) else { return Ok(false) };
    ctx.chain = Some(Arc::clone(&chain));
    let request = session.req_header();
    ctx.origin = chain.cors.as_ref().and_then(|cors| cors.allows(&request.headers));
    // The proxy itself tries what is behind, whoever else is let in.
    if !ctx.smokes
        && let Some(reason) = turned_away(session, ctx, &chain)
    {
        return reply::send(session, ctx, &reason).await;
    }
    let request = session.req_header();
    if let Some(cors) = chain.cors.as_ref().filter(|_| is_preflight(&request.method, &request.headers)) {
        let head = cors.preflight(&request.headers, ctx.origin.as_ref())?;
        return reply::head_alone(session, ctx, head).await;
    }
    if !ctx.smokes
        && let Some(reason) = unknown(session, ctx, &chain).await
    {
        return reply::send(session, ctx, &reason).await;
    }
    if let Some(auth) = chain.forward_auth.as_ref().filter(|_| !ctx.smokes)
        && forward_auth::answered(session, ctx, auth).await?
    {
        return Ok(true);
    }
    if let Err(reason) = takes_body(session, ctx, &chain) {
        return reply::send(session, ctx, &reason).await;
    }
    if let Some((status, location)) = chain.redirects.of(&session.req_header().uri) {
        return reply::redirect(session, ctx, status, location).await;
    }
    if let Some(files) = &chain.files {
        let request = session.req_header();
        let found = files.find(&request.method, &request.uri, &request.headers).await;
        let reason = match found {
            Found::Answer(answer) => return reply::file(session, ctx, *answer).await,
            Found::Folder(location) => {
                return reply::redirect(session, ctx, StatusCode::TEMPORARY_REDIRECT, location).await;
            }
            Found::Application => None,
            Found::Nothing => Some(Reason::NoFile),
            Found::OnlyRead => Some(Reason::OnlyRead),
            Found::Unreadable(error) => {
                tracing::debug!(%error, path = session.req_header().uri.path(), "a file cannot be read");
                Some(Reason::UnreadableFile)
            }
        };
        if let Some(reason) = reason {
            return reply::send(session, ctx, &reason).await;
        }
    }
    match &chain.answer {
        Some(answer) => reply::fixed(session, ctx, answer).await,
        None => Ok(false),
    }
}

/// Why a client is turned away, whoever it is.
fn turned_away(session: &Session, ctx: &mut Context, chain: &Chain) -> Option<Reason> {
    if !chain.lets_in(&ctx.client) {
        return Some(Reason::NotLetIn);
    }
    let request = session.req_header();
    let client = ctx.client;
    let asked = Asked { client: &client, headers: &request.headers, path: request.uri.path() };
    ctx.standing = chain.counted(asked);
    if let Some(standing) = ctx.standing.filter(|standing| !standing.allowed) {
        ctx.shared.metrics.limits().acted(Limit::RateLimit);
        return Some(Reason::TooMany { retry_after: standing.retry_after });
    }
    match chain.enter(asked) {
        Ok(permit) => ctx.permit = permit,
        Err(_) => {
            ctx.shared.metrics.limits().acted(Limit::InFlight);
            return Some(Reason::TooManyAtOnce);
        }
    }
    None
}

/// What is asked of a client that says not, or not rightly, who it is.
async fn unknown(session: &Session, ctx: &mut Context, chain: &Chain) -> Option<Reason> {
    let login = chain.login.as_ref()?;
    ctx.user = login.who(&session.req_header().headers).await;
    ctx.user.is_none().then(|| Reason::NoLogin { challenge: login.challenge.clone() })
}

/// Whether the body that is announced is one that is taken (RFC 9110 section 15.5.14).
fn takes_body(session: &Session, ctx: &Context, chain: &Chain) -> std::result::Result<(), Reason> {
    let Some(limit) = chain.body_size else { return Ok(()) };
    let announced = session.req_header().headers.get(header::CONTENT_LENGTH);
    let announced: Option<u64> = announced.and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length| length > limit.0) {
        ctx.shared.metrics.limits().acted(Limit::BodySize);
        return Err(Reason::BodyTooLarge { limit });
    }
    Ok(())
}

/// What is changed of a request before the proxy's own words are put into it.
pub(super) fn dress_request(chain: &Chain, request: &mut request::Parts, ctx: &Context) -> Result<()> {
    if let Some(login) = &chain.login {
        if !login.forward {
            request.headers.remove(header::AUTHORIZATION);
        }
        if let Some(name) = &login.user_header {
            take_out(&mut request.headers, std::slice::from_ref(name));
            if let Some(user) = ctx.user.as_deref().and_then(|user| HeaderValue::try_from(user).ok()) {
                request.headers.insert(name, user);
            }
        }
    }
    if let Some(auth) = &chain.forward_auth {
        auth.strip(&mut request.headers);
        for (name, value) in ctx.handed.iter().flat_map(|handed| handed.iter()) {
            request.headers.append(name, value.clone());
        }
    }
    if let Some(rewrite) = &chain.rewrite {
        if let Some(target) = rewrite.of(&request.uri) {
            let mut uri = std::mem::take(&mut request.uri).into_parts();
            uri.path_and_query = Some(target);
            request.uri =
                Uri::from_parts(uri).or_err(ErrorType::InvalidHTTPHeader, "the rewritten target")?;
        }
        if let Some(strip) = &rewrite.strip {
            let strip = HeaderValue::try_from(strip.as_str());
            let strip = strip.or_err(ErrorType::InvalidHTTPHeader, "the stripped path")?;
            request.headers.insert(X_FORWARDED_PREFIX, strip);
        }
    }
    chain.request.change(&mut request.headers, ctx.client.ip);
    Ok(())
}

/// What is changed of an answer, be it the application's or the proxy's own.
pub(super) fn dress_response(response: &mut ResponseHeader, ctx: &Context) -> Result<()> {
    let Some(chain) = &ctx.chain else { return Ok(()) };
    if let Some(standing) = &ctx.standing {
        let (policy, now) = told(standing);
        response.insert_header(RATELIMIT_POLICY, policy)?;
        response.insert_header(RATELIMIT, now)?;
    }
    if let Some(cors) = &chain.cors {
        cors.dress(response, ctx.origin.as_ref())?;
    }
    chain.response.change_answer(response)
}

/// What a client is told of where it stands (draft-ietf-httpapi-ratelimit-headers-10): how many it may ask for at once, how
/// many are left, and in how many seconds all are there again.
fn told(standing: &Standing) -> (String, String) {
    let seconds = standing.reset.as_secs() + u64::from(standing.reset.subsec_nanos() > 0);
    (
        format!("\"requests\";q={}", standing.burst),
        format!("\"requests\";r={};t={seconds}", standing.remaining),
    )
}
