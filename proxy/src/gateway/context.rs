//! A request's memory, from its head to its end.
//!
//! Whatever happens to the request, this is dropped: then the upstream's count goes down, the record is
//! written if nobody wrote it (a request that was aborted), and at last the lease is given back.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};
use switcher_config::settings::{AppSettings, Timeouts};
use switcher_config::wire::Kind;

use crate::access_log::{Outcome, Record};
use crate::app::App;
use crate::bake::tally::{self, Ended};
use crate::balance::room::Place;
use crate::balance::{Rule, Tried};
use crate::connection::{Facts, Request};
use crate::epoch::{EpochUpstream, Pass};
use crate::forwarded::Client;
use crate::ledger::{Cause, Exchange, Stage};
use crate::metrics::Limit;
use crate::middleware::{Chain, Encoder, Permit, Standing, Watch, Went};
use crate::preview::loggable;
use crate::request_id::RequestId;
use crate::spare::Descriptor;
use crate::sticky::Mark;
use crate::top;
use crate::traces::Trace;
use crate::websocket::FrameTracker;

use super::Shared;
use super::asset::Asked;
use super::breaker;
use super::buffer::Kept;
use super::hold::Held;
use super::mirror::{self, Copied};
use super::replace::{GIVES_WAY, Replacement};
use super::traces;

/// nginx's status for a client that went away before it was answered. Never sent.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// A request's memory.
pub struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) request: Request,
    pub(super) started: Instant,
    time: Timestamp,
    pub(super) id: RequestId,
    pub(super) client: Client,
    pub(super) app: Option<Arc<App>>,
    pub(super) settings: Option<Arc<AppSettings>>,
    pub(super) pass: Option<Pass>,
    /// By what it is given its upstream.
    pub(super) rule: Rule,
    /// Whether its client came by https; known where a cookie may have to be set.
    pub(super) secure: bool,
    pub(super) tried: Tried,
    pub(super) tries: u32,
    /// A connection of the pool turned out to be closed by its upstream; from then on it gets none but fresh ones.
    pub(super) stale: bool,
    /// An answer was dropped because another upstream is asked.
    pub(super) asks_again: bool,
    /// There was no room for it.
    pub(super) overloaded: bool,
    /// The index of the upstream in use, or of the last one.
    upstream: Option<usize>,
    /// Whether the request counts as one that its upstream has in flight.
    weighs: bool,
    /// What a request of HTTP/2 opens its connection to an upstream with.
    pub(super) descriptor: Option<Descriptor>,
    /// Whether the upstream connection carries this request alone.
    pub(super) exclusive: bool,
    pub(super) connected: Option<Duration>,
    /// From its arrival to its lease: the time in the queue of a paused application. Only where it is judged by.
    pub(super) admitted: Duration,
    /// An upstream took no connection.
    pub(super) connect_failed: bool,
    pub(super) first_byte: Option<Duration>,
    pub(super) bytes_in: u64,
    bytes_out: u64,
    /// The status that was sent, or is to be logged.
    pub(super) status: Option<u16>,
    /// The media type of the answer is one that can be ended at any event.
    pub(super) event_stream: bool,
    pub(super) grpc: bool,
    pub(super) websocket: Option<FrameTracker>,
    /// What its answer tells browsers about insisting on https.
    pub(super) hsts: Option<HeaderValue>,
    /// What is done with it by the settings of its place.
    pub(super) chain: Option<Arc<Chain>>,
    /// The origin whose pages may read the answer, where pages of other origins may.
    pub(super) origin: Option<HeaderValue>,
    /// Its place among the requests at once.
    pub(super) permit: Option<Permit>,
    /// Where its client stands that may ask so often.
    pub(super) standing: Option<Standing>,
    /// How it goes is told to the breaker of its place.
    pub(super) watch: Option<Watch>,
    /// Its body, when that was taken in whole.
    pub(super) kept: Option<Box<Kept>>,
    /// What whoever was asked about it hands to the application.
    pub(super) handed: Option<Box<HeaderMap>>,
    /// The name that came with the right password.
    pub(super) user: Option<String>,
    /// The page in the place of an upstream's answer.
    pub(super) replacement: Option<Replacement>,
    /// How old the application's answer was when it came. Only where it may be held.
    pub(super) age: Duration,
    /// The application sends a body for the cache that its client did not ask for.
    pub(super) for_cache_alone: bool,
    /// What compresses the answer.
    pub(super) encoder: Option<Box<Encoder>>,
    /// Its answer's body, where that is taken in first.
    pub(super) held: Option<Box<Held>>,
    /// Whether it was offered to be copied.
    pub(super) offered: bool,
    /// Its copy.
    pub(super) copied: Option<Copied>,
    /// How far it is with the slot that may have what this one has not.
    pub(super) asked: Asked,
    /// The release that its cookie names, where one does.
    pub(super) belongs: Option<Mark>,
    /// Whether it previews the standby slot.
    pub(super) previews: bool,
    /// Whether the proxy itself asks, for a smoke test.
    pub(super) smokes: bool,
    /// What the proxy's own answer was about.
    pub(super) own_answer: Option<&'static str>,
    /// Its part in a trace.
    pub(super) trace: Option<Box<Trace>>,
    finished: bool,
}

