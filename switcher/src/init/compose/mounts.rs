//! `volumes` of a service, as `source:/path[:ro]` with the engine's names and absolute paths.

use std::path::{Component, Path, PathBuf};

use switcher_config::document::Item;

use super::top::Names;
use crate::init::interpolation::{ours, pieces};
use crate::init::service::{Placed, Service};

/// Reads `volumes`, in the short and in the long form.
pub(super) fn volumes(service: &mut Service, item: Item<'_>, names: &Names) {
    for mount in item.items() {
        let read = if mount.is_section() { long(mount) } else { short(mount.text().unwrap_or_default()) };
        match read.and_then(|(source, rest)| Ok(format!("{}:{rest}", sourced(&source, names)?))) {
            Ok(text) => service.volumes.push(Placed::new(text, mount.line())),
            Err(advice) => service.leave(mount.line(), "volumes", advice),
        }
    }
}

fn anonymous() -> String {
    "a mount without a name is new with every container; name it, for example `cache:/path`".to_owned()
}

/// Source, and `target[:options]`.
fn short(text: &str) -> Result<(String, String), String> {
    let text = ours(text)?;
    match pieces(&text, ':').as_slice() {
        [source, rest @ ..] if !rest.is_empty() => Ok(((*source).to_owned(), rest.join(":"))),
        _ => Err(anonymous()),
    }
}

fn long(mount: Item<'_>) -> Result<(String, String), String> {
    let text = |key| mount.get(key).and_then(Item::text);
    match text("type") {
        Some("tmpfs") => {
            return Err("mounts in memory are not set here; write to a volume instead".to_owned());
        }
        Some("volume" | "bind") | None => {}
        Some(_) => return Err("only volumes and folders are mounted".to_owned()),
    }
    let source = ours(text("source").or_else(|| text("src")).ok_or_else(anonymous)?)?;
    let target = text("target").or_else(|| text("dst")).ok_or("the mount names no `target`")?;
    let only_read = mount.get("read_only").and_then(Item::text) == Some("true");
    Ok((source, format!("{}{}", ours(target)?, if only_read { ":ro" } else { "" })))
}

/// The engine's name of a volume, or an absolute path.
fn sourced(source: &str, names: &Names) -> Result<String, String> {
    if source.starts_with('~') {
        return Err("write the home folder out, as an absolute path".to_owned());
    }
    if source.starts_with('.') {
        return Ok(absolute(&names.folder, source));
    }
    Ok(if source.starts_with(['/', '$']) { source.to_owned() } else { names.volume(source) })
}

/// A path below a folder, without `.` and `..`.
pub(super) fn absolute(folder: &Path, path: &str) -> String {
    let joined = folder.join(path);
    let mut clean = PathBuf::new();
    for part in joined.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => clean.push(part),
        }
    }
    clean.to_string_lossy().into_owned()
}
