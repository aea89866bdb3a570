//! Room: no more than `max_in_flight` requests with an upstream, and a line for those that nobody has room for.
//!
//! Whoever frees a place hands it to the first in the line who may take it, so the line is first come, first served, and
//! nobody is passed by one who came later. A request that waits holds its lease; when it leaves, for whatever reason, its
//! ticket is dropped, and with it its place in the line, or the place that it was just given.
//!
//! The lock is taken by requests that wait and by those that end while others wait; by nobody else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use switcher_config::settings::Queue;
use tokio::sync::Notify;

use crate::epoch::Epoch;

use super::{Ask, Claim, claim};

/// Nothing was given yet.
const NOTHING: usize = usize::MAX;

/// Who waits, the longest first.
#[derive(Debug, Default)]
pub struct Line {
    /// How many wait. Raised before room is looked for, so that whoever frees a place meanwhile sees it.
    waiting: AtomicUsize,
    waiters: Mutex<VecDeque<Arc<Waiter>>>,
}

#[derive(Debug)]
struct Waiter {
    ask: Ask,
    max: usize,
    /// The upstream it was given a place with. Written under the lock.
    given: AtomicUsize,
    woken: Notify,
}

/// Why a request gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The line is as long as it may be.
    Full,
    /// It waited for as long as it may.
    TimedOut,
    /// There is no upstream to wait for.
    Nobody,
}

impl Line {
    /// Whether anybody waits. One atomic load.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }
}

/// A place with an upstream, now or after waiting for it.
///
/// # Errors
/// Why there is none.
pub async fn place(epoch: &Epoch, ask: Ask, max: u32, limits: &Queue) -> Result<usize, Refused> {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    if epoch.room.is_empty() {
        match claim(epoch, ask, max) {
            Claim::At(index) => return Ok(index),
            Claim::Nobody => return Err(Refused::Nobody),
            Claim::Full => {}
        }
    }
    let ticket = Ticket::draw(epoch, ask, max, limits).inspect_err(|_| epoch.metrics.queue.refuse())?;
    hand_out(epoch);
    let woken = tokio::time::timeout(limits.max.0, ticket.waiter.woken.notified()).await;
    match ticket.cash() {
        Some(index) => Ok(index),
        None => {
            debug_assert!(woken.is_err(), "only who was given a place is woken");
            epoch.metrics.queue.refuse();
            Err(Refused::TimedOut)
        }
    }
}

/// Gives free places to those who wait, in their order. To be called whenever a place may have become free.
pub fn hand_out(epoch: &Epoch) {
    let mut waiters = epoch.room.waiters.lock();
    waiters.retain(|waiter| match claim(epoch, waiter.ask, waiter.max) {
        Claim::At(index) => {
            waiter.given.store(index, Ordering::Relaxed);
            epoch.room.waiting.fetch_sub(1, Ordering::SeqCst);
            waiter.woken.notify_one();
            false
        }
        Claim::Full | Claim::Nobody => true,
    });
}

/// A request's place in the line.
struct Ticket<'a> {
    epoch: &'a Epoch,
    waiter: Arc<Waiter>,
}

impl<'a> Ticket<'a> {
    fn draw(epoch: &'a Epoch, ask: Ask, max: usize, limits: &Queue) -> Result<Self, Refused> {
        let mut waiters = epoch.room.waiters.lock();
        if waiters.len() >= usize::try_from(limits.requests).unwrap_or(usize::MAX) {
            return Err(Refused::Full);
        }
        let waiter = Arc::new(Waiter { ask, max, given: AtomicUsize::new(NOTHING), woken: Notify::new() });
        epoch.room.waiting.fetch_add(1, Ordering::SeqCst);
        waiters.push_back(Arc::clone(&waiter));
        epoch.metrics.queue.enter();
        Ok(Self { epoch, waiter })
    }

