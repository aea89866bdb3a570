//! Traefik's rules, of version 2 and 3: parsed, and turned into alternatives of hosts, a path and what `match` knows. Pure.

use crate::import::values::escaped;
use crate::import::wants::{Want, Wants};

/// The most alternatives that a rule may have.
const MAX: usize = 64;

/// The deepest brackets.
const MAX_DEPTH: usize = 32;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Is { name: String, words: Vec<String> },
    Not(Box<Rule>),
    All(Vec<Rule>),
    Any(Vec<Rule>),
}

/// One way to fit a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// Any of these hosts; none for every one.
    pub(super) hosts: Vec<String>,
    /// A path that has to be met: the text, and whether it is only the beginning.
    pub(super) path: Option<(String, bool)>,
    /// What else has to be met.
    pub(super) wants: Wants,
    /// What has to be met and is not known here, as it was written.
    pub(super) others: Vec<String>,
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

/// The ways to fit a rule.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn ways(text: &str) -> Result<Vec<Way>, String> {
    let mut parser = Parser { rest: text, depth: 0 };
    let rule = parser.any()?;
    if !parser.rest.trim().is_empty() {
        return Err(format!("`{}` is not understood", parser.rest.trim()));
    }
    let ways = expand(&rule)?;
    Ok(ways)
}

impl Parser<'_> {
    fn eat(&mut self, word: &str) -> bool {
        let rest = self.rest.trim_start();
        match rest.strip_prefix(word) {
            Some(after) => {
                self.rest = &self.rest[self.rest.len() - after.len()..];
                true
            }
            None => false,
        }
    }

    fn any(&mut self) -> Result<Rule, String> {
        let mut rules = vec![self.all()?];
        while self.eat("||") {
            rules.push(self.all()?);
        }
        Ok(if rules.len() == 1 { rules.remove(0) } else { Rule::Any(rules) })
    }

    fn all(&mut self) -> Result<Rule, String> {
        let mut rules = vec![self.one()?];
        while self.eat("&&") {
            rules.push(self.one()?);
        }
        Ok(if rules.len() == 1 { rules.remove(0) } else { Rule::All(rules) })
    }

    fn one(&mut self) -> Result<Rule, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("its brackets lie too deep in each other".to_owned());
        }
        let rule = if self.eat("!") {
            Rule::Not(Box::new(self.one()?))
        } else if self.eat("(") {
            let rule = self.any()?;
            if !self.eat(")") {
                return Err("a bracket is never closed".to_owned());
            }
            rule
        } else {
            self.matcher()?
        };
        self.depth -= 1;
        Ok(rule)
    }

    fn matcher(&mut self) -> Result<Rule, String> {
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        self.rest = &self.rest[self.rest.len() - rest.len() + end..];
        if name.is_empty() || !self.eat("(") {
            return Err(format!(
                "a matcher such as Host(`shop.example.com`) is missing before `{}`",
                self.rest
            ));
        }
        let mut words = Vec::new();
        loop {
            let rest = self.rest.trim_start();
            let quote = rest.chars().next().filter(|c| ['`', '"', '\''].contains(c));
            let Some(quote) = quote else {
                return Err(format!("{name} takes texts in backticks"));
            };
            let Some((word, after)) = rest[1..].split_once(quote) else {
                return Err("a quote is never closed".to_owned());
            };
            words.push(word.to_owned());
            self.rest = &self.rest[self.rest.len() - after.len()..];
            if self.eat(")") {
                return Ok(Rule::Is { name, words });
            }
            if !self.eat(",") {
                return Err(format!("a bracket of {name} is never closed"));
            }
        }
    }
}

fn shown(rule: &Rule) -> String {
    match rule {
        Rule::Is { name, words } => format!("{name}({})", words.join(", ")),
        Rule::Not(rule) => format!("!{}", shown(rule)),
        Rule::All(rules) => format!("({})", rules.iter().map(shown).collect::<Vec<_>>().join(" && ")),
        Rule::Any(rules) => format!("({})", rules.iter().map(shown).collect::<Vec<_>>().join(" || ")),
    }
}

