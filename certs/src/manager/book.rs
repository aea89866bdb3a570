//! The ledger with its place on disk: whoever orders asks here first and writes down what it does.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use switcher_config::settings::Directory;

use crate::acme::AcmeError;
use crate::folder::{Folder, FolderError};
use crate::ledger::{Entry, Ledger, Left, Limits, What};

/// The one writer of the ledger.
pub(crate) struct Book {
    folder: Arc<Folder>,
    ledger: Mutex<Ledger>,
}

impl Book {
    pub(crate) const fn new(folder: Arc<Folder>, ledger: Ledger) -> Self {
        Self { folder, ledger: Mutex::new(ledger) }
    }

    /// Claims room for an order and writes it down, both in one step, so that two orders never take the same
    /// room. Durable before the authority is asked.
    pub(crate) fn claim(
        &self,
        ca: &Directory,
        names: &[String],
        renewal: bool,
        now: Timestamp,
    ) -> Result<(), AcmeError> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.room(ca.url(), &Limits::of(ca), names, renewal, now).map_err(|none| AcmeError::NoRoom {
            ca: ca.url().to_owned(),
            limit: none.limit,
            until: none.until,
        })?;
        Self::write(&self.folder, &mut ledger, entry(ca, names, What::Ordered { replaces: renewal }, now))
            .map_err(AcmeError::from)
    }

    /// Writes down how it ended.
    pub(crate) fn note(
        &self,
        ca: &Directory,
        names: &[String],
        what: What,
        now: Timestamp,
    ) -> Result<(), FolderError> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        Self::write(&self.folder, &mut ledger, entry(ca, names, what, now))
    }

    /// What is left of an authority's limits.
    pub(crate) fn left(&self, ca: &Directory, names: &[String], now: Timestamp) -> Vec<Left> {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.left(ca.url(), &Limits::of(ca), names, now)
    }

    fn write(folder: &Folder, ledger: &mut Ledger, entry: Entry) -> Result<(), FolderError> {
        let now = entry.at;
        ledger.note(entry);
        ledger.prune(now);
        folder.save_ledger(ledger)
    }
}

fn entry(ca: &Directory, names: &[String], what: What, at: Timestamp) -> Entry {
    Entry { ca: ca.url().to_owned(), at, names: names.to_vec(), what }
}
