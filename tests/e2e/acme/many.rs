//! Many names: all of them are obtained, and a restart serves them at once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use switcher_tests::{App, FakeCa, Setup, until};

use super::{asking_fake, served, shown};

const NAMES: usize = 500;

/// The issue's own figure for loading them.
const LOADED_WITHIN: SignedDuration = SignedDuration::from_secs(1);

/// Obtaining them takes a while on a busy machine.
const DEADLINE: Duration = Duration::from_secs(150);

/// When a line of the log was written.
fn written(line: &str) -> Timestamp {
    let stamp = line.split_whitespace().next().unwrap_or_default();
    stamp.parse().unwrap_or_else(|e| panic!("no time ({e}): {line}"))
}

#[tokio::test]
async fn five_hundred_names_are_obtained_and_loaded_in_a_moment() {
    let ca = FakeCa::start().await;
    let app = App::start("blue").await;
    let names: Vec<String> = (0..NAMES).map(|n| format!("n{n}.test")).collect();
    let setup = asking_fake(Setup::one(app.upstream()), &ca)
        .acme("group", "host")
        .shop("hosts", &format!("[{}]", names.join(", ")));
    let mut proxy = setup.start().await;
    until(DEADLINE, "every name's certificate to be kept", || async {
        ca.issued().len() == NAMES
            && super::metric(&proxy, "switcher_certificate_events_total{event=\"issued\"}").await >= 500.0
    })
    .await;
    assert_eq!(ca.orders().len(), NAMES);
    proxy.kill();
    let before = proxy.stderr().lines().count();
    proxy.restart().await;
    for name in [&names[0], &names[NAMES / 2], &names[NAMES - 1]] {
        assert_eq!(served(&proxy, &ca.strict(), name).await.names, [name.as_str()]);
    }
    let log = proxy.stderr();
    let lines: Vec<&str> = log.lines().skip(before).collect();
    let loaded = lines.iter().find(|line| line.contains("certificates loaded")).expect("a line that says so");
    assert!(loaded.contains("500"), "{loaded}");
    let took = written(loaded).duration_since(written(lines[0]));
    assert!(took < LOADED_WITHIN, "loading took {took}: {loaded}");
    for name in &names {
        shown(&proxy, &ca.strict(), name).await;
    }
    assert_eq!(ca.orders().len(), NAMES, "nothing was ordered again");
}
