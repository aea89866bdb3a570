//! What settings want of certificates, case by case. The settings come from the parser, as always.

use std::collections::BTreeMap;

use switcher_config::durable::{Durability, replace};
use switcher_config::{Sources, load};

use super::*;

/// The plan of a configuration with these `acme` and `apps` sections.
fn plan(acme: &str, apps: &str) -> Plan {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("switcher.yaml");
    let text = format!("proxy: {{https: 0.0.0.0:443}}\n{acme}\napps:\n{apps}\n");
    replace(&file, text.as_bytes(), 0o600, Durability::Unsynced).expect("written");
    let sources = Sources {
        file: Some(file),
        environment: None,
        variables: BTreeMap::new(),
        secrets_dir: folder.path().join("none"),
        working_dir: folder.path().to_owned(),
        system_file: folder.path().join("none.yaml"),
    };
    Plan::new(&load(&sources).unwrap_or_else(|report| panic!("{report}")).settings)
}

fn names(plan: &Plan) -> Vec<Vec<&str>> {
    plan.lineages.iter().map(|lineage| lineage.names().iter().map(String::as_str).collect()).collect()
}

const ACME: &str = "acme: {email: ops@example.com}";

#[test]
fn an_applications_hosts_share_a_certificate_unless_each_is_to_have_its_own() {
    let apps = "  shop: {hosts: [b.example.com, a.example.com]}\n  blog: {hosts: [blog.example.com]}";
    assert_eq!(names(&plan(ACME, apps)), [vec!["blog.example.com"], vec!["a.example.com", "b.example.com"]]);
    let each = plan("acme: {email: ops@example.com, group: host}", apps);
    assert_eq!(names(&each), [["blog.example.com"], ["b.example.com"], ["a.example.com"]]);
}

#[test]
fn two_kinds_of_key_are_two_lineages_of_one_set_of_names() {
    let plan = plan("acme: {email: ops@example.com, key: both}", "  shop: {hosts: [a.example.com]}");
    assert_eq!(plan.wanted.len(), 1);
    let keys: Vec<KeyType> = plan.lineages.iter().map(Lineage::key).collect();
    assert_eq!(keys, [KeyType::Ecdsa, KeyType::Rsa], "the preferred one first");
}

#[test]
fn a_host_that_two_applications_share_has_one_certificate() {
    let apps = "  shop: {hosts: [a.example.com]}\n  api: {hosts: [a.example.com], path: /api}";
    let plan = plan(ACME, apps);
    assert_eq!((plan.wanted.len(), plan.lineages.len()), (1, 1));
}

#[test]
fn more_names_than_a_certificate_carries_make_several() {
    let hosts: Vec<String> = (0..250).map(|n| format!("h{n}.example.com")).collect();
    let plan = plan(ACME, &format!("  shop: {{hosts: [{}]}}", hosts.join(", ")));
    let sizes: Vec<usize> = plan.lineages.iter().map(|lineage| lineage.names().len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn what_cannot_be_issued_is_stood_in_for_and_the_reason_is_said() {
    let why = |plan: &Plan| match &plan.wanted[0].source {
        Source::Placeholder { why } => why.clone().expect("a reason"),
        other @ (Source::Files { .. } | Source::Issued(_)) => panic!("{other:?}"),
    };
    let without = plan("", "  shop: {hosts: [a.example.com]}");
    assert!(why(&without).contains("no `acme` section") && without.lineages.is_empty());
    assert!(why(&plan(ACME, "  shop: {}")).contains("names no hosts"));
}

#[test]
fn the_internal_authority_needs_no_acme_and_serves_localhost_without_hosts() {
    let plan = plan("", "  shop: {tls: internal}");
    assert_eq!(names(&plan), [["127.0.0.1", "::1", "localhost"]]);
    assert_eq!((plan.wanted[0].names.len(), plan.lineages[0].issuer()), (0, Issuer::Internal));
}

#[test]
fn tls_off_wants_nothing_and_files_want_no_lineage() {
    let apps = "  a: {hosts: [a.example.com], tls: off}\n  b: {hosts: [b.example.com], tls: {certificate: c.pem, key: k.pem}}";
    let plan = plan(ACME, apps);
    assert_eq!((plan.wanted.len(), plan.lineages.len()), (1, 0));
}
