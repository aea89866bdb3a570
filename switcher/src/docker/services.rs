//! Running containers as services, for `switcher init`: what they were started with beyond what their image says.
//!
//! Containers of ours are left out. Texts hold no names to fill in, so each `$` stands for itself.

use std::collections::BTreeSet;

use bollard::models::{ContainerConfig, ContainerInspectResponse, HealthConfig, HostConfig, ImageConfig};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};

use super::deadline::ANSWER;
use super::{DockerError, Engine};
use crate::container::label;
use crate::init::interpolation::escaped;
use crate::init::{Check, Placed, Service, Variable, Words};

impl Engine {
    /// Every running container that is not ours, as a service, by name.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn services(&self) -> Result<Vec<Service>, DockerError> {
        let options = ListContainersOptionsBuilder::new().all(false).build();
        let list = self.docker.list_containers(Some(options));
        let mut found = Vec::new();
        for summary in self.within(ANSWER, "list containers", list).await? {
            let ours = summary.labels.as_ref().is_some_and(|labels| labels.contains_key(label::ROLE));
            let Some(id) = summary.id.filter(|_| !ours) else { continue };
            let looking = self.docker.inspect_container(&id, None::<InspectContainerOptions>);
            // One that is gone meanwhile is left out.
            let Ok(container) = self.within(ANSWER, "look at a container", looking).await else { continue };
            let image = container.image.clone().unwrap_or_default();
            let looking = self.docker.inspect_image(&image);
            let image = self.within(ANSWER, "look at an image", looking).await.ok();
            found.push(service(container, image.and_then(|image| image.config).unwrap_or_default()));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

fn service(container: ContainerInspectResponse, image: ImageConfig) -> Service {
    let config = container.config.unwrap_or_default();
    let host = container.host_config.unwrap_or_default();
    let mut service = Service {
        name: name(&config, container.name.as_deref().unwrap_or_default()),
        image: config.image.clone().map(|image| Placed::new(image, 0)),
        ..Service::default()
    };
    ports(&mut service, &config, &host);
    environment(&mut service, &config, &image);
    let networks = container.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    // On the default bridge, containers do not know each other by name; it is no network to join.
    service.networks =
        networks.into_keys().filter(|name| !["bridge", "host", "none"].contains(&name.as_str())).collect();
    service.networks.sort();
    mounts(&mut service, &host);
    service.check =
        config.healthcheck.clone().filter(|check| Some(check) != image.healthcheck.as_ref()).and_then(check);
    service.command = other(config.cmd.clone(), image.cmd);
    service.entrypoint = other(config.entrypoint.clone(), image.entrypoint);
    if let Some(user) =
        config.user.clone().filter(|user| !user.is_empty() && Some(user) != image.user.as_ref())
    {
        service.plain.push(("user", Placed::new(user, 0)));
    }
    limits(&mut service, &host);
    service.extra_hosts =
        host.extra_hosts.clone().unwrap_or_default().into_iter().map(|host| Placed::new(host, 0)).collect();
    let known = image.labels.unwrap_or_default();
    let labels =
        config.labels.unwrap_or_default().into_iter().filter(|(name, value)| known.get(name) != Some(value));
    service.labels = labels.map(|(name, value)| (name, Placed::new(value, 0))).collect();
    service.labels.sort_by(|a, b| a.0.cmp(&b.0));
    left(&mut service, &host);
    service
}

/// Compose's name of the service, else the container's.
fn name(config: &ContainerConfig, container: &str) -> String {
    let labels = config.labels.as_ref();
    let compose = labels.and_then(|labels| labels.get("com.docker.compose.service"));
    compose.cloned().unwrap_or_else(|| container.trim_start_matches('/').to_owned())
}

/// Published ports first, then what the image exposes.
fn ports(service: &mut Service, config: &ContainerConfig, host: &HostConfig) {
    let mut seen = BTreeSet::new();
    let number = |port: &str| port.strip_suffix("/tcp").and_then(|port| port.parse::<u16>().ok());
    let bindings = host.port_bindings.clone().unwrap_or_default();
    let mut published: Vec<(u16, Vec<String>)> = Vec::new();
    for (port, bound) in bindings {
        let outside = bound.unwrap_or_default().into_iter().filter_map(|bound| bound.host_port);
        match number(&port) {
            Some(port) => published.push((port, outside.filter(|port| !port.is_empty()).collect())),
            None => service.leave(0, "ports", "only TCP is proxied; publish this port another way"),
        }
    }
    published.sort();
    for (port, outside) in published {
        seen.insert(port);
        service.ports.push(port);
        service.published.extend(outside);
    }
    let mut exposed: Vec<u16> =
        config.exposed_ports.iter().flatten().filter_map(|port| number(port)).collect();
    exposed.sort_unstable();
    service.ports.extend(exposed.into_iter().filter(|port| seen.insert(*port)));
}

/// What the image does not set already.
fn environment(service: &mut Service, config: &ContainerConfig, image: &ImageConfig) {
    let known = image.env.clone().unwrap_or_default();
    for line in config.env.iter().flatten().filter(|line| !known.contains(line)) {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        service.env.push(Variable { name: name.to_owned(), value: Some(escaped(value)), line: 0 });
    }
    service.env.sort_by(|a, b| a.name.cmp(&b.name));
}

fn mounts(service: &mut Service, host: &HostConfig) {
    let binds = host.binds.iter().flatten().map(|bind| Placed::new(escaped(bind), 0));
    service.volumes = binds.collect();
    for mount in host.mounts.iter().flatten() {
        let (source, target) =
            (mount.source.as_deref().unwrap_or_default(), mount.target.as_deref().unwrap_or_default());
        if source.is_empty() || target.is_empty() {
            service.leave(
                0,
                "mounts",
                "a mount without a name or in memory is new with every container; name it",
            );
        } else {
            let suffix = if mount.read_only == Some(true) { ":ro" } else { "" };
            service.volumes.push(Placed::new(escaped(&format!("{source}:{target}{suffix}")), 0));
        }
    }
}

fn check(found: HealthConfig) -> Option<Placed<Check>> {
    let test = found.test.filter(|test| !test.is_empty())?;
    if test.first().is_some_and(|kind| kind == "NONE") {
        return Some(Placed::new(Check::Off, 0));
    }
    let span =
        |nanos: Option<i64>| nanos.filter(|nanos| *nanos > 0).map(|nanos| format!("{}ms", nanos / 1_000_000));
    let retries = found.retries.filter(|retries| *retries > 0).map(|retries| retries.to_string());
    let bounds = [
        ("interval", span(found.interval)),
        ("timeout", span(found.timeout)),
        ("start_period", span(found.start_period)),
        ("retries", retries),
    ];
    let bounds = bounds.into_iter().filter_map(|(key, bound)| Some((key.to_owned(), bound?))).collect();
    Some(Placed::new(Check::Command { test, bounds }, 0))
}

/// Words that the image does not say.
fn other(words: Option<Vec<String>>, image: Option<Vec<String>>) -> Option<Placed<Words>> {
    let words = words.filter(|words| Some(words) != image.as_ref())?;
    Some(Placed::new(Words::List(words.iter().map(|word| escaped(word)).collect()), 0))
}

fn limits(service: &mut Service, host: &HostConfig) {
    let positive = |value: Option<i64>| value.filter(|value| *value > 0);
    if let Some(bytes) = positive(host.memory) {
        service.plain.push(("memory", Placed::new(bytes.to_string(), 0)));
    }
    if let Some(nanos) = positive(host.nano_cpus) {
        let millis = nanos / 1_000_000;
        service.plain.push(("cpus", Placed::new(format!("{}.{:03}", millis / 1000, millis % 1000), 0)));
    }
    if let Some(pids) = positive(host.pids_limit) {
        service.plain.push(("pids", Placed::new(pids.to_string(), 0)));
    }
}

/// What a container may have been given and ours are not.
fn left(service: &mut Service, host: &HostConfig) {
    let rights = host.privileged == Some(true)
        || host.cap_add.as_ref().is_some_and(|caps| !caps.is_empty())
        || host.devices.as_ref().is_some_and(|devices| !devices.is_empty());
    if rights {
        service.leave(
            0,
            "privileges",
            "rights of containers are not set here; build the image so that it needs none",
        );
    }
    if host.tmpfs.as_ref().is_some_and(|tmpfs| !tmpfs.is_empty()) {
        service.leave(0, "tmpfs", "mounts in memory are not set here; write to a volume instead");
    }
    if host.network_mode.as_deref() == Some("host") {
        service.leave(
            0,
            "network_mode",
            "both slots run side by side, so each container has an address of its own",
        );
    }
}
