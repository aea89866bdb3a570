//! Certificates of other programs: read where they lie, checked, and put into the proxy's inbox.
//!
//! Invariant: the source is only ever read. `caddy`, `traefik` and `certbot` know one layout each and answer
//! [`Found`]s; [`survey`] decides, purely, which are worth taking; [`Inbox`] writes. Called by `certs import`.

mod bundle;
mod caddy;
mod certbot;
mod inbox;
mod traefik;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use switcher_config::settings::Directory;

use crate::cli::ImportSource;
use crate::phrase;

pub(crate) use bundle::Bundle;
pub(crate) use inbox::{Inbox, InboxError};

/// One certificate with its key as another program keeps them, not looked at yet.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where it lies.
    pub(crate) place: String,
    /// The authority's directory, where the program remembers it.
    pub(crate) ca: Option<String>,
    /// The chain and the key in PEM, or why it cannot be had.
    pub(crate) pem: Result<(Vec<u8>, Vec<u8>), Unusable>,
}

/// Why a certificate is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It is as it should be, and of no use here.
    LeftOut(String),
    /// It cannot be read, or not served.
    Damaged(String),
    /// This user may not read it.
    Forbidden(String),
}

/// A certificate of another program, and what is to become of it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where it lies.
    pub(crate) place: String,
    /// The authority's directory.
    pub(crate) ca: Option<String>,
    /// What was read.
    pub(crate) bundle: Option<Bundle>,
    /// Why it is not taken; none when it is.
    pub(crate) unusable: Option<Unusable>,
}

/// A place that holds nothing to import.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} {why}", path.display())]
    NotIt {
        /// The file or folder.
        path: PathBuf,
        /// What it is not.
        why: String,
    },
}

impl SourceError {
    fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Unreadable { path: path.to_owned(), source }
    }

    fn not_it(path: &Path, why: impl Into<String>) -> Self {
        Self::NotIt { path: path.to_owned(), why: why.into() }
    }

    /// Whether another user may read it.
    pub(crate) fn is_permission(&self) -> bool {
        match self {
            Self::Unreadable { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::NotIt { .. } => false,
        }
    }
}

/// Reads everything that lies there.
pub(crate) fn read(from: ImportSource, path: &Path) -> Result<Vec<Found>, SourceError> {
    match from {
        ImportSource::Caddy => caddy::read(path),
        ImportSource::Traefik => traefik::read(path),
        ImportSource::Certbot => certbot::read(path),
    }
}

/// Reads two files; a certificate that cannot be had names the file.
fn pem_files(chain: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>), Unusable> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| {
            let forbidden = error.kind() == io::ErrorKind::PermissionDenied;
            let why = format!("{} cannot be read: {error}", path.display());
            if forbidden { Unusable::Forbidden(why) } else { Unusable::Damaged(why) }
        })
    };
    Ok((read(chain)?, read(key)?))
}

/// Decides what is taken: of several for the same names and kind of key the best. Pure.
pub(crate) fn survey(found: Vec<Found>, now: Timestamp) -> Vec<Entry> {
    let mut entries: Vec<Entry> = found.into_iter().map(|found| entry(found, now)).collect();
    let mut best: BTreeMap<(Vec<String>, bool), usize> = BTreeMap::new();
    let mut beaten = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let Some(bundle) = entry.taken() else { continue };
        match best.entry(bundle.kind()) {
            Slot::Vacant(place) => {
                place.insert(index);
            }
            Slot::Occupied(mut place) => {
                let rival = *place.get();
                if entry.rank() > entries[rival].rank() {
                    beaten.push(place.insert(index));
                } else {
                    beaten.push(index);
                }
            }
        }
    }
    for index in beaten {
        let why = "a better one for the same names lies there too".to_owned();
        entries[index].unusable = Some(Unusable::LeftOut(why));
    }
    entries
}

