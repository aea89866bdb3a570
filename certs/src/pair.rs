//! A certificate chain with its private key, read from PEM and checked.
//!
//! A [`Pair`] that exists can be served: the chain is complete PEM, the key is of a kind that we sign with, and
//! it belongs to the leaf. Expiry is no error here, an expired certificate is better than none; the store
//! reports it. Read by the store.

use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::InconsistentKeys;
use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// A certificate chain and the key that belongs to its leaf.
#[derive(Clone)]
pub struct Pair {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Pair {
    /// Reads and checks a pair of files.
    ///
    /// # Errors
    /// When a file is missing, unreadable or damaged, or when the two do not belong together.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, PairError> {
        PemFiles::read(certificate, key, None)?.parse()
    }

    /// Reads and checks one file that holds both, the key and the chain, in any order.
    ///
    /// # Errors
    /// When the file is missing, unreadable or damaged, or when the two do not belong together.
    pub fn read_bundle(file: &Path) -> Result<Self, PairError> {
        Self::read(file, file)
    }

    /// The same from memory; `name` stands for it in errors.
    ///
    /// # Errors
    /// When it is damaged, or when the two do not belong together.
    pub fn from_bundle(pem: &[u8], name: &Path) -> Result<Self, PairError> {
        let files = Files { certificate: name, key: name };
        PemFiles { files, certificate: pem.to_vec(), key: pem.to_vec(), ocsp: None }.parse()
    }

    /// Builds a pair from a chain, leaf first, and its key. `files` names where they come from in errors.
    pub(crate) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        ocsp: Option<Vec<u8>>,
        files: Files<'_>,
    ) -> Result<Self, PairError> {
        let leaf = chain.first().ok_or_else(|| files.no_certificate())?;
        let Facts { names, not_before, not_after } =
            Facts::of(leaf).map_err(|why| files.bad_certificate(why))?;
        let signer = aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(key)
            .map_err(|why| PairError::BadKey { path: files.key.to_owned(), why: why.to_string() })?;
        let mut key = certified(chain, signer, files)?;
        key.ocsp = ocsp;
        Ok(Self { key: Arc::new(key), names, not_before, not_after })
    }

    /// What rustls serves.
    #[must_use]
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// The names and addresses the certificate is valid for, in lower case, wildcards as `*.example.com`.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// When the certificate begins to be valid.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// When the certificate expires.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether the certificate is valid for a host or a wildcard pattern (lower case, without a port).
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| {
            name == host || name.strip_prefix("*.").is_some_and(|wildcard| Some(wildcard) == parent)
        })
    }

    /// What is wrong with the dates, as a sentence.
    #[must_use]
    pub fn date_problem(&self, now: Timestamp) -> Option<String> {
        if now >= self.not_after {
            Some(format!(
                "the certificate expired at {}; clients refuse it until it is renewed",
                self.not_after
            ))
        } else if now < self.not_before {
            Some(format!(
                "the certificate is valid only from {}; check this machine's clock, or serve the older certificate until then",
                self.not_before
            ))
        } else {
            None
        }
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("names", &self.names)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// A pair that cannot be served. Every message names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// There is no such file.
    #[error("{} does not exist; put the {what} there, or correct the path in `tls`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// `certificate` or `key`.
        what: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}; let the user that runs switcher-proxy read it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The PEM is cut short or damaged.
    #[error("{} is damaged PEM ({why}); copy the whole {what} again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// `certificate` or `key`.
        what: &'static str,
        /// What the parser said.
        why: String,
    },
    /// No certificate is in the file.
    #[error(
        "{} holds no certificate; it must hold the chain in PEM, leaf first, each beginning with -----BEGIN CERTIFICATE-----",
        path.display()
    )]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The leaf is no certificate that can be served.
    #[error("the first certificate in {} cannot be used: {why}; issue it again", path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        why: String,
    },
    /// No private key is in the file.
    #[error("{} holds no private key; it must hold one in PEM, as PKCS#8, SEC1 or PKCS#1", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is protected by a passphrase.
    #[error(
        "the key in {0} is encrypted; decrypt it with `openssl pkey -in {0} -out plain.pem` and name that file",
        path.display()
    )]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is of a kind that is not served.
    #[error("the key in {} cannot be used: {why}; take an ECDSA, RSA (2048 bits or more) or Ed25519 key", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What the library said.
        why: String,
    },
    /// Certificate and key are of different pairs.
    #[error(
        "the key in {} does not belong to the first certificate in {}; take both from the same issuance, leaf first",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
}

