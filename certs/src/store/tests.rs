//! The store's tests: real files, real handshakes in memory.

use std::time::Instant;

use super::item::PLACEHOLDER_NAMES;
use super::*;
use crate::fixtures::{Client, Folder, issue, issue_rsa, server_config};
use crate::{Issuer, KeyType};
use switcher_config::wire::CertificateSource;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn files(of: &[&str], (certificate, key): (PathBuf, PathBuf)) -> Wanted {
    Wanted { names: names(of), source: Source::Files { certificate, key, ocsp: None } }
}

fn stand_in(of: &[&str]) -> Wanted {
    Wanted { names: names(of), source: Source::Placeholder { why: None } }
}

/// The names in the certificate that a real handshake shows.
fn shown(store: &Store, name: &str) -> Vec<String> {
    let config = server_config(store.resolver()).expect("a configuration");
    Client::default().shake(&config, Some(name)).expect("served").names
}

#[test]
fn a_refresh_serves_the_new_certificate_without_another_configuration() {
    let folder = Folder::new();
    let paths = folder.put("a", &issue(&["a.example", "old.example"]));
    let store = Store::new(vec![files(&["a.example"], paths)]).expect("a store");
    let config = server_config(store.resolver()).expect("a configuration");
    let show = || Client::default().shake(&config, Some("a.example")).expect("served").names;
    assert_eq!(show(), ["a.example", "old.example"]);
    assert_eq!(store.refresh(), 0, "nothing has changed");
    folder.put("a", &issue(&["a.example", "new.example"]));
    assert_eq!(store.refresh(), 1);
    assert_eq!(show(), ["a.example", "new.example"]);
}

#[test]
fn broken_new_files_keep_the_old_certificate_and_say_so_until_they_are_mended() {
    let folder = Folder::new();
    let good = issue(&["a.example"]);
    let paths = folder.put("a", &good);
    let store = Store::new(vec![files(&["a.example"], paths.clone())]).expect("a store");
    let new = issue(&["a.example", "new.example"]);
    let half = &new.certificate[..new.certificate.len() / 2];
    for (certificate, key, said) in [
        (new.certificate.as_str(), good.key.as_str(), "does not belong to the first certificate"),
        (half, &new.key, "it ends in the middle"),
        ("", &new.key, "holds no certificate"),
    ] {
        folder.put_text("a", certificate, key);
        assert_eq!(store.refresh(), 0, "{said}");
        assert_eq!(shown(&store, "a.example"), ["a.example"]);
        let status = &store.status()[0];
        assert_eq!(status.source, CertificateSource::File);
        assert!(status.problem.as_ref().is_some_and(|problem| problem.contains(said)), "{status:?}");
    }
    std::fs::remove_file(&paths.0).expect("removed");
    store.refresh();
    assert!(store.status()[0].problem.as_ref().is_some_and(|problem| problem.contains("does not exist")));
    folder.put("a", &new);
    assert_eq!(store.refresh(), 1);
    assert_eq!(store.status()[0].problem, None);
    assert_eq!(shown(&store, "a.example"), ["a.example", "new.example"]);
}

#[test]
fn a_missing_pair_is_stood_in_for_until_it_comes() {
    let folder = Folder::new();
    let paths = (folder.path().join("a.pem"), folder.path().join("a.key"));
    let store = Store::new(vec![files(&["a.example"], paths)]).expect("a broken pair stops no start");
    let status = &store.status()[0];
    assert_eq!((status.source, &status.names), (CertificateSource::Placeholder, &names(&["a.example"])));
    assert!(status.problem.as_ref().is_some_and(|problem| problem.contains("does not exist")));
    assert_eq!(shown(&store, "a.example"), ["a.example"]);
    folder.put("a", &issue(&["a.example", "real.example"]));
    assert_eq!(store.refresh(), 1);
    assert_eq!(shown(&store, "a.example"), ["a.example", "real.example"]);
    assert_eq!(store.status()[0].source, CertificateSource::File);
}

