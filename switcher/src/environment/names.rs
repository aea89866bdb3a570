//! Where a name's value comes from: Docker secrets, the process's environment, env files; strongest first.
//!
//! Everything is looked up once; what was found then is what a deployment uses to its end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use switcher_config::Problem;

use super::Sources;
use super::problem::problem;

/// The longest secret, in bytes; Docker's own limit.
const LONGEST_SECRET: u64 = 500 << 10;

/// Names that every process has and that speak of this machine and its user: they are not laid over an env file.
const SESSION: [&str; 14] = [
    "HOME", "HOSTNAME", "LANG", "LANGUAGE", "LOGNAME", "MAIL", "OLDPWD", "PATH", "PWD", "SHELL", "SHLVL",
    "TERM", "TMPDIR", "USER",
];

/// A value and where it came from.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) text: String,
    /// As problems name it: the file, `environment variable`, or the secret's file.
    pub(super) source: String,
    pub(super) line: Option<usize>,
    /// Whether it is a Docker secret.
    pub(super) secret: bool,
}

/// Looks names up.
pub(super) struct Names<'a> {
    pub(super) sources: &'a Sources,
    /// The values of the env files.
    pub(super) files: &'a BTreeMap<String, Value>,
    /// What was asked for, and what it was.
    pub(super) asked: RefCell<BTreeMap<String, Option<Value>>>,
    pub(super) problems: RefCell<Vec<Problem>>,
}

impl<'a> Names<'a> {
    pub(super) fn new(sources: &'a Sources, files: &'a BTreeMap<String, Value>) -> Self {
        Self { sources, files, asked: RefCell::default(), problems: RefCell::default() }
    }

    /// What a name stands for.
    pub(super) fn get(&self, name: &str) -> Option<Value> {
        if let Some(known) = self.asked.borrow().get(name) {
            return known.clone();
        }
        let found =
            self.secret(name).or_else(|| self.of_process(name)).or_else(|| self.files.get(name).cloned());
        self.asked.borrow_mut().insert(name.to_owned(), found.clone());
        found
    }

    /// What a name stands for that the settings or an env file give to the application: the session of whoever runs
    /// the deployment is none of its business.
    pub(super) fn layered(&self, name: &str) -> Option<Value> {
        let session = SESSION.contains(&name) || name.starts_with("LC_");
        if session { self.files.get(name).cloned() } else { self.get(name) }
    }

    /// A variable of the process. An empty one is taken for a missing one: that is how build servers hand over what
    /// they do not have.
    pub(super) fn of_process(&self, name: &str) -> Option<Value> {
        let text = self.sources.variables.get(name).filter(|value| !value.is_empty())?.clone();
        Some(Value { text, source: "environment variable".to_owned(), line: None, secret: false })
    }

    /// The secret of that name, also in lower case, as text without its last line break.
    pub(super) fn secret(&self, name: &str) -> Option<Value> {
        let (source, bytes) =
            [name.to_owned(), name.to_ascii_lowercase()].iter().find_map(|file| self.secret_file(file))?;
        let text = String::from_utf8(bytes).ok()?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let text = line.strip_suffix('\r').unwrap_or(line).to_owned();
        Some(Value { text, source, line: None, secret: true })
    }

    /// A file of the folder of secrets: its path and its bytes.
    pub(super) fn secret_file(&self, name: &str) -> Option<(String, Vec<u8>)> {
        let path = self.sources.secrets_dir.join(name);
        let shown = path.display().to_string();
        match read_secret(&path) {
            Ok(found) => Some((shown, found?)),
            Err(error) => {
                let hint = "see who may read it: `ls -l` of that file";
                self.problems.borrow_mut().push(problem(
                    &shown,
                    None,
                    "",
                    format!("this secret cannot be read: {error}"),
                    hint,
                ));
                None
            }
        }
    }
}

/// The bytes of a secret; none when there is no such file.
fn read_secret(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) if file.metadata()?.is_file() => file,
        Ok(_) => return Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST_SECRET + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_SECRET {
        return Err(io::Error::other("it is longer than 500KiB"));
    }
    Ok(Some(bytes))
}
