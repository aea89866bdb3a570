//! A Compose file as a [`Stack`]: every key of a service is carried over, needless, or left over with its line. Pure.
//!
//! The keys are those of the Compose specification, Swarm's `deploy` among them. Names of volumes and networks are
//! turned into the engine's, so that the new containers meet the same data.

mod health;
mod lists;
mod mounts;
mod ports;
mod top;

use std::path::Path;

use switcher_config::document::{Document, Item};
use switcher_config::{Problem, Report};

use super::interpolation;
use super::service::{Placed, Service, Stack};
use top::Names;

/// Keys that need nothing: the deployer does the same, or they mean nothing for it.
const NEEDLESS: &[&str] = &[
    "restart",
    "container_name",
    "depends_on",
    "logging",
    "pull_policy",
    "expose",
    "annotations",
    "attach",
    "mem_swappiness",
    "oom_kill_disable",
];

/// Why a file cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// It is no YAML, or no key stands where it should.
    Bad(Report),
    /// It is YAML, but no Compose file.
    Other(&'static str, &'static str),
}

/// Reads a Compose file. `file` is how people know it, `folder` the absolute one it stands in.
///
/// # Errors
/// When it is no YAML or holds no services; each problem has its line.
pub fn read(file: &str, folder: &Path, text: &str) -> Result<Stack, Unreadable> {
    let document = Document::read(file, text).map_err(Unreadable::Bad)?;
    let none = || Unreadable::Other("has no section `services`", "name a Compose file with `--compose FILE`");
    let document = document.ok_or_else(none)?;
    let root = document.root();
    let services = root.get("services").filter(|services| services.is_section()).ok_or_else(none)?;
    let names = Names::read(root, folder);
    let mut stack = Stack {
        origin: file.to_owned(),
        project: names.project.clone(),
        services: services.entries().map(|(name, line, item)| service(name, line, item, &names)).collect(),
        leftovers: Vec::new(),
    };
    top::leftovers(root, &mut stack);
    Ok(stack)
}

/// The problems of a file that cannot be read, for `--json`.
impl Unreadable {
    /// The problems, where there are some.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Bad(report) => &report.problems,
            Self::Other(..) => &[],
        }
    }
}

fn service(name: &str, line: usize, item: Item<'_>, names: &Names) -> Service {
    let mut service = Service { name: name.to_owned(), line, ..Service::default() };
    for (key, line, value) in item.entries() {
        if !NEEDLESS.contains(&key) && !key.starts_with("x-") {
            take(&mut service, key, line, value, names);
        }
    }
    lists::exposed(&mut service, item);
    if item.get("networks").is_none() && item.get("network_mode").is_none() {
        service.networks.push(names.network("default"));
    }
    service
}

/// Takes one key.
fn take(service: &mut Service, key: &str, line: usize, value: Item<'_>, names: &Names) {
    match key {
        "image" => service.image = text(service, key, value),
        "build" => {
            service.builds = true;
            let advice = "an image is deployed from a registry; `switcher init --github` writes a workflow that builds \
                          and pushes it, and `switcher deploy --load` takes one from a file";
            service.leave(line, key, advice);
        }
        "ports" => ports::published(service, value),
        "environment" => lists::environment(service, value),
        "env_file" => lists::env_files(service, value, names),
        "volumes" => mounts::volumes(service, value, names),
        "networks" => lists::networks(service, value, names),
        "healthcheck" => service.check = health::check(service, value).map(|check| Placed::new(check, line)),
        "command" => service.command = lists::words(service, key, value),
        "entrypoint" => service.entrypoint = lists::words(service, key, value),
        "user" => plain(service, "user", key, value),
        "platform" => plain(service, "platform", key, value),
        "stop_grace_period" => plain(service, "stop_timeout", key, value),
        "mem_limit" => memory(service, key, value),
        "cpus" => plain(service, "cpus", key, value),
        "pids_limit" => plain(service, "pids", key, value),
        "extra_hosts" => lists::extra_hosts(service, value),
        "secrets" => lists::secrets(service, value, names),
        "labels" => lists::labels(service, value),
        "deploy" => swarm(service, value),
        "scale" => plain(service, "replicas", key, value),
        "init" if value.text() == Some("false") => {}
        _ => service.leave(line, key, advice(key)),
    }
}