impl Context {
    /// The memory of a request that has just arrived.
    pub(super) fn new(shared: Arc<Shared>, request: Request) -> Self {
        let client = Client { ip: request.facts.peer.ip().to_canonical(), trusted: false };
        Self {
            shared,
            request,
            started: Instant::now(),
            time: Timestamp::now(),
            id: RequestId::generate(),
            client,
            app: None,
            settings: None,
            pass: None,
            rule: Rule::default(),
            secure: false,
            tried: Tried::default(),
            tries: 0,
            stale: false,
            asks_again: false,
            overloaded: false,
            upstream: None,
            weighs: false,
            descriptor: None,
            exclusive: false,
            connected: None,
            admitted: Duration::ZERO,
            connect_failed: false,
            first_byte: None,
            bytes_in: 0,
            bytes_out: 0,
            status: None,
            event_stream: false,
            grpc: false,
            websocket: None,
            hsts: None,
            chain: None,
            origin: None,
            permit: None,
            standing: None,
            watch: None,
            kept: None,
            handed: None,
            user: None,
            replacement: None,
            age: Duration::ZERO,
            for_cache_alone: false,
            encoder: None,
            held: None,
            offered: false,
            copied: None,
            asked: Asked::default(),
            belongs: None,
            previews: false,
            smokes: false,
            own_answer: None,
            trace: None,
            finished: false,
        }
    }

    /// How long its upstream is waited for.
    pub(super) fn timeouts<'a>(&'a self, settings: &'a AppSettings) -> &'a Timeouts {
        self.chain.as_ref().and_then(|chain| chain.timeouts.as_deref()).unwrap_or(&settings.timeouts)
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.request.facts
    }

    /// When the request arrived.
    pub(super) fn arrived(&self) -> Timestamp {
        self.time
    }

    /// The line in the ledger, once the request has its lease.
    pub(super) fn exchange(&self) -> Option<&Arc<Exchange>> {
        self.pass.as_ref().map(Pass::exchange)
    }

