//! Descriptors for requests of HTTP/2, of which one connection carries many.
//!
//! The place of a connection holds one descriptor to an upstream, which is all that HTTP/1.1 ever needs. Of HTTP/2 one
//! request at a time uses that; each further one takes a spare descriptor of the process. Invariant: no more spare
//! ones are taken than there are, so that the descriptors kept for files, the admin API and health checks stay free.
//! Whoever finds none waits; nobody can keep the one of another's connection. Asked by the gateway, before a
//! connection to an upstream is made, and never for HTTP/1.1.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{info, warn};

use crate::connection::Facts;
use crate::metrics::{Limit, LimitMetrics};

/// The spare descriptors of the process.
// The order of all accesses to `taken` and `waiting` matters: who gives back sees who waits, or who waits sees it.
#[derive(Debug)]
pub struct Spares {
    total: AtomicUsize,
    taken: AtomicUsize,
    waiting: AtomicUsize,
    given_back: Notify,
    full: AtomicBool,
    limits: LimitMetrics,
}

/// What a request may open its connection to an upstream with. Given back by being dropped.
#[derive(Debug)]
pub enum Descriptor {
    /// That of its own connection's place.
    Own(Arc<Facts>),
    /// A spare one.
    Spare(Arc<Spares>),
}

/// A request that waits, until it is dropped.
struct Waiting<'a>(&'a Spares);

impl Spares {
    /// So many spare descriptors.
    #[must_use]
    pub fn new(total: u64, limits: LimitMetrics) -> Self {
        Self {
            total: AtomicUsize::new(usize::try_from(total).unwrap_or(usize::MAX)),
            taken: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            given_back: Notify::new(),
            full: AtomicBool::new(false),
            limits,
        }
    }

    /// Puts another number in force. What is taken stays taken.
    pub fn set(&self, total: u64) {
        self.total.store(usize::try_from(total).unwrap_or(usize::MAX), Ordering::SeqCst);
        self.given_back.notify_one();
    }

    /// One for a request of this connection, if there is one now.
    #[must_use]
    pub fn try_take(self: &Arc<Self>, facts: &Arc<Facts>) -> Option<Descriptor> {
        if !facts.upstream_taken.swap(true, Ordering::SeqCst) {
            return Some(Descriptor::Own(Arc::clone(facts)));
        }
        let total = self.total.load(Ordering::SeqCst);
        let one_more = |taken| (taken < total).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        taken.is_ok().then(|| Descriptor::Spare(Arc::clone(self)))
    }

    /// One for a request of this connection, waited for no longer than that.
    pub async fn wait(self: &Arc<Self>, facts: &Arc<Facts>, patience: Duration) -> Option<Descriptor> {
        if !self.full.swap(true, Ordering::Relaxed) {
            let taken = self.taken.load(Ordering::Relaxed);
            warn!(
                taken,
                "the limit on descriptors is reached: requests of HTTP/2 wait for a connection to an upstream"
            );
        }
        self.limits.acted(Limit::Descriptors);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(self);
        let found = tokio::time::timeout(patience, async {
            loop {
                if let Some(descriptor) = self.try_take(facts) {
                    return descriptor;
                }
                tokio::select! {
                    () = self.given_back.notified() => {}
                    () = facts.upstream_free.notified() => {}
                }
            }
        });
        found.await.ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let others = self.0.waiting.fetch_sub(1, Ordering::SeqCst) > 1;
        // What woke this one may be enough for another, if it is not needed here.
        if others {
            self.0.given_back.notify_one();
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        match self {
            Self::Own(facts) => {
                facts.upstream_taken.store(false, Ordering::SeqCst);
                facts.upstream_free.notify_one();
            }
            Self::Spare(spares) => {
                let left = spares.taken.fetch_sub(1, Ordering::SeqCst) - 1;
                if spares.waiting.load(Ordering::SeqCst) > 0 {
                    spares.given_back.notify_one();
                }
                spares.relieved(left);
            }
        }
    }
}

impl Spares {
    /// Said again only after it got clearly better, not at each coming and going.
    fn relieved(&self, taken: usize) {
        let relieved = || taken < self.total.load(Ordering::Relaxed) / 10 * 9 || taken == 0;
        if self.full.load(Ordering::Relaxed) && relieved() && self.full.swap(false, Ordering::Relaxed) {
            info!(taken, "there are descriptors for requests of HTTP/2 again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn spares(total: u64) -> Arc<Spares> {
        Arc::new(Spares::new(total, LimitMetrics::for_tests()))
    }

    fn connection() -> Arc<Facts> {
        let peer: std::net::SocketAddr = "192.0.2.1:1".parse().expect("an address");
        Arc::new(Facts::new(peer, -1, None))
    }

    #[test]
    fn each_connection_has_one_of_its_own_and_further_ones_are_bounded() {
        let spares = spares(2);
        let (greedy, modest) = (connection(), connection());
        let mut taken: Vec<_> = (0..3).map(|_| spares.try_take(&greedy).expect("a descriptor")).collect();
        assert!(spares.try_take(&greedy).is_none(), "its own and two spare ones are all");
        let own = spares.try_take(&modest).expect("nobody takes what is another's");
        assert!(spares.try_take(&modest).is_none());
        drop(taken.pop());
        assert!(matches!(spares.try_take(&modest), Some(Descriptor::Spare(_))));
        drop((taken, own));
        assert!(matches!(spares.try_take(&modest), Some(Descriptor::Own(_))));
        assert_eq!(spares.taken.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn who_waits_gets_what_is_given_back_of_either_kind() {
        let spares = spares(1);
        let (one, other) = (connection(), connection());
        let (own, spare) =
            (spares.try_take(&one).expect("its own"), spares.try_take(&one).expect("the spare"));
        let others = spares.try_take(&other).expect("its own");
        let mut first = Box::pin(spares.wait(&one, LONG));
        let mut second = Box::pin(spares.wait(&other, LONG));
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
        drop(own);
        assert!(matches!(first.await, Some(Descriptor::Own(_))));
        assert!(futures::poll!(&mut second).is_pending(), "that of another connection is not for it");
        drop(spare);
        assert!(matches!(second.await, Some(Descriptor::Spare(_))));
        drop(others);
        assert_eq!(spares.limits.count(Limit::Descriptors), 2);
        assert_eq!(spares.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_and_who_leaves_takes_no_place_along() {
        let spares = spares(1);
        let (busy, third) = (connection(), connection());
        let held = [spares.try_take(&busy), spares.try_take(&busy), spares.try_take(&third)];
        assert!(spares.wait(&busy, Duration::from_secs(5)).await.is_none());
        let mut leaves = Box::pin(spares.wait(&busy, LONG));
        let mut stays = Box::pin(spares.wait(&third, LONG));
        assert!(futures::poll!(&mut leaves).is_pending() && futures::poll!(&mut stays).is_pending());
        let [own, spare, others] = held;
        drop(spare);
        drop(leaves);
        assert!(stays.await.is_some(), "what was meant for the one who left");
        drop((own, others));
    }
}
