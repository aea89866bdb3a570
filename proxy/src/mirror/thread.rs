//! Where copies run: a thread of their own, which gets what processor time live requests leave.
//!
//! Copies are work that nobody waits for. On the threads that carry requests each of their steps would stand in front of a
//! request now and then; here the system puts them behind. There is one such thread in a process, from the first copy on.
//! What it waits for a processor is no time that a standby took: a stopwatch stands still meanwhile.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fs::File;
use std::future::pending;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::time::Instant;

/// How much less than others the thread is worth to the scheduler: about a tenth of the time where all is in use (`nice(2)`).
const NICE: i32 = 10;

/// What the scheduler says of the thread that opens it: nanoseconds on a processor, nanoseconds in wait for one, and turns
/// (the kernel's `Documentation/scheduler/sched-stats.rst`).
const SCHEDULED: &str = "/proc/thread-self/schedstat";

static THREAD: OnceLock<Option<Handle>> = OnceLock::new();

thread_local! {
    /// Open on the thread of copies, where the system tells.
    static WAITS: RefCell<Option<File>> = const { RefCell::new(None) };
}

/// Time since its start, without what the thread of copies waited for a processor. For copies of more than one upstream the
/// wait counts for each, so it never shows more than an upstream took, and may show less.
pub(super) struct Stopwatch {
    began: Instant,
    waited: Duration,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self { began: Instant::now(), waited: waited() }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed().saturating_sub(waited().saturating_sub(self.waited))
    }
}

/// How long this thread was ready to run and did not; nothing where that is not known.
fn waited() -> Duration {
    let read = |file: &File| {
        let mut text = [0; 96];
        let length = file.read_at(&mut text, 0).ok()?;
        waiting(&text[..length])
    };
    WAITS.with_borrow(|file| file.as_ref().and_then(read)).unwrap_or_default()
}

fn waiting(scheduled: &[u8]) -> Option<Duration> {
    let nanoseconds = std::str::from_utf8(scheduled).ok()?.split_ascii_whitespace().nth(1)?;
    nanoseconds.parse().ok().map(Duration::from_nanos)
}

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
        WAITS.set(File::open(SCHEDULED).ok());
        runtime.block_on(pending::<Infallible>());
    })?;
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_a_processor_is_the_second_figure() {
        assert_eq!(waiting(b"109292 3677360 2\n"), Some(Duration::from_nanos(3_677_360)));
        assert_eq!(
            (waiting(b""), waiting(b"1"), waiting(b"1 x 2"), waiting(&[0xff])),
            (None, None, None, None)
        );
    }

    #[test]
    fn a_thread_that_shares_its_processor_counts_its_wait() {
        let busy = std::thread::spawn(|| {
            WAITS.set(Some(File::open(SCHEDULED).expect("the scheduler tells")));
            let (watch, before) = (Stopwatch::start(), waited());
            let rivals = 2 * std::thread::available_parallelism().map_or(1, usize::from);
            let rivals: Vec<_> = (0..rivals).map(|_| std::thread::spawn(spin)).collect();
            while !rivals.iter().all(std::thread::JoinHandle::is_finished) {
                std::hint::spin_loop();
            }
            (waited() - before, watch.elapsed(), watch.began.elapsed())
        });
        let (waited, shown, whole) = busy.join().expect("no panic");
        assert!(waited > Duration::ZERO && shown + waited <= whole, "{waited:?} {shown:?} {whole:?}");
        assert!(super::waited().is_zero(), "of another thread nothing is known");
    }

    /// Some work that needs a processor for more than one turn of the scheduler.
    fn spin() {
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
    }
}
