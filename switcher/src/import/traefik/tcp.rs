//! Traefik's `tcp`: routers and services of raw connections, as applications. Pure.
//!
//! Invariant: a router whose guards or names cannot be said is not carried over, so nobody is let in at its address.

use super::statics::{Door, certificate};
use super::{Source, service, words, yes};
use crate::import::note::Note;
use crate::import::raw::{Mode, Raw};
use crate::import::sheet::Entry;
use crate::import::site::{Imported, Tls, Upstream};
use crate::import::tree::{At, Node};

/// How deep services may be made of each other.
const MAX_DEPTH: usize = 8;

/// Makes an application of every router, and marks the entry points that are theirs alone.
pub(super) fn routers(source: &Source, doors: &mut [Door], imported: &mut Imported) {
    for router in source.entries(&["tcp", "routers"]) {
        router.take();
        match raw(source, router, doors, imported) {
            Ok(raw) => {
                let usual = |door: &Door| [":80", ":443"].iter().any(|port| door.address.ends_with(port));
                for door in doors.iter_mut().filter(|door| raw.listen.contains(&door.address)) {
                    // Requests that name no entry point are served at the others.
                    door.raw = raw.mode == Mode::Off || !usual(door);
                }
                imported.raw.push(raw);
            }
            Err(why) => {
                router.set_aside();
                imported.notes.push(Note::left(&router.whole(), format!("tcp.routers.{}", router.name), why));
            }
        }
    }
}

fn raw(source: &Source, router: &Node, doors: &[Door], imported: &mut Imported) -> Result<Raw, String> {
    let rule = router.get("rule").map(|rule| rule.words().join(" ")).unwrap_or_default();
    let _ = router.get("ruleSyntax").map(Node::take_whole);
    let hosts = names(&rule)?;
    let tls = router.get("tls").filter(|tls| tls.seen().first() != Some(&"false"));
    let _ = tls.map(Node::words);
    let mode = match tls {
        None if !hosts.is_empty() => {
            return Err(
                "a name is heard in TLS alone; add `tls` to the router, or write `tcp` by hand".to_owned()
            );
        }
        None => Mode::Off,
        Some(tls) if yes(tls, "passthrough") => Mode::Passthrough,
        Some(tls) if tls.text("certResolver").is_some() => Mode::Terminate(Tls::Auto),
        Some(_) => Mode::Terminate(certificate(source, imported)),
    };
    for name in router.get("middlewares").map(words).unwrap_or_default() {
        filtered(source, name, router, imported)?;
    }
    let listen = listen(source, router, doors)?;
    let named = router.get("service").map(|service| service.word(0).unwrap_or_default()).unwrap_or_default();
    let mut pool = Pool::default();
    pool.add(source, named, 0, imported)?;
    Ok(Raw {
        place: router.place.clone(),
        what: format!("tcp.routers.{}", router.name),
        name: router.name.clone(),
        listen,
        hosts,
        mode,
        proxy_protocol: None,
        idle: None,
        upstreams: pool.upstreams,
        keys: pool.keys,
    })
}

/// The names of a rule, none for every one; else why it cannot be said.
fn names(rule: &str) -> Result<Vec<String>, String> {
    let mut hosts = Vec::new();
    for part in rule.split("||").map(str::trim) {
        let inner = part.strip_prefix("HostSNI(").and_then(|rest| rest.strip_suffix(')'));
        let Some(inner) = inner.filter(|inner| !inner.contains('(')) else {
            return Err(format!(
                "connections are told apart by `HostSNI` alone here, and not by `{part}`; write `tcp` and `hosts` by hand"
            ));
        };
        for name in inner.split(',').map(|name| name.trim().trim_matches(['`', '"', '\''])) {
            if name == "*" {
                return Ok(Vec::new());
            }
            hosts.push(name.to_ascii_lowercase());
        }
    }
    Ok(hosts)
}

/// What is looked at before a connection is passed on.
fn filtered(source: &Source, name: &str, router: &Node, imported: &mut Imported) -> Result<(), String> {
    let guard = || {
        Err(format!(
            "`{name}` lets only some in, which cannot be said of connections here; nobody is let in at its address: listen at a \
             private one, or let a firewall decide"
        ))
    };
    let Some(middleware) = source.entry(&["tcp", "middlewares"], name) else { return guard() };
    let [one] = middleware.children.as_slice() else { return guard() };
    if !one.name.eq_ignore_ascii_case("inFlightConn") {
        return guard();
    }
    one.set_aside();
    let suggestion =
        "the connections of one client are not counted here; `max_in_flight` bounds those of all";
    let what = format!("tcp.routers.{} > {name}", router.name);
    imported.notes.push(Note::left(&one.whole(), what, suggestion));
    Ok(())
}

