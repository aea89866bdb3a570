//! YAML, TOML and lists of `a.b.c=value` as the tree in which everything has to be taken.

use std::path::Path;
use std::sync::Arc;

use switcher_config::document::{Document, Item};
use toml_span::Value;
use toml_span::value::ValueInner;

use super::Unreadable;
use super::note::Note;
use super::shelf::Shelf;
use super::tree::{Node, Place};
use super::variables::{Spelling, Variables};

/// The keys of a file, YAML or by its name TOML, with the variables that its program fills in first.
///
/// # Errors
/// When it cannot be read, or is neither.
pub fn file(
    path: &Path,
    shelf: &Shelf,
    spelling: Spelling,
    notes: &mut Vec<Note>,
) -> Result<Vec<Node>, Unreadable> {
    let shown = path.display().to_string();
    let text = shelf.text(path).map_err(|why| Unreadable::file(shown.clone(), why))?;
    let text = Variables::beside(path, shelf).fill(&text, &shown, spelling, notes);
    if path.extension().is_some_and(|end| end == "toml") { toml(&shown, &text) } else { yaml(&shown, &text) }
}

/// The keys of a YAML document.
///
/// # Errors
/// When it is no YAML.
pub fn yaml(shown: &str, text: &str) -> Result<Vec<Node>, Unreadable> {
    let document = Document::read(shown, text).map_err(|report| {
        let first = report.problems.first();
        Unreadable {
            file: shown.to_owned(),
            line: first.and_then(|problem| problem.line),
            column: first.and_then(|problem| problem.column),
            message: first.map_or_else(|| "is no YAML".to_owned(), |problem| problem.message.clone()),
        }
    })?;
    let file = Arc::from(shown);
    Ok(document.map_or_else(Vec::new, |document| {
        document.root().entries().map(|(key, line, item)| of_item(&file, key, line, item)).collect()
    }))
}

/// A value of a YAML document under its key.
#[must_use]
pub fn of_item(file: &Arc<str>, key: &str, line: usize, item: Item<'_>) -> Node {
    let place = Place::new(file, line);
    if item.is_section() {
        let children = item.entries().map(|(key, line, item)| of_item(file, key, line, item)).collect();
        return Node::new(place, key, Vec::new(), children);
    }
    let words: Vec<String> = item.items().filter_map(Item::text).map(str::to_owned).collect();
    let nested = item.items().filter(|item| item.is_section() || item.is_list());
    let children = nested
        .enumerate()
        .map(|(index, item)| of_item(file, &format!("[{index}]"), item.line(), item))
        .collect();
    Node::new(place, key, words, children)
}

/// The keys of a TOML document.
fn toml(shown: &str, text: &str) -> Result<Vec<Node>, Unreadable> {
    let lines = Lines::of(shown, text);
    let value = toml_span::parse(text).map_err(|error| {
        let (line, column) = lines.at(error.span.start);
        Unreadable {
            file: shown.to_owned(),
            line: Some(line),
            column: Some(column),
            message: format!("this is not TOML: {error}"),
        }
    })?;
    Ok(lines.children(value))
}

/// Where lines begin.
struct Lines {
    file: Arc<str>,
    starts: Vec<usize>,
}

impl Lines {
    fn of(shown: &str, text: &str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: Arc::from(shown), starts }
    }

    fn at(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        (line, offset - self.starts[line - 1] + 1)
    }

    fn children(&self, mut value: Value<'_>) -> Vec<Node> {
        let ValueInner::Table(table) = value.take() else { return Vec::new() };
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span.start);
        entries.into_iter().map(|(key, value)| self.node(&key.name, key.span.start, value)).collect()
    }

    fn node(&self, name: &str, start: usize, mut value: Value<'_>) -> Node {
        let place = Place::new(&self.file, self.at(start).0);
        let word = |text: String| Node::new(place.clone(), name, vec![text], Vec::new());
        match value.take() {
            ValueInner::String(text) => word(text.into_owned()),
            ValueInner::Integer(number) => word(number.to_string()),
            ValueInner::Float(number) => word(number.to_string()),
            ValueInner::Boolean(yes) => word(yes.to_string()),
            ValueInner::Table(table) => {
                let span = value.span;
                let children = self.children(Value::with_span(ValueInner::Table(table), span));
                Node::new(place, name, Vec::new(), children)
            }
            ValueInner::Array(items) => {
                let mut words = Vec::new();
                let mut children = Vec::new();
                for (index, item) in items.into_iter().enumerate() {
                    let start = item.span.start;
                    let node = self.node(&format!("[{index}]"), start, item);
                    if node.children.is_empty() && node.seen().len() == 1 {
                        words.extend(node.words().into_iter().map(str::to_owned));
                    } else {
                        children.push(node);
                    }
                }
                Node::new(place, name, words, children)
            }
        }
    }
}

/// `a.b[0].c=value` put into a tree, at a place.
pub fn insert(nodes: &mut Vec<Node>, path: &str, value: &str, place: &Place) {
    let path = path.replace('[', ".[").replace("..[", ".[");
    let path = path.trim_start_matches('.').to_owned();
    let (first, rest) =
        path.split_once('.').map_or((path.as_str(), None), |(first, rest)| (first, Some(rest)));
    let found = nodes.iter().position(|node| node.name.eq_ignore_ascii_case(first));
    let index = found.unwrap_or_else(|| {
        nodes.push(Node::new(place.clone(), first, Vec::new(), Vec::new()));
        nodes.len() - 1
    });
    match rest {
        Some(rest) => insert(&mut nodes[index].children, rest, value, place),
        None => {
            let below = std::mem::take(&mut nodes[index].children);
            nodes[index] = Node::new(place.clone(), first, vec![value.to_owned()], below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(nodes: &[Node]) -> Vec<String> {
        let mut told = Vec::new();
        for node in nodes {
            told.push(
                format!("{} {} {}", node.place.line, node.name, node.seen().join(",")).trim().to_owned(),
            );
            told.extend(lines(&node.children));
        }
        told
    }

    #[test]
    fn yaml_toml_and_labels_make_the_same_tree() {
        let by_yaml = yaml("a", "http:\n  a: [x, y]\n  b:\n  - url: u\n  - url: v\n").expect("YAML");
        let by_toml =
            toml("a", "[http]\na = [\"x\", \"y\"]\n[[http.b]]\nurl = \"u\"\n[[http.b]]\nurl = \"v\"\n");
        let yaml: Vec<String> = lines(&by_yaml);
        assert_eq!(yaml, ["1 http", "2 a x,y", "3 b", "4 [0]", "4 url u", "5 [1]", "5 url v"]);
        let bare = |told: Vec<String>| -> Vec<String> {
            told.iter().map(|line| line.split_once(' ').expect("a line").1.to_owned()).collect()
        };
        assert_eq!(bare(lines(&by_toml.expect("TOML"))), bare(yaml));
        let mut labels = Vec::new();
        let place = Place::new(&"a".into(), 7);
        for (path, value) in [("http.a", "x"), ("http.b[0].url", "u"), ("HTTP.b[1].url", "v")] {
            insert(&mut labels, path, value, &place);
        }
        assert_eq!(bare(lines(&labels)), ["http", "a x", "b", "[0]", "url u", "[1]", "url v"]);
    }

    #[test]
    fn a_mistake_has_its_place() {
        let wrong = toml("a.toml", "a = 1\nb = = 2\n").expect_err("no TOML");
        assert_eq!(wrong.line, Some(2), "{wrong}");
        assert_eq!(yaml("a.yaml", "a: [b\n").expect_err("no YAML").file, "a.yaml");
    }
}
