//! A canary as a stage of a deployment: a part of the clients gets the new version first, and whatever goes wrong takes
//! them back, promotes nothing and leaves nothing behind.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use switcher_config::Slot;
use switcher_config::wire::Canary;
use switcher_tests::http1::{get, get_with};
use switcher_tests::{Image, PATIENCE, Site, skip_or_fail, until, until_some, within};
use tokio::process::Child;
use tokio::task::JoinSet;

/// Short steps that are judged by few requests.
const QUICK: &str =
    "{steps: [40%, 80%], every: 1s, min_requests: 20, by: header X-User, max_p99_ratio: 1000}";

/// Steps that nobody sees the end of.
const LONG: &str = "{steps: [50%], every: 1h, by: header X-User, max_p99_ratio: 1000}";

/// A site on which v1 is live, and that deploys by a canary.
async fn serving(canary: &str) -> Site {
    let site = Site::prepare().await.deploy("canary", canary).open().await;
    // The first one has nobody to be compared with.
    site.release("v1").await;
    site
}

/// Visitors who ask one after the other until dropped, and how often somebody was not answered well.
struct Visitors {
    failed: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Visitors {
    fn of(site: &Site) -> Self {
        let (address, mut tasks, failed) =
            (site.proxy().http(), JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for visitor in 0..16 {
            let failed = Arc::clone(&failed);
            tasks.spawn(async move {
                let user = format!("user-{visitor}");
                loop {
                    let answer = get_with(address, "/version", &[("X-User", &user)]).await;
                    failed.fetch_add(usize::from(answer.status != 200), Ordering::Relaxed);
                }
            });
        }
        Self { failed, _tasks: tasks }
    }

    fn failed(&self) -> usize {
        self.failed.load(Ordering::Relaxed)
    }
}

/// The versions that the first so many users see.
async fn versions(site: &Site, users: u32) -> Vec<String> {
    let mut seen = Vec::new();
    for user in 0..users {
        let user = format!("user-{user}");
        let answer = get_with(site.proxy().http(), "/version", &[("X-User", &user)]).await;
        seen.push(answer.text().trim().to_owned());
    }
    seen
}

/// Starts a deployment and waits until its canary has begun.
async fn leading(site: &Site, version: &str) -> (Child, Canary) {
    site.push(&Image::new(version)).await;
    let mut command = site.switcher().command(&["deploy", version]);
    let child = command.stdin(Stdio::null()).spawn().expect("it starts");
    let canary = until_some(PATIENCE, "the canary to begin", || async {
        let canary = site.proxy().admin().shop().await.canary;
        canary.filter(|canary| canary.outcome.is_none())
    })
    .await;
    (child, canary)
}

async fn end(child: Child) -> (Option<i32>, String) {
    let output = within(PATIENCE, "the command to end", child.wait_with_output()).await.expect("output");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn outcome(site: &Site) -> String {
    let canary = site.proxy().admin().shop().await.canary.expect("a canary");
    canary.outcome.expect("it has ended").result.as_str().to_owned()
}

/// That v1 is live, nothing of the other version is left, and the history says why.
async fn nothing_was_promoted(site: &Site, code: &str) {
    site.agree("v1").await;
    let standby = site.proxy().admin().shop().await.active.other();
    assert_eq!(site.containers_in(standby).await.len(), 0);
    assert_eq!(site.remains().await, [""; 0]);
    assert_eq!(versions(site, 8).await, ["v1"; 8]);
    let history = site.history();
    let line = history.last().expect("a line");
    assert_eq!((&line["version"], &line["status"]), (&"v2".into(), &"failed".into()), "{line:#}");
    assert_eq!(
        (&line["failure"]["phase"], &line["failure"]["code"]),
        (&"canary".into(), &code.into()),
        "{line:#}"
    );
}

#[tokio::test]
async fn a_version_that_serves_a_part_well_gets_the_next_and_then_all_and_nobody_notices() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = serving(QUICK).await;
    let visitors = Visitors::of(&site);
    site.push(&Image::new("v2")).await;
    let plan = site.succeed(&["deploy", "v2", "--dry-run"]).await;
    assert!(plan.stdout.contains("send 40%, 80% of the clients to"), "{plan:?}");
    let ran = site.succeed(&["deploy", "v2"]).await;
    ran.says(&["has 40% of the clients", "step 1 of 2", "has 80% of the clients", "step 2 of 2"]);
    site.agree("v2").await;
    assert_eq!(outcome(&site).await, "promoted");
    assert_eq!(versions(&site, 8).await, ["v2"; 8]);
    assert_eq!(visitors.failed(), 0, "somebody was not answered well");
    until(PATIENCE, "the page to tell of it", || async {
        let page = get(site.proxy().status(), "/").await.text();
        page.contains("<li class=\"done\"><strong>canary</strong>")
    })
    .await;
    // Once without: all move at once.
    site.push(&Image::new("v3")).await;
    let ran = site.succeed(&["deploy", "v3", "--skip-canary"]).await;
    assert!(!ran.stderr.contains("of the clients"), "{ran:?}");
    site.agree("v3").await;
}

#[tokio::test]
async fn a_version_that_is_worse_is_taken_back_with_exit_code_4_and_its_figures() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = serving(QUICK).await;
    let _visitors = Visitors::of(&site);
    site.push(&Image::new("v2").env("FAIL_REQUESTS", "1")).await;
    let ran = site.run(&["deploy", "v2"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{ran:?}");
    ran.says(&[
        "E-CANARY-04",
        "v2 was worse than the live version with 40% of the clients",
        "failed",
        "live now: shop:",
    ]);
    nothing_was_promoted(&site, "E-CANARY-04").await;
    assert_eq!(outcome(&site).await, "worse");
    let history = site.history();
    let evidence =
        history.last().expect("a line")["failure"]["evidence"].as_array().cloned().expect("figures");
    assert!(
        evidence.iter().any(|said| said.as_str().is_some_and(|said| said.contains("failed"))),
        "{evidence:?}"
    );
    let shown = site.succeed(&["history"]).await;
    assert!(shown.stdout.contains("E-CANARY-04"), "{shown:?}");
    // What is good gets through afterwards.
    site.release("v3").await;
    site.agree("v3").await;
}

#[tokio::test]
async fn a_version_that_nobody_visits_is_held_and_then_taken_back_or_kept_as_it_is_wished() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = serving("{steps: [50%], every: 1s, hold: 0s, by: header X-User}").await;
    site.push(&Image::new("v2")).await;
    let ran = site.run(&["deploy", "v2"]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    ran.says(&["E-CANARY-05", "0 of the 100 requests came", "on_inconclusive: go_on"]);
    nothing_was_promoted(&site, "E-CANARY-05").await;
    let bold = "{steps: [50%], every: 1s, hold: 0s, by: header X-User, on_inconclusive: go_on}";
    site.reconfigure(|setup| setup.deploy("canary", bold));
    let ran = site.succeed(&["deploy", "v2"]).await;
    ran.says(&["warning: the canary with 50% of the clients was not judged"]);
    site.agree("v2").await;
    let warnings = site.state()["current_deployment"]["warnings"].to_string();
    assert!(warnings.contains("was not judged"), "{warnings}");
}

#[tokio::test]
async fn whoever_interrupts_it_or_takes_the_clients_back_or_rolls_back_ends_the_deployment() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = serving(LONG).await;
    site.push(&Image::new("v0")).await;
    // There is something that a rollback could go back to, and must not.
    site.succeed(&["deploy", "v0", "--skip-canary"]).await;
    site.succeed(&["deploy", "v1", "--skip-canary"]).await;

    let (child, _) = leading(&site, "v2").await;
    assert!(versions(&site, 16).await.contains(&"v2".to_owned()), "a part of them sees it");
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    kill_process(pid.expect("a running command"), Signal::INT).expect("a signal");
    let (code, words) = end(child).await;
    assert_eq!(code, Some(130), "{words}");
    assert_eq!(outcome(&site).await, "aborted");
    nothing_was_promoted(&site, "E-INTERRUPT-04").await;

    let (child, _) = leading(&site, "v2").await;
    site.succeed(&["canary", "abort"]).await;
    let (code, words) = end(child).await;
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("E-CANARY-06"), "{words}");
    nothing_was_promoted(&site, "E-CANARY-06").await;

    let (child, _) = leading(&site, "v2").await;
    let back = site.succeed(&["rollback"]).await;
    assert!(back.stdout.contains("v1") && back.stdout.contains("live already"), "{back:?}");
    assert_eq!(end(child).await.0, Some(130));
    nothing_was_promoted(&site, "E-INTERRUPT-04").await;
}

#[tokio::test]
async fn a_command_that_is_killed_leaves_the_share_as_it_is_until_the_next_one_takes_it_back() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site =
        serving("{steps: [30%, 90%], every: 1s, min_requests: 20, by: header X-User, max_p99_ratio: 1000}")
            .await;
    let visitors = Visitors::of(&site);
    let (mut child, _) = leading(&site, "v2").await;
    child.kill().await.expect("killed");
    // Its time is over and it went well, yet nobody leads it on.
    let canary = until_some(PATIENCE, "the step to be judged", || async {
        let canary = site.proxy().admin().shop().await.canary.expect("a canary");
        canary.steps.as_ref().is_some_and(|steps| steps.passed).then_some(canary)
    })
    .await;
    assert_eq!((canary.outcome, canary.rules.share.to_string().as_str()), (None, "30%"));
    let shown = site.succeed(&["status"]).await;
    assert!(shown.stdout.contains("it went well for 1s"), "{shown:?}");
    // A long request inside is not cut by the undoing.
    let there = versions(&site, 16).await.iter().position(|version| version == "v2").expect("one of them");
    let (address, user) = (site.proxy().http(), format!("user-{there}"));
    let slow =
        tokio::spawn(async move { get_with(address, "/slow?ms=2000", &[("X-User", &user)]).await.status });
    let standby = site.proxy().admin().shop().await.active.other();
    until(PATIENCE, "a request inside", || async {
        let inside = site.proxy().admin().in_flight(standby).await.expect("what is inside");
        inside.exchanges.iter().any(|exchange| exchange.route.contains("/slow"))
    })
    .await;
    site.succeed(&["repair"]).await;
    assert_eq!(slow.await.expect("an answer"), 200);
    assert_eq!(outcome(&site).await, "aborted");
    nothing_was_promoted(&site, "E-INTERRUPT-04").await;
    assert_eq!(visitors.failed(), 0, "somebody was not answered well");
}

