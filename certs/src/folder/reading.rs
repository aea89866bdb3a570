//! Reading the folder: whatever is good is found, whatever is not is named.
//!
//! Damaged content is set aside so that it can be looked into and is not met again. A file that cannot be read
//! at all may be good: it stays. Nothing here fails as a whole, so a start is never blocked.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::lineage::{Issuer, KeyType, Lineage};
use crate::pair::{Pair, PairError};
use crate::record::Record;

use super::certificate::{key_type, missing};
use super::error::{Damaged, FolderError};
use super::{ACCOUNTS, CERTIFICATES, Contents, DAMAGED, Folder, IMPORTED, INTERNAL, Kept, ORDERS, is_a};
use super::{Account, Order};

/// How durable names its temporary files.
const TEMPORARY: &[u8] = b".switcher-";

/// A temporary file of this age is nobody's any more: no write takes that long, not even in another process.
const ABANDONED: Duration = Duration::from_secs(10 * 60);

/// What a file gave.
pub(super) enum Read<T> {
    Missing,
    Good(T),
    Bad(Damaged),
}

impl<T> Read<T> {
    pub(super) fn found(self) -> Result<Option<T>, FolderError> {
        match self {
            Self::Missing => Ok(None),
            Self::Good(value) => Ok(Some(value)),
            Self::Bad(damaged) => Err(FolderError::Damaged(damaged)),
        }
    }

    /// The good value; what is bad goes onto the list.
    fn or_list(self, damaged: &mut Vec<Damaged>) -> Option<T> {
        match self {
            Self::Missing => None,
            Self::Good(value) => Some(value),
            Self::Bad(bad) => {
                damaged.push(bad);
                None
            }
        }
    }
}

impl Folder {
    /// Reads everything that is kept. Hundreds of lineages take a fraction of a second.
    #[must_use]
    pub fn load(&self) -> Contents {
        let mut contents = Contents::default();
        for place in ["", CERTIFICATES, ORDERS, ACCOUNTS, INTERNAL, IMPORTED] {
            sweep(&self.root.join(place));
        }
        let (certificates, mut damaged) = list(&self.root.join(CERTIFICATES));
        let ids: BTreeSet<String> = certificates
            .iter()
            .filter(|file| is_a(file, "pem") || is_a(file, "json"))
            .filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()))
            .collect();
        let ids: Vec<String> = ids.into_iter().collect();
        for (kept, bad) in self.load_all(&ids) {
            contents.kept.extend(kept);
            damaged.extend(bad);
        }
        damaged.extend(self.verify::<Account>(ACCOUNTS));
        damaged.extend(self.verify::<Order>(ORDERS));
        contents.damaged = damaged;
        contents
    }

    /// In their order, on all cores.
    fn load_all(&self, ids: &[String]) -> Vec<(Option<Kept>, Vec<Damaged>)> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let share = ids.len().div_ceil(cores).max(1);
        thread::scope(|scope| {
            let parts: Vec<_> = ids
                .chunks(share)
                .map(|part| scope.spawn(|| part.iter().map(|id| self.load_one(id)).collect::<Vec<_>>()))
                .collect();
            // A panic here is a defect of ours; it is passed on as such.
            parts
                .into_iter()
                .flat_map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    fn load_one(&self, id: &str) -> (Option<Kept>, Vec<Damaged>) {
        let mut damaged = Vec::new();
        let file = self.root.join(CERTIFICATES).join(format!("{id}.pem"));
        let known = self.record_of(id).or_list(&mut damaged);
        let pair = self.pair(&file).or_list(&mut damaged);
        let known = known.or_else(|| {
            let lineage = lineage_of(id, pair.as_ref()?)?;
            Some((Record::new(&lineage), lineage))
        });
        let foreign = pair.as_ref().and_then(|pair| match &known {
            Some((_, lineage)) => missing(pair, lineage)
                .map(|name| format!("{} is not valid for {name}, which belongs to it", file.display())),
            None => Some(format!("{} does not say by its name which certificate it is", file.display())),
        });
        let pair = match foreign {
            Some(why) => {
                damaged.push(self.hand_to_inbox(&file, why));
                None
            }
            None => pair,
        };
        let kept = known.map(|(record, lineage)| Kept { lineage, record, pair: pair.map(Arc::new) });
        (kept, damaged)
    }

    /// The record, if it is the one of this lineage.
    fn record_of(&self, id: &str) -> Read<(Record, Lineage)> {
        let file = self.root.join(CERTIFICATES).join(format!("{id}.json"));
        let record = match self.document::<Record>(&file) {
            Read::Missing => return Read::Missing,
            Read::Bad(damaged) => return Read::Bad(damaged),
            Read::Good(record) => record,
        };
        match record.lineage().filter(|lineage| lineage.id() == id) {
            Some(lineage) => Read::Good((record, lineage)),
            None => {
                let why =
                    format!("{} is the record of another certificate than its name says", file.display());
                Read::Bad(self.set_aside(&file, why))
            }
        }
    }

    pub(super) fn pair(&self, file: &Path) -> Read<Pair> {
        match Pair::read_bundle(file) {
            Ok(pair) => Read::Good(pair),
            Err(PairError::Missing { .. }) => Read::Missing,
            Err(error @ PairError::Unreadable { .. }) => Read::Bad(left_in_place(file, error.to_string())),
            Err(
                error @ (PairError::Damaged { .. }
                | PairError::NoCertificate { .. }
                | PairError::BadCertificate { .. }
                | PairError::NoKey { .. }
                | PairError::EncryptedKey { .. }
                | PairError::BadKey { .. }
                | PairError::Mismatch { .. }),
            ) => Read::Bad(self.set_aside(file, error.to_string())),
        }
    }

    /// Reads a JSON file.
    pub(super) fn document<T: DeserializeOwned>(&self, file: &Path) -> Read<T> {
        let bytes = match fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Read::Missing,
            Err(error) => {
                let why = format!(
                    "cannot read {}: {error}; let the user that runs switcher-proxy read it",
                    file.display()
                );
                return Read::Bad(left_in_place(file, why));
            }
        };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Read::Good(value),
            // The position alone: the library's own message may quote a value, and some values are keys.
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let why = format!("{} is damaged at line {line}, column {column}", file.display());
                Read::Bad(self.set_aside(file, why))
            }
        }
    }

    /// Finds damaged files of one kind early, so that they are named at the start.
    fn verify<T: DeserializeOwned>(&self, place: &str) -> Vec<Damaged> {
        let (files, mut damaged) = list(&self.root.join(place));
        for file in files.iter().filter(|file| is_a(file, "json")) {
            let _ = self.document::<T>(file).or_list(&mut damaged);
        }
        damaged
    }

    /// Moves a file away that cannot be used. When that is impossible too, it stays.
    pub(super) fn set_aside(&self, file: &Path, why: String) -> Damaged {
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        self.move_away(file, &self.root.join(DAMAGED), &format!("{time}-"), why)
    }

    /// A good pair that belongs to no lineage of ours may be of use for one that is wanted.
    fn hand_to_inbox(&self, file: &Path, why: String) -> Damaged {
        self.move_away(file, &self.root.join(IMPORTED), "", why)
    }

    fn move_away(&self, file: &Path, folder: &Path, prefix: &str, why: String) -> Damaged {
        let to = free_name(folder, prefix, file);
        match self.disk.rename(file, &to) {
            Ok(()) => Damaged { file: file.to_owned(), set_aside: Some(to), why },
            Err(error) => left_in_place(file, format!("{why}; {error}")),
        }
    }
}

