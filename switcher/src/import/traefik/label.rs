//! Labels of containers and flags of Traefik's own command, from a Compose file, as the tree of a file. Pure.

use crate::import::data::insert;
use crate::import::note::Note;
use crate::import::site::Imported;
use crate::import::tree::{Node, Place};
use crate::import::variables::{Variables, compose};

/// Puts the labels of every service into `nodes`. What a service is besides is told in one sentence.
pub(super) fn labels(
    compose: Vec<Node>,
    variables: &Variables,
    nodes: &mut Vec<Node>,
    imported: &mut Imported,
) {
    for section in compose {
        if section.name != "services" {
            continue;
        }
        for service in &section.children {
            let traefik = service.peek("image").is_some_and(|image| {
                image
                    .seen()
                    .first()
                    .is_some_and(|name| name.rsplit('/').next().is_some_and(|n| n.starts_with("traefik")))
            });
            if traefik {
                flags(service, variables, nodes, &mut imported.notes);
            }
            let held = service
                .peek("labels")
                .into_iter()
                .chain(service.peek("deploy").and_then(|d| d.peek("labels")));
            let labels: Vec<(String, String, Place)> =
                held.flat_map(|labels| pairs(labels, variables, &mut imported.notes)).collect();
            if labels.iter().any(|(name, value, _)| name == "traefik.enable" && value == "false")
                || labels.is_empty()
            {
                continue;
            }
            container(service, &labels, nodes, imported);
        }
    }
}

/// `name: value`, or `- name=value`, as Compose fills them in. What is not for Traefik is of no interest.
fn pairs(labels: &Node, variables: &Variables, notes: &mut Vec<Note>) -> Vec<(String, String, Place)> {
    let mut filled = |name: &str, text: &str, place: &Place| {
        let ours = name.starts_with("traefik.");
        let text = if ours { variables.line(text, place, compose, notes) } else { text.to_owned() };
        text.replace("$$", "$")
    };
    let mut found = Vec::new();
    for (index, text) in labels.seen().into_iter().enumerate() {
        // Items of a list stand below each other.
        let place = Place::new(&labels.place.file, labels.place.line + 1 + index);
        let text = filled(text, text, &place);
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        found.push((name.to_owned(), value.to_owned(), place));
    }
    for node in &labels.children {
        let value = node.seen().first().copied().unwrap_or_default();
        found.push((node.name.clone(), filled(&node.name, value, &node.place), node.place.clone()));
    }
    found
}

fn container(
    service: &Node,
    labels: &[(String, String, Place)],
    nodes: &mut Vec<Node>,
    imported: &mut Imported,
) {
    let name = service.name.as_str();
    let mut router = None;
    let mut served = None;
    let mut given = None;
    let mut raw = Raw::default();
    let mut own: Vec<Node> = Vec::new();
    for (label, value, place) in labels {
        let Some(path) = label.strip_prefix("traefik.") else { continue };
        let parts: Vec<&str> = path.split('.').collect();
        if raw.takes(&parts, value) {
            continue;
        }
        match parts.as_slice() {
            ["enable"] | ["docker" | "swarm", ..] => continue,
            ["http", _, called, _, server, port]
                if server.eq_ignore_ascii_case("server") && port.eq_ignore_ascii_case("port") =>
            {
                given = Some(value.clone());
                served = Some((*called).to_owned());
                continue;
            }
            ["http", kind, called, ..] if kind.eq_ignore_ascii_case("routers") => {
                router = Some((*called).to_owned())
            }
            ["http", kind, called, ..] if kind.eq_ignore_ascii_case("services") => {
                served = Some((*called).to_owned())
            }
            _ => {}
        }
        insert(&mut own, path, value, place);
    }
    raw.reached(service, &mut own);
    let Some(router) = router else {
        nodes.extend(own);
        return;
    };
    let served = served.unwrap_or_else(|| router.clone());
    let port = given.or_else(|| exposed(service)).unwrap_or_else(|| "80".to_owned());
    let place = &service.place;
    let base = format!("http.services.{served}.loadbalancer");
    insert(&mut own, &format!("{base}.servers[0].url"), &format!("http://{name}:{port}"), place);
    let routers: Vec<String> = own
        .iter()
        .filter(|kind| kind.name.eq_ignore_ascii_case("http"))
        .flat_map(|http| http.children.iter().filter(|node| node.name.eq_ignore_ascii_case("routers")))
        .flat_map(|routers| routers.children.iter())
        .filter(|router| router.peek("service").is_none())
        .map(|router| router.name.clone())
        .collect();
    for router in routers {
        insert(&mut own, &format!("http.routers.{router}.service"), &served, place);
    }
    let suggestion = format!(
        "its containers are reached as {name}:{port}, so the proxy has to be on their network; `switcher import compose` writes \
         a `deploy` section instead, by which `switcher deploy` brings new versions up"
    );
    imported.notes.push(Note::differs(place, format!("services.{name}"), suggestion));
    nodes.extend(own);
}

