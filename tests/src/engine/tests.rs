//! The harness's engine: what tests rely on, tried on a real one.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::http1::get;
use crate::image::Image;
use crate::registry::Registry;
use crate::skip_or_fail;
use crate::until::until_some;

/// A container of the application, reached at its own address.
async fn serve(engine: &Engine, image: &str) -> std::net::SocketAddr {
    engine.ask("POST", "/networks/create", &json!({"Name": "shop"})).await;
    engine.run("shop-blue", &json!({"Image": image, "HostConfig": {"NetworkMode": "shop"}})).await;
    address(engine, "shop-blue").await
}

async fn address(engine: &Engine, container: &str) -> std::net::SocketAddr {
    let seen = engine.inspect(container).await;
    let address = seen["NetworkSettings"]["Networks"]["shop"]["IPAddress"].as_str().expect("an address");
    format!("{address}:8080").parse().expect("an address")
}

async fn answers(address: std::net::SocketAddr) -> String {
    until_some(PATIENCE, "the container to answer", || async move {
        let mut connection = Http1::try_connect(address).await.ok()?;
        Some(connection.try_exchange(&request("GET", "/", &[], b"")).await.ok()?.text())
    })
    .await
}

#[tokio::test]
async fn a_container_of_a_pulled_image_answers_at_its_own_address_and_nothing_stays() {
    if let Some(why) = Engine::lacks().or_else(Registry::lacks) {
        return skip_or_fail(&why);
    }
    let (engine, registry) = (Engine::start().await, Registry::start().await);
    let digest = registry.push("shop", "v1", &Image::new("v1")).await;
    engine.pull(&registry.image("shop", "v1")).await;
    assert_eq!(engine.digests().await, [format!("{}@{digest}", registry.name("shop"))]);
    let address = serve(&engine, &registry.image("shop", "v1")).await;
    assert_eq!(answers(address).await, "hello from v1\n");
    assert_eq!(engine.running().await, ["shop-blue"]);
    assert!(engine.logs("shop-blue").await.contains("listening on 8080 as v1"));

    let (folder, host) = (engine.place.folder().to_owned(), engine.host());
    let processes_before = leftovers_of(&folder);
    assert!(processes_before > 0);
    drop(engine);
    assert!(!folder.exists() && leftovers_of(&folder) == 0);
    assert!(!leftovers::in_use(host.trim_end_matches("255.254")), "addresses are left");
}

/// Processes that name the folder on their command line.
fn leftovers_of(folder: &Path) -> usize {
    let entries = std::fs::read_dir("/proc").expect("processes").flatten();
    let commands = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let name = folder.display().to_string();
    commands.filter(|command| String::from_utf8_lossy(command).contains(&name)).count()
}

#[tokio::test]
async fn with_live_restore_a_container_outlives_the_daemon_and_without_it_does_not() {
    if let Some(why) = Engine::lacks().or_else(Registry::lacks) {
        return skip_or_fail(&why);
    }
    let registry = Registry::start().await;
    registry.push("shop", "v1", &Image::new("v1")).await;
    for live in [true, false] {
        let options = if live { Engine::options().live_restore() } else { Engine::options() };
        let mut engine = options.start().await;
        engine.pull(&registry.image("shop", "v1")).await;
        let address = serve(&engine, &registry.image("shop", "v1")).await;
        assert_eq!(answers(address).await, "hello from v1\n");
        engine.kill();
        assert_eq!(
            get(address, "/version").await.text(),
            "v1\n",
            "the container outlives the daemon at first"
        );
        engine.restart().await;
        let running = engine.running().await;
        assert_eq!(running.is_empty(), !live, "live restore {live}: {running:?}");
    }
}

#[tokio::test]
async fn a_container_beyond_its_memory_is_killed_and_the_engine_says_so() {
    if let Some(why) = Engine::lacks().or_else(Registry::lacks) {
        return skip_or_fail(&why);
    }
    let (engine, registry) = (Engine::start().await, Registry::start().await);
    registry.push("shop", "v1", &Image::new("v1").env("MEMORY_AT_START_MB", "200")).await;
    engine.pull(&registry.image("shop", "v1")).await;
    engine.ask("POST", "/networks/create", &json!({"Name": "shop"})).await;
    let limits = json!({"NetworkMode": "shop", "Memory": 32 << 20});
    engine.run("shop-blue", &json!({"Image": registry.image("shop", "v1"), "HostConfig": limits})).await;
    let state = until_some(PATIENCE, "the kernel to kill it", || async {
        let state = engine.inspect("shop-blue").await["State"].clone();
        (state["Running"] == false).then_some(state)
    })
    .await;
    assert_eq!((&state["OOMKilled"], &state["ExitCode"]), (&true.into(), &137.into()), "{state}");
}
