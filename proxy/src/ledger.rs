//! The ledger of one epoch: every exchange inside it, by kind, with what is needed to close it.
//!
//! It is for display, for receipts and for closing what outlives its deadline. It never decides
//! whether an epoch is drained: that is the last [`Lease`](crate::epoch::Lease) dropped.
//! Shards keep two threads from waiting for each other; a shard's lock is held for one insert or removal.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::AbortHandle;
use parking_lot::Mutex;
use switcher_config::settings::Timeouts;
use switcher_config::wire::{self, ByKind, Kind};

use crate::lent::Lent;
use crate::request_id::RequestId;

/// How many shards the ledger has. A power of two; more than the threads of most machines.
const SHARDS: usize = 16;

/// Stands for the beginning of a body that is not being sent on.
const NOT_SENDING: u64 = u64::MAX;

/// The longest that anybody is waited for in advance.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What an exchange waits for, as far as time limits are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// For an upstream connection, or for its own turn. Limited by the connect timeout.
    Opening,
    /// For the request to be sent. Limited by the idle timeout.
    Sending,
    /// For the head of the answer. Limited by the response timeout.
    Waiting,
    /// For the body of the answer. Limited by the idle timeout, unless it is endless by nature.
    Answering,
    /// For the end of a raw connection that one side has ended. Limited by its idle timeout, or by [`crate::sweep::HALF_OPEN`].
    Ending,
}

impl Stage {
    const ALL: [Self; 5] = [Self::Opening, Self::Sending, Self::Waiting, Self::Answering, Self::Ending];
}

/// Why an exchange was closed by the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its slot was left and the time of its kind was over.
    Drain,
    /// The process ends.
    Shutdown,
    /// The upstream did not answer in time.
    ResponseTimeout,
    /// Nothing moved for too long.
    IdleTimeout,
    /// The client did not go on sending its request.
    SlowRequest,
}

impl Cause {
    const ALL: [Self; 5] =
        [Self::Drain, Self::Shutdown, Self::ResponseTimeout, Self::IdleTimeout, Self::SlowRequest];
}

/// One request from its lease to its end.
#[derive(Debug)]
pub struct Exchange {
    id: u64,
    method: http::Method,
    uri: http::Uri,
    request_id: RequestId,
    started: Instant,
    kind: AtomicU8,
    stage: AtomicU8,
    /// 0: not closed by the proxy; else an index into [`Cause::ALL`], plus one.
    cause: AtomicU8,
    /// Milliseconds after `started` at which bytes moved last, or the stage changed.
    moved: AtomicU64,
    /// Milliseconds after `started` at which the body began to be sent on; [`NOT_SENDING`] before that and after its end.
    sending: AtomicU64,
    /// Bytes of the body that came since then.
    received: AtomicU64,
    /// The upstream connection, where this exchange has one to itself.
    socket: Mutex<Option<Arc<Lent>>>,
    abort: AbortHandle,
    timeouts: Option<Arc<Timeouts>>,
}

impl Exchange {
    /// The request's method.
    #[must_use]
    pub const fn method(&self) -> &http::Method {
        &self.method
    }

    /// The request's target.
    #[must_use]
    pub const fn uri(&self) -> &http::Uri {
        &self.uri
    }

    /// How long its upstream is waited for, where that is not as everywhere in the application.
    #[must_use]
    pub fn timeouts(&self) -> Option<&Timeouts> {
        self.timeouts.as_deref()
    }

    /// Whether an upstream connection is lent that carries this exchange alone.
    #[must_use]
    pub fn has_socket(&self) -> bool {
        self.socket.lock().is_some()
    }

