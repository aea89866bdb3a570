//! Traefik's middlewares as actions. Pure.

use super::rule::Way;
use super::{Source, words, yes};
use crate::import::action::{Action, BasicAuth, Cors, ForwardAuth, HeaderChange, Later, Rate};
use crate::import::note::Note;
use crate::import::sheet::{Entry, pairs};
use crate::import::site::Imported;
use crate::import::tree::{At, Node};
use crate::import::values::{escaped, replacement, time};

/// What the middlewares of a router come to.
#[derive(Debug, Clone, Default)]
pub(super) struct Done {
    pub(super) actions: Vec<At<Action>>,
    /// Keys of the application.
    pub(super) keys: Vec<Entry>,
    /// Whether everything is sent on to https.
    pub(super) https: bool,
    /// Where an action takes off one of several prefixes, with these.
    strips: Vec<(usize, Vec<String>)>,
}

impl Done {
    /// The actions for a way of a rule: where its path says which of several prefixes is met, that one is taken off, and the
    /// application is told of it.
    pub(super) fn actions_for(&self, way: &Way) -> Vec<At<Action>> {
        let mut actions = self.actions.clone();
        let path = way.path.as_ref().map(|(path, _)| path.as_str()).unwrap_or_default();
        for (index, prefixes) in &self.strips {
            let may_meet = |prefix: &&String| path.starts_with(prefix.as_str()) || prefix.starts_with(path);
            let first = prefixes.iter().find(may_meet).map(|prefix| prefix.trim_end_matches('/'));
            let whole = |prefix: &&str| {
                let rest = path.strip_prefix(*prefix);
                !prefix.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if let Some(prefix) = first.filter(whole) {
                actions[*index].value = Action::Strip(prefix.to_owned());
            }
        }
        actions
    }
}

/// How deep chains may lie in each other.
const MAX_DEPTH: usize = 8;

/// Does what a middleware says by its name.
pub(super) fn named(
    source: &Source,
    name: &str,
    from: &Node,
    into: &mut Done,
    depth: usize,
    imported: &mut Imported,
) {
    let Some(node) = source.entry(&["http", "middlewares"], name).filter(|_| depth < MAX_DEPTH) else {
        let suggestion = "this middleware stands in none of the files; name the file that has it too";
        imported.notes.push(Note::left(&from.place, format!("middleware {name}"), suggestion));
        // Nobody knows whom it kept out.
        into.actions.push(At::new(Action::Later(Later::Guard(format!("middleware {name}"))), &from.place));
        return;
    };
    for kind in &node.children {
        if kind.name.eq_ignore_ascii_case("chain") {
            let chained = kind.take().get("middlewares").map(words).unwrap_or_default();
            for name in chained {
                named(source, name, kind, into, depth + 1, imported);
            }
        } else {
            done(kind, &node.name, into, imported);
        }
    }
}

/// Does what one middleware says. What it does not take is told by itself.
pub(super) fn done(node: &Node, name: &str, into: &mut Done, imported: &mut Imported) {
    let kind = node.name.to_ascii_lowercase();
    let at = |action| At::new(action, &node.whole());
    match kind.as_str() {
        "stripprefix" | "addprefix" | "replacepath" | "replacepathregex" | "stripprefixregex" => {
            paths(node, &kind, into);
        }
        "redirectscheme" => {
            node.take();
            let (scheme, _, port) = (node.text("scheme"), node.text("permanent"), node.peek("port"));
            into.https |= scheme == Some("https");
            if scheme != Some("https") {
                node.give_back();
            } else if let Some(port) = port.map(Node::take_whole) {
                let suggestion = "the port of the first address of `proxy.https` is named in the Location";
                imported.notes.push(Note::differs(&port.place, "redirectScheme.port", suggestion));
            }
        }
        "redirectregex" => redirect(node, into),
        "basicauth" => password(node, name, into, imported),
        "ipallowlist" | "ipwhitelist" => {
            if let Some(range) = node.take().get("sourceRange") {
                let networks = words(range).into_iter().map(str::to_owned).collect();
                into.actions.push(at(Action::Allow(networks)));
            }
        }
        "ratelimit" => rate(node, into),
        "inflightreq" => {
            let amount = node.take().text("amount").and_then(|amount| amount.parse().ok());
            let by = criterion(node);
            if let Some(requests) = amount {
                into.actions.push(at(Action::InFlight { requests, by }));
            }
        }
        "headers" => headers(node, into),
        "compress" => {
            // `compress: true` of labels says it too.
            let _ = node.take().words();
            into.actions.push(at(Action::Compress));
            let suggestion = "what has no media type, or one that is no text, is passed on as it is; `compress: {types: […]}` says \
                              what is compressed";
            imported.notes.push(Note::differs(&node.place, "compress", suggestion));
        }
        "forwardauth" => asked(node, into),
        "plugin" => into.actions.push(at(Action::Later(Later::Guard("plugin".to_owned())))),
        "digestauth" => into.actions.push(at(Action::Later(Later::Guard("digestAuth".to_owned())))),
        "circuitbreaker" => breaker(node, into, imported),
        "buffering" => buffering(node, into),
        "retry" => {
            if let Some(attempts) = node.take().text("attempts") {
                let said = pairs(&[("attempts", attempts.to_owned()), ("on", "[connect, reset]".to_owned())]);
                into.keys.push(Entry::line("retries", said).from(&node.place, "retry"));
            }
        }
        "contenttype" => imported.needless("contentType", &node.take_whole().place),
        _ => {}
    }
    let whole = ["digestauth", "plugin"];
    if whole.contains(&kind.as_str()) {
        node.take_whole();
    }
}

fn paths(node: &Node, kind: &str, into: &mut Done) {
    node.take();
    let action = match kind {
        "stripprefix" => {
            let prefixes = node.get("prefixes").map(words).unwrap_or_default();
            let _ = node.get("forceSlash").map(Node::take_whole);
            match prefixes.as_slice() {
                [] => None,
                [one] if !one.trim_end_matches('/').is_empty() => {
                    Some(Action::Strip(one.trim_end_matches('/').to_owned()))
                }
                many => {
                    let prefixes = many.iter().map(|prefix| (*prefix).to_owned()).collect();
                    into.strips.push((into.actions.len(), prefixes));
                    let any: Vec<String> = many.iter().map(|prefix| escaped(prefix)).collect();
                    Some(Action::Replace { from: format!("^(?:{})/?", any.join("|")), to: "/".to_owned() })
                }
            }
        }
        "addprefix" => node.text("prefix").map(|prefix| Action::Prefix(prefix.to_owned())),
        "replacepath" => {
            node.text("path").map(|path| Action::Replace { from: "^.*$".to_owned(), to: replacement(path) })
        }
        "replacepathregex" => match (node.text("regex"), node.text("replacement")) {
            (Some(from), Some(to)) => Some(Action::Replace { from: from.to_owned(), to: replacement(to) }),
            (Some(_) | None, _) => None,
        },
        _ => node.get("regex").and_then(|regex| regex.word(0)).map(|regex| Action::Replace {
            from: format!("^(?:{})/?", regex.trim_start_matches('^')),
            to: "/".to_owned(),
        }),
    };
    into.actions.extend(action.map(|action| At::new(action, &node.place)));
}

/// Traefik holds its pattern against the whole address, ours against the path.
fn redirect(node: &Node, into: &mut Done) {
    let regex = node.peek("regex").and_then(|node| node.seen().first().copied()).unwrap_or_default();
    let bare = regex.trim_start_matches('^');
    let after = ["https?://", "http://", "https://", "http(s)?://", "(https?)://"]
        .iter()
        .take(4)
        .find_map(|scheme| bare.strip_prefix(scheme));
    let Some((host, path)) = after.map(|after| after.split_once('/').unwrap_or((after, "(.*)"))) else {
        return;
    };
    if host.contains('(') && !host.contains("(?:") || path.contains("(?P") || bare.starts_with("http(s)?") {
        return;
    }
    let Some(to) = node.text("replacement") else { return };
    let _ = node.take().text("regex");
    let status = if yes(node, "permanent") { 308 } else { 307 };
    // Of a GET, Traefik makes these.
    let status = if status == 308 { 301 } else { 302 };
    let action = Action::Redirect { from: format!("^/{path}"), to: replacement(to), status };
    into.actions.push(At::new(action, &node.place));
}

fn password(node: &Node, name: &str, into: &mut Done, imported: &mut Imported) {
    node.take();
    let file = match (node.text("usersFile"), node.get("users")) {
        (Some(file), _) => file.to_owned(),
        (None, Some(users)) => {
            let file = format!("{}.htpasswd", crate::init::draft::label(name));
            let lines = words(users);
            let good: Vec<&str> = lines
                .iter()
                .copied()
                .filter(|line| ["$2", "$apr1$"].iter().any(|kind| line.contains(kind)))
                .collect();
            if good.len() < lines.len() {
                let suggestion =
                    "passwords are kept by bcrypt or apr1 here; make them anew with `htpasswd -B`";
                imported.notes.push(Note::left(
                    &users.place,
                    format!("middlewares.{name}.basicAuth.users"),
                    suggestion,
                ));
            }
            if !imported.files.iter().any(|(known, _)| *known == file) {
                imported.files.push((file.clone(), good.join("\n") + "\n"));
            }
            file
        }
        (None, None) => return,
    };
    let auth = BasicAuth {
        file,
        realm: Some(node.text("realm").unwrap_or("traefik").to_owned()),
        user_header: node.text("headerField").map(str::to_owned),
        forward: !yes(node, "removeHeader"),
    };
    into.actions.push(At::new(Action::BasicAuth(auth), &node.place));
}

/// Whose requests are counted together.
fn criterion(node: &Node) -> Option<String> {
    let source = node.get("sourceCriterion")?;
    if let Some(header) = source.text("requestHeaderName") {
        return Some(format!("header {header}"));
    }
    source.get("ipStrategy").map(|_| "client".to_owned())
}

fn rate(node: &Node, into: &mut Done) {
    let average: Option<u64> = node.take().text("average").and_then(|average| average.parse().ok());
    let per = node.text("period").and_then(time).unwrap_or_else(|| "1s".to_owned());
    let burst = node.text("burst").and_then(|burst| burst.parse().ok()).unwrap_or(1);
    let by = criterion(node).filter(|by| by != "client");
    if let Some(requests) = average.filter(|average| *average > 0) {
        let rate = Rate { requests, per, burst: Some(burst), by };
        into.actions.push(At::new(Action::Rate(rate), &node.place));
    }
}

/// Who is asked for leave; what is not said here stays closed.
fn asked(node: &Node, into: &mut Done) {
    let listed = |key: &str| -> Vec<String> {
        node.get(key).map(words).unwrap_or_default().into_iter().map(str::to_owned).collect()
    };
    // Names that are known only by a pattern could be a client's own.
    if node.peek("authResponseHeadersRegex").is_some() {
        let guard = Later::Guard("forwardAuth with authResponseHeadersRegex".to_owned());
        into.actions.push(At::new(Action::Later(guard), &node.take_whole().whole()));
        return;
    }
    let asked = ForwardAuth {
        url: node.take().text("address").unwrap_or_default().to_owned(),
        request_headers: listed("authRequestHeaders"),
        response_headers: listed("authResponseHeaders"),
    };
    // Whom to believe is said for the whole proxy.
    let _ = node.get("trustForwardHeader").map(Node::take_whole);
    into.actions.push(At::new(Action::ForwardAuth(asked), &node.place));
}

/// One share of failures, which is what a breaker is told here.
fn breaker(node: &Node, into: &mut Done, imported: &mut Imported) {
    let text = node.take().text("expression").unwrap_or_default().to_owned();
    let share = text.split_once('>').and_then(|(what, share)| {
        let what: String = what.chars().filter(|c| !c.is_whitespace()).collect();
        let known = what == "NetworkErrorRatio()" || what.starts_with("ResponseCodeRatio(500,6");
        let share: f64 = share.trim_start_matches('=').trim().parse().ok()?;
        (known && share > 0.0 && share <= 1.0).then(|| format!("{}%", (share * 1e4).round() / 100.0))
    });
    let Some(errors) = share else {
        into.actions.push(At::new(Action::Later(Later::Breaker), &node.whole()));
        node.take_whole();
        return;
    };
    let suggestion = "answers of 500 and above and no answer at all are counted together here, over 10s and 20 requests at least";
    imported.notes.push(Note::differs(&node.place, format!("circuitBreaker {text}"), suggestion));
    let open = node.text("fallbackDuration").and_then(time);
    into.actions.push(At::new(Action::Breaker { errors, open }, &node.place));
}

fn buffering(node: &Node, into: &mut Done) {
    let node = node.take();
    let memory = |key: &str| {
        let bytes = node.text(key).and_then(|bytes| bytes.parse::<u64>().ok()).filter(|bytes| *bytes > 0);
        Some(bytes.map_or_else(|| "1MiB".to_owned(), |bytes| format!("{bytes}B")))
    };
    let (request, response) = (memory("memRequestBodyBytes"), memory("memResponseBodyBytes"));
    into.actions.push(At::new(Action::Buffer { request, response }, &node.place));
    let size = node.get("maxRequestBodyBytes");
    if let Some(size) = size
        && let Some(bytes) = size.word(0)
        && bytes.parse::<u64>().is_ok_and(|bytes| bytes > 0)
    {
        let bound = Action::BodySize { size: format!("{bytes}B"), written: true };
        into.actions.push(At::new(bound, &size.place));
    }
    for key in ["maxResponseBodyBytes", "retryExpression"] {
        if let Some(other) = node.get(key).map(Node::take_whole) {
            into.actions.push(At::new(Action::Later(Later::Buffer), &other.place));
        }
    }
}

/// Headers that a switch stands for.
const SWITCHES: [(&str, &str, &str); 3] = [
    ("frameDeny", "X-Frame-Options", "DENY"),
    ("contentTypeNosniff", "X-Content-Type-Options", "nosniff"),
    ("browserXssFilter", "X-XSS-Protection", "1; mode=block"),
];

/// Headers whose value is given.
const VALUES: [(&str, &str); 5] = [
    ("customFrameOptionsValue", "X-Frame-Options"),
    ("referrerPolicy", "Referrer-Policy"),
    ("contentSecurityPolicy", "Content-Security-Policy"),
    ("contentSecurityPolicyReportOnly", "Content-Security-Policy-Report-Only"),
    ("permissionsPolicy", "Permissions-Policy"),
];

fn headers(node: &Node, into: &mut Done) {
    node.take();
    let mut put = |from: &Node, request: bool, change: HeaderChange| {
        let action = if request { Action::Request(change) } else { Action::Response(change) };
        into.actions.push(At::new(action, &from.place));
    };
    for (key, request) in [("customRequestHeaders", true), ("customResponseHeaders", false)] {
        for header in node.get(key).into_iter().flat_map(|section| section.children.iter()) {
            let value = header.take().word(0).unwrap_or_default().to_owned();
            let name = header.name.clone();
            let change =
                if value.is_empty() { HeaderChange::Remove(name) } else { HeaderChange::Set(name, value) };
            put(header, request, change);
        }
    }
    for (key, name, value) in SWITCHES {
        if let Some(switch) = node.get(key).filter(|switch| switch.word(0) == Some("true")) {
            put(switch, false, HeaderChange::Set(name.to_owned(), value.to_owned()));
        }
    }
    for (key, name) in VALUES {
        if let Some(given) = node.get(key)
            && let Some(value) = given.word(0)
        {
            put(given, false, HeaderChange::Set(name.to_owned(), value.to_owned()));
        }
    }
    if let Some(seconds) = node.get("stsSeconds")
        && let Some(number) = seconds.word(0).filter(|number| *number != "0")
    {
        let mut value = format!("max-age={number}");
        for (key, word) in [("stsIncludeSubdomains", "includeSubDomains"), ("stsPreload", "preload")] {
            if yes(node, key) {
                value.push_str(&format!("; {word}"));
            }
        }
        put(seconds, false, HeaderChange::Set("Strict-Transport-Security".to_owned(), value));
        let _ = node.get("forceSTSHeader").map(Node::take_whole);
    }
    if yes(node, "sslRedirect") {
        into.https = false;
    }
    cors(node, into);
}

/// Which pages of other origins may read answers. Patterns for origins are told.
fn cors(node: &Node, into: &mut Done) {
    let mut given =
        node.children.iter().filter(|child| child.name.to_ascii_lowercase().starts_with("accesscontrol"));
    let Some(first) = given.next() else { return };
    let listed = |key: &str| -> Vec<String> {
        node.get(key).map(words).unwrap_or_default().into_iter().map(str::to_owned).collect()
    };
    let cors = Cors {
        origins: listed("accessControlAllowOriginList"),
        methods: listed("accessControlAllowMethods"),
        headers: listed("accessControlAllowHeaders"),
        expose: listed("accessControlExposeHeaders"),
        credentials: yes(node, "accessControlAllowCredentials"),
        max_age: node.text("accessControlMaxAge").filter(|age| *age != "0").and_then(time),
    };
    let _ = node.get("addVaryHeader").map(Node::take_whole);
    let regex = node.get("accessControlAllowOriginListRegex").map(Node::take_whole);
    if let Some(left) = regex.or(cors.origins.is_empty().then_some(first)) {
        into.actions.push(At::new(Action::Later(Later::Cors), &left.whole()));
    }
    if !cors.origins.is_empty() {
        into.actions.push(At::new(Action::Cors(cors), &first.place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::tree::Place;

    #[test]
    fn of_several_prefixes_the_one_of_the_path_is_taken_off() {
        let place = Place { file: "f".into(), line: 1, until: 1 };
        let any = Action::Replace { from: "^(?:/one|/two)/?".to_owned(), to: "/".to_owned() };
        let strips = vec![(0, vec!["/one".to_owned(), "/two/".to_owned()])];
        let done = Done { actions: vec![At::new(any.clone(), &place)], strips, ..Done::default() };
        for (path, wanted) in [
            ("/one", Action::Strip("/one".to_owned())),
            ("/two/x", Action::Strip("/two".to_owned())),
            // Whether it is met is not known before a request comes.
            ("/", any.clone()),
            ("/onely", any.clone()),
        ] {
            let way = Way { path: Some((path.to_owned(), true)), ..Way::default() };
            assert_eq!(done.actions_for(&way)[0].value, wanted, "{path}");
        }
    }
}
