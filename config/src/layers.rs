//! The layers of a configuration, laid over each other: from the place to look to one tree of nodes.
//!
//! Weakest first: the file, the environment's file beside it, `.env`, environment variables, Docker secrets.
//! (The defaults below them all stand in [`crate::keys`].) Called by [`crate::load()`] alone.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::keys::{begins_values, is_secret_key, is_stray_credential, keeps_names, looks_secret};
use crate::load::Sources;
use crate::node::{Node, Origin, Value, Veil};
use crate::problem::{Problem, Quotes, quoted};
use crate::substitute::substitute;
use crate::values::may_hold_a_secret;
use crate::variables::{DotEnv, Variables, parse_dot_env};
use crate::yaml;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// All layers in one tree.
#[derive(Debug)]
pub(crate) struct Layers {
    /// The tree; an empty section when nothing was written.
    pub(crate) root: Node,
    /// The files that were read, weakest first.
    pub(crate) files: Vec<PathBuf>,
    /// The names with values of the environment, and below them those of `.env`.
    pub(crate) variables: BTreeMap<String, String>,
    /// Whether every file could be read, so that what is missing is really missing.
    pub(crate) complete: bool,
}

/// Reads and merges every layer. What is wrong goes to `problems`, the files' lines to `quotes`.
pub(crate) fn read(sources: &Sources, problems: &mut Vec<Problem>, quotes: &mut Quotes) -> Layers {
    let mut shell = Shell { sources, problems, quotes, files: Vec::new(), complete: true };
    let mut root = Node::new(Value::Mapping(Vec::new()), Origin::Variable("".into()));
    let environment = shell.environment();
    let mut dot_env = DotEnv::new();
    let mut dot_env_name = Arc::from(".env");
    if let Some(file) = shell.find() {
        root.origin = yaml::in_file(&shell.shown(&file))(1, 1);
        if let Some(node) = shell.layer(&file, true) {
            root.overlay(node);
        }
        if let Some(name) = &environment
            && let Some(node) = shell.layer(&beside(&file, name), false)
        {
            root.overlay(node);
        }
        if environment.as_deref().is_none_or(|name| name == "development") {
            let path = file.with_file_name(".env");
            dot_env_name = shell.shown(&path);
            dot_env = shell.dot_env(&path);
        }
    }
    let Shell { files, complete, .. } = shell;
    let variables = Variables {
        dot_env_file: dot_env_name,
        dot_env,
        environment: &sources.variables,
        secrets: &sources.secrets_dir,
    };
    for layer in variables.overrides(problems) {
        root.overlay(layer);
    }
    replace_names(&mut root, &variables, &mut Vec::new(), problems);
    hide_secrets(&root, quotes);
    let mut named: BTreeMap<String, String> =
        variables.dot_env.into_iter().map(|(name, (value, _))| (name, value)).collect();
    named.extend(sources.variables.clone());
    Layers { root, files, variables: named, complete }
}

/// `switcher.yaml` and `production` make `switcher.production.yaml`.
fn beside(file: &Path, environment: &str) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let extension = file.extension().map_or_else(|| "yaml".into(), |e| e.to_string_lossy());
    file.with_file_name(format!("{stem}.{environment}.{extension}"))
}

struct Shell<'a> {
    sources: &'a Sources,
    problems: &'a mut Vec<Problem>,
    quotes: &'a mut Quotes,
    files: Vec<PathBuf>,
    complete: bool,
}

