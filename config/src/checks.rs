//! What no single value shows: two keys that cannot both stand.
//!
//! The checks work on the tree, because a problem needs places, and each value is read again on its own, so
//! that one wrong value does not hide what is wrong elsewhere. Called by [`crate::load()`].

mod acme;
mod balance;
mod deploy;
mod listeners;
mod notify;
mod raw_tcp;
mod tls;

use std::collections::BTreeMap;

use crate::keys::{MatchKeys, ProxyKeys};
use crate::node::{Key, Node, Origin, Value, Veil};
use crate::problem::quoted;
use crate::reader::{Reader, list, shown};
use crate::section::Setting;
use crate::settings::ProxyProtocol;
use crate::values::{ListenerName, UNNAMED};
use crate::words::Protocol;
use crate::{HostPattern, ListenPlace, PathPrefix, Slot, UpstreamAddress};

/// Tells everything that does not fit together.
pub(crate) fn check(root: &Node, reader: &mut Reader) {
    let proxy = root.get("proxy");
    let taken = reader.under("proxy", |reader| {
        let taken = listeners(root, proxy, reader);
        nowhere_to_act(proxy, reader);
        taken
    });
    acme::check(root, reader);
    tls::check(root, reader);
    notify::check(root, reader);
    reader.under("apps", |reader| {
        let apps = root.get("apps").map_or(&[][..], Node::entries);
        let empty = |node: &Node| node.is_null() || matches!(&node.value, Value::Mapping(e) if e.is_empty());
        if root.get("apps").is_none_or(empty) {
            let hint = "name one with its upstreams:\napps:\n  shop:\n    slots: {blue: [127.0.0.1:8001]}";
            reader.wrong(root.get("apps").unwrap_or(root), "there is no application", hint);
        }
        claims(apps, reader);
        raw_tcp::check(apps, proxy, &taken, reader);
        let named = listeners::named(proxy);
        for (key, app) in apps {
            reader.under(&key.text, |reader| {
                slots(key, app, reader);
                listeners::check(app, &named, reader);
                balance::check(app, reader);
                deploy::check(app, reader);
                if let Some(health) = app.get("health") {
                    let usual = if raw_tcp::is_raw(app) { Protocol::Tcp } else { Protocol::Http };
                    reader.under("health", |reader| probes(health, usual, reader));
                }
            });
        }
    });
}

/// Whether `proxy.http` or `proxy.https` has an address, as far as it is written; `http` has one by default.
fn has_listener(root: &Node, key: &str) -> bool {
    let written = root.get("proxy").and_then(|proxy| proxy.get(key));
    written.map_or(key == "http", |node| node.items().iter().any(|item| !item.is_null()))
}

/// A section with nothing behind its key, often with every key below it commented out. (YAML makes a `~` of that.)
fn is_bare(node: &Node) -> bool {
    node.is_null() && matches!(&node.value, Value::Scalar { text, .. } if matches!(text.as_str(), "" | "~"))
}

/// The upstreams written for a slot.
fn upstreams(app: &Node, slot: Slot) -> Option<&Node> {
    app.get("slots").and_then(|slots| slots.get(slot.as_str()))
}

/// Whether a slot has fixed upstreams.
fn is_filled(app: &Node, slot: Slot) -> bool {
    upstreams(app, slot).is_some_and(|node| !node.is_null() && !node.items().is_empty())
}

/// Reads a value without telling what is wrong with it: that was told before.
fn quietly<T: Setting>(node: Option<&Node>) -> Option<T> {
    T::read(node?, &mut Reader::default())
}

/// A token for a dashboard that is not shown anywhere.
fn nowhere_to_act(proxy: Option<&Node>, reader: &mut Reader) {
    let given = |key| proxy.and_then(|proxy| proxy.get(key)).filter(|node| !node.is_null());
    let (Some(dashboard), None) = (given("dashboard"), given("status")) else { return };
    let message = "the dashboard is on the status listener, and there is none";
    let hint = "give it an address, for example `status: 127.0.0.1:9180` below `proxy`";
    reader.under("dashboard", |reader| reader.wrong(dashboard, message, hint));
}

