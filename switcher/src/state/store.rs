//! The memory of one application in one environment: anybody reads it, the holder of the lease writes it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use switcher_config::durable::{Durability, replace};
use switcher_config::{AppName, Span};
use tokio::time::Instant;
use ulid::Ulid;

use super::audit::AuditRecord;
use super::document::{self, Copy, Identity};
use super::error::{AcquireError, StateError};
use super::folder::{Folder, Guard, lock_file};
use super::history;
use super::judge::{Host, Verdict, judge};
use super::lease::Lease;
use super::lifeline::{self, Lifeline};
use super::lines;
use super::owner::Owner;
use super::place::{self, Place};
use super::record::{DeploymentRecord, LockRecord, State};
use super::trust;
use crate::deployment::DeploymentId;

/// What the deployer remembers of an application.
#[derive(Debug, Clone)]
pub struct Store {
    /// As it was configured.
    given: PathBuf,
    state_dir: PathBuf,
    folder: Folder,
    identity: Identity,
    here: Host,
    temporary: bool,
}

/// What came of releasing somebody else's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// Nobody held it.
    Free,
    /// It was released.
    Released {
        /// How it stood: dead, expired, or held and taken by force.
        verdict: Verdict,
        /// The number that makes every number of the old owner stale, once the proxy has heard of it.
        number: u64,
        /// The holder to name with it.
        holder: String,
    },
    /// Somebody holds it, and force was not asked for.
    Held(LockRecord),
}

impl Store {
    /// The memory of `app`. `sole` is whether the configuration deploys no other. Nothing is created.
    ///
    /// # Errors
    /// When the environment cannot name a folder, when others may change the folder, or when what lies in its place cannot be
    /// read.
    pub fn open(state_dir: &Path, environment: &str, app: &AppName, sole: bool) -> Result<Self, StateError> {
        if !place::names_a_folder(environment) {
            return Err(StateError::Environment(environment.to_owned()));
        }
        let given = state_dir.to_owned();
        let state_dir = place::real(state_dir);
        let top = Folder::at(state_dir.join(environment));
        trust::check(&given, &state_dir, top.root())?;
        let own = Folder::at(top.root().join("apps").join(app.as_str()));
        let own_exists = own.state().exists() || own.last_good().exists();
        let folder = match document::owner(&top) {
            Ok(top_app) => match place::place(app, top_app.as_ref(), own_exists, sole) {
                Place::Top => top,
                Place::Own => own,
            },
            // The damaged file of another application is none of ours.
            Err(_) if own_exists => own,
            Err(error) => return Err(error),
        };
        let identity = Identity { environment: environment.to_owned(), app: app.clone() };
        trust::check(&given, &state_dir, folder.root())?;
        Ok(Self { given, state_dir, folder, identity, here: Host::here(), temporary: false })
    }

    /// Takes leases also in a folder that the system empties: for tests.
    #[must_use]
    pub fn allow_temporary(mut self, allowed: bool) -> Self {
        self.temporary = allowed;
        self
    }

    /// Whose memory it is.
    #[must_use]
    pub const fn app(&self) -> &AppName {
        &self.identity.app
    }

    /// In which environment.
    #[must_use]
    pub fn environment(&self) -> &str {
        &self.identity.environment
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.root()
    }

    /// The folder of a deployment's journal and log; it may not be there yet.
    #[must_use]
    pub fn deployment_folder(&self, id: &DeploymentId) -> PathBuf {
        self.folder.deployment(id)
    }

    /// What is remembered; nothing when nothing was ever written.
    ///
    /// # Errors
    /// When the file is damaged, gone, of a newer layout, or cannot be read.
    pub fn read(&self) -> Result<State, StateError> {
        document::read(&self.folder, &self.identity)
    }

    /// How the lease stands.
    #[must_use]
    pub fn verdict(&self, lock: &LockRecord, now: Timestamp) -> Verdict {
        judge(lock, lifeline::owner_alive(&self.folder.leases(), lock, &self.here), now)
    }

    /// The word that names this memory and no other, made when it is asked for the first time. Called under the lease.
    ///
    /// # Errors
    /// When it can be neither read nor written.
    pub fn mark(&self) -> std::io::Result<String> {
        let path = self.folder().join("mark");
        match std::fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let word = format!("mark_{}", Ulid::generate());
        replace(&path, word.as_bytes(), 0o644, Durability::Synced).map_err(std::io::Error::other)?;
        Ok(word)
    }

    /// The process that holds a lease, if it is one of this machine, alive, and this program.
    #[must_use]
    pub fn owner_here(&self, lock: &LockRecord) -> Option<i32> {
        let alive = lifeline::owner_alive(&self.folder.leases(), lock, &self.here) == Some(true);
        let pid = lock.pid.filter(|_| alive && lock.locked)?;
        let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
        let same = name(&pid.to_string()).is_some_and(|theirs| name("self") == Some(theirs));
        i32::try_from(pid).ok().filter(|_| same)
    }

    /// Every deployment, newest first, each as it was recorded last.
    ///
    /// # Errors
    /// When the history is damaged or cannot be read.
    pub fn history(&self) -> Result<Vec<DeploymentRecord>, StateError> {
        history::read(&self.folder)
    }

