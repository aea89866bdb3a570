//! The switch under raw connections: new ones move, old ones stay until they end or their time is over.

use std::time::Duration;

use futures::future::join_all;
use switcher_config::Slot;
use switcher_config::wire::{Kind, Mode};
use switcher_tests::{Line, PATIENCE, until, within};

use super::Stage;

#[tokio::test]
async fn a_promote_moves_new_connections_and_the_drain_waits_for_the_old_ones() {
    let stage = Stage::new().await;
    let mut old = stage.line("blue").await;
    stage.until_inside(Slot::Blue, 1).await;
    let inside = stage.proxy.admin().in_flight(Slot::Blue).await.expect("what is inside").exchanges;
    assert_eq!(
        (inside[0].kind, inside[0].route.as_str()),
        (Kind::Connections, &*format!("TCP {}", stage.port.address()))
    );

    let left = stage.proxy.admin().promote(Slot::Green).await.expect("promoted").drained_generation;
    let mut new = stage.line("green").await;
    for text in ["one", "two"] {
        assert_eq!((old.ask(text).await, new.ask(text).await), (text.to_owned(), text.to_owned()));
    }
    let receipt = stage.proxy.admin().drain(left, "0s").await.expect("a receipt");
    assert_eq!((receipt.drained, receipt.in_flight.connections), (false, 1));
    old.finish().await;
    assert_eq!(old.line().await, "heard 8");
    let receipt = stage.proxy.admin().drain(left, "20s").await.expect("a receipt");
    assert_eq!((receipt.drained, receipt.finished.connections, receipt.cut.connections.len()), (true, 1, 0));
    assert_eq!(new.ask("three").await, "three");
    let series = r#"switcher_drain_finished_total{app="shop",kind="connections",slot="blue"}"#;
    stage.proxy.wait_metric(series, 1).await;
}

#[tokio::test]
async fn what_outlives_its_time_is_cut_counted_and_named() {
    let stage = Stage::with("", |setup| setup.shop("drain", "{connections: 1s, spread: 0s}")).await;
    let mut old = [stage.line("blue").await, stage.line("blue").await];
    // One whose client reads nothing is not waited for.
    let mut deaf = Line::connect(stage.port.address()).await;
    let flood = "x".repeat(32 << 20);
    let pushing = tokio::spawn(async move {
        let say = deaf.say(&flood);
        // It is taken until every buffer on the way is full.
        let _ = tokio::time::timeout(Duration::from_secs(60), say).await;
    });
    stage.until_inside(Slot::Blue, 3).await;
    let left = stage.proxy.admin().promote(Slot::Green).await.expect("promoted").drained_generation;
    let mut new = stage.line("green").await;
    for line in &mut old {
        line.ended().await;
    }
    let receipt = stage.proxy.admin().drain(left, "20s").await.expect("a receipt");
    assert_eq!((receipt.drained, receipt.cut.connections.len(), receipt.finished.total()), (true, 3, 0));
    assert!(
        receipt.cut.connections.iter().all(|cut| cut.kind == Kind::Connections && cut.age_seconds >= 1.0)
    );
    assert_eq!(new.ask("still here?").await, "still here?", "the new slot is not touched");
    let record =
        stage.proxy.record("a cut connection", |o| o["error"] == "closed at the drain deadline").await;
    assert_eq!((&record["kind"], &record["slot"]), (&"connections".into(), &"blue".into()));
    pushing.abort();
}

#[tokio::test]
async fn a_switch_to_and_fro_loses_no_connection() {
    let stage = Stage::new().await;
    let address = stage.port.address();
    let clients = (0..8).map(|_| {
        tokio::spawn(async move {
            let mut served = 0;
            for _ in 0..40 {
                let mut line = Line::connect(address).await;
                let name = line.line().await;
                assert!(name == "blue" || name == "green", "{name}");
                assert_eq!(line.ask("ping").await, "ping");
                served += 1;
            }
            served
        })
    });
    let clients: Vec<_> = clients.collect();
    for slot in [Slot::Green, Slot::Blue, Slot::Green, Slot::Blue] {
        stage.proxy.admin().promote(slot).await.expect("promoted");
    }
    let served: u32 = join_all(clients).await.into_iter().map(|one| one.expect("no panic")).sum();
    assert_eq!(served, 320);
}

#[tokio::test]
async fn a_paused_connection_waits_with_what_it_said_and_meets_the_new_slot() {
    let stage = Stage::with("", |setup| setup.shop("pause", "{max: 1h, requests: 2}")).await;
    stage.proxy.admin().pause(None).await.expect("paused");
    let mut waiting = Line::connect(stage.port.address()).await;
    waiting.say("early words\n").await;
    // One that has said all is no client that left.
    let mut done = Line::connect(stage.port.address()).await;
    done.say("last words\n").await;
    done.finish().await;
    let held = || async { stage.proxy.admin().shop().await.held };
    until(PATIENCE, "two connections to be held", || async { held().await == 2 }).await;
    Line::connect(stage.port.address()).await.ended().await;
    stage.proxy.admin().promote(Slot::Green).await.expect("promoted");
    stage.proxy.admin().resume().await.expect("resumed");
    assert_eq!((waiting.line().await, waiting.line().await), ("green".to_owned(), "early words".to_owned()));
    for words in ["green", "last words", "heard 11"] {
        assert_eq!(done.line().await, words);
    }
    until(PATIENCE, "nobody to be held", || async { held().await == 0 }).await;
}

#[tokio::test]
async fn a_paused_connection_waits_no_longer_than_it_may_and_a_stopped_one_not_at_all() {
    let stage = Stage::with("", |setup| setup.shop("pause", "{max: 300ms}")).await;
    let mut before = stage.line("blue").await;
    stage.proxy.admin().pause(None).await.expect("paused");
    Line::connect(stage.port.address()).await.ended().await;
    stage.proxy.record("one that waited", |o| o["error"] == "the application was paused for too long").await;
    assert_eq!(stage.proxy.admin().stop(None).await.expect("stopped").mode, Mode::Stopped);
    Line::connect(stage.port.address()).await.ended().await;
    stage.proxy.record("one that was refused", |o| o["error"] == "the application is stopped").await;
    assert_eq!(before.ask("still here?").await, "still here?");
    stage.proxy.wait_metric(r#"switcher_tcp_refused_total{app="shop"}"#, 2).await;
    stage.proxy.admin().resume().await.expect("resumed");
    stage.line("blue").await;
    assert_eq!(stage.green.connections(), 0);
}

#[tokio::test]
async fn a_connection_of_a_canary_goes_by_its_clients_address() {
    let stage = Stage::new().await;
    let plan = serde_json::json!({"slot": "green", "share": "100%"});
    let answer = stage.proxy.admin().call("POST", "/v1/apps/shop/canary", &plan.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    within(PATIENCE, "a line", stage.line("green")).await;
}
