//! The folders of deployments, each with its journal and its log: listed, and removed when they are old.

use std::fs;
use std::io;
use std::path::Path;

use super::error::StateError;
use super::folder::Folder;
use super::store::Store;
use crate::deployment::DeploymentId;

/// The folder of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentFolder {
    /// Whose it is.
    pub id: DeploymentId,
    /// How much is in it, in bytes.
    pub bytes: u64,
}

impl Store {
    /// Every deployment's folder, oldest first. What has another name is none of ours.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn deployment_folders(&self) -> Result<Vec<DeploymentFolder>, StateError> {
        let root = self.parts().0.deployments();
        let mut found = Vec::new();
        for name in names(&root)? {
            let Ok(id) = name.parse::<DeploymentId>() else { continue };
            let bytes = size(&root.join(&name))?;
            found.push(DeploymentFolder { id, bytes });
        }
        found.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(found)
    }
}

/// Removes a deployment's folder; one that is gone already is removed.
pub(super) fn remove(folder: &Folder, id: &DeploymentId) -> Result<(), StateError> {
    let path = folder.deployment(id);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::io("remove", &path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn names(folder: &Path) -> Result<Vec<String>, StateError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StateError::io("read", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(StateError::io("read", folder))?.file_name().into_string().ok());
    }
    Ok(names)
}

/// How much lies directly in a folder.
fn size(folder: &Path) -> Result<u64, StateError> {
    let mut bytes = 0;
    for name in names(folder)? {
        bytes += fs::symlink_metadata(folder.join(name)).map_or(0, |found| found.len());
    }
    Ok(bytes)
}
