//! `routing.json`: which slot is live, for every application, on disk.
//!
//! Written by `control` alone, always whole, through one durable replacement, with a copy beside it. A checksum tells a file that was damaged from one that was written. A file that can
//! not be read is a refusal to start, never an empty start.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use switcher_config::durable::{self, Durability, ReplaceError};
use switcher_config::wire::{Bake, Canary, Fence};
use switcher_config::{AppName, Generation, PerSlot, Slot, Span, WeightedAddress};

/// The version of the file's layout.
const SCHEMA: u32 = 1;

/// Everything the proxy remembers, by application.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// The applications. One that the configuration no longer names stays here, asleep.
    pub apps: BTreeMap<AppName, AppRouting>,
}

/// What is remembered of one application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppRouting {
    /// The live slot.
    pub active: Slot,
    /// The generation of the last mutation. It never goes back.
    pub generation: Generation,
    /// Whether requests are let through.
    #[serde(default)]
    pub gate: SavedGate,
    /// Both slots.
    pub slots: PerSlot<SlotRouting>,
    /// The newest lease that was shown. Its number never goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// The last switch that was to be judged on live traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<Bake>,
    /// The canary that goes on, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<SavedCanary>,
    /// The generation that the live release is known by: that of the switch to it. Kept where visitors stay with their
    /// release, and beside a canary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Generation>,
    /// The release that was left by that switch, in the other slot, if its visitors may stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
}

/// A release that was left, and whose visitors may stay for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// The generation of the switch to it.
    pub since: Generation,
    /// How long they may.
    pub until: Timestamp,
}

/// A canary as it is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedCanary {
    /// What the places of clients are mixed with, so that nobody can tell them and each canary picks others. Never shown.
    pub salt: u64,
    /// The generation by which somebody last lost a place there; none while it has only grown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrowed: Option<Generation>,
    /// What everybody may see of it.
    #[serde(flatten)]
    pub shown: Canary,
}

impl SavedCanary {
    /// The generation that its clients are known by.
    #[must_use]
    pub fn marked(&self) -> Generation {
        self.narrowed.unwrap_or(self.shown.generation)
    }
}

/// The gate as it is saved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase", deny_unknown_fields)]
pub enum SavedGate {
    /// Open.
    #[default]
    Open,
    /// Paused.
    Paused {
        /// How long each request is held at most.
        max: Span,
    },
    /// Stopped.
    Stopped {
        /// The maintenance page's message.
        message: Option<String>,
    },
}

/// What is remembered of one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotRouting {
    /// Its upstreams.
    pub upstreams: Vec<WeightedAddress>,
    /// The release they run.
    pub release: Option<String>,
    /// Where the addresses come from.
    pub source: SlotSource,
}

/// Where a slot's addresses come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotSource {
    /// The configuration, which is followed when it changes.
    Configured,
    /// The admin API, which wins over the configuration until the slot is registered again.
    Registered,
}

impl SlotRouting {
    /// Whether requests that are inside may stay when this becomes the other: weights alone move nobody.
    #[must_use]
    pub fn serves_as(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.upstreams.iter(), other.upstreams.iter());
        ours.map(|upstream| &upstream.address).eq(theirs.map(|upstream| &upstream.address))
            && (&self.release, self.source) == (&other.release, other.source)
    }
}

impl AppRouting {
    /// An application that has never been switched.
    #[must_use]
    pub const fn new(active: Slot, slots: PerSlot<SlotRouting>) -> Self {
        Self {
            active,
            generation: Generation::FIRST,
            gate: SavedGate::Open,
            slots,
            fence: None,
            bake: None,
            canary: None,
            since: None,
            left: None,
        }
    }
}

/// The file as it is written. The checksum covers `apps` exactly as it stands there.
#[derive(Serialize)]
struct Written<'a> {
    schema: u32,
    checksum: String,
    apps: &'a serde_json::value::RawValue,
}

#[derive(Deserialize)]
struct Read {
    schema: u32,
    checksum: String,
    apps: Box<serde_json::value::RawValue>,
}

/// Why a routing file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The system refused.
    #[error("it cannot be read: {0}")]
    Io(io::Error),
    /// It is no JSON of the expected shape.
    #[error("it is damaged: {0}")]
    Shape(serde_json::Error),
    /// It is of a layout this version does not know.
    #[error("it was written by a newer version (schema {0}, this version reads {SCHEMA})")]
    Schema(u32),
    /// Its content does not match its checksum.
    #[error("it is damaged: its checksum does not match its content")]
    Checksum,
}

/// The refusal to start on an unreadable file: it names the file, the last good copy and the way on.
#[derive(Debug, thiserror::Error)]
#[error("the routing state {} cannot be used: {cause}. {advice}", path.display())]
pub struct RefuseToStart {
    path: PathBuf,
    cause: Unreadable,
    advice: String,
}

