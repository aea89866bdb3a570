//! The folder from which the proxy takes imports: `<data_dir>/certs/imported`, a `.pem` and a `.json` a certificate.
//!
//! Invariant: a key is never readable by anybody but the owner of the data folder, not even for a moment, and a
//! `.pem` that is there is whole.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use switcher_config::durable::{self, Durability, ReplaceError};

use super::Bundle;

/// Who a file is to belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    uid: u32,
    gid: u32,
}

/// The folder, ready to be written to.
#[derive(Debug)]
pub(crate) struct Inbox {
    folder: PathBuf,
    /// Set when this process is root, and the data folder is another user's.
    give_to: Option<Owner>,
}

/// What could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InboxError {
    /// A folder.
    #[error("cannot use the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A link in a folder of another user, which root does not follow.
    #[error("{} is a link, and as root this command does not write through the links of another user", .0.display())]
    Link(PathBuf),
    /// A file.
    #[error(transparent)]
    File(#[from] ReplaceError),
    /// The owner of a file.
    #[error("cannot give {} to the owner of the data folder: {source}", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
}

impl InboxError {
    /// What the system answered, in one word.
    pub(crate) fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Folder { source, .. } | Self::Owner { source, .. } => source.kind(),
            Self::Link(_) => io::ErrorKind::InvalidInput,
            Self::File(error) => error.source.kind(),
        }
    }
}

impl Inbox {
    /// Makes what is missing of the folders.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, InboxError> {
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |source| InboxError::Folder { path, source }
        };
        fs::create_dir_all(data_dir).map_err(unusable(data_dir))?;
        let owner = fs::metadata(data_dir).map_err(unusable(data_dir))?;
        let owner = Owner { uid: owner.uid(), gid: owner.gid() };
        let root = rustix::process::geteuid().is_root();
        let certs = data_dir.join("certs");
        let inbox =
            Self { folder: certs.join("imported"), give_to: (root && owner.uid != 0).then_some(owner) };
        for folder in [&certs, &inbox.folder] {
            match DirBuilder::new().mode(0o700).create(folder) {
                Ok(()) => inbox.give(folder)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => inbox.trust(folder)?,
                Err(error) => return Err(unusable(folder)(error)),
            }
        }
        Ok(inbox)
    }

    /// Puts a certificate in; answers its file.
    pub(crate) fn put(&self, bundle: &Bundle, origin: &str, ca: Option<&str>) -> Result<PathBuf, InboxError> {
        let file = |end: &str| self.folder.join(format!("{}.{end}", bundle.stem()));
        let mut said = json!({ "origin": origin });
        if let Some(ca) = ca {
            said["ca"] = ca.into();
        }
        // What is said of it comes first: the proxy looks for the certificate.
        self.write(&file("json"), format!("{said:#}\n").as_bytes())?;
        let pem = file("pem");
        self.write(&pem, bundle.pem.as_bytes())?;
        Ok(pem)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), InboxError> {
        durable::replace(path, bytes, 0o600, Durability::Synced)?;
        self.give(path)
    }

    /// Gives a file or folder to the owner of the data folder; a link itself, never what it points to.
    fn give(&self, path: &Path) -> Result<(), InboxError> {
        let Some(Owner { uid, gid }) = self.give_to else { return Ok(()) };
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))
            .map_err(|source| InboxError::Owner { path: path.to_owned(), source })
    }

    /// A folder that was there already: root follows nobody's links.
    fn trust(&self, folder: &Path) -> Result<(), InboxError> {
        let kind = fs::symlink_metadata(folder)
            .map_err(|source| InboxError::Folder { path: folder.to_owned(), source })?;
        if self.give_to.is_some() && kind.is_symlink() {
            return Err(InboxError::Link(folder.to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::foreign_certificates::fixtures::issue;

    fn bundle() -> Bundle {
        let issued = issue(&["*.shop.example.com"]);
        Bundle::new(issued.certificate.as_bytes(), issued.key.as_bytes()).expect("a bundle")
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("metadata").permissions().mode() & 0o777
    }

    #[test]
    fn a_certificate_and_what_is_known_of_it_are_for_the_owner_alone() {
        let data = tempfile::tempdir().expect("a folder");
        let inbox = Inbox::open(data.path()).expect("an inbox");
        let bundle = bundle();
        let file =
            inbox.put(&bundle, "caddy:/var/lib/caddy", Some("https://ca.example/dir")).expect("written");
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(name.starts_with("_.shop.example.com-") && name.ends_with(".pem"), "{name}");
        let said =
            fs::read_to_string(file.with_file_name(name.replace(".pem", ".json"))).expect("what is said");
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(said, json!({"origin": "caddy:/var/lib/caddy", "ca": "https://ca.example/dir"}));
        assert_eq!(fs::read_to_string(&file).expect("the bundle"), bundle.pem);
        assert_eq!(
            (mode(&file), mode(&inbox.folder), mode(&data.path().join("certs"))),
            (0o600, 0o700, 0o700)
        );
    }

    #[test]
    fn the_same_certificate_twice_is_one_file() {
        let data = tempfile::tempdir().expect("a folder");
        let bundle = bundle();
        for _ in 0..2 {
            Inbox::open(data.path()).and_then(|inbox| inbox.put(&bundle, "x", None)).expect("written");
        }
        assert_eq!(fs::read_dir(data.path().join("certs/imported")).expect("a listing").count(), 2);
    }

    #[test]
    fn root_gives_everything_to_the_owner_of_the_data_folder_and_follows_no_link_of_his() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let data = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::chown(data.path(), Some(4242), Some(4243)).expect("given away");
        let inbox = Inbox::open(data.path()).expect("an inbox");
        let file = inbox.put(&bundle(), "x", None).expect("written");
        for path in [data.path().join("certs"), inbox.folder.clone(), file.with_extension("json"), file] {
            let owner = fs::metadata(&path).expect("metadata");
            assert_eq!((owner.uid(), owner.gid()), (4242, 4243), "{}", path.display());
        }
        fs::remove_dir_all(&inbox.folder).expect("removed");
        std::os::unix::fs::symlink("/tmp", &inbox.folder).expect("a link");
        assert!(matches!(Inbox::open(data.path()), Err(InboxError::Link(_))));
    }
}
