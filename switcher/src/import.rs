//! `switcher import`: configurations of other proxies become one of ours, and whatever does not come along is told.
//!
//! Every source is read into a [`tree`], in which what no importer takes becomes a [`Note`] by itself: nothing is lost by
//! being forgotten. The importers (`nginx`, `traefik`, `caddy`, `kamal`, `compose`) make [`site`]s of it; [`action`] is the one
//! place that says what does a feature here; [`mod@assemble`] makes applications of sites, and [`mod@settle`] makes sure that they
//! load. Pure, but for [`shelf`]. Called by `commands::import`.

pub mod action;
pub mod assemble;
pub mod nginx;
pub mod note;
pub mod settle;
pub mod sheet;
pub mod shelf;
pub mod site;
pub mod tree;
pub mod values;

pub use note::{Kind, Note};
pub use settle::{Settled, settle};
pub use shelf::Shelf;
pub use site::Imported;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::cli::MovedFrom;

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

/// Reads files of one source.
///
/// # Errors
/// When one of them cannot be read, or is not what it should be.
pub fn read(from: MovedFrom, files: &[PathBuf], shelf: &Shelf) -> Result<Imported, Unreadable> {
    match from {
        MovedFrom::Nginx => nginx::read(files, shelf),
    }
}
