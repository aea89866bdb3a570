//! Where `proxy_pass` leads: `upstream` blocks, addresses, and what they say of balancing. Pure.

use super::scope::Scope;
use crate::import::note::Note;
use crate::import::sheet::{Entry, pairs, scalar};
use crate::import::site::{Imported, Upstream};
use crate::import::tree::{At, Node};
use crate::import::values;

/// The most tries of a request that are written.
const MOST_ATTEMPTS: usize = 10;

/// Where requests go.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    /// The name of the `upstream` block.
    pub(super) name: Option<String>,
    pub(super) upstreams: Vec<At<Upstream>>,
    pub(super) keys: Vec<Entry>,
    /// What stands in the place of the location's prefix.
    pub(super) uri: Option<String>,
}

/// The pool of a `proxy_pass` or `grpc_pass`; else why it cannot be told.
pub(super) fn pool(
    pass: &Node,
    scope: &Scope<'_>,
    root: &[&Node],
    imported: &mut Imported,
) -> Result<Pool, String> {
    let target = resolved(pass.word(0).unwrap_or_default(), scope)?;
    let (scheme, rest) = target.split_once("://").unwrap_or(("http", &target));
    let protocol = match (scheme, pass.name.as_str()) {
        ("https" | "grpcs", _) => "https://",
        ("grpc", _) | (_, "grpc_pass") => "h2c://",
        _ => "",
    };
    let (authority, uri) = match rest.strip_prefix("unix:") {
        Some(path) => {
            let (socket, uri) =
                path.split_once(':').map_or((path, None), |(socket, uri)| (socket, Some(uri)));
            (format!("unix:{socket}"), uri.map(str::to_owned))
        }
        None => match rest.find('/') {
            Some(at) => (rest[..at].to_owned(), Some(rest[at..].to_owned())),
            None => (rest.to_owned(), None),
        },
    };
    let uri = uri.filter(|uri| !uri.is_empty());
    let block = root
        .iter()
        .flat_map(|level| level.all("upstream"))
        .find(|block| block.seen().first().is_some_and(|name| *name == authority));
    let mut pool = match block {
        Some(block) => members(block, protocol, imported),
        None => {
            let address = address(&authority, protocol);
            Pool {
                upstreams: vec![At::new(Upstream { address, weight: None }, &pass.place)],
                ..Pool::default()
            }
        }
    };
    pool.uri = uri;
    if protocol == "https://" && scope.text("proxy_ssl_verify") != Some("on") {
        pool.keys.push(
            Entry::line("upstream_tls", "{verify: false}")
                .from(&pass.place, pass.shown())
                .behind("as nginx does it; better with `ca_file`"),
        );
    }
    Ok(pool)
}

/// The text with the variables that were set to a text.
fn resolved(text: &str, scope: &Scope<'_>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = rest[at + 1..].trim_start_matches('{');
        let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
        let name = &after[..end];
        if name == "request_uri" || name == "uri" {
            // The whole target is what is sent anyway.
        } else if let Some(value) = scope.set(name).filter(|value| !value.contains('$')) {
            out.push_str(value);
        } else {
            return Err(format!(
                "it leads where `${name}` says, which is known only when a request comes; write `slots` by hand"
            ));
        }
        rest = after[end..].trim_start_matches('}');
    }
    Ok(out + rest)
}

pub(super) fn address(authority: &str, protocol: &str) -> String {
    let open = authority.rsplit(']').next().unwrap_or(authority);
    if let Some(path) = authority.strip_prefix("unix:") {
        return format!("{protocol}unix:/{}", path.trim_start_matches('/'));
    }
    if open.contains(':') {
        return format!("{protocol}{authority}");
    }
    format!("{protocol}{authority}:{}", if protocol == "https://" { 443 } else { 80 })
}

