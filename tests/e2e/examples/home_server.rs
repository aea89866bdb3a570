//! Several applications on one box at home: no TLS, no names, and a tag that moves instead of a script that cron runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use serde_json::Value;
use switcher::signature::{HEADER, sign};
use switcher_config::Slot;
use switcher_config::durable::{Durability, replace};
use switcher_tests::certificate::put;
use switcher_tests::daemon::Daemon;
use switcher_tests::http1::{get_with, request};
use switcher_tests::image::architecture;
use switcher_tests::port::Port;
use switcher_tests::site::Front;
use switcher_tests::{
    Http1, Image, PATIENCE, Proxy, Site, Switcher, skip_or_fail, until, until_some, within,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

const ADDRESS: &str = "127.0.0.1";
const SECRET: &str = "a-secret-of-the-tests-0123456789";
const QUICK: &str = "{interval: 200ms, rise: 1}";

/// What Traefik was told.
const COMPOSE: &str = "\
services:
  traefik: {image: 'traefik:v3.1', ports: ['80:80', '443:443']}
  shop:
    image: ghcr.io/acme/shop:v1
    labels:
      traefik.enable: 'true'
      traefik.http.routers.shop.rule: Host(`paxx.example.com`)
      traefik.http.routers.shop.tls.certresolver: le
      traefik.http.services.shop.loadbalancer.server.port: '9000'
      traefik.http.services.shop.loadbalancer.healthcheck.path: /health
";

/// The box, and where it takes webhooks.
struct Home {
    site: Site,
    hooks: Port,
}

impl Home {
    async fn open() -> Self {
        let site = Site::of_example("home-server", Front { host: ADDRESS.to_owned(), tls: false }).await;
        let (hooks, notes) = (Port::reserve(), site.registry.name("notes"));
        replace(&site.path("webhook.secret"), SECRET.as_bytes(), 0o600, Durability::Unsynced)
            .expect("a secret");
        let site = site
            .shop("health", QUICK)
            .everywhere("SWITCHER__APPS__NOTES__HEALTH", QUICK)
            .everywhere("SWITCHER__APPS__NOTES__DEPLOY__IMAGE", &notes)
            .everywhere("SWITCHER__SWITCHER__WEBHOOK__LISTEN", &hooks.address().to_string());
        Self { site: site.open().await, hooks }
    }

    /// What the service manager starts.
    fn watch(&self) -> Daemon {
        Daemon::spawn("switcher watch", self.site.switcher().command(&["watch"]).into_std())
    }

    /// Two platforms under the tag: the engine's own, and one that it cannot run.
    async fn push_for_two(&self, tag: &str, image: &Image) -> String {
        let own = format!("linux/{}", architecture());
        let both = [own.as_str(), "linux/riscv64"].map(|platform| image.clone().platform(platform));
        self.site.registry.push_index("shop", tag, &both).await
    }

    async fn push(&self, app: &str, image: &Image) -> String {
        self.site.registry.push(app, "production", image).await
    }

    async fn ring(&self, app: &str) {
        let (body, signature) = (b"{}", sign(SECRET.as_bytes(), b"{}"));
        let headers = [("Host", "hooks.test"), ("Connection", "close"), (HEADER, signature.as_str())];
        let asked = request("POST", &format!("/hooks/{app}"), &headers, body);
        let answer = Http1::connect(self.hooks.address()).await.exchange(&asked).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }

    /// A file of what is remembered of an application.
    fn remembered(&self, app: &str, file: &str) -> Option<Value> {
        let path = self.site.memory().join("apps").join(app).join(file);
        serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
    }

    /// What became of a digest.
    async fn dealt_with(&self, app: &str, digest: &str) -> String {
        until_some(PATIENCE * 2, "the digest to be dealt with", || async {
            let attempt = &self.remembered(app, "watch.json")?["attempt"];
            let what = attempt["outcome"]["what"].as_str().filter(|what| *what != "trying")?;
            (attempt["digest"] == digest).then(|| what.to_owned())
        })
        .await
    }

    /// Pushes, rings, and waits: what became of it.
    async fn release(&self, app: &str, image: &Image) -> String {
        let digest = self.push(app, image).await;
        self.ring(app).await;
        self.dealt_with(app, &digest).await
    }

    /// Rings, and waits until it was looked.
    async fn look(&self, app: &str) {
        let looked = || self.remembered(app, "watch.json").map(|memory| memory["looked_at"].to_string());
        let before = looked();
        self.ring(app).await;
        until(PATIENCE, "a look", || async { looked() > before }).await;
    }

    async fn status(&self) -> Value {
        self.site.succeed(&["status", "--json"]).await.json()
    }

    async fn locked(&self) {
        // Not the watch's tidying up, which holds the lease for a moment too.
        let deploys = |state: Value| state["lock"]["deployment_id"].is_string();
        until(PATIENCE, "somebody to deploy", || async {
            self.remembered("shop", "state.json").is_some_and(deploys)
        })
        .await;
    }

    /// Every version that was ever tried, oldest first.
    fn tried(&self, app: &str) -> Vec<Value> {
        let path = self.site.memory().join("apps").join(app).join("history.jsonl");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let mut ids: Vec<Value> = Vec::new();
        for line in lines {
            if !ids.contains(&line["id"]) {
                ids.push(line["id"].clone());
            }
        }
        ids
    }
}

/// One request after another, each sent when the one before was answered: who answered, and that in turn.
struct Turns {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Vec<String>>,
}

impl Turns {
    fn of(proxy: &Proxy) -> Self {
        let (stop, at) = (Arc::new(AtomicBool::new(false)), proxy.http());
        let stopped = Arc::clone(&stop);
        let asking = tokio::spawn(async move {
            let mut turns: Vec<String> = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let answer = get_with(at, "/version", &[("Host", ADDRESS)]).await;
                let who = if answer.status == 200 {
                    answer.text().trim().to_owned()
                } else {
                    answer.status.to_string()
                };
                if turns.last() != Some(&who) {
                    turns.push(who);
                }
            }
            turns
        });
        Self { stop, asking }
    }

    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        within(PATIENCE, "the last answer", self.asking).await.expect("only answers")
    }
}

