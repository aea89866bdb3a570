//! Ctrl-C and SIGTERM: noticed at once, acted upon only where it is safe.
//!
//! A command wraps the waits that may be left with [`Interrupt::unless`]; a change that is under way is
//! never left, so its outcome is always known.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Somebody asked the command to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interrupted;

/// Hears of the signals.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    heard: watch::Receiver<bool>,
}

impl Interrupt {
    /// Listens from now on; the signals no longer end the process by themselves.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (tell, heard) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tell.send_replace(true);
            tell.closed().await;
        });
        Ok(Self { heard })
    }

    /// Waits for `work`, unless a signal came or comes first.
    pub(crate) async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::select! {
            biased;
            _ = self.heard.wait_for(|heard| *heard) => Err(Interrupted),
            result = work => Ok(result),
        }
    }
}
