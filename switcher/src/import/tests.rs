//! Configurations of other programs, each written to a configuration that loads; and that nothing is lost in silence.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum as _;
use switcher_config::durable::{Durability, replace};

use super::{Failed, Note, Settled, Shelf, take_over};
use crate::cli::MovedFrom;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/import")
}

fn made(from: MovedFrom, shelf: &Path, files: &[PathBuf]) -> Settled {
    take_over(from, files, &Shelf::at(shelf), Path::new("/srv/shop"))
        .unwrap_or_else(|error| panic!("{files:?}: {error}"))
}

/// What is imported at once: a file, or all files of a folder.
fn imports(folder: &Path) -> Vec<(String, Vec<PathBuf>)> {
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    let mut found: Vec<(String, Vec<PathBuf>)> = fs::read_dir(folder)
        .expect("a listing")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let own = PathBuf::from(name(&path));
            let mut files = vec![own.clone()];
            if path.is_dir() {
                files = fs::read_dir(&path)
                    .expect("a listing")
                    .map(|entry| own.join(name(&entry.expect("an entry").path())))
                    .collect();
                files.sort();
            }
            (name(&path), files)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn every_configuration_becomes_one_that_loads() {
    let mut count = 0;
    for from in MovedFrom::value_variants() {
        let folder = corpus().join(from.to_string().to_lowercase());
        for (name, files) in imports(&folder) {
            let settled = made(*from, &folder, &files);
            let needless: Vec<String> =
                settled.needless.iter().map(|(name, count)| format!("{name} {count}")).collect();
            let told = format!("{}\n# Needs nothing: {}\n", settled.text, needless.join(", "));
            let told = told.replace(&folder.display().to_string(), "FOLDER");
            insta::assert_snapshot!(format!("{}-{name}", from.to_string().to_lowercase()), told);
            count += 1;
        }
    }
    assert!(count >= 18, "{count}");
}

#[test]
fn no_secret_is_copied() {
    for from in MovedFrom::value_variants() {
        let folder = corpus().join(from.to_string().to_lowercase());
        for (name, files) in imports(&folder) {
            let settled = made(*from, &folder, &files);
            let told = format!("{}{:?}", settled.text, settled.notes);
            for secret in ["hunter2", "IgXLP6ewTrSuBkTrqE8wj", "W6ph5Mm5Pz8", "Zkx19XLiW6VYouLHR5"] {
                assert!(!told.contains(secret), "{name} tells {secret}:\n{told}");
            }
        }
    }
}

#[test]
fn names_from_the_environment_come_along_and_those_that_nobody_set_are_told() {
    let labels = "services:\n  web:\n    image: web\n    labels:\n      - traefik.http.routers.${ROUTER:-web}.rule=Host(`${DOMAIN}`)\n      \
                  - traefik.http.services.web.loadbalancer.server.port=8000\n";
    let dynamic = "http:\n  routers:\n    web: {rule: 'Host(`{{ env \"DOMAIN\" }}`)', service: web}\n  services:\n    web:\n      \
                   loadBalancer:\n        servers:\n        - url: http://app:8000\n";
    for (from, name, text) in [
        (MovedFrom::Caddy, "Caddyfile", "{$DOMAIN} {\n reverse_proxy app:{$PORT:8000}\n}\n"),
        (MovedFrom::Traefik, "compose.yaml", labels),
        (MovedFrom::Traefik, "dynamic.yml", dynamic),
        (
            MovedFrom::Kamal,
            "deploy.yml",
            "service: web\nimage: <%= ENV['OWNER'] || 'us' %>/web\nproxy: {host: <%= ENV.fetch('DOMAIN') %>}\n",
        ),
        (
            MovedFrom::Nginx,
            "default.conf.template",
            "server { listen 80; server_name ${DOMAIN}; location / { proxy_pass http://app:8000; } }\n",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            replace(&folder.path().join(name), text.as_bytes(), 0o600, Durability::Unsynced).expect("a file");
        };
        let import = |shelf: &Shelf| take_over(from, &[name.into()], shelf, folder.path());
        write(name, text);
        let bare = Shelf::at(folder.path());
        let Err(Failed::Unsettled(_, notes)) = import(&bare) else { panic!("{name}: nobody knows its host") };
        let told: Vec<String> = notes.iter().map(Note::sentence).collect();
        for part in ["`DOMAIN=VALUE switcher import", "write `hosts` by hand"] {
            assert!(told.iter().any(|told| told.contains(part)), "{name}: {told:#?}");
        }
        let environment = [("DOMAIN".to_owned(), "shop.example.com".to_owned())];
        let by_environment = import(&bare.clone().with(environment.into())).expect("it loads").text;
        write(".env", "DOMAIN=shop.example.com\n");
        let by_file = import(&bare).expect("it loads").text;
        for text in [by_environment, by_file] {
            assert!(text.contains("hosts: [shop.example.com]"), "{name}:\n{text}");
            assert!(text.contains("`shop.example.com` is written for it"), "{name}:\n{text}");
        }
    }
}

#[test]
fn what_a_block_says_of_one_path_is_not_said_of_those_below_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "a.example {\n handle {\n  @page path /\n  header @page Cache-Control no-cache\n  reverse_proxy app:8000\n }\n}\n";
    replace(&folder.path().join("Caddyfile"), text.as_bytes(), 0o600, Durability::Unsynced).expect("a file");
    let settled = made(MovedFrom::Caddy, folder.path(), &["Caddyfile".into()]);
    assert!(!settled.text.contains("Cache-Control: no-cache"), "{}", settled.text);
    assert!(
        settled.notes.iter().any(|note| note.suggestion.contains("path_pattern: '^/$'")),
        "{}",
        settled.text
    );
}

