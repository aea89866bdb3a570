//! A TLS client: any certificate is accepted and shown, SNI and ALPN are the test's to choose.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CipherSuite, ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, SignatureScheme,
    SupportedProtocolVersion,
};
use switcher::demo::load::tls::AnyCertificate;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http1::Http1;
use crate::until::{PATIENCE, within};

/// What a client offers in its hello.
#[derive(Clone)]
pub struct Hello {
    name: String,
    alpn: Vec<Vec<u8>>,
    versions: Vec<&'static SupportedProtocolVersion>,
    provider: CryptoProvider,
    // What rustls compares before it resumes: a session is one of a verifier and of credentials.
    verifier: Arc<AnyCertificate>,
    credentials: Arc<dyn ResolvesClientCert>,
    sessions: Resumption,
}

/// Shows nothing when it is asked for a certificate.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// What was agreed on, with the connection.
pub struct Agreed {
    /// The connection.
    pub stream: TlsStream<TcpStream>,
    /// The certificate the server showed.
    pub certificate: CertificateDer<'static>,
    /// The protocol chosen by ALPN.
    pub alpn: Option<String>,
    /// The key exchange.
    pub group: Option<NamedGroup>,
    /// TLS 1.2 or 1.3.
    pub version: Option<ProtocolVersion>,
    /// The cipher suite.
    pub cipher: Option<CipherSuite>,
    /// Whether a session was resumed.
    pub resumed: bool,
}

impl Hello {
    /// A hello for a server name (an IP address sends no SNI), with HTTP/1.1 as its only protocol.
    #[must_use]
    pub fn to(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            alpn: vec![b"http/1.1".to_vec()],
            versions: rustls::ALL_VERSIONS.to_vec(),
            provider: aws_lc_rs::default_provider(),
            verifier: Arc::default(),
            credentials: Arc::new(NoCertificate),
            sessions: Resumption::in_memory_sessions(16),
        }
    }

    /// Shows this certificate when it is asked for one.
    #[must_use]
    pub fn showing(mut self, certificate: &Arc<CertifiedKey>) -> Self {
        self.credentials = Arc::new(SingleCertAndKey::from(Arc::clone(certificate)));
        self
    }

    /// For another server name, with the same sessions to resume.
    #[must_use]
    pub fn again_to(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// Offers these protocols by ALPN, the preferred one first.
    #[must_use]
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        self
    }

    /// Offers these TLS versions only.
    #[must_use]
    pub fn versions(mut self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        self.versions = versions.to_vec();
        self
    }

    /// Offers one key exchange only.
    #[must_use]
    pub fn only_group(mut self, group: NamedGroup) -> Self {
        self.provider.kx_groups.retain(|g| g.name() == group);
        self
    }

    /// Connects, or says why the handshake failed.
    ///
    /// # Errors
    /// As the server's alert says.
    ///
    /// # Panics
    /// When the server cannot be reached, or takes too long.
    pub async fn try_connect(self, address: SocketAddr) -> std::io::Result<Agreed> {
        let tcp = within(PATIENCE, "a connection", TcpStream::connect(address)).await?;
        tcp.set_nodelay(true)?;
        self.over(tcp).await
    }

    /// Shakes hands over a connection, or says why that failed.
    ///
    /// # Errors
    /// As the server's alert says.
    ///
    /// # Panics
    /// When the server takes too long.
    pub async fn over(self, tcp: TcpStream) -> std::io::Result<Agreed> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(self.provider))
            .with_protocol_versions(&self.versions)
            .expect("supported versions")
            .dangerous()
            .with_custom_certificate_verifier(self.verifier)
            .with_client_cert_resolver(self.credentials);
        config.alpn_protocols = self.alpn;
        config.resumption = self.sessions;
        let name = ServerName::try_from(self.name).expect("a server name");
        let connector = TlsConnector::from(Arc::new(config));
        let stream = within(PATIENCE, "a TLS handshake", connector.connect(name, tcp)).await?;
        let (_, session) = stream.get_ref();
        let certificate =
            session.peer_certificates().and_then(|c| c.first()).expect("a certificate").clone().into_owned();
        Ok(Agreed {
            certificate,
            alpn: session.alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned()),
            group: session.negotiated_key_exchange_group().map(|g| g.name()),
            version: session.protocol_version(),
            cipher: session.negotiated_cipher_suite().map(|suite| suite.suite()),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            stream,
        })
    }

    /// Connects.
    ///
    /// # Panics
    /// When the handshake fails.
    pub async fn connect(self, address: SocketAddr) -> Agreed {
        self.try_connect(address).await.unwrap_or_else(|e| panic!("no TLS with {address}: {e}"))
    }

    /// Connects and speaks HTTP/1.1.
    ///
    /// # Panics
    /// When the handshake fails.
    pub async fn http1(self, address: SocketAddr) -> Http1 {
        Http1::over(self.connect(address).await.stream)
    }
}
