//! Two who act at once, an owner that died, and one that slept and wakes up: one wins, nothing stale moves traffic.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use switcher_config::wire::{Fence, PromoteRequest, RefusalReason};
use switcher_tests::{Image, PATIENCE, Setup, Site, Switcher, skip_or_fail, until, within};
use tokio::process::Child;

/// Starts `deploy` of a version whose migration takes so long, and waits until that is running.
async fn deploying(site: &Site, version: &str, millis: u32) -> Child {
    let image = Image::new(version).env("MIGRATIONS", "9").env("MIGRATE_SLOW_MS", &millis.to_string());
    site.push(&image).await;
    let child = site.switcher().command(&["deploy", version]).spawn().expect("it starts");
    until(PATIENCE, "the migration to run", || async {
        site.engine.running().await.iter().any(|name| name.contains("migrate"))
    })
    .await;
    child
}

fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, signal).expect("a signal");
}

async fn code(child: Child) -> (i32, String) {
    let output = switcher_tests::within(PATIENCE * 3, "the command to end", child.wait_with_output());
    let output = output.await.expect("its output");
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn of_two_deployments_at_once_one_wins_and_the_other_exits_with_3() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await.open().await;
    site.release("v1").await;
    site.push(&Image::new("v3").env("MIGRATIONS", "9")).await;
    let first = deploying(&site, "v2", 1000).await;
    let second = site.run(&["deploy", "v3"]).await;
    assert_eq!(second.code, 3, "{second:?}");
    second.says(&["E-LOCK-01", "deploy by", "live now: shop:"]);
    let waiting = site.run(&["deploy", "v3", "--lock-wait", "60s"]).await;
    let (first, words) = code(first).await;
    assert_eq!((first, waiting.code), (0, 0), "{words}\n{waiting:?}");
    site.agree("v3").await;
    assert_eq!(site.state()["previous_deployment"]["version"], "v2");
}

#[tokio::test]
async fn the_lease_of_a_killed_owner_is_free_at_once() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await.open().await;
    site.release("v1").await;
    let mut first = deploying(&site, "v2", 1000).await;
    first.kill().await.expect("killed");
    // Not a moment of waiting for the lease; what the dead one began is undone first.
    site.push(&Image::new("v3").env("MIGRATIONS", "9")).await;
    let ran = site.run(&["deploy", "v3"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    site.agree("v3").await;
    assert_eq!(site.remains().await, [""; 0]);
}

#[tokio::test]
async fn an_owner_that_slept_over_its_lease_changes_nothing_when_it_wakes_up() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await.switcher_section("lease", "5s").open().await;
    site.release("v1").await;
    let stale = site.proxy().admin().shop().await.fence.expect("the first lease");
    let sleeper = deploying(&site, "v2", 300).await;
    let asleep = site.proxy().admin().shop().await.fence.expect("the second lease");
    assert!(asleep.number > stale.number, "{asleep:?} after {stale:?}");
    send(&sleeper, Signal::STOP);
    site.push(&Image::new("v3").env("MIGRATIONS", "9")).await;
    site.succeed(&["deploy", "v3", "--lock-wait", "60s"]).await;
    site.agree("v3").await;
    send(&sleeper, Signal::CONT);
    let (sleeper, words) = code(sleeper).await;
    assert_eq!(sleeper, 3, "{words}");
    site.agree("v3").await;

    // The proxy itself refuses what the sleeper would have sent.
    let admin = site.proxy().admin();
    let standby = admin.shop().await.active.other();
    for fence in [asleep, stale] {
        let wish = PromoteRequest { fence: Some(fence), ..PromoteRequest::of(standby) };
        let refused = admin.promote_as(&wish).await.expect_err("a stale promote");
        assert_eq!((refused.status, refused.refusal.reason), (409, RefusalReason::StaleFence));
    }
    site.agree("v3").await;
    // The negative control: the newest lease's own promote goes through.
    let newest: Fence = admin.shop().await.fence.expect("the newest lease");
    let wish = PromoteRequest { fence: Some(newest), force: true, ..PromoteRequest::of(standby) };
    admin.promote_as(&wish).await.expect("promoted");
}

#[tokio::test]
async fn somebody_else_who_moves_traffic_meanwhile_is_not_overruled() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await.open().await;
    site.release("v1").await;
    site.push(&Image::new("v2").env("MIGRATIONS", "1")).await;
    site.succeed(&["deploy", "v2"]).await;
    let deploying = deploying(&site, "v3", 500).await;
    let back = site.proxy().admin().shop().await.active.other();
    site.proxy().admin().promote(back).await.expect("promoted");
    let (ended, words) = code(deploying).await;
    assert_eq!(ended, 3, "{words}");
    assert_eq!(site.version().await.as_deref(), Some("v1"));
    tokio::time::timeout(Duration::from_secs(60), site.run(&["repair"])).await.expect("it ends");
}

#[tokio::test]
async fn operators_whose_leases_are_kept_in_different_places_exclude_each_other_at_the_proxy() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = Site::prepare().await.with_database().await.open().await;
    site.release("v1").await;
    site.push(&Image::new("v2").env("MIGRATIONS", "2").env("MIGRATE_SLOW_MS", "4000")).await;
    let first = site.switcher().command(&["deploy", "v2"]).spawn().expect("it starts");
    until(PATIENCE, "the migration to run", || async {
        site.postgres().query("SELECT version, dirty FROM schema_migrations") == ["2|t"]
    })
    .await;
    // The other one has a memory of its own, as on another machine.
    let elsewhere = site.path("elsewhere").display().to_string();
    site.reconfigure(|setup| setup.switcher("state_dir", &elsewhere));
    site.push(&Image::new("v3")).await;
    let ran = site.run(&["deploy", "v3"]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    ran.says(&["E-LOCK-01", "kept in another place", "--lock-wait"]);
    let output = within(PATIENCE * 2, "the first to end", first.wait_with_output()).await.expect("output");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(site.version().await.as_deref(), Some("v2"), "the first one was not disturbed");
    // It gave its claim back, so nobody waits now.
    let ran = site.run(&["promote", site.proxy().admin().shop().await.active.other().as_str()]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(site.version().await.as_deref(), Some("v1"));
}

#[tokio::test]
async fn two_projects_that_call_an_application_the_same_leave_each_others_containers_alone() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.open().await;
    site.release("v1").await;
    let other = Setup::deployed()
        .switcher("docker_host", &site.engine.url())
        .switcher("state_dir", &site.path("another").display().to_string())
        .deploy("image", &site.registry.name("shop"))
        .deploy("network", "shop")
        .start_unready()
        .await;
    let stranger = Switcher::of(&other).with("SWITCHER_ALLOW_TEMPORARY_STATE", "1");
    let ran = stranger.run(&["deploy", "v1"]).await;
    assert_ne!(ran.code, 0, "{ran:?}");
    ran.says(&["behind another proxy", "another name"]);
    site.agree("v1").await;
    // Its own ones it finds again, as long as the names differ.
    let staging = stranger.with("SWITCHER_ENVIRONMENT", "staging");
    staging.succeed(&["deploy", "v1"]).await;
    site.release("v2").await;
    site.agree("v2").await;
    let version = switcher_tests::http1::get(other.http(), "/version").await.text();
    assert_eq!(version.trim(), "v1", "the other one's goes on");
}
