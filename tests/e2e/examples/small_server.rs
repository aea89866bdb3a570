//! Two applications on one small server: units instead of containers, certificates by a domain and an address alone.

use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use switcher_tests::acme::Strict;
use switcher_tests::http1::get_with;
use switcher_tests::port::Port;
use switcher_tests::site::{Front, Traffic};
use switcher_tests::websocket::WebSocket;
use switcher_tests::{Http1, PATIENCE, Pebble, Proxy, Setup, Switcher, program, skip_or_fail, until};
use tempfile::TempDir;

const APPS: [&str; 2] = ["web", "signaling"];
const SLOTS: [&str; 2] = ["blue", "green"];
/// What a server of one gigabyte may well give its proxy, in a build without optimisation.
const MODEST: u64 = 192 << 20;

/// `systemctl restart|stop NAME@SLOT` for the fields of a unit file that matter here: no service manager runs where tests do.
const SYSTEMCTL: &str = r#"#!/bin/sh
set -eu
verb=$1 unit=${2%@*} slot=${2#*@} root=ROOT
field() { sed -n "s/^$1=//p" "$root/$unit@.service" | sed "s/%i/$slot/g; s|/srv|$root|g"; }
pid=$root/$unit-$slot.pid
if [ -e "$pid" ]; then
    kill "$(cat "$pid")" 2>/dev/null || true
    while kill -0 "$(cat "$pid")" 2>/dev/null; do sleep 0.02; done
    rm "$pid"
fi
[ "$verb" = stop ] && exit 0
cd "$(field WorkingDirectory)"
set -a; . "$(field EnvironmentFile)"; set +a
setsid "$(field ExecStart)" >/dev/null 2>&1 &
echo $! >"$pid"
"#;

/// The server.
struct Server {
    proxy: Proxy,
    pebble: Pebble,
    folder: TempDir,
    _ports: Vec<Port>,
}

impl Server {
    async fn open() -> Self {
        let folder = tempfile::Builder::new().prefix("switcher-units-").tempdir().expect("a folder");
        let root = folder.path();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/small-server");
        for name in ["switcher.yaml", "web@.service", "signaling@.service"] {
            std::fs::copy(example.join(name), root.join(name)).expect("a copied file");
        }
        std::fs::create_dir(root.join("bin")).expect("a folder");
        program_at(&root.join("bin/systemctl"), &SYSTEMCTL.replace("ROOT", &root.display().to_string()));
        let ports: Vec<Port> = (0..4).map(|_| Port::reserve()).collect();
        let pebble = Pebble::settings().start().await;
        let mut setup = Setup::of_file(&root.join("switcher.yaml"))
            .acme("directory", &pebble.directory())
            .acme("ca_file", &pebble.ca_file().display().to_string())
            .switcher("state_dir", &root.join("state").display().to_string())
            .listeners(pebble.http(), pebble.https());
        for (app, ports) in APPS.iter().zip(ports.chunks(2)) {
            repository(root, app);
            let [blue, green] = [&ports[0], &ports[1]].map(Port::address);
            for (slot, address) in SLOTS.iter().zip([blue, green]) {
                write(&root.join(format!("{app}/{slot}.env")), &format!("PORT={}\n", address.port()));
            }
            let name = |key: &str| format!("SWITCHER__APPS__{app}__{key}").to_uppercase();
            setup = setup
                .variable(&name("slots"), &format!("{{blue: [\"{blue}\"], green: [\"{green}\"]}}"))
                .variable(&name("redirect"), "false");
        }
        // The load of the test ends its streams by this.
        let drain = "{requests: 5s, uploads: 5s, streams: 300ms, websockets: 300ms, spread: 0s}";
        let proxy = setup.variable("SWITCHER__APPS__WEB__DRAIN", drain).start_unready().await;
        Self { proxy, pebble, folder, _ports: ports }
    }

    fn switcher(&self) -> Switcher {
        let path = std::env::var("PATH").unwrap_or_default();
        Switcher::of(&self.proxy)
            .with("PATH", &format!("{}:{path}", self.folder.path().join("bin").display()))
            .with("SWITCHER_ALLOW_TEMPORARY_STATE", "1")
    }

    async fn version(&self, host: &str) -> String {
        get_with(self.proxy.http(), "/version", &[("Host", host)]).await.text().trim().to_owned()
    }

    async fn websocket(&self) -> WebSocket {
        let wire = Http1::connect(self.proxy.http()).await;
        WebSocket::with(wire, "/ws", &[("host", "signal.example.com")]).await
    }

    fn state(&self, app: &str) -> Value {
        let production = self.folder.path().join("state/production");
        let own = production.join(format!("apps/{app}/state.json"));
        let file = if own.exists() { own } else { production.join("state.json") };
        serde_json::from_str(&std::fs::read_to_string(file).expect("state.json")).expect("JSON")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for name in APPS.iter().flat_map(|app| SLOTS.map(|slot| format!("{app}-{slot}.pid"))) {
            let text = std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            if let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn write(path: &Path, text: &str) {
    switcher_tests::certificate::put(path, text);
}

fn program_at(path: &Path, text: &str) {
    use switcher_config::durable::{Durability, replace};
    replace(path, text.as_bytes(), 0o755, Durability::Unsynced).expect("a written file");
}

/// A repository with three releases of an application, and a checkout for each slot.
fn repository(root: &Path, app: &str) {
    let origin = root.join("origin").join(app);
    std::fs::create_dir_all(&origin).expect("a folder");
    let git = |folder: &Path, arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "-c",
            "init.defaultBranch=main",
        ]);
        let output = command.arg("-C").arg(folder).args(arguments).output().expect("git runs");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    git(&origin, &["init", "--quiet"]);
    for version in ["v1", "v2", "v3"] {
        let start = format!(
            "#!/bin/sh\nexec {} demo-app --version {version} --listen 127.0.0.1:$PORT\n",
            program::find("switcher").display()
        );
        program_at(&origin.join("start"), &start);
        git(&origin, &["add", "start"]);
        git(&origin, &["commit", "--quiet", "--message", version]);
        git(&origin, &["tag", version]);
    }
    for slot in SLOTS {
        let place = root.join(app).join(slot);
        std::fs::create_dir_all(root.join(app)).expect("a folder");
        git(root, &["clone", "--quiet", &origin.display().to_string(), &place.display().to_string()]);
    }
}

/// The certificate of a name is one that a browser takes.
async fn is_served(server: &Server, strict: &Strict, host: &str) {
    until(PATIENCE, &format!("{host} with a certificate that holds"), || async {
        let answer = strict.try_get(host, server.proxy.https(), "/version").await;
        answer.is_ok_and(|answer| answer.status == 200)
    })
    .await;
}

fn lacks() -> Option<String> {
    Pebble::lacks().or_else(|| switcher_tests::daemon::lacking(&["git", "setsid"]))
}

#[tokio::test]
async fn two_applications_are_deployed_and_websockets_outlive_it() {
    if let Some(why) = lacks() {
        return skip_or_fail(&why);
    }
    let server = Server::open().await;
    let switcher = server.switcher();
    for app in APPS {
        switcher.succeed(&["--app", app, "deploy", "v1"]).await;
    }
    let strict = server.pebble.strict().await;
    for host in ["example.com", "www.example.com", "signal.example.com"] {
        is_served(&server, &strict, host).await;
    }

    let mut connected = server.websocket().await;
    assert_eq!(connected.ask("before").await, "before");
    switcher.succeed(&["--app", "signaling", "deploy", "v2", "--detach"]).await;
    assert_eq!(server.version("signal.example.com").await, "v2");
    assert_eq!(connected.ask("after").await, "after", "who was connected stays connected");
    let inside = switcher.run(&["--app", "signaling", "status", "--json"]).await.json();
    let draining = &inside["apps"]["signaling"]["draining"][0]["in_flight"]["websockets"];
    assert_eq!(draining, 1, "{inside:#}");
    connected.close().await;

    let front = Front { host: "example.com".to_owned(), tls: true };
    let traffic = Traffic::through(&server.proxy, &front, "v1");
    traffic.flow().await;
    for version in ["v2", "v3"] {
        traffic.announce(version);
        switcher.succeed(&["--app", "web", "deploy", version]).await;
        traffic.settle();
        traffic.flow().await;
    }
    traffic.announce("v2");
    switcher.succeed(&["--app", "web", "rollback"]).await;
    traffic.settle();
    traffic.flow().await;
    traffic.finish().await;
    assert_eq!(server.state("web")["current_deployment"]["version"], "v2");
    assert_eq!(
        server.state("signaling")["current_deployment"]["version"],
        "v2",
        "the other one is left alone"
    );
    let peak = server.proxy.peak_bytes();
    assert!(peak < MODEST, "{peak} bytes of memory");
}

#[tokio::test]
async fn a_version_that_does_not_exist_or_start_changes_nothing() {
    if let Some(why) = lacks() {
        return skip_or_fail(&why);
    }
    let server = Server::open().await;
    let switcher = server.switcher();
    switcher.succeed(&["--app", "web", "deploy", "v1"]).await;
    let unknown = switcher.run(&["--app", "web", "deploy", "v9"]).await;
    assert_eq!(unknown.code, 1, "{unknown:?}");
    unknown.says(&["start", "v9"]);
    assert_eq!(server.version("example.com").await, "v1");
    assert_eq!(server.state("web")["current_deployment"]["version"], "v1");
}
