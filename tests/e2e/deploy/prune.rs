//! Pruning on real parts: what no rollback needs goes, what one is promised stays, and traffic notices nothing.

use serde_json::{Value, json};
use switcher_config::Slot;
use switcher_tests::{Image, Site, skip_or_fail};

/// What `prune --json` says was done with things of a kind.
fn of_kind<'a>(pruned: &'a Value, kind: &str) -> Vec<&'a Value> {
    let removals = pruned["removals"].as_array().expect("removals");
    removals.iter().filter(|removal| removal["kind"] == kind).collect()
}

/// The versions of the images that went, or would.
fn images(pruned: &Value) -> Vec<&str> {
    of_kind(pruned, "image").iter().map(|image| image["version"].as_str().expect("a version")).collect()
}

fn id_of(site: &Site, version: &str) -> String {
    let history = site.history();
    let line = history.iter().rfind(|line| line["version"] == version).expect("a line of the history");
    line["id"].as_str().expect("an id").to_owned()
}

async fn standby(site: &Site) -> Slot {
    site.proxy().admin().shop().await.active.other()
}

#[tokio::test]
async fn every_kept_release_can_be_gone_back_to_and_a_removed_one_while_its_registry_has_it() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.deploy("retain", "{images: 1, snapshots: 7, logs: 30d}").open().await;
    // Somebody else's image in the same repository: never deployed, so none of ours.
    site.push(&Image::new("foreign")).await;
    site.engine.pull(&site.registry.image("shop", "foreign")).await;
    for version in ["v1", "v2", "v3", "v4", "v5"] {
        site.release(version).await;
    }
    let before = site.engine.digests().await;
    assert_eq!(before.len(), 6, "{before:?}");

    let planned = site.succeed(&["prune", "--dry-run", "--json"]).await.json();
    assert_eq!(images(&planned), ["v2", "v1"], "{planned:#}");
    assert_eq!(site.engine.digests().await, before, "a dry run removes nothing");

    let traffic = site.traffic("v5");
    traffic.flow().await;
    let pruned = site.succeed(&["prune", "--json"]).await.json();
    assert_eq!(images(&pruned), ["v2", "v1"], "{pruned:#}");
    assert!(pruned["bytes"].as_u64() > Some(0), "{pruned:#}");
    let left = site.engine.digests().await;
    assert_eq!(left.len(), 4, "{left:?}");
    site.agree("v5").await;
    let again = site.succeed(&["prune", "--json"]).await.json();
    assert_eq!(again["removals"], json!([]), "{again:#}");

    // v3 was kept, v1 comes from the registry again, by its digest.
    for version in ["v3", "v1"] {
        traffic.announce(version);
        site.succeed(&["rollback", "--to", &id_of(&site, version)]).await;
        traffic.settle();
        traffic.flow().await;
        site.agree(version).await;
    }
    traffic.finish().await;
}

#[tokio::test]
async fn a_standby_slot_past_its_time_goes_cold_and_can_be_gone_back_to() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.deploy("keep_previous", "0s").open().await;
    site.release("v1").await;
    site.release("v2").await;
    let slot = standby(&site).await;
    assert_eq!(site.containers_in(slot).await.len(), 1, "nobody stops it before the prune");

    let traffic = site.traffic("v2");
    traffic.flow().await;
    let pruned = site.succeed(&["prune", "--json"]).await.json();
    assert_eq!(of_kind(&pruned, "standby").len(), 1, "{pruned:#}");
    assert!(site.containers_in(slot).await.is_empty());
    assert_eq!(site.remains().await.len(), 1, "stopped, not removed");
    assert!(site.proxy().admin().shop().await.slots.get(slot).upstreams.is_empty());
    site.agree("v2").await;
    let repaired = site.succeed(&["repair", "--dry-run", "--json"]).await.json();
    assert_eq!(repaired["findings"], json!([]), "a cold slot is as it should be: {repaired:#}");
    let shown = site.succeed(&["status"]).await.stdout;
    assert!(shown.contains("cold: going back starts it again"), "{shown}");

    traffic.announce("v1");
    site.succeed(&["rollback"]).await;
    traffic.settle();
    traffic.flow().await;
    site.agree("v1").await;
    traffic.finish().await;
    assert_eq!(site.remains().await, [""; 0], "the stopped container made room for the new one");
}

