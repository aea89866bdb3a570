//! Whether replicas are ready, and in which words it is said that they are not. Pure.
//!
//! A replica that crashed is a failure at once: a version that needs several tries to come up is no version to send
//! people to. Called by the Docker runtime.

use jiff::Timestamp;
use switcher_config::Bytes;

use super::{Readiness, SETTLED};
use crate::container::{Container, ContainerState, DockerHealthStatus, Ended};
use crate::docker::logs::harmless;

/// The verdict over all replicas: the worst one's, and of several equally bad ones the first.
pub(super) fn readiness(replicas: &[Container], memory: Option<Bytes>, now: Timestamp) -> Readiness {
    let mut waiting = None;
    for replica in replicas {
        match one(replica, memory, now) {
            Readiness::Ready => {}
            Readiness::Waiting(why) => waiting = waiting.or(Some(why)),
            failed @ Readiness::Failed(_) => return failed,
        }
    }
    waiting.map_or(Readiness::Ready, Readiness::Waiting)
}

fn one(replica: &Container, memory: Option<Bytes>, now: Timestamp) -> Readiness {
    let sentence = || sentence(replica, memory);
    match &replica.state {
        ContainerState::Created => Readiness::Waiting(sentence()),
        ContainerState::Restarting { .. } | ContainerState::Exited(_) | ContainerState::Other(_) => {
            Readiness::Failed(sentence())
        }
        ContainerState::Running { since } => {
            let settled = now.duration_since(*since).unsigned_abs() >= SETTLED;
            match replica.health.as_ref().map(|health| health.status) {
                Some(DockerHealthStatus::Unhealthy) => Readiness::Failed(sentence()),
                _ if replica.restarts > 0 && !settled => Readiness::Failed(sentence()),
                Some(DockerHealthStatus::Starting) => Readiness::Waiting(sentence()),
                Some(DockerHealthStatus::Healthy) | None => Readiness::Ready,
            }
        }
    }
}

/// What a container does or how it ended: `shop-green-1 ended with exit code 3`.
pub(super) fn sentence(container: &Container, memory: Option<Bytes>) -> String {
    let name = &container.name;
    match &container.state {
        ContainerState::Created => format!("{name} was made and not started yet"),
        ContainerState::Running { .. } => {
            format!("{name} {}{}", running(container), again(container.restarts))
        }
        ContainerState::Restarting { end } => {
            format!("{name} {}{}", ending(end, memory), again(container.restarts))
        }
        ContainerState::Exited(end) => format!("{name} {}", ending(end, memory)),
        ContainerState::Other(state) => format!("{name} does not run: its state is {state}"),
    }
}

fn running(container: &Container) -> String {
    let Some(health) = &container.health else { return "runs".to_owned() };
    match health.status {
        DockerHealthStatus::Healthy => "runs and is healthy".to_owned(),
        DockerHealthStatus::Starting => "runs, and its HEALTHCHECK has not passed yet".to_owned(),
        DockerHealthStatus::Unhealthy => match health.log.last() {
            Some(newest) => format!("is unhealthy: its HEALTHCHECK {}", answer(newest)),
            None => "is unhealthy by its HEALTHCHECK".to_owned(),
        },
    }
}

fn again(restarts: u32) -> String {
    match restarts {
        0 => String::new(),
        1 => ", and was started again once after it had ended".to_owned(),
        n => format!(", and was started again {n} times after it had ended"),
    }
}

fn ending(end: &Ended, memory: Option<Bytes>) -> String {
    if end.out_of_memory {
        return match memory {
            Some(limit) => format!("ran out of memory: the kernel killed it at its limit of {limit}"),
            None => "ran out of memory: the kernel killed it".to_owned(),
        };
    }
    match (&end.error, signal(end.code)) {
        (Some(error), _) => format!("could not run: {}", harmless(error)),
        // Docker can miss the kernel's word of it where the program ends at once.
        (None, Some("SIGKILL")) if let Some(limit) = memory => {
            format!(
                "was ended by SIGKILL (exit code {}): perhaps it ran out of memory, its limit is {limit}",
                end.code
            )
        }
        (None, Some(signal)) => format!("was ended by {signal} (exit code {})", end.code),
        (None, None) => format!("ended with exit code {}", end.code),
    }
}

/// The signal that a code above 128 stands for, where it is one that says something.
const fn signal(code: i64) -> Option<&'static str> {
    match code {
        132 => Some("SIGILL, as a program for another processor is"),
        134 => Some("SIGABRT, by itself"),
        135 => Some("SIGBUS"),
        136 => Some("SIGFPE"),
        137 => Some("SIGKILL"),
        139 => Some("SIGSEGV: it crashed"),
        143 => Some("SIGTERM"),
        _ => None,
    }
}

