//! `certs list`, `check`, `renew`, `revoke` and `trust` against a scripted proxy.

use std::os::unix::net::UnixListener;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use switcher_config::durable::{self, Durability};

use crate::proxy::{Answer, Proxy, refusal};
use crate::run::{Run, command, finish, switcher};

const LIST: &str = "GET /v1/certificates";
const RENEW: &str = "POST /v1/certificates/renew";
const REVOKE: &str = "POST /v1/certificates/revoke";
const CHECK: &str = "POST /v1/certificates/check";
const ROOT: &str = "GET /v1/certificates/root";

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// So many days from now, with some room, so that the words for it do not depend on the hour.
fn days(days: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(24 * days) + SignedDuration::from_mins(10)
}

fn certificates() -> Value {
    json!([
        {"names": ["shop.example.com", "*.shop.example.com"], "source": "acme", "ca": LETS_ENCRYPT,
            "not_after": days(60), "renew_at": days(30)},
        {"names": ["api.example.com"], "source": "acme", "ca": LETS_ENCRYPT, "not_after": days(4), "renew_at": days(-3),
            "failures": 3, "retry_at": days(2), "problem": "port 80 of 203.0.113.7 is closed"},
        {"names": ["files.example.com"], "source": "file", "not_after": days(90)},
        {"names": ["dev.example.com"], "source": "internal", "not_after": days(7), "renew_at": days(5)},
        {"names": ["new.example.com"], "source": "placeholder", "not_after": days(90)},
    ])
}

fn listing() -> Proxy {
    Proxy::start().on(LIST, |_| Answer::Json(200, certificates()))
}

/// Runs it with every moment of the text replaced: they change from run to run.
fn steady(proxy: &Proxy, args: &str) -> Run {
    let mut run = switcher(&proxy.socket(), args);
    for text in [&mut run.out, &mut run.err] {
        for day in -10..100 {
            let near = days(day);
            for second in -30..30 {
                let at = near + SignedDuration::from_secs(second);
                *text = text.replace(&at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(), &format!("DAY{day:+}"));
            }
        }
    }
    run
}

#[test]
fn the_list_shows_a_row_each_and_is_no_failure() {
    insta::assert_snapshot!(steady(&listing(), "certs list").all());
    let json = switcher(&listing().socket(), "certs list --json").json();
    assert_eq!((json.as_array().map(Vec::len), json[1]["failures"].as_u64()), (Some(5), Some(3)));
    let none = Proxy::start().on(LIST, |_| Answer::Json(200, json!([])));
    assert_eq!(switcher(&none.socket(), "certs list").out, "no certificate is served\n");
}

fn renewal(
    name: &str,
    outcome: &str,
    not_after: Option<i64>,
    next: Option<i64>,
    problem: Option<&str>,
) -> Value {
    let mut renewal = json!({"names": [name], "outcome": outcome});
    if let Some(day) = not_after {
        renewal["not_after"] = json!(days(day));
    }
    if let Some(day) = next {
        renewal["next"] = json!(days(day));
    }
    if let Some(problem) = problem {
        renewal["problem"] = problem.into();
    }
    renewal
}

fn renewing(renewals: Vec<Value>) -> Proxy {
    listing().on(RENEW, move |_| Answer::Json(200, json!({ "certificates": renewals })))
}

