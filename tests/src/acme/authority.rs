//! A certificate authority in memory: a root, an intermediate, and whatever they are asked to sign.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

/// A root and an intermediate.
pub struct Authority {
    root: rcgen::Certificate,
    intermediate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A chain, the leaf first, and the leaf's key.
pub type Keyed = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

static SERIAL: AtomicU64 = AtomicU64::new(1);

impl Authority {
    /// A fresh authority, valid for years.
    ///
    /// # Panics
    /// Never: what is signed here can be signed.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let root_key = KeyPair::generate().expect("a key");
        let mut params = ca(&format!("{name} root"));
        let root = params.self_signed(&root_key).expect("a root");
        let signer = Issuer::new(params, root_key);
        let key = KeyPair::generate().expect("a key");
        params = ca(&format!("{name} intermediate"));
        let intermediate = params.signed_by(&key, &signer).expect("an intermediate");
        Self { root, intermediate, issuer: Issuer::new(params, key) }
    }

    /// The root, for clients to trust.
    #[must_use]
    pub fn root(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    /// The root as PEM.
    #[must_use]
    pub fn root_pem(&self) -> String {
        self.root.pem()
    }

    /// Signs a key for names and addresses. The chain is the leaf and the intermediate.
    ///
    /// # Panics
    /// When a name is none.
    pub fn sign(
        &self,
        names: &[String],
        validity: (Timestamp, Timestamp),
        key: &impl PublicKeyData,
    ) -> [rcgen::Certificate; 2] {
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = DistinguishedName::new();
        params.not_before = moment(validity.0);
        params.not_after = moment(validity.1);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.serial_number = Some(serial());
        let leaf = params.signed_by(key, &self.issuer).expect("a certificate");
        [leaf, self.intermediate.clone()]
    }

    /// Makes a key and signs it.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn keyed(&self, names: &[&str], validity: (Timestamp, Timestamp)) -> Keyed {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().expect("a key");
        let chain = self.sign(&names, validity, &key).map(|c| c.der().clone()).to_vec();
        (chain, PrivateKeyDer::try_from(key.serialize_der()).expect("a private key"))
    }

    /// Makes a key and signs it for a day; certificate chain and key as PEM.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn pem(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().expect("a key");
        let chain = self.sign(&names, a_day(), &key).map(|c| c.pem()).concat();
        (chain, key.serialize_pem())
    }

    /// A TLS server's side with a certificate of this authority, HTTP/1.1 by ALPN.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    pub fn server(&self, names: &[&str]) -> Arc<ServerConfig> {
        serving(self.keyed(names, a_day()))
    }
}

/// From an hour ago until tomorrow.
#[must_use]
pub fn a_day() -> (Timestamp, Timestamp) {
    let now = Timestamp::now();
    (now - SignedDuration::from_hours(1), now + SignedDuration::from_hours(24))
}

/// A TLS server's side that shows a chain.
///
/// # Panics
/// When the key is not the leaf's.
#[must_use]
pub fn serving((chain, key): Keyed) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate with its key");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

fn moment(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.as_second()).expect("a moment of this age")
}

/// Nobody else's: the clock keeps processes apart, the counter calls.
fn serial() -> SerialNumber {
    let now = Timestamp::now().as_nanosecond().unsigned_abs();
    let count = u128::from(SERIAL.fetch_add(1, Ordering::Relaxed));
    let mut bytes = ((now << 24) ^ count).to_be_bytes().to_vec();
    bytes[0] = (bytes[0] & 0x3f) | 0x40;
    SerialNumber::from_slice(&bytes)
}