/// The two files a pair comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Files<'a> {
    /// The chain.
    pub(crate) certificate: &'a Path,
    /// The key.
    pub(crate) key: &'a Path,
}

impl Files<'_> {
    fn no_certificate(self) -> PairError {
        PairError::NoCertificate { path: self.certificate.to_owned() }
    }

    fn bad_certificate(self, why: String) -> PairError {
        PairError::BadCertificate { path: self.certificate.to_owned(), why }
    }
}

/// The bytes of both files, as read at one moment; not yet checked.
pub(crate) struct PemFiles<'a> {
    files: Files<'a>,
    certificate: Vec<u8>,
    key: Vec<u8>,
    ocsp: Option<Vec<u8>>,
}

impl<'a> PemFiles<'a> {
    /// Reads the files whole.
    pub(crate) fn read(certificate: &'a Path, key: &'a Path, ocsp: Option<&Path>) -> Result<Self, PairError> {
        Ok(Self {
            files: Files { certificate, key },
            certificate: read(certificate, "certificate")?,
            key: read(key, "key")?,
            ocsp: ocsp.map(|ocsp| read(ocsp, "OCSP response")).transpose()?,
        })
    }

    /// What tells this content from another one.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        // The lengths keep a byte that moves from one file to the other from going unseen.
        hash.update(self.certificate.len().to_be_bytes());
        hash.update(&self.certificate);
        hash.update(self.key.len().to_be_bytes());
        hash.update(&self.key);
        hash.update(self.ocsp.as_deref().unwrap_or_default());
        hash.finalize().into()
    }

    /// Checks the content.
    pub(crate) fn parse(&self) -> Result<Pair, PairError> {
        let Files { certificate, key } = self.files;
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|why| damaged(certificate, "certificate", &why))?;
        let private_key = match PrivateKeyDer::from_pem_slice(&self.key) {
            Ok(found) => found,
            Err(pem::Error::NoItemsFound) if contains(&self.key, b"BEGIN ENCRYPTED PRIVATE KEY") => {
                return Err(PairError::EncryptedKey { path: key.to_owned() });
            }
            Err(pem::Error::NoItemsFound) => return Err(PairError::NoKey { path: key.to_owned() }),
            Err(why) => return Err(damaged(key, "key", &why)),
        };
        Pair::new(chain, private_key, self.ocsp.clone(), self.files)
    }
}

fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, PairError> {
    fs::read(path).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            PairError::Missing { path, what }
        } else {
            PairError::Unreadable { path, source }
        }
    })
}

/// The parser prints markers as lists of numbers, so the common case gets words of its own.
fn damaged(path: &Path, what: &'static str, why: &pem::Error) -> PairError {
    let why = if matches!(why, pem::Error::MissingSectionEnd { .. }) {
        "it ends in the middle".to_owned()
    } else {
        why.to_string()
    };
    PairError::Damaged { path: path.to_owned(), what, why }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    signer: Arc<dyn SigningKey>,
    files: Files<'_>,
) -> Result<CertifiedKey, PairError> {
    let pair = CertifiedKey::new(chain, signer);
    match pair.keys_match() {
        // A key that cannot say its public half is left for the handshake to prove.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(PairError::Mismatch { certificate: files.certificate.to_owned(), key: files.key.to_owned() })
        }
        Err(why) => Err(files.bad_certificate(why.to_string())),
    }
}

/// What we read in a leaf.
pub(crate) struct Facts {
    pub(crate) names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Facts {
    pub(crate) fn of(leaf: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, x509) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
        let names = match x509.subject_alternative_name().map_err(|error| error.to_string())? {
            Some(extension) => extension.value.general_names.iter().filter_map(san).collect(),
            None => Vec::new(),
        };
        let second =
            |seconds: i64| Timestamp::from_second(seconds).map_err(|error| format!("its dates: {error}"));
        let validity = x509.validity();
        Ok(Self {
            names,
            not_before: second(validity.not_before.timestamp())?,
            not_after: second(validity.not_after.timestamp())?,
        })
    }
}

