//! A location as a route: where it leads, and everything that is done on the way. Pure.

use super::files::{files, is_other};
use super::scope::Scope;
use super::upstream::{Pool, pool, retries};
use super::{mirror, rule};
use crate::import::action::Action;
use crate::import::note::Note;
use crate::import::sheet::{Entry, pairs, scalar};
use crate::import::site::{Imported, Match, Route};
use crate::import::target::{Held, Sent, sent};
use crate::import::tree::{At, Node, Place};
use crate::import::values::{escaped, replacement, time};

/// What is known around a location.
pub(super) struct Around<'a> {
    /// The levels above servers, in which `upstream` and `limit_req_zone` stand.
    pub(super) root: Vec<&'a Node>,
    /// The server.
    pub(super) server: &'a Node,
    /// Its first name.
    pub(super) own: Option<String>,
    /// Whether it speaks TLS.
    pub(super) tls: bool,
}

/// Which paths a location is for; none when it cannot be said as a path.
pub(super) fn held(node: &Node) -> Option<Held> {
    match node.words().as_slice() {
        ["=", path] => Some(Held::Exact((*path).to_owned())),
        ["^~", path] => Some(Held::Prefix((*path).to_owned())),
        ["~", pattern] => Some(plain(pattern).unwrap_or_else(|| Held::Pattern((*pattern).to_owned()))),
        ["~*", pattern] => Some(Held::Pattern(format!("(?i){pattern}"))),
        [path] if path.starts_with('/') => Some(Held::Prefix((*path).to_owned())),
        _ => None,
    }
}

/// `^/api/` is no more than a prefix.
fn plain(pattern: &str) -> Option<Held> {
    let path = pattern.strip_prefix('^').filter(|path| path.starts_with('/'))?;
    let path = path.strip_suffix("(/|$)").or_else(|| path.strip_suffix("(.*)$")).unwrap_or(path);
    let simple = |c: char| c.is_ascii_alphanumeric() || "/_-".contains(c);
    path.chars().all(simple).then(|| Held::Prefix(path.to_owned()))
}

/// What a location comes to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A route.
    Route(Box<Route>),
    /// Everything is sent on to the same place by https.
    Https(Place),
}

/// What a location comes to; none when it is told instead.
pub(super) fn outcome(
    node: &Node,
    scope: &Scope<'_>,
    around: &Around<'_>,
    imported: &mut Imported,
) -> Option<Outcome> {
    let held = if node.name == "server" { Some(Held::Prefix("/".to_owned())) } else { held(node) };
    let Some(held) = held else {
        node.give_back();
        return None;
    };
    let answered = match returned(node, scope, around, &held, imported) {
        Some(Answered::Https(place)) => return Some(Outcome::Https(place)),
        Some(Answered::By(action)) => Some(action),
        None => None,
    };
    let path = match (&held, &answered) {
        (Held::Prefix(path), _) => Match::Below(path.clone()),
        (Held::Exact(path), _) => Match::Only(path.clone()),
        // The pattern itself says whom it means.
        (Held::Pattern(_), Some(At { value: Action::Redirect { .. }, .. })) => Match::Below("/".to_owned()),
        (Held::Pattern(_), _) if leads(node) || serves(node, scope, around) => Match::Below("/".to_owned()),
        (Held::Pattern(_), _) => {
            node.give_back();
            return None;
        }
    };
    let mut actions = rule::before(scope, around, imported);
    let what = if node.name == "server" { "server".to_owned() } else { node.shown() };
    let mut route = Route::new(&node.place, what, path);
    if let (Held::Pattern(pattern), false) = (&held, redirects(&answered)) {
        apart(&mut route, pattern, node, around, imported);
    }
    before_patterns(&mut route, node, around);
    if let Some(answer) = answered {
        // nginx answers before it looks at addresses and passwords.
        actions.retain(|action| action.value.key() == Some("response_headers"));
        actions.push(answer);
        route.actions = actions;
        return Some(Outcome::Route(Box::new(route)));
    }
    ended(route, actions, &held, node, scope, around, imported)
}

