//! Hooks: the user's own commands around a deployment, in order, told what it is about, and what their failures mean.

use switcher_config::Slot;
use switcher_tests::{Image, Site, skip_or_fail};

/// Every hook writes a line into `told`: its name, its slot, its version, and the failure where there is one. A hook
/// whose name stands in `fail` fails.
const TELL: &str = "echo \"$SWITCHER_HOOK $SWITCHER_SLOT $SWITCHER_VERSION $SWITCHER_FAILURE\" >> @told; \
                    ! grep -qx \"$SWITCHER_HOOK\" @fail";

const HOOKS: [&str; 7] =
    ["pre_deploy", "pre_promote", "post_promote", "post_rollback", "on_failure", "activate", "deactivate"];

/// A site with every hook.
async fn telling(workers: &str) -> Site {
    let site = Site::prepare().await;
    let at = |name: &str| site.path(name).display().to_string();
    let tell = TELL.replace("@told", &at("told")).replace("@fail", &at("fail")).replace('"', "\\\"");
    let hooks: Vec<String> = HOOKS.iter().map(|name| format!("{name}: [sh, -c, \"{tell}\"]")).collect();
    site.write("told", "");
    site.write("fail", "");
    site.deploy("hooks", &format!("{{{}}}", hooks.join(", "))).deploy("workers", workers).open().await
}

/// What was told since the last time, without blanks at the ends.
fn told(site: &Site) -> Vec<String> {
    let text = std::fs::read_to_string(site.path("told")).expect("what was told");
    site.write("told", "");
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[tokio::test]
async fn hooks_run_in_order_and_know_what_the_deployment_is_about() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = telling("overlap").await;
    site.release("v1").await;
    let _ = told(&site);
    site.release("v2").await;
    // Workers of both run for a moment: the new ones start before traffic moves, the old ones stop after it.
    assert_eq!(
        told(&site),
        [
            "pre_deploy blue v2",
            "pre_promote blue v2",
            "activate blue v2",
            "deactivate green v2",
            "post_promote blue v2"
        ]
    );
    site.succeed(&["rollback"]).await;
    assert_eq!(told(&site), ["activate green v1", "deactivate blue v1", "post_rollback green v1"]);
    site.agree("v1").await;
}

#[tokio::test]
async fn job_queues_never_have_two_workers_when_the_old_ones_stop_first() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = telling("stop_old_first").await;
    site.release("v1").await;
    let _ = told(&site);
    site.release("v2").await;
    assert_eq!(
        told(&site),
        [
            "pre_deploy blue v2",
            "pre_promote blue v2",
            "deactivate green v2",
            "activate blue v2",
            "post_promote blue v2"
        ]
    );
    // New workers that do not start are stopped for good, and the old ones start again.
    site.write("fail", "activate\n");
    site.push(&Image::new("v3")).await;
    let ran = site.run(&["deploy", "v3"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    ran.says(&["E-HOOK-01", "activate", "live now: shop:"]);
    let lines = told(&site);
    assert_eq!(
        lines[..6],
        [
            "pre_deploy green v3",
            "pre_promote green v3",
            "deactivate blue v3",
            "activate green v3",
            "deactivate green v3 the hook activate ended with exit code 1; it printed nothing",
            "activate blue v3 the hook activate ended with exit code 1; it printed nothing",
        ],
        "{lines:#?}"
    );
    assert!(lines[6].starts_with("on_failure green v3 the hook activate ended"), "{lines:#?}");
    site.agree("v2").await;
    assert_eq!(site.remains().await, [""; 0]);
}

#[tokio::test]
async fn a_hook_that_fails_before_the_switch_stops_the_deployment_and_after_it_is_told() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = telling("overlap").await;
    site.release("v1").await;
    for failing in ["pre_deploy", "pre_promote"] {
        let _ = told(&site);
        site.write("fail", &format!("{failing}\n"));
        let version = format!("v2-{}", failing.replace('_', "-"));
        site.push(&Image::new(&version)).await;
        let ran = site.run(&["deploy", &version]).await;
        assert_eq!(ran.code, 1, "{ran:?}");
        ran.says(&["E-HOOK-01", failing, "live now: shop:"]);
        let lines = told(&site);
        let last = lines.last().expect("on_failure");
        assert!(
            last.starts_with(&format!("on_failure blue {version} the hook {failing} ended")),
            "{lines:#?}"
        );
        site.agree("v1").await;
        assert_eq!(site.containers_in(Slot::Blue).await.len(), 0, "nothing of it stays");
    }
    // After the switch the new version is live, whatever a hook says: that is told, and nothing is undone.
    site.write("fail", "post_promote\n");
    let _ = told(&site);
    site.push(&Image::new("v3")).await;
    let ran = site.run(&["deploy", "v3"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.says(&["post_promote"]);
    assert!(told(&site).iter().all(|line| !line.starts_with("on_failure")));
    site.agree("v3").await;
}
