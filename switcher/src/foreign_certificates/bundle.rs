//! A certificate chain with its key in one text, read and checked.
//!
//! A [`Bundle`] that exists is complete PEM, and its key belongs to its leaf; the proxy checks it once more.

use std::net::IpAddr;

use jiff::Timestamp;
use rustls::SignatureAlgorithm;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// A chain with its key.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// The names of the leaf, in lower case.
    pub(crate) names: Vec<String>,
    /// When the leaf expires.
    pub(crate) not_after: Timestamp,
    /// The key, then the chain, in PEM.
    pub(crate) pem: String,
    rsa: bool,
    stem: String,
}

impl Bundle {
    /// Reads both; the error is a sentence.
    pub(crate) fn new(chain: &[u8], key: &[u8]) -> Result<Self, String> {
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| "its certificate is damaged PEM".to_owned())?;
        let leaf = certificates.first().ok_or("there is no certificate in it")?;
        let (names, not_after) = facts(leaf)?;
        let first = names.first().ok_or("its certificate is valid for no name")?;
        let stem = stem(first, leaf);
        let private = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| "there is no private key in it, or the key is encrypted or damaged".to_owned())?;
        let provider = aws_lc_rs::default_provider();
        let pair = CertifiedKey::from_der(certificates, private, &provider).map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                "its key does not belong to its certificate".to_owned()
            } else {
                format!("its key cannot be used: {error}")
            }
        })?;
        let rsa = pair.key.algorithm() == SignatureAlgorithm::RSA;
        let text = |pem: &[u8]| String::from_utf8_lossy(pem).trim().to_owned();
        let pem = format!("{}\n{}\n", text(key), text(chain));
        Ok(Self { names, not_after, pem, rsa, stem })
    }

    /// What makes two bundles rivals: the same names in any order, and the same kind of key.
    pub(crate) fn kind(&self) -> (Vec<String>, bool) {
        let mut names = self.names.clone();
        names.sort();
        (names, self.rsa)
    }

    /// A file name without its end that belongs to this certificate alone.
    pub(crate) fn stem(&self) -> &str {
        &self.stem
    }
}

/// `shop.example.com-1f2e3d4c`: readable, and another one for another certificate.
fn stem(name: &str, leaf: &CertificateDer<'_>) -> String {
    let readable: String = name
        .chars()
        .map(|c| match c {
            'a'..='z' | '0'..='9' | '.' | '-' => c,
            _ => '_',
        })
        .take(100)
        .collect();
    let hash: String = Sha256::digest(leaf).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hash}", readable.trim_start_matches('.'))
}

/// The names and the last day of a leaf.
fn facts(leaf: &CertificateDer<'_>) -> Result<(Vec<String>, Timestamp), String> {
    let cannot = |why: String| format!("its certificate cannot be used: {why}");
    let (_, x509) = X509Certificate::from_der(leaf).map_err(|error| cannot(error.to_string()))?;
    let names = match x509.subject_alternative_name().map_err(|error| cannot(error.to_string()))? {
        Some(extension) => extension.value.general_names.iter().filter_map(name).collect(),
        None => Vec::new(),
    };
    let not_after = Timestamp::from_second(x509.validity().not_after.timestamp())
        .map_err(|error| cannot(error.to_string()))?;
    Ok((names, not_after))
}

/// A host name or an address; other kinds of names mean nothing to a web client.
fn name(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some(name.to_ascii_lowercase());
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
}
