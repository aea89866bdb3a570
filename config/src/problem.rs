//! What is wrong with a configuration: every problem of a run, each with its place and a way out.
//!
//! A report never holds the value of a secret: the lines it quotes are masked before they are kept.
//! Made by [`crate::load()`], printed by both programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::node::Origin;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, `environment variable NAME` or `secret NAME`; empty when no place is to blame.
    pub file: String,
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// The column, counted in characters from 1.
    pub column: Option<usize>,
    /// The path of the key, such as `apps.shop.slots.blue[0]`; empty for the whole file.
    pub key: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it; empty when the message says it.
    pub hint: String,
}

impl Problem {
    /// A problem at a place.
    pub(crate) fn at(
        origin: &Origin,
        key: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            file: origin.source(),
            line: origin.line(),
            column: origin.column(),
            key: key.to_owned(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A problem of a whole file, or of none when `file` is empty.
    pub(crate) fn of(file: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            column: None,
            key: String::new(),
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// The lines of the files that were read, for quoting; lines with secrets are masked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quotes(BTreeMap<String, Vec<Option<String>>>);

impl Quotes {
    /// Keeps the lines of a file; a line that is `None` is never quoted.
    pub(crate) fn keep(&mut self, file: &str, lines: Vec<Option<String>>) {
        self.0.insert(file.to_owned(), lines);
    }

    /// Forbids to quote the lines from `first` to `last` of a file.
    pub(crate) fn hide(&mut self, file: &str, first: usize, last: usize) {
        let Some(lines) = self.0.get_mut(file) else { return };
        for line in lines.iter_mut().take(last).skip(first.saturating_sub(1)) {
            *line = None;
        }
    }

    fn line(&self, problem: &Problem) -> Option<&str> {
        self.0.get(&problem.file)?.get(problem.line?.checked_sub(1)?)?.as_deref()
    }
}

/// Everything that is wrong with a configuration, in the order of the files.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The problems; never empty.
    pub problems: Vec<Problem>,
    /// The admin socket that the file names all the same: traffic must be movable while the file is being mended.
    #[serde(skip)]
    pub admin: Option<PathBuf>,
    #[serde(skip)]
    quotes: Quotes,
}

impl Report {
    /// A report, sorted by place; the same problem at the same place is told once.
    pub(crate) fn new(mut problems: Vec<Problem>, admin: Option<PathBuf>, quotes: Quotes) -> Self {
        let mut files: Vec<String> = Vec::new();
        for problem in &problems {
            if !files.contains(&problem.file) {
                files.push(problem.file.clone());
            }
        }
        let rank = |problem: &Problem| files.iter().position(|file| *file == problem.file);
        problems.sort_by_key(|problem| (rank(problem), problem.line, problem.column));
        problems.dedup();
        Self { problems, admin, quotes }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            write_problem(f, problem, self.quotes.line(problem))?;
        }
        match self.problems.len() {
            1 => write!(f, "1 problem in the configuration"),
            n => write!(f, "{n} problems in the configuration"),
        }
    }
}

impl std::error::Error for Report {}

fn write_problem(f: &mut fmt::Formatter<'_>, problem: &Problem, line: Option<&str>) -> fmt::Result {
    let mut place = problem.file.clone();
    for number in [problem.line, problem.column].into_iter().flatten() {
        place.push_str(&format!(":{number}"));
    }
    for part in [&place, &problem.key] {
        if !part.is_empty() {
            write!(f, "{part}: ")?;
        }
    }
    writeln!(f, "{}", problem.message)?;
    if let (Some(text), Some(number)) = (line, problem.line) {
        write_quote(f, text, number, problem.column)?;
    }
    if !problem.hint.is_empty() {
        let gutter = problem.line.map_or(1, |n| n.to_string().len());
        let hint = problem.hint.replace('\n', &format!("\n{:gutter$}   ", ""));
        writeln!(f, "{:gutter$} = {hint}", "")?;
    }
    writeln!(f)
}

/// How many characters of a long line are quoted, around the column.
const QUOTED_WIDTH: usize = 100;

fn write_quote(f: &mut fmt::Formatter<'_>, text: &str, number: usize, column: Option<usize>) -> fmt::Result {
    let gutter = number.to_string().len();
    let caret = column.unwrap_or(1).saturating_sub(1);
    let start = if caret >= QUOTED_WIDTH { caret - QUOTED_WIDTH / 2 } else { 0 };
    let shown: String = text.chars().skip(start).take(QUOTED_WIDTH).map(printable).collect();
    writeln!(f, "{:gutter$} |", "")?;
    writeln!(f, "{number} | {}", shown.trim_end())?;
    if column.is_some() {
        writeln!(f, "{:gutter$} | {:>width$}", "", "^", width = caret - start + 1)?;
    }
    Ok(())
}

/// A character as a terminal may see it: one column wide, and no escape sequence can begin.
pub(crate) fn printable(c: char) -> char {
    if c == '\t' {
        ' '
    } else if c.is_control() {
        '\u{fffd}'
    } else {
        c
    }
}

/// A foreign text for a message: in quotes, escaped and never long.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
