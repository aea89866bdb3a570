//! The inbox: certificates that `switcher certs import` brought from elsewhere, so that moving over issues nothing.
//!
//! Which import serves which lineage is decided by [`assign`], a pure function. An import stays in the inbox
//! until every lineage that it serves is safe on disk.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use tracing::warn;

use crate::lineage::{Issuer, KeyType, Lineage};
use crate::pair::{Pair, PairError};
use crate::record::{Attempts, Record};

use super::certificate::{key_type, missing};
use super::error::{Damaged, FolderError};
use super::reading::Read;
use super::{Folder, IMPORTED, Kept, is_a};

/// What became of a file in the inbox.
#[derive(Debug)]
pub struct Taken {
    /// The file.
    pub file: PathBuf,
    /// Where it came from, such as `caddy`, when the import said so.
    pub origin: Option<String>,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a file in the inbox.
#[derive(Debug)]
pub enum Verdict {
    /// It serves these lineages from now on and has left the inbox.
    Taken(Vec<Kept>),
    /// It is good but of no use, or the disk refused; it stays in the inbox.
    Refused {
        /// Why, as a sentence.
        why: String,
    },
    /// It is no usable certificate.
    Damaged(Damaged),
}

/// What an import says about itself, in a `.json` beside the `.pem`.
#[derive(Debug, Default, Deserialize)]
struct Sidecar {
    #[serde(default)]
    origin: Option<String>,
    /// The directory's URL of the authority that issued it.
    #[serde(default)]
    ca: Option<String>,
}

/// A file in the inbox that holds a good pair.
struct Import {
    file: PathBuf,
    pem: Vec<u8>,
    pair: Arc<Pair>,
    sidecar: Sidecar,
}

impl Folder {
    /// The files that wait in the inbox, by name.
    #[must_use]
    pub fn inbox(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.root.join(IMPORTED)) else { return Vec::new() };
        let mut files: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|file| is_a(file, "pem")).collect();
        files.sort();
        files
    }

    /// Takes over what is of use for the wanted lineages. What the folder has already is only replaced by what
    /// is valid for longer.
    pub fn take_inbox(&self, wanted: &[Lineage]) -> Vec<Taken> {
        let now = Timestamp::now();
        let (mut imports, mut verdicts) = (Vec::new(), Vec::new());
        for file in self.inbox() {
            match self.read_import(&file) {
                Ok(import) => imports.push(import),
                Err(verdict) => verdicts.push(Taken { file, origin: None, verdict }),
            }
        }
        imports.sort_by_key(|import| Reverse(import.pair.not_after()));
        let pairs: Vec<&Pair> = imports.iter().map(|import| &*import.pair).collect();
        let assigned = assign(&pairs, wanted, now);
        for (import, lineages) in imports.iter().zip(assigned) {
            let verdict = match lineages {
                Ok(lineages) => self.take(import, &lineages),
                Err(why) => {
                    Verdict::Refused { why: format!("{} is not taken: {why}", import.file.display()) }
                }
            };
            verdicts.push(Taken {
                file: import.file.clone(),
                origin: import.sidecar.origin.clone(),
                verdict,
            });
        }
        verdicts
    }

    fn read_import(&self, file: &Path) -> Result<Import, Verdict> {
        let unreadable = |source| PairError::Unreadable { path: file.to_owned(), source };
        let pem = fs::read(file).map_err(|error| Verdict::Refused { why: unreadable(error).to_string() })?;
        let pair = Pair::from_bundle(&pem, file)
            .map_err(|error| Verdict::Damaged(self.set_aside(file, error.to_string())))?;
        let sidecar = match self.document(&file.with_extension("json")) {
            Read::Good(sidecar) => sidecar,
            Read::Missing => Sidecar::default(),
            Read::Bad(damaged) => {
                warn!("{damaged}; the certificate beside it is taken without");
                Sidecar::default()
            }
        };
        Ok(Import { file: file.to_owned(), pem, pair: Arc::new(pair), sidecar })
    }

    fn take(&self, import: &Import, lineages: &[&Lineage]) -> Verdict {
        let mut kept = Vec::new();
        let mut refused = None;
        for lineage in lineages {
            match self.install(import, lineage) {
                Ok(Ok(now_kept)) => kept.push(now_kept),
                Ok(Err(why)) => refused = refused.or(Some(why)),
                // Whatever is safe already is found again when the inbox is looked into next.
                Err(error) => return Verdict::Refused { why: error.to_string() },
            }
        }
        match refused {
            Some(why) if kept.is_empty() => {
                Verdict::Refused { why: format!("{} is not taken: {why}", import.file.display()) }
            }
            Some(_) | None => {
                if let Err(error) = self.leave_inbox(import) {
                    warn!(%error, "a certificate that was taken over stays in the inbox");
                }
                Verdict::Taken(kept)
            }
        }
    }

    /// Makes an import the certificate of a lineage. Doing it again changes nothing.
    fn install(&self, import: &Import, lineage: &Lineage) -> Result<Result<Kept, String>, FolderError> {
        let path = self.pair_path(lineage);
        let finished = fs::read(&path).is_ok_and(|pem| pem == import.pem);
        if !finished {
            match self.pair(&path) {
                Read::Good(have) if have.not_after() >= import.pair.not_after() => {
                    return Ok(Err(format!(
                        "the certificate for {lineage} that is there already is valid until {}",
                        have.not_after()
                    )));
                }
                Read::Bad(Damaged { set_aside: None, why, .. }) => return Ok(Err(why)),
                Read::Bad(Damaged { set_aside: Some(_), .. }) | Read::Missing | Read::Good(_) => {}
            }
            self.ensure_record(lineage)?;
            self.disk.replace(&path, &import.pem)?;
        }
        let record = self.imported_record(import, lineage, finished)?;
        self.save_record(&record)?;
        Ok(Ok(Kept { lineage: lineage.clone(), record, pair: Some(Arc::clone(&import.pair)) }))
    }

    /// What is remembered from now on: a success, from that authority.
    fn imported_record(
        &self,
        import: &Import,
        lineage: &Lineage,
        finished: bool,
    ) -> Result<Record, FolderError> {
        let known = self.document(&self.record_path(lineage)).found()?;
        let mut record: Record = known.unwrap_or_else(|| Record::new(lineage));
        // The second time the sidecar may be gone already, and with it the authority's name.
        if !finished || import.sidecar.ca.is_some() {
            record.ca.clone_from(&import.sidecar.ca);
        }
        record.first_issued_at.get_or_insert(import.pair.not_before());
        record.attempts = Attempts::default();
        Ok(record)
    }

    /// The `.pem` last: as long as it is there, the rest is done again.
    fn leave_inbox(&self, import: &Import) -> Result<(), FolderError> {
        // Another one of the same name may have arrived meanwhile.
        if fs::read(&import.file).is_ok_and(|pem| pem != import.pem) {
            return Ok(());
        }
        self.disk.remove(&import.file.with_extension("json"))?;
        self.disk.remove(&import.file)
    }
}

