//! What the `acme` section promises, compared with itself and with the applications that rely on it.
//!
//! A certificate that no authority can issue is told here, long before one is asked.

use std::net::IpAddr;

use super::{has_listener, is_bare, quietly, raw_tcp};
use crate::HostPattern;
use crate::keys::RetryKeys;
use crate::node::{Node, Value, Veil};
use crate::reader::{Reader, shown};
use crate::settings::{ChallengeChoice, Directory, RawTls, Tls};
use crate::values::{OneOrMore, Positive};

/// Tells everything about certificates that cannot work.
pub(super) fn check(root: &Node, reader: &mut Reader) {
    let acme = root.get("acme");
    if let Some(node) = acme.filter(|node| is_bare(node)) {
        let hint =
            "write `acme: {email: YOU@YOUR.DOMAIN}` to have certificates, or `acme: null` to have none";
        reader.under("acme", |reader| reader.wrong(node, "the section is empty", hint));
        return;
    }
    let acme = match acme.filter(|node| !node.is_null()) {
        None => None,
        Some(node) if matches!(node.value, Value::Mapping(_)) => Some(node),
        // What it is instead was told when it was read.
        Some(_) => return,
    };
    let promise = acme.map(Promise::of);
    if let (Some(node), Some(promise)) = (acme, &promise) {
        reader.under("acme", |reader| section(node, promise, has_listener(root, "http"), reader));
    }
    reader.under("apps", |reader| {
        // Who passes bytes on shows no certificate.
        let shows = |app: &Node| !raw_tcp::is_raw(app) || raw_tcp::tls_of(app) == Some(RawTls::Terminate);
        let apps = root.get("apps").map_or(&[][..], Node::entries);
        for (key, app) in apps.iter().filter(|(_, app)| shows(app)) {
            reader.under(&key.text, |reader| {
                match (app.get("tls").map_or(Some(Tls::Auto), |n| quietly(Some(n))), &promise) {
                    (Some(Tls::Auto), Some(promise)) => hosts(app, promise, reader),
                    (Some(Tls::OnDemand), promise) => on_demand(app, acme, promise.is_some(), reader),
                    (Some(Tls::Auto), None)
                    | (Some(Tls::Internal | Tls::Off | Tls::Files { .. }) | None, _) => {}
                }
            });
        }
    });
}

/// What the section is able to do, as far as it can be read.
struct Promise {
    challenge: Option<ChallengeChoice>,
    has_dns: bool,
    directories: Vec<Directory>,
}

impl Promise {
    fn of(acme: &Node) -> Self {
        let directories = match acme.get("directory") {
            None => vec![Directory::LetsEncrypt],
            node => quietly::<OneOrMore<Directory>>(node).map_or_else(Vec::new, |list| list.0),
        };
        let challenge = acme.get("challenge").map_or(Some(ChallengeChoice::Auto), |node| quietly(Some(node)));
        Self { challenge, has_dns: acme.given("dns").is_some(), directories }
    }

    /// Whether every authority is one that the whole world trusts, and that issues for public names only.
    fn is_public(&self) -> bool {
        let public = |directory: &Directory| match directory {
            Directory::LetsEncrypt
            | Directory::LetsEncryptStaging
            | Directory::ZeroSsl
            | Directory::Google => true,
            Directory::Url(_) => false,
        };
        !self.directories.is_empty() && self.directories.iter().all(public)
    }
}

/// The section by itself.
fn section(acme: &Node, promise: &Promise, plain: bool, reader: &mut Reader) {
    if let Some(node) = acme.get("challenge") {
        challenge(node, promise, plain, reader);
    }
    external_accounts(acme, reader);
    if let Some(retry) = acme.get("retry") {
        reader.under("retry", |reader| waits(retry, reader));
    }
}

