//! A `server` block as a site: listeners, names, certificates, locations. Pure.

use super::differs;
use super::location::{Around, Outcome, outcome};
use super::scope::Scope;
use crate::import::note::Note;
use crate::import::sheet::{Entry, scalar};
use crate::import::site::{Imported, Site, Tls};
use crate::import::tree::{At, Node, Place};

/// What a server comes to.
pub(super) enum Made {
    /// A site.
    Site(Box<Site>),
    /// It sends everything on to https.
    Https(Sent),
}

/// Hosts that are sent on to https.
pub(super) struct Sent {
    hosts: Vec<At<String>>,
    place: Place,
}

/// How a server is reached.
#[derive(Default)]
struct Listening {
    plain: bool,
    tls: bool,
    default: bool,
    doors: Vec<String>,
}

pub(super) fn site(server: &Node, above: &[&Node], levels: &[&Node], imported: &mut Imported) -> Made {
    let mut chain = above.to_vec();
    chain.push(server);
    let scope = Scope::of(&chain);
    let listening = listening(server, imported);
    let mut hosts = hosts(server, imported);
    let own = hosts.first().map(|host| host.value.clone());
    if listening.default {
        hosts.clear();
    }
    let around = Around { root: levels.to_vec(), server, own: own.clone(), tls: listening.tls };
    let mut site = Site {
        place: server.place.clone(),
        name: own.clone().unwrap_or_else(|| "app".to_owned()),
        hosts,
        tls: if listening.tls { certificate(&scope) } else { Tls::Off },
        redirect: !listening.plain,
        keys: keys(&scope),
        doors: listening.doors.clone(),
        routes: Vec::new(),
    };
    if !listening.tls {
        for name in ["ssl_certificate", "ssl_certificate_key"] {
            scope.all(name).iter().for_each(|node| node.set_aside());
        }
    }
    let mut sent = conditions(server);
    locations(server, &scope, &around, &mut site, &mut sent, imported);
    error_pages(server, &scope, &mut site);
    // Before the paths of other hosts it must not come.
    if site.hosts.is_empty() {
        for route in site.routes.iter_mut().filter(|route| route.priority.is_some()) {
            route.priority = None;
            let suggestion =
                "of the paths of this server the longest comes first here, and patterns come after it";
            imported.notes.push(Note::differs(&route.place, route.what.clone(), suggestion));
        }
    }
    // The folder of files that nobody asks for means nothing.
    for name in ["root", "index", "try_files"] {
        for node in scope.all(name) {
            imported.needless(name, &node.take_whole().place);
        }
    }
    match sent {
        Some(place) if site.routes.is_empty() || !listening.tls => {
            if !site.routes.is_empty() && !listening.plain {
                site.redirect = true;
            }
            Made::Https(Sent { hosts: site.hosts, place })
        }
        Some(_) => {
            site.redirect = true;
            Made::Site(Box::new(site))
        }
        None => Made::Site(Box::new(site)),
    }
}

fn listening(server: &Node, imported: &mut Imported) -> Listening {
    let mut found = Listening::default();
    let mut any = false;
    let on = server.text("ssl") == Some("on");
    for node in server.all("listen") {
        any = true;
        let Some(address) = node.word(0) else { continue };
        let mut tls = on;
        for (index, word) in node.seen().into_iter().enumerate().skip(1) {
            match word {
                "ssl" => tls = true,
                "default_server" | "default" => found.default = true,
                "proxy_protocol" => {
                    let suggestion = "write `{listen: ADDRESS, proxy_protocol: require}` and name the balancer in `trusted_proxies`";
                    imported.notes.push(Note::left(&node.place, node.shown(), suggestion));
                }
                "quic" => {
                    let suggestion = "HTTP/3 is not spoken here; clients take HTTP/2";
                    imported.notes.push(Note::left(&node.place, node.shown(), suggestion));
                }
                "http2" | "spdy" | "reuseport" | "deferred" | "bind" => {}
                word if ["backlog=", "ipv6only=", "fastopen=", "so_keepalive=", "rcvbuf=", "sndbuf="]
                    .iter()
                    .any(|start| word.starts_with(start)) => {}
                _ => continue,
            }
            let _ = node.word(index);
        }
        if node.seen().contains(&"quic") {
            continue;
        }
        let at = At::new(listen(address, tls), &node.place);
        found.doors.push(at.value.clone());
        if tls {
            found.tls = true;
            imported.https.push(at);
        } else {
            found.plain = true;
            imported.http.push(at);
        }
    }
    if !any {
        found.plain = true;
        found.doors.push("0.0.0.0:80".to_owned());
        imported.http.push(At::new("0.0.0.0:80".to_owned(), &server.place));
    }
    found
}

