//! `import`: snippets of the same file and other files stand where they are named, with their arguments.

use std::path::Path;

use crate::import::Unreadable;
use crate::import::note::Note;
use crate::import::shelf::Shelf;
use crate::import::tree::Node;

/// How deep imports may lie in each other.
const MAX_DEPTH: usize = 16;

/// How many directives imports may make.
const MAX_NODES: usize = 50_000;

struct Expansion<'a> {
    snippets: Vec<Node>,
    folder: &'a Path,
    shelf: &'a Shelf,
    notes: &'a mut Vec<Note>,
    nodes: usize,
}

/// The lines with everything that they import; snippets themselves are gone.
pub(super) fn expanded(
    nodes: Vec<Node>,
    folder: &Path,
    shelf: &Shelf,
    notes: &mut Vec<Note>,
) -> Result<Vec<Node>, Unreadable> {
    let (snippets, rest): (Vec<Node>, Vec<Node>) =
        nodes.into_iter().partition(|node| node.name.starts_with('(') && node.name.ends_with(')'));
    let mut expansion = Expansion { snippets, folder, shelf, notes, nodes: 0 };
    let mut out = Vec::new();
    for node in rest {
        out.extend(expansion.node(&node, &[], 0)?);
    }
    // What is not there is told, and no site.
    out.retain(|node| node.name != "import");
    Ok(out)
}

impl Expansion<'_> {
    fn node(&mut self, node: &Node, arguments: &[String], depth: usize) -> Result<Vec<Node>, Unreadable> {
        self.nodes += 1;
        let words: Vec<String> = node.seen().iter().map(|word| filled(word, arguments)).collect();
        let wrong = |message: &str| Unreadable {
            file: node.place.file.to_string(),
            line: Some(node.place.line),
            column: None,
            message: message.to_owned(),
        };
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(wrong("imports lie too deep in each other, or make too much"));
        }
        if node.name != "import" {
            let mut children = Vec::new();
            for child in &node.children {
                children.extend(self.node(child, arguments, depth)?);
            }
            return Ok(vec![Node::new(node.place.clone(), &filled(&node.name, arguments), words, children)]);
        }
        let Some((name, given)) = words.split_first() else { return Err(wrong("`import` names nothing")) };
        let snippet =
            self.snippets.iter().find(|snippet| snippet.name.trim_matches(['(', ')']) == name).cloned();
        let mut found: Vec<Node> = Vec::new();
        match snippet {
            Some(snippet) => found.extend(snippet.children),
            None => {
                let files = self.shelf.matching(&self.folder.join(name));
                if files.is_empty() && !name.contains('*') {
                    let suggestion =
                        "there is no snippet or file of this name here, so what it holds is not known";
                    self.notes.push(Note::left(&node.place, node.shown(), suggestion));
                    // It stays where it is: it may hold what keeps somebody out.
                    return Ok(vec![node.take_whole().clone()]);
                }
                for file in files {
                    let read = super::lines(&file, self.shelf, self.notes)?;
                    let (snippets, rest): (Vec<Node>, Vec<Node>) = read
                        .into_iter()
                        .partition(|node| node.name.starts_with('(') && node.name.ends_with(')'));
                    self.snippets.extend(snippets);
                    found.extend(rest);
                }
            }
        }
        let mut out = Vec::new();
        for child in found {
            out.extend(self.node(&child, given, depth + 1)?);
        }
        Ok(out)
    }
}

/// `{args[0]}`, and `{args.0}` of before.
fn filled(text: &str, arguments: &[String]) -> String {
    let mut text = text.to_owned();
    for (index, argument) in arguments.iter().enumerate() {
        text = text
            .replace(&format!("{{args[{index}]}}"), argument)
            .replace(&format!("{{args.{index}}}"), argument);
    }
    text
}
