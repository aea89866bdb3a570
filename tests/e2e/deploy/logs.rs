//! `switcher logs` on real containers: redacted, interleaved, and followed across restarts and deployments.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use switcher_tests::{App, Image, PATIENCE, Setup, Site, Switcher, skip_or_fail, until};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Child;

/// A `logs -f` under way, with what it has written.
struct Following {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

impl Following {
    fn begin(site: &Site, arguments: &[&str]) -> Self {
        let mut child = site.switcher().command(arguments).spawn().expect("it runs");
        let stdout = kept(child.stdout.take().expect("its output"));
        let stderr = kept(child.stderr.take().expect("its words"));
        Self { child, stdout, stderr }
    }

    async fn writes(&self, part: &str) {
        self.until(&self.stdout, part).await;
    }

    async fn says(&self, part: &str) {
        self.until(&self.stderr, part).await;
    }

    async fn until(&self, text: &Mutex<String>, part: &str) {
        until(PATIENCE, &format!("{part:?} among the lines"), || async {
            text.lock().expect("text").contains(part)
        })
        .await;
    }

    fn written(&self) -> String {
        self.stdout.lock().expect("text").clone()
    }

    async fn interrupted(mut self) -> Option<i32> {
        let pid =
            self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process"), rustix::process::Signal::INT)
            .expect("a signal");
        self.child.wait().await.expect("an end").code()
    }
}

fn kept(stream: impl AsyncRead + Unpin + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&text);
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut text = kept.lock().expect("text");
            text.push_str(&line);
            text.push('\n');
        }
    });
    text
}

#[tokio::test]
async fn what_a_slot_wrote_is_shown_interleaved_and_without_a_secret() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.with_database().await.deploy("replicas", "2").open().await;
    site.push(&Image::new("v1").env("PRINT_SECRETS", "1")).await;
    site.succeed(&["deploy", "v1"]).await;
    let slot = site.proxy().admin().shop().await.active;
    let [one, two] = [format!("shop-{slot}-1"), format!("shop-{slot}-2")];

    let shown = site.succeed(&["logs", "live"]).await.stdout;
    for name in [&one, &two] {
        assert!(shown.contains(&format!("{name} | environment APP_VERSION=v1")), "{shown}");
        assert!(shown.contains(&format!("{name} | environment JWT_SECRET=***")), "{shown}");
    }
    for secret in site.secrets() {
        assert!(!shown.contains(&secret), "{shown}");
        // The negative control: the application did write it.
        let written = site.engine.logs(&one).await;
        assert!(written.contains(&secret), "{written}");
    }
    assert_eq!(site.succeed(&["logs", slot.as_str()]).await.stdout, shown, "live is this slot");

    let lines = site.succeed(&["logs", "live", "--json", "--timestamps"]).await.stdout;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    // The engine reads the two streams of a container side by side, so their order is only about right.
    for (name, stream) in [(&one, "stdout"), (&one, "stderr"), (&two, "stdout"), (&two, "stderr")] {
        let of_stream = |line: &&Value| line["container"] == **name && line["stream"] == stream;
        let times: Vec<_> = lines.iter().filter(of_stream).map(|line| line["at"].to_string()).collect();
        assert!(!times.is_empty() && times.is_sorted(), "{name} {stream}: {lines:#?}");
    }
    assert!(lines.iter().any(|line| line["stream"] == "stderr"), "{lines:#?}");

    let last = site.succeed(&["logs", &two, "--tail", "1", "--timestamps"]).await.stdout;
    assert!(last.lines().count() == 1 && last.starts_with(&format!("{two} | 20")), "{last}");
    assert_eq!(site.succeed(&["logs", "live", "--since", "0s"]).await.stdout, "");

    let empty = site.run(&["logs", "standby"]).await;
    assert_eq!(empty.code, 1, "{empty:?}");
    empty.says(&["E-LOGS-03", "the standby slot"]);
    let unknown = site.run(&["logs", "shop-purple-1"]).await;
    assert_eq!(unknown.code, 2, "{unknown:?}");
    unknown.says(&["E-LOGS-02", &one, &two]);
}