/// A challenge that nobody could answer.
fn challenge(node: &Node, promise: &Promise, plain: bool, reader: &mut Reader) {
    let (message, hint) = match promise.challenge {
        Some(ChallengeChoice::Dns01) if !promise.has_dns => (
            "the challenge dns-01 needs somebody who sets DNS records, and `acme.dns` is missing",
            "add for example `dns: {provider: cloudflare, token_file: FILE}`, or write `challenge: auto`",
        ),
        Some(ChallengeChoice::Http01) if !plain => (
            "the challenge http-01 is answered on plain HTTP, and `proxy.http` has no address",
            "give `proxy.http` an address that port 80 leads to, or write `challenge: auto`",
        ),
        Some(
            ChallengeChoice::Auto
            | ChallengeChoice::Http01
            | ChallengeChoice::TlsAlpn01
            | ChallengeChoice::Dns01,
        )
        | None => return,
    };
    reader.under("challenge", |reader| reader.wrong(node, message, hint));
}

/// A first wait that is longer than the longest.
fn waits(retry: &Node, reader: &mut Reader) {
    let RetryKeys { first, max } = RetryKeys::default();
    let first = retry.get("first").map_or(Some(first), |node| quietly(Some(node)));
    let max = retry.get("max").map_or(Some(max), |node| quietly(Some(node)));
    let (Some(Positive(first)), Some(Positive(max))) = (first, max) else { return };
    if first <= max {
        return;
    }
    let (key, node) = match (retry.get("first"), retry.get("max")) {
        (Some(node), _) => ("first", node),
        (None, Some(node)) => ("max", node),
        (None, None) => return,
    };
    let open =
        [retry.get("first"), retry.get("max")].into_iter().flatten().all(|node| node.veil == Veil::Open);
    let message = if open {
        format!("the first wait, {first}, is longer than the longest, {max}")
    } else {
        "the first wait is longer than the longest".to_owned()
    };
    reader.under(key, |reader| reader.wrong(node, message, "make `first` shorter or `max` longer"));
}

/// Authorities that ask for an external account when there is none, or only one for two of them.
fn external_accounts(acme: &Node, reader: &mut Reader) {
    let Some(node) = acme.get("directory") else { return };
    let mut first: Option<Directory> = None;
    for (index, item) in node.items().iter().enumerate() {
        let Some(directory) = quietly::<Directory>(Some(item)) else { continue };
        if !matches!(directory, Directory::ZeroSsl | Directory::Google) {
            continue;
        }
        let key = if matches!(node.value, Value::Sequence(_)) {
            format!("directory[{index}]")
        } else {
            "directory".into()
        };
        let (message, hint) = if acme.given("eab").is_none() {
            (
                format!(
                    "{} asks for an external account, and `acme.eab` is missing",
                    shown(item, &directory.to_string())
                ),
                "make one at the authority and add `eab: {kid: ID, hmac_file: FILE}`",
            )
        } else if first.is_some() {
            (
                format!(
                    "{} asks for an external account of its own, and `acme.eab` is the other authority's",
                    shown(item, &directory.to_string())
                ),
                "keep one of the two; an authority without external accounts, such as `letsencrypt`, may stand beside it",
            )
        } else {
            first = Some(directory);
            continue;
        };
        reader.under(&key, |reader| reader.wrong(item, message, hint));
    }
}

/// An application that takes certificates on demand, which nobody issues.
fn on_demand(app: &Node, acme: Option<&Node>, is_set: bool, reader: &mut Reader) {
    if acme.is_some_and(|acme| acme.given("on_demand").is_some()) {
        return;
    }
    let Some(node) = app.get("tls") else { return };
    let missing = if is_set { "acme.on_demand" } else { "acme" };
    let message = format!("`tls: on_demand` needs somebody who allows the names, and `{missing}` is missing");
    let hint = "add `acme: {on_demand: {ask: URL}}`; the URL is asked with `?domain=NAME` and answers 200 for your customers' names";
    reader.under("tls", |reader| reader.wrong(node, message, hint));
}

