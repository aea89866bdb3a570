//! The directives of a block as routes: what ends a request, and what is done on the way for the paths that it fits. Pure.
//!
//! Caddy sorts directives by kind, so their order in the file means nothing here either; `handle` blocks exclude each other,
//! the longest path first, as our paths do.

use super::files;
use super::matcher::{Fits, fits};
use super::proxied::{Pool, change, pool};
use crate::import::action::{Action, BasicAuth, ForwardAuth, HeaderChange, Later};
use crate::import::note::Note;
use crate::import::sheet::Entry;
use crate::import::site::{Imported, Match, Route};
use crate::import::target::{Held, Sent, sent};
use crate::import::tree::{At, Node};
use crate::import::values::{escaped, size};

/// What ends a request for a path.
#[derive(Debug, Clone)]
struct End {
    path: Match,
    what: String,
    node: usize,
    /// Whether it is for what nothing else ends, as files are.
    last: bool,
    pool: Pool,
}

/// Everything that a block says.
#[derive(Debug, Clone, Default)]
struct Said {
    ends: Vec<End>,
    /// What is done on the way, for a path.
    actions: Vec<(Match, At<Action>)>,
    keys: Vec<Entry>,
    /// The routes of blocks inside.
    inner: Vec<Route>,
}

const ALL: &str = "/";

/// The routes of a site.
pub(super) fn routes(node: &Node, secure: bool, imported: &mut Imported) -> Vec<Route> {
    inside(node, node, secure, imported)
}

fn inside(node: &Node, site: &Node, secure: bool, imported: &mut Imported) -> Vec<Route> {
    let mut said = Said::default();
    for (index, child) in node.children.iter().enumerate() {
        if !child.name.starts_with('@') {
            directive(child, index, node, site, secure, &mut said, imported);
        }
    }
    made(node, said)
}

/// Whether all that a path is for is below another one.
fn covers(outer: &Match, inner: &Match) -> bool {
    match outer {
        Match::Below(path) => {
            inner.path().starts_with(path.as_str()) || path.trim_end_matches('/') == inner.path()
        }
        Match::Only(path) => matches!(inner, Match::Only(other) if other == path),
    }
}

/// Puts together what ends and what is done on the way.
fn made(node: &Node, said: Said) -> Vec<Route> {
    let mut paths: Vec<Match> = Vec::new();
    let ends = said.ends.iter().map(|end| &end.path);
    for path in ends.chain(said.actions.iter().map(|(path, _)| path)) {
        if !paths.contains(path) {
            paths.push(path.clone());
        }
    }
    let mut routes = Vec::new();
    for path in paths {
        let mut candidates: Vec<&End> = said.ends.iter().filter(|end| covers(&end.path, &path)).collect();
        // Files come last, whatever their path.
        candidates.sort_by_key(|end| (end.last, std::cmp::Reverse(end.path.path().len())));
        let actions =
            said.actions.iter().filter(|(for_path, _)| covers(for_path, &path)).map(|(_, at)| at.clone());
        let mut actions: Vec<At<Action>> = actions.collect();
        let end = candidates.first();
        let place = end.map_or(&node.place, |end| &node.children[end.node].place).clone();
        actions.extend(end.into_iter().flat_map(|end| end.pool.actions.clone()));
        // A redirect or a header for a path alone, in a block whose end is elsewhere.
        let what = end.map_or_else(|| node.name.clone(), |end| end.what.clone());
        let path = if path.path().is_empty() { Match::Below(ALL.to_owned()) } else { path };
        routes.push(Route {
            upstreams: end.map(|end| end.pool.upstreams.clone()).unwrap_or_default(),
            keys: end.into_iter().flat_map(|end| end.pool.keys.iter().chain(&said.keys).cloned()).collect(),
            actions,
            ..Route::new(&place, what, path)
        });
    }
    for mut route in said.inner {
        let around = said.actions.iter().filter(|(for_path, _)| covers(for_path, &route.path));
        let mut actions: Vec<At<Action>> = around.map(|(_, at)| at.clone()).collect();
        actions.append(&mut route.actions);
        route.actions = actions;
        if !route.upstreams.is_empty() {
            route.keys.extend(said.keys.iter().cloned());
        }
        // What the block says for everything stands behind what a block inside says for the same path.
        let apart = route.is_apart() || !route.hosts.is_empty();
        // What is told apart has no application above it whose guards of longer paths would hold for it.
        let longer = said.actions.iter().map(|(path, _)| path);
        let longer = longer.filter(|path| apart && covers(&route.path, path) && **path != route.path);
        let mut narrower: Vec<Match> = Vec::new();
        for path in longer {
            if !narrower.contains(path) {
                narrower.push(path.clone());
            }
        }
        for path in narrower {
            let on = said
                .actions
                .iter()
                .filter(|(for_path, _)| covers(for_path, &path) && !covers(for_path, &route.path));
            let on = on.map(|(_, at)| at.clone()).chain(route.actions.iter().cloned());
            routes.push(Route { actions: on.collect(), path, ..route.clone() });
        }
        routes.retain(|other: &Route| apart || other.path != route.path || !other.upstreams.is_empty());
        routes.push(route);
    }
    routes
}

