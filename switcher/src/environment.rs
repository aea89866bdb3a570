//! What an application and its migrations are given: variables and secrets, from env files, from the process, from
//! the configuration's templates and from Docker secrets.
//!
//! Everything outside the configuration is read once, by [`Environment::read`]; the rest is pure. The process's own
//! environment is never poured into a container: of it come only names that an env file, `env` or `required_env`
//! name. Invariant: no message holds a value. Called by the deployer before it changes anything.

mod file;
mod judge;
mod names;
mod problem;
mod reading;
mod secret;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use switcher_config::settings::DeploySettings;
use switcher_config::{Problem, Template};

use crate::container::SecretFile;
use crate::deployment::Words;
use crate::redact::Redactor;
use names::{Names, Value};
use problem::problem;
use reading::EnvFiles;

pub use judge::is_placeholder;
pub use problem::Problems;
pub use secret::SecretText;
pub use words::word;

/// Where Docker puts secrets, on this machine and in a container.
pub const SECRETS_DIR: &str = "/run/secrets";

/// What an environment is read from.
#[derive(Clone)]
pub struct Sources {
    /// The folder of the configuration file; `env_files` are relative to it.
    pub folder: PathBuf,
    /// The process's environment.
    pub variables: BTreeMap<String, String>,
    /// The folder of Docker secrets.
    pub secrets_dir: PathBuf,
}

/// The names and values in the text of an env file, as far as it can be read.
#[must_use]
pub fn pairs(file: &Path, text: &str) -> Vec<(String, String)> {
    let (entries, _) = file::parse(file, text);
    entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect()
}

impl Sources {
    /// This process's environment and [`SECRETS_DIR`]. Variables that are not UTF-8 are left out.
    #[must_use]
    pub fn from_process(folder: PathBuf) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let variables = std::env::vars_os().filter_map(text).collect();
        Self { folder, variables, secrets_dir: PathBuf::from(SECRETS_DIR) }
    }
}

/// Never shows a value.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("folder", &self.folder)
            .field("secrets_dir", &self.secrets_dir)
            .finish_non_exhaustive()
    }
}

/// What a container is given.
#[derive(Clone)]
pub struct Resolved {
    /// Its variables.
    pub variables: BTreeMap<String, String>,
    /// Its secrets, as files below [`SECRETS_DIR`].
    pub secrets: Vec<SecretFile>,
}

/// Names the variables and never shows a value.
impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved")
            .field("variables", &self.variables.keys())
            .field("secrets", &self.secrets.iter().map(|secret| &secret.path).collect::<Vec<_>>())
            .finish()
    }
}

/// Everything that was found outside the configuration, with the part of the configuration that asks for it.
#[derive(Clone)]
pub struct Environment {
    settings: DeploySettings,
    /// The values of env files and of required names.
    named: BTreeMap<String, Value>,
    /// What the names in templates stand for.
    asked: BTreeMap<String, Value>,
    /// Secrets that are files on this machine.
    secrets: BTreeMap<String, Vec<u8>>,
    redactor: Redactor,
    warnings: Vec<String>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("names", &self.named.keys()).finish_non_exhaustive()
    }
}

impl Environment {
    /// Reads the env files and the secrets.
    ///
    /// # Errors
    /// Everything that is wrong with them: files that others may read, lines that are none, placeholders that
    /// nobody filled in, secrets that are missing.
    pub fn read(settings: &DeploySettings, sources: &Sources) -> Result<Self, Problems> {
        let mut files = EnvFiles::default();
        for path in &settings.env_files {
            files.take(&sources.folder.join(path));
        }
        let EnvFiles { values, bare, written, mut problems, mut warnings } = files;
        let names = Names::new(sources, &values);
        for (_, template) in reading::templates(settings) {
            // Whether a name may be missing is known when the template is used.
            let _ = template.resolve(|_| None, |name| names.get(name).map(|value| value.text));
        }
        let named = reading::named(settings, &names, &bare, &mut problems);
        warnings.extend(reading::overruled(&values, &named));
        let secrets = reading::secrets(settings, &names, &mut problems);
        problems.extend(names.problems.take());
        let asked = names.asked.take().into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let redactor = reading::redactor(settings, &written, &secrets, [&named, &asked]);
        let read = Self { settings: settings.clone(), named, asked, secrets, redactor, warnings };
        Problems::unless(problems, read)
    }

    /// What is worth a word and no reason to stop, a sentence each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Hides every secret of this environment.
    #[must_use]
    pub fn secrets(&self) -> Redactor {
        self.redactor.clone()
    }

    /// What the application is given.
    ///
    /// # Errors
    /// Required variables that are missing or empty, names in templates that are not set, placeholders.
    pub fn application(&self, words: &Words) -> Result<Resolved, Problems> {
        let mut problems = Vec::new();
        let mut resolved = self.filled(words, &mut problems);
        // What is asked for as a file is no variable as well, unless somebody asks for that too.
        for name in self.settings.secrets.iter().map(|secret| variable(secret)) {
            if !self.settings.env.contains_key(&name) && !self.settings.required_env.contains(&name) {
                resolved.variables.remove(&name);
            }
        }
        Problems::unless(problems, resolved)
    }

