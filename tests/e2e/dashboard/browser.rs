//! The dashboard in a real browser: Chromium, driven by `tests/browser/dashboard.mjs`.
//!
//! The script looks and clicks; what is to happen in the proxy it asks for by a line, and this side does it. Its pictures
//! are kept in `target/tmp/dashboard`, for people to look at. `./setup --tests` installs what it needs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use switcher_config::Slot;
use switcher_tests::http1::{get, request};
use switcher_tests::part::can;
use switcher_tests::{Http1, Manner, skip_or_fail, within};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::{TOKEN, two};

/// How long the whole visit may take. On an idle machine it takes half a minute.
const VISIT: Duration = Duration::from_secs(150);

/// The modules of the script and the browser, if both are there.
fn parts() -> Option<(PathBuf, String)> {
    let modules = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("browser").join("node_modules");
    let named = std::env::var("SWITCHER_CHROMIUM").ok();
    let browser = named.or_else(|| can("command -v chromium").then(|| "/usr/bin/chromium".to_owned()));
    let (Some(browser), true, true) = (browser, modules.join("axe-core").exists(), can("command -v node"))
    else {
        skip_or_fail("chromium, node or target/browser is not here; `./setup --tests` installs them");
        return None;
    };
    Some((modules, browser))
}

/// Requests as they come on a quiet day, to the end of the test.
fn visitors(address: std::net::SocketAddr) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        loop {
            pace.tick().await;
            // The proxy is restarted meanwhile; those who come then are nobody's concern.
            if let Ok(mut wire) = Http1::try_connect(address).await {
                let _ = wire.try_exchange(&request("GET", "/", &[], b"")).await;
            }
        }
    })
}

#[tokio::test]
async fn a_person_sees_a_promote_happen_promotes_with_the_token_and_is_refused_without() {
    let Some((modules, browser)) = parts() else { return };
    let (_blue, green, _folder, mut proxy) = two().await;
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    std::fs::create_dir_all(&shots).expect("a folder for pictures");
    green.behave(Manner::Slow(Duration::from_millis(30)));
    let visitors = visitors(proxy.http());
    assert_eq!(get(proxy.status(), "/").await.status, 200);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/dashboard.mjs");
    let mut command = Command::new("node");
    command.arg(script).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.env("MODULES", modules).env("CHROMIUM", browser).env("SHOTS", &shots);
    command.env("BASE", format!("http://{}", proxy.status())).env("TOKEN", TOKEN);
    let mut child = command.spawn().expect("node");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut done = false;
    let visit = async {
        while let Some(line) = lines.next_line().await.expect("text") {
            match line.as_str() {
                "please: promote green" => drop(proxy.admin().promote(Slot::Green).await.expect("promoted")),
                "please: stop" => proxy.kill(),
                "please: upgrade" => drop(proxy.upgrade().await),
                "please: start" => {
                    proxy.respawn(&[]);
                    proxy.wait_ready().await;
                }
                "done" => done = true,
                _ => panic!("the script says: {line}"),
            }
        }
        child.wait_with_output().await.expect("its end")
    };
    let end = within(VISIT, "the visit", visit).await;
    visitors.abort();
    assert!(end.status.success() && done, "{}", String::from_utf8_lossy(&end.stderr));
    assert_eq!(proxy.admin().shop().await.active, Slot::Green, "promoted without JavaScript in the end");
}
