//! Who the client is, and what upstreams are told about it.
//!
//! Invariant: a header is believed only when the peer of the connection is a trusted proxy, and only as far
//! as an unbroken chain of trusted proxies reaches. Garbage ends the chain; it is never believed.
//! Called by the gateway once for each request: [`Trust::client`] when it arrives, [`Trust::outgoing`]
//! when its head goes to the upstream.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use bytes::BytesMut;
use http::header::{FORWARDED, GetAll, HeaderName, HeaderValue};
use http::{HeaderMap, Uri};
use ipnet::IpNet;

use crate::hygiene::is_token;
use crate::request_id::X_REQUEST_ID;

/// `X-Forwarded-For`: the client and every proxy so far, the newest last.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`: the scheme the client used.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`: the host the client asked for.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Whose word about clients is taken.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    proxies: Vec<IpNet>,
    client_ip_header: Option<HeaderName>,
}

/// The client of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address, as far as it can be known. IPv4 addresses never appear in their IPv6-mapped form.
    pub ip: IpAddr,
    /// Whether the connection comes from a trusted proxy.
    pub trusted: bool,
}

/// What a request to an upstream says about its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardedHeaders {
    /// `X-Forwarded-For`.
    pub x_forwarded_for: HeaderValue,
    /// `X-Forwarded-Proto`.
    pub x_forwarded_proto: HeaderValue,
    /// `X-Forwarded-Host`; absent when the request named no host.
    pub x_forwarded_host: Option<HeaderValue>,
    /// `Forwarded` (RFC 7239).
    pub forwarded: HeaderValue,
}

impl ForwardedHeaders {
    /// Says it in a request, in the place of what was said there.
    pub fn set(self, headers: &mut HeaderMap) {
        headers.insert(X_FORWARDED_FOR, self.x_forwarded_for);
        headers.insert(X_FORWARDED_PROTO, self.x_forwarded_proto);
        if let Some(host) = self.x_forwarded_host {
            headers.insert(X_FORWARDED_HOST, host);
        }
        headers.insert(FORWARDED, self.forwarded);
    }
}

/// What is said about a client whose own word does not count: the same for every request of a connection for one host,
/// so it is written once. Called by the gateway.
#[derive(Debug, Default)]
pub struct Told(OnceLock<Box<(Box<str>, ForwardedHeaders)>>);

impl Told {
    /// What is said about a request for `host`; made when it is the connection's first, or for another host than that.
    pub fn about(&self, host: &str, make: impl Fn() -> ForwardedHeaders) -> ForwardedHeaders {
        let first = self.0.get_or_init(|| Box::new((host.into(), make())));
        if *first.0 == *host { first.1.clone() } else { make() }
    }
}

impl Trust {
    /// Trusts the proxies of these networks, and a header in which they name the client.
    #[must_use]
    pub fn new(proxies: Vec<IpNet>, client_ip_header: Option<HeaderName>) -> Self {
        Self { proxies, client_ip_header }
    }

