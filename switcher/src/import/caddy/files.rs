//! `file_server` with the `root` and `try_files` around it: the folder that is served, in our words. Pure.
//!
//! Invariant: no folder is served of which a part is run, or that something keeps people out of which cannot be said here.

use crate::import::action::{Action, Files, Later, Missing};
use crate::import::note::Note;
use crate::import::site::Imported;
use crate::import::tree::Node;

/// Directives that run what stands in a folder.
const RUN: [&str; 7] = ["php_fastcgi", "php_server", "php", "templates", "cgi", "exec", "frankenphp"];

/// Directives of plugins that let only some people in.
const GUARDS: [&str; 9] =
    ["authorize", "authenticate", "jwtauth", "jwt", "crowdsec", "appsec", "coraza_waf", "geoip", "import"];

/// What a `file_server` does; `skip` words are its matcher.
pub(super) fn served(server: &Node, skip: usize, site: &Node, imported: &mut Imported) -> Action {
    let mut around = vec![site];
    let _ = blocks_around(site, server, &mut around);
    let Some(root) = root(server, &around) else {
        let suggestion = "which folder it serves is not written, or not for every path alike; write `files: {root: FOLDER}` in a \
                          `middleware`";
        imported.notes.push(Note::left(&server.place, server.shown(), suggestion));
        return Action::Later(Later::Files("its folder".to_owned()));
    };
    if runs(site) {
        let suggestion = "a part of this site's files is run and not sent, so none of them is served here: their source would be shown; \
                          serve those that are safe by hand, from a folder that holds nothing else";
        imported.notes.push(Note::left(&server.place, server.shown(), suggestion));
        return Action::Later(Later::Files(root));
    }
    if let Some(guard) = guard(server, &around) {
        return Action::Later(Later::Guard(format!("`{guard}` of the files of {root}")));
    }
    let Some(missing) = missing(&around, imported) else { return Action::Later(Later::Files(root)) };
    for (index, word) in server.seen().into_iter().enumerate().skip(skip) {
        if word == "browse" {
            let _ = server.word(index);
            unlisted(server, imported);
        }
    }
    if let Some(browse) = server.peek("browse") {
        unlisted(browse.take_whole(), imported);
    }
    let index = server.get("index").map(Node::take_whole);
    let (place, shown) = index.map_or((&server.place, server.shown()), |index| (&index.place, index.shown()));
    if index.is_none_or(|index| index.seen() != ["index.html"]) {
        let suggestion =
            "of a folder `index.html` alone is looked for here; call the page so, or link to it by that name";
        imported.notes.push(Note::differs(place, shown, suggestion));
    }
    let precompressed = server.get("precompressed").map(Node::take_whole).is_some();
    Action::Files(Files { root, strip: None, missing, precompressed })
}

fn unlisted(node: &Node, imported: &mut Imported) {
    let suggestion = "what is in a folder is not listed here; write a page with the links";
    imported.notes.push(Note::left(&node.place, node.shown(), suggestion));
}

/// The blocks in each other that hold a directive; answers whether it is there.
fn blocks_around<'a>(block: &'a Node, wanted: &Node, around: &mut Vec<&'a Node>) -> bool {
    for child in &block.children {
        if std::ptr::eq(child, wanted) {
            return true;
        }
        around.push(child);
        if blocks_around(child, wanted, around) {
            return true;
        }
        around.pop();
    }
    false
}

/// The folder; none where it is not the same for every path, or stands nowhere.
fn root(server: &Node, around: &[&Node]) -> Option<String> {
    if let Some(own) = server.text("root") {
        return fixed(own);
    }
    let mut found = None;
    for block in around {
        for node in block.children.iter().filter(|child| child.name == "root") {
            found = match node.seen()[..] {
                [path] | ["*", path] => Some(path),
                _ => return None,
            };
        }
    }
    fixed(found?)
}

/// A folder that is known before a request comes.
fn fixed(path: &str) -> Option<String> {
    let bare = path.trim_end_matches('/');
    let whole = if bare.is_empty() { "/" } else { bare };
    (!path.is_empty() && !path.contains('{')).then(|| whole.to_owned())
}

