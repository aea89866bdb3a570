//! A part is killed in the middle of a deployment: the proxy, the engine, the database. The next command gets
//! everything into order.

use switcher_tests::{Engine, Image, PATIENCE, Site, skip_or_fail, until, within};
use tokio::process::Child;

/// Starts `deploy v2`, whose migration takes so long, and waits until that is running.
async fn migrating(site: &Site, millis: u32) -> Child {
    let image = Image::new("v2").env("MIGRATIONS", "2").env("MIGRATE_SLOW_MS", &millis.to_string());
    site.push(&image).await;
    let child = site.switcher().command(&["deploy", "v2"]).spawn().expect("it starts");
    until(PATIENCE, "the migration to run", || async {
        site.postgres().query("SELECT version FROM schema_migrations") == ["2"]
    })
    .await;
    child
}

async fn end(child: Child) -> (i32, String) {
    let output = within(PATIENCE * 4, "the command to end", child.wait_with_output()).await.expect("output");
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn serving(site: Site) -> Site {
    let site = site.open().await;
    site.release("v1").await;
    site
}

#[tokio::test]
async fn a_proxy_that_is_killed_in_the_middle_serves_v1_again_and_takes_v2_later() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = serving(Site::prepare().await.with_database().await).await;
    let deploying = migrating(&site, 3000).await;
    site.proxy_mut().kill();
    let (code, words) = end(deploying).await;
    assert_eq!(code, 6, "{words}");
    assert!(words.contains("E-PROXY-"), "{words}");
    site.proxy_mut().restart().await;
    assert_eq!(site.version().await.as_deref(), Some("v1"));
    site.succeed(&["repair"]).await;
    site.agree("v1").await;
    site.succeed(&["deploy", "v2"]).await;
    site.agree("v2").await;
    assert_eq!(site.remains().await, [""; 0]);
}

#[tokio::test]
async fn an_engine_that_is_killed_in_the_middle_costs_no_request() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::with_engine(Engine::options().live_restore()).await.with_database().await;
    let mut site = serving(site).await;
    let traffic = site.traffic("v1");
    traffic.flow().await;
    let deploying = migrating(&site, 3000).await;
    site.engine.kill();
    let (code, words) = end(deploying).await;
    assert_eq!(code, 6, "{words}");
    assert!(words.contains("E-DOCKER-"), "{words}");
    traffic.flow().await;
    site.engine.restart().await;
    // The migration went on without the engine's daemon, so the next command sees it to its end and goes on.
    traffic.announce("v2");
    site.succeed(&["repair"]).await;
    traffic.settle();
    site.agree("v2").await;
    assert_eq!(site.postgres().query("SELECT version, dirty FROM schema_migrations"), ["2|f"]);
    traffic.flow().await;
    traffic.finish().await;
    assert_eq!(site.remains().await, [""; 0]);
}

#[tokio::test]
async fn a_database_that_is_killed_in_the_middle_of_a_migration_stops_the_deployment() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = serving(Site::prepare().await.with_database().await).await;
    let traffic = site.traffic("v1");
    let deploying = migrating(&site, 3000).await;
    site.postgres_mut().kill();
    let (code, words) = end(deploying).await;
    assert_eq!(code, 5, "{words}");
    traffic.flow().await;
    traffic.finish().await;
    site.agree("v1").await;
    // While it is away nothing is begun.
    let ran = site.run(&["deploy", "v2"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    ran.says(&["E-DB-01"]);
    site.postgres_mut().restart().await;
    // It was in the middle of the step, so the schema is dirty, and that is said.
    let ran = site.run(&["deploy", "v2"]).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    ran.says(&["E-MIGRATE-01"]);
    let _ = site.postgres().query("UPDATE schema_migrations SET version = 1, dirty = false");
    site.succeed(&["deploy", "v2"]).await;
    site.agree("v2").await;
}

#[tokio::test]
async fn a_proxy_that_was_restarted_knows_what_was_deployed() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = serving(Site::prepare().await).await;
    site.release("v2").await;
    site.proxy_mut().kill();
    site.proxy_mut().restart().await;
    site.agree("v2").await;
    site.succeed(&["rollback"]).await;
    site.agree("v1").await;
}
