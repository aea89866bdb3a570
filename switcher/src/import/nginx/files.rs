//! `root`, `alias`, `index` and `try_files`: the folder that a location serves, in our words. Pure.
//!
//! Invariant: no folder is served of which nginx runs a part, or that something keeps people out of which cannot be said here.

use super::location::Around;
use super::scope::Scope;
use crate::import::action::{Action, Files, Later, Missing};
use crate::import::note::Note;
use crate::import::site::Imported;
use crate::import::target::Held;
use crate::import::tree::Node;

/// Handlers that are no files.
const OTHERS: [&str; 13] = [
    "fastcgi_pass",
    "uwsgi_pass",
    "scgi_pass",
    "memcached_pass",
    "empty_gif",
    "stub_status",
    "proxy_pass",
    "grpc_pass",
    "perl",
    "js_content",
    "content_by_lua",
    "content_by_lua_block",
    "content_by_lua_file",
];

/// Those that run what stands in a folder.
const RUN: [&str; 8] = [
    "fastcgi_pass",
    "uwsgi_pass",
    "scgi_pass",
    "perl",
    "js_content",
    "content_by_lua",
    "content_by_lua_block",
    "content_by_lua_file",
];

/// Whether a location of a server answers by itself in another way than with files.
pub(super) fn is_other(node: &Node) -> bool {
    OTHERS.iter().any(|name| node.peek(name).is_some())
}

/// What a location does with the files of its folder; none where it has none. `application`: what is not there is asked of one.
pub(super) fn files(
    node: &Node,
    scope: &Scope<'_>,
    around: &Around<'_>,
    held: &Held,
    application: bool,
    imported: &mut Imported,
) -> Option<Action> {
    if RUN.iter().any(|name| node.peek(name).is_some()) || !application && is_other(node) {
        return None;
    }
    let alias = node.get("alias").and_then(|alias| alias.word(0));
    let root = scope.text("root");
    let folder = alias.or(root)?;
    let tried = node.get("try_files").map(Node::take_whole);
    if node.get("internal").is_some() {
        // Only nginx itself leads there.
        return Some(Action::Answer { status: 404, body: String::new(), content_type: None });
    }
    let left = || Some(Action::Later(Later::Files(folder.to_owned())));
    if around.server_runs() {
        let suggestion = "a part of this server's files is run and not sent, so none of them is served here: their source would be \
                          shown; serve those that are safe by hand, from a folder that holds nothing else";
        imported.notes.push(Note::left(&node.place, node.shown(), suggestion));
        return left();
    }
    if let Some(guard) = guarded(node, scope, around) {
        let what = format!("`{guard}` before the files of {folder}");
        return if application { left() } else { Some(Action::Later(Later::Guard(what))) };
    }
    // What lies at the same path in another folder was never shown either.
    let unsaid = || match held {
        Held::Prefix(path) if path != "/" && !application => {
            let what = format!("what the files of {folder} are found by");
            Some(Action::Later(Later::Guard(what)))
        }
        Held::Prefix(_) | Held::Exact(_) | Held::Pattern(_) => left(),
    };
    let Some((root, strip)) = place(folder, alias.is_some(), held) else { return unsaid() };
    let own = Folder { node, alias: alias.is_some(), folder, strip: strip.as_deref(), application };
    let missing = match tried {
        None if application => return None,
        None => Missing::NotFound,
        Some(tried) => match own.missing(tried, around, imported) {
            Some(missing) => missing,
            None => return unsaid(),
        },
    };
    told(node, scope, imported);
    let precompressed = ["gzip_static", "brotli_static"]
        .iter()
        .any(|name| scope.text(name).is_some_and(|text| text != "off"));
    Some(Action::Files(Files { root, strip, missing, precompressed }))
}

/// The folder, and what of the path stands for it; none when that cannot be said.
fn place(folder: &str, alias: bool, held: &Held) -> Option<(String, Option<String>)> {
    if folder.contains('$') || folder.is_empty() {
        return None;
    }
    let whole = |text: &str| if text.is_empty() { "/".to_owned() } else { text.to_owned() };
    let bare = folder.trim_end_matches('/');
    if !alias {
        return Some((whole(bare), None));
    }
    match held {
        // What follows the path is put behind the folder as it is, so `/a` and `/b/` differ from `/a/` and `/b/`.
        Held::Prefix(path) if !path.ends_with('/') || folder.ends_with('/') => {
            let strip = path.trim_end_matches('/');
            Some((whole(bare), (!strip.is_empty()).then(|| strip.to_owned())))
        }
        // A single file, by its own name.
        Held::Exact(path) => {
            let (above, name) = path.rsplit_once('/')?;
            let (root, file) = folder.rsplit_once('/')?;
            (name == file && !name.is_empty())
                .then(|| (whole(root), (!above.is_empty()).then(|| above.to_owned())))
        }
        Held::Prefix(_) | Held::Pattern(_) => None,
    }
}