#[tokio::test]
async fn a_tag_that_moves_goes_live_by_itself_and_nobody_notices() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut home = Home::open().await;
    let mut watch = home.watch();
    until(PATIENCE, "webhooks to be taken", || async {
        watch.output().text().contains("webhooks are taken")
    })
    .await;
    for (app, version) in [("shop", "v1"), ("notes", "n1")] {
        assert_eq!(home.release(app, &Image::new(version)).await, "deployed");
    }
    let (traffic, turns) = (home.site.traffic("v1"), Turns::of(home.site.proxy()));
    traffic.flow().await;
    traffic.announce("v2");
    assert_eq!(home.release("shop", &Image::new("v2")).await, "deployed");
    traffic.settle();
    traffic.flow().await;
    // The third takes the place of the first, which is stopped; it is made for several platforms.
    traffic.announce("v3");
    let index = home.push_for_two("production", &Image::new("v3")).await;
    home.ring("shop").await;
    assert_eq!(home.dealt_with("shop", &index).await, "deployed");
    traffic.settle();
    traffic.flow().await;
    // Tag and index are the same thing, however often it is pushed and under how many names.
    let before = home.tried("shop");
    for tag in ["production", "v3"] {
        assert_eq!(home.push_for_two(tag, &Image::new("v3")).await, index);
        home.look("shop").await;
    }
    let same = home.site.run(&["--app", "shop", "deploy", "v3", "--dry-run", "--exit-code"]).await;
    assert_eq!(same.code, 0, "{same:?}");
    // A bad one is tried once, and the other application goes its own way.
    assert_eq!(home.release("shop", &Image::new("v4").env("CRASH_AT_START", "1")).await, "left");
    home.look("shop").await;
    assert_eq!(home.release("notes", &Image::new("n2")).await, "deployed");
    assert_eq!((home.tried("shop").len(), home.tried("notes").len()), (before.len() + 1, 2));
    traffic.flow().await;
    shows_everything(&home, &index).await;

    // What nobody goes back to any more is stopped under traffic; going back starts it again.
    watch.signal(Signal::TERM);
    until(PATIENCE, "the watch to end", || {
        let ended = watch.has_ended();
        async move { ended }
    })
    .await;
    let standby = home.site.proxy().admin().shop().await.active.other();
    home.site.reconfigure(|setup| setup.deploy("keep_previous", "0s"));
    home.site.succeed(&["--app", "shop", "prune"]).await;
    assert_eq!(running(&home, "shop", standby).await, 0);
    traffic.flow().await;
    traffic.announce("v2");
    home.site.succeed(&["--app", "shop", "rollback"]).await;
    traffic.settle();
    traffic.flow().await;
    traffic.finish().await;
    assert_eq!(turns.end().await, ["v1", "v2", "v3", "v2"], "never two at a time, and no other answer");
}

