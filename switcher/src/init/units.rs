//! What a host needs beside the configuration: folders, programs, and systemd's units. Pure.
//!
//! The proxy runs as a user of its own, which owns `/var/lib/switcher` and the admin socket; `switcher` is run by root,
//! who may open both. So the exposed process never has more than a port below 1024.

use std::path::{Path, PathBuf};
use std::time::Duration;

use switcher_config::settings::Settings;

use super::place::{Content, Wanted};

/// The unit of the proxy.
const PROXY: &str = include_str!("templates/switcher-proxy.service");

/// The unit of `switcher watch`.
const WATCH: &str = include_str!("templates/switcher-watch.service");

/// Where the configuration of a host stands.
pub const CONFIG: &str = "/etc/switcher/switcher.yaml";

/// The proxy's state and the deployer's.
pub const STATE: &str = "/var/lib/switcher";

/// Time for the proxy beyond `shutdown_timeout`, to close what is left and to end.
const BEYOND: Duration = Duration::from_secs(15);

/// A path of the host below a prefix.
#[must_use]
pub fn below(prefix: Option<&Path>, path: &str) -> PathBuf {
    prefix.map_or_else(|| PathBuf::from(path), |prefix| prefix.join(path.trim_start_matches('/')))
}

/// The folders and files of a host. `config` is the configuration's place as the services see it, `programs` the folder
/// that both programs are copied from.
#[must_use]
pub fn wanted(settings: &Settings, config: &Path, programs: &Path, prefix: Option<&Path>) -> Vec<Wanted> {
    let at = |path: &str, content, mode| Wanted { path: below(prefix, path), content, mode };
    let mut wanted = vec![at("/etc/switcher", Content::Folder, 0o755)];
    if prefix.is_some() {
        // Without a prefix it is made for the proxy's user, by a command.
        wanted.push(at(STATE, Content::Folder, 0o750));
    }
    for name in ["switcher", "switcher-proxy"] {
        let program = Content::Copy(programs.join(name));
        wanted.push(at(&format!("/usr/local/bin/{name}"), program, 0o755));
    }
    for (name, template) in [("switcher-proxy", PROXY), ("switcher-watch", WATCH)] {
        let text = Content::Text(filled(template, settings, config));
        wanted.push(at(&format!("/etc/systemd/system/{name}.service"), text, 0o644));
    }
    wanted
}

fn filled(template: &str, settings: &Settings, config: &Path) -> String {
    let proxy = &settings.proxy;
    let stop = proxy.shutdown_timeout.0 + BEYOND;
    let outside =
        |path: &Path| path.is_absolute() && !path.starts_with(STATE) && !path.starts_with("/run/switcher");
    let folders = [Some(proxy.data_dir.as_path()), proxy.admin.parent()];
    let folders: Vec<String> =
        folders.into_iter().flatten().filter(|path| outside(path)).map(specified).collect();
    let writable =
        if folders.is_empty() { String::new() } else { format!("ReadWritePaths={}\n", folders.join(" ")) };
    template
        .replace("@CONFIG@", &specified(config))
        .replace("@STOP@", &format!("{}s", stop.as_secs()))
        .replace("@WRITABLE@\n", if writable.is_empty() { "\n" } else { &writable })
}

/// A path as units write it: quoted, and its `%` and `$` doubled.
fn specified(path: &Path) -> String {
    let text = path.to_string_lossy().replace('%', "%%").replace('$', "$$");
    if text.contains(char::is_whitespace) { format!("\"{text}\"") } else { text }
}

/// A command that is run, or that a person runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Program and arguments.
    pub words: Vec<String>,
}

impl Step {
    /// A step of these words.
    #[must_use]
    pub fn of(words: &[&str]) -> Self {
        Self { words: words.iter().map(|word| (*word).to_owned()).collect() }
    }

    /// As a shell takes it.
    #[must_use]
    pub fn line(&self) -> String {
        self.words.join(" ")
    }
}

/// What the machine has, as far as steps depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// The command is run by root.
    pub root: bool,
    /// There is a user `switcher`.
    pub user: bool,
    /// `/var/lib/switcher` is there.
    pub state: bool,
    /// systemd runs.
    pub systemd: bool,
}

