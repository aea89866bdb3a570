//! The pause queue: requests wait here while their application is paused, bounded in number and memory.
//!
//! A held request keeps its place as a guard; dropping the guard, on resume, timeout or client abort
//! alike, gives number and memory back.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use switcher_config::settings::Pause;

/// The bounds of one application's queue, as they are used now.
#[derive(Debug, Default)]
pub struct HoldQueue {
    requests: AtomicU32,
    bytes: AtomicU64,
}

/// A place in the queue.
#[derive(Debug)]
pub struct Place<'a> {
    queue: &'a HoldQueue,
    bytes: u64,
}

impl HoldQueue {
    /// Takes a place for a request whose head has this size; `None` when the queue is full.
    pub fn take(&self, head_bytes: u64, limits: &Pause) -> Option<Place<'_>> {
        let place = Place { queue: self, bytes: head_bytes };
        let requests = self.requests.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(head_bytes, Ordering::Relaxed);
        // A place that is over the bounds is given back by its drop.
        (requests < limits.requests && bytes + head_bytes <= limits.memory.0).then_some(place)
    }

    /// How many requests are held.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.requests.fetch_sub(1, Ordering::Relaxed);
        self.queue.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switcher_config::{Bytes, Span};

    #[test]
    fn the_queue_is_bounded_in_number_and_memory_and_gives_both_back() {
        let limits = Pause { max: Span::seconds(1), requests: 2, memory: Bytes(100) };
        let queue = HoldQueue::default();
        let first = queue.take(40, &limits).expect("there is room");
        assert!(queue.take(70, &limits).is_none(), "too much memory");
        let second = queue.take(60, &limits).expect("there is room");
        assert!(queue.take(0, &limits).is_none(), "too many");
        assert_eq!(queue.len(), 2);
        drop((first, second));
        assert!(queue.is_empty());
        assert!(queue.take(100, &limits).is_some());
    }
}
