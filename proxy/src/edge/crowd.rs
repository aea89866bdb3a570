//! How many connections there are, in total and from one address, and who leaves when there are too many.
//!
//! Invariant: no more connections are open than the limit says. At the limit, the one that has waited longest for
//! its next request is asked to leave; where all are busy, new ones wait in the kernel's queue. One address is
//! refused what is over its own limit, so that it cannot take all of them. Asked by the accept loops.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::metrics::{Limit, LimitMetrics};

/// How many maps share the addresses, so that accepting threads seldom meet.
const SHARDS: usize = 16;

/// How long a connection is idle before it is one of those that leave when room is wanted.
pub(super) const SETTLED: Duration = Duration::from_secs(1);

/// How long after asking one connection to leave the next one is asked, when that did not help.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Whenever so many more are there, [`Crowd::grown`] resolves.
const STEP: usize = 32;

/// The connections of all listeners.
#[derive(Debug)]
pub struct Crowd {
    open: AtomicUsize,
    total: AtomicU64,
    /// While memory is short, the most that there may be.
    squeezed: AtomicU64,
    per_address: AtomicU64,
    addresses: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
    hasher: RandomState,
    /// Idle connections wait here in their order; whoever is called leaves.
    leave: Notify,
    /// How many wait for room: a call that nobody heard is nothing to whoever gets idle later.
    wanted: AtomicUsize,
    left: Notify,
    grown: Notify,
    full: AtomicBool,
    limits: LimitMetrics,
}

/// One connection's place. Given back by being dropped.
#[derive(Debug)]
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    address: Option<IpAddr>,
}

impl Crowd {
    /// A crowd with limits in total and for one address.
    #[must_use]
    pub fn new(total: u64, per_address: u64, limits: LimitMetrics) -> Self {
        Self {
            open: AtomicUsize::new(0),
            total: AtomicU64::new(total),
            squeezed: AtomicU64::new(u64::MAX),
            per_address: AtomicU64::new(per_address),
            addresses: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            leave: Notify::new(),
            wanted: AtomicUsize::new(0),
            left: Notify::new(),
            grown: Notify::new(),
            full: AtomicBool::new(false),
            limits,
        }
    }

    /// Puts other limits in force. Who is there stays.
    pub fn set(&self, total: u64, per_address: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.per_address.store(per_address, Ordering::Relaxed);
        self.left.notify_waiters();
    }

    /// Lets nobody in beyond so many, whatever the limit says, until that is lifted.
    pub fn squeeze(&self, most: Option<usize>) {
        self.squeezed.store(most.map_or(u64::MAX, |most| most as u64), Ordering::Relaxed);
        self.left.notify_waiters();
    }

    /// Asks so many of those that have been idle for longest to leave, and waits a moment for them.
    pub async fn thin(&self, count: usize) {
        let _wanted = Wanted::new(self);
        for _ in 0..count {
            self.leave.notify_one();
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }

    /// Waits until there are clearly more connections than before.
    pub async fn grown(&self) {
        self.grown.notified().await;
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        (self.open() as u64) < self.most()
    }

    fn most(&self) -> u64 {
        self.total.load(Ordering::Relaxed).min(self.squeezed.load(Ordering::Relaxed))
    }

    /// Waits until one more connection may be accepted, asking idle ones to leave.
    pub(crate) async fn room(&self) {
        if self.has_room() {
            return;
        }
        let squeezed = || self.squeezed.load(Ordering::Relaxed) < u64::MAX;
        self.limits.acted(if squeezed() { Limit::Memory } else { Limit::Connections });
        while !self.has_room() {
            // That memory is short has been said.
            if !squeezed() && !self.full.swap(true, Ordering::Relaxed) {
                let open = self.open();
                warn!(
                    open,
                    "the limit on connections is reached: idle ones are closed, new ones wait for room"
                );
            }
            self.make_room().await;
        }
    }

    /// Asks the connection that has been idle for longest to leave, and waits a moment for it.
    pub(crate) async fn make_room(&self) {
        let left = self.left.notified();
        let _wanted = Wanted::new(self);
        self.leave.notify_one();
        // Nobody may be idle: then whoever finishes first makes room.
        let _ = tokio::time::timeout(ASK_AGAIN, left).await;
    }

    /// Calls the next one in place of one who was called and cannot leave.
    pub(super) fn call_next(&self) {
        self.leave.notify_one();
    }

    /// Resolves when the caller, who is idle, is the one to leave.
    pub(super) async fn asked_to_leave(&self) {
        loop {
            self.leave.notified().await;
            if self.wanted.load(Ordering::Relaxed) > 0 {
                return;
            }
        }
    }

    /// A place for a connection from an address; none when that has its share already. A trusted proxy, which
    /// speaks for many, has no limit of its own (`None`).
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let address = address.map(network);
        if let Some(address) = address {
            let mut counts = self.shard(&address).lock();
            let count = counts.entry(address).or_default();
            if u64::from(*count) >= self.per_address.load(Ordering::Relaxed) {
                drop(counts);
                self.limits.acted(Limit::ConnectionsPerAddress);
                return None;
            }
            *count += 1;
        }
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        if before % STEP == STEP - 1 {
            self.grown.notify_one();
        }
        Some(Place { crowd: Arc::clone(self), address })
    }

    fn shard(&self, address: &IpAddr) -> &Mutex<HashMap<IpAddr, u32>> {
        let hash = self.hasher.hash_one(address);
        // The remainder is below SHARDS.
        &self.addresses[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }
}

/// Somebody who waits for room, until it is dropped.
struct Wanted<'a>(&'a Crowd);

