//! WebSockets: the opening handshake, and then bytes in both directions until either side ends.
//!
//! Not left to Pingora's HTTP/1.1 proxy: when the upstream agrees so fast that its 101 is read before
//! the end of the (empty) request body was forwarded, that end is taken for the end of the WebSocket,
//! which then closes at once (pingora-proxy 0.9.1, `proxy_handle_upstream`; about one in a hundred on
//! loopback). An upgraded connection is never pooled or retried, so little is lost by not using it.
//!
//! A WebSocket in HTTP/2 (RFC 8441) does not come here: Pingora does not offer it to clients.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::header;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use pingora::http::ResponseHeader;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, OrErr as _, Result};
use switcher_config::settings::AppSettings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use crate::hop::HopByHop;
use crate::ledger::Stage;
use crate::lent::Lending;
use crate::upstream::Upstream;

use super::admission::client_left;
use super::context::Context;
use super::{forward, introduce, traces};

/// How much is read from the upstream at once, in bytes.
const CHUNK: usize = 8 * 1024;

/// Carries the request, an upgrade to WebSocket, to its end.
pub(super) async fn carry(session: &mut Session, ctx: &mut Context) -> Result<()> {
    let request = opening(session, ctx)?;
    let settings = ctx.settings.clone().ok_or_else(forward::not_admitted)?;
    forward::decide_rule(session.req_header(), ctx, &settings);
    let socket = ctx.facts().socket;
    let mut answer = tokio::select! {
        answer = ask(ctx, &settings, request) => answer?,
        () = client_left(socket) => return Err(Error::new_down(ErrorType::ConnectionClosed)),
    };
    let upgraded = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    traces::answered(answer.status().as_u16(), ctx);
    let mut head = head_of(&answer)?;
    forward::dress_response(&mut head, ctx)?;
    if upgraded {
        ctx.facts().upgraded.store(true, Ordering::Release);
    }
    write(session, HttpTask::Header(Box::new(head), false)).await?;
    if upgraded {
        let upstream = hyper::upgrade::on(&mut answer).await.map_err(broken)?;
        pump(session, ctx, upstream).await
    } else {
        refuse(session, ctx, answer.into_body()).await
    }
}

/// The handshake as the upstream gets it.
fn opening(session: &Session, ctx: &Context) -> Result<Request<Empty<Bytes>>> {
    let mut head = session.req_header().clone();
    let hop = HopByHop::of_request(&head.headers);
    for name in hop.removals() {
        head.remove_header(name);
    }
    // RFC 6455 section 4.1 knows no body; a length would promise one.
    head.remove_header(&header::CONTENT_LENGTH);
    head.remove_header(&header::TRANSFER_ENCODING);
    head.insert_header(header::CONNECTION, "Upgrade")?;
    head.insert_header(header::UPGRADE, "websocket")?;
    forward::dress_request(session, &mut head, ctx)?;
    let target = head.uri.path_and_query().map_or("/", |p| p.as_str());
    let mut request = Request::builder()
        .uri(target)
        .body(Empty::new())
        .or_err(ErrorType::InvalidHTTPHeader, "the target of a WebSocket request")?;
    *request.headers_mut() = head.headers.clone();
    Ok(request)
}

/// Asks one upstream after the other until one takes the connection, and waits for its answer.
async fn ask(
    ctx: &mut Context,
    settings: &AppSettings,
    mut request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>> {
    loop {
        let (upstream, _) = forward::next_upstream(ctx, settings).await?;
        match connect(ctx, settings, &upstream).await {
            Ok(mut sender) => {
                let now = ctx.started.elapsed();
                ctx.connected = Some(now);
                if let Some(trace) = &mut ctx.trace {
                    trace.connected(now);
                    trace.tell(request.headers_mut());
                }
                if let Some(exchange) = ctx.exchange() {
                    exchange.set_stage(Stage::Waiting);
                }
                return sender.send_request(request).await.map_err(broken);
            }
            Err(error) => {
                let error = forward::connect_failed(ctx, error.into_up());
                if !error.retry() {
                    return Err(error);
                }
            }
        }
    }
}

/// Opens a connection of its own, within the connect timeout, and lends it to the ledger.
async fn connect(
    ctx: &Context,
    settings: &AppSettings,
    upstream: &Upstream,
) -> Result<http1::SendRequest<Empty<Bytes>>> {
    let limit = ctx.timeouts(settings).connect.0;
    let pass = ctx.pass.as_ref().ok_or_else(forward::not_admitted)?;
    let dialer = Arc::clone(&pass.epoch().trust.dialer);
    let opened = async {
        let socket = dialer.connect(upstream, || introduce::addresses(ctx.facts())).await?;
        let socket = Lending::new(socket);
        let lent = Arc::clone(socket.lent());
        let io = dialer.upgradable(upstream, socket).await?;
        Ok::<_, String>((io, lent))
    };
    let (io, lent) = match tokio::time::timeout(limit, opened).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(why)) => return Error::e_explain(ErrorType::ConnectError, why),
        Err(_) => {
            return Error::e_explain(ErrorType::ConnectTimedout, "the connection was not taken in time");
        }
    };
    let (sender, connection) =
        http1::Builder::new().title_case_headers(true).handshake(TokioIo::new(io)).await.map_err(broken)?;
    // Ends with the connection, which the upgrade or the answer takes along.
    tokio::spawn(connection.with_upgrades());
    if let Some(exchange) = ctx.exchange() {
        exchange.lend_socket(Some(lent));
    }
    Ok(sender)
}