pub(super) fn members(block: &Node, protocol: &str, imported: &mut Imported) -> Pool {
    let mut pool = Pool { name: block.word(0).map(str::to_owned), ..Pool::default() };
    let mut outlier: Option<Entry> = None;
    for server in block.all("server") {
        let Some(host) = server.word(0) else { continue };
        let mut weight = None;
        let mut backup = false;
        let (mut fails, mut window) = (None, None);
        for (index, word) in server.seen().into_iter().enumerate().skip(1) {
            match word.split_once('=') {
                Some(("weight", number)) => weight = number.parse().ok(),
                Some(("max_fails", number)) => fails = number.parse::<u32>().ok(),
                Some(("fail_timeout", text)) => window = values::time(text),
                None if word == "down" => weight = Some(0),
                None if word == "backup" => backup = true,
                None if word == "resolve" => {}
                Some(_) | None => continue,
            }
            let _ = server.word(index);
        }
        if backup {
            let suggestion = "nobody waits in reserve here: a slot's upstreams all serve, and those that fail are left out";
            imported.notes.push(Note::left(&server.place, server.shown(), suggestion));
            continue;
        }
        window = window.filter(|window| window != "0s");
        if fails.is_some_and(|fails| fails > 0) || window.is_some() && fails != Some(0) {
            let window = window.unwrap_or_else(|| "10s".to_owned());
            let said = [
                ("failures", fails.unwrap_or(1).to_string()),
                ("window", window.clone()),
                ("ejection", window),
            ];
            outlier.get_or_insert(Entry::line("outliers", pairs(&said)).from(&server.place, server.shown()));
        }
        let upstream =
            Upstream { address: address(host, protocol), weight: weight.filter(|weight| *weight != 1) };
        pool.upstreams.push(At::new(upstream, &server.place));
    }
    pool.keys.extend(balance(block, imported));
    pool.keys.extend(outlier);
    for name in ["keepalive", "keepalive_timeout", "keepalive_requests", "keepalive_time", "zone"] {
        for node in block.all(name) {
            imported.needless(name, &node.take_whole().place);
        }
    }
    pool
}

fn balance(block: &Node, imported: &mut Imported) -> Option<Entry> {
    let of = |node: &Node, value: String| Some(Entry::line("balance", value).from(&node.place, node.shown()));
    if let Some(node) = block.get("least_conn") {
        return of(node, "least_in_flight".to_owned());
    }
    if let Some(node) = block.get("ip_hash") {
        return of(node, "{hash: client}".to_owned());
    }
    if let Some(node) = block.get("hash") {
        let key = node.word(0).unwrap_or_default();
        if node.seen().get(1) == Some(&"consistent") {
            let _ = node.word(1);
        }
        let by = match key {
            "$remote_addr" | "$binary_remote_addr" => "client".to_owned(),
            "$request_uri" | "$uri" => "path".to_owned(),
            _ => match (key.strip_prefix("$http_"), key.strip_prefix("$cookie_")) {
                (Some(header), _) => format!("header {}", header.replace('_', "-")),
                (None, Some(cookie)) => format!("cookie {cookie}"),
                (None, None) => {
                    let suggestion = "requests are hashed by client, path, a header or a cookie: `balance: {hash: client}`";
                    imported.notes.push(Note::left(&node.place, node.shown(), suggestion));
                    return None;
                }
            },
        };
        return of(node, format!("{{hash: {}}}", scalar(&by)));
    }
    let node = block.peek("sticky").filter(|node| node.seen().first() == Some(&"cookie"))?.take();
    let _ = node.word(0);
    of(node, pairs(&[("sticky", scalar(node.word(1)?))]))
}
/// When the next upstream is tried: where there are several, as nginx does it by itself or is told to.
pub(super) fn retries(
    scope: &Scope<'_>,
    upstreams: &[At<Upstream>],
    imported: &mut Imported,
) -> Option<Entry> {
    let (said, tries) = (scope.one("proxy_next_upstream"), scope.one("proxy_next_upstream_tries"));
    // Where there is one alone, nginx has nobody else to try.
    [said, tries].into_iter().flatten().for_each(Node::set_aside);
    let second = upstreams.get(1)?;
    let place = said.or(tries).map_or(&second.place, |node| &node.place);
    let (mut on, mut others) = (Vec::new(), Vec::new());
    for word in said.map_or_else(|| vec!["error"], Node::words) {
        match word {
            "error" => on.extend(["connect", "reset"]),
            "http_502" => on.push("502"),
            "http_503" => on.push("503"),
            "http_504" => on.push("504"),
            other => others.push(other),
        }
    }
    let asked = tries.and_then(|node| node.word(0)?.parse::<usize>().ok()).filter(|tries| *tries > 0);
    let attempts = if others == ["off"] { 1 } else { asked.unwrap_or(upstreams.len()).min(MOST_ATTEMPTS) };
    if let Some(said) = said.filter(|_| attempts > 1 && !others.is_empty()) {
        let suggestion = format!(
            "another upstream is tried after `connect`, `reset`, 502, 503 and 504, and not after {}",
            others.join(", ")
        );
        imported.notes.push(Note::left(&said.place, said.name.clone(), suggestion));
    }
    let mut keys = vec![("attempts", attempts.to_string())];
    keys.extend((!on.is_empty()).then(|| ("on", format!("[{}]", on.join(", ")))));
    Some(Entry::line("retries", pairs(&keys)).from(place, "proxy_next_upstream"))
}
