//! The sheet checked by the very loader that will read it, until nothing in it is refused.
//!
//! What the loader refuses is taken out and told with its words, as `init` does it: so what is written loads, and nothing is
//! lost in silence. A key that nobody asked for and that is refused all the same stops the import.

use switcher_config::{Loaded, Report};

use super::Failed;
use super::assemble::assemble;
use super::note::{Kind, Note, gathered};
use super::sheet::{Entry, Row, Value, rows, take_out};
use super::site::Imported;
use crate::init::draft::wrapped;
use crate::init::settle::{Unsettled, check};

/// An import that loads.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The file.
    pub text: String,
    /// What it means.
    pub loaded: Loaded,
    /// What there is to know, in the order of the sources.
    pub notes: Vec<Note>,
    /// What needs nothing here: names with the number of lines.
    pub needless: Vec<(String, usize)>,
    /// Files beside it, never for everybody.
    pub files: Vec<(String, String)>,
}

/// Makes a configuration of what was imported. `title` is where it came from.
///
/// # Errors
/// When nothing is left that loads; with what was noticed.
pub fn settle(mut imported: Imported, title: &str) -> Result<Settled, Failed> {
    let mut sheet = assemble(&mut imported, title);
    loop {
        let written = rows(&sheet);
        let text: String = written.iter().map(|row| format!("{}\n", row.text)).collect();
        let checked = match check(&text) {
            Ok(checked) => checked,
            Err(error) => return Err(Failed::Unsettled(error, gathered(imported.notes))),
        };
        match checked {
            Ok(loaded) => {
                let notes = gathered(imported.notes);
                // Names with their passwords are for nobody when nothing asks for them.
                imported.files.retain(|(name, _)| text.contains(name.as_str()));
                let text = format!("{text}{}", ending(&notes));
                return Ok(Settled {
                    text,
                    loaded,
                    notes,
                    needless: counted(&imported.needless),
                    files: imported.files,
                });
            }
            Err(report) if refused(&mut sheet, &written, &report, &mut imported.notes) => {}
            Err(report) => {
                return Err(Failed::Unsettled(Unsettled::Refused(report), gathered(imported.notes)));
            }
        }
    }
}

/// Takes out the first thing that a report is about; answers whether there was one.
fn refused(sheet: &mut Vec<Entry>, written: &[Row], report: &Report, notes: &mut Vec<Note>) -> bool {
    for problem in &report.problems {
        let row = problem.line.and_then(|line| written.get(line.checked_sub(1)?));
        if row.is_some_and(|row| own_authority(sheet, &row.way, &problem.message, notes)) {
            return true;
        }
        if let Some((place, what)) = row.and_then(|row| take_out(sheet, &row.way)) {
            let hint = if problem.hint.is_empty() { String::new() } else { format!("; {}", problem.hint) };
            let suggestion = format!("{}{hint}", problem.message).replace('\n', " ");
            notes.push(Note::left(&place, what, suggestion));
            return true;
        }
    }
    false
}

/// Hosts that no public authority gives certificates for get them from our own; answers whether that was it.
fn own_authority(sheet: &mut [Entry], way: &[usize], why: &str, notes: &mut Vec<Note>) -> bool {
    let [section, app, key] = way else { return false };
    let Some(Value::Section(apps)) = sheet.get_mut(*section).map(|entry| &mut entry.value) else {
        return false;
    };
    let Some(app) = apps.get_mut(*app) else { return false };
    let Value::Section(keys) = &mut app.value else { return false };
    if keys.get(*key).is_none_or(|entry| entry.key != "hosts") {
        return false;
    }
    let Some(tls) = keys.iter_mut().find(|entry| entry.key == "tls") else { return false };
    if tls.value != Value::Line("auto".to_owned()) {
        return false;
    }
    tls.value = Value::Line("internal".to_owned());
    if let Some((place, what)) = &app.origin {
        let suggestion = format!("{why}; `tls: internal` stands there, by our own authority");
        notes.push(Note::differs(place, what.clone(), suggestion));
    }
    true
}

fn counted(needless: &[(String, super::tree::Place)]) -> Vec<(String, usize)> {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for (name, _) in needless {
        match counted.iter_mut().find(|(known, _)| known == name) {
            Some((_, count)) => *count += 1,
            None => counted.push((name.clone(), 1)),
        }
    }
    counted.sort();
    counted
}

/// What there is to know, as comments at the end.
fn ending(notes: &[Note]) -> String {
    let mut text = String::new();
    for (kind, title) in [
        (Kind::NotCarriedOver, "Not carried over:"),
        (Kind::Differs, "Carried over, and not quite the same:"),
    ] {
        let mut of: Vec<&Note> = notes.iter().filter(|note| note.kind == kind).collect();
        of.sort();
        if !of.is_empty() {
            text.push_str(&format!("\n# {title}\n"));
        }
        for (index, line) in of.iter().flat_map(|note| wrapped(&note.sentence(), 110).into_iter().enumerate())
        {
            text.push_str(if index == 0 { "#   " } else { "#     " });
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}
