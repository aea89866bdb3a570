//! `switcher top`: what is asked for, counted only while somebody watches.

use std::time::Duration;

use switcher_config::wire::Traffic;
use switcher_tests::http1::get_with;
use switcher_tests::{App, PATIENCE, Setup, Switcher, until, within};
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::test]
async fn requests_errors_and_latency_are_told_by_slot_and_path_until_nobody_reads() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green).shop("hosts", "[shop.test]").start_healthy().await;
    let switcher = Switcher::of(&proxy);
    let mut child = switcher.command(&["top", "--json", "--every", "500ms"]).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let seen = async {
        loop {
            let shop = [("Host", "shop.test")];
            for target in ["/orders/1", "/orders/22", "/status/503", "/"] {
                get_with(proxy.http(), target, &shop).await;
            }
            get_with(proxy.http(), "/nobody", &[("Host", "other.test")]).await;
            let line = lines.next_line().await.expect("output").expect("a line");
            let traffic: Traffic = serde_json::from_str(&line).expect("a frame");
            // Frames are cut where the clock cuts them: one that has all of it is waited for.
            let row =
                |path: &str| traffic.paths.iter().find(|row| row.path.as_deref() == Some(path)).cloned();
            if let (Some(orders), Some(failed), Some(nobody)) =
                (row("/orders/*"), row("/status/*"), row("/nobody"))
                && orders.requests >= 2
            {
                break (traffic, orders, failed, nobody);
            }
        }
    };
    let (traffic, orders, failed, nobody) = within(PATIENCE, "a frame with every path", seen).await;
    assert_eq!(orders.app.as_ref().map(ToString::to_string).as_deref(), Some("shop"));
    assert!(orders.slot.is_some() && orders.errors == 0 && orders.p99_ms.is_some());
    assert_eq!(failed.errors, failed.requests);
    assert_eq!((nobody.app, nobody.slot), (None, None));
    assert!(traffic.slots.iter().any(|row| row.slot.is_some() && row.errors > 0 && row.path.is_none()));
    assert!(traffic.seconds > 0.0);
    child.kill().await.expect("ended");
    let once = switcher.succeed(&["top", "--once", "--every", "100ms"]).await;
    assert!(once.stdout.contains("nothing is asked for") || once.stdout.contains("REQ/S"), "{once:?}");
}

#[tokio::test]
async fn too_many_watchers_and_bad_times_are_refused_and_one_that_leaves_makes_room() {
    let app = App::start("blue").await;
    let proxy = Setup::one(app.upstream()).start_healthy().await;
    let switcher = Switcher::of(&proxy);
    for (every, code) in [("50ms", 1), ("2h", 1), ("soon", 2)] {
        let ran = switcher.run(&["top", "--once", "--every", every]).await;
        assert_eq!(ran.code, code, "{every}: {ran:?}");
    }
    let mut all = Vec::new();
    for _ in 0..16 {
        let mut child = switcher.command(&["top", "--json", "--every", "100ms"]).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        within(PATIENCE, "its first frame", lines.next_line()).await.expect("output").expect("a line");
        all.push((child, lines));
    }
    let refused = switcher.run(&["top", "--once"]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    refused.says(&["E-TOP-01"]);
    for (mut child, _) in all {
        child.kill().await.expect("ended");
    }
    until(PATIENCE, "room for another", || async {
        tokio::time::timeout(Duration::from_secs(5), switcher.run(&["top", "--once", "--every", "100ms"]))
            .await
            .is_ok_and(|ran| ran.code == 0)
    })
    .await;
}
