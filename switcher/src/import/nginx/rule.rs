//! What nginx does with requests and answers besides passing them on: access, limits, headers. Pure.

use switcher_config::settings::CLIENT_IP;

use super::location::Around;
use super::scope::Scope;
use crate::import::action::{Action, BasicAuth, HeaderChange, Later, Rate};
use crate::import::note::Note;
use crate::import::site::Imported;
use crate::import::tree::{At, Node};
use crate::import::values::{size, stripped};

/// What is done in every location that these directives hold for.
pub(super) fn before(scope: &Scope<'_>, around: &Around<'_>, imported: &mut Imported) -> Vec<At<Action>> {
    let mut actions = Vec::new();
    access(scope, &mut actions, imported);
    rate(scope, around, &mut actions, imported);
    connections(scope, around, &mut actions);
    password(scope, &mut actions);
    answers(scope, &mut actions, imported);
    let mut compressed = ["gzip", "brotli", "zstd"].iter().filter_map(|name| scope.one(name));
    if let Some(node) = compressed.find(|node| node.word(0) == Some("on")) {
        actions.push(At::new(Action::Compress, &node.place));
    }
    actions.extend(bodies(scope));
    if let Some(node) = scope.one("auth_request").filter(|node| node.word(0) != Some("off")) {
        actions.push(At::new(super::asked::asked(node, scope, around, imported), &node.place));
    }
    if let Some(node) =
        scope.one("proxy_cache").filter(|node| node.take_whole().seen().first() != Some(&"off"))
    {
        let suggestion = "`cache: on` holds what the application declares cacheable, in memory, and by no other key than its URL";
        imported.notes.push(Note::differs(&node.place, node.shown(), suggestion));
        actions.push(At::new(Action::Cache, &node.place));
    }
    for node in scope.all("proxy_cache_valid") {
        actions.push(At::new(Action::Later(Later::Cache), &node.take_whole().place));
    }
    if let Some(node) = scope.one("proxy_request_buffering").filter(|node| node.word(0) == Some("on")) {
        let suggestion = "bodies up to 1MiB are taken in whole first; larger ones are passed on as they come";
        imported.notes.push(Note::differs(&node.place, node.shown(), suggestion));
        actions
            .push(At::new(Action::Buffer { request: Some("1MiB".to_owned()), response: None }, &node.place));
    }
    actions
}

/// The largest body. Without a word it is 1 MiB, and 0 means any.
fn bodies(scope: &Scope<'_>) -> Option<At<Action>> {
    let Some(node) = scope.one("client_max_body_size") else {
        let bound = Action::BodySize { size: "1MiB".to_owned(), written: false };
        return Some(At::new(bound, &scope.inner().place));
    };
    let text = node.word(0).filter(|text| *text != "0")?;
    Some(At::new(Action::BodySize { size: size(text)?, written: true }, &node.place))
}

/// `allow` and `deny`, of which the first that fits decides.
fn access(scope: &Scope<'_>, actions: &mut Vec<At<Action>>, imported: &mut Imported) {
    let inner = scope.inner();
    let own: Vec<&Node> =
        inner.children.iter().filter(|node| ["allow", "deny"].contains(&node.name.as_str())).collect();
    let rules: Vec<&Node> = if own.is_empty() {
        let mut rules: Vec<&Node> = scope.all("allow").into_iter().chain(scope.all("deny")).collect();
        rules.sort_by(|one, other| one.place.cmp(&other.place));
        rules
    } else {
        own.into_iter().map(Node::take).collect()
    };
    let closed = rules.iter().any(|rule| rule.name == "deny" && rule.seen() == ["all"]);
    let (mut allowed, mut seen_allowed) = (Vec::new(), false);
    for rule in &rules {
        let Some(network) = rule.word(0) else { continue };
        match (rule.name.as_str(), network) {
            ("deny", "all") => break,
            ("allow", "all") => break,
            ("allow", network) => {
                seen_allowed = true;
                if closed {
                    allowed.push(network.to_owned());
                }
            }
            (_, network) => {
                if seen_allowed {
                    let suggestion = "nginx takes the first rule that fits; here `deny` wins over `allow`";
                    imported.notes.push(Note::differs(&rule.place, rule.shown(), suggestion));
                }
                actions.push(At::new(Action::Deny(vec![network.to_owned()]), &rule.place));
            }
        }
    }
    let first = rules.iter().find(|rule| rule.name == "allow");
    if let Some(rule) = first.filter(|_| !allowed.is_empty()) {
        actions.push(At::new(Action::Allow(std::mem::take(&mut allowed)), &rule.place));
    } else if let Some(rule) = rules.last().filter(|_| closed) {
        let everybody = vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()];
        actions.push(At::new(Action::Deny(everybody), &rule.place));
    }
    rules.iter().for_each(|rule| rule.set_aside());
}