/// The route with where its requests end: at an application, at files, or nowhere.
fn ended(
    mut route: Route,
    mut actions: Vec<At<Action>>,
    held: &Held,
    node: &Node,
    scope: &Scope<'_>,
    around: &Around<'_>,
    imported: &mut Imported,
) -> Option<Outcome> {
    let target = named(node, around).unwrap_or(node);
    let inner = if std::ptr::eq(target, node) { scope.clone() } else { scope.within(target) };
    let passed = target.get("proxy_pass").or_else(|| target.get("grpc_pass"));
    match passed {
        Some(pass) => match pool(pass, &inner, &around.root, imported) {
            Ok(found) => {
                lead(&mut route, found, held, pass, &mut actions);
                mirror::copied(&mut route, &inner, around, imported);
                if !std::ptr::eq(target, node) {
                    let files = files(node, scope, around, held, true, imported);
                    actions.extend(files.map(|action| At::new(action, &node.place)));
                }
            }
            Err(why) => {
                imported.notes.push(Note::left(&pass.place, pass.shown(), why));
                return None;
            }
        },
        None if closed(node) => {
            let refusal = Action::Answer { status: 403, body: String::new(), content_type: None };
            actions.retain(|action| action.value.key() == Some("response_headers"));
            actions.push(At::new(refusal, &node.place));
        }
        None => {
            let action = files(node, scope, around, held, false, imported)?;
            if matches!(action, Action::Answer { .. }) {
                actions.retain(|action| action.value.key() == Some("response_headers"));
            }
            actions.push(At::new(action, &node.place));
        }
    }
    // What is said of the whole server comes before its locations, and belongs to none of them.
    if target.name != "server" {
        rewrites(target, &mut actions, imported);
    }
    if passed.is_some() {
        rule::passing(&inner, &mut actions, imported);
        route.keys.extend(bounds(&inner));
        route.keys.extend(retries(&inner, &route.upstreams, imported));
    }
    route.actions = actions;
    Some(Outcome::Route(Box::new(route)))
}

/// Whether a location has something to say of its own requests, and does not only serve files.
fn leads(node: &Node) -> bool {
    ["proxy_pass", "grpc_pass", "return"].iter().any(|name| node.peek(name).is_some()) || closed(node)
}

/// Whether it lets nobody in and leads nowhere.
fn closed(node: &Node) -> bool {
    node.peek("deny").is_some_and(|deny| deny.seen() == ["all"])
        && ["allow", "proxy_pass", "grpc_pass", "return"].iter().all(|name| node.peek(name).is_none())
}

fn redirects(answered: &Option<At<Action>>) -> bool {
    matches!(answered, Some(At { value: Action::Redirect { .. }, .. }))
}

/// A pattern is an application of its own, before the prefixes and in the order of the file.
fn apart(route: &mut Route, pattern: &str, node: &Node, around: &Around<'_>, imported: &mut Imported) {
    let locations = || around.server.children.iter().filter(|child| child.name == "location");
    let kind = |node: &Node| node.seen().first().map(|word| (*word).to_owned()).unwrap_or_default();
    let after = locations().filter(|other| kind(other).starts_with('~') && other.place > node.place).count();
    route.wants.path_pattern = Some(pattern.to_owned());
    route.priority = i64::try_from(after + 1).ok();
    let suggestion = "a pattern is an application of its own, which is switched by itself; so are the locations with `=` and `^~` beside it, which come first";
    imported.notes.push(Note::differs(&node.place, node.shown(), suggestion));
}

/// Locations with `=` and `^~` come before patterns, so beside such ones they are applications of their own.
fn before_patterns(route: &mut Route, node: &Node, around: &Around<'_>) {
    let patterns = around.server.children.iter().filter(|child| child.name == "location");
    let patterns =
        patterns.filter(|other| other.seen().first().is_some_and(|word| word.starts_with('~'))).count();
    let first = matches!(node.seen().first(), Some(&"=" | &"^~"));
    if first && patterns > 0 && node.name == "location" {
        route.priority = i64::try_from(patterns + 1).ok();
        if let Match::Only(path) = &route.path {
            route.wants.path_pattern = Some(format!("^{}$", escaped(path)));
        }
    }
}

/// Whether a pattern is one for files of the server's folder.
fn serves(node: &Node, scope: &Scope<'_>, around: &Around<'_>) -> bool {
    around.server.children.iter().any(|child| std::ptr::eq(child, node))
        && node.peek("alias").is_none()
        && scope.one("root").is_some()
        && !is_other(node)
        && !around.server_runs()
}

/// The named location that `try_files` ends with, where an application is asked there.
fn named<'a>(node: &'a Node, around: &Around<'a>) -> Option<&'a Node> {
    let name = node.peek("try_files")?.seen().last().filter(|word| word.starts_with('@')).copied()?;
    let mut places = around.server.children.iter().filter(|child| child.name == "location");
    let found = places.find(|child| {
        child.seen() == [name] && (child.peek("proxy_pass").is_some() || child.peek("grpc_pass").is_some())
    })?;
    let _ = found.take().words();
    Some(found)
}

/// An answer without the application.
enum Answered {
    By(At<Action>),
    Https(Place),
}

