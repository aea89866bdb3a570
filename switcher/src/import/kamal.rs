//! Kamal: `config/deploy.yml` becomes an application with a `deploy` section. Secrets are named, never copied.
//!
//! What no reader asks for is told by `advice`.

use std::path::PathBuf;

use super::Unreadable;
use super::action::{Action, Later};
use super::data;
use super::note::Note;
use super::sheet::{Entry, list, pairs, scalar};
use super::shelf::Shelf;
use super::site::{Imported, Match, Route, Site, Tls};
use super::tree::{At, Naming, Node, Place, untaken};
use super::values::time;
use super::variables;
use crate::init::secret::is_secret;
use crate::init::yaml;

/// Reads Kamal's files; each is an application.
///
/// # Errors
/// When one cannot be read, or is no YAML.
pub fn read(files: &[PathBuf], shelf: &Shelf) -> Result<Imported, Unreadable> {
    let mut imported = Imported::default();
    for file in files {
        let nodes = data::file(file, shelf, variables::erb, &mut imported.notes).map_err(|error| Unreadable {
            message: format!(
                "{}; of Kamal's templates `<%= ENV[…] %>` alone are filled in; do it with the others first: `kamal config`",
                error.message
            ),
            ..error
        })?;
        let place = Place { file: file.display().to_string().into(), line: 1, until: 1 };
        let root = Node::new(place, "", Vec::new(), nodes);
        application(&root, &mut imported);
        imported.notes.extend(untaken(&root, Naming::Keys, &advice));
    }
    Ok(imported)
}

fn application(root: &Node, imported: &mut Imported) {
    let name = root.text("service").unwrap_or("app").to_owned();
    let role = role(root, imported);
    let empty = Node::new(root.place.clone(), "proxy", Vec::new(), Vec::new());
    let proxy = root.get("proxy").unwrap_or(&empty);
    let own =
        role.and_then(|role| role.peek("proxy")).filter(|proxy| !proxy.children.is_empty()).map(Node::take);
    let proxy = own.unwrap_or(proxy);
    let _ = proxy.words();
    let mut hosts: Vec<At<String>> = Vec::new();
    for key in ["host", "hosts"] {
        for node in proxy.all(key) {
            let words = node.words().into_iter().flat_map(|word| word.split(','));
            hosts.extend(words.map(|word| At::new(word.trim().to_ascii_lowercase(), &node.place)));
        }
    }
    let secure =
        proxy.peek("ssl").is_some_and(|ssl| ssl.take().word(0) == Some("true") || !ssl.children.is_empty());
    let redirect = proxy.text("ssl_redirect") != Some("false");
    let mut actions = Vec::new();
    let mut path = "/".to_owned();
    for key in ["path_prefix", "path_prefixes"] {
        for node in proxy.all(key) {
            let mut words = node.words().into_iter().flat_map(|word| word.split(','));
            if let Some(first) = words.next() {
                path = format!("/{}", first.trim().trim_matches('/'));
            }
            if words.next().is_some() {
                let suggestion = "an application has one path; make one application for each of the others";
                imported.notes.push(Note::left(&node.place, format!("proxy.{key}"), suggestion));
            }
        }
    }
    if proxy.text("strip_path_prefix") != Some("false") && path != "/" {
        actions.push(At::new(Action::Strip(path.clone()), &proxy.place));
    }
    let mut keys = vec![health(proxy)];
    keys.extend(bounds(proxy, &mut actions));
    keys.extend(assets(root, imported));
    keys.push(deploy(root, role, proxy, &name, imported));
    imported.http.push(At::new("0.0.0.0:80".to_owned(), &proxy.place));
    if secure {
        imported.https.push(At::new("0.0.0.0:443".to_owned(), &proxy.place));
    }
    let whole = Route::new(&root.place, format!("service {name}"), Match::Below(path));
    let route = Route { name: Some(name.clone()), keys, actions, ..whole };
    let tls = if secure { Tls::Auto } else { Tls::Off };
    let place = root.place.clone();
    let (keys, doors) = (Vec::new(), Vec::new());
    imported.sites.push(Site { place, name, hosts, tls, redirect, keys, doors, routes: vec![route] });
    around(root, imported);
}