#[test]
fn the_status_names_hosts_that_the_certificate_is_not_valid_for() {
    let folder = Folder::new();
    let paths = folder.put("a", &issue(&["*.a.example"]));
    let store = Store::new(vec![files(&["X.a.example", "a.example"], paths)]).expect("a store");
    let problem = store.status()[0].problem.clone();
    assert_eq!(
        problem.as_deref(),
        Some("the certificate is not valid for a.example; clients of these hosts refuse it")
    );
}

#[test]
fn a_reload_keeps_what_is_served_and_takes_over_what_changed() {
    let folder = Folder::new();
    let paths = folder.put("a", &issue(&["a.example", "real.example"]));
    let from_files = files(&["a.example"], paths.clone());
    let store = Store::new(vec![from_files.clone(), stand_in(&["b.example"])]).expect("a store");
    let key_of = |name| store.resolver().find(Some(name)).expect("a certificate");
    let (a, b) = (key_of("a.example"), key_of("b.example"));

    folder.put_text("a", "broken", "broken");
    let wider = files(&["a.example", "c.example"], paths);
    store.replace_wanted(vec![wider, stand_in(&["b.example"]), stand_in(&[])]).expect("replaced");
    assert!(Arc::ptr_eq(&a, &key_of("a.example")), "the last good pair is served on");
    assert!(Arc::ptr_eq(&a, &key_of("c.example")), "also for a host that is new");
    assert!(Arc::ptr_eq(&b, &key_of("b.example")), "a placeholder is made once");
    assert_eq!(shown(&store, "d.example"), ["placeholder.switcher.invalid"]);

    store.replace_wanted(vec![stand_in(&["a.example"])]).expect("replaced");
    assert_eq!(shown(&store, "a.example"), ["a.example"], "files that are no longer wanted are not served");
}

#[test]
fn ten_thousand_hosts_have_placeholders_of_a_size_that_clients_accept() {
    let hosts: Vec<String> = (0..10_000).map(|n| format!("shop-{n}.example.com")).collect();
    let wanted = Wanted { names: hosts.clone(), source: Source::Placeholder { why: None } };
    let store = Store::new(vec![wanted]).expect("a store");
    let names = shown(&store, "shop-9999.example.com");
    assert!(names.contains(&hosts[9999]) && names.len() == PLACEHOLDER_NAMES);
    assert_eq!(store.status().len(), 1);
}

#[test]
fn a_change_seen_once_is_not_served_before_it_is_seen_unchanged() {
    let folder = Folder::new();
    let paths = folder.put("a", &issue(&["one.example"]));
    let store = Store::new(vec![files(&["one.example"], paths)]).expect("a store");
    folder.put("a", &issue(&["two.example"]));
    assert_eq!(store.look(Trust::Settled), 0, "it may still be written");
    folder.put("a", &issue(&["three.example"]));
    assert_eq!(store.look(Trust::Settled), 0, "it was");
    assert_eq!(shown(&store, "one.example"), ["one.example"]);
    assert_eq!(store.look(Trust::Settled), 1);
    assert_eq!(shown(&store, "one.example"), ["three.example"]);
}

#[tokio::test]
async fn changed_files_are_picked_up_while_running() {
    let folder = Folder::new();
    let paths = folder.put("a", &issue(&["a.example"]));
    let store = Arc::new(Store::new(vec![files(&["a.example"], paths)]).expect("a store"));
    let watch = tokio::spawn(Arc::clone(&store).watch(Duration::from_millis(5)));
    folder.put("a", &issue(&["a.example", "new.example"]));
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.status()[0].names.len() == 1 {
        assert!(Instant::now() < deadline, "the change was never served");
        tokio::task::yield_now().await;
    }
    assert_eq!(shown(&store, "a.example"), ["a.example", "new.example"]);
    watch.abort();
}