#[tokio::test]
async fn what_is_warm_and_what_waits_to_be_promoted_is_left_running() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = Site::prepare().await.open().await;
    site.release("v1").await;
    site.release("v2").await;
    let slot = standby(&site).await;
    let warm = site.containers_in(slot).await;
    let pruned = site.succeed(&["prune", "--json"]).await.json();
    assert_eq!(pruned["removals"], json!([]), "{pruned:#}");
    assert_eq!(site.containers_in(slot).await[0]["Id"], warm[0]["Id"]);

    site.reconfigure(|setup| setup.deploy("keep_previous", "0s"));
    site.push(&Image::new("v3")).await;
    site.succeed(&["deploy", "v3", "--no-promote"]).await;
    let pruned = site.succeed(&["prune", "--json"]).await.json();
    assert_eq!(of_kind(&pruned, "standby").len(), 0, "{pruned:#}");
    site.succeed(&["promote", slot.as_str()]).await;
    site.agree("v3").await;
}

#[tokio::test]
async fn an_image_that_a_container_uses_stays_and_is_no_error() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.deploy("retain", "{images: 0, snapshots: 7, logs: 30d}").open().await;
    let digest = site.push(&Image::new("v1")).await;
    site.succeed(&["deploy", "v1"]).await;
    site.release("v2").await;
    site.release("v3").await;
    let image = format!("{}@{digest}", site.registry.name("shop"));
    let spec = json!({"Image": image, "HostConfig": {"NetworkMode": "shop"}});
    site.engine.run("somebody-elses", &spec).await;

    let pruned = site.succeed(&["prune", "--json"]).await.json();
    assert_eq!((images(&pruned), &pruned["bytes"]), (vec!["v1"], &json!(0)), "{pruned:#}");
    let kept = of_kind(&pruned, "image")[0];
    assert_eq!(kept["outcome"], "kept", "{pruned:#}");
    assert!(
        kept["because"].as_str().is_some_and(|why| why.contains("using its referenced image")),
        "{kept:#}"
    );
    assert!(site.engine.digests().await.contains(&image));
    assert!(site.engine.running().await.contains(&"somebody-elses".to_owned()));

    site.engine.ask("DELETE", "/containers/somebody-elses?force=1", &Value::Null).await;
    let pruned = site.succeed(&["prune", "--json"]).await.json();
    assert_eq!(of_kind(&pruned, "image")[0]["outcome"], "removed", "{pruned:#}");
    assert!(!site.engine.digests().await.contains(&image));
}

#[tokio::test]
async fn ended_one_offs_and_old_logs_go_but_nobody_elses() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.deploy("retain", "{images: 3, snapshots: 7, logs: 0s}").open().await;
    for version in ["v1", "v2", "v3"] {
        site.release(version).await;
    }
    let image = site.engine.digests().await[0].clone();
    for (name, app) in [("left-behind", "shop"), ("another-apps", "blog")] {
        let labels = json!({"switcher.app": app, "switcher.environment": "production",
            "switcher.role": "migrate", "switcher.proxy": site.proxy().socket().display().to_string()});
        let spec = json!({"Image": image, "Cmd": ["print", "done"], "Labels": labels,
            "HostConfig": {"NetworkMode": "none"}});
        site.engine.run(name, &spec).await;
        site.engine.ask("POST", &format!("/containers/{name}/wait"), &Value::Null).await;
    }
    let folder = |version: &str| site.memory().join("deployments").join(id_of(&site, version));
    assert!(folder("v1").join("log.jsonl").is_file(), "there is a log to prune");

    let pruned = site.succeed(&["prune", "--json"]).await.json();
    assert_eq!(of_kind(&pruned, "one_off").len(), 1, "{pruned:#}");
    assert_eq!(site.remains().await, ["another-apps"]);
    assert!(!folder("v1").exists());
    assert!(folder("v2").exists() && folder("v3").exists(), "v3 is live, and v2 was before");
    site.agree("v3").await;
}

#[tokio::test]
async fn the_status_shows_what_is_remembered_and_outlives_a_damaged_memory() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.open().await;
    let nothing = site.succeed(&["status"]).await.stdout;
    assert!(nothing.contains("nothing yet"), "{nothing}");
    site.release("v1").await;
    site.release("v2").await;
    let shown = site.succeed(&["status"]).await.stdout;
    for part in [&id_of(&site, "v2"), "v2 active", "warm in", "lease", "free"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let shop = site.succeed(&["status", "--json"]).await.json()["deployments"]["shop"].clone();
    assert_eq!(shop["current_deployment"], site.state()["current_deployment"], "{shop:#}");
    assert_eq!((&shop["verdict"], &shop["unfinished"]), (&json!("free"), &Value::Null), "{shop:#}");

    site.write("state/production/state.json", "{");
    let shown = site.succeed(&["status"]).await.stdout;
    assert!(shown.contains("cannot be read") && shown.contains("is live"), "{shown}");
    let json = site.succeed(&["status", "--json"]).await.json();
    assert!(json["deployments"]["shop"]["error"].is_string(), "{json:#}");
    assert_eq!(json["apps"]["shop"]["slots"].as_object().map(serde_json::Map::len), Some(2), "{json:#}");
}
