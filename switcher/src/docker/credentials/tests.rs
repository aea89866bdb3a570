//! Logins out of files as Docker writes them, and helpers that answer, are missing, or fail.

use switcher_config::durable::{self, Durability};
use tempfile::TempDir;

use super::*;

fn parsed(text: &str) -> ConfigFile {
    serde_json::from_str(text).expect("a configuration file")
}

fn found(text: &str, registry: &str) -> Option<DockerCredentials> {
    let config = parsed(text);
    stored(&config, registry).and_then(|entry| from_file(entry, server(registry)).expect("a login"))
}

fn with_config(text: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    durable::replace(&folder.path().join("config.json"), text.as_bytes(), 0o600, Durability::Unsynced)
        .expect("the file");
    folder
}

/// A helper that runs a shell script.
fn helper(folder: &TempDir, script: &str) -> String {
    let file = folder.path().join("docker-credential-test");
    let text = format!("#!/bin/sh\n{script}\n");
    durable::replace(&file, text.as_bytes(), 0o755, Durability::Unsynced).expect("the helper");
    file.to_string_lossy().into_owned()
}

async fn asked(script: &str) -> Result<Option<HelperAnswer>, DockerError> {
    let folder = TempDir::new().expect("a folder");
    ask(&helper(&folder, script), DOCKER_HUB, Path::new("/etc/config.json")).await
}

#[test]
fn logins_are_found_under_every_key_that_docker_writes() {
    // tester:p+w/with?odd~chars>>>
    let auth = "dGVzdGVyOnArdy93aXRoP29kZH5jaGFycz4+Pg==";
    for (key, registry) in [
        ("ghcr.io", "ghcr.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("https://ghcr.io/v1/", "ghcr.io"),
        ("http://127.0.0.1:5000", "127.0.0.1:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
    ] {
        let login =
            found(&format!(r#"{{"auths": {{"{key}": {{"auth": "{auth}"}}}}}}"#), registry).expect(key);
        assert_eq!(login.username.as_deref(), Some("tester"), "{key}");
        assert_eq!(login.password.as_deref(), Some("p+w/with?odd~chars>>>"), "{key}");
    }
    assert_eq!(found(&format!(r#"{{"auths": {{"ghcr.io": {{"auth": "{auth}"}}}}}}"#), "ghcr.io:444"), None);
}

#[test]
fn a_token_takes_the_place_of_the_password() {
    let login = found(
        r#"{"auths": {"r.example.com": {"auth": "dGVzdGVyOng=", "identitytoken": "t0ken"}}}"#,
        "r.example.com",
    );
    let login = login.expect("a login");
    assert_eq!((login.identitytoken.as_deref(), login.password), (Some("t0ken"), None));
}

#[test]
fn an_empty_entry_is_no_login() {
    for entry in ["{}", r#"{"auth": ""}"#, r#"{"identitytoken": "", "auth": ""}"#] {
        assert_eq!(found(&format!(r#"{{"auths": {{"ghcr.io": {entry}}}}}"#), "ghcr.io"), None, "{entry}");
    }
}

#[tokio::test]
async fn a_damaged_file_is_named_without_what_is_in_it() {
    let folder = with_config(r#"{"auths": {"ghcr.io": {"auth": "c2VjcmV0OnNlY3JldA=="#);
    let error = login(Some(folder.path()), "ghcr.io").await.expect_err("it is damaged");
    assert_eq!(error.kind(), DockerErrorKind::Credentials);
    assert!(error.to_string().contains("config.json"), "{error}");
    assert!(!format!("{error:?}").contains("c2Vjcm"), "{error}");
    let folder = with_config(r#"{"auths": {"ghcr.io": {"auth": "not base64!"}}}"#);
    let error = login(Some(folder.path()), "ghcr.io").await.expect_err("it is no base64").to_string();
    assert!(error.contains("docker login ghcr.io") && !error.contains("not base64!"), "{error}");
}

#[tokio::test]
async fn no_file_is_no_login() {
    let folder = TempDir::new().expect("a folder");
    assert_eq!(login(Some(folder.path()), "ghcr.io").await, Ok(None));
    assert_eq!(login(None, "ghcr.io").await, Ok(None));
}

#[tokio::test]
async fn a_missing_helper_is_named() {
    let folder = with_config(r#"{"credsStore": "of-nobody"}"#);
    let error = login(Some(folder.path()), "ghcr.io").await.expect_err("it is missing").to_string();
    assert!(error.contains("docker-credential-of-nobody is not on the PATH"), "{error}");
}

#[tokio::test]
async fn a_helper_is_asked_for_the_server_and_its_answer_is_the_login() {
    let script = r#"[ "$1" = get ] && server=$(cat) && echo "{\"ServerURL\":\"x\",\"Username\":\"$server\",\"Secret\":\"s\"}""#;
    let answer = asked(script).await.expect("it answers").expect("it knows the server");
    let login = from_helper(answer, DOCKER_HUB);
    assert_eq!((login.username.as_deref(), login.password.as_deref()), (Some(DOCKER_HUB), Some("s")));
    let answer = asked(r#"cat > /dev/null; echo '{"Username":"<token>","Secret":"s"}'"#).await;
    let login = from_helper(answer.expect("it answers").expect("it knows the server"), DOCKER_HUB);
    assert_eq!((login.username, login.identitytoken.as_deref()), (None, Some("s")));
}

#[tokio::test]
async fn a_helper_without_a_login_is_no_trouble() {
    let none = asked("echo 'credentials not found in native keychain'; exit 1").await.expect("it answers");
    assert!(none.is_none());
}

#[tokio::test]
async fn a_helper_that_fails_is_named_with_its_words_and_without_its_secrets() {
    let error = asked("echo 'the key store is locked'; exit 3").await.err().expect("it fails").to_string();
    assert!(
        error.contains("docker-credential-test failed") && error.contains("the key store is locked"),
        "{error}"
    );
    let script = r#"echo '{"Username":"u","Secret":"hunter2"}'; echo 'out of order' >&2; exit 1"#;
    let error = asked(script).await.err().expect("it fails").to_string();
    assert!(error.contains("out of order") && !error.contains("hunter2"), "{error}");
    let error = asked("echo hunter2").await.err().expect("that is no answer").to_string();
    assert!(error.contains("is not understood") && !error.contains("hunter2"), "{error}");
}
