//! Caddy's matchers: which paths a directive is for, and what else it asks. Pure.

use crate::import::site::Match;
use crate::import::tree::Node;
use crate::import::values::escaped;
use crate::import::wants::{Want, Wants};

/// What a directive is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Fits {
    /// The paths; none for every one.
    pub(super) paths: Vec<Match>,
    /// Hosts, where a matcher names some.
    pub(super) hosts: Vec<String>,
    /// Networks that clients must come from.
    pub(super) from: Vec<String>,
    /// Networks that clients must not come from.
    pub(super) not_from: Vec<String>,
    /// What else is asked.
    pub(super) wants: Wants,
    /// What is asked and not known here, as it was written.
    pub(super) others: Vec<String>,
}

impl Fits {
    /// Whether it asks for more than a path.
    pub(super) fn is_apart(&self) -> bool {
        !self.wants.is_empty() || !self.hosts.is_empty() || !self.from.is_empty()
    }

    /// What is asked besides paths and hosts.
    pub(super) fn all(&self) -> Wants {
        Wants { clients: self.from.clone(), ..self.wants.clone() }
    }
}

/// The matcher that a directive begins with, and how many of its words that takes.
pub(super) fn fits(node: &Node, named: &[Node]) -> (Fits, usize) {
    let Some(first) = node.seen().first().copied() else { return (Fits::default(), 0) };
    if first == "*" {
        let _ = node.word(0);
        return (Fits::default(), 1);
    }
    if first.starts_with('/') {
        let _ = node.word(0);
        let mut fits = Fits::default();
        path(first, &mut fits);
        return (fits, 1);
    }
    if first.starts_with('@') {
        let _ = node.word(0);
        let mut fits = Fits::default();
        match named.iter().find(|matcher| matcher.name == first) {
            Some(matcher) => read(matcher.take(), &mut fits),
            None => fits.others.push(format!("{first}, which is nowhere defined")),
        }
        return (fits, 1);
    }
    (Fits::default(), 0)
}

fn read(matcher: &Node, fits: &mut Fits) {
    let words = matcher.words();
    if let Some((kind, rest)) = words.split_first() {
        condition(kind, rest, fits);
    }
    for child in &matcher.children {
        child.take_whole();
        let words = child.seen();
        if child.name == "not" && !child.children.is_empty() {
            for inner in &child.children {
                let mut negated = vec![inner.name.as_str()];
                negated.extend(inner.seen());
                condition("not", &negated, fits);
            }
        } else {
            condition(&child.name, &words, fits);
        }
    }
}

fn condition(kind: &str, words: &[&str], fits: &mut Fits) {
    let owned = || words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    if let Some(wants) = wants(kind, words) {
        match fits.wants.and(&wants) {
            Some(both) => fits.wants = both,
            None => fits.others.push(format!("{kind} {}", words.join(" "))),
        }
        return;
    }
    match (kind, words) {
        ("path", paths) if paths.iter().all(|text| !is_pattern(text)) => {
            paths.iter().for_each(|text| path(text, fits));
        }
        // Either of them: one pattern for all.
        ("path", paths) if fits.wants.path_pattern.is_none() => {
            let any: Vec<String> = paths.iter().map(|text| pattern(text)).collect();
            fits.wants.path_pattern = Some(format!("(?i)^(?:{})$", any.join("|")));
        }
        ("host", _) => fits.hosts.extend(owned()),
        ("remote_ip" | "client_ip", _) => fits.from.extend(networks(words)),
        ("not", ["remote_ip" | "client_ip", rest @ ..]) => fits.not_from.extend(networks(rest)),
        _ => fits.others.push(format!("{kind} {}", words.join(" "))),
    }
}

/// A star elsewhere than at the end is more than a path.
fn is_pattern(text: &str) -> bool {
    text.strip_suffix('*').unwrap_or(text).contains('*') || !text.starts_with('/')
}