    /// Whether `ip` is a trusted proxy.
    #[must_use]
    pub fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.proxies.iter().any(|net| net.contains(&ip))
    }

    /// The client behind `peer`.
    ///
    /// The client IP header comes first, then `X-Forwarded-For`, then `Forwarded`; the first that is there decides.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let peer = peer.to_canonical();
        if self.trusts(peer) {
            self.client_behind(peer, headers)
        } else {
            Client { ip: peer, trusted: false }
        }
    }

    /// The client behind a peer that is trusted, whatever its address: one that came by a unix socket.
    #[must_use]
    pub fn client_behind(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let ip = self.named_client(headers).or_else(|| self.chained_client(headers)).unwrap_or(peer);
        Client { ip, trusted: true }
    }

    /// The address in the configured header, when it is there exactly once and is an address.
    fn named_client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut values = headers.get_all(self.client_ip_header.as_ref()?).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        node_address(value.to_str().ok()?.trim())
    }

    /// The client by the first chain that is there; what the other one says does not matter then, because a proxy
    /// that writes only one of them may pass the other on as its client wrote it.
    fn chained_client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        if headers.contains_key(X_FORWARDED_FOR) {
            self.walk(headers, &X_FORWARDED_FOR, forwarded_for)
        } else {
            self.walk(headers, &FORWARDED, forwarded_elements)
        }
    }

    /// Walks a chain of addresses from the newest to the oldest, past trusted proxies, and stops at the first
    /// that is not trusted or is no address: nobody trusted vouches for what stands left of it.
    fn walk(&self, headers: &HeaderMap, name: &HeaderName, parse: ParseLine) -> Option<IpAddr> {
        let mut known = None;
        for line in headers.get_all(name).iter().rev() {
            let Ok(line) = line.to_str() else { break };
            for address in parse(line) {
                let Some(address) = address else { return known };
                known = Some(address);
                if !self.trusts(address) {
                    return known;
                }
            }
        }
        known
    }

    /// Whether a trusted proxy in front says that its client came by https.
    #[must_use]
    pub fn says_https(&self, headers: &HeaderMap) -> bool {
        proto_of(headers) == Some("https")
    }

    /// What to tell the upstream. `peer` is the other end of the connection, `host` what the client asked for.
    ///
    /// From a trusted proxy the chains are carried on with `peer` appended; from anybody else they begin with `peer`. A chain
    /// that names another client than the configured header does is the client's own word, and begins anew.
    #[must_use]
    pub fn outgoing(
        &self,
        client: &Client,
        peer: IpAddr,
        tls: bool,
        host: &str,
        headers: &HeaderMap,
    ) -> ForwardedHeaders {
        let peer = peer.to_canonical();
        let proto = if tls { "https" } else { "http" };
        let own_host = || (!host.is_empty()).then(|| HeaderValue::from_str(host).ok()).flatten();
        let (x_forwarded_proto, x_forwarded_host) = if client.trusted {
            let host = headers.get(X_FORWARDED_HOST).filter(|h| is_host(h)).cloned();
            (proto_of(headers).unwrap_or(proto), host.or_else(own_host))
        } else {
            (proto, own_host())
        };
        let carried = self.carries(client, headers, &X_FORWARDED_FOR, forwarded_for);
        ForwardedHeaders {
            x_forwarded_for: chain(client, peer, carried, |out, ip| {
                let _ = write!(out, "{ip}");
            }),
            x_forwarded_proto: HeaderValue::from_static(x_forwarded_proto),
            x_forwarded_host,
            forwarded: self.forwarded(client, peer, proto, host, headers),
        }
    }

    /// The `Forwarded` header: the chain so far, and one element for this connection.
    fn forwarded(
        &self,
        client: &Client,
        peer: IpAddr,
        proto: &'static str,
        host: &str,
        headers: &HeaderMap,
    ) -> HeaderValue {
        let carried = self.carries(client, headers, &FORWARDED, forwarded_elements);
        chain(client, peer, carried, |out, ip| {
            write_node(out, ip);
            if ip == peer {
                write_host(out, host);
                let _ = write!(out, ";proto={proto}");
            }
        })
    }

    /// The lines of a chain that is carried on.
    fn carries<'a>(
        &self,
        client: &Client,
        headers: &'a HeaderMap,
        name: &HeaderName,
        parse: ParseLine,
    ) -> Option<GetAll<'a, HeaderValue>> {
        let agrees =
            || self.named_client(headers).is_none() || self.walk(headers, name, parse) == Some(client.ip);
        (client.trusted && headers.contains_key(name) && agrees()).then(|| headers.get_all(name))
    }

    /// The names under which an untrusted client tries to speak for a proxy, and those that only look like such names to
    /// programs behind: many read `_` as `-`, and no proxy in front takes `X_Forwarded_For` away. To be removed before
    /// the upstream is told. Empty, and not allocated, for honest clients.
    #[must_use]
    pub fn removals(&self, client: &Client, headers: &HeaderMap) -> Vec<HeaderName> {
        let own = self.client_ip_header.as_ref();
        let first = own.and_then(|name| name.as_str().bytes().next());
        let spoofed = |name: &&HeaderName| {
            let text = name.as_str();
            // Nearly all names differ in their first letter already.
            let begins = text.bytes().next();
            if !matches!(begins, Some(b'x' | b'f')) && begins != first {
                return false;
            }
            let own = own == Some(*name);
            let disguised = text.contains('_') && !own;
            (disguised || !client.trusted) && (own || self.speaks_for_a_proxy(text))
                || disguised && reads_as(text, X_REQUEST_ID.as_str())
        };
        headers.keys().filter(spoofed).cloned().collect()
    }

    /// Whether programs behind may take a name for one by which proxies tell of clients.
    fn speaks_for_a_proxy(&self, name: &str) -> bool {
        const PREFIX: &str = "x-forwarded-";
        let own = self.client_ip_header.as_ref().map(HeaderName::as_str);
        let known = [Some("forwarded"), Some("x-real-ip"), own];
        name.get(..PREFIX.len()).is_some_and(|start| reads_as(start, PREFIX))
            || known.into_iter().flatten().any(|known| reads_as(name, known))
    }
}

