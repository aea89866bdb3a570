//! What happens to certificates, told to whoever listens: events of the admin API and metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use switcher_certs::Manager;
use switcher_config::wire::{
    CertificateEvent, CertificateHappening, CertificateSource, CertificateStatus, Event,
};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::tls::AtFirstHandshake;

/// How many certificates have series of their own.
const MOST: usize = 10_000;

/// Passes every event on, and counts it, until the manager ends.
pub async fn tell(
    mut happenings: broadcast::Receiver<CertificateEvent>,
    events: broadcast::Sender<Event>,
    metrics: CertificateMetrics,
) {
    loop {
        match happenings.recv().await {
            Ok(happened) => {
                metrics.count(happened.what);
                // Nobody may be listening.
                let _ = events.send(Event::Certificate { at: Timestamp::now(), happened });
            }
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "events of certificates were missed"),
            Err(RecvError::Closed) => return,
        }
    }
}

impl AtFirstHandshake for Manager {
    fn obtain<'a>(&'a self, server_name: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(Self::obtain(self, server_name))
    }
}

/// The families about certificates. Names that come with a first handshake are labels too, but their number is
/// bounded by the limit on certificates on demand.
#[derive(Debug, Clone)]
pub struct CertificateMetrics {
    happened: IntCounterVec,
    not_after: IntGaugeVec,
    failures: IntGaugeVec,
    /// The series that exist, so that those of certificates that are gone go too.
    told: Arc<Mutex<BTreeSet<Labels>>>,
}

/// The first name, and the source.
type Labels = [String; 2];

impl CertificateMetrics {
    /// Registers the families, every series of events at zero.
    ///
    /// # Errors
    /// Never with these names; the library asks for it.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name, help| {
            let family = IntGaugeVec::new(Opts::new(name, help), &["name", "source"])?;
            registry.register(Box::new(family.clone())).map(|()| family)
        };
        let help = "What happened to certificates.";
        let happened = IntCounterVec::new(Opts::new("switcher_certificate_events_total", help), &["event"])?;
        registry.register(Box::new(happened.clone()))?;
        for what in [
            CertificateHappening::Issued,
            CertificateHappening::Renewed,
            CertificateHappening::Failed,
            CertificateHappening::Imported,
            CertificateHappening::Revoked,
            CertificateHappening::Damaged,
        ] {
            happened.with_label_values(&[word(what)]);
        }
        Ok(Self {
            happened,
            not_after: gauge(
                "switcher_certificate_not_after_seconds",
                "When the certificate expires that is shown for a name, in seconds since 1970; 0 for a placeholder.",
            )?,
            failures: gauge(
                "switcher_certificate_failures",
                "Attempts to renew that failed since the last success.",
            )?,
            told: Arc::default(),
        })
    }

    fn count(&self, what: CertificateHappening) {
        self.happened.with_label_values(&[word(what)]).inc();
    }

    /// Sets the gauges to what is served now. Only the first name of each certificate is a label; of several with
    /// the same labels, such as one for each kind of key, the one counts that is worse off.
    pub fn set(&self, served: &[CertificateStatus]) {
        let mut now: BTreeMap<Labels, (i64, i64)> = BTreeMap::new();
        for certificate in served.iter().take(MOST) {
            let name = certificate.names.first().cloned().unwrap_or_default();
            let labels = [name, certificate.source.to_string()];
            // What no client trusts is over already, so that whoever watches the date hears of it.
            let not_after = match certificate.source {
                CertificateSource::Placeholder => 0,
                CertificateSource::Acme | CertificateSource::Internal | CertificateSource::File => {
                    certificate.not_after.as_second()
                }
            };
            let worst = now.entry(labels).or_insert((not_after, 0));
            *worst = (worst.0.min(not_after), worst.1.max(certificate.failures.into()));
        }
        let mut told = self.told.lock();
        for gone in told.iter().filter(|labels| !now.contains_key(*labels)) {
            // An error says only that it is not there.
            let _ = self.not_after.remove_label_values(&[&gone[0], &gone[1]]);
            let _ = self.failures.remove_label_values(&[&gone[0], &gone[1]]);
        }
        for ([name, source], (not_after, failures)) in &now {
            self.not_after.with_label_values(&[name, source]).set(*not_after);
            self.failures.with_label_values(&[name, source]).set(*failures);
        }
        *told = now.into_keys().collect();
    }
}

const fn word(what: CertificateHappening) -> &'static str {
    match what {
        CertificateHappening::Issued => "issued",
        CertificateHappening::Renewed => "renewed",
        CertificateHappening::Failed => "failed",
        CertificateHappening::Imported => "imported",
        CertificateHappening::Revoked => "revoked",
        CertificateHappening::Damaged => "damaged",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str, source: CertificateSource, not_after: i64, failures: u32) -> CertificateStatus {
        CertificateStatus {
            names: vec![name.to_owned()],
            source,
            ca: None,
            not_after: Timestamp::from_second(not_after).expect("a time"),
            renew_at: None,
            failures,
            retry_at: None,
            problem: None,
        }
    }

    #[test]
    fn the_worse_of_two_counts_a_placeholder_is_over_and_what_is_gone_is_told_no_more() {
        let registry = Registry::new();
        let metrics = CertificateMetrics::new(&registry).expect("families");
        let text = || prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
        let (acme, placeholder) = (CertificateSource::Acme, CertificateSource::Placeholder);
        metrics.set(&[
            status("a.example", acme, 2_000, 0),
            status("a.example", acme, 1_000, 3),
            status("b.example", placeholder, 9_000, 0),
        ]);
        let shown = text();
        for line in [
            "switcher_certificate_not_after_seconds{name=\"a.example\",source=\"acme\"} 1000",
            "switcher_certificate_failures{name=\"a.example\",source=\"acme\"} 3",
            "switcher_certificate_not_after_seconds{name=\"b.example\",source=\"placeholder\"} 0",
        ] {
            assert!(shown.contains(line), "{line} is not in {shown}");
        }
        metrics.set(&[status("a.example", acme, 2_000, 0)]);
        assert!(!text().contains("b.example"));
    }
}