/// The directives that are understood.
const KNOWN: [&str; 20] = [
    "reverse_proxy",
    "redir",
    "respond",
    "abort",
    "error",
    "rewrite",
    "uri",
    "header",
    "request_header",
    "basicauth",
    "basic_auth",
    "encode",
    "forward_auth",
    "request_body",
    "handle",
    "handle_path",
    "route",
    "file_server",
    "root",
    "php_fastcgi",
];

fn directive(
    child: &Node,
    index: usize,
    node: &Node,
    site: &Node,
    secure: bool,
    said: &mut Said,
    imported: &mut Imported,
) {
    if !KNOWN.contains(&child.name.as_str()) {
        return;
    }
    child.take();
    let local =
        child.seen().first().is_some_and(|word| node.children.iter().any(|matcher| matcher.name == *word));
    let (fits, skip) = fits(child, if local { &node.children } else { &site.children });
    if denies(child, &fits, said) {
        child.take_whole();
        return;
    }
    let guards = ["basicauth", "basic_auth", "forward_auth"].contains(&child.name.as_str());
    let known = fits.others.is_empty() && fits.not_from.is_empty();
    if guards && (fits.is_apart() || !known) {
        let suggestion = "it is asked of everybody at its paths here, whatever else its matcher says";
        imported.notes.push(Note::differs(&child.place, child.shown(), suggestion));
    } else if !known || fits.is_apart() && !ENDS.contains(&child.name.as_str()) {
        return unknown(child, &fits, said, imported);
    }
    let apart = (fits.is_apart() && !guards).then(|| (fits.all(), fits.hosts.clone()));
    let paths = if fits.paths.is_empty() { vec![Match::Below(ALL.to_owned())] } else { fits.paths };
    let step = Step { child, index, skip };
    let Some((wants, hosts)) = apart else {
        return one(&step, site, secure, &paths, said, imported);
    };
    let mut own = Said::default();
    one(&step, site, secure, &paths, &mut own, imported);
    for mut route in made(node, own) {
        match route.wants.and(&wants) {
            Some(both) => route.wants = both,
            None => {
                let suggestion = Later::Match(child.shown()).suggestion();
                imported.notes.push(Note::left(&child.whole(), route.what.clone(), suggestion));
                continue;
            }
        }
        if route.hosts.is_empty() {
            route.hosts = hosts.iter().map(|host| At::new(host.to_ascii_lowercase(), &child.place)).collect();
        }
        said.inner.push(route);
    }
}

/// What ends requests, and so may be for a part of them alone.
const ENDS: [&str; 9] =
    ["handle", "handle_path", "route", "reverse_proxy", "redir", "respond", "abort", "error", "file_server"];

