//! Loading as a user meets it: layers, secrets, files that are not there, and hostile files.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use switcher_config::settings::{
    DeploySettings, Directory, DnsProvider, HealthcheckChoice, Hook, TlsVersion,
};
use switcher_config::{AppName, Loaded, Report, Slot, Sources, Span, Template, load};
use tempfile::TempDir;

const MINIMAL: &str = "apps:\n  shop:\n    slots: {blue: [127.0.0.1:8001]}\n";

/// A folder with files in it, and the sources that see nothing else.
struct Place {
    folder: TempDir,
    sources: Sources,
}

impl Place {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let sources = Sources {
            file: None,
            environment: None,
            variables: BTreeMap::new(),
            secrets_dir: at("secrets"),
            working_dir: folder.path().to_owned(),
            system_file: at("etc/switcher.yaml"),
        };
        let place = Self { folder, sources };
        for (name, text) in files {
            place.write(name, text.as_bytes());
        }
        place
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a new folder");
        std::fs::File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("a written file");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn environment(mut self, name: &str) -> Self {
        self.sources.environment = Some(name.to_owned());
        self
    }

    fn load(&self) -> Loaded {
        load(&self.sources).unwrap_or_else(|report| panic!("{report}"))
    }

    fn report(&self) -> Report {
        match load(&self.sources) {
            Ok(loaded) => panic!("this must be refused:\n{}", loaded.show(true)),
            Err(report) => report,
        }
    }
}

fn shop() -> AppName {
    "shop".parse().expect("a name")
}

/// The one line of `show --origin` that holds `text`.
fn origin_of(loaded: &Loaded, text: &str) -> String {
    let shown = loaded.show(true);
    let line = shown.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{text} in\n{shown}"));
    line.split_once("# ").map(|(_, origin)| origin.to_owned()).unwrap_or_default()
}

#[test]
fn a_stronger_layer_wins_key_by_key_and_show_names_it() {
    let place = Place::with(&[
        (
            "switcher.yaml",
            "proxy: {threads: 1, http: [1.1.1.1:80, 1.1.1.2:80]}\napps: {shop: {drain: {requests: 1s}}}\n",
        ),
        (
            "switcher.development.yaml",
            "proxy: {threads: 2, http: 2.2.2.2:80, admin: /two}\napps: {shop: {drain: {uploads: 2s}}}\n",
        ),
        (
            ".env",
            "SWITCHER__PROXY__THREADS=3\nSWITCHER__PROXY__ADMIN=/three\nSWITCHER__PROXY__DATA_DIR=/three\n",
        ),
        ("secrets/switcher__proxy__shutdown_timeout", "5s\n"),
    ])
    .environment("development")
    .variable("SWITCHER__PROXY__THREADS", "4")
    .variable("SWITCHER__PROXY__SHUTDOWN_TIMEOUT", "4s")
    .variable("SWITCHER__APPS__SHOP__HOSTS", "[a.example.com, b.example.com]");
    let loaded = place.load();
    let proxy = &loaded.settings.proxy;
    assert_eq!(proxy.threads, 4);
    assert_eq!(proxy.http.len(), 1, "a list is replaced, not merged");
    assert_eq!(proxy.admin, Path::new("/three"));
    assert_eq!(proxy.shutdown_timeout, Span::seconds(5));
    let app = &loaded.settings.apps[&shop()];
    assert_eq!((app.drain.requests, app.drain.uploads), (Span::seconds(1), Span::seconds(2)));
    assert_eq!(app.hosts.len(), 2);
    for (text, origin) in [
        ("threads:", "environment variable SWITCHER__PROXY__THREADS"),
        ("- 2.2.2.2:80", "switcher.development.yaml:1"),
        ("admin:", ".env:2 SWITCHER__PROXY__ADMIN"),
        ("shutdown_timeout:", "secret switcher__proxy__shutdown_timeout"),
        ("requests: 1s", "switcher.yaml:2"),
        ("uploads:", "switcher.development.yaml:2"),
        ("websockets:", "default"),
        ("- b.example.com", "environment variable SWITCHER__APPS__SHOP__HOSTS"),
    ] {
        assert_eq!(origin_of(&loaded, text), origin, "{text}");
    }
    assert!(loaded.show(false).contains("shutdown_timeout: \"***\""));
    assert_eq!(loaded.show_json()["proxy"]["shutdown_timeout"], "***");
    assert_eq!(loaded.files.len(), 3);
}