/// The addresses of its entry points.
fn listen(source: &Source, router: &Node, doors: &[Door]) -> Result<Vec<String>, String> {
    let Some(named) = router.get("entryPoints") else {
        return Err("it names no entry point, so it shares all of them with requests; write `tcp: {listen: ADDRESS}` by hand".into());
    };
    let mut found = Vec::new();
    for name in words(named) {
        match doors.iter().find(|door| door.name.eq_ignore_ascii_case(name)) {
            Some(door) if is_behind(source, name) => {
                return Err(format!(
                    "{} is reached through balancers that tell the client's address; write `tcp: {{listen: ADDRESS, proxy_protocol: \
                     accept}}` and name them in `trusted_proxies`",
                    door.name
                ));
            }
            Some(door) => found.push(door.address.clone()),
            None => {
                return Err(format!(
                    "the entry point {name} stands in none of the files; name the file that has it too"
                ));
            }
        }
    }
    Ok(found)
}

/// Whether an entry point takes the PROXY protocol.
fn is_behind(source: &Source, name: &str) -> bool {
    let mut doors = source.entries(&["entryPoints"]).into_iter();
    doors.any(|door| door.name.eq_ignore_ascii_case(name) && door.peek("proxyProtocol").is_some())
}

/// Where connections go.
#[derive(Default)]
struct Pool {
    upstreams: Vec<At<Upstream>>,
    keys: Vec<Entry>,
}

impl Pool {
    /// Puts in the upstreams of a service; else says why they cannot be used.
    fn add(
        &mut self,
        source: &Source,
        name: &str,
        depth: usize,
        imported: &mut Imported,
    ) -> Result<(), String> {
        let missing =
            || format!("its service {name} stands in none of the files; name the file that has it too");
        let service =
            source.entry(&["tcp", "services"], name).filter(|_| depth < MAX_DEPTH).ok_or_else(missing)?;
        if let Some(balancer) = service.get("loadBalancer") {
            return self.balanced(balancer, imported);
        }
        let weighted = service.get("weighted").ok_or("its service is of a kind that is not known here")?;
        let mut shares = Vec::new();
        for part in weighted.get("services").into_iter().flat_map(|services| &services.children) {
            part.take();
            let Some(name) = part.text("name") else { continue };
            let weight = part.text("weight").and_then(|weight| weight.parse().ok()).unwrap_or(1);
            let mut own = Self::default();
            own.add(source, name, depth + 1, imported)?;
            shares.push((weight, own.upstreams));
            if self.keys.is_empty() {
                self.keys = own.keys;
            }
        }
        self.upstreams.extend(service::shared(shares));
        Ok(())
    }

    fn balanced(&mut self, balancer: &Node, imported: &mut Imported) -> Result<(), String> {
        for server in balancer.get("servers").into_iter().flat_map(|servers| &servers.children) {
            server.take();
            if yes(server, "tls") {
                return Err(
                    "its servers are spoken to by TLS, and ours get bytes as they come; use `passthrough`"
                        .to_owned(),
                );
            }
            let Some(address) = server.text("address") else { continue };
            let upstream = Upstream { address: address.to_owned(), weight: None };
            self.upstreams.push(At::new(upstream, &server.place));
        }
        if let Some(told) = balancer.get("proxyProtocol") {
            let version = if told.text("version") == Some("1") { "v1" } else { "v2" };
            self.keys
                .push(Entry::line("upstream_proxy_protocol", version).from(&told.place, "proxyProtocol"));
        }
        if let Some(delay) = balancer.get("terminationDelay") {
            imported.needless("terminationDelay", &delay.take_whole().place);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_tls_and_a_star_is_every_one() {
        for (rule, wanted) in [
            ("HostSNI(`*`)", Some(&[][..])),
            ("HostSNI(`A.example`)", Some(&["a.example"][..])),
            ("HostSNI(`a.example`, `b.example`)", Some(&["a.example", "b.example"][..])),
            ("HostSNI(`a.example`) || HostSNI(`b.example`)", Some(&["a.example", "b.example"][..])),
            ("HostSNI(`a.example`) && ClientIP(`10.0.0.0/8`)", None),
            ("HostSNIRegexp(`^a`)", None),
            ("!HostSNI(`a.example`)", None),
            ("", None),
        ] {
            let found = names(rule).ok();
            let found: Option<Vec<&str>> =
                found.as_ref().map(|hosts| hosts.iter().map(String::as_str).collect());
            assert_eq!(found.as_deref(), wanted, "{rule}");
        }
    }
}
