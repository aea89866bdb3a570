//! YAML text turned into nodes: the only file that knows the YAML crate.
//!
//! It works on the parser's events instead of serde, because a scalar must keep its exact text and its
//! place. Duplicate keys are collected, a syntax error ends the file. Aliases are copied, each copy counted
//! against [`MAX_NODES`], so a file costs at most what it may have.

use std::collections::HashMap;
use std::sync::Arc;

use serde_yaml::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag};

use crate::node::{Key, MAX_NODES, Node, Origin, Value};
use crate::problem::{Problem, printable, quoted};

/// The deepest nesting of lists and sections; the configuration itself needs seven levels.
const MAX_DEPTH: usize = 40;

/// A long text counts as one node more for every so many bytes, so that copies of it are bounded too.
const BYTES_PER_NODE: usize = 1024;

/// Reads the one document of a text. A text without a value is `None`.
///
/// `origin` makes the origin of a place from its line and column.
pub(crate) fn parse(
    text: &str,
    origin: &dyn Fn(usize, usize) -> Origin,
    problems: &mut Vec<Problem>,
) -> Option<Node> {
    read(text, origin, problems, false)
}

/// Reads a file of Docker Compose, whose tags say how files are merged: what is tagged `!reset` is not there, and
/// `!override` stands for its value.
pub(crate) fn parse_compose(
    text: &str,
    origin: &dyn Fn(usize, usize) -> Origin,
    problems: &mut Vec<Problem>,
) -> Option<Node> {
    read(text, origin, problems, true)
}

fn read(
    text: &str,
    origin: &dyn Fn(usize, usize) -> Origin,
    problems: &mut Vec<Problem>,
    compose: bool,
) -> Option<Node> {
    let options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        emit_comments: false,
    };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut composer = Composer {
        parser,
        origin,
        problems,
        anchors: HashMap::new(),
        nodes: 0,
        path: String::new(),
        compose,
    };
    match composer.document() {
        Ok(node) => node,
        Err(problem) => {
            composer.problems.push(*problem);
            None
        }
    }
}

/// The file cannot be read any further.
type Fatal = Box<Problem>;

struct Composer<'a, 'p, P> {
    parser: P,
    origin: &'a dyn Fn(usize, usize) -> Origin,
    problems: &'p mut Vec<Problem>,
    /// The nodes that aliases may repeat, with how many nodes each holds.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    /// The path of the key that is being read.
    path: String,
    /// Whether the tags of Compose mean something.
    compose: bool,
}

