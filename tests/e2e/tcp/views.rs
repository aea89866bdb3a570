//! An application of raw TCP as people see it: by the command line, on the dashboard, in a deployment.

use switcher_config::Slot;
use switcher_tests::http1::get;
use switcher_tests::{Line, PATIENCE, Switcher, until};

use super::Stage;

#[tokio::test]
async fn the_command_line_shows_connections_and_switches_them() {
    let stage = Stage::new().await;
    let switcher = Switcher::of(&stage.proxy);
    let mut old = stage.line("blue").await;
    stage.until_inside(Slot::Blue, 1).await;
    let shown = switcher.succeed(&["status"]).await.stdout;
    assert!(shown.contains("1 connection") && shown.contains("healthy"), "{shown}");
    let receipt = switcher.succeed(&["promote", "green", "--drain-timeout", "300ms", "--json"]).await.json();
    let cut = &receipt["drain"]["cut"]["connections"][0];
    assert_eq!(cut["route"], format!("TCP {}", stage.port.address()), "{receipt}");
    old.ended().await;
    let mut new = stage.line("green").await;
    let inside = switcher.succeed(&["drain", "green"]).await.stdout;
    assert!(inside.contains(&format!("TCP {}", stage.port.address())), "{inside}");
    switcher.succeed(&["rollback", "--drain-timeout", "300ms"]).await;
    new.ended().await;
    stage.line("blue").await;
}

#[tokio::test]
async fn the_dashboard_and_the_doctor_know_its_connections_and_its_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().display().to_string();
    let stage = Stage::with("", |setup| setup.switcher("state_dir", &state)).await;
    let _kept = stage.line("blue").await;
    stage.until_inside(Slot::Blue, 1).await;
    for page in ["/", "/apps/shop", "/metrics", "/status"] {
        let answer = get(stage.proxy.status(), page).await;
        assert_eq!((answer.status, answer.text().contains("connections")), (200, true), "{page}");
    }
    let ran = Switcher::of(&stage.proxy).with("DOCKER_HOST", "unix:///nowhere").run(&["doctor"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let told = format!("{} (tcp.listen)", stage.port.address());
    assert!(ran.stdout.contains(&told) && ran.stdout.contains("our proxy"), "{ran:?}");
}

#[tokio::test]
async fn a_version_is_deployed_and_judged_on_the_connections_it_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().display().to_string();
    let stage = Stage::with("", |setup| {
        setup
            .switcher("state_dir", &state)
            .deploy("runtime", "static")
            .deploy("hooks", "{start: [\"true\"], stop: [\"true\"]}")
            .deploy("bake", "{for: 1s}")
    })
    .await;
    let mut old = stage.line("blue").await;
    let switcher = Switcher::of(&stage.proxy);
    let switcher = switcher.with("SWITCHER_ALLOW_TEMPORARY_STATE", "1");
    let deploying = tokio::spawn(async move { switcher.run(&["deploy", "v2"]).await });
    until(PATIENCE, "new connections to reach the new version", || async {
        deploying.is_finished() || Line::connect(stage.port.address()).await.line().await == "green"
    })
    .await;
    assert_eq!(old.ask("still here?").await, "still here?");
    old.finish().await;
    assert_eq!(old.line().await, "heard 12");
    drop(old);
    let ran = deploying.await.expect("it ran");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(stage.proxy.admin().shop().await.active, Slot::Green);
}
