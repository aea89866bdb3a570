//! What Compose writes as a list or as a section: environment, files, networks, words, hosts, secrets, labels.

use std::path::Path;

use switcher_config::document::Item;

use super::mounts::absolute;
use super::ports;
use super::text;
use super::top::Names;
use crate::init::interpolation::ours;
use crate::init::service::{Placed, Service, Variable, Words};

/// `NAME=value` items or `NAME: value` entries: name, line, value.
fn pairs<'a>(item: Item<'a>, at: char) -> Vec<(&'a str, usize, Option<&'a str>)> {
    if item.is_section() {
        return item.entries().map(|(name, line, value)| (name, line, value.text())).collect();
    }
    let split = |item: Item<'a>| {
        let text = item.text().unwrap_or_default();
        let (name, value) = text.split_once(at).map_or((text, None), |(name, value)| (name, Some(value)));
        (name, item.line(), value)
    };
    item.items().map(split).collect()
}

/// Reads `environment`.
pub(super) fn environment(service: &mut Service, item: Item<'_>) {
    for (name, line, value) in pairs(item, '=') {
        match value.map(ours).transpose() {
            Ok(value) => service.env.push(Variable { name: name.to_owned(), value, line }),
            Err(why) => {
                service.leave(
                    line,
                    &format!("environment.{name}"),
                    format!("{why}; write the value by hand"),
                );
            }
        }
    }
}

/// Reads `env_file`: one, several, or sections with `path`.
pub(super) fn env_files(service: &mut Service, item: Item<'_>, names: &Names) {
    for file in item.items() {
        let path = if file.is_section() { file.get("path").unwrap_or(file) } else { file };
        if file.get("required").and_then(Item::text) == Some("false") {
            let advice = "a file that may be missing is left out; add it to `env_files` once it is there";
            service.leave(file.line(), "env_file", advice);
        } else if let Some(mut path) = text(service, "env_file", path) {
            if !Path::new(&path.value).is_absolute() {
                path.value = absolute(&names.folder, &path.value);
            }
            service.env_files.push(path);
        }
    }
}

/// Reads `networks`.
pub(super) fn networks(service: &mut Service, item: Item<'_>, names: &Names) {
    let join = |service: &mut Service, key: &str, line: usize| {
        if names.is_overlay(key) {
            let advice = "containers on an overlay network are not reached from the machine; what the application \
                          needs, such as its database, has to be on `deploy.network`";
            service.leave(line, &format!("networks.{key}"), advice);
        } else {
            service.networks.push(names.network(key));
        }
    };
    if !item.is_section() {
        item.items().for_each(|network| join(service, network.text().unwrap_or_default(), network.line()));
        return;
    }
    for (key, line, value) in item.entries() {
        join(service, key, line);
        for (option, line, _) in value.entries() {
            let advice =
                "both slots run side by side; addresses and names in networks are given by the deployer";
            service.leave(line, &format!("networks.{key}.{option}"), advice);
        }
    }
}

/// Reads a command: a list, or one text.
pub(super) fn words(service: &mut Service, key: &str, item: Item<'_>) -> Option<Placed<Words>> {
    if !item.is_list() {
        return text(service, key, item).map(|text| Placed::new(Words::Text(text.value), text.line));
    }
    let words: Option<Vec<String>> =
        item.items().map(|word| text(service, key, word).map(|word| word.value)).collect();
    Some(Placed::new(Words::List(words?), item.line()))
}

/// Reads `extra_hosts`, which Compose writes with `:` or `=`.
pub(super) fn extra_hosts(service: &mut Service, item: Item<'_>) {
    for (name, line, address) in pairs(item, if item.is_section() { '=' } else { ':' }) {
        let (name, address) = name.split_once('=').map_or((name, address), |(n, a)| (n, Some(a)));
        match ours(&format!("{name}:{}", address.unwrap_or_default())) {
            Ok(text) => service.extra_hosts.push(Placed::new(text, line)),
            Err(why) => service.leave(line, "extra_hosts", why),
        }
    }
}

/// Reads `secrets`.
pub(super) fn secrets(service: &mut Service, item: Item<'_>, names: &Names) {
    for secret in item.items() {
        let source = if secret.is_section() { secret.get("source") } else { Some(secret) };
        let Some(name) = source.and_then(Item::text) else { continue };
        let target = secret.get("target").and_then(Item::text);
        if let Some(target) =
            target.filter(|target| *target != name && *target != format!("/run/secrets/{name}"))
        {
            let advice =
                format!("it is put at /run/secrets/{name} and not at {target}; tell the application so");
            service.leave(secret.line(), &format!("secrets.{name}"), advice);
        }
        let variable = name.to_ascii_uppercase();
        let advice = format!(
            "put its text into /run/secrets/{name} of this machine, mode 0600, or into the variable {variable}; it came \
             from {}",
            names.secret(name)
        );
        service.leave(secret.line(), &format!("secrets.{name}"), advice);
        service.secrets.push(Placed::new(name.to_owned(), secret.line()));
    }
}

/// Reads `labels`.
pub(super) fn labels(service: &mut Service, item: Item<'_>) {
    for (name, line, value) in pairs(item, '=') {
        // In a label, Compose makes one `$` of two; nothing is filled in there.
        let value = value.unwrap_or_default().replace("$$", "$");
        service.labels.push((name.to_owned(), Placed::new(value, line)));
    }
}

/// Adds the ports of `expose`, after those of `ports`.
pub(super) fn exposed(service: &mut Service, item: Item<'_>) {
    for port in item.get("expose").into_iter().flat_map(Item::items) {
        match port.text().and_then(ports::number) {
            Some(number) => ports::add(service, number),
            None => service.leave(port.line(), "expose", "this is no single port; name it as `deploy.port`"),
        }
    }
}
