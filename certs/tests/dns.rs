//! dns-01 and the check of names against a real name server; Cloudflare's interface is played on this machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use switcher_certs::dns::{Dns, DnsError};
use switcher_config::Span;
use switcher_config::durable::{self, Durability};
use switcher_config::settings::{DnsProvider, DnsSettings};

use named::{Named, Zone, addresses, zone_file};

#[path = "dns/check.rs"]
mod check;
#[path = "dns/cloudflare.rs"]
mod cloudflare;
#[path = "dns/named.rs"]
mod named;

fn dns(provider: &str, options: &[(&str, String)], timeout: Span, resolver: SocketAddr) -> Dns {
    let options: BTreeMap<String, String> =
        options.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let provider = DnsProvider::Named { name: provider.to_owned(), options };
    let settings = DnsSettings { provider, propagation_timeout: timeout, ttl: Span::seconds(60) };
    Dns::new(&settings, &[resolver]).expect("good settings")
}

#[tokio::test]
async fn a_domain_and_its_wildcard_have_their_values_side_by_side() {
    if named::missing() {
        return;
    }
    let (address, _) = addresses();
    let named = Named::start(address, &[("a.test", Zone::Primary(zone_file(&[address], 60, "")))]).await;
    let dns = dns("rfc2136", &named.options(), Span::seconds(20), named.resolver());
    let (one, two) = tokio::join!(dns.post("shop.a.test", "value-1"), dns.post("shop.a.test", "value-2"));
    let (one, two) = (one.expect("posted"), two.expect("posted"));
    assert_eq!(named.texts("_acme-challenge.shop.a.test").await, ["value-1", "value-2"]);
    for value in ["value-1", "value-2"] {
        dns.propagated("shop.a.test", value).await.expect("visible");
    }
    one.remove().await.expect("removed");
    assert_eq!(named.texts("_acme-challenge.shop.a.test").await, ["value-2"]);
    two.remove().await.expect("removed");
    assert!(named.texts("_acme-challenge.shop.a.test").await.is_empty());
}

