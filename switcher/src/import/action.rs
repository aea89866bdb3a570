//! What another program does with requests, and what does it here: the one place for each feature.
//!
//! [`middleware`] answers the keys that do it, and [`Later::suggestion`] says what to do where there is none yet. Pure.

use super::sheet::{self, Entry, list, pairs, scalar};
use super::tree::{At, Place};
use crate::init::secret::is_secret;

/// What is done with a request or with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Only these networks are let in.
    Allow(Vec<String>),
    /// These networks are not let in.
    Deny(Vec<String>),
    /// How often one may ask.
    Rate(Rate),
    /// How much one may ask for at once.
    InFlight {
        /// How many requests.
        requests: u64,
        /// Whose are counted together, as `by` writes it; none for everybody's.
        by: Option<String>,
    },
    /// Names and passwords.
    BasicAuth(BasicAuth),
    /// Sent on to another place.
    Redirect {
        /// The pattern for the path.
        from: String,
        /// Where to, with `$1`.
        to: String,
        /// The status.
        status: u16,
    },
    /// Files of a folder are answered.
    Files(Files),
    /// Answered in the application's place.
    Answer {
        /// The status.
        status: u16,
        /// The body.
        body: String,
        /// Its media type; none for plain text.
        content_type: Option<String>,
    },
    /// Taken off the front of the path.
    Strip(String),
    /// Replaced in the path.
    Replace {
        /// The pattern.
        from: String,
        /// What stands in its place.
        to: String,
    },
    /// Put in front of the path.
    Prefix(String),
    /// The largest body of a request.
    BodySize {
        /// The size.
        size: String,
        /// Whether it was written, and is not what the other program does without a word.
        written: bool,
    },
    /// Which pages of other origins may read answers.
    Cors(Cors),
    /// Another service is asked for leave.
    ForwardAuth(ForwardAuth),
    /// An application that mostly fails is left alone.
    Breaker {
        /// From which share of failures on, with its `%`.
        errors: String,
        /// For how long.
        open: Option<String>,
    },
    /// Bodies up to so much are taken in first: of requests, and of answers.
    Buffer {
        /// The bound for the bodies of requests.
        request: Option<String>,
        /// The bound for the bodies of answers.
        response: Option<String>,
    },
    /// Answers that declare it are held.
    Cache,
    /// Answers are compressed.
    Compress,
    /// A header of the request.
    Request(HeaderChange),
    /// A header of the answer.
    Response(HeaderChange),
    /// Something that is not carried over.
    Later(Later),
}

/// How often one may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// How many requests.
    pub requests: u64,
    /// In which time.
    pub per: String,
    /// How many at once.
    pub burst: Option<u64>,
    /// Whose are counted together, as `by` writes it.
    pub by: Option<String>,
}

/// Names and passwords.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BasicAuth {
    /// The file.
    pub file: String,
    /// What browsers show.
    pub realm: Option<String>,
    /// The header that names the user.
    pub user_header: Option<String>,
    /// Whether the application sees the password.
    pub forward: bool,
}

/// Which pages of other origins may read answers; each list may be `*` alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cors {
    /// Their origins.
    pub origins: Vec<String>,
    /// What they may do.
    pub methods: Vec<String>,
    /// What they may send.
    pub headers: Vec<String>,
    /// What they may read.
    pub expose: Vec<String>,
    /// Whether they may ask in the name of a user.
    pub credentials: bool,
    /// How long a browser may remember it.
    pub max_age: Option<String>,
}

/// Another service that is asked for leave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForwardAuth {
    /// What is asked.
    pub url: String,
    /// The headers that it is shown; none for all.
    pub request_headers: Vec<String>,
    /// The headers of its yes that the application gets.
    pub response_headers: Vec<String>,
}

/// Files of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The folder.
    pub root: String,
    /// Taken off the front of the path first.
    pub strip: Option<String>,
    /// What becomes of a path without a file.
    pub missing: Missing,
    /// Whether a compressed file beside it is sent in its place.
    pub precompressed: bool,
}

/// What becomes of a path without a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// It is answered 404.
    NotFound,
    /// The application is asked.
    Application,
    /// This file of the folder is its answer.
    Page(String),
}

/// A change of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderChange {
    /// Taken away.
    Remove(String),
    /// Put in the place of what is there.
    Set(String, String),
    /// Put beside what is there.
    Add(String, String),
}