impl Shell<'_> {
    /// The environment's name, when it can stand in a file's name.
    fn environment(&mut self) -> Option<String> {
        let name = self.sources.environment_name()?;
        if name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
            return Some(name);
        }
        let message = format!("{} is no name of an environment", quoted(&name));
        let hint = "use letters, digits, `-` and `_`, for example --environment production";
        self.fail(Problem::of("", message, hint));
        None
    }

    /// The file to read: the one that is named, else the first that exists.
    fn find(&mut self) -> Option<PathBuf> {
        let (named, by) = match (&self.sources.file, self.sources.variable("SWITCHER_CONFIG")) {
            (Some(file), _) => (Some(file.clone()), "--config"),
            (None, Some(file)) => (Some(PathBuf::from(file)), "$SWITCHER_CONFIG"),
            (None, None) => (None, ""),
        };
        let standard = [self.sources.working_dir.join("switcher.yaml"), self.sources.system_file.clone()];
        if let Some(named) = named {
            let path = self.sources.working_dir.join(&named);
            if path.exists() || std::fs::symlink_metadata(&path).is_ok() {
                return Some(path);
            }
            let other = standard.iter().find(|path| path.is_file());
            let hint = other.map_or_else(
                || "create the file, or name the one you have with --config FILE".into(),
                |path| format!("{} exists; leave {by} out to use it", path.display()),
            );
            let looked =
                format!("there is no such file; {by} names it, and it was looked for at {}", path.display());
            self.fail(Problem::of(&self.shown(&path), looked, hint));
            return None;
        }
        if let Some(found) = standard.iter().find(|path| std::fs::symlink_metadata(path).is_ok()) {
            return Some(found.clone());
        }
        let places = standard.map(|path| format!("  {}: there is no such file", path.display())).join("\n");
        let message = format!(
            "no configuration file was found; these places were looked at:\n  --config: not given\n  $SWITCHER_CONFIG: not set\n{places}"
        );
        self.fail(Problem::of("", message, "write a switcher.yaml here, or name a file with --config FILE"));
        None
    }

    /// The tree of one file. One that may be absent and is absent is no layer.
    fn layer(&mut self, path: &Path, required: bool) -> Option<Node> {
        let text = self.text(path, required)?;
        let name = self.shown(path);
        self.quotes.keep(&name, quotable(&text));
        let before = self.problems.len();
        let node = yaml::parse(&text, &yaml::in_file(&name), self.problems);
        self.complete &= node.is_some() || self.problems.len() == before;
        let node = node.filter(|node| !node.is_null())?;
        if matches!(node.value, Value::Mapping(_)) {
            return Some(node);
        }
        let message =
            format!("the file must hold the sections `proxy` and `apps`, and this is {}", node.kind());
        self.fail(Problem::at(&node.origin, "", message, "begin with `apps:` and indent what belongs to it"));
        None
    }

    fn dot_env(&mut self, path: &Path) -> DotEnv {
        let Some(text) = self.text(path, false) else { return DotEnv::new() };
        parse_dot_env(&text, &self.shown(path), self.problems)
    }

    fn text(&mut self, path: &Path, required: bool) -> Option<String> {
        let file = self.shown(path);
        let bytes = match read_bounded(path) {
            Ok(bytes) => bytes,
            Err(error) if !required && error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                let (message, hint) = why_unreadable(&error);
                self.fail(Problem::of(&file, message, hint));
                return None;
            }
        };
        self.files.push(path.to_owned());
        match String::from_utf8(bytes) {
            Ok(text) => Some(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned)),
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let before = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
                let last = before.rsplit('\n').next().unwrap_or_default();
                let mut problem = Problem::of(&file, "this is not UTF-8", "save the file as UTF-8");
                problem.line = Some(before.matches('\n').count() + 1);
                problem.column = Some(last.chars().count() + 1);
                self.fail(problem);
                None
            }
        }
    }

    /// The name of a file as people know it: below the working folder it is relative.
    fn shown(&self, path: &Path) -> Arc<str> {
        let below = path.strip_prefix(&self.sources.working_dir).ok();
        below.filter(|below| !below.as_os_str().is_empty()).unwrap_or(path).to_string_lossy().into()
    }

    fn fail(&mut self, problem: Problem) {
        self.complete = false;
        self.problems.push(problem);
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the standard library's kinds are open-ended")]
fn why_unreadable(error: &io::Error) -> (String, &'static str) {
    match error.kind() {
        io::ErrorKind::IsADirectory => {
            ("this is a folder".into(), "name the file in it, for example FOLDER/switcher.yaml")
        }
        io::ErrorKind::PermissionDenied => {
            ("this file may not be read".into(), "give the user of this process the right to read it")
        }
        io::ErrorKind::FileTooLarge => {
            ("this file is larger than 1MiB".into(), "is it the right file? A configuration is a few KiB")
        }
        io::ErrorKind::NotFound => {
            ("this link points to no file".into(), "mend the link, or name another file with --config FILE")
        }
        _ => (format!("this file cannot be read: {error}"), "check the disk and the path"),
    }
}

/// The lines of a file that may be quoted: not the ones of a key that holds a secret. This works on
/// the bare text, so that it also holds for a file that cannot be parsed: a secret goes on until the next
/// line that begins with a key and is not indented deeper.
fn quotable(text: &str) -> Vec<Option<String>> {
    let mut secret_depth = None;
    let mut quote = |line: &str| {
        let depth = line.len() - line.trim_start().len();
        if looks_secret(line) || begins_values(line) {
            secret_depth = Some(depth);
        } else if secret_depth.is_some_and(|secret| depth <= secret && begins_with_key(line)) {
            secret_depth = None;
        }
        secret_depth.is_none().then(|| line.to_owned())
    };
    text.lines().map(&mut quote).collect()
}

/// Whether a line begins with a key and its colon.
fn begins_with_key(line: &str) -> bool {
    let line = line.trim_start().trim_start_matches("- ");
    let Some((key, after)) = line.split_once(':') else { return false };
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '"' | '\'' | ' '));
    plain && (after.is_empty() || after.starts_with([' ', '\r']))
}

