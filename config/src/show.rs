//! The configuration as it is in force: YAML that reads back to the same settings, or JSON.
//!
//! A secret is shown as `***`, wherever it came from. With origins, each line ends with a comment that
//! names where its value came from. Called by [`crate::load::Loaded`].

use serde_json::Value as Json;

use crate::node::{Node, Veil};
use crate::section::Shown;

/// Prints a tree as YAML. `written` is the tree of the layers, which knows the origins.
pub(crate) fn to_yaml(shown: &Shown, written: &Node, with_origin: bool) -> String {
    let mut printer = Printer { lines: Vec::new() };
    if let Shown::Section(entries) = shown {
        printer.section(entries, Some(written), 0);
    }
    printer.finish(with_origin)
}

/// Covers what came from a secret.
pub(crate) fn veiled(shown: Shown, written: Option<&Node>) -> Shown {
    let secret = written.is_some_and(|node| node.veil == Veil::Secret);
    match shown {
        Shown::Absent => Shown::Absent,
        Shown::Null => Shown::Null,
        Shown::Secret => Shown::Secret,
        Shown::Bare(_) | Shown::Text(_) | Shown::Raw(_) if secret => Shown::Secret,
        Shown::Bare(value) => Shown::Bare(value),
        Shown::Text(text) => Shown::Text(text),
        Shown::Raw(text) => Shown::Raw(text),
        Shown::List(items) => Shown::List(
            items
                .into_iter()
                .enumerate()
                .map(|(index, item)| veiled(item, written.and_then(|node| node.items().get(index))))
                .collect(),
        ),
        Shown::Section(entries) => Shown::Section(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let below = written.and_then(|node| node.get(&key));
                    (key, veiled(value, below))
                })
                .collect(),
        ),
    }
}

struct Printer {
    /// Each line with the origin of its value, when it has one.
    lines: Vec<(String, Option<String>)>,
}

impl Printer {
    fn section(&mut self, entries: &[(String, Shown)], written: Option<&Node>, depth: usize) {
        for (key, value) in entries.iter().filter(|(_, value)| *value != Shown::Absent) {
            let node = written.and_then(|node| node.get(key));
            self.entry(&format!("{:1$}{2}:", "", depth * 2, yaml_text(key)), value, node, depth);
        }
    }

    fn entry(&mut self, head: &str, value: &Shown, node: Option<&Node>, depth: usize) {
        match value {
            Shown::Section(entries) if !entries.is_empty() => {
                self.lines.push((head.to_owned(), None));
                self.section(entries, node, depth + 1);
            }
            Shown::List(items) if !items.is_empty() => {
                self.lines.push((head.to_owned(), None));
                for (index, item) in items.iter().enumerate() {
                    let below = node.and_then(|node| node.items().get(index));
                    if let Shown::Section(entries) = item {
                        self.section_in_a_list(entries, below.or(node), depth);
                        continue;
                    }
                    let line = format!("{:1$}- {2}", "", depth * 2 + 2, scalar(item));
                    self.lines.push((line, Some(origin(below.or(node)))));
                }
            }
            Shown::Absent
            | Shown::Null
            | Shown::Bare(_)
            | Shown::Text(_)
            | Shown::Raw(_)
            | Shown::Secret
            | Shown::List(_)
            | Shown::Section(_) => self.lines.push((format!("{head} {}", scalar(value)), Some(origin(node)))),
        }
    }

    /// A section that is an item of a list: its first line carries the dash.
    fn section_in_a_list(&mut self, entries: &[(String, Shown)], written: Option<&Node>, depth: usize) {
        let first = self.lines.len();
        self.section(entries, written, depth + 2);
        let dash = depth * 2 + 2;
        if let Some((line, _)) = self.lines.get_mut(first) {
            line.replace_range(dash..=dash, "-");
        }
    }

    fn finish(self, with_origin: bool) -> String {
        let width = |line: &str| line.chars().count();
        let column = self.lines.iter().map(|(line, _)| width(line)).filter(|n| *n <= 60).max().unwrap_or(0);
        let mut text = String::new();
        for (line, origin) in self.lines {
            text.push_str(&line);
            if let Some(origin) = origin.filter(|_| with_origin) {
                let blanks = column.saturating_sub(width(&line)) + 2;
                text.push_str(&format!("{:blanks$}# {origin}", ""));
            }
            text.push('\n');
        }
        text
    }
}

/// Where a value came from, without anything that could end the comment.
fn origin(node: Option<&Node>) -> String {
    let Some(node) = node else { return "default".into() };
    let mut text = node.origin.to_string();
    if !node.via.is_empty() {
        text.push_str(&format!(" with {}", node.via.join(", ")));
    }
    text.chars().map(crate::problem::printable).collect()
}

/// A value on one line.
fn scalar(value: &Shown) -> String {
    match value {
        Shown::Absent | Shown::Null => "null".into(),
        Shown::Bare(value) => value.to_string(),
        Shown::Text(text) => yaml_text(&text.replace('$', "$$")),
        Shown::Raw(text) => yaml_text(text),
        Shown::Secret => "\"***\"".into(),
        Shown::List(_) => "[]".into(),
        Shown::Section(_) => "{}".into(),
    }
}

/// A text in YAML: bare where every reader takes it for the same text, else in double quotes. Elsewhere than in
/// what is kept as it was written, a `$` was doubled before, so that it stands for itself when it is read again.
fn yaml_text(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_-./:+%".contains(c);
    let word = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.chars().all(safe)
        && !text.ends_with(':')
        && text.parse::<f64>().is_err()
        && !text.chars().all(|c| c.is_ascii_digit() || ":_".contains(c))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "yes" | "no" | "on" | "null" | "y" | "n"
        );
    if word {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            c if c.is_alphanumeric() && u32::from(c) < 0x1_0000 => quoted.push(c),
            c => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// Prints a tree as JSON.
pub(crate) fn to_json(shown: &Shown) -> Json {
    shown.to_json()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_bare_only_where_every_reader_takes_it_for_one() {
        for bare in ["shop", "/run/x", "30s", "127.0.0.1:80", "off", "DATABASE_URL"] {
            assert_eq!(yaml_text(bare), bare);
        }
        for quoted in ["", "on", "1.5", "1000:59", "1_000", "{slot}", "*x", "a b", "x:", "- x", "${A}"] {
            assert_eq!(yaml_text(quoted), format!("\"{quoted}\""));
        }
        assert_eq!(yaml_text("a\"\\\n"), "\"a\\\"\\\\\\U0000000A\"");
    }
}