/// Whether two names are one to a program that reads `_` as `-`.
fn reads_as(name: &str, known: &str) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte };
    name.len() == known.len() && name.bytes().zip(known.bytes()).all(|(a, b)| plain(a) == plain(b))
}

/// Reads one header line into its addresses, the newest first; `None` for an entry that is no address.
type ParseLine = fn(&str) -> Vec<Option<IpAddr>>;

/// The addresses of one `X-Forwarded-For` line.
fn forwarded_for(line: &str) -> Vec<Option<IpAddr>> {
    line.rsplit(',').map(str::trim).map(node_address).collect()
}

/// The `for` addresses of one `Forwarded` line. A line that breaks the grammar anywhere gives one `None`:
/// a client may have opened a quote to swallow what the proxies after it appended.
fn forwarded_elements(line: &str) -> Vec<Option<IpAddr>> {
    let mut found = Vec::new();
    let mut rest = line;
    loop {
        let Some((node, after)) = forwarded_element(rest) else { return vec![None] };
        found.push(node);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
    }
    found.reverse();
    found
}

/// Reads one element up to its comma: the address of its `for`, and what follows. `None` breaks the grammar.
fn forwarded_element(text: &str) -> Option<(Option<IpAddr>, &str)> {
    let mut node = None;
    let mut rest = text.trim_start();
    loop {
        let (name, after) = rest.split_once('=')?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        let (value, after) = parameter_value(after)?;
        if name.eq_ignore_ascii_case("for") {
            node = node_address(value);
        }
        let after = after.trim_start();
        match after.strip_prefix(';') {
            Some(next) => rest = next.trim_start(),
            None if after.is_empty() || after.starts_with(',') => return Some((node, after)),
            None => return None,
        }
    }
}

/// Reads a token or a quoted string. Escapes stay as they are: no address contains one.
fn parameter_value(text: &str) -> Option<(&str, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|b| !is_token(b)).unwrap_or(text.len());
        return (end > 0).then(|| text.split_at(end));
    };
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some((&quoted[..at], &quoted[at + 1..])),
            _ => {}
        }
    }
    None
}

/// An address as proxies write it: with or without a port, IPv6 with or without brackets.
fn node_address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse::<IpAddr>()
        .ok()
        .or_else(bracketed)
        .or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()))
        .map(|ip| ip.to_canonical())
}

/// Carries on a chain of a trusted proxy, or begins one. When a trusted proxy told of its client in another way, the chain
/// begins with that client, so that an upstream may read either.
fn chain(
    client: &Client,
    peer: IpAddr,
    carried: Option<GetAll<'_, HeaderValue>>,
    entry: impl Fn(&mut BytesMut, IpAddr),
) -> HeaderValue {
    let mut out = BytesMut::with_capacity(96);
    if let Some(lines) = carried {
        for line in lines {
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b", ");
        }
    } else if client.trusted && client.ip != peer {
        entry(&mut out, client.ip);
        out.extend_from_slice(b", ");
    }
    entry(&mut out, peer);
    // Only header bytes went in; should one be refused, the peer alone is still the truth.
    HeaderValue::from_maybe_shared(out.freeze()).unwrap_or_else(|_| {
        let mut alone = BytesMut::new();
        let _ = write!(alone, "{peer}");
        HeaderValue::from_maybe_shared(alone.freeze()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    })
}

