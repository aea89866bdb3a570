//! The files of error and maintenance pages: how one is read, and whether all that a configuration names can be.
//!
//! Invariant: nothing that is no ordinary file of bounded size is read. The proxy reads pages by [`read`]; whoever checks
//! a configuration calls
//! [`Loaded::check_pages`], which tells each bad file by its key and line.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::load::Loaded;
use crate::node::Node;
use crate::problem::{Quotes, Report};
use crate::reader::{Reader, shown};
use crate::settings::Settings;

/// The most bytes of a page.
pub const LARGEST: u64 = 1 << 20;

/// Why a page cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {why}; {fix}", file.display())]
pub struct UnreadablePage {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, as the end of a sentence that begins with its name.
    pub why: String,
    /// What to do about it.
    pub fix: &'static str,
}

/// Reads a page.
///
/// # Errors
/// When it is missing, no ordinary file, too large, or may not be read.
pub fn read(file: &Path) -> Result<Vec<u8>, UnreadablePage> {
    let wrong = |why: &str, fix| UnreadablePage { file: file.to_owned(), why: why.to_owned(), fix };
    let told = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            wrong("is not there", "write the page, or name another file")
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            wrong("may not be read", "let the proxy's user read it, and enter its folders")
        } else {
            wrong(&format!("cannot be read: {error}"), "name a file that can")
        }
    };
    // Looked at before it is opened: opening a pipe would wait for its writer.
    if !std::fs::metadata(file).map_err(told)?.is_file() {
        return Err(wrong("is no ordinary file", "name a file with the page in it"));
    }
    let mut page = Vec::new();
    File::open(file).and_then(|open| open.take(LARGEST + 1).read_to_end(&mut page)).map_err(told)?;
    if page.len() as u64 > LARGEST {
        return Err(wrong("is larger than 1 MiB", "make it smaller: pages are held in memory"));
    }
    Ok(page)
}

/// Every file of a page that the settings name, each once.
#[must_use]
pub fn files(settings: &Settings) -> Vec<&Path> {
    let of_apps = settings.apps.values().flat_map(|app| app.error_pages.iter().map(|page| &page.file));
    let maintenance = settings.apps.values().filter_map(|app| app.maintenance.page.as_ref());
    let all = settings.proxy.error_pages.iter().map(|page| &page.file).chain(of_apps).chain(maintenance);
    let mut all: Vec<&Path> = all.map(PathBuf::as_path).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Tells every page that cannot be read.
pub(crate) fn check(loaded: &Loaded, root: &Node) -> Result<(), Report> {
    let mut reader = Reader::default();
    if let Some(proxy) = root.get("proxy") {
        reader.under("proxy", |reader| named(proxy, loaded.folder(), reader));
    }
    for (key, app) in root.get("apps").map_or(&[][..], Node::entries) {
        reader.under(&format!("apps.{}", key.text), |reader| {
            named(app, loaded.folder(), reader);
            let maintenance = app.get("maintenance").and_then(|section| section.given("page"));
            if let Some(node) = maintenance {
                reader.under("maintenance.page", |reader| one(node, loaded.folder(), reader));
            }
        });
    }
    let problems = reader.into_problems();
    if problems.is_empty() { Ok(()) } else { Err(Report::new(problems, None, Quotes::default())) }
}

/// The pages under `error_pages` of a section.
fn named(section: &Node, folder: &Path, reader: &mut Reader) {
    for (key, node) in section.get("error_pages").map_or(&[][..], Node::entries) {
        reader.under(&format!("error_pages.{}", key.text), |reader| one(node, folder, reader));
    }
}

fn one(node: &Node, folder: &Path, reader: &mut Reader) {
    let Some(text) = reader.text(node, "`pages/sorry.html`") else { return };
    let file = folder.join(text);
    if let Err(UnreadablePage { why, fix, .. }) = read(&file) {
        reader.wrong(node, format!("{} {why}", shown(node, &file.to_string_lossy())), fix);
    }
}
