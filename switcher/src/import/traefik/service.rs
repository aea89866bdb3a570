//! Traefik's services: load balancers, and those that are made of other services. Pure.

use super::{Source, statics, yes};
use crate::import::action::Later;
use crate::import::note::Note;
use crate::import::sheet::{Entry, pairs, scalar};
use crate::import::site::{Imported, Upstream};
use crate::import::tree::{At, Node};
use crate::import::values::time;

/// Where requests go, with the keys that say how.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    pub(super) upstreams: Vec<At<Upstream>>,
    pub(super) keys: Vec<Entry>,
    /// Where copies of requests go.
    pub(super) copied: Vec<At<Upstream>>,
}

/// How deep services may be made of each other.
const MAX_DEPTH: usize = 8;

/// The pool of a service; none when it is not there, which is told.
pub(super) fn pool(
    source: &Source,
    name: &str,
    from: &Node,
    depth: usize,
    imported: &mut Imported,
) -> Option<Pool> {
    if name.ends_with("@internal") {
        let suggestion = "this is Traefik's own; `proxy.status` serves /status, /metrics and /health";
        imported.notes.push(Note::left(&from.place, format!("service {name}"), suggestion));
        return None;
    }
    let Some(service) = source.entry(&["http", "services"], name).filter(|_| depth < MAX_DEPTH) else {
        let suggestion = "this service stands in none of the files; name the file that has it too";
        imported.notes.push(Note::left(&from.place, format!("service {name}"), suggestion));
        return None;
    };
    if let Some(balancer) = service.get("loadBalancer") {
        return Some(balanced(source, balancer, imported));
    }
    if let Some(weighted) = service.get("weighted") {
        return parts(source, weighted, depth, imported);
    }
    let reserve = "nobody waits in reserve here; a standby slot is switched to by hand";
    if let Some(mirroring) = service.get("mirroring") {
        return mirrored(source, mirroring, from, depth, imported);
    }
    if let Some(node) = service.get("failover") {
        let main = node.text("service")?;
        imported.notes.push(Note::left(
            &node.whole(),
            format!("services.{}.failover", service.name),
            reserve,
        ));
        node.children.iter().for_each(Node::set_aside);
        return pool(source, main, from, depth + 1, imported);
    }
    None
}

/// The main service, with the first of the others as the place that copies go to.
fn mirrored(
    source: &Source,
    mirroring: &Node,
    from: &Node,
    depth: usize,
    imported: &mut Imported,
) -> Option<Pool> {
    let mut whole = pool(source, mirroring.text("service")?, from, depth + 1, imported)?;
    for name in ["mirrorBody", "maxBodySize"] {
        let _ = mirroring.get(name).map(Node::take_whole);
    }
    for mirror in mirroring.get("mirrors").into_iter().flat_map(|mirrors| &mirrors.children) {
        mirror.take();
        let percent = mirror.text("percent").and_then(|text| text.parse::<u8>().ok()).unwrap_or(0);
        let share = (whole.copied.is_empty() && (1..=100).contains(&percent)).then_some(percent);
        let name = mirror.text("name").unwrap_or_default();
        let copied = share.and_then(|_| pool(source, name, mirror, depth + 1, imported));
        match (share, copied) {
            (Some(share), Some(copied)) => {
                whole.copied = copied.upstreams;
                let entry = Entry::line("mirror", format!("{{share: {share}%}}"));
                whole.keys.push(entry.from(&mirror.place, format!("mirrors {name}")));
                imported.notes.push(Note::differs(&mirror.place, format!("mirrors {name}"), Later::MIRRORED));
            }
            (Some(_) | None, _) => {
                let what = format!("mirrors {name}");
                imported.notes.push(Note::left(&mirror.place, what, Later::Mirror.suggestion()));
            }
        }
    }
    Some(whole)
}

/// One pool of several, each with its share.
fn parts(source: &Source, weighted: &Node, depth: usize, imported: &mut Imported) -> Option<Pool> {
    let mut whole = Pool::default();
    let mut shares: Vec<(u64, Vec<At<Upstream>>)> = Vec::new();
    let services = weighted.get("services")?;
    for part in &services.children {
        part.take();
        let (Some(name), weight) = (part.text("name"), part.text("weight")) else { continue };
        let Some(pool) = pool(source, name, part, depth + 1, imported) else { continue };
        let weight = weight.and_then(|weight| weight.parse().ok()).unwrap_or(1);
        shares.push((weight, pool.upstreams));
        if whole.keys.is_empty() {
            whole.keys = pool.keys;
        }
    }
    whole.upstreams = shared(shares);
    let suggestion = "their upstreams share one slot, by the weights of their services; `switcher canary` sends a share to the \
                      next version";
    imported.notes.push(Note::differs(&weighted.place, "weighted", suggestion));
    (!whole.upstreams.is_empty()).then_some(whole)
}

