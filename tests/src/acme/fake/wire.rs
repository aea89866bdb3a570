//! The fake authority's HTTPS: requests in, what its state says out, and the troubles of the wire.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::reply::Reply;
use super::state::State;
use super::{Kind, Trouble};

/// Serves until it is aborted.
pub(super) async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, state: Arc<Mutex<State>>) {
    let acceptor = TlsAcceptor::from(tls);
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| answer(request, Arc::clone(&state)));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let path = head.uri.path().to_owned();
    let get = head.method != "POST";
    let kind = Kind::of(&path);
    let trouble = state.lock().expect("the state").come(kind);
    let act = || state.lock().expect("the state").act(kind, &path, get, &body);
    let reply = match trouble {
        None => act(),
        Some(Trouble::Status(status)) => {
            Reply::problem(status, "serverInternal", "the authority has a bad day")
        }
        Some(Trouble::RateLimited(seconds)) => Reply::problem(429, "rateLimited", "too many of these")
            .header("Retry-After", &seconds.to_string()),
        Some(Trouble::Html) => Reply::html(),
        Some(Trouble::Truncated) => act().halved(),
        Some(Trouble::Hang) => hang(&state).await,
        Some(Trouble::HangAfter) => {
            act();
            hang(&state).await
        }
    };
    // A page for people comes from a machine in between, which knows no nonces.
    let reply = if trouble == Some(Trouble::Html) {
        reply
    } else {
        let nonce = state.lock().expect("the state").nonce();
        reply.header("Replay-Nonce", &nonce)
    };
    Ok(reply.response())
}

/// Counted while it lasts; it lasts until the other side has gone.
async fn hang(state: &Mutex<State>) -> Reply {
    struct Held<'a>(&'a Mutex<State>);
    impl Drop for Held<'_> {
        fn drop(&mut self) {
            if let Ok(mut state) = self.0.lock() {
                state.held -= 1;
            }
        }
    }
    state.lock().expect("the state").held += 1;
    let _held = Held(state);
    std::future::pending().await
}
