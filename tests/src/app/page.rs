//! The pages of the test application.
//!
//! | path | answer |
//! |---|---|
//! | `/gate` | its name, once the gate is open |
//! | `/half` | half of a body, the rest once the gate is open |
//! | `/echo` | the request's body, piece by piece as it comes |
//! | `/count` | how many bytes of the pattern came, and whether they are intact |
//! | `/bytes/N` | N bytes of the pattern |
//! | `/drip` | a byte of a megabyte every few milliseconds |
//! | `/events` | server-sent events as the test emits them |
//! | `/socket` | a WebSocket that says its name and repeats |
//! | `/status/N` | status N |
//! | gRPC | the message back, and `grpc-status: 0` in the trailers |
//! | all else | its name |

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Manner, Shared};
use crate::pattern;

type Body = UnsyncBoxBody<Bytes, io::Error>;
pub(super) type Answer = Response<Body>;

const HEALTH: &str = "/health";
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/Check";
/// Between two bytes of `/drip`.
const DRIP: Duration = Duration::from_millis(20);

pub(super) fn is_probe(request: &Request<Incoming>) -> bool {
    matches!(request.uri().path(), HEALTH | GRPC_HEALTH)
}

pub(super) async fn answer(request: Request<Incoming>, shared: &Arc<Shared>) -> Answer {
    let path = request.uri().path().to_owned();
    let number = |prefix| path.strip_prefix(prefix).and_then(|n: &str| n.parse::<u64>().ok());
    let grpc = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"));
    let manner = if is_probe(&request) { Manner::Well } else { *shared.manner.lock().expect("the manner") };
    match manner {
        Manner::Well => {}
        Manner::Failing => return named(shared, StatusCode::INTERNAL_SERVER_ERROR),
        Manner::Slow(later) => tokio::time::sleep(later).await,
    }
    if let Some(total) = number("/bytes/") {
        return download(total);
    }
    if let Some(status) = number("/status/").and_then(|n| u16::try_from(n).ok()) {
        return named(shared, StatusCode::from_u16(status).expect("a status"));
    }
    match path.as_str() {
        HEALTH => health(shared),
        GRPC_HEALTH => grpc_health(shared),
        _ if grpc => grpc_echo(request).await,
        "/gate" => {
            shared.pass_gate().await;
            named(shared, StatusCode::OK)
        }
        "/half" => half(Arc::clone(shared)),
        "/echo" => Response::new(request.into_body().map_err(io::Error::other).boxed_unsync()),
        "/count" => count(request).await,
        "/drip" => drip(),
        "/events" => events(shared),
        "/socket" => socket(request, shared),
        _ => named(shared, StatusCode::OK),
    }
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn streamed(frames: impl futures::Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static) -> Body {
    StreamBody::new(frames).boxed_unsync()
}

fn named(shared: &Shared, status: StatusCode) -> Answer {
    let mut answer = Response::new(full(shared.name.clone()));
    *answer.status_mut() = status;
    answer.headers_mut().insert("x-app", HeaderValue::from_str(&shared.name).expect("a name"));
    answer
}

fn health(shared: &Shared) -> Answer {
    let (status, body) = shared.health.lock().expect("the health").clone();
    let mut answer = Response::new(full(body));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}

fn trailers_of(status: &'static str) -> Frame<Bytes> {
    Frame::trailers(HeaderMap::from_iter([(
        header::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static(status),
    )]))
}

fn grpc(message: Bytes) -> Answer {
    let frames = futures::stream::iter([Ok(Frame::data(message)), Ok(trailers_of("0"))]);
    let mut answer = Response::new(streamed(frames));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    answer
}

/// `HealthCheckResponse{status}` (field 1, varint) in a length-prefixed message: 1 is serving, 2 is not.
fn grpc_health(shared: &Shared) -> Answer {
    let serving = shared.health.lock().expect("the health").0 == 200;
    grpc(Bytes::from(vec![0, 0, 0, 0, 2, 8, if serving { 1 } else { 2 }]))
}

async fn grpc_echo(request: Request<Incoming>) -> Answer {
    let message = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    grpc(message)
}

fn half(shared: Arc<Shared>) -> Answer {
    let frames = futures::stream::unfold(0, move |step| {
        let shared = Arc::clone(&shared);
        async move {
            match step {
                0 => Some((Ok(Frame::data(Bytes::from_static(b"half "))), 1)),
                1 => {
                    shared.pass_gate().await;
                    Some((Ok(Frame::data(Bytes::from_static(b"whole"))), 2))
                }
                _ => None,
            }
        }
    });
    let mut answer = Response::new(streamed(frames));
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("10"));
    answer
}

async fn count(request: Request<Incoming>) -> Answer {
    let mut check = pattern::Check::default();
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => check.feed(&data),
            Ok(Err(_)) => {}
            // One of HTTP/2 tells the same error for ever.
            Err(_) => {
                check.broken = true;
                break;
            }
        }
    }
    let text = serde_json::json!({"bytes": check.bytes, "intact": !check.broken}).to_string();
    Response::new(full(text))
}

fn download(total: u64) -> Answer {
    let frames = futures::stream::unfold(0, move |sent| async move {
        let data = pattern::piece(sent, total)?;
        let next = sent + data.len() as u64;
        Some((Ok(Frame::data(data)), next))
    });
    let mut answer = Response::new(streamed(frames));
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(total));
    answer
}

fn drip() -> Answer {
    let frames = futures::stream::unfold(0_u64, |sent| async move {
        tokio::time::sleep(DRIP).await;
        Some((Ok(Frame::data(pattern::bytes(sent, 1))), sent + 1))
    });
    let mut answer = Response::new(streamed(frames));
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(1_000_000));
    answer
}

fn events(shared: &Shared) -> Answer {
    let (sender, receiver) = mpsc::unbounded_channel();
    let _ = sender.send(Bytes::from(format!("data: {}\n\n", shared.name)));
    shared.listeners.lock().expect("listeners").push(sender);
    let frames = futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|event| (Ok(Frame::data(event)), receiver))
    });
    let mut answer = Response::new(streamed(frames));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer
}

fn socket(mut request: Request<Incoming>, shared: &Shared) -> Answer {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned() else {
        let mut answer = Response::new(full("a WebSocket is served here"));
        *answer.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return answer;
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let name = shared.name.clone();
    shared.sockets.lock().expect("the sockets").spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        let _ = socket.send(Message::text(name)).await;
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut answer = Response::new(full(""));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("a key");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    answer
}
