//! The public address is asked after the switch: what is seen goes on record, and a version that is not seen goes back.

use std::process::Stdio;

use serde_json::Value;
use switcher_tests::{App, Image, PATIENCE, Site, skip_or_fail, until};

/// A site whose public address is a listener of the test, which says `says`.
async fn behind(front: &App, keys: &str) -> Site {
    let verify = format!(
        "{{url: \"http://{}/version?token=hunter2\", contains: \"{{version}}\", interval: 100ms, {keys}}}",
        front.address()
    );
    let site = Site::prepare().await.deploy("verify", &verify).open().await;
    site.release("v1").await;
    site
}

fn newest(site: &Site, version: &str) -> Value {
    let history = site.history();
    history.into_iter().rfind(|line| line["version"] == version).expect("a line of the history")
}

/// Begins to deploy v2 and waits until traffic has moved and the public address was asked.
async fn verifying(site: &Site, front: &App) -> tokio::process::Child {
    let live = site.proxy().admin().shop().await.active;
    let asked = front.hits();
    site.push(&Image::new("v2")).await;
    let mut command = site.switcher().command(&["deploy", "v2"]);
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
    until(PATIENCE, "the public address to be asked", || async { front.hits() > asked + 1 }).await;
    assert_ne!(site.proxy().admin().shop().await.active, live, "traffic moves before");
    child
}

#[tokio::test]
async fn what_is_seen_by_https_with_a_private_root_is_on_record() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut site = Site::prepare().await.shop("hosts", "[shop.test, localhost]").open().await;
    let root = site.path("root.pem");
    until(PATIENCE, "the root", || async { site.run(&["certs", "trust"]).await.code == 0 }).await;
    let pem = site.succeed(&["certs", "trust"]).await.stdout;
    let url = format!("https://localhost:{}/version", site.proxy().https().port());
    let verify = |contains: &str| format!("{{url: \"{url}\", ca_file: \"{}\"{contains}}}", root.display());
    site.reconfigure(|setup| setup.deploy("verify", &verify(", contains: \"{version}\"")));
    site.push(&Image::new("v1")).await;
    let ran = site.run(&["deploy", "v1"]).await;
    assert_eq!(ran.code, 10, "a root that is missing is noticed before traffic moves: {ran:?}");
    ran.says(&["`deploy.verify.ca_file` cannot be used", "root.pem"]);
    site.write("root.pem", &pem);
    let plan = site.succeed(&["deploy", "v1", "--dry-run"]).await.stdout;
    assert!(plan.contains(&format!("ask {url} until it answers with the new version")), "{plan}");
    let ran = site.succeed(&["deploy", "v1"]).await;
    assert!(ran.stdout.contains("verified") && ran.stdout.contains("answered 200"), "{ran:?}");
    let state = site.state();
    let seen = &state["current_deployment"]["verified"];
    assert_eq!((&seen["url"], &seen["status"]), (&url.clone().into(), &200.into()), "{seen:#}");
    assert_eq!((&seen["matched"], &seen["release"]), (&true.into(), &"v1".into()), "{seen:#}");
    assert_eq!(seen["slot"], state["current_deployment"]["active_slot"], "{seen:#}");
    // Without a text the slot that the answer names is what counts; and a way back is asked for as well.
    site.reconfigure(|setup| setup.deploy("verify", &verify("")));
    site.release("v2").await;
    site.succeed(&["rollback"]).await;
    site.agree("v1").await;
    let listed = site.succeed(&["history", "--json"]).await.json();
    let records = listed["deployments"].as_array().expect("a list");
    let back = records.iter().find(|record| record["version"] == "v1").expect("v1 is listed");
    assert_eq!(
        (&back["verified"]["release"], &back["status"]),
        (&"v1".into(), &"active".into()),
        "{listed:#}"
    );
    let shown = site.succeed(&["status"]).await.stdout;
    assert!(shown.contains("verified") && shown.contains(&url), "{shown}");
    site.succeed(&["rollback", "--skip-verify"]).await;
    assert_eq!(site.state()["current_deployment"]["verified"], Value::Null);
}

