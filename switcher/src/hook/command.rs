//! From a hook to the command that is started: its words filled in, its environment, its folder.

use std::cell::RefCell;
use std::path::Path;
use std::process::Stdio;

use switcher_config::template::fill;
use tokio::process::Command;

use super::{Call, HookError};
use crate::environment::word;

/// The words that a hook is also given as variables.
const VARIABLES: [(&str, &str); 7] = [
    ("app", "SWITCHER_APP"),
    ("environment", "SWITCHER_ENVIRONMENT"),
    ("slot", "SWITCHER_SLOT"),
    ("version", "SWITCHER_VERSION"),
    ("deployment", "SWITCHER_DEPLOYMENT"),
    ("image", "SWITCHER_IMAGE"),
    ("git_commit", "SWITCHER_GIT_COMMIT"),
];

/// The name of the hook.
const HOOK: &str = "SWITCHER_HOOK";
/// Why the deployment failed.
const FAILURE: &str = "SWITCHER_FAILURE";

/// Programs that read a text of their own language after `-c`.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "zsh", "ksh"];

/// The command of a hook, ready to be started.
pub(super) fn of(call: &Call<'_>) -> Result<Command, HookError> {
    let words = filled(call)?;
    let [program, arguments @ ..] = words.as_slice() else {
        return Err(HookError::Empty { hook: call.name.to_owned() });
    };
    let mut command = match program.contains('/') {
        // Whether such a path is relative to the old or the new folder is left open by the standard library.
        true => Command::new(call.folder.join(program)),
        false => Command::new(program),
    };
    command.args(arguments).current_dir(folder(call.folder));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    for (name, variable) in VARIABLES {
        command.env(variable, word(call.words, name).unwrap_or_default());
    }
    command.env(HOOK, call.name);
    match call.failure {
        Some(failure) => command.env(FAILURE, call.redactor.line(failure).replace('\0', "")),
        // One that a hook around us was given says nothing of this deployment.
        None => command.env_remove(FAILURE),
    };
    Ok(command)
}

/// The folder of a configuration file that was named without one is where we are.
fn folder(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// The words of the command with the deployment's filled in.
fn filled(call: &Call<'_>) -> Result<Vec<String>, HookError> {
    let mut before: Vec<String> = Vec::new();
    for written in &call.hook.command {
        if is_script(&before) {
            before.push(script(call, written)?);
        } else {
            before.push(fill(written, |name| word(call.words, name)));
        }
    }
    Ok(before)
}

/// Whether what follows these words is a script of a shell.
fn is_script(before: &[String]) -> bool {
    let [program, .., option] = before else { return false };
    let name = program.rsplit('/').next().unwrap_or(program);
    let option = option.strip_prefix('-').unwrap_or("");
    SHELLS.contains(&name) && option.ends_with('c') && option.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// A script with its words filled in. A word may come from an image's label, so one that a shell could act upon is
/// refused: quoting it would not help within the script's own quotes.
fn script(call: &Call<'_>, written: &str) -> Result<String, HookError> {
    let refused = RefCell::new(None);
    let text = fill(written, |name| {
        let value = word(call.words, name)?;
        if !value.chars().all(|c| c.is_ascii_alphanumeric() || "._-:/@+=,".contains(c)) {
            refused.replace(Some(name.to_owned()));
        }
        Some(value)
    });
    let Some(word) = refused.take() else { return Ok(text) };
    let variable = VARIABLES.iter().find(|(name, _)| *name == word).map_or(HOOK, |(_, variable)| variable);
    Err(HookError::UnsafeWord { hook: call.name.to_owned(), word, variable })
}