async fn running(home: &Home, app: &str, slot: Slot) -> usize {
    let containers = home.site.containers_in(slot).await;
    containers.iter().filter(|container| container["Labels"]["switcher.app"] == app).count()
}

/// `status --json` has what `get-status -f json` had.
async fn shows_everything(home: &Home, index: &str) {
    let status = home.status().await;
    let notes = home.site.registry.digest("notes", "production").await.expect("a digest");
    for (app, digest) in [("shop", index), ("notes", notes.as_str())] {
        let (traffic, remembered) = (&status["apps"][app], &status["deployments"][app]);
        let slot = traffic["active"].as_str().expect("a slot");
        let (live, current) = (&traffic["slots"][slot], &remembered["current_deployment"]);
        assert_eq!(
            (&live["health"], &live["release"]),
            (&"healthy".into(), &current["version"]),
            "{status:#}"
        );
        assert!(live["upstreams"][0]["address"].is_string(), "its containers: {status:#}");
        assert_eq!(current["active_slot"], slot, "{status:#}");
        assert!(current["image"].as_str().is_some_and(|image| image.ends_with(digest)), "{status:#}");
        assert!(remembered["watch"]["next_look"].is_string(), "{status:#}");
    }
    assert_eq!(status["deployments"]["shop"]["watch"]["attempt"]["outcome"]["what"], "left", "{status:#}");
    assert_eq!(
        status["certificates"],
        serde_json::json!([]),
        "without TLS there is none to expire: {status:#}"
    );
}

