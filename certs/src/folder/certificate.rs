//! Saving a certificate: checked first, then written.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::SignatureAlgorithm;

use crate::lineage::{KeyType, Lineage};
use crate::pair::Pair;
use crate::record::Record;

use super::Folder;
use super::error::{FolderError, Refusal};

impl Folder {
    /// Checks a new certificate and keeps it for its lineage. The old one is served until this returns.
    ///
    /// # Errors
    /// When it is not worth keeping (see [`Refusal`]), or when the disk refuses; the old one stays.
    pub fn save_certificate(
        &self,
        lineage: &Lineage,
        key_pem: &str,
        chain_pem: &str,
    ) -> Result<Arc<Pair>, FolderError> {
        let (bundle, pair) = checked(lineage, key_pem, chain_pem, Timestamp::now())
            .map_err(|why| FolderError::Refused { names: lineage.to_string(), why })?;
        self.ensure_record(lineage)?;
        self.disk.replace(&self.pair_path(lineage), bundle.as_bytes())?;
        Ok(Arc::new(pair))
    }

    /// A pair always has a record before it, so that its lineage is known whatever its names are.
    pub(super) fn ensure_record(&self, lineage: &Lineage) -> Result<(), FolderError> {
        if self.record_path(lineage).exists() { Ok(()) } else { self.save_record(&Record::new(lineage)) }
    }
}

/// Whether a key and a chain make a certificate of this lineage: the pair, to be served. For the manager, who
/// serves a good one also when the disk is full.
///
/// # Errors
/// When they do not.
pub fn check_certificate(
    lineage: &Lineage,
    key_pem: &str,
    chain_pem: &str,
    now: Timestamp,
) -> Result<Pair, Refusal> {
    checked(lineage, key_pem, chain_pem, now).map(|(_, pair)| pair)
}

fn checked(
    lineage: &Lineage,
    key_pem: &str,
    chain_pem: &str,
    now: Timestamp,
) -> Result<(String, Pair), Refusal> {
    let bundle = format!("{}\n{}\n", key_pem.trim_end(), chain_pem.trim_end());
    let pair = Pair::from_bundle(bundle.as_bytes(), Path::new("the authority's answer"))?;
    if let Some(name) = missing(&pair, lineage) {
        return Err(Refusal::NotCovered { name: name.to_owned() });
    }
    if pair.not_after() <= now {
        return Err(Refusal::Expired { at: pair.not_after() });
    }
    if key_type(&pair) != lineage.key() {
        return Err(Refusal::WrongKey);
    }
    Ok((bundle, pair))
}

/// The first name of the lineage that a certificate is not valid for.
pub(super) fn missing<'a>(pair: &Pair, lineage: &'a Lineage) -> Option<&'a str> {
    lineage.names().iter().map(String::as_str).find(|name| !covers(pair, name))
}

/// An address has several spellings; a certificate holds its bytes.
fn covers(pair: &Pair, name: &str) -> bool {
    match name.parse::<std::net::IpAddr>() {
        Ok(address) => pair.covers(&address.to_string()),
        Err(_) => pair.covers(name),
    }
}

/// Clients either understand RSA alone or everything; so every other key counts as the modern one.
pub(super) fn key_type(pair: &Pair) -> KeyType {
    if pair.certified_key().key.algorithm() == SignatureAlgorithm::RSA {
        KeyType::Rsa
    } else {
        KeyType::Ecdsa
    }
}