#[test]
fn a_stronger_layer_takes_certificates_back_or_asks_for_them_in_another_way() {
    let base = "acme: {email: ops@example.com, dns: {provider: cloudflare, token_file: /run/token}}\napps: {shop: {hosts: [\"*.example.com\"]}}\n";
    let with = |layer| {
        Place::with(&[("switcher.yaml", base), ("switcher.production.yaml", layer)])
            .environment("production")
            .load()
    };
    assert_eq!(with("acme: null\n").settings.acme, None);
    let other = with("acme: {dns: {provider: null, token_file: null, exec: [/bin/hook]}}\n");
    let dns = other.settings.acme.as_ref().and_then(|acme| acme.dns.as_ref()).expect("still there");
    assert_eq!(dns.provider, DnsProvider::Exec(vec!["/bin/hook".into()]));
    assert!(!other.show(true).contains("token_file"), "{}", other.show(true));
    assert_eq!(origin_of(&other, "email:"), "switcher.yaml:1");

    let by_variable =
        Place::with(&[("switcher.yaml", MINIMAL), ("secrets/switcher__acme__eab__kid", "hunter2")])
            .variable("SWITCHER__ACME__EMAIL", "ops@example.com")
            .variable("SWITCHER__ACME__DIRECTORY", "[letsencrypt, zerossl]")
            .variable("SWITCHER__ACME__EAB__HMAC_FILE", "/run/hmac")
            .variable("SWITCHER__PROXY__HTTPS", "[{listen: \"0.0.0.0:443\", min_version: 1.3}]")
            .load();
    let listener = &by_variable.settings.proxy.https[0];
    assert_eq!(listener.min_version, TlsVersion::Tls13);
    assert_eq!(origin_of(&by_variable, "min_version:"), "environment variable SWITCHER__PROXY__HTTPS");
    let acme = by_variable.settings.acme.as_ref().expect("from variables");
    assert_eq!(acme.directories, [Directory::LetsEncrypt, Directory::ZeroSsl]);
    assert_eq!(acme.eab.as_ref().map(|eab| eab.kid.as_str()), Some("hunter2"));
    assert!(!by_variable.show(true).contains("hunter2"), "what came from a secret is not shown");
}

#[test]
fn dot_env_counts_in_development_only() {
    let files = [
        ("switcher.yaml", MINIMAL),
        (".env", "SWITCHER__APPS__SHOP__INITIAL=blue\nSWITCHER__PROXY__THREADS=9\n"),
    ];
    assert_eq!(Place::with(&files).load().settings.proxy.threads, 9);
    assert_eq!(Place::with(&files).environment("production").load().settings.proxy.threads, 0);
    let by_variable = Place::with(&files).variable("SWITCHER_ENVIRONMENT", "production");
    assert_eq!(by_variable.load().settings.proxy.threads, 0);

    let files = [("switcher.yaml", MINIMAL), (".env", "A=hunter2\nB=dotenv\n")];
    let place = Place::with(&files).variable("B", "variable");
    let loaded = place.load();
    let named: Vec<_> =
        loaded.variables().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(named, [("A", "hunter2"), ("B", "variable")]);
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert!(!place.environment("production").load().variables().contains_key("A"));
}

#[test]
fn a_key_can_be_overridden_at_any_depth_and_in_a_file_that_lacks_it() {
    let place = Place::with(&[("switcher.yaml", "apps: {big-shop: {}}\n")])
        .variable("SWITCHER__APPS__BIG_SHOP__HEALTH__LIVE__PATH", "/alive")
        .variable("SWITCHER__APPS__BIG_SHOP__SLOTS__GREEN", "[10.0.0.1:80, 10.0.0.2:80]")
        .variable("SWITCHER__APPS__BIG_SHOP__INITIAL", "green")
        .variable("SWITCHER__PROXY__HEADERS__SLOT", "off")
        .variable("SWITCHER_PORT", "tcp://not-ours");
    let settings = place.load().settings;
    assert_eq!(settings.proxy.slot_header, None);
    let app = settings.apps.values().next().expect("an app");
    assert_eq!(app.slots.get(Slot::Green).as_ref().map(Vec::len), Some(2));
}

