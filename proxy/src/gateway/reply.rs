//! The proxy's own words to a client: its answers, redirects, and goodbyes to what it closes.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession as HttpSession;
use pingora::proxy::{FailToProxy, Session};
use pingora::{Error, ErrorSource, ErrorType, Result};
use switcher_config::Slot;
use switcher_config::wire::Kind;
use tower_http::services::fs::ServeFileSystemResponseBody as FileBody;

use crate::access_log::{Outcome, Record};
use crate::answer::Reason;
use crate::connection::Facts;
use crate::epoch::Pass;
use crate::hygiene::Violation;
use crate::ledger::Cause;
use crate::middleware::{Fixed, has_body};
use crate::preview::Visit;
use crate::request_id::{RequestId, X_REQUEST_ID};

use super::context::Context;
use super::replace::Replacement;
use super::{Shared, compress, forward, middleware, replace, visitor};

/// When to come back to an application that has no room. It may have some at any moment.
const OVERLOADED_FOR: Duration = Duration::from_secs(1);

/// What Pingora is told for a status when no answer was sent here: it stands in its own log line alone, which is off.
const NOTHING_SENT: u16 = 0;

/// Answers the request. Always true: it was answered.
pub(super) async fn send(session: &mut Session, ctx: &mut Context, reason: &Reason) -> Result<bool> {
    ctx.own_answer = Some(reason.code());
    ctx.status = Some(reason.status().as_u16());
    let request = &session.req_header().headers;
    let answer = match replace::own(ctx, request, reason) {
        Some(page) => reason.answer_by(&page, &ctx.id),
        None => reason.answer(request, &ctx.id),
    };
    let mut head = ResponseHeader::build(answer.status, Some(answer.headers.len() + 1))?;
    for (name, value) in answer.headers {
        head.insert_header(name, value)?;
    }
    write(session, ctx, head, answer.body).await?;
    Ok(true)
}

/// The bytes of the answer to what is no request, which is counted and logged here.
pub(crate) fn refuse(shared: &Shared, facts: &Facts, reason: &Reason) -> Vec<u8> {
    let id = RequestId::generate();
    let answer = match replace::of_proxy(shared, reason) {
        Some(page) => reason.answer_by(&page, &id),
        None => reason.answer(&HeaderMap::new(), &id),
    };
    let status = answer.status;
    let mut bytes = Vec::with_capacity(512);
    let mut line = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    };
    for (name, value) in &answer.headers {
        line(name.as_str().as_bytes(), value.as_bytes());
    }
    line(X_REQUEST_ID.as_str().as_bytes(), id.header().as_bytes());
    line(b"connection", b"close");
    let reason_phrase = status.canonical_reason().unwrap_or_default();
    let mut whole = format!("HTTP/1.1 {} {reason_phrase}\r\n", status.as_str()).into_bytes();
    whole.append(&mut bytes);
    whole.extend_from_slice(b"\r\n");
    whole.extend_from_slice(&answer.body);
    shared.metrics.unrouted(status.as_u16());
    if let Reason::Malformed(violation) = reason {
        shared.metrics.malformed(*violation);
    }
    let outcome = Outcome { id: &id, status: status.as_u16(), failed: true, took: Duration::ZERO };
    if shared.access_log.wants(outcome) {
        shared.access_log.log(refused(facts, reason, id));
    }
    whole
}

/// What is known of a request that is none.
fn refused(facts: &Facts, reason: &Reason, request_id: RequestId) -> Record<'static> {
    Record {
        time: Timestamp::now(),
        request_id,
        trace: None,
        app: None,
        slot: None,
        generation: None,
        client: facts.peer.ip().to_canonical(),
        protocol: "HTTP/1.1",
        tls: facts.tls.is_some(),
        method: Method::default(),
        host: Cow::Borrowed(""),
        path: Cow::Borrowed(""),
        status: reason.status().as_u16(),
        kind: Kind::Requests,
        upstream: None,
        tries: 0,
        bytes_in: 0,
        bytes_out: 0,
        duration: Duration::ZERO,
        connect: None,
        first_byte: None,
        user_agent: None,
        referer: None,
        error: Some(Cow::Borrowed(reason.code())),
        headers: Vec::new(),
    }
}

