//! The error and maintenance pages that are held in memory, by file.
//!
//! Invariant: a request never waits for a disk. A file is read when the configuration is, and again after it changed and
//! has been left alone from one look to the next; one that vanishes or grows too large is said once, and its last good copy
//! goes on. `compose` and `reload` bring the files, the gateway asks by file.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use switcher_config::pages::{UnreadablePage, files, read};
use switcher_config::settings::Settings;

use crate::page::Page;

/// What tells one state of a file from another: its inode, its time of change in nanoseconds, its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, i64, i64, u64);

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let meta = std::fs::metadata(file).ok()?;
        Some(Self(meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()))
    }
}

/// A page and the state of its file when it was read.
#[derive(Debug, Clone)]
struct Copy {
    page: Arc<Page>,
    of: Option<Stamp>,
    /// The last state seen that was not read, and whether it was looked at twice.
    pending: Option<Option<Stamp>>,
    /// A problem with the file has been said.
    said: bool,
}

/// Pages that were just read, not yet shown.
#[derive(Debug, Default)]
pub struct Fresh(BTreeMap<PathBuf, Copy>);

impl Fresh {
    /// Reads every page that the settings name.
    ///
    /// # Errors
    /// A line for each that cannot be read.
    pub fn read(settings: &Settings) -> Result<Self, String> {
        let (mut pages, mut problems) = (BTreeMap::new(), Vec::new());
        for file in files(settings) {
            match copy(file) {
                Ok(copy) => drop(pages.insert(file.to_owned(), copy)),
                Err(error) => problems.push(format!("the page {error}")),
            }
        }
        if problems.is_empty() { Ok(Self(pages)) } else { Err(problems.join("\n")) }
    }
}

fn copy(file: &Path) -> Result<Copy, UnreadablePage> {
    // Before it is read: what changes meanwhile is seen at the next look.
    let of = Stamp::of(file);
    let page = Arc::new(Page::new(file, read(file)?));
    Ok(Copy { page, of, pending: None, said: false })
}

/// Every page there is.
#[derive(Debug, Default)]
pub struct Pages {
    shown: ArcSwap<HashMap<PathBuf, Arc<Page>>>,
    copies: Mutex<BTreeMap<PathBuf, Copy>>,
}

impl Pages {
    /// The page of a file that the settings in force name.
    #[must_use]
    pub fn get(&self, file: &Path) -> Option<Arc<Page>> {
        self.shown.load().get(file).map(Arc::clone)
    }

    /// Takes pages in, beside those that settings still in force may name.
    pub fn add(&self, fresh: Fresh) {
        let mut copies = self.copies.lock();
        copies.extend(fresh.0);
        self.show(&copies);
    }

    /// Forgets what these settings do not name.
    pub fn keep(&self, settings: &Settings) {
        let mut copies = self.copies.lock();
        let named = files(settings);
        copies.retain(|file, _| named.contains(&file.as_path()));
        self.show(&copies);
    }

    fn show(&self, copies: &BTreeMap<PathBuf, Copy>) {
        self.shown.store(Arc::new(copies.iter().map(|(f, c)| (f.clone(), Arc::clone(&c.page))).collect()));
    }

    /// Looks for changed files, for ever.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            if self.shown.load().is_empty() {
                continue;
            }
            let pages = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || pages.look()).await {
                tracing::warn!(%error, "looking for changed pages failed; the next look follows");
            }
        }
    }

    fn look(&self) {
        let mut copies = self.copies.lock();
        let mut changed = false;
        for (file, copy) in copies.iter_mut() {
            changed |= look_at(file, copy);
        }
        if changed {
            self.show(&copies);
        }
    }
}

/// Whether a file's page was replaced.
fn look_at(file: &Path, known: &mut Copy) -> bool {
    let now = Stamp::of(file);
    if now == known.of {
        known.pending = None;
        return false;
    }
    // Somebody may be in the middle of writing it.
    if known.pending.replace(now) != Some(now) {
        return false;
    }
    match copy(file) {
        Ok(fresh) => {
            tracing::info!(file = %file.display(), "a page was read again");
            *known = fresh;
            true
        }
        Err(error) => {
            if !std::mem::replace(&mut known.said, true) {
                tracing::warn!("the page {error}; its last good copy goes on");
            }
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use switcher_config::durable::{Durability, replace};
    use switcher_config::settings::ErrorPage;

    use super::*;
    use crate::testing;

    fn write(file: &Path, text: &str) {
        replace(file, text.as_bytes(), 0o644, Durability::Synced).expect("a written page");
    }

    fn naming(file: &Path) -> Settings {
        let mut app = testing::app_settings("127.0.0.1:1", "127.0.0.1:2");
        app.error_pages = vec![ErrorPage { low: 502, high: 504, file: file.to_owned() }];
        testing::settings(vec![("shop", app)])
    }

    fn shown(pages: &Pages, file: &Path) -> Arc<Page> {
        pages.get(file).expect("a page")
    }

    #[test]
    fn a_changed_file_is_read_again_once_it_is_left_alone_and_a_lost_one_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("sorry.html");
        write(&file, "first");
        let settings = naming(&file);
        let pages = Pages::default();
        pages.add(Fresh::read(&settings).expect("pages"));
        let first = shown(&pages, &file);
        write(&file, "the second");
        pages.look();
        assert_eq!(shown(&pages, &file), first, "it may still be written");
        pages.look();
        assert_eq!(*shown(&pages, &file), Page::new(&file, "the second"));
        std::fs::remove_file(&file).expect("removed");
        for _ in 0..3 {
            pages.look();
            assert_eq!(*shown(&pages, &file), Page::new(&file, "the second"));
        }
        assert!(pages.copies.lock()[&file].said);
        write(&file, "back");
        pages.look();
        pages.look();
        assert_eq!(*shown(&pages, &file), Page::new(&file, "back"));
        assert!(!pages.copies.lock()[&file].said);
    }

    #[test]
    fn what_no_settings_name_is_forgotten_and_what_cannot_be_read_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("sorry.html");
        let why = Fresh::read(&naming(&file)).expect_err("missing");
        assert!(why.contains("sorry.html is not there"), "{why}");
        write(&file, &"x".repeat((1 << 20) + 1));
        let why = Fresh::read(&naming(&file)).expect_err("too large");
        assert!(why.contains("larger than 1 MiB"), "{why}");
        write(&file, &"x".repeat(1 << 20));
        let pages = Pages::default();
        pages.add(Fresh::read(&naming(&file)).expect("as large as it may be"));
        pages.keep(&naming(&folder.path().join("other.html")));
        assert!(pages.get(&file).is_none());
    }
}
