//! Traefik's static configuration: entry points, authorities, and what needs nothing. Pure.

use super::{Source, words, yes};
use crate::import::action::Later;
use crate::import::note::Note;
use crate::import::sheet::{Entry, list};
use crate::import::site::{Imported, Tls};
use crate::import::tree::{At, Node, Place};

/// An entry point.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) place: Place,
    /// Whether it speaks TLS for every router.
    pub(super) tls: bool,
    /// Whether it sends everything on to another one.
    pub(super) sent: bool,
    /// Whether it belongs to a router of raw connections.
    pub(super) raw: bool,
    /// The middlewares of every router.
    pub(super) middlewares: Vec<String>,
}

/// The entry points; those that most people have when no file names them.
pub(super) fn doors(source: &Source, imported: &mut Imported) -> Vec<Door> {
    let mut doors = Vec::new();
    for node in source.entries(&["entryPoints"]) {
        node.take();
        let address = node.text("address").unwrap_or(":80").trim_end_matches("/tcp").to_owned();
        let udp = address.ends_with("/udp");
        if udp {
            node.give_back();
            continue;
        }
        let http = node.get("http");
        let middlewares = http.and_then(|http| http.get("middlewares")).map(words).unwrap_or_default();
        doors.push(Door {
            name: node.name.clone(),
            address: if address.starts_with(':') { format!("0.0.0.0{address}") } else { address },
            place: node.place.clone(),
            tls: http
                .and_then(|http| http.peek("tls"))
                .is_some_and(|tls| tls.seen().first() != Some(&"false")),
            raw: false,
            sent: http.is_some_and(|http| redirection(http, imported)),
            middlewares: middlewares.into_iter().map(str::to_owned).collect(),
        });
        if let Some(tls) = http.and_then(|http| http.get("tls")) {
            tls.take_whole();
        }
        trusted(node, imported);
    }
    if doors.is_empty() {
        for (name, address) in [("web", "0.0.0.0:80"), ("websecure", "0.0.0.0:443")] {
            doors.push(Door {
                name: name.to_owned(),
                address: address.to_owned(),
                place: source.root.place.clone(),
                tls: false,
                sent: false,
                raw: false,
                middlewares: Vec::new(),
            });
        }
    }
    doors
}

fn redirection(http: &Node, imported: &mut Imported) -> bool {
    let Some(to) = http.get("redirections").and_then(|redirections| redirections.get("entryPoint")) else {
        return false;
    };
    let (scheme, _, _) = (to.text("scheme"), to.text("to"), to.text("permanent"));
    if scheme == Some("http") {
        to.give_back();
        return false;
    }
    let suggestion = "plain HTTP is sent on to https by `redirect`, with 308: a POST stays one";
    imported.notes.push(Note::differs(&to.place, "redirections.entryPoint", suggestion));
    true
}

fn trusted(node: &Node, imported: &mut Imported) {
    let Some(headers) = node.get("forwardedHeaders") else { return };
    let Some(networks) = headers.get("trustedIPs") else { return };
    let networks = words(networks);
    imported.proxy.retain(|entry| entry.key != "trusted_proxies");
    imported.proxy.push(
        Entry::line("trusted_proxies", list(&networks)).from(&headers.place, "forwardedHeaders.trustedIPs"),
    );
}

/// The authority's keys, and where certificates are from that no authority gives.
pub(super) fn rest(source: &Source, imported: &mut Imported) {
    for resolver in source.entries(&["certificatesResolvers"]) {
        resolver.take();
        let Some(acme) = resolver.get("acme") else { continue };
        let known = |imported: &Imported, key: &str| imported.acme.iter().any(|entry| entry.key == key);
        if let Some(email) = acme.get("email")
            && let Some(text) = email.word(0)
            && !known(imported, "email")
        {
            imported.acme.push(Entry::text("email", text).from(&email.place, "email"));
        }
        if let Some(server) = acme.get("caServer")
            && let Some(url) = server.word(0)
            && !known(imported, "directory")
        {
            imported.acme.push(Entry::text("directory", url).from(&server.place, "caServer"));
        }
        for name in ["storage", "tlsChallenge", "httpChallenge", "keyType"] {
            for node in acme.all(name) {
                imported.needless(&format!("acme.{name}"), &node.take_whole().place);
            }
        }
    }
    for name in ["providers", "global", "log", "ping", "pilot", "core"] {
        for node in source.below(&[name]) {
            imported.needless(name, &node.take_whole().place);
        }
    }
    for node in source.below(&["udp"]) {
        for (what, inner) in
            node.children.iter().flat_map(|inner| inner.children.iter().map(move |i| (inner, i)))
        {
            inner.take_whole();
            what.take();
            let told = format!("udp.{}.{}", what.name, inner.name);
            imported.notes.push(Note::left(&inner.whole(), told, Later::Tcp.suggestion()));
        }
    }
    for kind in ["services", "middlewares"] {
        source.below(&["tcp", kind]).into_iter().for_each(|section| {
            section.take();
        });
    }
}

/// Where the certificates of routers are from that name no authority.
pub(super) fn certificate(source: &Source, imported: &mut Imported) -> Tls {
    let mut files: Vec<(At<String>, String)> = Vec::new();
    let listed = source.entries(&["tls", "certificates"]);
    let default = source
        .entries(&["tls", "stores"])
        .into_iter()
        .map(Node::take)
        .filter_map(|store| store.get("defaultCertificate"));
    for node in listed.into_iter().chain(default) {
        node.take();
        let _ = node.get("stores").map(Node::take_whole);
        if let (Some(certificate), Some(key)) = (node.text("certFile"), node.text("keyFile")) {
            files.push((At::new(certificate.to_owned(), &node.place), key.to_owned()));
        }
    }
    if files.len() > 1 {
        let suggestion = "Traefik looks into each certificate for its names; write the right one as `tls` of each application";
        imported.notes.push(Note::differs(&files[1].0.place, "tls.certificates", suggestion));
    }
    match files.into_iter().next() {
        Some((certificate, key)) => Tls::Files { certificate: certificate.value, key },
        None => Tls::Internal,
    }
}

/// Whether a transport leaves the certificates of upstreams unlooked at, and what else it says.
pub(super) fn transport(source: &Source, name: &str) -> Option<Entry> {
    let node = source.entry(&["http", "serversTransports"], name)?;
    let mut said = Vec::new();
    if yes(node, "insecureSkipVerify") {
        said.push(("verify", "false".to_owned()));
    }
    if let Some(name) = node.text("serverName") {
        said.push(("server_name", crate::import::sheet::scalar(name)));
    }
    if let Some(file) = node.get("rootCAs").and_then(|roots| roots.word(0)) {
        said.push(("ca_file", crate::import::sheet::scalar(file)));
    }
    let entry = Entry::line("upstream_tls", crate::import::sheet::pairs(&said));
    (!said.is_empty()).then(|| entry.from(&node.place, "serversTransport"))
}
