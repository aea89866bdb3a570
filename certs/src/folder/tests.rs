//! What the tests of the folder share, by subject: keeping, reading, the inbox, crashes and full disks.

mod crash;
mod inbox;
mod keeping;
mod reading;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, date_time_ymd};
use switcher_config::durable::{self, Durability};

use super::{Contents, Folder, Kept};
use crate::fixtures::Issued;
use crate::lineage::{Issuer, KeyType, Lineage};

/// Stops the process, as it were, before any change to the disk: from then on nothing is changed any more.
#[derive(Debug)]
pub(super) struct Fuse(AtomicUsize);

impl Default for Fuse {
    fn default() -> Self {
        Self(AtomicUsize::new(usize::MAX))
    }
}

impl Fuse {
    /// Lets this many changes happen.
    pub(super) fn set(&self, changes: usize) {
        self.0.store(changes, Ordering::Relaxed);
    }

    pub(super) fn burn(&self) -> io::Result<()> {
        let burnt = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| match left {
            usize::MAX => Some(usize::MAX),
            left => left.checked_sub(1),
        });
        burnt.map(|_| ()).map_err(|_| io::Error::other("killed"))
    }

    /// The same in the middle of a write: half of the bytes are in a temporary file.
    pub(super) fn burn_while_writing(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.burn().inspect_err(|_| {
            let half = path.with_file_name(".switcher-killed");
            let _ = File::create(half).and_then(|mut file| file.write_all(&bytes[..bytes.len() / 2]));
        })
    }
}

/// A folder of certificates in a temporary place.
pub(super) struct Home {
    place: tempfile::TempDir,
    pub(super) folder: Folder,
}

impl Home {
    pub(super) fn new() -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(place.path().join("data/certs")).expect("opened");
        Self { place, folder }
    }

    /// A file in the folder.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.root().join(file)
    }

    /// Writes a file in the folder, whatever it holds.
    pub(super) fn put(&self, file: &str, text: &str) -> PathBuf {
        let path = self.path(file);
        put(&path, text);
        path
    }

    /// The files of a folder in it, by name.
    pub(super) fn files(&self, place: &str) -> Vec<String> {
        let mut files: Vec<String> = fs::read_dir(self.path(place))
            .expect("a listing")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        files.sort();
        files
    }

    /// A message without the place of this test.
    pub(super) fn plain(&self, said: &impl ToString) -> String {
        said.to_string().replace(&self.folder.root().display().to_string(), "DIR")
    }

    /// A place outside the folder.
    pub(super) fn outside(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The same folder as another process finds it.
    pub(super) fn again(&self) -> Folder {
        Folder::at(self.folder.root())
    }
}

pub(super) fn put(path: &Path, text: &str) {
    durable::replace(path, text.as_bytes(), 0o600, Durability::Unsynced).expect("written");
}

pub(super) fn lineage(names: &[&str], key: KeyType, issuer: Issuer) -> Lineage {
    Lineage::new(names.iter().map(ToString::to_string), key, issuer).expect("names")
}

/// An ECDSA lineage from an authority.
pub(super) fn acme(names: &[&str]) -> Lineage {
    lineage(names, KeyType::Ecdsa, Issuer::Acme)
}

/// A certificate for these names that is valid from 2020 to the end of `year`.
pub(super) fn until(year: i32, names: &[&str], key: KeyType) -> Issued {
    let key = match key {
        KeyType::Ecdsa => KeyPair::generate().expect("a key"),
        KeyType::Rsa => KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key"),
    };
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("good names");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 12, 31);
    let certificate = params.self_signed(&key).expect("a certificate");
    Issued { certificate: certificate.pem(), key: key.serialize_pem() }
}

/// Both in one file.
pub(super) fn bundle(issued: &Issued) -> String {
    format!("{}{}", issued.key, issued.certificate)
}

impl Contents {
    pub(super) fn of(&self, lineage: &Lineage) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.lineage == *lineage)
    }
}

/// When a pair ends, as a year; what the tests tell certificates apart by.
pub(super) fn year(kept: Option<&Kept>) -> Option<i16> {
    let end: Timestamp = kept?.pair.as_ref()?.not_after();
    Some(end.to_zoned(jiff::tz::TimeZone::UTC).year())
}

/// A small file system of its own, for as long as this lives.
pub(super) struct Mount(PathBuf);

impl Mount {
    /// None where this user may not mount.
    pub(super) fn new(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    pub(super) fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        let status = mount.args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(status.expect("mount runs").success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
