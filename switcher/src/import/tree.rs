//! A configuration of another program as a tree in which everything has to be taken.
//!
//! Invariant: what nobody takes is told. A reader takes a node by asking for it by name and a word by looking at it; whatever
//! it never asked for becomes a [`Note`] with its line in [`untaken`]. So nothing can be lost by being forgotten.
//! Made by the readers of each format, walked by the importers.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use super::note::Note;
use crate::init::secret::is_secret;

/// Directives that sound like secrets, and whose words are addresses and names of headers and files.
const OPEN: [&str; 8] = [
    "forward_auth",
    "auth_request",
    "proxy_pass",
    "proxy_pass_header",
    "proxy_cookie_path",
    "proxy_cookie_domain",
    "ssl_certificate",
    "ssl_client_certificate",
];

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: usize,
    /// The line it ends at, where a whole block is meant.
    pub until: usize,
}

impl Place {
    /// A place.
    #[must_use]
    pub fn new(file: &Arc<str>, line: usize) -> Self {
        Self { file: Arc::clone(file), line, until: line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it was said.
    pub place: Place,
}

impl<T> At<T> {
    /// A value at a place.
    pub fn new(value: T, place: &Place) -> Self {
        Self { value, place: place.clone() }
    }
}

/// A word behind a name. A clone has been taken as far as the original.
#[derive(Debug, Clone)]
pub struct Word {
    text: String,
    taken: Cell<bool>,
}

/// A directive, or a key with its value.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// The directive's name, or the key.
    pub name: String,
    words: Vec<Word>,
    /// What stands in its block or section.
    pub children: Vec<Node>,
    taken: Cell<bool>,
}

impl Node {
    /// A node that nobody has taken.
    #[must_use]
    pub fn new(place: Place, name: &str, words: Vec<String>, children: Vec<Self>) -> Self {
        let words = words.into_iter().map(|text| Word { text, taken: Cell::new(false) }).collect();
        Self { place, name: name.to_owned(), words, children, taken: Cell::new(false) }
    }

    /// Takes it, without its words and children.
    pub fn take(&self) -> &Self {
        self.taken.set(true);
        self
    }

    /// Takes it with everything in it.
    pub fn take_whole(&self) -> &Self {
        self.take();
        self.words.iter().for_each(|word| word.taken.set(true));
        self.children.iter().for_each(|child| child.set_aside());
        self
    }

    /// Takes it with everything in it, because nothing of it is needed.
    pub fn set_aside(&self) {
        let _ = self.take_whole();
    }

    /// Gives it back with everything in it: it will be told.
    pub fn give_back(&self) {
        self.taken.set(false);
    }

    /// Whether somebody has taken it.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.taken.get()
    }

    /// The place of everything in it.
    #[must_use]
    pub fn whole(&self) -> Place {
        Place { until: last(self), ..self.place.clone() }
    }

    /// Takes the first child of that name; names are compared without case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name.eq_ignore_ascii_case(name)).map(Self::take)
    }

    /// Looks at the first child of that name, and takes nothing.
    #[must_use]
    pub fn peek(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name.eq_ignore_ascii_case(name))
    }

    /// Takes every child of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name.eq_ignore_ascii_case(name)).map(Self::take)
    }

    /// Takes the child of that name with everything in it, and answers its first word.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.word(0)
    }

    /// Takes a word.
    #[must_use]
    pub fn word(&self, index: usize) -> Option<&str> {
        let word = self.words.get(index)?;
        word.taken.set(true);
        Some(&word.text)
    }

    /// Takes all words.
    #[must_use]
    pub fn words(&self) -> Vec<&str> {
        self.words.iter().for_each(|word| word.taken.set(true));
        self.words.iter().map(|word| word.text.as_str()).collect()
    }

    /// Looks at the words, and takes none.
    #[must_use]
    pub fn seen(&self) -> Vec<&str> {
        self.words.iter().map(|word| word.text.as_str()).collect()
    }

    /// The name, where it may tell that a word is a secret.
    fn telling(&self) -> &str {
        if OPEN.contains(&self.name.as_str()) { "" } else { &self.name }
    }

    /// The name with its words, without what looks like a secret; never long.
    #[must_use]
    pub fn shown(&self) -> String {
        const LONGEST: usize = 72;
        let mut shown = self.name.clone();
        for word in &self.words {
            let hidden = is_secret(self.telling(), &word.text);
            shown.push(' ');
            shown.push_str(if hidden { "***" } else { &word.text });
        }
        let shown = shown.replace(['\n', '\r'], " ");
        match shown.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &shown[..end]),
            None => shown,
        }
    }
}