fn expand(rule: &Rule) -> Result<Vec<Way>, String> {
    let other = || Way { others: vec![shown(rule)], ..Way::default() };
    let ways = match rule {
        Rule::Is { name, words } => match name.as_str() {
            "Host" | "HostHeader" => vec![Way { hosts: words.clone(), ..Way::default() }],
            "HostSNI" if words == &["*"] => vec![Way::default()],
            "PathPrefix" | "Path" => words.iter().map(|word| path(word, name == "PathPrefix")).collect(),
            "HostRegexp" => words
                .iter()
                .map(|word| wanting(Wants { host_pattern: Some(host(word)), ..Wants::default() }))
                .collect(),
            "PathRegexp" => words
                .iter()
                .map(|word| wanting(Wants { path_pattern: Some(word.clone()), ..Wants::default() }))
                .collect(),
            _ => vec![wants(name, words).map_or_else(other, wanting)],
        },
        Rule::Not(_) => vec![other()],
        Rule::Any(rules) => {
            let mut ways: Vec<Way> = Vec::new();
            for rule in rules {
                for way in expand(rule)? {
                    // Hosts that lead to the same belong together.
                    let same = ways.iter().position(|known| {
                        known.path == way.path
                            && known.others == way.others
                            && known.wants == way.wants
                            && !known.hosts.is_empty()
                            && !way.hosts.is_empty()
                    });
                    let alike = |known: &Way| {
                        (&known.hosts, &known.path, &known.others) == (&way.hosts, &way.path, &way.others)
                    };
                    match same {
                        Some(index) => ways[index].hosts.extend(way.hosts),
                        None if ways.iter_mut().any(|known| alike(known) && known.wants.or(&way.wants)) => {}
                        None => ways.push(way),
                    }
                }
            }
            ways
        }
        Rule::All(rules) => {
            let mut ways = vec![Way::default()];
            for rule in rules {
                let next = expand(rule)?;
                ways = ways.iter().flat_map(|one| next.iter().map(|other| both(one, other))).collect();
                if ways.len() > MAX {
                    return Err("it has too many alternatives".to_owned());
                }
            }
            ways
        }
    };
    if ways.len() > MAX { Err("it has too many alternatives".to_owned()) } else { Ok(ways) }
}

fn wanting(wants: Wants) -> Way {
    Way { wants, ..Way::default() }
}

/// What `match` knows of a matcher.
fn wants(name: &str, words: &[String]) -> Option<Wants> {
    let mut wants = Wants::default();
    match (name, words) {
        ("Method", _) => wants.methods = words.to_vec(),
        ("ClientIP", _) => wants.clients = words.iter().map(|word| network(word)).collect(),
        ("Header" | "Headers", [key, value]) => wants.headers.push((key.clone(), Want::Text(value.clone()))),
        ("HeaderRegexp" | "HeadersRegexp", [key, value]) => {
            wants.headers.push((key.clone(), Want::Pattern(value.clone())));
        }
        ("Query", [key, value]) => wants.query.push((key.clone(), Want::Text(value.clone()))),
        ("QueryRegexp", [key, value]) => wants.query.push((key.clone(), Want::Pattern(value.clone()))),
        ("Query", [both]) => {
            let (key, value) = both.split_once('=').unwrap_or((both, ""));
            let any = Want::Pattern(String::new());
            let want = if value.is_empty() { any } else { Want::Text(value.to_owned()) };
            wants.query.push((key.to_owned(), want));
        }
        _ => return None,
    }
    Some(wants)
}

fn network(text: &str) -> String {
    match text.parse::<std::net::IpAddr>() {
        Ok(ip) => format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 }),
        Err(_) => text.to_owned(),
    }
}

/// `{name:pattern}` of version 2 as a pattern; none where there is no bracket.
fn braced(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let mut depth = 1;
        let end = after.char_indices().find_map(|(at, c)| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            (depth == 0).then_some(at)
        })?;
        let (_, pattern) = after[..end].split_once(':').unwrap_or(("", "[^/]+"));
        out.push_str(&format!("{}(?:{pattern})", escaped(before)));
        rest = &after[end + 1..];
    }
    Some(out + &escaped(rest)).filter(|_| rest.len() < text.len())
}

