//! One wanted set of names: what is served for it, and what is wrong with its source.
//!
//! Files are looked at here; what was issued for us lies on the store's shelf and is only looked up.

use std::sync::Arc;

use jiff::Timestamp;
use switcher_config::wire::{CertificateSource, CertificateStatus};
use tracing::{info, warn};

use crate::lineage::{Issuer, Lineage};
use crate::pair::{Pair, PairError, PemFiles};
use crate::placeholder::{PlaceholderError, placeholder};
use crate::resolver::{Rank, Served, Table};

use super::borrowed::Lenders;
use super::{Note, Shelf, Source, Wanted};

/// How many names one placeholder carries: a handshake message has a size that clients accept.
pub(super) const PLACEHOLDER_NAMES: usize = 100;

/// One wanted set of names and what it is served with.
#[derive(Debug, Clone)]
pub(super) struct Item {
    wanted: Wanted,
    /// The pair from the files, when it could be read.
    read: Option<Arc<Pair>>,
    /// Several, because each carries a bounded number of names. Made when there is nothing better at first.
    stand_ins: StandIns,
    /// The file content that was judged last, good or bad.
    judged: Option<Digest>,
    /// Changed content that was seen once and waits to be seen again unchanged.
    settling: Option<Digest>,
    /// What is wrong with the files.
    problem: Option<String>,
}

type Digest = [u8; 32];

/// Placeholders with the names that each carries.
type StandIns = Vec<(Vec<String>, Arc<Pair>)>;

/// When changed content is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// At once: somebody says that it is complete.
    Now,
    /// When two looks in a row found the same, so that a chain still being written is not served short.
    Settled,
}

impl Item {
    /// Loads what is wanted for the first time.
    pub(super) fn new(wanted: Wanted, now: Timestamp) -> Result<Self, PlaceholderError> {
        let mut item =
            Self { wanted, read: None, stand_ins: Vec::new(), judged: None, settling: None, problem: None };
        if !item.look(Trust::Now) {
            item.stand_ins = placeholders(&item.wanted.names, now)?;
        }
        Ok(item)
    }

    /// The item that serves this already: the same files for any names, or anything else for the same names.
    pub(super) fn carried_over(wanted: &Wanted, before: &[Self]) -> Option<Self> {
        let same = |item: &&Self| match &item.read {
            Some(_) => item.wanted.source == wanted.source,
            None => item.wanted == *wanted,
        };
        let item = before.iter().find(same)?;
        Some(Self { wanted: wanted.clone(), ..item.clone() })
    }

    /// Looks at the files. Returns whether another certificate is served from now on.
    pub(super) fn look(&mut self, trust: Trust) -> bool {
        let Source::Files { certificate, key, ocsp } = &self.wanted.source else { return false };
        let files = match PemFiles::read(certificate, key, ocsp.as_deref()) {
            Ok(files) => files,
            Err(error) => {
                // Judged anew when the files come back, even with the same content: it clears the problem.
                self.judged = None;
                return self.judge(Err(error));
            }
        };
        let digest = files.digest();
        if self.judged == Some(digest) {
            self.settling = None;
            return false;
        }
        if trust == Trust::Settled && self.settling != Some(digest) {
            self.settling = Some(digest);
            return false;
        }
        let pair = files.parse();
        self.settling = None;
        self.judged = Some(digest);
        self.judge(pair)
    }

    /// Takes a good pair over; keeps what is served and remembers the problem of a bad one.
    fn judge(&mut self, pair: Result<Pair, PairError>) -> bool {
        match pair {
            Ok(pair) => {
                info!(names = ?pair.names(), not_after = %pair.not_after(), "certificate loaded");
                self.read = Some(Arc::new(pair));
                self.stand_ins = Vec::new();
                self.problem = None;
                true
            }
            Err(error) => {
                let problem = error.to_string();
                if self.problem.as_ref() != Some(&problem) {
                    warn!(names = ?self.wanted.names, %problem, "certificate files cannot be served");
                }
                self.problem = Some(problem);
                false
            }
        }
    }

    /// What real clients are shown, when there is something real.
    fn served(&self, shelf: &Shelf) -> Option<Served> {
        match &self.wanted.source {
            Source::Files { .. } | Source::Placeholder { .. } => self.read.as_ref().map(Served::from),
            Source::Issued(lineages) => {
                let mut pairs = lineages.iter().filter_map(|lineage| shelf.pairs.get(lineage.id()).cloned());
                pairs.next().map(|pair| Served { pair, other: pairs.next() })
            }
        }
    }

    /// The pair from the files.
    pub(super) const fn read(&self) -> Option<&Arc<Pair>> {
        self.read.as_ref()
    }

    /// Whether another certificate may answer: its own is not there, and it is no placeholder by wish.
    pub(super) fn borrows(&self, shelf: &Shelf) -> bool {
        self.served(shelf).is_none() && self.wanted.source != Source::Placeholder { why: None }
    }

    /// Whether it waits for a certificate that another one could answer for meanwhile.
    pub(super) fn may_borrow(&self, pair: &Pair, shelf: &Shelf) -> bool {
        matches!(self.wanted.source, Source::Issued(_))
            && self.borrows(shelf)
            && self.wanted.names.iter().any(|name| pair.covers(&name.to_ascii_lowercase()))
    }

