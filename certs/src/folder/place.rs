//! Making the folder fit for use: it is there, it can be written, and nobody else can look in.

use std::fs;
use std::path::Path;

use tracing::warn;

use super::disk::{FILE_MODE, FOLDER_MODE, at};
use super::error::FolderError;
use super::{ACCOUNTS, CERTIFICATES, DAMAGED, Folder, IMPORTED, INTERNAL, ORDERS};

/// The folders inside.
const PLACES: [&str; 6] = [CERTIFICATES, ORDERS, ACCOUNTS, INTERNAL, IMPORTED, DAMAGED];

/// Written once at the start: as much as a certificate needs, so that a full disk shows now. The name is one
/// that is swept like every temporary file.
const PROBE: (&str, [u8; 4096]) = (".switcher-probe", [b'\n'; 4096]);

impl Folder {
    pub(super) fn prepare(&self) -> Result<(), FolderError> {
        if let Some(parent) = self.root.parent() {
            fs::create_dir_all(parent).map_err(at(parent, "create the folder"))?;
        }
        self.disk.create_folder(&self.root)?;
        self.tighten(&self.root, FOLDER_MODE);
        for place in PLACES {
            let place = self.root.join(place);
            self.disk.create_folder(&place)?;
            self.tighten(&place, FOLDER_MODE);
            self.tighten_files(&place);
        }
        self.tighten_files(&self.root);
        let probe = self.root.join(PROBE.0);
        self.disk.replace(&probe, &PROBE.1)?;
        self.disk.remove(&probe)
    }

    /// A right that cannot be taken away stops nothing: it was there before.
    fn tighten(&self, path: &Path, mode: u32) -> bool {
        match self.disk.tighten(path, mode) {
            Ok(false) => false,
            Ok(true) => {
                warn!(path = %path.display(), mode = %format_args!("{mode:04o}"), "others could look in; their rights were taken away");
                true
            }
            Err(error) => {
                warn!(%error, "others may be able to look in; take their rights away with chmod");
                false
            }
        }
    }

    fn tighten_files(&self, folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                self.tighten(&entry.path(), FILE_MODE);
            }
        }
    }
}