/// Version 2 writes names with brackets in them, version 3 patterns.
fn host(text: &str) -> String {
    let starts = |at: usize| text[at + 1..].starts_with(|c: char| c.is_ascii_alphabetic());
    let old = !text.starts_with('^') && text.find('{').is_some_and(starts);
    match braced(text).filter(|_| old) {
        Some(pattern) => format!("^{pattern}$"),
        None => text.to_owned(),
    }
}

/// A path alone is met exactly.
fn path(word: &str, prefix: bool) -> Way {
    let end = if prefix { "" } else { "$" };
    let pattern = |pattern: String| wanting(Wants { path_pattern: Some(pattern), ..Wants::default() });
    if let Some(braced) = braced(word) {
        return pattern(format!("^{braced}{end}"));
    }
    if prefix {
        return Way { path: Some((word.to_owned(), true)), ..Way::default() };
    }
    let exact = if word == "/" {
        Way::default()
    } else {
        Way { path: Some((word.to_owned(), false)), ..Way::default() }
    };
    Way { path: exact.path, ..pattern(format!("^{}$", escaped(word))) }
}

fn both(one: &Way, other: &Way) -> Way {
    let mut way = one.clone();
    way.others.extend(other.others.iter().cloned());
    match one.wants.and(&other.wants) {
        Some(wants) => way.wants = wants,
        None => way.others.push(format!("{:?}", other.wants)),
    }
    match (one.hosts.is_empty(), other.hosts.is_empty()) {
        (true, _) => way.hosts.clone_from(&other.hosts),
        (false, true) => {}
        (false, false) => way.others.push(format!("Host({})", other.hosts.join(", "))),
    }
    match (&one.path, &other.path) {
        (None, path) => way.path.clone_from(path),
        (Some(_), None) => {}
        (Some(_), Some((path, _))) => way.others.push(format!("PathPrefix({path})")),
    }
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_both_versions_become_ways() {
        let way = |hosts: &[&str], path: Option<(&str, bool)>, others: &[&str]| Way {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            path: path.map(|(path, prefix)| (path.to_owned(), prefix)),
            others: others.iter().map(|other| (*other).to_owned()).collect(),
            wants: Wants::default(),
        };
        let exact = Wants { path_pattern: Some("^/x$".to_owned()), ..Wants::default() };
        let any_host = Wants { host_pattern: Some("^.+$".to_owned()), ..Wants::default() };
        let tenant =
            Wants { host_pattern: Some("^(?:[a-z]+)\\.a\\.example$".to_owned()), ..Wants::default() };
        let number = Wants { path_pattern: Some("^/(?:[0-9]+)".to_owned()), ..Wants::default() };
        let methods = Wants { methods: vec!["GET".to_owned(), "PUT".to_owned()], ..Wants::default() };
        for (rule, expected) in [
            ("Host(`a.example`)", vec![way(&["a.example"], None, &[])]),
            ("Host(`a`, `b`) && PathPrefix(\"/x\")", vec![way(&["a", "b"], Some(("/x", true)), &[])]),
            (
                "(Host(`a`) || Host(`b`)) && Path(`/x`)",
                vec![Way { wants: exact, ..way(&["a", "b"], Some(("/x", false)), &[]) }],
            ),
            (
                "Host(`a`) && (PathPrefix(`/x`) || PathPrefix(`/y`))",
                vec![way(&["a"], Some(("/x", true)), &[]), way(&["a"], Some(("/y", true)), &[])],
            ),
            ("Host(`a`) && !Method(`POST`)", vec![way(&["a"], None, &["!Method(POST)"])]),
            ("HostRegexp(`^.+$`)", vec![wanting(any_host)]),
            ("HostRegexp(`{t:[a-z]+}.a.example`)", vec![wanting(tenant)]),
            ("PathPrefix(`/{id:[0-9]+}`)", vec![wanting(number)]),
            ("Method(`GET`) || Method(`PUT`)", vec![wanting(methods)]),
        ] {
            assert_eq!(ways(rule), Ok(expected), "{rule}");
        }
        for bad in ["", "Host(a)", "Host(`a`", "Host(`a`) &&", "Host(`a`) x", "(Host(`a`)"] {
            assert!(ways(bad).is_err(), "{bad}");
        }
        assert!(ways(&"!".repeat(1000)).is_err());
    }
}
