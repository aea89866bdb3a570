//! The lease: who holds it writes, and nobody else.
//!
//! Every write checks under the guard that the lease is still ours, so an owner that was stopped, lost its time and
//! wakes up changes nothing. What it asks of the proxy carries the fencing number, which is refused there as soon
//! as a newer one was seen. A thread shows signs of life; the runtime may be busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use switcher_config::Span;
use tokio::sync::watch;

use super::audit::AuditRecord;
use super::document::Copy;
use super::error::{LeaseError, StateError};
use super::folder::{Folder, Guard};
use super::heartbeat::Heartbeat;
use super::history;
use super::journal::JournalFile;
use super::judge::LONGEST;
use super::lifeline::Lifeline;
use super::lines;
use super::record::{DeploymentRecord, LockRecord, State};
use super::store::Store;
use crate::deployment::DeploymentId;

/// The right to write, until it is dropped or lost.
#[derive(Debug)]
pub struct Lease {
    // Dropped in this order: no sign of life after the lease was given back, the lifeline last of all.
    heartbeat: Option<Heartbeat>,
    holding: Arc<Holding>,
    previous: Option<LockRecord>,
    lifeline: Lifeline,
    released: bool,
}

/// What the lease, its heartbeat and its journal share.
#[derive(Debug)]
pub(super) struct Holding {
    store: Store,
    lock_id: String,
    length: SignedDuration,
    fence: AtomicU64,
    /// Until when others see it held.
    valid_until: Mutex<Timestamp>,
    /// What the file said when it was lost.
    lost: watch::Sender<Option<Box<LockRecord>>>,
}

impl Lease {
    /// Begins the signs of life of a lease that was written down.
    pub(super) fn begin(
        store: Store,
        lock: &LockRecord,
        lock_id: String,
        length: SignedDuration,
        mut lifeline: Lifeline,
        previous: Option<LockRecord>,
    ) -> Result<Self, StateError> {
        let holding = Arc::new(Holding {
            store,
            lock_id,
            length,
            fence: AtomicU64::new(lock.fence),
            valid_until: Mutex::new(lock.lock_expires_at.unwrap_or_default()),
            lost: watch::Sender::new(None),
        });
        // Should the thread not start, the lifeline breaks and stays for others to see it.
        lifeline.finished = false;
        let heartbeat = Heartbeat::begin(Arc::clone(&holding))?;
        Ok(Self { heartbeat: Some(heartbeat), holding, previous, lifeline, released: false })
    }

    /// Its name, for the proxy's fence.
    #[must_use]
    pub fn lock_id(&self) -> &str {
        &self.holding.lock_id
    }

    /// Its fencing number, for the proxy's fence.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.holding.fence.load(Ordering::Acquire)
    }

    /// The lease that a dead or late owner left behind, where there was one: its work may be half done.
    #[must_use]
    pub const fn previous(&self) -> Option<&LockRecord> {
        self.previous.as_ref()
    }

    /// The memory it is for.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.holding.store
    }

    /// Whether it was lost, as far as it was noticed: at the latest a quarter of its length after.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.holding.lost.borrow().is_some()
    }

    /// Waits until it is lost; what the file said then.
    pub async fn until_lost(&self) -> LockRecord {
        let mut lost = self.holding.lost.subscribe();
        match lost.wait_for(Option::is_some).await {
            Ok(lost) => lost.as_deref().cloned().unwrap_or_default(),
            // The sender lives as long as the lease.
            Err(_) => std::future::pending().await,
        }
    }

    /// Changes what is remembered. The lease itself, apart from the deployment it is held for, is left as it is.
    ///
    /// # Errors
    /// When the lease is lost: nothing was written. When writing fails: the old or the new state is there, whole, and
    /// the same change may be made again.
    pub fn update(&self, change: impl FnOnce(&mut State)) -> Result<(), LeaseError> {
        self.holding.update(Copy::Made, change)
    }

    /// Says which deployment it is held for.
    ///
    /// # Errors
    /// As [`Lease::update`].
    pub fn hold_for(&self, id: &DeploymentId) -> Result<(), LeaseError> {
        self.update(|state| state.lock.deployment_id = Some(id.clone()))
    }

    /// Takes a number above one that the proxy has seen.
    ///
    /// # Errors
    /// As [`Lease::update`].
    pub fn raise(&self, floor: u64) -> Result<u64, LeaseError> {
        let number = self.number().max(floor.saturating_add(1));
        self.holding.fence.store(number, Ordering::Release);
        self.update(|_| {})?;
        Ok(number)
    }

    /// The journal of the operation under way.
    #[must_use]
    pub fn journal(&self) -> JournalFile {
        JournalFile::new(Arc::clone(&self.holding))
    }

    /// Puts a deployment into the history, unless the newest line says the same already.
    ///
    /// # Errors
    /// As [`Lease::update`].
    pub fn record(&self, record: &DeploymentRecord) -> Result<(), LeaseError> {
        self.holding.guarded(|folder| history::append(folder, record))
    }

    /// Adds a line to the audit log.
    ///
    /// # Errors
    /// As [`Lease::update`].
    pub fn audit(&self, record: &AuditRecord) -> Result<(), LeaseError> {
        self.holding.guarded(|folder| lines::append(&folder.audit(), record))
    }

    /// Makes the folder of a deployment and says where it is.
    ///
    /// # Errors
    /// As [`Lease::update`].
    pub fn deployment_folder(&self, id: &DeploymentId) -> Result<std::path::PathBuf, LeaseError> {
        self.holding.guarded(|folder| folder.make_deployment(id))
    }

    /// Removes the folder of a deployment; one that is gone already is removed.
    ///
    /// # Errors
    /// As [`Lease::update`].
    pub fn remove_deployment_folder(&self, id: &DeploymentId) -> Result<(), LeaseError> {
        self.holding.guarded(|folder| super::deployments::remove(folder, id))
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When it was lost before, or when that cannot be written down: then it is free all the same, because its owner
    /// is seen to be gone.
    pub fn release(mut self) -> Result<(), LeaseError> {
        self.give_back()
    }

    fn give_back(&mut self) -> Result<(), LeaseError> {
        if std::mem::replace(&mut self.released, true) {
            return Ok(());
        }
        drop(self.heartbeat.take());
        let given = self.holding.give_back();
        // A lease that is not ours any more needs no sign either.
        self.lifeline.finished = !matches!(given, Err(LeaseError::State(_)));
        given
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Nobody is left to tell; the lifeline that stays tells the next owner.
        let _ = self.give_back();
    }
}

