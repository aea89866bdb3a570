//! Names with values from outside the file: Docker secrets, the environment and `.env`, strongest first.
//!
//! Used twice by [`crate::layers`]: `${NAME}` is looked up here, and `SWITCHER__A__B` overrides the key
//! `a.b`. A secret is read only when it is asked for.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use crate::node::{Node, Origin, Value, Veil};
use crate::problem::{Problem, quoted};
use crate::substitute::{Found, Refused};
use crate::yaml;

/// What a variable's name begins with when it stands for a key.
const PREFIX: &str = "SWITCHER__";

/// The longest secret that is read, in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// A line of `.env`: the value and the line number.
pub(crate) type DotEnv = BTreeMap<String, (String, usize)>;

/// The three sources of names.
#[derive(Debug)]
pub(crate) struct Variables<'a> {
    pub(crate) dot_env_file: Arc<str>,
    pub(crate) dot_env: DotEnv,
    pub(crate) environment: &'a BTreeMap<String, String>,
    pub(crate) secrets: &'a Path,
}

impl Variables<'_> {
    /// The value of a name: a secret (also under its name in lower case), the environment, `.env`.
    pub(crate) fn look_up(&self, name: &str) -> Result<Option<Found>, Refused> {
        for file in [name.to_owned(), name.to_ascii_lowercase()] {
            let secret = read_secret(&self.secrets.join(&file)).map_err(|error| Refused {
                message: format!("the secret {file} cannot be read: {error}"),
                hint: format!("check the permissions of {}", self.secrets.join(&file).display()),
                unset: None,
            })?;
            if let Some(value) = secret {
                return Ok(Some(Found { value, source: format!("secret {file}"), secret: true }));
            }
        }
        if let Some(value) = self.environment.get(name) {
            let source = format!("environment variable {name}");
            return Ok(Some(Found { value: value.clone(), source, secret: false }));
        }
        Ok(self.dot_env.get(name).map(|(value, line)| Found {
            value: value.clone(),
            source: format!("{}:{line} {name}", self.dot_env_file),
            secret: false,
        }))
    }

    /// The overriding layers, weakest first, each a tree like a file's.
    pub(crate) fn overrides(&self, problems: &mut Vec<Problem>) -> Vec<Node> {
        let mut layers = Vec::new();
        for (name, (value, line)) in &self.dot_env {
            let origin = Origin::DotEnv(Arc::clone(&self.dot_env_file), *line, name.as_str().into());
            layers.extend(override_of(name, value, &origin, problems));
        }
        for (name, value) in self.environment {
            layers.extend(override_of(name, value, &Origin::Variable(name.as_str().into()), problems));
        }
        for name in secret_names(self.secrets) {
            let origin = Origin::Secret(name.as_str().into());
            match read_secret(&self.secrets.join(&name)) {
                Ok(value) => layers.extend(
                    value.and_then(|v| override_of(&name.to_ascii_uppercase(), &v, &origin, problems)),
                ),
                Err(error) => {
                    let hint = format!("check the permissions of {}", self.secrets.join(&name).display());
                    problems.push(Problem::at(&origin, "", format!("cannot be read: {error}"), hint));
                }
            }
        }
        layers
    }
}

/// The names of the secrets that override keys. A folder that may not be listed holds none of them.
fn secret_names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.to_ascii_uppercase().starts_with(PREFIX))
        .collect();
    names.sort();
    names
}

