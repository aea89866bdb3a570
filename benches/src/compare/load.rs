//! The load: so many connections, each of which asks, waits for the whole answer, and asks again.
//!
//! Connections are open and warm before anything is counted. Every answer is checked; one that is not as it should
//! be ends the bench, since a server that fails fast is cheap.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request};
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, NamedGroup};
use switcher::demo::load::tls::AnyCertificate;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::backend::{LARGE, SMALL};
use super::wire::Wire;
use crate::peer::config::HOST;

/// Requests under way at once, each on a connection of its own unless the measure says otherwise.
pub const AT_ONCE: usize = 32;
/// Exchanges of each before anything is counted.
const WARM: usize = 20;
/// Flow control windows that hold nobody up.
const WINDOW: u32 = 4 << 20;

/// A byte stream, plain or TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What the clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with so many requests at once on each connection.
    Http2(usize),
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// An answer of [`SMALL`] bytes.
    Small,
    /// An answer of [`LARGE`] bytes.
    Answer,
    /// An upload of [`LARGE`] bytes, and a small answer.
    Upload,
}

/// Which door it is asked at, in which way, for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errand {
    /// The protocol.
    pub protocol: Protocol,
    /// Whether over TLS.
    pub tls: bool,
    /// The bodies.
    pub body: Body,
}

/// Connections that are open and warm.
pub struct Load {
    clients: Vec<Client>,
}

enum Client {
    Http1(Wire<Box<dyn Stream>>, Vec<u8>, usize),
    Http2(SendRequest<Bytes>, Errand),
}

impl Load {
    /// Opens the connections and warms them up.
    ///
    /// # Errors
    /// With the first exchange that did not go as it should.
    pub async fn open(address: SocketAddr, errand: Errand) -> io::Result<Self> {
        let mut load = Self { clients: Vec::with_capacity(AT_ONCE) };
        while load.clients.len() < AT_ONCE {
            let stream = connect(address, errand).await?;
            match errand.protocol {
                Protocol::Http1 => {
                    load.clients.push(Client::Http1(
                        Wire::over(stream),
                        request(errand.body),
                        errand.body.answered(),
                    ));
                }
                Protocol::Http2(streams) => {
                    let sender = http2(stream).await?;
                    load.clients.extend((0..streams).map(|_| Client::Http2(sender.clone(), errand)));
                }
            }
        }
        load.run(WARM * AT_ONCE).await
    }

    /// So many exchanges in all, spread over the connections. Gives the load back for the next ones.
    ///
    /// # Errors
    /// With the first exchange that did not go as it should.
    pub async fn run(self, exchanges: usize) -> io::Result<Self> {
        let each = exchanges.div_ceil(AT_ONCE);
        let mut tasks = JoinSet::new();
        for mut client in self.clients {
            tasks.spawn(async move {
                for _ in 0..each {
                    client.exchange().await?;
                }
                Ok::<_, io::Error>(client)
            });
        }
        let mut clients = Vec::with_capacity(AT_ONCE);
        while let Some(client) = tasks.join_next().await {
            clients.push(client.map_err(io::Error::other)??);
        }
        Ok(Self { clients })
    }
}

impl Client {
    async fn exchange(&mut self) -> io::Result<()> {
        match self {
            Self::Http1(wire, request, length) => wire.exchange(request, *length).await,
            Self::Http2(sender, errand) => exchange2(sender, *errand).await,
        }
    }
}

impl Body {
    const fn answered(self) -> usize {
        match self {
            Self::Small | Self::Upload => SMALL,
            Self::Answer => LARGE,
        }
    }

    const fn uploaded(self) -> usize {
        match self {
            Self::Small | Self::Answer => 0,
            Self::Upload => LARGE,
        }
    }

    const fn target(self) -> &'static str {
        match self {
            Self::Small | Self::Upload => "/",
            Self::Answer => "/large",
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::Small | Self::Answer => Method::GET,
            Self::Upload => Method::POST,
        }
    }
}

/// The request in HTTP/1.1, with headers such as a program sends.
#[must_use]
pub fn request(body: Body) -> Vec<u8> {
    let (method, target) = (body.method(), body.target());
    let mut bytes = format!(
        "{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: switcher-bench\r\nAccept: */*\r\n"
    )
    .into_bytes();
    if body.uploaded() > 0 {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.uploaded()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.resize(bytes.len() + body.uploaded(), b'u');
    bytes
}

/// Opens the byte stream of an errand.
///
/// # Errors
/// When the server cannot be reached or does not agree.
pub async fn connect(address: SocketAddr, errand: Errand) -> io::Result<Box<dyn Stream>> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    if !errand.tls {
        return Ok(Box::new(tcp));
    }
    let alpn: &[u8] = match errand.protocol {
        Protocol::Http1 => b"http/1.1",
        Protocol::Http2(_) => b"h2",
    };
    let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
    let stream = TlsConnector::from(config(alpn)?).connect(name, tcp).await?;
    if stream.get_ref().1.alpn_protocol() == Some(alpn) {
        Ok(Box::new(stream))
    } else {
        Err(io::Error::other(format!("{address} did not agree to {}", String::from_utf8_lossy(alpn))))
    }
}

/// One version, one key exchange, one cipher, so that everybody computes the same.
fn config(alpn: &[u8]) -> io::Result<Arc<ClientConfig>> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
    provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::default()))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}

async fn http2(stream: Box<dyn Stream>) -> io::Result<SendRequest<Bytes>> {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).enable_push(false);
    let (sender, connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
    // It ends with its connection; what went wrong is told to the exchange in progress.
    tokio::spawn(connection);
    Ok(sender)
}

async fn exchange2(sender: &mut SendRequest<Bytes>, errand: Errand) -> io::Result<()> {
    let (body, scheme) = (errand.body, if errand.tls { "https" } else { "http" });
    let request = Request::builder()
        .method(body.method())
        .uri(format!("{scheme}://{HOST}{}", body.target()))
        .header("user-agent", "switcher-bench")
        .header("accept", "*/*")
        .body(())
        .map_err(io::Error::other)?;
    let mut ready = sender.clone().ready().await.map_err(io::Error::other)?;
    let (answer, _) = ready.send_request(request, true).map_err(io::Error::other)?;
    let answer = answer.await.map_err(io::Error::other)?;
    let (status, mut stream, mut length) = (answer.status(), answer.into_body(), 0);
    while let Some(data) = stream.data().await {
        let data = data.map_err(io::Error::other)?;
        length += data.len();
        stream.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
    }
    if status == 200 && length == body.answered() {
        Ok(())
    } else {
        Err(io::Error::other(format!("{status} with {length} bytes came instead of {}", body.answered())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::backend;

    const fn errand(body: Body) -> Errand {
        Errand { protocol: Protocol::Http1, tls: false, body }
    }

    #[tokio::test]
    async fn every_body_is_asked_for_and_checked() {
        let address = backend::start().expect("an application");
        for body in [Body::Small, Body::Answer, Body::Upload] {
            let load = Load::open(address, errand(body)).await.expect("warm");
            assert_eq!(load.run(64).await.expect("exchanges").clients.len(), AT_ONCE);
        }
    }

    #[tokio::test]
    async fn a_server_that_closes_is_an_error_and_no_cheap_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        assert!(Load::open(address, errand(Body::Small)).await.is_err());
    }

    #[test]
    fn an_upload_carries_what_it_declares() {
        let bytes = request(Body::Upload);
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        assert_eq!(bytes.len() - head - 4, LARGE);
    }
}
