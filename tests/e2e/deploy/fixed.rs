//! `runtime: static`: real processes at fixed addresses, started and stopped by hooks. No engine is needed.

use std::path::PathBuf;

use serde_json::Value;
use switcher_config::Slot;
use switcher_tests::http1::get;
use switcher_tests::port::Port;
use switcher_tests::site::Traffic;
use switcher_tests::{PATIENCE, Proxy, Setup, Switcher, program, until};
use tempfile::TempDir;

use super::notify::Receiver;

/// A proxy before two slots of processes.
struct Host {
    proxy: Proxy,
    folder: TempDir,
    ports: [Port; 2],
}

impl Host {
    async fn open() -> Self {
        Self::open_with(|setup| setup).await
    }

    async fn open_with(more: impl FnOnce(Setup) -> Setup) -> Self {
        let folder = tempfile::Builder::new().prefix("switcher-static-").tempdir().expect("a folder");
        let ports = [Port::reserve(), Port::reserve()];
        let [blue, green] = [&ports[0], &ports[1]].map(|port| port.address().to_string());
        // What a service manager does: the address goes with the slot, and stopping waits for the end.
        let start = format!(
            "case $SWITCHER_SLOT in blue) at={blue};; *) at={green};; esac; \
             setsid {} demo-app --version $SWITCHER_VERSION --listen $at >/dev/null 2>&1 & \
             echo $! > {}/$SWITCHER_SLOT.pid",
            program::find("switcher").display(),
            folder.path().display()
        );
        let stop = format!(
            "test ! -e {folder}/stuck || exit 3; pid=$(cat {folder}/$SWITCHER_SLOT.pid) || exit 0; kill $pid; \
             while kill -0 $pid; do sleep 0.05; done 2>/dev/null; rm {folder}/$SWITCHER_SLOT.pid",
            folder = folder.path().display()
        );
        let setup = Setup::slots(&[blue], &[green])
            .shop("tls", "internal")
            .shop("drain", "{requests: 5s, uploads: 5s, streams: 300ms, websockets: 300ms, spread: 0s}")
            .switcher("state_dir", &folder.path().join("state").display().to_string())
            .deploy("runtime", "static")
            .deploy("ready_timeout", "10s")
            .deploy("hooks", &format!("{{start: [sh, -c, {start:?}], stop: [sh, -c, {stop:?}]}}"));
        let proxy = more(setup).start_unready().await;
        Self { proxy, folder, ports }
    }

    fn switcher(&self) -> Switcher {
        Switcher::of(&self.proxy).with("SWITCHER_ALLOW_TEMPORARY_STATE", "1")
    }

    fn pid_file(&self, slot: Slot) -> PathBuf {
        self.folder.path().join(format!("{slot}.pid"))
    }

    fn pid(&self, slot: Slot) -> Option<i32> {
        std::fs::read_to_string(self.pid_file(slot)).ok()?.trim().parse().ok()
    }

    async fn version(&self) -> String {
        get(self.proxy.http(), "/version").await.text().trim().to_owned()
    }