/// A directive with its place in its block, and how many of its words are its matcher.
struct Step<'a> {
    child: &'a Node,
    index: usize,
    skip: usize,
}

fn one(
    step: &Step<'_>,
    site: &Node,
    secure: bool,
    paths: &[Match],
    said: &mut Said,
    imported: &mut Imported,
) {
    let Step { child, index, skip } = *step;
    match child.name.as_str() {
        "handle" | "handle_path" | "route" => blocks(child, site, secure, paths, said, imported),
        "reverse_proxy" => {
            let pool = pool(child, skip, imported);
            ends(child, index, paths, &pool, said);
        }
        "redir" | "respond" | "abort" | "error" => answers(child, index, skip, paths, secure, said, imported),
        "file_server" => {
            let action = At::new(files::served(child, skip, site, imported), &child.place);
            ends(child, index, paths, &Pool { actions: vec![action], ..Pool::default() }, said);
        }
        "root" => child.set_aside(),
        "php_fastcgi" => child.give_back(),
        _ => on_the_way(child, skip, paths, said, imported),
    }
}

/// What has a matcher that is not known here: told, and closed where it was to keep somebody out.
fn unknown(child: &Node, fits: &Fits, said: &mut Said, imported: &mut Imported) {
    if refuses(child) {
        let guard = Action::Later(Later::Guard(child.shown()));
        let all = vec![Match::Below(ALL.to_owned())];
        let paths = if fits.paths.is_empty() { &all } else { &fits.paths };
        let closed = paths.iter().map(|path| (path.clone(), At::new(guard.clone(), &child.whole())));
        said.actions.extend(closed);
    } else {
        let mut others = fits.others.clone();
        others.extend(fits.hosts.iter().map(|host| format!("host {host}")));
        others.extend(fits.from.iter().map(|network| format!("remote_ip {network}")));
        others.extend(fits.not_from.iter().map(|network| format!("not remote_ip {network}")));
        let suggestion = Later::Match(others.join(", ")).suggestion();
        imported.notes.push(Note::left(&child.whole(), child.shown(), suggestion));
    }
    child.take_whole();
}

/// Whether it keeps somebody out.
fn refuses(child: &Node) -> bool {
    match child.name.as_str() {
        "abort" => true,
        "respond" | "error" => child.seen().iter().any(|word| ["401", "403", "404"].contains(word)),
        _ => false,
    }
}

/// `respond @outside 403` and its like: who may come in.
fn denies(child: &Node, fits: &Fits, said: &mut Said) -> bool {
    if !refuses(child)
        || !fits.wants.is_empty()
        || !fits.others.is_empty()
        || !fits.hosts.is_empty()
        || fits.from.is_empty() == fits.not_from.is_empty()
    {
        return false;
    }
    let action = if fits.from.is_empty() {
        Action::Allow(fits.not_from.clone())
    } else {
        Action::Deny(fits.from.clone())
    };
    let paths = if fits.paths.is_empty() { vec![Match::Below(ALL.to_owned())] } else { fits.paths.clone() };
    said.actions.extend(paths.into_iter().map(|path| (path, At::new(action.clone(), &child.place))));
    true
}

fn ends(child: &Node, index: usize, paths: &[Match], pool: &Pool, said: &mut Said) {
    for path in paths {
        let last = child.name == "file_server";
        said.ends.push(End {
            path: path.clone(),
            what: child.shown(),
            node: index,
            last,
            pool: pool.clone(),
        });
    }
}