#[tokio::test]
async fn a_version_that_is_not_seen_goes_back_by_itself_and_nothing_is_lost() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let front = App::start("v1").await;
    let site = behind(&front, "timeout: 6s").await;
    let traffic = site.traffic("v1");
    traffic.flow().await;
    traffic.announce("v2");
    let child = verifying(&site, &front).await;
    traffic.announce("v1");
    let output = child.wait_with_output().await.expect("an end");
    traffic.settle();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    for part in [
        "E-VERIFY-01",
        "expected 200-299 with \"v2\" in it",
        "200 \"v1\"",
        "moved back to",
        "live now: shop:",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
    site.agree("v1").await;
    traffic.flow().await;
    traffic.finish().await;
    let line = newest(&site, "v2");
    assert_eq!(
        (&line["status"], &line["failure"]["phase"]),
        (&"rolled_back".into(), &"verify".into()),
        "{line:#}"
    );
    let seen = &line["verified"];
    assert_eq!((&seen["matched"], &seen["status"]), (&false.into(), &200.into()), "{line:#}");
    assert_eq!(seen["url"], format!("http://{}/version?\u{2026}", front.address()), "{line:#}");
    assert_eq!(site.state()["current_deployment"]["rollback_count"], 1);
    // Whoever knows better does without.
    site.succeed(&["deploy", "v2", "--skip-verify"]).await;
    site.agree("v2").await;
    // What goes back is never taken back.
    front.stop().await;
    let ran = site.run(&["rollback"]).await;
    assert_eq!(ran.code, 7, "{ran:?}");
    ran.says(&["E-VERIFY-02", "traffic HAS moved: v1 is live", "is not moved again"]);
    site.agree("v1").await;
}

#[tokio::test]
async fn a_version_that_is_kept_all_the_same_is_told_to_be_degraded() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let front = App::start("v1").await;
    let site = behind(&front, "timeout: 300ms, on_failure: keep").await;
    site.push(&Image::new("v2")).await;
    let ran = site.run(&["deploy", "v2"]).await;
    assert_eq!(ran.code, 7, "{ran:?}");
    ran.says(&["E-VERIFY-02", "traffic HAS moved: v2 is live", "on_failure: keep"]);
    site.agree("v2").await;
    let line = newest(&site, "v2");
    assert_eq!(
        (&line["health_status"], &line["verified"]["matched"]),
        (&"degraded".into(), &false.into()),
        "{line:#}"
    );
}

#[tokio::test]
async fn a_command_that_is_killed_while_it_asks_leaves_the_rest_to_repair() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let front = App::start("v1").await;
    let mut site = behind(&front, "timeout: 5m").await;
    let mut child = verifying(&site, &front).await;
    child.kill().await.expect("killed");
    let short = format!(
        "{{url: \"http://{}/\", contains: \"{{version}}\", interval: 100ms, timeout: 1s}}",
        front.address()
    );
    site.reconfigure(|setup| setup.deploy("verify", &short));
    let ran = site.succeed(&["repair"]).await;
    let said = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("was cut short during verify; traffic went back"), "{ran:?}");
    site.agree("v1").await;
    assert_eq!(newest(&site, "v2")["failure"]["code"], "E-VERIFY-01");
    // The same, but by then the public address is well.
    site.reconfigure(|setup| setup.deploy("verify", &short.replace("timeout: 1s", "timeout: 5m")));
    let mut child = verifying(&site, &front).await;
    child.kill().await.expect("killed");
    let address = front.address();
    front.stop().await;
    let _front = App::start_at("v2", address).await;
    site.succeed(&["repair"]).await;
    site.agree("v2").await;
    assert_eq!(site.state()["current_deployment"]["verified"]["matched"], true);
}

#[tokio::test]
async fn a_version_before_that_is_gone_is_not_gone_back_to() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let front = App::start("v1").await;
    let site = behind(&front, "timeout: 8s").await;
    let before = site.proxy().admin().shop().await.active;
    let child = verifying(&site, &front).await;
    for container in site.containers_in(before).await {
        let id = container["Id"].as_str().expect("an id");
        site.engine.call("DELETE", &format!("/containers/{id}?force=true"), "").await;
    }
    let output = child.wait_with_output().await.expect("an end");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.contains("E-VERIFY-03") && said.contains("v2 stays live"), "{said}");
    site.agree("v2").await;
    assert_eq!(newest(&site, "v2")["health_status"], "degraded");
}

#[tokio::test]
async fn a_rollback_does_not_wait_for_a_verification_and_goes_back_once() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let front = App::start("v1").await;
    let site = behind(&front, "timeout: 5m").await;
    let child = verifying(&site, &front).await;
    site.succeed(&["rollback"]).await;
    let output = child.wait_with_output().await.expect("an end");
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    site.agree("v1").await;
    assert_eq!(site.state()["current_deployment"]["verified"]["matched"], true);
}