/// What is answered at once.
fn returned(
    node: &Node,
    scope: &Scope<'_>,
    around: &Around<'_>,
    held: &Held,
    imported: &mut Imported,
) -> Option<Answered> {
    let said = node.get("return")?;
    let words = said.words();
    let (status, text) = match words.as_slice() {
        [code] => (code.parse().ok(), None),
        [code, text] => (code.parse().ok(), Some(*text)),
        _ => (None, None),
    };
    let (status, text) = match (status, text, words.first()) {
        // A bare address is a 302.
        (None, _, Some(target)) if target.contains("://") => (302, Some(*target)),
        (Some(status), text, _) => (status, text),
        (None, _, _) => {
            said.give_back();
            return None;
        }
    };
    if let (301 | 302 | 303 | 307 | 308, Some(target)) = (status, text) {
        return match sent(target, held, around.own.as_deref(), around.tls) {
            Sent::To { from, to } => {
                Some(Answered::By(At::new(Action::Redirect { from, to, status }, &said.place)))
            }
            Sent::Https => Some(Answered::Https(said.place.clone())),
            Sent::Unknown(variable) => {
                let suggestion = format!("where it leads depends on `{variable}`; write `redirects` by hand");
                imported.notes.push(Note::left(&said.place, said.shown(), suggestion));
                None
            }
        };
    }
    if status == 444 {
        let suggestion = "nginx closes the connection unanswered; here an answer with this status is sent";
        imported.notes.push(Note::differs(&said.place, said.shown(), suggestion));
    }
    let text = text.unwrap_or_default();
    if text.contains('$') {
        let suggestion = "variables in it stand as they are written; write `answer` by hand";
        imported.notes.push(Note::differs(&said.place, said.shown(), suggestion));
    }
    let content_type = scope.text("default_type").filter(|kind| !text.is_empty() && *kind != "text/plain");
    let content_type = content_type.map(str::to_owned);
    let answer = Action::Answer { status, body: text.to_owned(), content_type };
    Some(Answered::By(At::new(answer, &said.place)))
}

fn lead(route: &mut Route, pool: Pool, held: &Held, pass: &Node, actions: &mut Vec<At<Action>>) {
    route.name = pool.name.filter(|_| route.path.path() != "/");
    route.upstreams = pool.upstreams;
    route.keys = pool.keys;
    let (Some(uri), Held::Prefix(path) | Held::Exact(path)) = (pool.uri, held) else { return };
    if uri == *path {
        return;
    }
    let at = |action| At::new(action, &pass.place);
    // What ends in a slash on both sides is whole segments.
    let whole = path.ends_with('/') && uri.ends_with('/');
    if whole {
        if path != "/" {
            actions.push(at(Action::Strip(path.trim_end_matches('/').to_owned())));
        }
        if uri != "/" {
            actions.push(at(Action::Prefix(uri.trim_end_matches('/').to_owned())));
        }
    } else {
        let to = replacement(&uri);
        actions.push(at(Action::Replace { from: format!("^{}", escaped(path)), to }));
    }
}

/// `rewrite` of a block: patterns that send the client on, or change what the application sees.
fn rewrites(node: &Node, actions: &mut Vec<At<Action>>, imported: &mut Imported) {
    for rewrite in node.all("rewrite") {
        let words = rewrite.words();
        let (pattern, to, flag) = match words.as_slice() {
            [pattern, to] => (*pattern, *to, ""),
            [pattern, to, flag] => (*pattern, *to, *flag),
            _ => {
                rewrite.give_back();
                continue;
            }
        };
        let status = match flag {
            "permanent" => Some(301),
            "redirect" => Some(302),
            _ => to.contains("://").then_some(302),
        };
        let held = Held::Pattern(pattern.to_owned());
        let Sent::To { from, to } = sent(to.trim_end_matches('?'), &held, None, true) else {
            rewrite.give_back();
            continue;
        };
        let action = match status {
            Some(status) => Action::Redirect { from, to, status },
            None => Action::Replace { from, to },
        };
        if actions
            .iter()
            .any(|at| matches!((&at.value, &action), (Action::Replace { .. }, Action::Replace { .. })))
        {
            rewrite.give_back();
            continue;
        }
        if status.is_none() && flag != "break" {
            let suggestion =
                "nginx looks for a location once more with the new path; here the route stays the same";
            imported.notes.push(Note::differs(&rewrite.place, rewrite.shown(), suggestion));
        }
        actions.push(At::new(action, &rewrite.place));
    }
}

/// Times.
fn bounds(scope: &Scope<'_>) -> Vec<Entry> {
    let mut times: Vec<(&str, String)> = Vec::new();
    let mut place = None;
    let sources = [
        ("connect", ["proxy_connect_timeout", "grpc_connect_timeout"]),
        ("response", ["proxy_read_timeout", "grpc_read_timeout"]),
        ("idle", ["proxy_send_timeout", "grpc_send_timeout"]),
    ];
    for (key, names) in sources {
        for node in names.iter().filter_map(|name| scope.one(name)) {
            if let Some(time) = node.word(0).and_then(time) {
                times.push((key, scalar(&time)));
                place = Some(node);
            }
        }
    }
    // What is read between two pieces of an answer is bounded by the same time.
    let read = times.iter().find(|(key, _)| *key == "response").map(|(_, time)| time.clone());
    if let (Some(read), false) = (read, times.iter().any(|(key, _)| *key == "idle")) {
        times.push(("idle", read));
    }
    let mut keys = Vec::new();
    if let Some(node) = place {
        keys.push(Entry::line("timeouts", pairs(&times)).from(&node.place, node.shown()));
    }
    keys
}
