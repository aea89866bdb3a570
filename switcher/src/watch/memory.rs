//! `watch.json`: what `switcher watch` remembers of one application, beside its `state.json`.
//!
//! Written by the one watch of the application alone ([`Hold`]); `status` reads it. What this version does not know is
//! refused, never half understood: a digest that is forgotten would be deployed once more.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use switcher_config::durable::{Durability, replace};

use crate::state::{StateError, Store};

/// The version of the layout.
pub const SCHEMA: u32 = 1;

/// Everything that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// The version of the layout.
    pub schema: u32,
    /// The application.
    pub app: String,
    /// What is watched: `ghcr.io/acme/shop:production`.
    pub image: String,
    /// The digest that was tried last, and what became of it.
    pub attempt: Option<Attempt>,
    /// When the registry was asked last.
    pub looked_at: Option<Timestamp>,
    /// The digest that it named last.
    pub found: Option<String>,
    /// Why it named none, since its last good answer.
    pub trouble: Option<Trouble>,
    /// When it is asked next.
    pub next_look: Option<Timestamp>,
    /// It is not asked before, whoever wants it: it said so.
    pub not_before: Option<Timestamp>,
    /// When `prune` ended well last.
    pub pruned_at: Option<Timestamp>,
    /// When `prune`, which failed, is tried again.
    pub prune_again_at: Option<Timestamp>,
}

/// A digest that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// The digest.
    pub digest: String,
    /// When it was begun for the first time.
    pub at: Timestamp,
    /// How often it was begun; 0 when somebody else did it.
    pub tries: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// When it is tried again.
    pub again_at: Option<Timestamp>,
}

/// What became of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// It is being deployed, or was when the watch was killed.
    Trying,
    /// It was deployed; done until the tag's digest changes.
    Deployed,
    /// It failed by its own fault; left until the tag's digest changes.
    Left {
        /// The exit code of the deployment.
        exit: i32,
    },
    /// Something else stood in the way; tried again by itself.
    Later {
        /// The exit code; none when a signal ended the deployment.
        exit: Option<i32>,
    },
    /// A person is needed; tried again all the same, and said once.
    Person {
        /// The exit code.
        exit: i32,
    },
}

/// Why the registry named no digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// How often in a row.
    pub count: u32,
    /// The newest reason, a sentence.
    pub message: String,
}

impl Outcome {
    /// What a digest is, in words: `sha256:… is …`.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Trying => "being deployed".to_owned(),
            Self::Deployed => "deployed".to_owned(),
            Self::Left { exit } => format!("bad (exit code {exit}), and left until the tag moves"),
            Self::Later { exit: Some(exit) } => {
                format!("not deployed yet (exit code {exit}), and tried again later")
            }
            Self::Later { exit: None } => "cut short, and tried again later".to_owned(),
            Self::Person { exit } => format!("not deployed (exit code {exit}): a person is needed"),
        }
    }
}

impl Memory {
    /// What is remembered before the first look.
    #[must_use]
    pub fn new(app: &str, image: &str) -> Self {
        Self {
            schema: SCHEMA,
            app: app.to_owned(),
            image: image.to_owned(),
            attempt: None,
            looked_at: None,
            found: None,
            trouble: None,
            next_look: None,
            not_before: None,
            pruned_at: None,
            prune_again_at: None,
        }
    }

    /// Reads it; none when there is none.
    ///
    /// # Errors
    /// When the file is damaged, of a newer layout, or cannot be read.
    pub fn read(file: &Path) -> Result<Option<Self>, StateError> {
        let bytes = match std::fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Io { step: "read", path: file.to_owned(), source }),
        };
        let damaged = |why: serde_json::Error| StateError::Damaged {
            file: file.to_owned(),
            why: why.to_string(),
            last_good: None,
        };
        let value: Value = serde_json::from_slice(&bytes).map_err(damaged)?;
        match value.get("schema").and_then(Value::as_u64) {
            Some(schema) if schema != u64::from(SCHEMA) => {
                Err(StateError::Newer { file: file.to_owned(), schema })
            }
            Some(_) | None => serde_json::from_value(value).map(Some).map_err(damaged),
        }
    }

    /// Replaces the file. `durability` is how much a power cut may forget: a look, never an attempt.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(&self, file: &Path, durability: Durability) -> Result<(), StateError> {
        let text = serde_json::to_string_pretty(self).map_err(|error| StateError::Io {
            step: "write",
            path: file.to_owned(),
            source: error.into(),
        })?;
        Ok(replace(file, format!("{text}\n").as_bytes(), 0o600, durability)?)
    }
}

/// Where it lies.
#[must_use]
pub fn file(store: &Store) -> PathBuf {
    store.folder().join("watch.json")
}

/// The right to watch an application; gone with its process.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

impl Hold {
    /// Takes it; none when another process has it.
    ///
    /// # Errors
    /// When the folder cannot be made or used.
    pub fn take(store: &Store) -> Result<Option<Self>, StateError> {
        Ok(store.lock_beside(".watch")?.map(|file| Self { _file: file }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_nobody_knows_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("watch.json");
        assert_eq!(Memory::read(&file).expect("no file is no error"), None);
        let mut memory = Memory::new("shop", "ghcr.io/acme/shop:production");
        for outcome in [Outcome::Trying, Outcome::Left { exit: 4 }, Outcome::Later { exit: None }] {
            let at = Timestamp::UNIX_EPOCH;
            let attempt = Attempt { digest: "sha256:1".to_owned(), at, tries: 1, outcome, again_at: None };
            memory.attempt = Some(attempt);
            memory.write(&file, Durability::Unsynced).expect("written");
            assert_eq!(Memory::read(&file).expect("whole").as_ref(), Some(&memory));
        }
        let good = std::fs::read_to_string(&file).expect("a file");
        let put = |text: &str| replace(&file, text.as_bytes(), 0o600, Durability::Unsynced).expect("written");
        for (was, is, said) in [
            ("\"found\": null", "\"fund\": null", "unknown field `fund`"),
            ("\"schema\": 1", "\"schema\": 2", "layout 2"),
            ("\"tries\": 1", "\"tries\": -1", "invalid value"),
            ("}", "", "EOF"),
        ] {
            put(&good.replace(was, is));
            let error = Memory::read(&file).expect_err(is).to_string();
            assert!(error.contains(said) && error.contains("watch.json"), "{error}");
        }
    }
}
