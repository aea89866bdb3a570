//! Everything that stands in the way of an environment, told in one report.
//!
//! A problem names the variable, the file and the line, never a value.

use std::fmt;

use serde::Serialize;
use switcher_config::Problem;

/// What is wrong with the environment of an application; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problems {
    /// Each of them, in the order of the files.
    pub problems: Vec<Problem>,
}

impl Problems {
    /// `value`, unless there are problems. They are sorted by place, and the same problem is told once.
    pub(super) fn unless<T>(problems: Vec<Problem>, value: T) -> Result<T, Self> {
        let mut files: Vec<String> = Vec::new();
        let mut told: Vec<Problem> = Vec::new();
        for problem in problems {
            if !files.contains(&problem.file) {
                files.push(problem.file.clone());
            }
            if !told.contains(&problem) {
                told.push(problem);
            }
        }
        told.sort_by_key(|problem| (files.iter().position(|file| *file == problem.file), problem.line));
        if told.is_empty() { Ok(value) } else { Err(Self { problems: told }) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
            let place = format!("{}{line}", problem.file);
            for part in [&place, &problem.key] {
                if !part.is_empty() {
                    write!(f, "{part}: ")?;
                }
            }
            writeln!(f, "{}", problem.message)?;
            if !problem.hint.is_empty() {
                writeln!(f, "  = {}", problem.hint)?;
            }
            writeln!(f)?;
        }
        match self.problems.len() {
            1 => write!(f, "1 problem in the environment"),
            n => write!(f, "{n} problems in the environment"),
        }
    }
}

impl std::error::Error for Problems {}

/// A problem of a variable, of a file, or of a variable in a file.
pub(super) fn problem(
    file: &str,
    line: Option<usize>,
    key: &str,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> Problem {
    Problem {
        file: file.to_owned(),
        line,
        column: None,
        key: key.to_owned(),
        message: message.into(),
        hint: hint.into(),
    }
}
