//! A draft checked by the very loader that will read it, until nothing in it is refused.
//!
//! A row that the loader refuses is taken out and told as left over, with the loader's words: so what is written loads,
//! and nothing is lost in silence. Names such as `${TAG}` count as not set, since nobody knows who will start us.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use switcher_config::durable::{Durability, replace};
use switcher_config::{Loaded, Report, Sources, load};

use super::draft::{Draft, wrapped};
use super::service::Leftover;

/// A configuration that loads.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The file.
    pub text: String,
    /// What it means.
    pub loaded: Loaded,
    /// What is not carried over.
    pub leftovers: Vec<Leftover>,
    /// The applications' names, each with the tag that runs now.
    pub apps: Vec<(String, Option<String>)>,
}

/// Why a draft cannot be settled.
#[derive(Debug, thiserror::Error)]
pub enum Unsettled {
    /// What always stands there is refused, because of a wish.
    #[error("{0}")]
    Refused(Report),
    /// There is no room for a temporary file.
    #[error("the configuration could not be checked: {0}")]
    System(#[from] io::Error),
}

/// Takes out what cannot be used.
///
/// # Errors
/// When what is left cannot be used either.
pub fn settle(mut draft: Draft) -> Result<Settled, Unsettled> {
    // Each round takes out a part or is the last.
    for _ in 0..=draft.parts.len() {
        match check(&text(&draft))? {
            Ok(loaded) => {
                draft.leftovers.sort_by_key(|left| left.line);
                let text = format!("{}{}", text(&draft), ending(&draft));
                return Ok(Settled { text, loaded, leftovers: draft.leftovers, apps: draft.apps });
            }
            Err(report) if take_out(&mut draft, &report) => {}
            Err(report) => return Err(Unsettled::Refused(report)),
        }
    }
    Err(Unsettled::System(io::Error::other("it never came to rest")))
}

/// The rows, without sections that have become empty.
fn text(draft: &Draft) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for (index, row) in draft.rows.iter().enumerate() {
        let indent = |text: &str| text.len() - text.trim_start().len();
        let next = draft.rows[index + 1..].iter().find(|row| !row.text.trim_start().starts_with('#'));
        let deeper = next.is_some_and(|next| indent(&next.text) > indent(&row.text));
        let code = row.text.split('#').next().unwrap_or_default().trim_end();
        let list = ["env:", "env_files:", "secrets:", "volumes:", "extra_hosts:", "limits:", "labels:"];
        if deeper || !list.contains(&code.trim_start()) && code.trim_start() != "healthcheck:" {
            kept.push(&row.text);
        }
    }
    kept.join("\n") + "\n"
}

/// Loads a text as a configuration, with no variable set.
///
/// # Errors
/// When there is no room for a temporary file.
pub fn check(text: &str) -> Result<Result<Loaded, Report>, Unsettled> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("switcher.yaml");
    replace(&file, text.as_bytes(), 0o600, Durability::Unsynced).map_err(|error| error.source)?;
    Ok(load(&Sources {
        file: Some(file),
        environment: None,
        variables: BTreeMap::new(),
        secrets_dir: folder.path().join("secrets"),
        working_dir: folder.path().to_owned(),
        system_file: folder.path().join("none.yaml"),
    }))
}

/// Takes out the parts that a report is about; answers whether there was one.
fn take_out(draft: &mut Draft, report: &Report) -> bool {
    let shown: Vec<String> = text(draft).lines().map(str::to_owned).collect();
    let mut gone = BTreeSet::new();
    for problem in &report.problems {
        let Some(line) = problem.line.and_then(|line| shown.get(line - 1)) else { continue };
        let same = shown.iter().take(problem.line.unwrap_or(0)).filter(|row| *row == line).count();
        let row = draft.rows.iter().filter(|row| row.text == *line).nth(same.saturating_sub(1));
        let Some(part) = row.and_then(|row| row.part).filter(|part| gone.insert(*part)) else { continue };
        let Leftover { line, what, .. } = draft.parts[part].clone();
        let hint = if problem.hint.is_empty() { String::new() } else { format!("; {}", problem.hint) };
        let advice = format!("{}{hint}", problem.message).replace('\n', " ");
        draft.leftovers.push(Leftover { line, what, advice });
    }
    draft.rows.retain(|row| row.part.is_none_or(|part| !gone.contains(&part)));
    !gone.is_empty()
}

/// What is not carried over, as comments at the end.
fn ending(draft: &Draft) -> String {
    if draft.leftovers.is_empty() {
        return String::new();
    }
    let origin = draft.origin.as_deref().unwrap_or("what was found");
    let mut text = format!("\n# Not carried over from {origin}:\n");
    for left in &draft.leftovers {
        for (index, line) in wrapped(&sentence(left), 110).into_iter().enumerate() {
            text.push_str(if index == 0 { "#   " } else { "#     " });
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// `line 12: web.cap_add: …`.
#[must_use]
pub fn sentence(left: &Leftover) -> String {
    let place = if left.line == 0 { String::new() } else { format!("line {}: ", left.line) };
    format!("{place}{}: {}", left.what, left.advice)
}
