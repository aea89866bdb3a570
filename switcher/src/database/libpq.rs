//! A database's URL as PostgreSQL's own programs take it, so that the password is in no argument and no variable.
//!
//! On this machine the password is an anonymous file that the program inherits as its standard input: nothing is
//! left on a disk, whatever kills us. In a container it is a connection service file, which is put in before the
//! start (a password file would have to be private to the right user). Called by `snapshot`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};

use super::url::{DatabaseUrl, Host, SslMode};
use crate::container::SecretFile;

/// What libpq says a connection may take, in seconds.
const CONNECT_SECONDS: &str = "10";
/// The longest line of a connection service file (`parseServiceFile` in libpq's fe-connect.c).
const LONGEST_LINE: usize = 1000;
/// Where files of a container's connection go.
const FOLDER: &str = "/run/secrets";
/// The system's authorities, where libpq before version 16 does not find them by itself.
const BUNDLES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// The connection of one of PostgreSQL's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Libpq<'a> {
    url: &'a DatabaseUrl,
}

/// A connection that cannot be handed to a program.
#[derive(Debug, thiserror::Error)]
pub enum Unwritable {
    /// The password cannot stand in libpq's files.
    #[error(
        "the database's password {0}, which PostgreSQL's own programs cannot take; give the role another one"
    )]
    Password(&'static str),
    /// Something belongs to this machine alone.
    #[error(
        "{0} of the database's URL cannot be given to a container; leave out `snapshot.image`, so that the pg_dump of this machine is used"
    )]
    Local(&'static str),
    /// A file that the URL names.
    #[error("{} cannot be read: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The anonymous file.
    #[error("the system refused a file in memory: {0}")]
    Memory(#[from] io::Error),
}

impl<'a> Libpq<'a> {
    /// For this database.
    #[must_use]
    pub const fn new(url: &'a DatabaseUrl) -> Self {
        Self { url }
    }

    /// Makes `command` connect there: nothing of our own environment but what is named here, since a stray `PGSERVICE`
    /// would win over the URL.
    ///
    /// # Errors
    /// When the password cannot be handed over.
    pub fn prepare(&self, command: &mut Command) -> Result<(), Unwritable> {
        plain(command);
        command.envs(self.environment());
        if let Some(roots) = self.roots() {
            command.env("PGSSLROOTCERT", roots);
        }
        for (name, path) in [("PGSSLCERT", &self.url.files.certificate), ("PGSSLKEY", &self.url.files.key)] {
            command.envs(path.iter().map(|path| (name, path)));
        }
        if let Some(line) = self.password_line()? {
            // Opened again by its path, so it is read from its beginning as often as libpq likes.
            command.stdin(anonymous(&line)?).env("PGPASSFILE", "/proc/self/fd/0");
        }
        Ok(())
    }

    /// What a container needs to connect there: variables without a secret, and files.
    ///
    /// # Errors
    /// When something of the connection belongs to this machine, or cannot be read.
    pub fn container(&self) -> Result<(BTreeMap<String, String>, Vec<SecretFile>), Unwritable> {
        if self.url.files.key.is_some() || self.url.files.certificate.is_some() {
            return Err(Unwritable::Local("the client certificate"));
        }
        if matches!(self.url.host, Host::Socket(_)) {
            return Err(Unwritable::Local("the unix socket"));
        }
        let mut variables = self.environment();
        let mut files = Vec::new();
        if let Some(roots) = self.roots() {
            let content = fs::read(&roots).map_err(|source| Unwritable::File { path: roots, source })?;
            files.push(SecretFile { path: format!("{FOLDER}/pg_root.crt"), content });
            variables.insert("PGSSLROOTCERT".to_owned(), format!("{FOLDER}/pg_root.crt"));
        }
        if let Some(content) = self.service()? {
            files.push(SecretFile {
                path: format!("{FOLDER}/pg_service.conf"),
                content: content.into_bytes(),
            });
            variables.insert("PGSERVICEFILE".to_owned(), format!("{FOLDER}/pg_service.conf"));
            variables.insert("PGSERVICE".to_owned(), "switcher".to_owned());
        }
        Ok((variables, files))
    }

    /// Where, without who proves it (PostgreSQL manual, 34.15).
    fn environment(&self) -> BTreeMap<String, String> {
        let url = self.url;
        let host = match &url.host {
            Host::Tcp(host) => host.clone(),
            Host::Socket(folder) => folder.display().to_string(),
        };
        let mut variables = BTreeMap::from([
            ("PGHOST".to_owned(), host),
            ("PGPORT".to_owned(), url.port.to_string()),
            ("PGDATABASE".to_owned(), url.database.clone()),
            ("PGSSLMODE".to_owned(), url.ssl.as_str().to_owned()),
            ("PGCONNECT_TIMEOUT".to_owned(), CONNECT_SECONDS.to_owned()),
            ("PGAPPNAME".to_owned(), "switcher".to_owned()),
        ]);
        let optional = [
            ("PGUSER", url.user.clone()),
            ("PGOPTIONS", url.options.clone()),
            ("PGCHANNELBINDING", url.bound.then(|| "require".to_owned())),
        ];
        for (name, value) in optional {
            variables.extend(value.map(|value| (name.to_owned(), value)));
        }
        variables
    }

    /// The authorities to trust, where a certificate is to be proved.
    fn roots(&self) -> Option<PathBuf> {
        let proved = matches!(self.url.ssl, SslMode::VerifyCa | SslMode::VerifyFull);
        let system = || BUNDLES.iter().map(PathBuf::from).find(|bundle| proved && Path::new(bundle).exists());
        self.url.files.roots.clone().or_else(system)
    }

    /// The one line of a password file, which fits every connection (PostgreSQL manual, 34.16).
    fn password_line(&self) -> Result<Option<String>, Unwritable> {
        let Some(password) = self.password()? else { return Ok(None) };
        Ok(Some(format!("*:*:*:*:{}\n", password.replace('\\', r"\\").replace(':', r"\:"))))
    }

    /// A connection service file, which knows no escapes (PostgreSQL manual, 34.17).
    fn service(&self) -> Result<Option<String>, Unwritable> {
        let Some(password) = self.password()? else { return Ok(None) };
        if password.len() > LONGEST_LINE {
            return Err(Unwritable::Password("is longer than 1000 bytes"));
        }
        if password.ends_with(|c: char| c.is_ascii_whitespace()) {
            return Err(Unwritable::Password("ends in a space"));
        }
        Ok(Some(format!("[switcher]\npassword={password}\n")))
    }

    fn password(&self) -> Result<Option<&str>, Unwritable> {
        match self.url.password.as_ref().map(super::url::Password::reveal) {
            Some(password) if password.contains(['\n', '\r']) => {
                Err(Unwritable::Password("holds the end of a line"))
            }
            other => Ok(other),
        }
    }
}

/// An environment in which PostgreSQL's programs speak English and find their own parts.
pub(crate) fn plain(command: &mut Command) {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    command.env_clear().env("PATH", path).env("LC_ALL", "C").stdin(Stdio::null());
}

/// A private file without a name that holds `text`.
fn anonymous(text: &str) -> io::Result<Stdio> {
    let mut file = File::from(memfd_create("password", MemfdFlags::CLOEXEC)?);
    // libpq passes over a password file that others may read.
    fchmod(&file, Mode::RUSR | Mode::WUSR)?;
    file.write_all(text.as_bytes())?;
    Ok(Stdio::from(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> DatabaseUrl {
        text.parse().expect(text)
    }

    #[test]
    fn no_argument_and_no_variable_holds_the_password() {
        let url = url("postgres://shop:hun%3Ater%5C2@db:6543/shop?sslmode=require");
        let mut command = Command::new("pg_dump");
        Libpq::new(&url).prepare(&mut command).expect("a connection");
        let shown = format!("{command:?}");
        for part in ["PGHOST=\"db\"", "PGPORT=\"6543\"", "PGUSER=\"shop\"", "PGSSLMODE=\"require\""] {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(!shown.contains("hun"), "{shown}");
        assert_eq!(
            Libpq::new(&url).password_line().expect("a line"),
            Some("*:*:*:*:hun\\:ter\\\\2\n".to_owned())
        );
        let (variables, files) = Libpq::new(&url).container().expect("a container");
        assert!(!format!("{variables:?}").contains("hun"), "{variables:?}");
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].content, b"[switcher]\npassword=hun:ter\\2\n");
    }

    #[test]
    fn a_stray_variable_of_this_process_does_not_reach_the_program() {
        let mut command = Command::new("env");
        command.env("PGSERVICE", "another");
        Libpq::new(&url("postgres://u@db/shop")).prepare(&mut command).expect("a connection");
        let output = command.output().expect("env runs");
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains("PGDATABASE=shop") && !shown.contains("PGSERVICE"), "{shown}");
        assert!(!shown.contains("CARGO"), "{shown}");
    }

    #[test]
    fn what_cannot_be_handed_over_is_said_without_showing_it() {
        for (text, why) in [
            ("postgres://u:hunter2%0Ax@db/shop", "the end of a line"),
            ("postgres://u:hunter2%20@db/shop", "ends in a space"),
            ("postgres://u:hunter2@/shop?host=/run/pg", "the unix socket"),
            ("postgres://u:hunter2@db/shop?sslcert=/c&sslkey=/k", "the client certificate"),
            ("postgres://u:hunter2@db/shop?sslmode=verify-ca&sslrootcert=/nonexistent", "/nonexistent"),
        ] {
            let error = Libpq::new(&url(text)).container().err().map(|error| error.to_string());
            let error = error.expect(text);
            assert!(error.contains(why) && !error.contains("hunter2"), "{error}");
        }
    }
}
