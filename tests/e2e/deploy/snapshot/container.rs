//! Snapshots whose `pg_dump` runs in a one-off container, on a real engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use switcher::container::ContainerSpec;
use switcher::docker;
use switcher::host::HostAddress;
use switcher::snapshot::ContainerTools;
use switcher_config::settings::{ContainerLimits, HealthcheckChoice};
use switcher_tests::{Engine, Image, Registry};

use super::*;

/// An image without PostgreSQL, lent this machine's by read-only mounts.
async fn tools(engine: &Engine, registry: &Registry, postgres: &Postgres) -> ContainerTools {
    registry.push("tools", "v1", &Image::new("v1")).await;
    let image = registry.image("tools", "v1");
    engine.pull(&image).await;
    engine.ask("POST", "/networks/create", &json!({"Name": "shop", "Driver": "bridge"})).await;
    let mounts = ["/usr", "/lib", "/lib64", "/etc"].into_iter().filter(|path| Path::new(path).exists());
    let path = format!("{}:/usr/bin", postgres.programs().display());
    ContainerTools {
        engine: Arc::new(
            docker::Engine::connect(&HostAddress::Unix(engine.socket())).await.expect("an engine"),
        ),
        local: true,
        spec: ContainerSpec {
            name: "shop-snapshot".to_owned(),
            image,
            platform: None,
            labels: BTreeMap::new(),
            env: BTreeMap::from([("PATH".to_owned(), path)]),
            entrypoint: None,
            command: None,
            user: None,
            network: "shop".to_owned(),
            address: None,
            volumes: mounts.map(|path| format!("{path}:{path}:ro")).collect(),
            limits: ContainerLimits::default(),
            extra_hosts: Vec::new(),
            stop_timeout: Duration::from_secs(1),
            healthcheck: HealthcheckChoice::Off,
            restart: false,
            files: Vec::new(),
        },
    }
}

#[tokio::test]
async fn a_container_dumps_verifies_and_restores_and_is_gone_afterwards() {
    if let Some(why) = Engine::lacks().or_else(Registry::lacks).or_else(Postgres::lacks) {
        return skip_or_fail(&why);
    }
    let engine = Engine::start().await;
    let registry = Registry::start().await;
    let postgres = Postgres::beside(&engine).await;
    postgres.query_in("app", TABLES);
    let home = tempfile::tempdir().expect("a folder");
    let container = tools(&engine, &registry, &postgres).await;
    let with = Snapshotter {
        folder: Folder::new(home.path().join("snapshots")),
        url: postgres.url_from_containers().parse().expect("a URL"),
        tools: Tools::Container(Box::new(container.clone())),
        timeout: Duration::from_secs(60),
    };
    let snapshot = take(&with, None, Timestamp::now(), &mut |_| {}).await.expect("a snapshot");
    assert_eq!(snapshot.tables, 3);
    let local = Tools::Local(LocalTools::of(vec![postgres.programs().to_owned()]));
    verify(&with.folder, &local, with.timeout, &snapshot.id).await.expect("whole, as this machine sees it");
    verify(&with.folder, &with.tools, with.timeout, &snapshot.id).await.expect("whole, as the image sees it");

    let before = content(&postgres, "app");
    let restored = restore(&with, &snapshot.id, Some("app2"), Timestamp::now()).await.expect("restored");
    assert_eq!(content(&postgres, &restored.database), before);
    assert_eq!(engine.containers().await, Vec::<serde_json::Value>::new());

    // An engine elsewhere does not see our files, and says so before anything is made.
    let elsewhere = Tools::Container(Box::new(ContainerTools { local: false, ..container.clone() }));
    let with_elsewhere = Snapshotter { tools: elsewhere, ..with.clone() };
    let error =
        restore(&with_elsewhere, &snapshot.id, Some("app3"), Timestamp::now()).await.expect_err("no file");
    assert!(error.to_string().contains("cannot read the dump"), "{error}");

    // A failure shows the program's own words, and no container stays.
    postgres.query_in("app", "CREATE TABLE secrets (n int); REVOKE ALL ON secrets FROM app");
    let error = take(&with, None, Timestamp::now(), &mut |_| {}).await.expect_err("it may not");
    assert!(error.to_string().contains("permission denied for table secrets"), "{error}");
    assert_eq!(engine.containers().await, Vec::<serde_json::Value>::new());
    assert_eq!(with.folder.list().expect("a list").len(), 1);
}
