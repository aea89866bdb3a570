//! The proxy's own authority, for `tls: internal`: development, homes, and everything that no public authority
//! can reach.
//!
//! A root is made once and lives ten years; devices trust it (`switcher certs trust`), so it is never replaced in
//! silence: a damaged one is an error that names the file. The key is written before the certificate, so a crash
//! in between leaves a key that nobody trusts yet and that the next start goes on with. When the root comes
//! close to its end, it is made anew with the same key and the old one is kept beside it: whoever trusts the old
//! one accepts new leaves to its last day. Leaves live a week. Opened by the manager, before each round of
//! issuing.

mod root;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SerialNumber, date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use switcher_config::durable::ReplaceError;

use crate::lineage::{KeyType, Lineage};

use root::Root;

/// A clock that is somewhat behind accepts a new certificate all the same.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);
/// A week is enough for a renewal to fail for days, and short enough to need no revocation.
const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The proxy's own authority.
pub struct Authority {
    root_pem: String,
    not_after: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was just issued.
#[derive(Clone)]
pub struct Issued {
    /// The key, PKCS#8. A secret.
    pub key_pem: String,
    /// The leaf. Whoever trusts the root needs nothing else.
    pub chain_pem: String,
}

/// Something that the authority could not do. Every message names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum InternalError {
    /// The root is not what was made once.
    #[error(
        "the internal authority's root cannot be used: {} {why}. Devices may trust it, so it is not replaced by itself: \
         put root.pem and root.key back from a backup, or move both away; a new root is made then, \
         which has to be trusted again with `switcher certs trust`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}; let the user that runs switcher-proxy read it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The folder cannot be made.
    #[error("cannot create {}: {source}; let the user that runs switcher-proxy write there", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{0}; let the user that runs switcher-proxy write there, and free some space if there is none")]
    Write(#[from] ReplaceError),
    /// A certificate cannot be made: a name that no certificate can hold.
    #[error("the internal authority cannot issue a certificate for {names}: {source}; correct the names")]
    Issue {
        /// The names.
        names: String,
        /// What the library said.
        source: rcgen::Error,
    },
    /// The system gave no randomness, or a time is out of range.
    #[error(
        "the internal authority cannot make {what}; check this machine's clock and its source of randomness"
    )]
    System {
        /// What was to be made.
        what: &'static str,
    },
}

impl Authority {
    /// Loads the root, or makes it when there is none. A root that expires within the lifetime of a leaf is
    /// renewed.
    ///
    /// # Errors
    /// When the root is damaged, or the disk refuses.
    pub fn open(dir: &Path, now: Timestamp) -> Result<Self, InternalError> {
        let Root { pem, not_after, issuer } = Root::open(dir, now)?;
        Ok(Self { root_pem: pem, not_after, issuer })
    }

    /// The root that devices are to trust, in PEM.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// When the root expires.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Issues a certificate for a lineage: valid for a week, and from an hour ago for clocks that are behind.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate, or the system gives no randomness.
    pub fn issue(&self, lineage: &Lineage, now: Timestamp) -> Result<Issued, InternalError> {
        let failed = |source| InternalError::Issue { names: lineage.to_string(), source };
        let mut params = CertificateParams::new(lineage.names()).map_err(failed)?;
        // Clients read the alternative names alone; a common name has at most 64 characters (RFC 5280).
        let name = lineage.names().iter().find(|name| name.len() <= 64);
        params.distinguished_name = distinguished(name.map_or("Switcher internal", String::as_str));
        dated(&mut params, now, LEAF_LIFETIME)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(random_serial()?);
        let key = new_key(lineage.key())?;
        let leaf = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Issued { key_pem: key.serialize_pem(), chain_pem: leaf.pem() })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("chain_pem", &self.chain_pem).finish_non_exhaustive()
    }
}

/// A key of this kind.
fn new_key(kind: KeyType) -> Result<KeyPair, InternalError> {
    let algorithm = match kind {
        KeyType::Ecdsa => &PKCS_ECDSA_P256_SHA256,
        KeyType::Rsa => &PKCS_RSA_SHA256,
    };
    KeyPair::generate_for(algorithm).map_err(|_| InternalError::System { what: "a key" })
}

/// Sixteen random bytes, positive: no two certificates of one issuer may share a serial.
fn random_serial() -> Result<SerialNumber, InternalError> {
    let mut bytes = [0; 16];
    aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| InternalError::System { what: "a serial number" })?;
    // The first bit is the sign, and a leading zero byte would not be DER.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn distinguished(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Valid for `lifetime`, from an hour before `now`.
fn dated(
    params: &mut CertificateParams,
    now: Timestamp,
    lifetime: SignedDuration,
) -> Result<(), InternalError> {
    let begin = after(now, -BACKDATED)?;
    // The library counts from an epoch of its own type.
    let since_epoch = |at: Timestamp| match u64::try_from(at.as_second()) {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => Err(InternalError::System { what: "a date" }),
    };
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(begin)?;
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch(after(begin, lifetime)?)?;
    Ok(())
}

fn after(now: Timestamp, span: SignedDuration) -> Result<Timestamp, InternalError> {
    now.checked_add(span).map_err(|_| InternalError::System { what: "a date" })
}
