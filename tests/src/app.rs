//! A well-behaved application: the upstream most tests put behind the proxy.
//!
//! It has a name, which stands in its answers; it records what it saw; and where timing matters it waits for
//! the test instead of a clock. Health is the test's to set. The answers themselves are in `page`.

mod page;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::certificate::Certificate;
use crate::port::Port;

/// A running application. It ends when dropped or stopped, with all its connections.
pub struct App {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
    _port: Option<Port>,
}

/// What an application saw of one request, health probes apart.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The protocol it came by.
    pub version: Version,
}

impl Seen {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

/// What the answers and the test share.
struct Shared {
    name: String,
    health: Mutex<(u16, String)>,
    manner: Mutex<Manner>,
    probes: AtomicUsize,
    connections: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    gate: watch::Sender<bool>,
    waiting: AtomicUsize,
    listeners: Mutex<Vec<mpsc::UnboundedSender<Bytes>>>,
    /// The WebSockets, which outlive the service that upgraded them.
    sockets: Mutex<JoinSet<()>>,
}

/// How everything but health probes is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Manner {
    /// As the page says.
    #[default]
    Well,
    /// With status 500.
    Failing,
    /// As the page says, so much later.
    Slow(Duration),
}

#[derive(Clone)]
enum Protocol {
    Http1,
    H2c,
    Tls(TlsAcceptor),
}

impl App {
    /// Starts an application that speaks HTTP/1.1.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start(name: &str) -> Self {
        Self::serve(name, None, Protocol::Http1, "").await
    }

    /// Starts an application that speaks HTTP/1.1 at an address, after another one there was stopped.
    ///
    /// # Panics
    /// When the address is taken.
    pub async fn start_at(name: &str, address: SocketAddr) -> Self {
        Self::serve(name, Some(address), Protocol::Http1, "").await
    }

    /// Starts an application that speaks HTTP/2 with prior knowledge.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn h2c(name: &str) -> Self {
        Self::serve(name, None, Protocol::H2c, "h2c://").await
    }

    /// Starts an application that speaks TLS, with HTTP/2 and HTTP/1.1 by ALPN.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn tls(name: &str, certificate: &Certificate) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der.clone()], certificate.key())
            .expect("a certificate with its key");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::serve(name, None, Protocol::Tls(acceptor), "https://").await
    }

    async fn serve(name: &str, at: Option<SocketAddr>, protocol: Protocol, scheme: &'static str) -> Self {
        let (listener, port) = match at {
            Some(address) => (TcpListener::bind(address).await.expect("a port that is free again"), None),
            None => {
                let (listener, port) = Port::listen().await;
                (listener, Some(port))
            }
        };
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            health: Mutex::new((200, "ok".to_owned())),
            manner: Mutex::default(),
            probes: AtomicUsize::default(),
            connections: AtomicUsize::default(),
            seen: Mutex::default(),
            gate: watch::Sender::new(false),
            waiting: AtomicUsize::default(),
            listeners: Mutex::default(),
            sockets: Mutex::default(),
        });
        let server = tokio::spawn(accept(listener, protocol, Arc::clone(&shared)));
        Self { address, scheme, shared, server, _port: port }
    }

    /// The name in its answers.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as the configuration writes it, with the scheme.
    #[must_use]
    pub fn upstream(&self) -> String {
        format!("{}{}", self.scheme, self.address)
    }

    /// Every request it saw, health probes apart.
    ///
    /// # Panics
    /// When an answer panicked.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("what was seen").clone()
    }

    /// The newest request it saw.
    ///
    /// # Panics
    /// When there was none.
    #[must_use]
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request was seen")
    }

    /// How many requests it saw, health probes apart.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.seen().len()
    }

    /// How many health probes it answered.
    #[must_use]
    pub fn probes(&self) -> usize {
        self.shared.probes.load(Ordering::SeqCst)
    }

    /// How many connections carried a request, health probes apart.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// From now on health probes are answered so.
    ///
    /// # Panics
    /// When an answer panicked.
    pub fn health(&self, status: u16, body: &str) {
        *self.shared.health.lock().expect("the health") = (status, body.to_owned());
    }

    /// From now on everything but health probes is answered in this manner.
    ///
    /// # Panics
    /// When an answer panicked.
    pub fn behave(&self, manner: Manner) {
        *self.shared.manner.lock().expect("the manner") = manner;
    }

    /// How many exchanges wait at the gate.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::SeqCst)
    }

    /// Lets through everything that waits, or will wait, at the gate.
    pub fn open_gate(&self) {
        self.shared.gate.send_replace(true);
    }

    /// Sends an event to every open stream of events.
    ///
    /// # Panics
    /// When an answer panicked.
    pub fn emit(&self, data: &str) {
        let event = Bytes::from(format!("data: {data}\n\n"));
        self.shared.listeners.lock().expect("listeners").retain(|l| l.send(event.clone()).is_ok());
    }

    /// How many streams of events are open.
    ///
    /// # Panics
    /// When an answer panicked.
    #[must_use]
    pub fn listeners(&self) -> usize {
        let mut listeners = self.shared.listeners.lock().expect("listeners");
        listeners.retain(|l| !l.is_closed());
        listeners.len()
    }

    /// Ends it like a killed process: the port refuses, open connections are gone.
    ///
    /// # Panics
    /// When an answer panicked.
    pub async fn stop(mut self) {
        self.server.abort();
        self.shared.sockets.lock().expect("the sockets").abort_all();
        let _ = (&mut self.server).await;
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.server.abort();
        if let Ok(mut sockets) = self.shared.sockets.lock() {
            sockets.abort_all();
        }
    }
}

