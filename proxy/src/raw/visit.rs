//! A connection's memory, from the application that takes it to its end.
//!
//! Whatever happens to it, this is dropped: then its upstream's count goes down, its line is written, and at last the lease
//! is given back.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::AbortHandle;
use http::{HeaderMap, Method, Uri};
use jiff::Timestamp;
use pingora_core::protocols::l4::ext::TcpKeepalive;
use switcher_config::Span;
use switcher_config::settings::{AppSettings, Timeouts};
use switcher_config::wire::Kind;

use crate::access_log::{Outcome, Record};
use crate::app::{App, Entry};
use crate::balance::Tried;
use crate::balance::room::Place;
use crate::canary::choice::Asked;
use crate::connection::Origin;
use crate::edge::socket::Wire;
use crate::epoch::{Epoch, EpochUpstream, Lease, Pass};
use crate::gateway::Shared;
use crate::ledger::{Cause, NewExchange, Stage};
use crate::lent::Lent;
use crate::metrics::{RawEnd, RawMetrics};
use crate::request_id::RequestId;
use crate::tick::Tick;

use super::dial;
use super::pump::{Ended, Follow, Way, pump};

/// One connection.
pub(super) struct Visit {
    shared: Arc<Shared>,
    app: Arc<App>,
    origin: Origin,
    at: SocketAddr,
    /// The host that its TLS named.
    name: Option<Box<str>>,
    is_tls: bool,
    id: RequestId,
    time: Timestamp,
    started: Instant,
    abort: AbortHandle,
    settings: Option<Arc<AppSettings>>,
    metrics: Option<RawMetrics>,
    tried: Tried,
    tries: u32,
    /// The index of the upstream in use, or of the last one.
    upstream: Option<usize>,
    /// Whether it counts as one that its upstream has.
    weighs: bool,
    connected: Option<Duration>,
    first_byte: Option<Duration>,
    bytes_in: u64,
    bytes_out: u64,
    /// Whether an upstream took no connection before this one did.
    retried: bool,
    /// Whether somebody was told how it went.
    told: bool,
    /// What went wrong.
    why: Option<Cow<'static, str>>,
    pass: Option<Pass>,
}

