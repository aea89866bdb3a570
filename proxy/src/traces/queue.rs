//! Spans that wait for their collector.
//!
//! Invariant: they take so many bytes and no more, and whoever brings one holds a lock for one copy of it and never
//! waits for the network. Filled by requests that are over, emptied by [`super::export`].

use std::collections::VecDeque;

use parking_lot::Mutex;

/// How much waits at most, in bytes.
const ROOM: usize = 4 << 20;

/// From how many bytes on a batch is full.
const BATCH: usize = 256 << 10;

/// Spans that are sent at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The spans, each as a field of `ScopeSpans`.
    pub(super) bytes: Vec<u8>,
    /// How many there are.
    pub(super) spans: u64,
}

/// What came of bringing spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brought {
    /// They wait.
    Waits,
    /// They wait, and a batch is full.
    Full,
    /// There was no room.
    Dropped,
}

/// Spans that wait.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<Batch>,
    bytes: usize,
}

impl Queue {
    /// Brings the spans of a request.
    pub(super) fn push(&self, bytes: &[u8], spans: u64) -> Brought {
        let mut waiting = self.0.lock();
        if waiting.bytes + bytes.len() > ROOM {
            return Brought::Dropped;
        }
        waiting.bytes += bytes.len();
        if waiting.batches.back().is_none_or(|last| last.bytes.len() >= BATCH) {
            waiting.batches.push_back(Batch::default());
        }
        let Some(last) = waiting.batches.back_mut() else { return Brought::Dropped };
        last.bytes.extend_from_slice(bytes);
        last.spans += spans;
        if last.bytes.len() >= BATCH { Brought::Full } else { Brought::Waits }
    }

    /// How many batches wait.
    pub(super) fn len(&self) -> usize {
        self.0.lock().batches.len()
    }

    /// How many spans wait.
    pub(super) fn spans(&self) -> u64 {
        self.0.lock().batches.iter().map(|batch| batch.spans).sum()
    }

    /// Takes the batch that waits the longest.
    pub(super) fn take(&self) -> Option<Batch> {
        self.take_if(|_| true)
    }

    /// The same, unless there is room in it yet.
    pub(super) fn take_full(&self) -> Option<Batch> {
        self.take_if(|batch| batch.bytes.len() >= BATCH)
    }

    fn take_if(&self, wanted: impl Fn(&Batch) -> bool) -> Option<Batch> {
        let mut waiting = self.0.lock();
        let batch = waiting.batches.pop_front_if(|batch| wanted(batch))?;
        waiting.bytes -= batch.bytes.len();
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_so_much_and_no_more_and_gives_it_in_order() {
        let queue = Queue::default();
        let span = [7; 1000];
        let mut brought = 0;
        while queue.push(&span, 2) != Brought::Dropped {
            brought += 2;
        }
        assert!(brought * 500 <= ROOM as u64 && brought * 500 > ROOM as u64 - 1000);
        let first = queue.take_full().expect("a full batch");
        assert!(first.bytes.len() >= BATCH && first.bytes.len() < BATCH + span.len());
        assert_eq!(queue.push(&span, 1), Brought::Waits, "there is room again");
        let rest = std::iter::from_fn(|| queue.take()).map(|batch| batch.spans).sum::<u64>();
        assert_eq!(first.spans + rest, brought + 1);
        assert_eq!(queue.0.lock().bytes, 0);
        assert_eq!(queue.push(&span, 1), Brought::Waits);
        assert!(queue.take_full().is_none() && queue.len() == 1, "one with room waits for more");
    }
}