#[test]
fn what_was_issued_is_served_from_the_next_handshake_on_and_withdrawn_again() {
    let lineage = Lineage::new(names(&["a.example"]), KeyType::Ecdsa, Issuer::Acme).expect("a name");
    let wanted = Wanted { names: names(&["a.example"]), source: Source::Issued(vec![lineage.clone()]) };
    let store = Store::new(vec![wanted.clone()]).expect("a store");
    assert_eq!(store.status()[0].source, CertificateSource::Placeholder);
    let folder = Folder::new();
    let paths = folder.put("a", &issue(&["a.example", "mark.example"]));
    let pair = Arc::new(Pair::read(&paths.0, &paths.1).expect("a pair"));
    store.serve([(lineage.clone(), pair)]);
    assert_eq!(shown(&store, "a.example"), ["a.example", "mark.example"]);
    assert_eq!(store.status()[0].source, CertificateSource::Acme);
    store.replace_wanted(vec![wanted]).expect("replaced");
    assert_eq!(shown(&store, "a.example"), ["a.example", "mark.example"], "a reload keeps it");
    store.note(
        &lineage,
        Note { failures: 2, problem: Some("the authority is down".into()), ..Note::default() },
    );
    assert_eq!(
        (store.status()[0].failures, store.status()[0].problem.as_deref()),
        (2, Some("the authority is down"))
    );
    store.withdraw(&lineage);
    assert_eq!(shown(&store, "a.example"), ["a.example"], "the placeholder stands in again");
    assert_eq!(store.status()[0].source, CertificateSource::Placeholder);
}

#[test]
fn names_obtained_on_demand_are_served_beside_those_that_are_wanted() {
    let store = Store::new(vec![stand_in(&["a.example"])]).expect("a store");
    let lineage = Lineage::new(names(&["customer.example"]), KeyType::Ecdsa, Issuer::Acme).expect("a name");
    let folder = Folder::new();
    let paths = folder.put("c", &issue(&["customer.example"]));
    store.serve([(lineage.clone(), Arc::new(Pair::read(&paths.0, &paths.1).expect("a pair")))]);
    assert!(!store.resolver().knows(Some("customer.example")));
    store.serve_on_demand(vec![lineage]);
    assert_eq!(shown(&store, "customer.example"), ["customer.example"]);
    assert_eq!(store.status().len(), 2);
}

#[test]
fn old_clients_are_shown_the_rsa_certificate_and_all_others_the_smaller_one() {
    let lineage = |key| Lineage::new(names(&["a.example"]), key, Issuer::Acme).expect("a name");
    let both = vec![lineage(KeyType::Ecdsa), lineage(KeyType::Rsa)];
    let store =
        Store::new(vec![Wanted { names: names(&["a.example"]), source: Source::Issued(both.clone()) }])
            .expect("a store");
    let folder = Folder::new();
    let pair = |name: &str, issued| {
        let paths = folder.put(name, &issued);
        Arc::new(Pair::read(&paths.0, &paths.1).expect("a pair"))
    };
    store.serve([
        (both[0].clone(), pair("e", issue(&["a.example", "ecdsa.example"]))),
        (both[1].clone(), pair("r", issue_rsa(&["a.example", "rsa.example"]))),
    ]);
    assert_eq!(shown(&store, "a.example"), ["a.example", "ecdsa.example"]);
    let config = server_config(store.resolver()).expect("a configuration");
    let old = Client::rsa_only().shake(&config, Some("a.example")).expect("served");
    assert_eq!(old.names, ["a.example", "rsa.example"]);
}

/// A lineage of ACME's and what is wanted when it is all that an application has.
fn issued(of: &[&str], key: KeyType) -> (Lineage, Wanted) {
    let lineage = Lineage::new(names(of), key, Issuer::Acme).expect("a name");
    (lineage.clone(), Wanted { names: names(of), source: Source::Issued(vec![lineage]) })
}

/// A pair that says, besides its names, which one it is.
fn marked(of: &[&str], mark: &str) -> Arc<Pair> {
    let folder = Folder::new();
    let paths = folder.put("pair", &issue(&[of, &[mark]].concat()));
    Arc::new(Pair::read(&paths.0, &paths.1).expect("a pair"))
}

