//! One application of the configuration.

use std::collections::BTreeSet;

use switcher_config::AppName;

use super::{Draft, Front, Wishes, environment};
use crate::init::Leftover;
use crate::init::interpolation::{by_defaults, escaped, literal};
use crate::init::kind::{Application, Sorted};
use crate::init::secret::{is_secret, looks_secret};
use crate::init::service::{Check, Placed, Service, Words};
use crate::init::yaml::{list, scalar};

/// An application with what was decided about it.
pub(super) struct Described<'a> {
    pub(super) app: &'a Application,
    pub(super) name: &'a str,
    pub(super) hosts: &'a [String],
}

/// Good names for the applications, no two the same.
pub(super) fn names(apps: &[Application], wishes: &Wishes) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let good = |app: &Application| match &wishes.app {
        Some(name) if apps.len() == 1 => name.clone(),
        Some(_) | None => label(&app.name),
    };
    let mut unique = |name: String| {
        let mut next = name.clone();
        let mut number = 2;
        while !taken.insert(next.clone()) {
            next = format!("{name}-{number}");
            number += 1;
        }
        next
    };
    apps.iter().map(good).map(&mut unique).collect()
}

/// A name as a lower-case DNS label.
pub(crate) fn label(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = name.chars().map(kept).take(63).collect();
    let text = text.trim_matches('-');
    if text.parse::<AppName>().is_ok() { text.to_owned() } else { "app".to_owned() }
}

/// The hosts of an application: those that were asked for, else Traefik's.
pub(super) fn hosts(app: &Application, wishes: &Wishes) -> Vec<String> {
    if wishes.hosts.is_empty() { app.route.hosts.clone() } else { wishes.hosts.clone() }
}

/// An application that nobody described.
pub(super) fn skeleton(draft: &mut Draft, wishes: &Wishes, front: &Front) {
    let name = wishes.app.clone().unwrap_or_else(|| "app".to_owned());
    draft.row(2, &format!("{name}:"));
    front_of(draft, &wishes.hosts, front);
    draft.row(4, "health: {path: /health}   # what the new version must answer before it gets traffic");
    draft.row(4, "deploy:");
    draft.row(6, "# image: ghcr.io/acme/shop   # then `switcher deploy v1.5.0` is enough");
    draft.row(6, "port: 8080                 # inside the container");
    draft.row(6, &format!("network: {name}"));
    hints(draft, None);
    draft.apps.push((name, None));
}

/// Hosts and TLS.
fn front_of(draft: &mut Draft, hosts: &[String], front: &Front) {
    if hosts.is_empty() {
        draft.comment(
            4,
            "Every host, by IP. With a domain: hosts: [shop.example.com], then `proxy.https`, a section",
        );
        draft.comment(4, "`acme: {email: you@example.com}` at the top level, and no `tls: off`.");
    } else {
        draft.part(4, 0, "hosts", &[format!("hosts: {}", list(hosts))]);
    }
    if !front.tls || hosts.is_empty() {
        draft.row(4, "tls: off");
    }
}

/// Writes an application. `routes` are the hosts and paths that were given away already.
pub(super) fn write(
    draft: &mut Draft,
    described: &Described<'_>,
    sorted: &Sorted,
    wishes: &Wishes,
    front: &Front,
    routes: &mut BTreeSet<(Vec<String>, String)>,
) {
    let Described { app, name, hosts } = described;
    let service = &app.service;
    draft.row(2, &format!("{name}:"));
    front_of(draft, hosts, front);
    path(draft, described, routes);
    health(draft, app);
    draft.row(4, "deploy:");
    let tag = image(draft, service);
    port(draft, app);
    network(draft, service, sorted, name);
    for (key, value) in &service.plain {
        if ["replicas", "platform", "user", "stop_timeout"].contains(key) {
            let row = format!("{key}: {}", scalar(&value.value));
            draft.part(6, value.line, &format!("{}.{key}", service.name), &[row]);
        }
    }
    files(draft, service, wishes);
    environment::write(draft, app, name);
    items(draft, service, "secrets", &service.secrets);
    items(draft, service, "volumes", &service.volumes);
    items(draft, service, "extra_hosts", &service.extra_hosts);
    limits(draft, service);
    words(draft, service, "entrypoint", service.entrypoint.as_ref());
    words(draft, service, "command", service.command.as_ref());
    check(draft, service);
    labels(draft, service);
    if let Some(migrate) = &app.migrate {
        let row = format!("migrate: {{command: {}}}   # from the new image, before it starts", list(migrate));
        draft.part(6, 0, "migrate", &[row]);
    }
    let postgres = sorted.databases.iter().any(|(_, image, _)| image.contains("postg"));
    let url =
        service.env.iter().map(|variable| variable.name.as_str()).find(|name| name.ends_with("DATABASE_URL"));
    hints(draft, url.filter(|_| postgres && app.migrate.is_none()));
    draft.apps.push(((*name).to_owned(), tag));
}