#[test]
fn a_wrong_override_names_its_variable() {
    let place = Place::with(&[("switcher.yaml", MINIMAL)])
        .variable("SWITCHER__PROXY__THREDS", "4")
        .variable("SWITCHER__APPS__SHOP__HOSTS", "[a.example.com")
        .variable("SWITCHER__APPS__SHOP__INITIAL", "blau");
    let report = place.report();
    let told: Vec<_> =
        report.problems.iter().map(|p| (p.file.as_str(), p.key.as_str(), p.hint.as_str())).collect();
    assert!(
        told.contains(&(
            "environment variable SWITCHER__PROXY__THREDS",
            "proxy.threds",
            "did you mean `threads`?"
        )),
        "{told:?}"
    );
    assert!(told.iter().any(|t| t.0 == "environment variable SWITCHER__APPS__SHOP__INITIAL"), "{told:?}");
    assert!(told.iter().any(|t| t.0 == "environment variable SWITCHER__APPS__SHOP__HOSTS"), "{told:?}");
    assert_eq!(report.problems.len(), 3, "{report}");
}

#[test]
fn the_strongest_source_of_a_name_is_substituted() {
    let yaml = "apps: {shop: {hosts: [\"${HOST}.example.com\", \"${A}.example.com\"], maintenance: {bypass_token: \"${TOKEN}\"}}}\n";
    let place = Place::with(&[
        ("switcher.yaml", yaml),
        (".env", "HOST=dotenv\nA=dotenv\n"),
        ("secrets/token", "p$a${s}s #: \"x\n"),
    ])
    .variable("HOST", "variable")
    .variable("TOKEN", "not this one");
    let loaded = place.load();
    let app = &loaded.settings.apps[&shop()];
    let hosts: Vec<String> = app.hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["variable.example.com", "dotenv.example.com"]);
    assert_eq!(app.maintenance.bypass_token.as_deref(), Some("p$a${s}s #: \"x"));
    assert_eq!(origin_of(&loaded, "- variable"), "switcher.yaml:1 with environment variable HOST");
    assert_eq!(origin_of(&loaded, "- dotenv"), "switcher.yaml:1 with .env:2 A");
    assert_eq!(origin_of(&loaded, "bypass_token: \"***\""), "switcher.yaml:1 with secret token");
}

#[test]
fn a_secret_is_told_nowhere() {
    let yaml = "proxy: {client_ip_header: \"${S}\", http: \"${S}\"}\napps:\n  shop:\n    hosts: [\"${S}\", \"${S}\"]\n    path: \"/${S}\"\n  two:\n    hosts: [\"${S}\"]\n    path: \"/${S}\"\n    slots: {blue: [\"${S}:80\", \"${S}:80\"], green: [\"${S}\"]}\n    initial: \"${S}\"\n    health: {protocol: \"${S}\", path: \"${S}\"}\n    maintenance: {bypass_token: \"${S} \"}\n    tls: {certificate: \"/${S}\", \"${S}\": a}\n";
    let place = Place::with(&[
        ("switcher.yaml", yaml),
        ("secrets/S", "hunter2"),
        ("secrets/SWITCHER__PROXY__THREADS", "hunter2"),
        ("secrets/SWITCHER__PROXY__HTTPS", "[hunter2, hunter2"),
        ("secrets/SWITCHER__PROXY__TRUSTED_PROXIES", "[hunter2]"),
        (".env", "hunter2\n"),
    ]);
    let report = place.report();
    let told = format!("{report}{report:?}{}", serde_json::to_string(&report).expect("JSON"));
    assert!(!told.contains("hunter2"), "{report}");
    assert!(report.problems.len() >= 12, "{report}");

    let aliased = "x: &token hunter2\napps: {shop: {maintenance: {bypass_token: *token}}}\n";
    let told = Place::with(&[("switcher.yaml", aliased)]).report().to_string();
    assert!(told.contains("\"x\" is no key here") && !told.contains("hunter2"), "{told}");

    let good =
        "apps:\n  shop:\n    hosts: [\"${S}.example.com\"]\n    maintenance: {bypass_token: hunter2}\n";
    let loaded = Place::with(&[("switcher.yaml", good), ("secrets/S", "hunter2")]).load();
    let told = format!(
        "{}{}{}",
        loaded.show(true),
        loaded.show_json(),
        format_args!("{:?}", loaded.settings.apps[&shop()].maintenance)
    );
    assert!(!told.contains("hunter2"), "{told}");
}

