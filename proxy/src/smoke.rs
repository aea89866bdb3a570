//! Smoke tests: requests to the standby slot through the proxy's own front door, asked by the proxy itself.
//!
//! They take the way of everybody's: a listener, TLS with the application's host as its name, the routing, the headers.
//! What lets them into the standby slot is a secret of this process, made at its start. Every answer must carry the [`mark`] that
//! only the gateway of this process gives, so that an answer of the live slot, or of another process behind the same
//! listener, never counts. Called by the admin API.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use std::{fmt, io};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use subtle::ConstantTimeEq as _;
use switcher_config::settings::{AppSettings, ProxyProtocol, ProxySettings};
use switcher_config::wire::{SmokeAnswer, SmokeAsk};
use switcher_config::{AppName, ListenPlace, Slot};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::edge::proxy_protocol;
use crate::edge::socket::Socket;
use crate::health::dial::{Io, unverified};
use crate::preview::origin;

/// The header that carries the secret in a request, and the mark in its answer. It never reaches an upstream.
pub static HEADER: HeaderName = HeaderName::from_static("x-switcher-smoke");

/// How much of a body is kept, in bytes.
const KEPT: usize = 64 * 1024;

/// The secret of this process that lets its own smoke tests in.
#[derive(Clone)]
pub struct Secret(Arc<str>);

/// Never shows it.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Secret {
    /// Makes one; none when the system gives no random numbers.
    #[must_use]
    pub fn make() -> Option<Self> {
        let mut random = [0; 32];
        rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut random).ok()?;
        Some(Self(random.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()))
    }

    /// Whether a request is one of this process's own.
    #[must_use]
    pub fn is_shown(&self, headers: &HeaderMap) -> bool {
        headers.get(&HEADER).is_some_and(|value| value.as_bytes().ct_eq(self.0.as_bytes()).into())
    }
}

/// Asks the proxy's own listeners.
#[derive(Debug)]
pub struct Smoker {
    secret: Secret,
    ways: Ways,
    /// Where this process asks from, for listeners that take nobody without the PROXY protocol.
    asking: Asking,
}

/// The addresses that a process asks its own listeners from.
type Asking = Arc<Mutex<HashSet<SocketAddr>>>;

/// How each of the proxy's listeners is reached, with its name.
#[derive(Debug, Default)]
pub struct Ways {
    /// The plain ones.
    pub http: Vec<(Option<String>, Way)>,
    /// Those of TLS.
    pub https: Vec<(Option<String>, Way)>,
}

impl Ways {
    /// That to the first listener that serves an application.
    fn to(&self, app: &AppSettings, tls: bool) -> Option<Way> {
        let mut ways = if tls { self.https.iter() } else { self.http.iter() };
        ways.find(|(name, _)| app.is_served_at(name.as_deref())).map(|(_, way)| way.clone())
    }
}

/// How one of the proxy's listeners is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    place: ListenPlace,
    /// It takes no connection without a header of the PROXY protocol.
    introduces: bool,
}

impl Way {
    /// To a listener at this place.
    #[must_use]
    pub fn new(place: ListenPlace, proxy_protocol: ProxyProtocol) -> Self {
        let place = match place {
            ListenPlace::Tcp(address) => reachable(address.0).into(),
            unix @ ListenPlace::Unix(_) => unix,
        };
        Self { place, introduces: proxy_protocol == ProxyProtocol::Require }
    }
}

/// A connection of this process to itself, known as such as long as it lives.
struct Own {
    asking: Asking,
    address: SocketAddr,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.asking.lock().remove(&self.address);
    }
}

/// The way to one application.
#[derive(Debug)]
struct Door {
    way: Way,
    /// The value of `Host`.
    authority: String,
    /// The name of the TLS handshake; none without TLS.
    name: Option<ServerName<'static>>,
}

impl Smoker {
    /// One that asks these listeners.
    #[must_use]
    pub fn new(secret: Secret, ways: Ways) -> Self {
        Self { secret, ways, asking: Asking::default() }
    }

    /// Whether a connection from this address is one of this process's own.
    #[must_use]
    pub fn is_asking_from(&self, peer: SocketAddr) -> bool {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        self.asking.lock().contains(&peer)
    }

