//! Where registries and repositories say that something was pushed: `POST /hooks/APP`, signed as GitHub signs.
//!
//! A webhook only makes the watch look at once; what is deployed is what the registry says of the configured tag, so one
//! that is sent again deploys nothing. Invariant: without a good signature an answer tells nothing, not even which
//! applications there are.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use switcher_config::AppName;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::bell::Bell;
use super::voice::Voice;
use crate::{phrase, signature};

/// The longest body.
const LONGEST: usize = 64 << 10;
/// Connections at a time; one more closes the oldest.
const AT_ONCE: usize = 32;
/// How long a head may take.
const HEAD: Duration = Duration::from_secs(1);
/// How long a body may take.
const BODY: Duration = Duration::from_secs(5);
/// When a port that was taken is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// What whoever does not know the secret hears.
const UNSIGNED: &str = "the signature is missing or wrong";

/// What a webhook needs.
pub(crate) struct Webhook {
    /// What bodies are signed with.
    secret: Vec<u8>,
    /// Whom to wake for which application.
    bells: BTreeMap<AppName, Arc<Bell>>,
    voice: Voice,
    patience: Patience,
}

/// How long one waits for what.
#[derive(Debug, Clone, Copy)]
struct Patience {
    head: Duration,
    body: Duration,
    /// For a port that is taken.
    port: Duration,
}

impl Webhook {
    /// Listens for these applications.
    pub(crate) const fn new(secret: Vec<u8>, bells: BTreeMap<AppName, Arc<Bell>>, voice: Voice) -> Self {
        Self { secret, bells, voice, patience: Patience { head: HEAD, body: BODY, port: AGAIN } }
    }

    /// Takes requests at an address for ever. While somebody else has it, which is said once, it is tried again. `open` is
    /// what the first [`Self::open`] came to.
    pub(crate) async fn serve(self: Arc<Self>, mut open: Option<TcpListener>, address: SocketAddr) {
        loop {
            if let Some(listener) = open.take() {
                let at = listener.local_addr().unwrap_or(address);
                self.voice.say(None, &format!("webhooks are taken at http://{at}/hooks/APP"));
                return self.take(listener).await;
            }
            tokio::time::sleep(self.patience.port).await;
            open = TcpListener::bind(address).await.ok();
        }
    }

    /// Opens the door; none when that is not possible now, which is said.
    pub(crate) async fn open(&self, address: SocketAddr) -> Option<TcpListener> {
        let said = |error: std::io::Error| {
            let wait = self.patience.port.as_secs();
            self.voice.say(
                None,
                &format!(
                    "`switcher.webhook` cannot listen on {address}: {error}; registries are asked at their interval \
                     meanwhile, and the address is tried again every {wait} s"
                ),
            );
        };
        TcpListener::bind(address).await.map_err(said).ok()
    }

    async fn take(self: Arc<Self>, listener: TcpListener) {
        let mut conversations: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors, perhaps: room comes when others end.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let webhook = Arc::clone(&self);
            conversations.retain(|conversation| !conversation.is_finished());
            if conversations.len() >= AT_ONCE
                && let Some(oldest) = conversations.pop_front()
            {
                // Whoever keeps places without a word loses them to those who come to speak.
                oldest.abort();
            }
            conversations.push_back(tokio::spawn(webhook.converse(stream)).abort_handle());
        }
    }

    /// One request a connection.
    async fn converse(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(|request| {
            let webhook = Arc::clone(&self);
            async move { Ok::<_, Infallible>(webhook.answer(request).await) }
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(self.patience.head).keep_alive(false);
        // Whoever breaks off has heard enough, and whoever does not read is left alone.
        let patience = (self.patience.head + self.patience.body) * 2;
        let _ = timeout(patience, server.serve_connection(TokioIo::new(stream), service)).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let Some(name) = head.uri.path().strip_prefix("/hooks/") else {
            return said(StatusCode::NOT_FOUND, "webhooks are taken at /hooks/APP");
        };
        if head.method != Method::POST {
            return said(StatusCode::METHOD_NOT_ALLOWED, "webhooks are sent by POST");
        }
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let Some(signature) = header(signature::HEADER) else {
            // Nobody waits for the body of a stranger.
            return said(StatusCode::UNAUTHORIZED, UNSIGNED);
        };
        let body = match timeout(self.patience.body, Limited::new(body, LONGEST).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return said(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 64 KiB");
            }
            Ok(Err(_)) => return said(StatusCode::BAD_REQUEST, "the body broke off"),
            Err(_) => return said(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
        };
        let signed = signature::is_signed(&self.secret, &body, signature);
        let bell = name.parse::<AppName>().ok().and_then(|app| self.bells.get_key_value(&app));
        match bell {
            Some((app, bell)) if signed => {
                if header("x-github-event") == Some("ping") {
                    return said(StatusCode::OK, "pong");
                }
                let words = match bell.ring(Timestamp::now()) {
                    None => "looking".to_owned(),
                    Some(until) => format!(
                        "resting until {}, since the registry wants fewer requests; then it is asked",
                        phrase::moment(until)
                    ),
                };
                self.voice.say(Some(app), &format!("a webhook asks for a look: {words}"));
                said(StatusCode::ACCEPTED, &words)
            }
            Some(_) | None => said(StatusCode::UNAUTHORIZED, UNSIGNED),
        }
    }
}

fn said(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(format!("{words}\n")));
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests;