/// Something that is not carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Later {
    /// A guard that is not known here.
    Guard(String),
    /// Answers for other origins, by rules that are not known here.
    Cors,
    /// Upstreams that fail are left alone, by an expression of its own.
    Breaker,
    /// Answers are kept before they are passed on.
    Buffer,
    /// How long answers are kept that say nothing themselves.
    Cache,
    /// Files of this folder are served.
    Files(String),
    /// Requests are told apart by something that `match` does not know.
    Match(String),
    /// Connections that are no HTTP.
    Tcp,
    /// Copies of requests go to another place.
    Mirror,
}

impl Later {
    /// What is told of copies that become those to the standby slot.
    pub const MIRRORED: &str = "where copies go is the standby slot `green` now, and would be live after a promote; GET and HEAD alone are \
                                copied, without bodies";

    /// What it is called.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        match self {
            Self::Guard(_) => "a guard",
            Self::Cors => "answers for other origins (CORS)",
            Self::Breaker => "a circuit breaker",
            Self::Buffer => "kept bodies",
            Self::Cache => "kept answers",
            Self::Files(_) => "files that are served",
            Self::Match(_) => "a rule beyond what can be matched",
            Self::Tcp => "connections that are no HTTP",
            Self::Mirror => "copied requests",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn suggestion(&self) -> String {
        let text = match self {
            Self::Guard(what) => {
                return format!(
                    "nobody is let in until it is written by hand (`deny`): {what} is not done here; guard it with \
                     `forward_auth`, `basic_auth` or `allow`"
                );
            }
            Self::Cors => {
                "origins are names here: write `cors: {origins: [https://app.example.com], methods: [GET], headers: [X-Token]}`"
            }
            Self::Breaker => {
                "write `breaker: {errors: 50%, requests: 20}` in its `middleware`; its conditions are shares of failures alone"
            }
            Self::Buffer => {
                "`buffer` takes in as much as it says and refuses no answer for its size; `retries` say what is tried again"
            }
            Self::Cache => {
                "`cache: on` holds what the application declares cacheable, and nothing else: let it send Cache-Control"
            }
            Self::Files(folder) => {
                return format!(
                    "files are no upstream; look at `files: {{root: {folder}}}` in a `middleware`, or let the application serve them"
                );
            }
            Self::Match(what) => {
                return format!(
                    "`match` knows methods, headers, query, clients, host_pattern and path_pattern, all of which must hold: {what}"
                );
            }
            Self::Tcp => {
                "connections are no requests; look at `tcp` of an application, or publish this port another way"
            }
            Self::Mirror => "`mirror: {share: 10%}` copies to the standby slot, and to nobody else",
        };
        text.to_owned()
    }
}

impl Action {
    /// The key of `middleware` that it belongs to; none when there is none yet.
    #[must_use]
    pub const fn key(&self) -> Option<&'static str> {
        match self {
            Self::Allow(_) => Some("allow"),
            Self::Deny(_) => Some("deny"),
            Self::Rate(_) => Some("rate_limit"),
            Self::InFlight { .. } => Some("in_flight"),
            Self::BasicAuth(_) => Some("basic_auth"),
            Self::Redirect { .. } => Some("redirects"),
            Self::Files(_) => Some("files"),
            Self::Answer { .. } => Some("answer"),
            Self::Strip(_) | Self::Replace { .. } | Self::Prefix(_) => Some("rewrite"),
            Self::BodySize { .. } => Some("body_size"),
            Self::Cors(_) => Some("cors"),
            Self::ForwardAuth(_) => Some("forward_auth"),
            Self::Breaker { .. } => Some("breaker"),
            Self::Buffer { .. } => Some("buffer"),
            Self::Cache => Some("cache"),
            Self::Compress => Some("compress"),
            Self::Request(_) => Some("request_headers"),
            Self::Response(_) => Some("response_headers"),
            Self::Later(_) => None,
        }
    }
}

/// The keys of `middleware`, in the order in which they act.
const ORDER: [&str; 18] = [
    "allow",
    "deny",
    "rate_limit",
    "in_flight",
    "cors",
    "basic_auth",
    "forward_auth",
    "body_size",
    "redirects",
    "files",
    "answer",
    "breaker",
    "buffer",
    "cache",
    "rewrite",
    "request_headers",
    "response_headers",
    "compress",
];