#[test]
fn another_upstream_is_tried_where_nginx_tries_one() {
    for (servers, told, retries) in [
        ("server a:80; server b:80;", "", Some("retries: {attempts: 2, on: [connect, reset]}")),
        (
            "server a:80; server b:80;",
            "proxy_next_upstream http_503;",
            Some("retries: {attempts: 2, on: [503]}"),
        ),
        ("server a:80; server b:80;", "proxy_next_upstream off;", Some("retries: {attempts: 1}")),
        ("server a:80;", "proxy_next_upstream error;", None),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            "upstream u {{ {servers} }}\nserver {{ listen 80; server_name a.example; {told} location / {{ proxy_pass http://u; }} }}\n"
        );
        replace(&folder.path().join("n.conf"), text.as_bytes(), 0o600, Durability::Unsynced).expect("a file");
        let settled = made(MovedFrom::Nginx, folder.path(), &["n.conf".into()]);
        let written = settled.text.lines().map(str::trim).find(|line| line.starts_with("retries:"));
        assert_eq!(written, retries, "{text}\n{}", settled.text);
    }
}

/// A line that no program knows, put before each line in turn, is told with its line or makes the file unreadable: the
/// negative control of the tree in which everything has to be taken.
fn nothing_is_lost(from: MovedFrom, text: &str, odd: impl Fn(&str) -> Option<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let lines: Vec<&str> = text.lines().collect();
    let mut tried = 0;
    for at in 0..=lines.len() {
        let before = lines.get(at).copied().unwrap_or_default();
        let Some(odd) = odd(before) else { continue };
        let mut with: Vec<&str> = lines.clone();
        with.insert(at, &odd);
        let file = folder.path().join("source");
        replace(&file, (with.join("\n") + "\n").as_bytes(), 0o600, Durability::Unsynced).expect("a file");
        let Ok(settled) = take_over(from, &["source".into()], &Shelf::at(folder.path()), folder.path())
        else {
            continue;
        };
        let line = at + 1;
        let told = settled.notes.iter().any(|note| note.line <= line && line <= note.until);
        // Where names are free, as those of headers are, it came along.
        let rows = settled.text.lines().map(str::trim_start);
        let told = told || rows.filter(|row| !row.starts_with('#')).any(|row| row.contains("frobnicate"));
        assert!(told, "line {line} is lost:\n{}\n{:#?}", with.join("\n"), settled.notes);
        tried += 1;
    }
    assert!(tried > 5, "{from}: {tried}");
}

#[test]
fn an_unknown_directive_is_told_wherever_it_stands() {
    let read = |name: &str| fs::read_to_string(corpus().join(name)).expect("it");
    let directive = |_: &str| Some("frobnicate_everything on;".to_owned());
    for name in ["nginx/certbot.conf", "nginx/rails.conf", "nginx/load-balancing.conf"] {
        nothing_is_lost(MovedFrom::Nginx, &read(name), directive);
    }
    for name in ["caddy/reverse-proxy.Caddyfile", "caddy/patterns.Caddyfile"] {
        nothing_is_lost(MovedFrom::Caddy, &read(name), |_| Some("frobnicate everything".to_owned()));
    }
    // A key with the indentation of the line that it stands before.
    let key = |before: &str| {
        let indent = before.len() - before.trim_start().len();
        let item = before.trim_start().starts_with(['-', '#']) || before.trim().is_empty();
        (!item).then(|| format!("{:indent$}frobnicate: everything", ""))
    };
    nothing_is_lost(MovedFrom::Traefik, &read("traefik/static-and-dynamic/dynamic.yml"), key);
    nothing_is_lost(MovedFrom::Traefik, &read("traefik/file-provider.yml"), key);
    nothing_is_lost(MovedFrom::Kamal, &read("kamal/full.yml"), key);
}

