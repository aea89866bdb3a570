//! `kill -9` of the command at every boundary of its journal: the next command always gets to a correct state.
//!
//! The command is told at which boundary to kill itself; the boundaries are tried one after the other until it gets
//! through. Several tests share them, so that they run beside each other.

use switcher_tests::{Image, Site, skip_or_fail};

/// How many tests share the boundaries.
const SHARES: u32 = 4;
/// More boundaries than any deployment has.
const MOST: u32 = 400;

/// Kills `deploy` at every boundary of this share, with traffic on; `next` is the command that follows.
async fn at_every_boundary(share: u32, next: &str) {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await;
    let site = site.deploy("hooks", "{pre_deploy: \"true\", pre_promote: \"true\", post_promote: \"true\"}");
    // Half of them with a canary, which nobody has to visit.
    let canary = "{steps: [30%, 60%], every: 1s, hold: 0s, on_inconclusive: go_on, max_p99_ratio: 1000}";
    let site = if next == "repair" { site.deploy("canary", canary) } else { site };
    let site = site.open().await;
    site.release("v0").await;
    let (mut live, mut crashes) = ("v0".to_owned(), 0);
    let traffic = site.traffic("v0");
    for boundary in (1..MOST).filter(|boundary| boundary % SHARES == share) {
        let version = format!("v{boundary}");
        site.push(&Image::new(&version)).await;
        traffic.announce(&version);
        let crashing = site.switcher().with("SWITCHER_CRASH_AT", &boundary.to_string());
        let ran = crashing.run(&["deploy", &version]).await;
        if ran.code != 0 {
            assert_eq!(ran.code, -1, "boundary {boundary}: {ran:?}");
            crashes += 1;
            recover(&site, next, &format!("{version}-next"), &traffic).await;
        }
        // Whichever of the two is live now, everything says so.
        let now = site.version().await.expect("something serves");
        assert!(
            [&live, &version, &format!("{version}-next")].contains(&&now),
            "boundary {boundary}: {now} is live"
        );
        site.agree(&now).await;
        assert_eq!(site.remains().await, [""; 0], "boundary {boundary}");
        if now == live {
            // It was announced and will not come: only what is live may answer from now on.
            traffic.announce(&live);
        }
        traffic.settle();
        live = now;
        if ran.code == 0 {
            assert!(crashes > 5, "only {crashes} boundaries were met");
            traffic.flow().await;
            traffic.finish().await;
            return;
        }
    }
    panic!("the deployment never got through");
}

/// The next command, which must succeed.
async fn recover(site: &Site, next: &str, version: &str, traffic: &switcher_tests::site::Traffic) {
    match next {
        "repair" => drop(site.succeed(&["repair"]).await),
        "deploy" => {
            traffic.announce(version);
            site.release(version).await;
        }
        other => panic!("there is no {other} here"),
    }
}

#[tokio::test]
async fn repair_mends_what_a_kill_left_first_share() {
    at_every_boundary(0, "repair").await;
}

#[tokio::test]
async fn repair_mends_what_a_kill_left_second_share() {
    at_every_boundary(1, "repair").await;
}

#[tokio::test]
async fn the_next_deployment_mends_what_a_kill_left_first_share() {
    at_every_boundary(2, "deploy").await;
}

#[tokio::test]
async fn the_next_deployment_mends_what_a_kill_left_second_share() {
    at_every_boundary(3, "deploy").await;
}
