//! Images built once, configuration in layers, two replicas, readiness apart from liveness, migrations both ways.

use switcher_config::Slot;
use switcher_config::wire::Health;
use switcher_tests::http1::get_with;
use switcher_tests::site::Front;
use switcher_tests::{Image, Site, skip_or_fail};

const HOST: &str = "shop.example.com";

/// Production, with a database whose URL is a secret.
async fn production() -> Site {
    let front = Front { host: HOST.to_owned(), tls: true };
    let site = Site::of_example("immutable-images", front).await.with_postgres().await;
    let url = site.postgres().url_from_containers();
    let site = site
        .deploy("env_files", "[]")
        // Every request of the load is to be an application's answer, and no authority is asked here.
        .shop("redirect", "false")
        .shop("tls", "internal")
        .shop("health", "{interval: 200ms, rise: 1}")
        .everywhere("SWITCHER_ENVIRONMENT", "production")
        .everywhere("DATABASE_URL", &url);
    site.open().await
}

async fn get(site: &Site, path: &str) -> String {
    get_with(site.proxy().http(), path, &[("Host", HOST)]).await.text()
}

#[tokio::test]
async fn the_very_bytes_that_were_built_run_twice_and_a_bad_update_goes_nowhere() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = production().await;
    let digest = site.push(&Image::new("4f2a9c1")).await;
    // The checklist: nothing moves, and it says that there is something to do.
    let refused = site.run(&["deploy", "latest"]).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    refused.says(&["latest", "production"]);
    let planned = site.run(&["deploy", "4f2a9c1", "--dry-run", "--exit-code"]).await;
    assert_eq!(planned.code, 11, "{planned:?}");
    assert!(planned.stdout.contains(&digest[..20]), "{planned:?}");
    site.succeed(&["deploy", "4f2a9c1"]).await;
    site.agree("4f2a9c1").await;
    let state = site.state();
    assert!(
        state["current_deployment"]["image"].as_str().is_some_and(|image| image.ends_with(&digest)),
        "{state:#}"
    );
    assert_eq!(site.containers_in(Slot::Green).await.len(), 2);
    let environment = get(&site, "/env").await;
    assert!(
        environment.contains("LOG_LEVEL=info"),
        "the layer of production is over the file: {environment}"
    );
    assert!(!environment.contains("DATABASE_URL"), "a secret is a file: {environment}");

    let traffic = site.traffic("4f2a9c1");
    traffic.flow().await;
    site.push(&Image::new("bad0000").env("CRASH_AT_START", "1")).await;
    let failed = site.run(&["deploy", "bad0000"]).await;
    assert_eq!(failed.code, 4, "{failed:?}");
    traffic.announce("8e1b7d2");
    site.push(&Image::new("8e1b7d2").env("MIGRATIONS", "3")).await;
    site.succeed(&["deploy", "8e1b7d2"]).await;
    traffic.settle();
    traffic.flow().await;
    traffic.announce("4f2a9c1");
    site.succeed(&["rollback"]).await;
    traffic.settle();
    traffic.flow().await;
    traffic.finish().await;
    // The image that is live knows no step back from 3; the one that made it does.
    site.succeed(&["migrate", "down", "--to", "1"]).await;
    assert_eq!(get(&site, "/schema").await.split(' ').next(), Some("1"));
    site.agree("4f2a9c1").await;
}

#[tokio::test]
async fn without_its_database_a_replica_is_alive_and_not_ready() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = production().await;
    site.release("4f2a9c1").await;
    let started = async |site: &Site| {
        let mut times = Vec::new();
        for container in site.containers_in(Slot::Green).await {
            let id = container["Id"].as_str().expect("an id").to_owned();
            times.push(site.engine.inspect(&id).await["State"]["StartedAt"].clone());
        }
        times
    };
    let before = started(&site).await;
    assert_eq!(before.len(), 2);
    site.postgres_mut().kill();
    site.proxy().wait_health(Slot::Green, Health::Unhealthy).await;
    let status = site.succeed(&["status", "--json"]).await.json();
    // The newest probe may be the one that asks whether it is alive.
    let reason = status["apps"]["shop"]["slots"]["green"]["reason"].to_string();
    assert!(reason.contains("503"), "{reason}");
    site.postgres_mut().restart().await;
    site.proxy().wait_health(Slot::Green, Health::Healthy).await;
    assert_eq!(started(&site).await, before, "nobody restarted what was alive");
    assert_eq!(site.version().await.as_deref(), Some("4f2a9c1"));
}

#[tokio::test]
async fn every_layer_is_named_with_what_it_says() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = production().await;
    let shown = site.succeed(&["config", "show", "--origin"]).await.stdout;
    for (key, origin) in [
        ("LOG_LEVEL", "switcher.production.yaml"),
        ("image", "SWITCHER__APPS__SHOP__DEPLOY__IMAGE"),
        ("- shop.example.com", "switcher.yaml"),
        ("stop_timeout", "default"),
    ] {
        let line = shown.lines().find(|line| line.trim_start().starts_with(key)).unwrap_or_default();
        assert!(line.contains(origin), "{key}: {line:?} in\n{shown}");
    }
    let password = site.postgres().password();
    assert!(!shown.contains(&password), "{shown}");
}