fn entry(found: Found, now: Timestamp) -> Entry {
    let Found { place, ca, pem } = found;
    let read = pem.and_then(|(chain, key)| Bundle::new(&chain, &key).map_err(Unusable::Damaged));
    match read {
        Err(unusable) => Entry { place, ca, bundle: None, unusable: Some(unusable) },
        Ok(bundle) => {
            let expired = (bundle.not_after <= now).then(|| {
                Unusable::LeftOut(format!("it expired {} ago", phrase::since(bundle.not_after, now)))
            });
            Entry { place, ca, bundle: Some(bundle), unusable: expired }
        }
    }
}

impl Entry {
    /// What is to be taken.
    pub(crate) fn taken(&self) -> Option<&Bundle> {
        self.bundle.as_ref().filter(|_| self.unusable.is_none())
    }

    /// What nobody trusts ranks below everything else; then the last day counts.
    fn rank(&self) -> Option<(bool, Timestamp)> {
        let staging = self.ca.as_deref() == Some(Directory::LetsEncryptStaging.url());
        Some((!staging, self.bundle.as_ref()?.not_after))
    }
}

/// The directory of a well-known authority that answers on this host.
fn directory_on(host: &str) -> Option<String> {
    let known =
        [Directory::LetsEncrypt, Directory::LetsEncryptStaging, Directory::ZeroSsl, Directory::Google];
    let url = known
        .iter()
        .map(Directory::url)
        .find(|url| url.strip_prefix("https://").and_then(|rest| rest.split('/').next()) == Some(host));
    url.map(ToOwned::to_owned)
}

#[cfg(test)]
pub(crate) mod fixtures;

#[cfg(test)]
mod tests {
    use super::fixtures::{issue, issue_until, now};
    use super::*;

    fn found(place: &str, ca: Option<&str>, issued: &fixtures::Issued) -> Found {
        let pem = Ok((issued.certificate.clone().into_bytes(), issued.key.clone().into_bytes()));
        Found { place: place.to_owned(), ca: ca.map(ToOwned::to_owned), pem }
    }

    fn taken(entries: &[Entry]) -> Vec<&str> {
        entries.iter().filter(|entry| entry.taken().is_some()).map(|entry| entry.place.as_str()).collect()
    }

    #[test]
    fn of_several_for_the_same_names_the_one_that_lasts_longest_is_taken() {
        let names = ["b.example", "a.example"];
        let turned = ["a.example", "b.example"];
        let all = vec![
            found("old", None, &issue_until(&names, 2027)),
            found("new", None, &issue_until(&turned, 2030)),
            found("other", None, &issue_until(&["a.example"], 2028)),
        ];
        assert_eq!(taken(&survey(all, now())), ["new", "other"]);
    }

    #[test]
    fn what_nobody_trusts_never_displaces_what_everybody_trusts() {
        let staging = Some(Directory::LetsEncryptStaging.url());
        let all = vec![
            found("staging", staging, &issue_until(&["a.example"], 2040)),
            found("real", Some(Directory::LetsEncrypt.url()), &issue_until(&["a.example"], 2027)),
        ];
        assert_eq!(taken(&survey(all, now())), ["real"]);
    }

    #[test]
    fn equals_are_taken_once_and_another_kind_of_key_is_no_equal() {
        let issued = issue(&["a.example"]);
        let all = vec![
            found("one", None, &issued),
            found("two", None, &issued),
            found("rsa", None, &fixtures::issue_rsa(&["a.example"])),
        ];
        assert_eq!(taken(&survey(all, now())), ["one", "rsa"]);
    }

    #[test]
    fn what_is_expired_or_damaged_says_so() {
        let (good, other) = (issue(&["a.example"]), issue(&["a.example"]));
        let pem = |certificate: &str, key: &str| Found {
            place: String::new(),
            ca: None,
            pem: Ok((certificate.into(), key.into())),
        };
        let half = &good.certificate[..good.certificate.len() / 2];
        let all = vec![
            found("", None, &issue_until(&["old.example"], 2026)),
            pem(&good.certificate, &other.key),
            pem(half, &good.key),
            pem("", &good.key),
            pem(&good.certificate, "no key"),
            found("", None, &issue(&[])),
        ];
        let said: Vec<String> =
            survey(all, now()).into_iter().map(|entry| format!("{:?}", entry.unusable)).collect();
        insta::assert_snapshot!(said.join("\n"));
    }
}