/// A host name or an address; other kinds of names mean nothing to a web client.
fn san(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some(name.to_ascii_lowercase());
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    let address = <[u8; 4]>::try_from(*bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
        .ok()?;
    Some(address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Folder, issue};

    #[test]
    fn a_pair_says_its_names_and_its_last_day() {
        let folder = Folder::new();
        let (certificate, key) =
            folder.put("a", &issue(&["Shop.example.com", "*.shop.example.com", "10.0.0.1"]));
        let pair = Pair::read(&certificate, &key).expect("a good pair");
        assert_eq!(pair.names(), ["shop.example.com", "*.shop.example.com", "10.0.0.1"]);
        assert!(
            pair.covers("shop.example.com") && pair.covers("eu.shop.example.com") && pair.covers("10.0.0.1")
        );
        assert!(pair.covers("*.shop.example.com"));
        assert!(!pair.covers("a.eu.shop.example.com") && !pair.covers("example.com"));
        let day = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert_eq!(pair.not_after(), day("2045-01-01T00:00:00Z"));
        assert_eq!(pair.date_problem(day("2030-01-01T00:00:00Z")), None);
        assert_eq!(
            pair.date_problem(day("2045-01-01T00:00:00Z")).expect("expired"),
            "the certificate expired at 2045-01-01T00:00:00Z; clients refuse it until it is renewed"
        );
        assert!(pair.date_problem(day("2001-01-01T00:00:00Z")).expect("not yet").contains("valid only from"));
    }

    /// What the pair in `folder` says when its two files hold this.
    fn complaint(folder: &Folder, certificate: &str, key: &str) -> String {
        let (certificate, key) = folder.put_text("a", certificate, key);
        let error = Pair::read(&certificate, &key).expect_err("a bad pair");
        error.to_string().replace(&folder.path().display().to_string(), "DIR")
    }

    #[test]
    fn every_complaint_names_the_file_and_the_remedy() {
        let folder = Folder::new();
        let (good, other) = (issue(&["a.example"]), issue(&["a.example"]));
        let half = &good.certificate[..good.certificate.len() / 2];
        for (certificate, key, said) in [
            (
                good.certificate.as_str(),
                other.key.as_str(),
                "the key in DIR/a.key does not belong to the first certificate in DIR/a.pem; take both from the same issuance, leaf first",
            ),
            (
                half,
                &good.key,
                "DIR/a.pem is damaged PEM (it ends in the middle); copy the whole certificate again",
            ),
            (
                "hello",
                &good.key,
                "DIR/a.pem holds no certificate; it must hold the chain in PEM, leaf first, each beginning with -----BEGIN CERTIFICATE-----",
            ),
            (
                &good.certificate,
                "",
                "DIR/a.key holds no private key; it must hold one in PEM, as PKCS#8, SEC1 or PKCS#1",
            ),
            (
                &good.certificate,
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                "the key in DIR/a.key is encrypted; decrypt it with `openssl pkey -in DIR/a.key -out plain.pem` and name that file",
            ),
        ] {
            assert_eq!(complaint(&folder, certificate, key), said);
        }
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(
            complaint(&folder, nonsense, &good.key)
                .starts_with("the first certificate in DIR/a.pem cannot be used: ")
        );
        let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(
            complaint(&folder, &good.certificate, nonsense)
                .starts_with("the key in DIR/a.key cannot be used: ")
        );
    }

    #[test]
    fn a_missing_file_and_a_folder_are_told_apart() {
        let folder = Folder::new();
        let (certificate, key) = folder.put("a", &issue(&["a.example"]));
        let missing = folder.path().join("none.pem");
        let error = Pair::read(&certificate, &missing).expect_err("no key");
        assert_eq!(
            error.to_string(),
            format!("{} does not exist; put the key there, or correct the path in `tls`", missing.display())
        );
        let error = Pair::read(folder.path(), &key).expect_err("a folder");
        assert!(
            error.to_string().starts_with(&format!("cannot read {}: ", folder.path().display())),
            "{error}"
        );
    }
}
