//! Compose: what `init` makes of a file, as an import: its services with their images become applications with `deploy`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::note::{Kind, Note};
use super::settle::Settled;
use super::shelf::Shelf;
use super::{Failed, Unreadable};
use crate::init::compose::{self, Unreadable as Bad};
use crate::init::draft::{Wishes, draft};
use crate::init::kind::sort;
use crate::init::settle::settle;

/// Makes a configuration of a Compose file.
///
/// # Errors
/// When it cannot be read, or nothing of it loads. Several files are first put together by Compose itself.
pub fn settled(files: &[PathBuf], shelf: &Shelf, folder: &Path) -> Result<Settled, Failed> {
    let [file] = files else {
        let shown = files.get(1).map(|file| file.display().to_string()).unwrap_or_default();
        let message = "is a second file; put them together with `docker compose config > whole.yaml` first";
        return Err(Failed::Unreadable(Unreadable::file(shown, message)));
    };
    let shown = file.display().to_string();
    let unreadable = |message: String| Failed::Unreadable(Unreadable::file(shown.clone(), message));
    let text = shelf.text(file).map_err(unreadable)?;
    let place = shelf.place(file);
    let inside =
        place.parent().and_then(|folder| folder.canonicalize().ok()).unwrap_or_else(|| folder.to_owned());
    let stack = compose::read(&shown, &inside, &text).map_err(|bad| match bad {
        Bad::Other(why, _) => Failed::Unreadable(Unreadable::file(shown.clone(), why)),
        Bad::Bad(report) => {
            let first = report.problems.first();
            Failed::Unreadable(Unreadable {
                file: shown.clone(),
                line: first.and_then(|problem| problem.line),
                column: first.and_then(|problem| problem.column),
                message: first.map_or_else(|| "is no YAML".to_owned(), |problem| problem.message.clone()),
            })
        }
    })?;
    let wishes = Wishes { folder: folder.to_owned(), ..Wishes::default() };
    let made = settle(draft(Some(&shown), &sort(stack, None), &wishes))
        .map_err(|error| Failed::Unsettled(error, Vec::new()))?;
    let file: Arc<str> = shown.into();
    let notes = made.leftovers.into_iter().map(|left| Note {
        file: Arc::clone(&file),
        line: left.line,
        until: left.line,
        kind: Kind::NotCarriedOver,
        what: left.what,
        suggestion: left.advice,
    });
    Ok(Settled {
        text: made.text.replace("`switcher init`", "`switcher import`"),
        loaded: made.loaded,
        notes: notes.collect(),
        needless: Vec::new(),
        files: Vec::new(),
    })
}
