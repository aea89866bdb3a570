//! A site block as a site: addresses, certificates, and the routes of its block. Pure.

use super::Globals;
use super::block;
use crate::import::note::Note;
use crate::import::sheet::{Entry, scalar};
use crate::import::site::{Imported, Match, Route, Site, Tls};
use crate::import::tree::{At, Node};

/// Where a site is reached, as an address says it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    scheme: Option<String>,
    host: String,
    port: Option<String>,
    path: String,
}

fn address(text: &str) -> Address {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme.to_owned()), rest),
        None => (None, text),
    };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let open = authority.rsplit(']').next().unwrap_or(authority);
    let (host, port) = match open.rsplit_once(':') {
        Some((_, port)) => (&authority[..authority.len() - port.len() - 1], Some(port.to_owned())),
        None => (authority, None),
    };
    Address { scheme, host: host.trim_matches(['[', ']']).to_ascii_lowercase(), port, path: path.to_owned() }
}

/// Names that no authority knows.
fn is_private(host: &str) -> bool {
    let ends = [".localhost", ".local", ".internal", ".home.arpa", ".test", ".lan"];
    host == "localhost"
        || ends.iter().any(|end| host.ends_with(end))
        || host.parse::<std::net::IpAddr>().is_ok()
}

pub(super) fn site(node: &Node, globals: &Globals, imported: &mut Imported) {
    let mut texts = vec![node.name.trim_end_matches(',').to_owned()];
    texts.extend(node.words().into_iter().map(|word| word.trim_end_matches(',').to_owned()));
    let addresses: Vec<Address> =
        texts.iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty()).map(address).collect();
    if node.children.is_empty() {
        let suggestion = "a site without directives serves nothing; a directive out of a site does nothing";
        imported.notes.push(Note::left(&node.place, node.shown(), suggestion));
        return;
    }
    let said = tls(node, imported);
    // What differs in more than the host is a site of its own.
    for secure in [true, false] {
        let of: Vec<&Address> =
            addresses.iter().filter(|address| is_secure(address, &said, globals) == secure).collect();
        if of.is_empty() {
            continue;
        }
        let doors = listen(&of, secure, globals, node, imported);
        let hosts: Vec<At<String>> =
            if of.iter().any(|address| address.host.is_empty() || address.host == "*") {
                Vec::new()
            } else {
                of.iter().map(|address| At::new(address.host.clone(), &node.place)).collect()
            };
        let private = hosts.is_empty() || hosts.iter().all(|host| is_private(&host.value));
        let by = match (&said, secure) {
            (_, false) => Tls::Off,
            (Some(tls), true) => tls.clone(),
            (None, true) if private || !globals.authority => Tls::Internal,
            (None, true) => Tls::Auto,
        };
        let paths: Vec<&str> =
            of.iter().map(|address| address.path.as_str()).filter(|path| !path.is_empty()).collect();
        let mut routes = block::routes(node, secure, imported);
        if let Some(path) = paths.first() {
            below(&mut routes, path, node, imported);
        }
        let name = hosts.first().map_or_else(|| "app".to_owned(), |host| host.value.clone());
        imported.sites.push(Site {
            place: node.place.clone(),
            name,
            hosts,
            tls: by,
            redirect: globals.redirect,
            keys: client_ca(node),
            doors,
            routes,
        });
    }
}

fn is_secure(address: &Address, said: &Option<Tls>, globals: &Globals) -> bool {
    let plain =
        address.scheme.as_deref() == Some("http") || address.port.as_deref() == Some(globals.http.as_str());
    let named = !address.host.is_empty() && address.host != "*";
    !plain
        && (named
            || said.is_some()
            || address.scheme.as_deref() == Some("https")
            || address.port.as_deref() == Some(globals.https.as_str()))
}

fn listen(
    addresses: &[&Address],
    secure: bool,
    globals: &Globals,
    node: &Node,
    imported: &mut Imported,
) -> Vec<String> {
    let mut doors = Vec::new();
    let bound = node.get("bind").map(Node::words).unwrap_or_default();
    let bound = if bound.is_empty() { vec!["0.0.0.0"] } else { bound };
    let mut put = |port: &str, secure: bool| {
        for host in &bound {
            let host = if host.contains(':') {
                format!("[{}]", host.trim_matches(['[', ']']))
            } else {
                (*host).to_owned()
            };
            let at = At::new(format!("{host}:{port}"), &node.place);
            doors.push(at.value.clone());
            if secure { imported.https.push(at) } else { imported.http.push(at) }
        }
    };
    for address in addresses {
        let default = if secure { &globals.https } else { &globals.http };
        put(address.port.as_ref().unwrap_or(default), secure);
        if secure && globals.redirect {
            put(&globals.http, false);
        }
    }
    doors
}

/// A site that is only for a path.
fn below(routes: &mut Vec<Route>, path: &str, node: &Node, imported: &mut Imported) {
    let stem = path.trim_end_matches('*').trim_end_matches('/');
    for route in routes.iter_mut() {
        if route.path.path() == "/" {
            route.path = Match::Below(stem.to_owned());
        }
    }
    routes.retain(|route| route.path.path().starts_with(stem));
    let suggestion = "a site with a path is an application with that path";
    imported.notes.push(Note::differs(&node.place, node.name.clone(), suggestion));
}

/// Where the certificate is from, when the block says it.
fn tls(node: &Node, imported: &mut Imported) -> Option<Tls> {
    let tls = node.get("tls")?;
    let words = tls.words();
    match words.as_slice() {
        ["internal"] => Some(Tls::Internal),
        [email] if email.contains('@') => {
            if !imported.acme.iter().any(|entry| entry.key == "email") {
                imported.acme.push(Entry::text("email", email).from(&tls.place, tls.shown()));
            }
            Some(Tls::Auto)
        }
        [certificate, key] => {
            Some(Tls::Files { certificate: (*certificate).to_owned(), key: (*key).to_owned() })
        }
        _ => Some(Tls::Auto),
    }
}

/// `client_auth` with roots that a client's certificate must come from.
fn client_ca(node: &Node) -> Vec<Entry> {
    let Some(auth) = node.peek("tls").and_then(|tls| tls.peek("client_auth")) else { return Vec::new() };
    let file = auth.children.iter().find(|child| child.name == "trusted_ca_cert_file");
    let Some(file) = file.and_then(|file| file.take().word(0)) else { return Vec::new() };
    auth.take();
    let mode = auth.get("mode").and_then(|mode| mode.word(0));
    if mode.is_some_and(|mode| mode != "require_and_verify") {
        auth.give_back();
        return Vec::new();
    }
    vec![Entry::line("client_ca", scalar(file)).from(&auth.place, "client_auth")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme_a_host_a_port_and_a_path() {
        for (text, scheme, host, port, path) in [
            ("a.example", None, "a.example", None, ""),
            ("http://A.example:8080/x*", Some("http"), "a.example", Some("8080"), "/x*"),
            (":443", None, "", Some("443"), ""),
            ("[::1]:80", None, "::1", Some("80"), ""),
        ] {
            let read = address(text);
            assert_eq!((read.scheme.as_deref(), read.host.as_str()), (scheme, host), "{text}");
            assert_eq!((read.port.as_deref(), read.path.as_str()), (port, path), "{text}");
        }
        assert!(is_private("localhost") && is_private("10.0.0.1") && !is_private("a.example"));
    }
}