/// Which lineages each import is to serve, or why none. The imports come longest valid first.
///
/// A lineage is served by one import: the first with its kind of key; with another kind only where nothing
/// wanted has the same names and that kind. Moving from an RSA certificate then issues nothing, and the renewal
/// brings the wanted kind.
fn assign<'a>(
    imports: &[&Pair],
    wanted: &'a [Lineage],
    now: Timestamp,
) -> Vec<Result<Vec<&'a Lineage>, String>> {
    let wanted: Vec<&Lineage> = wanted.iter().filter(|lineage| lineage.issuer() == Issuer::Acme).collect();
    let usable =
        |pair: &Pair, lineage: &Lineage| pair.date_problem(now).is_none() && missing(pair, lineage).is_none();
    let has_twin = |lineage: &Lineage, key: KeyType| {
        wanted.iter().any(|other| other.names() == lineage.names() && other.key() == key)
    };
    let choice = |lineage: &Lineage| {
        let fits = |pair: &&Pair| usable(pair, lineage);
        let same = imports.iter().position(|pair| fits(pair) && key_type(pair) == lineage.key());
        same.or_else(|| imports.iter().position(|pair| fits(pair) && !has_twin(lineage, key_type(pair))))
    };
    let chosen: Vec<Option<usize>> = wanted.iter().map(|lineage| choice(lineage)).collect();
    let served = |index: usize| {
        let mut lineages: Vec<&Lineage> = wanted
            .iter()
            .zip(&chosen)
            .filter(|(_, chosen)| **chosen == Some(index))
            .map(|(l, _)| *l)
            .collect();
        lineages.sort_by_key(|lineage| Reverse(lineage.names().len()));
        lineages
    };
    imports
        .iter()
        .enumerate()
        .map(|(index, pair)| match served(index) {
            lineages if !lineages.is_empty() => Ok(lineages),
            _ => Err(pair.date_problem(now).unwrap_or_else(|| {
                if wanted.iter().any(|lineage| usable(pair, lineage)) {
                    "another one in the inbox serves the same names better; remove this one".to_owned()
                } else {
                    format!(
                        "no certificate that is wanted has only names that it is valid for ({}); add them to an application with `tls: auto`, or remove the file",
                        pair.names().join(", ")
                    )
                }
            })),
        })
        .collect()
}
