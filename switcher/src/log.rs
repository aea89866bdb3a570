//! The log file of a deployment: a JSON object a line, everything redacted, for its owner alone.
//!
//! Invariant: it never fails a deployment. A disk that is full is said once on standard error. Written by the deployer,
//! by hooks and by one-off runs.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::deployment::DeploymentId;
use crate::redact::Redactor;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What happened, and what children printed.
    Info,
    /// What went wrong and stopped nothing.
    Warn,
    /// What stopped the deployment.
    Error,
}

/// The log of one deployment.
#[derive(Debug)]
pub struct DeploymentLog {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// None once it could not be opened.
    file: Option<File>,
    redactor: Redactor,
    /// Whether the last line is whole.
    whole: bool,
    /// Whether somebody was told that the log is not complete.
    told: bool,
}

impl DeploymentLog {
    /// Opens `<folder>/deployments/<id>/log.jsonl`, or makes it; a log that is there is gone on with. When it cannot be
    /// opened the deployment goes on without one.
    #[must_use]
    pub fn open(folder: &Path, id: &DeploymentId, redactor: Redactor) -> Self {
        let path = path(folder, id);
        let (file, whole) = match open(&path) {
            Ok((file, whole)) => (Some(file), whole),
            Err(error) => {
                complain(&path, &error);
                (None, true)
            }
        };
        let told = file.is_none();
        Self { path, inner: Mutex::new(Inner { file, redactor, whole, told }) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hides other secrets from now on: those of the environment are known only after it was read.
    pub fn redact_with(&self, redactor: Redactor) {
        self.inner.lock().redactor = redactor;
    }

    /// Writes one line. The names in `more` are those of further fields of the object.
    pub fn write(&self, level: Level, phase: &str, message: &str, more: &[(&str, Value)]) {
        let mut inner = self.inner.lock();
        let line = line(Timestamp::now(), level, phase, message, more, &inner.redactor);
        if let Err(error) = inner.append(&line)
            && !std::mem::replace(&mut inner.told, true)
        {
            complain(&self.path, &error);
        }
    }
}

impl Inner {
    fn append(&mut self, line: &str) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let begin = if self.whole { "" } else { "\n" };
        // Half a line may be on the disk unless all of it is.
        self.whole = false;
        file.write_all(format!("{begin}{line}\n").as_bytes())?;
        self.whole = true;
        Ok(())
    }
}

/// Where the log of a deployment is.
#[must_use]
pub fn path(folder: &Path, id: &DeploymentId) -> PathBuf {
    folder.join("deployments").join(id.as_str()).join("log.jsonl")
}

/// The file, and whether its last line is whole.
fn open(path: &Path) -> io::Result<(File, bool)> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = File::options();
    let mut file = options.read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok((file, last == [b'\n']))
}

/// One line, without its line break. Pure.
fn line(
    at: Timestamp,
    level: Level,
    phase: &str,
    message: &str,
    more: &[(&str, Value)],
    redactor: &Redactor,
) -> String {
    let mut fields = Map::new();
    fields.insert("at".to_owned(), Value::from(at.to_string()));
    fields.insert("level".to_owned(), serde_json::to_value(level).unwrap_or_default());
    fields.insert("phase".to_owned(), Value::from(phase));
    fields.insert("message".to_owned(), Value::from(redactor.line(message)));
    for (name, value) in more {
        // What a field is called may not hide what the line is.
        fields.entry((*name).to_owned()).or_insert_with(|| redacted(value, redactor));
    }
    Value::Object(fields).to_string()
}

/// The value with every text in it redacted, also names of fields.
fn redacted(value: &Value, redactor: &Redactor) -> Value {
    match value {
        Value::String(text) => Value::from(redactor.line(text)),
        Value::Array(items) => items.iter().map(|item| redacted(item, redactor)).collect(),
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(name, value)| (redactor.line(name), redacted(value, redactor))).collect(),
        ),
        // A secret may be a number.
        Value::Number(number) => {
            let text = number.to_string();
            let shown = redactor.line(&text);
            if shown == text { value.clone() } else { Value::from(shown) }
        }
        Value::Null | Value::Bool(_) => value.clone(),
    }
}