/// Gives an authority what it looks for (RFC 8555 section 8.3).
pub(super) async fn challenge(session: &mut Session, ctx: &mut Context, answer: &str) -> Result<bool> {
    ctx.status = Some(StatusCode::OK.as_u16());
    let mut head = ResponseHeader::build(StatusCode::OK, Some(4))?;
    head.insert_header(header::CONTENT_TYPE, "text/plain; charset=utf-8")?;
    head.insert_header(header::CONTENT_LENGTH, answer.len())?;
    head.insert_header(header::CACHE_CONTROL, "no-store")?;
    write(session, ctx, head, Bytes::copy_from_slice(answer.as_bytes())).await?;
    Ok(true)
}

/// Sends a request on: to https, to the canonical host (308 keeps the method, RFC 9110 section 15.4.9), or where the
/// settings say.
pub(super) async fn redirect(
    session: &mut Session,
    ctx: &mut Context,
    status: StatusCode,
    location: HeaderValue,
) -> Result<bool> {
    ctx.status = Some(status.as_u16());
    let mut head = ResponseHeader::build(status, Some(3))?;
    head.insert_header(header::LOCATION, location)?;
    head.insert_header(header::CONTENT_LENGTH, 0)?;
    write(session, ctx, head, Bytes::new()).await?;
    Ok(true)
}

/// Answers with a head that is whole.
pub(super) async fn head_alone(
    session: &mut Session,
    ctx: &mut Context,
    head: ResponseHeader,
) -> Result<bool> {
    ctx.status = Some(head.status.as_u16());
    write(session, ctx, head, Bytes::new()).await?;
    Ok(true)
}

/// Hands a no on to the client, as whoever was asked said it.
pub(super) async fn handed_on(
    session: &mut Session,
    ctx: &mut Context,
    answer: Response<Bytes>,
) -> Result<bool> {
    let (said, body) = answer.into_parts();
    ctx.status = Some(said.status.as_u16());
    // One that leads to a login is no failure.
    if !said.status.is_redirection() {
        ctx.own_answer = Some(Reason::NoVerdict.code());
    }
    let mut head = ResponseHeader::build(said.status, Some(said.headers.len() + 4))?;
    for (name, value) in &said.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    let body = if has_body(said.status) { body } else { Bytes::new() };
    if has_body(said.status) {
        head.insert_header(header::CONTENT_LENGTH, body.len())?;
    }
    write(session, ctx, head, body).await?;
    Ok(true)
}

/// Answers in the application's place.
pub(super) async fn fixed(session: &mut Session, ctx: &mut Context, answer: &Fixed) -> Result<bool> {
    ctx.status = Some(answer.status.as_u16());
    let mut head = ResponseHeader::build(answer.status, Some(4))?;
    let bodyless = !has_body(answer.status);
    let body = if bodyless { Bytes::new() } else { answer.body.clone() };
    if !bodyless {
        head.insert_header(header::CONTENT_TYPE, &answer.content_type)?;
        head.insert_header(header::CONTENT_LENGTH, body.len())?;
    }
    write(session, ctx, head, body).await?;
    Ok(true)
}

