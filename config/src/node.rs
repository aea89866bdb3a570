//! The tree every layer is read into: values that remember where they came from.
//!
//! A node keeps its text as it was written; what the text means is decided by the setting that reads it,
//! so `off`, `1.10` and `0123` never turn into something else on the way. Made by [`crate::yaml`] and
//! [`crate::layers`], read by [`crate::reader`].

use std::fmt;
use std::sync::Arc;

/// The most nodes one source may have, aliases counted as often as they are used: an alias bomb ends here, and ten
/// thousand applications do not.
pub(crate) const MAX_NODES: usize = 200_000;

/// Where a value or a key was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A place in a configuration file.
    File {
        /// The file as people know it.
        file: Arc<str>,
        /// Counted from 1.
        line: usize,
        /// Counted in characters from 1.
        column: usize,
    },
    /// A line of the `.env` file: its name, the line, the variable.
    DotEnv(Arc<str>, usize, Arc<str>),
    /// An environment variable.
    Variable(Arc<str>),
    /// A Docker secret.
    Secret(Arc<str>),
}

impl Origin {
    /// The name of the source: a file, or `environment variable NAME`.
    pub(crate) fn source(&self) -> String {
        match self {
            Self::File { file, .. } | Self::DotEnv(file, ..) => file.to_string(),
            Self::Variable(name) => format!("environment variable {name}"),
            Self::Secret(name) => format!("secret {name}"),
        }
    }

    /// The line, where the source is a file.
    pub(crate) fn line(&self) -> Option<usize> {
        match self {
            Self::File { line, .. } | Self::DotEnv(_, line, _) => Some(*line),
            Self::Variable(_) | Self::Secret(_) => None,
        }
    }

    /// The column, where the source is a configuration file.
    pub(crate) fn column(&self) -> Option<usize> {
        match self {
            Self::File { column, .. } => Some(*column),
            Self::DotEnv(..) | Self::Variable(_) | Self::Secret(_) => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, .. } => write!(f, "{file}:{line}"),
            Self::DotEnv(file, line, name) => write!(f, "{file}:{line} {name}"),
            Self::Variable(_) | Self::Secret(_) => f.write_str(&self.source()),
        }
    }
}

/// How far a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Veil {
    /// Everywhere.
    Open,
    /// In `show`, but in no error: a `${NAME}` may stand for anything.
    Substituted,
    /// Nowhere: it came from a secret.
    Secret,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) value: Value,
    /// Where it was written.
    pub(crate) origin: Origin,
    /// The last line it covers, to hide a secret that spans several.
    pub(crate) last_line: usize,
    /// How far it may be shown.
    pub(crate) veil: Veil,
    /// The sources of the names substituted in it.
    pub(crate) via: Vec<String>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// A text; `plain` when it was written without quotes, so that it may mean null.
    Scalar {
        /// After YAML's escapes, before substitution.
        text: String,
        /// Whether it stood without quotes.
        plain: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values, in the order written; no key twice.
    Mapping(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// Its name.
    pub(crate) text: String,
    /// Where it was written.
    pub(crate) origin: Origin,
}

impl Node {
    /// A node that hides nothing.
    pub(crate) fn new(value: Value, origin: Origin) -> Self {
        let last_line = origin.line().unwrap_or(0);
        Self { value, origin, last_line, veil: Veil::Open, via: Vec::new() }
    }

    /// The value of a key, when this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Mapping(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(_, node)| node),
            Value::Scalar { .. } | Value::Sequence(_) => None,
        }
    }

    /// The value of a key that is written and not null.
    pub(crate) fn given(&self, key: &str) -> Option<&Self> {
        self.get(key).filter(|node| !node.is_null())
    }

    /// The entries, when this is a mapping.
    pub(crate) fn entries(&self) -> &[(Key, Self)] {
        match &self.value {
            Value::Mapping(entries) => entries,
            Value::Scalar { .. } | Value::Sequence(_) => &[],
        }
    }

    /// The items of a list; a single value is a list of itself.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::Sequence(items) => items,
            Value::Scalar { .. } | Value::Mapping(_) => std::slice::from_ref(self),
        }
    }

    /// Whether nothing was written: `key:`, `key: null` or `key: ~`.
    pub(crate) fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain } => {
                *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            Value::Sequence(_) | Value::Mapping(_) => false,
        }
    }

    /// What this is, for a message.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a section with keys",
        }
    }

    /// Calls `act` for this node and every one below it.
    pub(crate) fn visit(&mut self, act: &mut impl FnMut(&mut Self)) {
        act(self);
        match &mut self.value {
            Value::Scalar { .. } => {}
            Value::Sequence(items) => items.iter_mut().for_each(|item| item.visit(act)),
            Value::Mapping(entries) => entries.iter_mut().for_each(|(_, node)| node.visit(act)),
        }
    }

    /// Lays a stronger layer over this one: mappings merge key by key, everything else is replaced.
    pub(crate) fn overlay(&mut self, stronger: Self) {
        let Self { value, .. } = stronger;
        match (&mut self.value, value) {
            (Value::Mapping(weak), Value::Mapping(strong)) => {
                for (key, node) in strong {
                    match weak.iter_mut().find(|(k, _)| k.text == key.text) {
                        Some((_, place)) => place.overlay(node),
                        None => weak.push((key, node)),
                    }
                }
            }
            (_, value) => *self = Self { value, ..stronger },
        }
    }
}
