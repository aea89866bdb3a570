//! Deployments one after another: the first one, and ten in a row under a mixed load.

use std::collections::BTreeSet;

use switcher_tests::{Image, Site, skip_or_fail};

#[tokio::test]
async fn the_first_deployment_brings_an_empty_application_to_life() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.open().await;
    assert_eq!(site.version().await, None, "nothing serves before");
    let digest = site.push(&Image::new("v1").commit("c0ffee")).await;
    let ran = site.succeed(&["deploy", "v1", "--json"]).await.json();
    assert_eq!(ran["deployment"]["version"], "v1", "{ran:#}");
    assert!(ran["previous"].is_null(), "{ran:#}");
    site.agree("v1").await;
    let current = site.state()["current_deployment"].clone();
    assert_eq!(current["image"], format!("{}@{digest}", site.registry.name("shop")), "{current:#}");
    assert_eq!((&current["git_commit"], &current["health_status"]), (&"c0ffee".into(), &"healthy".into()));
}

#[tokio::test]
async fn ten_deployments_in_a_row_lose_no_request_and_everything_agrees_after_each() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await.deploy("replicas", "2").open().await;
    site.release("v0").await;
    site.agree("v0").await;
    let traffic = site.traffic("v0");
    traffic.flow().await;
    let mut slots = BTreeSet::new();
    for number in 1..=10 {
        let version = format!("v{number}");
        site.push(&Image::new(&version).env("MIGRATIONS", &(number + 1).to_string())).await;
        traffic.announce(&version);
        let ran = site.succeed(&["deploy", &version, "--json"]).await.json();
        traffic.settle();
        site.agree(&version).await;
        let deployment = &ran["deployment"];
        assert_eq!(deployment["migrations_run"], 1, "{deployment:#}");
        assert_eq!(
            (&deployment["schema_before"], &deployment["schema_after"]),
            (&number.to_string().into(), &(number + 1).to_string().into()),
            "{deployment:#}"
        );
        assert_eq!(ran["previous"]["version"], format!("v{}", number - 1), "{ran:#}");
        slots.insert(deployment["active_slot"].as_str().expect("a slot").to_owned());
    }
    traffic.flow().await;
    traffic.finish().await;
    assert_eq!(slots.len(), 2, "the slots take turns: {slots:?}");
    assert_eq!(site.postgres().query("SELECT count(*) FROM migrate_runs"), ["11"], "each migrated once");
    let recorded: Vec<String> =
        site.history().iter().filter_map(|line| line["version"].as_str().map(str::to_owned)).collect();
    for number in 0..=10 {
        assert!(recorded.contains(&format!("v{number}")), "v{number} is missing: {recorded:?}");
    }
}

#[tokio::test]
async fn a_release_from_a_file_needs_no_registry() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = Site::prepare().await.open().await;
    site.registry.stop();
    let file = site.path("shop.tar");
    Image::new("v1").save(&file, &site.registry.image("shop", "v1"));
    site.succeed(&["deploy", "--load", file.to_str().expect("a path")]).await;
    site.agree("v1").await;
}

#[tokio::test]
async fn a_release_can_be_prepared_and_promoted_later() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.open().await;
    site.release("v1").await;
    site.push(&Image::new("v2")).await;
    let ran = site.succeed(&["deploy", "v2", "--no-promote", "--json"]).await.json();
    assert_eq!(ran["deployment"]["status"], "deploying", "{ran:#}");
    site.agree("v1").await;
    let standby = site.proxy().admin().shop().await.active.other();
    assert_eq!(site.containers_in(standby).await.len(), 1);
    let receipt = site.succeed(&["promote", standby.as_str(), "--json"]).await.json();
    assert_eq!((&receipt["to"], &receipt["deployment"]["version"]), (&standby.as_str().into(), &"v2".into()));
    site.agree("v2").await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await.open().await;
    site.release("v1").await;
    site.push(&Image::new("v2")).await;
    let before = (site.state(), site.engine.containers().await.len(), site.engine.digests().await);
    let ran = site.run(&["deploy", "v2", "--dry-run", "--exit-code"]).await;
    assert_eq!(ran.code, 11, "{ran:?}");
    for word in ["v2", "pull", "snapshot", "migrat"] {
        assert!(ran.stdout.contains(word), "{word} is missing: {ran:?}");
    }
    let plan = site.succeed(&["deploy", "v2", "--dry-run", "--json"]).await.json();
    assert!(plan["plan"].is_object(), "{plan:#}");
    // The very image that is live is nothing to do.
    let ran = site.run(&["deploy", "v1", "--dry-run", "--exit-code"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(before, (site.state(), site.engine.containers().await.len(), site.engine.digests().await));
    site.agree("v1").await;
}
