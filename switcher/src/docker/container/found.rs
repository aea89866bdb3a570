//! A container as the engine describes it, turned into our words. Pure.
//!
//! Called by `docker::container`. The engine may leave anything out; what is missing is never taken for good news.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bollard::models::{
    ContainerInspectResponse, ContainerState as EngineState, ContainerStateStatusEnum as Status,
    EndpointSettings, Health, HealthStatusEnum,
};
use jiff::Timestamp;

use crate::container::{Container, ContainerState, DockerHealth, DockerHealthStatus, Ended};

/// The container in our words; none when the engine did not even say its id.
pub(super) fn container(found: ContainerInspectResponse) -> Option<Container> {
    let config = found.config.unwrap_or_default();
    let state = found.state.unwrap_or_default();
    let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    Some(Container {
        id: found.id?,
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        image: config.image.or(found.image).unwrap_or_default(),
        health: state.health.as_ref().and_then(health),
        state: self::state(&state),
        addresses: addresses(&networks.into_iter().collect()),
        restarts: found.restart_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
    })
}

fn state(state: &EngineState) -> ContainerState {
    match state.status {
        Some(Status::CREATED) => match &state.error {
            // Made and started in vain: the engine says why, and the code of a start that failed.
            Some(error) if !error.is_empty() => ContainerState::Exited(ended(state)),
            Some(_) | None => ContainerState::Created,
        },
        Some(Status::RUNNING) => match since(state) {
            Some(since) => ContainerState::Running { since },
            None => ContainerState::Other("running since nobody knows when".to_owned()),
        },
        Some(Status::RESTARTING) => ContainerState::Restarting { end: ended(state) },
        Some(Status::EXITED) => ContainerState::Exited(ended(state)),
        Some(
            other @ (Status::PAUSED | Status::STOPPING | Status::REMOVING | Status::DEAD | Status::EMPTY),
        ) => ContainerState::Other(other.to_string()),
        None => ContainerState::Other("unknown".to_owned()),
    }
}

/// How it ended last.
pub(super) fn ended(state: &EngineState) -> Ended {
    Ended {
        code: state.exit_code.unwrap_or(-1),
        out_of_memory: state.oom_killed.unwrap_or(false),
        error: state.error.clone().filter(|error| !error.is_empty()),
    }
}

fn since(state: &EngineState) -> Option<Timestamp> {
    state.started_at.as_deref()?.parse().ok()
}

fn health(health: &Health) -> Option<DockerHealth> {
    let status = match health.status? {
        HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => return None,
        HealthStatusEnum::STARTING => DockerHealthStatus::Starting,
        HealthStatusEnum::HEALTHY => DockerHealthStatus::Healthy,
        HealthStatusEnum::UNHEALTHY => DockerHealthStatus::Unhealthy,
    };
    let answers = health.log.iter().flatten();
    let log = answers.map(|a| (a.exit_code.unwrap_or(-1), a.output.clone().unwrap_or_default())).collect();
    Some(DockerHealth { status, log })
}

fn addresses(networks: &BTreeMap<String, EndpointSettings>) -> BTreeMap<String, IpAddr> {
    networks.iter().filter_map(|(name, endpoint)| Some((name.clone(), address(endpoint)?))).collect()
}

/// Its address: IPv4 where there is one. Stopped containers have none.
fn address(endpoint: &EndpointSettings) -> Option<IpAddr> {
    [&endpoint.ip_address, &endpoint.global_ipv6_address]
        .into_iter()
        .find_map(|text| text.as_deref()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(text: &str) -> ContainerState {
        state(&serde_json::from_str(text).expect("a state"))
    }

    #[test]
    fn every_state_of_the_engine_has_its_word() {
        let end = |code, out_of_memory| Ended { code, out_of_memory, error: None };
        assert_eq!(engine(r#"{"Status": "created"}"#), ContainerState::Created);
        assert_eq!(
            engine(r#"{"Status": "restarting", "Restarting": true, "ExitCode": 3}"#),
            ContainerState::Restarting { end: end(3, false) }
        );
        assert_eq!(
            engine(r#"{"Status": "exited", "ExitCode": 137, "OOMKilled": true, "Error": ""}"#),
            ContainerState::Exited(end(137, true))
        );
        assert_eq!(engine(r#"{"Status": "paused"}"#), ContainerState::Other("paused".to_owned()));
        assert!(matches!(
            engine(r#"{"Status": "running", "StartedAt": "2026-11-21T10:00:00.123456789Z"}"#),
            ContainerState::Running { .. }
        ));
    }

    #[test]
    fn a_start_that_failed_says_why() {
        let ContainerState::Exited(end) =
            engine(r#"{"Status": "created", "ExitCode": 127, "Error": "exec: \"nope\": not found"}"#)
        else {
            panic!("a container that could not start has ended");
        };
        assert_eq!((end.code, end.error.as_deref()), (127, Some("exec: \"nope\": not found")));
    }

    #[test]
    fn what_the_engine_leaves_out_is_no_good_news() {
        assert_eq!(engine("{}"), ContainerState::Other("unknown".to_owned()));
        assert!(matches!(engine(r#"{"Status": "running"}"#), ContainerState::Other(_)));
        assert_eq!(
            engine(r#"{"Status": "exited"}"#),
            ContainerState::Exited(Ended { code: -1, out_of_memory: false, error: None })
        );
    }

    #[test]
    fn an_address_is_ipv4_where_there_is_one() {
        let endpoint = |v4: &str, v6: &str| {
            address(&EndpointSettings {
                ip_address: Some(v4.to_owned()),
                global_ipv6_address: Some(v6.to_owned()),
                ..EndpointSettings::default()
            })
            .map(|address| address.to_string())
        };
        assert_eq!(endpoint("10.0.0.2", "fd00::2").as_deref(), Some("10.0.0.2"));
        assert_eq!(endpoint("", "fd00::2").as_deref(), Some("fd00::2"));
        assert_eq!(endpoint("", ""), None);
    }

    #[test]
    fn no_healthcheck_is_not_a_healthy_one() {
        let none: Health = serde_json::from_str(r#"{"Status": "none"}"#).expect("a health");
        assert_eq!(health(&none), None);
        let bad: Health = serde_json::from_str(
            r#"{"Status": "unhealthy", "FailingStreak": 3, "Log": [{"ExitCode": 1, "Output": "503\n"}]}"#,
        )
        .expect("a health");
        let bad = health(&bad).expect("a verdict");
        assert_eq!((bad.status, bad.log), (DockerHealthStatus::Unhealthy, vec![(1, "503\n".to_owned())]));
    }
}
