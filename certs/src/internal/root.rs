//! The root on disk: `root.pem` and `root.key`, made once.
//!
//! Used by [`super::Authority`] alone. What devices trust is the name and the key in the root, so a renewed root
//! has both from the old one.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use switcher_config::durable::{self, Durability};
use tracing::{info, warn};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::lineage::KeyType;

use super::{InternalError, LEAF_LIFETIME, after, dated, distinguished, new_key, random_serial};

/// Ten years.
const LIFETIME: SignedDuration = SignedDuration::from_hours(3652 * 24);

/// A root that can sign.
pub(super) struct Root {
    pub(super) pem: String,
    pub(super) not_after: Timestamp,
    pub(super) issuer: Issuer<'static, KeyPair>,
}

impl Root {
    pub(super) fn open(dir: &Path, now: Timestamp) -> Result<Self, InternalError> {
        let files = Files { root: dir.join("root.pem"), key: dir.join("root.key") };
        match (read(&files.root)?, read(&files.key)?) {
            (Some(pem), Some(key)) => files.load(&pem, files.parse_key(&key)?, now),
            // The process was killed between the two writes: nobody can trust this root yet.
            (None, Some(key)) => files.make(&common_name(), files.parse_key(&key)?, now),
            (Some(_), None) => Err(damaged(&files.key, "is missing beside root.pem")),
            (None, None) => {
                make_folder(dir)?;
                let key = new_key(KeyType::Ecdsa)?;
                write(&files.key, &key.serialize_pem())?;
                files.make(&common_name(), key, now)
            }
        }
    }
}

/// Where the root lies.
struct Files {
    root: PathBuf,
    key: PathBuf,
}

impl Files {
    fn parse_key(&self, pem: &str) -> Result<KeyPair, InternalError> {
        KeyPair::from_pem(pem).map_err(|_| damaged(&self.key, "holds no private key in PEM (PKCS#8)"))
    }

    /// Checks that the root is what was made with this key, and renews it when it is old.
    fn load(&self, pem: &str, key: KeyPair, now: Timestamp) -> Result<Root, InternalError> {
        let facts = Facts::of(pem).map_err(|why| damaged(&self.root, why))?;
        if facts.public_key != key.subject_public_key_info() {
            return Err(damaged(&self.key, "is not the key of root.pem"));
        }
        let params = params(&facts.common_name, now)?;
        // Clients compare the issuer in a leaf with the subject of the root, byte for byte.
        if !facts.is_authority || Some(&facts.subject) != self_signed(&params, &key)?.1.as_ref() {
            return Err(damaged(&self.root, "was not made by switcher-proxy"));
        }
        if facts.not_after < after(now, LEAF_LIFETIME)? {
            let old = format!("root-until-{}.pem", facts.not_after.strftime("%Y-%m-%d"));
            write(&self.root.with_file_name(&old), pem)?;
            warn!(expires = %facts.not_after, old, "the internal authority's root is renewed");
            return self.make(&facts.common_name, key, now);
        }
        Ok(Root { pem: pem.to_owned(), not_after: facts.not_after, issuer: Issuer::new(params, key) })
    }

    /// Makes a root with this key.
    fn make(&self, common_name: &str, key: KeyPair, now: Timestamp) -> Result<Root, InternalError> {
        let params = params(common_name, now)?;
        let (pem, _) = self_signed(&params, &key)?;
        let not_after = Facts::of(&pem).map_err(|why| damaged(&self.root, why))?.not_after;
        write(&self.root, &pem)?;
        info!(root = %self.root.display(), "the internal authority has a new root; `switcher certs trust` says how to trust it");
        Ok(Root { pem, not_after, issuer: Issuer::new(params, key) })
    }
}

/// What we read in a root.
struct Facts {
    public_key: Vec<u8>,
    subject: Vec<u8>,
    common_name: String,
    is_authority: bool,
    not_after: Timestamp,
}

impl Facts {
    fn of(pem: &str) -> Result<Self, &'static str> {
        let der =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| "holds no certificate in PEM")?;
        let (_, x509) = X509Certificate::from_der(&der).map_err(|_| "holds a damaged certificate")?;
        let common_name = x509.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        Ok(Self {
            public_key: x509.public_key().raw.to_vec(),
            subject: x509.subject().as_raw().to_vec(),
            common_name: common_name.unwrap_or_default().to_owned(),
            is_authority: x509.is_ca(),
            not_after: Timestamp::from_second(x509.validity().not_after.timestamp())
                .map_err(|_| "holds a certificate with an impossible date")?,
        })
    }
}

fn params(common_name: &str, now: Timestamp) -> Result<CertificateParams, InternalError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished(common_name);
    dated(&mut params, now, LIFETIME)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.serial_number = Some(random_serial()?);
    Ok(params)
}

/// The certificate in PEM, and its subject as it is encoded.
fn self_signed(
    params: &CertificateParams,
    key: &KeyPair,
) -> Result<(String, Option<Vec<u8>>), InternalError> {
    let pem = params.self_signed(key).map_err(|_| InternalError::System { what: "a root" })?.pem();
    let subject = Facts::of(&pem).ok().map(|facts| facts.subject);
    Ok((pem, subject))
}

/// So that two machines' roots can be told apart in a list of trusted ones. At most 64 characters (RFC 5280).
fn common_name() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().take(32).collect();
    format!("Switcher internal authority ({})", if host.is_empty() { "unnamed host" } else { &host })
}

fn damaged(path: &Path, why: &'static str) -> InternalError {
    InternalError::Damaged { path: path.to_owned(), why }
}

fn read(path: &Path) -> Result<Option<String>, InternalError> {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| damaged(path, "is no text")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(InternalError::Unreadable { path: path.to_owned(), source }),
    }
}

fn write(path: &Path, pem: &str) -> Result<(), InternalError> {
    Ok(durable::replace(path, pem.as_bytes(), 0o600, Durability::Synced)?)
}

fn make_folder(dir: &Path) -> Result<(), InternalError> {
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(dir)
        .map_err(|source| InternalError::NoFolder { path: dir.to_owned(), source })
}