/// No listener at all, and one address for two of them. What has which address.
fn listeners(root: &Node, proxy: Option<&Node>, reader: &mut Reader) -> BTreeMap<ListenPlace, String> {
    let mut seen: BTreeMap<ListenPlace, String> = BTreeMap::new();
    let apps = root.get("apps").map_or(&[][..], Node::entries);
    let mut any = apps.iter().any(|(_, app)| raw_tcp::is_raw(app));
    for key in ["http", "https", "status"] {
        let Some(node) = proxy.and_then(|proxy| proxy.get(key)) else {
            if key == "http" {
                any = true;
                let default = ProxyKeys::default().http;
                seen.extend(
                    default.into_iter().map(|listener| (listener.listen, "`http` by default".to_owned())),
                );
            }
            continue;
        };
        let several = node.items().len() > 1;
        for (index, item) in node.items().iter().enumerate().filter(|(_, item)| !item.is_null()) {
            any |= key != "status";
            let within = item.get("listen");
            let address = quietly::<ListenPlace>(Some(within.unwrap_or(item)));
            let Some(address) = address.filter(|address| address.port() != Some(0)) else { continue };
            let whole = if several { format!("{key}[{index}]") } else { key.to_owned() };
            reader.under(&whole, |reader| nobody_to_believe(proxy, item, &address, reader));
            let (item, whole) =
                within.map_or((item, whole.clone()), |node| (node, format!("{whole}.listen")));
            if let Some(first) = seen.get(&address) {
                let text = shown(item, &address.to_string());
                let message = format!("{text} is listened on twice; {first} has it already");
                reader.under(&whole, |reader| reader.wrong(item, message, "give each its own address"));
            } else {
                seen.insert(address, format!("`{whole}` ({})", item.origin));
            }
        }
    }
    if !any {
        let node = proxy.and_then(|proxy| proxy.get("http")).or(proxy).unwrap_or(root);
        let hint = "give `http` or `https` an address, for example `http: 0.0.0.0:80`";
        let message = "neither `http` nor `https` has an address, so nothing would be served";
        reader.under("http", |reader| reader.wrong(node, message, hint));
    }
    seen
}

/// A listener whose clients are named by trusted proxies alone, and nobody is trusted.
fn nobody_to_believe(proxy: Option<&Node>, item: &Node, at: &ListenPlace, reader: &mut Reader) {
    let Some(written) = item.get("proxy_protocol") else { return };
    let wanted = matches!(quietly(Some(written)), Some(ProxyProtocol::Require | ProxyProtocol::Accept));
    let trusted = proxy.and_then(|proxy| proxy.get("trusted_proxies"));
    let nobody = trusted.is_none_or(|node| node.is_null() || node.items().is_empty());
    // Whoever may open a unix socket is believed.
    if wanted && nobody && at.tcp().is_some() {
        let message = "the PROXY protocol is taken from `trusted_proxies` alone, and there are none";
        let hint = "name the balancers in front, for example `trusted_proxies: [10.0.0.0/8]` below `proxy`";
        reader.under("proxy_protocol", |reader| reader.wrong(written, message, hint));
    }
}

/// One host and path that an application takes; without a host, every host.
struct Claim<'a> {
    app: &'a Key,
    host: Option<(HostPattern, &'a Node)>,
    path: PathPrefix,
    /// What else it asks for.
    matching: MatchKeys,
    /// The listeners it is served at; none means those without a name.
    listeners: Vec<ListenerName>,
    /// Whether the path may be told.
    open_path: bool,
    /// The path of the key to blame.
    key: String,
}

impl Claim<'_> {
    /// Whether both take the same requests of a host and path.
    fn meets(&self, other: &Self) -> bool {
        let unnamed = [ListenerName(UNNAMED.to_owned())];
        let [own, others] = [self, other].map(|claim| match claim.listeners.as_slice() {
            [] => unnamed.as_slice(),
            listeners => listeners,
        });
        self.matching == other.matching && own.iter().any(|listener| others.contains(listener))
    }

    fn origin(&self) -> &Origin {
        self.host.as_ref().map_or(&self.app.origin, |(_, node)| &node.origin)
    }

    /// What is claimed, without a value that must not be told.
    fn what(&self) -> String {
        match &self.host {
            Some((host, node)) if node.veil == Veil::Open => host.to_string(),
            Some(_) => "one host (***)".to_owned(),
            None => "every host".to_owned(),
        }
    }
}

/// Everything that an application claims, as far as it can be read.
fn claims_of<'a>(app: &'a Key, node: &'a Node) -> Vec<Claim<'a>> {
    let written = node.get("path");
    let Some(path) = written.map_or_else(|| Some(PathPrefix::default()), |node| quietly(Some(node))) else {
        return Vec::new();
    };
    let open_path = written.is_none_or(|node| node.veil == Veil::Open);
    let Some(matching) =
        node.get("match").map_or_else(|| Some(MatchKeys::default()), |node| quietly(Some(node)))
    else {
        return Vec::new();
    };
    let claim = |host: Option<(HostPattern, &'a Node)>, key: String| Claim {
        app,
        host,
        path: path.clone(),
        matching: matching.clone(),
        listeners: quietly(node.get("listeners")).unwrap_or_default(),
        open_path,
        key,
    };
    let hosts = node.get("hosts").map_or(&[][..], Node::items);
    if hosts.is_empty() {
        return vec![claim(None, String::new())];
    }
    let readable = hosts.iter().enumerate().filter_map(|(index, node)| {
        Some(claim(Some((quietly(Some(node))?, node)), format!("hosts[{index}]")))
    });
    readable.collect()
}

