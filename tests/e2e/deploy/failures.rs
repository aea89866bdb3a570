//! New versions that are no good, each in its own way: users notice nothing, and the message names the cause.

use switcher_tests::switcher::Ran;
use switcher_tests::{Image, Site, skip_or_fail};

/// A site on which v1 is live and takes traffic.
async fn serving(site: Site) -> (Site, switcher_tests::site::Traffic) {
    let site = site.open().await;
    let traffic = site.serve(&Image::new("v1")).await;
    (site, traffic)
}

/// Deploys v2, which must fail with this exit code and these words; v1 must have served all the while.
async fn refused(site: Site, image: Image, code: i32, says: &[&str]) -> (Site, Ran) {
    let (site, traffic) = serving(site).await;
    site.push(&image).await;
    let containers = site.engine.running().await;
    let ran = site.run(&["deploy", image.version()]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{ran:?}");
    ran.says(says);
    ran.says(&["live now: shop:"]);
    traffic.flow().await;
    traffic.finish().await;
    site.agree("v1").await;
    assert_eq!(site.engine.running().await, containers, "what runs");
    assert_eq!(site.remains().await, [""; 0], "containers that ended");
    let history = site.history();
    let newest = history.last().expect("a line");
    assert_eq!((&newest["version"], &newest["status"]), (&"v2".into(), &"failed".into()), "{newest:#}");
    assert!(newest["failure"]["code"].as_str().is_some_and(|code| code.starts_with("E-")), "{newest:#}");
    (site, ran)
}

#[tokio::test]
async fn a_version_that_nobody_pushed_is_exit_code_6() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let (site, traffic) = serving(Site::prepare().await).await;
    let ran = site.run(&["deploy", "v2"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (6, ""), "{ran:?}");
    ran.says(&["E-IMAGE-01", &site.registry.image("shop", "v2")]);
    traffic.finish().await;
    site.agree("v1").await;
}

#[tokio::test]
async fn a_registry_that_is_away_is_exit_code_6() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let (mut site, traffic) = serving(Site::prepare().await).await;
    site.push(&Image::new("v2")).await;
    site.registry.stop();
    let ran = site.run(&["deploy", "v2"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    ran.says(&["E-IMAGE-01", &site.registry.host()]);
    traffic.finish().await;
    site.agree("v1").await;
    site.registry.restart().await;
    site.succeed(&["deploy", "v2"]).await;
    site.agree("v2").await;
}

#[tokio::test]
async fn a_snapshot_that_fails_is_exit_code_5_and_nothing_is_migrated() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await;
    let (site, traffic) = serving(site).await;
    // A table that the application's role may not read, so that no whole dump can be had.
    let _ = site.postgres().query("CREATE TABLE ledger (id int)");
    site.push(&Image::new("v2").env("MIGRATIONS", "2")).await;
    let ran = site.run(&["deploy", "v2"]).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    ran.says(&["E-SNAP-01", "permission denied", "ledger", "live now: shop:"]);
    traffic.finish().await;
    site.agree("v1").await;
    assert_eq!(site.postgres().query("SELECT version FROM schema_migrations"), ["1"]);
}

#[tokio::test]
async fn a_migration_that_fails_is_exit_code_5_with_its_last_words() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await;
    let image = Image::new("v2").env("MIGRATE_FAIL", "1");
    let (site, _) = refused(site, image, 5, &["E-MIGRATE-02", "failing on purpose", "exit code 1"]).await;
    assert_eq!(site.postgres().query("SELECT version, dirty FROM schema_migrations"), ["1|f"]);
}

#[tokio::test]
async fn a_migration_that_breaks_halfway_leaves_a_dirty_schema_which_the_next_deployment_refuses() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await;
    let image = Image::new("v2").env("MIGRATIONS", "3").env("MIGRATE_FAIL_AT", "2");
    let (site, _) = refused(site, image, 5, &["E-MIGRATE-", "broken_on_purpose"]).await;
    assert_eq!(site.postgres().query("SELECT version, dirty FROM schema_migrations"), ["2|t"]);
    site.push(&Image::new("v3").env("MIGRATIONS", "3")).await;
    let ran = site.run(&["deploy", "v3"]).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    ran.says(&["E-MIGRATE-01", "dirty", "schema_migrations"]);
    site.agree("v1").await;
    // The way out: the operator says where the schema is.
    let _ = site.postgres().query("UPDATE schema_migrations SET version = 1, dirty = false");
    site.succeed(&["deploy", "v3"]).await;
    site.agree("v3").await;
}

#[tokio::test]
async fn a_migration_that_never_ends_is_stopped_at_its_timeout() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await;
    let site = site.deploy(
        "migrate",
        "{command: [migrate, up], timeout: 3s, env: {DATABASE_URL: \"${DIRECT_DATABASE_URL}\"}}",
    );
    let image = Image::new("v2").env("MIGRATE_HANG", "1");
    refused(site, image, 5, &["E-MIGRATE-02", "3s"]).await;
}

#[tokio::test]
async fn a_version_that_crashes_at_its_start_is_exit_code_4_with_its_exit_code_and_its_log() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let image = Image::new("v2").env("CRASH_AT_START", "42");
    refused(Site::prepare().await, image, 4, &["42", "crashing on purpose"]).await;
}

#[tokio::test]
async fn a_version_that_never_gets_healthy_is_exit_code_4_with_its_last_answers() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.deploy("ready_timeout", "4s");
    let image = Image::new("v2").env("HEALTH_STATUS", "503").env("HEALTH_TEXT", "the cache is cold");
    refused(site, image, 4, &["E-HEALTH-", "503", "the cache is cold", "listening on 8080 as v2"]).await;
}

#[tokio::test]
async fn a_version_whose_own_healthcheck_fails_is_exit_code_4_though_the_proxy_likes_it() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.deploy("ready_timeout", "15s");
    let site = site.shop("health", "{path: /version, interval: 100ms, timeout: 1s, rise: 1, fall: 2}");
    let image = Image::new("v2").healthcheck(1).env("HEALTH_STATUS", "503").env("HEALTH_TEXT", "no queue");
    refused(site, image, 4, &["no queue"]).await;
}

#[tokio::test]
async fn a_version_that_is_killed_for_its_memory_is_exit_code_4_and_named_so() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.deploy("limits", "{memory: 48MiB}");
    let image = Image::new("v2").env("MEMORY_AT_START_MB", "200");
    refused(site, image, 4, &["ran out of memory", "48MiB"]).await;
}

#[tokio::test]
async fn a_good_version_goes_in_after_a_bad_one() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let image = Image::new("v2").env("CRASH_AT_START", "1");
    let (site, _) = refused(Site::prepare().await, image, 4, &["crashing on purpose"]).await;
    site.release("v3").await;
    site.agree("v3").await;
}
