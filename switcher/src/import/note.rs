//! What is told of an import: what is not carried over, and what acts otherwise from now on. Values.

use std::sync::Arc;

use serde::Serialize;

use super::tree::Place;

/// How much of it came along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It did not come along.
    NotCarriedOver,
    /// It came along, and does not act in quite the same way.
    Differs,
}

/// Something to know about a line of the source. Never a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Note {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line it begins at, counted from 1; 0 for the whole file.
    pub line: usize,
    /// The line it ends at.
    pub until: usize,
    /// How much came along.
    pub kind: Kind,
    /// What it is.
    pub what: String,
    /// What to do about it.
    pub suggestion: String,
}

impl Note {
    /// Something that is not carried over.
    pub fn left(place: &Place, what: impl Into<String>, suggestion: impl Into<String>) -> Self {
        let (file, line, until) = (Arc::clone(&place.file), place.line, place.until);
        let (what, suggestion) = (what.into(), suggestion.into());
        Self { file, line, until, kind: Kind::NotCarriedOver, what, suggestion }
    }

    /// Something that acts otherwise from now on.
    pub fn differs(place: &Place, what: impl Into<String>, suggestion: impl Into<String>) -> Self {
        Self { kind: Kind::Differs, ..Self::left(place, what, suggestion) }
    }

    /// A program that waits for answers as long as they take.
    pub fn patient(place: &Place, what: impl Into<String>) -> Self {
        let suggestion = "answers are waited for as long as they take there, and 60s here, before a 504: write \
                          `timeouts: {response: 10m}` where an application is slower";
        Self::differs(place, what, suggestion)
    }

    /// `nginx.conf:12: proxy_cache zone: …`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { file, line, until, what, suggestion, .. } = self;
        match line {
            0 => format!("{file}: {what}: {suggestion}"),
            _ if until > line => format!("{file}:{line}-{until}: {what}: {suggestion}"),
            _ => format!("{file}:{line}: {what}: {suggestion}"),
        }
    }
}

/// Notes in order, each told once. Of those that differ in the same way in one file the first is told, with the others' lines;
/// and of the same thing that is left in several places.
#[must_use]
pub fn gathered(mut notes: Vec<Note>) -> Vec<Note> {
    notes.sort();
    notes.dedup();
    let mut told: Vec<Note> = Vec::new();
    let mut others: Vec<Vec<usize>> = Vec::new();
    for note in notes {
        let same = |first: &Note| {
            first.kind == note.kind
                && first.file == note.file
                && first.suggestion == note.suggestion
                && (note.kind == Kind::Differs || first.what == note.what && note.line == note.until)
        };
        let found = told.iter().position(same);
        match found {
            Some(index) if told[index].line != note.line => others[index].push(note.line),
            Some(_) => {}
            None => {
                told.push(note);
                others.push(Vec::new());
            }
        }
    }
    for (note, mut lines) in told.iter_mut().zip(others) {
        lines.dedup();
        if !lines.is_empty() {
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            note.what = format!("{} (also in line {})", note.what, lines.join(", "));
        }
    }
    told
}