/// A location with its folder.
struct Folder<'a> {
    node: &'a Node,
    alias: bool,
    folder: &'a str,
    strip: Option<&'a str>,
    application: bool,
}

impl Folder<'_> {
    /// What `try_files` does with what is not there; none when it cannot be said.
    fn missing(&self, tried: &Node, around: &Around<'_>, imported: &mut Imported) -> Option<Missing> {
        let words = tried.seen();
        let (last, names) = words.split_last()?;
        if !names.contains(&"$uri") {
            return None;
        }
        for name in names.iter().filter(|name| !["$uri", "$uri/", "$uri/index.html"].contains(name)) {
            let suggestion =
                format!("`{name}` is not looked for here, only the path itself and its `index.html`");
            imported.notes.push(Note::left(&tried.place, tried.shown(), suggestion));
        }
        if !names.iter().any(|name| ["$uri/", "$uri/index.html"].contains(name)) {
            let suggestion = "a folder is answered with its `index.html` here, and sent on to it where the slash behind its name is \
                              missing";
            imported.notes.push(Note::differs(&tried.place, tried.shown(), suggestion));
        }
        match (last.strip_prefix('='), last.starts_with('@')) {
            (Some("404"), _) => Some(Missing::NotFound),
            (Some(status), _) => {
                let suggestion = format!("what is not there is answered 404 here, and not {status}");
                imported.notes.push(Note::differs(&tried.place, tried.shown(), suggestion));
                Some(Missing::NotFound)
            }
            (None, true) => self.application.then_some(Missing::Application),
            (None, false) => self.page(last, tried, around, imported),
        }
    }

    /// The page that is answered for everything that is not there, where it is one of the same folder.
    fn page(
        &self,
        target: &str,
        tried: &Node,
        around: &Around<'_>,
        imported: &mut Imported,
    ) -> Option<Missing> {
        let page = target.split('?').next().unwrap_or(target);
        if page.contains('$') || !page.starts_with('/') || page.ends_with('/') {
            return None;
        }
        let serves = leads_to(around.server, page);
        if let Some(other) = serves.filter(|other| !std::ptr::eq(*other, self.node)) {
            let guards = ["deny", "auth_basic", "auth_request", "return", "alias"];
            let root = other.peek("root").map(Node::seen);
            let elsewhere = root.is_some_and(|root| root != [self.folder])
                || is_other(other)
                || guards.iter().any(|name| other.peek(name).is_some());
            if elsewhere || self.alias {
                return None;
            }
            if other.peek("add_header").is_some() {
                let suggestion = format!(
                    "what `{}` adds to {page} is not added where it stands for another path",
                    other.shown()
                );
                imported.notes.push(Note::differs(&tried.place, tried.shown(), suggestion));
            }
        }
        let below = match self.strip {
            Some(strip) => page.strip_prefix(strip).filter(|rest| rest.starts_with('/'))?,
            None => page,
        };
        Some(Missing::Page(below.to_owned()))
    }
}

/// The location of a path, as far as it is told by whole paths and beginnings.
fn leads_to<'a>(server: &'a Node, path: &str) -> Option<&'a Node> {
    let locations = || server.children.iter().filter(|child| child.name == "location");
    let exact = locations().find(|location| location.seen() == ["=", path]);
    let prefix = |location: &&Node| match location.seen()[..] {
        [prefix] | ["^~", prefix] => path.starts_with(prefix),
        _ => false,
    };
    exact.or_else(|| {
        locations().filter(prefix).max_by_key(|location| location.seen().last().map_or(0, |p| p.len()))
    })
}

/// What else is told of a folder.
fn told(node: &Node, scope: &Scope<'_>, imported: &mut Imported) {
    if let Some(index) = scope.one("index") {
        index.take_whole();
        if index.seen() != ["index.html"] {
            let suggestion = "of a folder `index.html` alone is looked for here; call the page so, or link to it by that name";
            imported.notes.push(Note::differs(&index.place, index.shown(), suggestion));
        }
    }
    if let Some(listing) = scope.one("autoindex")
        && listing.word(0) == Some("on")
    {
        let suggestion = "what is in a folder is not listed here; write a page with the links";
        imported.notes.push(Note::left(&listing.place, listing.shown(), suggestion));
    }
    for name in ["default_type", "types"] {
        if let Some(own) = node.peek(name) {
            let suggestion = "media types follow from the ends of names here, and from nothing else";
            imported.notes.push(Note::differs(&own.take_whole().place, name, suggestion));
        }
    }
}

/// What keeps people out of the files of a server and cannot be said here.
fn guarded(node: &Node, scope: &Scope<'_>, around: &Around<'_>) -> Option<String> {
    let levels = around.root.iter().copied().chain([around.server, node, scope.inner()]);
    let found = levels.flat_map(|level| level.children.iter()).find(|child| is_guard(child));
    let hidden =
        || locations(around.server).into_iter().find(|(depth, location)| is_unsaid(*depth, location));
    found.map(Node::shown).or_else(|| hidden().map(|(_, location)| location.shown()))
}

