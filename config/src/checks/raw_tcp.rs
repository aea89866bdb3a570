//! Applications of raw TCP, compared with themselves, with each other and with the listeners of requests.
//!
//! What is about requests has no place in them: a key that did nothing would be believed to do something.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::{claims_of, printable_name, quietly, upstreams};
use crate::keys::{AppKeys, DrainKeys, RawTcpKeys, TimeoutKeys};
use crate::node::{Key, Node};
use crate::reader::{Reader, shown};
use crate::section::Setting;
use crate::settings::{Balance, HashBy, ProxyProtocol, RawTls, Tls};
use crate::{CanaryKey, HostPattern, ListenAddress, ListenPlace, Slot, UpstreamAddress, UpstreamProtocol};

/// Whether an application is one of raw TCP, however well that is written.
pub(super) fn is_raw(app: &Node) -> bool {
    app.given("tcp").is_some()
}

/// What is done with the TLS of an application; none of one that is served by HTTP.
pub(super) fn tls_of(app: &Node) -> Option<RawTls> {
    let tcp = app.given("tcp")?;
    tcp.get("tls").map_or(Some(RawTls::Off), |node| quietly(Some(node)))
}

/// Tells what does not fit. `taken` are the addresses of other listeners, with what has them.
pub(super) fn check(
    apps: &[(Key, Node)],
    proxy: Option<&Node>,
    taken: &BTreeMap<ListenPlace, String>,
    reader: &mut Reader,
) {
    let trusted = proxy.and_then(|proxy| proxy.get("trusted_proxies"));
    let nobody = trusted.is_none_or(|node| node.is_null() || node.items().is_empty());
    for (key, app) in apps {
        reader.under(&key.text, |reader| match tls_of(app) {
            Some(tls) => {
                about_requests(app, reader);
                names(app, tls, reader);
                kinds(app, reader);
                bytes(app, reader);
                believed(app, nobody, reader);
            }
            None if is_raw(app) => {}
            None => connections(app, reader),
        });
    }
    addresses(apps, taken, reader);
}

/// A key whose value is another than its default.
fn other<'n, T: Setting + PartialEq + Debug>(section: &'n Node, key: &str, default: &T) -> Option<&'n Node> {
    let node = section.given(key)?;
    quietly::<T>(Some(node)).filter(|value| value != default).map(|_| node)
}

