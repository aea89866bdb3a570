//! `stream`: servers of raw TCP, and `map $ssl_preread_server_name` as the names that lead to each. Pure.
//!
//! Invariant: a server whose guards cannot be said is not carried over, so nobody is let in at its address.

use super::scope::Scope;
use super::server::{certificate, listen};
use super::upstream::{address, members};
use crate::import::note::Note;
use crate::import::raw::{Mode, Raw};
use crate::import::sheet::{Entry, list, pairs, scalar};
use crate::import::site::{Imported, Upstream};
use crate::import::tree::{At, Node, Place};
use crate::import::values::time;

/// How long nginx lets a connection be silent without a word.
const SILENT: &str = "10m";

/// What ours does not do with connections.
const REFUSED: [&str; 9] =
    ["allow", "deny", "js_access", "js_preread", "js_filter", "include", "proxy_ssl", "return", "pass"];

/// Makes applications of every server of a `stream` block.
pub(super) fn servers(stream: &Node, imported: &mut Imported) {
    for server in stream.all("server") {
        match raw(server, stream, imported) {
            Ok(raws) => imported.raw.extend(raws),
            Err(why) => {
                server.set_aside();
                imported.notes.push(Note::left(&server.whole(), shown(server), why));
            }
        }
    }
}

/// A server by its addresses.
fn shown(server: &Node) -> String {
    let listens = server.children.iter().filter(|child| child.name == "listen").map(Node::shown);
    format!("stream > server ({})", listens.collect::<Vec<_>>().join(", "))
}

/// A server's applications: one, or one for each upstream that a name leads to. Else why there is none.
fn raw(server: &Node, stream: &Node, imported: &mut Imported) -> Result<Vec<Raw>, String> {
    let door = door(server)?;
    let mut children = stream.children.iter().chain(&server.children);
    let harmless = |node: &Node| node.seen() == ["off"] || node.name == "allow" && node.seen() == ["all"];
    if let Some(refused) = children.find(|child| REFUSED.contains(&child.name.as_str()) && !harmless(child)) {
        return Err(format!(
            "`{}` cannot be said of connections here, so nobody is let in at this address; listen at a private one, or let a \
             firewall decide",
            refused.shown()
        ));
    }
    let scope = Scope::of(&[stream, server]);
    let pass = server.peek("proxy_pass").ok_or("it leads nowhere that is known here; write `tcp` by hand")?;
    let target = pass.seen().first().copied().unwrap_or_default();
    let ways = match target.strip_prefix('$') {
        Some(variable) => ways(variable, stream)?,
        None => vec![Way { place: server.place.clone(), hosts: Vec::new(), target: target.to_owned() }],
    };
    pass.take_whole();
    let named = target.starts_with('$');
    let mode = match (door.tls, named) {
        (true, _) => Mode::Terminate(certificate(&scope)),
        (false, true) => Mode::Passthrough,
        (false, false) => Mode::Off,
    };
    if named && ways.iter().any(|way| way.hosts.is_empty()) {
        let suggestion = "who names no host, or speaks no TLS, is not let in here";
        imported.notes.push(Note::differs(&pass.place, shown(server), suggestion));
    }
    let _ = scope.one("ssl_preread").map(Node::take_whole);
    if door.proxy {
        trusted(&scope, imported);
    }
    let keys = keys(&scope);
    let idle = scope.text("proxy_timeout").and_then(time).unwrap_or_else(|| SILENT.to_owned());
    let made = ways.into_iter().map(|way| {
        let mut raw = Raw {
            place: way.place,
            what: shown(server),
            name: format!("tcp-{}", door.listen[0].rsplit(':').next().unwrap_or_default()),
            listen: door.listen.clone(),
            hosts: way.hosts,
            mode: mode.clone(),
            proxy_protocol: door.proxy.then_some("require"),
            idle: Some(idle.clone()),
            upstreams: Vec::new(),
            keys: keys.clone(),
        };
        lead(&mut raw, &way.target, pass, stream, imported);
        raw
    });
    Ok(made.collect())
}

/// How a server is reached.
struct Door {
    listen: Vec<String>,
    tls: bool,
    proxy: bool,
}

