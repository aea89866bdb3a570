//! What every importer makes of its source: sites with routes, and what holds for the whole proxy. Values.

use super::action::Action;
use super::note::Note;
use super::sheet::Entry;
use super::tree::{At, Place};

/// Everything that was read.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// Plain listeners, in the order met.
    pub http: Vec<At<String>>,
    /// TLS listeners.
    pub https: Vec<At<String>>,
    /// Other keys of `proxy`.
    pub proxy: Vec<Entry>,
    /// Where the authority writes to, and other keys of `acme`.
    pub acme: Vec<Entry>,
    /// The sites.
    pub sites: Vec<Site>,
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
    /// The path.
    pub path: Match,
    /// A good name for an application, should it become one.
    pub name: Option<String>,
    /// Where requests go; none when they are answered by an action.
    pub upstreams: Vec<At<Upstream>>,
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

impl Imported {
    /// Notes that a line needs nothing here.
    pub fn needless(&mut self, what: &str, place: &Place) {
        let said = (what.to_owned(), place.clone());
        if !self.needless.contains(&said) {
            self.needless.push(said);
        }
    }
}
