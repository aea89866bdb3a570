//! Ctrl-C, SIGTERM and a terminal that goes away (SIGHUP): noticed at once, acted upon only where it is safe.
//!
//! A command wraps the waits that may be left with [`Interrupt::unless`]; a change that is under way is
//! never left, so its outcome is always known. A second signal means at once, wherever that is.

use std::future::Future;

use futures::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Somebody asked the command to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interrupted;

/// Hears of the signals.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    /// How many came.
    heard: watch::Receiver<u32>,
}

impl Interrupt {
    /// Listens from now on; the signals no longer end the process by themselves.
    pub(crate) fn listen() -> std::io::Result<Self> {
        // Whoever was started by `nohup` wants to go on.
        Self::listen_to(!ignores_hangup())
    }

    /// Listens as a service does, to whom SIGHUP says something else.
    pub(crate) fn listen_as_service() -> std::io::Result<Self> {
        Self::listen_to(false)
    }

    fn listen_to(hangups: bool) -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = if hangups { Some(signal(SignalKind::hangup())?) } else { None };
        let hung_up = async move {
            match &mut hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        let (tell, heard) = watch::channel(0);
        tokio::spawn(async move {
            let mut hung_up = std::pin::pin!(hung_up.fuse());
            loop {
                tokio::select! {
                    // The terminal goes once.
                    () = &mut hung_up => {}
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    () = tell.closed() => return,
                }
                tell.send_modify(|count| *count += 1);
            }
        });
        Ok(Self { heard })
    }

    /// Hears of no signal but of what a test counts.
    #[cfg(test)]
    pub(crate) fn counted() -> (watch::Sender<u32>, Self) {
        let (tell, heard) = watch::channel(0);
        (tell, Self { heard })
    }

    /// Waits for `work`, unless a signal came or comes first.
    pub(crate) async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        self.unless_heard(1, work).await
    }

    /// Waits for `work`, unless a second signal came or comes first.
    pub(crate) async fn unless_twice<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        self.unless_heard(2, work).await
    }

    /// Whether a signal came.
    pub(crate) fn was_heard(&self) -> bool {
        *self.heard.borrow() > 0
    }

    async fn unless_heard<T>(&mut self, count: u32, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::select! {
            biased;
            _ = self.heard.wait_for(|heard| *heard >= count) => Err(Interrupted),
            result = work => Ok(result),
        }
    }
}

/// Whether the process was started with SIGHUP ignored: the first bit of what the kernel tells (proc(5), `SigIgn`).
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
