//! The service itself: signals, kills, a proxy that is down, the service manager, and what it refuses.

use std::process::Stdio;

use rustix::process::Signal;
use switcher_tests::{Image, PATIENCE, Site, skip_or_fail, until, within};
use tokio::net::UnixDatagram;

use super::*;

/// Takes seconds to get ready, so that there is a middle to be interrupted in.
fn slow(version: &str) -> Image {
    Image::new(version).env("READY_DELAY_MS", "4000")
}

/// Waits until the deployment of a digest has containers that are probed.
async fn in_the_middle(site: &Site, digest: &str) {
    // What is deployed by its digest is called by the digest's beginning.
    let version = digest.trim_start_matches("sha256:").get(..12);
    let standby = site.proxy().admin().shop().await.active.other();
    until(PATIENCE, "the new container to be probed", || async {
        site.proxy().admin().shop().await.slots.get(standby).release.as_deref() == version
    })
    .await;
}

async fn end(watch: &mut Daemon) {
    until(PATIENCE, "the watch to end", || {
        let ended = watch.has_ended();
        async move { ended }
    })
    .await;
}

#[tokio::test]
async fn sigterm_undoes_the_deployment_that_is_under_way_and_the_next_start_makes_it() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let (site, _port) = watched().await;
    site.release("v1").await;
    let digest = push(&site, &slow("v2")).await;
    let mut watch = site.switcher().command(&["watch"]).spawn().expect("it starts");
    in_the_middle(&site, &digest).await;
    signal(watch.id().expect("a running watch").into(), Signal::TERM);
    let status = within(PATIENCE, "the watch to end", watch.wait()).await.expect("its end");
    assert_eq!(status.code(), Some(0));
    site.agree("v1").await;
    assert_eq!(site.remains().await, [""; 0]);
    let memory = remembered(&site).expect("a memory");
    assert_eq!(memory["attempt"]["outcome"], serde_json::json!({"what": "later", "exit": 130}), "{memory:#}");
    let _watch = start(&site);
    // Not at once: what was cut short waits as all trouble that is not the release's own does.
    until(PATIENCE * 2, "the digest to be deployed", || async {
        remembered(&site).is_some_and(|memory| memory["attempt"]["outcome"]["what"] == "deployed")
    })
    .await;
    assert_eq!(deployments(&site, &digest).len(), 2, "the one that was undone, and the one that is live");
    assert_eq!(site.version().await.as_deref(), Some("v2"));
}

#[tokio::test]
async fn a_watch_that_is_killed_leaves_the_deployment_at_work_and_the_next_one_asks_how_it_ended() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let (site, port) = watched().await;
    site.release("v1").await;
    let digest = push(&site, &slow("v2")).await;
    let mut watch = start(&site);
    in_the_middle(&site, &digest).await;
    watch.signal(Signal::KILL);
    end(&mut watch).await;
    assert_eq!(remembered(&site).expect("a memory")["attempt"]["outcome"]["what"], "trying");
    until(PATIENCE, "the deployment to end by itself", || async {
        site.version().await.as_deref() == Some("v2") && site.state()["lock"]["locked"] == false
    })
    .await;
    let before = looked(&site);
    let mut watch = start(&site);
    assert_eq!(dealt_with(&site, &digest, &before).await, "deployed");
    assert_eq!(deployments(&site, &digest).len(), 1, "it was not begun again");

    // Both are killed: the next start brings what was cut short to its end, and then tries again.
    let before = looked(&site);
    let digest = push(&site, &slow("v3")).await;
    ring(port.address()).await;
    until(PATIENCE, "the next deployment", || async { site.state()["lock"]["operation"] == "deploy" }).await;
    in_the_middle(&site, &digest).await;
    watch.signal(Signal::KILL);
    signal(site.state()["lock"]["pid"].as_u64().expect("who deploys"), Signal::KILL);
    end(&mut watch).await;
    let watch = start(&site);
    assert_eq!(dealt_with(&site, &digest, &before).await, "deployed");
    until(PATIENCE, "it to be said", || async { watch.output().text().contains("was cut short") }).await;
    assert_eq!(site.version().await.as_deref(), Some("v3"));
    assert_eq!(site.remains().await, [""; 0]);
}

