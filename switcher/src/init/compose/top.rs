//! The top level of a Compose file: the project's name, and how volumes, networks and secrets are really called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use switcher_config::document::Item;

use crate::init::interpolation::by_defaults;
use crate::init::service::{Leftover, Stack};

/// How things are called that services name.
pub(super) struct Names {
    /// The project's name.
    pub(super) project: String,
    /// The folder that relative paths start at.
    pub(super) folder: PathBuf,
    volumes: BTreeMap<String, String>,
    networks: BTreeMap<String, String>,
    overlay: Vec<String>,
    secrets: BTreeMap<String, String>,
}

impl Names {
    pub(super) fn read(root: Item<'_>, folder: &Path) -> Self {
        let given = root.get("name").and_then(Item::text).and_then(by_defaults);
        let base = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let project = normal(&given.unwrap_or(base));
        let overlay =
            root.get("networks").into_iter().flat_map(Item::entries).filter_map(|(key, _, item)| {
                let driver = item.get("driver").and_then(Item::text);
                (driver == Some("overlay")).then(|| key.to_owned())
            });
        Self {
            volumes: named(root, "volumes", &project),
            networks: named(root, "networks", &project),
            overlay: overlay.collect(),
            secrets: sources(root),
            folder: folder.to_owned(),
            project,
        }
    }

    /// The engine's name of a volume.
    pub(super) fn volume(&self, key: &str) -> String {
        self.volumes.get(key).cloned().unwrap_or_else(|| format!("{}_{key}", self.project))
    }

    /// The engine's name of a network.
    pub(super) fn network(&self, key: &str) -> String {
        self.networks.get(key).cloned().unwrap_or_else(|| format!("{}_{key}", self.project))
    }

    /// Whether a network spans several machines, so that this one does not reach its containers.
    pub(super) fn is_overlay(&self, key: &str) -> bool {
        self.overlay.iter().any(|name| name == key)
    }

    /// Where a secret comes from, in words.
    pub(super) fn secret(&self, key: &str) -> &str {
        self.secrets.get(key).map_or("nowhere in this file", String::as_str)
    }
}

/// `name:` where there is one, the bare key when it is external, else the project in front.
fn named(root: Item<'_>, section: &str, project: &str) -> BTreeMap<String, String> {
    let entries = root.get(section).into_iter().flat_map(Item::entries);
    let name = |key: &str, item: Item<'_>| {
        let external = item.get("external");
        let inner = external.and_then(|external| external.get("name"));
        let given = item.get("name").or(inner).and_then(Item::text).and_then(by_defaults);
        let bare = external.is_some_and(|external| external.text() != Some("false"));
        given.unwrap_or_else(|| if bare { key.to_owned() } else { format!("{project}_{key}") })
    };
    entries.map(|(key, _, item)| (key.to_owned(), name(key, item))).collect()
}

fn sources(root: Item<'_>) -> BTreeMap<String, String> {
    let entries = root.get("secrets").into_iter().flat_map(Item::entries);
    let source = |item: Item<'_>| {
        let text = |key| item.get(key).and_then(Item::text);
        match (text("file"), text("environment")) {
            (Some(file), _) => format!("the file {file}"),
            (None, Some(name)) => format!("the variable {name}"),
            (None, None) => "Swarm, which never gives it out again".to_owned(),
        }
    };
    entries.map(|(key, _, item)| (key.to_owned(), source(item))).collect()
}

/// A project's name as Compose makes it: lower-case letters, digits, `-` and `_`.
fn normal(text: &str) -> String {
    let kept = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-' || *c == '_';
    let name: String = text.to_ascii_lowercase().chars().filter(kept).collect();
    let name = name.trim_start_matches(['-', '_']).to_owned();
    if name.is_empty() { "app".to_owned() } else { name }
}

/// What stands beside the services and is not carried over.
pub(super) fn leftovers(root: Item<'_>, stack: &mut Stack) {
    for (key, line, _) in root.entries() {
        let advice = match key {
            "configs" => "mount the file with `volumes`, or build it into the image",
            "include" => "included files are not read; name each with `--compose FILE`",
            "models" => "models are Compose's; leave them there",
            _ => continue,
        };
        stack.leftovers.push(Leftover { line, what: key.to_owned(), advice: advice.to_owned() });
    }
}
