//! The signs of life of a lease, from a thread of their own: a runtime that is busy must not lose it.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::error::StateError;
use super::lease::Holding;

/// Beats until it is dropped or the lease is lost.
#[derive(Debug)]
pub(super) struct Heartbeat {
    end: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    pub(super) fn begin(holding: Arc<Holding>) -> Result<Self, StateError> {
        let end = Arc::new((Mutex::new(false), Condvar::new()));
        let heard = Arc::clone(&end);
        let folder = holding.folder().leases();
        let thread = std::thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || while !ended(&heard, &holding) && holding.beat() {})
            .map_err(StateError::io("start the heartbeat of the lease in", &folder))?;
        Ok(Self { end, thread: Some(thread) })
    }
}

/// Waits for the next beat; whether it is the end instead.
fn ended((end, told): &(Mutex<bool>, Condvar), holding: &Holding) -> bool {
    let mut end = end.lock();
    told.wait_while_for(&mut end, |end| !*end, holding.pulse());
    *end
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        *self.end.0.lock() = true;
        self.end.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // It never panics; should it have, the lease ends all the same.
            let _ = thread.join();
        }
    }
}
