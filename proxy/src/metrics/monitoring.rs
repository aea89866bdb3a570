//! The dashboard and the alert rules in `proxy/monitoring`, held against the metrics that exist.
//!
//! A family or label that was renamed leaves panels empty and alerts silent, and nobody would notice.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use prometheus::proto::MetricFamily;
use regex::Regex;
use switcher_config::wire::{ByKind, CertificateSource, CertificateStatus, Health};
use switcher_config::{AppName, Generation, Slot};

use super::{Fallback, Metrics};

const DASHBOARD: &str = include_str!("../../monitoring/grafana.json");
const ALERTS: &str = include_str!("../../monitoring/alerts.yaml");

/// The labels of each family, with their values.
fn families() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let metrics = Metrics::new("0.1.0").expect("metrics");
    let shop: AppName = "shop".parse().expect("a name");
    let _handles = metrics.app(&shop);
    metrics.set_app(&shop, Slot::Blue, Generation::FIRST, 0);
    for slot in Slot::ALL {
        metrics.set_slot(&shop, slot, Health::Unknown, &ByKind::default());
    }
    metrics.set_canary(&shop, None);
    metrics.set_bake(&shop, false);
    let _mirror = metrics.mirror(&shop);
    metrics.fell_back(&shop, Fallback::Found);
    let _raw = metrics.raw(&shop, Slot::Blue);
    metrics.raw_refused(&shop);
    let certificate = |source| CertificateStatus {
        names: vec!["shop.test".to_owned()],
        source,
        ca: None,
        not_after: Timestamp::now(),
        renew_at: None,
        failures: 1,
        retry_at: None,
        problem: None,
    };
    let sources = [CertificateSource::Acme, CertificateSource::Placeholder];
    metrics.certificates.set(&sources.map(certificate));
    let families = metrics.registry.gather();
    families.iter().map(|family| (family.name().to_owned(), labels(family))).collect()
}

fn labels(family: &MetricFamily) -> BTreeMap<String, BTreeSet<String>> {
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for pair in family.get_metric().iter().flat_map(|metric| metric.get_label()) {
        labels.entry(pair.name().to_owned()).or_default().insert(pair.value().to_owned());
    }
    if family.name().ends_with("_seconds") {
        labels.entry("le".to_owned()).or_default();
    }
    labels
}

/// What is wrong with an expression: a family, label or value that does not exist.
fn wrong(expression: &str, families: &BTreeMap<String, BTreeMap<String, BTreeSet<String>>>) -> Vec<String> {
    let family = Regex::new(r"(switcher_[a-z0-9_]+)(?:\{([^}]*)\})?").expect("a pattern");
    let matcher = Regex::new(r#"([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)""#).expect("a pattern");
    let grouping = Regex::new(r"\b(?:by|on) \(([^)]*)\)").expect("a pattern");
    let mut wrong = Vec::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for found in family.captures_iter(expression) {
        let written = &found[1];
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| written.strip_suffix(end));
        let name = name.filter(|name| families.contains_key(*name)).unwrap_or(written);
        let Some(labels) = families.get(name) else {
            wrong.push(format!("there is no {written}"));
            continue;
        };
        known.extend(labels.keys().map(String::as_str));
        for matched in found.get(2).into_iter().flat_map(|inner| matcher.captures_iter(inner.as_str())) {
            let (label, value) = (&matched[1], &matched[3]);
            let Some(values) = labels.get(label) else {
                wrong.push(format!("{name} has no {label}"));
                continue;
            };
            let unknown = value.split('|').filter(|value| *value != "$app" && !values.contains(*value));
            wrong.extend(unknown.map(|value| format!("{name} has no {label} {value:?}")));
        }
    }
    for list in grouping.captures_iter(expression) {
        let labels = list[1].split(',').map(str::trim).filter(|label| !known.contains(label));
        wrong.extend(labels.map(|label| format!("nothing in it has the label {label}")));
    }
    wrong
}

fn expressions_of_panels(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(keys) => {
            for (key, below) in keys {
                let text = below.as_str().filter(|text| key == "expr" || text.contains("label_values"));
                found.extend(text.map(ToOwned::to_owned));
                expressions_of_panels(below, found);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| expressions_of_panels(item, found)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_what_exists() {
    let families = families();
    let mut panels = Vec::new();
    expressions_of_panels(&serde_json::from_str(DASHBOARD).expect("JSON"), &mut panels);
    let alerts: Vec<String> =
        ALERTS.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(ToOwned::to_owned).collect();
    assert!(panels.len() > 20 && alerts.len() > 10, "{} and {}", panels.len(), alerts.len());
    for expression in panels.iter().chain(&alerts) {
        assert_eq!(wrong(expression, &families), Vec::<String>::new(), "{expression}");
    }
    let asked: String = panels.iter().chain(&alerts).cloned().collect();
    let unseen: Vec<&String> = families.keys().filter(|name| !asked.contains(name.as_str())).collect();
    assert!(unseen.is_empty(), "families that nobody looks at: {unseen:?}");
}

#[test]
fn an_expression_about_what_does_not_exist_is_noticed() {
    let families = families();
    for (expression, told) in [
        ("rate(switcher_request_total[1m])", "there is no switcher_request_total"),
        (r#"switcher_active{application="x"}"#, "switcher_active has no application"),
        (r#"switcher_health{state="well"}"#, r#"switcher_health has no state "well""#),
        ("sum by (path) (switcher_held)", "nothing in it has the label path"),
    ] {
        assert_eq!(wrong(expression, &families), [told], "{expression}");
    }
    let good = r#"histogram_quantile(0.99, sum by (app, le) (rate(switcher_request_duration_seconds_bucket{app=~"$app"}[1m])))"#;
    assert_eq!(wrong(good, &families), Vec::<String>::new());
}
