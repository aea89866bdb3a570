//! The Caddyfile's syntax as a tree: lines of words, blocks, quotes, heredocs. Pure.

use std::sync::Arc;

use crate::import::Unreadable;
use crate::import::tree::{Node, Place};

/// How deep blocks may lie in each other.
const MAX_DEPTH: usize = 32;

#[derive(Debug)]
struct Token {
    line: usize,
    /// The line it ends at.
    end: usize,
    column: usize,
    text: String,
    quoted: bool,
}

/// The lines of a file. Site blocks have their addresses as name and words; the global options have no name.
pub(super) fn read(shown: &str, text: &str) -> Result<Vec<Node>, Unreadable> {
    let file: Arc<str> = Arc::from(shown);
    let tokens = tokens(&file, text)?;
    let mut parser = Parser { file, tokens: tokens.into_iter().peekable() };
    parser.block(0)
}

fn wrong(file: &Arc<str>, line: usize, column: usize, message: &str) -> Unreadable {
    Unreadable { file: file.to_string(), line: Some(line), column: Some(column), message: message.to_owned() }
}

fn tokens(file: &Arc<str>, text: &str) -> Result<Vec<Token>, Unreadable> {
    let text = text.replace("\r\n", "\n").replace("\\\n", " \u{1}");
    let mut tokens: Vec<Token> = Vec::new();
    let mut chars = text.chars().peekable();
    let (mut line, mut column) = (1, 1);
    let mut joined = 0;
    while let Some(c) = chars.next() {
        let start = (line, column);
        column += 1;
        match c {
            '\n' => {
                line += 1 + std::mem::take(&mut joined);
                column = 1;
            }
            // A line that goes on.
            '\u{1}' => joined += 1,
            c if c.is_whitespace() => {}
            '#' => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    chars.next();
                }
            }
            '"' | '`' => {
                let (word, lines) = quoted(&mut chars, c)
                    .ok_or_else(|| wrong(file, start.0, start.1, "a quote is never closed"))?;
                line += lines;
                tokens.push(Token { line: start.0, end: line, column: start.1, text: word, quoted: true });
            }
            first => {
                let mut word = String::from(first);
                while let Some(c) = chars.peek().copied().filter(|c| !c.is_whitespace() && *c != '\u{1}') {
                    chars.next();
                    column += 1;
                    word.push(c);
                }
                if let Some(mark) = word.strip_prefix("<<").filter(|mark| !mark.is_empty()) {
                    let (body, lines) = heredoc(&mut chars, mark)
                        .ok_or_else(|| wrong(file, start.0, start.1, "a heredoc is never closed"))?;
                    line += lines;
                    tokens.push(Token {
                        line: start.0,
                        end: line,
                        column: start.1,
                        text: body,
                        quoted: true,
                    });
                } else {
                    tokens.push(Token {
                        line: start.0,
                        end: line,
                        column: start.1,
                        text: word,
                        quoted: false,
                    });
                }
            }
        }
    }
    Ok(tokens)
}

/// The text up to the quote that closes it, and how many lines it took.
fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, quote: char) -> Option<(String, usize)> {
    let mut word = String::new();
    loop {
        match chars.next()? {
            '\\' if quote == '"' && chars.peek() == Some(&'"') => word.extend(chars.next()),
            end if end == quote => break,
            other => word.push(other),
        }
    }
    let lines = word.matches('\n').count();
    Some((word, lines))
}

/// The text up to the line that holds the mark, and how many lines it took.
fn heredoc(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, mark: &str) -> Option<(String, usize)> {
    let mut lines: Vec<String> = Vec::new();
    let mut current = String::new();
    chars.next_if_eq(&'\n')?;
    loop {
        if current.trim() == mark && chars.peek().is_none_or(|c| c.is_whitespace()) {
            let indent = current.len() - current.trim_start().len();
            let cut = |line: &String| line.get(indent..).unwrap_or_else(|| line.trim_start()).to_owned();
            let count = lines.len() + 1;
            return Some((lines.iter().map(cut).collect::<Vec<_>>().join("\n"), count));
        }
        match chars.next()? {
            '\n' => lines.push(std::mem::take(&mut current)),
            c => current.push(c),
        }
    }
}

struct Parser {
    file: Arc<str>,
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn block(&mut self, depth: usize) -> Result<Vec<Node>, Unreadable> {
        let mut nodes = Vec::new();
        loop {
            let Some(token) = self.tokens.next() else {
                return if depth == 0 {
                    Ok(nodes)
                } else {
                    Err(wrong(&self.file, 0, 1, "a block is never closed; a `}` is missing"))
                };
            };
            if token.text == "}" && !token.quoted {
                if depth == 0 {
                    return Err(wrong(&self.file, token.line, token.column, "a `}` closes nothing"));
                }
                return Ok(nodes);
            }
            if depth > MAX_DEPTH {
                return Err(wrong(&self.file, token.line, token.column, "blocks lie too deep in each other"));
            }
            nodes.push(self.line(token, depth)?);
        }
    }

    fn line(&mut self, first: Token, depth: usize) -> Result<Node, Unreadable> {
        let place = Place::new(&self.file, first.line);
        let mut line = first.end;
        let opens = |token: &Token| token.text == "{" && !token.quoted;
        if opens(&first) {
            let below = self.block(depth + 1)?;
            return Ok(Node::new(place, "", Vec::new(), below));
        }
        let mut words = Vec::new();
        let mut goes_on = depth == 0 && first.text.ends_with(',');
        while let Some(token) = self.tokens.peek() {
            // Addresses of a site may go on after a comma.
            if token.line != line && !goes_on || token.text == "}" && !token.quoted {
                break;
            }
            let Some(token) = self.tokens.next() else { break };
            if opens(&token) {
                let begun = token.line;
                let below = self.block(depth + 1).map_err(|error| Unreadable {
                    line: error.line.map(|line| if line == 0 { begun } else { line }),
                    ..error
                })?;
                return Ok(Node::new(place, &first.text, words, below));
            }
            line = token.end;
            goes_on = depth == 0 && token.text.ends_with(',');
            words.push(token.text);
        }
        Ok(Node::new(place, &first.text, words, Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_blocks_quotes_and_heredocs_are_read() {
        let text = "{\n  email a@b.example\n}\na.example,\nb.example {\n  respond \"hi \\\"you\\\"\" 200 # x\n  \
                    respond <<END\n    one\n      two\n    END 404\n  a \\\n    b\n  c\n}\n";
        let nodes = read("Caddyfile", text).expect("good");
        assert_eq!((nodes[0].name.as_str(), nodes[0].children[0].seen()), ("", vec!["a@b.example"]));
        assert_eq!((nodes[1].name.as_str(), nodes[1].seen()), ("a.example,", vec!["b.example"]));
        let site = &nodes[1].children;
        assert_eq!((site[0].seen(), site[0].place.line), (vec!["hi \"you\"", "200"], 6));
        assert_eq!(site[1].seen(), ["one\n  two", "404"]);
        assert_eq!((site[2].seen(), site[3].name.as_str(), site[3].place.line), (vec!["b"], "c", 13));
    }

    #[test]
    fn a_mistake_has_its_line() {
        for (text, line, message) in [
            ("a {\n b\n", 1, "never closed"),
            ("a\n}\n", 2, "closes nothing"),
            ("a \"b\n", 1, "quote"),
            ("a <<X\nb\n", 1, "heredoc"),
        ] {
            let error = read("Caddyfile", text).expect_err(text);
            assert!(error.line == Some(line) && error.message.contains(message), "{text}: {error}");
        }
    }
}
