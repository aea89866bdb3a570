//! What the tests of this crate share: issued certificates, a folder to put them in, and a TLS client that
//! shakes hands in memory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_RSA_SHA256, date_time_ymd,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, Connection, DigitallySignedStruct, HandshakeKind,
    NamedGroup, ProtocolVersion, ServerConfig, ServerConnection, SignatureScheme, SupportedProtocolVersion,
    version,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use switcher_config::durable::{self, Durability};
use switcher_config::settings::{Listener, TlsListener, TlsVersion};

use crate::pair::Facts;
use crate::{ClientCa, Configurations, Sessions};

/// The configuration of an ordinary listener around a resolver.
pub(crate) fn server_config(
    resolver: Arc<dyn ResolvesServerCert>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let listener = TlsListener {
        listener: Listener::at(std::net::SocketAddr::from(([127, 0, 0, 1], 443))),
        min_version: TlsVersion::Tls12,
        ciphers: None,
    };
    let made = Configurations::new([&listener], &[], &resolver, &Sessions::new()?)?;
    Ok(Arc::clone(made.get(0, None).expect("one listener")))
}

/// An authority for clients' certificates.
pub(crate) struct ClientRoot {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl ClientRoot {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a root").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Only certificates of this root are accepted.
    pub(crate) fn client_ca(&self) -> Arc<ClientCa> {
        let folder = Folder::new();
        let (path, _) = folder.put_text("roots", &self.pem, "");
        Arc::new(ClientCa::read(&path).expect("good roots"))
    }

    pub(crate) fn issue(&self, name: &str) -> Arc<CertifiedKey> {
        self.issue_until(name, 2045)
    }

    pub(crate) fn issue_expired(&self, name: &str) -> Arc<CertifiedKey> {
        self.issue_until(name, 2021)
    }

    fn issue_until(&self, name: &str, year: i32) -> Arc<CertifiedKey> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(year, 1, 1));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let der = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let signer = aws_lc_rs::default_provider().key_provider.load_private_key(der).expect("a key");
        Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signer))
    }
}

/// A certificate and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Issues a self-signed certificate for these names, valid from 2020 to 2045.
pub(crate) fn issue(names: &[&str]) -> Issued {
    issue_with(names, &KeyPair::generate().expect("a key"))
}

/// The same with an RSA key.
pub(crate) fn issue_rsa(names: &[&str]) -> Issued {
    issue_with(names, &KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key"))
}

fn issue_with(names: &[&str], key: &KeyPair) -> Issued {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("good names");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2045, 1, 1);
    let certificate = params.self_signed(key).expect("a certificate");
    Issued { certificate: certificate.pem(), key: key.serialize_pem() }
}

/// A temporary folder for certificate files.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub(crate) fn put(&self, name: &str, issued: &Issued) -> (PathBuf, PathBuf) {
        self.put_text(name, &issued.certificate, &issued.key)
    }

    /// Writes `NAME.pem` and `NAME.key`, whatever they hold.
    pub(crate) fn put_text(&self, name: &str, certificate: &str, key: &str) -> (PathBuf, PathBuf) {
        let file = |extension: &str, text: &str| {
            let path = self.path().join(format!("{name}.{extension}"));
            durable::replace(&path, text.as_bytes(), 0o600, Durability::Synced).expect("written");
            path
        };
        (file("pem", certificate), file("key", key))
    }
}

/// A real TLS client that accepts every certificate and remembers its sessions.
pub(crate) struct Client(ClientConfig);

/// What a handshake agreed on and which certificate it showed.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) names: Vec<String>,
    pub(crate) version: Option<ProtocolVersion>,
    pub(crate) group: Option<NamedGroup>,
    pub(crate) cipher: Option<CipherSuite>,
    pub(crate) alpn: Option<Vec<u8>>,
    pub(crate) resumed: bool,
}

impl Default for Client {
    fn default() -> Self {
        Self::new(aws_lc_rs::default_provider(), &[&version::TLS13, &version::TLS12])
    }
}