/// How a place in the tree is called: `http.routers.shop` or `server > location /`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// By keys with dots between them.
    Keys,
    /// By directives with their words.
    Directives,
}

/// What nobody took. `advice` says what to do about it, by the names that lead there.
#[must_use]
pub fn untaken(root: &Node, naming: Naming, advice: &dyn Fn(&[&str]) -> String) -> Vec<Note> {
    let mut notes = Vec::new();
    for child in &root.children {
        walk(child, naming, advice, &mut Vec::new(), &mut notes);
    }
    notes
}

fn walk<'a>(
    node: &'a Node,
    naming: Naming,
    advice: &dyn Fn(&[&str]) -> String,
    above: &mut Vec<&'a Node>,
    notes: &mut Vec<Note>,
) {
    above.push(node);
    let names: Vec<&str> = above.iter().map(|node| node.name.as_str()).collect();
    let what = || match naming {
        Naming::Keys => names.join("."),
        Naming::Directives => {
            let near = above[above.len().saturating_sub(2)..].iter().map(|node| node.shown());
            near.filter(|shown| !shown.is_empty()).collect::<Vec<_>>().join(" > ")
        }
    };
    if !node.is_taken() {
        let below = node.children.iter().map(|child| child.name.as_str());
        let inside: Vec<&str> = below.filter(|name| !name.is_empty()).collect();
        let inside = if inside.is_empty() { String::new() } else { format!(" (with {})", inside.join(", ")) };
        notes.push(Note::left(&node.whole(), format!("{}{inside}", what()), advice(&names)));
    } else {
        let unread: Vec<&str> =
            node.words.iter().filter(|word| !word.taken.get()).map(|word| word.text.as_str()).collect();
        if !unread.is_empty() {
            let suggestion = format!("not understood here: {}; look whether it matters", told(node, &unread));
            notes.push(Note::left(&node.place, what(), suggestion));
        }
        node.children.iter().for_each(|child| walk(child, naming, advice, above, notes));
    }
    above.pop();
}

fn told(node: &Node, words: &[&str]) -> String {
    let hide =
        |word: &&str| if is_secret(node.telling(), word) { "***".to_owned() } else { format!("`{word}`") };
    words.iter().map(hide).collect::<Vec<_>>().join(", ")
}

fn last(node: &Node) -> usize {
    let below = node.children.iter().filter(|child| child.place.file == node.place.file).map(last).max();
    below.unwrap_or(0).max(node.place.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_takes_is_told_with_its_line() {
        let file: Arc<str> = "x.conf".into();
        let node = |line, name: &str, words: &[&str], children| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            Node::new(Place::new(&file, line), name, words, children)
        };
        let inner = node(4, "c", &["deep"], Vec::new());
        let root = node(
            0,
            "",
            &[],
            vec![
                node(1, "a", &["1", "2"], vec![node(2, "b", &[], Vec::new())]),
                node(3, "odd", &[], vec![inner]),
                node(5, "d", &["x"], Vec::new()),
            ],
        );
        let a = root.get("A").expect("a");
        assert_eq!(a.word(0), Some("1"));
        root.get("d").expect("d").take_whole();
        let notes = untaken(&root, Naming::Keys, &|names| format!("advice for {}", names.join("/")));
        let told: Vec<(usize, usize, &str)> =
            notes.iter().map(|note| (note.line, note.until, note.what.as_str())).collect();
        assert_eq!(told, [(1, 1, "a"), (2, 2, "a.b"), (3, 4, "odd (with c)")]);
        assert!(notes[0].suggestion.contains("`2`") && notes[1].suggestion == "advice for a/b");
    }
}