/// Where the routing state is kept.
#[derive(Debug, Clone)]
pub struct RoutingFile {
    path: PathBuf,
    last_good: PathBuf,
}

impl RoutingFile {
    /// The file in the data folder.
    #[must_use]
    pub fn in_folder(data_dir: &Path) -> Self {
        Self { path: data_dir.join("routing.json"), last_good: data_dir.join("routing.json.last-good") }
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the state; `None` when there is none yet.
    ///
    /// # Errors
    /// When there is one that cannot be used.
    pub fn load(&self) -> Result<Option<Routing>, RefuseToStart> {
        match read(&self.path) {
            Ok(None) if matches!(read(&self.last_good), Ok(Some(_))) => {
                Err(self.refuse(Unreadable::Io(io::Error::new(
                    io::ErrorKind::NotFound,
                    "the file is gone, though its last good copy is there",
                ))))
            }
            Ok(found) => Ok(found),
            Err(cause) => Err(self.refuse(cause)),
        }
    }

    /// Goes on from the last good copy: what `--recover-routing` asks for. The damaged file is set aside.
    ///
    /// # Errors
    /// When the file is readable (then there is nothing to recover from), or the copy is not.
    pub fn recover(&self) -> Result<Routing, String> {
        if let Ok(Some(_)) = read(&self.path) {
            return Err(format!(
                "{} is readable, so there is nothing to recover; start without --recover-routing",
                self.path.display()
            ));
        }
        let mut copy = match read(&self.last_good) {
            Ok(Some(copy)) => copy,
            Ok(None) => return Err(format!("there is no last good copy {}", self.last_good.display())),
            Err(cause) => {
                return Err(format!(
                    "the last good copy {} cannot be used: {cause}",
                    self.last_good.display()
                ));
            }
        };
        if self.path.exists() {
            let aside = self.path.with_extension("json.damaged");
            fs::rename(&self.path, &aside).map_err(|e| {
                format!("cannot set the damaged {} aside as {}: {e}", self.path.display(), aside.display())
            })?;
        }
        // What the damaged file said last may be a generation ahead of the copy. None may be given twice.
        for app in copy.apps.values_mut() {
            app.generation = app.generation.next().next();
        }
        self.save(&copy).map_err(|e| e.to_string())?;
        Ok(copy)
    }

    /// Writes the state durably, and then a copy of the same state beside it. The copy is for a file that
    /// is damaged later; it is not synced, for a crash does not damage the file itself.
    ///
    /// # Errors
    /// When it could not be written; the file then still holds the state before.
    pub fn save(&self, routing: &Routing) -> Result<(), ReplaceError> {
        let failed = |source: io::Error| ReplaceError {
            path: self.path.clone(),
            step: "encode",
            source,
            replaced: false,
        };
        let bytes = encode(routing).map_err(|e| failed(e.into()))?;
        match durable::replace(&self.path, &bytes, 0o600, Durability::Synced) {
            Ok(()) => {}
            // The new state is in place and will be read; only a power cut could still bring back the old.
            Err(error) if error.replaced => {
                tracing::error!(%error, "the routing state may not survive a power cut")
            }
            Err(error) => return Err(error),
        }
        if let Err(error) = durable::replace(&self.last_good, &bytes, 0o600, Durability::Unsynced) {
            tracing::warn!(%error, "the copy of the routing state could not be written");
        }
        Ok(())
    }

    fn refuse(&self, cause: Unreadable) -> RefuseToStart {
        let advice = match read(&self.last_good) {
            Ok(Some(copy)) => {
                let live: Vec<String> = copy
                    .apps
                    .iter()
                    .map(|(name, app)| format!("{name}: {} live, generation {}", app.active, app.generation))
                    .collect();
                format!(
                    "The last good copy {} says: {}. Repair the file, or go on from that copy with --recover-routing",
                    self.last_good.display(),
                    live.join("; ")
                )
            }
            Ok(None) | Err(_) => format!(
                "There is no usable last good copy. Find out which slot is live, set `initial` in the configuration to it, and move what is there away: mv {} /tmp",
                self.path.display()
            ),
        };
        RefuseToStart { path: self.path.clone(), cause, advice }
    }
}

fn encode(routing: &Routing) -> serde_json::Result<Vec<u8>> {
    let apps = serde_json::value::to_raw_value(&routing.apps)?;
    let mut bytes =
        serde_json::to_vec(&Written { schema: SCHEMA, checksum: checksum(apps.get()), apps: &apps })?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn read(path: &Path) -> Result<Option<Routing>, Unreadable> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Unreadable::Io(error)),
    };
    decode(&bytes).map(Some)
}

fn decode(bytes: &[u8]) -> Result<Routing, Unreadable> {
    let read: Read = serde_json::from_slice(bytes).map_err(Unreadable::Shape)?;
    if read.schema != SCHEMA {
        return Err(Unreadable::Schema(read.schema));
    }
    if read.checksum != checksum(read.apps.get()) {
        return Err(Unreadable::Checksum);
    }
    let apps = serde_json::from_str(read.apps.get()).map_err(Unreadable::Shape)?;
    Ok(Routing { apps })
}