/// Whether a directive may keep somebody out in a way that is not known here.
fn is_guard(node: &Node) -> bool {
    const KNOWN: [&str; 6] =
        ["auth_basic", "auth_basic_user_file", "auth_request", "auth_request_set", "auth_delay", "auth_http"];
    let name = node.name.as_str();
    match name {
        // A file that is not here may hold anything.
        "include" => true,
        // Files are only read, whatever the method.
        "if" => !node.seen().join(" ").contains("$request_method") && refuses(node),
        "limit_except" => !node.seen().contains(&"GET"),
        _ => {
            name.starts_with("auth_") && !KNOWN.contains(&name)
                || ["access_by_", "rewrite_by_", "secure_link", "modsecurity"]
                    .iter()
                    .any(|start| name.starts_with(start))
        }
    }
}

/// Whether an answer in it turns somebody away.
fn refuses(node: &Node) -> bool {
    let turned = |text: &str| text.starts_with('4') || text.starts_with('5');
    node.children.iter().any(|child| {
        child.name == "deny"
            || child.name == "return" && child.seen().first().is_some_and(|word| turned(word))
    })
}

/// All locations of a server, with how deep they lie.
fn locations(node: &Node) -> Vec<(usize, &Node)> {
    let mut found = Vec::new();
    for child in node.children.iter().filter(|child| child.name == "location") {
        found.push((0, child));
        found.extend(locations(child).into_iter().map(|(depth, inner)| (depth + 1, inner)));
    }
    found
}

/// Whether a location guards what its pattern names, and ours cannot know that pattern or where it stands. Names that begin
/// with a dot are never served.
fn is_unsaid(depth: usize, node: &Node) -> bool {
    let (pattern, guards) = match node.seen()[..] {
        ["~" | "~*", pattern] => (pattern, true),
        _ => ("", false),
    };
    let guard =
        ["deny", "auth_basic", "auth_request", "internal"].iter().any(|name| node.peek(name).is_some())
            || refuses(node)
            || node.children.iter().any(is_guard);
    // What our patterns do not know: looking ahead and back, what was caught before, and what is never given back.
    let odd = ["(?=", "(?!", "(?<=", "(?<!", "(?>", "*+", "++", "?+", "\\1", "\\2"];
    let unknown = odd.iter().any(|part| pattern.contains(part));
    let dots = ["/\\.", "^/\\.", "(^|/)\\.", "(?:^|/)\\.", "(^|\\/)\\.", "\\/\\."];
    let dotted = dots.iter().any(|start| pattern.starts_with(start));
    let nested = depth > 0 && node.peek("deny").is_none_or(|deny| deny.seen() != ["all"]);
    guards && guard && (unknown && !dotted || nested)
}

impl Around<'_> {
    /// Whether a part of what stands in the server's folders is run in place of being sent.
    pub(super) fn server_runs(&self) -> bool {
        fn runs(node: &Node) -> bool {
            let named = node.name == "location"
                && node.seen().last().is_some_and(|word| {
                    let word = word.to_ascii_lowercase();
                    [".php", "php$", "php[", "php(", "php)", ".cgi", ".fcgi"]
                        .iter()
                        .any(|end| word.contains(end))
                })
                && !["deny", "return", "proxy_pass"].iter().any(|name| node.peek(name).is_some());
            named
                || RUN.contains(&node.name.as_str())
                || ["ssi", "perl_modules"].contains(&node.name.as_str()) && node.seen().first() == Some(&"on")
                || node.children.iter().any(runs)
        }
        let included = |level: &&Node| level.peek("ssi").is_some_and(|ssi| ssi.seen() == ["on"]);
        runs(self.server) || self.root.iter().any(included)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_served_below_its_path_or_instead_of_it() {
        let prefix = |path: &str| Held::Prefix(path.to_owned());
        let exact = |path: &str| Held::Exact(path.to_owned());
        for (folder, alias, held, wanted) in [
            ("/srv/site/", false, prefix("/"), Some(("/srv/site", None))),
            ("/srv/site", false, prefix("/static/"), Some(("/srv/site", None))),
            ("/srv/a/", true, prefix("/static/"), Some(("/srv/a", Some("/static")))),
            ("/srv/a", true, prefix("/static"), Some(("/srv/a", Some("/static")))),
            ("/srv/a", true, prefix("/static/"), None),
            ("/srv/a/", true, prefix("/"), Some(("/srv/a", None))),
            ("/srv/robots.txt", true, exact("/robots.txt"), Some(("/srv", None))),
            ("/srv/x.txt", true, exact("/deep/x.txt"), Some(("/srv", Some("/deep")))),
            ("/srv/other.txt", true, exact("/robots.txt"), None),
            ("/srv/$host", false, prefix("/"), None),
            ("/srv/a", true, Held::Pattern("^/a".to_owned()), None),
        ] {
            let found = place(folder, alias, &held);
            let found = found.as_ref().map(|(root, strip)| (root.as_str(), strip.as_deref()));
            assert_eq!(found, wanted, "{folder} at {held:?}");
        }
    }
}
