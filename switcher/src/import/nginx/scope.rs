//! Directives as nginx inherits them: those of the innermost block that has any of that name.

use crate::import::tree::Node;

/// Blocks in each other, the outermost first.
#[derive(Debug, Clone)]
pub(super) struct Scope<'a>(Vec<&'a Node>);

impl<'a> Scope<'a> {
    pub(super) fn of(levels: &[&'a Node]) -> Self {
        Self(levels.to_vec())
    }

    /// The scope of a block inside.
    pub(super) fn within(&self, inner: &'a Node) -> Self {
        let mut levels = self.0.clone();
        levels.push(inner);
        Self(levels)
    }

    /// The innermost block.
    pub(super) fn inner(&self) -> &'a Node {
        self.0[self.0.len() - 1]
    }

    /// The directives that hold. Those of outer blocks that they replace are taken too, for they do nothing here.
    pub(super) fn all(&self, name: &'a str) -> Vec<&'a Node> {
        let mut found: Vec<&Node> = Vec::new();
        for level in self.0.iter().rev() {
            let here: Vec<&Node> = level.all(name).collect();
            if found.is_empty() {
                found = here;
            } else {
                here.iter().for_each(|node| node.set_aside());
            }
        }
        found
    }

    /// The directive that holds: the last one.
    pub(super) fn one(&self, name: &'a str) -> Option<&'a Node> {
        self.all(name).last().copied()
    }

    /// Its first word.
    pub(super) fn text(&self, name: &'a str) -> Option<&'a str> {
        self.one(name)?.word(0)
    }

    /// The variables that are set to a text, in all blocks.
    pub(super) fn set(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().flat_map(|level| level.all("set")).find_map(|node| {
            (node.seen().first()?.strip_prefix('$')? == name).then(|| node.words()[1..].first().copied())?
        })
    }
}