/// The role that visitors reach: `web`, or the first. Servers are told, for Switcher runs on each by itself.
fn role<'a>(root: &'a Node, imported: &mut Imported) -> Option<&'a Node> {
    let servers = root.get("servers")?;
    let machines = "Switcher runs on the machine itself, or from afar with `--host ssh://user@server`; each server has its own";
    if servers.children.is_empty() || !servers.seen().is_empty() {
        let count = servers.words().len() + servers.children.len();
        servers.children.iter().for_each(Node::set_aside);
        if count > 0 {
            imported.notes.push(Note::left(&servers.whole(), "servers", machines));
        }
        return None;
    }
    let primary = root.text("primary_role").unwrap_or("web");
    let web = servers.peek(primary).or_else(|| servers.children.first())?;
    for role in &servers.children {
        if !std::ptr::eq(role, web) {
            role.take_whole();
            let suggestion = "workers are started and stopped beside a switch by the hooks `activate` and `deactivate`, and \
                              `workers: stop_old_first` keeps two versions from running together";
            imported.notes.push(Note::left(&role.whole(), format!("servers.{}", role.name), suggestion));
        }
    }
    let _ = web.take().words();
    if let Some(hosts) = web.get("hosts") {
        hosts.take_whole();
    }
    imported.notes.push(Note::left(&web.place, format!("servers.{}", web.name), machines));
    Some(web)
}

fn health(proxy: &Node) -> Entry {
    let check = proxy.get("healthcheck");
    let text = |key: &str| check.and_then(|check| check.text(key));
    let mut said = vec![("path", scalar(text("path").unwrap_or("/up")))];
    for key in ["interval", "timeout"] {
        if let Some(time) = text(key).and_then(time) {
            said.push((if key == "interval" { "interval" } else { "timeout" }, scalar(&time)));
        }
    }
    let entry = Entry::line("health", pairs(&said));
    match check {
        Some(check) => entry.from(&check.place, "proxy.healthcheck"),
        None => entry.behind("Kamal's default"),
    }
}

fn bounds(proxy: &Node, actions: &mut Vec<At<Action>>) -> Vec<Entry> {
    let mut keys = Vec::new();
    if let Some(node) = proxy.get("response_timeout")
        && let Some(time) = node.word(0).and_then(time)
    {
        keys.push(
            Entry::line("timeouts", pairs(&[("response", scalar(&time))]))
                .from(&node.place, "proxy.response_timeout"),
        );
    }
    let Some(buffering) = proxy.get("buffering") else { return keys };
    if let Some(node) = buffering.get("max_request_body")
        && let Some(bytes) = node.word(0).map(|bytes| bytes.replace('_', ""))
        && bytes.parse::<u64>().is_ok_and(|bytes| bytes > 0)
    {
        let bound = Action::BodySize { size: format!("{bytes}B"), written: true };
        actions.push(At::new(bound, &node.place));
    }
    let wants = |key: &str| buffering.text(key) == Some("true");
    let (requests, responses) = (wants("requests"), wants("responses"));
    if requests || responses {
        let size = buffering.text("memory").map(|bytes| bytes.replace('_', ""));
        let size = size.map_or_else(|| "1MiB".to_owned(), |bytes| format!("{bytes}B"));
        let buffer =
            Action::Buffer { request: requests.then(|| size.clone()), response: responses.then_some(size) };
        actions.push(At::new(buffer, &buffering.place));
    }
    for node in buffering.children.iter().filter(|node| !node.is_taken()) {
        node.take_whole();
        actions.push(At::new(Action::Later(Later::Buffer), &node.whole()));
    }
    keys
}

