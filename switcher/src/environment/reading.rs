//! The steps of reading an environment: env files, named variables, secrets, and what of them is to be hidden.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use switcher_config::settings::DeploySettings;
use switcher_config::{Problem, Template};

use super::judge::{is_placeholder, is_worth_hiding, url_password};
use super::names::{Names, Value};
use super::problem::problem;
use super::{file, missing_secret, placeholder, variable};
use crate::redact::{Redactor, names_a_secret, percent_decoded};

/// What the env files hold.
#[derive(Default)]
pub(super) struct EnvFiles {
    pub(super) values: BTreeMap<String, Value>,
    /// Names without a value: they take the process's.
    pub(super) bare: BTreeSet<String>,
    /// Every value that was written, also one that another took the place of.
    pub(super) written: Vec<(String, String)>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

impl EnvFiles {
    /// Lays a file over the ones before.
    pub(super) fn take(&mut self, path: &Path) {
        let text = match file::read(path) {
            Ok(text) => text,
            Err(problem) => return self.problems.push(*problem),
        };
        let (entries, problems) = file::parse(path, &text);
        self.problems.extend(problems);
        let shown = path.display().to_string();
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        for file::Entry { name, value, line } in entries {
            if let Some(before) = lines.insert(name.clone(), line) {
                let twice = format!("{name} stands in line {before} and again in line {line}");
                self.warnings.push(format!("{shown}: {twice}; the later one is used"));
            }
            let Some(text) = value else {
                self.bare.insert(name);
                continue;
            };
            if is_placeholder(&text) {
                self.problems.push(placeholder(&shown, Some(line), &name));
            }
            self.written.push((name.clone(), text.clone()));
            self.values.insert(name, Value { text, source: shown.clone(), line: Some(line), secret: false });
        }
    }
}

/// Every variable that somebody named, with its strongest value; `env` is laid over it later, but for secrets.
pub(super) fn named(
    settings: &DeploySettings,
    names: &Names<'_>,
    bare: &BTreeSet<String>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Value> {
    let mut named: BTreeMap<String, Value> = BTreeMap::new();
    for name in names.files.keys().chain(&settings.required_env) {
        named.extend(names.layered(name).map(|value| (name.clone(), value)));
    }
    for name in bare {
        named.extend(names.get(name).map(|value| (name.clone(), value)));
    }
    for name in settings.env.keys() {
        named.extend(names.secret(name).map(|value| (name.clone(), value)));
    }
    for (name, value) in &named {
        // A line of an env file has been judged already.
        if value.line.is_none() && is_placeholder(&value.text) {
            problems.push(placeholder(&value.source, None, name));
        }
    }
    named
}

/// Lines of env files that something stronger says otherwise, such as a variable of the shell that deploys.
pub(super) fn overruled(files: &BTreeMap<String, Value>, named: &BTreeMap<String, Value>) -> Vec<String> {
    let other = |(name, value): (&String, &Value)| {
        let stronger = named.get(name).filter(|stronger| stronger.text != value.text)?;
        Some(format!("{}: {name} is overruled by the {} of that name", value.source, stronger.source))
    };
    files.iter().filter_map(other).collect()
}

/// The secrets that are files on this machine. One that is neither a file nor a variable is a problem.
pub(super) fn secrets(
    settings: &DeploySettings,
    names: &Names<'_>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for name in &settings.secrets {
        let unreadable = names.problems.borrow().len();
        let file = names.secret_file(name);
        if names.problems.borrow().len() > unreadable {
            continue;
        }
        match file {
            Some((source, bytes)) if bytes.trim_ascii().is_empty() => {
                problems.push(problem(&source, None, name, "this secret is empty", "write it into the file"));
            }
            Some((source, bytes)) => {
                if std::str::from_utf8(&bytes).is_ok_and(is_placeholder) {
                    problems.push(placeholder(&source, None, name));
                }
                found.insert(name.clone(), bytes);
            }
            None => problems.extend(stand_in(settings, names, name)),
        }
    }
    found
}

/// Why the variable of a secret's name cannot stand in for it. One of `env` is known only later.
fn stand_in(settings: &DeploySettings, names: &Names<'_>, secret: &str) -> Option<Problem> {
    let variable = variable(secret);
    if settings.env.contains_key(&variable) {
        return None;
    }
    match names.get(&variable) {
        Some(value) if value.text.is_empty() => Some(missing_secret(secret, &variable)),
        Some(value) if value.line.is_none() && is_placeholder(&value.text) => {
            Some(placeholder(&value.source, None, &variable))
        }
        Some(_) => None,
        None => Some(missing_secret(secret, &variable)),
    }
}

/// Every template of the settings, with the name of its value.
pub(super) fn templates(settings: &DeploySettings) -> impl Iterator<Item = (&str, &Template)> {
    let migrate = settings.migrate.as_ref();
    let urls = [
        migrate.and_then(|migrate| migrate.database_url.as_ref()),
        settings.snapshot.as_ref().map(|snapshot| &snapshot.database_url),
    ];
    let env = settings.env.iter().chain(migrate.into_iter().flat_map(|migrate| &migrate.env));
    env.map(|(name, template)| (name.as_str(), template))
        .chain(urls.into_iter().flatten().map(|template| ("database_url", template)))
}

/// Knows everything that is secret.
pub(super) fn redactor(
    settings: &DeploySettings,
    written: &[(String, String)],
    secrets: &BTreeMap<String, Vec<u8>>,
    values: [&BTreeMap<String, Value>; 2],
) -> Redactor {
    let looked_up = |name: &str| Some(values.iter().find_map(|known| known.get(name))?.text.clone());
    let mut hidden: Vec<Vec<u8>> = Vec::new();
    let mut hide = |name: &str, text: &str| {
        if is_worth_hiding(name, text) {
            hidden.push(text.as_bytes().to_vec());
        }
        if let Some(password) = url_password(text) {
            hidden.push(password.as_bytes().to_vec());
            hidden.push(percent_decoded(password));
        }
    };
    written.iter().for_each(|(name, text)| hide(name, text));
    for (name, value) in values.into_iter().flatten() {
        hide(name, &value.text);
    }
    for secret in &settings.secrets {
        // Whatever it is called, it was declared to be a secret.
        let variable = looked_up(&variable(secret));
        let file = secrets.get(secret).and_then(|bytes| String::from_utf8(bytes.clone()).ok());
        variable.iter().chain(&file).for_each(|text| hide("secret", text));
    }
    for (name, template) in templates(settings) {
        // The values of its names have been taken already; here it is what was written around them, in the open.
        let Ok(resolved) = template.resolve(|_| None, looked_up) else { continue };
        if names_a_secret(name) {
            hide(name, &resolved.text);
        } else if let Some(password) = url_password(&resolved.text) {
            hide("secret", password);
            hide("secret", &String::from_utf8_lossy(&percent_decoded(password)));
        }
    }
    for (name, value) in settings.smoke.iter().flat_map(|test| test.headers.iter()) {
        if name == "authorization" || name == "cookie" || names_a_secret(name) {
            // `Bearer` and what follows it, each: a page may show one of them.
            value.split_whitespace().for_each(|part| hide("secret", part));
        }
    }
    // A binary secret is found in base64.
    hidden.extend(secrets.values().filter(|bytes| std::str::from_utf8(bytes).is_err()).cloned());
    Redactor::new(hidden)
}
