//! Room: no more than `max_in_flight` requests with an upstream, and a line for those that nobody has room for.
//!
//! Whoever frees a place hands it to the first in the line who may take it, so the line is first come, first served, and
//! nobody is passed by one who came later. A request that waits holds its lease; when it leaves, for whatever reason, its
//! ticket is dropped, and with it its place in the line, or the place that it was just given.
//!
//! The lock is taken by requests that wait, by those that end while others wait, and by one task that looks ten times a second
//! whether something else made room; by nobody else.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use switcher_config::settings::{AppSettings, Queue};
use tokio::sync::Notify;

use crate::epoch::Epoch;
use crate::tick::Tick;

use super::{Ask, Claim, Growth, Rule, Tried, choose, claim};

/// How long after something changed that is not told here (an upstream is well again, weighs more, was left out for long
/// enough, may have more requests) those who wait hear of it.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How many who left the line may still stand in it beside those who wait, so that few leave for each time it is cleared.
const LEFT: usize = 16;

/// Who waits, the longest first.
#[derive(Debug, Default)]
pub struct Line {
    /// How many wait. Raised before room is looked for, so that whoever frees a place meanwhile sees it.
    waiting: AtomicUsize,
    /// How many requests an upstream may have.
    max: AtomicUsize,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    /// Who waits, and who has left since it was cleared.
    line: VecDeque<Arc<Waiter>>,
    /// Somebody looks again from time to time.
    is_watched: bool,
}

#[derive(Debug)]
struct Waiter {
    ask: Ask,
    /// Written under the lock.
    fate: AtomicUsize,
    woken: Notify,
}

/// What became of a waiter, where it is no index of an upstream that it was given a place with.
mod fate {
    /// It waits.
    pub(super) const WAITS: usize = usize::MAX;
    /// There is nobody left to wait for.
    pub(super) const NOBODY: usize = usize::MAX - 1;
    /// It has taken what it was given, or has left.
    pub(super) const GONE: usize = usize::MAX - 2;
}

impl Waiter {
    fn new(ask: Ask) -> Self {
        Self { ask, fate: AtomicUsize::new(fate::WAITS), woken: Notify::new() }
    }

    fn waits(&self) -> bool {
        self.fate.load(Ordering::Relaxed) == fate::WAITS
    }
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

    /// From now on an upstream may have so many requests; without a number, any.
    pub(crate) fn allow(&self, max: Option<u32>) {
        let max = max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
        self.max.store(max, Ordering::Relaxed);
    }
}

/// Whether whoever was given an upstream was counted with it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It was, because places there are few.
    Taken,
    /// It was not.
    Free,
}

/// The next upstream of an epoch for whoever asks by `rule` and has tried some: at once, or after waiting for room.
///
/// # Errors
/// Why there is none.
pub async fn seat(
    epoch: &Epoch,
    settings: &AppSettings,
    rule: Rule,
    tried: Tried,
) -> Result<(usize, Place), Refused> {
    let outliers = settings.outliers.map(|_| Tick::now());
    let ask = Ask { rule, tried, growth: Growth::of(settings), outliers };
    match settings.max_in_flight {
        None => choose(epoch, ask).map(|(index, _)| (index, Place::Free)).ok_or(Refused::Nobody),
        Some(max) => place(epoch, ask, max, &settings.queue).await.map(|index| (index, Place::Taken)),
    }
}

/// A place with an upstream, now or after waiting for it.
///
/// # Errors
/// Why there is none.
pub async fn place(epoch: &Epoch, ask: Ask, max: u32, limits: &Queue) -> Result<usize, Refused> {
    epoch.room.allow(Some(max));
    if epoch.room.is_empty() {
        match claim(epoch, ask, usize::try_from(max).unwrap_or(usize::MAX)) {
            Claim::At(index) => return Ok(index),
            Claim::Nobody => return Err(Refused::Nobody),
            Claim::Full => {}
        }
    }
    let ticket = Ticket::draw(epoch, ask, limits).inspect_err(|_| epoch.metrics.queue.refuse())?;
    hand_out(epoch);
    let woken = tokio::time::timeout(limits.max.0, ticket.waiter.woken.notified()).await;
    ticket.cash().unwrap_or_else(|| {
        debug_assert!(woken.is_err(), "only whose fate is decided is woken");
        epoch.metrics.queue.refuse();
        Err(Refused::TimedOut)
    })
}

/// Gives free places to those who wait, in their order. To be called whenever a place may have become free. When there are
/// none it costs a look at each upstream, however many wait.
pub fn hand_out(epoch: &Epoch) {
    let (now, max) = (Tick::now(), epoch.room.max.load(Ordering::Relaxed));
    let mut waiters = epoch.room.waiters.lock();
    let mut passed = 0;
    while let Some(waiter) = waiters.line.get(passed).filter(|_| is_worth_asking(epoch, max)) {
        let claimed = if waiter.waits() { claim(epoch, waiter.ask.at(now), max) } else { Claim::Nobody };
        match claimed {
            Claim::Full if waiter.ask.is_plain() => return,
            // Others may come in before it: they do not want what it waits for.
            Claim::Full => passed += 1,
            Claim::At(index) => call(epoch, &mut waiters, passed, index),
            Claim::Nobody => call(epoch, &mut waiters, passed, fate::NOBODY),
        }
    }
}

/// Whether asking for a place can bring anything: somebody has room, or there is nobody to wait for.
fn is_worth_asking(epoch: &Epoch, max: usize) -> bool {
    let mut taken = epoch.upstreams.iter().filter(|one| one.upstream.weight() > 0).peekable();
    taken.peek().is_none() || taken.any(|one| one.in_flight.load(Ordering::SeqCst) < max)
}