fn left_in_place(file: &Path, why: String) -> Damaged {
    Damaged { file: file.to_owned(), set_aside: None, why }
}

/// `PREFIXname.pem`, or `PREFIX1-name.pem` when that is taken.
fn free_name(folder: &Path, prefix: &str, file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let numbered = (1..).map(|number| format!("{prefix}{number}-{name}"));
    let mut names = std::iter::once(format!("{prefix}{name}")).chain(numbered);
    let free = names.find(|name| fs::symlink_metadata(folder.join(name)).is_err());
    folder.join(free.unwrap_or_else(|| format!("{prefix}{name}")))
}

/// The files of a folder, and the folder itself when it cannot be read.
fn list(folder: &Path) -> (Vec<PathBuf>, Vec<Damaged>) {
    match fs::read_dir(folder) {
        Ok(entries) => (entries.flatten().map(|entry| entry.path()).collect(), Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), Vec::new()),
        Err(error) => {
            let why = format!(
                "cannot list {}: {error}; let the user that runs switcher-proxy enter it",
                folder.display()
            );
            (Vec::new(), vec![left_in_place(folder, why)])
        }
    }
}

/// Removes what a killed process left behind in the middle of a write.
fn sweep(folder: &Path) {
    for file in list(folder).0 {
        let ours = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(TEMPORARY));
        let age = || {
            let modified = fs::symlink_metadata(&file).and_then(|metadata| metadata.modified()).ok()?;
            SystemTime::now().duration_since(modified).ok()
        };
        if ours
            && age().is_some_and(|age| age > ABANDONED)
            && let Err(error) = fs::remove_file(&file)
        {
            warn!(file = %file.display(), %error, "a temporary file stays behind");
        }
    }
}

/// Of which lineage this id is, told by the certificate; for a pair whose record is lost.
fn lineage_of(id: &str, pair: &Pair) -> Option<Lineage> {
    let own = key_type(pair);
    let other = match own {
        KeyType::Ecdsa => KeyType::Rsa,
        KeyType::Rsa => KeyType::Ecdsa,
    };
    let kinds = [own, other].into_iter().flat_map(|key| [(key, Issuer::Acme), (key, Issuer::Internal)]);
    kinds
        .flat_map(|(key, issuer)| {
            let suffix = match issuer {
                Issuer::Acme => "",
                Issuer::Internal => "+internal",
            };
            let stem = id.strip_suffix(suffix).unwrap_or(id);
            let stem = if key == KeyType::Rsa { stem.strip_suffix("+rsa").unwrap_or(stem) } else { stem };
            // All names of the certificate, one of them, or a host that one of its wildcards stands for.
            let all = Lineage::new(pair.names().iter().cloned(), key, issuer);
            let one = pair.names().iter().map(move |name| Lineage::new([name.clone()], key, issuer));
            let host = Lineage::new([stem.to_owned()], key, issuer);
            std::iter::once(all).chain(one).chain([host]).flatten().collect::<Vec<_>>()
        })
        .find(|lineage| lineage.id() == id && missing(pair, lineage).is_none())
}
