//! Certificates for tests: self-signed, as PEM files or in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// A self-signed certificate with its key.
pub struct Certificate {
    /// The certificate in DER.
    pub der: CertificateDer<'static>,
    certificate_pem: String,
    key_pem: String,
    key_der: Vec<u8>,
}

impl Certificate {
    /// A fresh certificate for names and IP addresses.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn of(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        Self {
            der: made.cert.der().clone(),
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            key_der: made.signing_key.serialize_der(),
        }
    }

    /// One that was good once.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn expired(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        let key = KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        let (der, certificate_pem) = (made.der().clone(), made.pem());
        Self { der, certificate_pem, key_pem: key.serialize_pem(), key_der: key.serialize_der() }
    }

    /// Writes `NAME.crt` and `NAME.key` into a folder, over whatever was there.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        put(&certificate, &self.certificate_pem);
        put(&key, &self.key_pem);
        (certificate, key)
    }

    /// The key in the form that rustls takes.
    ///
    /// # Panics
    /// Never: the key was made here.
    #[must_use]
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key_der.clone()).expect("a private key")
    }
}

/// An authority of a test's own.
pub struct ClientRoot {
    issuer: Issuer<'static, KeyPair>,
    /// The root, in PEM.
    pub pem: String,
}

impl ClientRoot {
    /// A fresh root.
    ///
    /// # Panics
    /// When the system gives no randomness.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a root").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A client's certificate that is good now.
    #[must_use]
    pub fn issue(&self) -> Arc<CertifiedKey> {
        self.issue_until(SystemTime::from(date_time_ymd(2045, 1, 1)))
    }

    /// A client's certificate that is good for so long.
    #[must_use]
    pub fn issue_for(&self, lifetime: Duration) -> Arc<CertifiedKey> {
        self.issue_until(SystemTime::now() + lifetime)
    }

    /// A client's certificate that was good once.
    #[must_use]
    pub fn issue_expired(&self) -> Arc<CertifiedKey> {
        self.issue_until(SystemTime::from(date_time_ymd(2021, 1, 1)))
    }

    /// A certificate for these names, good for servers and clients, with its key: both in PEM.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn issue_pem(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    fn issue_until(&self, end: SystemTime) -> Arc<CertifiedKey> {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), end.into());
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let der = PrivateKeyDer::try_from(key.serialize_der()).expect("a private key");
        let signer = aws_lc_rs::default_provider().key_provider.load_private_key(der).expect("a key");
        Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signer))
    }
}

/// Writes a file of a test's own, which nobody else reads at the same moment.
///
/// # Panics
/// When the file cannot be written.
pub fn put(path: &Path, text: &str) {
    use switcher_config::durable::{Durability, replace};
    replace(path, text.as_bytes(), 0o644, Durability::Synced).expect("a written file");
}
