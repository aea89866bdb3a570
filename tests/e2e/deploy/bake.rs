//! A deployment that is worse under live traffic alone: the proxy goes back, and the deployer writes down why.

use std::process::Stdio;

use serde_json::Value;
use switcher_config::Slot;
use switcher_tests::http1::get;
use switcher_tests::{Image, PATIENCE, Site, skip_or_fail, until};
use tokio::task::JoinSet;

/// A site that judges for a minute, on which v1 is live.
async fn serving() -> Site {
    serving_within("{}").await
}

/// The same, with bounds of its containers.
async fn serving_within(limits: &str) -> Site {
    let site = Site::prepare().await.deploy("limits", limits);
    let site = site.deploy("bake", "{for: 1m, min_requests: 20}");
    let site = site.open().await;
    site.push(&Image::new("v1")).await;
    site.succeed(&["deploy", "v1", "--skip-bake"]).await;
    site
}

/// Visitors who ask one after the other until dropped.
fn visitors(site: &Site) -> JoinSet<()> {
    let (address, mut tasks) = (site.proxy().http(), JoinSet::new());
    for _ in 0..2 {
        tasks.spawn(async move {
            loop {
                let _ = get(address, "/version").await;
            }
        });
    }
    tasks
}

/// That the history holds v2 with its evidence, and everything says that v1 is live.
async fn went_back(site: &Site) {
    site.agree("v1").await;
    let history = site.history();
    let of_v2: Vec<&Value> = history.iter().filter(|line| line["version"] == "v2").collect();
    let line = of_v2.last().expect("a line of v2");
    assert_eq!(
        (&line["status"], &line["failure"]["phase"]),
        (&"rolled_back".into(), &"bake".into()),
        "{line:#}"
    );
    assert_eq!(line["failure"]["code"], "E-BAKE-01");
    let evidence = line["failure"]["evidence"].as_array().expect("the figures");
    assert!(
        evidence.iter().any(|said| said.as_str().is_some_and(|said| said.contains("failed"))),
        "{line:#}"
    );
}

#[tokio::test]
async fn a_version_that_fails_under_live_traffic_alone_goes_back_with_exit_code_4() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = serving().await;
    let _visitors = visitors(&site);
    site.push(&Image::new("v2").env("FAIL_REQUESTS", "1")).await;
    let ran = site.run(&["deploy", "v2"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{ran:?}");
    ran.says(&["E-BAKE-01", "v2 was worse than the version before", "requests failed", "live now: shop:"]);
    went_back(&site).await;
}

#[tokio::test]
async fn a_command_that_is_killed_right_after_the_switch_leaves_the_judging_to_the_proxy() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = serving().await;
    let live = site.proxy().admin().shop().await.active;
    let _visitors = visitors(&site);
    site.push(&Image::new("v2").env("FAIL_REQUESTS", "1")).await;
    let mut command = site.switcher().command(&["deploy", "v2"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let judged = || async {
        let bake = site.proxy().admin().shop().await.bake;
        bake.is_some_and(|bake| bake.to != live)
    };
    until(PATIENCE, "traffic to move", judged).await;
    child.kill().await.expect("killed");
    until(PATIENCE, "the proxy to go back", || async {
        let shop = site.proxy().admin().shop().await;
        shop.active == live && shop.bake.is_some_and(|bake| bake.outcome.is_some())
    })
    .await;
    let ran = site.run(&["repair"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    went_back(&site).await;
    assert_ne!(site.containers_in(Slot::Blue).await.len(), 0);
}

#[tokio::test]
async fn a_version_that_nobody_visits_is_kept_and_that_is_said() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.deploy("bake", "{for: 1s}").open().await;
    site.release("v1").await;
    site.push(&Image::new("v2")).await;
    let ran = site.succeed(&["deploy", "v2"]).await;
    ran.says(&["inconclusive"]);
    site.agree("v2").await;
}

#[tokio::test]
async fn a_version_that_leaks_until_the_kernel_kills_it_goes_back_by_itself() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = serving_within("{memory: 48MiB}").await;
    let mut visitors = visitors(&site);
    let address = site.proxy().http();
    visitors.spawn(async move {
        loop {
            // Each of its pages holds on to some memory; the version before never did.
            if get(address, "/version").await.text().trim() == "v2" {
                let _ = get(address, "/memory?mb=4").await;
            }
        }
    });
    site.push(&Image::new("v2")).await;
    let ran = site.run(&["deploy", "v2"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{ran:?}");
    ran.says(&["E-BAKE-01", "v2 was worse than the version before"]);
    went_back(&site).await;
    let all = site.engine.containers().await;
    let of_v2 = all.iter().find(|container| container["Labels"]["switcher.version"] == "v2");
    let id = of_v2.and_then(|container| container["Id"].as_str()).expect("its container, for its logs");
    let restarts = &site.engine.inspect(id).await["RestartCount"];
    assert!(restarts.as_u64().is_some_and(|count| count > 0), "nobody killed it: {restarts}");
}
