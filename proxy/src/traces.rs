//! Traces: which trace a request belongs to, what its spans are, and where they go.
//!
//! Invariant: without `proxy.traces` a request has no [`Trace`], and its headers pass through untouched. The word of a
//! stranger makes nobody trace anything: only a trusted proxy says which trace a request belongs to, and whether it is
//! sampled. A request has one span of its own, one for each upstream it was tried on, and one for its copy. The gateway calls it.

mod copied;
pub mod export;
pub mod otlp;
mod parent;
mod queue;
mod span;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderValue;
use switcher_config::{Share, Slot, UpstreamAddress};

pub use copied::{Copied, CopyEnd};
pub use export::Exporter;
pub use parent::{Parent, SpanId, TRACEPARENT, TRACESTATE, TraceId};
pub use span::Served;

/// How many tries of a request get a span.
const TRIES: usize = 16;

/// Whose requests are traced.
#[derive(Debug, Clone, Copy)]
pub struct Sampler(Share);

impl Sampler {
    /// So many of those whose caller has not decided.
    #[must_use]
    pub const fn new(share: Share) -> Self {
        Self(share)
    }

    /// Whether a new trace is sampled. The same trace always gets the same answer.
    fn takes(self, trace: TraceId) -> bool {
        let place = trace.bytes().last_chunk::<8>().map_or(0, |low| u64::from_be_bytes(*low));
        self.0.holds(place)
    }
}

/// One request's part in a trace.
#[derive(Debug)]
pub struct Trace {
    id: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    state: Option<HeaderValue>,
    sampled: bool,
    tries: Vec<Try>,
    /// When it began to wait while its application was paused, and when it went on.
    held: Option<[Duration; 2]>,
}

/// One upstream that the request was tried on. All times are from the request's arrival.
#[derive(Debug)]
struct Try {
    span: SpanId,
    upstream: Arc<UpstreamAddress>,
    slot: Slot,
    began: Duration,
    connected: Option<Duration>,
    ended: Option<Duration>,
    status: Option<u16>,
    failure: Option<Cow<'static, str>>,
}

impl Trace {
    /// That of a request with these headers.
    #[must_use]
    pub fn begin(sampler: Sampler, headers: &HeaderMap, trusted: bool) -> Self {
        let caller = trusted.then(|| Parent::of(headers)).flatten();
        let id = caller.map_or_else(TraceId::generate, |caller| caller.trace);
        Self {
            id,
            span: SpanId::generate(),
            parent: caller.map(|caller| caller.span),
            state: caller.and_then(|_| headers.get(TRACESTATE).cloned()),
            sampled: caller.map_or_else(|| sampler.takes(id), |caller| caller.sampled),
            tries: Vec::new(),
            held: None,
        }
    }

    /// Its trace and its own span, if it is sampled.
    #[must_use]
    pub fn ids(&self) -> Option<(TraceId, SpanId)> {
        self.sampled.then_some((self.id, self.span))
    }

    /// Says to whoever is asked on its behalf to which trace that belongs.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let span = self.tries.last().map_or(self.span, |last| last.span);
        if self.parent.is_none() {
            // What a stranger says, and what belongs to a broken parent.
            headers.remove(TRACESTATE);
        }
        let ours = Parent { trace: self.id, span, sampled: self.sampled };
        headers.insert(TRACEPARENT, ours.header());
    }

    /// It is tried on an upstream.
    pub fn tries(&mut self, upstream: &Arc<UpstreamAddress>, slot: Slot, now: Duration) {
        self.leaves(now);
        if self.tries.len() < TRIES {
            self.tries.push(Try {
                span: SpanId::generate(),
                upstream: Arc::clone(upstream),
                slot,
                began: now,
                connected: None,
                ended: None,
                status: None,
                failure: None,
            });
        }
    }

    fn last(&mut self) -> Option<&mut Try> {
        self.tries.last_mut().filter(|last| last.ended.is_none())
    }

    /// The upstream has done its part, or is given up.
    pub fn leaves(&mut self, now: Duration) {
        if let Some(last) = self.last() {
            last.ended = Some(now);
        }
    }

    /// There is a connection to the upstream.
    pub fn connected(&mut self, now: Duration) {
        if let Some(last) = self.last() {
            last.connected = Some(now);
        }
    }

    /// The upstream has answered with this status.
    pub fn answered(&mut self, status: u16) {
        if let Some(last) = self.last() {
            last.status = Some(status);
        }
    }

    /// The upstream has failed.
    pub fn failed(&mut self, why: impl FnOnce() -> Cow<'static, str>, now: Duration) {
        if let Some(last) = self.last() {
            last.failure = Some(why());
            last.ended = Some(now);
        }
    }

    /// It waited while its application was paused.
    pub fn held(&mut self, from: Duration, to: Duration) {
        self.held = Some([from, to]);
    }

    /// Its spans as a collector takes them, and how many; none unless it is sampled.
    #[must_use]
    pub fn spans(&self, served: &Served<'_>) -> Option<(Vec<u8>, u64)> {
        self.sampled.then(|| (span::write(self, served), 1 + self.tries.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(parent: &'static str) -> HeaderMap {
        HeaderMap::from_iter([
            (TRACEPARENT, HeaderValue::from_static(parent)),
            (TRACESTATE, HeaderValue::from_static("vendor=1")),
        ])
    }

    #[test]
    fn only_a_trusted_caller_decides() {
        let none = Sampler::new(Share::percent(0));
        let trusted = Trace::begin(none, &headers(CALLER), true);
        assert_eq!(trusted.ids().map(|(id, _)| id.to_string()).as_deref(), Some(&CALLER[3..35]));
        let stranger = Trace::begin(none, &headers(CALLER), false);
        assert!(stranger.ids().is_none() && stranger.parent.is_none());
        assert_ne!(stranger.id.to_string(), CALLER[3..35]);
        let all = Sampler::new(Share::percent(100));
        assert!(Trace::begin(all, &HeaderMap::new(), false).ids().is_some());
        let off: &'static str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        assert!(Trace::begin(all, &headers(off), true).ids().is_none(), "its caller does not record it");
    }

    #[test]
    fn the_state_goes_along_with_its_parent_and_not_without() {
        let all = Sampler::new(Share::percent(100));
        for (parent, trusted, kept) in
            [(CALLER, true, true), (CALLER, false, false), ("00-broken", true, false)]
        {
            let mut out = headers(parent);
            let trace = Trace::begin(all, &out, trusted);
            trace.tell(&mut out);
            assert_eq!(out.contains_key(TRACESTATE), kept, "{parent} {trusted}");
            let said = Parent::of(&out).expect("a parent");
            assert_eq!((said.trace, said.span, said.sampled), (trace.id, trace.span, true));
        }
    }
}