/// A secret without its last line break; `None` when there is no such file.
fn read_secret(path: &Path) -> io::Result<Option<String>> {
    let mut text = String::new();
    let file = match std::fs::File::open(path) {
        Ok(file) if file.metadata()?.is_file() => file,
        Ok(_) => return Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    file.take(MAX_SECRET + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SECRET {
        return Err(io::Error::other("it is longer than 64KiB"));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Some(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

/// The tree that `SWITCHER__A__B=value` stands for; `None` when the name stands for no key.
fn override_of(name: &str, value: &str, origin: &Origin, problems: &mut Vec<Problem>) -> Option<Node> {
    let keys = keys_of(name.strip_prefix(PREFIX)?);
    if keys.iter().any(String::is_empty) {
        let message = format!("{} names no key", quoted(name));
        let hint = "write the keys with two underscores between them, for example SWITCHER__PROXY__ADMIN";
        problems.push(Problem::at(origin, "", message, hint));
        return None;
    }
    let mut node = value_of(value, origin, problems)?;
    for (depth, key) in keys.iter().enumerate().rev() {
        let below_apps = depth == 1 && keys[0] == "apps";
        let text = if below_apps { key.replace('_', "-") } else { key.clone() };
        let key = crate::node::Key { text, origin: origin.clone() };
        node = Node::new(Value::Mapping(vec![(key, node)]), origin.clone());
    }
    Some(node)
}

/// The keys that a name stands for. The name of an application's own variable keeps its case and its underscores:
/// `APPS__SHOP__DEPLOY__ENV__DJANGO__DEBUG` is `apps.shop.deploy.env.DJANGO__DEBUG`.
fn keys_of(name: &str) -> Vec<String> {
    let steps: Vec<&str> = name.split("__").collect();
    let mut keys: Vec<String> = steps.iter().map(|step| step.to_ascii_lowercase()).collect();
    let known: Vec<&str> = keys.iter().map(String::as_str).collect();
    let above = match known.as_slice() {
        ["apps", _, "deploy", "env", _, ..] => 4,
        ["apps", _, "deploy", "migrate", "env", _, ..] => 5,
        _ => return keys,
    };
    keys.truncate(above);
    keys.push(steps[above..].join("__"));
    keys
}

/// A value as the key would take it: YAML when it begins like a list, a section or a quoted text,
/// else the text as it is, so that a password may hold `#` and `: `.
fn value_of(value: &str, origin: &Origin, problems: &mut Vec<Problem>) -> Option<Node> {
    let secret = matches!(origin, Origin::Secret(_));
    let as_it_is = || {
        let text = value.to_owned();
        let mut node = Node::new(Value::Scalar { text, plain: true }, origin.clone());
        node.veil = if secret { Veil::Secret } else { Veil::Open };
        node
    };
    let flow = if secret { "[{" } else { "[{\"'" };
    if !value.starts_with(|c| flow.contains(c)) {
        return Some(as_it_is());
    }
    let mut found = Vec::new();
    let parsed = yaml::parse(value, &|_, _| origin.clone(), &mut found);
    if secret && !found.is_empty() {
        return Some(as_it_is());
    }
    problems.append(&mut found);
    let mut node = parsed?;
    if secret {
        node.visit(&mut |node| node.veil = Veil::Secret);
    }
    Some(node)
}

/// Reads the lines of a `.env` file: `NAME=value`, with `export`, quotes and comments as shells have them.
pub(crate) fn parse_dot_env(text: &str, file: &str, problems: &mut Vec<Problem>) -> DotEnv {
    let mut found = DotEnv::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let assignment = line.strip_prefix("export ").unwrap_or(line).split_once('=');
        match assignment.and_then(|(name, value)| Some((variable_name(name)?, dot_env_value(value)?))) {
            Some((name, value)) => {
                found.insert(name.to_owned(), (value, index + 1));
            }
            None => {
                let mut problem = Problem::of(
                    file,
                    "this line is no assignment, or its quote is never closed",
                    "write NAME=value or NAME=\"value\", one a line",
                );
                problem.line = Some(index + 1);
                problems.push(problem);
            }
        }
    }
    found
}

fn variable_name(text: &str) -> Option<&str> {
    let name = text.trim();
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(good) && !name.starts_with(|c: char| c.is_ascii_digit()))
        .then_some(name)
}

fn dot_env_value(text: &str) -> Option<String> {
    let text = text.trim();
    let closed = |inside: &str, quote: char| {
        let end = inside.rfind(quote)?;
        let after = inside[end + 1..].trim_start();
        (after.is_empty() || after.starts_with('#')).then(|| inside[..end].to_owned())
    };
    if let Some(inside) = text.strip_prefix('\'') {
        return closed(inside, '\'');
    }
    if let Some(inside) = text.strip_prefix('"') {
        return closed(inside, '"').map(|text| unescape(&text));
    }
    Some(text.split(" #").next().unwrap_or(text).trim_end().to_owned())
}

fn unescape(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '\\' { rest.next() } else { None }) {
            ('\\', Some('n')) => result.push('\n'),
            ('\\', Some(escaped)) => result.push(escaped),
            (c, _) => result.push(c),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_env_lines_are_read_as_shells_read_them() {
        let text = "# comment\nA=1\nexport B = two words # note\nC='it''s #1'\nD=\"a\\nb\" # c\n\nE=\n";
        let mut problems = Vec::new();
        let found = parse_dot_env(text, ".env", &mut problems);
        assert_eq!(problems, []);
        let value = |name: &str| found[name].0.as_str();
        assert_eq!(
            [value("A"), value("B"), value("C"), value("D"), value("E")],
            ["1", "two words", "it''s #1", "a\nb", ""]
        );
        assert_eq!(found["D"].1, 5);
    }

    #[test]
    fn a_bad_dot_env_line_is_named_and_not_quoted() {
        let mut problems = Vec::new();
        parse_dot_env("A=1\nhunter2\nB=\"open\n1C=x\n", ".env", &mut problems);
        let lines: Vec<_> = problems.iter().map(|p| p.line).collect();
        assert_eq!(lines, [Some(2), Some(3), Some(4)]);
        assert!(problems.iter().all(|p| !format!("{p:?}").contains("hunter2")));
    }

    #[test]
    fn an_override_names_keys_and_may_hold_a_list() {
        let origin = Origin::Variable("X".into());
        let mut problems = Vec::new();
        let mut read = |name: &str, value: &str| override_of(name, value, &origin, &mut problems);
        let node = read("SWITCHER__APPS__BIG_SHOP__HOSTS", "[a.example, b.example]").expect("a node");
        let hosts = node.get("apps").and_then(|n| n.get("big-shop")).and_then(|n| n.get("hosts"));
        assert_eq!(hosts.map(|n| n.items().len()), Some(2));
        let node = read("SWITCHER__PROXY__DATA_DIR", "a: b #c").expect("a node");
        let text = node.get("proxy").and_then(|n| n.get("data_dir")).map(|n| n.value.clone());
        assert_eq!(text, Some(Value::Scalar { text: "a: b #c".into(), plain: true }));
        let node = read("SWITCHER__APPS__A__DEPLOY__MIGRATE__ENV__Django__DEBUG", "1").expect("a node");
        let steps = ["apps", "a", "deploy", "migrate", "env", "Django__DEBUG"];
        assert!(steps.iter().try_fold(&node, |node, step| node.get(step)).is_some(), "{node:?}");
        assert_eq!(read("SWITCHER_CONFIG", "x"), None);
        assert_eq!(problems, []);
        assert_eq!(override_of("SWITCHER__PROXY____X", "x", &origin, &mut problems), None);
        assert_eq!(problems.len(), 1);
    }
}