    fn state(&self) -> Value {
        let text = std::fs::read_to_string(self.folder.path().join("state/production/state.json"));
        serde_json::from_str(&text.expect("state.json")).expect("JSON")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for slot in [Slot::Blue, Slot::Green] {
            if let Some(pid) = self.pid(slot).and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = &self.ports;
    }
}

#[tokio::test]
async fn processes_are_started_switched_to_and_gone_back_to() {
    let host = Host::open().await;
    let switcher = host.switcher();
    switcher.succeed(&["deploy", "v1"]).await;
    assert_eq!(host.version().await, "v1");
    assert!(host.pid(Slot::Green).is_some() && host.pid(Slot::Blue).is_none(), "green was started alone");
    let traffic = Traffic::start(&host.proxy, "v1");
    traffic.flow().await;
    traffic.announce("v2");
    switcher.succeed(&["deploy", "v2"]).await;
    traffic.settle();
    traffic.flow().await;
    let both = [host.pid(Slot::Blue), host.pid(Slot::Green)];
    assert!(both.iter().all(Option::is_some), "the one before stays warm");
    traffic.announce("v1");
    switcher.succeed(&["rollback"]).await;
    traffic.settle();
    traffic.flow().await;
    traffic.finish().await;
    assert_eq!([host.pid(Slot::Blue), host.pid(Slot::Green)], both, "nothing was started");
    let current = &host.state()["current_deployment"];
    assert_eq!(
        (&current["version"], &current["active_slot"]),
        (&"v1".into(), &"green".into()),
        "{current:#}"
    );
    // The third one takes the place of the second, whose process ends first.
    switcher.succeed(&["deploy", "v3"]).await;
    assert_eq!(host.version().await, "v3");
    assert_ne!(host.pid(Slot::Blue), both[0]);
    let old = rustix::process::Pid::from_raw(both[0].expect("a process")).expect("a process");
    until(PATIENCE, "the second one to be gone", || async {
        rustix::process::test_kill_process(old).is_err()
    })
    .await;
}

#[tokio::test]
async fn the_dashboard_shows_the_steps_as_they_are_taken() {
    let host = Host::open().await;
    let switcher = host.switcher();
    let shows = async |part: &str| {
        until(PATIENCE, &format!("{part:?} on the dashboard"), || async {
            get(host.proxy.status(), "/").await.text().contains(part)
        })
        .await;
    };
    let step = |state: &str, name: &str| format!("<li class=\"{state}\"><strong>{name}</strong>");
    assert!(!get(host.proxy.status(), "/").await.text().contains("shop-deployment"));
    switcher.succeed(&["deploy", "v1"]).await;
    shows(&step("done", "promote")).await;
    shows("</code> into green, since ").await;
    let squatter = std::net::TcpListener::bind(host.ports[0].address());
    let failing = async { assert_eq!(switcher.run(&["deploy", "v2"]).await.code, 4) };
    let probing = step("running", "probe");
    tokio::join!(failing, shows(&probing));
    drop(squatter);
    shows(&step("failed", "probe")).await;
    shows("</code> into blue, since ").await;
    let text = get(host.proxy.status(), "/").await.text();
    assert!(!text.contains(&step("done", "promote")), "the steps of the deployment before are gone: {text}");
}

#[tokio::test]
async fn a_process_that_never_answers_is_stopped_again_and_the_old_one_serves() {
    let host = Host::open().await;
    let switcher = host.switcher();
    switcher.succeed(&["deploy", "v1"]).await;
    // Somebody else listens where the new one should, and answers nothing.
    let squatter = std::net::TcpListener::bind(host.ports[0].address());
    let ran = switcher.run(&["deploy", "v2"]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    ran.says(&["E-", "blue", "live now: shop:"]);
    drop(squatter);
    assert_eq!(host.version().await, "v1");
    assert_eq!(host.pid(Slot::Blue), None, "it was stopped");
    switcher.succeed(&["deploy", "v2"]).await;
    assert_eq!(host.version().await, "v2");
}

#[tokio::test]
async fn a_deployment_that_cannot_be_undone_is_told_once_and_can_be_given_up() {
    let receiver = Receiver::answering(200).await;
    let notify = format!("{{url: \"{}\"}}", receiver.url());
    let host = Host::open_with(|setup| setup.switcher("notify", &notify)).await;
    let switcher = host.switcher();
    switcher.succeed(&["deploy", "v1"]).await;
    let squatter = std::net::TcpListener::bind(host.ports[0].address());
    switcher_tests::certificate::put(&host.folder.path().join("stuck"), "");
    let ran = switcher.run(&["deploy", "v2"]).await;
    assert_ne!(ran.code, 0, "{ran:?}");
    ran.says(&["stays in the journal", "repair"]);
    for verb in ["repair", "rollback", "deploy"] {
        let arguments = if verb == "deploy" { vec!["deploy", "v3"] } else { vec![verb] };
        let ran = switcher.run(&arguments).await;
        assert_ne!(ran.code, 0, "{verb}: {ran:?}");
        ran.says(&["stop"]);
    }
    assert_eq!(receiver.events(), ["deployed", "attention"], "once, however often it is tried");
    let open = receiver.told().pop().expect("the newest");
    let text = open.json()["text"].as_str().expect("a text").to_owned();
    assert!(
        text.contains("deploy of v2 by") && text.contains("cannot go on") && text.contains("repair"),
        "{text}"
    );
    // Traffic can be moved all the same, and the deployment be given up.
    switcher.succeed(&["promote", "green", "--unrecorded"]).await;
    let ran = switcher.succeed(&["repair", "--abandon", "--json"]).await.json();
    assert!(ran["journal"].to_string().contains("was given up"), "{ran:#}");
    let given_up = receiver.told().pop().expect("the newest");
    assert_eq!(receiver.events(), ["deployed", "attention", "attention"]);
    assert_ne!(given_up.delivery, open.delivery, "it is another thing to look at");
    assert_eq!(host.version().await, "v1");
    drop(squatter);
    std::fs::remove_file(host.folder.path().join("stuck")).expect("a removed file");
    switcher.succeed(&["deploy", "v3"]).await;
    assert_eq!(host.version().await, "v3");
}