/// An application whose `deploy` section holds these keys.
fn deployed(keys: &str) -> String {
    format!("apps:\n  shop:\n    deploy: {{{keys}}}\n")
}

fn deploy(loaded: &Loaded) -> &DeploySettings {
    loaded.settings.apps[&shop()].deploy.as_ref().expect("a deploy section")
}

#[test]
fn what_a_deployment_fills_in_is_kept_as_it_was_written() {
    let keys = "network: \"${NET}\", env: {A: \"${NET}-{slot}\", B: \"${NOT_SET:?ask}\"}, migrate: {command: \"run ${NET}\", env: {A: \"$$${NET}\"}, database_url: \"${NOT_SET}\"}, snapshot: {database_url: \"${NOT_SET}\"}, hooks: {start: null, pre_deploy: \"echo ${NET} $$\", on_failure: {command: [sh, -c, \"${NET%x}\"], timeout: \"${WAIT}\"}}";
    let loaded = Place::with(&[("switcher.yaml", &deployed(keys))])
        .variable("NET", "inner")
        .variable("WAIT", "7s")
        .load();
    let deploy = deploy(&loaded);
    let env: Vec<_> = deploy.env.values().map(Template::as_written).collect();
    assert_eq!((deploy.network.as_str(), env), ("inner", vec!["${NET}-{slot}", "${NOT_SET:?ask}"]));
    let migrate = deploy.migrate.as_ref().expect("migrations");
    assert_eq!(
        (migrate.command.join("|").as_str(), migrate.env["A"].as_written()),
        ("run|inner", "$$${NET}")
    );
    let hook = |hook: &Option<Hook>| hook.clone().expect("a hook");
    assert_eq!(hook(&deploy.hooks.pre_deploy).command, ["/bin/sh", "-c", "echo ${NET} $$"]);
    let on_failure = hook(&deploy.hooks.on_failure);
    assert_eq!((on_failure.command[2].as_str(), on_failure.timeout), ("${NET%x}", Span::seconds(7)));

    let words = |word: &str| (word == "slot").then(|| "blue".to_owned());
    let names = |name: &str| (name == "NET").then(|| "outer".to_owned());
    let filled = deploy.env["A"].resolve(words, names).expect("filled");
    assert_eq!((filled.text.as_str(), filled.used), ("outer-blue", vec!["NET".to_owned()]));
    let error = deploy.env["B"].resolve(words, names).expect_err("not set");
    assert_eq!(error.to_string(), "`NOT_SET` is not set: ask");
}

#[test]
fn a_variable_of_the_application_can_be_overridden_under_its_own_name() {
    let place = Place::with(&[
        ("switcher.yaml", &deployed("env: {LOG_LEVEL: info, Mixed: a}, migrate: {command: up}")),
        ("secrets/switcher__apps__shop__deploy__env__jwt_secret", "hunter2$5{x}"),
    ])
    .variable("SWITCHER__APPS__SHOP__DEPLOY__ENV__LOG_LEVEL", "a$b ${C}")
    .variable("SWITCHER__APPS__SHOP__DEPLOY__ENV__Mixed", "b")
    .variable("SWITCHER__APPS__SHOP__DEPLOY__MIGRATE__ENV__DJANGO__DEBUG", "1")
    .variable("SWITCHER__APPS__SHOP__DEPLOY__REPLICAS", "3");
    let loaded = place.load();
    let deploy = deploy(&loaded);
    let text = |name: &str| deploy.env[name].resolve(|_| None, |_| None).expect("no names").text;
    assert_eq!([text("LOG_LEVEL"), text("Mixed"), text("JWT_SECRET")], ["a$b ${C}", "b", "hunter2$5{x}"]);
    assert_eq!((deploy.env.len(), deploy.replicas), (3, 3));
    let migrate = deploy.migrate.as_ref().expect("migrations");
    assert_eq!(migrate.env["DJANGO__DEBUG"].as_written(), "1");
    assert!(!loaded.show(true).contains("hunter2"), "{}", loaded.show(true));
    assert!(loaded.show(false).contains("LOG_LEVEL: \"a$$b $${C}\""), "{}", loaded.show(false));
}

