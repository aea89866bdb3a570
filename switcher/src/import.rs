//! `switcher import`: configurations of other proxies become one of ours, and whatever does not come along is told.
//!
//! Every source is read into a [`tree`], in which what no importer takes becomes a [`Note`] by itself: nothing is lost by
//! being forgotten. The importers (`nginx`, `traefik`, `caddy`, `kamal`, `compose`) make [`site`]s of it; [`action`] is the one
//! place that says what does a feature here; [`mod@assemble`] makes applications of sites, [`folder`] looks at
//! the folders that they serve, and [`mod@settle`] makes sure that they load. Pure, but for [`shelf`]. Called by `commands::import`.

pub mod action;
pub mod assemble;
pub mod caddy;
pub mod compose;
pub mod data;
pub mod doors;
pub mod folder;
pub mod kamal;
pub mod nginx;
pub mod note;
pub mod raw;
pub mod settle;
pub mod sheet;
pub mod shelf;
pub mod site;
pub mod target;
pub mod traefik;
pub mod tree;
pub mod values;
pub mod variables;
pub mod wants;

pub use note::{Kind, Note};
pub use settle::{Settled, settle};
pub use shelf::Shelf;
pub use site::Imported;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::cli::MovedFrom;
use crate::init::settle::Unsettled;

/// Why a source cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {message}", place(*.line, *.column))]
pub struct Unreadable {
    /// The file, as it was named.
    pub file: String,
    /// The line, where it is known.
    pub line: Option<usize>,
    /// The column, where it is known.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
}

fn place(line: Option<usize>, column: Option<usize>) -> String {
    [line, column].iter().flatten().map(|number| format!(":{number}")).collect()
}

impl Unreadable {
    /// A whole file that cannot be read.
    pub fn file(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self { file: file.into(), line: None, column: None, message: message.into() }
    }
}

/// Why nothing comes of an import.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// A source cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Nothing of it loads; with what was noticed.
    #[error("{0}")]
    Unsettled(Unsettled, Vec<Note>),
}

/// Makes a configuration that loads of files of one source. `folder` is where it will stand.
///
/// # Errors
/// When one of them cannot be read, or nothing of it loads.
pub fn take_over(
    from: MovedFrom,
    files: &[PathBuf],
    shelf: &Shelf,
    folder: &Path,
) -> Result<Settled, Failed> {
    let mut imported = match from {
        MovedFrom::Traefik => traefik::read(files, shelf)?,
        MovedFrom::Nginx => nginx::read(files, shelf)?,
        MovedFrom::Caddy => caddy::read(files, shelf)?,
        MovedFrom::Kamal => kamal::read(files, shelf)?,
        MovedFrom::Compose => return compose::settled(files, shelf, folder),
    };
    folder::settle(&mut imported, files, shelf, folder);
    let shown: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    settle(imported, &format!("{from} ({})", shown.join(", ")))
}