fn path(draft: &mut Draft, described: &Described<'_>, routes: &mut BTreeSet<(Vec<String>, String)>) {
    let wanted = described.app.route.path.clone().unwrap_or_else(|| "/".to_owned());
    let hosts = described.hosts.to_vec();
    if routes.insert((hosts.clone(), wanted.clone())) {
        if wanted != "/" {
            draft.part(4, 0, "path", &[format!("path: {}", scalar(&wanted))]);
        }
        return;
    }
    let own = format!("/{}", described.name);
    draft.row(4, &format!("path: {own}   # another application has {wanted}; a host of its own is better"));
    routes.insert((hosts, own));
}

fn health(draft: &mut Draft, app: &Application) {
    let asked = app.asked.as_ref().map(|asked| asked.path.clone());
    match app.route.health.clone().or(asked) {
        Some(path) => draft.part(4, 0, "health", &[format!("health: {{path: {}}}", scalar(&path))]),
        None => {
            draft.comment(
                4,
                "No HTTP check was found: a connection that opens counts as healthy. A path says more, for",
            );
            draft.comment(4, "example health: {path: /health}.");
            draft.row(4, "health: {protocol: tcp}");
        }
    }
}

/// Writes the image without its tag, which is answered.
fn image(draft: &mut Draft, service: &Service) -> Option<String> {
    let Some((name, tag)) = service.image_parts() else {
        draft.row(6, "# image: ghcr.io/acme/shop   # where the image is pushed to");
        return None;
    };
    let line = service.image.as_ref().map_or(0, |image| image.line);
    let runs = tag.as_ref().map_or(String::new(), |tag| format!("{tag} is what runs; "));
    let rows = [format!("image: {}   # {runs}what to run is said by `switcher deploy`", scalar(&name))];
    draft.part(6, line, &format!("{}.image", service.name), &rows);
    // A digest says nothing without its repository.
    tag.map(|tag| if tag.contains(':') && !tag.contains('$') { format!("{name}@{tag}") } else { tag })
}

fn port(draft: &mut Draft, app: &Application) {
    let service = &app.service;
    let asked = app.asked.as_ref().and_then(|asked| asked.port);
    let variable = service.env.iter().find(|variable| variable.name == "PORT");
    let named = variable.and_then(|v| by_defaults(v.value.as_deref()?)?.parse().ok());
    let known = app
        .route
        .port
        .or_else(|| asked.filter(|port| service.ports.is_empty() || service.ports.contains(port)));
    let found: Option<u16> = known.or_else(|| service.ports.first().copied()).or(named);
    let note = match (found, service.published.as_slice()) {
        (None, _) => "   # inside the container; no port was named, so look whether this is it".to_owned(),
        (Some(_), []) => "   # inside the container".to_owned(),
        (Some(_), outside) => {
            format!("   # inside the container; it was published at {}", outside.join(", "))
        }
    };
    let port = found.unwrap_or(8080);
    draft.part(6, 0, "port", &[format!("port: {port}{note}")]);
    for other in service.ports.iter().filter(|other| **other != port) {
        let advice =
            format!("port {port} is proxied; make a second application for {other} if visitors need it");
        let what = format!("{}.ports", service.name);
        draft.leftovers.push(Leftover { line: service.line, what, advice });
    }
}

/// The network of the databases, else the first, else one of its own.
fn network(draft: &mut Draft, service: &Service, sorted: &Sorted, name: &str) {
    let shared =
        |network: &&String| sorted.databases.iter().any(|(_, _, networks)| networks.contains(network));
    let chosen = service.networks.iter().find(shared).or(service.networks.first());
    let Some(chosen) = chosen else {
        draft.row(6, &format!("network: {name}   # made when it is missing"));
        return;
    };
    let note =
        if shared(&chosen) { "   # the databases are here too" } else { "   # made when it is missing" };
    draft.part(
        6,
        service.line,
        &format!("{}.networks", service.name),
        &[format!("network: {}{note}", scalar(chosen))],
    );
    for other in service.networks.iter().filter(|other| *other != chosen) {
        let advice = format!("containers join one network; what the application needs has to be on {chosen}");
        let what = format!("{}.networks.{other}", service.name);
        draft.leftovers.push(Leftover { line: service.line, what, advice });
    }
}

fn files(draft: &mut Draft, service: &Service, wishes: &Wishes) {
    if service.env_files.is_empty() {
        return;
    }
    draft.row(6, "env_files:   # with mode 0600; a CHANGE_ME in them is refused");
    for file in &service.env_files {
        let beside = std::path::Path::new(&file.value).strip_prefix(&wishes.folder).ok();
        let path = beside.map_or_else(|| file.value.clone(), |path| path.to_string_lossy().into_owned());
        let row = format!("- {}", scalar(&path));
        draft.part(8, file.line, &format!("{}.env_file", service.name), &[row]);
    }
}