    /// The place it was given, which is now the caller's to give back.
    fn cash(&self) -> Option<usize> {
        let _still = self.epoch.room.waiters.lock();
        let given = self.waiter.given.swap(NOTHING, Ordering::Relaxed);
        (given != NOTHING).then_some(given)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.epoch.metrics.queue.leave();
        if let Some(unused) = self.cash() {
            // It was given a place and left without it.
            return self.epoch.leave(unused);
        }
        let mut waiters = self.epoch.room.waiters.lock();
        let before = waiters.len();
        waiters.retain(|waiter| !Arc::ptr_eq(waiter, &self.waiter));
        if waiters.len() < before {
            self.epoch.room.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;
    use switcher_config::Span;

    use super::*;
    use crate::testing::epoch;

    const LIMITS: Queue = Queue { requests: 2, max: Span::seconds(3600) };

    fn in_flight(epoch: &Epoch) -> Vec<usize> {
        epoch.upstreams.iter().map(|one| one.in_flight.load(Ordering::SeqCst)).collect()
    }

    #[tokio::test]
    async fn who_comes_first_is_served_first_and_nobody_passes() {
        let epoch = epoch(2);
        let enter = || place(&epoch, Ask::default(), 1, &LIMITS);
        assert_eq!((enter().await, enter().await), (Ok(0), Ok(1)));
        let (mut first, mut second) = (pin!(enter()), pin!(enter()));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        assert_eq!(enter().await, Err(Refused::Full));
        epoch.leave(1);
        assert!(poll!(&mut second).is_pending(), "it came later");
        assert_eq!(first.await, Ok(1));
        let mut third = pin!(enter());
        assert!(poll!(&mut third).is_pending());
        epoch.leave(0);
        assert!(poll!(&mut third).is_pending(), "it came later");
        assert_eq!(second.await, Ok(0));
        assert_eq!(in_flight(&epoch), [1, 1]);
    }

    #[tokio::test]
    async fn who_leaves_gives_back_its_place_in_the_line_or_the_one_it_was_given() {
        let epoch = epoch(1);
        let enter = || place(&epoch, Ask::default(), 1, &LIMITS);
        assert_eq!(enter().await, Ok(0));
        let mut leaves = Box::pin(enter());
        let mut stays = pin!(enter());
        assert!(poll!(&mut leaves).is_pending() && poll!(&mut stays).is_pending());
        epoch.leave(0);
        // It was given the place and is gone before it looked.
        drop(leaves);
        assert_eq!(stays.await, Ok(0));
        let mut waits = Box::pin(enter());
        assert!(poll!(&mut waits).is_pending());
        drop(waits);
        assert!(epoch.room.is_empty());
        epoch.leave(0);
        assert_eq!(in_flight(&epoch), [0]);
    }

    #[tokio::test]
    async fn nobody_waits_for_longer_than_the_limit_or_for_nobody() {
        let epoch = epoch(1);
        let limits = Queue { requests: 1, max: Span::millis(10) };
        assert_eq!(place(&epoch, Ask::default(), 1, &limits).await, Ok(0));
        assert_eq!(place(&epoch, Ask::default(), 1, &limits).await, Err(Refused::TimedOut));
        assert!(epoch.room.is_empty());
        let mut tried = crate::balance::Tried::default();
        tried.insert(0);
        let ask = Ask { tried, ..Ask::default() };
        assert_eq!(place(&epoch, ask, 1, &limits).await, Err(Refused::Nobody));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_upstream_ever_has_more_than_it_may_and_everybody_gets_through() {
        let epoch = epoch(2);
        let limits = Queue { requests: 1000, max: Span::seconds(60) };
        let most = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (epoch, most) = (Arc::clone(&epoch), Arc::clone(&most));
                tokio::spawn(async move {
                    for _ in 0..50 {
                        let index = place(&epoch, Ask::default(), 3, &limits).await.expect("a place");
                        most.fetch_max(
                            epoch.upstreams[index].in_flight.load(Ordering::SeqCst),
                            Ordering::SeqCst,
                        );
                        tokio::task::yield_now().await;
                        epoch.leave(index);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a task");
        }
        assert_eq!((most.load(Ordering::SeqCst), in_flight(&epoch)), (3, vec![0, 0]));
    }
}
