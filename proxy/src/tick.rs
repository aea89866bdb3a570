//! A clock that fits into an atomic: milliseconds since the process first asked.
//!
//! Pure parts take a [`Tick`] as `now`; the gateway reads the clock, and only where a setting needs it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A moment. It never goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

impl Tick {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self(millis(BEGIN.elapsed()))
    }

    /// How long ago `before` was, in milliseconds; 0 when it is still to come.
    #[must_use]
    pub const fn since(self, before: Self) -> u64 {
        self.0.saturating_sub(before.0)
    }

    /// So much later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(millis(wait)))
    }
}

/// Whole milliseconds; more than fit count as the most that does.
#[must_use]
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