/// Whether `switcher watch` has anything to do.
#[must_use]
pub fn watches(settings: &Settings) -> bool {
    settings.apps.values().any(|app| app.deploy.as_ref().is_some_and(|deploy| deploy.watch.is_some()))
}

/// The commands that prepare the machine, and those that start the services; that of `switcher watch` when it `watches`.
#[must_use]
pub fn steps(machine: Machine, watches: bool) -> (Vec<Step>, Vec<Step>) {
    let mut prepare = Vec::new();
    if !machine.user {
        let shell = ["--shell", "/usr/sbin/nologin"];
        let words =
            ["useradd", "--system", "--user-group", "--home-dir", STATE, shell[0], shell[1], "switcher"];
        prepare.push(Step::of(&words));
    }
    if !machine.state {
        prepare.push(Step::of(&["install", "-d", "-o", "switcher", "-g", "switcher", "-m", "0750", STATE]));
    }
    let mut start = vec![
        Step::of(&["systemctl", "daemon-reload"]),
        Step::of(&["systemctl", "enable", "--now", "switcher-proxy.service"]),
    ];
    if watches {
        start.push(Step::of(&["systemctl", "enable", "--now", "switcher-watch.service"]));
    }
    (prepare, start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::draft::{Wishes, draft};
    use crate::init::kind::Sorted;
    use crate::init::settle::settle;

    fn settings() -> Settings {
        settle(draft(None, &Sorted::default(), &Wishes::default())).expect("it loads").loaded.settings
    }

    fn unit(settings: &Settings, config: &str, name: &str) -> String {
        let wanted = wanted(settings, Path::new(config), Path::new("/opt"), None);
        let found = wanted.into_iter().find(|wanted| wanted.path.ends_with(name)).expect("the unit");
        match found.content {
            Content::Text(text) => text,
            Content::Folder | Content::Copy(_) => panic!("a unit is a text"),
        }
    }

    #[test]
    fn the_proxy_has_a_port_and_nothing_else() {
        let text = unit(&settings(), CONFIG, "switcher-proxy.service");
        for line in [
            "ExecStart=/usr/local/bin/switcher-proxy --config /etc/switcher/switcher.yaml",
            "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
            "TimeoutStopSec=45s",
            "User=switcher",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
        }
        assert!(!text.contains("SupplementaryGroups") && !text.contains("@CONFIG@"), "{text}");
    }

    #[test]
    fn a_unit_follows_the_configuration() {
        let mut settings = settings();
        settings.proxy.data_dir = "/srv/my data".into();
        let text = unit(&settings, "/srv/100%/s.yaml", "switcher-proxy.service");
        assert!(text.contains("ReadWritePaths=\"/srv/my data\"\n"), "{text}");
        assert!(text.contains("--config /srv/100%%/s.yaml\n"), "{text}");
    }

    #[test]
    fn below_a_prefix_everything_lies_below_it() {
        let wanted = wanted(&settings(), Path::new(CONFIG), Path::new("/opt"), Some(Path::new("/image")));
        assert_eq!(wanted.len(), 6);
        assert!(wanted.iter().all(|wanted| wanted.path.starts_with("/image")), "{wanted:?}");
    }

    #[test]
    fn what_is_there_is_not_made_again() {
        let there = Machine { root: true, user: true, state: true, systemd: true };
        assert!(steps(there, false).0.is_empty());
        let bare = Machine { user: false, state: false, ..there };
        assert_eq!(steps(bare, false).0.len(), 2);
    }

    #[test]
    fn the_watch_is_started_when_there_is_something_to_watch() {
        let there = Machine { root: true, user: true, state: true, systemd: true };
        let started = |watches| steps(there, watches).1.iter().map(Step::line).collect::<Vec<_>>().join("; ");
        assert!(started(true).ends_with("enable --now switcher-watch.service"), "{}", started(true));
        assert!(!started(false).contains("watch"), "{}", started(false));
        assert!(!watches(&settings()));
    }

    #[test]
    fn the_watch_has_time_to_bring_a_deployment_to_a_safe_point() {
        let text = unit(&settings(), CONFIG, "switcher-watch.service");
        for line in ["Type=notify", "KillMode=mixed", "TimeoutStopSec=15min"] {
            assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
        }
    }
}
