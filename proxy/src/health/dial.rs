//! Opens connections outside of Pingora's pool: resolves the name again, connects, and speaks TLS where the address says so.
//!
//! Invariant: every failure is a sentence for people. Called by [`super::probe`], and by the gateway for WebSockets.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use switcher_config::UpstreamProtocol;
use switcher_config::settings::{SentProxyProtocol, UpstreamTls};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::edge::proxy_protocol::{self, Addresses};
use crate::edge::socket::Socket;
use crate::upstream::Upstream;

/// Opens connections to the upstreams of one application.
#[derive(Debug)]
pub struct Dialer {
    tls: UpstreamTls,
    introduces: SentProxyProtocol,
    /// Made when the first `https://` upstream is probed: reading the roots is not for nothing.
    client: OnceLock<Result<Arc<ClientConfig>, String>>,
}

/// A connection, ready to speak HTTP.
pub struct Connection {
    /// The bytes, decrypted.
    pub io: Box<dyn Io>,
    /// What to speak; `None` when TLS left it open.
    pub version: Option<Version>,
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A stream of bytes in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Dialer {
    /// A dialer that verifies `https://` upstreams as the settings say.
    #[must_use]
    pub const fn new(tls: UpstreamTls) -> Self {
        Self { tls, introduces: SentProxyProtocol::Off, client: OnceLock::new() }
    }

    /// The same, which tells upstreams whom a connection is made for.
    #[must_use]
    pub fn introducing(self, introduces: SentProxyProtocol) -> Self {
        Self { introduces, ..self }
    }

    /// Opens a connection, and says whom it is made for where the upstream is told that: nobody, when it is for the
    /// proxy itself.
    ///
    /// # Errors
    /// A sentence about what failed.
    pub async fn connect(
        &self,
        upstream: &Upstream,
        whom: impl FnOnce() -> Option<Addresses>,
    ) -> Result<Socket, String> {
        let mut socket = reach(upstream).await?;
        if let Some(header) = proxy_protocol::write(self.introduces, whom) {
            socket.write_all(&header).await.map_err(|error| connect_sentence(&error))?;
        }
        Ok(socket)
    }

    /// Opens a connection that can speak HTTP, over TLS where the address says so.
    ///
    /// # Errors
    /// A sentence about what failed.
    pub async fn open(&self, upstream: &Upstream) -> Result<Connection, String> {
        let socket = self.connect(upstream, || None).await?;
        match upstream.address().protocol() {
            UpstreamProtocol::Http1 => Ok(Connection { io: Box::new(socket), version: Some(Version::Http1) }),
            UpstreamProtocol::H2c => Ok(Connection { io: Box::new(socket), version: Some(Version::Http2) }),
            UpstreamProtocol::Https => self.handshake(upstream, socket).await,
        }
    }

    /// Makes a connection one on which HTTP/1.1 can be upgraded: over TLS where the address says so.
    ///
    /// # Errors
    /// A sentence about what failed.
    pub async fn upgradable(
        &self,
        upstream: &Upstream,
        socket: impl Io + 'static,
    ) -> Result<Box<dyn Io>, String> {
        if upstream.address().protocol() != UpstreamProtocol::Https {
            return Ok(Box::new(socket));
        }
        let mut client = ClientConfig::clone(&*self.client()?);
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Box::new(self.secure(upstream, socket, Arc::new(client)).await?))
    }

    fn client(&self) -> Result<Arc<ClientConfig>, String> {
        self.client.get_or_init(|| client(&self.tls)).clone()
    }

    async fn handshake(&self, upstream: &Upstream, socket: Socket) -> Result<Connection, String> {
        let stream = self.secure(upstream, socket, self.client()?).await?;
        let version = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Some(Version::Http2),
            Some(_) => Some(Version::Http1),
            None => None,
        };
        Ok(Connection { io: Box::new(stream), version })
    }

    async fn secure<S: Io>(
        &self,
        upstream: &Upstream,
        socket: S,
        client: Arc<ClientConfig>,
    ) -> Result<TlsStream<S>, String> {
        let name = self.tls.server_name.as_deref().unwrap_or_else(|| upstream.address().host());
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("{name:?} is no name a certificate can have"))?;
        let connecting = TlsConnector::from(client).connect(name, socket).await;
        connecting.map_err(|error| format!("the TLS handshake failed: {error}"))
    }
}

/// A connection to the upstream, over TCP or its unix socket.
async fn reach(upstream: &Upstream) -> Result<Socket, String> {
    if let Some(path) = upstream.address().socket_path() {
        let connected = UnixStream::connect(path.as_path()).await;
        return connected.map(Socket::Unix).map_err(|error| connect_sentence(&error));
    }
    let tcp = TcpStream::connect(resolve(upstream).await?).await.map_err(|error| connect_sentence(&error))?;
    // A probe is one small exchange; should this fail, it is a little later.
    let _ = tcp.set_nodelay(true);
    Ok(Socket::Tcp(tcp))
}

/// Where the upstream is now on the network; its name is asked for again each time.
///
/// # Errors
/// A sentence when the name does not resolve.
pub async fn resolve(upstream: &Upstream) -> Result<SocketAddr, String> {
    let address = upstream.address();
    if let Some(socket) = address.socket_address() {
        return Ok(socket);
    }
    let name = address.host();
    // A unix socket has no port, and nobody asks for its name.
    let found = tokio::net::lookup_host((name, address.port().unwrap_or_default()))
        .await
        .map_err(|error| format!("the name {name} does not resolve: {error}"))?;
    let found: Vec<_> = found.collect();
    upstream.resolved(&found).ok_or_else(|| format!("the name {name} does not resolve: it has no address"))
}

fn connect_sentence(error: &std::io::Error) -> String {
    if error.kind() == ErrorKind::ConnectionRefused {
        "connection refused".into()
    } else {
        format!("cannot connect: {error}")
    }
}

/// A TLS client that believes what the system does.
///
/// # Errors
/// A sentence when TLS cannot be set up.
pub fn verified() -> Result<Arc<ClientConfig>, String> {
    client(&UpstreamTls { verify: true, server_name: None, ca_file: None })
}

/// A TLS client that believes every certificate.
///
/// # Errors
/// A sentence when TLS cannot be set up.
pub fn unverified() -> Result<Arc<ClientConfig>, String> {
    client(&UpstreamTls { verify: false, server_name: None, ca_file: None })
}

/// The TLS client for probes of one application.
fn client(tls: &UpstreamTls) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let mut client = if tls.verify {
        builder.with_root_certificates(roots(tls)?).with_no_client_auth()
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
            .with_no_client_auth()
    };
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(client))
}

fn roots(tls: &UpstreamTls) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(file) = &tls.ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let unreadable =
        |error: &dyn std::fmt::Display| format!("ca_file {} cannot be read: {error}", file.display());
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() { Err(unreadable(&"it holds no certificate")) } else { Ok(roots) }
}

/// For `verify: false`: believes every certificate, but still checks that the server has its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
