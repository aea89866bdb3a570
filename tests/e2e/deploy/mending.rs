//! What `repair` mends, and what nothing may be begun over: a proxy that lost its memory, containers that were removed
//! by hand, one-off containers of commands that were killed, a deployment that cannot be brought to its end.

use serde_json::Value;
use switcher_tests::{Image, PATIENCE, Site, skip_or_fail, until, within};

/// Takes the proxy's memory away: everything that it wrote about where traffic goes.
async fn forget(site: &mut Site) {
    site.proxy_mut().kill();
    for entry in std::fs::read_dir(site.proxy().path("data")).expect("the data folder").flatten() {
        if entry.file_name().to_string_lossy().starts_with("routing") {
            std::fs::remove_file(entry.path()).expect("a removed file");
        }
    }
    site.proxy_mut().restart().await;
}

#[tokio::test]
async fn a_proxy_that_lost_its_memory_is_told_what_was_live_and_nothing_is_begun_before() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = Site::prepare().await.open().await;
    for version in ["v1", "v2", "v3"] {
        site.release(version).await;
    }
    forget(&mut site).await;
    assert_eq!(site.version().await, None, "nobody serves");
    let running = site.engine.running().await;
    site.push(&Image::new("v4").env("CRASH_AT_START", "1")).await;
    let ran = site.run(&["deploy", "v4"]).await;
    assert_eq!(ran.code, 7, "{ran:?}");
    ran.says(&["E-REPAIR-01", "v3", "recorded as live in green", "repair"]);
    assert_eq!(site.engine.running().await, running, "nothing was taken apart");

    let ran = site.succeed(&["repair", "--json"]).await.json();
    assert!(ran["findings"].to_string().contains("has forgotten what it served"), "{ran:#}");
    site.agree("v3").await;
    let again = site.succeed(&["repair", "--json"]).await.json();
    assert_eq!(again["findings"], serde_json::json!([]), "{again:#}");
    // The one before is warm again as well.
    site.succeed(&["rollback"]).await;
    site.agree("v2").await;
    assert_eq!(site.engine.running().await, running);
}

#[tokio::test]
async fn containers_that_somebody_removed_come_back() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.deploy("replicas", "2").open().await;
    site.release("v1").await;
    let live = site.proxy().admin().shop().await.active;
    for removed in [1, 2] {
        for container in site.containers_in(live).await.iter().take(removed) {
            let path = format!("/containers/{}?force=1", container["Id"].as_str().expect("an id"));
            site.engine.ask("DELETE", &path, &Value::Null).await;
        }
        assert_eq!(site.containers_in(live).await.len(), 2 - removed);
        site.succeed(&["repair"]).await;
        site.agree("v1").await;
        assert_eq!(site.containers_in(live).await.len(), 2);
    }
    let again = site.succeed(&["repair", "--json"]).await.json();
    assert_eq!(again["findings"], serde_json::json!([]), "{again:#}");
}

#[tokio::test]
async fn a_migration_whose_command_was_killed_is_waited_for_by_whoever_comes_next() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = Site::prepare().await.with_database().await.open().await;
    site.release("v1").await;
    let slow = Image::new("v2").env("MIGRATIONS", "2").env("MIGRATE_SLOW_MS", "3000");
    site.push(&slow).await;
    let deploying = site.switcher().command(&["deploy", "v2"]).spawn().expect("it starts");
    until(PATIENCE, "the migration to run", || async {
        site.postgres().query("SELECT version, dirty FROM schema_migrations") == ["2|t"]
    })
    .await;
    kill(deploying).await;
    // In the meantime somebody spoiled the env file: what runs is waited for all the same.
    let env = site.path(".env.production");
    std::fs::set_permissions(&env, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("a mode");
    let ran = site.run(&["repair"]).await;
    assert_eq!(site.postgres().query("SELECT version, dirty FROM schema_migrations"), ["2|f"], "{ran:?}");
    assert_eq!(site.remains().await, [""; 0], "{ran:?}");
    std::fs::set_permissions(&env, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    site.succeed(&["repair"]).await;
    site.succeed(&["deploy", "v2"]).await;
    site.agree("v2").await;

    // Outside a deployment there is no journal, and the container is found by its labels.
    site.push(&Image::new("v3").env("MIGRATIONS", "3").env("MIGRATE_SLOW_MS", "3000")).await;
    site.succeed(&["deploy", "v3", "--skip-migrations"]).await;
    let migrating = site.switcher().command(&["migrate", "up"]).spawn().expect("it starts");
    until(PATIENCE, "the migration to run", || async {
        site.postgres().query("SELECT version, dirty FROM schema_migrations") == ["3|t"]
    })
    .await;
    kill(migrating).await;
    let ran = site.succeed(&["repair", "--json"]).await.json();
    assert!(ran["findings"].to_string().contains("was left by an earlier command and still runs"), "{ran:#}");
    assert_eq!(site.postgres().query("SELECT version, dirty FROM schema_migrations"), ["3|f"]);
    assert_eq!(site.remains().await, [""; 0]);
    let _ = site.postgres_mut();
}

async fn kill(mut child: tokio::process::Child) {
    child.start_kill().expect("a signal");
    within(PATIENCE, "its end", child.wait()).await.expect("its end");
}

#[tokio::test]
async fn a_rollback_waits_for_nobody_who_is_inside_the_slot_that_was_left() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site =
        Site::prepare().await.shop("drain", "{requests: 60s, uploads: 60s, streams: 60s}").open().await;
    site.release("v1").await;
    let front = site.proxy().http();
    let inside = tokio::spawn(switcher_tests::http1::get(front, "/slow?ms=20000"));
    let live = site.proxy().admin().shop().await.active;
    until(PATIENCE, "the request to be inside", || async {
        site.proxy().admin().shop().await.slots.get(live).in_flight.total() > 0
    })
    .await;
    site.push(&Image::new("v2")).await;
    let deploying = site.switcher().command(&["deploy", "v2"]).spawn().expect("it starts");
    until(PATIENCE, "v2 to be live", || async { site.version().await.as_deref() == Some("v2") }).await;
    let ran = site.succeed(&["rollback", "--detach"]).await;
    assert!(!inside.is_finished(), "nobody waited for it: {ran:?}");
    assert_eq!(site.version().await.as_deref(), Some("v1"));
    let output =
        within(PATIENCE, "the deployment to end", deploying.wait_with_output()).await.expect("output");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{words}");
    assert!(words.contains("traffic HAS moved"), "{words}");
    let answer = within(PATIENCE, "the answer", inside).await.expect("an answer");
    assert_eq!(answer.status, 200, "it was inside v1 all the time");
    site.agree("v1").await;
    let versions: Vec<Value> = site.history().iter().map(|line| line["version"].clone()).collect();
    assert!(versions.contains(&"v2".into()), "{versions:?}");
}