    /// The kind as far as it is known: an answer can turn a request into a stream or a WebSocket.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::ALL[usize::from(self.kind.load(Ordering::Relaxed))]
    }

    /// Notes a better-known kind.
    pub fn set_kind(&self, kind: Kind) {
        self.kind.store(kind as u8, Ordering::Relaxed);
    }

    /// Notes progress to the next stage.
    pub fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
        self.touch();
        if stage == Stage::Sending {
            self.send_from(self.moved.load(Ordering::Relaxed));
        }
    }

    /// The whole body came. The stage may be any: an answer can begin before that.
    pub fn body_ended(&self) {
        self.sending.store(NOT_SENDING, Ordering::Relaxed);
    }

    /// Begins to count anew what comes of the body: until now the client was not to blame.
    pub fn pardon(&self) {
        self.send_from(self.millis());
    }

    fn send_from(&self, millis: u64) {
        self.received.store(0, Ordering::Relaxed);
        self.sending.store(millis, Ordering::Relaxed);
    }

    /// Whether its upstream, where it has a connection to itself, has not taken all that was sent to it. Asks the kernel.
    #[must_use]
    pub fn is_backed_up(&self) -> bool {
        self.socket.lock().as_ref().is_some_and(|socket| socket.is_backed_up())
    }

    /// Notes that so many bytes of the body came.
    pub fn receive(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    /// For how long the body has been sent on, and how many bytes of it came; `None` when none is to come.
    #[must_use]
    pub fn sending(&self, now: Instant) -> Option<(Duration, u64)> {
        let millis = self.sending.load(Ordering::Relaxed);
        let since = self.started + Duration::from_millis(millis);
        let sending = (now.saturating_duration_since(since), self.received.load(Ordering::Relaxed));
        (millis != NOT_SENDING).then_some(sending)
    }

    /// Notes that bytes moved.
    pub fn touch(&self) {
        self.moved.store(self.millis(), Ordering::Relaxed);
    }

    /// Notes that bytes move for so long, which nobody else will tell of.
    pub fn touch_ahead(&self, time: Duration) {
        let time = u64::try_from(time.min(DAY).as_millis()).unwrap_or_default();
        self.moved.store(self.millis().saturating_add(time), Ordering::Relaxed);
    }

    /// Milliseconds since `started`. A connection to a database may be open for longer than 32 bits of them.
    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NOT_SENDING)
    }

    /// The stage, and how long nothing has moved in it.
    #[must_use]
    pub fn stalled(&self, now: Instant) -> (Stage, Duration) {
        let stage = Stage::ALL[usize::from(self.stage.load(Ordering::Relaxed))];
        let moved = self.started + Duration::from_millis(self.moved.load(Ordering::Relaxed));
        (stage, now.saturating_duration_since(moved))
    }

    /// Why the proxy closed this exchange, if it did.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        let index = usize::from(self.cause.load(Ordering::Acquire));
        index.checked_sub(1).map(|i| Cause::ALL[i])
    }

    /// Lends the exchange's own upstream connection, so that closing can reach it.
    /// When the exchange was closed meanwhile the connection is shut at once.
    pub fn lend_socket(&self, socket: Option<Arc<Lent>>) {
        let mut held = self.socket.lock();
        *held = socket;
        if self.cause().is_some()
            && let Some(socket) = &*held
        {
            socket.shut();
        }
    }

    /// Closes as gently as the protocol allows: the upstream connection is shut, and the end of its
    /// bytes lets the request finish in order (a close frame, a last chunk, an error page). An
    /// exchange without a connection to itself is aborted; but one whose client sends too slowly ends, with an answer, when
    /// more of its body comes, and whoever closes it aborts it when none does. False when it was closed before.
    pub fn close(&self, cause: Cause) -> bool {
        let first =
            self.cause.compare_exchange(0, cause as u8 + 1, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if first {
            match &*self.socket.lock() {
                Some(socket) => socket.shut(),
                None if cause != Cause::SlowRequest => self.abort.abort(),
                None => {}
            }
        }
        first
    }

    /// Ends the exchange wherever it stands. For clients that do not read what would close them gently.
    pub fn abort(&self) {
        self.abort.abort();
    }

    /// The exchange as the admin API shows it. The query is left out: it may hold secrets.
    #[must_use]
    pub fn to_wire(&self) -> wire::Exchange {
        // A connection has no path, only where it came in.
        let target = match (self.kind(), self.uri.authority()) {
            (Kind::Connections, Some(authority)) => authority.as_str(),
            (_, _) => self.uri.path(),
        };
        wire::Exchange {
            kind: self.kind(),
            route: format!("{} {target}", self.method),
            request_id: self.request_id.to_string(),
            age_seconds: self.started.elapsed().as_secs_f64(),
        }
    }
}

type Shard = Mutex<HashMap<u64, Arc<Exchange>, BuildHasherDefault<IdHasher>>>;

/// Ids are distinct by construction; hashing them further would only cost time.
#[derive(Default)]
struct IdHasher(u64);

impl std::hash::Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }
    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// Every exchange of one epoch.
#[derive(Debug, Default)]
pub struct Ledger {
    shards: [Shard; SHARDS],
    inside: AtomicUsize,
    retired: AtomicBool,
    finished: [AtomicU64; Kind::ALL.len()],
    cut: Mutex<Vec<wire::Exchange>>,
}

