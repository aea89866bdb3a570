//! Ctrl-C, SIGTERM and a terminal that goes away, in the middle of a deployment: it stops at the next safe point, undoes
//! what it did, and says what is live; a second signal leaves at once and names the command that goes on.

use rustix::process::{Pid, Signal, kill_process};
use switcher_tests::{Image, PATIENCE, Site, skip_or_fail, until, within};
use tokio::process::Child;

fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    kill_process(pid.expect("a running command"), signal).expect("a signal");
}

async fn end(child: Child) -> (Option<i32>, String) {
    let output = within(PATIENCE, "the command to end", child.wait_with_output()).await.expect("output");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Starts a deployment of a version that never gets ready, and waits until its container is there.
async fn waiting_for_health(site: &Site) -> Child {
    site.push(&Image::new("v2").env("READY_DELAY_MS", "60000")).await;
    let child = site.switcher().command(&["deploy", "v2"]).spawn().expect("it starts");
    let standby = site.proxy().admin().shop().await.active.other();
    until(PATIENCE, "the new container to be probed", || async {
        !site.proxy().admin().shop().await.slots.get(standby).upstreams.is_empty()
    })
    .await;
    child
}

#[tokio::test]
async fn a_signal_undoes_what_was_begun_and_says_what_is_live() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.open().await;
    site.release("v1").await;
    for asked in [Signal::INT, Signal::TERM, Signal::HUP] {
        let child = waiting_for_health(&site).await;
        signal(&child, asked);
        let (code, words) = end(child).await;
        assert_eq!(code, Some(130), "{asked:?}: {words}");
        assert!(words.contains("E-INTERRUPT-") && words.contains("live now: shop:"), "{asked:?}: {words}");
        site.agree("v1").await;
        let standby = site.proxy().admin().shop().await.active.other();
        assert_eq!(site.containers_in(standby).await.len(), 0, "{asked:?}");
        assert_eq!(site.remains().await, [""; 0], "{asked:?}");
    }
}

#[tokio::test]
async fn a_second_signal_leaves_at_once_and_the_command_that_it_names_goes_on() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await.open().await;
    site.release("v1").await;
    site.push(&Image::new("v2").env("MIGRATIONS", "2").env("MIGRATE_SLOW_MS", "4000")).await;
    let child = site.switcher().command(&["deploy", "v2"]).spawn().expect("it starts");
    until(PATIENCE, "the migration to run", || async {
        site.postgres().query("SELECT version, dirty FROM schema_migrations") == ["2|t"]
    })
    .await;
    // A migration is not stopped halfway by the first one.
    signal(&child, Signal::INT);
    signal(&child, Signal::TERM);
    let (code, words) = end(child).await;
    assert_eq!(code, Some(130), "{words}");
    assert!(words.contains("E-INTERRUPT-05") && words.contains("repair"), "{words}");
    site.succeed(&["repair"]).await;
    // The migration went on by itself, so its end was waited for, and the deployment went on from there.
    assert_eq!(site.postgres().query("SELECT version, dirty FROM schema_migrations"), ["2|f"]);
    site.agree("v2").await;
    assert_eq!(site.remains().await, [""; 0]);
}
