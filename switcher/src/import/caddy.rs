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

use std::path::{Path, PathBuf};

use super::Unreadable;
use super::note::Note;
use super::sheet::{Entry, list};
use super::shelf::Shelf;
use super::site::Imported;
use super::tree::{Naming, Node, Place, untaken};
use super::variables::{self, Variables};

/// Reads Caddyfiles.
///
/// # Errors
/// When one cannot be read, or is not written in Caddy's syntax.
pub fn read(files: &[PathBuf], shelf: &Shelf) -> Result<Imported, Unreadable> {
    let mut imported = Imported::default();
    let mut nodes = Vec::new();
    for file in files {
        let read = lines(file, shelf, &mut imported.notes)?;
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

/// The lines of a file, with the names in it filled in.
fn lines(file: &Path, shelf: &Shelf, notes: &mut Vec<Note>) -> Result<Vec<Node>, Unreadable> {
    let shown = file.display().to_string();
    let text = shelf.text(file).map_err(|why| Unreadable::file(shown.clone(), why))?;
    token::read(&shown, &Variables::beside(file, shelf).fill(&text, &shown, variables::caddy, notes))
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
        options.all("servers").for_each(|servers| in_front(servers, imported));
    }
    globals
}

/// The proxies in front, whose word on the client is taken. Ours take it from the right as `trusted_proxies_strict` does.
fn in_front(servers: &Node, imported: &mut Imported) {
    let Some(trusted) = servers.peek("trusted_proxies") else { return };
    // Servers with an address are one of several, and other modules ask somebody for the networks.
    let ["static", ..] = trusted.seen()[..] else { return };
    if !servers.seen().is_empty() {
        return;
    }
    let networks = matcher::networks(&trusted.take().words()[1..]);
    imported
        .proxy
        .push(Entry::line("trusted_proxies", list(&networks)).from(&trusted.place, trusted.shown()));
    if let Some(strict) = servers.get("trusted_proxies_strict") {
        imported.needless("trusted_proxies_strict", &strict.place);
    }
    if let Some(headers) = servers.peek("client_ip_headers")
        && let [name] = headers.seen()[..]
    {
        headers.take_whole();
        if name.eq_ignore_ascii_case("x-forwarded-for") {
            imported.needless("client_ip_headers", &headers.place);
        } else {
            let entry = Entry::text("client_ip_header", name).from(&headers.place, headers.shown());
            imported.proxy.push(entry);
        }
    }
}