/// `80`, `*:80`, `[::]:80` or `127.0.0.1` as an address.
pub(super) fn listen(text: &str, tls: bool) -> String {
    let default = if tls { 443 } else { 80 };
    if text.starts_with("unix:") {
        return text.to_owned();
    }
    if text.chars().all(|c| c.is_ascii_digit()) {
        return format!("0.0.0.0:{text}");
    }
    let text = text.strip_prefix("*:").map_or(text.to_owned(), |port| format!("0.0.0.0:{port}"));
    let text = text.strip_prefix("localhost").map_or(text.clone(), |rest| format!("127.0.0.1{rest}"));
    let open = text.rsplit(']').next().unwrap_or(&text);
    if open.contains(':') { text } else { format!("{text}:{default}") }
}

fn hosts(server: &Node, imported: &mut Imported) -> Vec<At<String>> {
    let mut hosts = Vec::new();
    for node in server.all("server_name") {
        for word in node.words() {
            let at = |name: &str| At::new(name.to_ascii_lowercase(), &node.place);
            match word {
                "_" | "" | "\"\"" | "localhost." => {}
                word if word.starts_with('~') || word.ends_with(".*") => {
                    let suggestion = "hosts are names, or `*.` and a name; write out which are meant";
                    imported.notes.push(Note::left(&node.place, format!("server_name {word}"), suggestion));
                }
                word if word.starts_with('.') => {
                    hosts.push(at(&word[1..]));
                    hosts.push(at(&format!("*{word}")));
                }
                word => hosts.push(at(word)),
            }
        }
        if node.seen().iter().any(|word| word.starts_with("*.") || word.starts_with('.')) {
            differs(imported, node, "`*.` stands for one label here, and for any number of them in nginx");
        }
        if hosts.is_empty() && node.seen().iter().any(|word| word.starts_with('~') || word.ends_with(".*")) {
            // It must not take every host.
            hosts.push(At::new("*".to_owned(), &node.place));
        }
    }
    hosts
}

pub(super) fn certificate(scope: &Scope<'_>) -> Tls {
    let file =
        |name| scope.all(name).first().and_then(|node| node.words().first().copied()).map(str::to_owned);
    match (file("ssl_certificate"), file("ssl_certificate_key")) {
        (Some(certificate), Some(key)) => Tls::Files { certificate, key },
        (Some(_) | None, _) => Tls::Auto,
    }
}

fn keys(scope: &Scope<'_>) -> Vec<Entry> {
    let mut keys = Vec::new();
    if scope.text("ssl_verify_client") == Some("on")
        && let Some(node) = scope.one("ssl_client_certificate")
        && let Some(file) = node.word(0)
    {
        keys.push(Entry::line("client_ca", scalar(file)).from(&node.place, node.shown()));
    }
    keys
}

/// `if ($host = a) { return 301 https://$host$request_uri; }`, as certbot writes it, and what says the same.
fn conditions(server: &Node) -> Option<Place> {
    let mut sent = None;
    for block in server.children.iter().filter(|child| child.name == "if") {
        let condition = block.seen().join(" ");
        let plain =
            ["$host =", "$scheme = http", "$scheme != \"https\"", "$scheme != https", "$https = \"\""];
        let insecure = plain.iter().any(|start| condition.trim_start_matches('(').trim().starts_with(start));
        let target = block.peek("return").map(|node| node.seen().join(" ")).unwrap_or_default();
        let home = [
            "https://$host$request_uri",
            "https://$server_name$request_uri",
            "https://$http_host$request_uri",
        ];
        if insecure && block.children.len() == 1 && home.iter().any(|home| target.ends_with(home)) {
            block.take_whole();
            sent = Some(block.place.clone());
        }
    }
    sent
}