fn blocks(
    child: &Node,
    site: &Node,
    secure: bool,
    paths: &[Match],
    said: &mut Said,
    imported: &mut Imported,
) {
    let inner = inside(child, site, secure, imported);
    for path in paths {
        for route in &inner {
            let mut route = route.clone();
            let own = route.path.path().to_owned();
            for action in &mut route.actions {
                if let Action::Redirect { from, .. } = &mut action.value {
                    *from = within(from, path, &own, child.name == "handle_path");
                }
            }
            // Inside `handle_path` paths are without the prefix.
            let stem = path.path().trim_end_matches('/');
            if own == ALL && matches!(route.path, Match::Below(_)) {
                route.path = path.clone();
            } else if child.name == "handle_path" {
                let whole = format!("{stem}{own}");
                route.path = match route.path {
                    Match::Below(_) => Match::Below(whole),
                    Match::Only(_) => Match::Only(whole),
                };
            } else if !own.starts_with(path.path()) {
                continue;
            }
            if child.name == "handle_path" && !stem.is_empty() && !route.upstreams.is_empty() {
                route.actions.insert(0, At::new(Action::Strip(stem.to_owned()), &child.place));
            }
            if child.name == "handle_path" && !stem.is_empty() {
                for at in &mut route.actions {
                    if let Action::Files(files) = &mut at.value {
                        files.strip = Some(format!("{stem}{}", files.strip.take().unwrap_or_default()));
                    }
                }
            }
            if own == ALL {
                route.place = child.place.clone();
                route.what = format!("{} > {}", child.shown(), route.what);
            }
            said.inner.push(route);
        }
    }
}

/// The pattern of a redirect in a block: what it says of every path is said of those of the block alone.
fn within(from: &str, path: &Match, own: &str, stripped: bool) -> String {
    let stem = escaped(path.path().trim_end_matches('/'));
    if stem.is_empty() {
        return from.to_owned();
    }
    if own != ALL {
        let inside = from.strip_prefix('^').filter(|_| stripped);
        return inside.map_or_else(|| from.to_owned(), |inside| format!("^{stem}{inside}"));
    }
    let whole = escaped(path.path());
    let end = if matches!(path, Match::Only(_)) { "$" } else { "" };
    match from {
        "^/" => format!("^{whole}{end}"),
        "^/(.*)$" if stripped => format!("^{stem}/?(.*)$"),
        "^/(.*)$" if end.is_empty() => format!("^/({}.*)$", whole.trim_start_matches('/')),
        "^/(.*)$" => format!("^/({})$", whole.trim_start_matches('/')),
        _ => from.to_owned(),
    }
}

/// A placeholder of Caddy as the variable that it is in nginx.
fn as_variable(text: &str) -> String {
    [
        ("{uri}", "$request_uri"),
        ("{http.request.uri}", "$request_uri"),
        ("{path}", "$uri"),
        ("{host}", "$host"),
        ("{hostport}", "$host"),
        ("{scheme}", "$scheme"),
    ]
    .iter()
    .fold(text.replace('$', ""), |text, (name, variable)| text.replace(name, variable))
}

fn answers(
    child: &Node,
    index: usize,
    skip: usize,
    paths: &[Match],
    secure: bool,
    said: &mut Said,
    imported: &mut Imported,
) {
    let words: Vec<&str> = child.words().into_iter().skip(skip).collect();
    let status = |text: &str| text.parse::<u16>().ok().filter(|status| (200..600).contains(status));
    let mut put = |path: &Match, action: Action| {
        let pool = Pool { actions: vec![At::new(action, &child.place)], ..Pool::default() };
        ends(child, index, std::slice::from_ref(path), &pool, said);
    };
    if child.name != "redir" {
        let inner = child.text("body").map(str::to_owned);
        let (body, code) = match words.as_slice() {
            [] => (String::new(), if child.name == "respond" { 200 } else { 500 }),
            [one] => status(one).map_or(((*one).to_owned(), 200), |code| (String::new(), code)),
            [one, two, ..] => match (status(one), status(two)) {
                (Some(code), None) => ((*two).to_owned(), code),
                (_, code) => ((*one).to_owned(), code.unwrap_or(200)),
            },
        };
        let body = inner.unwrap_or(body);
        if body.contains('{') && body.contains("{http.") {
            let suggestion = "placeholders in it stand as they are written; write `answer` by hand";
            imported.notes.push(Note::differs(&child.place, child.name.clone(), suggestion));
        }
        for path in paths {
            put(path, Action::Answer { status: code, body: body.clone(), content_type: None });
        }
        return;
    }
    let code = match words.get(1).copied() {
        Some("permanent") => 301,
        Some("temporary" | "html") | None => 302,
        Some(code) => status(code).unwrap_or(302),
    };
    for path in paths {
        let held = match path {
            Match::Below(path) => Held::Prefix(path.clone()),
            Match::Only(path) => Held::Exact(path.clone()),
        };
        match sent(&as_variable(words.first().copied().unwrap_or_default()), &held, None, secure) {
            Sent::To { from, to } if !to.contains('{') => {
                put(path, Action::Redirect { from, to, status: code })
            }
            Sent::Https => {
                let suggestion = "plain HTTP is sent on to https by `redirect` of the site that speaks TLS";
                imported.notes.push(Note::differs(&child.place, child.shown(), suggestion));
            }
            Sent::To { .. } | Sent::Unknown(_) => {
                let suggestion = "where it leads depends on a placeholder; write `redirects` by hand";
                imported.notes.push(Note::left(&child.whole(), child.shown(), suggestion));
            }
        }
    }
}

