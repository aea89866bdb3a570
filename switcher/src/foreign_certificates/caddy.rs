//! Caddy's storage: `certificates/<authority>/<name>/<name>.crt`, `.key` and `.json` below its data folder.
//!
//! The authority's folder is its directory's URL with everything but letters, digits, dots and hyphens made a
//! hyphen; `local` is Caddy's own authority. The `.json` holds the names and what the issuer said, for ACME the
//! directory's URL as `issuer_data.ca`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Found, SourceError, Unusable, directory_on, pem_files};

/// The folder of Caddy's own authority.
const LOCAL: &str = "local";

/// Reads all of them.
pub(super) fn read(path: &Path) -> Result<Vec<Found>, SourceError> {
    let root = root(path)?;
    let mut found = Vec::new();
    for authority in folders(&root)? {
        match folders(&authority) {
            Ok(names) => found.extend(names.iter().filter_map(|folder| one(&authority, folder))),
            Err(error) => found.push(Found {
                place: authority.display().to_string(),
                ca: None,
                pem: Err(if error.is_permission() {
                    Unusable::Forbidden(error.to_string())
                } else {
                    Unusable::Damaged(error.to_string())
                }),
            }),
        }
    }
    Ok(found)
}

/// The folder `certificates`: in the data folder, which may lie deeper when Caddy's home or a volume was named.
fn root(path: &Path) -> Result<PathBuf, SourceError> {
    fs::metadata(path).map_err(SourceError::unreadable(path))?;
    if path.file_name().is_some_and(|name| name == "certificates") {
        return Ok(path.to_owned());
    }
    for place in ["certificates", "caddy/certificates", ".local/share/caddy/certificates"] {
        let folder = path.join(place);
        match fs::metadata(&folder) {
            Ok(found) if found.is_dir() => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(SourceError::unreadable(&folder)(error));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Err(SourceError::not_it(path, "is no data folder of Caddy: there is no folder `certificates` in it"))
}

/// The folders in a folder, in order.
fn folders(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(SourceError::unreadable(path))? {
        let entry = entry.map_err(SourceError::unreadable(path))?.path();
        if entry.is_dir() {
            folders.push(entry);
        }
    }
    folders.sort();
    Ok(folders)
}

/// One certificate; none where there is nothing yet.
fn one(authority: &Path, folder: &Path) -> Option<Found> {
    let name = folder.file_name()?.to_str()?;
    let file = |end: &str| folder.join(format!("{name}.{end}"));
    let (chain, key) = (file("crt"), file("key"));
    if matches!((chain.try_exists(), key.try_exists()), (Ok(false), Ok(false))) {
        return None;
    }
    let place = chain.display().to_string();
    if authority.file_name().is_some_and(|name| name == LOCAL) {
        let why = "it is from Caddy's own authority; the proxy has one of its own for `tls: internal`";
        return Some(Found { place, ca: None, pem: Err(Unusable::LeftOut(why.to_owned())) });
    }
    let said = fs::read(file("json")).ok().and_then(|json| serde_json::from_slice::<Value>(&json).ok());
    let ca = said
        .and_then(|json| json["issuer_data"]["ca"].as_str().map(ToOwned::to_owned))
        .or_else(|| of_folder(authority.file_name()?.to_str()?));
    Some(Found { place, ca, pem: pem_files(&chain, &key) })
}

/// The directory of a well-known authority, by the folder's name: `acme-v02.api.letsencrypt.org-directory`.
fn of_folder(folder: &str) -> Option<String> {
    let host = folder.strip_suffix("-directory").or_else(|| folder.strip_suffix("-v2-DV90"))?;
    directory_on(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_well_known_authority_names_its_directory() {
        for (folder, url) in [
            (
                "acme-v02.api.letsencrypt.org-directory",
                Some("https://acme-v02.api.letsencrypt.org/directory"),
            ),
            (
                "acme-staging-v02.api.letsencrypt.org-directory",
                Some("https://acme-staging-v02.api.letsencrypt.org/directory"),
            ),
            ("acme.zerossl.com-v2-DV90", Some("https://acme.zerossl.com/v2/DV90")),
            ("ca.example.net-directory", None),
            ("local", None),
        ] {
            assert_eq!(of_folder(folder).as_deref(), url, "{folder}");
        }
    }
}
