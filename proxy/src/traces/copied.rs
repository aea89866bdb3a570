//! The span of a copy of a request ([`crate::mirror`]): a child of the request's own, beside those of its tries.
//!
//! Invariant: the standby's application is told this span and none of a try, so that what it records is never taken for
//! what the live slot did. The request does not wait for it: a copy may end after the request, and its span then comes later.
//! Made by the gateway, ended by the copy.

use std::sync::Arc;
use std::time::Instant;

use http::header::HeaderMap;
use http::{HeaderValue, Method};
use switcher_config::{Slot, UpstreamAddress};

use super::{Exporter, Parent, SpanId, TRACEPARENT, Trace, TraceId, span};

/// A copy's part in a trace.
pub struct Copied {
    pub(super) id: TraceId,
    pub(super) span: SpanId,
    pub(super) parent: SpanId,
    pub(super) state: Option<HeaderValue>,
    /// When it began, in nanoseconds since 1970.
    pub(super) at: u64,
    began: Instant,
    sampled: bool,
    exporter: Arc<Exporter>,
}

/// How a copy ended.
#[derive(Debug, Clone, Copy)]
pub enum CopyEnd<'a> {
    /// With a status.
    Answered(u16),
    /// Without an answer: what went wrong.
    Failed(&'a str),
}

impl Copied {
    /// That of a copy which is made now, at `at` nanoseconds since 1970.
    #[must_use]
    pub fn of(trace: &Trace, at: u64, exporter: &Arc<Exporter>) -> Self {
        Self {
            id: trace.id,
            span: SpanId::generate(),
            parent: trace.span,
            state: trace.state.clone(),
            at,
            began: Instant::now(),
            sampled: trace.sampled,
            exporter: Arc::clone(exporter),
        }
    }

    /// Says to whoever is asked to which trace that belongs.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let ours = Parent { trace: self.id, span: self.span, sampled: self.sampled };
        headers.insert(TRACEPARENT, ours.header());
    }

    /// The copy is over: its span goes on its way.
    pub fn over(&self, method: &Method, upstream: &UpstreamAddress, slot: Slot, end: CopyEnd<'_>) {
        if self.sampled {
            let took = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.exporter.push(&span::of_copy(self, method, (upstream, slot), took, end), 1);
        }
    }
}