/// Files of the version before, which Kamal keeps in a volume of both: here the slot that has them is asked.
fn assets(root: &Node, imported: &mut Imported) -> Option<Entry> {
    let node = root.get("asset_path")?;
    let folder = node.word(0)?.split(':').next()?.trim_end_matches('/');
    // What applications have below `public` is served without that.
    let path =
        folder.split_once("/public/").map_or_else(|| folder.rsplit('/').next(), |(_, path)| Some(path))?;
    let suggestion = format!(
        "no files are copied: what the live slot has not is asked of the other one while that runs; `paths` is where /{path} was \
         taken from the folder's name"
    );
    imported.notes.push(Note::differs(&node.place, "asset_path", suggestion));
    let entry = Entry::line("asset_fallback", pairs(&[("paths", list(&[format!("/{path}")]))]));
    Some(entry.from(&node.place, "asset_path"))
}

/// The image with its registry.
fn image(root: &Node) -> Option<Entry> {
    let image = root.get("image")?;
    let text = image.word(0)?;
    let registry = root.peek("registry").and_then(|registry| registry.get("server"));
    let first = text.split('/').next().unwrap_or_default();
    let whole = match registry.and_then(|server| server.word(0)) {
        Some(server) if first != server => format!("{}/{text}", server.trim_end_matches('/')),
        Some(_) | None => text.to_owned(),
    };
    Some(
        Entry::text("image", &whole)
            .from(&image.place, "image")
            .behind("then `switcher deploy TAG` is enough"),
    )
}

/// The `deploy` section.
fn deploy(root: &Node, role: Option<&Node>, proxy: &Node, name: &str, imported: &mut Imported) -> Entry {
    let mut keys = Vec::new();
    keys.extend(image(root));
    let port = proxy.get("app_port");
    let number = port.and_then(|port| port.word(0)).unwrap_or("80").to_owned();
    let entry = Entry::line("port", number);
    keys.push(match port {
        Some(port) => entry.from(&port.place, "proxy.app_port"),
        None => entry.behind("Kamal's default"),
    });
    keys.push(Entry::line("network", "kamal").behind("where Kamal's containers and accessories are"));
    keys.extend(environment(root, role, imported));
    if let Some(volumes) = root.get("volumes") {
        let items =
            volumes.words().into_iter().map(|volume| Entry::text("", volume).from(&volumes.place, "volumes"));
        keys.push(Entry::section("volumes", items.collect()));
    }
    if let Some(command) = role.and_then(|role| role.get("cmd"))
        && let Some(text) = command.word(0)
    {
        keys.push(Entry::text("command", text).from(&command.place, "cmd"));
    }
    for (key, ours) in [("deploy_timeout", "ready_timeout"), ("stop_wait_time", "stop_timeout")] {
        if let Some(node) = root.get(key)
            && let Some(time) = node.word(0).and_then(time)
        {
            keys.push(Entry::text(ours, &time).from(&node.place, key));
        }
    }
    if let Some(node) = root.get("drain_timeout").map(Node::take_whole) {
        let suggestion = "write `drain: {requests: 30s, uploads: 10m}` of the application";
        imported.notes.push(Note::left(&node.place, "drain_timeout", suggestion));
    }
    if let Some(labels) = root.get("labels") {
        let entries = labels.children.iter().map(|label| {
            Entry::text(&label.name, label.take().word(0).unwrap_or_default())
                .from(&label.place, format!("labels.{}", label.name))
        });
        keys.push(Entry::section("labels", entries.collect()));
    }
    if let Some(node) = root.get("retain_containers")
        && let Some(number) = node.word(0)
    {
        keys.push(
            Entry::line("retain", pairs(&[("images", number.to_owned())]))
                .from(&node.place, "retain_containers"),
        );
    }
    Entry::section("deploy", keys).from(&root.place, format!("service {name}"))
}