impl Client {
    fn new(provider: CryptoProvider, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAll))
            .with_no_client_auth();
        Self(config)
    }

    /// The OCSP response that is stapled to the certificate for a name; empty when there is none.
    pub(crate) fn staple(server: &Arc<ServerConfig>, name: &str) -> Vec<u8> {
        let seen = Arc::new(Staple::default());
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&version::TLS13])
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        Self(config).shake(server, Some(name)).expect("served");
        let stapled = seen.0.lock().expect("not poisoned");
        stapled.clone()
    }

    /// A client that knows one key exchange.
    pub(crate) fn only(group: NamedGroup) -> Self {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups.retain(|known| known.name() == group);
        Self::new(provider, &[&version::TLS13])
    }

    /// A client of another age.
    pub(crate) fn tls12() -> Self {
        Self::new(aws_lc_rs::default_provider(), &[&version::TLS12])
    }

    /// A client that cannot verify ECDSA.
    pub(crate) fn rsa_only() -> Self {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptRsa))
            .with_no_client_auth();
        Self(config)
    }

    /// Offers these protocols.
    pub(crate) fn alpn(mut self, protocols: &[&str]) -> Self {
        self.0.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// Shows this certificate when it is asked for one.
    pub(crate) fn certified(mut self, shown: &Arc<CertifiedKey>) -> Self {
        self.0.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(shown)));
        self
    }

    /// Resumes with whatever session it has, whichever name that is of.
    pub(crate) fn one_store_for_every_name(mut self) -> Self {
        self.0.resumption = Resumption::store(Arc::new(OneStore(ClientSessionMemoryCache::new(8))));
        self
    }

    /// A whole handshake in memory; without a name the client dials an address and sends no SNI.
    pub(crate) fn shake(
        &self,
        server: &Arc<ServerConfig>,
        name: Option<&str>,
    ) -> Result<Shown, rustls::Error> {
        let name = ServerName::try_from(name.unwrap_or("192.0.2.1").to_owned()).expect("a name");
        let mut client = Connection::from(ClientConnection::new(Arc::new(self.0.clone()), name)?);
        let mut server = Connection::from(ServerConnection::new(Arc::clone(server))?);
        // Beyond the handshake itself, so that the tickets arrive too.
        while client.wants_write() || server.wants_write() {
            pass(&mut client, &mut server)?;
            pass(&mut server, &mut client)?;
        }
        assert!(
            !client.is_handshaking() && !server.is_handshaking(),
            "neither side has anything left to say"
        );
        let leaf = &client.peer_certificates().expect("a certificate")[0];
        Ok(Shown {
            names: Facts::of(leaf).expect("a readable certificate").names,
            version: client.protocol_version(),
            group: client.negotiated_key_exchange_group().map(|group| group.name()),
            cipher: client.negotiated_cipher_suite().map(|suite| suite.suite()),
            alpn: client.alpn_protocol().map(<[u8]>::to_vec),
            resumed: client.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }
}

/// Carries everything `from` has to say to `to`.
fn pass(from: &mut Connection, to: &mut Connection) -> Result<(), rustls::Error> {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).expect("a write to memory");
    }
    let mut wire = wire.as_slice();
    while !wire.is_empty() {
        to.read_tls(&mut wire).expect("a read from memory");
        to.process_new_packets()?;
    }
    Ok(())
}

/// Like [`AcceptAll`], and keeps what was stapled.
#[derive(Debug, Default)]
struct Staple(Mutex<Vec<u8>>);

impl ServerCertVerifier for Staple {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        stapled: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().expect("not poisoned") = stapled.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        AcceptAll.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        AcceptAll.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        AcceptAll.supported_verify_schemes()
    }
}

/// Like [`AcceptAll`], for a client that understands RSA only.
#[derive(Debug)]
struct AcceptRsa;

impl ServerCertVerifier for AcceptRsa {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        AcceptAll.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        AcceptAll.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256]
    }
}

#[derive(Debug)]
struct AcceptAll;

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Sessions of every name under one.
#[derive(Debug)]
struct OneStore(ClientSessionMemoryCache);

impl OneStore {
    fn name() -> ServerName<'static> {
        ServerName::try_from("every.example").expect("a name")
    }
}

impl ClientSessionStore for OneStore {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(Self::name(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&Self::name())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(Self::name(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&Self::name())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&Self::name());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(Self::name(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&Self::name())
    }
}