/// Two applications that take the same host and path.
fn claims(apps: &[(Key, Node)], reader: &mut Reader) {
    let mut seen: BTreeMap<(Option<HostPattern>, PathPrefix), Vec<Claim<'_>>> = BTreeMap::new();
    let by_http = apps.iter().filter(|(_, node)| !raw_tcp::is_raw(node));
    for claim in by_http.flat_map(|(key, node)| claims_of(key, node)) {
        let route = (claim.host.as_ref().map(|(host, _)| host.clone()), claim.path.clone());
        let known = seen.entry(route).or_default();
        let Some(first) = known.iter().find(|known| known.meets(&claim)) else {
            known.push(claim);
            continue;
        };
        let (what, place) = (claim.what(), first.origin());
        let (message, hint) = if first.app.text == claim.app.text {
            (format!("{what} is named twice; it stands already at {place}"), "keep one of the two")
        } else {
            let path = if claim.open_path { claim.path.to_string() } else { "***".to_owned() };
            let other = printable_name(&first.app.text);
            let message = format!(
                "{what} with the path {path} is taken by the application {other} already, at {place}"
            );
            (message, "give one of them another host, `path` or `match`")
        };
        reader.under(&claim.app.text, |reader| match &claim.host {
            Some((_, node)) => reader.under(&claim.key, |reader| reader.wrong(node, message, hint)),
            None => reader.wrong_key(claim.app, message, hint),
        });
    }
}

/// An application's name, which may be anything as long as nothing has been checked.
fn printable_name(name: &str) -> String {
    quoted(name).replace('"', "`")
}

/// One upstream twice in a slot, and a first slot without upstreams while the other has some.
fn slots(key: &Key, app: &Node, reader: &mut Reader) {
    for slot in Slot::ALL {
        let mut seen: BTreeMap<UpstreamAddress, &Origin> = BTreeMap::new();
        let items = upstreams(app, slot).map_or(&[][..], Node::items);
        for (index, item) in items.iter().enumerate() {
            let item = item.get("address").unwrap_or(item);
            let Some(address) = quietly::<UpstreamAddress>(Some(item)) else { continue };
            let text = shown(item, &address.to_string());
            if let Some(first) = seen.insert(address, &item.origin) {
                let message = format!("{text} stands twice in the slot {slot}; it stands already at {first}");
                let at = format!("slots.{slot}[{index}]");
                reader.under(&at, |reader| reader.wrong(item, message, "keep one of the two"));
            }
        }
    }
    let initial = app.get("initial");
    let live = initial.map_or(Some(Slot::Blue), |node| quietly(Some(node)));
    let Some(live) = live else { return };
    if is_filled(app, live.other()) && !is_filled(app, live) {
        let message = format!("the slot {live} is live first and has no upstreams, but {} has", live.other());
        let hint = format!("write `initial: {}`, or give {live} upstreams", live.other());
        reader.under("initial", |reader| match initial {
            Some(node) => reader.wrong(node, message, hint),
            None => reader.wrong_key(key, message, hint),
        });
    }
}

/// Keys that the check's protocol does not use.
fn probes(health: &Node, usual: Protocol, reader: &mut Reader) {
    protocol_keys(health, usual, reader);
    if let Some(live) = health.get("live") {
        reader.under("live", |reader| protocol_keys(live, usual, reader));
    }
}

fn protocol_keys(check: &Node, usual: Protocol, reader: &mut Reader) {
    let protocol = match check.get("protocol") {
        None => Some(usual),
        node => quietly(node),
    };
    let (name, used): (_, &[&str]) = match protocol {
        None => return,
        Some(Protocol::Http) => ("http", &["path", "host", "status", "body"]),
        Some(Protocol::Tcp) => ("tcp", &[]),
        Some(Protocol::Grpc) => ("grpc", &["service"]),
    };
    for (key, _) in check.entries() {
        let word = key.text.as_str();
        let special = ["path", "host", "status", "body", "service"].contains(&word);
        if special && !used.contains(&word) {
            let message = format!("a check with the protocol {name} does not use `{word}`");
            let hint = match used {
                [] => format!("remove the key; {name} only opens a connection"),
                used => format!("remove the key, or set another `protocol`; {name} uses {}", list(used)),
            };
            reader.under(word, |reader| reader.wrong_key(key, message, hint));
        }
    }
}