/// One word on standard error; when that is gone there is nobody to tell.
fn complain(path: &Path, error: &io::Error) {
    let _ = writeln!(
        io::stderr(),
        "the log of this deployment is not complete, the deployment goes on: {} cannot be written: {error}",
        path.display()
    );
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use serde_json::json;

    use super::*;

    const ID: &str = "dep_01JBQR2K3M4N5P6Q7R8S9T0VWX";

    fn id() -> DeploymentId {
        ID.parse().expect("an id")
    }

    fn read(log: &DeploymentLog) -> Vec<Value> {
        let text = std::fs::read_to_string(log.path()).expect("a log");
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    #[test]
    fn every_line_is_an_object_and_everything_in_it_is_redacted() {
        let at = "2026-11-21T14:03:07.5Z".parse().expect("a moment");
        let redactor = Redactor::new(["hunter22", "\"quoted\"", "31415926"]);
        let more = [
            ("hook", json!("pre_deploy")),
            ("inside", json!({"hunter22": ["a hunter22", 31_415_926, 7, null, "\"quoted\""]})),
            ("message", json!("another")),
        ];
        assert_eq!(
            line(at, Level::Warn, "pulling", "saw hunter22\nand \"quoted\"", &more, &redactor),
            concat!(
                r#"{"at":"2026-11-21T14:03:07.5Z","level":"warn","phase":"pulling","message":"saw ***\nand ***","#,
                r#""hook":"pre_deploy","inside":{"***":["a ***","***",7,null,"***"]}}"#
            )
        );
    }

    #[test]
    fn a_log_is_its_owners_alone_and_goes_on_where_it_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = DeploymentLog::open(folder.path(), &id(), Redactor::without_secrets());
        assert_eq!(log.path(), folder.path().join("deployments").join(ID).join("log.jsonl"));
        log.write(Level::Info, "pulling", "one hunter22", &[]);
        log.redact_with(Redactor::new(["hunter22"]));
        log.write(Level::Info, "pulling", "two hunter22", &[]);
        assert_eq!(std::fs::metadata(log.path()).expect("a log").mode() & 0o777, 0o600);
        drop(log);
        let log = DeploymentLog::open(folder.path(), &id(), Redactor::without_secrets());
        log.write(Level::Error, "failed", "three", &[]);
        let messages: Vec<_> = read(&log).into_iter().map(|line| line["message"].clone()).collect();
        assert_eq!(messages, ["one hunter22", "two ***", "three"]);
    }

    #[test]
    fn half_a_line_of_a_process_that_was_killed_spoils_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = DeploymentLog::open(folder.path(), &id(), Redactor::without_secrets());
        let mut file = File::options().append(true).open(log.path()).expect("a log");
        file.write_all(b"{\"at\":").expect("half a line");
        let log = DeploymentLog::open(folder.path(), &id(), Redactor::without_secrets());
        log.write(Level::Info, "pulling", "next", &[]);
        let text = std::fs::read_to_string(log.path()).expect("a log");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "{\"at\":");
        assert!(lines[1].ends_with("\"message\":\"next\"}"), "{text}");
    }

    #[test]
    fn a_disk_that_takes_nothing_fails_nothing_and_is_said_once() {
        let full = File::options().append(true).open("/dev/full").expect("/dev/full");
        let inner =
            Inner { file: Some(full), redactor: Redactor::without_secrets(), whole: true, told: false };
        let log = DeploymentLog { path: PathBuf::from("/dev/full"), inner: Mutex::new(inner) };
        log.write(Level::Info, "pulling", "one", &[]);
        assert!(log.inner.lock().told);
        log.write(Level::Info, "pulling", "two", &[]);
        let log = DeploymentLog::open(Path::new("/dev/null"), &id(), Redactor::without_secrets());
        log.write(Level::Info, "pulling", "three", &[]);
        assert!(log.inner.lock().told && log.inner.lock().file.is_none());
    }
}
