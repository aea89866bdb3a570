//! `switcher migrate`: what the schema is at, up once more, and down from the newest image that migrated.

use switcher_tests::{Image, Site, skip_or_fail};

/// The versions of the application that migrated, in order.
fn runs(site: &Site) -> Vec<String> {
    site.postgres().query("SELECT app FROM migrate_runs ORDER BY id")
}

fn schema(site: &Site) -> Vec<String> {
    site.postgres().query("SELECT version, dirty FROM schema_migrations")
}

#[tokio::test]
async fn down_runs_from_the_image_that_knows_the_newest_schema_also_after_a_rollback() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await.open().await;
    site.release("v1").await;
    site.push(&Image::new("v2").env("MIGRATIONS", "3")).await;
    site.succeed(&["deploy", "v2"]).await;
    site.succeed(&["rollback"]).await;
    site.agree("v1").await;
    let status = site.succeed(&["migrate", "status", "--json"]).await.json();
    assert_eq!(status["schema"]["version"], "3", "{status:#}");

    let ran = site.succeed(&["migrate", "down", "--to", "1", "--json"]).await.json();
    assert_eq!((&ran["version"], &ran["to"]), (&"v2".into(), &"1".into()), "{ran:#}");
    assert_eq!(schema(&site), ["1|f"]);
    assert_eq!(runs(&site), ["v1", "v2", "v2"]);
    // Up is the live version's own matter, and is harmless where there is nothing to do.
    let ran = site.succeed(&["migrate", "up", "--json"]).await.json();
    assert_eq!((&ran["version"], &ran["to"]), (&"v1".into(), &serde_json::Value::Null), "{ran:#}");
    assert_eq!((schema(&site), runs(&site).len()), (vec!["1|f".to_owned()], 4));
    site.agree("v1").await;
    assert_eq!(site.remains().await, [""; 0]);
}

#[tokio::test]
async fn a_migration_that_fails_is_exit_code_5_with_its_last_words() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await.open().await;
    let ran = site.run(&["migrate", "up"]).await;
    assert_eq!(ran.code, 10, "{ran:?}");
    ran.says(&["nothing was deployed yet"]);
    site.release("v1").await;
    let ran = site.run(&["migrate", "down", "--to", "somewhere"]).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    ran.says(&["E-MIGRATE-02", "down to somewhere", "somewhere is no version", "live now: shop:"]);
    assert_eq!(schema(&site), ["1|f"]);
    assert_eq!(site.remains().await, [""; 0]);
    site.agree("v1").await;
}

#[tokio::test]
async fn without_a_command_for_it_nobody_goes_down() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let migrate = "{command: [migrate, up], env: {DATABASE_URL: \"${DIRECT_DATABASE_URL}\"}}";
    let site = Site::prepare().await.with_database().await.deploy("migrate", migrate).open().await;
    site.release("v1").await;
    let ran = site.run(&["migrate", "down", "--to", "0"]).await;
    assert_eq!(ran.code, 10, "{ran:?}");
    ran.says(&["`migrate.down` is not set"]);
    assert_eq!(schema(&site), ["1|f"]);
}