fn runs(node: &Node) -> bool {
    RUN.contains(&node.name.as_str())
        || node.name == "transport" && node.seen().first() == Some(&"fastcgi")
        || node.children.iter().any(runs)
}

/// What keeps people out of a part of the files and cannot be said here. Names that begin with a dot are never served.
fn guard(server: &Node, around: &[&Node]) -> Option<String> {
    if let Some(hidden) = server.get("hide").map(Node::take_whole) {
        let dotted = |word: &&str| word.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
        if !hidden.seen().iter().all(dotted) {
            return Some(hidden.shown());
        }
    }
    let unknown = |node: &&Node| GUARDS.contains(&node.name.as_str()) || node.name.starts_with('{');
    around.iter().flat_map(|block| block.children.iter()).find(unknown).map(Node::shown)
}

/// What becomes of a path without a file; none when it cannot be said.
fn missing(around: &[&Node], imported: &mut Imported) -> Option<Missing> {
    let tried: Vec<&Node> = around
        .iter()
        .flat_map(|block| block.children.iter())
        .filter(|child| child.name == "try_files")
        .map(Node::take_whole)
        .collect();
    let tried = match tried.as_slice() {
        [] => return Some(Missing::NotFound),
        [one] if one.children.is_empty() => *one,
        _ => return None,
    };
    let words: Vec<String> =
        tried.seen().into_iter().map(|word| word.replace("{http.request.uri.path}", "{path}")).collect();
    let is_own = |word: &&String| word.starts_with("{path}");
    if words.first().is_none_or(|word| word != "{path}") {
        return None;
    }
    for word in words.iter().filter(is_own) {
        if !["{path}", "{path}/", "{path}/index.html"].contains(&word.as_str()) {
            let suggestion =
                format!("`{word}` is not looked for here, only the path itself and its `index.html`");
            imported.notes.push(Note::left(&tried.place, tried.shown(), suggestion));
        }
    }
    let others: Vec<&String> = words.iter().filter(|word| !is_own(word)).collect();
    let page = match others.as_slice() {
        [] => return Some(Missing::NotFound),
        [one] if words.last() == Some(*one) => *one,
        _ => return None,
    };
    if let Some(status) = page.strip_prefix('=') {
        if status != "404" {
            let suggestion = format!("what is not there is answered 404 here, and not {status}");
            imported.notes.push(Note::differs(&tried.place, tried.shown(), suggestion));
        }
        return Some(Missing::NotFound);
    }
    let page = page.split('?').next().unwrap_or(page);
    let plain = !page.contains(['{', '*']) && !page.ends_with('/') && !page.is_empty();
    plain.then(|| Missing::Page(format!("/{}", page.trim_start_matches('/'))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::caddy::token::read;

    #[test]
    fn what_is_not_there_is_one_page_or_404() {
        for (tried, wanted) in [
            ("", Some(Missing::NotFound)),
            ("try_files {path} /index.html", Some(Missing::Page("/index.html".to_owned()))),
            ("try_files {path} {path}/ index.html?x={query}", Some(Missing::Page("/index.html".to_owned()))),
            ("try_files {path} {path}.html =404", Some(Missing::NotFound)),
            ("try_files {path} /a.html /b.html", None),
            ("try_files /maintenance.html {path}", None),
            ("try_files {path} /{env.PAGE}", None),
            ("try_files {path} /a\ntry_files {path} /b", None),
        ] {
            let nodes = read("c", &format!("site {{\n{tried}\n}}\n")).expect("good");
            assert_eq!(missing(&[&nodes[0]], &mut Imported::default()), wanted, "{tried}");
        }
    }

    #[test]
    fn what_is_hidden_closes_unless_it_is_never_served() {
        for (inside, guard_of) in
            [("hide .git .env", None), ("hide *.php", Some("hide *.php")), ("hide /srv/site/.git", None)]
        {
            let nodes = read("c", &format!("file_server {{\n{inside}\n}}\n")).expect("good");
            assert_eq!(guard(&nodes[0], &[]).as_deref(), guard_of, "{inside}");
        }
    }
}