    /// What a migration is given: what the application is, and `migrate.env`, which wins.
    ///
    /// # Errors
    /// As [`Environment::application`].
    pub fn migration(&self, words: &Words) -> Result<Resolved, Problems> {
        let mut problems = Vec::new();
        let mut resolved = self.filled(words, &mut problems);
        for (name, template) in self.settings.migrate.iter().flat_map(|migrate| &migrate.env) {
            let key = format!("migrate.env.{name}");
            if let Some(text) = self.resolve(&key, template, words, &mut problems) {
                resolved.variables.insert(name.clone(), text);
            }
        }
        Problems::unless(problems, resolved)
    }

    /// The database that is dumped before a migration; none without `snapshot`.
    ///
    /// # Errors
    /// When a name in the template is not set.
    pub fn snapshot_url(&self, words: &Words) -> Result<Option<SecretText>, Problems> {
        let template = self.settings.snapshot.as_ref().map(|snapshot| &snapshot.database_url);
        self.url("snapshot.database_url", template, words)
    }

    /// The database whose schema is read: `migrate.database_url`, else the migration's `DATABASE_URL`; none without
    /// `migrate`, or when there is neither.
    ///
    /// # Errors
    /// When a name in the template is not set, or the migration's environment has a problem.
    pub fn schema_url(&self, words: &Words) -> Result<Option<SecretText>, Problems> {
        let Some(migrate) = &self.settings.migrate else { return Ok(None) };
        if migrate.database_url.is_some() {
            return self.url("migrate.database_url", migrate.database_url.as_ref(), words);
        }
        let url = self.migration(words)?.variables.remove("DATABASE_URL");
        Ok(url.filter(|url| !url.is_empty()).map(SecretText::new))
    }

    fn url(
        &self,
        key: &str,
        template: Option<&Template>,
        words: &Words,
    ) -> Result<Option<SecretText>, Problems> {
        let mut problems = Vec::new();
        let text = template.and_then(|template| self.resolve(key, template, words, &mut problems));
        Problems::unless(problems, text.map(SecretText::new))
    }

    fn filled(&self, words: &Words, problems: &mut Vec<Problem>) -> Resolved {
        let mut variables: BTreeMap<String, String> =
            self.named.iter().map(|(name, value)| (name.clone(), value.text.clone())).collect();
        for (name, template) in &self.settings.env {
            // A Docker secret of that name is the stronger layer.
            if self.named.get(name).is_some_and(|value| value.secret) {
                continue;
            }
            if let Some(text) = self.resolve(&format!("env.{name}"), template, words, problems) {
                variables.insert(name.clone(), text);
            }
        }
        let told: BTreeSet<String> = problems.iter().map(|problem| problem.key.clone()).collect();
        for name in &self.settings.required_env {
            if !told.contains(&format!("deploy.env.{name}")) {
                problems.extend(self.required(name, variables.get(name)));
            }
        }
        let secrets = self.settings.secrets.iter().filter_map(|name| self.secret(name, &variables, problems));
        let secrets = secrets.collect();
        Resolved { variables, secrets }
    }

    /// Fills a template in; none when it cannot be.
    fn resolve(
        &self,
        key: &str,
        template: &Template,
        words: &Words,
        problems: &mut Vec<Problem>,
    ) -> Option<String> {
        let key = format!("deploy.{key}");
        let lookup = |name: &str| Some(self.asked.get(name)?.text.clone());
        match template.resolve(|name| word(words, name), lookup) {
            Ok(resolved) if is_placeholder(&resolved.text) => {
                problems.push(placeholder("", None, &key));
                None
            }
            Ok(resolved) => Some(resolved.text),
            Err(error) => {
                problems.push(problem("", None, &key, error.message, error.hint));
                None
            }
        }
    }

    fn required(&self, name: &str, value: Option<&String>) -> Option<Problem> {
        let message = match value.map(String::as_str) {
            None => "is required, and nothing sets it",
            Some("") => "is required, and it is empty",
            Some(_) => return None,
        };
        let place = match self.settings.env_files.last() {
            Some(file) => format!("in {}", file.display()),
            None => "in a file of `env_files`".to_owned(),
        };
        let hint = format!("set it {place}, under `env`, or as an environment variable of this command");
        Some(problem("", None, name, message, hint))
    }

    fn secret(
        &self,
        name: &str,
        variables: &BTreeMap<String, String>,
        problems: &mut Vec<Problem>,
    ) -> Option<SecretFile> {
        let of_variable = || {
            let name = variable(name);
            let asked = || Some(self.asked.get(&name)?.text.clone());
            variables.get(&name).filter(|text| !text.is_empty()).cloned().or_else(asked)
        };
        let content = self.secrets.get(name).cloned().or_else(|| Some(of_variable()?.into_bytes()));
        if content.is_none() {
            problems.push(missing_secret(name, &variable(name)));
        }
        Some(SecretFile { path: format!("{SECRETS_DIR}/{name}"), content: content? })
    }
}

/// The variable that stands in for a secret that is no file on this machine.
fn variable(secret: &str) -> String {
    secret.to_ascii_uppercase().replace(['-', '.'], "_")
}

fn missing_secret(name: &str, variable: &str) -> Problem {
    let hint = format!("put it into {SECRETS_DIR}/{name} on this machine, or set the variable {variable}");
    problem("", None, name, "this secret is missing or empty", hint)
}

fn placeholder(file: &str, line: Option<usize>, key: &str) -> Problem {
    problem(file, line, key, "has a placeholder in it that nobody filled in", "write the real value")
}

#[cfg(test)]
mod tests;