#[tokio::test]
async fn a_rollback_after_a_kill_in_the_middle_takes_the_clients_back_and_goes_no_further() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = serving(LONG).await;
    site.push(&Image::new("v0")).await;
    site.succeed(&["deploy", "v0", "--skip-canary"]).await;
    site.succeed(&["deploy", "v1", "--skip-canary"]).await;
    let (mut child, _) = leading(&site, "v2").await;
    child.kill().await.expect("killed");
    site.succeed(&["rollback"]).await;
    nothing_was_promoted(&site, "E-INTERRUPT-04").await;
}

#[tokio::test]
async fn a_canary_by_hand_that_ends_with_a_promote_is_recorded_as_any_deployment() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.deploy("bake", "{for: 1s, min_requests: 20, max_p99_ratio: 1000}");
    let site = site.open().await;
    site.push(&Image::new("v1")).await;
    site.succeed(&["deploy", "v1", "--skip-bake"]).await;
    let _visitors = Visitors::of(&site);
    site.push(&Image::new("v2")).await;
    site.succeed(&["deploy", "v2", "--no-promote"]).await;
    let slot = site.proxy().admin().shop().await.active.other();
    let led = async |slot: Slot, share: &str| {
        let line = format!("canary|{slot}|--steps|{share}|--every|1s|--by|header X-User|--then|promote");
        site.run(&line.split('|').collect::<Vec<&str>>()).await
    };
    let wrong = led(slot, "50%,5%").await;
    assert_eq!(wrong.code, 2, "{wrong:?}");
    wrong.says(&["larger share than the one before"]);
    let live = led(slot.other(), "5%").await;
    live.says(&["E-CANARY-03"]);
    site.agree("v1").await;
    let ran = led(slot, "30%,60%").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.says(&["has 30% of the clients", "has 60% of the clients"]);
    site.agree("v2").await;
    assert_eq!(outcome(&site).await, "promoted");
    let previous: &Value = &site.state()["previous_deployment"];
    assert_eq!(previous["version"], "v1", "{previous:#}");
    site.succeed(&["rollback"]).await;
    site.agree("v1").await;
}
