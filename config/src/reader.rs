//! The strict reader: what every setting uses to take its value out of a node and to say what is wrong.
//!
//! A setting that cannot be read is `None`, and its problem has been told; reading goes on, so that one run
//! tells everything. Used by [`crate::values`], [`crate::section`] and [`crate::checks`].

use std::fmt::Display;

use crate::layers::UNKNOWN;
use crate::node::{Key, Node, Value, Veil};
use crate::problem::{Problem, quoted};

/// Collects problems, and knows which key is being read.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    problems: Vec<Problem>,
    path: String,
}

impl Reader {
    /// What was found wrong.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Reads something that stands under a key.
    pub(crate) fn under<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let whole = self.path.len();
        if whole > 0 && !key.starts_with('[') {
            self.path.push('.');
        }
        self.path.extend(key.chars().take(80).map(crate::problem::printable));
        let result = read(self);
        self.path.truncate(whole);
        result
    }

    /// Tells a problem of a node.
    pub(crate) fn wrong(&mut self, node: &Node, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::at(&node.origin, &self.path, message, hint));
    }

    /// Tells a problem of a key.
    pub(crate) fn wrong_key(&mut self, key: &Key, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::at(&key.origin, &self.path, message, hint));
    }

    /// The entries of a section whose keys are all known. Unknown ones are told, with the likeliest meant.
    pub(crate) fn section<'a>(&mut self, node: &'a Node, known: &[&str]) -> Option<&'a [(Key, Node)]> {
        match &node.value {
            Value::Mapping(entries) => {
                for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
                    self.unknown(key, known);
                }
                Some(entries)
            }
            Value::Scalar { .. } if node.is_null() => Some(&[]),
            Value::Scalar { .. } | Value::Sequence(_) => {
                let message = format!("this takes a section with keys, and it is {}", node.kind());
                self.wrong(node, message, format!("the keys are {}", list(known)));
                None
            }
        }
    }

    /// Tells that a key is none of those known here, with the likeliest meant.
    pub(crate) fn unknown(&mut self, key: &Key, known: &[&str]) {
        let message = format!("{} is no key here", quoted(&key.text));
        self.under(&key.text, |reader| reader.wrong_key(key, message, key_hint(&key.text, known)));
    }

    /// The text of a single value. `None` also when a name in it is not set, which was told before.
    pub(crate) fn text<'a>(&mut self, node: &'a Node, example: &str) -> Option<&'a str> {
        match &node.value {
            Value::Scalar { .. } if node.via.iter().any(|via| via == UNKNOWN) => None,
            Value::Scalar { text, .. } if !node.is_null() => Some(text),
            Value::Scalar { .. } => {
                let hint = format!("write for example {example}, or leave the key out for its default");
                self.wrong(node, "the value is missing", hint);
                None
            }
            Value::Sequence(_) | Value::Mapping(_) => {
                let message = format!("this takes a single value, and it is {}", node.kind());
                self.wrong(node, message, format!("write for example {example}"));
                None
            }
        }
    }

    /// A value that its type reads from text. The type's own sentence tells what is wrong.
    pub(crate) fn parsed<T, E: Display>(
        &mut self,
        node: &Node,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(node, example)?;
        parse(text).map_err(|error| self.refuse(node, text, &error.to_string(), example)).ok()
    }

    /// Tells that a value is not what the key takes, in a sentence that begins with the quoted value.
    /// The value itself is only shown when it was written in the open.
    fn refuse(&mut self, node: &Node, text: &str, sentence: &str, example: &str) {
        let Some(rest) = sentence.strip_prefix(&format!("{text:?}")) else {
            let message = format!("{} is not what this key takes", shown(node, text));
            return self.wrong(node, message, format!("write for example {example}"));
        };
        let (what, hint) = rest.split_once("; ").unwrap_or((rest, ""));
        self.wrong(node, format!("{}{what}", shown(node, text)), hint);
    }
}

/// A value as a message may show it.
pub(crate) fn shown(node: &Node, text: &str) -> String {
    match node.veil {
        Veil::Substituted | Veil::Secret if text.is_empty() => "an empty value".to_owned(),
        Veil::Open => quoted(text),
        Veil::Substituted | Veil::Secret => "the value (***)".to_owned(),
    }
}

/// What somebody may have meant by an unknown word.
pub(crate) fn meant<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word: String = word.chars().take(64).flat_map(char::to_lowercase).collect();
    let word = word.replace('-', "_");
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&word, known), *known))
        .filter(|(distance, known)| *distance <= 1.max(known.len() / 3))
        .min()
        .map(|(_, known)| known)
}

fn key_hint(word: &str, known: &[&str]) -> String {
    if let Some(known) = meant(word, known) {
        return format!("did you mean `{known}`?");
    }
    if let Some(known) = known.iter().find(|known| known.strip_suffix("_file") == Some(word)) {
        return format!("did you mean `{known}`? It takes the name of a file that holds the value");
    }
    let elsewhere = crate::keys::section_of(word)
        .map(|section| format!("`{word}` stands in {section}; "))
        .unwrap_or_default();
    format!("{elsewhere}the keys here are {}", list(known))
}

/// Words in a sentence: `a`, `b` and `c`.
pub(crate) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