/// What Swarm takes.
fn swarm(service: &mut Service, item: Item<'_>) {
    for (key, line, value) in item.entries() {
        let whole = format!("deploy.{key}");
        match key {
            "replicas" => plain(service, "replicas", &whole, value),
            "labels" => lists::labels(service, value),
            "restart_policy" | "endpoint_mode" => {}
            "mode" if value.text() == Some("replicated") => {}
            "resources" => resources(service, value),
            "update_config" | "rollback_config" => {
                let advice = "a release is brought up beside the live one, and `bake` goes back when it is worse; \
                              `replicas` of a slot are started together";
                service.leave(line, &whole, advice);
            }
            _ => service.leave(line, &whole, "containers run on one engine; Swarm's key means nothing there"),
        }
    }
}

fn resources(service: &mut Service, item: Item<'_>) {
    for (kind, line, section) in item.entries() {
        if kind != "limits" {
            service.leave(line, &format!("deploy.resources.{kind}"), "only limits are set on containers");
            continue;
        }
        for (key, line, value) in section.entries() {
            let whole = format!("deploy.resources.limits.{key}");
            match key {
                "memory" => memory(service, &whole, value),
                "cpus" => plain(service, "cpus", &whole, value),
                "pids" => plain(service, "pids", &whole, value),
                _ => service.leave(line, &whole, "there is no such limit here"),
            }
        }
    }
}

/// A single value in our spelling; one that cannot be spelt is left over.
fn text(service: &mut Service, key: &str, item: Item<'_>) -> Option<Placed<String>> {
    let Some(text) = item.text() else {
        service.leave(item.line(), key, "this is not a single value");
        return None;
    };
    match interpolation::ours(text) {
        Ok(text) => Some(Placed::new(text, item.line())),
        Err(why) => {
            service.leave(item.line(), key, format!("{why}; write the value by hand"));
            None
        }
    }
}

fn plain(service: &mut Service, ours: &'static str, key: &str, item: Item<'_>) {
    if let Some(value) = text(service, key, item) {
        service.plain.push((ours, value));
    }
}

/// `512m` in Compose is `512MiB` here.
fn memory(service: &mut Service, key: &str, item: Item<'_>) {
    let Some(mut value) = text(service, key, item) else { return };
    let lower = value.value.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &lower[digits.len()..] {
        "" | "b" => "",
        "k" | "kb" | "kib" => "KiB",
        "m" | "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        _ => {
            return service.leave(
                value.line,
                key,
                "write it by hand, for example `limits: {memory: 512MiB}`",
            );
        }
    };
    value.value = format!("{digits}{unit}");
    service.plain.push(("memory", value));
}

/// What to do about a key that is not carried over.
fn advice(key: &str) -> &'static str {
    match key {
        "cap_add" | "cap_drop" | "privileged" | "security_opt" | "read_only" | "devices" | "userns_mode" => {
            "rights of containers are not set here; build the image so that its user needs none"
        }
        "tmpfs" | "shm_size" => {
            "mounts in memory are not set here; write to a volume, or to the container itself"
        }
        "network_mode" | "mac_address" => {
            "both slots run side by side, so each container has an address of its own in `deploy.network`"
        }
        "configs" => "mount the file with `volumes`, or build it into the image",
        "profiles" => "profiles are Compose's; one that is not wanted may be removed from `apps`",
        "extends" => "copy what it extends, or run `docker compose config` and take its output",
        "links" | "external_links" => {
            "a container is reached by its own name on `deploy.network`; give the other one the name that is linked, with \
             `docker network connect --alias`"
        }
        "hostname" | "domainname" => {
            "several containers run side by side, each with a name of its own; pass the name by `env`"
        }
        "init" => {
            "let the image begin with an init such as tini, when the application leaves children behind"
        }
        "stop_signal" => "containers are stopped by SIGTERM, unless the image says otherwise",
        "working_dir" => "set it in the image (`WORKDIR`)",
        "ulimits" | "sysctls" | "dns" | "dns_search" => "set it for the engine, in /etc/docker/daemon.json",
        "develop" => "it is for development; leave it in Compose",
        _ => "there is no such key here",
    }
}