#[tokio::test]
async fn a_record_of_an_order_that_is_given_up_is_removed_all_the_same() {
    if named::missing() {
        return;
    }
    let (address, _) = addresses();
    let named = Named::start(address, &[("a.test", Zone::Primary(zone_file(&[address], 60, "")))]).await;
    let dns = dns("rfc2136", &named.options(), Span::seconds(20), named.resolver());
    let record = dns.post("a.test", "value").await.expect("posted");
    assert_eq!(named.texts("_acme-challenge.a.test").await, ["value"]);
    drop(record);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !named.texts("_acme-challenge.a.test").await.is_empty() {
        assert!(std::time::Instant::now() < deadline, "it stays");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_wrong_key_and_a_foreign_zone_are_told_plainly() {
    if named::missing() {
        return;
    }
    let (address, _) = addresses();
    let named = Named::start(address, &[("a.test", Zone::Primary(zone_file(&[address], 60, "")))]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = folder.path().join("wrong");
    let key = "d3Jvbmcta2V5LXdyb25nLWtleS13cm9uZy1rZXkhIQ==";
    durable::replace(&wrong, key.as_bytes(), 0o600, Durability::Synced).expect("written");
    let mut options = named.options();
    options[2].1 = wrong.display().to_string();
    let client = dns("rfc2136", &options, Span::seconds(5), named.resolver());
    let error = client.post("a.test", "value").await.expect_err("refused").to_string();
    assert_eq!(
        error,
        "the DNS provider rfc2136 did not set the TXT record _acme-challenge.a.test: the server refuses the \
         signature; check that `acme.dns.key_name`, `acme.dns.algorithm` and the key in the file of \
         `acme.dns.key_file` are the server's, and both clocks"
    );
    assert!(named.texts("_acme-challenge.a.test").await.is_empty());

    let client = dns("rfc2136", &named.options(), Span::seconds(5), named.resolver());
    let error = client.post("a.elsewhere", "value").await.expect_err("nobody's").to_string();
    assert!(error.contains("no resolver answers for CNAME of _acme-challenge.a.elsewhere"), "{error}");
    assert!(error.contains("says Query Refused"), "{error}");
}

#[tokio::test]
async fn a_secondary_that_lags_is_waited_for() {
    if named::missing() {
        return;
    }
    let (first, second) = addresses();
    let zone = zone_file(&[first, second], 6, "ns1 AAAA 2001:db8::53");
    let primary = Named::start(first, &[("a.test", Zone::Primary(zone))]).await;
    let secondary = Named::start(second, &[("a.test", Zone::Secondary(&primary))]).await;
    let dns = dns("rfc2136", &primary.options(), Span::seconds(60), primary.resolver());
    let record = dns.post("a.test", "value").await.expect("posted");
    assert!(secondary.texts("_acme-challenge.a.test").await.is_empty(), "it lags");
    dns.propagated("a.test", "value").await.expect("visible in the end");
    assert_eq!(secondary.texts("_acme-challenge.a.test").await, ["value"]);
    record.remove().await.expect("removed");
}

#[tokio::test]
async fn a_secondary_that_never_gets_it_is_named() {
    if named::missing() {
        return;
    }
    let (first, second) = addresses();
    let zone = zone_file(&[first, second], 3600, "");
    let primary = Named::start(first, &[("a.test", Zone::Primary(zone))]).await;
    let secondary = Named::start(second, &[("a.test", Zone::Secondary(&primary))]).await;
    let dns = dns("rfc2136", &primary.options(), Span::seconds(2), primary.resolver());
    let record = dns.post("a.test", "value").await.expect("posted");
    let error = dns.propagated("a.test", "value").await.expect_err("one lacks it");
    assert!(matches!(error, DnsError::NotPropagated { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "the TXT record _acme-challenge.a.test is not visible everywhere after 2 s: ns2.a.test ({second}) \
             does not show it; check the zone's servers, or raise `acme.dns.propagation_timeout`"
        )
    );
    drop(secondary);
    let error = dns.propagated("a.test", "value").await.expect_err("one is down").to_string();
    assert!(
        error.contains(&format!("ns2.a.test ({second}) cannot be reached (Connection refused")),
        "{error}"
    );
    record.remove().await.expect("removed");
}

#[tokio::test]
async fn an_alias_is_followed_to_the_zone_that_it_points_into() {
    if named::missing() {
        return;
    }
    let (address, _) = addresses();
    let alias = "_acme-challenge.shop CNAME 0123.auth.b.test.";
    let named = Named::start(
        address,
        &[
            ("a.test", Zone::Primary(zone_file(&[address], 60, alias))),
            ("auth.b.test", Zone::Primary(zone_file(&[address], 60, ""))),
        ],
    )
    .await;
    let dns = dns("rfc2136", &named.options(), Span::seconds(20), named.resolver());
    let record = dns.post("shop.a.test", "value").await.expect("posted");
    assert_eq!(named.texts("0123.auth.b.test").await, ["value"]);
    dns.propagated("shop.a.test", "value").await.expect("visible");
    record.remove().await.expect("removed");
    assert!(named.texts("0123.auth.b.test").await.is_empty());
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_comes_over_tcp() {
    if named::missing() {
        return;
    }
    let (address, _) = addresses();
    let many: String = (10..90).map(|n| format!("big TXT \"a-value-of-another-order-{n}\"\n")).collect();
    let named = Named::start(address, &[("a.test", Zone::Primary(zone_file(&[address], 60, &many)))]).await;
    assert_eq!(named.texts("big.a.test").await.len(), 80);
}

#[tokio::test]
async fn a_program_sets_and_removes_what_it_is_told_and_its_refusal_is_passed_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let done = folder.path().join("done");
    let script = format!(
        "case $2 in *bad*) echo 'no such zone' >&2; exit 4;; esac; echo \"$@\" >> {}",
        done.display()
    );
    let command = ["sh", "-c", &script, "hook"].map(ToOwned::to_owned).to_vec();
    let settings = |command| DnsSettings {
        provider: DnsProvider::Exec(command),
        propagation_timeout: Span::seconds(5),
        ttl: Span::seconds(60),
    };
    // Nobody has to resolve anything: the program finds the place itself.
    let nobody = ([127, 0, 0, 1], 1).into();
    let dns = Dns::new(&settings(command), &[nobody]).expect("good settings");
    let (one, two) = tokio::join!(dns.post("a.test", "value-1"), dns.post("a.test", "value-2"));
    let (one, two) = (one.expect("set"), two.expect("set"));
    two.remove().await.expect("removed");
    one.remove().await.expect("removed");
    let mut lines: Vec<String> =
        std::fs::read_to_string(done).expect("written").lines().map(ToOwned::to_owned).collect();
    lines.sort();
    let line = |action: &str, value: u32| format!("{action} _acme-challenge.a.test value-{value}");
    assert_eq!(lines, [line("remove", 1), line("remove", 2), line("set", 1), line("set", 2)]);
    let error = dns.post("bad.test", "value").await.expect_err("refused").to_string();
    assert_eq!(error, "the DNS hook sh (set _acme-challenge.bad.test) failed (exit status: 4): no such zone");
    let error = dns.propagated("a.test", "value").await.expect_err("nobody answers").to_string();
    assert!(
        error.contains("no resolver answers for CNAME of _acme-challenge.a.test: 127.0.0.1:1"),
        "{error}"
    );
    let none = Dns::new(&settings(Vec::new()), &[]).expect_err("no program").to_string();
    assert_eq!(none, "`acme.dns.exec` names no program");
}
