//! A clock that jumps, by years and both ways: nothing that is served, waited for or judged follows it.
//!
//! The clock is that of the process alone, by libfaketime; the one that only counts is left as it is, as it is on a
//! machine whose time is set.

use std::path::{Path, PathBuf};

use switcher_config::{BakeLimits, Slot, Span};
use switcher_tests::certificate::put;
use switcher_tests::http1::{get, request};
use switcher_tests::tls::Hello;
use switcher_tests::websocket::WebSocket;
use switcher_tests::{App, Http1, PATIENCE, Proxy, Setup, skip_or_fail, until};

/// What makes the proxy judge from its start on.
const JUDGED: &str = "{runtime: static, bake: {}, hooks: {start: \"true\", stop: \"true\"}}";

/// Where Debian has the library.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    let mut found = folders.flatten().map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists())
}

/// A proxy whose clock is set by the file.
async fn proxy(blue: &App, green: &App, library: &Path, clock: &Path) -> Proxy {
    put(clock, "+0");
    let setup = Setup::two(blue, green)
        .shop("deploy", JUDGED)
        .variable("LD_PRELOAD", &library.display().to_string())
        .variable("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string())
        .variable("FAKETIME_NO_CACHE", "1")
        .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    setup.start_healthy().await
}

/// The year of the proxy, as it notes when it probed last.
async fn year(proxy: &Proxy) -> i16 {
    let shop = proxy.admin().shop().await;
    let probe = shop.slots.get(Slot::Blue).upstreams[0].last_check.clone().expect("a probe");
    probe.at.to_string()[..4].parse().expect("a year")
}

async fn promote(proxy: &Proxy, slot: Slot, window: u64) {
    let limits = BakeLimits { window: Span::seconds(window), ..BakeLimits::default() };
    crate::bake::promote(proxy, slot, limits).await;
}

async fn bake_goes_on(proxy: &Proxy) -> bool {
    proxy.admin().shop().await.bake.expect("a bake").outcome.is_none()
}

#[tokio::test]
async fn years_forward_and_back_change_nothing() {
    let Some(library) = library() else {
        return skip_or_fail("a clock that jumps needs libfaketime (apt-get install faketime)");
    };
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let folder = tempfile::tempdir().expect("a folder");
    let clock = folder.path().join("clock");
    let proxy = proxy(&blue, &green, &library, &clock).await;
    let now = year(&proxy).await;
    let shown = Hello::to("shop.test").connect(proxy.https()).await.certificate;
    let mut kept = Http1::connect(proxy.http()).await;
    let mut socket = WebSocket::connect(proxy.http(), "/socket").await;
    assert_eq!(socket.text().await, "blue");
    let mut held = Http1::connect(proxy.http()).await;
    held.send(&request("GET", "/gate", &[], b"")).await;
    until(PATIENCE, "the request to be asked for", || async { blue.waiting() == 1 }).await;
    promote(&proxy, Slot::Green, 3600).await;

    // Back by more than any certificate is old, then beyond the end of all of them.
    for (jump, years) in [("-7300d", -20), ("+14600d", 40)] {
        put(&clock, jump);
        until(PATIENCE, "the jump", || async { (year(&proxy).await - now - years).abs() <= 1 }).await;
        // Time passes: slots are looked at, and bakes judged, several times a second.
        let probes = (blue.probes(), green.probes());
        let passes = || async { blue.probes() > probes.0 + 10 && green.probes() > probes.1 + 10 };
        until(PATIENCE, "probes to go on", passes).await;
        assert!(bake_goes_on(&proxy).await, "its hour is not over");
        assert_eq!(socket.ask("still here?").await, "still here?");
        assert_eq!(kept.exchange(&request("GET", "/", &[], b"")).await.text(), "green");
        assert_eq!(get(proxy.http(), "/").await.text(), "green");
        let agreed = Hello::to("shop.test").connect(proxy.https()).await;
        assert_eq!(agreed.certificate, shown, "the certificate that is there stays");
        proxy.admin().reload().await.expect("a reload");
        assert!(held.is_quiet().await, "it waits for its answer");
    }
    blue.open_gate();
    assert_eq!(held.head().await.status(), 200);

    // A switch while the clock is wrong, and the clock set right before its bake is over.
    promote(&proxy, Slot::Blue, 1).await;
    put(&clock, "+0");
    until(PATIENCE, "the end of the bake", || async { !bake_goes_on(&proxy).await }).await;
    assert_eq!(get(proxy.http(), "/").await.text(), "blue");
}
