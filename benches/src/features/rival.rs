//! Who is compared, and how each says the same.

use std::net::SocketAddr;
use std::path::PathBuf;

use switcher_tests::certificate::put;
use switcher_tests::program;

use super::Feature;
use crate::peer::config::{self, Door, Ours};
use crate::peer::{self, find};

/// `alice` with the password `correct horse`, as `openssl passwd -apr1` writes it.
const APR1: &str = "alice:$apr1$switcher$Vf8hwoRixkw/fViijyQM3/\n";
/// Her password as `caddy hash-password` writes it.
const BCRYPT: &str = "$2a$14$RxZvVqdnnnKjl4OrK4NFvevlvI/LuH4Z7mVh4vydIEH0R9iXBtJ7K";

/// A program.
#[derive(Debug)]
pub(super) enum Rival {
    /// This proxy, or another build of it.
    Ours(PathBuf),
    /// nginx.
    Nginx(PathBuf),
    /// Caddy.
    Caddy(PathBuf),
    /// Traefik.
    Traefik(PathBuf),
}

/// Everybody who can be had; and why the rest cannot.
pub(super) fn everybody(others: bool) -> (Vec<Rival>, Vec<String>) {
    let (mut here, mut skipped) = (vec![Rival::Ours(program::find("switcher-proxy"))], Vec::new());
    let found = [
        ("nginx", find("nginx").map(Rival::Nginx).ok_or_else(|| "it is not installed".to_owned())),
        ("Caddy", if others { peer::caddy::program().map(Rival::Caddy) } else { Err(String::new()) }),
        ("Traefik", if others { peer::traefik::program().map(Rival::Traefik) } else { Err(String::new()) }),
    ];
    for (name, rival) in found.into_iter().filter(|_| others) {
        match rival {
            Ok(rival) => here.push(rival),
            Err(why) => skipped.push(format!("skipped: {name}: {why}")),
        }
    }
    (here, skipped)
}

/// Writes a configuration, and the command line that reads it.
pub(super) type Writing<'a> = Box<dyn FnOnce(&Door, &str) -> (String, Vec<String>) + 'a>;

impl Rival {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Ours(_) => crate::compare::OURS,
            Self::Nginx(_) => crate::compare::BASE,
            Self::Caddy(_) => "Caddy",
            Self::Traefik(_) => "Traefik",
        }
    }

    /// Whether HTTP/2 in clear text has a door of its own.
    pub(super) const fn is_apart(&self) -> bool {
        matches!(self, Self::Nginx(_))
    }

    /// What writes its configuration and its command line; none when it has no such feature.
    pub(super) fn written(&self, feature: Feature, backend: SocketAddr) -> Option<Writing<'_>> {
        let words = |program: &PathBuf, arguments: &[&str]| {
            let program = program.display().to_string();
            std::iter::once(program).chain(arguments.iter().map(|word| (*word).to_owned())).collect()
        };
        match self {
            Self::Ours(program) => {
                let middleware = ours(feature);
                Some(Box::new(move |door, file| {
                    users(door);
                    let text = config::ours(door, backend, Ours::PLAIN) + middleware;
                    (text, words(program, &["--config", file]))
                }))
            }
            Self::Nginx(program) => {
                let (everywhere, location) = nginx(feature);
                Some(Box::new(move |door, file| {
                    users(door);
                    let servers = format!("server {backend};");
                    let process = "master_process off;";
                    let text = config::nginx_with(door, process, &servers, everywhere, location);
                    (text, words(program, &["-p", ".", "-c", file]))
                }))
            }
            Self::Caddy(program) => {
                let site = caddy(feature)?;
                Some(Box::new(move |door, file| {
                    let text = config::caddy_with(door, "off", backend, &site);
                    (text, words(program, &["run", "--adapter", "caddyfile", "--config", file]))
                }))
            }
            Self::Traefik(program) => {
                let middleware = traefik(feature)?;
                Some(Box::new(move |door, _| {
                    users(door);
                    let text = config::traefik_rules(door, backend, middleware);
                    // It tells YAML by the name alone.
                    let file = door.folder.join("rules.yml");
                    put(&file, &text);
                    let flags = config::traefik_flags(door, &file.display().to_string());
                    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
                    (text, words(program, &flags))
                }))
            }
        }
    }
}

fn users(door: &Door) {
    put(&door.folder.join("users"), APR1);
}

const fn ours(feature: Feature) -> &'static str {
    match feature {
        Feature::Nothing => "",
        Feature::Gzip => "    middleware: {compress: {algorithms: [gzip 6]}}\n",
        Feature::Cache => "    middleware: {cache: on}\n",
        Feature::RateLimit => "    middleware: {rate_limit: {requests: 1000000, per: 1s}}\n",
        Feature::Login => "    middleware: {basic_auth: {file: users}}\n",
    }
}

/// What stands everywhere, and what at the location.
const fn nginx(feature: Feature) -> (&'static str, &'static str) {
    match feature {
        Feature::Nothing => ("", ""),
        Feature::Gzip => {
            ("", "gzip on; gzip_comp_level 6; gzip_min_length 1024; gzip_proxied any; gzip_http_version 1.1;")
        }
        Feature::Cache => ("proxy_cache_path cache keys_zone=held:10m;", "proxy_cache held;"),
        Feature::RateLimit => (
            "limit_req_zone $binary_remote_addr zone=each:10m rate=1000000r/s;",
            "limit_req zone=each burst=1000000 nodelay;",
        ),
        Feature::Login => ("", "auth_basic restricted; auth_basic_user_file users;"),
    }
}

fn caddy(feature: Feature) -> Option<String> {
    match feature {
        Feature::Nothing => Some(String::new()),
        Feature::Gzip => Some("encode {\n\t\tgzip 6\n\t\tminimum_length 1024\n\t}".to_owned()),
        Feature::Login => Some(format!("basic_auth {{\n\t\talice {BCRYPT}\n\t}}")),
        // Both come with other people's plugins alone.
        Feature::Cache | Feature::RateLimit => None,
    }
}

/// What its one middleware says; `None` within for none at all.
const fn traefik(feature: Feature) -> Option<Option<&'static str>> {
    match feature {
        Feature::Nothing => Some(None),
        // It has no level.
        Feature::Gzip => Some(Some("compress: {encodings: [gzip]}")),
        Feature::RateLimit => Some(Some("rateLimit: {average: 1000000, period: 1s, burst: 1000000}")),
        Feature::Login => Some(Some("basicAuth: {usersFile: users}")),
        // It comes with other people's plugins alone.
        Feature::Cache => None,
    }
}
