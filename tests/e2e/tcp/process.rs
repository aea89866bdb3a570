//! Raw connections and the life of the process: upgrade, end, reload.

use rustix::process::Signal;
use switcher_config::Slot;
use switcher_tests::port::Port;
use switcher_tests::{Echo, Line, PATIENCE, Setup, until, until_some};
use tokio::net::TcpStream;

use super::Stage;

#[tokio::test]
async fn an_upgrade_hands_the_address_over_and_ends_no_connection() {
    let mut stage = Stage::new().await;
    let mut old = stage.line("blue").await;
    stage.proxy.upgrade().await;
    assert_eq!(old.ask("one").await, "one", "bytes flow through the old process");
    let mut new = until_some(PATIENCE, "a connection to be inside the new process", || async {
        let line = stage.line("blue").await;
        // The old process accepts until it hears that the new one serves.
        (stage.inside(Slot::Blue).await == 1).then_some(line)
    })
    .await;
    assert_eq!((old.ask("two").await, new.ask("two").await), ("two".to_owned(), "two".to_owned()));
    old.finish().await;
    assert_eq!(old.line().await, "heard 8");
    drop(old);
    assert_eq!(stage.proxy.predecessor_exit().await, Some(0));
    assert_eq!(new.ask("three").await, "three");
}

#[tokio::test]
async fn the_end_of_the_process_waits_for_connections_and_not_for_ever() {
    let mut stage = Stage::with("", |setup| setup.proxy("shutdown_timeout", "6s")).await;
    let (mut one, mut other) = (stage.line("blue").await, stage.line("blue").await);
    stage.proxy.signal(Signal::TERM);
    until(PATIENCE, "nobody to be let in", || async {
        TcpStream::connect(stage.port.address()).await.is_err()
    })
    .await;
    assert_eq!(one.ask("last words").await, "last words");
    one.finish().await;
    assert_eq!(one.line().await, "heard 11");
    other.ended().await;
    let exit = stage.proxy.exit().await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.stdout.contains("closed because the proxy ends"), "{}", exit.stdout);
}

#[tokio::test]
async fn a_reload_says_which_addresses_wait_for_a_restart_and_routes_new_names_at_once() {
    let (one, two, port, later) =
        (Echo::start("one").await, Echo::start("two").await, Port::reserve(), Port::reserve());
    let at = |port: &Port| format!("{{listen: \"{}\"}}", port.address());
    let setup = Setup::raw(&[one.address().to_string()], &[], &at(&port));
    let mut proxy = setup.clone().start_healthy().await;
    let mut kept = Line::connect(port.address()).await;
    assert_eq!(kept.line().await, "one");

    proxy.configure(setup.clone().another_raw("two", two.address(), &at(&later), &[]));
    let reloaded = proxy.admin().reload().await.expect("reloaded");
    let waits = format!("{} is listened on after the next restart or upgrade", later.address());
    assert_eq!(reloaded.needs_restart, [waits]);
    TcpStream::connect(later.address()).await.expect_err("nobody listens yet");
    proxy.upgrade().await;
    let mut new = Line::connect(later.address()).await;
    assert_eq!(new.line().await, "two");

    // The application leaves: its address is still listened on, and whoever comes is closed.
    proxy.configure(setup.clone());
    let reloaded = proxy.admin().reload().await.expect("reloaded");
    assert_eq!(
        reloaded.needs_restart,
        [format!("{} is closed at the next restart or upgrade", later.address())]
    );
    Line::connect(later.address()).await.ended().await;
    assert_eq!((kept.ask("on").await, new.ask("on").await), ("on".to_owned(), "on".to_owned()));
}

#[tokio::test]
async fn whoever_has_the_address_is_told_of_and_check_likes_what_runs() {
    let (echo, port) = (Echo::start("one").await, Port::reserve());
    let tcp = format!("{{listen: \"{}\"}}", port.address());
    let setup = || Setup::raw(&[echo.address().to_string()], &[], &tcp);
    let _first = setup().start_healthy().await;
    let mut second = switcher_tests::Proxy::spawn(setup());
    let exit = second.exit().await;
    assert_eq!(exit.code, Some(1));
    let told = format!("cannot listen on {}: port {} is taken", port.address(), port.address().port());
    assert!(exit.stderr.contains(&told), "{}", exit.stderr);
    let mut checked = switcher_tests::Proxy::spawn(setup().argument("--check"));
    assert_eq!(checked.exit().await.code, Some(0));
}
