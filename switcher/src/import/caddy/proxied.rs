//! `reverse_proxy`: upstreams, balancing, health, headers, transport. Pure.

use switcher_config::settings::CLIENT_IP;

use crate::import::action::{Action, HeaderChange};
use crate::import::note::Note;
use crate::import::sheet::{Entry, pairs, scalar};
use crate::import::site::{Imported, Upstream};
use crate::import::tree::{At, Node};
use crate::import::values::{stripped, time};

/// Where requests go, how, and what is done on the way.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    pub(super) upstreams: Vec<At<Upstream>>,
    pub(super) keys: Vec<Entry>,
    pub(super) actions: Vec<At<Action>>,
}

/// Reads one; `skip` words are its matcher.
pub(super) fn pool(node: &Node, skip: usize, imported: &mut Imported) -> Pool {
    let mut pool = Pool::default();
    let transport = node.get("transport");
    let tls = transport
        .is_some_and(|transport| transport.children.iter().any(|child| child.name.starts_with("tls")));
    let h2c = transport
        .and_then(|transport| transport.peek("versions"))
        .is_some_and(|versions| versions.seen().contains(&"h2c"));
    let own = node.words().into_iter().skip(skip);
    for word in own.chain(node.all("to").flat_map(Node::words)) {
        match address(word, tls, h2c) {
            Some(address) => pool.upstreams.push(At::new(Upstream { address, weight: None }, &node.place)),
            None => {
                let suggestion = "where it leads is known only when a request comes, or is no single address; write `slots` by hand";
                imported.notes.push(Note::left(&node.place, format!("reverse_proxy {word}"), suggestion));
            }
        }
    }
    pool.keys.extend(balance(node));
    pool.keys.extend(health(node));
    pool.keys.extend(outliers(node));
    if let Some(retries) = node.get("lb_retries")
        && let Some(number) = retries.word(0).and_then(|number| number.parse::<u32>().ok())
    {
        let said = pairs(&[("attempts", (number + 1).to_string()), ("on", "[connect, reset]".to_owned())]);
        pool.keys.push(Entry::line("retries", said).from(&retries.place, retries.shown()));
    }
    if let Some(transport) = transport {
        pool.keys.extend(over(transport));
    }
    if transport.is_none_or(|transport| transport.peek("response_header_timeout").is_none()) {
        imported.notes.push(Note::patient(&node.place, node.shown()));
    }
    for name in [
        "flush_interval",
        "request_buffers",
        "response_buffers",
        "stream_timeout",
        "stream_close_delay",
        "lb_try_interval",
    ] {
        for child in node.all(name) {
            imported.needless(name, &child.take_whole().place);
        }
    }
    headers(node, &mut pool, imported);
    pool
}

fn address(word: &str, tls: bool, h2c: bool) -> Option<String> {
    if word.contains('{') {
        return None;
    }
    let (scheme, rest) = word.split_once("://").unwrap_or(("", word));
    let protocol = match scheme {
        "https" => "https://",
        "h2c" => "h2c://",
        _ if tls => "https://",
        _ if h2c => "h2c://",
        _ => "",
    };
    if let Some(path) = rest.strip_prefix("unix/") {
        return Some(format!("{protocol}unix:{path}"));
    }
    let rest = rest.trim_end_matches('/');
    if rest.contains(['/', '-']) && rest.rsplit(':').next().is_some_and(|port| port.contains('-'))
        || rest.contains('/')
    {
        return None;
    }
    let rest = if rest.starts_with(':') { format!("127.0.0.1{rest}") } else { rest.to_owned() };
    let open = rest.rsplit(']').next().unwrap_or(&rest);
    let port = if protocol == "https://" { 443 } else { 80 };
    Some(if open.contains(':') { format!("{protocol}{rest}") } else { format!("{protocol}{rest}:{port}") })
}

fn balance(node: &Node) -> Option<Entry> {
    let policy = node.peek("lb_policy")?;
    let words = policy.seen();
    let value = match words.as_slice() {
        ["round_robin", ..] => "round_robin".to_owned(),
        ["least_conn", ..] => "least_in_flight".to_owned(),
        ["ip_hash" | "client_ip_hash", ..] => "{hash: client}".to_owned(),
        ["uri_hash", ..] => "{hash: path}".to_owned(),
        ["header", name, ..] => pairs(&[("hash", scalar(&format!("header {name}")))]),
        ["cookie", name, ..] => pairs(&[("sticky", scalar(name))]),
        ["cookie"] => "{sticky: lb}".to_owned(),
        _ => return None,
    };
    let _ = (policy.take().word(0), policy.word(1));
    Some(Entry::line("balance", value).from(&policy.place, policy.shown()))
}