impl<'input, P> Composer<'_, '_, P>
where
    P: Iterator<Item = Result<(Event<'input>, Span), ScanError>>,
{
    #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's kinds are open-ended")]
    fn document(&mut self) -> Result<Option<Node>, Fatal> {
        let mut root = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd | Event::StreamEnd => {}
                event if root.is_none() => root = Some(self.node(event, &span)?),
                _ => {
                    let hint = "remove the `---` line and what follows it";
                    return Err(self.fatal(&span, "the file holds a second document", hint));
                }
            }
        }
        Ok(root)
    }

    fn next(&mut self) -> Result<Option<(Event<'input>, Span)>, Fatal> {
        match self.parser.next() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => {
                let mark = error.marker();
                let origin = (self.origin)(mark.line().max(1), mark.col() + 1);
                let message = format!("this is not YAML: {}", plain_words(&error));
                Err(Box::new(Problem::at(&origin, &self.path, message, syntax_hint(error.kind()))))
            }
        }
    }

    /// The next event of a list or section that has been opened; its end is guaranteed by the parser.
    fn inside(&mut self, open: &Span) -> Result<(Event<'input>, Span), Fatal> {
        match self.next()? {
            Some(event) => Ok(event),
            None => Err(self.fatal(open, "this never ends", "close it")),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's kinds are open-ended")]
    fn node(&mut self, event: Event<'input>, span: &Span) -> Result<Node, Fatal> {
        let before = self.nodes;
        let bulk = event.scalar().map_or(0, |(text, _)| text.len() / BYTES_PER_NODE);
        self.count(1 + bulk, span)?;
        let anchor = event.anchor_id();
        let origin = self.place(span);
        let value = match event {
            Event::Scalar(text, style, _, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                let text_tag = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain && !text_tag }
            }
            Event::SequenceStart(_, _, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                self.sequence(span)?
            }
            Event::MappingStart(_, _, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                self.mapping(span)?
            }
            Event::Alias(id) => return self.alias(id, span),
            _ => return Err(self.fatal(span, "a value is missing here", "")),
        };
        let mut node = Node::new(value, origin);
        node.last_line = span.end.line().max(node.last_line);
        if let Some(id) = anchor {
            self.anchors.insert(id, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, span: &Span) -> Result<Node, Fatal> {
        let Some((node, size)) = self.anchors.get(&id) else {
            return Err(self.fatal(span, "this alias stands inside its own anchor", "write the value out"));
        };
        let (node, size) = (node.clone(), *size);
        self.count(size, span)?;
        Ok(node)
    }

    fn sequence(&mut self, open: &Span) -> Result<Value, Fatal> {
        let mut items = Vec::new();
        loop {
            match self.inside(open)? {
                (Event::SequenceEnd, _) => return Ok(Value::Sequence(items)),
                (event, span) => {
                    let whole = self.path.len();
                    let reset = self.is_reset(&event);
                    self.path.push_str(&format!("[{}]", items.len()));
                    let node = self.node(event, &span)?;
                    if !reset {
                        items.push(node);
                    }
                    self.path.truncate(whole);
                }
            }
        }
    }

    fn mapping(&mut self, open: &Span) -> Result<Value, Fatal> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen: HashMap<String, Origin> = HashMap::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.inside(open)?;
            if event == Event::MappingEnd {
                break;
            }
            let merge = matches!(event.scalar(), Some(("<<", ScalarStyle::Plain)));
            let key = self.key(event, &span)?;
            let whole = self.path.len();
            self.enter(&key.text);
            let (event, span) = self.inside(open)?;
            let reset = self.is_reset(&event);
            let node = self.node(event, &span)?;
            if merge {
                self.merge(node, &mut merged);
            } else if let Some(first) = seen.get(&key.text) {
                let message = format!("the key {} stands twice in this section", quoted(&key.text));
                let hint = format!("it stands already at {first}; keep one of the two");
                self.problems.push(Problem::at(&key.origin, &self.path, message, hint));
            } else {
                seen.insert(key.text.clone(), key.origin.clone());
                if !reset {
                    entries.push((key, node));
                }
            }
            self.path.truncate(whole);
        }
        for (key, node) in merged {
            if seen.insert(key.text.clone(), key.origin.clone()).is_none() {
                entries.push((key, node));
            }
        }
        Ok(Value::Mapping(entries))
    }

    fn enter(&mut self, key: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.extend(key.chars().take(80).map(printable));
    }

    fn key(&mut self, event: Event<'input>, span: &Span) -> Result<Key, Fatal> {
        match self.node(event, span)? {
            Node { value: Value::Scalar { text, .. }, .. } => Ok(Key { text, origin: self.place(span) }),
            _ => {
                let hint = "quote a text that begins with `[`, `{` or `*`, and one with `${…}`";
                Err(self.fatal(span, "a key must be a text", hint))
            }
        }
    }

    /// The entries of a merge key: of one section, or of a list of sections, the earlier stronger.
    fn merge(&mut self, node: Node, merged: &mut Vec<(Key, Node)>) {
        for source in node.items() {
            match &source.value {
                Value::Mapping(entries) => merged.extend(entries.iter().cloned()),
                Value::Scalar { .. } | Value::Sequence(_) => self.problems.push(Problem::at(
                    &source.origin,
                    &self.path,
                    format!("`<<` takes a section, and this is {}", source.kind()),
                    "name an anchored section, for example `<<: *defaults`",
                )),
            }
        }
    }

    /// Whether Compose takes a value for one that is not there.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's kinds are open-ended")]
    fn is_reset(&self, event: &Event<'_>) -> bool {
        let tag = match event {
            Event::Scalar(_, _, _, tag)
            | Event::SequenceStart(_, _, tag)
            | Event::MappingStart(_, _, tag) => tag,
            _ => return false,
        };
        self.compose && tag.as_deref().is_some_and(|tag| tag.original() == "!reset")
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, span: &Span) {
        let known = |tag: &Tag| self.compose && ["!reset", "!override"].contains(&tag.original().as_ref());
        if let Some(tag) = tag.filter(|tag| tag.is_custom() && tag.original() != "!" && !known(tag)) {
            let message = format!("the tag {} means nothing here", quoted(&tag.original()));
            self.problems.push(Problem::at(&self.place(span), &self.path, message, "remove the tag"));
        }
    }

    fn count(&mut self, more: usize, span: &Span) -> Result<(), Fatal> {
        self.nodes += more;
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        let message = format!("there are more than {MAX_NODES} values up to here, aliases counted");
        Err(self.fatal(span, message, "make the file smaller, or use fewer aliases"))
    }

    fn place(&self, span: &Span) -> Origin {
        (self.origin)(span.start.line().max(1), span.start.col() + 1)
    }

    fn fatal(&self, span: &Span, message: impl Into<String>, hint: &str) -> Fatal {
        Box::new(Problem::at(&self.place(span), &self.path, message, hint))
    }
}

