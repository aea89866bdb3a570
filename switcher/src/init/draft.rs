//! The configuration as rows of text, each remembering where it came from. Pure.
//!
//! Comments say what a person has to know who never saw the file before. [`super::settle`] checks the rows and
//! takes out those that cannot be used.

mod application;
mod environment;

pub(crate) use application::label;

use std::collections::BTreeSet;

use super::kind::Sorted;
use super::service::Leftover;
use super::yaml;

/// What somebody asked for on the command line.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// `--app`: the application's name.
    pub app: Option<String>,
    /// `--host-name`: its hosts.
    pub hosts: Vec<String>,
    /// `--email`: where the authority writes to.
    pub email: Option<String>,
    /// The folder that the configuration will stand in.
    pub folder: std::path::PathBuf,
}

/// A row of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its text, indented.
    pub text: String,
    /// The thing it belongs to, which can be taken out; none for what always stands there.
    pub part: Option<usize>,
}

/// A configuration that was not checked yet.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// What it was made from, as people know it; none for a skeleton.
    pub origin: Option<String>,
    /// The rows, from top to bottom.
    pub rows: Vec<Row>,
    /// What can be taken out, with its place.
    pub parts: Vec<Leftover>,
    /// What is not carried over.
    pub leftovers: Vec<Leftover>,
    /// The applications' names, each with the tag that runs now.
    pub apps: Vec<(String, Option<String>)>,
}

impl Draft {
    /// A row that always stands there.
    fn row(&mut self, indent: usize, text: &str) {
        let text = if text.is_empty() { String::new() } else { format!("{:indent$}{text}", "") };
        self.rows.push(Row { text, part: None });
    }

    /// A comment, wrapped.
    fn comment(&mut self, indent: usize, text: &str) {
        for line in wrapped(text, 112 - indent) {
            self.row(indent, &format!("# {line}"));
        }
    }

    /// Rows that can be taken out together; `line` and `what` say where they came from.
    fn part(&mut self, indent: usize, line: usize, what: &str, rows: &[String]) {
        let part = Some(self.parts.len());
        self.parts.push(Leftover { line, what: what.to_owned(), advice: String::new() });
        for row in rows {
            self.rows.push(Row { text: format!("{:indent$}{row}", ""), part });
        }
    }
}

/// A text in lines of at most `width` characters, unless a word is longer.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// How visitors reach the applications.
struct Front {
    /// Whether HTTPS is spoken here.
    tls: bool,
    /// Whether a tunnel ends TLS.
    tunnel: bool,
    email: Option<String>,
}

/// Writes the configuration of a sorted stack; none is a skeleton.
#[must_use]
pub fn draft(origin: Option<&str>, sorted: &Sorted, wishes: &Wishes) -> Draft {
    let mut draft =
        Draft { origin: origin.map(str::to_owned), leftovers: sorted.leftovers.clone(), ..Draft::default() };
    let names = application::names(&sorted.applications, wishes);
    let hosts: Vec<Vec<String>> =
        sorted.applications.iter().map(|app| application::hosts(app, wishes)).collect();
    let known = if sorted.applications.is_empty() {
        !wishes.hosts.is_empty()
    } else {
        hosts.iter().any(|hosts| !hosts.is_empty())
    };
    // Hosts that Traefik served without TLS stay without.
    let spoken = !wishes.hosts.is_empty() || sorted.applications.iter().any(|app| app.route.tls);
    let email = wishes.email.clone().or_else(|| sorted.email.clone());
    let front = Front { tls: known && spoken && !sorted.tunnel, tunnel: sorted.tunnel, email };
    head(&mut draft);
    proxy(&mut draft, &front);
    draft.row(0, "");
    draft.row(0, "apps:");
    if sorted.applications.is_empty() {
        application::skeleton(&mut draft, wishes, &front);
    }
    let mut routes = BTreeSet::new();
    for (index, app) in sorted.applications.iter().enumerate() {
        if index > 0 {
            draft.row(0, "");
        }
        let described = application::Described { app, name: &names[index], hosts: &hosts[index] };
        application::write(&mut draft, &described, sorted, wishes, &front, &mut routes);
    }
    databases(&mut draft, sorted);
    draft
}

fn head(draft: &mut Draft) {
    let made = match &draft.origin {
        Some(origin) => {
            format!("Written by `switcher init` from {origin}. It is yours now: nothing overwrites it.")
        }
        None => "Written by `switcher init`. It is yours now: nothing overwrites it.".to_owned(),
    };
    draft.comment(0, &made);
    draft.comment(
        0,
        "`switcher config check` tests it; `switcher config show` lists what holds, defaults included.",
    );
    draft.row(0, "");
}

fn proxy(draft: &mut Draft, front: &Front) {
    draft.row(0, "proxy:");
    draft.row(2, "http: 0.0.0.0:80");
    if front.tls {
        draft.row(2, "https: 0.0.0.0:443");
    } else if front.tunnel {
        draft.comment(
            2,
            "The tunnel ends TLS. Name the address it comes from, so that its X-Forwarded-For is believed:",
        );
        draft.comment(2, "trusted_proxies: [127.0.0.1]");
    } else {
        draft.comment(2, "https: 0.0.0.0:443   # with a domain; see `hosts` below");
    }
    draft.row(2, "admin: /run/switcher/admin.sock   # who may open this file may switch: mode 0600");
    draft.row(2, "status: 127.0.0.1:9180            # read-only: /status /metrics /health /ready");
    draft.row(2, "data_dir: /var/lib/switcher       # which slot is live, and the certificates: keep it");
    if front.tls {
        draft.row(0, "");
        draft.comment(
            0,
            "Certificates, by Let's Encrypt: the names must lead to this machine, at ports 80 and 443.",
        );
        match &front.email {
            Some(email) => draft.row(0, &format!("acme: {{email: {}}}", yaml::scalar(email))),
            None => draft.row(0, "acme: {}   # {email: you@example.com}, where the authority writes to"),
        }
    }
    draft.row(0, "");
    draft.row(0, "switcher:");
    draft.row(2, "state_dir: /var/lib/switcher-deployments   # history, journals, snapshots");
    draft.row(2, "# notify: {url_file: notify.url}   # who is told of deployments; the file holds the address, mode 0600");
    draft.row(2, "# webhook: {listen: 127.0.0.1:9182, secret_file: webhook.secret}   # a push makes `switcher watch` look at once");
}

fn databases(draft: &mut Draft, sorted: &Sorted) {
    if sorted.databases.is_empty() {
        return;
    }
    draft.row(0, "");
    draft.comment(0, "Not applications, and left as they are:");
    for (name, image, networks) in &sorted.databases {
        let on = if networks.is_empty() { String::new() } else { format!(", on {}", networks.join(" and ")) };
        draft.comment(0, &format!("  {name} ({image}){on}"));
    }
}
