//! The proxy that answered: its version, what it serves, its certificates. Pure.

use jiff::{SignedDuration, Timestamp};
use switcher_config::AppName;
use switcher_config::wire::{CertificateSource, CertificateStatus, Health, Status};

use super::Finding;
use crate::{certificate, phrase};

/// Below this an expiry needs attention.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Judges what it says. `wanted` are the applications of the configuration.
#[must_use]
pub fn check(status: &Status, ours: &str, wanted: &[AppName], now: Timestamp) -> Vec<Finding> {
    let mut findings = vec![version(status, ours)];
    for app in wanted.iter().filter(|app| !status.apps.contains_key(*app)) {
        let says = "the proxy does not serve it: it runs with an older configuration, or another one";
        findings.push(Finding::failed("proxy", says, "`switcher reload`").of_app(app));
    }
    for (name, app) in &status.apps {
        let slot = app.slots.get(app.active);
        if slot.health == Health::Unhealthy && !slot.upstreams.is_empty() {
            let says = format!("{} is live and not healthy: {}", app.active, phrase::reason(slot));
            findings.push(
                Finding::failed("health", says, "`switcher logs live`, or `switcher rollback`").of_app(name),
            );
        }
    }
    findings.extend(status.certificates.iter().map(|certificate| certificates(certificate, now)));
    findings
}

fn version(status: &Status, ours: &str) -> Finding {
    if status.version == ours {
        return Finding::ok("proxy", format!("switcher-proxy {ours} answers, process {}", status.pid));
    }
    let says = format!("the proxy is of version {}, and this is switcher {ours}", status.version);
    Finding::warning("proxy", says, "install both of one version, then restart the proxy")
}

fn certificates(found: &CertificateStatus, now: Timestamp) -> Finding {
    let names = certificate::names(&found.names);
    let (expiry, _) = certificate::expires(found.not_after, now);
    let trouble = found.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
    let (says, remedy) = (format!("{names}: {expiry}{trouble}"), remedy(found.source));
    if found.source == CertificateSource::Placeholder {
        let says =
            format!("{names}: there is no certificate yet, and no client trusts the placeholder{trouble}");
        return Finding::warning("certificates", says, remedy);
    }
    let left = found.not_after.duration_since(now);
    // One that is renewed by itself, and is not due yet, may be as short-lived as it likes.
    let renewed = found.failures == 0 && found.renew_at.is_some_and(|at| at > now);
    if !left.is_positive() {
        Finding::failed("certificates", says, remedy)
    } else if let Some(failed) = certificate::failed(found) {
        Finding::warning(
            "certificates",
            format!("{names}: {expiry}, and {failed} to renew it{trouble}"),
            remedy,
        )
    } else if found.problem.is_some() || (left < SOON && !renewed) {
        Finding::warning("certificates", says, remedy)
    } else {
        Finding::ok("certificates", says)
    }
}

const fn remedy(source: CertificateSource) -> &'static str {
    match source {
        CertificateSource::Acme | CertificateSource::Placeholder => {
            "`switcher certs check` says what stands in the way of the next one"
        }
        CertificateSource::Internal => "`switcher certs renew`",
        CertificateSource::File => "put a newer certificate in place of the files; the proxy picks it up",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::Verdict;

    fn judged(certificate: serde_json::Value) -> Finding {
        let found: CertificateStatus = serde_json::from_value(certificate).expect("a certificate");
        certificates(&found, "2026-11-21T00:00:00Z".parse().expect("a moment"))
    }

    #[test]
    fn certificates_are_judged_by_expiry_and_by_renewal() {
        let file = |at: &str| json!({"names": ["a.example.com"], "source": "file", "not_after": at});
        assert_eq!(judged(file("2026-11-20T00:00:00Z")).verdict, Verdict::Failed);
        assert_eq!(judged(file("2026-12-01T00:00:00Z")).verdict, Verdict::Warning);
        assert_eq!(judged(file("2026-12-31T00:00:00Z")).verdict, Verdict::Ok);
        let acme = |renew: &str, failures: u32| {
            json!({"names": ["a.example.com"], "source": "acme", "not_after": "2026-11-26T00:00:00Z",
                "renew_at": renew, "failures": failures, "problem": (failures > 0).then_some("port 80 is closed")})
        };
        assert_eq!(judged(acme("2026-11-24T00:00:00Z", 0)).verdict, Verdict::Ok, "short-lived, and not due");
        assert_eq!(judged(acme("2026-11-20T00:00:00Z", 0)).verdict, Verdict::Warning);
        let failed = judged(acme("2026-11-24T00:00:00Z", 3));
        assert!(
            failed.verdict == Verdict::Warning && failed.says.contains("3 attempts failed"),
            "{failed:?}"
        );
    }
}