#[test]
fn values_of_a_deployment_are_told_nowhere() {
    let keys = "env: {A_TOKEN: hunter2, DATABASE_URL: \"postgres://app:hunter2@db/shop\", PLAIN: \"{slot}\"}, migrate: {command: [up], database_url: \"postgres://app:hunter2@db/shop\"}, snapshot: {database_url: \"${URL:-postgres://app:hunter2@db/shop}\"}";
    let loaded = Place::with(&[("switcher.yaml", &deployed(keys))]).load();
    let told = format!("{}{}{loaded:?}", loaded.show(true), loaded.show_json());
    assert!(!told.contains("hunter2") && told.contains("PLAIN: \"{slot}\""), "{told}");
    assert_eq!(deploy(&loaded).env["A_TOKEN"].as_written(), "hunter2");

    for broken in [
        "env:\n        KEY: hunter2\n        KEY: hunter2\n",
        "\"env\" :\n        KEY: hunter2\n        - x\n",
        "port: x\n      env: {KEY: hunter2, 1: hunter2, OPEN: \"hunter2${\"}\n",
        "env: {KEY: hunter2, [\n",
        "snapshot: {database_url: hunter2, keep: x}\n",
        "secrets: [hunter2!]\n      required_env: [\"A=hunter2\"]\n",
        "evn: {KEY: hunter2}\n      port: 0\n",
    ] {
        let text = format!("apps:\n  shop:\n    deploy:\n      {broken}");
        let report = Place::with(&[("switcher.yaml", &text)]).report();
        let told = format!("{report}{report:?}{}", serde_json::to_string(&report).expect("JSON"));
        assert!(!told.contains("hunter2"), "{text}\n{report}");
    }
}

#[test]
fn a_stronger_layer_takes_parts_of_a_deployment_back() {
    let base = deployed("env: {A: a, B: b}, snapshot: {database_url: \"${URL}\"}, healthcheck: off");
    let layer = deployed("env: {B: c}, snapshot: null, healthcheck: null, replicas: 2");
    let place = Place::with(&[("switcher.yaml", &base), ("switcher.production.yaml", &layer)]);
    let loaded = place.environment("production").load();
    let deploy = deploy(&loaded);
    let env: Vec<_> = deploy.env.values().map(Template::as_written).collect();
    assert_eq!((env, deploy.replicas), (vec!["a", "c"], 2));
    assert_eq!((&deploy.snapshot, &deploy.healthcheck), (&None, &HealthcheckChoice::Image));
}

#[test]
fn the_folder_of_the_file_is_known_and_the_proxy_leaves_deployments_out() {
    let mut place = Place::with(&[("etc/app/switcher.yaml", &deployed("env_files: [.env.production]"))]);
    place.sources.file = Some("etc/app/switcher.yaml".into());
    let loaded = place.load();
    assert_eq!(loaded.folder(), place.path("etc/app"));
    let changed = Place::with(&[("switcher.yaml", &deployed("replicas: 9"))]).load();
    assert_ne!(changed.settings, loaded.settings);
    let folder = Path::new("/etc/app");
    assert_eq!(changed.settings.for_proxy(folder), loaded.settings.for_proxy(folder));
}

#[test]
fn a_secret_that_is_misspelt_or_broken_is_not_quoted() {
    for broken in [
        "    maintenance: {bypass_tokn: hunter2}\n",
        "    maintenance:\n      bypas-token: hunter2\n",
        "    bypass_token: \"hunter2\n  hunter2 x\n",
        "    bypass_token: [\nhunter2\n  - {\n",
        "    admin_password: hunter2\n",
        "    bypass_token:\n      - hunter2\n      - {a: hunter2, a: hunter2}\n",
    ] {
        let text = format!("apps:\n  shop:\n{broken}");
        let told = Place::with(&[("switcher.yaml", &text)]).report().to_string();
        assert!(!told.contains("hunter2"), "{text}\n{told}");
    }
}

#[test]
fn a_file_that_is_not_there_is_told_with_every_place_looked_at() {
    let place = Place::with(&[]);
    let told = place.report().to_string();
    for part in [
        "--config: not given",
        "$SWITCHER_CONFIG: not set",
        "switcher.yaml",
        "etc/switcher.yaml",
        "write a switcher.yaml here",
    ] {
        assert!(told.contains(part), "{part} in\n{told}");
    }
    assert!(told.ends_with("1 problem in the configuration"), "{told}");

    let mut named = Place::with(&[("switcher.yaml", MINIMAL)]);
    named.sources.file = Some(PathBuf::from("swicher.yaml"));
    let told = named.report().to_string();
    assert!(told.starts_with("swicher.yaml: there is no such file; --config names it"), "{told}");
    assert!(told.contains("switcher.yaml exists"), "{told}");

    let by_variable = Place::with(&[]).variable("SWITCHER_CONFIG", "/nowhere/switcher.yaml");
    assert!(by_variable.report().to_string().contains("$SWITCHER_CONFIG names it"));
}

