//! certbot's folder: `live/<name>/fullchain.pem` and `privkey.pem`, links into `archive`, and what a certificate is
//! renewed with in `renewal/<name>.conf`, whose `server` is the authority's directory.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Found, SourceError, pem_files};

/// Reads all of them.
pub(super) fn read(path: &Path) -> Result<Vec<Found>, SourceError> {
    fs::metadata(path).map_err(SourceError::unreadable(path))?;
    let root = root(path);
    let live = root.join("live");
    if matches!(live.try_exists(), Ok(false)) {
        return Err(SourceError::not_it(path, "is no folder of certbot: there is no folder `live` in it"));
    }
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(&live).map_err(SourceError::unreadable(&live))? {
        let entry = entry.map_err(SourceError::unreadable(&live))?.path();
        if entry.is_dir() {
            names.push(entry);
        }
    }
    names.sort();
    Ok(names.iter().map(|folder| one(&root, folder)).collect())
}

/// The folder that holds `live`, also when that one was named.
fn root(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if path.file_name().is_some_and(|name| name == "live") => parent.to_owned(),
        Some(_) | None => path.to_owned(),
    }
}

fn one(root: &Path, folder: &Path) -> Found {
    let conf = folder.file_name().map(|name| {
        let mut name = name.to_owned();
        name.push(".conf");
        root.join("renewal").join(name)
    });
    let ca = conf.and_then(|conf| fs::read_to_string(conf).ok()).and_then(|text| server(&text));
    let chain = folder.join("fullchain.pem");
    let place = chain.display().to_string();
    Found { place, ca, pem: pem_files(&chain, &folder.join("privkey.pem")) }
}

/// The value of `server` in a file such as `renewal/<name>.conf`.
fn server(conf: &str) -> Option<String> {
    conf.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "server").then(|| value.trim().to_owned()).filter(|value| !value.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_read_from_among_the_other_options() {
        let conf = "# renew_before_expiry = 30 days\nversion = 2.9.0\n[renewalparams]\naccount = a1\n\
            server = https://acme-v02.api.letsencrypt.org/directory\nserver_port = 1\n[[webroot_map]]\n";
        assert_eq!(server(conf).as_deref(), Some("https://acme-v02.api.letsencrypt.org/directory"));
        assert_eq!(server("# server = x\n[renewalparams]\nserver =\n"), None);
    }
}