/// `for=192.0.2.1` or `for="[2001:db8::1]"` (RFC 7239 section 6).
fn write_node(out: &mut BytesMut, ip: IpAddr) {
    let _ = match ip {
        IpAddr::V4(ip) => write!(out, "for={ip}"),
        IpAddr::V6(ip) => write!(out, "for=\"[{ip}]\""),
    };
}

/// `;host=example.com`, quoted when it has a port; nothing when it is no host at all.
fn write_host(out: &mut BytesMut, host: &str) {
    if host.is_empty() || !host.bytes().all(is_host_byte) {
        return;
    }
    let _ = if host.bytes().all(is_token) {
        write!(out, ";host={host}")
    } else {
        write!(out, ";host=\"{host}\"")
    };
}

/// What may stand in a host and port: no quote, no backslash, no comma, no space.
const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']' | b'%' | b'~')
}

/// The scheme a trusted proxy names, when it is one of the two.
fn proto_of(headers: &HeaderMap) -> Option<&'static str> {
    let value = headers.get(X_FORWARDED_PROTO)?.as_bytes();
    ["https", "http"].into_iter().find(|known| value.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether a trusted proxy's `X-Forwarded-Host` is one host.
fn is_host(value: &HeaderValue) -> bool {
    !value.is_empty()
        && value.as_bytes().iter().all(|b| is_host_byte(*b))
        && Uri::try_from(value.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Header lines as a client sends them.
    type Lines = &'static [(&'static str, &'static str)];

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        map
    }

    fn trust() -> Trust {
        Trust::new(
            vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            Some(HeaderName::from_static("cf-connecting-ip")),
        )
    }

    #[test]
    fn the_client_is_the_nearest_address_that_is_not_trusted() {
        const XFF: &str = "x-forwarded-for";
        let table: &[(&str, Lines, &str)] = &[
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[(XFF, "192.0.2.7")], "192.0.2.7"),
            ("10.0.0.1", &[(XFF, "192.0.2.7, 10.0.0.9")], "192.0.2.7"),
            ("10.0.0.1", &[(XFF, "192.0.2.7"), (XFF, "10.0.0.9")], "192.0.2.7"),
            ("10.0.0.1", &[(XFF, "10.0.0.8, 10.0.0.9")], "10.0.0.8"),
            ("10.0.0.1", &[(XFF, "192.0.2.7:4711")], "192.0.2.7"),
            ("10.0.0.1", &[(XFF, "[2001:db8::1]:4711")], "2001:db8::1"),
            ("10.0.0.1", &[(XFF, "2001:db8::1")], "2001:db8::1"),
            ("10.0.0.1", &[(XFF, "::ffff:192.0.2.7")], "192.0.2.7"),
            ("::ffff:10.0.0.1", &[(XFF, "192.0.2.7")], "192.0.2.7"),
            ("fd00::1", &[(XFF, "192.0.2.7")], "192.0.2.7"),
            ("10.0.0.1", &[("forwarded", "for=192.0.2.7;proto=https")], "192.0.2.7"),
            ("10.0.0.1", &[("forwarded", "For=\"[2001:db8::1]:47\", for=10.0.0.2")], "2001:db8::1"),
            ("10.0.0.1", &[("forwarded", "by=10.0.0.2 ; for=192.0.2.7")], "192.0.2.7"),
            ("10.0.0.1", &[("cf-connecting-ip", "192.0.2.1"), (XFF, "192.0.2.7")], "192.0.2.1"),
        ];
        for (peer, lines, expected) in table {
            let client = trust().client(ip(peer), &headers(lines));
            assert_eq!(client, Client { ip: ip(expected), trusted: true }, "{peer} {lines:?}");
        }
    }

    #[test]
    fn nothing_a_stranger_says_is_believed() {
        for (name, value) in [
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("cf-connecting-ip", "192.0.2.1"),
            ("x-real-ip", "192.0.2.1"),
        ] {
            let client = trust().client(ip("203.0.113.5"), &headers(&[(name, value)]));
            assert_eq!(client, Client { ip: ip("203.0.113.5"), trusted: false }, "{name}");
        }
    }

    #[test]
    fn spoofed_and_garbage_chains_end_where_trust_ends() {
        const XFF: &str = "x-forwarded-for";
        const FORWARDED: &str = "forwarded";
        const NAMED: &str = "cf-connecting-ip";
        let table: &[(Lines, &str)] = &[
            // A client behind the proxy wrote the left part.
            (&[(XFF, "1.1.1.1, 192.0.2.7")], "192.0.2.7"),
            (&[(XFF, "10.0.0.3, 192.0.2.7")], "192.0.2.7"),
            (&[(XFF, "1.1.1.1, 10.9.9.9, 192.0.2.7, 10.0.0.2")], "192.0.2.7"),
            // Garbage ends the walk: the last vouched-for address stays.
            (&[(XFF, "1.1.1.1, unknown")], "10.0.0.1"),
            (&[(XFF, "1.1.1.1, unknown, 10.0.0.2")], "10.0.0.2"),
            (&[(XFF, "1.1.1.1, ")], "10.0.0.1"),
            (&[(XFF, "")], "10.0.0.1"),
            (&[(XFF, "999.1.1.1")], "10.0.0.1"),
            (&[(FORWARDED, "for=1.1.1.1, for=_hidden")], "10.0.0.1"),
            (&[(FORWARDED, "for=1.1.1.1, proto=http")], "10.0.0.1"),
            // The second chain is not asked when the first is there.
            (&[(XFF, "unknown"), (FORWARDED, "for=1.1.1.1")], "10.0.0.1"),
            // A quote left open to swallow what the proxy appends.
            (&[(FORWARDED, "for=1.1.1.1;x=\", for=192.0.2.7")], "10.0.0.1"),
            (&[(FORWARDED, "for=1.1.1.1;x=\", for=\"[2001:db8::1]\"")], "10.0.0.1"),
            (&[(FORWARDED, "for=\"1.1.1.1")], "10.0.0.1"),
            // The named header twice, or no address: not believed, the chain is asked.
            (&[(NAMED, "1.1.1.1"), (NAMED, "2.2.2.2"), (XFF, "192.0.2.7")], "192.0.2.7"),
            (&[(NAMED, "1.1.1.1, 2.2.2.2"), (XFF, "192.0.2.7")], "192.0.2.7"),
        ];
        for (lines, expected) in table {
            let client = trust().client(ip("10.0.0.1"), &headers(lines));
            assert_eq!(client.ip, ip(expected), "{lines:?}");
        }
    }

    fn sent(peer: &str, tls: bool, host: &str, lines: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let (trust, headers) = (trust(), headers(lines));
        let client = trust.client(ip(peer), &headers);
        let out = trust.outgoing(&client, ip(peer), tls, host, &headers);
        let removals = trust.removals(&client, &headers);
        let mut removed: Vec<_> = removals.iter().map(ToString::to_string).collect();
        removed.sort();
        let mut said = HeaderMap::new();
        out.set(&mut said);
        let set = said.values().map(|value| value.to_str().unwrap().to_owned()).collect();
        (set, removed)
    }

    #[test]
    fn nobody_gets_through_a_name_that_programs_behind_take_for_a_proxys() {
        let disguised = [
            ("x_forwarded_for", "6.6.6.6"),
            ("x-forwarded_proto", "https"),
            ("x_real_ip", "6.6.6.6"),
            ("cf_connecting-ip", "6.6.6.6"),
            ("x_request_id", "forged"),
        ];
        let honest = [("user_id", "7"), ("x_forwarder", "8"), ("x-request-id", "9")];
        let lines = [&disguised[..], &honest[..]].concat();
        for peer in ["10.0.0.1", "192.0.2.7"] {
            let (_, removed) = sent(peer, false, "h", &lines);
            let mut expected: Vec<_> = disguised.iter().map(|(name, _)| *name).collect();
            expected.sort_unstable();
            assert_eq!(removed, expected, "{peer}");
        }
    }

    #[test]
    fn a_direct_client_begins_every_chain() {
        let (set, removed) = sent("192.0.2.7", true, "example.com", &[("accept", "*/*")]);
        assert_eq!(set, ["192.0.2.7", "https", "example.com", "for=192.0.2.7;host=example.com;proto=https"]);
        assert!(removed.is_empty());
        let (set, _) = sent("2001:db8::1", false, "example.com:8080", &[]);
        assert_eq!(
            set,
            [
                "2001:db8::1",
                "http",
                "example.com:8080",
                "for=\"[2001:db8::1]\";host=\"example.com:8080\";proto=http"
            ]
        );
    }

    #[test]
    fn a_stranger_that_speaks_for_a_proxy_is_silenced() {
        let spoof = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/admin"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("cf-connecting-ip", "10.0.0.1"),
        ];
        let (set, removed) = sent("203.0.113.5", false, "a.example", &spoof);
        assert_eq!(set, ["203.0.113.5", "http", "a.example", "for=203.0.113.5;host=a.example;proto=http"]);
        assert_eq!(
            removed,
            [
                "cf-connecting-ip",
                "forwarded",
                "x-forwarded-for",
                "x-forwarded-prefix",
                "x-forwarded-proto",
                "x-real-ip"
            ]
        );
    }

    #[test]
    fn a_trusted_proxy_is_carried_on() {
        let lines = [
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "HTTPS"),
            ("x-forwarded-host", "shop.example"),
            ("forwarded", "for=192.0.2.7;proto=https"),
        ];
        let (set, removed) = sent("10.0.0.1", false, "internal", &lines);
        assert_eq!(
            set,
            [
                "192.0.2.7, 10.0.0.1",
                "https",
                "shop.example",
                "for=192.0.2.7;proto=https, for=10.0.0.1;host=internal;proto=http"
            ]
        );
        assert!(removed.is_empty());
    }

    #[test]
    fn either_chain_alone_tells_an_upstream_who_the_client_is() {
        let (set, _) = sent("10.0.0.1", false, "h", &[("x-forwarded-for", "2001:db8::1")]);
        assert_eq!(set[0], "2001:db8::1, 10.0.0.1");
        assert_eq!(set[3], "for=\"[2001:db8::1]\", for=10.0.0.1;host=h;proto=http");
        let (set, _) = sent("10.0.0.1", false, "h", &[("forwarded", "for=192.0.2.7")]);
        assert_eq!(set[0], "192.0.2.7, 10.0.0.1");
    }

    #[test]
    fn a_chain_that_contradicts_the_named_client_begins_anew() {
        let network = "10.0.0.0/8".parse().expect("a network");
        let trust = Trust::new(vec![network], Some(HeaderName::from_static("x-client")));
        let told = |chain: &str| {
            let headers = headers(&[("x-client", "203.0.113.9"), ("x-forwarded-for", chain)]);
            let peer = ip("10.0.0.1");
            let outgoing = trust.outgoing(&trust.client(peer, &headers), peer, false, "h", &headers);
            outgoing.x_forwarded_for.to_str().expect("text").to_owned()
        };
        assert_eq!(told("6.6.6.6"), "203.0.113.9, 10.0.0.1", "the client's own word");
        assert_eq!(told("6.6.6.6, 203.0.113.9"), "6.6.6.6, 203.0.113.9, 10.0.0.1", "the proxy's word");
    }

    #[test]
    fn each_request_of_a_connection_is_told_of_by_its_own_host() {
        let (trust, told, none) = (trust(), Told::default(), headers(&[]));
        let client = trust.client(ip("192.0.2.7"), &none);
        for host in ["a", "b", "a"] {
            let said = told.about(host, || trust.outgoing(&client, client.ip, false, host, &none));
            assert_eq!(said.x_forwarded_host.unwrap(), host);
        }
    }

    #[test]
    fn a_host_that_is_none_breaks_no_header() {
        let (set, _) = sent("192.0.2.7", false, "a\";for=1.1.1.1", &[]);
        assert_eq!(set[3], "for=192.0.2.7;proto=http");
        let (set, _) = sent("10.0.0.1", false, "h", &[("x-forwarded-host", "a, b")]);
        assert_eq!(set[2], "h");
        let (set, _) = sent("192.0.2.7", false, "", &[]);
        assert_eq!(set.len(), 3, "no host, no X-Forwarded-Host");
    }
}
