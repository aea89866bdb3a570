//! The words of a deployment by their names, as templates and hooks write them.

use crate::deployment::Words;

/// What `{name}` stands for; none for a word that is not ours.
#[must_use]
pub fn word(words: &Words, name: &str) -> Option<String> {
    Some(match name {
        "app" => words.app.to_string(),
        "environment" => words.environment.clone(),
        "slot" => words.slot.to_string(),
        "version" => words.version.clone(),
        "git_commit" => words.git_commit.clone(),
        "deployment" => words.deployment.to_string(),
        "image" => words.image.clone(),
        "replica" => words.replica.to_string(),
        _ => return None,
    })
}
