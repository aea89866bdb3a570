//! A TLS client that verifies chain, name and dates as a browser does, and tells what it was shown.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, NamedGroup, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use rustls::{HandshakeKind, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::http1::{Answer, Http1, request};
use crate::until::{PATIENCE, within};

/// A client and whom it trusts. It never resumes a session, so that each connection shows a certificate.
#[derive(Clone)]
pub struct Strict {
    roots: Arc<RootCertStore>,
    versions: Vec<&'static SupportedProtocolVersion>,
    provider: CryptoProvider,
    alpn: Vec<Vec<u8>>,
}

/// A verified connection.
pub struct Verified {
    /// The connection.
    pub stream: TlsStream<TcpStream>,
    /// The certificate that was shown.
    pub leaf: Leaf,
    /// How many certificates came, the leaf among them.
    pub chain: usize,
    /// The protocol chosen by ALPN.
    pub alpn: Option<String>,
    /// TLS 1.2 or 1.3.
    pub version: Option<ProtocolVersion>,
    /// The key exchange.
    pub group: Option<NamedGroup>,
    /// Whether the handshake was a full one.
    pub kind: Option<HandshakeKind>,
}

/// What stands in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The serial number in hex, lower case, without colons.
    pub serial: String,
    /// The alternative names, in order: hosts and addresses.
    pub names: Vec<String>,
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
    /// Whether its key is RSA; else it is an elliptic curve's.
    pub rsa: bool,
    /// The certificate itself.
    pub der: Vec<u8>,
}

impl Leaf {
    /// Reads a certificate.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn read(der: &[u8]) -> Self {
        let (_, x509) = X509Certificate::from_der(der).expect("a certificate");
        let time = |t: x509_parser::time::ASN1Time| Timestamp::from_second(t.timestamp()).expect("a time");
        let alternative = x509.subject_alternative_name().expect("names that can be read");
        let mut names: Vec<String> =
            alternative.iter().flat_map(|names| &names.value.general_names).filter_map(name).collect();
        names.sort();
        Self {
            serial: x509.tbs_certificate.raw_serial().iter().map(|b| format!("{b:02x}")).collect(),
            names,
            not_before: time(x509.validity().not_before),
            not_after: time(x509.validity().not_after),
            rsa: x509.public_key().algorithm.algorithm.to_id_string() == "1.2.840.113549.1.1.1",
            der: der.to_vec(),
        }
    }

    /// Its public key.
    ///
    /// # Panics
    /// Never: it was read before.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        let (_, x509) = X509Certificate::from_der(&self.der).expect("a certificate");
        x509.public_key().raw.to_vec()
    }

    /// Reads the first certificate of a PEM text.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn of_pem(pem: &str) -> Self {
        Self::read(&CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate in PEM"))
    }
}

/// A host or an address; none for other kinds of names.
pub(super) fn name(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(host) = name {
        return Some((*host).to_owned());
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from)).ok().map(|a| a.to_string())
}

impl Strict {
    /// Trusts these roots and nobody else. Offers HTTP/1.1.
    ///
    /// # Panics
    /// When a root is none.
    #[must_use]
    pub fn trusting(roots: &[CertificateDer<'static>]) -> Self {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone()).expect("a root");
        }
        Self {
            roots: Arc::new(store),
            versions: rustls::ALL_VERSIONS.to_vec(),
            provider: aws_lc_rs::default_provider(),
            alpn: vec![b"http/1.1".to_vec()],
        }
    }

    /// Trusts the roots of a PEM text.
    ///
    /// # Panics
    /// When it holds none.
    #[must_use]
    pub fn trusting_pem(pem: &str) -> Self {
        let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let roots = roots.expect("certificates in PEM");
        assert!(!roots.is_empty(), "no certificate in PEM: {pem}");
        Self::trusting(&roots)
    }

    /// Offers these TLS versions only.
    #[must_use]
    pub fn versions(mut self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        self.versions = versions.to_vec();
        self
    }

    /// Offers these protocols by ALPN.
    #[must_use]
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        self
    }

    /// An old client: it knows RSA signatures only in handshakes.
    #[must_use]
    pub fn only_rsa(mut self) -> Self {
        let known = self.provider.signature_verification_algorithms;
        let rsa = |scheme: SignatureScheme| format!("{scheme:?}").starts_with("RSA");
        let mapping: Vec<_> = known.mapping.iter().copied().filter(|(scheme, _)| rsa(*scheme)).collect();
        // A list for the life of the process is what rustls asks for; a test makes one.
        let mapping = Box::leak(mapping.into_boxed_slice());
        self.provider.signature_verification_algorithms =
            WebPkiSupportedAlgorithms { all: known.all, mapping };
        self
    }

    /// The configuration, for a client that shares it among many connections.
    ///
    /// # Panics
    /// When the versions do not go with the ciphers.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(self.provider.clone()))
            .with_protocol_versions(&self.versions)
            .expect("supported versions")
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        config.alpn_protocols.clone_from(&self.alpn);
        Arc::new(config)
    }

    /// Connects, or says what is wrong with the certificate.
    ///
    /// # Errors
    /// What rustls finds, or the server's alert.
    ///
    /// # Panics
    /// When the handshake takes too long.
    pub async fn try_connect(&self, name: &str, address: SocketAddr) -> io::Result<Verified> {
        shake(self.config(), name, address).await
    }

    /// Connects.
    ///
    /// # Panics
    /// When what is shown does not hold.
    pub async fn connect(&self, name: &str, address: SocketAddr) -> Verified {
        self.try_connect(name, address).await.unwrap_or_else(|e| panic!("no TLS with {name}: {e}"))
    }

    /// A GET for a name, on a connection of its own.
    ///
    /// # Errors
    /// When the certificate does not hold, or there is no whole answer.
    pub async fn try_get(&self, name: &str, address: SocketAddr, path: &str) -> io::Result<Answer> {
        let mut client = Http1::over(self.try_connect(name, address).await?.stream);
        client.try_exchange(&request("GET", path, &[("Host", name)], b"")).await
    }
}

/// One verified handshake.
pub(super) async fn shake(
    config: Arc<ClientConfig>,
    name: &str,
    address: SocketAddr,
) -> io::Result<Verified> {
    let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let tcp = within(PATIENCE, "a connection", TcpStream::connect(address)).await?;
    tcp.set_nodelay(true)?;
    let stream = within(PATIENCE, "a TLS handshake", TlsConnector::from(config).connect(server, tcp)).await?;
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().unwrap_or_default();
    let leaf = Leaf::read(shown.first().ok_or_else(|| io::Error::other("no certificate was shown"))?);
    Ok(Verified {
        leaf,
        chain: shown.len(),
        alpn: session.alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned()),
        version: session.protocol_version(),
        group: session.negotiated_key_exchange_group().map(|g| g.name()),
        kind: session.handshake_kind(),
        stream,
    })
}
