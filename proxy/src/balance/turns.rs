//! Turns by weight without a lock.
//!
//! Every upstream has a place on a line. A request moves its upstream on by its stride, a lap divided by its weight,
//! and the next request goes to whoever's stride has its middle first. So an upstream of weight 3 is chosen three times as
//! often as one of weight 1, evenly spread, and over a whole round exactly.
//!
//! An upstream that was out is far behind, by more than its stride. It is taken to be where the line is: it is next once,
//! and makes up for nothing. In the steady state this never applies: whoever is chosen is first, so everybody else is
//! no earlier, or earlier by no more than what threads that choose at once are apart.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far an upstream of the smallest share goes in one turn. A weight divides it.
const LAP: u64 = 1 << 40;

/// One whole unit of weight. Finer shares are what is left of one while an upstream grows.
pub const WHOLE: u64 = 1 << 10;

/// How far an upstream goes with one request, by its share (its weight times [`WHOLE`]); `None` for none.
#[must_use]
pub const fn stride(share: u64) -> Option<u64> {
    LAP.checked_div(share)
}

/// An upstream's place on the line.
#[derive(Debug, Default)]
pub struct Place(AtomicU64);

/// How far the line has come: the middle of the last stride. Places wrap around, so only distances from here count.
#[derive(Debug, Default)]
pub struct Line(AtomicU64);

/// A turn that may be taken: made by [`Line::turn`].
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    from: u64,
    middle: u64,
    to: u64,
    /// How far beyond the end of the line its middle is: the least is next.
    pub ahead: u64,
}

impl Line {
    /// The turn of somebody who goes on by `stride`.
    #[must_use]
    pub fn turn(&self, place: &Place, stride: u64) -> Turn {
        let (end, from) = (self.0.load(Ordering::Relaxed), place.0.load(Ordering::Relaxed));
        // Half of the circle is behind.
        let own = from.wrapping_add(stride / 2);
        let (ahead, behind) = (own.wrapping_sub(end), end.wrapping_sub(own));
        let (ahead, middle) = match behind {
            // Somebody else was faster by a moment: that costs nothing of one's share.
            1.. if behind <= stride => (0, own),
            1.. if behind <= u64::MAX / 2 => (0, end),
            _ => (ahead, own),
        };
        Turn { from, middle, to: middle.wrapping_add(stride - stride / 2), ahead }
    }

    /// Takes a turn. False when somebody else moved this upstream meanwhile: then it has to be looked at again.
    pub fn take(&self, place: &Place, turn: Turn) -> bool {
        let moved = place.0.compare_exchange(turn.from, turn.to, Ordering::Relaxed, Ordering::Relaxed);
        // The line never goes back.
        if moved.is_ok() && turn.ahead > 0 {
            self.0.store(turn.middle, Ordering::Relaxed);
        }
        moved.is_ok()
    }
}