    pub(super) fn enter(&self, shelf: &Shelf, lenders: &Lenders, table: &mut Table) {
        if let Some(served) = self.served(shelf) {
            table.insert(&self.wanted.names, Rank::Real, &served);
        } else {
            if self.borrows(shelf) {
                lenders.enter(&self.wanted.names, table);
            }
            for (names, pair) in &self.stand_ins {
                table.insert(names, Rank::Placeholder, &Served::from(pair));
            }
        }
    }

    /// One for each certificate: there are two where each kind of key has its own.
    pub(super) fn status(&self, shelf: &Shelf, lenders: &Lenders, now: Timestamp) -> Vec<CertificateStatus> {
        match &self.wanted.source {
            Source::Issued(lineages) => lineages
                .iter()
                .map(|lineage| {
                    let note = || shelf.notes.get(lineage.id()).cloned().unwrap_or_default();
                    issued_status(lineage, shelf, now)
                        .unwrap_or_else(|| self.waiting_status(note(), lineage.issuer(), lenders, now))
                })
                .collect(),
            Source::Files { .. } => vec![self.file_status(now)],
            Source::Placeholder { why } => {
                let note = Note { problem: why.clone(), ..Note::default() };
                vec![self.waiting_status(note, Issuer::Acme, lenders, now)]
            }
        }
    }

    /// While its own certificate is not there: what all its names are shown meanwhile, or the placeholder.
    fn waiting_status(
        &self,
        note: Note,
        issuer: Issuer,
        lenders: &Lenders,
        now: Timestamp,
    ) -> CertificateStatus {
        let placeholder = self.placeholder_status(note, now);
        let meanwhile: Option<Vec<Timestamp>> = self
            .wanted
            .names
            .iter()
            .map(|name| lenders.find(name).map(|served| served.pair.not_after()))
            .collect();
        let Some(not_after) = meanwhile.and_then(|ends| ends.into_iter().min()) else { return placeholder };
        let problem =
            "another certificate that is valid for these names is shown until their own is there".to_owned();
        CertificateStatus {
            source: source_of(issuer),
            not_after,
            problem: placeholder.problem.or(Some(problem)),
            ..placeholder
        }
    }

    fn file_status(&self, now: Timestamp) -> CertificateStatus {
        let Some(pair) = &self.read else {
            return self.placeholder_status(Note { problem: self.problem.clone(), ..Note::default() }, now);
        };
        let doubt = pair.date_problem(now).or_else(|| self.uncovered(pair));
        CertificateStatus {
            names: pair.names().to_vec(),
            source: CertificateSource::File,
            ca: None,
            not_after: pair.not_after(),
            renew_at: None,
            failures: 0,
            retry_at: None,
            problem: self.problem.clone().or(doubt),
        }
    }

    fn placeholder_status(&self, note: Note, now: Timestamp) -> CertificateStatus {
        CertificateStatus {
            names: self.wanted.names.clone(),
            source: CertificateSource::Placeholder,
            ca: note.ca,
            not_after: self.stand_ins.iter().map(|(_, pair)| pair.not_after()).min().unwrap_or(now),
            renew_at: note.renew_at,
            failures: note.failures,
            retry_at: note.retry_at,
            problem: note.problem,
        }
    }

    /// The wanted names that the certificate is not valid for, as a sentence.
    fn uncovered(&self, pair: &Pair) -> Option<String> {
        let missing: Vec<&str> = self
            .wanted
            .names
            .iter()
            .filter(|name| !pair.covers(&name.to_ascii_lowercase()))
            .map(String::as_str)
            .collect();
        (!missing.is_empty()).then(|| {
            format!(
                "the certificate is not valid for {}; clients of these hosts refuse it",
                missing.join(", ")
            )
        })
    }
}

/// The status of what was issued for a lineage; none before the first.
pub(super) fn issued_status(lineage: &Lineage, shelf: &Shelf, now: Timestamp) -> Option<CertificateStatus> {
    let pair = shelf.pairs.get(lineage.id())?;
    let note = shelf.notes.get(lineage.id()).cloned().unwrap_or_default();
    Some(CertificateStatus {
        names: pair.names().to_vec(),
        source: source_of(lineage.issuer()),
        ca: note.ca,
        not_after: pair.not_after(),
        renew_at: note.renew_at,
        failures: note.failures,
        retry_at: note.retry_at,
        problem: note.problem.or_else(|| pair.date_problem(now)),
    })
}

const fn source_of(issuer: Issuer) -> CertificateSource {
    match issuer {
        Issuer::Acme => CertificateSource::Acme,
        Issuer::Internal => CertificateSource::Internal,
    }
}

fn placeholders(names: &[String], now: Timestamp) -> Result<StandIns, PlaceholderError> {
    let one = |names: &[String]| Ok((names.to_vec(), Arc::new(placeholder(names, now)?)));
    if names.is_empty() {
        return Ok(vec![one(names)?]);
    }
    names.chunks(PLACEHOLDER_NAMES).map(one).collect()
}