fn on_the_way(child: &Node, skip: usize, paths: &[Match], said: &mut Said, imported: &mut Imported) {
    let words: Vec<&str> = child.seen().into_iter().skip(skip).collect();
    let mut actions: Vec<Action> = Vec::new();
    match child.name.as_str() {
        "header" | "request_header" => return headers(child, skip, paths, said, imported),
        "encode" => actions.push(Action::Compress),
        "forward_auth" => {
            actions.push(asked(child, &words));
            // What gets another name on its way is not passed on, and a client must not say it itself.
            let copied = child.children.iter().filter(|inner| inner.name == "copy_headers");
            for name in copied.flat_map(copied_names).filter_map(|name| name.split_once('>')) {
                actions.push(Action::Request(HeaderChange::Remove(name.1.to_owned())));
            }
            for path in paths {
                let all = actions.iter().map(|action| (path.clone(), At::new(action.clone(), &child.place)));
                said.actions.extend(all);
            }
            return;
        }
        "basicauth" | "basic_auth" => actions.extend(password(child, &words, imported)),
        "request_body" => {
            let max = child.get("max_size").and_then(|node| size(node.word(0)?));
            let bound = max.map(|size| At::new(Action::BodySize { size, written: true }, &child.place));
            said.actions.extend(
                bound.into_iter().flat_map(|at| paths.iter().map(move |path| (path.clone(), at.clone()))),
            );
            return;
        }
        _ => match rewritten(&child.name, &words) {
            Some(action) => actions.push(action),
            None => {
                let suggestion =
                    "targets are rewritten by `strip`, a pattern and `prefix`; write `rewrite` by hand";
                imported.notes.push(Note::left(&child.whole(), child.shown(), suggestion));
            }
        },
    }
    child.take_whole();
    for path in paths {
        said.actions
            .extend(actions.iter().map(|action| (path.clone(), At::new(action.clone(), &child.whole()))));
    }
}

fn rewritten(name: &str, words: &[&str]) -> Option<Action> {
    if words.iter().any(|word| word.contains('{') && !word.ends_with("{uri}")) {
        return None;
    }
    match (name, words) {
        ("uri", ["strip_prefix", path]) => Some(Action::Strip(format!("/{}", path.trim_matches('/')))),
        ("uri", ["strip_suffix", path]) => {
            Some(Action::Replace { from: format!("{}$", escaped(path)), to: String::new() })
        }
        ("uri", ["replace", from, to]) => {
            Some(Action::Replace { from: escaped(from), to: to.replace('$', "$$") })
        }
        ("uri", ["path_regexp", from, to]) => {
            Some(Action::Replace { from: (*from).to_owned(), to: crate::import::values::replacement(to) })
        }
        ("rewrite", [to]) => match to.strip_suffix("{uri}") {
            Some(prefix) if prefix.starts_with('/') => Some(Action::Prefix(prefix.to_owned())),
            None if to.starts_with('/') && !to.contains('?') => {
                Some(Action::Replace { from: "^.*$".to_owned(), to: to.replace('$', "$$") })
            }
            Some(_) | None => None,
        },
        _ => None,
    }
}