/// The keys of `middleware` for these actions. A later one of the same key adds to lists and headers, and wins otherwise.
#[must_use]
pub fn middleware(actions: &[At<Action>]) -> Vec<Entry> {
    // What was guarded by something that is not done here stays closed.
    let guard = actions.iter().find(|at| matches!(at.value, Action::Later(Later::Guard(_))));
    let closed = guard.map(|at| Entry::closed().from(&at.place, "deny"));
    let of = |key: &'static str| actions.iter().filter(move |action| action.value.key() == Some(key));
    let entries = ORDER.iter().filter(|key| closed.is_none() || **key != "deny");
    closed
        .clone()
        .into_iter()
        .chain(entries.filter_map(|key| entry(key, &of(key).collect::<Vec<_>>())))
        .collect()
}

fn entry(key: &str, actions: &[&At<Action>]) -> Option<Entry> {
    let last = actions.last()?;
    let entry = match &last.value {
        Action::Allow(_) | Action::Deny(_) => Entry::line(key, list(&networks(actions))),
        Action::Rate(rate) => Entry::line(key, rate.yaml()),
        Action::InFlight { requests, by } => {
            let mut said = vec![("requests", requests.to_string())];
            said.extend(by.iter().map(|by| ("by", scalar(by))));
            Entry::line(key, pairs(&said))
        }
        Action::BasicAuth(auth) => Entry::line(key, auth.yaml()),
        Action::Redirect { .. } => {
            Entry::section(key, actions.iter().filter_map(|at| redirect(at)).collect())
        }
        Action::Files(files) => Entry::line(key, files.yaml()),
        Action::Answer { status, body, content_type } => {
            let mut said = vec![("status", status.to_string())];
            said.extend((!body.is_empty()).then(|| ("body", scalar(body))));
            said.extend(content_type.iter().map(|kind| ("content_type", scalar(kind))));
            Entry::line(key, pairs(&said))
        }
        Action::Strip(_) | Action::Replace { .. } | Action::Prefix(_) => rewrite(key, actions),
        Action::BodySize { size, written: true } => Entry::line(key, size.clone()),
        Action::BodySize { size, written: false } => {
            return Some(Entry::line(key, size.clone()).behind("the default of where it comes from"));
        }
        Action::Cors(cors) => Entry::line(key, cors.yaml()),
        Action::ForwardAuth(asked) => Entry::line(key, asked.yaml()),
        Action::Breaker { errors, open } => {
            let mut said = vec![("errors", errors.clone())];
            said.extend(open.iter().map(|open| ("open", scalar(open))));
            Entry::line(key, pairs(&said))
        }
        Action::Buffer { request, response } => {
            let said = [("request", request), ("response", response)];
            let said = said.into_iter().filter_map(|(key, size)| Some((key, size.clone()?)));
            Entry::line(key, pairs(&said.collect::<Vec<_>>()))
        }
        Action::Cache | Action::Compress => Entry::line(key, "on"),
        Action::Request(_) | Action::Response(_) => headers(key, actions),
        Action::Later(_) => return None,
    };
    Some(entry.from(&last.place, key))
}

impl Action {
    /// Whether it keeps somebody out.
    #[must_use]
    pub fn guards(&self) -> bool {
        matches!(self, Self::Later(Later::Guard(_)))
            || self.key().is_some_and(|key| sheet::GUARDS.contains(&key))
    }
}

fn networks(actions: &[&At<Action>]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for action in actions {
        if let Action::Allow(networks) | Action::Deny(networks) = &action.value {
            found.extend(networks.iter().map(|network| network_of(network)));
        }
    }
    found.dedup();
    found
}

/// A single address as the network that holds nothing else.
fn network_of(text: &str) -> String {
    match text.parse::<std::net::IpAddr>() {
        Ok(ip) => format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 }),
        Err(_) => text.to_owned(),
    }
}

impl Rate {
    fn yaml(&self) -> String {
        let mut said = vec![("requests", self.requests.to_string()), ("per", scalar(&self.per))];
        said.extend(self.burst.map(|burst| ("burst", burst.to_string())));
        said.extend(self.by.iter().map(|by| ("by", scalar(by))));
        pairs(&said)
    }
}

impl BasicAuth {
    fn yaml(&self) -> String {
        let mut said = vec![("file", scalar(&self.file))];
        said.extend(self.realm.iter().map(|realm| ("realm", scalar(realm))));
        said.extend(self.user_header.iter().map(|header| ("user_header", scalar(header))));
        said.extend(self.forward.then(|| ("forward", "true".to_owned())));
        pairs(&said)
    }
}