fn checksum(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing(active: Slot) -> Routing {
        let slot = |port: u16| SlotRouting {
            upstreams: vec![format!("127.0.0.1:{port}").parse().expect("an address")],
            release: Some("v1".to_owned()),
            source: SlotSource::Configured,
        };
        let app = AppRouting {
            gate: SavedGate::Stopped { message: Some("back soon".to_owned()) },
            ..AppRouting::new(active, PerSlot { blue: slot(1), green: slot(2) })
        };
        Routing { apps: BTreeMap::from([("shop".parse().expect("a name"), app)]) }
    }

    fn file() -> (tempfile::TempDir, RoutingFile) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = RoutingFile::in_folder(folder.path());
        (folder, file)
    }

    fn damage(file: &RoutingFile, bytes: &[u8]) {
        durable::replace(&file.path, bytes, 0o600, Durability::Synced).expect("damaged");
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let (_folder, file) = file();
        assert!(file.load().expect("nothing yet").is_none());
        file.save(&routing(Slot::Green)).expect("saved");
        assert_eq!(file.load().expect("readable"), Some(routing(Slot::Green)));
    }

    #[test]
    fn a_file_from_before_leases_is_read_and_one_without_a_lease_is_written_as_before() {
        let apps = r#"{"shop":{"active":"green","generation":7,"gate":{"mode":"open"},"slots":{"blue":{"upstreams":["127.0.0.1:1"],"release":null,"source":"configured"},"green":{"upstreams":["127.0.0.1:2"],"release":"v2","source":"registered"}}}}"#;
        let old = format!("{{\"schema\":1,\"checksum\":\"{}\",\"apps\":{apps}}}\n", checksum(apps));
        let read = decode(old.as_bytes()).expect("readable");
        let shop = &read.apps[&"shop".parse().expect("a name")];
        assert_eq!((shop.active, shop.generation.get(), &shop.fence), (Slot::Green, 7, &None));
        assert_eq!(String::from_utf8(encode(&read).expect("encoded")).expect("text"), old);
    }

    #[test]
    fn a_lease_is_saved_under_the_checksum() {
        let text = String::from_utf8(encode(&leased()).expect("encoded")).expect("text");
        assert_eq!(decode(text.as_bytes()).expect("readable"), leased());
        for (from, to) in [("\"number\":41", "\"number\":40"), ("lock_a", "lock_b")] {
            let forged = text.replace(from, to);
            assert_ne!(forged, text);
            assert!(matches!(decode(forged.as_bytes()), Err(Unreadable::Checksum)), "{forged}");
        }
    }

    fn leased() -> Routing {
        let mut routing = routing(Slot::Blue);
        for app in routing.apps.values_mut() {
            app.fence = Some(Fence { number: 41, holder: "lock_a".to_owned() });
        }
        routing
    }

    #[test]
    fn every_single_flipped_byte_is_noticed() {
        let bytes = encode(&leased()).expect("encoded");
        for index in 0..bytes.len() - 1 {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x01;
            if let Ok(read) = decode(&damaged) {
                assert_eq!(read, leased(), "byte {index} changed the meaning unnoticed");
            }
        }
        for length in 0..bytes.len() - 2 {
            assert!(decode(&bytes[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn an_unreadable_file_names_the_copy_and_the_flag() {
        let (_folder, file) = file();
        file.save(&routing(Slot::Blue)).expect("saved");
        file.save(&routing(Slot::Green)).expect("saved");
        damage(&file, b"{\"schema\":1,");
        let message = file.load().expect_err("damaged").to_string();
        for part in [
            "routing.json cannot be used",
            "routing.json.last-good says: shop: green live, generation 1",
            "--recover-routing",
        ] {
            assert!(message.contains(part), "{part:?} is missing in {message:?}");
        }
        let mut expected = routing(Slot::Green);
        for app in expected.apps.values_mut() {
            app.generation = Generation::FIRST.next().next();
        }
        assert_eq!(file.recover().expect("recovered"), expected);
        assert_eq!(file.load().expect("readable"), Some(expected));
        assert!(file.recover().is_err(), "a readable file is not recovered over");
    }

    #[test]
    fn a_file_that_vanished_is_no_fresh_start() {
        let (_folder, file) = file();
        file.save(&routing(Slot::Blue)).expect("saved");
        file.save(&routing(Slot::Green)).expect("saved");
        fs::remove_file(&file.path).expect("removed");
        assert!(file.load().is_err());
    }

    #[test]
    fn a_newer_layout_is_refused_and_said() {
        let (_folder, file) = file();
        damage(&file, b"{\"schema\":2,\"checksum\":\"\",\"apps\":{}}");
        let message = file.load().expect_err("too new").to_string();
        assert!(message.contains("newer version (schema 2"), "{message}");
    }
}