/// One answer of Docker's own check: `answered 1: "connection refused"`.
pub(super) fn answer((code, output): &(i64, String)) -> String {
    let words: Vec<String> = output.lines().map(harmless).filter(|line| !line.trim().is_empty()).collect();
    match (code, words.is_empty()) {
        (0, true) => "passed".to_owned(),
        (0, false) => format!("passed: {}", words.join(" | ")),
        (code, true) => format!("ended with exit code {code}"),
        (code, false) => format!("ended with exit code {code}: {}", words.join(" | ")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::ToSpan as _;

    use super::*;
    use crate::container::DockerHealth;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn ended(code: i64) -> Ended {
        Ended { code, out_of_memory: false, error: None }
    }

    fn up(seconds: i64) -> ContainerState {
        ContainerState::Running { since: NOW - seconds.seconds() }
    }

    fn container(state: ContainerState, health: Option<DockerHealthStatus>, restarts: u32) -> Container {
        let log = vec![(0, "fine".to_owned()), (1, "GET /health: 503\n".to_owned())];
        Container {
            id: "c0ffee".to_owned(),
            name: "shop-green-1".to_owned(),
            labels: BTreeMap::new(),
            image: String::new(),
            state,
            health: health.map(|status| DockerHealth { status, log }),
            addresses: BTreeMap::new(),
            restarts,
        }
    }

    fn judged(state: ContainerState, health: Option<DockerHealthStatus>, restarts: u32) -> Readiness {
        readiness(&[container(state, health, restarts)], Some(Bytes(64 << 20)), NOW)
    }

    fn failed(state: ContainerState, health: Option<DockerHealthStatus>, restarts: u32) -> String {
        match judged(state, health, restarts) {
            Readiness::Failed(why) => why,
            other @ (Readiness::Ready | Readiness::Waiting(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_replica_is_ready_when_it_runs_and_its_healthcheck_passed() {
        assert_eq!(judged(up(1), None, 0), Readiness::Ready);
        assert_eq!(judged(up(1), Some(DockerHealthStatus::Healthy), 0), Readiness::Ready);
        let waiting = "shop-green-1 runs, and its HEALTHCHECK has not passed yet".to_owned();
        assert_eq!(judged(up(1), Some(DockerHealthStatus::Starting), 0), Readiness::Waiting(waiting));
    }

    #[test]
    fn a_crash_is_a_failure_at_once() {
        assert_eq!(failed(ContainerState::Exited(ended(3)), None, 0), "shop-green-1 ended with exit code 3");
        assert_eq!(
            failed(ContainerState::Restarting { end: ended(139) }, None, 2),
            "shop-green-1 was ended by SIGSEGV: it crashed (exit code 139), and was started again 2 times after it \
             had ended"
        );
        assert_eq!(
            failed(up(1), None, 1),
            "shop-green-1 runs, and was started again once after it had ended",
            "it is up again only for the moment"
        );
    }

    #[test]
    fn a_crash_long_ago_is_forgotten() {
        assert_eq!(judged(up(3600), None, 1), Readiness::Ready);
        assert_eq!(judged(up(3600), Some(DockerHealthStatus::Healthy), 1), Readiness::Ready);
    }

    #[test]
    fn memory_is_named_with_its_limit() {
        let end = Ended { out_of_memory: true, ..ended(137) };
        assert_eq!(
            failed(ContainerState::Exited(end), None, 0),
            "shop-green-1 ran out of memory: the kernel killed it at its limit of 64MiB"
        );
    }

    #[test]
    fn a_kill_that_docker_cannot_explain_names_the_limit_too() {
        assert_eq!(
            failed(ContainerState::Exited(ended(137)), None, 0),
            "shop-green-1 was ended by SIGKILL (exit code 137): perhaps it ran out of memory, its limit is 64MiB"
        );
    }

    #[test]
    fn an_unhealthy_replica_shows_its_newest_answer() {
        assert_eq!(
            failed(up(60), Some(DockerHealthStatus::Unhealthy), 0),
            "shop-green-1 is unhealthy: its HEALTHCHECK ended with exit code 1: GET /health: 503"
        );
    }

    #[test]
    fn the_worst_replica_decides() {
        let waiting = container(up(1), Some(DockerHealthStatus::Starting), 0);
        let ready = container(up(1), None, 0);
        let crashed = container(ContainerState::Exited(ended(1)), None, 0);
        assert!(matches!(readiness(&[ready.clone(), waiting.clone()], None, NOW), Readiness::Waiting(_)));
        assert!(matches!(readiness(&[waiting, crashed], None, NOW), Readiness::Failed(_)));
        assert_eq!(readiness(&[ready.clone(), ready], None, NOW), Readiness::Ready);
    }

    #[test]
    fn what_the_engine_says_of_a_failed_start_is_shown() {
        let end = Ended { error: Some("exec: \"/nope\": not found".to_owned()), ..ended(127) };
        assert_eq!(
            failed(ContainerState::Exited(end), None, 0),
            "shop-green-1 could not run: exec: \"/nope\": not found"
        );
    }
}