fn broken(error: hyper::Error) -> Box<Error> {
    Error::because(ErrorType::ConnectionClosed, "the upstream of a WebSocket", error).into_up()
}

fn head_of(answer: &Response<Incoming>) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(answer.status(), Some(answer.headers().len() + 4))?;
    for (name, value) in answer.headers() {
        head.append_header(name.clone(), value.clone())?;
    }
    Ok(head)
}

async fn write(session: &mut Session, task: HttpTask) -> Result<()> {
    session.write_response_tasks(vec![task]).await.map(drop).map_err(Error::into_down)
}

/// Passes on an answer that is no agreement: it ends like any other.
async fn refuse(session: &mut Session, ctx: &mut Context, mut body: Incoming) -> Result<()> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(broken)?;
        if let Ok(data) = frame.into_data() {
            ctx.response_body(data.len());
            write(session, HttpTask::Body(Some(data), false)).await?;
        }
    }
    write(session, HttpTask::Body(None, true)).await
}

/// Bytes in both directions. What one side sends is not read faster than the other takes it, and neither direction waits
/// for the other: a side may write all that it has before it reads.
async fn pump(session: &mut Session, ctx: &mut Context, upstream: Upgraded) -> Result<()> {
    let (mut from_upstream, mut to_upstream) = tokio::io::split(TokioIo::new(upstream));
    let client = session.as_downstream_mut();
    let mut pending = Bytes::new();
    let mut chunk = BytesMut::new();
    let mut ended = false;
    loop {
        let taking = client.has_pending_downstream_proxy_tasks();
        tokio::select! {
            moved = client_moves(client, pending.is_empty() && !ended, taking) => match moved {
                Moved::Taken(taken) => {
                    taken.map_err(Error::into_down)?;
                    if ended {
                        return Ok(());
                    }
                }
                Moved::Came(Some(bytes)) => {
                    ctx.request_body(bytes.len(), false);
                    pending = bytes;
                }
                Moved::Came(None) => return end_upstream(to_upstream, ctx).await,
            },
            written = to_upstream.write_buf(&mut pending), if !pending.is_empty() => {
                // What the upstream still has to say is read below, up to its end.
                if written.is_err() {
                    pending.clear();
                }
            }
            read = next_chunk(&mut from_upstream, &mut chunk), if !taking && !ended => {
                let mut body = read.ok().flatten();
                ended = body.is_none();
                forward::answer_body(&mut body, ended, ctx);
                client.send_downstream_proxy_task(HttpTask::UpgradedBody(body, ended));
            }
        }
    }
}

/// What happened on the client's side of a WebSocket.
enum Moved {
    /// It took all that it was sent.
    Taken(Result<bool>),
    /// It sent something; `None` when it has ended, in order or not.
    Came(Option<Bytes>),
}

/// Reads from the client and writes to it, as is asked for, until either has come to something. Both borrow the whole
/// session, so each gets it in turn whenever the task is woken; what was begun of either stays in the session.
async fn client_moves(client: &mut ServerSession, reads: bool, writes: bool) -> Moved {
    poll_fn(|cx| {
        if writes && let Poll::Ready(taken) = pin!(client.write_downstream_proxy_tasks()).poll(cx) {
            return Poll::Ready(Moved::Taken(taken));
        }
        if reads && let Poll::Ready(read) = pin!(client.read_request_body()).poll(cx) {
            return Poll::Ready(Moved::Came(read.ok().flatten()));
        }
        Poll::Pending
    })
    .await
}

/// The next piece from the upstream; `None` at its end.
async fn next_chunk(
    from: &mut ReadHalf<TokioIo<Upgraded>>,
    chunk: &mut BytesMut,
) -> io::Result<Option<Bytes>> {
    chunk.reserve(CHUNK);
    let read = from.read_buf(chunk).await?;
    Ok((read > 0).then(|| chunk.split().freeze()))
}

/// The client is gone: the upstream is told by the end of the connection.
async fn end_upstream(mut to: WriteHalf<TokioIo<Upgraded>>, ctx: &Context) -> Result<()> {
    // It may be gone as well.
    let _ = to.shutdown().await;
    if ctx.cause().is_some() {
        return Err(Error::create(ErrorType::ConnectionClosed, ErrorSource::Upstream, None, None));
    }
    Ok(())
}
