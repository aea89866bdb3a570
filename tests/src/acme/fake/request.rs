//! What stands in a signing request, and how renewal information names a certificate.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use rcgen::{PublicKeyData, SignatureAlgorithm};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate};

use crate::acme::strict::{self, Leaf};

/// How RFC 9773 section 4.1 names a certificate: its authority's key identifier and its serial number.
///
/// # Panics
/// When it was not issued by an authority of the harness.
#[must_use]
pub fn ari_id(leaf: &Leaf) -> String {
    let (_, x509) = X509Certificate::from_der(&leaf.der).expect("a certificate");
    let mut identifiers = x509.extensions().iter().filter_map(|extension| {
        let ParsedExtension::AuthorityKeyIdentifier(id) = extension.parsed_extension() else { return None };
        id.key_identifier.as_ref().map(|id| id.0)
    });
    let authority = identifiers.next().expect("the authority's key identifier");
    format!("{}.{}", BASE64.encode(authority), BASE64.encode(x509.tbs_certificate.raw_serial()))
}

/// The key of a signing request.
pub(super) struct RequestedKey {
    bytes: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// The names, in order, and the key of a signing request. Its signature is not looked at.
pub(super) fn read_csr(der: &[u8]) -> Option<(Vec<String>, RequestedKey)> {
    let (_, csr) = X509CertificationRequest::from_der(der).ok()?;
    let key = &csr.certification_request_info.subject_pki;
    let algorithm = match key.algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" => &rcgen::PKCS_RSA_SHA256,
        "1.2.840.10045.2.1" => &rcgen::PKCS_ECDSA_P256_SHA256,
        _ => return None,
    };
    let mut names = Vec::new();
    for extension in csr.requested_extensions()? {
        let ParsedExtension::SubjectAlternativeName(alternative) = extension else { continue };
        for name in &alternative.general_names {
            names.push(strict::name(name)?);
        }
    }
    names.sort();
    Some((names, RequestedKey { bytes: key.subject_public_key.data.to_vec(), algorithm }))
}
