//! What runs in the slots, on a real engine: addresses that stay, versions that fail, names that are taken.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use switcher::container::{SecretFile, Tenant};
use switcher::deployment::{DeploymentId, PinnedImage, Release};
use switcher::environment::Resolved;
use switcher::runtime::{DockerRuntime, Evidence, Readiness, Runtime as _, RuntimeError, Start, StopHow};
use switcher_config::durable::{Durability, replace};
use switcher_config::settings::DeploySettings;
use switcher_config::{Slot, Sources, UpstreamAddress};
use switcher_tests::until::{PATIENCE, until, until_some};
use switcher_tests::{Image, skip_or_fail};

use super::{NEW, OLD, Stage};

/// The slots of `shop`, with two replicas each.
struct Slots<'a> {
    stage: &'a Stage,
    settings: DeploySettings,
    runtime: DockerRuntime,
}

impl<'a> Slots<'a> {
    async fn on(stage: &'a Stage) -> Self {
        Self::with(stage, &[]).await
    }

    async fn with(stage: &'a Stage, keys: &[(&str, &str)]) -> Self {
        let settings = settings(keys);
        let (app, environment) = ("shop".parse().expect("a name"), "production".to_owned());
        let tenant = Tenant { app, environment, proxy: "/run/switcher/admin.sock".into() };
        let runtime = DockerRuntime::new(stage.docker().await, tenant, settings.clone());
        Self { stage, settings, runtime }
    }

    async fn start(&self, slot: Slot, deployment: &str) -> Result<Vec<UpstreamAddress>, RuntimeError> {
        let image = PinnedImage {
            asked: self.stage.image.parse().expect("an image"),
            pinned: self.stage.image.clone(),
            platform: String::new(),
        };
        let release = Release { version: "v1".to_owned(), image: Some(image), git_commit: None };
        let secret = SecretFile { path: "/run/secrets/key".to_owned(), content: b"hush-hush".to_vec() };
        let resolved = Resolved { variables: BTreeMap::new(), secrets: vec![secret] };
        let replicas = [resolved.clone(), resolved];
        let (deployment, settings) = (id(deployment), &self.settings);
        let start = Start { slot, deployment: &deployment, release: &release, replicas: &replicas, settings };
        self.runtime.start(&start).await
    }

    /// Waits for a verdict that is not "not yet".
    async fn verdict(&self, slot: Slot, deployment: &str) -> Readiness {
        let deployment = id(deployment);
        until_some(PATIENCE, "a verdict", || async {
            let verdict = self.runtime.ready(slot, &deployment).await.expect("an engine that answers");
            (!matches!(verdict, Readiness::Waiting(_))).then_some(verdict)
        })
        .await
    }

    async fn addresses(&self, slot: Slot) -> Option<Vec<UpstreamAddress>> {
        self.runtime.running().await.expect("an engine that answers").get(slot).as_ref()?.addresses()
    }
}

fn id(text: &str) -> DeploymentId {
    text.parse().expect("an id")
}

/// The settings of a `deploy` section, read as the programs read it.
fn settings(keys: &[(&str, &str)]) -> DeploySettings {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("switcher.yaml");
    let mut text = "proxy: {http: 127.0.0.1:8080}\napps:\n  shop:\n    tls: off\n    deploy:\n      network: shop\n      \
                    stop_timeout: 2s\n"
        .to_owned();
    for (key, value) in keys {
        text.push_str(&format!("      {key}: {value}\n"));
    }
    replace(&file, text.as_bytes(), 0o600, Durability::Unsynced).expect("a written file");
    let sources = Sources {
        file: Some(file),
        environment: None,
        variables: BTreeMap::new(),
        secrets_dir: folder.path().to_owned(),
        working_dir: folder.path().to_owned(),
        system_file: folder.path().join("none"),
    };
    let loaded = switcher_config::load(&sources).unwrap_or_else(|report| panic!("{report}"));
    let mut apps = loaded.settings.apps.into_values();
    apps.next().and_then(|app| app.deploy).expect("a deploy section")
}

#[tokio::test]
async fn a_slot_is_started_once_and_belongs_to_one_deployment() {
    if let Some(why) = Stage::lacks() {
        return skip_or_fail(&why);
    }
    let stage = Stage::with(Image::new("v1").healthcheck(2)).await;
    let slots = Slots::on(&stage).await;
    let addresses = slots.start(Slot::Blue, OLD).await.expect("started");
    assert_eq!(addresses.len(), 2);
    assert_eq!(slots.verdict(Slot::Blue, OLD).await, Readiness::Ready);
    let ids = |containers: Vec<Value>| -> Vec<Value> { containers.iter().map(|c| c["Id"].clone()).collect() };
    let before = ids(stage.engine.containers().await);
    assert_eq!(slots.start(Slot::Blue, OLD).await.expect("running already"), addresses);
    assert_eq!(ids(stage.engine.containers().await), before);
    let error = slots.start(Slot::Blue, NEW).await.expect_err("it is occupied");
    assert!(matches!(&error, RuntimeError::Occupied { deployment, .. } if deployment == OLD), "{error}");
    assert_eq!(stage.engine.running().await, ["shop-blue-1", "shop-blue-2"]);
    slots.runtime.stop(Slot::Blue, StopHow::Remove).await.expect("removed");
    stage.nothing_is_left().await;
    assert_eq!(slots.start(Slot::Blue, NEW).await.expect("started"), addresses, "blue has blue's addresses");
}