    /// Whether a request is one of this process's own smoke tests.
    #[must_use]
    pub fn is_own(&self, headers: &HeaderMap) -> bool {
        self.secret.is_shown(headers)
    }

    /// Asks one thing of an application's standby slot; `mark` says which that is to be.
    pub async fn ask(
        &self,
        proxy: &ProxySettings,
        app: &AppSettings,
        mark: &str,
        ask: &SmokeAsk,
    ) -> SmokeAnswer {
        let began = Instant::now();
        let asked = async {
            let door = self.door(proxy, app)?;
            self.exchange(&door, mark, ask).await
        };
        let asked = tokio::time::timeout(ask.timeout.0, asked).await;
        let latency_ms = began.elapsed().as_secs_f64() * 1e3;
        let failed = |why| SmokeAnswer { status: None, body: String::new(), latency_ms, error: Some(why) };
        match asked {
            Ok(Ok((status, body))) => SmokeAnswer { status: Some(status), body, latency_ms, error: None },
            Ok(Err(why)) => failed(why),
            Err(_) => failed(format!("no whole answer within {}", ask.timeout)),
        }
    }

    fn door(&self, proxy: &ProxySettings, app: &AppSettings) -> Result<Door, String> {
        let origin = origin(proxy, app);
        let (scheme, authority) = origin.split_once("://").unwrap_or(("http", &origin));
        let nobody = || format!("the proxy has no {scheme} listener for it");
        let way = self.ways.to(app, scheme == "https").ok_or_else(nobody)?;
        let name = if scheme == "https" {
            let host = without_port(authority);
            let name = ServerName::try_from(host.to_owned())
                .map_err(|_| format!("{host:?} is no name a certificate can have"))?;
            Some(name)
        } else {
            None
        };
        Ok(Door { way, authority: authority.to_owned(), name })
    }

    async fn exchange(&self, door: &Door, mark: &str, ask: &SmokeAsk) -> Result<(u16, String), String> {
        let (io, _own) = self.connect(door).await?;
        let broken = |error: hyper::Error| format!("the answer broke off: {error}");
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broken)?;
        // Ends with the sender, or with the answer's body.
        let driver = tokio::spawn(connection);
        let request = self.request(door, ask)?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        let read = read(answer, mark).await;
        drop(sender);
        driver.abort();
        read
    }

    async fn connect(&self, door: &Door) -> Result<(Box<dyn Io>, Option<Own>), String> {
        let place = &door.way.place;
        let unreachable =
            |error: io::Error| format!("the proxy's own listener {place} cannot be reached: {error}");
        let (mut socket, own) = self.reach(&door.way).await.map_err(unreachable)?;
        if door.way.introduces {
            socket.write_all(&proxy_protocol::write_v2(None)).await.map_err(unreachable)?;
        }
        let Some(name) = &door.name else { return Ok((Box::new(socket), own)) };
        // It is this process that answers, so there is nobody to be deceived by; its certificate is another test's matter.
        let mut client = ClientConfig::clone(&*unverified()?);
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connecting = TlsConnector::from(Arc::new(client)).connect(name.clone(), socket).await;
        let stream = connecting.map_err(|error| format!("the TLS handshake failed: {error}"))?;
        Ok((Box::new(stream), own))
    }

    /// Connects, and notes where from before anybody can see the connection.
    async fn reach(&self, way: &Way) -> io::Result<(Socket, Option<Own>)> {
        let address = match &way.place {
            ListenPlace::Tcp(address) => address.0,
            ListenPlace::Unix(path) => {
                return Ok((Socket::Unix(UnixStream::connect(path.as_path()).await?), None));
            }
        };
        if !way.introduces {
            return Ok((Socket::Tcp(TcpStream::connect(address).await?), None));
        }
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(address.ip(), 0))?;
        let own = Own { asking: Arc::clone(&self.asking), address: socket.local_addr()? };
        self.asking.lock().insert(own.address);
        Ok((Socket::Tcp(socket.connect(address).await?), Some(own)))
    }

    /// That none of the headers of `ask` is one of ours is seen to by their type.
    fn request(&self, door: &Door, ask: &SmokeAsk) -> Result<Request<Empty<Bytes>>, String> {
        let mut request = Request::builder().method(ask.method.as_str()).uri(&ask.path);
        for (name, value) in ask.headers.iter() {
            request = request.header(name, value);
        }
        if ask.headers.iter().all(|(name, _)| name != header::USER_AGENT.as_str()) {
            request = request.header(header::USER_AGENT, "switcher-smoke");
        }
        request
            .header(header::HOST, &door.authority)
            .header(&HEADER, &*self.secret.0)
            .body(Empty::new())
            .map_err(|error| format!("{:?} cannot be asked for: {error}", ask.path))
    }
}