/// A zone that `limit_req` or `limit_conn` names.
fn zone<'a>(around: &Around<'a>, directive: &'a str, name: &str) -> Option<&'a Node> {
    let wanted = format!("zone={name}:");
    let mut zones = around.root.iter().flat_map(|level| level.all(directive));
    let found = zones.find(|zone| zone.seen().iter().any(|word| word.starts_with(&wanted)));
    found.map(Node::take_whole)
}

/// Whose requests a zone counts together, as `by` writes it.
fn counted(zone: &Node) -> Option<Option<String>> {
    match zone.seen().first().copied()? {
        "$binary_remote_addr" | "$remote_addr" => Some(None),
        "$uri" => Some(Some("path".to_owned())),
        key => {
            let header = key.strip_prefix("$http_").map(|name| format!("header {}", name.replace('_', "-")));
            header.or_else(|| key.strip_prefix("$cookie_").map(|name| format!("cookie {name}"))).map(Some)
        }
    }
}

fn rate(scope: &Scope<'_>, around: &Around<'_>, actions: &mut Vec<At<Action>>, imported: &mut Imported) {
    let status = scope.text("limit_req_status");
    for node in scope.all("limit_req") {
        let words = node.words();
        let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let zone = value("zone").and_then(|name| zone(around, "limit_req_zone", name));
        let by = zone.and_then(counted);
        let speed = zone.and_then(|zone| zone.seen().into_iter().find_map(|word| word.strip_prefix("rate=")));
        let Some((by, (number, per))) = by.zip(speed.and_then(|speed| speed.split_once("r/"))) else {
            let suggestion = "its zone is not known here, or counts by what is not counted by here; write `rate_limit` by hand";
            imported.notes.push(Note::left(&node.place, node.shown(), suggestion));
            continue;
        };
        let burst: u64 = value("burst").and_then(|burst| burst.parse().ok()).unwrap_or(0);
        let Ok(requests) = number.parse() else { continue };
        let per = if per == "m" { "1m" } else { "1s" }.to_owned();
        if actions.iter().any(|at| matches!(at.value, Action::Rate(_))) {
            let suggestion = "a place has one `rate_limit`; the first is written";
            imported.notes.push(Note::left(&node.place, node.shown(), suggestion));
            continue;
        }
        if status != Some("429") {
            let suggestion = "who asks too often is answered 429 here, and not 503";
            imported.notes.push(Note::differs(&node.place, node.shown(), suggestion));
        }
        if burst > 0 && !words.contains(&"nodelay") {
            let suggestion = "requests of a burst are not delayed here, but passed on at once";
            imported.notes.push(Note::differs(&node.place, node.shown(), suggestion));
        }
        actions.push(At::new(Action::Rate(Rate { requests, per, burst: Some(burst + 1), by }), &node.place));
    }
}

fn connections(scope: &Scope<'_>, around: &Around<'_>, actions: &mut Vec<At<Action>>) {
    for node in scope.all("limit_conn") {
        let words = node.seen();
        let (Some(name), Some(Ok(requests))) = (words.first(), words.get(1).map(|number| number.parse()))
        else {
            node.give_back();
            continue;
        };
        let Some(by) = zone(around, "limit_conn_zone", name).and_then(counted) else {
            node.give_back();
            continue;
        };
        node.take_whole();
        let by = Some(by.unwrap_or_else(|| "client".to_owned()));
        actions.push(At::new(Action::InFlight { requests, by }, &node.place));
    }
    let _ = scope.one("limit_conn_status").map(Node::take_whole);
}

fn password(scope: &Scope<'_>, actions: &mut Vec<At<Action>>) {
    let realm = scope.one("auth_basic");
    let file = scope.one("auth_basic_user_file");
    let (Some(realm), Some(file)) = (realm, file) else { return };
    let (Some(name), Some(path)) = (realm.word(0), file.word(0)) else { return };
    if name == "off" {
        return;
    }
    let auth =
        BasicAuth { file: path.to_owned(), realm: Some(name.to_owned()), user_header: None, forward: true };
    actions.push(At::new(Action::BasicAuth(auth), &file.place));
}

