//! `switcher init`: a bare folder, server or engine becomes a configuration that both programs take; nothing that
//! exists is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use serde_json::json;
use switcher_tests::certificate::put;
use switcher_tests::engine::Engine;
use switcher_tests::part::can;
use switcher_tests::registry::Registry;
use switcher_tests::until::{PATIENCE, until};
use switcher_tests::{Image, Switcher, program, skip_or_fail};
use tempfile::TempDir;

const COMPOSE: &str = "\
services:
  shop:
    image: ghcr.io/acme/shop:v1.4.2
    ports: ['8080:8000']
    environment: {LOG_LEVEL: info, JWT_SECRET: open-sesame-0123}
    cap_add: [NET_ADMIN]
    healthcheck: {test: [CMD, curl, -f, 'http://localhost:8000/health']}
  db: {image: 'postgres:17'}
";

fn folder() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    put(&folder.path().join("compose.yaml"), COMPOSE);
    folder
}

/// Every file below a folder, with its bytes and the time it was changed.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>, SystemTime)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a listing") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let changed = fs::metadata(&path).and_then(|there| there.modified()).expect("a time");
                found.push((path.clone(), fs::read(&path).expect("a file"), changed));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_compose_file_becomes_a_configuration_and_a_second_run_changes_nothing() {
    let folder = folder();
    let switcher = Switcher::bare(folder.path());
    let first = switcher.succeed(&["init"]).await.stdout;
    for part in ["made", "switcher.yaml", "line 6: shop.cap_add", "switcher deploy v1.4.2"] {
        assert!(first.contains(part), "{part} is missing:\n{first}");
    }
    let text = fs::read_to_string(folder.path().join("switcher.yaml")).expect("the configuration");
    assert!(text.contains("LOG_LEVEL: info") && text.contains("JWT_SECRET: \"${JWT_SECRET}\""), "{text}");
    assert!(!format!("{text}{first}").contains("open-sesame"), "{text}{first}");
    switcher.succeed(&["config", "check"]).await;
    let before = files(folder.path());
    let second = switcher.succeed(&["init"]).await.stdout;
    assert!(second.contains("as it is"), "{second}");
    assert_eq!(files(folder.path()), before);
}

#[tokio::test]
async fn what_somebody_changed_is_kept_and_the_difference_is_shown() {
    let folder = folder();
    let switcher = Switcher::bare(folder.path());
    switcher.succeed(&["init"]).await;
    let file = folder.path().join("switcher.yaml");
    let mine = fs::read_to_string(&file).expect("the configuration").replace("port: 8000", "port: 9000");
    put(&file, &mine);
    let before = files(folder.path());
    let kept = switcher.succeed(&["init"]).await.stdout;
    assert!(kept.contains("kept") && kept.contains("--diff") && !kept.contains("@@"), "{kept}");
    let shown = switcher.succeed(&["init", "--diff"]).await.stdout;
    assert!(shown.contains("-      port: 9000") && shown.contains("+      port: 8000"), "{shown}");
    assert_eq!(files(folder.path()), before);
}

#[tokio::test]
async fn a_dry_run_prints_and_writes_nothing() {
    let folder = folder();
    let before = files(folder.path());
    let ran = Switcher::bare(folder.path()).succeed(&["init", "--github", "--dry-run"]).await;
    assert!(ran.stdout.contains("would be made") && ran.stdout.contains("name: deploy"), "{}", ran.stdout);
    assert_eq!(files(folder.path()), before);
}

/// The file as `init` writes it; only what a test must not share with others is laid over it.
#[tokio::test]
async fn the_proxy_starts_with_what_was_written() {
    let folder = folder();
    let switcher = Switcher::bare(folder.path()).with("SWITCHER_ENVIRONMENT", "test");
    switcher.succeed(&["init"]).await;
    let data = folder.path().join("data");
    let overlay = format!(
        "proxy: {{http: '127.0.0.1:0', status: '127.0.0.1:0', admin: '{0}/a.sock', data_dir: '{0}'}}\n",
        data.display()
    );
    put(&folder.path().join("switcher.test.yaml"), &overlay);
    let mut proxy = tokio::process::Command::new(program::find("switcher-proxy"));
    proxy.args(["--config", "switcher.yaml", "--environment", "test"]).current_dir(folder.path());
    let proxy = proxy.kill_on_drop(true).spawn().expect("a proxy");
    until(PATIENCE, "the admin socket", || async {
        tokio::net::UnixStream::connect(data.join("a.sock")).await.is_ok()
    })
    .await;
    let status = switcher.succeed(&["status", "--json"]).await.json();
    assert!(status["apps"]["shop"].is_object(), "{status}");
    drop(proxy);
}

