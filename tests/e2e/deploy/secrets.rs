//! Secrets: in no log, error, state file, process list, and in nothing that a migration leaves behind.

use switcher_tests::site::Watch;
use switcher_tests::{Image, Site, skip_or_fail};

/// A site whose secrets come in every way there is.
async fn telling() -> Site {
    let site = Site::prepare().await.with_database().await;
    let url = site.postgres().url_from_containers();
    site.variable("PAYMENT_KEY", "pk-7hQ-never-shown")
        .variable("DATABASE_URL_FILE_SECRET", &url)
        .deploy("secrets", "[payment_key]")
        .open()
        .await
}

fn secrets(site: &Site) -> Vec<String> {
    let mut secrets = site.secrets();
    secrets.push("pk-7hQ-never-shown".to_owned());
    secrets
}

fn told(text: &str, secrets: &[String]) -> Vec<String> {
    secrets.iter().filter(|secret| text.contains(secret.as_str())).cloned().collect()
}

#[tokio::test]
async fn no_secret_is_told_by_deployments_that_go_well_or_badly() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = telling().await;
    let secrets = secrets(&site);
    let watch = Watch::over_processes(secrets.clone());
    let mut said = String::new();
    for (image, code) in [
        (Image::new("v1").env("PRINT_SECRETS", "1"), 0),
        (Image::new("v2").env("PRINT_SECRETS", "1").env("MIGRATE_FAIL", "1"), 5),
        (Image::new("v3").env("PRINT_SECRETS", "1").env("CRASH_AT_START", "1"), 4),
        (Image::new("v4").env("PRINT_SECRETS", "1").env("MIGRATIONS", "2").env("MIGRATE_FAIL_AT", "2"), 5),
    ] {
        site.push(&image).await;
        let ran = site.run(&["deploy", image.version()]).await;
        assert_eq!(ran.code, code, "{ran:?}");
        said.push_str(&format!("{}{}", ran.stdout, ran.stderr));
    }
    for command in [
        &["status"][..],
        &["config", "show"],
        &["deploy", "v1", "--dry-run"],
        &["--progress", "json", "deploy", "v3"],
    ] {
        let ran = site.run(command).await;
        said.push_str(&format!("{}{}", ran.stdout, ran.stderr));
    }
    assert_eq!(told(&said, &secrets), [""; 0], "{said}");
    assert_eq!(site.leaks(&secrets), [""; 0]);
    assert!(watch.found().is_empty(), "{:?}", watch.found());

    // No container of a migration or of a failed start is there to be inspected.
    for container in site.engine.containers().await {
        assert_eq!(container["Labels"]["switcher.role"], "app", "{container:#}");
        assert_eq!(container["State"], "running", "{container:#}");
    }
    // The negative control: the application did have them, and told them.
    let shop = site.proxy().admin().shop().await;
    let live = switcher_tests::engine::name(&site.containers_in(shop.active).await[0]);
    assert_eq!(told(&site.engine.logs(&live).await, &secrets).len(), secrets.len());
    assert!(said.contains("crashing on purpose"), "the last log lines are shown: {said}");
}