impl Holding {
    /// How often a sign of life is due.
    pub(super) fn pulse(&self) -> std::time::Duration {
        self.length.unsigned_abs() / 4
    }

    /// A sign of life. Answers whether another one is due.
    pub(super) fn beat(&self) -> bool {
        match self.update(Copy::Left, |_| {}) {
            Ok(()) => true,
            Err(LeaseError::Lost(_)) => false,
            Err(LeaseError::State(_)) => {
                let in_time = Timestamp::now() < *self.valid_until.lock();
                if !in_time {
                    self.lose(LockRecord::default());
                }
                in_time
            }
        }
    }

    /// Does something to the folder while nobody else can, if the lease is ours.
    pub(super) fn guarded<T>(
        &self,
        act: impl FnOnce(&Folder) -> Result<T, StateError>,
    ) -> Result<T, LeaseError> {
        let _held = self.ours()?;
        Ok(act(self.store.parts().0)?)
    }

    /// The folder, for reading.
    pub(super) const fn folder(&self) -> &Folder {
        self.store.parts().0
    }

    /// What is remembered, with the guard, if the lease is ours.
    fn ours(&self) -> Result<(Guard, State), LeaseError> {
        if let Some(lost) = self.lost.borrow().clone() {
            return Err(LeaseError::Lost(lost));
        }
        let guard = self.folder().guard()?;
        let state = self.store.read()?;
        if state.lock.locked && state.lock.lock_id.as_deref() == Some(&self.lock_id) {
            return Ok((guard, state));
        }
        self.lose(state.lock.clone());
        Err(LeaseError::Lost(Box::new(state.lock)))
    }

    fn lose(&self, now: LockRecord) {
        self.lost.send_replace(Some(Box::new(now)));
    }

    fn update(&self, copy: Copy, change: impl FnOnce(&mut State)) -> Result<(), LeaseError> {
        let (_guard, mut state) = self.ours()?;
        let (lock, identity) = (state.lock.clone(), self.store.parts().1);
        change(&mut state);
        let expires = after(Timestamp::now(), self.length);
        state.lock = LockRecord {
            deployment_id: state.lock.deployment_id.take(),
            lock_expires_at: Some(expires),
            fence: self.fence.load(Ordering::Acquire).max(lock.fence),
            ..lock
        };
        identity.app.as_str().clone_into(&mut state.app);
        state.environment.clone_from(&identity.environment);
        self.store.write(&state, copy)?;
        *self.valid_until.lock() = expires;
        Ok(())
    }

    fn give_back(&self) -> Result<(), LeaseError> {
        let (_guard, mut state) = self.ours()?;
        state.lock = LockRecord::free(state.lock.fence);
        Ok(self.store.write(&state, Copy::Made)?)
    }
}

/// A length that the contract allows.
pub(super) fn bounded(length: Span) -> SignedDuration {
    SignedDuration::try_from(length.0).unwrap_or(LONGEST).min(LONGEST)
}

pub(super) fn after(now: Timestamp, length: SignedDuration) -> Timestamp {
    now.checked_add(length).unwrap_or(Timestamp::MAX)
}