fn items(draft: &mut Draft, service: &Service, key: &str, items: &[Placed<String>]) {
    if items.is_empty() {
        return;
    }
    draft.row(6, &format!("{key}:"));
    for item in items {
        draft.part(8, item.line, &format!("{}.{key}", service.name), &[format!("- {}", scalar(&item.value))]);
    }
}

fn limits(draft: &mut Draft, service: &Service) {
    let bounds: Vec<_> =
        service.plain.iter().filter(|(key, _)| ["memory", "cpus", "pids"].contains(key)).collect();
    if bounds.is_empty() {
        return;
    }
    draft.row(6, "limits:");
    let mut seen = BTreeSet::new();
    for (key, value) in bounds {
        if seen.insert(*key) {
            let row = format!("{key}: {}", scalar(&value.value));
            draft.part(8, value.line, &format!("{}.{key}", service.name), &[row]);
        }
    }
}

fn words(draft: &mut Draft, service: &Service, key: &str, words: Option<&Placed<Words>>) {
    let Some(Placed { value, line }) = words else { return };
    let what = format!("{}.{key}", service.name);
    if looks_secret(&literal(&value.joined())) {
        let advice = "it seems to hold a secret, which everybody can see in a process list; pass it by `env`"
            .to_owned();
        draft.leftovers.push(Leftover { line: *line, what, advice });
        return;
    }
    let text = match value {
        Words::Text(text) => scalar(text),
        Words::List(words) => list(words),
    };
    draft.part(6, *line, &what, &[format!("{key}: {text}")]);
}

fn check(draft: &mut Draft, service: &Service) {
    let Some(Placed { value, line }) = &service.check else { return };
    let what = format!("{}.healthcheck", service.name);
    match value {
        Check::Off => draft.part(6, *line, &what, &["healthcheck: off".to_owned()]),
        Check::Command { test, .. } if looks_secret(&test.join(" ")) => {
            let advice = "its command seems to hold a secret; write it by hand, without one".to_owned();
            draft.leftovers.push(Leftover { line: *line, what, advice });
        }
        Check::Command { test, bounds } => {
            let command = match test.as_slice() {
                [kind, text] if kind == "CMD-SHELL" => scalar(&loaded(text)),
                [_, words @ ..] => list(&words.iter().map(|word| loaded(word)).collect::<Vec<_>>()),
                [] => return,
            };
            draft.row(6, "healthcheck:   # Docker's own, beside the proxy's `health`");
            draft.part(8, *line, &what, &[format!("command: {command}")]);
            for (key, bound) in bounds {
                draft.part(8, *line, &format!("{what}.{key}"), &[format!("{key}: {}", scalar(bound))]);
            }
        }
    }
}

/// A text that holds no names, written so that loading leaves it alone.
fn loaded(text: &str) -> String {
    escaped(text)
}

fn labels(draft: &mut Draft, service: &Service) {
    let kept: Vec<_> = service
        .labels
        .iter()
        .filter(|(name, _)| !name.starts_with("com.docker.") && !name.starts_with("switcher."))
        .collect();
    if kept.is_empty() {
        return;
    }
    draft.row(6, "labels:");
    for (name, value) in kept {
        let what = format!("{}.labels.{name}", service.name);
        if is_secret(name, &value.value) {
            let advice =
                "it looks like a secret, and everybody who may ask the engine sees labels".to_owned();
            draft.leftovers.push(Leftover { line: value.line, what, advice });
        } else {
            let row = format!("{}: {}", scalar(name), scalar(&loaded(&value.value)));
            draft.part(8, value.line, &what, &[row]);
        }
    }
}

/// What makes deployments safer, ready to be switched on.
fn hints(draft: &mut Draft, url: Option<&str>) {
    draft.comment(6, "Worth having; take the `#` away:");
    draft.row(6, "# smoke: [{path: /}]   # asked through the proxy before traffic moves");
    draft.row(
        6,
        "# bake: {for: 60s, max_error_rate: 1%}   # judged on live traffic; goes back when it is worse",
    );
    draft.row(
        6,
        "# verify: {url: \"https://shop.example.com/\"}   # asked right after the switch, as users ask it",
    );
    draft.row(6, "# watch: {tag: production}   # `switcher watch` deploys it whenever this tag moves");
    if let Some(url) = url {
        draft.row(6, "# migrate: {command: [app, migrate, up]}   # from the new image, before it starts");
        draft.row(
            6,
            &format!("# snapshot: {{database_url: \"${{{url}}}\"}}   # a dump before each migration"),
        );
    }
}
