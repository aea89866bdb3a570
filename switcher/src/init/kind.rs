//! What a service is: an application with two slots, a database, what stands in front of applications, or neither. Pure.

use super::service::{Leftover, Service, Stack};
use super::traefik::{Route, route};
use super::{interpolation, probe};
use crate::init::service::Check;

/// Images of databases, queues and caches, by the last part of their names.
const DATABASES: &[&str] = &[
    "postgres",
    "postgresql",
    "postgis",
    "timescaledb",
    "timescaledb-ha",
    "pgvector",
    "pgbouncer",
    "mysql",
    "mariadb",
    "percona",
    "mongo",
    "mongodb",
    "redis",
    "redis-stack",
    "valkey",
    "keydb",
    "dragonfly",
    "memcached",
    "rabbitmq",
    "nats",
    "kafka",
    "cp-kafka",
    "zookeeper",
    "elasticsearch",
    "opensearch",
    "clickhouse-server",
    "clickhouse",
    "cassandra",
    "scylla",
    "minio",
    "etcd",
    "influxdb",
    "meilisearch",
    "typesense",
    "neo4j",
    "couchdb",
    "cockroach",
    "mssql-server",
    "server-mssql",
    "surrealdb",
];

/// Images that do what the proxy does from now on.
const PROXIES: &[&str] = &[
    "traefik",
    "caddy",
    "caddy-docker-proxy",
    "nginx-proxy",
    "nginx-proxy-manager",
    "haproxy",
    "envoy",
    "certbot",
    "acme-companion",
    "swag",
    "kamal-proxy",
    "switcher-proxy",
];

/// Images that bring visitors here from elsewhere.
const TUNNELS: &[&str] = &["cloudflared", "ngrok", "tailscale", "frpc"];

/// Images that put new versions in place by themselves.
const UPDATERS: &[&str] = &["watchtower", "ouroboros", "shepherd", "diun"];

/// An application: a service, or a pair of them in two slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// The name that is meant, perhaps not yet a good one.
    pub name: String,
    /// The service.
    pub service: Service,
    /// What Traefik's labels said.
    pub route: Route,
    /// The HTTP request of its health check.
    pub asked: Option<probe::Asked>,
    /// The command of the service that migrates its database.
    pub migrate: Option<Vec<String>>,
    /// Whether its environment named the slot, by `blue` or `green`.
    pub paired: bool,
}

/// A stack, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sorted {
    /// What gets two slots.
    pub applications: Vec<Application>,
    /// Databases and the like: name, image and networks.
    pub databases: Vec<(String, String, Vec<String>)>,
    /// Whether visitors come through a tunnel.
    pub tunnel: bool,
    /// The address for an authority that Traefik was given.
    pub email: Option<String>,
    /// What is not carried over, in the order of the file.
    pub leftovers: Vec<Leftover>,
}

/// What an image is known for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Database,
    Proxy,
    Tunnel,
    Updater,
    Unknown,
}

fn role(service: &Service) -> Role {
    let Some((image, _)) = service.image_parts() else { return Role::Unknown };
    let image = interpolation::by_defaults(&image).unwrap_or(image);
    let last = image.rsplit('/').next().unwrap_or_default();
    let known = |names: &[&str]| names.contains(&last);
    match () {
        () if known(DATABASES) => Role::Database,
        () if known(PROXIES) => Role::Proxy,
        () if known(TUNNELS) => Role::Tunnel,
        () if known(UPDATERS) => Role::Updater,
        () => Role::Unknown,
    }
}

/// Sorts a stack. `only` is the service that somebody asked for by name.
#[must_use]
pub fn sort(stack: Stack, only: Option<&str>) -> Sorted {
    let mut sorted = Sorted { leftovers: stack.leftovers, ..Sorted::default() };
    let mut rest = Vec::new();
    let named = only.filter(|name| stack.services.iter().any(|service| service.name == *name));
    for service in stack.services {
        match role(&service) {
            Role::Database => {
                let image = service.image.as_ref().map(|image| image.value.clone()).unwrap_or_default();
                sorted.databases.push((service.name, image, service.networks));
            }
            Role::Proxy => {
                sorted.email = sorted.email.or_else(|| email(&service));
                let advice = "Switcher takes its place: stop it when Switcher is to listen on its ports";
                sorted.leave(&service, advice);
            }
            Role::Tunnel => {
                sorted.tunnel = true;
                let advice = "it may stay; let it lead to the address of `proxy.http`, and nowhere else";
                sorted.leave(&service, advice);
            }
            Role::Updater => sorted.leave(&service, "`switcher watch` deploys what is pushed; stop this"),
            Role::Unknown => rest.push(service),
        }
    }
    applications(&mut sorted, rest, named);
    pairs(&mut sorted, &stack.project);
    let left = sorted.applications.iter_mut().flat_map(|app| std::mem::take(&mut app.service.leftovers));
    let left: Vec<Leftover> = left.collect();
    sorted.leftovers.extend(left);
    sorted.leftovers.sort_by_key(|left| left.line);
    sorted
}