impl Cors {
    fn yaml(&self) -> String {
        let all = |words: &[String]| words.iter().any(|word| word == "*");
        let told = |words: &[String]| if all(words) { "\"*\"".to_owned() } else { list(words) };
        let mut said = vec![("origins", told(&self.origins))];
        for (key, words) in [("methods", &self.methods), ("headers", &self.headers), ("expose", &self.expose)]
        {
            said.extend((!words.is_empty()).then(|| (key, told(words))));
        }
        said.extend(self.credentials.then(|| ("credentials", "true".to_owned())));
        said.extend(self.max_age.iter().map(|age| ("max_age", scalar(age))));
        pairs(&said)
    }
}

impl ForwardAuth {
    fn yaml(&self) -> String {
        let mut said = vec![("url", scalar(&self.url))];
        for (key, words) in
            [("request_headers", &self.request_headers), ("response_headers", &self.response_headers)]
        {
            said.extend((!words.is_empty()).then(|| (key, list(words))));
        }
        pairs(&said)
    }
}

impl Files {
    fn yaml(&self) -> String {
        let mut said = vec![("root", scalar(&self.root))];
        said.extend(self.strip.iter().map(|path| ("strip", scalar(path))));
        match &self.missing {
            Missing::NotFound => {}
            Missing::Application => said.push(("missing", "application".to_owned())),
            Missing::Page(path) => said.push(("missing", scalar(path))),
        }
        said.extend((!self.precompressed).then(|| ("precompressed", "false".to_owned())));
        pairs(&said)
    }
}

fn redirect(at: &At<Action>) -> Option<Entry> {
    let Action::Redirect { from, to, status } = &at.value else { return None };
    let said = [("from", scalar(from)), ("to", scalar(to)), ("status", status.to_string())];
    Some(Entry::line("", pairs(&said)).from(&at.place, "redirect"))
}

/// The last word on each: strip, replace, prefix.
fn rewrite(key: &str, actions: &[&At<Action>]) -> Entry {
    let mut said: Vec<(&str, String)> = Vec::new();
    for action in actions {
        let (name, value) = match &action.value {
            Action::Strip(path) => ("strip", scalar(path)),
            Action::Replace { from, to } => ("replace", pairs(&[("from", scalar(from)), ("to", scalar(to))])),
            Action::Prefix(path) => ("prefix", scalar(path)),
            Action::Allow(_)
            | Action::Deny(_)
            | Action::Rate(_)
            | Action::InFlight { .. }
            | Action::BasicAuth(_)
            | Action::Redirect { .. }
            | Action::Files(_)
            | Action::Answer { .. }
            | Action::BodySize { .. }
            | Action::Cors(_)
            | Action::ForwardAuth(_)
            | Action::Breaker { .. }
            | Action::Buffer { .. }
            | Action::Cache
            | Action::Compress
            | Action::Request(_)
            | Action::Response(_)
            | Action::Later(_) => continue,
        };
        said.retain(|(known, _)| *known != name);
        said.push((name, value));
    }
    Entry::line(key, pairs(&said))
}

fn headers(key: &str, actions: &[&At<Action>]) -> Entry {
    let mut removed: Vec<Entry> = Vec::new();
    let (mut set, mut added): (Vec<Entry>, Vec<Entry>) = (Vec::new(), Vec::new());
    for action in actions {
        let (Action::Request(change) | Action::Response(change)) = &action.value else { continue };
        let place = &action.place;
        match change {
            HeaderChange::Remove(name) => removed.push(Entry::text("", name).from(place, name.clone())),
            HeaderChange::Set(name, value) => {
                set.retain(|entry| !entry.key.eq_ignore_ascii_case(name));
                set.push(header(name, value, place));
            }
            HeaderChange::Add(name, value) if added.iter().chain(&set).all(|known| known.key != *name) => {
                added.push(header(name, value, place));
            }
            // YAML has each key once: what is said again stands in the place of the first.
            HeaderChange::Add(name, value) => {
                added.retain(|entry| !entry.key.eq_ignore_ascii_case(name));
                added.push(header(name, value, place));
            }
        }
    }
    let sections = [("remove", removed), ("set", set), ("add", added)];
    Entry::section(key, sections.into_iter().map(|(name, entries)| Entry::section(name, entries)).collect())
}

/// A header; a secret's value is read from the environment.
fn header(name: &str, value: &str, place: &Place) -> Entry {
    let entry = if is_secret(name, value) {
        let variable: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        Entry::line(name, format!("\"${{{variable}:-}}\""))
            .behind("it looks like a secret, so it was not copied")
    } else {
        Entry::text(name, value)
    };
    entry.from(place, name)
}