#[test]
fn the_named_file_goes_before_the_variable_the_folder_and_the_system() {
    let app = |name: &str| format!("apps: {{{name}: {{}}}}\n");
    let files = [
        ("a.yaml", app("a")),
        ("b.yaml", app("b")),
        ("switcher.yaml", app("c")),
        ("etc/switcher.yaml", app("d")),
    ];
    let mut place = Place::with(&files.each_ref().map(|(name, text)| (*name, text.as_str())));
    let first = |place: &Place| place.load().settings.apps.keys().next().expect("an app").to_string();
    place.sources.file = Some("a.yaml".into());
    place = place.variable("SWITCHER_CONFIG", "b.yaml");
    assert_eq!(first(&place), "a");
    place.sources.file = None;
    assert_eq!(first(&place), "b");
    place.sources.variables.clear();
    assert_eq!(first(&place), "c");
    std::fs::remove_file(place.path("switcher.yaml")).expect("removed");
    assert_eq!(first(&place), "d");
}

#[test]
fn ten_thousand_applications_fit_into_one_file() {
    let mut text = "apps:\n  first: {hosts: [first.test], slots: {blue: &here [127.0.0.1:8001]}, \
                    health: &health {interval: 1h, rise: 1}}\n"
        .to_owned();
    for number in 1..10_000 {
        let keys = format!("{{hosts: [app{number}.test], slots: {{blue: *here}}, health: *health}}");
        text.push_str(&format!("  app{number}: {keys}\n"));
    }
    let place = Place::with(&[("switcher.yaml", &text)]);
    assert_eq!(place.load().settings.apps.len(), 10_000);
}

#[test]
fn a_folder_a_dead_link_and_a_huge_file_are_refused_by_name() {
    let mut place = Place::with(&[("folder/x", "")]);
    place.sources.file = Some("folder".into());
    assert!(place.report().to_string().starts_with("folder: this is a folder"));

    std::os::unix::fs::symlink("nowhere", place.path("link.yaml")).expect("a link");
    place.sources.file = Some("link.yaml".into());
    assert!(place.report().to_string().starts_with("link.yaml: this link points to no file"));

    place.write("huge.yaml", &b"# filler\n".repeat(10 << 20 >> 3));
    place.sources.file = Some("huge.yaml".into());
    assert!(place.report().to_string().starts_with("huge.yaml: this file is larger than 1MiB"));

    place.write("wide.yaml", &[b"proxy: {http: [".as_slice(), &b"x,".repeat(300_000), b"]}"].concat());
    place.sources.file = Some("wide.yaml".into());
    let told = place.report().to_string();
    assert!(told.contains("more than 200000 values") && told.len() < 1000, "{told}");
}

