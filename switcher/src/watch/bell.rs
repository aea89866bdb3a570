//! How a webhook wakes the watch of an application, and learns until when the registry is let alone.
//!
//! Invariant: a bell that is rung during a rest wakes nobody; the look comes when the rest is over. Rung by
//! `watch::webhook`, heard by `watch::application`.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

/// A bell.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    notify: Notify,
    rests_until: Mutex<Option<Timestamp>>,
}

impl Bell {
    /// Asks for a look; answers until when there is none.
    pub(crate) fn ring(&self, now: Timestamp) -> Option<Timestamp> {
        let until = *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        let until = until.filter(|until| *until > now);
        if until.is_none() {
            self.notify.notify_one();
        }
        until
    }

    /// Until when the registry is let alone; none when it may be asked.
    pub(crate) fn rest(&self, until: Option<Timestamp>) {
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Waits until it was rung.
    pub(crate) async fn rung(&self) {
        self.notify.notified().await;
    }
}