/// Takes somebody out of the line, and tells its fate to it if it still waits.
fn call(epoch: &Epoch, waiters: &mut Waiters, place: usize, fate: usize) {
    if let Some(waiter) = waiters.line.remove(place).filter(|waiter| waiter.waits()) {
        waiter.fate.store(fate, Ordering::Relaxed);
        epoch.room.waiting.fetch_sub(1, Ordering::SeqCst);
        waiter.woken.notify_one();
    }
}

/// Looks again from time to time, as long as anybody waits. Holds the epoch for no longer than a look.
async fn watch(epoch: Weak<Epoch>) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let Some(epoch) = epoch.upgrade() else { return };
        hand_out(&epoch);
        let mut waiters = epoch.room.waiters.lock();
        if epoch.room.is_empty() {
            *waiters = Waiters::default();
            return;
        }
    }
}

/// A request's place in the line.
struct Ticket<'a> {
    epoch: &'a Epoch,
    waiter: Arc<Waiter>,
}

impl<'a> Ticket<'a> {
    fn draw(epoch: &'a Epoch, ask: Ask, limits: &Queue) -> Result<Self, Refused> {
        let room = &epoch.room;
        let mut waiters = room.waiters.lock();
        let waiting = room.waiting.load(Ordering::SeqCst);
        if waiting >= usize::try_from(limits.requests).unwrap_or(usize::MAX) {
            return Err(Refused::Full);
        }
        if waiters.line.len() > 2 * waiting + LEFT {
            waiters.line.retain(|waiter| waiter.waits());
        }
        let waiter = Arc::new(Waiter::new(ask));
        room.waiting.fetch_add(1, Ordering::SeqCst);
        waiters.line.push_back(Arc::clone(&waiter));
        if !std::mem::replace(&mut waiters.is_watched, true) {
            tokio::spawn(watch(epoch.myself()));
        }
        epoch.metrics.queue.enter();
        Ok(Self { epoch, waiter })
    }

    /// What it was given, which is now the caller's to give back; none while it waits.
    fn cash(&self) -> Option<Result<usize, Refused>> {
        let _still = self.epoch.room.waiters.lock();
        if self.waiter.waits() {
            return None;
        }
        match self.waiter.fate.swap(fate::GONE, Ordering::Relaxed) {
            fate::NOBODY | fate::GONE => Some(Err(Refused::Nobody)),
            index => Some(Ok(index)),
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.epoch.metrics.queue.leave();
        let still = self.epoch.room.waiters.lock();
        match self.waiter.fate.swap(fate::GONE, Ordering::Relaxed) {
            // It is passed over when its turn comes.
            fate::WAITS => drop(self.epoch.room.waiting.fetch_sub(1, Ordering::SeqCst)),
            fate::NOBODY | fate::GONE => {}
            unused => {
                // It was given a place and left without it.
                drop(still);
                self.epoch.leave(unused);
            }
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

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_hear_of_room_that_nobody_left() {
        let epoch = epoch(2);
        let weigh = |index: usize, weight: u16| {
            epoch.upstreams[index].upstream.set_weight(weight.try_into().expect("a weight"));
        };
        weigh(1, 0);
        let enter = || place(&epoch, Ask::default(), 1, &LIMITS);
        assert_eq!(enter().await, Ok(0));
        let mut first = pin!(enter());
        assert!(poll!(&mut first).is_pending());
        weigh(1, 1);
        assert_eq!(first.await, Ok(1), "it weighs something now");
        let mut second = pin!(enter());
        assert!(poll!(&mut second).is_pending());
        epoch.room.allow(Some(2));
        assert!(second.await.is_ok(), "each may have more now");
        assert_eq!(in_flight(&epoch).iter().sum::<usize>(), 3);
        let mut third = pin!(place(&epoch, Ask::default(), 1, &LIMITS));
        assert!(poll!(&mut third).is_pending());
        weigh(0, 0);
        weigh(1, 0);
        assert_eq!(third.await, Err(Refused::Nobody));
        assert!(epoch.room.is_empty());
    }

    #[tokio::test]
    async fn those_who_left_are_passed_over_and_do_not_pile_up() {
        let epoch = epoch(1);
        let limits = Queue { requests: 1, ..LIMITS };
        let enter = || place(&epoch, Ask::default(), 1, &limits);
        assert_eq!(enter().await, Ok(0));
        for _ in 0..1000 {
            let mut leaves = Box::pin(enter());
            assert!(poll!(&mut leaves).is_pending());
        }
        assert!(epoch.room.waiters.lock().line.len() <= 2 + LEFT);
        let mut stays = pin!(enter());
        assert!(poll!(&mut stays).is_pending());
        epoch.leave(0);
        assert_eq!(stays.await, Ok(0));
    }

    #[tokio::test]
    async fn who_waits_for_one_upstream_does_not_keep_others_from_another() {
        let epoch = epoch(2);
        let enter = |ask| place(&epoch, ask, 1, &LIMITS);
        assert_eq!((enter(Ask::default()).await, enter(Ask::default()).await), (Ok(0), Ok(1)));
        let mut tried = crate::balance::Tried::default();
        tried.insert(1);
        let (mut picky, mut plain) =
            (pin!(enter(Ask { tried, ..Ask::default() })), pin!(enter(Ask::default())));
        assert!(poll!(&mut picky).is_pending() && poll!(&mut plain).is_pending());
        epoch.leave(1);
        assert_eq!(plain.await, Ok(1));
        epoch.leave(0);
        assert_eq!(picky.await, Ok(0));
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