impl<'c> Wanted<'c> {
    fn new(crowd: &'c Crowd) -> Self {
        crowd.wanted.fetch_add(1, Ordering::Relaxed);
        Self(crowd)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let crowd = &self.crowd;
        if let Some(address) = self.address {
            let mut counts = crowd.shard(&address).lock();
            if let Some(count) = counts.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&address);
                }
            }
        }
        let open = crowd.open.fetch_sub(1, Ordering::Relaxed) - 1;
        crowd.left.notify_one();
        // Said again only after it got clearly better, not at each coming and going.
        let relieved = (open as u64) < crowd.most() / 10 * 9;
        if relieved && crowd.full.load(Ordering::Relaxed) && crowd.full.swap(false, Ordering::Relaxed) {
            info!(open, "there is room for connections again");
        }
    }
}

/// What counts as one address: of IPv6 the network of 64 bits, which is what one customer gets (RFC 6177).
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(total: u64, per_address: u64) -> Arc<Crowd> {
        Arc::new(Crowd::new(total, per_address, LimitMetrics::for_tests()))
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn one_address_gets_its_share_and_a_place_given_back_is_there_again() {
        let crowd = crowd(100, 2);
        let first = crowd.enter(address("192.0.2.1")).expect("a place");
        let _second = crowd.enter(address("::ffff:192.0.2.1")).expect("a place");
        assert!(crowd.enter(address("192.0.2.1")).is_none(), "the third is refused");
        assert!(crowd.enter(address("192.0.2.2")).is_some(), "another address has its own share");
        drop(first);
        assert!(crowd.enter(address("192.0.2.1")).is_some());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address_and_a_trusted_proxy_has_no_limit() {
        let crowd = crowd(100, 1);
        let _first = crowd.enter(address("2001:db8:1:2::1")).expect("a place");
        assert!(crowd.enter(address("2001:db8:1:2:ffff::9")).is_none());
        assert!(crowd.enter(address("2001:db8:1:3::1")).is_some());
        let trusted: Vec<_> = (0..5).map(|_| crowd.enter(None)).collect();
        assert!(trusted.iter().all(Option::is_some));
        assert_eq!(crowd.open(), 6);
        drop(trusted);
        assert_eq!(crowd.open(), 1);
    }

    #[tokio::test]
    async fn who_has_been_idle_for_longest_leaves_first() {
        let crowd = crowd(2, 2);
        let (first, second) = (crowd.enter(None).expect("a place"), crowd.enter(None).expect("a place"));
        let mut long = Box::pin(crowd.asked_to_leave());
        let mut short = Box::pin(crowd.asked_to_leave());
        assert!(futures::poll!(&mut long).is_pending());
        assert!(futures::poll!(&mut short).is_pending());
        let mut room = Box::pin(crowd.room());
        assert!(futures::poll!(&mut room).is_pending(), "it is full");
        assert!(futures::poll!(&mut long).is_ready());
        assert!(futures::poll!(&mut short).is_pending(), "one is enough");
        drop(first);
        room.await;
        drop(second);
    }

    #[tokio::test]
    async fn while_squeezed_who_comes_gets_the_place_of_an_idle_one() {
        let crowd = crowd(10, 10);
        let (first, _second) = (crowd.enter(None).expect("a place"), crowd.enter(None).expect("a place"));
        crowd.squeeze(Some(2));
        let mut idle = Box::pin(crowd.asked_to_leave());
        assert!(futures::poll!(&mut idle).is_pending());
        let mut room = Box::pin(crowd.room());
        assert!(futures::poll!(&mut room).is_pending(), "no more than there were");
        assert!(futures::poll!(&mut idle).is_ready());
        drop(first);
        room.await;
        let _third = crowd.enter(None).expect("a place");
        assert_eq!((crowd.limits.count(Limit::Memory), crowd.limits.count(Limit::Connections)), (1, 0));
        crowd.squeeze(None);
        crowd.room().await;
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_leave_as_are_asked_and_the_longest_idle_first() {
        let crowd = crowd(10, 10);
        let mut idle: Vec<_> = (0..4).map(|_| Box::pin(crowd.asked_to_leave())).collect();
        for one in &mut idle {
            assert!(futures::poll!(one).is_pending());
        }
        let mut thin = Box::pin(crowd.thin(2));
        assert!(futures::poll!(&mut thin).is_pending());
        let mut leave = Vec::new();
        for one in &mut idle {
            leave.push(futures::poll!(one).is_ready());
        }
        assert_eq!(leave, [true, true, false, false]);
        thin.await;
    }

    #[tokio::test]
    async fn a_call_that_nobody_heard_is_nothing_to_who_gets_idle_later() {
        let crowd = crowd(1, 1);
        let busy = crowd.enter(None).expect("a place");
        let mut room = Box::pin(crowd.room());
        assert!(futures::poll!(&mut room).is_pending(), "it is full, and nobody is idle");
        drop(busy);
        room.await;
        let _place = crowd.enter(None).expect("a place");
        let mut idle = Box::pin(crowd.asked_to_leave());
        assert!(futures::poll!(&mut idle).is_pending(), "nobody waits for room now");
        let mut room = Box::pin(crowd.room());
        assert!(futures::poll!(&mut room).is_pending());
        assert!(futures::poll!(&mut idle).is_ready());
    }
}
