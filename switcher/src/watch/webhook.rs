//! Where registries and repositories say that something was pushed: `POST /hooks/APP`, signed as GitHub signs.
//!
//! A webhook only makes the watch look at once; what is deployed is what the registry says of the configured tag, so one
//! that is sent again deploys nothing. Invariant: without a good signature an answer tells nothing, not even which
//! applications there are.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use switcher_config::AppName;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::voice::Voice;
use crate::signature;

/// The longest body.
const LONGEST: usize = 64 << 10;
/// Connections at a time; others wait.
const AT_ONCE: usize = 32;
/// How long a head may take, and a body.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a webhook needs.
pub(crate) struct Webhook {
    /// What bodies are signed with.
    secret: Vec<u8>,
    /// Whom to wake for which application.
    bells: BTreeMap<AppName, Arc<Notify>>,
    voice: Voice,
}

impl Webhook {
    /// Listens for these applications.
    pub(crate) const fn new(secret: Vec<u8>, bells: BTreeMap<AppName, Arc<Notify>>, voice: Voice) -> Self {
        Self { secret, bells, voice }
    }

    /// Takes requests for ever.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors, perhaps: room comes when others end.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let webhook = Arc::clone(&self);
            tokio::spawn(async move {
                webhook.converse(stream).await;
                drop(place);
            });
        }
    }

    /// One request a connection.
    async fn converse(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(|request| {
            let webhook = Arc::clone(&self);
            async move { Ok::<_, Infallible>(webhook.answer(request).await) }
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
        // Whoever breaks off has heard enough, and whoever does not read is left alone.
        let _ = timeout(PATIENCE * 3, server.serve_connection(TokioIo::new(stream), service)).await;
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
        let body = match timeout(PATIENCE, Limited::new(body, LONGEST).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return said(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 64 KiB");
            }
            Ok(Err(_)) => return said(StatusCode::BAD_REQUEST, "the body broke off"),
            Err(_) => return said(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
        };
        let signed = header(signature::HEADER)
            .is_some_and(|signature| signature::is_signed(&self.secret, &body, signature));
        let bell = name.parse::<AppName>().ok().and_then(|app| self.bells.get_key_value(&app));
        match bell {
            Some((app, bell)) if signed => {
                if header("x-github-event") == Some("ping") {
                    return said(StatusCode::OK, "pong");
                }
                self.voice.say(Some(app), "a webhook asks for a look");
                bell.notify_one();
                said(StatusCode::ACCEPTED, "looking")
            }
            Some(_) | None => said(StatusCode::UNAUTHORIZED, "the signature is missing or wrong"),
        }
    }
}

fn said(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(format!("{words}\n")));
    *answer.status_mut() = status;
    answer
}