fn health(node: &Node) -> Option<Entry> {
    let uri = node.get("health_uri").or_else(|| node.get("health_path"))?;
    let mut said = vec![("path", scalar(uri.word(0)?))];
    for (key, name) in [("interval", "health_interval"), ("timeout", "health_timeout")] {
        if let Some(time) = node.text(name).and_then(time) {
            said.push((key, scalar(&time)));
        }
    }
    for (key, name) in [("rise", "health_passes"), ("fall", "health_fails"), ("body", "health_body")] {
        if let Some(text) = node.text(name) {
            said.push((key, if key == "body" { scalar(text) } else { text.to_owned() }));
        }
    }
    if let Some(status) = node.text("health_status") {
        let range = match status.strip_suffix("xx") {
            Some(class) => format!("{class}00-{class}99"),
            None => status.to_owned(),
        };
        said.push(("status", scalar(&range)));
    }
    Some(Entry::line("health", pairs(&said)).from(&uri.place, uri.shown()))
}

fn outliers(node: &Node) -> Option<Entry> {
    let window = node.get("fail_duration")?;
    let time = time(window.word(0)?)?;
    let failures = node.text("max_fails").unwrap_or("1").to_owned();
    let said = [("failures", failures), ("window", scalar(&time)), ("ejection", scalar(&time))];
    Some(Entry::line("outliers", pairs(&said)).from(&window.place, window.shown()))
}

/// What a transport says of TLS and of times.
fn over(transport: &Node) -> Vec<Entry> {
    if transport.seen().first() != Some(&"http") {
        transport.give_back();
        return Vec::new();
    }
    let _ = transport.word(0);
    let (mut tls, mut times) = (Vec::new(), Vec::new());
    if transport.get("tls_insecure_skip_verify").is_some() {
        tls.push(("verify", "false".to_owned()));
    }
    let _ = transport.get("tls");
    if let Some(name) = transport.text("tls_server_name") {
        tls.push(("server_name", scalar(name)));
    }
    for (key, name) in
        [("connect", "dial_timeout"), ("response", "response_header_timeout"), ("idle", "read_timeout")]
    {
        if let Some(time) = transport.text(name).and_then(time) {
            times.push((key, scalar(&time)));
        }
    }
    let _ = transport.get("versions").map(Node::take_whole);
    let entry = |key: &str, said: &[(&str, String)]| {
        Entry::line(key, pairs(said)).from(&transport.place, transport.shown())
    };
    let mut keys = Vec::new();
    if !tls.is_empty() {
        keys.push(entry("upstream_tls", &tls));
    }
    if !times.is_empty() {
        keys.push(entry("timeouts", &times));
    }
    keys
}

/// What the proxy tells every application by itself.
const TOLD: [&str; 5] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "upgrade", "connection"];

fn headers(node: &Node, pool: &mut Pool, imported: &mut Imported) {
    for (name, request) in [("header_up", true), ("header_down", false)] {
        for child in node.all(name) {
            let words = child.words();
            let lower = words.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
            let value = words.get(1).copied().unwrap_or_default();
            if request
                && (TOLD.contains(&lower.as_str())
                    || lower == "host" && ["{host}", "{http.request.host}", "{hostport}"].contains(&value))
            {
                continue;
            }
            let client =
                ["{remote_host}", "{client_ip}", "{http.request.remote.host}", "{http.vars.client_ip}"];
            let named = (request && words.len() == 2 && client.contains(&value))
                .then(|| HeaderChange::Set(words[0].to_owned(), CLIENT_IP.to_owned()));
            match named.or_else(|| change(&words)) {
                Some(change) if lower != "host" => {
                    let action = if request { Action::Request(change) } else { Action::Response(change) };
                    pool.actions.push(At::new(action, &child.place));
                }
                Some(_) | None => {
                    // What Caddy puts in its place the client must not say itself.
                    let name = words.first().copied().unwrap_or_default();
                    if request
                        && !stripped(&lower)
                        && words.len() == 2
                        && !name.starts_with(['+', '-', '?', '>'])
                    {
                        let removed = HeaderChange::Remove(name.to_owned());
                        pool.actions.push(At::new(Action::Request(removed), &child.place));
                    }
                    let suggestion = if lower == "host" {
                        "the application is told the host that the client asked for, and no other"
                    } else {
                        "values of headers are fixed here, and a client's own is taken away; X-Forwarded-For, -Proto, -Host and X-Request-Id are always set"
                    };
                    imported.notes.push(Note::left(&child.place, child.shown(), suggestion));
                }
            }
        }
    }
}

/// `Name value`, `+Name value` or `-Name`; none when the value is not fixed, or something is replaced in it.
pub(super) fn change(words: &[&str]) -> Option<HeaderChange> {
    match words {
        [name] | [name, ""] if name.starts_with('-') => Some(HeaderChange::Remove(name[1..].to_owned())),
        [name, value]
            if !value.contains('{') && !name.starts_with(['-', '?', '>']) && !name.contains('*') =>
        {
            Some(match name.strip_prefix('+') {
                Some(name) => HeaderChange::Add(name.to_owned(), (*value).to_owned()),
                None => HeaderChange::Set((*name).to_owned(), (*value).to_owned()),
            })
        }
        [name, value] if name.starts_with('>') && !value.contains('{') => {
            Some(HeaderChange::Set(name[1..].to_owned(), (*value).to_owned()))
        }
        _ => None,
    }
}
