//! What every importer makes of its source: sites with routes, and what holds for the whole proxy. Values.

use super::action::Action;
use super::note::Note;
use super::raw::Raw;
use super::sheet::Entry;
use super::tree::{At, Place};
use super::wants::Wants;

/// Everything that was read.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// Plain listeners, in the order met.
    pub http: Vec<At<String>>,
    /// TLS listeners.
    pub https: Vec<At<String>>,
    /// What listeners are called there, by their addresses.
    pub called: Vec<(String, String)>,
    /// Other keys of `proxy`.
    pub proxy: Vec<Entry>,
    /// Where the authority writes to, and other keys of `acme`.
    pub acme: Vec<Entry>,
    /// The sites.
    pub sites: Vec<Site>,
    /// The applications of raw TCP.
    pub raw: Vec<Raw>,
    /// Files that are written beside the configuration: names and texts, never for everybody.
    pub files: Vec<(String, String)>,
    /// What there is to know.
    pub notes: Vec<Note>,
    /// What needs nothing here, with its lines.
    pub needless: Vec<(String, Place)>,
}

/// Some hosts with what is done for them.
#[derive(Debug, Clone)]
pub struct Site {
    /// Where it is described.
    pub place: Place,
    /// The name that its application is given, when it is still free.
    pub name: String,
    /// The hosts; none means every one.
    pub hosts: Vec<At<String>>,
    /// Where its certificate comes from.
    pub tls: Tls,
    /// Whether plain HTTP is sent on to https.
    pub redirect: bool,
    /// Keys that hold for every application of it, such as `hsts` and `client_ca`.
    pub keys: Vec<Entry>,
    /// The addresses it is reached at; none for all.
    pub doors: Vec<String>,
    /// The routes.
    pub routes: Vec<Route>,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// Plain HTTP alone.
    Off,
    /// An authority.
    Auto,
    /// Our own authority.
    Internal,
    /// Files.
    Files {
        /// The chain.
        certificate: String,
        /// The key.
        key: String,
    },
}

/// What is done below a path.
#[derive(Debug, Clone)]
pub struct Route {
    /// Where it is described.
    pub place: Place,
    /// What it is called there.
    pub what: String,
    /// Hosts of its own, where it is for a part of those of its site.
    pub hosts: Vec<At<String>>,
    /// The path.
    pub path: Match,
    /// What else a request must show.
    pub wants: Wants,
    /// What comes first of several that fit, where that was said.
    pub priority: Option<i64>,
    /// A good name for an application, should it become one.
    pub name: Option<String>,
    /// Where requests go; none when they are answered by an action.
    pub upstreams: Vec<At<Upstream>>,
    /// Where copies of requests go.
    pub copied: Vec<At<Upstream>>,
    /// Keys of an application: `balance`, `health`, `timeouts`, `limits`, `upstream_tls`, `deploy`.
    pub keys: Vec<Entry>,
    /// What is done with requests and answers, in full: nothing is inherited.
    pub actions: Vec<At<Action>>,
}

/// Which paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// All that begin so, in whole segments.
    Below(String),
    /// This one alone.
    Only(String),
}

impl Match {
    /// The path.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Below(path) | Self::Only(path) => path,
        }
    }
}

/// An upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its address, as `slots` writes it.
    pub address: String,
    /// Its weight.
    pub weight: Option<u64>,
}

impl Route {
    /// A route that does nothing yet.
    #[must_use]
    pub fn new(place: &Place, what: impl Into<String>, path: Match) -> Self {
        Self {
            place: place.clone(),
            what: what.into(),
            hosts: Vec::new(),
            path,
            wants: Wants::default(),
            priority: None,
            name: None,
            upstreams: Vec::new(),
            copied: Vec::new(),
            keys: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Whether it takes other requests than its host and path say, and is an application of its own.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        !self.wants.is_empty() || self.priority.is_some()
    }

    /// Whether more is met here than is meant, for paths are prefixes.
    #[must_use]
    pub fn is_wider(&self) -> bool {
        matches!(self.path, Match::Only(_)) && self.wants.path_pattern.is_none()
    }
}

impl Site {
    /// What is for hosts of its own as sites of their own.
    #[must_use]
    pub fn split(mut self) -> Vec<Self> {
        let routes = std::mem::take(&mut self.routes);
        let empty = routes.is_empty();
        let mut sites = vec![self];
        for mut route in routes {
            let hosts = std::mem::take(&mut route.hosts);
            let same =
                |site: &Self| site.hosts.iter().map(|at| &at.value).eq(hosts.iter().map(|at| &at.value));
            let index = if hosts.is_empty() { Some(0) } else { sites.iter().position(same) };
            match index {
                Some(index) => sites[index].routes.push(route),
                None => {
                    let name = hosts[0].value.clone();
                    sites.push(Self { name, hosts, routes: vec![route], ..sites[0].clone() });
                }
            }
        }
        sites.retain(|site| empty || !site.routes.is_empty());
        sites
    }
}

impl Imported {
    /// Notes that a line needs nothing here.
    pub fn needless(&mut self, what: &str, place: &Place) {
        let said = (what.to_owned(), place.clone());
        if !self.needless.contains(&said) {
            self.needless.push(said);
        }
    }
}
