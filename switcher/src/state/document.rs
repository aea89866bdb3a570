//! `state.json` on disk: read whole, held against the schema, replaced whole.
//!
//! A file that cannot be used is refused with the name of the last good copy; it is never taken for an empty one.

use std::io;
use std::path::Path;

use serde_json::Value;
use switcher_config::AppName;
use switcher_config::durable::{Durability, replace};

use super::error::StateError;
use super::folder::Folder;
use super::record::{SCHEMA, State};
use super::schema;

const MODE: u32 = 0o600;

/// Whose memory a folder holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) environment: String,
    pub(super) app: AppName,
}

/// Whether a change is worth a new copy beside the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copy {
    /// It is.
    Made,
    /// Only the lease's expiry changed.
    Left,
}

/// What the folder remembers; nothing when nothing was ever written.
pub(super) fn read(folder: &Folder, of: &Identity) -> Result<State, StateError> {
    let file = folder.state();
    let last_good = || load(&folder.last_good(), of).ok().flatten().map(|_| folder.last_good());
    match load(&file, of) {
        Ok(Some(state)) => Ok(state),
        Ok(None) => match last_good() {
            Some(last_good) => Err(StateError::Gone { file, last_good }),
            None => Ok(State::new(&of.environment, &of.app)),
        },
        Err(StateError::Damaged { file, why, last_good: _ }) => {
            Err(StateError::Damaged { file, why, last_good: last_good() })
        }
        Err(error) => Err(error),
    }
}

/// Whose `state.json` lies in a folder; none when there is none. The copy answers for a damaged file.
pub(super) fn owner(folder: &Folder) -> Result<Option<AppName>, StateError> {
    let app = |file: &Path| -> Option<AppName> {
        let value: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        value.get("app")?.as_str()?.parse().ok()
    };
    let file = folder.state();
    match file.try_exists().map_err(StateError::io("read", &file))? {
        false => Ok(app(&folder.last_good())),
        true => match app(&file).or_else(|| app(&folder.last_good())) {
            Some(app) => Ok(Some(app)),
            None => {
                // Read once more for the reason.
                bytes(&file)?;
                let why = "it does not say which application it is about".to_owned();
                Err(StateError::Damaged { file, why, last_good: None })
            }
        },
    }
}

/// Replaces the file. After an error the old or the new state is there, whole.
pub(super) fn write(folder: &Folder, state: &State, copy: Copy) -> Result<(), StateError> {
    let file = folder.state();
    let text = text(&file, state)?;
    replace(&file, text.as_bytes(), MODE, Durability::Synced)?;
    if copy == Copy::Made {
        replace(&folder.last_good(), text.as_bytes(), MODE, Durability::Synced)?;
    }
    Ok(())
}

/// The file's text; what the schema does not allow is not written.
fn text(file: &Path, state: &State) -> Result<String, StateError> {
    let unwritten =
        |why: String| StateError::io("write", file)(io::Error::new(io::ErrorKind::InvalidData, why));
    let value = serde_json::to_value(state).map_err(|error| unwritten(error.to_string()))?;
    schema::check(&value).map_err(|violation| unwritten(violation.to_string()))?;
    Ok(format!("{value:#}\n"))
}

fn bytes(file: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StateError::io("read", file)(error)),
    }
}

/// One file, checked; none when it is not there.
fn load(file: &Path, of: &Identity) -> Result<Option<State>, StateError> {
    let Some(bytes) = bytes(file)? else { return Ok(None) };
    let damaged = |why: String| StateError::Damaged { file: file.to_owned(), why, last_good: None };
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    match value.get("schema").and_then(Value::as_u64) {
        Some(schema) if schema > u64::from(SCHEMA) => {
            return Err(StateError::Newer { file: file.to_owned(), schema });
        }
        Some(_) | None => {}
    }
    schema::check(&value).map_err(|violation| damaged(violation.to_string()))?;
    let state: State = serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
    let found = Identity {
        environment: state.environment.clone(),
        app: state.app.parse().map_err(|_| damaged(format!("/app: {:?} is no application", state.app)))?,
    };
    if found != *of {
        let named = |of: &Identity| format!("{} in {}", of.app, of.environment);
        let (found, wanted) = (named(&found), named(of));
        return Err(StateError::Foreign { file: file.to_owned(), found, wanted });
    }
    Ok(Some(state))
}
