//! `history` and `lock` on a real state folder; the lease is held by the process of the test.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use switcher::state::record::DeploymentRecord;
use switcher::state::{Lease, Owner, Store};
use switcher_config::Span;
use tempfile::TempDir;

use crate::proxy::{Answer, Proxy};
use crate::run::{Run, command, finish};

const CLAIM: &str = "POST /v1/apps/shop/claim";

/// A configuration that deploys `shop`, and the state folder it names.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Self { folder };
        let text = format!(
            "switcher: {{state_dir: {}}}\napps:\n  shop:\n    deploy: {{image: ghcr.io/acme/shop}}\n",
            home.state_dir().display()
        );
        put(&home.config(), &text);
        home
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("switcher.yaml")
    }

    fn state_dir(&self) -> PathBuf {
        self.folder.path().join("deployments")
    }

    fn store(&self) -> Store {
        let app = "shop".parse().expect("a name");
        Store::open(&self.state_dir(), "production", &app, true).expect("a store").allow_temporary(true)
    }

    fn lease(&self) -> Lease {
        let owner = Owner { pid: 4711, by: "ada@build".to_owned(), ..Owner::here("deploy", None) };
        self.store().try_acquire(&owner, 0, Span::seconds(600)).expect("the lease")
    }

    /// Runs the program against a socket; the folder is shown as `/srv`.
    fn at(&self, socket: &Path, args: &str) -> Run {
        let output = command(&format!("--config {} {args}", self.config().display()))
            .env("SWITCHER_ADMIN", socket)
            .env("SWITCHER_ALLOW_TEMPORARY_STATE", "1")
            .env("USER", "bob")
            .output()
            .expect("a run");
        let mut run = finish(output, socket);
        for text in [&mut run.out, &mut run.err] {
            *text = text.replace(&self.folder.path().display().to_string(), "/srv");
        }
        run
    }

    fn run(&self, args: &str) -> Run {
        self.at(Path::new("/nonexistent"), args)
    }
}