/// Keys that mean something only where there are requests.
fn about_requests(app: &Node, reader: &mut Reader) {
    let usual = AppKeys::default();
    let keys = [
        ("path", other(app, "path", &usual.path)),
        ("listeners", other(app, "listeners", &usual.listeners)),
        ("match", other(app, "match", &usual.r#match)),
        ("priority", other(app, "priority", &usual.priority)),
        ("canonical_host", other(app, "canonical_host", &usual.canonical_host)),
        ("hsts", other(app, "hsts", &usual.hsts)),
        ("redirect", other(app, "redirect", &usual.redirect)),
        ("retries", other(app, "retries", &usual.retries)),
        ("error_pages", other(app, "error_pages", &usual.error_pages)),
        ("error_pages_for", other(app, "error_pages_for", &usual.error_pages_for)),
        ("maintenance", other(app, "maintenance", &usual.maintenance)),
        ("middleware", other(app, "middleware", &usual.middleware)),
        ("paths", other(app, "paths", &usual.paths)),
        ("mirror", other(app, "mirror", &usual.mirror)),
        ("asset_fallback", other(app, "asset_fallback", &usual.asset_fallback)),
        ("release_affinity", other(app, "release_affinity", &usual.release_affinity)),
        ("preview", other(app, "preview", &usual.preview)),
    ];
    let deploy = app.given("deploy");
    let of_deploy = ["smoke", "verify"].map(|key| {
        let written = deploy.and_then(|deploy| deploy.given(key));
        (key, written.filter(|node| !node.items().is_empty()))
    });
    for (key, node) in keys.into_iter().filter_map(|(key, node)| Some((key, node?))) {
        reader.under(key, |reader| no_requests(key, node, reader));
    }
    for (key, node) in of_deploy.into_iter().filter_map(|(key, node)| Some((key, node?))) {
        reader.under(&format!("deploy.{key}"), |reader| no_requests(key, node, reader));
    }
    judged(deploy, reader);
    if let Some(node) = app.given("balance") {
        let by_request = match quietly::<Balance>(Some(node)) {
            Some(
                Balance::Sticky(_) | Balance::Hash(HashBy::Header(_) | HashBy::Cookie(_) | HashBy::Path),
            ) => true,
            Some(Balance::RoundRobin | Balance::LeastInFlight | Balance::Hash(HashBy::Client)) | None => {
                false
            }
        };
        if by_request {
            let message = "connections of raw TCP show neither headers nor paths to be balanced by";
            let hint = "write `round_robin`, `least_in_flight` or `{hash: client}`";
            reader.under("balance", |reader| reader.wrong(node, message, hint));
        }
    }
}

/// How a new version is judged by what connections show.
fn judged(deploy: Option<&Node>, reader: &mut Reader) {
    if let Some(canary) = deploy.and_then(|deploy| deploy.given("canary"))
        && let Some(by) = canary.given("by")
        && quietly::<CanaryKey>(Some(by)).is_some_and(|key| key != CanaryKey::Client)
    {
        let message = "connections of raw TCP show neither headers nor cookies to tell clients apart by";
        let hint = "remove `by`: clients are told apart by their addresses";
        reader.under("deploy.canary.by", |reader| reader.wrong(by, message, hint));
    }
    for section in ["bake", "canary"] {
        let limits = deploy.and_then(|deploy| deploy.given(section));
        for key in ["max_p99", "max_p99_ratio"] {
            if let Some(node) = limits.and_then(|limits| limits.given(key)) {
                let message = "how long a connection of raw TCP is open says nothing of how quick it was";
                let hint =
                    format!("remove `{key}`; `max_error_rate` counts connections that came to nothing");
                reader.under(&format!("deploy.{section}.{key}"), |reader| reader.wrong(node, message, hint));
            }
        }
    }
}

fn no_requests(key: &str, node: &Node, reader: &mut Reader) {
    let message = format!(
        "`{key}` is about requests, and an application with `tcp` passes on bytes without reading them"
    );
    reader.wrong(node, message, format!("remove `{key}`, or serve the application by HTTP without `tcp`"));
}

/// Names that nobody hears, and certificates that nobody is shown.
fn names(app: &Node, tls: RawTls, reader: &mut Reader) {
    let hosts = app.given("hosts").filter(|node| !node.items().is_empty());
    if let (RawTls::Off, Some(hosts)) = (tls, hosts) {
        let message = "without TLS a connection names no host, so everything that comes in at the address belongs to this application";
        let hint = "remove `hosts`, or write `tls: passthrough` or `tls: terminate` below `tcp`";
        reader.under("hosts", |reader| reader.wrong(hosts, message, hint));
    }
    let source = app.given("tls").and_then(|node| Some((node, quietly::<Tls>(Some(node))?)));
    let wrong = match (tls, source) {
        (RawTls::Terminate, Some((node, Tls::Off))) => Some((
            node,
            "`tcp.tls: terminate` shows a certificate, and `tls: off` has none",
            "remove `tls: off`, or write `passthrough` or `off` in `tcp`",
        )),
        (RawTls::Off | RawTls::Passthrough, Some((node, source))) if source != Tls::Off => Some((
            node,
            "this says where a certificate comes from, and this application shows none: it does not end the TLS",
            "remove it, or write `tls: terminate` below `tcp`",
        )),
        (RawTls::Off | RawTls::Passthrough | RawTls::Terminate, _) => None,
    };
    if let Some((node, message, hint)) = wrong {
        reader.under("tls", |reader| reader.wrong(node, message, hint));
    }
    if let (RawTls::Off | RawTls::Passthrough, Some(node)) = (tls, app.given("client_ca")) {
        let message =
            "clients are asked for a certificate by whoever ends their TLS, and that is not the proxy here";
        reader.under("client_ca", |reader| {
            reader.wrong(node, message, "remove `client_ca`, or write `tls: terminate` below `tcp`");
        });
    }
}

/// Times for kinds of exchanges that this application has none of.
fn kinds(app: &Node, reader: &mut Reader) {
    if let Some(drain) = app.given("drain") {
        let usual = DrainKeys::default();
        for (key, default) in [
            ("requests", usual.requests),
            ("uploads", usual.uploads),
            ("streams", usual.streams),
            ("websockets", usual.websockets),
        ] {
            if let Some(node) = other(drain, key, &default) {
                let message = format!("an application with `tcp` has no {key}, only connections");
                let hint = "write for example `drain: {connections: 10m}`";
                reader.under(&format!("drain.{key}"), |reader| reader.wrong(node, message, hint));
            }
        }
    }
    if let Some(timeouts) = app.given("timeouts") {
        let usual = TimeoutKeys::default();
        let pool = other(timeouts, "pool", &usual.pool);
        for (key, node) in [
            ("response", other(timeouts, "response", &usual.response)),
            ("idle", other(timeouts, "idle", &usual.idle)),
            ("pool", pool),
        ] {
            let Some(node) = node else { continue };
            let message = format!("`{key}` is about requests, and an application with `tcp` has none");
            let hint = "remove it; how long a connection may be silent says `idle` below `tcp`";
            reader.under(&format!("timeouts.{key}"), |reader| reader.wrong(node, message, hint));
        }
    }
}

/// A time for connections where there are requests.
fn connections(app: &Node, reader: &mut Reader) {
    let drain = app.given("drain");
    if let Some(node) = drain.and_then(|drain| other(drain, "connections", &DrainKeys::default().connections))
    {
        let message = "connections are drained of an application with `tcp`, and this one is served by HTTP";
        let hint = "remove it; WebSockets have `websockets`";
        reader.under("drain.connections", |reader| reader.wrong(node, message, hint));
    }
}

/// Upstreams that are spoken to in a protocol of requests, or verified.
fn bytes(app: &Node, reader: &mut Reader) {
    for slot in Slot::ALL {
        for (index, item) in upstreams(app, slot).map_or(&[][..], Node::items).iter().enumerate() {
            let written = item.get("address").unwrap_or(item);
            let Some(address) = quietly::<UpstreamAddress>(Some(written)) else { continue };
            if address.protocol() != UpstreamProtocol::Http1 {
                let text = shown(written, &address.to_string());
                let message = format!(
                    "{text} says what is spoken there, and an application with `tcp` passes on bytes"
                );
                let at = format!("slots.{slot}[{index}]");
                reader.under(&at, |reader| reader.wrong(written, message, "write the address alone"));
            }
        }
    }
    if let Some(node) = other(app, "upstream_tls", &AppKeys::default().upstream_tls) {
        let message =
            "upstreams of an application with `tcp` get bytes as they come, and no TLS is begun with them";
        let hint = "remove it; with `tls: passthrough` below `tcp` the client's own TLS goes through";
        reader.under("upstream_tls", |reader| reader.wrong(node, message, hint));
    }
}

/// A balancer that is to name clients, and nobody is believed.
fn believed(app: &Node, nobody: bool, reader: &mut Reader) {
    let Some(node) = app.given("tcp").and_then(|tcp| tcp.get("proxy_protocol")) else { return };
    if nobody && matches!(quietly(Some(node)), Some(ProxyProtocol::Require | ProxyProtocol::Accept)) {
        let message = "the PROXY protocol is taken from `trusted_proxies` alone, and there are none";
        let hint = "name the balancers in front, for example `trusted_proxies: [10.0.0.0/8]` below `proxy`";
        reader.under("tcp.proxy_protocol", |reader| reader.wrong(node, message, hint));
    }
}

/// Who has an address.
struct Holder<'a> {
    app: &'a Key,
    tls: RawTls,
    proxy_protocol: ProxyProtocol,
    /// The hosts that are taken there, by whom; none stands for every host.
    hosts: BTreeMap<Option<HostPattern>, &'a Key>,
}

/// One address for two that cannot share it.
fn addresses(apps: &[(Key, Node)], taken: &BTreeMap<ListenPlace, String>, reader: &mut Reader) {
    let mut holders: BTreeMap<ListenAddress, Holder<'_>> = BTreeMap::new();
    for (key, app) in apps {
        let Some(tcp) = app.given("tcp") else { continue };
        let Some(keys) = quietly::<RawTcpKeys>(Some(tcp)) else { continue };
        let Some(listen) = tcp.get("listen") else { continue };
        if keys.listen.is_empty() {
            reader.under(&format!("{}.tcp.listen", key.text), |reader| {
                reader.wrong(listen, "it has no address", "write for example `listen: 0.0.0.0:5432`");
            });
        }
        let mut own = Vec::new();
        for (address, node) in keys.listen.iter().zip(listen.items()) {
            let problem = match (taken.get(&address.0.into()), holders.get_mut(address)) {
                _ if own.contains(address) => Some("it stands here twice".to_owned()),
                (Some(other), _) => Some(format!("{other} has it already")),
                (None, Some(holder)) => holder.refuses(key, app, &keys),
                (None, None) => {
                    let mut holder = Holder {
                        app: key,
                        tls: keys.tls,
                        proxy_protocol: keys.proxy_protocol,
                        hosts: BTreeMap::new(),
                    };
                    // Nobody has a host there yet.
                    let _ = holder.take(key, app);
                    holders.insert(*address, holder);
                    None
                }
            };
            own.push(*address);
            if let Some(problem) = problem {
                let message =
                    format!("{} cannot be listened on: {problem}", shown(node, &address.to_string()));
                let hint = "give each its own address; applications with the same `tcp.tls`, `passthrough` or `terminate`, share one by their `hosts`";
                reader.under(&format!("{}.tcp.listen", key.text), |reader| reader.wrong(node, message, hint));
            }
        }
    }
}

impl<'a> Holder<'a> {
    /// Why one more application cannot share the address.
    fn refuses(&mut self, key: &'a Key, app: &'a Node, keys: &RawTcpKeys) -> Option<String> {
        let other = printable_name(&self.app.text);
        if self.tls != keys.tls {
            Some(format!("the application {other} has it with another `tcp.tls`"))
        } else if self.tls == RawTls::Off {
            Some(format!(
                "the application {other} has it already, and without TLS nothing tells the two apart"
            ))
        } else if self.proxy_protocol != keys.proxy_protocol {
            Some(format!("the application {other} has it with another `proxy_protocol`"))
        } else {
            self.take(key, app)
        }
    }

    /// Takes the hosts of an application there; says which one is taken already.
    fn take(&mut self, key: &'a Key, app: &'a Node) -> Option<String> {
        let mut problem = None;
        for claim in claims_of(key, app) {
            let what = claim.what();
            let host = claim.host.map(|(host, _)| host);
            let first = self.hosts.entry(host).or_insert(key);
            if first.text != key.text {
                problem =
                    Some(format!("{what} belongs to the application {} there", printable_name(&first.text)));
            }
        }
        problem
    }
}