#[tokio::test]
async fn a_proxy_that_is_down_is_waited_for_and_a_rollback_by_a_person_stays() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let (mut site, port) = watched().await;
    site.release("v1").await;
    let digest = push(&site, &Image::new("v2")).await;
    site.proxy_mut().kill();
    let watch = start(&site);
    assert_eq!(dealt_with(&site, &digest, "").await, "later");
    site.proxy_mut().restart().await;
    let before = looked(&site);
    ring(port.address()).await;
    assert_eq!(dealt_with(&site, &digest, &before).await, "deployed");
    assert_eq!(site.version().await.as_deref(), Some("v2"));
    until(PATIENCE, "nobody to be at work", || async { site.state()["lock"]["locked"] == false }).await;
    site.succeed(&["rollback", "--lock-wait", "10s"]).await;
    let (before, history) = (looked(&site), site.history().len());
    ring(port.address()).await;
    until(PATIENCE, "a look", || async { looked(&site) > before }).await;
    assert_eq!((site.version().await.as_deref(), site.history().len()), (Some("v1"), history));
    drop(watch);

    // `--once` says what it did, and ends as that ended.
    let ran = site.succeed(&["watch", "--once", "--json"]).await;
    assert_eq!(ran.json()["apps"]["shop"]["did"], "nothing", "{ran:?}");
    push(&site, &Image::new("v3").env("CRASH_AT_START", "1")).await;
    let ran = site.run(&["watch", "--once", "--json"]).await;
    assert_eq!((ran.code, ran.json()["apps"]["shop"]["exit"].as_i64()), (4, Some(4)), "{ran:?}");
    let ran = site.succeed(&["watch", "--once"]).await;
    assert!(ran.stdout.contains("left until the tag moves"), "{ran:?}");
    site.registry.stop();
    let ran = site.run(&["watch", "--once"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    ran.says(&["E-IMAGE-01"]);
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_with_the_way_out() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let (mut site, port) = watched().await;
    let watch = start(&site);
    until(PATIENCE, "the first look", || async { !looked(&site).is_empty() }).await;
    let second = site.run(&["watch"]).await;
    assert_eq!(second.code, 3, "{second:?}");
    second.says(&["E-WATCH-02", "watches shop"]);

    let at = port.address();
    let long = vec![b'x'; (64 << 10) + 1];
    let answer = send(at, "/hooks/shop", &long, Some(&sign(SECRET.as_bytes(), &long))).await;
    assert_eq!(answer.status, 413);
    let before = looked(&site);
    let body = b"{\"zen\":\"Keep it logically awesome.\"}";
    let signed = sign(SECRET.as_bytes(), body);
    let headers = [("X-GitHub-Event", "ping"), (HEADER, signed.as_str()), ("Connection", "close")];
    let ping = Http1::connect(at).await.exchange(&request("POST", "/hooks/shop", &headers, body)).await;
    assert_eq!((ping.status, looked(&site)), (200, before), "{}", ping.text());
    let got = Http1::connect(at).await.exchange(&request("GET", "/hooks/shop", &headers[2..], b"")).await;
    assert_eq!(got.status, 405);
    drop(watch);

    let secret = site.path("webhook.secret");
    for (text, mode, words) in [(SECRET, 0o644, "0644"), ("short", 0o600, "fewer than 16")] {
        replace(&secret, text.as_bytes(), mode, Durability::Unsynced).expect("a secret");
        let ran = site.run(&["watch"]).await;
        assert_eq!(ran.code, 10, "{ran:?}");
        ran.says(&["E-WATCH-03", words]);
        assert!(!ran.stderr.contains(text), "{ran:?}");
    }
    let memory = site.memory().join("watch.json");
    replace(&memory, b"{\"schema\": 2}", 0o600, Durability::Unsynced).expect("a memory");
    let ran = site.run(&["watch", "--once"]).await;
    assert_ne!(ran.code, 0, "{ran:?}");
    ran.says(&["watch.json", "move the file away"]);
    site.reconfigure(|setup| setup.without("watch"));
    let ran = site.run(&["watch"]).await;
    assert_eq!(ran.code, 10, "{ran:?}");
    ran.says(&["E-WATCH-01", "deploy.watch"]);
}

#[tokio::test]
async fn the_service_manager_hears_that_it_is_ready_and_alive() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let (site, _port) = watched().await;
    let path = site.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let switcher = site.switcher().with("NOTIFY_SOCKET", &path.display().to_string());
    let mut command = switcher.with("WATCHDOG_USEC", "200000").command(&["watch"]);
    let mut watch = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut message = [0; 4096];
    for expected in ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"] {
        if expected == "STOPPING=1" {
            signal(watch.id().expect("a running watch").into(), Signal::TERM);
        }
        within(PATIENCE, expected, async {
            loop {
                let length = socket.recv(&mut message).await.expect("a message");
                if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == expected) {
                    return;
                }
            }
        })
        .await;
    }
    assert_eq!(within(PATIENCE, "its end", watch.wait()).await.expect("its end").code(), Some(0));
}