#[test]
fn what_was_guarded_stays_guarded_or_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let closed = "deny: [0.0.0.0/0, \"::/0\"]";
    let asked = "forward_auth: {url: \"http://auth:9091/verify?a=b\", response_headers: [Remote-User]}";
    for (guard, written) in [
        ("forward_auth auth:9091 {\n uri /verify?a=b\n copy_headers Remote-User\n }", asked),
        // What is not known before a request comes, a condition that is not known, and what the loader refuses.
        ("forward_auth {env.AUTH} {\n uri /verify\n }", closed),
        ("@odd expression {path}.size()>3\n respond @odd 403", closed),
        ("forward_auth auth:9091 {\n uri /verify\n copy_headers Host\n }", closed),
    ] {
        let text = format!("a.example {{\n {guard}\n reverse_proxy app:3000\n}}\n");
        let file = folder.path().join("Caddyfile");
        replace(&file, text.as_bytes(), 0o600, Durability::Unsynced).expect("a file");
        let settled = made(MovedFrom::Caddy, folder.path(), &["Caddyfile".into()]);
        assert!(settled.text.contains(written), "{guard}\n{}", settled.text);
        assert_eq!(settled.text.contains(closed), written == closed, "{guard}\n{}", settled.text);
    }
}

#[test]
fn locations_with_the_same_upstream_are_one_application_however_long_each_waits() {
    let location = |path: &str, times: &str| {
        format!("location {path} {{ {times} proxy_pass http://127.0.0.1:3000; }}\n")
    };
    let long = "proxy_read_timeout 120s;";
    let folder = tempfile::tempdir().expect("a folder");
    let imported = |locations: [String; 2]| {
        let text = format!("http {{ server {{ listen 80; server_name a.test;\n{}}} }}\n", locations.concat());
        replace(&folder.path().join("nginx.conf"), text.as_bytes(), 0o600, Durability::Unsynced)
            .expect("a file");
        let loaded = made(MovedFrom::Nginx, folder.path(), &["nginx.conf".into()]).loaded;
        loaded.settings.apps.into_values().collect::<Vec<_>>()
    };
    for (locations, below, waits) in [
        ([location("/", ""), location("/slow/", long)], "/slow", [None, Some("120s")]),
        ([location("/", long), location("/usual/", "")], "/usual", [Some("120s"), None]),
    ] {
        let apps = imported(locations);
        assert_eq!(apps.len(), 1, "{apps:?}");
        let usual = imported([location("/", ""), location("/other/", "")])[0].timeouts.response;
        for (path, wait) in ["/", below].into_iter().zip(waits) {
            let own = apps[0].paths.iter().find(|place| Ok(&place.path) == path.parse().as_ref());
            let response = own.and_then(|own| own.timeouts.response).unwrap_or(apps[0].timeouts.response);
            assert_eq!(response, wait.map_or(usual, |wait: &str| wait.parse().expect("a time")), "{path}");
        }
    }
}

#[test]
fn passwords_are_written_only_for_what_asks_for_them() {
    let folder = tempfile::tempdir().expect("a folder");
    for (leads, files) in [("api@internal", 0), ("shop", 1)] {
        let text = format!(
            "http:\n  routers:\n    a: {{rule: Host(`a.test`), service: {leads}, middlewares: [login]}}\n    \
             b: {{rule: Host(`b.test`), service: shop}}\n  services:\n    \
             shop: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:3000'}}]}}}}\n  middlewares:\n    \
             login: {{basicAuth: {{users: ['alice:$apr1$switcher$Vf8hwoRixkw/fViijyQM3/']}}}}\n"
        );
        replace(&folder.path().join("dynamic.yml"), text.as_bytes(), 0o600, Durability::Unsynced)
            .expect("a file");
        let settled = made(MovedFrom::Traefik, folder.path(), &["dynamic.yml".into()]);
        assert_eq!(settled.files.len(), files, "{}", settled.text);
    }
}

#[test]
fn garbage_is_refused_and_never_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    for text in
        ["", "{", "}", "\u{0}", "a: [", "((((", "{{{{{{{{{{", "- - - -", "\"", "location ~", "import x", "<<"]
    {
        replace(&folder.path().join("source"), text.as_bytes(), 0o600, Durability::Unsynced).expect("a file");
        for from in MovedFrom::value_variants() {
            let outcome = take_over(*from, &["source".into()], &Shelf::at(folder.path()), folder.path());
            // Kamal has defaults for everything.
            assert!(
                outcome.is_err() || matches!(from, MovedFrom::Kamal | MovedFrom::Compose),
                "{from}: {text:?}"
            );
        }
    }
}