#[tokio::test]
async fn by_hand_and_by_the_watch_is_never_at_once() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let home = Home::open().await;
    home.push("shop", &Image::new("v1")).await;
    home.site.succeed(&["--app", "shop", "deploy", "production"]).await;
    let traffic = home.site.traffic("v1");
    let _watch = home.watch();
    until(PATIENCE, "the first look", || async {
        home.remembered("shop", "watch.json").is_some_and(|memory| memory["looked_at"].is_string())
    })
    .await;
    assert_eq!(home.tried("shop").len(), 1, "what is live already is not deployed again");
    let slow = |version: &str| Image::new(version).env("READY_DELAY_MS", "5000");

    // The watch is at work: by hand there is 3, or a wait.
    traffic.announce("v2");
    let digest = home.push("shop", &slow("v2")).await;
    home.site.push(&Image::new("v3")).await;
    home.ring("shop").await;
    home.locked().await;
    let second = home.site.run(&["--app", "shop", "deploy", "v3"]).await;
    assert_eq!(second.code, 3, "{second:?}");
    second.says(&["E-LOCK-01"]);
    traffic.announce("v3");
    home.site.succeed(&["--app", "shop", "deploy", "v3", "--lock-wait", "60s"]).await;
    traffic.settle();
    assert_eq!(home.dealt_with("shop", &digest).await, "deployed");
    home.look("shop").await;
    assert_eq!(home.site.version().await.as_deref(), Some("v3"), "what a person chose stays");

    // A person is at work: the watch waits its turn, and tells nobody that the release is bad.
    home.site.push(&slow("v4")).await;
    traffic.announce("v4");
    let mut by_hand =
        home.site.switcher().command(&["--app", "shop", "deploy", "v4"]).spawn().expect("it starts");
    home.locked().await;
    let digest = home.push("shop", &Image::new("v5")).await;
    home.ring("shop").await;
    assert_eq!(home.dealt_with("shop", &digest).await, "later");
    let memory = home.remembered("shop", "watch.json").expect("a memory");
    assert_eq!(memory["attempt"]["outcome"]["exit"], 3, "{memory:#}");
    traffic.announce("v5");
    let ended = within(PATIENCE * 2, "the deployment by hand", by_hand.wait()).await.expect("its end");
    assert_eq!(ended.code(), Some(0));
    home.ring("shop").await;
    until(PATIENCE * 2, "the turn of the watch", || async {
        home.site.version().await.as_deref() == Some("v5")
    })
    .await;
    assert_eq!(home.dealt_with("shop", &digest).await, "deployed");
    traffic.settle();
    traffic.flow().await;
    traffic.finish().await;
}

#[tokio::test]
async fn an_image_that_was_carried_here_in_a_file_is_deployed_without_a_registry() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let mut home = Home::open().await;
    home.site.registry.stop();
    for (app, version) in [("shop", "v1"), ("notes", "n1"), ("shop", "v2")] {
        let file = home.site.path(&format!("{app}-{version}.tar"));
        Image::new(version).save(&file, &home.site.registry.image(app, version));
        home.site.succeed(&["--app", app, "deploy", "--load", file.to_str().expect("a path")]).await;
    }
    assert_eq!(home.site.version().await.as_deref(), Some("v2"));
    home.site.succeed(&["--app", "shop", "rollback"]).await;
    assert_eq!(home.site.version().await.as_deref(), Some("v1"));
    let notes = get_with(home.site.proxy().http(), "/notes", &[("Host", ADDRESS)]).await;
    assert_eq!(notes.header("x-switcher-release"), Some("n1"), "{}", notes.text());
}

#[tokio::test]
async fn what_traefik_was_told_by_labels_is_served_at_the_same_host_and_port() {
    if let Some(why) = Site::lacks() {
        return skip_or_fail(&why);
    }
    let folder = TempDir::new().expect("a folder");
    put(&folder.path().join("compose.yaml"), COMPOSE);
    let init = ["init", "--compose", "compose.yaml", "--email", "ops@example.com"];
    Switcher::bare(folder.path()).succeed(&init).await;
    let site = Site::of_folder(folder, Front { host: "paxx.example.com".to_owned(), tls: true }).await;
    // No authority is asked here.
    let site = site.shop("tls", "internal").shop("redirect", "false").open().await;
    site.push(&Image::new("v1").env("PORT", "9000")).await;
    site.succeed(&["deploy", "v1"]).await;
    assert_eq!(site.version().await.as_deref(), Some("v1"));
    let other = get_with(site.proxy().http(), "/version", &[("Host", "another.example.com")]).await;
    assert_eq!(other.status, 404, "{}", other.text());
    let shown = site.succeed(&["status", "--json"]).await.json();
    let certificate = &shown["certificates"][0];
    assert_eq!(certificate["names"], serde_json::json!(["paxx.example.com"]), "{shown:#}");
    assert!(certificate["not_after"].is_string(), "{shown:#}");
}
