//! How long a client is waited for that takes too little of what is sent to it.
//!
//! A client must take `proxy.limits.body_rate` on the average, counted over the time in which the proxy waits for
//! it, after `body_grace`. Time in which there is nothing to send, as when an upstream is slow, does not count. What
//! the kernel still holds for the client is not taken yet. The stream of [`super::stream`] asks while it is blocked
//! in writing; streams of HTTP/2, which wait for room in a window instead, are bounded for each piece of an answer.

use std::ffi::c_int;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::ioctl::{Getter, Opcode};
use tokio::time::Sleep;

use crate::limits::Pace;

/// How many graces a client that takes enough can save up for a pause.
const SAVED_GRACES: u32 = 6;

/// Asks how much of what was written has not been taken by the other end (tcp(7), unix(7)).
const SIOCOUTQ: Opcode = 0x5411;

/// The soonest that a client is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a client that is waited for has left of our patience.
#[derive(Debug)]
struct Patience {
    left: Duration,
    /// The bytes that it had taken when it was last looked at.
    taken: u64,
    /// Since when it is waited for, as far as that is not counted yet; none while it is not waited for.
    since: Option<Instant>,
}

impl Patience {
    const fn new(pace: Pace, taken: u64) -> Self {
        Self { left: pace.grace, taken, since: None }
    }

    /// Counts what was taken and how long it was waited for. None when there is no patience left.
    fn look(&mut self, now: Instant, taken: u64, pace: Pace) -> Option<Duration> {
        let waited = self.since.replace(now).map_or(Duration::ZERO, |since| now.duration_since(since));
        let earned = time_for(taken.saturating_sub(self.taken), pace.rate);
        self.taken = self.taken.max(taken);
        let left = (self.left + earned).checked_sub(waited)?;
        self.left = left.min(pace.grace * SAVED_GRACES);
        (!self.left.is_zero()).then_some(self.left)
    }
}

/// The time in which so many bytes must be taken.
fn time_for(bytes: u64, rate: u64) -> Duration {
    let millis = u128::from(bytes) * 1000 / u128::from(rate.max(1));
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX / 4).min(u64::MAX / 4))
}

/// How long a client may take for a piece of an answer of so many bytes; none when nothing is asked of it.
pub(crate) fn for_piece(pace: Pace, bytes: usize) -> Option<Duration> {
    (pace.rate > 0).then(|| pace.grace + time_for(bytes as u64, pace.rate))
}

/// A client that was waited for once. Exists only on connections that were blocked in writing.
#[derive(Debug)]
pub(super) struct Waiting {
    patience: Patience,
    /// When the client is looked at next.
    look: Pin<Box<Sleep>>,
}

impl Waiting {
    /// For a client that has taken so many bytes, and is now to take more.
    pub(super) fn new(pace: Pace, taken: u64) -> Self {
        Self { patience: Patience::new(pace, taken), look: Box::pin(tokio::time::sleep(pace.grace)) }
    }

    /// The client is waited for. Ready when it was waited for long enough.
    pub(super) fn poll_over(
        &mut self,
        cx: &mut Context<'_>,
        pace: Pace,
        taken: impl Fn() -> u64,
    ) -> Poll<()> {
        let begins = self.patience.since.is_none();
        while begins && self.patience.since.is_none() || self.look.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let Some(left) = self.patience.look(now, taken(), pace) else { return Poll::Ready(()) };
            self.look.as_mut().reset((now + left.max(LOOK_AGAIN)).into());
        }
        Poll::Pending
    }

    /// The client is waited for no more.
    pub(super) fn go_on(&mut self, pace: Pace, taken: impl Fn() -> u64) {
        if self.patience.since.is_some() {
            if self.patience.look(Instant::now(), taken(), pace).is_none() {
                // It came at the last moment: it is looked at when it is waited for again.
                self.patience.left = LOOK_AGAIN;
            }
            self.patience.since = None;
        }
    }
}

/// How many bytes the kernel still holds for the other end of a socket.
pub(crate) fn unsent(socket: &impl AsFd) -> u64 {
    // SAFETY: the call writes one integer.
    let bytes = unsafe { rustix::ioctl::ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) };
    // A socket that cannot tell has sent everything as far as is known.
    bytes.ok().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { rate: 1000, grace: Duration::from_secs(10) };

    /// Looks at a client each second, which takes so much each time; how long it is waited for, at most so long.
    fn waited_for(patience: &mut Patience, each_second: u64, most: u64) -> u64 {
        let begin = Instant::now();
        patience.since = Some(begin);
        let taken = patience.taken;
        (1..=most)
            .find(|second| {
                let now = begin + Duration::from_secs(*second);
                patience.look(now, taken + second * each_second, PACE).is_none()
            })
            .unwrap_or(most)
    }

    #[test]
    fn a_client_that_takes_nothing_is_waited_for_as_long_as_the_grace() {
        assert_eq!(waited_for(&mut Patience::new(PACE, 0), 0, 100), 10);
    }

    #[test]
    fn a_client_must_take_the_rate_on_the_average() {
        assert_eq!(waited_for(&mut Patience::new(PACE, 0), 1, 100), 11, "a byte a second");
        assert_eq!(waited_for(&mut Patience::new(PACE, 0), 500, 100), 20, "half of the rate");
        assert_eq!(waited_for(&mut Patience::new(PACE, 0), 1000, 10_000), 10_000, "the rate");
    }

    #[test]
    fn a_client_that_took_enough_is_waited_for_longer_and_not_for_ever() {
        let mut patience = Patience::new(PACE, 0);
        assert_eq!(waited_for(&mut patience, 1_000_000, 5), 5);
        assert_eq!(waited_for(&mut patience, 0, 1000), 60);
    }

    #[test]
    fn time_in_which_nothing_is_to_be_sent_does_not_count() {
        let mut patience = Patience::new(PACE, 0);
        let begin = Instant::now();
        patience.since = Some(begin);
        let later = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(patience.look(later(4), 0, PACE), Some(Duration::from_secs(6)));
        patience.since = None;
        assert_eq!(patience.look(later(1000), 0, PACE), Some(Duration::from_secs(6)));
        assert_eq!(patience.look(later(1006), 0, PACE), None);
    }

    #[test]
    fn a_piece_has_the_grace_and_the_time_of_its_bytes() {
        assert_eq!(for_piece(PACE, 5000), Some(Duration::from_secs(15)));
        assert_eq!(for_piece(Pace { rate: 0, ..PACE }, 5000), None);
    }
}
