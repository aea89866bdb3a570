//! The ladder, and what is remembered of it.

use switcher_certs::resolver::Shown;
use switcher_config::Span;

use super::*;
use crate::testing::{app_settings, settings};

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn app(hsts: Hsts) -> AppSettings {
    AppSettings { hsts, tls: Source::Auto, ..app_settings("127.0.0.1:1", "127.0.0.1:2") }
}

fn shop(hsts: Hsts) -> Settings {
    settings(vec![("shop", app(hsts))])
}

fn said(policies: &Arc<Policies>, now: &str) -> Option<String> {
    let value = policies.header(&"shop".parse().expect("a name"), at(now))?;
    Some(value.to_str().expect("text").to_owned())
}

#[test]
fn the_promise_grows_with_the_time_that_https_has_worked() {
    let since = at("2026-01-01T00:00:00Z");
    for (now, seconds) in [
        ("2025-06-01T00:00:00Z", 300),
        ("2026-01-01T00:00:00Z", 300),
        ("2026-01-01T00:59:59Z", 300),
        ("2026-01-01T01:00:00Z", 3600),
        ("2026-01-01T23:59:59Z", 3600),
        ("2026-01-02T00:00:00Z", 86_400),
        ("2026-01-08T00:00:00Z", 2_592_000),
        ("2026-03-31T23:59:59Z", 2_592_000),
        ("2026-04-01T00:00:00Z", 31_536_000),
        ("2036-01-01T00:00:00Z", 31_536_000),
    ] {
        assert_eq!(ladder(since, at(now)), format!("max-age={seconds}"), "{now}");
    }
}

#[test]
fn nothing_is_said_where_a_browser_would_not_or_should_not_listen() {
    let now = at("2026-01-01T00:00:00Z");
    let good = Tls {
        sni: None,
        shown: Shown { rank: Rank::Real, named: true, not_after: at("2026-01-02T00:00:00Z") },
        client_ca: None,
    };
    let placeholder = Tls { shown: Shown { rank: Rank::Placeholder, ..good.shown }, sni: None, ..good };
    let expired = Tls { shown: Shown { not_after: now, ..good.shown }, sni: None, ..good };
    let on = app(Hsts::Ladder);
    assert!(applies(&on, &good, "shop.test", now));
    assert!(!applies(&on, &placeholder, "shop.test", now));
    assert!(!applies(&on, &expired, "shop.test", now));
    assert!(!applies(&on, &good, "192.0.2.1", now) && !applies(&on, &good, "2001:db8::1", now));
    assert!(!applies(&app(Hsts::Off), &good, "shop.test", now));
    assert!(!applies(&AppSettings { tls: Source::Internal, ..on }, &good, "shop.test", now));
}

#[tokio::test]
async fn a_fixed_policy_says_what_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    for (include_subdomains, preload, text) in [
        (false, false, "max-age=86400"),
        (true, false, "max-age=86400; includeSubDomains"),
        (true, true, "max-age=86400; includeSubDomains; preload"),
    ] {
        let hsts = Hsts::Fixed { max_age: Span::seconds(86_400), include_subdomains, preload };
        let policies = Arc::new(Policies::open(folder.path(), &shop(hsts), at("2026-01-01T00:00:00Z")));
        assert_eq!(said(&policies, "2026-01-01T00:00:00Z").as_deref(), Some(text));
    }
    assert!(!folder.path().join(FILE).exists(), "there is nothing to remember");
}

#[tokio::test]
async fn a_ladder_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |now| Arc::new(Policies::open(folder.path(), &shop(Hsts::Ladder), at(now)));
    let first = open("2026-01-01T00:00:00Z");
    assert_eq!(said(&first, "2026-01-01T00:00:00Z").as_deref(), Some("max-age=300"));
    first.save();
    let restarted = open("2026-01-03T00:00:00Z");
    assert_eq!(said(&restarted, "2026-01-03T00:00:00Z").as_deref(), Some("max-age=86400"));
    let clock_went_back = open("2025-01-01T00:00:00Z");
    assert_eq!(said(&clock_went_back, "2025-01-01T00:00:00Z").as_deref(), Some("max-age=300"));
    assert_eq!(said(&clock_went_back, "2025-01-01T02:00:00Z").as_deref(), Some("max-age=3600"));
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_the_ladder_begins_anew() {
    for damage in ["{\"schema\":1,\"since\":{\"sh", "{\"schema\":2,\"since\":{}}", ""] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        durable::replace(&path, damage.as_bytes(), 0o600, Durability::Synced).expect("damaged");
        let now = "2026-01-01T00:00:00Z";
        let policies = Arc::new(Policies::open(folder.path(), &shop(Hsts::Ladder), at(now)));
        let aside = fs::read_to_string(folder.path().join("hsts.json.damaged")).expect("set aside");
        assert_eq!(aside, damage);
        assert_eq!(said(&policies, now).as_deref(), Some("max-age=300"));
        policies.save();
        assert_eq!(remembered(&path).len(), 1, "and is remembered from now on");
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join(FILE)).expect("a folder in its place");
    let policies = Arc::new(Policies::open(folder.path(), &shop(Hsts::Ladder), at("2026-01-01T00:00:00Z")));
    assert!(said(&policies, "2026-01-01T00:00:00Z").is_some(), "what cannot be read stops nothing");
}

#[tokio::test]
async fn whoever_turns_it_off_begins_anew_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let policies = Arc::new(Policies::open(folder.path(), &shop(Hsts::Ladder), at("2026-01-01T00:00:00Z")));
    assert!(said(&policies, "2026-01-01T00:00:00Z").is_some());
    policies.replace(&shop(Hsts::Ladder));
    assert_eq!(
        said(&policies, "2026-01-05T00:00:00Z").as_deref(),
        Some("max-age=86400"),
        "a reload keeps it"
    );
    policies.replace(&shop(Hsts::Off));
    assert_eq!(said(&policies, "2026-01-05T00:00:00Z"), None);
    policies.replace(&shop(Hsts::Ladder));
    assert_eq!(said(&policies, "2026-01-06T00:00:00Z").as_deref(), Some("max-age=300"));
}
