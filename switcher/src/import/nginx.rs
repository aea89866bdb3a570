//! nginx: `server` blocks become sites, or applications of raw TCP in `stream`, locations become routes; files are included as nginx includes them.
//!
//! Directives are inherited as nginx does it (`scope`), `proxy_pass` keeps the meaning of its path, and what no reader asks
//! for is told by `advice`.

mod advice;
mod asked;
mod files;
mod location;
mod mirror;
mod rule;
mod scope;
mod server;
mod stream;
mod token;
mod upstream;

use std::path::{Path, PathBuf};

use super::Unreadable;
use super::note::Note;
use super::shelf::Shelf;
use super::site::Imported;
use super::tree::{Naming, Node, Place, untaken};

/// Reads nginx's files; each may be a whole configuration or a part of one.
///
/// # Errors
/// When one cannot be read, or is not written in nginx's syntax.
pub fn read(files: &[PathBuf], shelf: &Shelf) -> Result<Imported, Unreadable> {
    let mut imported = Imported::default();
    let mut nodes = Vec::new();
    let mut place = Place { file: "nginx".into(), line: 0, until: 0 };
    for file in files {
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let mut reader = token::Reader { shelf, folder, notes: Vec::new(), nodes: 0 };
        nodes.append(&mut reader.file(file, 0)?);
        imported.notes.append(&mut reader.notes);
        place.file = file.display().to_string().into();
    }
    let root = Node::new(place, "", Vec::new(), nodes);
    servers(&root, &mut imported);
    root.all("stream").for_each(|stream| stream::servers(stream, &mut imported));
    needless(&root, &mut imported);
    imported.notes.extend(untaken(&root, Naming::Directives, &advice::advice));
    Ok(imported)
}

fn servers(root: &Node, imported: &mut Imported) {
    let mut levels = vec![root];
    levels.extend(root.all("http"));
    let mut sites = Vec::new();
    let mut insecure = Vec::new();
    for level in &levels {
        let above: Vec<&Node> = if std::ptr::eq(*level, root) { vec![root] } else { vec![root, level] };
        for server in level.all("server") {
            match server::site(server, &above, &levels, imported) {
                server::Made::Site(site) => sites.push(*site),
                server::Made::Https(hosts) => insecure.push(hosts),
            }
        }
    }
    for sent in insecure {
        server::secure(&mut sites, sent, imported);
    }
    server::settle_tls(&mut sites);
    imported.sites = sites;
}

/// What needs nothing here, wherever it stands.
fn needless(node: &Node, imported: &mut Imported) {
    for child in &node.children {
        // WebSockets are passed on without being asked for.
        let upgrade = child.name == "map" && child.seen().first() == Some(&"$http_upgrade");
        let modern =
            child.name == "ssl_protocols" && child.seen().iter().all(|v| ["TLSv1.2", "TLSv1.3"].contains(v));
        if !child.is_taken() && (upgrade || modern || advice::NEEDLESS.contains(&child.name.as_str())) {
            imported.needless(&child.name, &child.take_whole().place);
        }
        if child.is_taken() {
            needless(child, imported);
        }
    }
}

/// A note that nothing is done about a server's place.
fn differs(imported: &mut Imported, node: &Node, suggestion: &str) {
    imported.notes.push(Note::differs(&node.place, node.shown(), suggestion));
}
