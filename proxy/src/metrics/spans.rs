//! What is counted of spans: how many were sent, and how many not.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// What came of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanOutcome {
    /// The collector took it.
    Sent,
    /// There was no room for it.
    Dropped,
    /// The collector did not take it.
    Lost,
}

impl SpanOutcome {
    const ALL: [(Self, &str); 3] = [(Self::Sent, "sent"), (Self::Dropped, "dropped"), (Self::Lost, "lost")];
}

/// The counters of spans.
#[derive(Debug, Clone)]
pub struct SpanMetrics {
    /// In the order of [`SpanOutcome::ALL`], which is that of the declaration.
    outcomes: [IntCounter; SpanOutcome::ALL.len()],
}

impl SpanMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let options = Opts::new("switcher_spans_total", "Spans for the collector, by what came of them.");
        let family = IntCounterVec::new(options, &["outcome"])?;
        registry.register(Box::new(family.clone()))?;
        Ok(Self { outcomes: SpanOutcome::ALL.map(|(_, name)| family.with_label_values(&[name])) })
    }

    /// This came of so many spans.
    pub fn count(&self, outcome: SpanOutcome, spans: u64) {
        self.outcomes[outcome as usize].inc_by(spans);
    }
}
