//! The configurations in `examples/`: good ones load, each bad one gives exactly the report beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::load::{Sources, load};
use crate::node::{Node, Value};
use crate::providers::{OPTIONS, PROVIDERS};
use crate::settings::DnsProvider;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

fn examples(name: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder(name))
        .expect("the folder of examples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}

fn sources(file: &Path) -> Sources {
    let variables = [("BYPASS_TOKEN", "let-me-in"), ("HIDDEN", "hunter2")];
    Sources {
        file: Some(file.to_owned()),
        environment: None,
        variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        secrets_dir: folder("no-secrets"),
        working_dir: file.parent().expect("a folder").to_owned(),
        system_file: folder("no-system-file"),
    }
}

/// The sections whose keys are the user's.
const NAMED: [&str; 23] = [
    "apps",
    "apps.*.error_pages",
    "proxy.error_pages",
    "apps.*.deploy.env",
    "apps.*.deploy.migrate.env",
    "apps.*.deploy.labels",
    "apps.*.deploy.smoke.headers",
    "switcher.notify.headers",
    "apps.*.match.headers",
    "apps.*.match.query",
    "apps.*.paths",
    "proxy.middleware.request_headers.set",
    "proxy.middleware.request_headers.add",
    "proxy.middleware.response_headers.set",
    "proxy.middleware.response_headers.add",
    "apps.*.middleware.request_headers.set",
    "apps.*.middleware.request_headers.add",
    "apps.*.middleware.response_headers.set",
    "apps.*.middleware.response_headers.add",
    "apps.*.paths.*.request_headers.set",
    "apps.*.paths.*.request_headers.add",
    "apps.*.paths.*.response_headers.set",
    "apps.*.paths.*.response_headers.add",
];

/// Every key below a node, as paths in which a name of the user's is `*`.
fn keys(node: &Node, path: &str, found: &mut BTreeSet<String>) {
    if let Value::Sequence(items) = &node.value {
        items.iter().for_each(|item| keys(item, path, found));
    }
    for (key, below) in node.entries() {
        let name = if NAMED.contains(&path) { "*" } else { key.text.as_str() };
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        keys(below, &path, found);
        found.insert(path);
    }
}

/// Every key in a schema, as the same paths.
fn schema_keys(schema: &serde_json::Value, path: &str, found: &mut BTreeSet<String>) {
    for form in schema["anyOf"].as_array().into_iter().flatten() {
        schema_keys(form, path, found);
    }
    let named = schema["properties"].as_object().into_iter().flatten();
    let any = schema.get("additionalProperties").filter(|s| s.is_object()).map(|s| ("*", s));
    for (key, below) in named.map(|(key, below)| (key.as_str(), below)).chain(any) {
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        schema_keys(below, &path, found);
        found.insert(path);
    }
}

#[test]
fn every_good_example_loads_and_shows_itself() {
    let files = examples("good");
    assert!(files.len() >= 10);
    for file in files {
        let loaded = load(&sources(&file)).unwrap_or_else(|report| panic!("{}:\n{report}", file.display()));
        for with_origin in [false, true] {
            let folder = tempfile::tempdir().expect("a folder");
            let again = folder.path().join("again.yaml");
            let text =
                loaded.show(with_origin).replace("url: \"***\"", "url: https://hooks.example.com/shop");
            let text = text.replace("\"***\"", "let-me-in");
            crate::durable::replace(&again, text.as_bytes(), 0o600, crate::durable::Durability::Synced)
                .expect("a written file");
            let shown = load(&sources(&again)).unwrap_or_else(|report| panic!("{text}\n{report}"));
            assert_eq!(shown.settings, loaded.settings, "{}", file.display());
        }
    }
}

#[test]
fn the_good_examples_use_every_key() {
    let mut used = BTreeSet::new();
    for file in examples("good") {
        let text = std::fs::read_to_string(&file).expect("the example");
        let node = crate::yaml::parse(&text, &crate::yaml::in_file(&"x".into()), &mut Vec::new());
        keys(&node.expect("a tree"), "", &mut used);
    }
    let mut known = BTreeSet::new();
    schema_keys(&crate::schema(), "", &mut known);
    // Every provider with all of its options is tried below.
    known.retain(|key| key.strip_prefix("acme.dns.").is_none_or(|option| !OPTIONS.contains(&option)));
    assert!(known.len() > 100, "{known:?}");
    assert_eq!(known.difference(&used).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// The smallest good example, with these entries in `acme.dns`.
fn with_dns(entries: &[String]) -> Result<crate::Loaded, crate::Report> {
    let mut sources = sources(&folder("good").join("minimal.yaml"));
    sources.variables.insert("SWITCHER__ACME__DNS".into(), format!("{{{}}}", entries.join(", ")));
    load(&sources)
}

#[test]
fn every_provider_takes_its_options_and_lacks_each_that_it_needs() {
    for provider in PROVIDERS {
        let name = provider.name;
        let entry = |option: &&str| format!("{option}: /run/{option}");
        let all: Vec<String> = provider.needs.iter().chain(provider.may).map(entry).collect();
        let whole = [vec![format!("provider: {name}")], all].concat();
        let loaded = with_dns(&whole).unwrap_or_else(|report| panic!("{name}:\n{report}"));
        let dns = loaded.settings.acme.and_then(|acme| acme.dns).expect("what was written");
        let options = provider
            .needs
            .iter()
            .chain(provider.may)
            .map(|option| ((*option).into(), format!("/run/{option}")));
        assert_eq!(dns.provider, DnsProvider::Named { name: name.into(), options: options.collect() });
        for option in OPTIONS {
            let needed = provider.needs.contains(option);
            if !needed && provider.may.contains(option) {
                continue;
            }
            let mut other = whole.clone();
            other.retain(|entry| !entry.starts_with(&format!("{option}:")));
            other.extend((!needed).then(|| entry(option)));
            let report = with_dns(&other).map(|_| ()).expect_err("one too many or too few").to_string();
            assert!(report.contains(&format!("`{option}`")), "{name} {option}: {report}");
        }
    }
}

#[test]
fn an_unknown_provider_is_told_every_name_there_is() {
    let report =
        with_dns(&["provider: my-own-name-server".into()]).map(|_| ()).expect_err("unknown").to_string();
    assert!(PROVIDERS.iter().all(|provider| report.contains(&format!("`{}`", provider.name))), "{report}");
}

#[test]
fn every_whole_example_of_the_readmes_loads() {
    let read = |page: &str| {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).expect("a page")
    };
    let pages = ["../README.md", "README.md", "../switcher/README.md"].map(read).concat();
    let blocks = pages.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let is_whole = |block: &&str| block.lines().any(|line| line.starts_with("apps:"));
    let whole: Vec<&str> = blocks.filter(is_whole).collect();
    assert!(whole.len() >= 20, "{}", whole.len());
    for block in whole {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("switcher.yaml");
        crate::durable::replace(&file, block.as_bytes(), 0o600, crate::durable::Durability::Synced)
            .expect("written");
        load(&sources(&file)).unwrap_or_else(|report| panic!("{block}\n{report}"));
    }
}

#[test]
fn every_bad_example_gives_the_report_beside_it() {
    let update = std::env::var_os("UPDATE_REPORTS").is_some();
    let files = examples("bad");
    assert!(files.len() >= 25);
    let mut wrong = BTreeMap::new();
    for file in files {
        let report = match load(&sources(&file)) {
            Ok(_) => panic!("{} loads, and is a bad example", file.display()),
            Err(report) => report,
        };
        let text = format!("{report}\n");
        assert!(!text.contains("hunter2"), "{} tells a secret:\n{text}", file.display());
        let json = serde_json::to_string(&report).expect("JSON");
        assert!(!json.contains("hunter2"), "{} tells a secret:\n{json}", file.display());
        let expected = file.with_extension("report");
        if update {
            crate::durable::replace(&expected, text.as_bytes(), 0o644, crate::durable::Durability::Synced)
                .expect("a written report");
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != text {
            wrong.insert(expected, text);
        }
    }
    let told: String = wrong.iter().map(|(file, text)| format!("--- {}\n{text}", file.display())).collect();
    assert!(
        wrong.is_empty(),
        "reports have changed; if that is right, run again with UPDATE_REPORTS=1\n{told}"
    );
}

/// The keys that a schema marks as secrets.
fn secret_keys(schema: &serde_json::Value, key: &str, found: &mut BTreeSet<String>) {
    if schema["writeOnly"] == true {
        found.insert(key.to_owned());
    }
    for form in schema["anyOf"].as_array().into_iter().flatten() {
        secret_keys(form, key, found);
    }
    for (key, below) in schema["properties"].as_object().into_iter().flatten() {
        secret_keys(below, key, found);
    }
    if schema["additionalProperties"].is_object() {
        secret_keys(&schema["additionalProperties"], key, found);
    }
}

#[test]
fn every_secret_key_is_known_to_be_one() {
    let mut declared = BTreeSet::new();
    secret_keys(&crate::schema(), "", &mut declared);
    assert_eq!(declared.iter().collect::<Vec<_>>(), crate::keys::SECRET_KEYS);
    assert!(declared.iter().all(|key| crate::keys::looks_secret(key)));
}

#[test]
fn the_schema_is_the_committed_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.json");
    let mut text = serde_json::to_string_pretty(&crate::schema()).expect("JSON");
    text.push('\n');
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        crate::durable::replace(&file, text.as_bytes(), 0o644, crate::durable::Durability::Synced)
            .expect("a written schema");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == text,
        "config/schema.json is not what the declarations say; refresh it with\n  UPDATE_SCHEMA=1 cargo test -p switcher-config the_schema"
    );
}

#[test]
fn the_schema_and_the_reader_agree_on_the_good_examples() {
    for file in examples("good") {
        let text = std::fs::read_to_string(&file).expect("the example");
        let node = crate::yaml::parse(
            text.trim_start_matches('\u{feff}'),
            &crate::yaml::in_file(&"x".into()),
            &mut Vec::new(),
        );
        let value = as_json(&node.expect("a tree"));
        assert_eq!(misfit(&crate::schema(), &value, ""), None, "{}", file.display());
    }
    let misspelt = serde_json::json!({"apps": {"shop": {"host": "a.example.com"}}});
    assert!(misfit(&crate::schema(), &misspelt, "").is_some());
}

fn as_json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Scalar { .. } if node.is_null() => serde_json::Value::Null,
        Value::Scalar { text, plain: true } if matches!(text.as_str(), "true" | "false") => {
            (text == "true").into()
        }
        Value::Scalar { text, plain: true } if text.parse::<u64>().is_ok() => {
            text.parse::<u64>().expect("a number").into()
        }
        Value::Scalar { text, .. } => text.as_str().into(),
        Value::Sequence(items) => items.iter().map(as_json).collect(),
        Value::Mapping(entries) => {
            serde_json::Value::Object(entries.iter().map(|(k, v)| (k.text.clone(), as_json(v))).collect())
        }
    }
}

