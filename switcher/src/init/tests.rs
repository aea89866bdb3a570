//! Compose files of many shapes, each written to a configuration that loads.

use std::path::Path;

use clap::Parser as _;
use switcher_config::document::{Document, Item};

use super::compose::{self, Unreadable};
use super::draft::{Wishes, draft};
use super::kind::{Sorted, sort};
use super::settle::{Settled, Unsettled, settle};

/// The files, with the secrets and other words that must not come through.
const FILES: &[(&str, &str, &[&str])] = &[
    ("tunnel", include_str!("tests/tunnel.yaml"), &["hunter2", "0123456789abcdef"]),
    ("swarm", include_str!("tests/swarm.yaml"), &[]),
    ("signaling", include_str!("tests/signaling.yaml"), &[]),
    ("pair", include_str!("tests/pair.yaml"), &[]),
    ("traefik", include_str!("tests/traefik.yaml"), &["H6uskkkW"]),
    ("names", include_str!("tests/names.yaml"), &[]),
    ("rights", include_str!("tests/rights.yaml"), &["hunter2"]),
    ("worker", include_str!("tests/worker.yaml"), &[]),
    (
        "secrets",
        include_str!("tests/secrets.yaml"),
        &[
            "12345",
            "aB/cD9xyz",
            "T000/B000",
            "deadbeef",
            "abc@",
            "hunter2",
            "hunter3",
            "hunter4",
            "hunter5",
            "hunter6",
            "hunter7",
        ],
    ),
];

fn wishes() -> Wishes {
    Wishes { folder: "/srv/shop".into(), ..Wishes::default() }
}

fn made(text: &str, wishes: &Wishes) -> Settled {
    let stack = compose::read("compose.yaml", Path::new("/srv/shop"), text).expect("a Compose file");
    let sorted = sort(stack, wishes.app.as_deref());
    settle(draft(Some("compose.yaml"), &sorted, wishes)).expect("a configuration that loads")
}

#[test]
fn every_shape_becomes_a_configuration_that_loads() {
    for (name, text, _) in FILES {
        insta::assert_snapshot!(*name, made(text, &wishes()).text);
    }
}

#[test]
fn no_secret_is_copied() {
    for (name, text, secrets) in FILES {
        let settled = made(text, &wishes());
        let told = format!("{}{:?}", settled.text, settled.leftovers);
        for secret in *secrets {
            assert!(text.contains(secret), "{name} holds {secret}");
            assert!(!told.contains(secret), "{name} tells {secret}:\n{told}");
        }
    }
}

#[test]
fn every_key_of_a_service_is_carried_over_needless_or_told() {
    let text = FILES.iter().find(|(name, ..)| *name == "rights").expect("the file").1;
    let settled = made(text, &wishes());
    for (line, what) in [
        (4, "network_mode"),
        (5, "privileged"),
        (6, "cap_add"),
        (7, "devices"),
        (8, "tmpfs"),
        (9, "sysctls"),
        (10, "memory"),
        (11, "user"),
        (13, "extends"),
        (14, "command"),
        (16, "ports"),
        (17, "made_up"),
    ] {
        let found = settled.leftovers.iter().any(|left| left.line == line && left.what.ends_with(what));
        assert!(found, "{what} of line {line} is told nowhere: {:?}", settled.leftovers);
    }
}

#[test]
fn what_compose_files_scale_link_and_reset_is_carried_over_or_told() {
    let text = "services:\n  web:\n    image: acme/web:1\n    ports: !override ['80:8080']\n    scale: 3\n    deploy: {replicas: 3}\n    \
                links: ['db:mysql']\n    hostname: shop\n    init: true\n    command: !reset []\n    cap_add: !reset null\n";
    let settled = made(text, &wishes());
    assert!(
        settled.text.contains("replicas: 3\n") && settled.text.contains("port: 8080"),
        "{}",
        settled.text
    );
    let told: Vec<_> = settled.leftovers.iter().map(|left| (left.line, left.what.as_str())).collect();
    assert_eq!(told, [(7, "web.links"), (8, "web.hostname"), (9, "web.init")]);
    let off = made("services: {web: {image: 'acme/web:1', ports: ['80'], init: false}}", &wishes());
    assert!(off.leftovers.is_empty(), "{:?}", off.leftovers);
}

#[test]
fn a_domain_and_an_address_bring_https() {
    let text = "services: {web: {image: acme/web, ports: ['80']}}";
    let asked = Wishes {
        app: Some("shop".to_owned()),
        hosts: vec!["shop.example.com".to_owned()],
        email: Some("ops@example.com".to_owned()),
        ..wishes()
    };
    let settings = made(text, &asked).loaded.settings;
    let shop = settings.apps.get(&"shop".parse().expect("a name")).expect("the application");
    assert_eq!(shop.hosts.len(), 1);
    assert!(!settings.proxy.https.is_empty() && settings.acme.is_some());
    let local = made(text, &wishes()).loaded.settings;
    assert!(local.proxy.https.is_empty() && local.acme.is_none());
}

/// The file at the top of the repository: its two slots are one application, and its commands are real ones.
#[test]
fn the_compose_file_at_the_top_is_right() {
    let text = include_str!("../../../docker-compose.yml");
    let settled = made(text, &wishes());
    let names: Vec<&str> = settled.apps.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"shop") && !names.contains(&"green"), "{names:?}");
    let document = Document::read("docker-compose.yml", text).expect("YAML").expect("a value");
    let services = document.root().get("services").expect("services");
    for name in ["blue", "green"] {
        let service = services.get(name).expect("the slot");
        let words = ["entrypoint", "command"].into_iter().filter_map(|key| service.get(key));
        let words: Vec<&str> = words.flat_map(Item::items).filter_map(Item::text).collect();
        assert!(crate::cli::Cli::try_parse_from(&words).is_ok(), "{words:?}");
    }
}

#[test]
fn a_bare_server_gets_a_beginning_that_loads() {
    let none = Sorted::default();
    insta::assert_snapshot!("skeleton", settle(draft(None, &none, &wishes())).expect("it loads").text);
    let asked = Wishes { hosts: vec!["shop.example.com".to_owned()], ..wishes() };
    assert!(settle(draft(None, &none, &asked)).expect("it loads").loaded.settings.acme.is_some());
}

#[test]
fn a_wish_that_cannot_be_used_is_an_error_and_no_leftover() {
    let asked = Wishes { app: Some("Not A Name".to_owned()), ..wishes() };
    let refused = settle(draft(None, &Sorted::default(), &asked));
    assert!(matches!(refused, Err(Unsettled::Refused(_))), "{refused:?}");
}

#[test]
fn a_mistake_in_the_file_has_its_line() {
    let read = |text| compose::read("compose.yaml", Path::new("/srv"), text);
    let error = read("services:\n  web:\n    image: a\n    image: b\n").expect_err("a key twice");
    assert_eq!(error.problems()[0].line, Some(4));
    for text in ["", "version: '3'\n", "services: [web]\n"] {
        assert!(matches!(read(text), Err(Unreadable::Other(..))), "{text:?}");
    }
}
