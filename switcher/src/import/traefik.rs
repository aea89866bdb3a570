//! Traefik: its static file, files of the file provider (YAML and TOML), and the labels and flags of a Compose file.
//!
//! Routers become routes of sites, services their upstreams, middlewares what is done on the way. What no reader asks for is
//! told by `advice`.

mod advice;
mod label;
mod middleware;
mod order;
mod router;
mod rule;
mod service;
mod statics;
mod tcp;

use std::path::PathBuf;

use super::Unreadable;
use super::data;
use super::shelf::Shelf;
use super::site::Imported;
use super::tree::{Naming, Node, Place, untaken};
use super::variables::{self, Variables};

/// Everything that the files say, under one root: a section may stand there several times.
pub(super) struct Source {
    root: Node,
}

impl Source {
    /// What stands below a path of sections, in all files.
    fn below<'a>(&'a self, path: &[&'a str]) -> Vec<&'a Node> {
        let mut found = vec![&self.root];
        for name in path {
            found = found.into_iter().flat_map(|node| node.all(name)).collect();
        }
        found
    }

    /// The entries of a section, in all files.
    fn entries<'a>(&'a self, path: &[&'a str]) -> Vec<&'a Node> {
        self.below(path).into_iter().flat_map(|node| node.children.iter()).collect()
    }

    /// The entry of a section by its name, which may say its provider: `auth@file`.
    fn entry<'a>(&'a self, path: &[&'a str], name: &str) -> Option<&'a Node> {
        let name = name.split('@').next().unwrap_or(name);
        self.entries(path).into_iter().find(|entry| entry.name.eq_ignore_ascii_case(name)).map(Node::take)
    }
}

/// Reads Traefik's files.
///
/// # Errors
/// When one cannot be read, or is neither YAML nor TOML.
pub fn read(files: &[PathBuf], shelf: &Shelf) -> Result<Imported, Unreadable> {
    let mut imported = Imported::default();
    let mut nodes = Vec::new();
    for file in files {
        let read = data::file(file, shelf, variables::template, &mut imported.notes)?;
        if read.iter().any(|node| node.name == "services") && read.iter().all(|node| node.name != "http") {
            label::labels(read, &Variables::beside(file, shelf), &mut nodes, &mut imported);
        } else {
            nodes.extend(read);
        }
    }
    let place = Place { file: "traefik".into(), line: 0, until: 0 };
    let source = Source { root: Node::new(place, "", Vec::new(), nodes) };
    let mut doors = statics::doors(&source, &mut imported);
    tcp::routers(&source, &mut doors, &mut imported);
    router::sites(&source, &doors, &mut imported);
    statics::rest(&source, &mut imported);
    imported.notes.extend(untaken(&source.root, Naming::Keys, &advice::advice));
    Ok(imported)
}

/// Words that may stand in one text with commas between them, as labels have them.
fn words(node: &Node) -> Vec<&str> {
    parts(node.words())
}

/// The same, looked at without being taken.
fn words_seen(node: &Node) -> Vec<String> {
    parts(node.seen()).into_iter().map(str::to_owned).collect()
}

fn parts(words: Vec<&str>) -> Vec<&str> {
    words
        .into_iter()
        .flat_map(|word| word.split(','))
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect()
}

/// Whether a key says yes.
fn yes(node: &Node, key: &str) -> bool {
    node.text(key).is_some_and(|text| text.eq_ignore_ascii_case("true"))
}
