//! Applications of raw TCP: what `stream` of nginx and `tcp` of Traefik come to, and how it is written here. Values.
//!
//! Called by `assemble`; what the loader refuses of its names, its address or its TLS takes the whole application with it, for
//! half of one would let others in.

use std::collections::BTreeSet;

use super::assemble::{named, slots};
use super::sheet::{Entry, list, pairs, scalar};
use super::site::{Tls, Upstream};
use super::tree::{At, Place};

/// An application of raw TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// Where it is described.
    pub place: Place,
    /// What it is called there.
    pub what: String,
    /// A good name.
    pub name: String,
    /// Where it listens.
    pub listen: Vec<String>,
    /// The names in the TLS that lead to it; none means every one.
    pub hosts: Vec<String>,
    /// What is done with TLS.
    pub mode: Mode,
    /// Whether connections begin with the client's address, as `proxy_protocol` writes it.
    pub proxy_protocol: Option<&'static str>,
    /// How long a connection may be silent.
    pub idle: Option<String>,
    /// Where connections go.
    pub upstreams: Vec<At<Upstream>>,
    /// Other keys.
    pub keys: Vec<Entry>,
}

/// What is done with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// It is not looked for.
    Off,
    /// Its name alone is read.
    Passthrough,
    /// It ends here, with a certificate.
    Terminate(Tls),
}

impl Raw {
    /// As an application.
    #[must_use]
    pub fn entry(self, names: &mut BTreeSet<String>) -> Entry {
        let name = named(&self.name, names);
        let mut keys = Vec::new();
        if !self.hosts.is_empty() {
            keys.push(Entry::line("hosts", list(&self.hosts)));
        }
        let listen = match self.listen.as_slice() {
            [one] => scalar(one),
            several => list(several),
        };
        let mut said = vec![("listen", listen)];
        let mode = match &self.mode {
            Mode::Off => None,
            Mode::Passthrough => Some("passthrough"),
            Mode::Terminate(_) => Some("terminate"),
        };
        said.extend(mode.map(|mode| ("tls", mode.to_owned())));
        said.extend(self.proxy_protocol.map(|word| ("proxy_protocol", word.to_owned())));
        said.extend(self.idle.iter().map(|time| ("idle", scalar(time))));
        keys.push(Entry::line("tcp", pairs(&said)));
        if let Mode::Terminate(tls) = &self.mode {
            keys.push(tls.entry());
        }
        keys.extend(slots(&self.upstreams, &[]));
        keys.extend(self.keys);
        Entry::section(&name, keys)
            .from(&self.place, self.what.clone())
            .above(format!("{}: {}", self.place, self.what))
    }
}