impl Sorted {
    fn leave(&mut self, service: &Service, advice: &str) {
        let (line, what) = (service.line, service.name.clone());
        self.leftovers.push(Leftover { line, what, advice: advice.to_owned() });
    }
}

/// `--certificatesresolvers.le.acme.email=ops@example.com` of Traefik's command.
fn email(service: &Service) -> Option<String> {
    let command = service.command.as_ref()?.value.joined();
    let (_, after) = command.split_once(".acme.email=")?;
    after
        .split_whitespace()
        .next()
        .filter(|email| email.contains('@') && !email.contains('$'))
        .map(str::to_owned)
}

/// Takes the services that are applications, and says of the others what they are.
fn applications(sorted: &mut Sorted, services: Vec<Service>, named: Option<&str>) {
    let sole = services.len() == 1;
    let mut others = Vec::new();
    for mut service in services {
        let route = route(&mut service);
        let asked = match service.check.as_ref().map(|check| &check.value) {
            Some(Check::Command { test, .. }) => probe::asked(test),
            Some(Check::Off) | None => None,
        };
        let http = !service.ports.is_empty() || asked.is_some() || (route.present && !route.off)
            // Who names a service after a slot switches traffic between two of them.
            || stem(&service.name).is_some();
        let meant = named.map_or(http || sole, |name| name == service.name);
        if meant {
            let name = service.name.clone();
            let paired = false;
            sorted.applications.push(Application { name, service, route, asked, migrate: None, paired });
        } else {
            others.push((service, http));
        }
    }
    for (service, http) in others {
        other(sorted, &service, http);
    }
}

fn other(sorted: &mut Sorted, service: &Service, http: bool) {
    let image = service.image_parts().map(|(image, _)| image);
    let command = service.command.as_ref().map(|command| command.value.clone());
    let migrates = command.as_ref().is_some_and(|words| words.joined().contains("migrat"))
        || service.name.contains("migrat");
    let same = sorted.applications.iter_mut().find(|app| {
        image.is_some() && app.service.image_parts().map(|(image, _)| image) == image && app.migrate.is_none()
    });
    match (same, command) {
        (Some(app), Some(super::Words::List(words))) if migrates => {
            app.migrate = Some(words);
            let advice = "its command is `migrate` of the application, run from the new image before the switch; look \
                          whether it needs variables of its own";
            sorted.leave(service, advice);
        }
        _ if http => {
            sorted.leave(service, "`--app` named another service; write a second application for it")
        }
        (Some(_), _) if migrates => {
            sorted.leave(service, "write its command as `migrate: {command: […]}` of the application");
        }
        _ => {
            let advice = "it listens on no port, so there is no traffic to switch: leave it where it is, and start its \
                          new version with a hook such as `post_promote`";
            sorted.leave(service, advice);
        }
    }
}

/// The name without `blue` or `green` at its end.
fn stem(name: &str) -> Option<&str> {
    let stem = name.strip_suffix("blue").or_else(|| name.strip_suffix("green"))?;
    let bare = stem.trim_end_matches(['-', '_', '.']);
    (stem.is_empty() || bare.len() < stem.len()).then_some(bare)
}

/// Makes one application of two that are named `blue` and `green`.
fn pairs(sorted: &mut Sorted, project: &str) {
    let mut kept: Vec<Application> = Vec::new();
    for mut app in std::mem::take(&mut sorted.applications) {
        let Some(stem) = stem(&app.service.name) else {
            kept.push(app);
            continue;
        };
        app.name = if stem.is_empty() { project.to_owned() } else { stem.to_owned() };
        match kept.iter_mut().find(|first| first.name == app.name) {
            Some(first) => {
                first.paired = true;
                let advice = "it is the other slot of the application above; both are made from one description, in \
                              which `{slot}` is the slot's name";
                sorted.leave(&app.service, advice);
            }
            None => kept.push(app),
        }
    }
    for app in &mut kept {
        if !app.paired && app.service.name != app.name {
            // One of a pair that has no other half keeps the name that it had.
            app.name.clone_from(&app.service.name);
        }
    }
    sorted.applications = kept;
}
