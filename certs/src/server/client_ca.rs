//! The roots that an application's clients must have their certificates from (`client_ca`).
//!
//! Read whole and checked when the configuration is; a [`ClientCa`] that exists can judge clients. It is told
//! from others by its content, not by its file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest as _, Sha256};

/// Which roots: equal for equal certificates in equal order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RootsId([u8; 32]);

/// Roots for clients' certificates.
pub struct ClientCa {
    id: RootsId,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientCa {
    /// Reads and checks a file of roots in PEM.
    ///
    /// # Errors
    /// When it is missing, unreadable or damaged, or holds no certificate.
    pub fn read(path: &Path) -> Result<Self, ClientCaError> {
        let at = || path.to_owned();
        let text = std::fs::read(path).map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                ClientCaError::Missing { path: at() }
            } else {
                ClientCaError::Unreadable { path: at(), source }
            }
        })?;
        let roots = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|why| ClientCaError::Damaged { path: at(), why: in_words(&why) })?;
        if roots.is_empty() {
            return Err(ClientCaError::Empty { path: at() });
        }
        Self::of(&roots).map_err(|(place, why)| ClientCaError::BadRoot { path: at(), place, why })
    }

    /// The same of certificates in memory; an error says which one, from 1, and why.
    fn of(roots: &[CertificateDer<'_>]) -> Result<Self, (usize, String)> {
        let mut store = RootCertStore::empty();
        let mut hash = Sha256::new();
        for (index, root) in roots.iter().enumerate() {
            store.add(root.clone()).map_err(|why| (index + 1, why.to_string()))?;
            hash.update(root.len().to_be_bytes());
            hash.update(root);
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build();
        let verifier = verifier.map_err(|why| (roots.len(), why.to_string()))?;
        Ok(Self { id: RootsId(hash.finalize().into()), verifier })
    }

    /// Which roots these are.
    #[must_use]
    pub fn id(&self) -> RootsId {
        self.id
    }

    /// Whether a client's certificate is good now. A resumed session brings the certificate of its first
    /// handshake along, which may have expired since.
    #[must_use]
    pub fn accepts(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let Some((leaf, intermediates)) = chain.split_first() else { return false };
        self.verifier.verify_client_cert(leaf, intermediates, now).is_ok()
    }

    pub(super) fn verifier(&self) -> &Arc<dyn ClientCertVerifier> {
        &self.verifier
    }
}

/// The parser prints markers as lists of numbers, so the common case gets words of its own.
fn in_words(why: &pem::Error) -> String {
    if matches!(why, pem::Error::MissingSectionEnd { .. }) {
        "it ends in the middle".to_owned()
    } else {
        why.to_string()
    }
}

/// Roots that cannot be used. Every message names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientCaError {
    /// There is no such file.
    #[error("{} does not exist; put the roots of your clients' certificates there in PEM, or correct the path in `client_ca`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
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
    #[error("{} is damaged PEM ({why}); copy the whole file again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        why: String,
    },
    /// No certificate is in the file.
    #[error(
        "{} holds no certificate; it must hold the roots of your clients' certificates in PEM, each beginning with -----BEGIN CERTIFICATE-----",
        path.display()
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A certificate in it cannot be a root.
    #[error("certificate {place} in {} cannot be used: {why}; copy it again from your certificate authority", path.display())]
    BadRoot {
        /// The file.
        path: PathBuf,
        /// Which one, from 1.
        place: usize,
        /// What the library said.
        why: String,
    },
}

impl fmt::Debug for RootsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "RootsId({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

impl fmt::Debug for ClientCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCa").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{ClientRoot, Folder};

    #[test]
    fn roots_are_told_apart_by_their_content_alone() {
        let folder = Folder::new();
        let (one, two) = (ClientRoot::new("one").pem, ClientRoot::new("two").pem);
        let id = |name: &str, text: &str| {
            let (path, _) = folder.put_text(name, text, "");
            ClientCa::read(&path).expect("good roots").id()
        };
        assert_eq!(id("a", &one), id("b", &format!("# for clients\n{one}\n")));
        assert_ne!(id("a", &one), id("a", &two));
        assert_ne!(id("a", &one), id("a", &format!("{one}{two}")));
    }

    #[test]
    fn every_complaint_names_the_file_and_the_remedy() {
        let folder = Folder::new();
        let good = ClientRoot::new("one").pem;
        for (text, said) in [
            (
                "hello",
                "DIR/roots.pem holds no certificate; it must hold the roots of your clients' certificates in PEM, each beginning with -----BEGIN CERTIFICATE-----",
            ),
            (
                &good[..good.len() / 2],
                "DIR/roots.pem is damaged PEM (it ends in the middle); copy the whole file again",
            ),
        ] {
            let (path, _) = folder.put_text("roots", text, "");
            let error = ClientCa::read(&path).expect_err("bad roots");
            assert_eq!(error.to_string().replace(&folder.path().display().to_string(), "DIR"), said);
        }
        let (path, _) = folder.put_text(
            "roots",
            &format!("{good}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "",
        );
        let said = ClientCa::read(&path).expect_err("nonsense").to_string();
        assert!(said.starts_with("certificate 2 in ") && said.contains("cannot be used"), "{said}");
        let missing = ClientCa::read(&folder.path().join("none.pem")).expect_err("no file").to_string();
        assert!(missing.contains("none.pem does not exist; put the roots"), "{missing}");
        let unreadable = ClientCa::read(folder.path()).expect_err("a folder").to_string();
        assert!(unreadable.starts_with("cannot read "), "{unreadable}");
    }
}
