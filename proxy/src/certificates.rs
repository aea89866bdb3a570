//! What happens to certificates, told to whoever listens: events of the admin API and metrics.

use std::future::Future;
use std::pin::Pin;

use jiff::Timestamp;
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
}

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
        })
    }

    fn count(&self, what: CertificateHappening) {
        self.happened.with_label_values(&[word(what)]).inc();
    }

    /// Sets the gauges to what is served now. Only the first name of each certificate is a label.
    pub fn set(&self, served: &[CertificateStatus]) {
        self.not_after.reset();
        self.failures.reset();
        for certificate in served.iter().take(MOST) {
            let name = certificate.names.first().map_or("", String::as_str);
            let labels = [name, &certificate.source.to_string()];
            // What no client trusts is over already, so that whoever watches the date hears of it.
            let not_after = match certificate.source {
                CertificateSource::Placeholder => 0,
                CertificateSource::Acme | CertificateSource::Internal | CertificateSource::File => {
                    certificate.not_after.as_second()
                }
            };
            self.not_after.with_label_values(&labels).set(not_after);
            self.failures.with_label_values(&labels).set(certificate.failures.into());
        }
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
