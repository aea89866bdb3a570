//! What an application says about TLS, compared with itself, with the listeners and with other applications.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{claims_of, has_listener, printable_name, quietly, raw_tcp};
use crate::HostPattern;
use crate::node::{Key, Node};
use crate::reader::{Reader, shown};
use crate::settings::{Hsts, RawTls, Tls};
use crate::values::OneHost;

/// Tells what does not fit, for every application.
pub(super) fn check(root: &Node, reader: &mut Reader) {
    let apps = root.get("apps").map_or(&[][..], Node::entries);
    let listeners = Listeners { plain: has_listener(root, "http"), tls: has_listener(root, "https") };
    reader.under("apps", |reader| {
        for (key, app) in apps {
            reader.under(&key.text, |reader| {
                canonical_host(app, reader);
                hsts(app, reader);
                client_ca(app, listeners, reader);
            });
        }
        shared_hosts(apps, reader);
    });
}

/// Which kinds of listeners there are.
#[derive(Clone, Copy)]
struct Listeners {
    plain: bool,
    tls: bool,
}

fn is_off(app: &Node) -> bool {
    quietly::<Tls>(app.get("tls")) == Some(Tls::Off)
}

/// A host to send requests on to that would not come back to this application.
fn canonical_host(app: &Node, reader: &mut Reader) {
    let Some(node) = app.given("canonical_host") else { return };
    let Some(OneHost(host)) = quietly(Some(node)) else { return };
    let hosts = app.get("hosts").map_or(&[][..], Node::items);
    let readable: Option<Vec<HostPattern>> = hosts.iter().map(|host| quietly(Some(host))).collect();
    // Without hosts it takes every one, and one that cannot be read was told already.
    let Some(readable) = readable.filter(|hosts| !hosts.is_empty()) else { return };
    if !readable.iter().any(|pattern| pattern.matches(&host)) {
        let message = format!("{} is none of this application's hosts", shown(node, &host));
        reader.under("canonical_host", |reader| {
            reader.wrong(node, message, "add it to `hosts`, or write one that stands there");
        });
    }
}

fn hsts(app: &Node, reader: &mut Reader) {
    let Some(node) = app.given("hsts") else { return };
    if is_off(app) && quietly::<Hsts>(Some(node)).is_some_and(|hsts| hsts != Hsts::Off) {
        let message = "browsers would be told to insist on https, and with `tls: off` there is none";
        reader.under("hsts", |reader| {
            reader.wrong(node, message, "remove `hsts`, or give `tls` another value")
        });
    }
}

/// Client certificates that are demanded where a request can come in without one.
fn client_ca(app: &Node, listeners: Listeners, reader: &mut Reader) {
    let Some(node) = app.given("client_ca") else { return };
    // What does not fit there was told with the rest of it.
    if raw_tcp::is_raw(app) {
        return;
    }
    let plain_too = quietly::<bool>(app.get("redirect")) == Some(false);
    let (message, hint) = if is_off(app) {
        (
            "clients are to show a certificate, and with `tls: off` they are never asked for one",
            "remove `client_ca`, or give `tls` another value",
        )
    } else if !listeners.tls {
        (
            "clients are to show a certificate, and there is no TLS listener to ask for it",
            "add one, for example `proxy: {https: 0.0.0.0:443}`, or remove `client_ca`",
        )
    } else if plain_too && listeners.plain {
        (
            "clients are to show a certificate, and `redirect: false` lets them in over plain HTTP without one",
            "remove `redirect: false`, or close the plain listeners with `proxy: {http: []}`",
        )
    } else {
        return;
    };
    reader.under("client_ca", |reader| reader.wrong(node, message, hint));
}

/// Two applications on one host that ask for different client certificates: the host is all that a handshake
/// knows.
fn shared_hosts(apps: &[(Key, Node)], reader: &mut Reader) {
    let mut seen: BTreeMap<Option<HostPattern>, (&Key, Option<PathBuf>)> = BTreeMap::new();
    let asked = |app: &Node| !raw_tcp::is_raw(app) || raw_tcp::tls_of(app) == Some(RawTls::Terminate);
    for (key, app) in apps.iter().filter(|(_, app)| asked(app)) {
        let written = app.given("client_ca");
        let wanted: Option<PathBuf> = quietly(written);
        if written.is_some() && wanted.is_none() {
            continue;
        }
        let mut told = false;
        for claim in claims_of(key, app) {
            let what = claim.what();
            let host = claim.host.map(|(host, _)| host);
            let (first, firsts) = seen.entry(host).or_insert_with(|| (key, wanted.clone()));
            if *firsts == wanted || told {
                continue;
            }
            told = true;
            let other = printable_name(&first.text);
            let message =
                format!("{what} belongs to the application {other} too, whose `client_ca` is not the same");
            let hint = "a handshake knows the host and not yet the path: give both the same `client_ca`, or one of them another host";
            reader.under(&key.text, |reader| match written {
                Some(node) => reader.under("client_ca", |reader| reader.wrong(node, message, hint)),
                None => reader.wrong_key(key, message, hint),
            });
        }
    }
}