/// Replaces `${…}` in every scalar that was written in a file, except where it is kept for later.
fn replace_names(
    node: &mut Node,
    variables: &Variables<'_>,
    path: &mut Vec<String>,
    problems: &mut Vec<Problem>,
) {
    match &mut node.value {
        Value::Scalar { text, plain } => {
            if !matches!(node.origin, Origin::File { .. }) || !text.contains('$') || keeps_names(path) {
                return;
            }
            match substitute(text, &mut |name| variables.look_up(name)) {
                Ok(done) => {
                    // An empty value is an empty text, never null: `${X}` must not switch a default on.
                    *plain &= !done.replaced;
                    *text = done.text;
                    node.via = done.via;
                    let veil = if done.secret { Veil::Secret } else { Veil::Substituted };
                    node.veil = if done.replaced { veil } else { Veil::Open };
                }
                Err(refused) => {
                    problems.push(Problem::at(&node.origin, &joined(path), refused.message, refused.hint));
                    node.via = vec![UNKNOWN.into()];
                }
            }
        }
        Value::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                path.push(format!("[{index}]"));
                replace_names(item, variables, path, problems);
                path.pop();
            }
        }
        Value::Mapping(entries) => {
            for (name, item) in entries {
                path.push(name.text.clone());
                replace_names(item, variables, path, problems);
                path.pop();
            }
        }
    }
}

/// The path of a key as problems tell it.
fn joined(path: &[String]) -> String {
    path.iter().enumerate().fold(String::new(), |mut key, (depth, step)| {
        if depth > 0 && !step.starts_with('[') {
            key.push('.');
        }
        key + step
    })
}

/// What [`Node::via`] holds when a name could not be replaced: the value is unknown, and told about.
pub(crate) const UNKNOWN: &str = "?";

/// Forbids to quote the lines on which a secret key's value was written, wherever an alias took it from.
fn hide_secrets(root: &Node, quotes: &mut Quotes) {
    let mut hidden: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
    collect_secrets(root, "", false, &mut hidden);
    for (file, lines) in hidden {
        for (first, last) in lines {
            quotes.hide(&file, first, last);
        }
    }
}

fn collect_secrets(
    node: &Node,
    name: &str,
    secret: bool,
    hidden: &mut BTreeMap<String, Vec<(usize, usize)>>,
) {
    let secret = secret || matches!(&node.value, Value::Scalar { text, .. } if may_hold_a_secret(text));
    if secret && let Some(first) = node.origin.line() {
        hidden.entry(node.origin.source()).or_default().push((first, node.last_line));
    }
    match &node.value {
        Value::Scalar { .. } => {}
        Value::Sequence(items) => items.iter().for_each(|item| collect_secrets(item, name, secret, hidden)),
        Value::Mapping(entries) => {
            for (key, item) in entries {
                let key = key.text.as_str();
                let secret = secret || is_secret_key(key) || is_stray_credential(name, key);
                collect_secrets(item, key, secret, hidden);
            }
        }
    }
}