/// Where a value does not fit a schema: the part of JSON Schema that ours uses, patterns apart.
fn misfit(schema: &serde_json::Value, value: &serde_json::Value, path: &str) -> Option<String> {
    let wrong = || Some(format!("{path}: {value} does not fit {schema}"));
    if let Some(forms) = schema["anyOf"].as_array() {
        return if forms.iter().any(|form| misfit(form, value, path).is_none()) { None } else { wrong() };
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return wrong();
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return wrong();
    }
    let kind = match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "boolean",
        serde_json::Value::Number(_) => "integer",
        serde_json::Value::String(_) => "string",
        serde_json::Value::Array(_) => "array",
        serde_json::Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        serde_json::Value::Null => true,
        serde_json::Value::Array(kinds) => {
            kinds.contains(&kind.into()) || kind == "integer" && kinds.contains(&"number".into())
        }
        one @ (serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_)
        | serde_json::Value::Object(_)) => one == kind,
    };
    if !allowed {
        return wrong();
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(told) = misfit(&schema["items"], item, &format!("{path}[{index}]")) {
            return Some(told);
        }
    }
    for (key, below) in value.as_object().into_iter().flatten() {
        let known = schema["properties"].get(key).unwrap_or(&schema["additionalProperties"]);
        if *known == false {
            return Some(format!("{path}: {key} is no key"));
        }
        if let Some(told) = misfit(known, below, &format!("{path}.{key}")) {
            return Some(told);
        }
    }
    None
}
