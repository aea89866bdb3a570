//! Slots run by hooks, with a runner that only writes down what it was asked.

use std::sync::Arc;

use parking_lot::Mutex;
use switcher_config::Span;
use switcher_config::settings::{
    ContainerLimits, DeploySettings, HealthcheckChoice, Hook, Retain, RuntimeKind, Workers,
};

use super::super::HookFailed;
use super::*;
use crate::deployment::Release;

const OLD: &str = "dep_01JBQR2K3M4N5P6Q7R8S9T0VWX";
const NEW: &str = "dep_01JBQR2K3M4N5P6Q7R8S9T0VWY";

/// What the runner was asked, and whether it fails.
#[derive(Default)]
struct Book {
    calls: Mutex<Vec<String>>,
    broken: Mutex<bool>,
}

struct Runner(Arc<Book>);

#[async_trait]
impl HookRunner for Runner {
    async fn run(&self, name: &'static str, _: &Hook, words: &Words) -> Result<(), HookFailed> {
        self.0.calls.lock().push(format!("{name} {} {}", words.slot, words.version));
        if *self.0.broken.lock() { Err(HookFailed("the hook failed".to_owned())) } else { Ok(()) }
    }
}

struct Stage {
    book: Arc<Book>,
    runtime: StaticRuntime,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let book = Arc::new(Book::default());
        let folder = tempfile::tempdir().expect("a folder");
        let slots = PerSlot {
            blue: Some(vec!["127.0.0.1:8001".parse().expect("an address")]),
            green: Some(vec!["127.0.0.1:8002".parse().expect("an address")]),
        };
        let hook = || Some(Hook { command: vec!["true".to_owned()], timeout: Span::seconds(1) });
        let hooks = Hooks { start: hook(), stop: hook(), ..Hooks::default() };
        let runtime = StaticRuntime::new(
            "shop".parse().expect("a name"),
            "production".to_owned(),
            slots,
            hooks,
            Box::new(Runner(Arc::clone(&book))),
            folder.path().to_owned(),
        );
        Self { book, runtime, folder }
    }

    async fn start(
        &self,
        slot: Slot,
        deployment: &str,
        version: &str,
    ) -> Result<Vec<UpstreamAddress>, RuntimeError> {
        let release = Release { version: version.to_owned(), image: None, git_commit: None };
        let (deployment, settings) = (id(deployment), settings());
        let start =
            Start { slot, deployment: &deployment, release: &release, replicas: &[], settings: &settings };
        self.runtime.start(&start).await
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.book.calls.lock())
    }
}

fn id(text: &str) -> DeploymentId {
    text.parse().expect("an id")
}

fn settings() -> DeploySettings {
    DeploySettings {
        runtime: RuntimeKind::Static,
        image: None,
        platform: None,
        allow_latest: false,
        port: 8080,
        network: "switcher".to_owned(),
        replicas: 1,
        env_files: Vec::new(),
        env: std::collections::BTreeMap::new(),
        required_env: Vec::new(),
        secrets: Vec::new(),
        volumes: Vec::new(),
        limits: ContainerLimits::default(),
        labels: std::collections::BTreeMap::new(),
        extra_hosts: Vec::new(),
        user: None,
        entrypoint: None,
        command: None,
        stop_timeout: Span::seconds(30),
        healthcheck: HealthcheckChoice::Image,
        ready_timeout: Span::seconds(120),
        smoke: Vec::new(),
        migrate: None,
        snapshot: None,
        canary: None,
        bake: None,
        verify: None,
        keep_previous: Span::seconds(1800),
        watch: None,
        workers: Workers::Overlap,
        retain: Retain { images: 3, snapshots: 7, logs: Span::seconds(0) },
        hooks: Hooks::default(),
    }
}

#[tokio::test]
async fn a_version_is_started_once_and_remembered() {
    let stage = Stage::new();
    for _ in 0..2 {
        let addresses = stage.start(Slot::Green, NEW, "v2").await.expect("started");
        assert_eq!(addresses[0].to_string(), "127.0.0.1:8002");
    }
    assert_eq!(stage.calls(), ["start green v2"]);
    assert_eq!(stage.runtime.ready(Slot::Green, &id(NEW)).await.expect("a verdict"), Readiness::Ready);
    let running = stage.runtime.running().await.expect("what runs");
    let green = running.green.expect("something in green");
    assert_eq!((green.deployment.as_str(), green.version.as_str(), running.blue), (NEW, "v2", None));
    assert_eq!(
        green.replicas[0].address.as_ref().map(ToString::to_string).as_deref(),
        Some("127.0.0.1:8002")
    );
}

#[tokio::test]
async fn a_slot_of_another_deployment_has_to_be_vacated_first() {
    let stage = Stage::new();
    stage.start(Slot::Blue, OLD, "v1").await.expect("started");
    let error = stage.start(Slot::Blue, NEW, "v2").await.expect_err("it is occupied");
    assert!(matches!(&error, RuntimeError::Occupied { deployment, .. } if deployment == OLD), "{error}");
    stage.runtime.stop(Slot::Blue, StopHow::Remove).await.expect("stopped");
    stage.start(Slot::Blue, NEW, "v2").await.expect("started");
    assert_eq!(stage.calls(), ["start blue v1", "stop blue v1", "start blue v2"]);
}

#[tokio::test]
async fn a_start_that_nobody_saw_succeed_is_tried_again() {
    let stage = Stage::new();
    *stage.book.broken.lock() = true;
    stage.start(Slot::Blue, NEW, "v2").await.expect_err("the hook failed");
    let verdict = stage.runtime.ready(Slot::Blue, &id(NEW)).await.expect("a verdict");
    assert!(matches!(verdict, Readiness::Failed(_)), "{verdict:?}");
    *stage.book.broken.lock() = false;
    stage.start(Slot::Blue, NEW, "v2").await.expect("started");
    assert_eq!(stage.calls(), ["start blue v2", "start blue v2"]);
}

#[tokio::test]
async fn what_is_kept_is_started_again_and_stopped_only_once() {
    let stage = Stage::new();
    stage.start(Slot::Blue, OLD, "v1").await.expect("started");
    for _ in 0..2 {
        stage.runtime.stop(Slot::Blue, StopHow::Keep).await.expect("stopped");
    }
    let running = stage.runtime.running().await.expect("what runs");
    assert_eq!(running.blue.expect("something in blue").addresses(), None, "it does not run");
    stage.start(Slot::Blue, OLD, "v1").await.expect("started");
    assert_eq!(stage.calls(), ["start blue v1", "stop blue v1", "start blue v1"]);
}

#[tokio::test]
async fn a_damaged_memory_is_an_error_that_names_the_file() {
    let stage = Stage::new();
    let path = stage.folder.path().join("static-blue.json");
    replace(&path, b"{", 0o600, Durability::Unsynced).expect("a damaged file");
    let error = stage.start(Slot::Blue, NEW, "v2").await.expect_err("it is not known what runs");
    assert!(error.to_string().contains("static-blue.json is damaged"), "{error}");
    assert!(stage.calls().is_empty(), "no hook is run");
}
