//! Everything of this crate that is kept on disk: `<data_dir>/certs`, folders 0700, files 0600.
//!
//! ```text
//! certificates/<lineage id>.pem   the key and the chain in one file, so that no half pair can exist
//! certificates/<lineage id>.json  the Record
//! orders/<lineage id>.json        an order in flight
//! accounts/<host>-<hash>.json     the ACME account at one directory
//! ledger.json                     what was asked of which authority
//! internal/root.pem, root.key     the proxy's own authority (see `internal`)
//! imported/*.pem                  the inbox of `switcher certs import`, with `*.json` beside it
//! damaged/…                       what could not be used, moved aside with its time in the name
//! ```
//!
//! Every file is replaced atomically and synced, so a crash at any moment leaves the old or the new one. What
//! takes several files is done in an order whose every prefix is a good folder:
//! - a new certificate: its record where there is none, then the pair;
//! - an import: the same, then the record with its authority, then the inbox lets go of the `.json`, then of
//!   the `.pem`; cut short before that, it is found again and ends in the same place;
//! - a removal: the pair first, so that a revoked one is never served again, then the order, then the record.
//!
//! Damaged content is set aside, never overwritten and never deleted; what cannot be read is only reported.
//! One process writes here, the proxy's manager; `switcher certs import` writes into the inbox alone.

mod certificate;
mod disk;
mod document;
mod error;
mod inbox;
mod place;
mod reading;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::lineage::Lineage;
use crate::pair::Pair;
use crate::record::Record;

pub use certificate::check_certificate;
use disk::Disk;
pub use document::{Account, Order, Secret};
pub use error::{Damaged, FolderError, Refusal};
pub use inbox::{Taken, Verdict};
use reading::Read;

const CERTIFICATES: &str = "certificates";
const ORDERS: &str = "orders";
const ACCOUNTS: &str = "accounts";
const INTERNAL: &str = "internal";
const IMPORTED: &str = "imported";
const DAMAGED: &str = "damaged";
const LEDGER: &str = "ledger.json";

/// The folder of certificates.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    disk: Disk,
}

/// What was found when the proxy started.
#[derive(Debug, Default)]
pub struct Contents {
    /// Every lineage of which something is known, by id.
    pub kept: Vec<Kept>,
    /// What could not be used.
    pub damaged: Vec<Damaged>,
}

/// A lineage of which something is known.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The lineage.
    pub lineage: Lineage,
    /// What is remembered of it.
    pub record: Record,
    /// Its certificate, also when it has expired; none when no attempt has succeeded yet.
    pub pair: Option<Arc<Pair>>,
}

impl Folder {
    /// Creates the folder with its parents where there is none, proves that it can be written, and takes
    /// rights away from others.
    ///
    /// # Errors
    /// When it cannot be written: no right, no space, read-only, or a file in the way. [`Folder::at`] may still
    /// read it.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, FolderError> {
        let folder = Self::at(root);
        folder.prepare()?;
        Ok(folder)
    }

    /// The folder as it is: nothing is created or proven. For a disk that [`Folder::open`] refused: what lies
    /// there is still loaded and served.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), disk: Disk::default() }
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the proxy's own authority lies.
    #[must_use]
    pub fn internal(&self) -> PathBuf {
        self.root.join(INTERNAL)
    }

    /// Remembers what is known of a lineage.
    ///
    /// # Errors
    /// When the disk refuses; the old record stays.
    pub fn save_record(&self, record: &Record) -> Result<(), FolderError> {
        let Some(lineage) = record.lineage() else { return Err(FolderError::Nameless) };
        self.save(&self.record_path(&lineage), record)
    }

    /// Forgets a lineage: its pair, its order and its record. It need not be there.
    ///
    /// # Errors
    /// When the disk refuses; do it again then.
    pub fn remove(&self, lineage: &Lineage) -> Result<(), FolderError> {
        self.disk.remove(&self.pair_path(lineage))?;
        self.disk.remove(&self.order_path(lineage))?;
        self.disk.remove(&self.record_path(lineage))
    }

    /// The account at the authority with this directory URL.
    ///
    /// # Errors
    /// When it cannot be read. Damaged content is set aside and said once; there is no account from then on.
    pub fn account(&self, directory: &str) -> Result<Option<Account>, FolderError> {
        self.document(&self.account_path(directory)).found()
    }

    /// Keeps an account, under its directory URL.
    ///
    /// # Errors
    /// When the disk refuses; the old one stays.
    pub fn save_account(&self, account: &Account) -> Result<(), FolderError> {
        self.save(&self.account_path(&account.directory), account)
    }

    /// The order that was in flight for a lineage.
    ///
    /// # Errors
    /// When it cannot be read. Damaged content is set aside and said once; there is no order from then on.
    pub fn order(&self, lineage: &Lineage) -> Result<Option<Order>, FolderError> {
        self.document(&self.order_path(lineage)).found()
    }

    /// Keeps an order in flight, so that a restart goes on with it.
    ///
    /// # Errors
    /// When the disk refuses; the old one stays.
    pub fn save_order(&self, lineage: &Lineage, order: &Order) -> Result<(), FolderError> {
        self.save(&self.order_path(lineage), order)
    }

    /// Forgets the order of a lineage, which has ended.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove_order(&self, lineage: &Lineage) -> Result<(), FolderError> {
        self.disk.remove(&self.order_path(lineage))
    }

    /// The ledger; an empty one when there is none, and when it could not be used, with the reason.
    #[must_use]
    pub fn load_ledger<T: DeserializeOwned + Default>(&self) -> (T, Option<Damaged>) {
        match self.document(&self.root.join(LEDGER)) {
            Read::Missing => (T::default(), None),
            Read::Good(ledger) => (ledger, None),
            Read::Bad(damaged) => (T::default(), Some(damaged)),
        }
    }

    /// Keeps the ledger.
    ///
    /// # Errors
    /// When the disk refuses; the old one stays.
    pub fn save_ledger<T: Serialize>(&self, ledger: &T) -> Result<(), FolderError> {
        self.save(&self.root.join(LEDGER), ledger)
    }

    fn save<T: Serialize>(&self, path: &Path, value: &T) -> Result<(), FolderError> {
        let mut text = serde_json::to_vec_pretty(value)
            .map_err(|source| FolderError::Encode { path: path.to_owned(), source })?;
        text.push(b'\n');
        self.disk.replace(path, &text)
    }

    fn pair_path(&self, lineage: &Lineage) -> PathBuf {
        self.root.join(CERTIFICATES).join(format!("{}.pem", lineage.id()))
    }

    fn record_path(&self, lineage: &Lineage) -> PathBuf {
        self.root.join(CERTIFICATES).join(format!("{}.json", lineage.id()))
    }

    fn order_path(&self, lineage: &Lineage) -> PathBuf {
        self.root.join(ORDERS).join(format!("{}.json", lineage.id()))
    }

    /// The host is there for people; the hash keeps two directories of one host apart.
    fn account_path(&self, directory: &str) -> PathBuf {
        let host = directory.split_once("://").map_or(directory, |(_, rest)| rest);
        let host: String = host
            .chars()
            .take_while(|c| *c != '/')
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' })
            .take(100)
            .collect();
        let hash: String =
            Sha256::digest(directory).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.root.join(ACCOUNTS).join(format!("{host}-{hash}.json"))
    }
}

/// Whether a file's name ends so and is none of our temporary files.
fn is_a(file: &Path, extension: &str) -> bool {
    file.extension() == Some(OsStr::new(extension))
        && file.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."))
}