/// What the labels of a container say of raw connections.
#[derive(Default)]
struct Raw {
    routers: Vec<String>,
    service: Option<String>,
    port: Option<String>,
}

impl Raw {
    /// Looks at a label; answers whether it is no more than the port.
    fn takes(&mut self, parts: &[&str], value: &str) -> bool {
        match parts {
            ["tcp", _, called, _, server, port]
                if server.eq_ignore_ascii_case("server") && port.eq_ignore_ascii_case("port") =>
            {
                self.port = Some(value.to_owned());
                self.service = Some((*called).to_owned());
                true
            }
            ["tcp", kind, called, ..] if kind.eq_ignore_ascii_case("routers") => {
                self.routers.push((*called).to_owned());
                false
            }
            _ => false,
        }
    }

    /// Puts the container in as the server of its service.
    fn reached(&self, service: &Node, own: &mut Vec<Node>) {
        let Some(first) = self.routers.first() else { return };
        let served = self.service.as_ref().unwrap_or(first);
        let port = self.port.clone().or_else(|| exposed(service)).unwrap_or_else(|| "80".to_owned());
        let address = format!("{}:{port}", service.name);
        insert(
            own,
            &format!("tcp.services.{served}.loadbalancer.servers[0].address"),
            &address,
            &service.place,
        );
        let routers = own
            .iter()
            .filter(|kind| kind.name.eq_ignore_ascii_case("tcp"))
            .flat_map(|tcp| tcp.children.iter().filter(|node| node.name.eq_ignore_ascii_case("routers")))
            .flat_map(|routers| routers.children.iter());
        let lone: Vec<String> = routers
            .filter(|router| router.peek("service").is_none())
            .map(|router| router.name.clone())
            .collect();
        for router in lone {
            insert(own, &format!("tcp.routers.{router}.service"), served, &service.place);
        }
    }
}

/// The port that a container says it listens on.
fn exposed(service: &Node) -> Option<String> {
    let of =
        |key: &str| service.peek(key).and_then(|node| node.seen().first().map(|port| (*port).to_owned()));
    of("expose").or_else(|| of("ports").and_then(|port| port.rsplit(':').next().map(str::to_owned)))
}

/// `--entrypoints.web.address=:80` of Traefik's own command.
fn flags(service: &Node, variables: &Variables, nodes: &mut Vec<Node>, notes: &mut Vec<Note>) {
    let Some(command) = service.peek("command") else { return };
    for (index, flag) in command.seen().into_iter().enumerate() {
        let place = Place::new(&command.place.file, command.place.line + 1 + index);
        let filled = variables.line(flag, &place, compose, notes).replace("$$", "$");
        for flag in filled.split_whitespace() {
            let Some(flag) = flag.strip_prefix("--") else { continue };
            let (path, value) = flag.split_once('=').unwrap_or((flag, "true"));
            let mut own = Vec::new();
            insert(&mut own, path, value, &place);
            merge(nodes, own);
        }
    }
}

fn merge(nodes: &mut Vec<Node>, more: Vec<Node>) {
    for node in more {
        match nodes
            .iter_mut()
            .find(|known| known.name.eq_ignore_ascii_case(&node.name) && !node.children.is_empty())
        {
            Some(known) => merge(&mut known.children, node.children),
            None => nodes.push(node),
        }
    }
}