/// What stands in [`HEADER`] of an answer: whose it is.
#[must_use]
pub fn mark(app: &AppName, slot: Slot) -> String {
    format!("{app} {slot}")
}

/// Status and body of an answer that is the standby's.
async fn read(answer: Response<Incoming>, wanted: &str) -> Result<(u16, String), String> {
    let mark = answer.headers().get(&HEADER).map(http::HeaderValue::as_bytes);
    if mark != Some(wanted.as_bytes()) {
        let status = answer.status();
        return Err(format!("the answer ({status}) is not that of {wanted}"));
    }
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut kept = Vec::new();
    while kept.len() < KEPT
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| format!("the answer ({status}) broke off: {error}"))?;
        if let Some(data) = frame.data_ref() {
            kept.extend_from_slice(&data[..data.len().min(KEPT - kept.len())]);
        }
    }
    Ok((status, String::from_utf8_lossy(&kept).into_owned()))
}

/// Where a listener is met from this machine: one of every address on loopback.
fn reachable(mut listener: SocketAddr) -> SocketAddr {
    if listener.ip().is_unspecified() {
        listener.set_ip(match listener.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listener
}

/// The host of an authority: `[::1]:443` is `::1`.
fn without_port(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{app_settings, settings};
    use switcher_config::settings::Tls;

    #[test]
    fn only_the_secret_itself_lets_in_and_it_is_not_shown() {
        let (secret, other) = (Secret::make().expect("random"), Secret::make().expect("random"));
        let shown = |secret: &Secret| {
            HeaderMap::from_iter([(HEADER.clone(), http::HeaderValue::from_str(&secret.0).expect("a value"))])
        };
        assert!(secret.is_shown(&shown(&secret)));
        assert!(!secret.is_shown(&shown(&other)) && !secret.is_shown(&HeaderMap::new()));
        assert!(!format!("{secret:?}").contains(&*secret.0));
    }

    #[test]
    fn an_application_is_met_where_its_users_meet_it() {
        let secret = Secret::make().expect("random");
        let at = |text: &str| Way::new(text.parse().expect("a place"), ProxyProtocol::Off);
        let inner = Some("inner".to_owned());
        let ways = Ways {
            http: vec![(inner.clone(), at("0.0.0.0:8080")), (None, at("0.0.0.0:80"))],
            https: vec![(None, at("[::]:443")), (inner, at("[::]:8443"))],
        };
        let smoker = Smoker::new(secret.clone(), ways);
        let proxy = settings(Vec::new()).proxy;
        let plain = app_settings("127.0.0.1:8001", "127.0.0.1:8002");
        let hosts = vec!["shop.test".parse().expect("a host")];
        let secure = AppSettings { tls: Tls::Auto, hosts, ..plain.clone() };
        let door = smoker.door(&proxy, &plain).expect("a door");
        assert_eq!((door.way, door.authority.as_str()), (at("127.0.0.1:80"), "localhost"));
        let door = smoker.door(&proxy, &secure).expect("a door");
        assert_eq!((door.way, door.authority.as_str()), (at("[::1]:443"), "shop.test"));
        assert_eq!(door.name.map(|name| name.to_str().into_owned()).as_deref(), Some("shop.test"));
        let named = AppSettings { listeners: vec!["inner".to_owned()], ..plain.clone() };
        assert_eq!(smoker.door(&proxy, &named).expect("a door").way, at("127.0.0.1:8080"));
        let none = Smoker::new(secret, Ways::default()).door(&proxy, &plain).expect_err("no listener");
        assert_eq!(none, "the proxy has no http listener for it");
        assert_eq!((without_port("[::1]:443"), without_port("a.test:80")), ("::1", "a.test"));
    }
}