#[test]
fn what_was_due_is_renewed_and_the_authority_is_named_meanwhile() {
    let proxy = renewing(vec![
        renewal("shop.example.com", "not_due", Some(60), Some(30), None),
        renewal("api.example.com", "renewed", Some(90), Some(60), None),
        renewal("files.example.com", "not_ours", Some(90), None, None),
    ]);
    insta::assert_snapshot!(steady(&proxy, "certs renew").all());
    assert_eq!(proxy.changes_asked()[1], format!(r#"{RENEW} {{"names":[],"force":false}}"#));
}

#[test]
fn nothing_due_is_a_success_that_says_when() {
    let proxy = renewing(vec![renewal("shop.example.com", "not_due", Some(60), Some(30), None)]);
    insta::assert_snapshot!(steady(&proxy, "certs renew shop.example.com.").all());
    assert_eq!(
        proxy.changes_asked()[1],
        format!(r#"{RENEW} {{"names":["shop.example.com"],"force":false}}"#)
    );
}

#[test]
fn a_certificate_whose_next_attempt_has_its_time_is_not_said_to_be_asked_for() {
    let proxy = || {
        let resting = json!([{"names": ["api.example.com"], "source": "placeholder", "not_after": days(90),
            "failures": 1, "retry_at": days(1), "problem": "port 80 is closed"}]);
        let failed = renewal("api.example.com", "failed", None, Some(1), Some("port 80 is closed"));
        Proxy::start()
            .on(LIST, move |_| Answer::Json(200, resting.clone()))
            .on(RENEW, move |_| Answer::Json(200, json!({ "certificates": [failed] })))
    };
    let run = steady(&proxy(), "certs renew api.example.com");
    assert_eq!(run.code, 1);
    insta::assert_snapshot!(run.all());
    let forced = steady(&proxy(), "certs renew --force api.example.com");
    assert!(forced.err.starts_with("asking the authority"), "{}", forced.all());
}

#[test]
fn every_way_in_which_a_renewal_fails_has_its_code() {
    let limit = "the authority allows 5 certificates a week for the same names, and 5 were ordered";
    let cases = [
        (
            "certs renew",
            vec![
                renewal("shop.example.com", "renewed", Some(90), Some(60), None),
                renewal(
                    "api.example.com",
                    "failed",
                    Some(4),
                    Some(1),
                    Some("port 80 of 203.0.113.7 is closed."),
                ),
                renewal("new.example.com", "failed", None, Some(1), Some("it does not resolve")),
            ],
        ),
        ("certs renew --force", vec![renewal("shop.example.com", "not_due", Some(60), Some(5), Some(limit))]),
        ("certs renew files.example.com", vec![]),
        ("certs renew dev.example.com", vec![renewal("dev.example.com", "not_ours", Some(7), None, None)]),
        ("certs renew *.nowhere.example", vec![]),
    ];
    let shown = cases.map(|(args, renewals)| {
        let run = steady(&renewing(renewals), args);
        assert_eq!(run.code, if args.contains("nowhere") { 2 } else { 1 }, "{}", run.all());
        format!("$ switcher {args}\n{}", run.all())
    });
    insta::assert_snapshot!(shown.join("\n"));
    let failed = vec![renewal("api.example.com", "failed", Some(4), None, Some("refused"))];
    let run = switcher(&renewing(failed).socket(), "certs renew --json");
    assert_eq!(run.json()["certificates"][0]["outcome"], "failed");
    let last: Value = serde_json::from_str(run.err.lines().last().unwrap_or_default()).expect("an error");
    assert_eq!(last["error"]["code"], "E-CERT-01");
    assert_eq!(last["error"]["live"]["certificates"][0]["names"][0], "api.example.com");
}

#[test]
fn a_renewal_whose_reply_was_lost_is_looked_up_and_not_asked_for_again() {
    let proxy = listing().on(RENEW, |_| Answer::Hangup);
    insta::assert_snapshot!(steady(&proxy, "certs renew --force").all());
    assert_eq!(proxy.changes_asked().len(), 2);
}

#[test]
fn a_refusal_of_the_proxy_is_shown_in_its_own_words() {
    let proxy =
        listing().on(RENEW, |_| refusal(503, "shutting_down", "the proxy hands over to a new process"));
    insta::assert_snapshot!(steady(&proxy, "certs renew shop.example.com").all());
}

#[test]
fn ctrl_c_leaves_the_order_to_the_proxy() {
    let proxy = listing().on(RENEW, |_| Answer::Silence);
    let child = crate::run::start(&proxy.socket(), "certs renew --force --progress quiet");
    proxy.wait_for(RENEW);
    let pid = i32::try_from(child.id()).expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    let run = finish(child.wait_with_output().expect("an end"), &proxy.socket());
    insta::assert_snapshot!(run.all());
}

#[test]
fn findings_are_grouped_by_name_and_a_problem_is_a_failure() {
    let findings = json!({"findings": [
        {"check": "clock", "verdict": "ok", "message": "the clock agrees with the authority's"},
        {"name": "shop.example.com", "check": "dns", "verdict": "ok", "message": "it resolves to 203.0.113.7"},
        {"name": "shop.example.com", "check": "http", "verdict": "problem",
            "message": "port 80 of 203.0.113.7 is closed.", "fix": "open it in the firewall"},
        {"name": "*.shop.example.com", "check": "challenge", "verdict": "problem",
            "message": "a wildcard needs dns-01, and `acme.dns` is not set", "fix": "set `acme.dns`"},
        {"check": "limits", "verdict": "warning", "message": "4 of 5 failed validations this hour"},
    ]});
    let proxy = Proxy::start().on(CHECK, move |_| Answer::Json(200, findings));
    insta::assert_snapshot!(steady(&proxy, "certs check *.shop.example.com shop.example.com").all());
}

#[test]
fn findings_without_a_problem_are_a_success() {
    let findings = json!({"findings": [
        {"name": "shop.example.com", "check": "tls", "verdict": "ok", "message": "port 443 is this proxy"},
        {"name": "shop.example.com", "check": "caa", "verdict": "warning", "message": "the CAA records cannot be read"},
    ]});
    let proxy = Proxy::start().on(CHECK, move |_| Answer::Json(200, findings));
    insta::assert_snapshot!(steady(&proxy, "certs check").all());
    let none = Proxy::start().on(CHECK, |_| Answer::Json(200, json!({"findings": []})));
    let run = switcher(&none.socket(), "certs check --json");
    assert_eq!((run.code, run.json()["findings"].as_array().map(Vec::len)), (0, Some(0)));
}

#[test]
fn revoking_says_what_replaces_the_certificate() {
    let revoked = json!({"names": ["shop.example.com", "*.shop.example.com"], "ca": LETS_ENCRYPT,
        "replacement": renewal("shop.example.com", "renewed", Some(90), Some(60), None)});
    let proxy = listing().on(REVOKE, move |_| Answer::Json(200, revoked));
    insta::assert_snapshot!(
        steady(&proxy, "certs revoke www.shop.example.com --reason key-compromise --yes").all()
    );
    assert_eq!(
        proxy.changes_asked()[1],
        format!(r#"{REVOKE} {{"name":"www.shop.example.com","reason":"key_compromise"}}"#)
    );
}

#[test]
fn a_revocation_without_a_replacement_is_a_failure() {
    let revoked = json!({"names": ["shop.example.com"], "ca": LETS_ENCRYPT,
        "replacement": renewal("shop.example.com", "failed", None, Some(1), Some("the authority is down"))});
    let proxy = listing().on(REVOKE, move |_| Answer::Json(200, revoked));
    insta::assert_snapshot!(steady(&proxy, "certs revoke shop.example.com --yes").all());
}

#[test]
fn what_cannot_be_revoked_is_refused_before_it_is_asked() {
    let shown = [
        "shop.example.com",
        "files.example.com --yes",
        "dev.example.com --yes",
        "new.example.com --yes",
        "nowhere.example --yes",
    ]
    .map(|args| {
        let proxy = listing();
        let run = steady(&proxy, &format!("certs revoke {args}"));
        assert_eq!(proxy.changes_asked(), [LIST], "{args}");
        format!("$ switcher certs revoke {args}\n{}", run.all())
    });
    insta::assert_snapshot!(shown.join("\n"));
}

const PEM: &str = include_str!("root.pem");
const FINGERPRINT: &str = include_str!("root.sha256");

#[test]
fn the_root_is_the_result_and_how_to_trust_it_the_hint() {
    let proxy = Proxy::start().on(ROOT, |_| Answer::Text(200, PEM)).on(ROOT, |_| Answer::Text(200, PEM));
    let run = switcher(&proxy.socket(), "certs trust");
    assert_eq!((run.code, run.out.as_str()), (0, PEM));
    insta::assert_snapshot!(run.err);
    let json = switcher(&proxy.socket(), "certs trust --json");
    assert_eq!(json.json(), json!({"pem": PEM, "fingerprint": FINGERPRINT.trim(), "file": null}));
    assert_eq!(json.err, "");
}

#[test]
fn without_a_root_there_is_nothing_to_trust() {
    let proxy = Proxy::start()
        .on(ROOT, |_| Answer::Text(404, "nothing here"))
        .on(ROOT, |_| Answer::Text(200, "hello"));
    let shown = [(); 2].map(|()| switcher(&proxy.socket(), "certs trust").all());
    insta::assert_snapshot!(shown.join("\n"));
}

fn put(path: &Path, content: &str) {
    durable::replace(path, content.as_bytes(), 0o600, Durability::Unsynced).expect("a file");
}

/// Runs `certs trust` with a data folder and no proxy.
fn alone(prepare: impl FnOnce(&Path)) -> Run {
    let data = tempfile::tempdir().expect("a folder");
    prepare(data.path());
    let (config, dead) = (data.path().join("switcher.yaml"), data.path().join("dead.sock"));
    drop(UnixListener::bind(&dead).expect("a socket"));
    let text = format!("proxy:\n  admin: {}\n  data_dir: {}\n", dead.display(), data.path().display());
    put(&config, &(text + "apps:\n  shop:\n    slots: {blue: [127.0.0.1:8001]}\n"));
    let mut run = finish(
        command(&format!("--config {} certs trust --json", config.display())).output().expect("a run"),
        &dead,
    );
    for text in [&mut run.out, &mut run.err] {
        *text = text.replace(&data.path().display().to_string(), "/var/lib/switcher");
    }
    run
}

#[test]
fn the_root_is_found_when_no_proxy_runs() {
    let run = alone(|data| {
        std::fs::create_dir_all(data.join("certs/internal")).expect("a folder");
        put(&data.join("certs/internal/root.pem"), PEM);
    });
    assert_eq!(run.json()["file"], "/var/lib/switcher/certs/internal/root.pem", "{}", run.all());
    assert_eq!(run.json()["fingerprint"], FINGERPRINT.trim());
    insta::assert_snapshot!(alone(|_| {}).error()["error"]["message"].as_str().unwrap_or_default());
}
