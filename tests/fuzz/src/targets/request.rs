//! What clients and balancers send: heads, chunks, hosts and paths, chains of proxies, frames, headers of the PROXY protocol.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use switcher_config::PathPrefix;
use switcher_config::settings::Matching;
use switcher_proxy::conditions::{Asked, Conditions};
use switcher_proxy::edge::proxy_protocol::{self, Found};
use switcher_proxy::forwarded::{Client, Trust};
use switcher_proxy::hygiene::{Chunks, Framing, HeadLimits, check_head, check_start, end_of_head};
use switcher_proxy::route::{NoRoute, Route, Router, normalize_host};
use switcher_proxy::websocket::FrameTracker;

const LIMITS: HeadLimits = HeadLimits { size: 32 * 1024, count: 100, target: 8 * 1024 };

/// A head that passes is one to another parser too, ends where that says, and is framed as that says; and no
/// beginning of it is refused.
pub(super) fn head(data: &[u8]) {
    let end = end_of_head(data, 0);
    for seen in [1, data.len() / 2, data.len()] {
        let later = end_of_head(data, seen);
        assert!(
            later.is_none() || later == end || later > end,
            "the end is found elsewhere after {seen} bytes"
        );
    }
    let Some(end) = end else { return };
    let Ok(framing) = check_head(&data[..end], &LIMITS) else { return };
    for cut in 0..end {
        assert!(
            check_start(&data[..cut], &LIMITS).is_ok(),
            "refused after {cut} bytes of a head that passes"
        );
    }
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(data).expect("another parser takes it");
    assert_eq!(parsed, httparse::Status::Complete(end), "another parser sees another end");
    let all =
        |name: &str| request.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).collect::<Vec<_>>();
    match (all("content-length").as_slice(), all("transfer-encoding").as_slice()) {
        ([], []) => assert_eq!(framing, Framing::Empty),
        ([length], []) => {
            let length: u64 = std::str::from_utf8(length.value).expect("digits").parse().expect("a number");
            let expected = if length == 0 { Framing::Empty } else { Framing::Length(length) };
            assert!(framing == expected || framing == Framing::Length(length));
        }
        ([], [coding]) => {
            assert!(coding.value.eq_ignore_ascii_case(b"chunked"));
            assert_eq!(framing, Framing::Chunked);
        }
        (lengths, codings) => panic!("{} lengths and {} codings", lengths.len(), codings.len()),
    }
}

/// A chunked body ends at the same byte however it is cut. The first byte says where.
pub(super) fn chunks(data: &[u8]) {
    let Some((&cut, body)) = data.split_first() else { return };
    let whole = Chunks::new().feed(body);
    let cut = usize::from(cut).min(body.len());
    let mut pieces = Chunks::new();
    let first = pieces.feed(&body[..cut]);
    let in_two = first.and_then(|(count, ended)| {
        if ended {
            Ok((count, true))
        } else {
            pieces.feed(&body[cut..]).map(|(more, ended)| (count + more, ended))
        }
    });
    assert_eq!(whole.is_ok(), in_two.is_ok(), "{whole:?} at once, {in_two:?} cut at {cut}");
    if let (Ok(whole), Ok(in_two)) = (whole, in_two) {
        assert_eq!(whole, in_two, "cut at {cut}");
    }
}