    /// The journal of the operation under way; none when none is.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub fn journal<T: DeserializeOwned>(&self) -> Result<Option<Vec<T>>, StateError> {
        lines::read(&self.folder.journal())
    }

    /// Who ran which command, oldest first.
    ///
    /// # Errors
    /// When the audit log is damaged or cannot be read.
    pub fn audited(&self) -> Result<Vec<AuditRecord>, StateError> {
        Ok(lines::read(&self.folder.audit())?.unwrap_or_default())
    }

    /// Adds a line to the audit log; for commands that take no lease.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn audit(&self, record: &AuditRecord) -> Result<(), StateError> {
        let _guard = self.prepare()?;
        lines::append(&self.folder.audit(), record)
    }

    /// Takes the lease, waiting for it at most `wait`; `on_wait` hears who holds it. `floor` is the number that the
    /// proxy saw last; `length` is how long it holds without a sign of life, 30 minutes at most.
    ///
    /// # Errors
    /// When somebody else holds it to the end of the wait, or when it cannot be written down.
    pub async fn acquire(
        &self,
        owner: &Owner,
        floor: u64,
        length: Span,
        wait: Option<Span>,
        on_wait: &mut dyn FnMut(&LockRecord),
    ) -> Result<Lease, AcquireError> {
        let deadline = wait.and_then(|wait| Instant::now().checked_add(wait.0));
        loop {
            let holder = match self.try_acquire(owner, floor, length) {
                Err(AcquireError::Held(holder)) => holder,
                outcome => return outcome,
            };
            let now = Instant::now();
            match deadline {
                Some(deadline) if now < deadline => {
                    on_wait(&holder);
                    tokio::time::sleep_until(deadline.min(now + jitter())).await;
                }
                Some(_) | None => return Err(AcquireError::Held(holder)),
            }
        }
    }

    /// Takes the lease now, or not at all.
    ///
    /// # Errors
    /// As [`Store::acquire`].
    pub fn try_acquire(&self, owner: &Owner, floor: u64, length: Span) -> Result<Lease, AcquireError> {
        let _guard = self.prepare()?;
        let mut state = self.read()?;
        let now = Timestamp::now();
        let previous = match self.verdict(&state.lock, now) {
            Verdict::Held(holder) => return Err(AcquireError::Held(Box::new(holder))),
            Verdict::Dead(before) | Verdict::Expired(before) => Some(before),
            Verdict::Free => None,
        };
        let (lock_id, lifeline) = Lifeline::begin(&self.folder.leases(), &self.here)?;
        let length = super::lease::bounded(length);
        state.lock = LockRecord {
            locked: true,
            lock_id: Some(lock_id.clone()),
            locked_by: Some(owner.by.clone()),
            locked_at: Some(now),
            lock_expires_at: Some(super::lease::after(now, length)),
            deployment_id: owner.deployment_id.clone(),
            pid: Some(owner.pid),
            hostname: Some(owner.hostname.clone()),
            operation: Some(owner.operation.clone()),
            fence: state.lock.fence.max(floor).saturating_add(1),
        };
        self.write(&state, Copy::Made)?;
        lifeline::sweep(&self.folder.leases(), &lock_id);
        Ok(Lease::begin(self.clone(), &state.lock, lock_id, length, lifeline, previous)?)
    }

    /// Releases a lease that is not ours: a dead or expired one, and with `force` the holding of that name, whether
    /// its owner lives or not.
    ///
    /// # Errors
    /// When it cannot be read or written down.
    pub fn release(&self, force: Option<&str>) -> Result<Release, StateError> {
        let _guard = self.prepare()?;
        let mut state = self.read()?;
        let verdict = self.verdict(&state.lock, Timestamp::now());
        match verdict {
            Verdict::Free => return Ok(Release::Free),
            Verdict::Held(holder) if force.is_none() || holder.lock_id.as_deref() != force => {
                return Ok(Release::Held(holder));
            }
            Verdict::Held(_) | Verdict::Dead(_) | Verdict::Expired(_) => {}
        }
        let number = state.lock.fence.saturating_add(1);
        state.lock = LockRecord::free(number);
        self.write(&state, Copy::Made)?;
        Ok(Release::Released { verdict, number, holder: format!("lock_{}", Ulid::generate()) })
    }

    /// Locks a file of that name in the folder, which is made where there is none; none when another process has it. The
    /// lock ends with the process.
    ///
    /// # Errors
    /// When the folder is temporary, or cannot be made or used.
    pub fn lock_beside(&self, name: &str) -> Result<Option<File>, StateError> {
        drop(self.prepare()?);
        let path = self.folder().join(name);
        let file = lock_file(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(StateError::io("lock", &path)(error)),
        }
    }

    /// Makes the folder where there is none, and keeps others from changing it while the guard lives.
    fn prepare(&self) -> Result<Guard, StateError> {
        let temporary = place::real(&std::env::temp_dir());
        if !self.temporary && place::is_temporary(&self.state_dir, &temporary) {
            return Err(StateError::Temporary { folder: self.state_dir.clone() });
        }
        self.folder.make(&self.state_dir)?;
        trust::check(&self.given, &self.state_dir, self.folder.root())?;
        self.folder.guard()
    }

    pub(super) const fn parts(&self) -> (&Folder, &Identity) {
        (&self.folder, &self.identity)
    }

    pub(super) fn write(&self, state: &State, copy: Copy) -> Result<(), StateError> {
        document::write(&self.folder, state, copy)
    }
}

/// Between a quarter of a second and a whole one, so that those who wait do not all ask at once.
fn jitter() -> Duration {
    let random = u64::try_from(Ulid::generate().random() % 750).unwrap_or_default();
    Duration::from_millis(250 + random)
}
