//! Certificates for tests: self-signed, as PEM files or in memory.

use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

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

/// Writes a file of a test's own, which nobody else reads at the same moment.
///
/// # Panics
/// When the file cannot be written.
pub fn put(path: &Path, text: &str) {
    use switcher_config::durable::{Durability, replace};
    replace(path, text.as_bytes(), 0o644, Durability::Synced).expect("a written file");
}