/// A path with stars: at either end they stand for anything, between for no more than a segment.
fn pattern(text: &str) -> String {
    let (text, end) = text.strip_suffix('*').map_or((text, ""), |text| (text, ".*"));
    let (text, start) = text.strip_prefix('*').map_or((text, ""), |text| (text, ".*"));
    let parts: Vec<String> = text.split('*').map(escaped).collect();
    format!("{start}{}{end}", parts.join("[^/]*"))
}

/// What `match` knows of a condition.
fn wants(kind: &str, words: &[&str]) -> Option<Wants> {
    let mut wants = Wants::default();
    match (kind, words) {
        ("method", [_, ..]) => wants.methods = words.iter().map(|word| word.to_ascii_uppercase()).collect(),
        ("header", [name]) if !name.starts_with('!') => {
            wants.headers.push(((*name).to_owned(), Want::Pattern(String::new())));
        }
        ("header", [name, value]) => wants.headers.push(((*name).to_owned(), starred(value))),
        ("header_regexp", [name, value]) | ("header_regexp", [_, name, value]) => {
            wants.headers.push(((*name).to_owned(), Want::Pattern((*value).to_owned())));
        }
        ("query", [pair]) => {
            let (name, value) = pair.split_once('=')?;
            wants.query.push((name.to_owned(), starred(value)));
        }
        ("path_regexp", [pattern]) | ("path_regexp", [_, pattern]) => {
            wants.path_pattern = Some((*pattern).to_owned());
        }
        _ => return None,
    }
    Some(wants)
}

/// A value in which stars at the ends stand for anything.
fn starred(value: &str) -> Want {
    if value == "*" {
        return Want::Pattern(String::new());
    }
    let (inner, end) = value.strip_suffix('*').map_or((value, "$"), |inner| (inner, ""));
    let (inner, start) = inner.strip_prefix('*').map_or((inner, "^"), |inner| (inner, ""));
    if (start, end) == ("^", "$") {
        return Want::Text(value.to_owned());
    }
    Want::Pattern(format!("{start}{}{end}", escaped(inner)))
}

pub(super) fn networks(words: &[&str]) -> Vec<String> {
    let private = ["192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "127.0.0.0/8", "fd00::/8", "::1/128"];
    let mut found = Vec::new();
    for word in words.iter().filter(|word| **word != "forwarded") {
        match *word {
            "private_ranges" => found.extend(private.iter().map(|network| (*network).to_owned())),
            word => found.push(word.to_owned()),
        }
    }
    found
}

/// `/api/*`, `/api*` and `/api`; a star elsewhere is more than a path.
fn path(text: &str, fits: &mut Fits) {
    let stem = text.strip_suffix('*');
    match stem {
        Some(stem) if !stem.contains('*') && stem.starts_with('/') => {
            fits.paths.push(Match::Below(stem.to_owned()))
        }
        None if text.starts_with('/') && !text.contains('*') => fits.paths.push(Match::Only(text.to_owned())),
        Some(_) | None => fits.others.push(format!("path {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::caddy::token::read;

    #[test]
    fn paths_hosts_and_networks_are_known_and_the_rest_is_kept_as_text() {
        let nodes = read(
            "c",
            "@a path /x/* /y\n@b {\n method POST\n not remote_ip 10.0.0.0/8\n}\nd @a\nd @b\nd /z*\nd x\nd @c\n",
        );
        let nodes = nodes.expect("good");
        let of = |index: usize| fits(&nodes[index], &nodes);
        let below = |path: &str| Match::Below(path.to_owned());
        assert_eq!(of(2).0.paths, [below("/x/"), Match::Only("/y".to_owned())]);
        assert_eq!((of(3).0.not_from, of(3).0.others), (vec!["10.0.0.0/8".to_owned()], Vec::<String>::new()));
        assert_eq!(of(3).0.wants.methods, ["POST"]);
        assert_eq!((of(4).0.paths, of(5).1), (vec![below("/z")], 0));
        assert!(of(6).0.others[0].contains("nowhere"));
    }
}