fn door(server: &Node) -> Result<Door, String> {
    let mut door = Door { listen: Vec::new(), tls: false, proxy: false };
    for node in server.all("listen") {
        let words = node.seen();
        let Some((address, options)) = words.split_first() else { continue };
        if options.contains(&"udp") {
            return Err("datagrams are not passed on here; publish this port another way".to_owned());
        }
        door.tls |= options.contains(&"ssl");
        door.proxy |= options.contains(&"proxy_protocol");
        door.listen.push(listen(address, false));
        for (index, word) in words.iter().enumerate() {
            let known = ["ssl", "proxy_protocol", "reuseport", "deferred", "bind"].contains(word)
                || ["backlog=", "ipv6only=", "fastopen=", "so_keepalive=", "rcvbuf=", "sndbuf="]
                    .iter()
                    .any(|start| word.starts_with(start));
            if index == 0 || known {
                let _ = node.word(index);
            }
        }
    }
    if door.listen.is_empty() { Err("it listens nowhere".to_owned()) } else { Ok(door) }
}

/// The balancers in front that a server believes.
fn trusted(scope: &Scope<'_>, imported: &mut Imported) {
    let nodes = scope.all("set_real_ip_from");
    let networks: Vec<String> = nodes.iter().filter_map(|node| node.word(0)).map(str::to_owned).collect();
    let (Some(first), false) = (nodes.first(), networks.is_empty()) else { return };
    let known = imported.proxy.iter().position(|entry| entry.key == "trusted_proxies");
    if known.is_some() {
        return;
    }
    let suggestion = "they are believed about the clients of every listener here, also by X-Forwarded-For";
    imported.notes.push(Note::differs(&first.place, first.shown(), suggestion));
    let entry = Entry::line("trusted_proxies", list(&networks)).from(&first.place, first.shown());
    imported.proxy.push(entry);
}

/// What is said of connections besides where they go.
fn keys(scope: &Scope<'_>) -> Vec<Entry> {
    let mut keys = Vec::new();
    if let Some(node) = scope.one("proxy_connect_timeout")
        && let Some(connect) = node.word(0).and_then(time)
    {
        let said = pairs(&[("connect", scalar(&connect))]);
        keys.push(Entry::line("timeouts", said).from(&node.place, node.shown()));
    }
    if let Some(node) = scope.one("proxy_protocol").filter(|node| node.word(0) == Some("on")) {
        keys.push(Entry::line("upstream_proxy_protocol", "v1").from(&node.place, node.shown()));
    }
    keys
}

/// Names that lead to one upstream.
struct Way {
    place: Place,
    hosts: Vec<String>,
    target: String,
}

/// What a `map` of the name in the TLS says; else why it cannot be said.
fn ways(variable: &str, stream: &Node) -> Result<Vec<Way>, String> {
    let fits = |map: &&Node| {
        map.name == "map"
            && matches!(map.seen()[..], ["$ssl_preread_server_name" | "$ssl_server_name", own]
                if own.strip_prefix('$') == Some(variable))
    };
    let Some(map) = stream.children.iter().find(fits) else {
        return Err(format!(
            "it leads where `${variable}` says, which is more than the name in the TLS; write `tcp` and `hosts` by hand"
        ));
    };
    let mut ways: Vec<Way> = Vec::new();
    for line in &map.children {
        let value = line.seen().first().map(|word| (*word).to_owned());
        let hosts = match (line.name.as_str(), value.is_some()) {
            ("hostnames" | "volatile", false) => continue,
            ("default", _) => Vec::new(),
            (name, true) if name.starts_with('.') => vec![name[1..].to_owned(), format!("*{name}")],
            (name, true) if !name.starts_with('~') && !name.is_empty() && name != "include" => {
                vec![name.to_owned()]
            }
            (name, _) => {
                return Err(format!(
                    "`{name}` of its map is no name; `hosts` are names, or `*.` and a name: write which are meant by hand"
                ));
            }
        };
        let target = value.unwrap_or_default();
        if target.is_empty() {
            continue;
        }
        // Everything else stays by itself, for it has no names.
        match ways.iter_mut().find(|way| way.target == target && way.hosts.is_empty() == hosts.is_empty()) {
            Some(way) => way.hosts.extend(hosts),
            None => ways.push(Way { place: line.place.clone(), hosts, target }),
        }
    }
    map.take_whole();
    Ok(ways)
}

/// Puts in where connections go.
fn lead(raw: &mut Raw, target: &str, pass: &Node, stream: &Node, imported: &mut Imported) {
    let block = stream.all("upstream").find(|block| block.seen().first() == Some(&target));
    match block {
        Some(block) => {
            let pool = members(block, "", imported);
            raw.upstreams = pool.upstreams;
            raw.keys.extend(pool.keys);
            target.clone_into(&mut raw.name);
        }
        None => {
            let upstream = Upstream { address: address(target, ""), weight: None };
            raw.upstreams = vec![At::new(upstream, &pass.place)];
            if let Some(host) = raw.hosts.first() {
                raw.name.clone_from(host);
            }
        }
    }
}
