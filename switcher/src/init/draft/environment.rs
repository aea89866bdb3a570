//! `env` of an application: plain values are copied, secrets become `${NAME}`.

use std::collections::BTreeSet;

use super::Draft;
use crate::init::interpolation;
use crate::init::kind::Application;
use crate::init::secret::is_secret;
use crate::init::yaml::scalar;
use switcher_config::template::WORDS;

/// Writes the variables, and says which values were left out.
pub(super) fn write(draft: &mut Draft, app: &Application, name: &str) {
    let service = &app.service;
    if service.env.is_empty() {
        return;
    }
    draft.row(6, "env:");
    let mut withheld = Vec::new();
    let mut needed = BTreeSet::new();
    for variable in &service.env {
        let own = format!("${{{}}}", variable.name);
        let (value, note) = match &variable.value {
            None => (own, ""),
            Some(value) if is_secret(&variable.name, value) => {
                withheld.push(variable.name.as_str());
                (own, "")
            }
            Some(value) if app.paired && (value == "blue" || value == "green") => ("{slot}".to_owned(), ""),
            Some(value) if WORDS.iter().any(|word| value.contains(&format!("{{{word}}}"))) => {
                (value.clone(), "   # a word in braces is filled in by the deployment")
            }
            Some(value) => (value.clone(), ""),
        };
        needed.extend(interpolation::needed(&value));
        let row = format!("{}: {}{note}", scalar(&variable.name), scalar(&value));
        draft.part(8, variable.line, &format!("{}.environment.{}", service.name, variable.name), &[row]);
    }
    if !withheld.is_empty() {
        let text = format!("Values that look like secrets were left out: {}.", withheld.join(", "));
        draft.comment(8, &text);
    }
    if !needed.is_empty() {
        let needed: Vec<String> = needed.into_iter().collect();
        let text = format!(
            "A deployment looks for {} in the files of `env_files` (such as {name}.env, mode 0600) and in the \
             environment of `switcher deploy`.",
            needed.join(", ")
        );
        draft.comment(8, &text);
    }
}
