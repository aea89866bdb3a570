//! Env files: lines of `NAME=value`, as users of `docker --env-file` and of dotenv write them.
//!
//! Nothing is substituted in them. Invariant: no message holds a value. Read by [`crate::environment`].

mod access;
mod value;

use std::path::Path;

use switcher_config::Problem;

use super::problem::problem;

pub(super) use access::read;

/// The longest file, in bytes.
const LONGEST: u64 = 1 << 20;

/// One `NAME=value`, or a `NAME` alone, which takes the value of the process.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) value: Option<String>,
    /// Counted from 1.
    pub(super) line: usize,
}

/// Reads the text of a file: every entry in its order, and every problem.
pub(super) fn parse(file: &Path, text: &str) -> (Vec<Entry>, Vec<Problem>) {
    let shown = file.display().to_string();
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    let mut rest = Text::new(text);
    while let Some(line) = rest.line() {
        match entry(line, &mut rest) {
            Ok(found) => entries.extend(found),
            Err(Wrong { line, name, message, hint }) => {
                problems.push(problem(&shown, Some(line), &name, message, hint));
            }
        }
    }
    (entries, problems)
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    line: usize,
    name: String,
    message: &'static str,
    hint: &'static str,
}

/// The lines that are still to be read.
struct Text<'a> {
    rest: &'a str,
    /// The number of the line that was read last.
    line: usize,
}

impl<'a> Text<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 0 }
    }

    /// The next line, without its line break.
    fn line(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line += 1;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }
}

/// Reads a line, and the lines after it when a quote stays open; none for a comment.
fn entry(line: &str, rest: &mut Text<'_>) -> Result<Option<Entry>, Wrong> {
    let number = rest.line;
    let line = line.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = match line.strip_prefix("export") {
        Some(after) if after.starts_with([' ', '\t']) => after.trim_start(),
        Some(_) | None => line,
    };
    let (written, text) = match line.split_once('=') {
        Some((name, text)) => (name, Some(text)),
        None => (line.trim_end(), None),
    };
    let name = name(written).map_err(|(message, hint)| {
        // What is no name may be the value of another line.
        Wrong { line: number, name: String::new(), message, hint }
    })?;
    let wrong = |(message, hint)| Wrong { line: number, name: name.to_owned(), message, hint };
    let value = text.map(|text| value::read(text, rest)).transpose().map_err(wrong)?;
    if value.as_deref().is_some_and(|value| value.contains('\0')) {
        return Err(wrong(("the value has a zero byte in it", "remove it: no program can be given one")));
    }
    Ok(Some(Entry { name: name.to_owned(), value, line: number }))
}

/// The name, when it is one. Docker's own files also have dots and dashes in names.
fn name(written: &str) -> Result<&str, (&'static str, &'static str)> {
    if written.is_empty() {
        return Err(("there is no name before the `=`", "write NAME=value"));
    }
    if written.trim_end() != written {
        return Err(("there is a space before the `=`", "write NAME=value, without spaces around the `=`"));
    }
    let begins = written.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if begins && written.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
        Ok(written)
    } else {
        let hint = "write NAME=value; a name has letters, digits and `_`, and a value of several lines stands in quotes";
        Err(("what stands before the `=` is no name of a variable", hint))
    }
}

#[cfg(test)]
mod tests;
