//! Draining: an epoch that was left is waited for, kind by kind, and what outlives its time is closed.
//!
//! When each exchange is to be closed is a pure plan ([`due`]); the task in [`Drain::run`] performs it.
//! That the epoch is empty is never concluded here: it is told by [`Gone`](crate::epoch::Gone).

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use switcher_config::settings;
use switcher_config::wire::{ByKind, DrainReceipt, DrainingStatus, Kind};
use tokio::sync::watch;

use crate::epoch::EpochHandle;
use crate::ledger::{Cause, Exchange};

/// How many looks a gently closed exchange gets to say goodbye before it is aborted. Looks and not milliseconds: a process
/// that gets no processor for a while has said nothing in that time, and each look lets the exchanges run first.
const LINGER: u32 = 4;

/// The share of the spreading window that one exchange adds.
const SPREAD_STEP: Duration = Duration::from_millis(5);

/// How often kinds and deadlines are looked at again once the first deadline has passed.
const TICK: Duration = Duration::from_millis(20);

/// How long each kind may go on, and over what time closing is spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The time of each kind.
    pub time: ByKind<Duration>,
    /// The longest spreading window.
    pub spread: Duration,
}

impl Policy {
    /// The configured policy, or one time for every kind.
    #[must_use]
    pub fn new(drain: &settings::Drain, one_time: Option<Duration>) -> Self {
        let configured = |kind| match kind {
            Kind::Requests => drain.requests.0,
            Kind::Uploads => drain.uploads.0,
            Kind::Streams => drain.streams.0,
            Kind::Websockets => drain.websockets.0,
            Kind::Connections => drain.connections.0,
        };
        Self { time: ByKind::from_fn(|kind| one_time.unwrap_or(configured(kind))), spread: drain.spread.0 }
    }

    fn first_deadline(&self) -> Duration {
        Kind::ALL.into_iter().map(|kind| *self.time.get(kind)).min().unwrap_or_default()
    }
}

/// How many of `count` exchanges of one kind are to be closed, so long after the switch.
///
/// Nothing is closed before the kind's time. From then on closing is spread evenly over a window that
/// grows with the number (so that one client is not kept waiting and ten thousand do not come back
/// together) up to the longest one.
#[must_use]
pub fn due(count: usize, elapsed: Duration, time: Duration, spread: Duration) -> usize {
    let Some(over) = elapsed.checked_sub(time) else { return 0 };
    let window = spread.min(SPREAD_STEP * u32::try_from(count).unwrap_or(u32::MAX));
    if over >= window {
        return count;
    }
    let share = over.as_secs_f64() / window.as_secs_f64();
    // The first one is due at the deadline itself.
    ((share * count as f64) as usize + 1).min(count)
}

/// One drain, from the switch to its receipt.
#[derive(Debug)]
pub struct Drain {
    epoch: EpochHandle,
    since: Timestamp,
    began: Instant,
    ended: watch::Sender<Option<Duration>>,
}

impl Drain {
    /// The drain of an epoch that has just been left.
    #[must_use]
    pub fn new(epoch: EpochHandle) -> Self {
        Self { epoch, since: Timestamp::now(), began: Instant::now(), ended: watch::Sender::new(None) }
    }

    /// The epoch that is being left.
    #[must_use]
    pub const fn epoch(&self) -> &EpochHandle {
        &self.epoch
    }

    /// Whether everything is out.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits until everything is out, or for so long.
    pub async fn wait(&self, at_most: Duration) {
        let mut ended = self.ended.subscribe();
        // An error would mean that the sender is gone, but `self` holds it.
        let _ = tokio::time::timeout(at_most, ended.wait_for(Option::is_some)).await;
    }

    /// The receipt as it stands.
    #[must_use]
    pub fn receipt(&self) -> DrainReceipt {
        let ended = *self.ended.borrow();
        let ledger = &self.epoch.ledger;
        DrainReceipt {
            slot: self.epoch.slot,
            generation: self.epoch.generation,
            drained: ended.is_some(),
            seconds: ended.unwrap_or_else(|| self.began.elapsed()).as_secs_f64(),
            finished: ledger.finished(),
            cut: ledger.cut(),
            in_flight: ledger.in_flight(),
        }
    }

    /// The drain as the status shows it.
    #[must_use]
    pub fn status(&self) -> DrainingStatus {
        DrainingStatus {
            slot: self.epoch.slot,
            generation: self.epoch.generation,
            since: self.since,
            in_flight: self.epoch.ledger.in_flight(),
        }
    }

    /// Waits for the epoch's end, closing what outlives its time.
    pub async fn run(&self, policy: Policy) {
        let mut gone = self.epoch.gone.clone();
        let closing = async {
            tokio::time::sleep(policy.first_deadline().saturating_sub(self.began.elapsed())).await;
            self.close_due(policy).await;
        };
        tokio::select! {
            () = gone.wait() => {}
            () = closing => {}
        }
        self.ended.send_replace(Some(self.began.elapsed()));
    }

    /// Closes what is due, again and again. Never returns: the epoch's end ends it.
    async fn close_due(&self, policy: Policy) {
        let mut closed = ByKind::<usize>::default();
        let mut lingering: Vec<(u32, Arc<Exchange>)> = Vec::new();
        loop {
            let now = Instant::now();
            let open: Vec<_> =
                self.epoch.ledger.exchanges().into_iter().filter(|e| e.cause().is_none()).collect();
            for kind in Kind::ALL {
                let of_kind = || open.iter().filter(|e| e.kind() == kind);
                let all = of_kind().count() + closed.get(kind);
                let due = due(all, now - self.began, *policy.time.get(kind), policy.spread);
                for exchange in of_kind().take(due.saturating_sub(*closed.get(kind))) {
                    exchange.close(Cause::Drain);
                    lingering.push((LINGER, Arc::clone(exchange)));
                    *closed.get_mut(kind) += 1;
                }
            }
            lingering.retain_mut(|(looks, exchange)| {
                *looks = looks.saturating_sub(1);
                if *looks == 0 {
                    exchange.abort();
                }
                *looks > 0
            });
            tokio::time::sleep(TICK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_is_due_before_its_time_and_the_first_one_at_it() {
        assert_eq!(due(10, SECOND - Duration::from_nanos(1), SECOND, 5 * SECOND), 0);
        assert_eq!(due(10, SECOND, SECOND, 5 * SECOND), 1);
        assert_eq!(due(1, SECOND, SECOND, Duration::ZERO), 1);
        assert_eq!(due(0, SECOND, SECOND, SECOND), 0);
    }

    #[test]
    fn a_few_are_closed_at_once_and_a_herd_is_spread_over_the_window() {
        assert_eq!(due(4, SECOND + Duration::from_millis(20), SECOND, 5 * SECOND), 4);
        assert_eq!(due(10_000, 3 * SECOND + SECOND / 2, SECOND, 5 * SECOND), 5001);
        assert_eq!(due(10_000, 6 * SECOND, SECOND, 5 * SECOND), 10_000);
    }

    proptest! {
        #[test]
        fn more_time_never_makes_fewer_due(count in 0usize..5000, a in 0u64..20_000, b in 0u64..20_000, spread in 0u64..6000) {
            let ms = Duration::from_millis;
            let (early, late) = (a.min(b), a.max(b));
            prop_assert!(due(count, ms(early), SECOND, ms(spread)) <= due(count, ms(late), SECOND, ms(spread)));
            prop_assert!(due(count, ms(late), SECOND, ms(spread)) <= count);
        }
    }
}
