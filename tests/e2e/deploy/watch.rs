//! `switcher watch` on real parts: what is pushed goes live, once, and what is bad is tried once and left.

mod pushes;
mod registries;
mod service;

use std::net::SocketAddr;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use switcher::signature::{HEADER, sign};
use switcher_config::durable::{Durability, replace};
use switcher_tests::daemon::Daemon;
use switcher_tests::http1::{Answer, Http1, request};
use switcher_tests::port::Port;
use switcher_tests::{Image, PATIENCE, Site, until_some};

const SECRET: &str = "a-secret-of-the-tests-0123456789";
/// Looks come from webhooks, or not at all.
const WATCH: &str = "{tag: production, interval: 1h}";

/// A site whose application is watched, with the port that webhooks are taken at.
async fn watched() -> (Site, Port) {
    let port = Port::reserve();
    let site = Site::prepare().await.deploy("watch", WATCH);
    let secret = site.path("webhook.secret");
    replace(&secret, SECRET.as_bytes(), 0o600, Durability::Unsynced).expect("a secret");
    let webhook = format!("{{listen: \"{}\", secret_file: \"{}\"}}", port.address(), secret.display());
    (site.switcher_section("webhook", &webhook).open().await, port)
}

/// The service. It is killed when the value is dropped; what it started is not.
fn start(site: &Site) -> Daemon {
    Daemon::spawn("switcher watch", site.switcher().command(&["watch"]).into_std())
}

/// Sends a webhook with this signature.
async fn send(port: SocketAddr, path: &str, body: &[u8], signature: Option<&str>) -> Answer {
    let mut headers = vec![("Host", "hooks.test"), ("Connection", "close")];
    headers.extend(signature.map(|signature| (HEADER, signature)));
    Http1::connect(port).await.exchange(&request("POST", path, &headers, body)).await
}

/// Sends a webhook that is signed well.
///
/// # Panics
/// When it is not accepted.
async fn ring(port: SocketAddr) {
    let body = br#"{"action":"published"}"#;
    let answer = send(port, "/hooks/shop", body, Some(&sign(SECRET.as_bytes(), body))).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// `watch.json`, once there is one.
fn remembered(site: &Site) -> Option<Value> {
    let text = std::fs::read_to_string(site.memory().join("watch.json")).ok()?;
    serde_json::from_str(&text).ok()
}

/// When the watch looked last; empty before it did.
fn looked(site: &Site) -> String {
    remembered(site).and_then(|it| it["looked_at"].as_str().map(str::to_owned)).unwrap_or_default()
}

/// Waits until the digest was looked at after `before`, and dealt with: what became of it.
async fn dealt_with(site: &Site, digest: &str, before: &str) -> String {
    until_some(PATIENCE * 2, "the digest to be dealt with", || async {
        let memory = remembered(site)?;
        let attempt = &memory["attempt"];
        let what = attempt["outcome"]["what"].as_str()?;
        let fresh = memory["looked_at"].as_str()? > before && memory["found"] == digest;
        (fresh && attempt["digest"] == digest && what != "trying").then(|| what.to_owned())
    })
    .await
}

/// The ids of the deployments of a digest that there ever were.
fn deployments(site: &Site, digest: &str) -> Vec<String> {
    let of = |line: &Value| line["image"].as_str().is_some_and(|image| image.ends_with(digest));
    let history = site.history();
    let mut ids: Vec<String> =
        history.iter().filter(|line| of(line)).map(|line| line["id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Pushes a release to the tag that is watched. Its digest.
async fn push(site: &Site, image: &Image) -> String {
    site.registry.push("shop", "production", image).await
}

/// Sends a process a signal.
fn signal(pid: u64, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("a signal");
}
