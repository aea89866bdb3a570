//! The login of a registry, from Docker's own configuration file and its credential helpers.
//!
//! Credentials are read when they are needed, kept nowhere, and never shown: neither type here can be printed with
//! its secret. A helper's standard output on success is the secret itself and never gets into a message.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::{DockerError, DockerErrorKind};

/// How long a helper may take; some ask a person to unlock a key store.
const HELPER: Duration = Duration::from_secs(60);

/// What Docker calls its own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The part of `config.json` that is about logins.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

/// One login as the file keeps it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase", default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// The login for a registry; none when the file has none for it. `folder` is Docker's configuration folder.
///
/// # Errors
/// When the file cannot be read, or the helper that it names is missing or fails.
pub(super) async fn login(
    folder: Option<&Path>,
    registry: &str,
) -> Result<Option<DockerCredentials>, DockerError> {
    let Some(path) = folder.map(|folder| folder.join("config.json")) else { return Ok(None) };
    let config = match read(&path) {
        Ok(Some(config)) => config,
        Ok(None) => return Ok(None),
        Err(problem) => {
            return Err(trouble(format!("Docker's configuration file {} {problem}", path.display())));
        }
    };
    let server = server(registry);
    let helper =
        config.cred_helpers.get(server).or(config.creds_store.as_ref()).filter(|name| !name.is_empty());
    if let Some(helper) = helper
        && let Some(answer) = ask(&format!("docker-credential-{helper}"), server, &path).await?
    {
        return Ok(Some(from_helper(answer, server)));
    }
    match stored(&config, registry) {
        None => Ok(None),
        Some(entry) => from_file(entry, server).map_err(|problem| {
            let again = format!("log in again with `docker login {registry}`");
            trouble(format!("the login for {registry} in {} {problem}; {again}", path.display()))
        }),
    }
}

/// A login, for whoever asks a registry without the engine. It cannot be printed.
pub enum RegistryLogin {
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// What the registry's token service takes instead of a password.
    Identity(String),
    /// What the registry itself takes.
    Bearer(String),
}

/// The login for a registry, as the engine would be given it; none when there is none.
///
/// # Errors
/// As `docker login` left it: when the file cannot be read, or the helper that it names is missing or fails.
pub async fn registry_login(
    folder: Option<&Path>,
    registry: &str,
) -> Result<Option<RegistryLogin>, DockerError> {
    let Some(login) = login(folder, registry).await? else { return Ok(None) };
    let DockerCredentials { username, password, identitytoken, registrytoken, .. } = login;
    Ok(match (registrytoken, identitytoken, username, password) {
        (Some(token), _, _, _) => Some(RegistryLogin::Bearer(token)),
        (None, Some(token), _, _) => Some(RegistryLogin::Identity(token)),
        (None, None, Some(user), Some(password)) => Some(RegistryLogin::Password { user, password }),
        (None, None, _, _) => None,
    })
}

/// Docker's configuration folder: `$DOCKER_CONFIG`, else `.docker` in the home folder.
#[must_use]
pub fn folder(docker_config: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    docker_config.or_else(|| Some(home?.join(".docker")))
}

fn read(path: &Path) -> Result<Option<ConfigFile>, String> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    // The words of serde would quote the file, and with it a secret.
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| format!("is damaged at line {}, column {}", error.line(), error.column()))
}

/// What logins of a registry are kept under.
fn server(registry: &str) -> &str {
    match registry {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        other => other,
    }
}

/// The login that the file itself keeps. Old files have whole URLs as keys.
fn stored<'a>(config: &'a ConfigFile, registry: &str) -> Option<&'a Entry> {
    let server = server(registry);
    config.auths.get(server).or_else(|| {
        let wanted = hostname(server);
        config.auths.iter().find(|(key, _)| hostname(key) == wanted).map(|(_, entry)| entry)
    })
}

/// `https://ghcr.io/v1/` is `ghcr.io`.
fn hostname(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    key.split('/').next().unwrap_or(key)
}

fn from_file(entry: &Entry, server: &str) -> Result<Option<DockerCredentials>, &'static str> {
    let filled = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let mut login =
        DockerCredentials { serveraddress: Some(server.to_owned()), ..DockerCredentials::default() };
    if let Some(token) = filled(&entry.registrytoken) {
        return Ok(Some(DockerCredentials { registrytoken: Some(token), ..login }));
    }
    (login.username, login.password) = match filled(&entry.auth) {
        Some(auth) => decoded(&auth).ok_or("is no base64 of `user:password`")?,
        None => (filled(&entry.username), filled(&entry.password)),
    };
    if let Some(token) = filled(&entry.identitytoken) {
        // With a token the engine asks for no password; the user may be of use to it.
        login.password = None;
        return Ok(Some(DockerCredentials { identitytoken: Some(token), ..login }));
    }
    Ok(login.username.is_some().then_some(login))
}

/// User and password of an `auth` entry.
fn decoded(auth: &str) -> Option<(Option<String>, Option<String>)> {
    let auth = auth.trim();
    let bytes = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.trim_end_matches('\0').split_once(':')?;
    Some((Some(user.to_owned()), Some(password.to_owned())))
}

fn from_helper(answer: HelperAnswer, server: &str) -> DockerCredentials {
    let login = DockerCredentials { serveraddress: Some(server.to_owned()), ..DockerCredentials::default() };
    if answer.username == "<token>" {
        return DockerCredentials { identitytoken: Some(answer.secret), ..login };
    }
    DockerCredentials { username: Some(answer.username), password: Some(answer.secret), ..login }
}

/// Asks a helper; none when it knows no login for the server.
async fn ask(program: &str, server: &str, config: &Path) -> Result<Option<HelperAnswer>, DockerError> {
    let why = format!("{} names it for {server}", config.display());
    let run = async {
        let mut child = Command::new(program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that ends without reading says why in its answer.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = match timeout(HELPER, run).await {
        Err(_) => {
            let message =
                format!("the credential helper {program} did not answer within {}s; {why}", HELPER.as_secs());
            return Err(trouble(message));
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            let message = format!(
                "the credential helper {program} is not on the PATH; {why}: install it, or log in without it"
            );
            return Err(trouble(message));
        }
        Ok(Err(error)) => {
            return Err(trouble(format!(
                "the credential helper {program} cannot be started: {error}; {why}"
            )));
        }
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        return serde_json::from_slice(&output.stdout).map(Some).map_err(|_| {
            trouble(format!("the answer of the credential helper {program} is not understood; {why}"))
        });
    }
    let words = complaint(&output.stdout, &output.stderr);
    if words.contains("credentials not found") {
        return Ok(None);
    }
    Err(trouble(format!("the credential helper {program} failed ({}): {words}; {why}", output.status)))
}

/// The first line of what a helper complained about: on standard output by their convention, never an answer.
fn complaint(stdout: &[u8], stderr: &[u8]) -> String {
    let first = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.lines().map(str::trim).find(|line| !line.is_empty()).map(|line| line.chars().take(200).collect())
    };
    let answer = stdout.contains(&b'{');
    let spoken: Option<String> = if answer { None } else { first(stdout) };
    spoken.or_else(|| first(stderr)).unwrap_or_else(|| "it said nothing".to_owned())
}

fn trouble(message: String) -> DockerError {
    DockerError::new(DockerErrorKind::Credentials, message)
}

#[cfg(test)]
mod tests;