#[tokio::test]
async fn a_mistake_in_the_compose_file_is_named_with_its_line_and_nothing_is_written() {
    let folder = folder();
    put(&folder.path().join("bad.yml"), "services:\n  a: {image: x}\n  a: {image: y}\n");
    let before = files(folder.path());
    let ran = Switcher::bare(folder.path()).run(&["init", "--compose", "bad.yml"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    ran.says(&["E-INIT-01", "bad.yml:3", "stands twice"]);
    assert_eq!(files(folder.path()), before);
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_one_clear_error() {
    let folder = folder();
    let ran = Switcher::bare(folder.path()).run(&["init", "--config", "/proc/none/switcher.yaml"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    ran.says(&["E-INIT-02", "/proc/none/switcher.yaml", "writable"]);
}

#[tokio::test]
async fn a_bare_server_without_an_engine_gets_a_beginning() {
    let folder = TempDir::new().expect("a folder");
    let switcher = Switcher::bare(folder.path()).with("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    let arguments =
        ["init", "--app", "shop", "--host-name", "shop.example.com", "--email", "ops@example.com"];
    switcher.succeed(&arguments).await;
    switcher.succeed(&["config", "check"]).await;
    let shown = switcher.succeed(&["config", "show"]).await.stdout;
    assert!(shown.contains("shop.example.com") && shown.contains("ops@example.com"), "{shown}");
}

#[tokio::test]
async fn below_a_prefix_a_host_is_made_once() {
    let folder = folder();
    let root = folder.path().join("root");
    let switcher = Switcher::bare(folder.path());
    let first = switcher.succeed(&["init", "--systemd", "--prefix", "root"]).await.stdout;
    let (_, next) = first.split_once("Next:").expect("what comes next");
    assert!(next.contains("systemd-sysusers --root=root") && !next.contains("root/etc"), "{first}");
    assert!(!next.contains("daemon-reload") && !next.contains("useradd"), "{first}");
    for file in ["etc/switcher/switcher.yaml", "usr/local/bin/switcher", "usr/local/bin/switcher-proxy"] {
        assert!(root.join(file).is_file(), "{file} is missing");
    }
    let before = files(&root);
    let second = switcher.succeed(&["init", "--systemd", "--prefix", "root"]).await.stdout;
    assert!(!second.contains("made ") && second.contains("as it is"), "{second}");
    assert_eq!(files(&root), before);
    if !can("systemd-analyze --version") {
        skip_or_fail("systemd-analyze is not installed");
        return;
    }
    verify_units(&root);
}

/// systemd takes the units, and finds little to complain about.
fn verify_units(root: &Path) {
    let folder = root.join("etc/systemd/system");
    let unit = |name: &str| folder.join(name);
    // The programs are looked for at their real place.
    let bin = root.join("usr/local/bin");
    for name in ["switcher-proxy.service", "switcher-watch.service"] {
        let text = fs::read_to_string(unit(name)).expect("a unit");
        put(&unit(name), &text.replace("/usr/local/bin", &bin.display().to_string()));
    }
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze").args(arguments).output().expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let paths =
        ["switcher-proxy.service", "switcher-watch.service"].map(|name| unit(name).display().to_string());
    let (good, said) = analyze(&["verify", "--man=no", &paths[0], &paths[1]]);
    assert!(good && !said.contains("Unknown"), "{said}");
    let option = format!("--root={}", root.display());
    for (name, threshold) in [("switcher-proxy.service", "25"), ("switcher-watch.service", "40")] {
        let exposed = |limit: &str| {
            let limit = format!("--threshold={limit}");
            analyze(&["security", "--offline=true", "--no-pager", &option, &limit, name])
        };
        let (good, said) = exposed(threshold);
        assert!(good, "{said}");
        assert!(!exposed("5").0, "a limit that nothing can keep must fail");
    }
}

/// The flags in the units are those of the programs.
#[tokio::test]
async fn the_units_call_the_programs_as_they_want_to_be_called() {
    let folder = folder();
    let switcher = Switcher::bare(folder.path());
    let printed = switcher.succeed(&["init", "--systemd", "--prefix", "root", "--dry-run"]).await.stdout;
    let line = printed
        .lines()
        .find(|line| line.contains("ExecStart=/usr/local/bin/switcher-proxy"))
        .expect("a line");
    let mut words = line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>();
    switcher.succeed(&["init"]).await;
    let config =
        words.iter().position(|word| word == "/etc/switcher/switcher.yaml").expect("the configuration");
    words[config] = folder.path().join("switcher.yaml").display().to_string();
    words.push("--check".to_owned());
    let ran = Command::new(program::find("switcher-proxy")).args(&words).output().expect("it runs");
    assert!(ran.status.success(), "{words:?}: {ran:?}");
}

#[tokio::test]
async fn running_containers_become_applications() {
    if let Some(why) = Engine::lacks().or_else(Registry::lacks) {
        skip_or_fail(&why);
        return;
    }
    let (engine, registry) = (Engine::start().await, Registry::start().await);
    registry.push("shop", "v1", &Image::new("v1").env("FROM_IMAGE", "known")).await;
    let image = registry.image("shop", "v1");
    engine.pull(&image).await;
    let spec = json!({
        "Image": image, "Env": ["LOG_LEVEL=info", "PRICE=5$", "API_TOKEN=open-sesame-0123"],
        "ExposedPorts": {"8000/tcp": {}}, "HostConfig": {"NetworkMode": "none", "Memory": 67_108_864},
    });
    engine.run("shop", &spec).await;
    let ours = json!({
        "Image": image, "Labels": {"switcher.role": "app"}, "HostConfig": {"NetworkMode": "none"},
    });
    engine.run("ours", &ours).await;
    let folder = TempDir::new().expect("a folder");
    let switcher = Switcher::bare(folder.path()).with("DOCKER_HOST", &engine.url());
    let said = switcher.succeed(&["init"]).await.stdout;
    let text = fs::read_to_string(folder.path().join("switcher.yaml")).expect("the configuration");
    for part in
        ["  shop:", "port: 8000", "LOG_LEVEL: info", "\"5$$\"", "\"${API_TOKEN}\"", "memory: 67108864"]
    {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(!text.contains("ours:") && !text.contains("FROM_IMAGE"), "{text}");
    assert!(!format!("{said}{text}").contains("open-sesame"), "{said}{text}");
    switcher.succeed(&["config", "check"]).await;
}
