//! What env files, variables and secrets come to, and what stands in their way.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use switcher_config::Slot;
use tempfile::TempDir;

use super::*;

/// A folder with env files and secrets, and the settings that name them.
struct Scene {
    folder: TempDir,
    deploy: String,
    variables: BTreeMap<String, String>,
}

impl Scene {
    fn new(deploy: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("secrets")).expect("a folder");
        Self { folder, deploy: deploy.to_owned(), variables: BTreeMap::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(self, name: &str, text: &str) -> Self {
        put(&self.path(name), text, 0o600);
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn read(&self) -> Result<Environment, Problems> {
        let indented: String = self.deploy.lines().map(|line| format!("      {line}\n")).collect();
        let text = format!(
            "proxy: {{http: 127.0.0.1:8080, data_dir: /tmp}}\napps:\n  shop:\n    deploy:\n      image: ghcr.io/acme/shop\n{indented}"
        );
        put(&self.path("switcher.yaml"), &text, 0o600);
        let sources = switcher_config::Sources::from_process(Some(self.path("switcher.yaml")), None);
        let loaded = switcher_config::load(&sources).expect("a configuration");
        let app = loaded.settings.apps.values().next().expect("an application");
        let settings = app.deploy.clone().expect("a deploy section");
        let sources = Sources {
            folder: self.folder.path().to_owned(),
            variables: self.variables.clone(),
            secrets_dir: self.path("secrets"),
        };
        Environment::read(&settings, &sources)
    }

    fn environment(&self) -> Environment {
        self.read().unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// What is told, with the folder's name taken out.
    fn told(&self, problems: &Problems) -> String {
        problems.to_string().replace(&self.folder.path().display().to_string(), "/srv/shop")
    }

    fn problems(&self) -> String {
        self.told(&self.read().expect_err("problems"))
    }
}

fn put(path: &Path, text: &str, mode: u32) {
    switcher_config::durable::replace(
        path,
        text.as_bytes(),
        mode,
        switcher_config::durable::Durability::Unsynced,
    )
    .expect("a file");
}

fn words() -> Words {
    Words {
        app: "shop".parse().expect("a name"),
        environment: "production".to_owned(),
        slot: Slot::Green,
        version: "v1.5.0".to_owned(),
        git_commit: "abc1234".to_owned(),
        deployment: "dep_01JBQR2K3M4N5P6Q7R8S9T0VWX".parse().expect("an id"),
        image: "ghcr.io/acme/shop@sha256:00".to_owned(),
        replica: 2,
    }
}

fn shown(variables: &BTreeMap<String, String>) -> Vec<String> {
    variables.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[test]
fn layers_lie_over_each_other_in_their_order() {
    let scene = Scene::new(
        "env_files: [one.env, two.env]\nenv: {D: \"of env {slot} {version} ${X}\", E: of env}\nrequired_env: [F]",
    )
    .file("one.env", "A=of one\nB=of one\nC=of one\nD=of one\nE=of one\nG\nH\n")
    .file("two.env", "B=of two\nC=of two\n")
    .file("secrets/e", "of secret\n")
    .variable("C", "of process")
    .variable("D", "of process")
    .variable("F", "of process")
    .variable("G", "of process")
    .variable("X", "{slot} of process")
    .variable("Z", "never named");
    let resolved = scene.environment().application(&words()).expect("an environment");
    assert_eq!(
        shown(&resolved.variables),
        [
            "A=of one",
            "B=of two",
            "C=of process",
            "D=of env green v1.5.0 {slot} of process",
            "E=of secret",
            "F=of process",
            "G=of process",
        ]
    );
    assert!(resolved.secrets.is_empty());
}

#[test]
fn the_session_of_the_operator_and_empty_variables_change_no_env_file() {
    let scene = Scene::new("env_files: [app.env]")
        .file("app.env", "PATH=/app\nLC_ALL=C\nTOKEN=of file\nHOME\n")
        .variable("PATH", "/usr/bin")
        .variable("LC_ALL", "de_DE")
        .variable("HOME", "/root")
        .variable("TOKEN", "");
    let resolved = scene.environment().application(&words()).expect("an environment");
    assert_eq!(shown(&resolved.variables), ["HOME=/root", "LC_ALL=C", "PATH=/app", "TOKEN=of file"]);
}

#[test]
fn a_migration_has_variables_of_its_own_and_urls_are_found() {
    let scene = Scene::new(
        "env_files: [.env]\nmigrate: {command: [up], env: {DATABASE_URL: \"${DIRECT_DATABASE_URL}\", STEP: \"{slot}\"}}\nsnapshot: {database_url: \"${DIRECT_DATABASE_URL}?x\"}",
    )
    .file(".env", "DATABASE_URL=postgres://pool/shop\nA=1\n")
    .variable("DIRECT_DATABASE_URL", "postgres://direct/shop");
    let environment = scene.environment();
    let application = environment.application(&words()).expect("an environment");
    assert_eq!(shown(&application.variables), ["A=1", "DATABASE_URL=postgres://pool/shop"]);
    let migration = environment.migration(&words()).expect("an environment");
    assert_eq!(shown(&migration.variables), ["A=1", "DATABASE_URL=postgres://direct/shop", "STEP=green"]);
    let url = |found: Result<Option<SecretText>, Problems>| found.expect("no problem").expect("a URL");
    assert_eq!(url(environment.snapshot_url(&words())).expose(), "postgres://direct/shop?x");
    assert_eq!(url(environment.schema_url(&words())).expose(), "postgres://direct/shop");
}

#[test]
fn the_schema_is_read_where_the_settings_say_and_nowhere_without_migrations() {
    let scene = Scene::new("migrate: {command: [up], database_url: \"postgres://ro@db/${NAME:-shop}\"}");
    let url = scene.environment().schema_url(&words()).expect("no problem").expect("a URL");
    assert_eq!(url.expose(), "postgres://ro@db/shop");
    let scene = Scene::new("env: {DATABASE_URL: postgres://db/shop}");
    assert_eq!(scene.environment().schema_url(&words()), Ok(None));
    assert_eq!(scene.environment().snapshot_url(&words()), Ok(None));
}

#[test]
fn secrets_are_files_in_the_container_from_a_file_or_a_variable() {
    let scene = Scene::new(
        "env_files: [.env]\nenv: {DATABASE_URL: \"postgres://app:${PW}@db\"}\nsecrets: [tls-key, jwt_secret, database_url]",
    )
    .file(".env", "JWT_SECRET=of-the-env-file\n")
    .file("secrets/tls-key", "line one\nline two\n")
    .variable("PW", "of-the-process");
    let resolved = scene.environment().application(&words()).expect("an environment");
    let files: Vec<String> = resolved
        .secrets
        .iter()
        .map(|file| format!("{}={}", file.path, String::from_utf8_lossy(&file.content)))
        .collect();
    assert_eq!(
        files,
        [
            "/run/secrets/tls-key=line one\nline two\n",
            "/run/secrets/jwt_secret=of-the-env-file",
            "/run/secrets/database_url=postgres://app:of-the-process@db",
        ]
    );
}

#[test]
fn every_problem_of_files_and_secrets_is_told_in_one_report_without_a_value() {
    let scene = Scene::new(
        "env_files: [open.env, missing.env, bad.env, secrets]\nrequired_env: [API_TOKEN]\nsecrets: [jwt_secret, empty, filled]",
    )
    .file("open.env", "A=hunter22\n")
    .file("bad.env", "A=hunter22\nB hunter22\nURL=postgres://shop:CHANGE_ME@hunter22/shop\nC='hunter22\n")
    .file("secrets/empty", "\n")
    .file("secrets/filled", "<change-me>\n")
    .variable("API_TOKEN", "ChangeMe");
    std::fs::set_permissions(scene.path("open.env"), PermissionsExt::from_mode(0o640)).expect("a mode");
    let told = scene.problems();
    assert!(!told.contains("hunter22"));
    insta::assert_snapshot!(told);
}

#[test]
fn every_problem_of_templates_and_required_names_is_told_in_one_report() {
    let scene = Scene::new(
        "env_files: [.env]\nenv: {A: \"${NOWHERE}\", B: \"x${PLACEHOLDER}\", C: \"${NONE:?ask the operator}\"}\nrequired_env: [A, EMPTY, MISSING]\nmigrate: {command: [up], env: {D: \"${NOWHERE}\"}}",
    )
    .file(".env", "EMPTY=\nA=1\n")
    .variable("PLACEHOLDER", " CHANGE_ME");
    let environment = scene.environment();
    insta::assert_snapshot!(scene.told(&environment.migration(&words()).expect_err("problems")));
}

#[test]
fn a_link_is_judged_by_what_it_leads_to() {
    let scene = Scene::new("env_files: [.env]").file("real.env", "A=1\n");
    symlink(scene.path("real.env"), scene.path(".env")).expect("a link");
    assert!(scene.read().is_ok());
    for (mode, fine) in [(0o400, true), (0o600, true), (0o640, false), (0o604, false), (0o660, false)] {
        std::fs::set_permissions(scene.path("real.env"), PermissionsExt::from_mode(mode)).expect("a mode");
        assert_eq!(scene.read().is_ok(), fine, "{mode:o}");
    }
    let told = scene.problems();
    assert!(told.contains("its mode is 0660") && told.contains("chmod 600 /srv/shop/.env"), "{told}");
}

#[test]
fn a_name_that_stands_twice_has_its_last_value_and_a_word() {
    let scene = Scene::new("env_files: [.env]").file(".env", "A=first\n\nA=second\n");
    let environment = scene.environment();
    assert_eq!(shown(&environment.application(&words()).expect("an environment").variables), ["A=second"]);
    let told: Vec<&str> =
        environment.warnings().iter().filter_map(|told| told.split_once(": ")).map(|(_, t)| t).collect();
    assert_eq!(told, ["A stands in line 1 and again in line 3; the later one is used"]);
}

#[test]
fn everything_that_is_secret_is_hidden_and_what_is_not_stays_readable() {
    let scene = Scene::new(
        "env_files: [.env]\nenv: {APP_TOKEN: written-in-the-open, URL: \"amqp://u:p%40ss-word@mq/${VHOST}\"}\nsecrets: [pin]\nrequired_env: [FROM_PROCESS]",
    )
    .file(".env", "REPEATED=was-replaced\nREPEATED=replaced-it\nPORT=8080\nAPP_ENV=production\nSMTP_PASS=pa55\n")
    .file("secrets/pin", "tiny\n")
    .variable("FROM_PROCESS", "of-the-process")
    .variable("VHOST", "of-a-template")
    .variable("OTHER", "never-asked-for");
    let redactor = scene.environment().secrets();
    for secret in [
        "was-replaced",
        "replaced-it",
        "pa55",
        "tiny",
        "of-the-process",
        "of-a-template",
        "written-in-the-open",
        "p%40ss-word",
        "p@ss-word",
    ] {
        assert_eq!(redactor.line(&format!("saw {secret}, really")), "saw ***, really", "{secret}");
    }
    let plain = "production listens on 8080 with never-asked-for, A=true";
    assert_eq!(redactor.line(plain), plain);
}

#[test]
fn no_value_is_in_what_is_printed_for_developers() {
    let scene = Scene::new("env_files: [.env]\nsecrets: [key]")
        .file(".env", "A=hunter22\n")
        .file("secrets/key", "hunter22")
        .variable("B", "hunter22");
    let environment = scene.environment();
    let resolved = environment.application(&words()).expect("an environment");
    let sources =
        Sources { folder: PathBuf::new(), variables: scene.variables.clone(), secrets_dir: PathBuf::new() };
    let text = format!(
        "{environment:?} {resolved:?} {sources:?} {:?} {:?}",
        environment.secrets(),
        SecretText::new("hunter22")
    );
    assert!(!text.contains("hunter22"), "{text}");
}