fn locations<'a>(
    node: &'a Node,
    scope: &Scope<'a>,
    around: &Around<'a>,
    site: &mut Site,
    sent: &mut Option<Place>,
    imported: &mut Imported,
) {
    // What a server answers by itself comes before every location.
    if node.name == "server" && node.peek("return").is_some() {
        match outcome(node, scope, around, imported) {
            Some(Outcome::Route(route)) => site.routes.push(*route),
            Some(Outcome::Https(place)) => {
                node.children.iter().filter(|child| child.name == "location").for_each(|child| {
                    child.take_whole();
                });
                *sent = Some(place);
            }
            None => {}
        }
    }
    for location in node.children.iter().filter(|child| child.name == "location") {
        if location.seen().first().is_some_and(|word| word.starts_with('@')) {
            continue;
        }
        // Only nginx itself leads there.
        if location.peek("internal").is_some() && location.peek("proxy_pass").is_some() {
            continue;
        }
        location.take();
        let inner = scope.within(location);
        match outcome(location, &inner, around, imported) {
            Some(Outcome::Route(route)) => site.routes.push(*route),
            Some(Outcome::Https(place)) => {
                let all = location.seen() == ["/"];
                if all || sent.is_none() {
                    sent.get_or_insert(place);
                }
            }
            None => {}
        }
        if location.is_taken() {
            locations(location, &inner, around, site, sent, imported);
        }
    }
    let locations = node.children.iter().filter(|child| child.name == "location");
    let whole = locations.map(Node::seen).any(|words| words == ["/"] || words == ["^~", "/"]);
    if node.name == "server" && !whole && sent.is_none() && node.peek("return").is_none() {
        files(node, scope, around, site, imported);
    }
}

/// Without a location for everything, files are served.
fn files<'a>(
    server: &'a Node,
    scope: &Scope<'a>,
    around: &Around<'a>,
    site: &mut Site,
    imported: &mut Imported,
) {
    if scope.one("root").is_none() {
        return;
    }
    match outcome(server, scope, around, imported) {
        Some(Outcome::Route(route)) => site.routes.push(*route),
        Some(Outcome::Https(_)) | None => {}
    }
}

/// `error_page 502 503 /50x.html;` with a location that has the file.
fn error_pages(server: &Node, scope: &Scope<'_>, site: &mut Site) {
    let mut pages = Vec::new();
    for node in scope.all("error_page") {
        let words = node.words();
        let Some((page, statuses)) = words.split_last() else { continue };
        let exact = server
            .children
            .iter()
            .find(|child| child.name == "location" && child.seen().last() == Some(page));
        let folder = exact.and_then(|place| place.peek("root")).or_else(|| scope.one("root"));
        let good = statuses.iter().all(|status| status.parse::<u16>().is_ok_and(|s| (400..600).contains(&s)));
        let Some(folder) = folder.and_then(|node| node.word(0)).filter(|_| good && page.starts_with('/'))
        else {
            node.give_back();
            continue;
        };
        if let Some(place) = exact {
            place.take_whole();
            // It is a page of the proxy's own, and no route.
            site.routes.retain(|route| route.place != place.place);
        }
        for status in statuses {
            let file = format!("{}{page}", folder.trim_end_matches('/'));
            pages.push(Entry::text(status, &file).from(&node.place, node.shown()));
        }
    }
    let all = scope.text("proxy_intercept_errors") == Some("on");
    if !pages.is_empty() {
        site.keys.push(Entry::section("error_pages", pages));
        if all {
            site.keys.push(Entry::line("error_pages_for", "all"));
        }
    }
}

/// Sends hosts on to https, where a site has them.
pub(super) fn secure(sites: &mut [Site], sent: Sent, imported: &mut Imported) {
    let mut met = false;
    for site in sites.iter_mut().filter(|site| site.tls != Tls::Off) {
        let shared = sent.hosts.is_empty()
            || site.hosts.iter().any(|host| sent.hosts.iter().any(|other| other.value == host.value));
        if shared {
            site.redirect = true;
            met = true;
        }
    }
    let suggestion = if met {
        "plain HTTP is sent on to https by `redirect`, with 308 instead of 301: a POST stays one"
    } else {
        "no server here speaks TLS for these hosts; name the file that has it too"
    };
    let note = Note::differs(&sent.place, "return to https", suggestion);
    imported.notes.push(if met { note } else { Note { kind: crate::import::Kind::NotCarriedOver, ..note } });
}

/// Hosts have one certificate, whichever listener they are asked at.
pub(super) fn settle_tls(sites: &mut [Site]) {
    for index in 0..sites.len() {
        if sites[index].tls != Tls::Off {
            continue;
        }
        let hosts: Vec<String> = sites[index].hosts.iter().map(|host| host.value.clone()).collect();
        let secure = sites
            .iter()
            .find(|site| site.tls != Tls::Off && site.hosts.iter().any(|host| hosts.contains(&host.value)));
        if let Some((tls, redirect)) = secure.map(|site| (site.tls.clone(), site.redirect)) {
            sites[index].tls = tls;
            sites[index].redirect = redirect;
        }
    }
    // What speaks TLS is written first, and so has its paths before what does not.
    sites.sort_by_key(|site| site.tls == Tls::Off);
}