#[tokio::test]
async fn following_outlives_a_restart_and_a_switch() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.open().await;
    let telling = |version: &str| Image::new(version).env("PRINT_SECRETS", "1");
    site.push(&telling("v1")).await;
    site.succeed(&["deploy", "v1"]).await;
    let following = Following::begin(&site, &["logs", "live", "-f"]);
    let line = "environment APP_VERSION=v1";
    following.writes(line).await;
    let before = following.written().matches(line).count();

    let slot = site.proxy().admin().shop().await.active;
    let name = switcher_tests::engine::name(&site.containers_in(slot).await[0]);
    site.engine.ask("POST", &format!("/containers/{name}/restart?t=1"), &Value::Null).await;
    following.says("its log goes on").await;
    until(PATIENCE, "the lines of the second life", || async {
        following.written().matches(line).count() == before * 2
    })
    .await;

    site.push(&telling("v2")).await;
    site.succeed(&["deploy", "v2"]).await;
    following.says(&format!("shop-{}-1 is a new container, v2", slot.other())).await;
    following.writes(&format!("shop-{}-1 | environment APP_VERSION=v2", slot.other())).await;
    assert_eq!(following.written().matches(line).count(), before * 2, "no line comes twice");
    assert_eq!(following.interrupted().await, Some(130));
}

#[tokio::test]
async fn a_container_that_is_replaced_under_its_name_is_gone_on_with() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.open().await;
    for version in ["v1", "v2"] {
        site.push(&Image::new(version).env("PRINT_SECRETS", "1")).await;
        site.succeed(&["deploy", version]).await;
    }
    let slot = site.proxy().admin().shop().await.active.other();
    let name = format!("shop-{slot}-1");
    let following = Following::begin(&site, &["logs", &name, "-f"]);
    following.writes("environment APP_VERSION=v1").await;
    site.push(&Image::new("v3").env("PRINT_SECRETS", "1")).await;
    site.succeed(&["deploy", "v3"]).await;
    following.says(&format!("{name} is a new container, v3")).await;
    following.writes(&format!("{name} | environment APP_VERSION=v3")).await;
    assert_eq!(following.interrupted().await, Some(130));
}

#[tokio::test]
async fn a_deployment_has_a_log_of_its_own() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let site = Site::prepare().await.deploy("hooks", "{pre_deploy: [echo, a-word-of-the-hook]}").open().await;
    site.release("v1").await;
    let id = site.state()["current_deployment"]["id"].as_str().expect("an id").to_owned();
    let shown = site.succeed(&["logs", "--deployment", &id]).await.stdout;
    assert!(shown.contains("a-word-of-the-hook"), "{shown}");
    let lines = site.succeed(&["logs", "--deployment", &id, "--json"]).await.stdout;
    let file = site.memory().join("deployments").join(&id).join("log.jsonl");
    assert_eq!(lines, std::fs::read_to_string(file).expect("the log"));

    let absent = site.run(&["logs", "--deployment", "dep_01JBQR2K3M4N5P6Q7R8S9T0VWX"]).await;
    assert_eq!(absent.code, 2, "{absent:?}");
    absent.says(&["E-LOGS-02", "switcher", "history"]);
}

#[tokio::test]
async fn slots_that_hooks_fill_say_where_their_logs_are() {
    let (blue, green) = (App::start("blue").await, App::start("green").await);
    let proxy = Setup::two(&blue, &green)
        .deploy("runtime", "static")
        .deploy("hooks", "{start: [\"true\"], stop: [\"true\"]}")
        .start_healthy()
        .await;
    let ran = Switcher::of(&proxy).run(&["logs", "live", "--json"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    let error: Value = serde_json::from_str(&ran.stderr).expect("JSON");
    assert_eq!(error["error"]["code"], json!("E-LOGS-01"), "{error:#}");
    ran.says(&["journalctl", "logs --deployment"]);
}
