//! nginx's own syntax as a tree: words, quotes, escapes, comments, blocks, and files that are included. Pure, but for the shelf.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::import::Unreadable;
use crate::import::note::Note;
use crate::import::shelf::Shelf;
use crate::import::tree::{Node, Place};
use crate::import::variables::{Variables, envsubst};

/// How deep blocks and included files may lie in each other.
const MAX_DEPTH: usize = 16;

/// How many directives a configuration may have.
const MAX_NODES: usize = 50_000;

/// How files are called that `envsubst` fills in before nginx reads them.
const TEMPLATES: [&str; 3] = ["template", "tmpl", "tpl"];

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
    End,
}

struct Lexer<'a> {
    file: &'a str,
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    column: usize,
}

impl Lexer<'_> {
    fn bump(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn wrong(&self, message: impl Into<String>) -> Unreadable {
        Unreadable {
            file: self.file.to_owned(),
            line: Some(self.line),
            column: Some(self.column),
            message: message.into(),
        }
    }

    /// The next token with its line; none at the end.
    fn token(&mut self) -> Result<Option<(usize, Token)>, Unreadable> {
        loop {
            match self.rest.peek() {
                None => return Ok(None),
                Some(c) if c.is_whitespace() => drop(self.bump()),
                Some('#') => {
                    while self.rest.peek().is_some_and(|c| *c != '\n') {
                        self.bump();
                    }
                }
                Some(_) => break,
            }
        }
        let line = self.line;
        let token = match self.rest.peek() {
            Some('{') => Token::Open,
            Some('}') => Token::Close,
            Some(';') => Token::End,
            Some(quote @ ('"' | '\'')) => {
                let quote = *quote;
                self.bump();
                return Ok(Some((line, Token::Word(self.quoted(quote)?))));
            }
            Some(_) | None => return Ok(Some((line, Token::Word(self.bare())))),
        };
        self.bump();
        Ok(Some((line, token)))
    }

    fn quoted(&mut self, quote: char) -> Result<String, Unreadable> {
        let mut text = String::new();
        loop {
            match self.bump() {
                None => return Err(self.wrong("a quote is never closed")),
                Some('\\') => match self.bump() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(c @ ('"' | '\'' | '\\')) => text.push(c),
                    Some(c) => text.extend(['\\', c]),
                    None => return Err(self.wrong("a quote is never closed")),
                },
                Some(c) if c == quote => return Ok(text),
                Some(c) => text.push(c),
            }
        }
    }

    fn bare(&mut self) -> String {
        let mut text = String::new();
        while let Some(c) = self.rest.peek().copied() {
            if c.is_whitespace() || c == ';' || c == '{' && !text.ends_with('$') {
                break;
            }
            self.bump();
            text.push(c);
            if c == '{' {
                // `${name}` is one word with what is around it.
                while let Some(c) = self.rest.peek().copied().filter(|c| !c.is_whitespace() && *c != ';') {
                    self.bump();
                    text.push(c);
                    if c == '}' {
                        break;
                    }
                }
            }
            if c == '\\' {
                text.extend(self.bump());
            }
        }
        text
    }

    /// What stands in a block of another language.
    fn raw(&mut self) -> Result<(), Unreadable> {
        let mut open = 1_usize;
        while open > 0 {
            match self.bump() {
                None => return Err(self.wrong("a block is never closed")),
                Some('{') => open += 1,
                Some('}') => open -= 1,
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// Reads files with everything that they include.
pub(super) struct Reader<'a> {
    pub(super) shelf: &'a Shelf,
    /// Where relative includes are looked for.
    pub(super) folder: PathBuf,
    pub(super) notes: Vec<Note>,
    pub(super) nodes: usize,
}

impl Reader<'_> {
    /// The directives of a file.
    pub(super) fn file(&mut self, path: &Path, depth: usize) -> Result<Vec<Node>, Unreadable> {
        let shown = path.display().to_string();
        let text = self.shelf.text(path).map_err(|why| Unreadable::file(shown.clone(), why))?;
        // Elsewhere capitals are a variable of nginx that somebody has set.
        let is_template = path.extension().is_some_and(|end| TEMPLATES.iter().any(|known| end == *known));
        let text = if is_template {
            Variables::beside(path, self.shelf).fill(&text, &shown, envsubst, &mut self.notes)
        } else {
            text
        };
        self.text(&shown, &text, depth)
    }

    fn text(&mut self, shown: &str, text: &str, depth: usize) -> Result<Vec<Node>, Unreadable> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lexer = Lexer { file: shown, rest: text.chars().peekable(), line: 1, column: 1 };
        self.block(&mut lexer, &Arc::from(shown), depth, false)
    }

    fn block(
        &mut self,
        lexer: &mut Lexer<'_>,
        file: &Arc<str>,
        depth: usize,
        inside: bool,
    ) -> Result<Vec<Node>, Unreadable> {
        if depth > MAX_DEPTH {
            return Err(lexer.wrong("blocks and included files lie too deep in each other"));
        }
        let mut nodes = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut begun = lexer.line;
        loop {
            let Some((line, token)) = lexer.token()? else {
                return match (words.is_empty(), inside) {
                    (true, false) => Ok(nodes),
                    (true, true) => Err(lexer.wrong("a block is never closed; a `}` is missing")),
                    (false, _) => Err(lexer.wrong(format!("`{}` is not ended by a `;`", words[0]))),
                };
            };
            if words.is_empty() {
                begun = line;
            }
            match token {
                Token::Word(word) => words.push(word),
                Token::Close if inside && words.is_empty() => return Ok(nodes),
                Token::Close if words.is_empty() => return Err(lexer.wrong("a `}` closes nothing")),
                Token::Close => return Err(lexer.wrong(format!("`{}` is not ended by a `;`", words[0]))),
                Token::End | Token::Open if words.is_empty() => {
                    return Err(lexer.wrong("a directive has no name"));
                }
                Token::End => {
                    let node = self.node(file, begun, std::mem::take(&mut words), Vec::new(), lexer)?;
                    nodes.append(&mut self.included(node, depth)?);
                }
                Token::Open if words[0].ends_with("_by_lua_block") => {
                    lexer.raw()?;
                    nodes.push(self.node(file, begun, std::mem::take(&mut words), Vec::new(), lexer)?);
                }
                Token::Open => {
                    let taken = std::mem::take(&mut words);
                    let below = self.block(lexer, file, depth + 1, true)?;
                    nodes.push(self.node(file, begun, taken, below, lexer)?);
                }
            }
        }
    }

    fn node(
        &mut self,
        file: &Arc<str>,
        line: usize,
        mut words: Vec<String>,
        children: Vec<Node>,
        lexer: &Lexer<'_>,
    ) -> Result<Node, Unreadable> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(lexer.wrong("there are too many directives"));
        }
        let name = words.remove(0);
        Ok(Node::new(Place::new(file, line), &name, words, children))
    }

    /// The directive, or what stands in the files that it includes.
    fn included(&mut self, node: Node, depth: usize) -> Result<Vec<Node>, Unreadable> {
        if node.name != "include" {
            return Ok(vec![node]);
        }
        let pattern = self.folder.join(node.word(0).unwrap_or_default());
        let many = pattern.to_string_lossy().contains(['*', '?']);
        let mut found = self.shelf.matching(&pattern);
        if let (true, Some(above)) = (found.is_empty(), self.folder.parent()) {
            // A file of sites-enabled names its includes from the folder above.
            found = self.shelf.matching(&above.join(node.word(0).unwrap_or_default()));
        }
        if found.is_empty() && !many {
            let file =
                pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            // Types belong to files that are served, parameters to other protocols.
            if !["mime.types", "fastcgi_params", "uwsgi_params", "scgi_params", "fastcgi.conf"]
                .contains(&file.as_str())
            {
                let suggestion =
                    "this file is not here, so what it holds is not known; run the import where it is";
                self.notes.push(Note::left(&node.place, node.shown(), suggestion));
                // It is told, and stays where it is: it may hold what keeps somebody out.
                return Ok(vec![node.take_whole().clone()]);
            }
        }
        let mut nodes = Vec::new();
        for file in found {
            if file.file_name().is_some_and(|name| name == "mime.types") {
                continue;
            }
            nodes.append(&mut self.file(&file, depth + 1)?);
        }
        Ok(nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Node>, Unreadable> {
        let shelf = Shelf::at("/nonexistent");
        let mut reader = Reader { shelf: &shelf, folder: PathBuf::new(), notes: Vec::new(), nodes: 0 };
        reader.text("nginx.conf", text, 0)
    }

    #[test]
    fn words_quotes_comments_and_blocks_are_read() {
        let text = "# x\nserver { # y\n  a 'b c' \"d\\\"e\" f\\ g;\n  b ${host}x$uri;\n  location ~ \\.php$ { c; }\n}\n\
                    content_by_lua_block { if x then { y } end; }\nz;";
        let nodes = read(text).expect("good");
        let names: Vec<(usize, &str)> =
            nodes.iter().map(|node| (node.place.line, node.name.as_str())).collect();
        assert_eq!(names, [(2, "server"), (7, "content_by_lua_block"), (8, "z")]);
        let server = &nodes[0];
        assert_eq!(server.children[0].seen(), ["b c", "d\"e", "f\\ g"]);
        assert_eq!(server.children[1].seen(), ["${host}x$uri"]);
        assert_eq!((server.children[2].seen(), server.children[2].place.line), (vec!["~", "\\.php$"], 5));
    }

    #[test]
    fn a_mistake_has_its_line_and_column() {
        for (text, line, column, message) in [
            ("a b", 1, 4, "not ended"),
            ("server {\n a;\n", 3, 1, "never closed"),
            ("a;\n}", 2, 2, "closes nothing"),
            ("a 'b\n", 2, 1, "quote"),
            ("a;\n;", 2, 2, "no name"),
        ] {
            let wrong = read(text).expect_err(text);
            assert_eq!((wrong.line, wrong.column), (Some(line), Some(column)), "{wrong}");
            assert!(wrong.to_string().contains(message), "{wrong}");
        }
        let deep = "a {".repeat(100);
        assert!(read(&deep).expect_err("deep").message.contains("too deep"));
    }
}
