//! The load of a site, with containers started by hand: what it misses here, it would miss during a deployment.

use serde_json::{Value, json};
use switcher::demo::load::Fault;
use switcher_config::Slot;
use switcher_config::wire::Health;
use switcher_tests::site::Traffic;
use switcher_tests::{Image, PATIENCE, Site, skip_or_fail, until};

/// Starts a version in a slot, as a deployment would.
async fn place(site: &Site, slot: Slot, version: &str) -> String {
    site.push(&Image::new(version)).await;
    let image = site.registry.image("shop", version);
    site.engine.pull(&image).await;
    let name = format!("shop-{slot}");
    site.engine.run(&name, &json!({"Image": image, "HostConfig": {"NetworkMode": "shop"}})).await;
    let seen = site.engine.inspect(&name).await;
    let address = seen["NetworkSettings"]["Networks"]["shop"]["IPAddress"].as_str().expect("an address");
    let upstream = format!("{address}:8080");
    site.proxy().admin().register(slot, &[upstream], Some(version)).await.expect("registered");
    site.proxy().wait_health(slot, Health::Healthy).await;
    name
}

async fn two_versions() -> Site {
    let site = Site::prepare().await.open().await;
    site.engine.ask("POST", "/networks/create", &json!({"Name": "shop"})).await;
    place(&site, Slot::Green, "v1").await;
    site.proxy().admin().promote(Slot::Green).await.expect("promoted");
    place(&site, Slot::Blue, "v2").await;
    site
}

#[tokio::test]
async fn containers_take_the_whole_load_over_a_switch() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = two_versions().await;
    assert_eq!(site.version().await.as_deref(), Some("v1"));
    let traffic = site.traffic("v1");
    traffic.flow().await;
    traffic.announce("v2");
    site.proxy().admin().promote(Slot::Blue).await.expect("promoted");
    traffic.settle();
    traffic.flow().await;
    assert_eq!(site.version().await.as_deref(), Some("v2"));
    traffic.finish().await;
}

#[tokio::test]
async fn a_switch_that_drops_requests_and_a_version_that_should_not_answer_are_noticed() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = two_versions().await;
    let traffic = site.traffic("v1");
    traffic.flow().await;
    site.engine.ask("POST", "/containers/shop-green/kill", &Value::Null).await;
    site.proxy().admin().promote(Slot::Blue).await.expect("promoted");
    traffic.announce("v3");
    traffic.settle();
    until_noticed(&traffic).await;
    let tally = traffic.stop().await;
    assert!(
        tally.count(Fault::WrongSlot) > 0 && tally.failed() > tally.count(Fault::WrongSlot),
        "{tally:#?}"
    );
}

async fn until_noticed(traffic: &Traffic) {
    until(PATIENCE, "the wrong version to be noticed", || async {
        traffic.tally().count(Fault::WrongSlot) > 0
    })
    .await;
}