/// Plain values are copied; secrets become `${NAME}`, which a deployment looks for.
fn environment(root: &Node, role: Option<&Node>, imported: &mut Imported) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut needed: Vec<String> = Vec::new();
    let sections = root.get("env").into_iter().chain(role.and_then(|role| role.get("env")));
    for env in sections {
        let split = env.peek("clear").is_some() || env.peek("secret").is_some() || env.peek("tags").is_some();
        let clear: Vec<&Node> = if split {
            env.get("clear").into_iter().flat_map(|clear| clear.children.iter()).collect()
        } else {
            env.children.iter().collect()
        };
        for variable in clear {
            let value = variable.take().words().join(" ");
            let name = &variable.name;
            let entry = if is_secret(name, &value) {
                needed.push(name.clone());
                Entry::line(name, yaml::scalar(&format!("${{{name}}}")))
            } else {
                Entry::text(name, &value)
            };
            entries.retain(|known| known.key != *name);
            entries.push(entry.from(&variable.place, format!("env.{name}")));
        }
        for secret in env
            .get("secret")
            .into_iter()
            .flat_map(|secret| secret.words().into_iter().map(move |name| (name, secret)).collect::<Vec<_>>())
        {
            // `NAME:OTHER` takes the value of another secret.
            let (name, from) = secret.0.split_once(':').unwrap_or((secret.0, secret.0));
            needed.push(from.to_owned());
            let entry = Entry::line(name, yaml::scalar(&format!("${{{from}}}")));
            entries.push(entry.from(&secret.1.place, format!("env.secret {name}")));
        }
        if let Some(tags) = env.get("tags").map(Node::take_whole) {
            let suggestion =
                "a server has its own switcher.yaml, or an environment: `switcher.NAME.yaml` beside it";
            imported.notes.push(Note::left(&tags.whole(), "env.tags", suggestion));
        }
    }
    if entries.is_empty() {
        return Vec::new();
    }
    let mut env = Entry::section("env", entries);
    if !needed.is_empty() {
        needed.sort();
        needed.dedup();
        env = env.above(format!(
            "A deployment looks for {} in the files of `env_files` (mode 0600) and in the environment of `switcher deploy`.",
            needed.join(", ")
        ));
    }
    vec![env]
}

/// What stands around an application.
fn around(root: &Node, imported: &mut Imported) {
    for node in root.get("accessories").into_iter().flat_map(|section| section.children.iter()) {
        node.take_whole();
        let suggestion =
            "databases and the like are left as they are: its container runs on, on the network kamal";
        imported.notes.push(Note::left(&node.whole(), format!("accessories.{}", node.name), suggestion));
    }
    if let Some(registry) = root.get("registry") {
        registry.take_whole();
        let suggestion = "whoever deploys logs in with `docker login`, and `switcher deploy` pulls with that";
        imported.notes.push(Note::left(&registry.whole(), "registry", suggestion));
    }
}

/// What to do about keys that nobody asks for.
fn advice(names: &[&str]) -> String {
    let text = match names {
        ["builder", ..] => {
            "an image is built and pushed elsewhere: `switcher init --github` writes a workflow for it"
        }
        ["ssh" | "sshkit", ..] => "write `switcher: {docker_host: ssh://user@server}`, or take `--host`",
        ["aliases", ..] => "aliases belong to Kamal; take your shell's",
        ["boot", ..] => "a slot is started as a whole beside the live one",
        ["logging", ..] | ["proxy", "logging", ..] => {
            "write `proxy: {access_log: {headers: […]}}`; logs of containers are the engine's"
        }
        ["proxy", "forward_headers", ..] => {
            "name the proxies in front in `proxy: {trusted_proxies: […]}`; nobody else is believed"
        }
        ["proxy", "ssl", ..] | ["proxy", "certificate_pem" | "private_key_pem", ..] => {
            "write the files' places: `tls: {certificate: FILE, key: FILE}`"
        }
        ["proxy", "run", ..] => "how the proxy itself runs is said by `proxy:` and its service",
        [
            "require_destination"
            | "hooks_path"
            | "secrets_path"
            | "minimum_version"
            | "run_directory"
            | "readiness_delay",
            ..,
        ] => "this is Kamal's own; hooks are `deploy.hooks`",
        ["error_pages_path", ..] => "write `error_pages: {502-504: FILE}` of the application",
        ["servers", _, "options", ..] => "write `limits`, `volumes` or `user` of `deploy`",
        ["servers", ..] => "there is no such key here; see `deploy`",
        _ => "there is no such key here",
    };
    text.to_owned()
}