/// The hosts of an application with `tls: auto` that no certificate can be had for.
fn hosts(app: &Node, promise: &Promise, reader: &mut Reader) {
    let Some(hosts) = app.get("hosts") else { return };
    for (index, node) in hosts.items().iter().enumerate() {
        let Some(host) = quietly::<HostPattern>(Some(node)) else { continue };
        let Some((sentence, hint)) = unprovable(&host, promise) else { continue };
        let key = if matches!(hosts.value, Value::Sequence(_)) {
            format!("hosts[{index}]")
        } else {
            "hosts".into()
        };
        let message = format!("{} {sentence}", shown(node, &host.to_string()));
        reader.under(&key, |reader| reader.wrong(node, message, hint));
    }
}

/// Why no authority can issue for a host, and what to do.
fn unprovable(host: &HostPattern, promise: &Promise) -> Option<(String, &'static str)> {
    const INTERNAL: &str = "write `tls: internal` for a certificate of the proxy's own authority, or name an authority of your own in `acme.directory`";
    if let Some(why) = is_private(host).filter(|_| promise.is_public()) {
        return Some((format!("{why}, and no public authority issues certificates for such"), INTERNAL));
    }
    let challenge = promise.challenge?;
    let is_address = matches!(host, HostPattern::Exact(name) if name.parse::<IpAddr>().is_ok());
    match (host, challenge) {
        (HostPattern::Wildcard(_), _) if !promise.has_dns => Some((
            "is a wildcard, which needs dns-01, and `acme.dns` is missing".into(),
            "add `acme.dns`, for example `dns: {provider: cloudflare, token_file: FILE}`, or write `tls: internal`, or name each host",
        )),
        (HostPattern::Wildcard(_), ChallengeChoice::Http01 | ChallengeChoice::TlsAlpn01) => Some((
            "is a wildcard, which needs dns-01, and `acme.challenge` is another".into(),
            "write `challenge: auto`, which takes dns-01 for wildcards only",
        )),
        (HostPattern::Exact(_), ChallengeChoice::Dns01) if is_address => Some((
            "is an address, which dns-01 cannot prove".into(),
            "write `challenge: auto`, or `tls: internal` for this application",
        )),
        (HostPattern::Wildcard(_), ChallengeChoice::Auto | ChallengeChoice::Dns01)
        | (
            HostPattern::Exact(_),
            ChallengeChoice::Auto
            | ChallengeChoice::Http01
            | ChallengeChoice::TlsAlpn01
            | ChallengeChoice::Dns01,
        ) => None,
    }
}

/// The last labels that belong to nobody in the public DNS (RFC 2606, RFC 6761, RFC 6762, RFC 8375 and custom).
const PRIVATE: [&str; 10] =
    ["localhost", "local", "internal", "test", "example", "invalid", "lan", "home", "corp", "home.arpa"];

/// What makes a host one that no public authority issues for (CA/Browser Forum Baseline Requirements 7.1.4.2).
fn is_private(host: &HostPattern) -> Option<&'static str> {
    let (HostPattern::Exact(name) | HostPattern::Wildcard(name)) = host;
    if let Ok(ip) = name.parse::<IpAddr>() {
        return is_private_address(ip).then_some("is a private address");
    }
    let ends = |end: &str| name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if PRIVATE.into_iter().any(ends) {
        return Some("is a private name");
    }
    if name.contains('_') {
        return Some("has a `_` in it");
    }
    (!name.contains('.')).then_some("is a name without a domain")
}

/// Whether an address means something else in every network.
fn is_private_address(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared
        }
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_hosts_are_told_from_public_ones() {
        for private in [
            "localhost",
            "nas",
            "nas.local",
            "a.b.internal",
            "*.lan",
            "box.home.arpa",
            "10.0.0.1",
            "127.0.0.1",
            "100.64.0.1",
            "192.168.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "169.254.1.1",
            "my_shop.example.com",
            "*.com",
        ] {
            assert!(is_private(&private.parse().expect(private)).is_some(), "{private}");
        }
        for public in [
            "example.com",
            "local.example.com",
            "thelocal.se",
            "*.example.com",
            "1.1.1.1",
            "100.128.0.1",
            "2606:4700::1111",
            "172.32.0.1",
        ] {
            assert_eq!(is_private(&public.parse().expect(public)), None, "{public}");
        }
    }
}
