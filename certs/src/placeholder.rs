//! The self-signed certificate that answers until there is a real one.
//!
//! Made once, in memory, never written to disk; clients are not meant to trust it. It lets a TLS listener
//! answer from the first moment and a health check or a CDN that does not verify pass. Made by the store.

use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use rustls_pki_types::PrivateKeyDer;

use crate::pair::{Files, Pair, PairError};

/// The name in a placeholder that stands for every host. `.invalid` can never be a real name.
const ANY_HOST: &str = "placeholder.switcher.invalid";

/// A placeholder that could not be made: a name that no certificate can hold, or no randomness.
#[derive(Debug, thiserror::Error)]
pub enum PlaceholderError {
    /// The certificate could not be made.
    #[error("cannot make a placeholder certificate for {names:?}: {source}")]
    Issue {
        /// The names it was for.
        names: Vec<String>,
        /// What the library said.
        source: rcgen::Error,
    },
    /// The certificate cannot be served.
    #[error("cannot use the placeholder certificate: {0}")]
    Use(#[from] PairError),
}

/// Makes a placeholder for these names, ECDSA P-256, valid for ten years; for every host when there is none.
///
/// # Errors
/// When a name cannot stand in a certificate or the system gives no randomness.
pub fn placeholder(names: &[String], now: Timestamp) -> Result<Pair, PlaceholderError> {
    let failed = |source| PlaceholderError::Issue { names: names.to_vec(), source };
    let wanted = if names.is_empty() { vec![ANY_HOST.to_owned()] } else { names.to_vec() };
    let mut params = CertificateParams::new(wanted).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, "Switcher placeholder");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Whole years: a clock that is a day off does not matter.
    let year = i32::from(now.to_zoned(TimeZone::UTC).year());
    params.not_before = date_time_ymd(year - 1, 1, 1);
    params.not_after = date_time_ymd(year + 10, 1, 1);
    // A key of its own for each: the serial number is taken from it, and two certificates of one issuer
    // with the same serial are refused by some clients even when they verify nothing else.
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let in_memory = Files { certificate: Path::new("(placeholder)"), key: Path::new("(placeholder)") };
    Ok(Pair::new(vec![certificate.der().clone()], key, None, in_memory)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_carries_its_names_and_outlives_the_process() {
        let now: Timestamp = "2028-02-29T12:00:00Z".parse().expect("a leap day");
        let names = ["shop.example.com".to_owned(), "*.shop.example.com".to_owned(), "::1".to_owned()];
        let pair = placeholder(&names, now).expect("made");
        assert_eq!(pair.names(), names);
        assert_eq!(pair.date_problem(now), None);
        assert_eq!(pair.not_after().to_string(), "2038-01-01T00:00:00Z");
    }

    #[test]
    fn a_placeholder_for_every_host_names_none() {
        let pair = placeholder(&[], Timestamp::now()).expect("made");
        assert_eq!(pair.names(), [ANY_HOST]);
    }
}
