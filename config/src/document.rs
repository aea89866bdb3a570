//! YAML of other programs, read with the lines it stands at: a Compose file, for one, whose tags are known.
//!
//! A thin window on the tree of `crate::node`. Texts stay as they were written, and no problem quotes a line, since
//! nobody knows where in a foreign file a secret stands. Called by `switcher init`.

use std::sync::Arc;

use crate::node::{Node, Value};
use crate::problem::{Problem, Quotes, Report};
use crate::yaml;

/// The one document of a file.
#[derive(Debug, Clone)]
pub struct Document(Node);

/// A value in a document.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a>(&'a Node);

impl Document {
    /// Reads a text; `file` is how problems name it. A text without a value is none.
    ///
    /// # Errors
    /// When it is no YAML, or names a key twice; every problem has its line, and none holds a value.
    pub fn read(file: &str, text: &str) -> Result<Option<Self>, Report> {
        let mut problems: Vec<Problem> = Vec::new();
        let root = yaml::parse_compose(text, &yaml::in_file(&Arc::from(file)), &mut problems);
        if problems.is_empty() {
            return Ok(root.filter(|node| !node.is_null()).map(Self));
        }
        Err(Report::new(problems, None, Quotes::default()))
    }

    /// The value that holds all others.
    #[must_use]
    pub fn root(&self) -> Item<'_> {
        Item(&self.0)
    }
}

impl<'a> Item<'a> {
    /// The value of a key that is written and not null.
    #[must_use]
    pub fn get(self, key: &str) -> Option<Self> {
        self.0.given(key).map(Self)
    }

    /// The entries of a section, in the order written: key, line of the key, value. Empty for anything else.
    pub fn entries(self) -> impl Iterator<Item = (&'a str, usize, Self)> {
        self.0
            .entries()
            .iter()
            .map(|(key, node)| (key.text.as_str(), key.origin.line().unwrap_or(0), Self(node)))
    }

    /// The items of a list; a single value is a list of itself, and nothing an empty one.
    pub fn items(self) -> impl Iterator<Item = Self> {
        self.0.items().iter().filter(|node| !node.is_null()).map(Self)
    }

    /// The text, when it is a single value; none when nothing is written.
    #[must_use]
    pub fn text(self) -> Option<&'a str> {
        match &self.0.value {
            Value::Scalar { text, .. } if !self.0.is_null() => Some(text),
            Value::Scalar { .. } | Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// Whether it is a list.
    #[must_use]
    pub fn is_list(self) -> bool {
        matches!(self.0.value, Value::Sequence(_))
    }

    /// Whether it is a section with keys.
    #[must_use]
    pub fn is_section(self) -> bool {
        matches!(self.0.value, Value::Mapping(_))
    }

    /// The line it begins at, counted from 1.
    #[must_use]
    pub fn line(self) -> usize {
        self.0.origin.line().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_text_and_their_line() {
        let text =
            "x: &x {port: 08, off: off}\nservices:\n  shop:\n    <<: *x\n    list: [a, ~, b]\n    none:\n";
        let document = Document::read("compose.yaml", text).expect("good").expect("a value");
        let shop = document.root().get("services").and_then(|s| s.get("shop")).expect("a section");
        assert!(shop.is_section() && shop.get("none").is_none());
        assert_eq!(shop.get("port").and_then(Item::text), Some("08"));
        let list = shop.get("list").expect("a list");
        assert!(list.is_list());
        assert_eq!(list.items().filter_map(Item::text).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((shop.get("port").map(Item::line), list.line()), (Some(1), 5));
    }

    #[test]
    fn what_is_reset_is_not_there_and_other_tags_are_refused() {
        let text = "x: &x {a: 1, b: 2}\nshop:\n  <<: *x\n  a: !reset null\n  c: !reset {d: 1}\n  e: !override [1, !reset 2]\n";
        let document = Document::read("compose.yaml", text).expect("good").expect("a value");
        let shop = document.root().get("shop").expect("a section");
        let keys: Vec<_> = shop.entries().map(|(key, ..)| key).collect();
        assert_eq!(keys, ["e", "b"]);
        assert_eq!(shop.get("e").expect("a list").items().filter_map(Item::text).collect::<Vec<_>>(), ["1"]);
        let report = Document::read("compose.yaml", "a: !other 1\n").expect_err("a tag");
        assert!(report.to_string().contains("!other"), "{report}");
    }

    #[test]
    fn a_mistake_has_its_line_and_quotes_nothing() {
        let text = "services:\n  shop:\n    environment:\n      PASSWORD: hunter2\n      PASSWORD: hunter3\n    a: [b\n";
        let report = Document::read("compose.yaml", text).expect_err("a mistake");
        let lines: Vec<_> = report.problems.iter().map(|problem| problem.line).collect();
        assert!(lines.contains(&Some(5)), "{report}");
        assert!(!report.to_string().contains("hunter"), "{report}");
        assert!(Document::read("compose.yaml", "# nothing\n").expect("good").is_none());
    }
}
