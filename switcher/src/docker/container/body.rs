//! A container as we describe it, turned into what the engine is asked for. Pure.
//!
//! Called by `docker::container`. Nothing secret beyond the environment is in it: files are put in afterwards.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig,
    Mount, MountType, NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};
use switcher_config::settings::{ContainerLimits, HealthcheckChoice};

use crate::container::{ContainerSpec, label};

/// Log files of a container on the engine's host: three of ten megabytes, so that no chatty one fills the disk.
const LOG_FILE_SIZE: &str = "10m";
const LOG_FILES: &str = "3";

/// The role whose output is data and not log lines: a dump of a database must not lie in the engine's log files.
const ROLE_SNAPSHOT: &str = "snapshot";

/// A line of `volumes` that names no mount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} under `volumes` is no mount; write `/path/on/host:/path`, `name:/path` or either with `:ro`")]
pub(super) struct InvalidVolume(String);

/// What the engine is asked for.
///
/// # Errors
/// When a line of `volumes` is no mount.
pub(super) fn body(spec: &ContainerSpec) -> Result<ContainerCreateBody, InvalidVolume> {
    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        labels: Some(spec.labels.clone().into_iter().collect()),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        entrypoint: spec.entrypoint.clone(),
        cmd: spec.command.clone(),
        user: spec.user.clone(),
        stop_timeout: Some(whole_seconds(spec.stop_timeout)),
        healthcheck: healthcheck(&spec.healthcheck),
        host_config: Some(host(spec)?),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(spec.network.clone(), endpoint(spec))])),
        }),
        ..ContainerCreateBody::default()
    })
}

/// Seconds, rounded up: a grace period is never shortened.
pub(super) fn whole_seconds(span: Duration) -> i64 {
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

fn host(spec: &ContainerSpec) -> Result<HostConfig, InvalidVolume> {
    let ContainerLimits { memory, cpu_millis, pids } = spec.limits;
    let memory = memory.map(|bytes| i64::try_from(bytes.0).unwrap_or(i64::MAX));
    Ok(HostConfig {
        network_mode: Some(spec.network.clone()),
        mounts: Some(spec.volumes.iter().map(|line| mount(line)).collect::<Result<_, _>>()?),
        extra_hosts: Some(spec.extra_hosts.clone()),
        memory,
        // The same as the memory: beyond it the kernel kills. Otherwise it would swap first and crawl.
        memory_swap: memory,
        nano_cpus: cpu_millis.map(|millis| i64::from(millis) * 1_000_000),
        pids_limit: pids.map(i64::from),
        restart_policy: Some(restart_policy(spec.restart)),
        log_config: Some(log(spec)),
        ..HostConfig::default()
    })
}

/// Whether the engine starts it again when it ends. `always` and not `unless-stopped`: an engine that was killed ends
/// its containers when it comes back, takes that for our wish under `unless-stopped`, and leaves the live slot down.
/// Whoever stops a container on purpose takes the policy away from it first.
pub(super) fn restart_policy(again: bool) -> RestartPolicy {
    let name = if again { RestartPolicyNameEnum::ALWAYS } else { RestartPolicyNameEnum::NO };
    RestartPolicy { name: Some(name), maximum_retry_count: None }
}

fn log(spec: &ContainerSpec) -> HostConfigLogConfig {
    if spec.labels.get(label::ROLE).is_some_and(|role| role == ROLE_SNAPSHOT) {
        return HostConfigLogConfig { typ: Some("none".to_owned()), config: None };
    }
    let options = [("max-size", LOG_FILE_SIZE), ("max-file", LOG_FILES)];
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
    }
}

fn endpoint(spec: &ContainerSpec) -> EndpointSettings {
    let pinned = spec.address.map(|address| EndpointIpamConfig {
        ipv4_address: address.is_ipv4().then(|| address.to_string()),
        ipv6_address: address.is_ipv6().then(|| address.to_string()),
        link_local_ips: None,
    });
    EndpointSettings { ipam_config: pinned, ..EndpointSettings::default() }
}

/// `source:/path[:ro]`. A source that begins with a slash is a folder of the engine's host and must be there; any
/// other is a named volume, made when it is missing.
fn mount(line: &str) -> Result<Mount, InvalidVolume> {
    let invalid = || InvalidVolume(line.to_owned());
    let mut parts = line.split(':');
    let (Some(source), Some(target)) = (parts.next(), parts.next()) else { return Err(invalid()) };
    let read_only = match (parts.next(), parts.next()) {
        (None, _) | (Some("rw"), None) => false,
        (Some("ro"), None) => true,
        (Some(_), _) => return Err(invalid()),
    };
    let bind = source.starts_with('/');
    if source.is_empty() || !target.starts_with('/') || (!bind && source.contains('/')) {
        return Err(invalid());
    }
    Ok(Mount {
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        typ: Some(if bind { MountType::BIND } else { MountType::VOLUME }),
        read_only: Some(read_only),
        ..Mount::default()
    })
}

