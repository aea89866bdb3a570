//! TLS to a database, as strict as `sslmode` says and no stricter (PostgreSQL manual, 34.19).
//!
//! `require` encrypts and proves nothing: that is libpq's meaning, and people rely on it with self-signed
//! certificates. Who wants proof says `verify-full`. Called by `session`.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::url::{SslFiles, SslMode};

/// The TLS of a connection.
///
/// # Errors
/// A sentence when a file of the URL, or the system's authorities, cannot be used.
pub(super) fn config(ssl: SslMode, files: &SslFiles) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let proof = match ssl {
        SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::Require => None,
        SslMode::VerifyCa | SslMode::VerifyFull => Some(authorities(files, &provider)?),
    };
    let verifier = Verifier { provider: Arc::clone(&provider), proof, host: ssl == SslMode::VerifyFull };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            let unreadable = |path: &std::path::Path, error: &dyn std::fmt::Display| {
                format!("{} cannot be used: {error}", path.display())
            };
            let chain = certificates(certificate)?;
            let key_file = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
            builder.with_client_auth_cert(chain, key_file).map_err(|error| unreadable(key, &error))?
        }
        (None, _) | (_, None) => builder.with_no_client_auth(),
    };
    // Servers since version 17 insist on it where they speak ALPN at all.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(config)
}

/// TLS that proves nothing, for who asks a server for its time.
///
/// # Errors
/// A sentence when the library refuses.
pub(crate) fn unproven() -> Result<ClientConfig, String> {
    let mut config = config(SslMode::Require, &SslFiles::default())?;
    config.alpn_protocols.clear();
    Ok(config)
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| format!("{} cannot be used: {error}", path.display()))
}

/// The authorities that the URL names, else the system's.
fn authorities(
    files: &SslFiles,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::empty();
    let found = match &files.roots {
        Some(path) => certificates(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(found);
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|_| "there is no authority to trust; name one with sslrootcert".to_owned())
}

/// Asks for as much proof as `sslmode` says; the signature of the handshake is verified always.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    proof: Option<Arc<WebPkiServerVerifier>>,
    /// Whether the certificate must be for this host.
    host: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(proof) = &self.proof else { return Ok(ServerCertVerified::assertion()) };
        match proof.verify_server_cert(end, chain, name, ocsp, now) {
            // The chain is judged before the name, so nothing else is wrong with it.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.host => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
