//! Caddy: the Caddyfile's site blocks become sites; snippets and files that are imported stand where they are named.
//!
//! What no reader asks for is told by `advice`.

mod advice;
mod block;
mod files;
mod matcher;
mod proxied;
mod site;
mod snippet;
mod token;

use std::path::PathBuf;

use super::Unreadable;
use super::sheet::Entry;
use super::shelf::Shelf;
use super::site::Imported;
use super::tree::{Naming, Node, Place, untaken};

/// Reads Caddyfiles.
///
/// # Errors
/// When one cannot be read, or is not written in Caddy's syntax.
pub fn read(files: &[PathBuf], shelf: &Shelf) -> Result<Imported, Unreadable> {
    let mut imported = Imported::default();
    let mut nodes = Vec::new();
    for file in files {
        let shown = file.display().to_string();
        let text = shelf.text(file).map_err(|why| Unreadable::file(shown.clone(), why))?;
        let read = token::read(&shown, &defaults(&text))?;
        let folder = file.parent().map(PathBuf::from).unwrap_or_default();
        nodes.extend(snippet::expanded(sites_of(read), &folder, shelf, &mut imported.notes)?);
    }
    let place = Place { file: "caddy".into(), line: 0, until: 0 };
    let root = Node::new(place, "", Vec::new(), nodes);
    let globals = globals(&root, &mut imported);
    for node in root.children.iter().filter(|node| !node.name.is_empty()) {
        node.take();
        site::site(node, &globals, &mut imported);
    }
    imported.notes.extend(untaken(&root, Naming::Directives, &advice::advice));
    Ok(imported)
}

/// `{$NAME:default}` as its default; a name without one stays as it is, and is told where it matters.
fn defaults(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("{$") {
        out.push_str(&rest[..at]);
        let after = &rest[at..];
        let Some(end) = after.find('}') else { break };
        match after[2..end].split_once(':') {
            Some((_, default)) => out.push_str(default),
            None => out.push_str(&after[..=end]),
        }
        rest = &after[end + 1..];
    }
    out + rest
}

/// A file with a single site may leave its braces out: then the first line is its address.
fn sites_of(nodes: Vec<Node>) -> Vec<Node> {
    let bare = |node: &Node| node.children.is_empty() && !node.name.is_empty() && node.name != "import";
    let Some(first) = nodes.iter().position(|node| !node.name.is_empty() && !node.name.starts_with('('))
    else {
        return nodes;
    };
    let open = bare(&nodes[first]) && nodes.len() > first + 1;
    if !open {
        return nodes;
    }
    let mut nodes = nodes;
    let directives = nodes.split_off(first + 1);
    let Some(address) = nodes.pop() else { return directives };
    let words = address.seen().into_iter().map(str::to_owned).collect();
    nodes.push(Node::new(address.place.clone(), &address.name, words, directives));
    nodes
}

/// What the global options say.
#[derive(Debug, Clone)]
struct Globals {
    http: String,
    https: String,
    /// Whether certificates are ordered.
    authority: bool,
    /// Whether plain HTTP is sent on.
    redirect: bool,
}

fn globals(root: &Node, imported: &mut Imported) -> Globals {
    let mut globals =
        Globals { http: "80".to_owned(), https: "443".to_owned(), authority: true, redirect: true };
    for options in root.children.iter().filter(|node| node.name.is_empty()) {
        options.take();
        if let Some(port) = options.text("http_port") {
            port.clone_into(&mut globals.http);
        }
        if let Some(port) = options.text("https_port") {
            port.clone_into(&mut globals.https);
        }
        for (key, ours) in [("email", "email"), ("acme_ca", "directory")] {
            if let Some(node) = options.get(key)
                && let Some(text) = node.word(0)
            {
                imported.acme.push(Entry::text(ours, text).from(&node.place, node.shown()));
            }
        }
        for automatic in options.all("auto_https") {
            for word in automatic.words() {
                globals.authority &= word != "off" && word != "disable_certs";
                globals.redirect &= word != "off" && word != "disable_redirects";
            }
        }
        for name in
            ["admin", "debug", "persist_config", "grace_period", "shutdown_delay", "order", "storage", "log"]
        {
            for node in options.all(name) {
                imported.needless(name, &node.take_whole().place);
            }
        }
        if options.get("local_certs").is_some() {
            globals.authority = false;
        }
    }
    globals
}