fn headers(child: &Node, skip: usize, paths: &[Match], said: &mut Said, imported: &mut Imported) {
    let request = child.name == "request_header";
    let words: Vec<&str> = child.words().into_iter().skip(skip).collect();
    let mut lines: Vec<(Vec<&str>, &Node)> = Vec::new();
    if !words.is_empty() {
        lines.push((words, child));
    }
    for line in &child.children {
        let mut words = vec![line.take().name.as_str()];
        words.extend(line.words());
        if words != ["defer"] {
            lines.push((words, line));
        }
    }
    for (words, line) in lines {
        match change(&words) {
            Some(change) => {
                let action = if request { Action::Request(change) } else { Action::Response(change) };
                let all = paths.iter().map(|path| (path.clone(), At::new(action.clone(), &line.place)));
                said.actions.extend(all);
            }
            None => {
                let suggestion = "values of headers are fixed here, and are set, added or removed as a whole; let the application do it";
                imported.notes.push(Note::left(&line.place, line.shown(), suggestion));
            }
        }
    }
}

/// The names behind `copy_headers`, and in its block.
fn copied_names(copied: &Node) -> Vec<&str> {
    copied.seen().into_iter().chain(copied.children.iter().map(|line| line.name.as_str())).collect()
}

/// Who is asked for leave; a guard that stays closed where that cannot be said.
fn asked(child: &Node, words: &[&str]) -> Action {
    let _ = child.words();
    let closed = || Action::Later(Later::Guard(child.shown()));
    let [upstream] = words else { return closed() };
    let uri = child.text("uri").unwrap_or("/");
    if upstream.contains('{') || uri.contains('{') || upstream.starts_with("unix/") {
        return closed();
    }
    let base = if upstream.contains("://") { (*upstream).to_owned() } else { format!("http://{upstream}") };
    let mut response_headers = Vec::new();
    for copied in child.children.iter().filter(|inner| inner.name == "copy_headers") {
        let names = copied_names(copied);
        // By another name nothing is passed on: that stays to be told.
        if names.iter().all(|name| !name.contains('>')) {
            copied.take_whole();
        }
        response_headers
            .extend(names.iter().filter(|name| !name.contains('>')).map(|name| (*name).to_owned()));
    }
    let url = format!("{base}{uri}");
    Action::ForwardAuth(ForwardAuth { url, request_headers: Vec::new(), response_headers })
}

fn password(child: &Node, words: &[&str], imported: &mut Imported) -> Option<Action> {
    let realm = words
        .iter()
        .rfind(|word| !["bcrypt", "argon2id", "scrypt"].contains(word))
        .map(|word| (*word).to_owned());
    let mut lines = Vec::new();
    for user in &child.children {
        let hash = user.seen().first().copied().unwrap_or_default();
        if hash.starts_with("$2") {
            lines.push(format!("{}:{hash}", user.name));
        } else {
            let suggestion =
                "passwords are kept by bcrypt or apr1 here; make this one anew with `htpasswd -B`";
            imported.notes.push(Note::left(&user.place, format!("basic_auth {}", user.name), suggestion));
        }
    }
    let file = format!("users-{}.htpasswd", imported.files.len() + 1);
    let text = lines.join("\n") + "\n";
    let known = imported.files.iter().find(|(_, known)| *known == text).map(|(name, _)| name.clone());
    let file = known.unwrap_or_else(|| {
        imported.files.push((file.clone(), text));
        file
    });
    Some(Action::BasicAuth(BasicAuth { file, realm, user_header: None, forward: true }))
}