/// Upstreams with weights, such that each service gets its share however many it has.
pub(super) fn shared(shares: Vec<(u64, Vec<At<Upstream>>)>) -> Vec<At<Upstream>> {
    let own = |at: &At<Upstream>| at.value.weight.unwrap_or(1);
    let sum = |upstreams: &[At<Upstream>]| upstreams.iter().map(own).fold(0_u64, u64::saturating_add).max(1);
    let whole = shares.iter().map(|(_, upstreams)| sum(upstreams)).fold(1_u64, u64::saturating_mul);
    let mut found: Vec<At<Upstream>> = Vec::new();
    for (weight, upstreams) in shares {
        let part = weight.saturating_mul(whole / sum(&upstreams));
        found.extend(upstreams.into_iter().map(|mut at| {
            at.value.weight = Some(part.saturating_mul(own(&at)));
            at
        }));
    }
    let least = found.iter().filter_map(|at| at.value.weight).fold(0, divisor).max(1);
    for at in &mut found {
        at.value.weight = at.value.weight.map(|weight| weight / least).filter(|weight| *weight != 1);
    }
    found
}

/// The greatest common divisor.
const fn divisor(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

fn balanced(source: &Source, balancer: &Node, imported: &mut Imported) -> Pool {
    let mut pool = Pool::default();
    if let Some(servers) = balancer.get("servers") {
        for server in &servers.children {
            server.take();
            let Some(url) = server.text("url") else { continue };
            let weight = server.text("weight").and_then(|weight| weight.parse().ok());
            if let Some(address) = address(url, server, imported) {
                pool.upstreams.push(At::new(Upstream { address, weight }, &server.place));
            }
        }
    }
    match balancer.text("serversTransport") {
        Some(name) => pool.keys.extend(statics::transport(source, name)),
        None => imported.notes.push(Note::patient(&balancer.place, "an application that is slow")),
    }
    if let Some(pass) = balancer.get("passHostHeader")
        && pass.word(0) == Some("false")
    {
        let suggestion = "the application is told the host that the client asked for, and no other";
        imported.notes.push(Note::left(&pass.place, "passHostHeader", suggestion));
    }
    if let Some(sticky) = balancer.get("sticky") {
        let cookie = sticky.get("cookie");
        let name = cookie.and_then(|cookie| cookie.text("name")).unwrap_or("switcher_at");
        if let Some(cookie) = cookie {
            for (key, suggestion) in
                [("secure", "it is Secure where TLS is spoken"), ("httpOnly", "it is HttpOnly by itself")]
            {
                let _ = (cookie.get(key).map(Node::take_whole), suggestion);
            }
        }
        pool.keys
            .push(Entry::line("balance", pairs(&[("sticky", scalar(name))])).from(&sticky.place, "sticky"));
    } else if balancer.text("strategy") == Some("p2c") {
        pool.keys.push(Entry::line("balance", "least_in_flight").from(&balancer.place, "strategy"));
    }
    pool.keys.extend(balancer.get("healthCheck").and_then(health));
    let _ = balancer.get("responseForwarding").map(Node::take_whole);
    pool
}

fn address(url: &str, server: &Node, imported: &mut Imported) -> Option<String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() {
        let suggestion =
            "the path of a server's address is not used; put it in front with `rewrite: {prefix: …}`";
        imported.notes.push(Note::differs(&server.place, "url", suggestion));
    }
    let (protocol, port) = match scheme {
        "https" => ("https://", 443),
        "h2c" => ("h2c://", 80),
        _ => ("", 80),
    };
    let open = authority.rsplit(']').next().unwrap_or(authority);
    let authority = if open.contains(':') { authority.to_owned() } else { format!("{authority}:{port}") };
    (!authority.starts_with(':')).then(|| format!("{protocol}{authority}"))
}

fn health(check: &Node) -> Option<Entry> {
    let mut said = Vec::new();
    if check.text("mode") == Some("grpc") {
        said.push(("protocol", "grpc".to_owned()));
    } else {
        said.push(("path", scalar(check.text("path")?)));
    }
    for (key, name) in [("interval", "interval"), ("timeout", "timeout")] {
        if let Some(time) = check.text(name).and_then(time) {
            said.push((key, scalar(&time)));
        }
    }
    if let Some(host) = check.text("hostname") {
        said.push(("host", scalar(host)));
    }
    if let Some(status) = check.text("status") {
        said.push(("status", scalar(status)));
    }
    let _ = yes(check, "followRedirects");
    Some(Entry::line("health", pairs(&said)).from(&check.place, "healthCheck"))
}