#[test]
fn after_the_first_certificate_no_change_of_the_configuration_shows_a_placeholder() {
    let (old, wanted) = issued(&["a.example", "b.example"], KeyType::Ecdsa);
    let alone = |name| issued(&[name], KeyType::Ecdsa).1;
    let no_acme = Wanted {
        names: names(&["a.example", "b.example"]),
        source: Source::Placeholder { why: Some("there is no `acme` section".into()) },
    };
    let cases = [
        ("a host more", vec![issued(&["a.example", "b.example", "c.example"], KeyType::Ecdsa).1]),
        ("one for each host", vec![alone("b.example"), alone("a.example")]),
        ("another kind of key", vec![issued(&["a.example", "b.example"], KeyType::Rsa).1]),
        ("no authority", vec![no_acme]),
        ("a wildcard", vec![alone("*.example")]),
    ];
    for (change, after) in cases {
        let store = Store::new(vec![wanted.clone()]).expect("a store");
        store.serve([(old.clone(), marked(&["a.example", "b.example"], "old.example"))]);
        store.replace_wanted(after).expect("replaced");
        for name in ["a.example", "b.example"] {
            assert!(shown(&store, name).contains(&"old.example".into()), "{change}: {name}");
        }
    }
}

#[test]
fn a_borrowed_certificate_gives_way_to_the_own_one_and_the_status_tells_both() {
    let (old, wanted) = issued(&["*.a.example"], KeyType::Ecdsa);
    let store = Store::new(vec![wanted]).expect("a store");
    let wildcard = marked(&["*.a.example"], "old.example");
    store.serve([(old, Arc::clone(&wildcard))]);
    let (new, wanted) = issued(&["X.a.example"], KeyType::Ecdsa);
    store.replace_wanted(vec![wanted]).expect("replaced");
    assert_eq!(shown(&store, "x.a.example"), ["*.a.example", "old.example"]);
    assert!(store.resolver().find(Some("y.a.example")).is_none(), "what is not wanted is not shown");
    let status = &store.status()[0];
    assert_eq!((status.source, status.not_after), (CertificateSource::Acme, wildcard.not_after()));
    assert_eq!(
        status.problem.as_deref(),
        Some("another certificate that is valid for these names is shown until their own is there")
    );
    store.serve([(new, marked(&["x.a.example"], "new.example"))]);
    assert_eq!(shown(&store, "x.a.example"), ["x.a.example", "new.example"]);
    assert_eq!(store.status()[0].problem, None);
}

#[test]
fn files_answer_on_until_what_is_to_take_their_place_is_issued() {
    let folder = Folder::new();
    let paths = folder.put("a", &issue(&["a.example", "file.example"]));
    let store = Store::new(vec![files(&["a.example"], paths)]).expect("a store");
    let (lineage, wanted) = issued(&["a.example"], KeyType::Ecdsa);
    for _ in 0..2 {
        store.replace_wanted(vec![wanted.clone()]).expect("replaced");
        assert_eq!(shown(&store, "a.example"), ["a.example", "file.example"]);
    }
    store.serve([(lineage, marked(&["a.example"], "new.example"))]);
    assert_eq!(shown(&store, "a.example"), ["a.example", "new.example"]);
    store.replace_wanted(vec![stand_in(&["a.example"])]).expect("replaced");
    assert_eq!(store.shelf().retired.len(), 0, "nobody needs them any more");
}

#[test]
fn an_ocsp_response_from_a_file_is_stapled_and_picked_up_again_when_it_changes() {
    let folder = Folder::new();
    let (certificate, key) = folder.put("a", &issue(&["a.example"]));
    let response = folder.path().join("a.ocsp");
    let put = |bytes: &[u8]| {
        switcher_config::durable::replace(
            &response,
            bytes,
            0o600,
            switcher_config::durable::Durability::Unsynced,
        )
        .expect("written");
    };
    put(b"first");
    let source = Source::Files { certificate, key, ocsp: Some(response.clone()) };
    let store = Store::new(vec![Wanted { names: names(&["a.example"]), source }]).expect("a store");
    let config = server_config(store.resolver()).expect("a configuration");
    assert_eq!(Client::staple(&config, "a.example"), b"first");
    put(b"second");
    assert_eq!(store.refresh(), 1);
    assert_eq!(Client::staple(&config, "a.example"), b"second");
}
