//! The one way from files and variables to settings: all of it, or a report of everything that is wrong.
//!
//! Both programs call [`load()`], once at the start and again on each reload; it changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::checks::check;
use crate::keys::RootKeys;
use crate::layers;
use crate::node::{Node, Value};
use crate::pages;
use crate::problem::{Problem, Quotes, Report};
use crate::reader::Reader;
use crate::section::{Setting as _, Shown};
use crate::settings::Settings;
use crate::show;

/// Where a configuration is looked for. Nothing else of the process is read, so tests can replace it all.
#[derive(Clone)]
pub struct Sources {
    /// The file named by `--config`. Without one, `$SWITCHER_CONFIG` of `variables` counts.
    pub file: Option<PathBuf>,
    /// The environment named by `--environment`. Without one, `$SWITCHER_ENVIRONMENT` of `variables` counts.
    pub environment: Option<String>,
    /// The environment variables.
    pub variables: BTreeMap<String, String>,
    /// The folder of Docker secrets: `/run/secrets`.
    pub secrets_dir: PathBuf,
    /// The folder that relative names of files start at, and that is searched for `switcher.yaml`.
    pub working_dir: PathBuf,
    /// The file that is read when there is no other: `/etc/switcher/switcher.yaml`.
    pub system_file: PathBuf,
}

impl Sources {
    /// The sources of this process. A variable that is not UTF-8 does not count.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>, environment: Option<String>) -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            file,
            environment,
            variables,
            secrets_dir: PathBuf::from("/run/secrets"),
            working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            system_file: PathBuf::from("/etc/switcher/switcher.yaml"),
        }
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// The environment's name: `--environment`, else `$SWITCHER_ENVIRONMENT`.
    pub(crate) fn environment_name(&self) -> Option<String> {
        let given = self.environment.clone().filter(|name| !name.is_empty());
        given.or_else(|| self.variable("SWITCHER_ENVIRONMENT"))
    }
}

/// Says where is looked, and never a variable's value: it may be a secret.
impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("environment", &self.environment)
            .field("secrets_dir", &self.secrets_dir)
            .field("working_dir", &self.working_dir)
            .field("system_file", &self.system_file)
            .finish_non_exhaustive()
    }
}

/// A configuration without a problem.
#[derive(Clone)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// The files that were read, weakest first.
    pub files: Vec<PathBuf>,
    variables: BTreeMap<String, String>,
    written: Node,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("settings", &self.settings)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    /// The folder of the configuration file, which the paths of `env_files` start at. The files of environments
    /// stand in the same one.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.files.first().and_then(|file| file.parent()).unwrap_or(Path::new("."))
    }

    /// What a `${NAME}` that is filled in later stands for, unless there is a secret of that name: the environment
    /// variables, and below them the lines of `.env` where that counts. They may be secrets.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// Whether every error and maintenance page can be read, from the configuration file's folder.
    ///
    /// # Errors
    /// A report of each that cannot.
    pub fn check_pages(&self) -> Result<(), Report> {
        pages::check(self, &self.written)
    }

    /// The settings that the proxy serves by, with [`Settings::for_proxy`].
    #[must_use]
    pub fn proxy_settings(&self) -> Settings {
        self.settings.clone().for_proxy(self.folder())
    }

    /// Everything in force as YAML that reads back to the same settings; secrets are shown as `***`. With
    /// origins, each line names where its value came from.
    #[must_use]
    pub fn show(&self, with_origin: bool) -> String {
        show::to_yaml(&self.shown(), &self.written, with_origin)
    }

    /// The same as JSON, without origins.
    #[must_use]
    pub fn show_json(&self) -> serde_json::Value {
        show::to_json(&self.shown())
    }

    fn shown(&self) -> Shown {
        show::veiled(RootKeys::from(self.settings.clone()).show(), Some(&self.written))
    }
}

/// The admin socket as it was written, whatever else is wrong.
fn admin_socket(root: &Node) -> Option<PathBuf> {
    match &root.get("proxy")?.get("admin")?.value {
        Value::Scalar { text, .. } if !text.is_empty() => Some(PathBuf::from(text)),
        Value::Scalar { .. } | Value::Sequence(_) | Value::Mapping(_) => None,
    }
}

/// Reads every layer and parses what they say.
///
/// # Errors
/// When anything is wrong; the report holds every problem that could be found in one run.
pub fn load(sources: &Sources) -> Result<Loaded, Report> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut quotes = Quotes::default();
    let layers = layers::read(sources, &mut problems, &mut quotes);
    let mut reader = Reader::default();
    let keys = RootKeys::read(&layers.root, &mut reader);
    if layers.complete {
        check(&layers.root, &mut reader);
    }
    problems.extend(reader.into_problems());
    match keys {
        Some(keys) if problems.is_empty() => {
            let layers::Layers { root, files, variables, .. } = layers;
            Ok(Loaded { settings: keys.into(), files, variables, written: root })
        }
        _ => Err(Report::new(problems, admin_socket(&layers.root), quotes)),
    }
}