fn answers(scope: &Scope<'_>, actions: &mut Vec<At<Action>>, imported: &mut Imported) {
    for node in scope.all("add_header") {
        let words = node.words();
        let (Some(name), Some(value)) = (words.first(), words.get(1)) else { continue };
        if value.contains('$') {
            let suggestion = "values of headers are fixed here; let the application set it";
            imported.notes.push(Note::left(&node.place, node.shown(), suggestion));
            continue;
        }
        if value.is_empty() {
            continue;
        }
        if words.get(2) != Some(&"always") {
            let suggestion = "headers are added to every answer here, errors too";
            imported.notes.push(Note::differs(&node.place, format!("add_header {name}"), suggestion));
        }
        let change = HeaderChange::Add((*name).to_owned(), (*value).to_owned());
        actions.push(At::new(Action::Response(change), &node.place));
    }
    for node in scope.all("proxy_hide_header").into_iter().chain(scope.all("more_clear_headers")) {
        for name in node.words() {
            actions.push(At::new(Action::Response(HeaderChange::Remove(name.to_owned())), &node.place));
        }
    }
}

/// What the proxy tells every application by itself.
const TOLD: [(&str, &[&str]); 8] = [
    ("host", &["$host", "$http_host", "$host:$server_port"]),
    ("x-forwarded-for", &["$proxy_add_x_forwarded_for", "$remote_addr"]),
    ("x-forwarded-proto", &["$scheme", "$http_x_forwarded_proto", "https", "http"]),
    ("x-forwarded-host", &["$host", "$http_host", "$server_name"]),
    ("upgrade", &["$http_upgrade", "websocket"]),
    (
        "connection",
        &["$connection_upgrade", "upgrade", "Upgrade", "", "keep-alive", "close", "$http_connection"],
    ),
    ("x-request-id", &["$request_id"]),
    ("accept-encoding", &["$http_accept_encoding"]),
];

/// What the application is told.
pub(super) fn passing(scope: &Scope<'_>, actions: &mut Vec<At<Action>>, imported: &mut Imported) {
    let mut host = false;
    let headers: Vec<&Node> =
        scope.all("proxy_set_header").into_iter().chain(scope.all("grpc_set_header")).collect();
    for node in headers {
        let words = node.words();
        let name = words.first().copied().unwrap_or_default();
        let value = words.get(1).copied().unwrap_or_default();
        let lower = name.to_ascii_lowercase();
        host |= lower == "host";
        if super::asked::names(scope, value).is_some() {
            // Where nobody is asked, nginx sends none, and no client may say it either.
            if !actions.iter().any(|at| matches!(at.value, Action::ForwardAuth(_))) {
                actions.push(At::new(Action::Request(HeaderChange::Remove(name.to_owned())), &node.place));
            }
            continue;
        }
        if TOLD.iter().any(|(known, values)| *known == lower && values.contains(&value)) {
            continue;
        }
        if value.is_empty() {
            actions.push(At::new(Action::Request(HeaderChange::Remove(name.to_owned())), &node.place));
        } else if lower == "host" {
            let suggestion = "the application is told the host that the client asked for, and no other";
            imported.notes.push(Note::left(&node.place, node.shown(), suggestion));
        } else if value == "$remote_addr" {
            let change = HeaderChange::Set(name.to_owned(), CLIENT_IP.to_owned());
            actions.push(At::new(Action::Request(change), &node.place));
        } else if value.contains('$') {
            let suggestion = match lower.as_str() {
                "x-forwarded-port" | "x-forwarded-ssl" | "x-scheme" => {
                    "X-Forwarded-Proto and X-Forwarded-Host say the same"
                }
                _ => {
                    "values of headers are fixed here, and a client's own is taken away; X-Forwarded-For, -Proto, -Host and X-Request-Id are always set"
                }
            };
            // What nginx puts in its place the client must not say itself.
            if !stripped(&lower) && value != format!("$http_{}", lower.replace('-', "_")) {
                actions.push(At::new(Action::Request(HeaderChange::Remove(name.to_owned())), &node.place));
            }
            imported.notes.push(Note::left(&node.place, node.shown(), suggestion));
        } else {
            let change = HeaderChange::Set(name.to_owned(), value.to_owned());
            actions.push(At::new(Action::Request(change), &node.place));
        }
    }
    if !host {
        let suggestion = "nginx tells the application the upstream's name as Host; here it is told the one that the client asked for";
        let node = scope.inner();
        imported.notes.push(Note::differs(&node.place, node.shown(), suggestion));
    }
}
