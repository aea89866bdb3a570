//! Going back: at once while the slot before is warm, else by starting an earlier release again.

use switcher_config::Slot;
use switcher_tests::{Image, Site, skip_or_fail};

async fn two_releases(site: Site) -> Site {
    let site = site.open().await;
    site.release("v1").await;
    site.release("v2").await;
    site
}

/// The id of the newest deployment of a version.
fn id_of(site: &Site, version: &str) -> String {
    let history = site.history();
    let line = history.iter().rfind(|line| line["version"] == version).expect("a line of the history");
    line["id"].as_str().expect("an id").to_owned()
}

async fn started(site: &Site) -> Vec<String> {
    let containers = site.engine.containers().await;
    let mut ids: Vec<String> =
        containers.iter().filter_map(|container| container["Id"].as_str().map(str::to_owned)).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_warm_rollback_moves_traffic_within_5_ms_and_starts_nothing() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = two_releases(Site::prepare().await).await;
    let before = started(&site).await;
    let traffic = site.traffic("v2");
    traffic.flow().await;
    traffic.announce("v1");
    let mut micros = vec![rolled_back(&site).await];
    traffic.settle();
    site.agree("v1").await;
    assert_eq!(started(&site).await, before);
    assert_eq!(site.state()["current_deployment"]["rollback_count"], 1);
    assert_eq!(site.state()["previous_deployment"]["status"], "rolled_back");
    // Whoever else has the processor at that moment is no part of it: of several, one is as fast as it should be.
    for version in ["v2", "v1", "v2", "v1", "v2"] {
        traffic.announce(version);
        micros.push(rolled_back(&site).await);
        traffic.settle();
    }
    assert!(micros.iter().any(|micros| *micros < 5000.0), "{micros:?} microseconds");
    site.agree("v2").await;
    traffic.flow().await;
    traffic.finish().await;
}

/// Goes back, and tells how long the switch itself took, in microseconds.
async fn rolled_back(site: &Site) -> f64 {
    let ran = site.succeed(&["rollback", "--json"]).await.json();
    ran["receipt"]["switch_micros"].as_f64().expect("a figure")
}

#[tokio::test]
async fn a_cold_rollback_starts_a_kept_release_again_without_the_registry() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = two_releases(Site::prepare().await).await;
    site.release("v3").await;
    site.succeed(&["prune"]).await;
    site.registry.stop();
    let v1 = id_of(&site, "v1");
    let traffic = site.traffic("v3");
    traffic.announce("v1");
    site.succeed(&["rollback", "--to", &v1]).await;
    traffic.settle();
    traffic.flow().await;
    site.agree("v1").await;
    traffic.finish().await;
}

#[tokio::test]
async fn without_a_deployment_before_there_is_nothing_to_go_back_to() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.open().await;
    let ran = site.run(&["rollback"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    ran.says(&["E-ROLLBACK-01"]);
    site.release("v1").await;
    let ran = site.run(&["rollback"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    ran.says(&["E-ROLLBACK-01", "first"]);
    site.agree("v1").await;
}

#[tokio::test]
async fn a_migration_that_does_not_suit_the_version_before_is_in_the_way_unless_forced() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let migrate = "{command: [migrate, up], down: [migrate, down, --to, \"{to}\"], compatible: false, timeout: 30s, \
                   env: {DATABASE_URL: \"${DIRECT_DATABASE_URL}\"}}";
    let site = Site::prepare().await.with_database().await.deploy("migrate", migrate).open().await;
    site.release("v1").await;
    site.push(&Image::new("v2").env("MIGRATIONS", "2")).await;
    site.succeed(&["deploy", "v2"]).await;
    let ran = site.run(&["rollback"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    ran.says(&["E-ROLLBACK-03", "--force", "snapshot"]);
    // Not by another verb either.
    let standby = site.proxy().admin().shop().await.active.other();
    let ran = site.run(&["promote", standby.as_str()]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    ran.says(&["E-ROLLBACK-03"]);
    site.agree("v2").await;
    site.succeed(&["rollback", "--force"]).await;
    site.agree("v1").await;
    site.succeed(&["rollback"]).await;
    site.agree("v2").await;
    // Once the schema is what it was, nothing stands in the way.
    site.succeed(&["migrate", "down", "--to", "1"]).await;
    site.succeed(&["rollback"]).await;
    site.agree("v1").await;
}

#[tokio::test]
async fn a_release_whose_image_is_nowhere_cannot_be_gone_back_to() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.open().await;
    let digest = site.push(&Image::new("v1")).await;
    site.succeed(&["deploy", "v1"]).await;
    site.release("v2").await;
    site.release("v3").await;
    let v1 = id_of(&site, "v1");
    site.registry.remove("shop", &digest).await;
    let image = format!("{}@{digest}", site.registry.name("shop"));
    site.engine.ask("DELETE", &format!("/images/{image}?force=1"), &serde_json::Value::Null).await;
    let ran = site.run(&["rollback", "--to", &v1]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    ran.says(&["E-IMAGE-01", "v1"]);
    site.agree("v3").await;
    let standby = site.proxy().admin().shop().await.active.other();
    assert_eq!(site.containers_in(standby).await.len(), 1, "v2 is still warm");
    site.succeed(&["rollback"]).await;
    site.agree("v2").await;
}

#[tokio::test]
async fn an_unknown_deployment_is_wrong_usage() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = two_releases(Site::prepare().await).await;
    let ran = site.run(&["rollback", "--to", "dep_01JBQR2K3M4N5P6Q7R8S9T0VWX"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    ran.says(&["E-ROLLBACK-02", "dep_01JBQR2K3M4N5P6Q7R8S9T0VWX"]);
    site.agree("v2").await;
}

#[tokio::test]
async fn a_slot_that_is_warm_but_ill_is_not_gone_back_to_at_once() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = two_releases(Site::prepare().await).await;
    let standby: Slot = site.proxy().admin().shop().await.active.other();
    let name = switcher_tests::engine::name(&site.containers_in(standby).await[0]);
    site.engine.ask("POST", &format!("/containers/{name}/kill"), &serde_json::Value::Null).await;
    site.proxy().wait_health(standby, switcher_config::wire::Health::Unhealthy).await;
    // The release is started again instead.
    site.succeed(&["rollback"]).await;
    site.agree("v1").await;
}