#[tokio::test]
async fn secrets_are_files_and_in_no_description() {
    if let Some(why) = Stage::lacks() {
        return skip_or_fail(&why);
    }
    let stage = Stage::with(Image::new("v1").env("PRINT_SECRETS", "1")).await;
    let slots = Slots::on(&stage).await;
    slots.start(Slot::Green, NEW).await.expect("started");
    until(PATIENCE, "the application to read its secret", || async {
        stage.engine.logs("shop-green-1").await.contains("hush-hush")
    })
    .await;
    let description = stage.engine.inspect("shop-green-1").await.to_string();
    assert!(!description.contains("hush-hush") && !description.contains("aHVzaC1odXNo"), "{description}");
}

#[tokio::test]
async fn slots_come_back_at_their_addresses_and_what_was_stopped_stays_stopped() {
    if let Some(why) = Stage::lacks() {
        return skip_or_fail(&why);
    }
    let mut stage = Stage::with(Image::new("v1")).await;
    let slots = Slots::on(&stage).await;
    let blue = slots.start(Slot::Blue, OLD).await.expect("started");
    let green = slots.start(Slot::Green, NEW).await.expect("started");
    assert!(blue.iter().all(|address| !green.contains(address)), "{blue:?} {green:?}");
    drop(slots);
    for round in ["killed", "ended"] {
        if round == "killed" {
            stage.engine.kill();
        } else {
            stage.engine.stop().await;
        }
        stage.engine.restart().await;
        let slots = Slots::on(&stage).await;
        until(PATIENCE, "both slots to be up", || async {
            slots.addresses(Slot::Blue).await.is_some() && slots.addresses(Slot::Green).await.is_some()
        })
        .await;
        assert_eq!(slots.addresses(Slot::Blue).await.as_ref(), Some(&blue), "after it was {round}");
        assert_eq!(slots.addresses(Slot::Green).await.as_ref(), Some(&green), "after it was {round}");
    }
    Slots::on(&stage).await.runtime.stop(Slot::Blue, StopHow::Keep).await.expect("stopped");
    stage.engine.kill();
    stage.engine.restart().await;
    let slots = Slots::on(&stage).await;
    until(PATIENCE, "green to be up", || async { slots.addresses(Slot::Green).await.is_some() }).await;
    assert_eq!(stage.engine.running().await, ["shop-green-1", "shop-green-2"]);
    assert_eq!(slots.start(Slot::Blue, OLD).await.expect("started again"), blue);
}

#[tokio::test]
async fn a_version_that_fails_says_how() {
    if let Some(why) = Stage::lacks() {
        return skip_or_fail(&why);
    }
    let sick = Image::new("v1").healthcheck(1).env("HEALTH_STATUS", "503").env("HEALTH_TEXT", "no database");
    let stage = Stage::with(sick).await;
    let slots = Slots::on(&stage).await;
    slots.start(Slot::Green, NEW).await.expect("started");
    let Readiness::Failed(why) = slots.verdict(Slot::Green, NEW).await else { panic!("it is sick") };
    assert!(why.starts_with("shop-green-") && why.contains("is unhealthy: its HEALTHCHECK"), "{why}");
    let Evidence { replicas } = slots.runtime.evidence(Slot::Green).await;
    assert_eq!(replicas.len(), 2);
    assert!(replicas.iter().all(|replica| !replica.logs.is_empty()), "{replicas:#?}");
    assert!(replicas.iter().any(|replica| !replica.health.is_empty()), "{replicas:#?}");

    let greedy = [("limits", "{memory: 32MiB}"), ("env", "{}")];
    let stage = Stage::with(Image::new("v2").env("MEMORY_AT_START_MB", "256")).await;
    let slots = Slots::with(&stage, &greedy).await;
    // It is up for a moment, in which the start may look at it.
    let why = match slots.start(Slot::Green, NEW).await {
        Err(RuntimeError::Ended(why)) => why,
        Err(error) => panic!("{error}"),
        Ok(_) => {
            until_some(PATIENCE, "the kernel to kill it", || async {
                let Evidence { replicas } = slots.runtime.evidence(Slot::Green).await;
                replicas.into_iter().map(|replica| replica.state).find(|state| state.contains("memory"))
            })
            .await
        }
    };
    assert!(why.contains("ran out of memory: the kernel killed it at its limit of 32MiB"), "{why}");
    assert!(matches!(slots.verdict(Slot::Green, NEW).await, Readiness::Failed(_)));
}

#[tokio::test]
async fn a_network_that_somebody_else_made_is_used_as_it_is() {
    if let Some(why) = Stage::lacks() {
        return skip_or_fail(&why);
    }
    let stage = Stage::with(Image::new("v1")).await;
    // Docker chose its subnet, so it pins no address in it.
    stage.engine.ask("POST", "/networks/create", &json!({"Name": "shop", "Driver": "bridge"})).await;
    let slots = Slots::on(&stage).await;
    let addresses = slots.start(Slot::Blue, OLD).await.expect("started");
    assert_eq!(slots.addresses(Slot::Blue).await, Some(addresses));
    let networks = stage.engine.ask("GET", "/networks", &Value::Null).await;
    let names: Vec<&str> =
        networks.as_array().expect("a list").iter().filter_map(|n| n["Name"].as_str()).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("shop")).count(), 1, "{names:?}");
}

#[tokio::test]
async fn a_name_that_belongs_to_somebody_else_is_not_touched() {
    if let Some(why) = Stage::lacks() {
        return skip_or_fail(&why);
    }
    let stage = Stage::with(Image::new("v1")).await;
    let theirs = json!({"Image": stage.image, "HostConfig": {"NetworkMode": "none"}});
    let id = stage.engine.run("shop-blue-1", &theirs).await;
    let slots = Slots::on(&stage).await;
    let error = slots.start(Slot::Blue, OLD).await.expect_err("the name is taken");
    assert!(
        error.to_string().contains("a container named shop-blue-1 already, and nobody here made it"),
        "{error}"
    );
    assert_eq!(stage.engine.inspect(&id).await["State"]["Running"], true);
}