#[test]
fn a_file_that_may_not_be_read_is_told() {
    let place = Place::with(&[("switcher.yaml", MINIMAL)]);
    let path = place.path("switcher.yaml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).expect("changed permissions");
    // The superuser may read everything; then there is nothing to refuse.
    match std::fs::File::open(&path) {
        Ok(_) => assert_eq!(place.load().settings.apps.len(), 1),
        Err(_) => assert!(place.report().to_string().starts_with("switcher.yaml: this file may not be read")),
    }
}

#[test]
fn an_environment_is_a_plain_word() {
    let told = Place::with(&[("switcher.yaml", MINIMAL)]).environment("../prod").report().to_string();
    assert!(told.starts_with("\"../prod\" is no name of an environment"), "{told}");
}

#[test]
fn a_mistake_in_one_file_does_not_hide_one_in_another() {
    let place = Place::with(&[
        ("switcher.yaml", "apps: {shop: {tls: of}}\n"),
        ("switcher.production.yaml", "apps: [\n"),
    ])
    .environment("production");
    let report = place.report();
    let files: Vec<&str> = report.problems.iter().map(|p| p.file.as_str()).collect();
    assert!(files.contains(&"switcher.yaml") && files.contains(&"switcher.production.yaml"), "{report}");
}

#[test]
fn a_report_is_json_with_the_same_problems() {
    let report = Place::with(&[("switcher.yaml", "apps: {shop: {tsl: off}}\n")]).report();
    assert_eq!(
        serde_json::to_value(&report).expect("JSON"),
        serde_json::json!({"problems": [{
            "file": "switcher.yaml", "line": 1, "column": 15, "key": "apps.shop.tsl",
            "message": "\"tsl\" is no key here", "hint": "did you mean `tls`?",
        }]})
    );
}

/// One line of YAML for a setting, out of many that are good.
fn settings() -> impl Strategy<Value = String> {
    let text = "[ -~]{0,12}".prop_map(|text| serde_json::to_string(&text).expect("JSON").replace('$', "$$"));
    let proxy = (0u16.., 1u16..u16::MAX, "[a-z/ #:'\"\\\\$é\u{7}-]{1,20}", any::<bool>()).prop_map(|(threads, port, folder, log)| {
        let folder = serde_json::to_string(&folder).expect("JSON").replace('$', "$$");
        let log = if log { "off" } else { "text" };
        format!("proxy: {{threads: {threads}, http: [\"127.0.0.1:{port}\", \"[::1]:{port}\"], data_dir: {folder}, access_log: {log}, handshakes: {{timeout: {port}ms, limit: {port}}}, https: [\"127.0.0.2:{port}\", {{listen: \"127.0.0.3:{port}\", min_version: 1.3}}, {{listen: \"127.0.0.4:{port}\", ciphers: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}}]}}\n")
    });
    let app = ("[a-z][a-z0-9]{0,8}", 0u64..10_000_000, 1u64..10_000, any::<u32>(), 100u16..599, text).prop_map(
        |(host, drain, interval, requests, status, body)| {
            let body = if body == "\"\"" { "\"x\"".to_owned() } else { body };
            format!(
                "  app-{host}:\n    hosts: [{host}.example.com, \"*.{host}\"]\n    tls: internal\n    drain: {{requests: {drain}ms}}\n    health: {{interval: {interval}ms, status: {status}-599, body: {body}}}\n    pause: {{requests: {requests}, memory: {drain}}}\n    slots: {{green: [\"h2c://{host}:80\"]}}\n    initial: green\n"
            )
        },
    );
    (proxy, acme(), prop::collection::vec(app, 1..4), deployment()).prop_map(
        |(proxy, acme, mut apps, deploy)| {
            apps.sort();
            apps.dedup_by_key(|app| app.lines().next().map(str::to_owned));
            format!("{proxy}{acme}apps:\n{}{CERTIFIED}{deploy}", apps.concat())
        },
    )
}

/// An application with a `deploy` section. (Values that may be secrets would be hidden, and so not read back.)
fn deployment() -> impl Strategy<Value = String> {
    let json = |text: String| serde_json::to_string(&text).expect("JSON");
    let template = prop::sample::select(vec![
        "${A}",
        "{slot}",
        "$$5 {x}",
        "${A:-${B:-c}}",
        "a: #b",
        "",
        "on",
        "1e3",
        "${A:?say it}{",
        "é\u{7}\"'\\",
    ]);
    let word = "[ -~é]{0,8}".prop_map(move |text| json(format!("x{}", text.replace('$', "$$"))));
    let hook = "[ -#%-~\n]{0,12}".prop_map(move |text| json(format!("y$X${{Y%z}}$${text}")));
    let texts = (
        template,
        word,
        hook,
        prop::sample::select(vec!["off", "null", "{command: x}", "{command: [a, b], retries: 7}"]),
    );
    let numbers = (1u16..1000, 10u32..4_000_000, 6u64 << 20.., 1u64..10_000_000);
    (texts, numbers).prop_map(move |((template, word, hook, check), (count, millis, memory, span))| {
        let cpus = format!("{}.{:03}", millis / 1000, millis % 1000);
        let template = json(template.to_owned());
        format!(
            "  zz-deployed:\n    path: /zz\n    deploy:\n      port: {count}\n      replicas: {count}\n      env: {{A: {template}, \"on\": {template}, a.b-C_1: x}}\n      labels: {{x: {word}, \"true\": {word}, 1.5: \"\"}}\n      limits: {{memory: {memory}, cpus: {cpus}, pids: {millis}}}\n      command: [{word}, {word}, \"\"]\n      entrypoint: [{word}]\n      healthcheck: {check}\n      migrate: {{command: [{word}], env: {{B: {template}}}, timeout: {span}ms, database_url: \"${{U}}\"}}\n      env_files: [{word}]\n      keep_previous: {span}ms\n      hooks: {{pre_deploy: {hook}, activate: [{hook}, -c, {template}], on_failure: {{command: [a, {word}], timeout: {span}ms}}}}\n"
        )
    })
}

/// Applications whose keys about certificates stand for every kind there is.
const CERTIFIED: &str = "  files: {hosts: [files.example.org], tls: {certificate: a.pem, key: 'b #.key', ocsp: \"c: d\"}, hsts: ladder, client_ca: e.pem}\n  \
    customers: {path: /customers, tls: on_demand, canonical_host: www.example.org, hsts: {max_age: 400d, include_subdomains: yes, preload: on}}\n  \
    home: {hosts: [nas.lan], tls: internal, hsts: {max_age: 90m}}\n";

/// The `acme` section.
fn acme() -> impl Strategy<Value = String> {
    let word = || {
        "[ -~]{0,12}"
            .prop_map(|text| serde_json::to_string(&format!("x{text}")).expect("JSON").replace('$', "$$"))
    };
    let directory = prop::sample::select(vec![
        "letsencrypt-staging",
        "[letsencrypt, google]",
        "[https://ca.example:14000/dir?a=$$b, zerossl]",
    ]);
    let challenge = prop::sample::select(vec!["auto", "http-01", "tls-alpn-01", "dns-01"]);
    let kind =
        (prop::sample::select(vec!["ecdsa", "rsa", "both"]), prop::sample::select(vec!["app", "host"]));
    let who = (any::<bool>(), word(), word(), word()).prop_map(|(named, a, b, c)| {
        if named {
            format!("provider: rfc2136, server: {a}, key_name: {b}, key_file: ./f, algorithm: {c}")
        } else {
            format!("exec: [{a}, {b}, {c}, \"\"]")
        }
    });
    let numbers = (1u32..100, 1u64..10_000_000, 1u32.., any::<[u8; 4]>());
    (directory, challenge, kind, who, word(), numbers).prop_map(
        |(directory, challenge, (key, group), who, text, (seconds, millis, limit, ip))| {
            let [a, b, c, d] = ip;
            format!(
                "acme:\n  email: a+b@example.com\n  directory: {directory}\n  challenge: {challenge}\n  eab: {{kid: {text}, hmac_file: ./h}}\n  ca_file: {text}\n  dns: {{{who}, propagation_timeout: {millis}ms, ttl: {seconds}s}}\n  resolvers: [{a}.{b}.{c}.{d}, \"{a}.{b}.{c}.{d}:{seconds}\", \"::{a}\"]\n  profile: {text}\n  key: {key}\n  group: {group}\n  retry: {{first: {millis}ms, max: 12h}}\n  on_demand: {{ask: \"http://127.0.0.1:{seconds}/?a=b\", limit: {limit}, window: {millis}ms, refusal: {seconds}m}}\n"
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shown_loads_to_the_same_settings(text in settings(), with_origin: bool) {
        let place = Place::with(&[("switcher.yaml", &text)]);
        let first = load(&place.sources).map_err(|report| TestCaseError::fail(format!("{text}\n{report}")))?;
        let shown = first.show(with_origin);
        place.write("switcher.yaml", shown.as_bytes());
        let second = load(&place.sources).map_err(|report| TestCaseError::fail(format!("{shown}\n{report}")))?;
        prop_assert_eq!(&first.settings, &second.settings);
        prop_assert_eq!(first.show_json(), second.show_json());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let place = Place::with(&[]);
        place.write("switcher.yaml", &bytes);
        place.write(".env", &bytes);
        place.write("secrets/SWITCHER__PROXY__THREADS", &bytes);
        let _ = load(&place.sources).map_err(|report| report.to_string());
    }

    #[test]
    fn arbitrary_yaml_like_text_never_panics(text in "([a-z]{1,3}|apps|proxy|health|acme|dns|deploy|env|hooks|migrate|https|tls|hsts|hosts|directory|eab|[:\\-\\[\\]{},&*!|>'\"#%@`?$~<]|\\$\\{|\n|  |\t| |é){0,60}") {
        let place = Place::with(&[("switcher.yaml", &text)]).variable("SWITCHER__APPS__A__HOSTS", &text);
        let _ = load(&place.sources).map_err(|report| report.to_string());
    }
}
