//! Certificates for the tests of imports.

use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, date_time_ymd};

/// A certificate and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// The moment that the tests take for now.
pub(crate) fn now() -> Timestamp {
    "2026-11-21T14:00:00Z".parse().expect("a moment")
}

/// Valid from 2020 to 2045.
pub(crate) fn issue(names: &[&str]) -> Issued {
    issue_until(names, 2045)
}

/// Valid from 2020 to the beginning of a year.
pub(crate) fn issue_until(names: &[&str], year: i32) -> Issued {
    sign(names, year, &KeyPair::generate().expect("a key"))
}

/// The same with an RSA key.
pub(crate) fn issue_rsa(names: &[&str]) -> Issued {
    sign(names, 2045, &KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key"))
}

fn sign(names: &[&str], year: i32, key: &KeyPair) -> Issued {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("good names");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    let certificate = params.self_signed(key).expect("a certificate");
    Issued { certificate: certificate.pem(), key: key.serialize_pem() }
}