fn put(path: &Path, text: &str) {
    File::create(path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a file");
}

fn deployment(id: &str, version: &str, status: &str) -> DeploymentRecord {
    serde_json::from_value(json!({
        "id": format!("dep_01JBQR2K3M4N5P6Q7R8S9T0V{id}"), "version": version, "image": "", "git_commit": "",
        "deployed_at": "2020-01-02T03:04:05Z", "deployed_by": "ada@build", "active_slot": "blue",
        "health_status": "healthy", "status": status, "migrations_run": 0, "rollback_count": 0,
    }))
    .expect("a record")
}

#[test]
fn the_history_is_shown_as_a_table_as_json_and_as_yaml() {
    let home = Home::new();
    assert_eq!(home.run("history").out, "nothing was deployed yet\n");
    let lease = home.lease();
    for line in [deployment("A1", "v1.4.2", "superseded"), deployment("B2", "v1.5.0", "active")] {
        lease.record(&line).expect("recorded");
    }
    let table = home.run("history");
    assert_eq!((table.code, table.err.as_str(), table.out.lines().count()), (0, "", 3), "{}", table.all());
    assert!(table.out.lines().nth(1).expect("a row").contains("v1.5.0"), "the newest first: {}", table.out);
    let json = home.run("history --json --limit 1").json();
    assert_eq!((json["app"].as_str(), json["environment"].as_str()), (Some("shop"), Some("production")));
    assert_eq!(json["deployments"].as_array().expect("a list").len(), 1);
    assert_eq!(json["deployments"][0]["status"], "active");
    let yaml = home.run("history --yaml --limit 1").out;
    assert!(yaml.starts_with("app: shop\nenvironment: production\ndeployments:\n  - id: dep_"), "{yaml}");
    assert!(yaml.contains("\n    deployed_at: \"2020-01-02T03:04:05Z\"\n"), "{yaml}");
    assert_eq!(home.run("history --environment staging").out, "nothing was deployed yet\n");
}

#[test]
fn the_status_of_the_lease_is_asked_of_no_proxy_and_changes_nothing() {
    let home = Home::new();
    let free = home.run("lock status --json").json();
    assert_eq!((free["verdict"].as_str(), free["lock"]["locked"].as_bool()), (Some("free"), Some(false)));
    assert!(!home.state_dir().exists());
    let lease = home.lease();
    let held = home.run("lock status --json").json();
    assert_eq!(held["verdict"], "held");
    assert_eq!(held["lock"]["lock_id"], lease.lock_id());
    let shown = home.run("lock status");
    assert!(shown.out.contains("deploy by ada@build (process 4711 on "), "{}", shown.out);
    assert!(shown.err.contains("lock release --force"), "{}", shown.err);
    drop(lease);
    assert_eq!(home.run("lock status --json").json()["verdict"], "free");
}

#[test]
fn a_living_owner_keeps_the_lease_unless_force_was_said_and_meant() {
    let home = Home::new();
    assert_eq!(home.run("lock release").out, "the lease is free; there was nothing to release\n");
    let lease = home.lease();
    let refused = home.run("lock release --json");
    let error = refused.error()["error"].clone();
    assert_eq!((refused.code, error["code"].as_str()), (3, Some("E-LOCK-01")));
    assert!(error["message"].as_str().expect("text").contains("deploy by ada@build"), "{error:#}");
    assert!(error["next"].as_str().expect("text").ends_with("lock release --json --force"), "{error:#}");
    let unconfirmed = home.run("lock release --force");
    assert_eq!(unconfirmed.code, 2, "{}", unconfirmed.all());
    assert!(unconfirmed.err.contains("E-LOCK-03") && unconfirmed.err.contains("its promote is refused"));
    lease.update(|_| {}).expect("still held");
    assert_eq!(home.store().audited().expect("read"), []);
}

#[test]
fn force_takes_the_lease_and_makes_the_proxy_refuse_its_owner() {
    let home = Home::new();
    let lease = home.lease();
    let proxy = Proxy::start().on(CLAIM, |_| Answer::Json(200, json!({"generation": 7, "mode": "open"})));
    let run = home.at(&proxy.socket(), "lock release --force --yes --json");
    let value = run.json();
    assert_eq!((run.code, &value["released"], &value["fenced"]), (0, &json!(true), &json!(true)));
    assert_eq!((&value["verdict"], &value["lock"]["lock_id"]), (&json!("held"), &json!(lease.lock_id())));
    let asked = proxy.changes_asked();
    let claim: Value = serde_json::from_str(asked[0].trim_start_matches(CLAIM).trim()).expect("JSON");
    assert_eq!(claim["number"], lease.number() + 1);
    assert_ne!(claim["holder"], lease.lock_id());
    assert!(lease.update(|_| {}).is_err(), "its owner writes nothing more");
    let audited = home.store().audited().expect("read");
    assert_eq!(audited.len(), 1);
    assert!(audited[0].by.starts_with("bob@") && audited[0].operation == "lock release");
    assert!(audited[0].note.as_deref().expect("a note").contains("ada@build"));
    assert_eq!(home.lease().number(), lease.number() + 2);
}

#[test]
fn without_a_proxy_the_lease_is_released_with_a_warning() {
    let home = Home::new();
    let lease = home.lease();
    let run = home.run("lock release --force --yes");
    assert_eq!(run.code, 0, "{}", run.all());
    assert!(run.err.contains("warning: the proxy does not refuse the old owner"), "{}", run.err);
    assert!(lease.release().is_err());
}

#[test]
fn a_damaged_memory_is_refused_and_the_next_command_mends_it() {
    let home = Home::new();
    drop(home.lease());
    let file = home.store().folder().join("state.json");
    put(&file, "{");
    let run = home.run("lock status --json");
    let error = run.error()["error"].clone();
    assert_eq!((run.code, error["code"].as_str()), (7, Some("E-STATE-04")));
    let next =
        error["next"].as_str().expect("a command").replace("/srv", &home.folder.path().display().to_string());
    let mended = std::process::Command::new("sh").args(["-c", &next]).status().expect("a run");
    assert!(mended.success(), "{next}");
    assert_eq!(home.run("lock status").code, 0);
    put(&home.store().folder().join("history.jsonl"), "1\n");
    let run = home.run("history");
    assert_eq!(run.code, 7);
    assert!(
        run.err.contains("line 1 of /srv/deployments/production/history.jsonl is damaged"),
        "{}",
        run.err
    );
}

#[test]
fn a_temporary_state_folder_is_a_mistake_of_the_configuration() {
    let home = Home::new();
    let output =
        command(&format!("--config {} lock release", home.config().display())).output().expect("a run");
    let run = finish(output, Path::new("no socket is shown"));
    assert_eq!(run.code, 10, "{}", run.all());
    assert!(
        run.err.contains("E-STATE-05") && run.err.contains("/var/lib/switcher-deployments"),
        "{}",
        run.err
    );
    assert!(fs::metadata(home.state_dir()).is_err(), "nothing is made");
}

#[test]
fn an_application_that_is_not_deployed_has_no_memory() {
    let home = Home::new();
    let unknown = home.run("history --app blog --json");
    assert_eq!((unknown.code, &unknown.error()["error"]["code"]), (2, &json!("E-APP-02")));
    let text = fs::read_to_string(home.config()).expect("text");
    put(
        &home.config(),
        &format!("{text}  blog:\n    path: /blog\n    deploy: {{image: ghcr.io/acme/blog}}\n"),
    );
    let several = home.run("history --json");
    assert_eq!((several.code, &several.error()["error"]["code"]), (2, &json!("E-APP-01")));
    assert_eq!(home.run("history --app blog").code, 0);
}