fn healthcheck(choice: &HealthcheckChoice) -> Option<HealthConfig> {
    match choice {
        HealthcheckChoice::Image => None,
        HealthcheckChoice::Off => {
            Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() })
        }
        HealthcheckChoice::Command { command, interval, timeout, retries, start_period } => {
            let test = std::iter::once("CMD".to_owned()).chain(command.iter().cloned()).collect();
            Some(HealthConfig {
                test: Some(test),
                interval: Some(nanos(interval.0)),
                timeout: Some(nanos(timeout.0)),
                retries: Some(i64::from(*retries)),
                start_period: Some(nanos(start_period.0)),
                start_interval: None,
            })
        }
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use switcher_config::{Bytes, Span};

    use super::*;

    fn spec() -> ContainerSpec {
        ContainerSpec {
            name: "shop-blue-1".to_owned(),
            image: "example/shop@sha256:0".to_owned(),
            platform: None,
            labels: BTreeMap::new(),
            env: BTreeMap::from([("A".to_owned(), "x=y".to_owned()), ("EMPTY".to_owned(), String::new())]),
            entrypoint: None,
            command: None,
            user: None,
            network: "shop".to_owned(),
            address: None,
            volumes: Vec::new(),
            limits: ContainerLimits::default(),
            extra_hosts: Vec::new(),
            stop_timeout: Duration::from_millis(1500),
            healthcheck: HealthcheckChoice::Image,
            restart: true,
            files: Vec::new(),
        }
    }

    #[test]
    fn what_is_not_said_is_left_to_the_image() {
        let body = body(&spec()).expect("a body");
        assert_eq!((body.cmd, body.entrypoint, body.user, body.healthcheck), (None, None, None, None));
        assert_eq!(body.env.expect("variables"), ["A=x=y", "EMPTY="]);
        assert_eq!(body.stop_timeout, Some(2), "a grace period is never shortened");
    }

    #[test]
    fn a_command_is_the_arguments_and_leaves_the_entrypoint_alone() {
        let command = vec!["migrate".to_owned(), "up".to_owned()];
        let body = body(&ContainerSpec { command: Some(command.clone()), ..spec() }).expect("a body");
        assert_eq!((body.cmd, body.entrypoint), (Some(command), None));
    }

    #[test]
    fn memory_has_no_swap_beyond_it() {
        let limits =
            ContainerLimits { memory: Some(Bytes(64 << 20)), cpu_millis: Some(1500), pids: Some(50) };
        let host = host(&ContainerSpec { limits, ..spec() }).expect("a host configuration");
        assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!((host.nano_cpus, host.pids_limit), (Some(1_500_000_000), Some(50)));
    }

    #[test]
    fn a_dump_is_not_kept_in_the_engines_logs() {
        let labels = BTreeMap::from([(label::ROLE.to_owned(), ROLE_SNAPSHOT.to_owned())]);
        assert_eq!(log(&ContainerSpec { labels, ..spec() }).typ.as_deref(), Some("none"));
        assert_eq!(log(&spec()).typ.as_deref(), Some("json-file"));
    }

    #[test]
    fn an_address_is_pinned_in_its_own_family() {
        for (address, v4, v6) in [("10.0.0.9", true, false), ("fd00::9", false, true)] {
            let pinned = endpoint(&ContainerSpec { address: address.parse().ok(), ..spec() }).ipam_config;
            let pinned = pinned.expect("a pinned address");
            assert_eq!((pinned.ipv4_address.is_some(), pinned.ipv6_address.is_some()), (v4, v6));
        }
        assert_eq!(endpoint(&spec()).ipam_config, None);
    }

    #[test]
    fn a_slash_tells_a_folder_from_a_volume() {
        let kind = |line: &str| mount(line).map(|m| (m.typ, m.read_only)).ok();
        assert_eq!(kind("/srv/data:/data"), Some((Some(MountType::BIND), Some(false))));
        assert_eq!(kind("/srv/data:/data:ro"), Some((Some(MountType::BIND), Some(true))));
        assert_eq!(kind("uploads:/data:rw"), Some((Some(MountType::VOLUME), Some(false))));
        for bad in ["", "/data", "./data:/data", "uploads:data", ":/data", "a:/b:z", "a:/b:ro:x", "a/b:/c"] {
            assert_eq!(mount(bad), Err(InvalidVolume(bad.to_owned())), "{bad:?}");
        }
    }

    #[test]
    fn a_healthcheck_can_be_replaced_and_turned_off() {
        let off = healthcheck(&HealthcheckChoice::Off).and_then(|h| h.test);
        assert_eq!(off, Some(vec!["NONE".to_owned()]));
        let own = healthcheck(&HealthcheckChoice::Command {
            command: vec!["/app".to_owned(), "health".to_owned()],
            interval: Span::seconds(5),
            timeout: Span::millis(500),
            retries: 3,
            start_period: Span::seconds(0),
        })
        .expect("a healthcheck");
        assert_eq!(own.test.expect("a test"), ["CMD", "/app", "health"]);
        assert_eq!((own.interval, own.timeout), (Some(5_000_000_000), Some(500_000_000)));
    }
}