/// A host is normalised once and for all, and every request finds an application; except where the path, read another
/// way, is another one's.
pub(super) fn route(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (authority, path) = text.split_once(' ').unwrap_or((text, "/"));
    let host = normalize_host(authority);
    assert!(!host.bytes().any(|byte| byte.is_ascii_uppercase()), "{host:?}");
    let mut router = Router::default();
    router.add(&[], &Route::to(PathPrefix::default(), "any"));
    for (pattern, prefix) in [("shop.test", "/"), ("*.shop.test", "/"), ("shop.test", "/api")] {
        let pattern = [pattern.parse().expect("a pattern")];
        router.add(&pattern, &Route::to(prefix.parse().expect("a prefix"), pattern_name(prefix)));
    }
    // A priority that is nobody's changes nothing but the way it is looked up.
    let mut ranked = router.clone();
    let conditions = Conditions::of(&Matching { methods: vec!["PUT".to_owned()], ..Matching::default() });
    ranked.add(&[], &Route { path: PathPrefix::default(), priority: 1, conditions, target: "put" });
    let client = Client { ip: [192, 0, 2, 1].into(), trusted: false };
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let headers = HeaderMap::new();
    let asked = |method| Asked { host: &host, path, query, method, headers: &headers, client: Some(&client) };
    let found = router.route(&asked(&Method::GET)).copied();
    assert_eq!(ranked.route(&asked(&Method::GET)).copied(), found);
    if !path.starts_with('/') {
        return;
    }
    assert_eq!(ranked.route(&asked(&Method::PUT)).copied(), Ok("put"));
    match found {
        Ok(target) => {
            let is_api = host == "shop.test" && (path == "/api" || path.starts_with("/api/"));
            assert_eq!(target == "api", is_api, "{path:?} went to {target}");
            let joined = path.split('/').filter(|segment| !segment.is_empty()).collect::<Vec<_>>();
            let may_be_api = host == "shop.test" && joined.first() == Some(&"api");
            assert!(target == "api" || !may_be_api, "{path:?} went past the guards of /api");
        }
        Err(refused) => {
            assert_eq!(refused, NoRoute::Ambiguous, "the application for any host was not found");
            assert_eq!(host, "shop.test", "no other has an application of its own for a path");
            let is_odd = ["%", "\\", ";", "//", "/."].into_iter().any(|sign| path.contains(sign));
            assert!(is_odd, "{path:?} can be read in one way only");
        }
    }
}

fn pattern_name(prefix: &str) -> &'static str {
    if prefix == "/" { "shop" } else { "api" }
}

/// Whatever a client says of proxies before it, an untrusted one is who it is, and what goes on is well-formed.
pub(super) fn forwarded(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(8) {
        let Some((kind, value)) = line.split_first() else { continue };
        let name = match kind % 5 {
            0 => HeaderName::from_static("x-forwarded-for"),
            1 => HeaderName::from_static("forwarded"),
            2 => HeaderName::from_static("x-forwarded-proto"),
            3 => HeaderName::from_static("x-forwarded-host"),
            _ => HeaderName::from_static("cf-connecting-ip"),
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let peer: IpAddr = [192, 0, 2, 1].into();
    let strangers = Trust::new(Vec::new(), None);
    assert_eq!(strangers.client(peer, &headers).ip, peer, "a stranger gave itself another address");
    let net = "192.0.2.0/24".parse().expect("a network");
    for trust in [Trust::new(vec![net], Some(HeaderName::from_static("cf-connecting-ip"))), strangers] {
        let client = trust.client(peer, &headers);
        let told = trust.outgoing(&client, peer, true, "shop.test", &headers);
        let mut said = HeaderMap::new();
        told.set(&mut said);
        for (name, value) in &said {
            assert!(!value.as_bytes().contains(&b'\n'), "{name} holds a line break");
        }
    }
}

/// The boundary of a frame is the same however the bytes are cut. The first byte says where.
pub(super) fn websocket(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let (mut whole, mut pieces) = (FrameTracker::default(), FrameTracker::default());
    whole.feed(bytes);
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    pieces.feed(first);
    pieces.feed(second);
    assert_eq!(whole.at_boundary(), pieces.at_boundary());
    assert_eq!(whole.close_sent(), pieces.close_sent());
}

/// A header of the PROXY protocol is found in what has come of it or not yet, never beyond it and never anew; and what
/// is written for whom it names is read back as them.
pub(super) fn proxy_protocol(data: &[u8]) {
    match proxy_protocol::read(data) {
        Found::Header(end, addresses) => {
            assert!(
                end <= data.len() && end <= proxy_protocol::LONGEST,
                "it ends at {end} of {}",
                data.len()
            );
            assert_eq!(
                proxy_protocol::read(&data[..end]),
                Found::Header(end, addresses),
                "what follows matters"
            );
            for cut in 0..end {
                assert_eq!(proxy_protocol::read(&data[..cut]), Found::Part, "after {cut} bytes of {end}");
            }
            for written in [proxy_protocol::write_v1(addresses), proxy_protocol::write_v2(addresses)] {
                let again = proxy_protocol::read(&written);
                assert_eq!(again, Found::Header(written.len(), addresses), "{written:?} is read otherwise");
            }
        }
        Found::Nothing => {
            let more = [data, b"\r\n"].concat();
            assert_eq!(proxy_protocol::read(&more), Found::Nothing, "more bytes make a header of it");
        }
        Found::Part | Found::Broken(_) => {}
    }
}