/// Answers with a file, or what else there is to say of it, piece by piece.
pub(super) async fn file(
    session: &mut Session,
    ctx: &mut Context,
    answer: Response<FileBody>,
) -> Result<bool> {
    let (said, mut body) = answer.into_parts();
    ctx.status = Some(said.status.as_u16());
    let mut head = ResponseHeader::build(said.status, Some(said.headers.len() + 6))?;
    for (name, value) in &said.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    // Where something begins that is no file, nothing follows the head.
    if !said.headers.contains_key(header::CONTENT_LENGTH) && has_body(said.status) {
        head.insert_header(header::CONTENT_LENGTH, 0)?;
    }
    dress(&mut head, ctx)?;
    let mut left = length(&head);
    let compressor = ctx.chain.as_ref().and_then(|chain| chain.compress.as_ref());
    let mut encoder = match compressor {
        Some(compressor) => compressor.begin(session.req_header(), &mut head)?,
        None => None,
    };
    if write_head(session, head, left == 0).await? {
        return Ok(true);
    }
    while left > 0 {
        let piece = match body.frame().await {
            Some(Ok(piece)) => piece.into_data().unwrap_or_default(),
            Some(Err(error)) => {
                return Error::e_because(ErrorType::InternalError, "a file cannot be read on", error);
            }
            None => {
                return Error::e_explain(ErrorType::InternalError, "a file became shorter while it was sent");
            }
        };
        // One that grows is sent as long as it was.
        let piece = piece.slice(..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        left -= piece.len() as u64;
        let out = match (encoder.take_if(|_| left == 0), &mut encoder) {
            (Some(last), _) => last.finish(&piece)?,
            (None, Some(encoder)) => encoder.piece(&piece)?,
            (None, None) => piece,
        };
        if !out.is_empty() || left == 0 {
            ctx.response_body(out.len());
            forward::bound_taking(session, out.len(), ctx);
            session.write_response_body(Some(out), left == 0).await?;
        }
    }
    Ok(true)
}

fn length(head: &ResponseHeader) -> u64 {
    let length = head.headers.get(header::CONTENT_LENGTH);
    length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0)
}

/// Hands a pass over, or takes it back, and leads on to the application (RFC 9110 section 15.4.4).
pub(super) async fn visit(session: &mut Session, ctx: &mut Context, visit: Visit) -> Result<bool> {
    let (cookie, location) = match visit {
        Visit::Cookie(cookie, location) => (cookie, location),
        Visit::Refused => return send(session, ctx, &Reason::PreviewOver).await,
    };
    ctx.status = Some(StatusCode::SEE_OTHER.as_u16());
    let mut head = ResponseHeader::build(StatusCode::SEE_OTHER, Some(6))?;
    head.insert_header(header::LOCATION, location)?;
    head.insert_header(header::SET_COOKIE, cookie)?;
    head.insert_header(header::CACHE_CONTROL, "no-store")?;
    head.insert_header(header::REFERRER_POLICY, "no-referrer")?;
    head.insert_header(header::CONTENT_LENGTH, 0)?;
    write(session, ctx, head, Bytes::new()).await?;
    Ok(true)
}

async fn write(
    session: &mut Session,
    ctx: &mut Context,
    mut head: ResponseHeader,
    body: Bytes,
) -> Result<()> {
    dress(&mut head, ctx)?;
    put(session, ctx, head, body).await
}

/// Puts into an answer what stands in every one.
fn dress(head: &mut ResponseHeader, ctx: &mut Context) -> Result<()> {
    head.insert_header(X_REQUEST_ID, ctx.id.header())?;
    if let Some(hsts) = &ctx.hsts {
        head.insert_header(header::STRICT_TRANSPORT_SECURITY, hsts)?;
    }
    visitor::mark(head, ctx)?;
    middleware::dress_response(head, ctx)
}

