//! Where copies run: a thread of their own, which gets what processor time live requests leave.
//!
//! Copies are work that nobody waits for. On the threads that carry requests each of their steps would stand in front of a
//! request now and then; here the system puts them behind. There is one such thread in a process, from the first copy on.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle};

/// How much less than others the thread is worth to the scheduler: about a tenth of the time where all is in use (`nice(2)`).
const NICE: i32 = 10;

static THREAD: OnceLock<Option<Handle>> = OnceLock::new();

/// Runs a task there; where it is called, should the system refuse a thread.
pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    let started = THREAD.get_or_init(|| match start() {
        Ok(thread) => Some(thread),
        Err(error) => {
            tracing::warn!(%error, "there is no thread for copies: they run beside requests");
            None
        }
    });
    match started {
        Some(thread) => drop(thread.spawn(task)),
        None => drop(tokio::spawn(task)),
    }
}

fn start() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new().name("copies".into()).spawn(move || {
        // Of this thread alone on Linux. Whoever may not is as important as before.
        let _ = rustix::process::nice(NICE);
        runtime.block_on(pending::<Infallible>());
    })?;
    Ok(handle)
}