async fn accept(listener: TcpListener, protocol: Protocol, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        connections.spawn(converse(stream, protocol.clone(), Arc::clone(&shared)));
    }
}

async fn converse(stream: TcpStream, protocol: Protocol, shared: Arc<Shared>) {
    match protocol {
        Protocol::Http1 => http1(TokioIo::new(stream), shared).await,
        Protocol::H2c => http2(TokioIo::new(stream), shared).await,
        Protocol::Tls(acceptor) => {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                http2(TokioIo::new(stream), shared).await;
            } else {
                http1(TokioIo::new(stream), shared).await;
            }
        }
    }
}

async fn http1<I>(io: I, shared: Arc<Shared>)
where
    I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let service = connection(shared);
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades().await;
}

async fn http2<I>(io: I, shared: Arc<Shared>)
where
    I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let service = connection(shared);
    let _ =
        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
}

/// The service of one connection, which is counted with its first request that is no health probe.
fn connection(
    shared: Arc<Shared>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = page::Answer,
    Error = Infallible,
    Future = impl Future<Output = Result<page::Answer, Infallible>> + Send,
> {
    let counted = Arc::new(std::sync::Once::new());
    service_fn(move |request| {
        let (shared, counted) = (Arc::clone(&shared), Arc::clone(&counted));
        async move {
            if page::is_probe(&request) {
                shared.probes.fetch_add(1, Ordering::SeqCst);
            } else {
                counted.call_once(|| {
                    shared.connections.fetch_add(1, Ordering::SeqCst);
                });
                shared.saw(&request);
            }
            Ok(page::answer(request, &shared).await)
        }
    })
}

impl Shared {
    fn saw(&self, request: &Request<Incoming>) {
        let target = request.uri().path_and_query().map_or("*", |p| p.as_str()).to_owned();
        self.seen.lock().expect("what was seen").push(Seen {
            method: request.method().to_string(),
            target,
            headers: request.headers().clone(),
            version: request.version(),
        });
    }

    /// Waits until the test opens the gate; counted while it waits, also when the client goes away.
    async fn pass_gate(&self) {
        let _here = Waiting::at(&self.waiting);
        let _ = self.gate.subscribe().wait_for(|open| *open).await;
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn at(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(counter)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{self, Http1};
    use crate::http2::{self, Http2};
    use crate::pattern::{self, Check};
    use crate::sse::Events;
    use crate::tls::Hello;
    use crate::until::{PATIENCE, until};
    use crate::websocket::{Goodbye, WebSocket};

    #[tokio::test]
    async fn it_says_its_name_and_records_what_it_saw_apart_from_probes() {
        let app = App::start("blue").await;
        app.health(503, "not yet");
        assert_eq!(http1::get(app.address(), "/health").await.text(), "not yet");
        assert_eq!(http1::get(app.address(), "/status/418").await.status, 418);
        let answer = http1::get_with(app.address(), "/a?b", &[("X-Mine", "1")]).await;
        assert_eq!((answer.text().as_str(), answer.header("x-app")), ("blue", Some("blue")));
        assert_eq!((app.hits(), app.probes(), app.connections()), (2, 1, 2));
        assert_eq!((app.last().target.as_str(), app.last().header("x-mine")), ("/a?b", Some("1")));
    }

    #[tokio::test]
    async fn what_waits_at_the_gate_is_counted_until_it_passes_or_leaves() {
        let app = App::start("blue").await;
        let mut stays = Http1::connect(app.address()).await;
        stays.send(&http1::request("GET", "/gate", &[], b"")).await;
        let mut leaves = Http1::connect(app.address()).await;
        leaves.send(&http1::request("GET", "/gate", &[], b"")).await;
        until(PATIENCE, "both to wait", || async { app.waiting() == 2 }).await;
        drop(leaves);
        until(PATIENCE, "one to leave", || async { app.waiting() == 1 }).await;
        app.open_gate();
        assert_eq!(stays.head().await.status(), 200);
    }

    #[tokio::test]
    async fn bodies_are_streamed_and_checked_both_ways() {
        let app = App::start("blue").await;
        let answer = http1::get(app.address(), "/bytes/300000").await;
        let mut check = Check::default();
        check.feed(&answer.body);
        assert_eq!(check, Check { bytes: 300_000, broken: false });
        let counted = http1::post(app.address(), "/count", &pattern::bytes(0, 300_000)).await;
        assert_eq!(counted.json(), serde_json::json!({"bytes": 300_000, "intact": true}));
        let counted = http1::post(app.address(), "/count", &pattern::bytes(1, 300_000)).await;
        assert_eq!(counted.json()["intact"], false);
    }

    #[tokio::test]
    async fn events_come_one_by_one_and_their_end_shows() {
        let app = App::start("blue").await;
        let mut events = Events::open(Http1::connect(app.address()).await, "/events").await;
        assert_eq!(events.data().await, "blue");
        app.emit("second");
        assert_eq!((events.data().await.as_str(), app.listeners()), ("second", 1));
        app.stop().await;
        assert!(events.next().await.is_err(), "a broken stream is no ended stream");
    }

    #[tokio::test]
    async fn a_websocket_repeats_and_its_end_shows() {
        let app = App::start("blue").await;
        let mut socket = WebSocket::connect(app.address(), "/socket").await;
        assert_eq!(socket.text().await, "blue");
        for message in ["again", &"long ".repeat(100_000)] {
            assert_eq!(socket.ask(message).await, message);
        }
        app.stop().await;
        assert!(matches!(socket.goodbye().await, Goodbye::Broken(_)));
    }

    #[tokio::test]
    async fn http2_and_grpc_are_spoken_with_and_without_tls() {
        let certificate = Certificate::of(&["localhost"]);
        let (plain, tls) = (App::h2c("plain").await, App::tls("tls", &certificate).await);
        let clients = [Http2::connect(plain.address()).await, Http2::tls(tls.address(), "localhost").await];
        for (client, app) in clients.iter().zip([&plain, &tls]) {
            assert_eq!(client.exchange(http2::get("/"), b"").await.text(), app.shared.name);
            let call = http2::request(
                "POST",
                "/test.Echo/Say",
                &[("content-type", "application/grpc"), ("te", "trailers")],
            );
            let answer = client.exchange(call, b"\0\0\0\0\x02hi").await;
            assert_eq!(answer.body, b"\0\0\0\0\x02hi");
            assert_eq!(answer.trailers.expect("trailers")["grpc-status"], "0");
            assert_eq!(app.last().version, Version::HTTP_2);
        }
        let agreed = Hello::to("localhost").connect(tls.address()).await;
        assert_eq!((agreed.certificate, agreed.alpn.as_deref()), (certificate.der.clone(), Some("http/1.1")));
    }

    #[tokio::test]
    async fn a_stopped_application_refuses_and_its_address_can_be_taken_again() {
        let app = App::start("first").await;
        let address = app.address();
        assert_eq!(http1::get(address, "/").await.text(), "first");
        app.stop().await;
        assert!(Http1::try_connect(address).await.is_err());
        let again = App::start_at("second", address).await;
        assert_eq!(http1::get(again.address(), "/").await.text(), "second");
    }
}