/// Sends an answer that is dressed.
async fn put(session: &mut Session, ctx: &mut Context, mut head: ResponseHeader, body: Bytes) -> Result<()> {
    let body = compress::whole(session.req_header(), &mut head, body, ctx)?;
    if !write_head(session, head, body.is_empty()).await? {
        ctx.response_body(body.len());
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

/// Sends the head of an answer. True when that was all of it.
async fn write_head(session: &mut Session, head: ResponseHeader, empty: bool) -> Result<bool> {
    // A body that nobody will read must not be waited for, nor taken for the next request.
    if !session.is_body_empty() {
        session.set_keepalive(None);
    }
    let whole = empty || session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(head), whole).await?;
    if whole && session.is_http2() {
        // Its head does not end a stream (pingora-core 0.9.1), and one that is dropped unended is reset.
        session.as_downstream_mut().finish_body().await?;
    }
    Ok(whole)
}

/// The request failed for good: tell the client, as far as it can still be told.
pub(super) async fn fail(session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
    // Pingora closes the connection after this, so the answer has to say so (RFC 9112 section 9.6).
    session.set_keepalive(None);
    if let Some(Replacement::Whole(head, body)) =
        ctx.replacement.take_if(|_| session.response_written().is_none())
    {
        let error_code = head.status.as_u16();
        // As below, the log will say when the client is gone.
        let _ = put(session, ctx, *head, body).await;
        end(session).await;
        return FailToProxy { error_code, can_reuse_downstream: false };
    }
    let error_code = match session.response_written().map(|head| head.status) {
        // After an interim answer (1xx) the real one is still owed.
        Some(status) if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS => {
            say_goodbye(session, ctx).await;
            NOTHING_SENT
        }
        Some(_) | None => match reason(error, ctx) {
            Some(reason) => {
                let status = reason.status().as_u16();
                // The client may be gone by now, which is what the log will say.
                let _ = send(session, ctx, &reason).await;
                end(session).await;
                status
            }
            None => NOTHING_SENT,
        },
    };
    FailToProxy { error_code, can_reuse_downstream: false }
}

/// Ends our side of a connection whose last answer was sent whole: one under TLS says so, which Pingora does not do
/// after an error. A stream of HTTP/2 ends with its answer.
async fn end(session: &mut Session) {
    if let HttpSession::H1(connection) = session.as_downstream_mut() {
        connection.shutdown().await;
    }
}

/// What to answer; `None` when the client is not there to hear it.
fn reason(error: &Error, ctx: &Context) -> Option<Reason> {
    match ctx.cause() {
        Some(Cause::Drain | Cause::Shutdown) => return Some(Reason::ShuttingDown),
        Some(Cause::ResponseTimeout | Cause::IdleTimeout) => return Some(Reason::UpstreamTimeout),
        Some(Cause::SlowRequest) => return Some(Reason::SlowRequest),
        None => {}
    }
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, ErrorType::HTTPStatus(413)) => {
            ctx.chain.as_ref().and_then(|chain| chain.body_size).map(|limit| Reason::BodyTooLarge { limit })
        }
        (ErrorSource::Downstream, ErrorType::InvalidHTTPHeader | ErrorType::HTTPStatus(_)) => {
            Some(Reason::BadRequest { why: "it is malformed" })
        }
        (ErrorSource::Downstream, _) => malformed_body(error, ctx),
        (_, ErrorType::HTTPStatus(503)) => Some(no_upstream(ctx)),
        (_, ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout) => Some(Reason::UpstreamTimeout),
        (_, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => Some(Reason::UpstreamTimeout),
        _ if ctx.connected.is_none() => Some(Reason::ConnectFailed),
        _ => Some(Reason::UpstreamBroken),
    }
}

/// What is wrong with the body of a request, if anything is: then the client is there and may hear it.
fn malformed_body(error: &Error, ctx: &Context) -> Option<Reason> {
    let violation = error.root_cause().downcast_ref().and_then(Violation::within)?;
    ctx.shared.metrics.malformed(violation);
    Some(Reason::Malformed(violation))
}

fn no_upstream(ctx: &Context) -> Reason {
    if ctx.overloaded {
        return Reason::Overloaded { retry_after: OVERLOADED_FOR };
    }
    if ctx.tries > 0 {
        return Reason::ConnectFailed;
    }
    if ctx.previews {
        return Reason::ConnectFailed;
    }
    Reason::NoUpstream { slot: ctx.pass.as_ref().map_or(Slot::Blue, |pass: &Pass| pass.epoch().slot) }
}

/// Ends an answer that has begun, as cleanly as its protocol allows. What cannot be ended cleanly (a
/// download would look complete) is left to break: HTTP/2 resets the stream, HTTP/1.1 closes.
async fn say_goodbye(session: &mut Session, ctx: &mut Context) {
    if !matches!(ctx.cause(), Some(Cause::Drain | Cause::Shutdown)) {
        return;
    }
    // A client that is gone does not mind; one that does not read is aborted soon after.
    if let Some(frame) = forward::websocket_goodbye(ctx) {
        ctx.set_kind(Kind::Websockets);
        let _ = session.as_downstream_mut().write_response_body(frame, true).await;
    } else if ctx.event_stream {
        let _ = session.as_downstream_mut().finish_body().await;
    } else if ctx.grpc && session.is_http2() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("14"));
        trailers.insert("grpc-message", HeaderValue::from_static("deploy drain."));
        let _ = session.as_downstream_mut().write_response_trailers(trailers).await;
    }
}