impl Ledger {
    /// Enters an exchange. The caller removes it with [`Ledger::leave`], exactly once.
    pub fn enter(&self, new: NewExchange) -> Arc<Exchange> {
        let id = next_id();
        let exchange = Arc::new(Exchange {
            id,
            method: new.method,
            uri: new.uri,
            request_id: new.request_id,
            started: new.started,
            kind: AtomicU8::new(new.kind as u8),
            stage: AtomicU8::new(Stage::Opening as u8),
            cause: AtomicU8::new(0),
            moved: AtomicU64::new(0),
            sending: AtomicU64::new(NOT_SENDING),
            received: AtomicU64::new(0),
            socket: Mutex::new(None),
            abort: new.abort,
            timeouts: new.timeouts,
        });
        exchange.touch();
        self.shard(id).lock().insert(id, Arc::clone(&exchange));
        self.inside.fetch_add(1, Ordering::Relaxed);
        exchange
    }

    /// Takes an exchange out, and counts it as finished or cut when the epoch has been left.
    pub fn leave(&self, exchange: &Exchange) {
        self.shard(exchange.id).lock().remove(&exchange.id);
        self.inside.fetch_sub(1, Ordering::Relaxed);
        if !self.retired.load(Ordering::Acquire) {
            return;
        }
        match exchange.cause() {
            Some(Cause::Drain | Cause::Shutdown) => self.cut.lock().push(exchange.to_wire()),
            None | Some(Cause::ResponseTimeout | Cause::IdleTimeout | Cause::SlowRequest) => {
                self.finished[exchange.kind() as usize].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// From now on what leaves is counted: the epoch is being left.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// How many exchanges are inside. For skipping empty ledgers, not for deciding anything.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inside.load(Ordering::Relaxed)
    }

    /// Whether nothing is inside, with the same caveat.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything inside, oldest first.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Arc<Exchange>> {
        let mut all: Vec<_> =
            self.shards.iter().flat_map(|s| s.lock().values().cloned().collect::<Vec<_>>()).collect();
        all.sort_by_key(|e| e.started);
        all
    }

    /// How many are inside, by kind.
    #[must_use]
    pub fn in_flight(&self) -> ByKind<u64> {
        let mut counts = ByKind::default();
        if !self.is_empty() {
            for shard in &self.shards {
                for exchange in shard.lock().values() {
                    *counts.get_mut(exchange.kind()) += 1;
                }
            }
        }
        counts
    }

    /// How many left by themselves since the epoch was left, by kind.
    #[must_use]
    pub fn finished(&self) -> ByKind<u64> {
        ByKind::from_fn(|kind| self.finished[kind as usize].load(Ordering::Relaxed))
    }

    /// What was cut since the epoch was left, by kind.
    #[must_use]
    pub fn cut(&self) -> ByKind<Vec<wire::Exchange>> {
        let mut cut = ByKind::<Vec<wire::Exchange>>::default();
        for exchange in self.cut.lock().iter() {
            cut.get_mut(exchange.kind).push(exchange.clone());
        }
        cut
    }

    fn shard(&self, id: u64) -> &Shard {
        &self.shards[usize::try_from(id).unwrap_or_default() % SHARDS]
    }
}

/// What is known of an exchange when it begins.
#[derive(Debug)]
pub struct NewExchange {
    /// The request's method.
    pub method: http::Method,
    /// The request's target.
    pub uri: http::Uri,
    /// The request id.
    pub request_id: RequestId,
    /// When the request began.
    pub started: Instant,
    /// The kind, as far as the request tells.
    pub kind: Kind,
    /// Ends the request wherever it stands.
    pub abort: AbortHandle,
    /// How long its upstream is waited for, where that is not as everywhere in the application.
    pub timeouts: Option<Arc<Timeouts>>,
}

/// A number no other exchange has. The low bits name the thread, so that threads use shards of their own.
fn next_id() -> u64 {
    static THREADS: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NEXT: std::cell::Cell<u64> = std::cell::Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS as u64);
    }
    static WIDE: [AtomicU64; SHARDS] = [const { AtomicU64::new(0) }; SHARDS];
    let lane = NEXT.with(std::cell::Cell::get);
    let count = WIDE[usize::try_from(lane).unwrap_or_default()].fetch_add(1, Ordering::Relaxed);
    count * SHARDS as u64 + lane
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lent::Lending;

    fn exchange(kind: Kind) -> (NewExchange, AbortHandle) {
        let (abort, _) = AbortHandle::new_pair();
        let uri = http::Uri::from_static("/chat?token=secret");
        let new = NewExchange {
            method: http::Method::GET,
            uri,
            request_id: RequestId::generate(),
            started: Instant::now(),
            kind,
            abort: abort.clone(),
            timeouts: None,
        };
        (new, abort)
    }

    #[test]
    fn what_leaves_after_retirement_is_counted_by_kind_and_fate() {
        let ledger = Ledger::default();
        let before = ledger.enter(exchange(Kind::Requests).0);
        let finishes = ledger.enter(exchange(Kind::Requests).0);
        let cut = ledger.enter(exchange(Kind::Requests).0);
        ledger.leave(&before);
        ledger.retire();
        cut.set_kind(Kind::Websockets);
        assert_eq!(ledger.in_flight(), ByKind { requests: 1, websockets: 1, ..ByKind::default() });
        assert!(cut.close(Cause::Drain));
        assert!(!cut.close(Cause::Shutdown), "an exchange is closed once");
        ledger.leave(&cut);
        ledger.leave(&finishes);
        assert_eq!(ledger.finished(), ByKind { requests: 1, ..ByKind::default() });
        assert_eq!(ledger.cut().websockets.len(), 1);
        assert_eq!(ledger.cut().websockets[0].route, "GET /chat");
        assert!(ledger.is_empty());
    }

    #[test]
    fn closing_without_a_connection_aborts_and_with_one_shuts_it() {
        let ledger = Ledger::default();
        let (new, abort) = exchange(Kind::Requests);
        ledger.enter(new).close(Cause::Drain);
        assert!(abort.is_aborted());

        let (new, abort) = exchange(Kind::Streams);
        let exchange = ledger.enter(new);
        let (near, mut far) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let near = Lending::new(near);
        exchange.lend_socket(Some(Arc::clone(near.lent())));
        exchange.close(Cause::Drain);
        assert!(!abort.is_aborted());
        assert_eq!(std::io::Read::read(&mut far, &mut [0; 1]).expect("the end"), 0);
    }

    #[test]
    fn a_body_is_counted_from_its_beginning_to_its_end_whatever_was_answered_meanwhile() {
        let ledger = Ledger::default();
        let exchange = ledger.enter(exchange(Kind::Uploads).0);
        let sent = || exchange.sending(Instant::now()).map(|(_, bytes)| bytes);
        assert_eq!(sent(), None);
        exchange.set_stage(Stage::Sending);
        exchange.receive(5);
        exchange.set_stage(Stage::Answering);
        assert_eq!(sent(), Some(5));
        exchange.pardon();
        assert_eq!(sent(), Some(0), "what came before does not count");
        exchange.set_stage(Stage::Sending);
        exchange.body_ended();
        assert_eq!(sent(), None);
    }

    #[test]
    fn a_slow_body_without_a_connection_to_itself_is_left_to_its_client_to_end() {
        let (new, abort) = exchange(Kind::Uploads);
        let exchange = Ledger::default().enter(new);
        assert!(exchange.close(Cause::SlowRequest));
        assert!(!abort.is_aborted());
        exchange.abort();
        assert!(abort.is_aborted());
    }

    #[test]
    fn an_upstream_that_does_not_read_backs_up() {
        use std::io::Write as _;
        let exchange = Ledger::default().enter(exchange(Kind::Uploads).0);
        assert!(!exchange.is_backed_up());
        let (mut near, mut far) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let lending = Lending::new(near.try_clone().expect("a duplicate"));
        exchange.lend_socket(Some(Arc::clone(lending.lent())));
        assert!(!exchange.is_backed_up());
        near.write_all(b"unread").expect("room");
        assert!(exchange.is_backed_up());
        std::io::Read::read_exact(&mut far, &mut [0; 6]).expect("six bytes");
        assert!(!exchange.is_backed_up());
    }

    #[test]
    fn a_connection_that_comes_after_the_close_is_shut_at_once() {
        let ledger = Ledger::default();
        let exchange = ledger.enter(exchange(Kind::Requests).0);
        exchange.close(Cause::Drain);
        let (near, mut far) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let near = Lending::new(near);
        exchange.lend_socket(Some(Arc::clone(near.lent())));
        assert_eq!(std::io::Read::read(&mut far, &mut [0; 1]).expect("the end"), 0);
    }

    #[test]
    fn ids_are_never_given_twice() {
        let threads: Vec<_> =
            (0..8).map(|_| std::thread::spawn(|| (0..1000).map(|_| next_id()).collect::<Vec<_>>())).collect();
        let mut ids: Vec<u64> = threads.into_iter().flat_map(|t| t.join().expect("a thread")).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 8000);
    }
}
