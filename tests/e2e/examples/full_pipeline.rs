//! The whole way for an application with a database and job workers, and the faults that scripts in its place had.

use std::path::Path;

use serde_json::Value;
use switcher_config::durable::{Durability, replace};
use switcher_tests::site::Front;
use switcher_tests::{App, Image, Site, skip_or_fail};

const HOST: &str = "shop.example.com";

/// `systemctl start|stop shop-jobs@SLOT`, which fails where the workers of two slots would run together.
const SYSTEMCTL: &str = r#"#!/bin/sh
set -eu
slot=${2#shop-jobs@} root=ROOT
echo "$1 $slot" >>"$root/jobs.log"
case $1 in
start) for other in "$root"/running-*; do [ ! -e "$other" ] || [ "$other" = "$root/running-$slot" ]; done; : >"$root/running-$slot" ;;
stop) rm -f "$root/running-$slot" ;;
esac
"#;

/// Production, where the public address leads to the proxy.
async fn production() -> Site {
    let front = Front { host: HOST.to_owned(), tls: true };
    let site = Site::of_example("full-pipeline", front).await.with_postgres().await;
    let bin = site.path("bin");
    std::fs::create_dir(&bin).expect("a folder");
    let systemctl = SYSTEMCTL.replace("ROOT", &site.path("").display().to_string());
    replace(&bin.join("systemctl"), systemctl.as_bytes(), 0o755, Durability::Unsynced).expect("a program");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut site = site
        .variable("PATH", &format!("{}:{path}", bin.display()))
        .shop("hosts", "[shop.example.com, \"127.0.0.1\"]")
        .shop("redirect", "false")
        .shop("tls", "internal")
        .shop("health", "{interval: 200ms, rise: 1}")
        .deploy("bake", "{for: 1s, min_requests: 10}")
        .open()
        .await;
    let public = format!("http://{}/version", site.proxy().http());
    site.reconfigure(|setup| setup.deploy("verify", &format!("{{url: \"{public}\", timeout: 20s}}")));
    site
}

/// The public address is somewhere else from now on.
fn public(site: &mut Site, address: &str) {
    let verify = format!("{{url: \"http://{address}/version\", timeout: 1s, interval: 100ms}}");
    site.reconfigure(|setup| setup.deploy("verify", &verify));
}

fn jobs(site: &Site) -> Vec<String> {
    let text = std::fs::read_to_string(site.path("jobs.log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Whose workers run.
fn working(site: &Site) -> Vec<&'static str> {
    let runs = |slot: &&str| Path::exists(&site.path(&format!("running-{slot}")));
    ["blue", "green"].into_iter().filter(|slot| runs(slot)).collect()
}

fn newest(site: &Site, version: &str) -> Value {
    let history = site.history();
    history.into_iter().rfind(|line| line["version"] == version).expect("a line of the history")
}

#[tokio::test]
async fn it_goes_the_whole_way_and_back_and_remembers_what_was_seen() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = production().await;
    site.release("v1").await;
    assert_eq!(working(&site), ["green"]);
    let traffic = site.traffic("v1");
    traffic.flow().await;
    site.push(&Image::new("v2").env("MIGRATIONS", "3").commit("4f2a9c1d")).await;
    let planned = site.succeed(&["deploy", "v2", "--dry-run"]).await.stdout;
    for step in ["dump", "migrate up", "systemctl", "/version"] {
        assert!(planned.contains(step), "{step}: {planned}");
    }
    traffic.announce("v2");
    site.succeed(&["deploy", "v2"]).await;
    traffic.settle();
    traffic.flow().await;
    site.agree("v2").await;
    let current = &site.state()["current_deployment"];
    assert_eq!((&current["verified"]["matched"], &current["git_commit"]), (&true.into(), &"4f2a9c1d".into()));
    assert_eq!(
        (&current["schema_before"], &current["schema_after"]),
        (&"1".into(), &"3".into()),
        "{current:#}"
    );
    let snapshot = current["snapshot"].as_str().expect("a snapshot").to_owned();
    let listed = site.succeed(&["snapshot", "list"]).await.stdout;
    assert!(listed.contains(&snapshot), "{snapshot}: {listed}");
    // Never did the workers of two versions run together: their unit would have failed.
    assert_eq!(jobs(&site), ["stop blue", "start green", "stop green", "start blue"]);

    let before = site.state();
    site.succeed(&["rollback", "--dry-run"]).await;
    assert_eq!(site.state(), before, "a plan changes nothing");
    traffic.announce("v1");
    site.succeed(&["rollback"]).await;
    traffic.settle();
    traffic.flow().await;
    traffic.finish().await;
    // What a rollback that only writes a file would not do.
    site.agree("v1").await;
    assert_eq!(working(&site), ["green"]);
    site.succeed(&["prune"]).await;
    assert_eq!(site.leaks(&site.secrets()), [""; 0]);
}

#[tokio::test]
async fn a_public_address_that_shows_another_version_is_believed_more_than_we_are() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = production().await;
    site.release("v1").await;
    let elsewhere = App::start("v1").await;
    public(&mut site, &elsewhere.address().to_string());
    site.push(&Image::new("v2")).await;
    let failed = site.run(&["deploy", "v2"]).await;
    assert_eq!(failed.code, 4, "{failed:?}");
    site.agree("v1").await;
    assert_eq!(working(&site), ["green"], "{:?}", jobs(&site));
    let line = newest(&site, "v2");
    assert_eq!(line["verified"]["matched"], false, "{line:#}");
    assert_eq!(line["status"], "rolled_back", "{line:#}");
}