/// The parser's sentence where it is clear, a clearer one where it is not.
#[expect(clippy::wildcard_enum_match_arm, reason = "the parser's kinds are open-ended")]
fn plain_words(error: &ScanError) -> String {
    match error.kind() {
        ErrorKind::TabInIndentation | ErrorKind::TabInBlockIndentation | ErrorKind::TabNotAllowed => {
            "a tab stands where only blanks may".into()
        }
        ErrorKind::UnknownAnchor => "this alias has no anchor before it".into(),
        ErrorKind::UnclosedQuotedScalar => "this quote is never closed".into(),
        ErrorKind::InvalidIndentation | ErrorKind::ExpectedBlockMappingKey => {
            "the indentation fits no section above".into()
        }
        ErrorKind::InvalidQuotedScalarIndent => "a quote above is never closed".into(),
        ErrorKind::InvalidColonPlacement => "a `:` stands where none can".into(),
        ErrorKind::RecursionLimitExceeded => format!("it is nested deeper than {MAX_DEPTH} levels"),
        ErrorKind::UnexpectedEof => "the file ends in the middle of a value".into(),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            "a `:` is missing after this key".into()
        }
        _ => error.info(),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the parser's kinds are open-ended")]
fn syntax_hint(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::TabInIndentation | ErrorKind::TabInBlockIndentation | ErrorKind::TabNotAllowed => {
            "indent with blanks; YAML forbids tabs"
        }
        ErrorKind::UnknownAnchor => "quote a text that begins with `*`, for example \"*.example.com\"",
        ErrorKind::InvalidIndentation | ErrorKind::ExpectedBlockMappingKey => {
            "indent the keys of one section by the same number of blanks"
        }
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => "write `key: value`",
        ErrorKind::InvalidColonPlacement
        | ErrorKind::InvalidQuotedScalarIndent
        | ErrorKind::UnclosedQuotedScalar
        | ErrorKind::UnclosedFlowCollection { .. } => "close the bracket or the quote that is open here",
        ErrorKind::RecursionLimitExceeded => "the configuration itself needs seven levels",
        _ => "quote texts with special characters, and compare the indentation with the lines above",
    }
}

/// An origin maker for a file.
pub(crate) fn in_file(file: &Arc<str>) -> impl Fn(usize, usize) -> Origin {
    let file = Arc::clone(file);
    move |line, column| Origin::File { file: Arc::clone(&file), line, column }
}