    /// Why the proxy closed this request, if it did.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.exchange().and_then(|e| e.cause())
    }

    /// The upstream in use.
    pub(super) fn upstream(&self) -> Option<&EpochUpstream> {
        let index = self.upstream?;
        self.pass.as_ref()?.epoch().upstreams.get(index)
    }

    /// The index of the upstream in use, or of the last one.
    pub(super) const fn upstream_index(&self) -> Option<usize> {
        self.upstream
    }

    /// Moves the request to an upstream, and its weight with it.
    pub(super) fn use_upstream(&mut self, index: usize, place: Place) {
        self.leave_upstream();
        self.upstream = Some(index);
        self.tried.insert(index);
        self.tries += 1;
        if let Some(upstream) = self.upstream() {
            match place {
                Place::Taken => {}
                Place::Free => drop(upstream.in_flight.fetch_add(1, Ordering::Relaxed)),
            }
            self.weighs = true;
        }
        self.trace_try();
    }

    /// Tells its trace which upstream it is tried on.
    fn trace_try(&mut self) {
        let Some(mut trace) = self.trace.take() else { return };
        if let (Some(upstream), Some(pass)) = (self.upstream(), &self.pass) {
            trace.tries(upstream.upstream.address(), pass.epoch().slot, self.started.elapsed());
        }
        self.trace = Some(trace);
    }

    /// Moves the request to another epoch, where none of this one's upstreams means anything.
    pub(super) fn go_over(&mut self, pass: Pass) {
        self.leave_upstream();
        self.upstream = None;
        self.tried = Tried::default();
        self.stale = false;
        self.rule = Rule::default();
        self.pass = Some(pass);
    }

    /// A stale connection says nothing of its upstream: that may be asked once more, by a fresh one.
    pub(super) fn forgive_stale(&mut self) {
        self.stale = true;
        if let Some(index) = self.upstream {
            self.tried.remove(index);
        }
    }

    /// The upstream has done its part: what is left is between the proxy and the client.
    pub(super) fn leave_upstream(&mut self) {
        if !std::mem::take(&mut self.weighs) {
            return;
        }
        if let Some(trace) = &mut self.trace {
            trace.leaves(self.started.elapsed());
        }
        if let (Some(index), Some(pass)) = (self.upstream, &self.pass) {
            pass.epoch().leave(index);
        }
    }

    pub(super) fn request_body(&mut self, bytes: usize, end: bool) {
        self.bytes_in += bytes as u64;
        if let Some(exchange) = self.exchange() {
            exchange.receive(bytes);
            if end {
                exchange.body_ended();
                if self.first_byte.is_none() {
                    exchange.set_stage(Stage::Waiting);
                }
            }
        }
    }

    pub(super) fn response_body(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
        if let Some(exchange) = self.exchange() {
            exchange.touch();
        }
    }

    pub(super) fn set_kind(&self, kind: Kind) {
        if let Some(exchange) = self.exchange() {
            exchange.set_kind(kind);
        }
    }

    /// Counts and logs the request, once.
    pub(super) fn finish(&mut self, session: Option<&Session>, error: Option<&Error>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let gone = error.is_some_and(|e| *e.esource() == ErrorSource::Downstream);
        if gone {
            self.facts().resets.fetch_add(1, Ordering::Relaxed);
        }
        if gone
            && error.is_some_and(|e| *e.etype() == ErrorType::WriteTimedout)
            && self.facts().is_first_slow()
        {
            self.shared.metrics.limits().acted(Limit::AnswerRate);
        }
        let status = self.status.unwrap_or_else(|| self.unsent_status(gone));
        let duration = self.started.elapsed();
        if self.watch.is_some() {
            let badly = self.ended(status, error, duration).failed && !gone && !self.overloaded;
            breaker::tell(self, if badly { Went::Badly } else { Went::Unsaid });
        }
        mirror::tell(self, status, session.is_some() && error.is_none());
        match &self.pass {
            Some(pass) => {
                pass.epoch().metrics.observe(status, duration.as_secs_f64());
                if let Some((id, _)) = self.trace.as_ref().and_then(|trace| trace.ids()) {
                    pass.epoch().metrics.exemplify(id, duration.as_secs_f64());
                }
                if let Some(tally) = pass.epoch().tally.get() {
                    tally.count(self.ended(status, error, duration));
                }
            }
            None => self.shared.metrics.unrouted(status),
        }
        if self.shared.top.is_any() {
            self.tell_watchers(session, status, error, duration);
        }
        if self.trace.is_some() {
            let why = self.why(error, gone);
            traces::over(session, duration, why.as_deref(), self);
        }
        if self.shared.access_log.wants(self.outcome(status, error, duration)) {
            let record = self.record(session, status, duration, self.why(error, gone));
            self.shared.access_log.log(record);
        }
    }

    /// Counts the request for whoever watches.
    #[cold]
    fn tell_watchers(
        &self,
        session: Option<&Session>,
        status: u16,
        error: Option<&Error>,
        duration: Duration,
    ) {
        let uri = session.map(|s| &s.req_header().uri).or_else(|| self.exchange().map(|e| e.uri()));
        self.shared.top.count(top::Ended {
            app: self.app.as_ref().map(|app| &app.name),
            slot: self.pass.as_ref().map(|pass| pass.epoch().slot),
            path: uri.map_or("", http::Uri::path),
            status,
            took: self.ended(status, error, duration).took,
            bytes_out: self.bytes_out,
        });
    }

    /// The status of a request whose client was sent none: why the proxy ended it, or who else did.
    fn unsent_status(&self, gone: bool) -> u16 {
        match self.cause() {
            Some(Cause::Drain | Cause::Shutdown) => 503,
            Some(Cause::ResponseTimeout | Cause::IdleTimeout) => 504,
            Some(Cause::SlowRequest) => 408,
            None if gone => CLIENT_CLOSED_REQUEST,
            None => 500,
        }
    }

    /// How the request ended, for whoever decides whether it is logged. Streams and the like are slow by their first byte.
    fn outcome(&self, status: u16, error: Option<&Error>, duration: Duration) -> Outcome<'_> {
        let failed = self.own_answer.is_some() || error.is_some_and(|e| *e.etype() != GIVES_WAY);
        let kind = self.exchange().map_or(Kind::Requests, |exchange| exchange.kind());
        let whole = if kind == Kind::Requests { duration } else { Duration::ZERO };
        Outcome { id: &self.id, status, failed, took: self.first_byte.unwrap_or(whole) }
    }

    /// How the request ended, for whoever judges its slot.
    fn ended(&self, status: u16, error: Option<&Error>, duration: Duration) -> Ended {
        let broke = error.is_some_and(|e| *e.esource() == ErrorSource::Upstream);
        let kind = self.exchange().map_or(Kind::Requests, |exchange| exchange.kind());
        let timed = (kind == Kind::Requests).then(|| self.first_byte.unwrap_or(duration));
        Ended {
            failed: tally::failed(status, broke, self.cause()),
            connect_failed: self.connect_failed,
            took: timed.map(|took| took.saturating_sub(self.admitted)),
        }
    }

    /// The error text of the record.
    fn why(&self, error: Option<&Error>, gone: bool) -> Option<Cow<'static, str>> {
        let closed = self.cause().map(|cause| match cause {
            Cause::Drain => "closed at the drain deadline",
            Cause::Shutdown => "closed because the proxy ends",
            Cause::ResponseTimeout => "the upstream did not answer in time",
            Cause::IdleTimeout => "nothing moved for too long",
            Cause::SlowRequest => "the client did not go on sending its request",
        });
        let client = gone.then_some("the client went away");
        let known = closed.or(client).or(self.own_answer).map(Cow::Borrowed);
        let failed = error.map(|e| e.etype()).filter(|etype| **etype != GIVES_WAY);
        known.or_else(|| failed.map(|etype| Cow::Owned(etype.as_str().to_owned())))
    }

    fn record<'r>(
        &'r self,
        session: Option<&'r Session>,
        status: u16,
        duration: Duration,
        error: Option<Cow<'static, str>>,
    ) -> Record<'r> {
        let head = session.map(|s| s.req_header());
        let text = |name: header::HeaderName| {
            let value: Option<&HeaderValue> = head.and_then(|h| h.headers.get(name));
            value.map(|v| String::from_utf8_lossy(v.as_bytes()))
        };
        let uri = head.map(|h| &h.uri).or_else(|| self.exchange().map(|e| e.uri()));
        let host = uri.and_then(|u| u.authority()).map(|a| Cow::Borrowed(a.as_str()));
        let epoch = self.pass.as_ref().map(Pass::epoch);
        Record {
            time: self.time,
            request_id: self.id.clone(),
            trace: self.trace.as_ref().and_then(|trace| trace.ids()),
            app: self.app.as_ref().map(|app| Arc::clone(&app.name)),
            slot: epoch.map(|e| e.slot),
            generation: epoch.map(|e| e.generation),
            client: self.client.ip,
            protocol: match session {
                Some(s) if s.is_http2() => "HTTP/2",
                Some(_) => "HTTP/1.1",
                None => "-",
            },
            tls: self.facts().tls.is_some(),
            method: head
                .map(|h| h.method.clone())
                .or_else(|| self.exchange().map(|e| e.method().clone()))
                .unwrap_or_default(),
            host: host.or_else(|| text(header::HOST)).unwrap_or_default(),
            path: uri
                .and_then(|u| u.path_and_query())
                .map(|p| Cow::Borrowed(loggable(p.as_str())))
                .unwrap_or_default(),
            status,
            kind: self.exchange().map_or(Kind::Requests, |e| e.kind()),
            upstream: self.upstream().map(|u| Arc::clone(u.upstream.address())),
            tries: self.tries,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration,
            connect: self.connected,
            first_byte: self.first_byte,
            user_agent: text(header::USER_AGENT),
            referer: text(header::REFERER).map(shown),
            error,
            headers: head.map_or_else(Vec::new, |head| {
                self.shared.access_log.headers(&head.headers, |name| self.is_secret(name))
            }),
        }
    }

    /// Whether a header of this name lets somebody into the application.
    fn is_secret(&self, name: &header::HeaderName) -> bool {
        self.settings.as_ref().is_some_and(|settings| {
            let preview = settings.preview.as_ref().map(|preview| preview.header.as_str());
            let bypass = settings.maintenance.bypass_header.as_str();
            [Some(bypass), preview]
                .into_iter()
                .flatten()
                .any(|secret| name.as_str().eq_ignore_ascii_case(secret))
        })
    }
}

/// The part of an address that may be logged.
fn shown(page: Cow<'_, str>) -> Cow<'_, str> {
    match page {
        Cow::Borrowed(page) => Cow::Borrowed(loggable(page)),
        Cow::Owned(page) => Cow::Owned(loggable(&page).to_owned()),
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // The task was aborted, or Pingora gave up before a request was read to its end.
        if self.pass.is_some() {
            self.finish(None, None);
        }
        self.leave_upstream();
    }
}