#[tokio::test]
async fn each_thing_that_goes_wrong_has_its_exit_code_and_leaves_the_old_version_alone() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = production().await;
    let good = std::fs::read_to_string(site.path(".env.production")).expect("an env file");
    site.release("v1").await;
    let traffic = site.traffic("v1");
    traffic.flow().await;
    for (bad, code) in [
        (Image::new("smoky").env("APP_VERSION", "v0"), 4),
        (Image::new("crashy").env("CRASH_AT_START", "1"), 4),
        (Image::new("halfway").env("MIGRATIONS", "3").env("MIGRATE_FAIL_AT", "2"), 5),
    ] {
        site.push(&bad).await;
        let ran = site.run(&["deploy", bad.version()]).await;
        assert_eq!(ran.code, code, "{ran:?}");
        site.agree("v1").await;
    }
    // The schema is dirty now, and nobody migrates on top of that.
    site.push(&Image::new("v2").env("MIGRATIONS", "3")).await;
    let dirty = site.run(&["deploy", "v2"]).await;
    assert_eq!(dirty.code, 5, "{dirty:?}");
    dirty.says(&["dirty"]);
    for (text, words) in [
        (good.replace(switcher_tests::site::JWT_SECRET, "CHANGE_ME"), "JWT_SECRET"),
        (String::new(), "DATABASE_URL"),
    ] {
        site.env_file(&text);
        let ran = site.run(&["deploy", "v2"]).await;
        assert_eq!(ran.code, 10, "{ran:?}");
        ran.says(&[words]);
    }
    site.env_file(&good);
    let unknown = site.run(&["deploy", "v9"]).await;
    assert_ne!(unknown.code, 0, "{unknown:?}");
    assert_eq!(site.run(&["deploy"]).await.code, 2);
    traffic.finish().await;
    site.agree("v1").await;
    assert_eq!(working(&site), ["green"]);
    // The proxy is down: nothing is called a success, and no slot is stopped.
    site.proxy_mut().kill();
    site.push(&Image::new("v3")).await;
    let alone = site.run(&["deploy", "v3", "--skip-migrations"]).await;
    assert_eq!(alone.code, 6, "{alone:?}");
    assert_eq!(site.run(&["rollback"]).await.code, 6);
    site.proxy_mut().restart().await;
    site.agree("v1").await;
}
