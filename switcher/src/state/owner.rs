//! Who holds a lease: the person, the machine, the process and what for.

use std::fs;

use super::judge::Host;
use crate::deployment::DeploymentId;

/// Who is about to take the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `user@host`.
    pub by: String,
    /// The machine.
    pub hostname: String,
    /// The process.
    pub pid: u32,
    /// What for, in a word: `deploy`, `rollback`, …
    pub operation: String,
    /// The deployment, where it is known already.
    pub deployment_id: Option<DeploymentId>,
}

impl Owner {
    /// This process. It works for `user`; without one, for whom its environment names.
    #[must_use]
    pub fn here(operation: &str, user: Option<&str>) -> Self {
        let hostname = Host::here().hostname;
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let user = user.map(str::to_owned).or_else(|| person(variable));
        let user = user.unwrap_or_else(account);
        Self {
            by: format!("{user}@{hostname}"),
            hostname,
            pid: std::process::id(),
            operation: operation.to_owned(),
            deployment_id: None,
        }
    }
}

/// The account of this process, where nothing names it.
fn account() -> String {
    match rustix::process::getuid().as_raw() {
        0 => "root".to_owned(),
        uid => format!("uid-{uid}"),
    }
}

impl Host {
    /// This machine, or this container.
    #[must_use]
    pub fn here() -> Self {
        let line = |path: &str| {
            let text = fs::read_to_string(path).ok()?;
            Some(text.trim().to_owned()).filter(|line| !line.is_empty())
        };
        Self {
            hostname: line("/proc/sys/kernel/hostname").unwrap_or_else(|| "localhost".to_owned()),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
        }
    }
}

/// Who started this, as the environment tells: behind `sudo` and in a CI job the account says little.
fn person(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let ci = [("GITHUB_ACTIONS", "GITHUB_ACTOR"), ("GITLAB_CI", "GITLAB_USER_LOGIN")];
    let job = ci.into_iter().filter(|(ci, _)| variable(ci).is_some()).find_map(|(_, actor)| variable(actor));
    job.or_else(|| ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(&variable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_person_is_found_behind_sudo_and_in_a_ci_job() {
        let named = |variables: &[(&str, &str)]| {
            person(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        for (variables, expected) in [
            (vec![("USER", "ada")], Some("ada")),
            (vec![("USER", "root"), ("SUDO_USER", "ada")], Some("ada")),
            (vec![("USER", "runner"), ("GITHUB_ACTIONS", "true"), ("GITHUB_ACTOR", "ada")], Some("ada")),
            (vec![("USER", "ada"), ("GITHUB_ACTOR", "not in a job")], Some("ada")),
            (vec![("LOGNAME", "ada")], Some("ada")),
            (vec![], None),
        ] {
            assert_eq!(named(&variables).as_deref(), expected, "{variables:?}");
        }
    }

    #[test]
    fn an_owner_is_told_by_machine_and_process() {
        let owner = Owner::here("deploy", Some("ada"));
        assert_eq!(owner.by, format!("ada@{}", owner.hostname));
        assert_eq!(owner.pid, std::process::id());
        assert!(!owner.hostname.is_empty());
    }
}