impl Visit {
    /// A connection that an application takes.
    pub(super) fn new(
        shared: &Arc<Shared>,
        app: Arc<App>,
        origin: Origin,
        at: SocketAddr,
        name: Option<Box<str>>,
        is_tls: bool,
        abort: AbortHandle,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            app,
            origin,
            at,
            name,
            is_tls,
            id: RequestId::generate(),
            time: Timestamp::now(),
            started: Instant::now(),
            abort,
            settings: None,
            metrics: None,
            tried: Tried::default(),
            tries: 0,
            upstream: None,
            weighs: false,
            connected: None,
            first_byte: None,
            bytes_in: 0,
            bytes_out: 0,
            retried: false,
            told: false,
            why: None,
            pass: None,
        }
    }

    /// Carries the connection to its end. `begun` are its first bytes.
    pub(super) async fn carry(mut self, mut wire: Wire, begun: Vec<u8>) {
        let Some((lease, settings)) = self.lease(begun.len()).await else {
            self.shared.metrics.raw_refused(&self.app.name);
            return;
        };
        self.enter(lease, &settings);
        self.settings = Some(Arc::clone(&settings));
        let Some(mut upstream) = dial::upstream(&mut self, &settings).await else { return };
        self.set_stage(Stage::Answering);
        match pump(&mut wire, &mut upstream, begun, &mut self).await {
            Ended::Orderly => {}
            Ended::Client(error) => {
                self.why = Some(Cow::Owned(format!("the client broke the connection: {error}")));
            }
            Ended::Upstream(error) => {
                self.why = Some(Cow::Owned(format!("the upstream broke the connection: {error}")));
                if self.first_byte.is_none() {
                    self.judge(Some("it broke a connection before its first byte"));
                    self.tell(true);
                }
            }
        }
        // Whom the proxy cut off says nothing of the upstream.
        if !self.is_closed() {
            self.tell(false);
        }
    }

    /// An upstream took the connection, perhaps after others that did not.
    pub(super) const fn taken(&mut self, retried: bool) {
        self.retried = retried;
    }

    /// Tells whoever judges the slot, if somebody does, how it went: once, when that is known.
    fn tell(&mut self, failed: bool) {
        if !std::mem::replace(&mut self.told, true) {
            dial::tell(self, failed, self.retried);
        }
    }

    /// Takes the lease; while the application is paused it is waited for, in the queue, with the bytes that were read.
    async fn lease(&mut self, bytes: usize) -> Option<(Lease, Arc<AppSettings>)> {
        let app = Arc::clone(&self.app);
        let headers = HeaderMap::new();
        let asked = Asked { client: self.client(), headers: &headers };
        if let Entry::Open(lease, settings) = app.enter(asked) {
            return Some((lease, settings));
        }
        // Subscribed before the gate is looked at again, so that no change is missed.
        let (mut changes, mut ending) = (app.changes(), self.shared.ending.clone());
        let mut place = None;
        loop {
            let max = match app.enter(asked) {
                Entry::Open(lease, settings) => return Some((lease, settings)),
                Entry::Paused(max) => max,
                Entry::Stopped(_) => return self.fail("the application is stopped"),
                Entry::Gone => return self.fail("the application is gone from the configuration"),
            };
            if place.is_none() {
                place = app.hold.take(bytes as u64, &app.settings().pause);
            }
            if place.is_none() {
                return self.fail("the application is paused and its queue is full");
            }
            tokio::select! {
                // An error would mean that the application is gone, which is seen above.
                _ = changes.changed() => {}
                () = tokio::time::sleep(max.saturating_sub(self.started.elapsed())) => {
                    return self.fail("the application was paused for too long");
                }
                _ = ending.wait_for(|ending| *ending) => return self.fail("the proxy ends"),
            }
        }
    }

    fn enter(&mut self, lease: Lease, settings: &AppSettings) {
        let idle = settings.tcp.as_ref().and_then(|tcp| tcp.idle).unwrap_or(Span::seconds(0));
        self.metrics = Some(self.shared.metrics.raw(&self.app.name, lease.epoch().slot));
        self.pass = Some(lease.admit(NewExchange {
            method: Method::from_bytes(b"TCP").unwrap_or_default(),
            uri: self.target(),
            request_id: self.id.clone(),
            started: self.started,
            kind: Kind::Connections,
            abort: self.abort.clone(),
            timeouts: Some(Arc::new(Timeouts { idle, ..settings.timeouts })),
        }));
    }

    /// What the client connected to, by the name it used.
    fn target(&self) -> Uri {
        let named = self.name.as_deref().map(|name| format!("{name}:{}", self.at.port()));
        let named = named.and_then(|named| Uri::try_from(named).ok());
        named.or_else(|| Uri::try_from(self.at.to_string()).ok()).unwrap_or_default()
    }

    /// Notes why there is nothing to carry.
    pub(super) fn fail<T>(&mut self, why: impl Into<Cow<'static, str>>) -> Option<T> {
        self.why = Some(why.into());
        None
    }

    pub(super) fn client(&self) -> IpAddr {
        self.origin.peer.ip().to_canonical()
    }

    pub(super) const fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) const fn tried(&self) -> Tried {
        self.tried
    }

    /// How upstreams are asked whether they are still there.
    pub(super) fn keepalive(&self) -> Option<TcpKeepalive> {
        self.shared.rules.load().keepalive.clone()
    }

    pub(super) fn epoch(&self) -> Option<&Epoch> {
        self.pass.as_ref().map(Pass::epoch)
    }

    fn cause(&self) -> Option<Cause> {
        self.pass.as_ref()?.exchange().cause()
    }

    /// Whether the proxy closes the connection.
    pub(super) fn is_closed(&self) -> bool {
        self.cause().is_some()
    }

    pub(super) fn set_stage(&self, stage: Stage) {
        if let Some(pass) = &self.pass {
            pass.exchange().set_stage(stage);
        }
    }

    /// An upstream took the connection; whoever closes it is lent that.
    pub(super) fn connected(&mut self, took: Duration, lent: &Arc<Lent>) {
        self.connected = Some(took);
        if let Some(pass) = &self.pass {
            pass.exchange().lend_socket(Some(Arc::clone(lent)));
        }
    }

    fn upstream(&self) -> Option<&EpochUpstream> {
        self.epoch()?.upstreams.get(self.upstream?)
    }

    /// Moves to an upstream, and its weight with it.
    pub(super) fn use_upstream(&mut self, index: usize, place: Place) {
        self.leave_upstream();
        self.upstream = Some(index);
        self.tried.insert(index);
        self.tries += 1;
        if let Some(upstream) = self.upstream() {
            match place {
                Place::Taken => {}
                Place::Free => drop(upstream.in_flight.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
            }
            self.weighs = true;
        }
    }

    /// The upstream has nothing to do with it any more.
    pub(super) fn leave_upstream(&mut self) {
        if !std::mem::take(&mut self.weighs) {
            return;
        }
        if let (Some(index), Some(epoch)) = (self.upstream, self.epoch()) {
            epoch.leave(index);
        }
    }

    /// Says how the upstream did, where that is looked at.
    fn judge(&self, failure: Option<&str>) {
        let limits = self.settings.as_ref().and_then(|settings| settings.outliers.as_ref());
        if let (Some(limits), Some(epoch), Some(index)) = (limits, self.epoch(), self.upstream) {
            epoch.judge(index, failure, limits, Tick::now());
        }
    }

    /// The error text of the line.
    fn error(&self) -> Option<Cow<'_, str>> {
        let closed = self.cause().map(|cause| match cause {
            Cause::Drain => "closed at the drain deadline",
            Cause::Shutdown => "closed because the proxy ends",
            Cause::IdleTimeout => "nothing moved for too long",
            // They are limits on requests.
            Cause::ResponseTimeout | Cause::SlowRequest => "closed by the proxy",
        });
        closed.or(self.why.as_deref()).map(Cow::Borrowed)
    }

    fn count(&self) {
        let end = match (self.cause(), &self.why) {
            (Some(Cause::Drain | Cause::Shutdown), _) => RawEnd::Cut,
            (Some(Cause::IdleTimeout | Cause::ResponseTimeout | Cause::SlowRequest), _) => RawEnd::Idle,
            (None, Some(_)) => RawEnd::Failed,
            (None, None) => RawEnd::Finished,
        };
        if let Some(metrics) = &self.metrics {
            metrics.ended(end);
        }
    }

    fn log(&self) {
        let duration = self.started.elapsed();
        let error = self.error();
        // How long it was open says nothing of how quick it was.
        let took = self.first_byte.unwrap_or_default();
        let outcome = Outcome { id: &self.id, status: 0, failed: error.is_some(), took };
        if !self.shared.access_log.wants(outcome) {
            return;
        }
        let epoch = self.epoch();
        self.shared.access_log.log(Record {
            time: self.time,
            request_id: self.id.clone(),
            trace: None,
            app: Some(Arc::clone(&self.app.name)),
            slot: epoch.map(|epoch| epoch.slot),
            generation: epoch.map(|epoch| epoch.generation),
            client: self.client(),
            protocol: "TCP",
            tls: self.is_tls,
            method: Method::default(),
            host: self.name.as_deref().map(Cow::Borrowed).unwrap_or_default(),
            path: Cow::Borrowed(""),
            status: 0,
            kind: Kind::Connections,
            upstream: self.upstream().map(|one| Arc::clone(one.upstream.address())),
            tries: self.tries,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration,
            connect: self.connected,
            first_byte: self.first_byte,
            user_agent: None,
            referer: None,
            error,
            headers: Vec::new(),
        });
    }
}

impl Follow for Visit {
    fn moved(&mut self, way: Way, bytes: usize) {
        match way {
            Way::There => self.bytes_in += bytes as u64,
            Way::Back => {
                self.bytes_out += bytes as u64;
                if self.first_byte.is_none() {
                    self.first_byte = Some(self.started.elapsed());
                    self.judge(None);
                    self.tell(false);
                }
            }
        }
        if let Some(metrics) = &self.metrics {
            metrics.moved(way == Way::Back, bytes);
        }
        if let Some(pass) = &self.pass {
            pass.exchange().touch();
        }
    }

    fn half_over(&mut self) {
        self.set_stage(Stage::Ending);
    }

    fn is_cut(&self) -> bool {
        self.is_closed()
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.count();
        self.log();
        self.leave_upstream();
    }
}
